"Methods, data and small models for the tests of models."
import itertools

import pytest, torch
from torch import nn

from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.distillation import Students
from mmvae_nb.distributions import DiagonalGaussian, Gaussian
from mmvae_nb.iterative_inference import Refiner, RefinerTraining
from mmvae_nb.jmvae import JMVAE, JVAEWithStudents
from mmvae_nb.mopoe import MMVAE, MVAE, MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher, on_decoders
from mmvae_nb.mvtcae import CRMVAE, MVTCAE
from mmvae_nb.networks import ModalitySpec, default_specs

LATENT, BATCH, NAMES = 6, 8, ["mnist", "svhn", "text"]
SHAPES = {"mnist": (1, 28, 28), "svhn": (3, 32, 32), "text": (8,)}
SUBSETS = [s for k in (1, 2, 3) for s in itertools.combinations(NAMES, k)]

rng = lambda seed=0: torch.Generator().manual_seed(seed)

def iterative(specs, latent=LATENT, **options): return IterativeTeacher(specs, latent, steps=2, hidden=32, **options)

# name -> function of (specs, latent); those in TEACHERS can't infer from a part
MAKE = {
    "jvae": JVAE,
    "jmvae": JMVAE,
    "jvae_with_students": JVAEWithStudents,
    "mopoe": MoPoE,
    "mvae": MVAE,
    "mmvae": MMVAE,
    "mopoe_exact": lambda s, z: MoPoE(s, z, exact=True),
    "iterative": iterative,
    "iterative_marino": lambda s, z: iterative(s, z, refiner="marino"),
    "iterative_last": lambda s, z: iterative(s, z, decoders="last"),
    "iterative_frozen": lambda s, z: iterative(s, z, decoders="frozen"),
    "mvtcae": MVTCAE,
    "crmvae": CRMVAE,
    "mvtcae_students": lambda s, z: Students(MVTCAE(s, z)),
    "iterative_on_decoders": lambda s, z: on_decoders(JVAE(s, z), steps=2, hidden=32, replay=0.0),
    "jvae_students": lambda s, z: Students(JVAE(s, z)),
    "jvae_students_reverse": lambda s, z: Students(JVAE(s, z), direction="reverse"),
    "iterative_students": lambda s, z: Students(iterative(s, z), divide_prior=True, starts="all"),
    "iterative_students_warm": lambda s, z: Students(iterative(s, z), warm_start=True),
}

TEACHERS = [m for m in MAKE if m == "jvae" or m.startswith("iterative") and "students" not in m]

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

def right_posterior(q, n=BATCH):
    assert type(q) is DiagonalGaussian and q.mean.shape == q.logvar.shape == (n, LATENT)
    assert q.mean.isfinite().all() and q.mean.dtype == torch.float32 and (q.var > 0).all()

SIZES = {"a": 3, "b": 5}

def vector_specs(weights=(2.0, 0.5, 1.5), scales=(0.7, 1.3, 1.0), sizes=SIZES):
    "Hand-written specs: a tanh layer in, one linear map out, Gaussian likelihoods."
    def spec(d, w, s): return ModalitySpec(lambda: nn.Sequential(nn.Linear(d, 7), nn.Tanh()), 7,
                                           lambda latent: nn.Linear(latent, d), Gaussian(s), w)
    return {n: spec(d, w, s) for (n, d), w, s in zip(sizes.items(), weights, scales)}

def vectors(n=11, seed=0, sizes=SIZES): return {k: torch.randn(n, d, generator=rng(seed + d)) for k, d in sizes.items()}

def normal(q): return torch.distributions.Normal(q.mean, torch.exp(q.logvar/2))

def prior_kl(q): return torch.distributions.kl_divergence(normal(q), torch.distributions.Normal(0., 1.)).sum(1)

def pair_kl(q, p): return torch.distributions.kl_divergence(normal(q), normal(p)).sum(1)

def log_p(model, batch, z):
    "sum_m w_m log N(x_m; decoder_m(z), s_m^2) by torch.distributions."
    return sum(s.weight*torch.distributions.Normal(model.decoders[n](z), s.likelihood.scale).log_prob(batch[n]).sum(1)
               for n, s in model.specs.items())

def vector_spec(size, likelihood=None, **layers):
    "A spec for vectors; `layers` go into the decoder after its linear map."
    decoder = lambda z: nn.Sequential(nn.Linear(z, size), *[make(size) for make in layers.values()])
    return ModalitySpec(lambda: nn.Sequential(nn.Linear(size, 8), nn.ReLU()), 8, decoder, likelihood or Gaussian())

def frozen(kind):
    "What is frozen, and what trains beside it."
    model = JVAE({n: vector_spec(3, norm=nn.BatchNorm1d, drop=lambda s: nn.Dropout(.5)) for n in "ab"}, 2)
    if kind == "refiner": return model, RefinerTraining(model, Refiner(2, 8), steps=1)
    teacher = on_decoders(model, steps=1, hidden=8)
    return teacher.decoders, teacher


__all__ = [
    "BATCH", "SHAPES", "SUBSETS",
    "LATENT", "MAKE", "NAMES", "SIZES", "TEACHERS", "batch", "close", "data", "every_method", "fresh",
    "frozen", "iterative", "log_p", "model", "no_noise", "normal", "one_line", "pair_kl", "part", "prior_kl",
    "right_posterior", "rng", "specs", "spread", "state", "vector_spec", "vector_specs", "vectors"]
