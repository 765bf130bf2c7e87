"""Lessons 03-15: the contract every model keeps, and the objectives against independent values."""
import inspect, itertools, math

import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn

from mmvae_nb.core import MmvaeError
from mmvae_nb.data import Modality, TensorData
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.distillation import Students, distill
from mmvae_nb.distributions import Bernoulli, Categorical, DiagonalGaussian, Gaussian, Laplace, Mixture, product_of_experts
from mmvae_nb.iterative_inference import MarinoRefiner, Refiner, RefinerTraining, Replay, elbo_gradient, refine
from mmvae_nb.jmvae import JMVAE
from mmvae_nb.mopoe import MoPoE, subsets_of
from mmvae_nb.multimodal_elbo import JVAE, MultimodalVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher, StudentsOverT, nelbo_over_t, on_decoders
from mmvae_nb.mvtcae import MVTCAE
from mmvae_nb.networks import ModalitySpec, default_specs
from mmvae_nb.training import fit

LATENT, BATCH, NAMES = 6, 8, ["mnist", "svhn", "text"]
SHAPES = {"mnist": (1, 28, 28), "svhn": (3, 32, 32), "text": (8,)}
SUBSETS = [s for k in (1, 2, 3) for s in itertools.combinations(NAMES, k)]
rng = lambda seed=0: torch.Generator().manual_seed(seed)

def iterative(specs, latent=LATENT, **options): return IterativeTeacher(specs, latent, steps=2, hidden=32, **options)

# name -> function of (specs, latent); those in NEED_ALL can't infer from a part
MAKE = {
    "jvae": JVAE,
    "jmvae": JMVAE,
    "mopoe": MoPoE,
    "mvae": lambda s, z: MoPoE(s, z, subsets="full"),
    "mmvae": lambda s, z: MoPoE(s, z, subsets="singletons"),
    "mopoe_exact": lambda s, z: MoPoE(s, z, exact=True),
    "iterative": iterative,
    "iterative_marino": lambda s, z: iterative(s, z, refiner="marino"),
    "iterative_last": lambda s, z: iterative(s, z, decoders="last"),
    "iterative_frozen": lambda s, z: iterative(s, z, decoders="frozen"),
    "mvtcae": MVTCAE,
    "mvtcae_students": lambda s, z: Students(MVTCAE(s, z)),
    "iterative_on_decoders": lambda s, z: on_decoders(JVAE(s, z), steps=2, hidden=32, replay=0.0),
    "jvae_students": lambda s, z: Students(JVAE(s, z)),
    "jvae_students_reverse": lambda s, z: Students(JVAE(s, z), direction="reverse"),
    "iterative_students": lambda s, z: Students(iterative(s, z), divide_prior=True),
    "iterative_students_warm": lambda s, z: Students(iterative(s, z), warm_start=True),
}
TEACHERS = [m for m in MAKE if m == "jvae" or m.startswith("iterative") and "students" not in m]
PARTIAL = [m for m in MAKE if m not in TEACHERS]
every_method = pytest.mark.parametrize("method", list(MAKE))


@pytest.fixture(scope="module")
def data(): return mnist_svhn_text("train", items=100)

@pytest.fixture(scope="module")
def specs(data): return default_specs(data.modalities)

@pytest.fixture(scope="module")
def batch(data): return data.batch(0, BATCH)

_made = {}
@pytest.fixture
def model(method, specs):
    "A fresh model that no test changes: built once for the methods it is asked for."
    if method not in _made:
        torch.manual_seed(list(MAKE).index(method))
        _made[method] = spread(MAKE[method](specs, LATENT)).eval()
    return _made[method]

def spread(model):
    "Make posteriors differ between items: heads are initialised close to N(0, 1)."
    with torch.no_grad():
        for m in model.modules():
            if type(m).__name__ == "GaussianHead": m.net[-1].weight.mul_(10.)
    return model

def fresh(method, specs, latent=LATENT, seed=0):
    torch.manual_seed(seed)
    return spread(MAKE[method](specs, latent))

@pytest.fixture
def no_noise(monkeypatch):
    "Samples are means (still a function of both parameters): what is left is deterministic."
    monkeypatch.setattr(DiagonalGaussian, "rsample", lambda self, n=None, generator=None:
                        self.mean + 0*self.std if n is None else self.mean.expand(n, *self.mean.shape))

def one_line(error):
    text = str(error.value)
    assert text and "\n" not in text and len(text) < 400
    return text

def part(batch, names, rows=slice(None)): return {n: batch[n][rows] for n in names}

def close(a, b, rtol=1e-5, atol=1e-5): torch.testing.assert_close(a, b, rtol=rtol, atol=atol)

def state(module): return {k: v.clone() for k, v in module.state_dict().items()}


# ---- the three calls, for every subset

def right_posterior(q, n=BATCH):
    assert type(q) is DiagonalGaussian and q.mean.shape == q.logvar.shape == (n, LATENT)
    assert q.mean.isfinite().all() and q.mean.dtype == torch.float32 and (q.var > 0).all()

def right_items(made, to, n=BATCH):
    assert list(made) == to
    for name in to:
        x = made[name]
        assert tuple(x.shape) == (n, *SHAPES[name])
        if name == "text": assert x.dtype == torch.int64 and 0 <= x.min() and x.max() <= 70
        else: assert 0 <= x.min() and x.max() <= 1

def names_missing(error, names, kind):
    text = one_line(error)
    missing = [n for n in NAMES if n not in names]
    assert f"needs {', '.join(missing)} too" in text and f"got {', '.join(names)};" in text and kind in text

@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
@every_method
def test_infer_and_generate_for_every_subset(method, model, batch, names):
    given_part, kind = part(batch, names), type(model).__name__
    if method in TEACHERS and len(names) < 3:
        for call in (model.infer, model.generate):
            with pytest.raises(MmvaeError) as e: call(given_part)
            names_missing(e, names, kind)
        return
    right_posterior(model.infer(given_part))
    right_items(model.generate(given_part), NAMES)
    for to in ["svhn", ["text", "mnist"]]:
        for sample in (False, True):
            right_items(model.generate(given_part, to=to, sample=sample), [to] if isinstance(to, str) else to)

@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
@every_method
def test_loss_for_every_subset(method, model, batch, names):
    given_part = part(batch, names)
    if len(names) < 3:
        with pytest.raises(MmvaeError) as e: model.loss(given_part)
        return names_missing(e, names, type(model).__name__)
    total, parts = model.loss(given_part)
    assert total.shape == () and total.isfinite() and parts and all(isinstance(k, str) for k in parts)
    for v in parts.values(): assert v.shape == () and v.isfinite() and not v.requires_grad
    assert model(given_part).total.shape == ()            # what `fit` calls

@every_method
def test_wrong_batches_get_one_line(method, model, batch):
    for bad, words in [({}, "got no modality"), ({"audio": batch["mnist"]}, "audio"),
                       ({**batch, "audio": batch["mnist"]}, "audio"),
                       ({**batch, "svhn": batch["svhn"][:3]}, f"[{BATCH}, 3, {BATCH}]")]:
        for call in (model.infer, model.generate, model.loss):
            with pytest.raises(MmvaeError) as e: call(bad)
            assert words in one_line(e)
    with pytest.raises(MmvaeError) as e: model.generate(torch.zeros(2, LATENT), to="audio")
    assert one_line(e) == "to: got 'audio', allowed: mnist, svhn, text"

@every_method
def test_the_order_of_keys_does_not_matter(method, model, batch, no_noise):
    turned = {n: batch[n] for n in reversed(NAMES)}
    a, b = model.infer(batch), model.infer(turned)
    assert torch.equal(a.mean, b.mean) and torch.equal(a.logvar, b.logvar)

