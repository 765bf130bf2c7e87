"What a user of a training met: optimisers of other tensors, weights that are no numbers, gradients that are off."
import math

import numpy as np, pytest, torch
from torch import nn

from mmvae_nb import JVAE, MoPoE, PairedByKey, TensorData, default_specs, distill, evaluate, fit, impute
from mmvae_nb.networks import ModalitySpec
from mmvae_nb.using import log_likelihood, refined
from mmvae_nb.vae import VAE
from test_user_fit import QUIET, refused

g = np.random.default_rng(0)
X = {"x": torch.tensor(g.normal(size=(40, 4)).astype("float32")),
     "s": torch.tensor(g.normal(size=(40, 4, 2)).astype("float32")),
     "k": torch.arange(40)[:, None] % 3}
DATA = TensorData(X, kinds={"s": "sequence", "k": "categories"})
HOW = dict(updates=2, batch_size=8, **QUIET)
FEW = {n: x[:4] for n, x in X.items()}
SMALL = dict(samples=10, probe_points=10, oracle_items=0)

def model(cls=MoPoE):
    torch.manual_seed(0)
    return cls(default_specs(DATA.modalities), 2).eval()

def spoilt(part="decoders", value=math.nan, names=("x", "s", "k")):
    m = model()
    with torch.no_grad():
        for n in names:
            for p in getattr(m, part)[n].parameters(): p.fill_(value)
    return m


# ---- an optimiser of one's own

ADAM = torch.optim.Adam

def test_an_optimiser_moves_what_is_to_be_trained():
    n = len(list(model().parameters()))
    for make, words in (
            (lambda p, lr: ADAM([nn.Parameter(torch.ones(1))], lr), "1 tensors that are not trained"),
            (lambda p, lr: ADAM([*p, nn.Parameter(torch.ones(1))], lr), "1 tensors that are not trained"),
            (lambda p, lr: ADAM([next(iter(p))], lr), f"1 of {n} tensors to be trained"),
            (lambda p, lr: ADAM([{"params": p[:2]}, {"params": p[2:-1]}], lr), f"{n - 1} of {n} tensors")):
        m = model()
        before = {k: v.clone() for k, v in m.state_dict().items()}
        refused(lambda m=m, make=make: fit(m, DATA, optimiser=make, **HOW), f"optimiser: got one over {words}",
                f"all {n}", "requires_grad_(False)")
        assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())

def test_an_optimiser_of_a_part_and_in_groups_is_taken():
    m = model()
    m.decoders.requires_grad_(False)
    before = {k: v.clone() for k, v in m.state_dict().items()}
    fit(m, DATA, optimiser=lambda p, lr: ADAM([{"params": p[:2]}, {"params": p[2:]}], lr), **HOW)
    after = m.state_dict()
    moved = lambda start: [not torch.equal(after[k], v) for k, v in before.items() if k.startswith(start)]
    assert not any(moved("decoders")) and all(moved("encoders"))
    fit(m, DATA, optimiser=lambda p, lr: ADAM(m.parameters(), lr), **HOW)                # others are frozen: they stay

@pytest.mark.parametrize("make, words", [
    (torch.optim.LBFGS, "closure"), (torch.optim.SparseAdam, "sparse gradients"),
    (lambda p, lr: ADAM(p, -lr), "Invalid learning rate")])
def test_an_optimiser_suits_the_loop(make, words):
    refused(lambda: fit(model(), DATA, optimiser=make, **HOW), "optimiser: got", words)


# ---- no gradient, no training

@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_training_needs_gradients(mode):
    m = model(JVAE)
    for call, name in ((lambda: fit(m, DATA, **HOW), "fit"), (lambda: distill(m, DATA, **HOW), "distill")):
        with mode(): refused(call, f"{name}: got called under torch.{mode.__name__}")
    assert all(p.requires_grad for p in m.parameters())                                # no teacher was frozen

def test_what_is_called_is_what_the_line_names():
    m = model()
    for call, name in ((lambda: refined(m, FEW, steps=1), "refined"),
                       (lambda: log_likelihood(m, FEW, samples=2, climb=0), "log_likelihood")):
        with torch.inference_mode(): refused(call, f"{name}: got called under torch.inference_mode")
        with torch.no_grad(): call()


# ---- weights and values that are no numbers, or too large

@pytest.mark.parametrize("part", ["decoders", "encoders"])
def test_weights_that_are_no_numbers_make_nothing(part):
    m = spoilt(part)
    for call, start in ((lambda: m.generate(FEW), "x: got nan"),
                        (lambda: m.generate(FEW, "k"), "k: got nan"),                   # a token is always a number
                        (lambda: m.generate(FEW, "s", sample="x"), "s: got nan"),
                        (lambda: m.generate(FEW, "k", sample="x"), "k: got nan"),
                        (lambda: impute(m, {"x": X["x"]}), "s: got nan"),
                        (lambda: refined(m, FEW, steps=2), "x, s, k: got nan"),
                        (lambda: log_likelihood(m, FEW, samples=2, climb=2), "x, s, k: got nan"),
                        (lambda: evaluate(m, DATA, DATA, **SMALL), f"model: got {part}.")):
        refused(call, start)
    refused(lambda: distill(m, DATA, **HOW), f"teacher: got {part}.")
    assert all(p.requires_grad for p in m.parameters())

