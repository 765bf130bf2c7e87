# %% [markdown]
# # Counts, categories, series, tables
#
# > A likelihood and networks for each kind of data beside pictures, text and vectors; and your own.
#
# ::: {.callout-note}
# ## You will learn
#
# - which likelihood belongs to counts, to numbers with outliers, to truth values and to categories;
# - networks for time series of any length, and a table of mixed columns as one modality;
# - how a kind of your own enters `default_specs`.
#
# Runs in about half a minute on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: a table of six kinds of data, with the networks and the likelihood of each: image, vector, counts, binary, series, table.](drawings/kinds.svg)

# %%
#| default_exp kinds

# %%
#| export
import math
from collections.abc import Callable, Mapping
from functools import partial
import numpy as np
import pandas as pd
import torch
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.data import Modality, _advice, _floats, _types
from mmvae_nb.distributions import *
from mmvae_nb.distributions import _Looks, _drawn, _params, _same, _shape, _stream, _wrong
from mmvae_nb.missing import *
from mmvae_nb.networks import *
from mmvae_nb.signatures import *

# %%
import matplotlib.pyplot as plt
from scipy import stats
from mmvae_nb.data import TensorData
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.plotting import *
from mmvae_nb.training import fit
set_style()


# %% [markdown]
# ## Likelihoods
#
# A likelihood says what a *surprise* is. A Gaussian of scale 1 finds 3 instead of 0 events as surprising as 103 instead of 100, and gives fractions and negative numbers their share.
# *Counts* have a rate $\mu > 0$, which the decoder gives as its logarithm. Their simplest law is Poisson's, whose variance is the mean. Most real counts vary more than that (visits, words, reads of genes):
# the *negative binomial* has a second number $r$, its dispersion,
#
# $$
# \begin{aligned}
# \mathrm{Poisson}:&\quad \log p(x) = x \log\mu - \mu - \log x!, & \operatorname{var} x &= \mu, \\
# \mathrm{NB}:&\quad \log p(x) = \log \tbinom{x + r - 1}{x} + r \log\tfrac{r}{r + \mu} + x \log\tfrac{\mu}{r + \mu}, & \operatorname{var} x &= \mu + \mu^2/r.
# \end{aligned}\tag{1}
# $$
#
# Numbers with *outliers* are the other case. Under a Gaussian one value ten deviations off costs 50 nats, and the model bends for it; under Student's $t$ with $\nu$ degrees of freedom and scale $s$,
#
# $$
# \begin{aligned}
# \log p(x) = \log \frac{\Gamma(\frac{\nu + 1}{2})}{\Gamma(\frac{\nu}{2}) \sqrt{\pi\nu}\, s} - \frac{\nu + 1}{2} \log\Big( 1 + \frac{(x - \mu)^2}{\nu s^2} \Big),
# \end{aligned}\tag{2}
# $$
#
# the cost grows with the logarithm of the distance only. $r$, $s$ and $\nu$ are learnt, one for each column (the last axis), and saved with the model. That also spares the choice of a scale,
# which [the guide](howto_own_modalities.ipynb) calls the number to get right.

# %%
#| exports
def _columns(x, params, columns):
    "The data as floats; `MmvaeError` for another shape than that of `params`, or other columns."
    if columns in (1, _same(params, x).shape[-1]): return x.to(params.dtype)
    raise MmvaeError(f"params: got shape {tuple(params.shape)}, allowed: {columns} columns, as "
                     "many as the likelihood has")

def _each(v, params):
    "One number a column, for all of `params`; `MmvaeError` if there are other columns."
    if len(v) in (1, *_params(params).shape[-1:]): return v.expand(params.shape)
    raise MmvaeError(f"params: got {params.shape[-1]} columns, allowed: {len(v)}, as many as the "
                     "likelihood has")

class _Counts(_Looks):
    "What a likelihood of counts or classes refuses."
    def _whole(self, x, columns=slice(None)):
        if self._looks(x) and len(bad := _no_counts(x[..., columns])):
            raise MmvaeError(f"x: got {bad[0].item():g}, allowed for a likelihood of counts or "
                             "classes: whole numbers from 0")

def _no_counts(x):
    "The numbers of `x` that count nothing."
    x = x.detach()
    return x[(x < 0) | (x - x.round() != 0)]                       # nan and infinity, too

class Poisson(_Counts):
    "Independent counts; `params` are logarithms of the rate, eq. (1)."
    def log_prob(self, x, # counts (batch, ...)
                 params # log rates of the same shape
                ) -> torch.Tensor: # (batch,) nats
        "log p(x | params), summed over all but the batch axis."
        x = _columns(x, params, 1)
        self._whole(x)
        return (x*params - params.exp() - torch.lgamma(x + 1)).flatten(1).sum(1)
    def mean(self, params):
        "The rate, (batch, ...)."
        return _params(params).exp()
    def sample(self, params, generator=None):
        "One draw, (batch, ...): whole numbers as floats."
        return _drawn(torch.poisson, _params(params).exp(), generator=generator)