@every_method
def test_generate_decodes_the_posterior_mean_or_a_seeded_sample(method, model, batch, request):
    refines = method in TEACHERS and method != "jvae"
    if refines: request.getfixturevalue("no_noise")           # refining draws noise of its own
    q = model.infer(batch)
    for n, x in model.generate(batch).items(): close(x, model.specs[n].likelihood.mean(model.decoders[n](q.mean)))
    if refines: return
    z = q.mean + q.std*torch.randn(q.mean.shape, generator=rng(7))
    for n, x in model.generate(batch, sample=True, generator=rng(7)).items():
        close(x, model.specs[n].likelihood.mean(model.decoders[n](z)))
    assert not torch.equal(model.generate(batch, "svhn", sample=True)["svhn"], model.generate(batch, "svhn")["svhn"])


# ---- no item depends on its neighbours

def subsets_that_work(method): return [tuple(NAMES)] if method in TEACHERS else SUBSETS

@every_method
def test_an_item_alone_is_the_item_in_a_batch(method, model, batch, no_noise):
    for names in subsets_that_work(method):
        q, made = model.infer(part(batch, names)), model.generate(part(batch, names))
        assert q.mean.std(0).max() > 0.01                     # items do differ, so a mix-up would show
        for i in (0, 3, BATCH - 1):
            alone = part(batch, names, slice(i, i + 1))
            p = model.infer(alone)
            close(p.mean, q.mean[i:i + 1], 1e-4, 1e-4); close(p.logvar, q.logvar[i:i + 1], 1e-4, 1e-4)
            for n, x in model.generate(alone, ["mnist", "svhn"]).items(): close(x, made[n][i:i + 1], 1e-4, 1e-4)

@every_method
def test_a_permuted_batch_gives_permuted_results(method, model, batch, no_noise):
    order = torch.randperm(BATCH, generator=rng(1))
    assert not torch.equal(order, torch.arange(BATCH))
    for names in subsets_that_work(method):
        q, p = model.infer(part(batch, names)), model.infer(part(batch, names, order))
        close(p.mean, q.mean[order], 1e-4, 1e-4); close(p.logvar, q.logvar[order], 1e-4, 1e-4)
        a, b = model.generate(part(batch, names)), model.generate(part(batch, names, order))
        for n in ("mnist", "svhn"): close(b[n], a[n][order], 1e-4, 1e-4)
        assert (b["text"] == a["text"][order]).float().mean() > 0.98    # a tie of two tokens may fall either way

@every_method
def test_training_mode_changes_no_result(method, specs, batch, no_noise):
    "No batch statistics, no dropout: the same posterior while training."
    model = fresh(method, specs)
    a, b = model.train().infer(batch), model.eval().infer(batch)
    assert torch.equal(a.mean, b.mean) and torch.equal(a.logvar, b.logvar)

@pytest.mark.parametrize("method", ["jvae", "jmvae", "mvae", "mopoe_exact", "jvae_students", "iterative_students"])
def test_the_loss_is_the_mean_of_the_items_losses(method, model, batch, no_noise):
    alone = torch.stack([model.loss(part(batch, NAMES, slice(i, i + 1))).total for i in range(BATCH)])
    assert alone.std() > 1e-3*alone.mean().abs()
    close(model.loss(batch).total, alone.mean(), 1e-4, 1e-4)

@every_method
def test_repeating_items_repeats_results(method, model, batch, no_noise):
    twice = {n: x[:2].repeat_interleave(2, 0) for n, x in batch.items()}
    q = model.infer(twice)
    close(q.mean[0], q.mean[1], 1e-4, 1e-4); close(q.mean[2], q.mean[3], 1e-4, 1e-4)
    assert (q.mean[0] - q.mean[2]).abs().max() > 1e-3


# ---- what learns and what does not

def learns(model, batch):
    "Names of parameters with a gradient that is not all zero."
    model.train(); model.zero_grad(set_to_none=True)
    torch.manual_seed(0); model.loss(batch).total.backward()
    return {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}

def belongs(names, *parts): return {n for n in names if n.split(".")[0] in parts}

@pytest.mark.parametrize("method, parts", [
    ("jvae", ("encoder", "decoders")), ("jmvae", ("encoder", "encoders", "decoders")),
    ("mopoe", ("encoders", "decoders")), ("mvae", ("encoders", "decoders")), ("mmvae", ("encoders", "decoders")),
    ("iterative", ("encoders", "decoders", "refiner")), ("iterative_marino", ("encoders", "decoders", "refiner")),
    ("iterative_last", ("encoders", "decoders", "refiner")), ("iterative_frozen", ("encoders", "refiner")),
    ("mvtcae", ("encoders", "decoders")), ("mvtcae_students", ("encoders",)), ("iterative_on_decoders", ("encoders", "refiner")),
    ("jvae_students", ("encoders",)), ("iterative_students", ("encoders",)), ("iterative_students_warm", ("encoders",))])
def test_gradients_reach_what_they_should_and_nothing_else(method, parts, specs, data):
    model = fresh(method, specs)
    batch = data.batch(0, 32)
    everything = {n for n, _ in model.named_parameters()}
    got = learns(model, batch)
    assert got == belongs(got, *parts), "something learns that should not"
    # a bias before a normalisation, or a dead unit, may have an exactly zero gradient: allow a few
    silent = belongs(everything, *parts) - got
    assert len(silent) <= 2, silent
    for p in parts:                                            # every modality's own network learns
        if p in ("encoders", "decoders"): assert {n.split(".")[1] for n in got if n.startswith(p + ".")} == set(NAMES)

@pytest.mark.parametrize("method", ["jvae_students", "iterative_students", "iterative_students_warm"])
def test_an_optimiser_step_of_students_leaves_the_teacher_as_it_was(method, specs, batch):
    model = fresh(method, specs).train()
    assert not model.teacher.training and model.training      # the teacher stays in evaluation mode
    before = state(model)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.01)
    for _ in range(2):
        optimiser.zero_grad(); model.loss(batch).total.backward(); optimiser.step()
    after = model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed and all(k.startswith("encoders.") for k in changed)
    assert {k.split(".")[1] for k in changed} == set(NAMES)
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith(("teacher.", "decoders.")))
    assert model.decoders is model.teacher.decoders           # students draw with their teacher's decoders

def test_fit_trains_frozen_models_only_where_it_may(specs, data):
    model = fresh("iterative_frozen", specs)
    before = state(model)
    fit(model, data, 2, 8, device="cpu", progress=False)
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"encoders", "refiner"}

def test_a_students_warm_start_is_a_copy(specs):
    teacher = fresh("iterative", specs)
    model = Students(teacher, warm_start=True)
    for a, b in zip(teacher.encoders.parameters(), model.encoders.parameters()):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr() and b.requires_grad and not a.requires_grad
    cold = Students(teacher)
    assert any(not torch.equal(a, b) for a, b in zip(teacher.encoders.parameters(), cold.encoders.parameters()))

@pytest.mark.parametrize("decoders, frozen", [
    ("mean", False), ("mean", True), ("last", False), ("frozen", False), ("frozen", True),
    ("last", True)])
def test_a_loss_leaves_the_flags_of_parameters_as_they_were(decoders, frozen, specs, batch):
    model = fresh("iterative", specs) if decoders == "mean" else fresh(f"iterative_{decoders}", specs)
    if frozen: Students(model)                                # freezes its teacher
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    if frozen: assert not any(flags.values())
    with torch.set_grad_enabled(not frozen): model.loss(batch)
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags

def test_without_a_pull_jmvaes_unimodal_encoders_learn_nothing(specs, batch):
    model = JMVAE(specs, LATENT, alpha=0.)
    assert not belongs(learns(model, batch), "encoders") and belongs(learns(model, batch), "encoder", "decoders")


# ---- objectives against independent values, on small models with other shapes

SIZES = {"a": 3, "b": 5}
THREE = {**SIZES, "c": 2}
def vector_specs(weights=(2.0, 0.5, 1.5), scales=(0.7, 1.3, 1.0), sizes=SIZES):
    "Hand-written specs: a tanh layer in, one linear map out, Gaussian likelihoods."
    def spec(d, w, s): return ModalitySpec(lambda: nn.Sequential(nn.Linear(d, 7), nn.Tanh()), 7,
                                           lambda latent: nn.Linear(latent, d), Gaussian(s), w)
    return {n: spec(d, w, s) for (n, d), w, s in zip(sizes.items(), weights, scales)}

