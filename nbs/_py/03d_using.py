# %% [markdown]
# # Using a trained model
#
# > Fill holes, each item its own; say how probable data are, with an error bar; refine at test time.
#
# ::: {.callout-note}
# ## You will learn
#
# - to impute whatever is missing, by a mean or by several draws;
# - to estimate $\log p(x)$ and $\log p(x_A \mid x_B)$ of any model here, and to see when not to trust the estimate;
# - that a posterior refined on what is given explains the given much better, and the missing hardly.
#
# Runs in about a minute on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: four rows; a digit is inferred to a bell, a z of the bell is decoded, a hole among three modalities is filled, and many z under a wide bell give log p(x) with an error.](drawings/using.svg)

# %%
#| default_exp using

# %%
#| export
import math, warnings
from collections import namedtuple
from collections.abc import Mapping
import torch
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.distributions import *
from mmvae_nb.amortization_gap import gradient_ascent, importance_estimate
from mmvae_nb.amortization_gap import annealed_importance_sampling
from mmvae_nb.kinds import as_kind, check_values
from mmvae_nb.missing import PRESENT, plain_tensor
from mmvae_nb.multimodal_elbo import MultimodalVAE
from mmvae_nb.networks import MOST_DRAWS
from mmvae_nb.vae import check_results, path_kl

# %%
from dataclasses import replace
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from torch import nn
from torch.distributions import MultivariateNormal
from mmvae_nb.data import TensorData
from mmvae_nb.distillation import distill
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import ModalitySpec, default_specs
from mmvae_nb.plotting import *
from mmvae_nb.training import fit
set_style()


# %% [markdown]
# ## A model to use
#
# Four views that everybody has: the quarters of scikit-learn's small digits, 16 numbers each. A MoPoE (lesson 05) infers from any of them.

# %%
def quarters(images):
    "(n, 8, 8) -> dict of four modalities (n, 16)."
    cut = {"upper left": (0, 0), "upper right": (0, 4), "lower left": (4, 0), "lower right": (4, 4)}
    return {n: images[:, i:i + 4, j:j + 4].reshape(-1, 16) for n, (i, j) in cut.items()}

def whole(parts):
    "Back to pictures (..., 1, 8, 8)."
    q = [torch.as_tensor(x).unflatten(-1, (4, 4)) for x in parts.values()]
    return torch.cat([torch.cat(q[:2], -1), torch.cat(q[2:], -1)], -2).unsqueeze(-3)

digits = load_digits().images.astype("float32")/16
train, test = quarters(digits[:1400]), quarters(digits[1400:])
data = TensorData(train)
specs = {n: replace(s, likelihood=Gaussian(.2)) for n, s in default_specs(data.modalities).items()}
seed_everything(0, "using"); model = MoPoE(specs, latent=8)
fit(model, data, updates=800, batch_size=64, lr=2e-3, progress=False, device="cpu");


# %% [markdown]
# ## Holes, each item its own
#
# A real test set has holes, and not the same in each item. `impute` sorts the items by what they have, infers once for each such pattern, and writes what the model makes
# into the holes and nowhere else. In floats a hole is `nan`. Bytes and tokens have none, so `there` says who has them; a modality that nobody has is left out. What comes back has the type that was given: pictures in bytes from 0 to 255, counts, truth values and
# classes as whole numbers, *rounded*, because the mean of a count is a fraction; give counts as floats and you see it. Which of the two a `uint8` is, says the modality's kind
# ([lesson 02f](02f_kinds.ipynb)). A modality with
# a hole *in* it counts as absent when $z$ is inferred, as no encoder can read half of its input; but what is there of it is kept.

# %%
#| exports
def _holes(name, x, there):
    "True where a value is missing, in the shape of `x`."
    hole = x.isnan() if x.is_floating_point() else torch.zeros_like(x, dtype=torch.bool)
    if there is None: return hole
    there = plain_tensor(f"there[{name!r}]", there).to(x.device)
    if there.dtype != torch.bool or there.shape != x.shape[:1]:
        raise MmvaeError(f"there[{name!r}]: got {tuple(there.shape)} of {there.dtype}, allowed: "
                         f"({len(x)},) of torch.bool")
    return hole | ~there.view(-1, *[1]*(x.ndim - 1))