class NegativeBinomial(_Counts, nn.Module):
    "Independent counts that vary more than Poisson's; `params` are log means, eq. (1)."
    def __init__(self, columns: int = 1, # length of the last axis, or 1: one dispersion for all
                 dispersion: float = 2.0 # r to begin with; it is learnt
                ):
        super().__init__()
        self.columns = in_range("columns", columns, low=1, high=10**6, whole=True)
        self.dispersion = in_range("dispersion", dispersion, low=1e-6)
        self.log_r = nn.Parameter(torch.full((columns,), math.log(dispersion)))
    def log_prob(self, x, # counts (batch, ..., columns)
                 params # log means of the same shape
                ) -> torch.Tensor: # (batch,) nats
        "log p(x | params), summed over all but the batch axis."
        x, log_r = _columns(x, params, self.columns), self.log_r
        self._whole(x)
        r, log_sum = log_r.exp(), torch.logaddexp(log_r, params)               # log(r + mean)
        choose = torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1)
        return (choose + r*(log_r - log_sum) + x*(params - log_sum)).flatten(1).sum(1)
    def mean(self, params):
        "The mean, (batch, ...)."
        _each(self.log_r, params); return params.exp()
    def sample(self, params, generator=None):
        "One draw, (batch, ...): Poisson's, with a rate that is drawn from a gamma distribution."
        r = _each(self.log_r.exp(), params)
        rate = torch._standard_gamma(r, _stream(generator, r.device))*params.exp()/r
        return _drawn(torch.poisson, rate, generator=generator)


# %%
#| exports
class StudentT(nn.Module):
    "Independent numbers with outliers around `params`, eq. (2); scale and df are learnt."
    def __init__(self, columns: int = 1, # length of the last axis, or 1: one scale and df for all
                 scale: float = 0.5, # s to begin with, in units of the data
                 df: float = 5.0 # degrees of freedom to begin with: few for many outliers
                ):
        super().__init__()
        self.columns = in_range("columns", columns, low=1, high=10**6, whole=True)
        self.scale, self.df = in_range("scale", scale, low=1e-6), in_range("df", df, low=1e-6)
        self.log_scale = nn.Parameter(torch.full((columns,), math.log(scale)))
        self.log_df = nn.Parameter(torch.full((columns,), math.log(df)))
    def log_prob(self, x, # data (batch, ..., columns)
                 params # of the same shape: the centre
                ) -> torch.Tensor: # (batch,) nats
        "log p(x | params), summed over all but the batch axis."
        x = _columns(x, params, self.columns)         # torch's own law raises for weights of nan
        df, scale = (v.exp().expand(params.shape) for v in (self.log_df, self.log_scale))
        constant = (scale.log() + 0.5*df.log() + 0.5*math.log(math.pi) + torch.lgamma(0.5*df)
                    - torch.lgamma(0.5*(df + 1)))
        tail = torch.log1p(((x - params)/scale)**2/df)
        return (-0.5*(df + 1)*tail - constant).flatten(1).sum(1)
    def mean(self, params):
        "The centre, (batch, ...)."
        _each(self.log_df, params); return params
    def sample(self, params, generator=None):
        "One draw, (batch, ...): a Gaussian's, divided by the root of a chi-square."
        df, generator = _each(self.log_df.exp(), params), _stream(generator, params.device)
        noise = torch.randn(params.shape, generator=generator, device=params.device)
        chi = 2*torch._standard_gamma(df/2, generator)
        return params + self.log_scale.exp()*noise*(df/chi).sqrt()


# %% [markdown]
# Against SciPy's laws, for parameters that broadcast along the columns, and their draws against the moments:

# %%
g = generator(0, "kinds")
a, counts = torch.randn(7, 3, generator=g), torch.randint(0, 30, (7, 3), generator=g).float()
columns = torch.tensor([.3, 2., 9.])
nb, t = NegativeBinomial(3), StudentT(3)
nb.log_r.data, t.log_df.data, t.log_scale.data = (v.log() for v in (columns, columns, columns/4))
laws = {Poisson(): stats.poisson(a.exp()),
        nb: stats.nbinom(columns, columns/(columns + a.exp())),
        t: stats.t(columns, a, columns/4)}
for likelihood, law in laws.items():
    log_p = law.logpdf if likelihood is t else law.logpmf
    known = torch.as_tensor(log_p(counts)).sum(1).float()
    torch.testing.assert_close(likelihood.log_prob(counts, a).detach(), known, rtol=1e-4, atol=1e-3)
    with torch.no_grad(): drawn = likelihood.sample(a.expand(4000, 7, 3), g)
    share = (drawn <= torch.as_tensor(law.ppf(.7)).float()).float().mean(0)
    assert (share - torch.as_tensor(law.cdf(law.ppf(.7)))).abs().max() < .04