def vectors(n=11, seed=0, sizes=SIZES): return {k: torch.randn(n, d, generator=rng(seed + d)) for k, d in sizes.items()}

def expected_log_p(spec, decoder, x, mean, var):
    "E_q log N(x; W z + b, s^2 I) in closed form, for diagonal q."
    s = spec.likelihood.scale
    miss = ((x - mean@decoder.weight.T - decoder.bias)**2).sum(1) + (var@(decoder.weight**2).T).sum(1)
    return -0.5*miss/s**2 - x.shape[1]*(math.log(s) + 0.5*math.log(2*math.pi))

def normal(q): return torch.distributions.Normal(q.mean, torch.exp(q.logvar/2))
def prior_kl(q): return torch.distributions.kl_divergence(normal(q), torch.distributions.Normal(0., 1.)).sum(1)
def pair_kl(q, p): return torch.distributions.kl_divergence(normal(q), normal(p)).sum(1)

def log_p(model, batch, z):
    "sum_m w_m log N(x_m; decoder_m(z), s_m^2) by torch.distributions."
    return sum(s.weight*torch.distributions.Normal(model.decoders[n](z), s.likelihood.scale).log_prob(batch[n]).sum(1)
               for n, s in model.specs.items())

@torch.no_grad()
def test_the_elbo_is_the_closed_form_of_linear_decoders():
    model, batch = fresh("jvae", vector_specs(), 4), vectors(3)
    model.beta = 1.7
    q = DiagonalGaussian(torch.randn(3, 4, generator=rng(3)), torch.randn(3, 4, generator=rng(4))*0.5 - 1)
    exact = sum(s.weight*expected_log_p(s, model.decoders[n], batch[n], q.mean, q.var)
                for n, s in model.specs.items()) - 1.7*prior_kl(q)
    N = 20000
    many = {n: x.repeat(N, 1) for n, x in batch.items()}
    values = model.elbo(many, DiagonalGaussian(q.mean.repeat(N, 1), q.logvar.repeat(N, 1)), rng(5)).view(N, 3)
    error = values.std(0)/N**0.5
    assert (error < 0.1).all() and ((values.mean(0) - exact).abs() < 4.5*error).all()

@torch.no_grad()
def test_losses_are_elbos_of_their_own_posterior(no_noise):
    batch = vectors()
    for beta in (1.0, 0.3):
        jvae = spread(JVAE(vector_specs(), 4, beta)); q = jvae.infer(batch)
        close(jvae.loss(batch).total, -(log_p(jvae, batch, q.mean) - beta*prior_kl(q)).mean())
        jmvae = spread(JMVAE(vector_specs(), 4, beta, alpha=0.4, warm_up=0)); q = jmvae.infer(batch)
        pull = sum(pair_kl(q, jmvae.infer({n: batch[n]})) for n in SIZES)
        close(jmvae.loss(batch).total, -(log_p(jmvae, batch, q.mean) - beta*prior_kl(q)).mean() + 0.4*pull.mean())

def test_jmvaes_pull_grows_over_the_warm_up(no_noise):
    model, batch = JMVAE(vector_specs(), 4, alpha=0.5, warm_up=4).train(), vectors()
    with torch.no_grad(): totals = [model.loss(batch).total.item() for _ in range(6)]
    pull = model.loss(batch).parts["pull"].item()
    growth = np.diff(totals)
    np.testing.assert_allclose(growth, [0.5*pull/4]*3 + [0, 0], rtol=1e-3, atol=1e-4)
    model.eval()
    for _ in range(3): model.loss(batch)
    assert model.updates_seen.item() == 7                      # evaluation does not count

def products_by_hand(model, batch, mvae=False):
    "Every subset's product of experts, number by number, in float64: subset -> Gaussian."
    experts, out = {n: model.encoders[n](x) for n, x in batch.items()}, {}
    for subset in [s for k in range(1, len(batch) + 1) for s in itertools.combinations(batch, k)]:
        mean, logvar = np.zeros((len(batch["a"]), 4)), np.zeros((len(batch["a"]), 4))
        for i, d in itertools.product(*map(range, mean.shape)):
            taus = [math.exp(-experts[n].logvar[i, d].item()) for n in subset]
            top = sum(t*experts[n].mean[i, d].item() for t, n in zip(taus, subset))
            total = sum(taus) + (1 if mvae or len(subset) == len(batch) else 0)  # N(0, 1) joins the full subset only, in MVAE all
            mean[i, d], logvar[i, d] = top/total, -math.log(total)
        out[subset] = DiagonalGaussian(torch.tensor(mean).float(), torch.tensor(logvar).float())
    return out

@torch.no_grad()
@pytest.mark.parametrize("sizes", [SIZES, THREE], ids=["two", "three"])
@pytest.mark.parametrize("kind", ["powerset", "full", "singletons"])
def test_mopoes_bound_by_brute_force(kind, sizes, no_noise):
    torch.manual_seed(3)
    model, batch = spread(MoPoE(vector_specs(sizes=sizes), 4, beta=0.6, subsets=kind, exact=True)), vectors(sizes=sizes)
    products = products_by_hand(model, batch, mvae=kind == "full")
    chosen = {"powerset": list(products), "full": [tuple(sizes)], "singletons": [(n,) for n in sizes]}[kind]
    mixed = [products[s] for s in chosen]
    bound = torch.stack([log_p(model, batch, q.mean) - 0.6*prior_kl(q) for q in mixed]).mean()
    close(model.loss(batch).total, -bound, 1e-5, 1e-5)
    for a, b in zip(model.products(batch), mixed): close(a.mean, b.mean); close(a.logvar, b.logvar)
    z = torch.randn(11, 4, generator=rng(2))
    density = torch.stack([normal(q).log_prob(z).sum(1).double().exp() for q in mixed]).mean(0).log()
    close(model.mixture(batch).log_prob(z), density.float(), 1e-4, 1e-4)
    for subset, q in products.items():                         # what is given, whatever was mixed in training
        close(model.infer(part(batch, subset)).mean, q.mean); close(model.infer(part(batch, subset)).logvar, q.logvar)

@torch.no_grad()
@pytest.mark.parametrize("given", [s for k in (1, 2, 3) for s in itertools.combinations(THREE, k)])
def test_mvae_with_the_true_factors_is_the_exact_posterior_of_whatever_is_given(given):
    "z ~ N(0, I), x_m = z + noise; experts are the likelihoods' factors in z, so Bayes' rule says prior times experts."
    noise, batch = {"a": 0.3, "b": 0.5, "c": 0.8}, vectors(5, sizes=dict.fromkeys("abc", 4))
    model = MoPoE(vector_specs(sizes=dict.fromkeys("abc", 4)), 4, subsets="full")
    factor = lambda s: lambda x: DiagonalGaussian(x, torch.full_like(x, 2*math.log(s)))
    for n, s in noise.items(): model.encoders[n].forward = factor(s)
    W, R = np.ones((len(given), 1)), np.diag([noise[n]**2 for n in given])
    gain = W.T@np.linalg.inv(W@W.T + R)                        # of the joint Gaussian of z and what is given
    q = model.infer(part(batch, given))
    close(q.mean, torch.einsum("k,kid->id", torch.tensor(gain[0]).float(), torch.stack([batch[n] for n in given])), 1e-5, 1e-5)
    close(q.var, torch.full((5, 4), (1 - gain@W).item()), 1e-5, 1e-5)

@torch.no_grad()
def test_mopoes_random_subset_is_right_on_average(no_noise, monkeypatch):
    torch.manual_seed(3)
    model, batch = spread(MoPoE(vector_specs(), 4)), vectors()
    every = []
    for k in range(3):
        monkeypatch.setattr(Mixture, "pick", lambda self, generator=None, k=k: self.components[k])
        every.append(model.loss(batch).total)
    model.exact = True
    close(model.loss(batch).total, torch.stack(every).mean())
    assert torch.stack(every).std() > 0.01