def _patterns(holes):
    "(names that are there, the items that have just these) for each pattern of what is there."
    there = torch.stack([~h.flatten(1).any(1) for h in holes.values()], 1)
    empty = (~there.any(1)).nonzero().flatten().tolist()
    if empty:
        raise MmvaeError(f"data: got nothing whole in {len(empty)} items (the first is number "
                         f"{empty[0]}), allowed: one modality without a hole in each")
    for p in there.unique(dim=0) if len(there) else there.new_ones(1, len(holes)):
        names = [n for n, has in zip(holes, p.tolist()) if has]
        yield names, (there == p).all(1).nonzero()[:, 0]

def _kept(made, dtype, modality):
    "What was generated in the type of what was given: pictures in bytes, counts rounded."
    if dtype.is_floating_point: return made.to(dtype)
    if dtype == torch.bool: return made >= .5
    picture = dtype == torch.uint8 and (modality is None or modality.kind == "image")
    least, most = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    return (255*made if picture else made).round().clamp(least, most).to(dtype)

def _check_shape(name, made, shape):
    "Refuse what does not fit into the holes; it would be repeated until it does."
    if made.shape == torch.Size(shape): return
    raise MmvaeError(f"mean of {name}: got shape {tuple(made.shape)}, allowed: that of the data, "
                     f"{tuple(shape)}")

def _said(data, there):
    "The data without the mask that a batch of items with holes has, and the mask by name."
    if PRESENT not in data: return data, there
    if there: raise MmvaeError(f"there: got it beside {PRESENT!r} in data, allowed: one of the two")
    data, mask = dict(data), plain_tensor(PRESENT, data[PRESENT])
    del data[PRESENT]
    if mask.ndim == 2 and mask.shape[1] == len(data): return data, dict(zip(data, mask.unbind(1)))
    raise MmvaeError(f"{PRESENT}: got shape {tuple(mask.shape)}, allowed: (items, {len(data)}), a "
                     f"column for each of {', '.join(data)}")

def _given(model, data, there):
    "(tensors in the types of the user, where they have holes); `MmvaeError` for wrong numbers."
    given = {one_of("data", m, model.names): plain_tensor(m, x) for m, x in data.items()}
    for m in there: one_of("there", m, given)
    one_index({**data, "there": there})
    items = len(next(iter(given.values())))
    for m, x in given.items():
        if len(x) != items: raise MmvaeError(f"{m}: got {len(x)} items, allowed: {items}")
        if x.ndim < 2:
            raise MmvaeError(f"{m}: got shape {tuple(x.shape)}, allowed: (items, ...), such as "
                             f"`{m}[:, None]` of a single column")
    holes = {m: _holes(m, x, there.get(m)) for m, x in given.items()}
    for m, x in given.items():
        modality = model.specs[m].modality
        if modality and tuple(x.shape[1:]) != tuple(modality.shape):
            raise MmvaeError(f"{m}: got items of shape {tuple(x.shape[1:])}, allowed: "
                             f"{tuple(modality.shape)}")
        check_values(modality, as_kind(modality, x, m), m, ~holes[m])
    return given, holes


# %% [markdown]
# `n` asks for several imputations. One mean looks smoother than any item and hides what the model does not know; draws show it, and what is computed from each of them (a mean, a
# regression) has their spread for an error bar (Rubin, 1987).

# %%
#| exports
@checked
def impute(model: MultimodalVAE, # a `MultimodalVAE` that infers from a part (students, MoPoE, ...)
           data: Mapping, # dict: name -> tensor or array (items, ...); nan: missing
           there: Mapping | None = None, # name -> bool (items,), or `present` in data
           sample: bool | str = False, # draw z, or "x": the data too (see `generate`)
           generator: torch.Generator | None = None, # for the draws
           n: int | None = None, # imputations: then (n, items, ...)
           batch_size: int = 500 # items at once
          ) -> dict: # every modality of the model; arrays if arrays were given
    "The same data with the holes filled from what each item has."
    in_range("batch_size", batch_size, 1, 10**9, whole=True)
    one_of("sample", sample, [False, True, "x"])
    if not data: raise MmvaeError("data: got no modality, allowed: at least one")
    data, there = _said(data, there or {})
    given, holes = _given(model, data, there)
    items = len(next(iter(given.values())))
    copies = () if n is None else (in_range("n", n, 1, MOST_DRAWS, whole=True),)
    out = {m: x.expand(*copies, *x.shape).clone() for m, x in given.items()}
    for names, rows in _patterns(holes):
        to = [m for m in model.names if m not in names]
        for part in rows.split(batch_size) if to else []:
            seen = {m: given[m][part] for m in names}
            for m, x in model.generate(seen, to, sample, generator, n).items():
                if m in given:
                    _check_shape(m, x, (*copies, *given[m][part].shape))
                    x = _kept(x, given[m].dtype, model.specs[m].modality)
                    x = x.where(holes[m][part], given[m][part])
                elif m not in out: out[m] = x.new_zeros(*copies, items, *x.shape[len(copies) + 1:])
                out[m].index_copy_(len(copies), part, x)
    if any(not isinstance(x, torch.Tensor) for x in data.values()):
        out = {m: (x.float() if x.dtype == torch.bfloat16 else x).detach().cpu().numpy()
               for m, x in out.items()}
    return {m: out[m] for m in model.names if m in out}