# %%
#| fig-cap: "Log densities of laws with the same mean (left) or the same middle half (right). Where a curve is steep, the model bends for the value."
#| fig-alt: "Two panels of curves: Poisson falls faster than the negative binomial; a Gaussian parabola falls away from Student's t."
x, k = np.linspace(-8, 8, 300), np.arange(40)
fig, ax = plt.subplots(1, 2, figsize=(8, 2.6))
ax[0].plot(k, stats.poisson(8).logpmf(k), label="Poisson"); ax[0].set(xlabel="count", ylabel="log p (nats)")
ax[0].plot(k, stats.nbinom(2, 2/10).logpmf(k), label="negative binomial, r = 2")
ax[1].plot(x, stats.norm(0, 1).logpdf(x), label="Gaussian"); ax[1].set(xlabel="x")
ax[1].plot(x, stats.t(3, 0, .6745/stats.t(3).ppf(.75)).logpdf(x), label="Student's t, 3 df")
for panel in ax: panel.legend()


# %% [markdown]
# ## Series
#
# A time series is `(batch, T, C)`: $T$ times, $C$ channels. Two strided convolutions read it, as they read a word (lesson 02e); two transposed ones write it and cut it to length, so $T$ is free.
# The default likelihood is Student's, with a scale for each channel.

# %%
#| exports
class _TimeLast(nn.Module):
    def forward(self, x): return x.transpose(1, 2)

class _Cut(nn.Module):
    def __init__(self, length): super().__init__(); self.length = length
    def forward(self, x): return x[..., :self.length]

def sequence_encoder(shape, # of one item: (T, C)
                     width=32 # channels of the convolutions
                    ) -> nn.Module:
    "Two strided convolutions over time: (batch, T, C) -> (batch, width*ceil(T/4))."
    return nn.Sequential(ToFloat(), _TimeLast(), nn.Conv1d(shape[1], width, 5, 2, 2), nn.SiLU(),
                         nn.Conv1d(width, width, 5, 2, 2), norm(width), nn.SiLU(), nn.Flatten())

def sequence_decoder(latent, # dimensions of z
                     shape, # of one item: (T, C)
                     width=32 # channels of the convolutions
                    ) -> nn.Module:
    "Their mirror image: (batch, latent) -> (batch, T, C), any real numbers."
    start = math.ceil(shape[0]/4)
    up = [f() for _ in range(2)
          for f in (partial(nn.ConvTranspose1d, width, width, 4, 2, 1), nn.SiLU)]
    return nn.Sequential(nn.Linear(latent, width*start), nn.SiLU(), nn.Unflatten(1, (width, start)),
                         *up, nn.Conv1d(width, shape[1], 5, padding=2), _Cut(shape[0]), _TimeLast())

def sequence_spec(shape, # of one item: (T, C)
                  weight=1.0 # w_m
                 ) -> ModalitySpec:
    "Convolutions over time, and Student's t with a scale for each channel."
    return ModalitySpec(partial(sequence_encoder, _shape(shape, 2)), 32*math.ceil(shape[0]/4),
                        partial(sequence_decoder, shape=shape), StudentT(shape[1]), weight)


# %%
for T in (4, 7, 50):
    spec = sequence_spec((T, 3)); x = torch.randn(5, T, 3)
    assert spec.encoder()(x).shape == (5, spec.features)
    assert spec.log_prob(x, spec.decoder(2)(torch.randn(5, 2))).shape == (5,)


# %% [markdown]
# ## Counts, truth values, categories
#
# One hidden layer each, as for vectors. Counts enter as $\log(1 + x)$, because a network that sees 3 and 3,000 side by side sees only the latter; categories enter as ones and zeros.

# %%
#| exports
class _Log1p(nn.Module):
    def forward(self, x): return torch.log1p(x.float())

class _OneHot(nn.Module):
    "Numbers of classes to ones and zeros, flat."
    def __init__(self, classes): super().__init__(); self.classes = classes
    def forward(self, x): return nn.functional.one_hot(x, self.classes).flatten(1).float()

def count_encoder(size, hidden=400): # numbers in, and features out
    "(batch, size) counts -> (batch, hidden)."
    return nn.Sequential(_Log1p(), nn.Linear(size, hidden), nn.ReLU())

def category_encoder(size, classes, hidden=400): # numbers in, of how many classes; features out
    "(batch, size) int64 -> (batch, hidden)."
    return nn.Sequential(_OneHot(classes), nn.Linear(size*classes, hidden), nn.ReLU())

def _flat_decoder(shape): return partial(mlp_decoder, shape=_shape(shape), squash=False)

def count_spec(shape, # of one item: (D,)
               weight=1.0 # w_m
              ) -> ModalitySpec:
    "One hidden layer, and a negative binomial with a dispersion for each column."
    return ModalitySpec(partial(count_encoder, *_shape(shape, 1)), 400, _flat_decoder(shape),
                        NegativeBinomial(shape[0]), weight)

def binary_spec(shape, # of one item: (D,)
                weight=1.0 # w_m
               ) -> ModalitySpec:
    "One hidden layer, and Bernoulli."
    return ModalitySpec(partial(mlp_encoder, shape), 400, _flat_decoder(shape), Bernoulli(), weight)

