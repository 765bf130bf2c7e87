"Lesson 03d and `generate`: draws, arrays, holes, likelihoods against the closed form, refining at test time."
import os, subprocess, sys, tomllib
from pathlib import Path

import numpy as np, pytest, torch
from torch import nn
from torch.distributions import MultivariateNormal

from mmvae_nb.core import MmvaeError, generator
from mmvae_nb.data import TensorData
from mmvae_nb.distributions import Gaussian, Laplace
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import ModalitySpec, default_specs
from mmvae_nb.using import impute, log_joint, log_likelihood, proposal, refined
from model_helpers import *

SIZE, SCALE = {"a": 2, "b": 3, "c": 5}, {"a": .5, "b": .8, "c": .6}

def linear_spec(n):
    return ModalitySpec(lambda: nn.Sequential(nn.Linear(SIZE[n], 8), nn.ReLU()), 8,
                        lambda z: nn.Linear(z, SIZE[n]), Gaussian(SCALE[n]), weight=3.)

@pytest.fixture(scope="module")
def linear():
    "An untrained JVAE with linear decoders: every p(x_A) is a Gaussian that can be written down."
    torch.manual_seed(0)
    model = JVAE({n: linear_spec(n) for n in SIZE}, latent=3).eval()
    for d in model.decoders.values(): nn.init.normal_(d.weight); nn.init.normal_(d.bias)
    return model, model.generate(torch.randn(30, 3), sample="x", generator=rng(1))

def exact(model, x, names):
    W, b = (torch.cat([getattr(model.decoders[n], w) for n in names]).double() for w in ("weight", "bias"))
    noise = torch.cat([torch.full((SIZE[n],), SCALE[n]**2) for n in names]).double()
    return MultivariateNormal(b, W @ W.T + noise.diag()).log_prob(torch.cat([x[n] for n in names], 1).double()).detach()

def of(x, names): return {n: x[n] for n in names}


# ---- generate

@pytest.fixture(scope="module")
def mopoe():
    torch.manual_seed(0)
    return spread(MoPoE({n: vector_spec(d, Laplace(.3)) for n, d in SIZES.items()}, 2)).eval()

def test_draws_of_z_have_the_moments_of_the_posterior(mopoe):
    batch = vectors(4)
    q = mopoe.infer(batch)
    z = q.mean + q.std*torch.randn(6, *q.mean.shape, generator=rng(3))
    made = mopoe.generate(batch, "a", n=6, generator=rng(3))["a"]
    assert made.shape == (6, 4, 3)
    close(made, mopoe.decoders["a"](z.flatten(0, 1)).unflatten(0, (6, 4)))
    close(mopoe.generate(z)["b"][2], mopoe.generate(z[2])["b"])          # latents with an axis more

def test_draws_of_x_have_the_noise_of_the_likelihood(mopoe):
    z = torch.randn(3, 2, generator=rng(4))
    made = mopoe.generate(z, "a", sample="x", n=4000, generator=rng(5))["a"]
    close(made.mean(0), mopoe.generate(z)["a"], 0, .03)
    close(made.var(0), torch.full((3, 3), 2*.3**2), 0, .03)               # of a Laplace: 2 b^2
    assert mopoe.generate(z, sample="x")["b"].shape == (3, 5)

def test_arrays_in_arrays_out(mopoe):
    batch = vectors(4)
    doubles = {n: x.double().numpy() for n, x in batch.items()}
    made, wanted = mopoe.generate(doubles), mopoe.generate(batch)
    for n, x in made.items():
        assert isinstance(x, np.ndarray) and x.dtype == np.float32
        close(torch.tensor(x), wanted[n])
    assert isinstance(mopoe.generate(np.zeros((2, 2)))["a"], np.ndarray)