@torch.no_grad()
@pytest.mark.parametrize("alpha", [0., 0.3, 5/6, 1.])
def test_mvtcaes_loss_by_its_formula_and_by_monte_carlo(alpha):
    "KLs by torch.distributions and by drawing from the product; the weights of terms as the paper has them."
    torch.manual_seed(1)
    model, batch, M = spread(MVTCAE(vector_specs(), 4, beta=1.7, alpha=alpha)), vectors(3), len(SIZES)
    experts = [model.encoders[n](batch[n]) for n in SIZES]
    tau = sum(1/e.var for e in experts)
    mean = sum(e.mean/e.var for e in experts)/tau
    q, D = torch.distributions.Normal(mean, tau**-0.5), torch.distributions
    prior, each = D.Normal(0*mean, 1 + 0*mean), [D.Normal(e.mean, e.std) for e in experts]
    with torch.no_grad():
        z = q.sample((6000,))
        exact = model.beta*((1 - alpha)*D.kl_divergence(q, prior).sum(-1) + alpha/M*sum(D.kl_divergence(q, e).sum(-1) for e in each))
        drawn = model.beta*((1 - alpha)*(q.log_prob(z) - prior.log_prob(z)).sum(-1) + alpha/M*sum((q.log_prob(z) - e.log_prob(z)).sum(-1) for e in each))
        nll = -(M - alpha)/M*torch.stack([log_p(model, batch, v) for v in z])
        losses = torch.stack([model.loss(batch).total for _ in range(3000)])
    for theirs in ((nll + exact).mean(-1), (nll + drawn).mean(-1)):
        error = (theirs.var()/len(theirs) + losses.var()/len(losses))**0.5
        assert abs(theirs.mean() - losses.mean()) < 3*error

def test_mvtcaes_subsets_are_products_and_its_loss_is_linear_in_alpha(no_noise):
    torch.manual_seed(1)
    make, batch = (lambda a: spread(MVTCAE(vector_specs(), 4, alpha=a))), vectors()
    low = make(0.); losses = []
    for a in (0., 0.25, 1.):
        m = make(a); m.load_state_dict(low.state_dict()); losses.append(m.loss(batch).total)
    close(losses[1], 0.75*losses[0] + 0.25*losses[2])
    alone = [low.infer({n: batch[n]}) for n in SIZES]
    close(low.infer(batch).mean, product_of_experts(alone).mean)
    close(sum(v.mean() for v in low.divergences(batch).values()), low.loss(batch).parts["pull"])

def test_a_mixture_picks_every_component_equally_often_and_whole():
    parts = [DiagonalGaussian(torch.full((6000, 2), float(k)), torch.full((6000, 2), -float(k))) for k in range(3)]
    picked = Mixture(parts).pick(rng(0))
    assert torch.equal(picked.mean, -picked.logvar) and torch.equal(picked.mean[:, 0], picked.mean[:, 1])
    counts = picked.mean[:, 0].long().bincount(minlength=3)
    assert (counts - 2000).abs().max() < 5*math.sqrt(6000*2/9)

@torch.no_grad()
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_students_loss_is_the_sum_of_divergences(direction):
    torch.manual_seed(1)
    teacher, batch = spread(JVAE(vector_specs(), 4)), vectors()
    model = spread(Students(teacher, direction=direction))
    q, own = teacher.infer(batch), {n: model.infer({n: batch[n]}) for n in SIZES}
    by_hand = [(pair_kl(q, s) if direction == "forward" else pair_kl(s, q)).mean() for s in own.values()]
    close(model.loss(batch).total, sum(by_hand))
    assert abs(by_hand[0] - by_hand[1]) > 0.01 and list(model.loss(batch).parts) == list(SIZES)

@torch.no_grad()
@pytest.mark.parametrize("divide", [False, True])
def test_two_students_are_the_product_of_their_gaussians(divide):
    torch.manual_seed(1)
    model, batch = spread(Students(JVAE(vector_specs(), 4), divide_prior=divide)), vectors()
    a, b = (model.infer({n: batch[n]}) for n in SIZES)
    ta, tb = 1/a.var, 1/b.var
    precision = torch.maximum(ta + tb - 1, torch.maximum(ta, tb)) if divide else ta + tb
    q, mean = model.infer(batch), (ta*a.mean + tb*b.mean)/precision
    if divide:                       # one expert wider than the prior: nowhere outside of both
        low, high, wide = torch.minimum(a.mean, b.mean), torch.maximum(a.mean, b.mean), torch.minimum(ta, tb) < 1
        mean = torch.where(wide, torch.minimum(torch.maximum(mean, low), high), mean)
        assert wide.any() and not wide.all()
    close(q.mean, mean); close(q.var, 1/precision)

def trajectory_by_hand(model, batch, q, steps):
    """q_0..q_T, the ELBO of each and what its gradient is divided by on its way to the refiner: own loop, noise
    removed, KL at the sample with q held fixed; only q_0 keeps its graph to the encoders."""
    def log_normal(z, mean, var): return torch.distributions.Normal(mean, var.sqrt()).log_prob(z).sum(-1)
    def elbo(q):
        fixed, z = q.detach(), q.mean
        return log_p(model, batch, z) - model.beta*(log_normal(z, fixed.mean, fixed.var) - log_normal(z, 0*z, 1 + 0*z))
    qs, elbos, sizes, memory = [q], [elbo(q)], [], None
    for _ in range(steps):
        mean = qs[-1].mean.detach().requires_grad_()
        g = torch.autograd.grad(elbo(DiagonalGaussian(mean, qs[-1].logvar.detach())).sum(), mean)[0]
        q, memory = model.refiner(qs[-1].detach(), g, torch.zeros_like(g), memory)
        sizes.append((1 + ((q.std.detach()*g)**2).mean(-1))**0.5)
        qs.append(q); elbos.append(elbo(q))
    return qs, elbos, sizes

@pytest.mark.parametrize("decoders", ["mean", "last", "frozen"])
@pytest.mark.parametrize("refiner", ["ours", "marino"])
def test_the_iterative_loss_and_its_gradients_by_hand(decoders, refiner, no_noise, monkeypatch):
    "Value, and truncated gradients: starts learn from t = 0, a refiner from each step's ELBO, decoders as asked."
    torch.manual_seed(2)
    T, batch = 3, vectors()
    model = spread(IterativeTeacher(vector_specs(), 4, beta=0.8, steps=T, refiner=refiner, decoders=decoders, hidden=16)).train()
    monkeypatch.setattr(Mixture, "pick", lambda self, generator=None: self.components[0])    # start: "a"
    loss = model.loss(batch)
    model.zero_grad(); loss.total.backward()
    got = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    _, elbos, sizes = trajectory_by_hand(model, batch, model.encoders["a"](batch["a"]), T)
    means = torch.stack([e.mean() for e in elbos])
    quiet = -sum((e/s).mean() for e, s in zip(elbos[1:], sizes))/(T + 1)
    close(loss.total, -means.mean(), 1e-5, 1e-4)
    close(loss.parts["t=0"], -means[0].detach()); close(loss.parts[f"t={T}"], -means[-1].detach())
    names = {n: p for n, p in model.named_parameters() if p.requires_grad}
    wanted = torch.autograd.grad(-means.mean(), list(names.values()), allow_unused=True, retain_graph=True)
    last = torch.autograd.grad(-means[-1]/(T + 1), list(names.values()), allow_unused=True, retain_graph=True)
    for_refiner = torch.autograd.grad(quiet, list(names.values()), allow_unused=True)
    assert decoders != "frozen" or not any(n.startswith("decoders") for n in got)
    for n, mean, final, step in zip(names, wanted, last, for_refiner):
        expected = step if n.startswith("refiner") else final if decoders == "last" and n.startswith("decoders") else mean
        if expected is None: assert n.startswith("encoders.b") and (n not in got or got[n].abs().sum() == 0)
        else: close(got[n], expected, 1e-4, 1e-5)