# %% [markdown]
# Each test item loses each quarter with probability one half (and keeps one at least). How good is what comes back? The baseline that everybody has is the mean of the column.

# %%
there = np.random.default_rng(0).random((len(digits) - 1400, 4)) < .5
there[np.arange(len(there)), np.random.default_rng(1).integers(0, 4, len(there))] = True
holed = {n: np.where(t[:, None], x, np.nan) for (n, x), t in zip(test.items(), there.T)}
filled = impute(model, holed)
rows = {}
for n, t in zip(test, there.T):
    error = lambda made: float(((made - test[n])[~t]**2).mean())
    assert np.array_equal(filled[n][t], test[n][t])             # what was there is untouched
    rows[n] = {"imputed": error(filled[n]), "mean of the column": error(train[n].mean(0))}
assert all(r["imputed"] < .75*r["mean of the column"] for r in rows.values())
pd.DataFrame(rows).T.round(4)                                 # mean squared errors in the holes

# %%
#| fig-cap: "Test digits, the same with holes, filled by the mean, and by three draws of z. Draws differ where the given quarters leave it open."
#| fig-alt: "Six rows of ten small digits: whole ones, ones with missing quarters, and fillings that complete them."
draws = impute(model, {n: x[:10] for n, x in holed.items()}, n=3, generator=generator(0, "impute"))
show = lambda parts: whole({n: x[..., :10, :] for n, x in parts.items()}).nan_to_num(.5).clamp(0, 1)
generation_grid({"real": show(test), "with holes": show(holed), "mean": show(filled),
                 **{f"draw {i + 1}": x for i, x in enumerate(show(draws))}});


# %% [markdown]
# ## How probable?
#
# The ELBO is a lower bound of $\log p(x)$, and how far below it lies differs from model to model (lesson 07). So who compares models by likelihood needs an estimate of $\log p(x)$ itself. Three things must be
# right. The *weights* $w_m$ and $\beta$ belong to the training objective, not to the model: $\log p(x) = \log \int p(z) \prod_m p(x_m \mid z)\, dz$ knows none. The *proposal* must be near $p(z \mid x)$
# and wider: the best Gaussian is climbed to from what the model infers, and a third each of the samples is drawn from it, from one 1.5 times and from one 2.5 times as wide, weighted as the mixture that they
# are. (The best diagonal Gaussian is as narrow as the *narrowest* direction of the posterior makes it. With few modalities given, others are long.) And the *conditional* is a difference,
#
# $$
# \begin{aligned}
# \log p(x_A \mid x_B) = \log p(x_A, x_B) - \log p(x_B),
# \end{aligned}\tag{1}
# $$
#
# of two estimates, each with a proposal of its own. (What is often computed in its place, the mean of $p(x_A \mid z)$ over $z \sim q(z \mid x_B)$, is a property of $q$: it is $\log p(x_A \mid x_B)$ only if
# $q$ is exact, and can lie on either side of it.)
#
# **Error bar.** The estimate is the logarithm of a mean of $K$ weights. To first order its standard error is the relative one of that mean, and it can be written with the effective sample size of lesson 07a, equation (1):
#
# $$
# \begin{aligned}
# \mathrm{se} \approx \frac{\mathrm{sd}(w)}{\bar w \sqrt K} = \sqrt{\frac{1}{\mathrm{ESS}} - \frac1K}.
# \end{aligned}\tag{2}
# $$
#
# The estimate errs downwards, by about $\mathrm{se}^2/2$. When ESS is near 1, one weight has the say: the error bar is then wrong too, and too small. Take more samples, or `method="ais"`.