def category_spec(shape, # of one item: (D,)
                  classes, # how many there are
                  weight=1.0 # w_m
                 ) -> ModalitySpec:
    "One hidden layer, and a categorical law for each column."
    in_range("classes", classes, 1, 10**7, whole=True)
    return ModalitySpec(partial(category_encoder, *_shape(shape, 1), classes), 400,
                        _flat_decoder((shape[0], classes)), Categorical(), weight)


# %% [markdown]
# ## Tables
#
# A row of a table is one thing, so it is one modality, whatever its columns are: `Mixed` gives each column its own law and adds up. `Table` looks at a data frame of *training* items,
# and turns any of them into numbers and what is generated back into rows.

# %%
#| exports
class Mixed(_Counts, nn.Module):
    "A law for each column: 'number' (Student's t), 'count', 'binary', or how many classes it has."
    def __init__(self, columns # of a table, in order
                ):
        super().__init__()
        if not isinstance(columns, (tuple, list)) or not columns:
            raise MmvaeError(f"columns: got {columns!r:.40}, allowed: a tuple, a kind for each")
        self.columns = tuple(columns)
        for c in self.columns: check_column(c)
        parts = {"number": StudentT, "count": Poisson, "binary": Bernoulli}
        self.parts = [parts.get(c, Categorical)() for c in self.columns]
        self.learnt = nn.ModuleList(p for p in self.parts if isinstance(p, nn.Module))
        self._classes = [i for i, c in enumerate(self.columns) if isinstance(c, int)]
    def _pairs(self, params):
        "(law, its parameters) of each column."
        widths = [c if isinstance(c, int) else 1 for c in self.columns]
        if _params(params).shape[1:] != (sum(widths),):
            raise _wrong("params", params, f"(batch, {sum(widths)})")
        return [(p, v.unsqueeze(1) if isinstance(p, Categorical) else v)
                for p, v in zip(self.parts, params.split(widths, 1))]
    def log_prob(self, x, # (batch, columns): floats, classes by their number
                 params # (batch, parameters of all columns side by side)
                ) -> torch.Tensor: # (batch,) nats
        "log p(x | params), summed over the columns."
        typed = lambda p, v: v.long() if isinstance(p, Categorical) else v
        pairs = self._pairs(params)
        shape = (len(params), len(pairs))
        if not isinstance(x, torch.Tensor) or x.shape != shape: raise _wrong("x", x, f"{shape}")
        self._whole(x, self._classes)
        return sum(p.log_prob(typed(p, x[:, i:i + 1]), v) for i, (p, v) in enumerate(pairs))
    def mean(self, params):
        "Means, probabilities, and numbers of the likeliest classes: (batch, columns)."
        return torch.cat([p.mean(v).to(params.dtype) for p, v in self._pairs(params)], 1)
    def sample(self, params, generator=None):
        "One draw, (batch, columns)."
        return torch.cat([p.sample(v, generator).to(params.dtype)
                          for p, v in self._pairs(params)], 1)


# %%
#| exports
class TableEncoder(nn.Module):
    "(batch, columns) -> (batch, hidden): counts by log(1 + x), classes by ones and zeros."
    def __init__(self, columns, # as `Mixed` has them
                 hidden=400): # features out
        super().__init__()
        self.columns = tuple(columns)
        width = sum(c if isinstance(c, int) else 1 for c in self.columns)
        self.net = nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
    def forward(self, x): # floats
        one_hot = nn.functional.one_hot
        seen = [one_hot(v.long(), c).to(x.dtype) if isinstance(c, int) else
                (torch.log1p(v) if c == "count" else v)[:, None]
                for c, v in zip(self.columns, x.unbind(1))]
        return self.net(torch.cat(seen, 1))

def table_spec(columns, # as `Mixed` has them
               weight=1.0 # w_m
              ) -> ModalitySpec:
    "One hidden layer, and a law for each column."
    p = Mixed(columns)
    width = sum(c if isinstance(c, int) else 1 for c in p.columns)
    return ModalitySpec(partial(TableEncoder, p.columns), 400, _flat_decoder((width,)), p, weight)