def test_nothing_flows_back_through_earlier_iterations(no_noise, monkeypatch):
    torch.manual_seed(2)
    T, batch = 3, vectors()
    model = spread(IterativeTeacher(vector_specs(), 4, steps=T, hidden=16))
    monkeypatch.setattr(Mixture, "pick", lambda self, generator=None: self.components[0])
    ours = torch.autograd.grad(model.loss(batch).total, list(model.encoders["a"].parameters()))
    q = model.encoders["a"](batch["a"])
    fixed = q.detach()
    kl_at_mean = 0.5*(q.mean**2 - (q.mean - fixed.mean)**2/fixed.var - fixed.logvar).sum(-1)     # log q - log p at z = mean
    first = -(log_p(model, batch, q.mean) - kl_at_mean).mean()/(T + 1)
    for a, b in zip(ours, torch.autograd.grad(first, list(model.encoders["a"].parameters()))): close(a, b, 1e-4, 1e-6)

def test_starts_are_drawn_per_item(no_noise):
    torch.manual_seed(0)
    model, batch, seen = spread(IterativeTeacher(vector_specs(), 4, steps=1, hidden=8)), vectors(200), []
    model.elbo, elbo = (lambda b, q, g=None, path=False: (seen.append(q.mean.detach()), elbo(b, q, g, path))[1]), model.elbo
    model.loss(batch)
    starts = {n: q.mean.detach() for n, q in model.starts(batch).items()}
    from_a = (seen[0] == starts["a"]).all(1); from_b = (seen[0] == starts["b"]).all(1)
    assert (from_a ^ from_b).all() and 60 < from_a.sum() < 140


# ---- refinement

@pytest.mark.parametrize("method", ["iterative", "iterative_marino"])
def test_refining_leaves_no_gradients_and_has_the_right_length(method, specs, batch):
    model = fresh(method, specs).eval()
    for steps in (0, 1, 3):
        for name in NAMES:
            qs = model.trajectory(batch, name, steps)
            assert len(qs) == steps + 1
            start = model.encoders[name](batch[name])
            assert torch.equal(qs[0].mean, start.mean) and torch.equal(qs[0].logvar, start.logvar)
            for q in qs: right_posterior(q); assert not q.mean.requires_grad and not q.logvar.requires_grad
    assert len(model.trajectory(batch, "svhn")) == model.steps + 1
    zero = model.infer(batch, "text", steps=0)
    assert torch.equal(zero.mean, model.encoders["text"](batch["text"]).mean)
    model.targets(batch); nelbo_over_t(model, batch, "mnist", 2)
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()

def test_refining_works_where_gradients_are_off_and_gives_the_same(specs, batch, no_noise):
    model = fresh("iterative", specs).eval()
    a = model.infer(batch, "svhn")
    with torch.no_grad(): b = model.infer(batch, "svhn")
    model.requires_grad_(False)
    c = model.infer(batch, "svhn")
    for q in (b, c): assert torch.equal(a.mean, q.mean) and torch.equal(a.logvar, q.logvar)

@pytest.mark.parametrize("method", ["iterative", "iterative_marino"])
@pytest.mark.parametrize("steps", [None, 0, 3])
def test_targets_are_the_refinement_from_each_start(method, steps, model, batch, no_noise):
    targets = model.targets(batch, steps)
    assert list(targets) == NAMES
    for n in NAMES:
        q = model.trajectory(batch, n, steps)[-1]
        close(targets[n].mean, q.mean, 1e-4, 1e-4); close(targets[n].logvar, q.logvar, 1e-4, 1e-4)
    assert (targets["mnist"].mean - targets["svhn"].mean).abs().max() > 1e-3

def test_a_remembered_gradient_is_the_weighted_mean_of_all_so_far():
    refiner, gs = Refiner(3, 8, momentum=0.7), torch.randn(6, 4, 6, generator=rng(3))
    memory = None
    for k, g in enumerate(gs, 1):
        memory = refiner.remember(g[:, :3], g[:, 3:], memory)
        weights = torch.tensor([0.7**(k - 1 - i) for i in range(k)])
        close(memory[:, :-1]/(1 - 0.7**k), (weights[:, None, None]*gs[:k]).sum(0)/weights.sum()); assert (memory[:, -1] == k).all()

def test_a_refinement_can_be_continued(no_noise):
    "2 steps and 3 more are 5 steps, if the memory is handed on; and not if it is lost."
    torch.manual_seed(0)
    model, batch = spread(IterativeTeacher(vector_specs(), 4, hidden=8)), vectors()
    elbo, start = lambda q: model.elbo(batch, q, path=True), model.encoders["a"](batch["a"]).detach()
    whole = refine(elbo, start, model.refiner, 5)[-1]
    first = refine(elbo, start, model.refiner, 2, keep="refiner")
    close(refine(elbo, first.trajectory[-1].detach(), model.refiner, 3, memory=first.memory)[-1].mean, whole.mean)
    assert (refine(elbo, first.trajectory[-1].detach(), model.refiner, 3)[-1].mean - whole.mean).abs().max() > 1e-6

def test_replay_continues_most_items_and_ages_them():
    torch.manual_seed(0)
    model = RefinerTraining(JVAE(vector_specs(), 4), Refiner(4, 8), steps=3, replay=0.6)
    for _ in range(40): model(vectors(50))
    ages = model.replay.stored[2][:, -1]
    assert set((ages % 3).tolist()) == {0.} and (ages == 3).sum() == 20           # 40 % are fresh
    assert 3 < ages.mean() < 15 and ages.max() > 9
    assert RefinerTraining(JVAE(vector_specs(), 4), Refiner(4, 8), replay=0.).replay.mix(vectors(), None)[2] is None

def test_the_estimate_at_the_sample_is_unbiased_and_still_at_the_optimum():
    "Linear decoders: the path gradient has the mean of the usual one, and no noise where q is the true posterior."
    torch.manual_seed(0)
    model, batch = JVAE(vector_specs(), 3), vectors(1)
    q = DiagonalGaussian(torch.full((1, 3), .3), torch.full((1, 3), -1.))
    many = {n: x.expand(4000, *x.shape[1:]) for n, x in batch.items()}
    def draws(path):
        wide = DiagonalGaussian(q.mean.expand(4000, 3), q.logvar.expand(4000, 3))
        return torch.cat(elbo_gradient(lambda p: model.elbo(many, p, path=path), wide)[1:], 1)
    a, b = draws(False), draws(True)
    error = (a.var(0)/4000 + b.var(0)/4000)**.5
    assert ((a.mean(0) - b.mean(0)).abs() < 4*error).all() and not torch.allclose(a, b)

def test_students_over_t_are_taught_by_one_trajectory(no_noise):
    torch.manual_seed(0)
    teacher, batch = spread(IterativeTeacher(vector_specs(), 4, steps=2, hidden=8)), vectors(40)
    several = StudentsOverT(teacher, over=(0, 1, 3)).train()
    assert not teacher.training and {p.split(".")[0] for p, v in several.named_parameters() if v.requires_grad} == {"encoders"}
    before = several.at(3).infer(batch).mean
    draws = [several.loss(batch).parts for _ in range(150)]
    for t in (0, 1, 3):                                        # on average over who teaches whom: the sum of all students' KL
        values = torch.stack([d[f"T={t}"] for d in draws])
        wanted = sum(v.mean() for v in several.at(t).divergences(batch).values()).detach()
        assert abs(values.mean() - wanted) < 4*values.std()/150**.5
    fit(several, TensorData({n: x for n, x in batch.items()}), 3, 8, device="cpu", progress=False)
    assert (several.at(3).infer(batch).mean - before).abs().max() > 0
    with pytest.raises(MmvaeError, match="T: got 2"): several.at(2)