def test_generate_keeps_no_gradient_and_decode_does(mopoe):
    z = torch.zeros(2, 2, requires_grad=True)
    assert not mopoe.generate(z)["a"].requires_grad and not mopoe.generate(vectors(3))["a"].requires_grad
    mopoe.decode(z, "a").sum().backward()
    assert z.grad.abs().sum() > 0

@pytest.mark.cuda
def test_a_model_on_a_card_answers_a_batch_on_the_cpu(mopoe):
    import copy
    there = copy.deepcopy(mopoe).cuda()
    made, wanted = there.generate(vectors(4)), mopoe.generate(vectors(4))
    for n in SIZES: assert made[n].device.type == "cpu"; close(made[n], wanted[n], 1e-3, 1e-3)
    assert isinstance(there.generate({"a": vectors(4)["a"].numpy()})["b"], np.ndarray)
    assert there.generate({n: x.cuda() for n, x in vectors(4).items()})["a"].is_cuda

class Meanly:
    "A likelihood that can't draw."
    def log_prob(self, x, a): return -(x - a).square().sum(1)
    def mean(self, a): return a

def test_generate_refuses(mopoe):
    batch = vectors(4)
    batch["a"][1, 2] = torch.nan
    for bad, words in [(dict(source=batch), "^a: got nan or infinite values in 1 of 4 items"),
                       (dict(source=torch.zeros(2, 2), n=3), "^n: got 3 for latents"),
                       (dict(source=torch.zeros(2, 2), n=0, sample="x"), "^n: got 0"),
                       (dict(source=torch.zeros(2, 2), sample="z"), "^sample: got 'z'")]:
        with pytest.raises(MmvaeError, match=words): mopoe.generate(**bad)
    silent = JVAE({"a": vector_spec(3, Meanly())}, 2)
    with pytest.raises(MmvaeError, match="^a: its Meanly has no `samp"): silent.generate(torch.zeros(1, 2), sample="x")


# ---- holes

def test_impute_fills_holes_and_nothing_else(mopoe):
    x = {n: v.numpy() for n, v in vectors(6).items()}
    holed = {n: v.copy() for n, v in x.items()}
    holed["a"][[0, 2]] = np.nan; holed["b"][4] = np.nan; holed["a"][5, 1] = np.nan      # one a hole in it
    made = impute(mopoe, holed, batch_size=1)
    from_b = mopoe.generate({"b": x["b"]}, "a")["a"]
    from_a = mopoe.generate({"a": x["a"]}, "b")["b"]
    wanted = {n: v.copy() for n, v in x.items()}
    wanted["a"][[0, 2]] = from_b[[0, 2]]; wanted["a"][5, 1] = from_b[5, 1]; wanted["b"][4] = from_a[4]
    for n in SIZES: np.testing.assert_allclose(made[n], wanted[n], rtol=1e-5, atol=1e-6)
    assert np.isnan(holed["a"][0]).all()                                    # what was given is left as it is

def test_several_imputations_and_a_modality_that_nobody_has(mopoe):
    x = vectors(6)["a"]
    made = impute(mopoe, {"a": x}, n=4, generator=rng(2), batch_size=4)
    assert made["a"].shape == (4, 6, 3) and torch.equal(made["a"], x.expand(4, 6, 3))
    q = mopoe.infer({"a": x})
    noise = torch.cat([torch.randn(4, k, 2, generator=g) for g in [rng(2)] for k in (4, 2)], 1)
    close(made["b"], mopoe.decoders["b"]((q.mean + q.std*noise).flatten(0, 1)).unflatten(0, (4, 6)))