def test_the_modality_that_is_spoilt_is_named():
    m = spoilt(names=["s"])
    assert m.generate(FEW, ["x", "k"])["x"].isfinite().all()
    refused(lambda: m.generate(FEW), "s: got nan from the model")
    refused(lambda: log_likelihood(m, FEW, samples=2, climb=2), "s: got nan from the model")

@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_vae_of_weights_that_are_no_numbers_makes_nothing(value):
    for n in ("x", "k"):
        m = VAE(default_specs(DATA.modalities)[n], n, 2).eval()
        with torch.no_grad(): list(m.decoder.parameters())[-1].fill_(value)
        refused(lambda m=m: m.generate(torch.zeros(2, 2)), f"{n}: got {value}")

def test_values_that_are_too_large():
    m = model()
    big = torch.full((2, 4, 2), 1e30)
    refused(lambda: m.generate({"s": big}, "x"), "x: got nan")
    refused(lambda: impute(m, {"s": big}), "x: got nan")
    refused(lambda: refined(m, {"s": big}, steps=2), "s: got nan")
    refused(lambda: log_likelihood(m, {"s": big}, samples=2, climb=2), "s: got")
    refused(lambda: log_likelihood(m, {"x": torch.full((2, 4), 1e30)}, samples=2, climb=2), "x: got -inf")

def test_a_likelihood_of_heavy_tails_says_nan_and_fit_says_what_may_help():
    m = model()
    refused(lambda: fit(m, DATA, updates=50, batch_size=8, lr=1e30, clip=None, **QUIET), "loss: got", "smaller lr")

def test_minus_infinity_is_a_logit_of_what_can_t_be():
    m = model()
    with torch.no_grad(): list(m.decoders["k"].parameters())[-1][1] = -math.inf
    assert (m.generate(FEW, "k")["k"] != 1).all() and (m.generate(FEW, "k", sample="x")["k"] != 1).all()

def test_what_is_made_can_still_be_recorded():
    from torch.fx.experimental.proxy_tensor import make_fx
    m = model()
    traced = make_fx(lambda z: m.generate(z)["x"])(torch.zeros(2, 2))
    assert torch.equal(traced(torch.ones(2, 2)), m.generate(torch.ones(2, 2))["x"])


# ---- sparse tensors

@pytest.mark.filterwarnings("ignore:Sparse CS")
def test_sparse_tensors_are_refused_wherever_a_batch_is_taken():
    m = model()
    sparse = {**FEW, "x": FEW["x"].to_sparse()}
    mask = torch.ones(4, 3).bool()
    for call in (lambda: m.infer(sparse), lambda: m(sparse), lambda: m.train()(sparse), lambda: m.generate(sparse),
                 lambda: m({**sparse, "present": mask}), lambda: m.infer({"x": FEW["x"].to_sparse_csc()}),
                 lambda: VAE(default_specs(DATA.modalities)["x"], "x", 2)({"x": sparse["x"]})):
        refused(call, "x: got a sparse tensor", "to_dense")
    refused(lambda: m({**FEW, "present": mask.to_sparse()}), "present: got a sparse tensor")

@pytest.mark.parametrize("what", ["keys", "labels"])
def test_sparse_keys_are_refused(what):
    y = torch.arange(40) % 3
    call = lambda y: PairedByKey("own", "train", DATA.modalities, X, **{what: {n: y for n in X}})
    assert len(call(y)) == 40
    refused(lambda: call(y.to_sparse()), f"{what} of x: got a sparse tensor")


# ---- networks and likelihoods of one's own

class Own:
    def __init__(self, f): self.f = f
    def mean(self, params): return params
    def log_prob(self, x, params): return self.f(-((x - params)**2).sum(1))

def own(f=lambda logs: logs, trunk=lambda x: x):
    class Trunk(nn.Module):
        def forward(self, x): return trunk(x)
    return MoPoE({"x": ModalitySpec(Trunk, 4, lambda latent: nn.Linear(latent, 4), Own(f),
                                     modality=OWN.modalities["x"])}, 2)

OWN = TensorData({"x": X["x"]})

@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
def test_log_prob_gives_floats(dtype):
    refused(lambda: fit(own(lambda logs: logs.to(dtype)), OWN, **HOW), "x: log_prob of Own returned", str(dtype))
    fit(own(), OWN, **HOW)

@pytest.mark.parametrize("trunk", [lambda x: x[:1], lambda x: (x, x), lambda x: x.mean(0, keepdim=True)])
def test_an_encoder_gives_a_row_for_each_item(trunk):
    refused(lambda: fit(own(trunk=trunk), OWN, **HOW), "x: its encoder returned", "(batch, 4)")