def test_a_start_may_be_any_posterior():
    torch.manual_seed(0)
    model, batch = IterativeTeacher(vector_specs(), 4, hidden=8), vectors()
    q = DiagonalGaussian(torch.ones(11, 4), torch.zeros(11, 4))
    qs = model.trajectory(batch, q, 2)
    assert len(qs) == 3 and torch.equal(qs[0].mean, q.mean)

@torch.no_grad()
def test_the_gradient_is_that_of_the_elbo_by_finite_differences(no_noise):
    torch.manual_seed(4)
    model, batch = JVAE(vector_specs(), 3).double(), {n: x.double() for n, x in vectors(4).items()}
    mean, logvar = torch.randn(4, 3, generator=rng(1)).double(), torch.randn(4, 3, generator=rng(2)).double()
    z = torch.randn(4, 3, generator=rng(6)).double()              # fixed noise, reparameterised by hand
    def elbo(q): return log_p(model, batch, q.mean + torch.exp(q.logvar/2)*z) - prior_kl(q)
    value, g_mean, g_logvar = elbo_gradient(elbo, DiagonalGaussian(mean, logvar))
    close(value, elbo(DiagonalGaussian(mean, logvar)))
    for k, got in enumerate((g_mean, g_logvar)):
        for d in range(3):
            step = torch.zeros(4, 3).double(); step[:, d] = 1e-5
            up, down = ([mean + s*step, logvar] if k == 0 else [mean, logvar + s*step] for s in (1, -1))
            close(got[:, d], (elbo(DiagonalGaussian(*up)) - elbo(DiagonalGaussian(*down)))/2e-5, 1e-5, 1e-6)

@pytest.mark.parametrize("make", [Refiner, MarinoRefiner])
def test_refiners_keep_items_apart_and_finite(make):
    torch.manual_seed(0)
    refiner = make(5, 16)
    q = DiagonalGaussian(torch.randn(9, 5, generator=rng(0)), torch.randn(9, 5, generator=rng(1)))
    g = torch.randn(2, 9, 5, generator=rng(2))*torch.tensor([1., 1e4, 1e8]).repeat(3)[:, None]
    out, memory = refiner(q, *g)
    alone, _ = refiner(q[4:5], g[0][4:5], g[1][4:5])
    close(out.mean[4:5], alone.mean); close(out.logvar[4:5], alone.logvar)
    again, _ = refiner(out, *g, memory)                         # with a memory of its own, too
    alone, _ = refiner(out[4:5], g[0][4:5], g[1][4:5], memory if memory is None else memory[4:5])
    close(again.mean[4:5], alone.mean)
    assert out.mean.isfinite().all() and out.logvar.isfinite().all()
    if make is Refiner:                                         # a step has a bound, a proposal moves little at first
        assert ((out.mean - q.mean).abs() <= 3*q.std + 0.3*(1 + q.mean.abs())).all()

def test_nelbo_over_t_uses_the_same_noise_for_every_t():
    torch.manual_seed(0)
    model, batch = IterativeTeacher(vector_specs(), 4, hidden=8), vectors()
    model.refiner.forward = lambda q, g_mean, g_logvar, memory=None: (q, memory)        # a refiner that stays where it is
    values = nelbo_over_t(model, batch, "a", 5)
    assert len(values) == 6 and len(set(values)) == 1
    assert nelbo_over_t(model, batch, "a", 5) == values and nelbo_over_t(model, batch, "a", 0, seed=1) != values[:1]


# ---- Gaussians and their combinations

numbers = st.floats(-4, 4, width=32)
def gaussians(k, latent):
    row = st.lists(numbers, min_size=latent, max_size=latent)
    return st.lists(st.tuples(row, row), min_size=k, max_size=k)

experts_of = st.integers(1, 4).flatmap(lambda k: st.integers(1, 4).flatmap(lambda d: gaussians(k, d)))
def as_gaussians(raw): return [DiagonalGaussian(torch.tensor([m]).double(), torch.tensor([v]).double()) for m, v in raw]
common = settings(max_examples=60, deadline=None, derandomize=True)

@common
@given(experts_of, st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_products_do_not_depend_on_order(raw, prior, divide, random):
    experts = as_gaussians(raw)
    turned = random.sample(experts, len(experts))
    a, b = (product_of_experts(e, prior, divide) for e in (experts, turned))
    close(a.mean, b.mean, 1e-9, 1e-9); close(a.logvar, b.logvar, 1e-9, 1e-9)

@common
@given(experts_of, st.booleans())
def test_precisions_add_up(raw, prior):
    experts = as_gaussians(raw)
    q = product_of_experts(experts, prior)
    precision = sum(1/e.var for e in experts) + prior
    close(1/q.var, precision, 1e-9, 1e-9)
    close(q.mean*precision, sum(e.mean/e.var for e in experts), 1e-9, 1e-9)

@common
@given(experts_of, st.booleans(), st.lists(numbers, min_size=4, max_size=4), st.lists(numbers, min_size=4, max_size=4))
def test_a_product_of_densities_is_proportional_to_their_product(raw, prior, a, b):
    experts = as_gaussians(raw)
    q = product_of_experts(experts, prior)
    d = q.mean.shape[1]
    z, w = (torch.tensor([v[:d]]).double() for v in (a, b))
    factors = experts + ([DiagonalGaussian(torch.zeros(1, d).double(), torch.zeros(1, d).double())] if prior else [])
    close(q.log_prob(z) - q.log_prob(w), sum(e.log_prob(z) - e.log_prob(w) for e in factors), 1e-7, 1e-6)

def precisions_of(experts): return torch.stack([torch.exp(-e.logvar) for e in experts])

@common
@given(experts_of)
def test_dividing_out_the_prior_is_exact_where_proper_and_else_stays_between_the_experts(raw):
    experts = as_gaussians(raw)
    q, tau = product_of_experts(experts, divide_prior=True), precisions_of(experts)
    means = torch.stack([e.mean for e in experts])
    exact = tau.sum(0) - (len(experts) - 1)
    proper = exact >= tau.amax(0)
    close((1/q.var)[proper], exact[proper], 1e-9, 1e-9)
    close((q.mean*exact)[proper], (tau*means).sum(0)[proper], 1e-8, 1e-8)
    close((1/q.var)[~proper], tau.amax(0)[~proper], 1e-9, 1e-9)      # the loudest expert's, no more
    inside = (q.mean >= means.amin(0) - 1e-9) & (q.mean <= means.amax(0) + 1e-9)
    assert inside[~proper].all()
    assert (1/q.var <= tau.sum(0)*(1 + 1e-9)).all()                  # never surer than the plain product

@common
@given(experts_of)
def test_experts_as_narrow_as_the_prior_are_divided_by_the_formula_bit_for_bit(raw):
    narrow = [DiagonalGaussian(e.mean.float(), -e.logvar.abs().float()) for e in as_gaussians(raw)]
    q, tau = product_of_experts(narrow, divide_prior=True), precisions_of(narrow)
    precision = torch.maximum(tau.sum(0) - (len(narrow) - 1), tau.amax(0))      # up to rounding the first
    weighted = (tau*torch.stack([e.mean for e in narrow])).sum(0)
    assert torch.equal(q.mean, weighted/precision)
    assert torch.equal(q.logvar, (-precision.log()).clamp(-12, 6))
    close(1/q.var, sum(1/e.var for e in narrow) - len(narrow) + 1, 1e-4, 1e-4)

@common
@given(experts_of)
def test_the_divided_product_of_proper_experts_is_a_mean_of_the_prior_and_of_likelihoods(raw):
    "q_m/p is a likelihood of precision 1/var - 1; the product averages their means and the prior's 0."
    narrow = [DiagonalGaussian(e.mean, -e.logvar.abs() - 0.1) for e in as_gaussians(raw)]
    q, tau = product_of_experts(narrow, divide_prior=True), precisions_of(narrow)
    centres = tau*torch.stack([e.mean for e in narrow])/(tau - 1)
    centres = torch.cat([centres, torch.zeros_like(centres[:1])])
    size = centres.abs().amax(0)*1e-9
    assert (q.mean >= centres.amin(0) - size).all() and (q.mean <= centres.amax(0) + size).all()

@pytest.mark.parametrize("count", [2, 3, 5])
def test_wide_experts_that_agree_are_not_pushed_away_from_what_they_say(count):
    wide = DiagonalGaussian(torch.full((1, 1), 1.), torch.full((1, 1), 2.).log())
    q = product_of_experts([wide]*count, divide_prior=True)
    close(q.mean.item(), 1.); close(q.var.item(), 2.)

@common
@given(experts_of, st.lists(numbers, min_size=4, max_size=4))
def test_a_mixture_lies_between_its_best_component_and_a_kth_of_it(raw, z):
    experts = as_gaussians(raw)
    z = torch.tensor([z[:experts[0].mean.shape[1]]]).double()
    logs = torch.stack([e.log_prob(z) for e in experts])
    value = Mixture(experts).log_prob(z)
    assert (value <= logs.amax(0) + 1e-9).all() and (value >= logs.amax(0) - math.log(len(experts)) - 1e-9).all()
    close(Mixture(experts*3).log_prob(z), value, 1e-9, 1e-9)                    # copies change nothing
    close(Mixture(experts[::-1]).log_prob(z), value, 1e-9, 1e-9)

@common
@given(gaussians(2, 3), st.lists(numbers, min_size=3, max_size=3))
def test_density_and_divergence_are_those_of_torch(raw, z):
    q, p = as_gaussians(raw)
    z = torch.tensor([z]).double()
    close(q.log_prob(z), normal(q).log_prob(z).sum(1), 1e-9, 1e-9)
    close(q.kl(p), pair_kl(q, p), 1e-9, 1e-9); close(q.kl(), prior_kl(q), 1e-9, 1e-9)
    assert (q.kl(p) >= -1e-9).all() and q.kl(q).abs().max() < 1e-9

def test_a_mixture_is_a_density():
    parts = as_gaussians([([-1.0], [0.5]), ([2.0], [-1.0]), ([0.3], [1.5])])
    z = torch.linspace(-20, 20, 40001).double()[:, None]
    logs = Mixture([DiagonalGaussian(p.mean.expand(len(z), 1), p.logvar.expand(len(z), 1)) for p in parts]).log_prob(z)
    assert abs(torch.trapezoid(logs.exp(), z[:, 0]).item() - 1) < 1e-6

@pytest.mark.parametrize("call", [lambda: product_of_experts([]), lambda: Mixture([]), lambda: MultimodalVAE({}),
                                  lambda: DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 4))])