def test_pictures_in_bytes_and_tokens_keep_their_type():
    g = rng(0)
    x = {"picture": torch.randint(0, 256, (5, 3, 8, 8), generator=g, dtype=torch.uint8),
         "word": torch.randint(0, 6, (5, 8), generator=g)}
    torch.manual_seed(0)
    model = MoPoE(default_specs(TensorData(x, kinds={"word": "text"}).modalities), 2).eval()
    there = {"picture": np.array([1, 0, 1, 1, 1], bool), "word": torch.tensor([True]*4 + [False])}
    made = impute(model, x, there)
    assert {n: v.dtype for n, v in made.items()} == {n: v.dtype for n, v in x.items()}
    drawn = model.generate({"word": x["word"][1:2]}, "picture")["picture"]
    assert torch.equal(made["picture"][1:2], (255*drawn).round().to(torch.uint8))
    assert torch.equal(made["picture"][2:], x["picture"][2:]) and torch.equal(made["word"][:4], x["word"][:4])
    assert torch.equal(made["word"][4:], model.generate({"picture": x["picture"][4:]}, "word")["word"])

def test_impute_of_no_items_has_every_modality(mopoe):
    x = vectors(3)
    made, none = impute(mopoe, {"a": x["a"]}), impute(mopoe, {"a": x["a"][:0]})
    assert {m: v.shape[1:] for m, v in none.items()} == {m: v.shape[1:] for m, v in made.items()}
    assert list(none) == list(mopoe.names) and not any(map(len, none.values()))

def test_impute_refuses(mopoe):
    x = vectors(3)
    nothing = {n: v.clone() for n, v in x.items()}
    for v in nothing.values(): v[1, 0] = torch.nan
    for bad, words in [((nothing,), "^data: got nothing whole in 1 items .the first is number 1"),
                       (({},), "^data: got"), (({"z": x["a"]},), "^data: got 'z'"),
                       (({"a": x["a"], "b": x["b"][:2]},), "^b: got 2 items"),
                       ((x, {"a": torch.ones(3)}), "there..a..: got .3,. of torch.float32")]:
        with pytest.raises(MmvaeError, match=words): impute(mopoe, *bad)


# ---- likelihoods

@pytest.mark.parametrize("target, given", [("abc", ""), ("a", ""), ("c", "ab"), ("ab", "c")])
def test_log_likelihoods_of_a_linear_model(linear, target, given):
    model, x = linear
    known = exact(model, x, target + given) - (exact(model, x, given) if given else 0)
    found = log_likelihood(model, of(x, target), of(x, given) or None)
    assert found.nats.shape == found.error.shape == found.ess.shape == (30,)
    off = found.nats - known
    assert (off.abs() < 5*found.error + .01).all() and (found.error < .25).all() and (found.ess > 20).all()
    mean, error = found.mean()
    assert abs(mean - known.mean()) < 4*error + .005 and error < .03

def test_annealed_importance_sampling_agrees(linear):
    model, x = linear
    part = of(x, "bc")
    found = log_likelihood(model, {n: v.numpy() for n, v in part.items()}, method="ais", batch_size=13)
    assert all(isinstance(v, np.ndarray) for v in found)
    mean, error = found.mean()
    assert abs(mean - exact(model, x, "bc").mean()) < 4*error + .02

def test_the_error_bar_is_that_of_repetitions(linear):
    model, x = linear
    few = {n: v[:15] for n, v in x.items()}
    again = [log_likelihood(model, few, samples=300, seed=s, climb=100) for s in range(20)]
    spread_of_nats = torch.stack([e.nats for e in again]).var(0).mean().sqrt()
    bar = torch.stack([e.error for e in again]).square().mean().sqrt()
    assert .8 < bar/spread_of_nats < 1.25

def test_weights_of_the_training_have_no_say(linear):
    model, x = linear
    z = torch.randn(60, 3, generator=rng(8))
    law = lambda n: torch.distributions.Normal(model.decoders[n](z), SCALE[n])
    by_hand = sum(law(n).log_prob(x[n].repeat(2, 1)).sum(1) for n in SIZE)
    by_hand += torch.distributions.Normal(0., 1.).log_prob(z).sum(1)
    close(log_joint(model, x)(z), by_hand)