# %%
#| exports
class Table:
    """A data frame of mixed columns as one modality: to numbers, and `back`.

    Numbers are standardised by the training items; what is no number is a class. A model's file
    does not hold the names of columns and classes: keep the `Table` beside it (`pickle`)."""
    def __init__(self, train, # a data frame of training items
                 counts=() # names of the columns that count something
                ):
        counts = [counts] if isinstance(counts, str) else counts
        if not isinstance(counts, (list, tuple, set)):
            raise MmvaeError(f"counts: got {counts!r:.40}, allowed: names of columns")
        for n in counts: one_of("counts", n, as_frame("train", train).columns)
        if not as_frame("train", train).size:
            raise MmvaeError(f"train: got shape {train.shape}, allowed: a row and a column at "
                             "least")
        self.names, self.counts = list(train.columns), tuple(counts)
        self._known = {n: self._look(n, train[n]) for n in self.names}
        self.columns = tuple(kind for kind, _ in self._known.values())

    def _look(self, name, x):
        "(kind, what is needed for the way back) of a column."
        if x.isna().any(): raise MmvaeError(f"{name}: got {x.isna().sum()} rows without a value, "
                                            "allowed: none in a table to train on")
        if name in self.counts:
            x = column_counts(name, x)                                    # says what is no count
            warn_of_codes(name, torch.tensor(x)[:, None], [name])
            return "count", None
        if pd.api.types.is_bool_dtype(x): return "binary", None        # pandas' own `boolean`, too
        if not pd.api.types.is_numeric_dtype(x): return classes_of(name, x)
        x = column_floats(name, x)
        warn_of_codes(name, torch.tensor(x)[:, None], [name])
        return "number", (float(x.mean()), float(x.std()) or 1.)

    def __call__(self, table) -> torch.Tensor: # float32 (items, columns)
        "Rows of any split as numbers; nan where a row has none (`impute` fills it)."
        lacks = [n for n in self.names if n not in as_frame("table", table).columns]
        if lacks:
            raise MmvaeError(f"columns: got a table that lacks {', '.join(map(repr, lacks))}, "
                             f"allowed: one with {', '.join(map(repr, self.names))}")
        rows = np.stack([column_numbers(n, table[n], *self._known[n]) for n in self.names], 1)
        return with_index(torch.tensor(rows, dtype=torch.float32), table)

    def back(self, x, # (items, columns), such as a model generates
             index=None # of the rows; None: that of `x`, if it is made of a table, or 0, 1, ...
            ) -> pd.DataFrame:
        "The same as rows, in the units of the table; a probability becomes the likelier value."
        known = index_of(x)
        x = as_double("x", x).numpy()
        if x.ndim != 2 or x.shape[1] != len(self.names):
            raise MmvaeError(f"x: got shape {x.shape}, allowed: (items, {len(self.names)}) (of n "
                             "draws, one at a time: `[table.back(d) for d in draws]`)")
        fits = index is None or np.shape(index) == (len(x),)
        if not fits or not (index is None or known is None or list(known) == list(index)):
            raise MmvaeError(f"index: got a {type(index).__name__} of shape {np.shape(index)}, "
                             f"allowed: {len(x)} labels in the order of the rows")
        index = known if index is None else index
        made = {n: self._values(n, x[:, i]) for i, n in enumerate(self.names)}
        return pd.DataFrame(made, index=index)

    def _values(self, name, x):
        kind, known = self._known[name]
        if kind == "number": return x*known[1] + known[0]
        if kind == "binary":
            for v in x[~((0 <= x) & (x <= 1))]: in_range(f"value of {name}", v, 0, 1)
            return x >= .5
        if kind == "count": return x
        wrong = x[~np.isin(x, range(kind))]
        if not len(wrong): return [known[i] for i in x.astype(int)]
        raise MmvaeError(f"class in {name}: got {wrong[0]:g}, allowed: whole numbers from 0 to "
                         f"{kind - 1} (a mean of classes is none)")

    def modality(self, name) -> Modality:
        "The `Modality` called `name`; its vocabulary holds the kinds of the columns."
        return Modality(name, "table", (len(self.columns),), self.columns)


# %% [markdown]
# ## By kind
#
# `default_specs` finds these by the kind of the modality. A kind of your own is as easy: the number of axes of an item, and a function that makes a spec.

# %%
#| exports
@checked
def register_kind(kind: str, # its name
                  spec: Callable, # function (`Modality`, w_m) -> `ModalitySpec`
                  axes: int = 1, # of one item
                  types: list[torch.dtype] | tuple[torch.dtype, ...] | None = None, # None: floats
                  vocabulary: bool = False # must a modality of this kind have one?
                 ):
    "Let `Modality`, `TensorData` and `default_specs` know a kind of data."
    from mmvae_nb import data
    data._kinds[kind], SPECS[kind] = in_range("axes", axes, low=1, whole=True), spec
    if types: data._types[kind] = list(types)
    if vocabulary and kind not in data._with_vocabulary: data._with_vocabulary += (kind,)

SPECS.update(sequence=lambda m, weight: sequence_spec(m.shape, weight),
             counts=lambda m, weight: count_spec(m.shape, weight),
             binary=lambda m, weight: binary_spec(m.shape, weight),
             categories=lambda m, weight: category_spec(m.shape, m.num_tokens, weight),
             table=lambda m, weight: table_spec(m.vocabulary, weight))