def test_nothing_to_combine_is_an_error(call):
    with pytest.raises(MmvaeError) as e: call()
    one_line(e)

@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_subsets(count):
    names = "abcd"[:count]
    bits = {tuple(n for i, n in enumerate(names) if k >> i & 1) for k in range(1, 2**count)}
    assert set(subsets_of(names)) == bits and len(subsets_of(names)) == 2**count - 1
    assert subsets_of(names, "full") == [tuple(names)] and subsets_of(names, "singletons") == [(n,) for n in names]


# ---- mixed precision

@every_method
def test_bfloat16_is_close_to_float32(method, specs, batch):
    model = fresh(method, specs).train()
    torch.manual_seed(9); full = model.loss(batch).total
    torch.manual_seed(9)
    with torch.autocast("cpu", torch.bfloat16): half = model.loss(batch).total
    assert half.dtype == torch.float32 and half.item() != full.item()
    assert abs(half.item() - full.item()) < 0.03*abs(full.item()) + 0.05

@every_method
def test_bfloat16_gradients_reach_the_same_parameters(method, specs, batch):
    model = fresh(method, specs)
    full = learns(model, batch)
    with torch.autocast("cpu", torch.bfloat16): half = learns(model, batch)
    assert len(full ^ half) <= 2, full ^ half

@pytest.mark.parametrize("earlier", [0, 2])
def test_a_refiner_learns_in_bfloat16_also_from_continued_items(earlier):
    torch.manual_seed(0)
    training = RefinerTraining(JVAE(vector_specs(), 4), Refiner(4, 16), steps=2)
    for _ in range(earlier): training(vectors())
    grads = {}
    for name, context in [("float32", torch.autocast("cpu", enabled=False)), ("bf16", torch.autocast("cpu", torch.bfloat16))]:
        training.zero_grad(set_to_none=True)
        torch.manual_seed(1)
        with context: total = training(vectors()).total
        total.backward()
        grads[name] = {n for n, p in training.refiner.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert grads["float32"] == grads["bf16"] == {n for n, _ in training.refiner.named_parameters()}


# ---- a user's own modalities

def own_data(kind):
    g = rng(5)
    z = torch.randn(48, 2, generator=g)
    if kind == "vectors": return TensorData({"a": z@torch.randn(2, 3, generator=g), "b": (z@torch.randn(2, 5, generator=g)).numpy()})
    if kind == "text and image":
        return TensorData({"word": torch.randint(0, 5, (48, 4), generator=g), "picture": torch.rand(48, 2, 8, 8, generator=g)})
    return TensorData({"odd": torch.randint(0, 256, (48, 1, 7, 9), generator=g, dtype=torch.uint8),
                       "sentence": torch.randint(0, 9, (48, 16), generator=g), "v": z, "w": -z})

def trains(method, specs, data, latent=4):
    model = fresh(method, specs, latent)
    before = state(model)
    history = fit(model, data, 2, 8, device="cpu", progress=False)
    assert np.isfinite(history.total).all() and len(history) == 2
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert {k.split(".")[1] for k in changed if k.startswith("encoders.")} == (set(specs) if hasattr(model, "encoders") else set())
    assert changed and not model.training
    return model

@every_method
def test_hand_written_specs_train(method):
    data = own_data("vectors")
    model = trains(method, vector_specs(), data)
    batch = data.batch(0, 8)
    made = model.generate(batch if method in TEACHERS else {"b": batch["b"]}, to="a")
    assert tuple(made["a"].shape) == (8, 3) and made["a"].isfinite().all()

@pytest.mark.parametrize("kind", ["vectors", "three kinds"])
@pytest.mark.parametrize("method", ["jvae", "jmvae", "mopoe", "iterative", "jvae_students", "iterative_students"])
def test_own_tensors_train_with_default_specs(method, kind):
    data = own_data(kind)
    model = trains(method, default_specs(data.modalities), data)
    made = model.generate(torch.zeros(3, 4))
    assert {n: tuple(x.shape[1:]) for n, x in made.items()} == {n: tuple(m.shape) for n, m in data.modalities.items()}

@pytest.mark.parametrize("length", [8, 12, 16, 32, 4])
def test_texts_of_every_allowed_length(length):
    data = TensorData({"word": torch.randint(0, 5, (20, length), generator=rng(0)), "v": torch.randn(20, 3, generator=rng(1))})
    model = JVAE(default_specs(data.modalities), 4)
    total, _ = model.loss(data.batch(0, 8))
    assert total.isfinite() and model.generate(torch.zeros(2, 4), "word")["word"].shape == (2, length)

def test_distill_makes_students_that_come_closer():
    data = own_data("vectors")
    teacher = fresh("jvae", vector_specs(), 4)
    before = state(teacher)
    torch.manual_seed(0)
    far = Students(teacher).loss(data.pools).total
    students = distill(teacher, data, 40, batch_size=16, lr=0.01, device="cpu", progress=False)
    near = students.loss(data.pools).total
    assert near < 0.7*far
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())

@pytest.mark.parametrize("method", ["mopoe", "jmvae", "jvae_students"])
def test_whatever_infers_from_everything_can_teach(method):
    "Also students can: they are imitated themselves, not their own teacher."
    model, batch = Students(fresh(method, vector_specs(), 4)), vectors()
    wanted = model.teacher.infer(batch)
    targets = model.targets(batch)
    assert list(targets) == list(SIZES)
    for q in targets.values(): assert torch.equal(q.mean, wanted.mean) and not q.mean.requires_grad