def test_likelihoods_are_reproducible_and_leave_chance_alone(linear):
    model, x = linear
    torch.manual_seed(5)
    a = log_likelihood(model, of(x, "a"), samples=20, climb=5)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert torch.equal(a.nats, log_likelihood(model, of(x, "a"), samples=20, climb=5).nats)
    assert not torch.equal(a.nats, log_likelihood(model, of(x, "a"), samples=20, climb=5, seed=1).nats)

def test_likelihoods_refuse(linear):
    model, x = linear
    for bad, words in [(dict(target=of(x, "ab"), given=of(x, "b")), "^given: got b"),
                       (dict(target=of(x, "a"), samples=1), "^samples"),
                       (dict(target=of(x, "a"), method="ELBO"), "^method"),
                       (dict(target={"d": x["a"]}), "^modality: got 'd'")]:
        with pytest.raises(MmvaeError, match=words): log_likelihood(model, **bad)


# ---- refining at test time

def test_refining_finds_the_best_gaussian_of_what_is_given():
    "With weight 1 and linear decoders it is known: exact mean, inverse of the precision's diagonal."
    torch.manual_seed(0)
    model = JVAE({n: linear_spec(n) for n in SIZE}, latent=3).eval()
    for s in model.specs.values(): object.__setattr__(s, "weight", 1.)
    for d in model.decoders.values(): nn.init.normal_(d.weight)
    x = of(model.generate(torch.randn(12, 3), sample="x"), "bc")          # a JVAE can't infer from these
    q, p = refined(model, x, steps=1500), proposal(model, x, 1500)
    W = torch.cat([model.decoders[n].weight/SCALE[n] for n in x])
    off = torch.cat([(x[n] - model.decoders[n].bias)/SCALE[n] for n in x], 1)
    precision = torch.eye(3) + W.T @ W
    for found in (q, p):
        close(found.mean, torch.linalg.solve(precision, W.T @ off.T).T.detach(), 0, .06)
        close(found.var, (1/precision.diagonal()).expand(12, 3).detach(), .15, 0)
    assert not q.mean.requires_grad

def test_refining_raises_the_bound(mopoe):
    batch = vectors(20)
    def bound(q): return torch.stack([mopoe.elbo(batch, q, generator(k, "b")) for k in range(50)]).mean()
    with torch.no_grad(): assert bound(refined(mopoe, batch, 100)) > bound(mopoe.infer(batch)) + .1


# ---- larger than memory, and type checkers

LARGE = """
import resource, sys, numpy as np, torch
from mmvae_nb import JVAE, TensorData, default_specs, fit
torch.zeros(1).sum()
items = 2*1024**3//(3*32*32)
with open("large.bin", "wb") as f: f.truncate(items*3*32*32)                 # sparse: zeros that take no room
x = np.memmap("large.bin", np.uint8, "r", shape=(items, 3, 32, 32))
used = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1])*1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 500*1024**2, resource.RLIM_INFINITY))
data = TensorData({"picture": x})
model = JVAE(default_specs(data.modalities), 4)
fit(model, data, 3, 32, device="cpu", progress=False)
try: np.ones(600*1024**2, np.uint8); sys.exit("no limit was in force")
except MemoryError: print(len(data), data.batch(3, 32)["picture"].shape)
"""

@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts memory as Linux does")
def test_two_gigabytes_mapped_train_within_half_a_gigabyte(tmp_path):
    r = subprocess.run([sys.executable, "-W", "ignore", "-c", LARGE], cwd=tmp_path, capture_output=True, text=True,
                       timeout=3000, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert r.returncode == 0, r.stderr[-2000:]
    assert r.stdout.strip() == f"{2*1024**3//3072} torch.Size([32, 3, 32, 32])"

def test_type_checkers_are_told_that_there_are_types():
    root = Path(__file__).resolve().parent.parent
    told = tomllib.loads((root/"pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "py.typed" in told["mmvae_nb"] and (root/"mmvae_nb"/"py.typed").exists()