# %% [markdown]
# ## What a user brings
#
# `TensorData` makes of whole numbers what they are said to be. But a model is used with other arrays than those: patients of next week, batches of a `DataLoader`, held-out items. The same numbers may come as `uint8`, `int64` or
# `bool`, and networks take bytes for pictures: they divide them by 255. So a 1 in a column of flags would be read as 0.004, and nobody would see it. The kind decides, then, and not the type:
#
# | kind | becomes | allowed |
# |---|---|---|
# | image | bytes stay bytes; truth values become 0. and 1. | floats from 0 to 1; a draw may leave it by half |
# | counts | floats | whole numbers from 0 |
# | binary | floats | 0 to 1: a probability is allowed |
# | text, categories | `int64` | a token or class that the vocabulary has |
# | vector, sequence, table | floats | finite numbers |
#
# To convert costs nothing and is done each time. To look at values means to wait for them, on a GPU, so that is left to the calls that people make (`generate`, `impute`, `log_likelihood`, `refined`), to the first batch of a loader and
# to the first look at held-out items. `infer` is in the middle of each update: it refuses a wrong type, and `nan` only where it costs no wait: on a CPU, when the model is not in training.

# %%
#| exports
def as_kind(modality, # a `Modality`; None where nobody has said
            x, # tensor, array, list or table, as a user has it
            name # its key in the batch, for messages
           ) -> torch.Tensor:
    "The same numbers in a type that networks take, by kind: 0 to 255 are bytes in images only."
    if x is None: raise MmvaeError(f"{name}: got a NoneType, allowed: nothing: what is missing is "
                                   "an absent key")
    x = plain_tensor(name, x)
    floats = x.is_floating_point() or x.is_complex()
    if floats and modality and torch.float32 not in _types.get(modality.kind, _floats):
        if not is_traced() and x.isnan().any():
            raise MmvaeError(f"{name}: got nan among {modality.kind}, allowed: whole numbers (any "
                             f"where there is none, and `there={{{name!r}: ...}}` of `impute`)")
    if modality is None:
        return x if floats or x.dtype == torch.uint8 else x.float() if x.dtype == torch.bool \
            else x.long()
    if not floats and x.dtype not in (types := _types.get(modality.kind, _floats)):
        if torch.float32 not in types: x = x.to(types[0])
        elif modality.kind != "image" or x.dtype == torch.bool: x = x.float()
    check_type(modality, x, name)
    return x

def check_type(modality, # a `Modality`
               x, # a tensor
               name # its key in the batch, for messages
              ):
    "Refuse a type that networks would take for something else; no number is looked at."
    types = _types.get(modality.kind, _floats)
    if x.dtype in types or x.dtype == torch.float64 and torch.float32 in types: return
    raise MmvaeError(f"{name}: got {x.dtype}, allowed for a modality of kind {modality.kind}: "
                     f"{', '.join(map(str, types))}{_advice.get(modality.kind, ' (`x.float()`)')}")


# %%
flags = Modality("flags", "binary", (2,))
for x in (np.array([[0, 1]], "uint8"), np.array([[0, 1]]), torch.tensor([[False, True]]), [[0, 1]]):
    assert as_kind(flags, x, "flags").tolist() == [[0., 1.]] and as_kind(flags, x, "flags").is_floating_point()
assert as_kind(Modality("x", "image", (1, 1, 2)), np.zeros((3, 1, 1, 2), "uint8"), "x").dtype == torch.uint8


# %% [markdown]
# The values, in the words of `TensorData`; and a whole batch for a model. What an item lacks (lesson 09a) is not looked at.

# %%
#| exports
def check_values(modality, # a `Modality`; None where nobody has said
                 x, # tensor, as `as_kind` makes it
                 name, # its key in the batch, for messages
                 there=None # bool tensor of its shape: what is no hole; None: all
                ):
    "Refuse numbers that are none of this kind's."
    whole, x = x, x if there is None else x[there]
    check_finite(name, x)
    kind = modality.kind if modality and x.numel() else None
    if kind == "table": return check_table(modality, whole, name, there)
    if kind in ("text", "categories"): return _check_classes(modality, x, name)
    if kind == "counts" and len(bad := _no_counts(x)):
        raise MmvaeError(f"counts of {name}: got {bad[0].item():g}, allowed: whole numbers from 0")
    if kind == "image": warn_of_dark(name, x.detach(), few=True)
    if kind not in ("binary", "image") or x.dtype == torch.uint8: return
    low, high = (v.item() for v in x.detach().aminmax())
    if kind == "binary" and not 0 <= low <= high <= 1:
        raise MmvaeError(f"values of {name}: got {low if low < 0 else high:g}, allowed: 0 to 1")
    if kind == "image" and not -.5 <= low <= high <= 1.5:               # draws may go a bit beyond
        raise MmvaeError(f"{name}: got images of floats from {low:g} to {high:g}, allowed: "
                         "uint8 from 0 to 255 or floats from 0 to 1; what is no image is "
                         "flattened to (n, D)")