# %%
#| exports
def _warn_of_few(ess, method, samples):
    few = int((ess < 2).sum())
    if method != "importance" or few <= len(ess)//4: return
    warnings.warn(f"log_likelihood: in {few} of {len(ess)} items fewer than 2 of {samples} samples "
                  "count (`ess`), so nats are too low and their errors too small: more `samples`, "
                  "more `climb`, or method='ais'", stacklevel=4)

class LogLikelihood(namedtuple("LogLikelihood", "nats error ess")):
    "Estimates of log p in nats, their standard errors, effective samples: (items,) each."
    def mean(self) -> tuple: # of floats
        "The mean over items, and its Monte Carlo standard error (not that of drawing items)."
        if not len(self.nats): raise MmvaeError("nats: got no items, allowed: one or more")
        nats, error = (torch.as_tensor(v).double() for v in (self.nats, self.error))
        return nats.mean().item(), error.square().sum().sqrt().item()/len(nats)

@checked
def log_joint(model: MultimodalVAE, # a `MultimodalVAE`
              batch: Mapping # dict: name -> tensor, any modalities
             ): # -> function: z (samples * items, latent) -> log p(x, z), nats
    "log p(z) + sum_m log p(x_m | z), no weights; item i of sample k is row k * items + i of z."
    items = len(batch[model.check(batch)[0]])
    def log_p(z):
        k = len(z)//max(1, items)
        x = batch if k == 1 else {n: v.repeat(k, *[1]*(v.ndim - 1)) for n, v in batch.items()}
        prior = -0.5*(z**2 + math.log(2*math.pi)).sum(-1)
        return sum(model.log_likelihoods(x, z).values()) + prior
    return log_p

def _check_finite(model, batch, results):
    "Refuse results that are no numbers, in the name of the modality that z = 0 can't explain."
    if all(v.isfinite().all() for v in results): return
    z = torch.zeros(len(next(iter(batch.values()))), model.latent, device=results[0].device)
    with torch.no_grad(): logs = model.log_likelihoods(batch, z)
    bad = [n for n, v in logs.items() if not v.isfinite().all()] or list(batch)
    for v in results: check_results(", ".join(bad), v.cpu())

def _start(model, batch):
    "What the model infers, where it can; else the prior."
    first, whole = batch[model.check(batch)[0]], len(batch) == len(model.names)
    if whole or not model.needs_all:
        with torch.no_grad(): q = model.infer(batch)
        if isinstance(q, DiagonalGaussian): return q
    return DiagonalGaussian.standard(len(first), model.latent, first.device)

@checked
def proposal(model: MultimodalVAE, # a `MultimodalVAE`
             batch: Mapping, # dict: name -> tensor, any modalities
             climb: int = 300 # steps of gradient ascent on the bound without weights
            ) -> DiagonalGaussian:
    "The best Gaussian for p(z | batch), which no weight has touched; of a JVAE and a part, too."
    def bound(q):
        z = q.rsample()
        return sum(model.log_likelihoods(batch, z).values()) - path_kl(q, z)
    return gradient_ascent(bound, _start(model, batch), climb)


# %%
#| exports
WIDTHS = (1., 1.5, 2.5) # of the proposals of `log_likelihood`, in deviations of the best Gaussian