# ---- options with typing errors

def tiny(cls, **options): return lambda: cls(vector_specs(), 4, **options)

@pytest.mark.parametrize("call, name, wrong, allowed", [
    (tiny(IterativeTeacher, refiner="our"), "refiner", "'our'", ["ours", "marino"]),
    (tiny(IterativeTeacher, decoders="all"), "decoders", "'all'", ["mean", "last", "frozen"]),
    (tiny(IterativeTeacher, steps=0), "steps", "0", ["at least 1"]),
    (tiny(IterativeTeacher, steps=1.5), "steps", "1.5", ["whole"]),
    (tiny(MoPoE, subsets="singleton"), "subsets", "'singleton'", ["powerset", "full", "singletons"]),
    (tiny(JMVAE, alpha=-1), "alpha", "-1", ["at least 0"]),
    (tiny(JMVAE, warm_up=1.5), "warm_up", "1.5", ["whole"]),
    (tiny(JVAE, beta=float("nan")), "beta", "nan", ["at least 0"]),
    (lambda: JVAE(vector_specs(), 0), "latent", "0", ["at least 1"]),
    (lambda: Students(JVAE(vector_specs(), 4), direction="backward"), "direction", "'backward'", ["forward", "reverse"]),
    (lambda: Students(JVAE(vector_specs(), 4), warm_start=True), "warm_start", "True", ["False"]),
    (lambda: default_specs({"m": Modality("m", "vector", (3,))}, layout="exact"), "layout", "'exact'", ["groupnorm", "mopoe"]),
    (lambda: default_specs({"m": Modality("m", "vector", (3,))}, weights={"n": 1}), "weights", "'n'", ["m"]),
    (lambda: Laplace(0), "scale", "0", ["at least"]),
    (lambda: ModalitySpec(nn.Identity, 3, nn.Identity, Gaussian(), weight=-1), "weight", "-1", ["at least 0"]),
    (lambda: fresh("iterative", vector_specs(), 4).trajectory(vectors(), "c"), "start", "'c'", ["a", "b"]),
    (lambda: refine(None, None, None, -1), "steps", "-1", ["at least 0"]),
])
def test_wrong_options_get_one_line(call, name, wrong, allowed):
    with pytest.raises(MmvaeError) as e: call()
    text = one_line(e)
    assert text.startswith(f"{name}: got {wrong}, allowed: ") and all(a in text.split("allowed:")[1] for a in allowed)

def test_no_method_swallows_unknown_options():
    for cls in (JVAE, JMVAE, MoPoE, IterativeTeacher, Students):
        assert not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())

@pytest.mark.parametrize("layout", ["groupnorm", "mopoe"])
def test_both_layouts_make_models_that_train(layout, data):
    specs = default_specs(data.modalities, layout=layout)
    norms = lambda m: sum(isinstance(x, nn.GroupNorm) for x in m.modules())
    model = JVAE(specs, LATENT)
    assert (norms(model) > 0) == (layout == "groupnorm")
    assert fit(model, data, 1, 8, device="cpu", progress=False).total.map(math.isfinite).all()
    assert isinstance(specs["text"].likelihood, Categorical)


# ---- what a researcher's own networks bring along

def vector_spec(size, likelihood=None, **layers):
    "A spec for vectors; `layers` go into the decoder after its linear map."
    decoder = lambda z: nn.Sequential(nn.Linear(z, size), *[make(size) for make in layers.values()])
    return ModalitySpec(lambda: nn.Sequential(nn.Linear(size, 8), nn.ReLU()), 8, decoder, likelihood or Gaussian())

@pytest.mark.parametrize("likelihood", [Gaussian(), Laplace(), Bernoulli()], ids=lambda l: type(l).__name__)
@pytest.mark.parametrize("x, params", [((4, 1), (4,)), ((4, 1, 2, 2), (4, 2, 2)), ((4, 3), (4, 1))])
def test_likelihoods_do_not_broadcast(likelihood, x, params):
    with pytest.raises(MmvaeError, match="^params: got shape"): likelihood.log_prob(torch.zeros(x), torch.zeros(params))
    assert likelihood.log_prob(torch.zeros(x), torch.zeros(x)).shape == (4,)

class LearntScale(nn.Module):
    "A Gaussian whose deviation is learnt."
    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))
    def log_prob(self, x, params):
        return torch.distributions.Normal(params, self.log_scale.exp()).log_prob(x).sum(1)
    def mean(self, params): return params

def test_a_likelihood_with_parameters_is_trained_and_saved():
    x = .01*torch.randn(64, 3, generator=rng())
    model = JVAE({"a": vector_spec(3, LearntScale())}, 2)
    fit(model, TensorData({"a": x}), 60, 32, lr=.05, device="cpu", progress=False)
    assert model.specs["a"].likelihood.log_scale < -1 and "likelihoods.a.log_scale" in model.state_dict()

@pytest.mark.parametrize("name", ["values", "train", "a.b", ""])
def test_names_that_torch_can_not_hold(name):
    with pytest.raises(MmvaeError, match="^specs: got a modality called"): JVAE({name: vector_spec(3)}, 2)

def frozen(kind):
    "What is frozen, and what trains beside it."
    model = JVAE({n: vector_spec(3, norm=nn.BatchNorm1d, drop=lambda s: nn.Dropout(.5)) for n in "ab"}, 2)
    if kind == "refiner": return model, RefinerTraining(model, Refiner(2, 8), steps=1)
    teacher = on_decoders(model, steps=1, hidden=8)
    return teacher.decoders, teacher

@pytest.mark.parametrize("kind", ["refiner", "on_decoders"])
def test_what_is_frozen_stays_as_it_is(kind):
    torch.manual_seed(0)
    part, trained = frozen(kind)
    before = {k: v.clone() for k, v in part.state_dict().items()}
    data = TensorData({n: torch.randn(32, 3, generator=rng(i)) for i, n in enumerate("ab")})
    fit(trained, data, 3, 16, device="cpu", progress=False)
    assert all(torch.equal(v, before[k]) for k, v in part.state_dict().items())
    trained.train()
    decoders = part.decoders if kind == "refiner" else part
    z = torch.randn(5, 2, generator=rng())
    assert torch.equal(decoders["a"](z), decoders["a"](z))                  # no dropout

@pytest.mark.parametrize("size, share", [(1, .6), (2, .8), (8, .95)])
def test_replay_lets_new_items_in(size, share):
    replay, seen = Replay(share), set()
    for k in range(20):
        batch, q, _ = replay.mix({"a": torch.full((size, 1), float(k))}, DiagonalGaussian.standard(size, 3))
        seen |= set(batch["a"].flatten().tolist()); replay.store(batch, q, None)
    assert len(seen) == 20

def test_a_refiner_is_validated_on_what_it_is_given():
    torch.manual_seed(0)
    model = RefinerTraining(JVAE(vector_specs(), 4), Refiner(4, 8), steps=1)
    model.train()(vectors()); stored = model.replay.stored
    model.eval()(vectors())
    assert model.replay.stored is stored

def test_t_is_for_teachers_that_refine():
    for teacher in (JVAE(vector_specs(), 4), Students(iterative(vector_specs(), 4))):
        with pytest.raises(MmvaeError, match="^steps: got 3"): Students(teacher, steps=3)

def test_students_over_t_infer_and_refuse():
    torch.manual_seed(0)
    students = StudentsOverT(iterative(vector_specs(), 4), over=(0, 2)).eval()
    with torch.no_grad():
        assert torch.equal(students.infer(vectors()).mean, students.at(2).infer(vectors()).mean)
    students.train(); students.infer(vectors())
    assert students.encoders["T=2"].training and students.encoders["T=0"].training
    for over in ((), (-1, 2), (1.5,)):
        with pytest.raises(MmvaeError, match="^over: "): StudentsOverT(iterative(vector_specs(), 4), over)