def _check_classes(modality, x, name):
    "Refuse the number of a token or class that the vocabulary does not have."
    bad = x[(x < 0) | (x >= modality.num_tokens)]
    if not len(bad): return
    what, v = "class" if modality.kind == "categories" else "token", modality.vocabulary
    known = repr(v) if isinstance(v, str) else ", ".join(map(str, v[:12])) + ", ..."*(len(v) > 12)
    raise MmvaeError(f"{name}: got {what} {bad[0].item()}, allowed: 0 to {len(v) - 1} ({known})")

def given_to(model, # has `specs`, as a `MultimodalVAE`; others get what was given, as tensors
             batch, # dict: name -> tensor, array, list or table; perhaps with `PRESENT`
             check=True, # look at the values, too?
             of="", # where it comes from, for messages: " of validation"
             device=None # None: where the model is
            ) -> dict: # of tensors in the model's precision
    "A user's batch as a model takes it, by the kinds of its modalities."
    if not isinstance(batch, Mapping) or not batch and of:
        raise MmvaeError(f"data: got a batch that is a {type(batch).__name__}, allowed: a dict, "
                         "name -> tensor (batch, ...)")
    like = next(model.parameters(), torch.empty(0)) if model is not None else torch.empty(0)
    specs = getattr(model, "specs", None)
    known = {n: s.modality for n, s in specs.items()} if isinstance(specs, Mapping) else {}
    one_index({f"{n}{of}": x for n, x in batch.items()})
    own = {n: as_kind(known[n], x, f"{n}{of}") if n in known else plain_tensor(f"{n}{of}", x)
           for n, x in batch.items()}
    if of and any(x.shape[:1] == (0,) for n, x in own.items() if n in known or n == PRESENT):
        raise MmvaeError(f"data: got a batch{of.removeprefix(' of a batch')} of no items, allowed: "
                         "one item or more")
    look = check and known and own and not is_traced()
    for _, part in patterns(own) if look else ():
        for n in part:
            if n in known: check_values(known[n], part[n], f"{n}{of}")
    device, on_gpu = device or like.device, like.is_cuda
    ours = lambda n, x: x.is_floating_point() and (n in known or x is not batch[n])
    return {n: x.to(device, like.dtype if ours(n, x) else None, non_blocking=on_gpu)
            for n, x in own.items()}


# %%
pair = {n: Modality(n, kind, (1,), words) for n, kind, words in [("n", "counts", None), ("c", "categories", ("red", "blue"))]}
for n, x in {"n": [[-1]], "c": [[2]]}.items():
    try: check_values(pair[n], as_kind(pair[n], x, n), n)
    except MmvaeError as e: print(e)
    else: raise AssertionError("it was let through")

# %% [markdown]
# All of them at once. The patients below have a state that nobody sees ($z$, two numbers); it shows in a table, in counts, in flags, in a category and in a series. Which of them can be told from which?

# %%
g = np.random.default_rng(0)
state = g.normal(size=(1200, 2))
noise = lambda *shape: g.normal(size=shape)
sick, old = state.T
frame = pd.DataFrame({"age": 50 + 15*old + 3*noise(1200), "smoker": sick + .5*noise(1200) > .5,
                      "ward": np.where(old > .7, "geriatrics", np.where(sick > 0, "surgery", "day")),
                      "visits": g.poisson(np.exp(1 + .6*sick))})
cells = g.poisson(np.exp(2 + sick[:, None]*[.8, -.8, .3] + .3*noise(1200, 3)))
flags = (sick[:, None]*[2, -2, 1, 0] + old[:, None]*[0, 1, 2, 2] + noise(1200, 4) > 0)
time = np.linspace(0, 2*np.pi, 30)
pulse = np.sin(time*(1 + .2*old[:, None]) + sick[:, None])[..., None] + .2*g.standard_t(3, size=(1200, 30, 1))
table = Table(frame[:1000], counts=["visits"])
arrays = {"record": table(frame), "cells": cells, "flags": flags, "pulse": pulse.astype("float32"),
          "group": np.digitize(old, [-.5, .5])[:, None]}
kinds = {"record": "table", "cells": "counts", "flags": "binary", "pulse": "sequence", "group": "categories"}

# %%
first = {n: x[:1000] for n, x in arrays.items()}
known = TensorData({n: x for n, x in first.items() if n != "record"}, kinds={n: k for n, k in kinds.items() if n != "record"})
modalities = {"record": table.modality("record"), **known.modalities}
data = TensorData({"record": first["record"], **known.pools}, modalities=modalities)
specs = default_specs(data.modalities, {n: 1. for n in arrays})
seed_everything(0, "patients"); model = MoPoE(specs, latent=4)
history = fit(model, data, updates=600, batch_size=64, lr=2e-3, progress=False, device="cpu")
{n: type(s.likelihood).__name__ for n, s in specs.items()}

# %% [markdown]
# 200 patients that training has not seen: each modality from each other one alone, as the share of its variance (of its column means' squared error) explained.

# %%
rest = {n: torch.as_tensor(x[1000:]) for n, x in arrays.items()}
rest["cells"], rest["flags"] = rest["cells"].float(), rest["flags"].float()
def explained(to, given):
    made, real = model.generate({given: rest[given]}, to)[to].float(), rest[to].float()
    return 1 - float(((made - real)**2).mean()/((real - real.mean(0))**2).mean())