@torch.no_grad()
def _importance_weights(log_p, q, samples):
    "Log weights (samples, items) of a mixture of proposals, each drawn from equally often."
    q = Mixture(DiagonalGaussian(q.mean, q.logvar + 2*math.log(w)) for w in WIDTHS)
    turns = [q.components[i % len(WIDTHS)] for i in range(samples)]
    few = max(1, 10_000//len(turns[0]))                                   # ten thousand z at a time
    def weights(turns):
        z = torch.stack([c.rsample() for c in turns])
        return (log_p(z.flatten(0, 1)).view(len(turns), -1) - q.log_prob(z)).double()
    return torch.cat([weights(turns[i:i + few]) for i in range(0, samples, few)])

def _estimate(model, batch, method, samples, climb):
    "(log p, its standard error, effective samples) of a batch at home."
    log_p, q = log_joint(model, batch), proposal(model, batch, climb)
    if method == "ais":
        wide = DiagonalGaussian(q.mean, q.logvar + 2*math.log(WIDTHS[1]))
        log_w = annealed_importance_sampling(log_p, wide, chains=samples)
    else: log_w = _importance_weights(log_p, q, samples)
    nats, ess = importance_estimate(log_w)
    return torch.stack([nats, (1/ess - 1/samples).clamp(min=0).sqrt(), ess])         # eq. (2)

@checked
def log_likelihood(model: MultimodalVAE, # a `MultimodalVAE`
                   target: Mapping, # dict: name -> tensor or array (items, ...)
                   given: Mapping | None = None, # other modalities of the same items
                   method: str = "importance", # or "ais": slower, right where that fails
                   samples: int | None = None, # per item; None: 1000, or 16 chains
                   climb: int = 300, # steps towards the proposal (see `proposal`)
                   seed: int = 0, # of all that is drawn
                   batch_size: int = 100 # items at once
                  ) -> LogLikelihood:
    "Estimate log p(target), or log p(target | given) by eq. (1), in nats per item, unweighted."
    needs_gradients("log_likelihood")
    one_of("method", method, ["importance", "ais"])
    if samples is None: samples = {"importance": 1000, "ais": 16}[method]
    in_range("samples", samples, low=2, high=10**6, whole=True)
    in_range("batch_size", batch_size, 1, 10**9, whole=True)
    in_range("climb", climb, low=0, high=MOST_STEPS, whole=True)
    in_range("seed", seed, 0, whole=True)
    if not target: raise MmvaeError("target: got no modality, allowed: at least one")
    both = [n for n in given or {} if n in target]
    if both: raise MmvaeError(f"given: got {', '.join(both)}, allowed: what is no target")
    sets = [model.at_home({**target, **(given or {})})] + ([model.at_home(given)] if given else [])
    for x in sets: model.check(x)
    parts, items = [], len(next(iter(sets[0].values())))
    with keeping_random_state():
        for rows in torch.arange(items).split(batch_size) if items else ():
            seed_everything(seed, "log likelihood", int(rows[0]))
            parts.append([_estimate(model, {n: v[rows] for n, v in x.items()}, method, samples,
                                    climb) for x in sets])
    parts = parts or [[torch.zeros(3, 0)]*len(sets)]
    nats, error, ess = (torch.stack([torch.cat(p, -1) for p in zip(*parts)])).unbind(1)
    found = LogLikelihood(nats[0] - nats[1:].sum(0), error.square().sum(0).sqrt(), ess.amin(0))
    _check_finite(model, sets[0], found)
    _warn_of_few(found.ess, method, samples)
    arrays = any(not isinstance(x, torch.Tensor) for x in target.values())
    return LogLikelihood(*(v.cpu().numpy() for v in found)) if arrays else found


# %% [markdown]
# Against the truth, in a model where it is known: linear decoders and Gaussian likelihoods, so that any set of modalities is a Gaussian whose covariance can be written down,
# and a conditional is a difference of two of its log densities. The encoders are untrained, so the proposal has to be found by climbing, and the weights are not 1, so they have to be left out.

# %%
sizes, scales = {"a": 2, "b": 3, "c": 5}, {"a": .5, "b": .8, "c": .6}
def linear_spec(n):
    trunk = lambda: nn.Sequential(nn.Linear(sizes[n], 8), nn.ReLU())
    return ModalitySpec(trunk, 8, lambda z: nn.Linear(z, sizes[n]), Gaussian(scales[n]), weight=3.)
seed_everything(0, "linear")
linear = JVAE({n: linear_spec(n) for n in sizes}, latent=3).eval()
for d in linear.decoders.values(): nn.init.normal_(d.weight); nn.init.normal_(d.bias)
x = linear.generate(torch.randn(40, 3), sample="x", generator=generator(0, "linear data"))

def exact(names):
    "log p of these modalities, in double precision."
    W = torch.cat([linear.decoders[n].weight for n in names]).double()
    b = torch.cat([linear.decoders[n].bias for n in names]).double()
    noise = torch.cat([torch.full((sizes[n],), scales[n]**2) for n in names]).double()
    with torch.no_grad(): p = MultivariateNormal(b, W @ W.T + noise.diag())
    return p.log_prob(torch.cat([x[n] for n in names], 1).double())


# %%
rows, part = {}, lambda names: {n: x[n] for n in names}
for target, given in [("abc", ""), ("a", ""), ("c", "ab"), ("ab", "c")]:
    known = exact(target + given) - (exact(given) if given else 0)
    for method in ("importance", "ais"):
        found = log_likelihood(linear, part(target), part(given) or None, method)
        off = found.nats - known
        if method == "importance": assert (off.abs() < 5*found.error + .01).all()
        assert abs(off.mean()) < 4*found.mean()[1] + .005
        rows[f"log p({', '.join(target)}{' | ' + ', '.join(given) if given else ''})", method] = {
            "closed form": known.mean().item(), "estimate": found.mean()[0],
            "standard error": found.mean()[1], "worst item": off.abs().max().item(),
            "least ESS": found.ess.min().item()}
pd.DataFrame(rows).T.round(4)

# %% [markdown]
# And of the digits, where nobody knows the answer. The ELBO lies below both estimates; these agree within their error bars. Given three quarters, the fourth is more probable than alone, by what they tell about it:

# %%
some = {n: torch.tensor(v[:60]) for n, v in test.items()}
last, rest = {"lower right": some["lower right"]}, {n: some[n] for n in list(some)[:3]}
seed_everything(0, "ELBO")
with torch.no_grad():
    bound = lambda: sum(model.log_likelihoods(some, (q := model.infer(some)).rsample()).values()) - q.kl()
    elbo = torch.stack([bound() for _ in range(50)]).mean().item()
found = {"log p(all), importance": log_likelihood(model, some),
         "log p(all), ais": log_likelihood(model, some, method="ais"),
         "log p(lower right)": log_likelihood(model, last),
         "log p(lower right | rest)": log_likelihood(model, last, rest)}
table = {"ELBO(all), without weights": {"nats": elbo}}
for what, e in found.items():
    table[what] = {"nats": e.mean()[0], "standard error": e.mean()[1], "least ESS": e.ess.min().item()}
assert elbo < found["log p(all), importance"].mean()[0]
assert found["log p(lower right)"].mean()[0] < found["log p(lower right | rest)"].mean()[0]
pd.DataFrame(table).T.round(2)


# %% [markdown]
# ## Refining at test time
#
# The encoder's answer can be improved item by item: climb the bound of *what is given* (lesson 07). `refined` does it, and where a model can't infer from a part at all, as the JVAE, it starts from the prior: inference without an encoder.

# %%
#| exports
@checked
def refined(model: MultimodalVAE, # a `MultimodalVAE`
            batch: Mapping, # dict: name -> tensor or array: what is given
            steps: int = 300, # of gradient ascent
            seed: int = 0 # of the noise
           ) -> DiagonalGaussian:
    "The best Gaussian for the (weighted) ELBO of what is given: it explains that, not the rest."
    needs_gradients("refined")
    in_range("steps", steps, low=0, high=MOST_STEPS, whole=True)
    batch = model.at_home(batch); model.check(batch)
    with keeping_random_state():
        seed_everything(in_range("seed", seed, 0, whole=True), "refined")
        q = gradient_ascent(lambda q: model.elbo(batch, q, path=True), _start(model, batch),
                            steps)
    _check_finite(model, batch, (q.mean, q.logvar))
    return q


# %% [markdown]
# Does it help? Given the two upper quarters of each test item, for the MoPoE and for the students of a JVAE (lesson 10), whose product of two is a guess that none of them was trained for:

# %%
how = dict(batch_size=64, lr=2e-3, progress=False, device="cpu")
seed_everything(0, "using"); teacher = JVAE(specs, latent=8)
fit(teacher, data, updates=800, **how); students = distill(teacher, data, 600, **how)
given, missing = ({n: torch.tensor(v) for n, v in test.items() if side in n} for side in ("upper", "lower"))

def measured(model, q):
    "The bound of what is given, and the squared errors of it and of what is missing."
    made, g = model.generate(q.mean), generator(0, "bound")
    error = lambda part: torch.cat([(made[n] - v)**2 for n, v in part.items()], 1).mean().item()
    with torch.no_grad(): elbo = torch.stack([model.elbo(given, q, g) for _ in range(20)]).mean()
    return {"ELBO of what is given": elbo.item(), "error, given": error(given),
            "error, missing": error(missing)}

table = {}
for name, m in {"MoPoE": model, "students": students}.items():
    with torch.no_grad(): table[name, "inferred"] = measured(m, m.infer(given))
    table[name, "refined"] = measured(m, refined(m, given))
    before, after = table[name, "inferred"], table[name, "refined"]
    assert after["ELBO of what is given"] > before["ELBO of what is given"] + 1
    assert after["error, given"] < .9*before["error, given"]
    assert abs(after["error, missing"]/before["error, missing"] - 1) < .1
pd.DataFrame(table).T.round(4)


# %% [markdown]
# The bound of what is given rises by nats and its error falls by a quarter to a half. What is *missing* gains next to nothing: its error falls by two percent at most. No wonder: the climb asks the decoders of the upper quarters alone,
# and moves $z$ to where they fit best, their noise included. How lower halves go with upper ones the encoder has learnt from all items, and the climb may well throw it away. So refine when you want to describe what is there (compress it, compare it);
# measure before you refine for what is not there. Lesson 09 climbs with *all* modalities in training, where they are there, and keeps the two apart.
#
# ## What goes wrong, and how you would notice
#
# - *Numbers of another kind.* `generate`, `impute`, `log_likelihood` and `refined` look at what they get and refuse what `TensorData` would (pictures as floats to 255, counts of 2.5, class 7 of 5). `infer` is the inner part of training, where to look at values means to wait for a GPU: it checks types and shapes, and `nan` on a CPU.
# - *Likelihoods of different units.* $\log p$ of standardised data and of raw data differ by a constant per value: compare models on the same numbers only.
# - *The error bar is small and wrong.* ESS of a few out of a thousand. Compare with `method="ais"`, and with another `seed`.
# - *Imputations that are too sure.* `impute(..., n=20, sample="x")`, and count how often the truth lies within their range where you know it.
#
# ## Recap
#
# `impute` fills holes item by item; `log_likelihood` estimates joint and conditional likelihoods without the training's weights, with an error bar; `refined` climbs the bound of what is given, which is seldom what a missing modality needs.
#
# ## Exercises
#
# 1. `log_likelihood(model, last, rest)` is a difference of two estimates that both err downwards. In which direction does the difference err?
# 2. Impute with `n=50, sample="x"` and count how often the truth lies between the 5 % and the 95 % quantile. Which number of the specs decides that?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. In either: it errs by the difference of the two biases, about $(\mathrm{se}_B^2 - \mathrm{se}_{AB}^2)/2$.
# 2. Near 90 %, if the scale of the likelihood (0.2 here) is that of the errors. It was set by hand: see the guide on modalities of your own.
# :::
#
# ### In code: an error bar for a mean of weights
#
# Fill in `log_mean`: the logarithm of the mean of weights $e^{l_k}$, and its standard error (2), in a way that no large $l_k$ can break.

# %%
#| code-fold: true
#| code-summary: "Solution"
def log_mean(l):
    "log of the mean of exp(l), and its standard error; `l` is (samples,)."
    ### BEGIN SOLUTION
    w = (l - l.max()).exp()
    return l.max() + w.mean().log(), w.std(correction=0)/w.mean()/len(w)**.5
    ### END SOLUTION


# %%
l = torch.randn(500, generator=generator("weights"), dtype=torch.double)
value, se = log_mean(l + 900)
torch.testing.assert_close(value, l.exp().mean().log() + 900)
many = torch.randn(2000, 500, generator=generator("many"), dtype=torch.double).exp().mean(1).log()
assert abs(se - many.std()) < .2*many.std()                           # how much it varies in truth

# %% [markdown]
# ## References
#
# - Y. Wu, Y. Burda, R. Salakhutdinov, R. Grosse, [On the Quantitative Analysis of Decoder-Based Generative Models](https://arxiv.org/abs/1611.04273), 2017.
# - P.-A. Mattei, J. Frellsen, [Leveraging the Exact Likelihood of Deep Latent Variable Models](https://arxiv.org/abs/1802.04826), 2018 (conditional sampling given part of an item).
# - D. B. Rubin, *Multiple Imputation for Nonresponse in Surveys*, 1987.
# - C. Cremer, X. Li, D. Duvenaud, [Inference Suboptimality in Variational Autoencoders](https://arxiv.org/abs/1801.03558), 2018.