score = pd.DataFrame({f"{to}": {f"from {given}": explained(to, given) for given in arrays}
                      for to in ("cells", "flags", "pulse")})
assert score.loc["from cells", "pulse"] > .15 and score.loc["from flags", "cells"] > .05
score.round(2)

# %%
made = table.back(model.generate({"pulse": rest["pulse"]}, "record")["record"])
told = (made.ward.to_numpy() == frame.ward[1000:].to_numpy()).mean()
usual = (frame.ward[1000:] == frame.ward[:1000].mode()[0]).mean()
assert told > usual + .1
print(f"ward told from the pulse: {told:.0%} of patients right; the commonest ward always: {usual:.0%}")
made.head(3).round(1)


# %% [markdown]
# A kind of one's own: angles, whose networks see sine and cosine, and whose law is von Mises'.

# %%
class SeesAngles(nn.Module):
    def forward(self, x): return torch.cat([x.sin(), x.cos()], 1)

class VonMises(nn.Module):
    "Independent angles around `params`; the concentration is learnt."
    def __init__(self): super().__init__(); self.log_k = nn.Parameter(torch.zeros(()))
    def log_prob(self, x, params): return torch.distributions.VonMises(params, self.log_k.exp()).log_prob(x).sum(1)
    def mean(self, params): return params

def angle_spec(m, weight):
    trunk = lambda: nn.Sequential(SeesAngles(), nn.Linear(2*m.shape[0], 64), nn.ReLU())
    return ModalitySpec(trunk, 64, partial(mlp_decoder, shape=m.shape, squash=False), VonMises(), weight)

register_kind("angles", angle_spec)
angles = TensorData({"wind": 6*torch.rand(50, 2)}, kinds={"wind": "angles"})
own = default_specs(angles.modalities)["wind"]
assert own.log_prob(angles.pools["wind"], own.decoder(3)(torch.randn(50, 3))).shape == (50,)


# %% [markdown]
# ## What goes wrong, and how you would notice
#
# - *Rates in place of counts* (3.5 visits a year): Poisson's law and the negative binomial have no probability for them, so they refuse them, as they do negative numbers. Say how often, or use `StudentT`.
# - *Counts of very different size* in one modality: the large ones have most of the log-likelihood. Standardise nothing (they are counts); split them into two modalities, or weigh.
# - *A learnt scale runs to zero* where the data are discrete or repeat exactly (a number that is truly a category): the loss falls without end. Say what it is.
# - *A class that training never saw* is refused by `Table`; one that it saw twice is learnt as good as not at all.
#
# ## Recap
#
# `kinds={"x": "counts"}` (or `"binary"`, `"categories"`, `"sequence"`), or a `Table`, and `default_specs` does the rest; `register_kind` adds a kind; whoever brings a batch later brings it in any type, because `given_to` reads it by kind; `Poisson`, `NegativeBinomial`, `StudentT` and `Mixed` are likelihoods like any other.
#
# ## Exercises
#
# 1. Replace the negative binomial of the cells by `Poisson()`. Which has the better log-likelihood on the last 200 patients, and why?
# 2. What does Student's $t$ become for $\nu \to \infty$, and what does the negative binomial for $r \to \infty$?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The negative binomial: the cells have noise in their rate, so they vary more than Poisson's law allows given $z$.
# 2. A Gaussian with deviation $s$; Poisson's law.
# :::
#
# ### In code: a law of one's own
#
# Fill in the log density of an exponential waiting time whose decoder gives the logarithm of the mean.

# %%
#| code-fold: true
#| code-summary: "Solution"
def waiting_log_prob(x, log_mean):
    "log p(x) = -log mean - x/mean, summed over all but the first axis."
    ### BEGIN SOLUTION
    return (-log_mean - x*(-log_mean).exp()).flatten(1).sum(1)
    ### END SOLUTION


# %%
x, m = torch.rand(6, 4, generator=generator("wait")), torch.randn(6, 4, generator=generator("mean"))
known = torch.distributions.Exponential((-m).exp()).log_prob(x).sum(1)
torch.testing.assert_close(waiting_log_prob(x, m), known)

# %% [markdown]
# ## References
#
# - K. L. Lange, R. J. A. Little, J. M. G. Taylor, [Robust Statistical Modeling Using the t Distribution](https://doi.org/10.1080/01621459.1989.10478852), 1989.
# - R. Lopez, J. Regier, M. B. Cole, M. I. Jordan, N. Yosef, [Deep generative modeling for single-cell transcriptomics](https://doi.org/10.1038/s41592-018-0229-2), 2018 (counts by a negative binomial, as in scVI).
# - A. Nazábal, P. M. Olmos, Z. Ghahramani, I. Valera, [Handling Incomplete Heterogeneous Data using VAEs](https://arxiv.org/abs/1807.03653), 2018 (a law for each column).
