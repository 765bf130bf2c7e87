# %% [markdown]
# # Distributions
#
# > Gaussian posteriors, their products and mixtures, and a likelihood for each kind of data.
#
# ::: {.callout-note}
# ## You will learn
#
# - the diagonal Gaussian and its Kullback-Leibler divergence in closed form;
# - how experts combine: product, mixture, and when a prior has to be divided out of a product;
# - likelihoods for images (Laplace, Bernoulli, Gaussian) and for text (categorical).
#
# Runs in about ten seconds on a laptop CPU. A page of the workshop: the fine print, with proofs and tests, of what [lesson 02](02_vae.ipynb#bells-by-the-batch) and [lesson 05](05_mopoe.ipynb) use.
# :::
#
# ## Notation
#
# On this page ([all symbols](notation.ipynb)):
#
# | symbol | meaning | in code |
# |---|---|---|
# | $x = (x_1, \dots, x_M)$ | an item with $M$ modalities | `batch`, a `dict` of tensors |
# | $z \in \mathbb R^L$ | latent variable of $L$ coordinates | `z`, shape `(batch, latent)` |
# | $p(z) = \mathcal N(0, I)$ | prior | `kl()` without argument |
# | $p_\theta(x_m \mid z)$ | decoder and likelihood of modality $m$ | `decoders[m]`, `likelihood` |
# | $q_\lambda(z) = \mathcal N(\mu, \mathrm{diag}\,\sigma^2)$ | approximate posterior | `DiagonalGaussian` |
# | $\lambda = (\mu, \log \sigma^2)$ | its parameters | `mean`, `logvar` |

# %% [markdown]
# ![Drawing: two dashed bells twice; left their product, narrow and between them, right their mixture, broad with a hump under each.](drawings/distributions.svg)

# %%
#| default_exp distributions

# %%
#| export
import math
from collections.abc import Iterable
from typing import Protocol, runtime_checkable
import torch
import torch.nn.functional as F
from mmvae_nb.core import *
from mmvae_nb.data import as_float
from mmvae_nb.missing import is_traced

# %%
import itertools
import matplotlib.pyplot as plt
from torch import distributions as D


# %% [markdown]
# ## The diagonal Gaussian
#
# Our posteriors are Gaussians with independent coordinates, one per item of a batch. They are
# stored as mean and *log*-variance: a network may output any real number for either, and the
# variance stays positive.
#
# $$\begin{aligned}
# \log q(z) &= -\tfrac12 \sum_{l=1}^{L} \Big[ \log 2\pi + \log \sigma_l^2
#            + \frac{(z_l - \mu_l)^2}{\sigma_l^2} \Big]
# \end{aligned}\tag{1}$$
#
# How far is $q$ from another distribution $p$? Draw $z$ from $q$ and ask how much more probable $q$ finds it than $p$ does, as a
# logarithm, on average: $\mathrm{KL}(q \,\|\, p) = \mathbb E_q[\log q(z) - \log p(z)]$. It is zero if the two agree and positive otherwise. For
# a second Gaussian $p = \mathcal N(\nu, \mathrm{diag}\, \tau^2)$ put (1) in twice; $\log 2\pi$ cancels, and two means are needed,
# $\mathbb E_q (z_l - \mu_l)^2 = \sigma_l^2$ and $\mathbb E_q (z_l - \nu_l)^2 = \sigma_l^2 + (\mu_l - \nu_l)^2$:
#
# $$\begin{aligned}
# \mathrm{KL}(q \,\|\, p) &= \tfrac12 \sum_{l=1}^{L} \mathbb E_q \Big[ \log \tau_l^2 - \log \sigma_l^2
#            + \frac{(z_l - \nu_l)^2}{\tau_l^2} - \frac{(z_l - \mu_l)^2}{\sigma_l^2} \Big] \\
#   &= \tfrac12 \sum_{l=1}^{L} \Big[ \log \frac{\tau_l^2}{\sigma_l^2}
#            + \frac{\sigma_l^2 + (\mu_l - \nu_l)^2}{\tau_l^2} - 1 \Big].
# \end{aligned}\tag{2}$$
#
# (1) and (2) are *sums* over latent coordinates: they are in nats per item. Averaging over
# coordinates instead would quietly change the balance of every objective in this course.

# %% [markdown]
# PyTorch stretches an axis of length one over any other. The answer can then be wrong without a word: the divergence of five items from one, or a $z$ of one coordinate under
# a Gaussian of three. So each call below looks at type, shape and device of what it gets, which takes about a microsecond. It looks at no number, because to look at a number on a graphics
# card is to wait for it.

# %%
#| exports
#| code-fold: true
#| code-summary: "Helpers: what is refused by its type, shape or device"
def _wrong(name, x, allowed):
    "The error for what does not fit."
    got = (f"shape {tuple(x.shape)} of {x.dtype} on {x.device}" if isinstance(x, torch.Tensor) else
           f"a {x!r:.60}" if isinstance(x, DiagonalGaussian) else f"a {type(x).__name__}")
    return MmvaeError(f"{name}: got {got}, allowed: {allowed}")

def _floats(x): return isinstance(x, torch.Tensor) and x.is_floating_point()

def _shape(given, axes=None):
    "The same as a tuple; `MmvaeError` for what is no shape of an item, or has other axes."
    if not (isinstance(given, (tuple, list)) and len(given) == (axes or len(given)) > 0):
        raise MmvaeError(f"shape: got {given!r:.40}, allowed: a tuple of "
                         f"{axes or 'one or more'} whole numbers")
    for n in given: in_range("shape", n, 1, 10**7, whole=True)
    return tuple(given)

def _multiple(name, n, of=1):
    "The same; `MmvaeError` for what is no whole number from `of` on, and a multiple of it."
    if in_range(name, n, of, 10**9, whole=True) % of == 0: return n
    raise MmvaeError(f"{name}: got {n}, allowed: multiples of {of}")

def _many(name, given):
    "A list of what is given; `MmvaeError` for one Gaussian, as a loop would take its items."
    one = not isinstance(given, list) and (isinstance(given, (DiagonalGaussian, torch.Tensor))
                                           or not isinstance(given, Iterable))
    if one: raise _wrong(name, given, "a list of `DiagonalGaussian`s")
    return list(given)

def _gaussians(name, given, axis=0):
    "A list of Gaussians; `MmvaeError` for others, or if their shapes differ from this axis on."
    given = _many(name, given)
    if not given: raise MmvaeError(f"{name}: got none, allowed: at least one")
    like = getattr(given[0], "logvar", None)
    for q in given: _like(name, q, like, axis)
    return given

def _like(name, q, like, axis=0):
    "Refuse what is no Gaussian, or has another shape from this axis on, or is on another device."
    own = getattr(q, "logvar", None)
    if own is None or like is None: raise _wrong(name, q, "a `DiagonalGaussian`")
    same = own.shape == like.shape or axis and own.shape[axis:] == like.shape[axis:]
    if same and own.device == like.device: return
    shape = ", ".join(["batch"]*axis + [*map(str, like.shape[axis:])])
    raise _wrong(name, own, f"shape ({shape}) on {like.device}, as the others")

def _stream(generator, device):
    "The same; `MmvaeError` for what is no stream of random numbers, or one on another device."
    if generator is None: return None
    own = generator.device.type if isinstance(generator, torch.Generator) else None
    if own in ("meta", device.type) or own and device.type == "meta": return generator
    got = f"a {type(generator).__name__}" + f" on {own}"*bool(own)
    raise MmvaeError(f"generator: got {got}, allowed: a torch.Generator on {device}, or None")

class _Outside(MmvaeError, IndexError): "An item that is not there; by it a loop over items ends."


# %%
#| exports
LOGVAR_RANGE = (-12., 6.)  # a deviation between 0.0025 and 20: wide enough, and no overflow

class DiagonalGaussian:
    "A batch of Gaussians with diagonal covariance: `mean` and `logvar` of shape (batch, latent)."
    def __init__(self, mean, # (batch, latent)
                 logvar # log-variance of the same shape, clamped to LOGVAR_RANGE
                ):
        if not (_floats(mean) and mean.ndim): raise _wrong("mean", mean, "floats (batch, latent)")
        if not (_floats(logvar) and logvar.shape == mean.shape and logvar.device == mean.device):
            raise _wrong("logvar", logvar, f"floats of mean's shape {tuple(mean.shape)} on "
                         f"{mean.device}")
        self.mean, self.logvar = mean, logvar.clamp(*LOGVAR_RANGE)

    @property
    def std(self): return torch.exp(0.5*self.logvar)
    @property
    def var(self): return torch.exp(self.logvar)
    def __len__(self): return len(self.mean)
    def __getitem__(self, i):
        try: return DiagonalGaussian(self.mean[i], self.logvar[i])
        except (IndexError, TypeError, ValueError) as e:                  # ours is a ValueError
            raise _Outside(f"index: got {i!r:.60}, allowed: a slice, or numbers or a mask of "
                           f"{len(self)} items") from e
    def __repr__(self): return f"DiagonalGaussian{tuple(self.mean.shape)}"
    def detach(self): return DiagonalGaussian(self.mean.detach(), self.logvar.detach())

    def rsample(self, n=None, # samples per item; None: one, and no first axis
                generator=None # random stream; torch's own by default
               ) -> torch.Tensor: # (batch, latent), or (n, batch, latent)
        "Reparameterised sample: a differentiable function of mean and log-variance."
        m = self.mean
        if not (n is None or isinstance(n, torch.SymInt)): n = in_range("n", n, 0, 10**9, True)
        shape, generator = m.shape if n is None else (n, *m.shape), _stream(generator, m.device)
        noise = torch.randn(shape, generator=generator, dtype=m.dtype, device=m.device)
        return m + self.std*noise

    def _reached(self, z):
        "The same; `MmvaeError` where axes would be stretched, but for one item or one point."
        m = self.mean
        own = z.shape[-m.ndim:] if isinstance(z, torch.Tensor) and z.device == m.device else ()
        if own == m.shape: return z
        near = all(a == b or 1 in (a, b) for a, b in zip(own, m.shape))
        if len(own) == m.ndim and own[-1] == m.shape[-1] and near: return z
        raise _wrong("z", z, f"(..., {', '.join(map(str, m.shape))}) on {m.device}")

    def log_prob(self, z # (..., batch, latent)
                ) -> torch.Tensor: # (..., batch) nats
        "Log density of `z`, summed over the latent axis; eq. (1)."
        z = self._reached(z)
        return -0.5*(math.log(2*math.pi) + self.logvar + (z - self.mean)**2/self.var).sum(-1)

    def kl(self, other=None # `DiagonalGaussian` of the same shape; None: the standard normal prior
          ) -> torch.Tensor: # (batch,) nats
        "KL(self || other) in closed form; eq. (2)."
        if other is None: return 0.5*(self.var + self.mean**2 - 1 - self.logvar).sum(-1)
        _like("other", other, self.logvar)
        ratio = torch.exp(self.logvar - other.logvar)
        return 0.5*(ratio + (self.mean - other.mean)**2/other.var - 1
                    + other.logvar - self.logvar).sum(-1)

    @classmethod
    def standard(cls, n, latent, device=None):
        "`n` standard normals: the prior."
        n, latent = in_range("n", n, 0, 10**9, True), in_range("latent", latent, 1, 10**9, True)
        try: zeros = torch.zeros(n, latent, device=device)
        except (RuntimeError, TypeError, ValueError, AssertionError):
            resolve_device(device); raise
        return cls(zeros, zeros)

    @classmethod
    def cat(cls, parts):
        "Stack several batches of Gaussians along the batch axis."
        parts = _gaussians("parts", parts, 1)
        return cls(torch.cat([p.mean for p in parts]), torch.cat([p.logvar for p in parts]))


# %% [markdown]
# We check it twice: against PyTorch's own distributions, and the divergence also against its
# definition $\mathbb E_q[\log q - \log p]$ by Monte Carlo, where the error must be within three
# standard errors.

# %%
g = generator(0, "distributions")
q = DiagonalGaussian(torch.randn(5, 3, generator=g), torch.randn(5, 3, generator=g))
p = DiagonalGaussian(torch.randn(5, 3, generator=g), torch.randn(5, 3, generator=g))
as_torch = lambda q: D.Independent(D.Normal(q.mean, q.std), 1)
z = q.rsample(7, g)
assert z.shape == (7, 5, 3)
torch.testing.assert_close(q.log_prob(z), as_torch(q).log_prob(z))
torch.testing.assert_close(q.kl(p), D.kl_divergence(as_torch(q), as_torch(p)))
torch.testing.assert_close(q.kl(), q.kl(DiagonalGaussian.standard(5, 3)))

z = q.rsample(100_000, g)
log_ratio = q.log_prob(z) - p.log_prob(z)
standard_error = log_ratio.std(0)/len(z)**0.5
assert ((log_ratio.mean(0) - q.kl(p)).abs() < 3*standard_error).all()
assert len(DiagonalGaussian.cat([q, p])) == 10 and not q.detach().mean.requires_grad


# %% [markdown]
# Nothing in a multimodal model asks for the closed form of a Gaussian. What it asks of a batch of posteriors is written down
# below, and any class that has these answers, a flow for example, can be what a model's `infer` returns: its ELBO, its students'
# loss and its evaluation work with it. (What is Gaussian by nature, products of experts and refinement, stays Gaussian.)

# %%
#| exports
@runtime_checkable
class Posterior(Protocol):
    "One distribution over z per item of a batch: what ELBO, distillation and evaluation ask for."
    mean: torch.Tensor   # (batch, latent): the mean, or another point that stands for the whole
    def __len__(self): "Items in the batch."; ...
    def __getitem__(self, i): "The posteriors of some items, by a slice or by indices."; ...
    def detach(self): "The same without gradient."; ...
    def rsample(self, n=None, # samples per item; None: one, and no first axis
                generator=None # random stream
               ) -> torch.Tensor: # (batch, latent), or (n, batch, latent)
        "Reparameterised sample."; ...
    def log_prob(self, z # (..., batch, latent)
                ) -> torch.Tensor: # (..., batch)
        "Log density in nats."; ...
    def kl(self, other=None # a posterior of the same items; None: the standard normal prior
          ) -> torch.Tensor: # (batch,)
        "KL(self || other) in nats per item, exactly or by samples."; ...
    @classmethod
    def cat(cls, parts): "Stack several batches along the batch axis."; ...


# %%
assert isinstance(q, Posterior) and not isinstance(q.mean, Posterior)

# %% [markdown]
# KL is not symmetric, and the difference matters when one distribution is distilled into another.
# Fit one Gaussian $s$ (the student of lesson 01, say) to a mixture of two: minimising $\mathrm{KL}(\text{mixture}\,\|\,s)$ must
# put mass wherever the mixture has some, so it covers both modes; minimising
# $\mathrm{KL}(s\,\|\,\text{mixture})$ is punished for mass where the mixture has none, so it picks one.

# %%
#| fig-cap: "One Gaussian fitted to two modes, in both directions of KL. Covering puts mass between the modes, where there is none."
#| fig-alt: "A curve with two peaks and two fitted Gaussians: a wide one over both, a narrow one on the right peak."
x = torch.linspace(-6, 6, 400)
normal = lambda m, s: D.Normal(torch.tensor(float(m)), torch.tensor(float(s))).log_prob(x)
target = torch.logaddexp(normal(-2, .6), normal(2, .6)) - math.log(2)
fits = {"KL(target || fit): covers": normal(0, (0.6**2 + 4)**.5),
        "KL(fit || target): picks": normal(2, .6)}
fig, ax = plt.subplots(figsize=(6, 2.6))
ax.fill_between(x, target.exp(), color="0.85", label="target")
for label, curve in fits.items(): ax.plot(x, curve.exp(), label=label)
ax.set(xlabel="z", ylabel="density"); ax.legend();


# %% [markdown]
# ## Product of experts
#
# Suppose each modality has its own opinion about $z$, a Gaussian $q_m$. The *product of experts*
# multiplies the densities and renormalises: a $z$ is probable only if no expert objects to it. Multiplying Gaussians adds exponents, and the exponent
# is quadratic in $z$, so precisions add and means are averaged with the precisions as weights:
#
# $$
# \begin{aligned}
# \prod_m \mathcal N(z; \mu_m, \sigma_m^2)
#   &\propto \exp\Big( -\tfrac12 \sum_m \frac{(z - \mu_m)^2}{\sigma_m^2} \Big)
#    \propto \mathcal N\Big( z;\; \frac{\sum_m \mu_m/\sigma_m^2}{\sum_m 1/\sigma_m^2},\;
#    \frac{1}{\sum_m 1/\sigma_m^2} \Big)
# \end{aligned}\tag{3}
# $$
#
# An expert with small variance speaks loudly. The product is sharper than each of its factors.
#
# **When the prior must be divided out.** If the modalities are conditionally independent given $z$
# then Bayes' rule gives
#
# $$
# \begin{aligned}
# p(z \mid x_1, \dots, x_M) \propto p(z) \prod_{m=1}^{M} p(x_m \mid z)
#   \propto p(z) \prod_{m=1}^{M} \frac{p(z \mid x_m)}{p(z)}
#   = \frac{\prod_m p(z \mid x_m)}{p(z)^{M-1}}
# \end{aligned}\tag{4}
# $$
#
# so the plain product of $M$ *posteriors* counts the prior $M$ times. (If only a subset $A$ of the modalities is there,
# $M$ becomes $|A|$.) With `divide_prior` the $M - 1$ surplus standard normals are taken out again: their precision is subtracted. As long as every
# expert is at least as narrow as the prior, that is exact and proper: each factor $q_m/p$ has the precision $1/\sigma_m^2 - 1 \ge 0$, a likelihood. The mean may then lie
# outside all experts, and rightly so: two independent hints that $z$ is large are worth more than one.
#
# Nothing guarantees it for learned experts. One that is *wider* than the prior can't be a posterior under it, there is no likelihood behind it, and where the quotient falls below the precision of the loudest
# single expert (it may even turn negative) it means nothing. There is no right answer then, only a harmless one, coordinate by coordinate: as
# precise as the loudest expert, and with a mean that is not outside of all experts. Five experts that all say $\mathcal N(1, 2)$ so agree on $\mathcal N(1, 2)$.

# %%
#| exports
def product_of_experts(experts, # list of `DiagonalGaussian`s of equal shape
                       prior=False, # multiply by the standard normal prior too?
                       divide_prior=False # divide by the M-1 surplus priors, eq. (4), where proper?
                      ) -> DiagonalGaussian:
    "The normalised product of Gaussian experts, eq. (3)."
    experts = _gaussians("experts", experts)
    for name, on in dict(prior=prior, divide_prior=divide_prior).items():
        one_of(name, on, [False, True])
    precisions = torch.stack([torch.exp(-e.logvar) for e in experts])
    means = torch.stack([e.mean for e in experts])
    precision, weighted = precisions.sum(0), (precisions*means).sum(0)
    if prior: precision = precision + 1
    if not divide_prior: return DiagonalGaussian(weighted/precision, -torch.log(precision))
    exact, loudest = precision - (len(experts) - 1), precisions.amax(0)
    improper = (exact < loudest) & (precisions.amin(0) < 1)
    precision = torch.maximum(exact, loudest)
    mean, inside = weighted/precision, lambda m: m.clamp(means.amin(0), means.amax(0))
    return DiagonalGaussian(torch.where(improper, inside(mean), mean), -torch.log(precision))


# %% [markdown]
# An independent check of equation (3): multiply the densities on a fine grid, normalise numerically,
# and read mean and variance off the grid. And of equation (4): build a model in which the true
# posteriors are known, $x_m = z + \text{noise}_m$, and see that dividing out the prior gives the
# exact posterior of all the data while the plain product is too sharp.

# %%
grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
def gaussian(mean, var):
    return DiagonalGaussian(torch.tensor([[mean]]), torch.tensor([[var]]).log())

experts = [gaussian(*e) for e in [(1., .5), (-1., 2.), (.3, .1)]]
density = torch.stack([e.log_prob(grid[:, None, None])[:, 0] for e in experts]).sum(0).exp()
density /= density.sum()
mean = (grid*density).sum(); var = ((grid - mean)**2*density).sum()
product = product_of_experts(experts)
torch.testing.assert_close(product.mean.item(), mean.item(), rtol=0, atol=1e-4)
torch.testing.assert_close(product.var.item(), var.item(), rtol=0, atol=1e-4)

noise = torch.tensor([.5, 2., 1.]); x = torch.tensor([1.2, .4, .9])    # x_m ~ N(z, noise_m)
alone = [gaussian((x_m/(1 + n)).item(), (n/(1 + n)).item()) for x_m, n in zip(x, noise)]
precision = 1 + (1/noise).sum()                                     # exact posterior of all three
exact = product_of_experts(alone, divide_prior=True)
torch.testing.assert_close(exact.var.item(), 1/precision.item())
torch.testing.assert_close(exact.mean.item(), ((x/noise).sum()/precision).item())
assert product_of_experts(alone).var < exact.var      # the plain product is overconfident
wide = product_of_experts([gaussian(1., 2.)]*5, divide_prior=True)      # nothing to divide out
torch.testing.assert_close(torch.stack([wide.mean, wide.var]).flatten().tolist(), [1., 2.])


# %% [markdown]
# ## Mixture of experts
#
# A *mixture* does not multiply opinions, it takes one of them at random. With $J$ components,
#
# $$
# \begin{aligned}
# q(z) = \frac1J \sum_{j=1}^{J} q_j(z).
# \end{aligned}\tag{5}
# $$
#
# Its variance is at least the mean of its components' variances, so it is never sharper than the sharpest of them. Two things are
# needed of it, its density (a log-sum-exp) and samples. Which component an item uses is drawn for
# each item on its own: nobody's result depends on its neighbours in the batch.

# %%
#| exports
class Mixture:
    "A uniform mixture of `DiagonalGaussian`s of equal shape."
    def __init__(self, components # `DiagonalGaussian`s, one at least
                ):
        self.components = _gaussians("components", components)

    def log_prob(self, z # (..., batch, latent)
                ) -> torch.Tensor: # (..., batch) nats
        "Log density of `z`; eq. (5)."
        logs = torch.stack([c.log_prob(z) for c in self.components])
        return torch.logsumexp(logs, 0) - math.log(len(self.components))

    def pick(self, generator=None):
        "One component per item, drawn uniformly: a `DiagonalGaussian`."
        mean = torch.stack([c.mean for c in self.components])
        if mean.ndim != 3: raise _wrong("components", mean[0], "(batch, latent), to pick by item")
        logvar = torch.stack([c.logvar for c in self.components])
        k = torch.randint(len(mean), mean.shape[1:2], generator=_stream(generator, mean.device),
                          device=mean.device)
        i = torch.arange(mean.shape[1], device=mean.device)
        return DiagonalGaussian(mean[k, i], logvar[k, i])

    def rsample(self, generator=None):
        "One sample per item, (batch, latent)."
        return self.pick(generator).rsample(generator=generator)


# %%
zeros = torch.zeros(20_000, 1)
two = Mixture([DiagonalGaussian(zeros + m, zeros) for m in (-3., 3.)])
z = two.rsample(g)
reference = D.MixtureSameFamily(D.Categorical(torch.ones(2)),
                                D.Normal(torch.tensor([-3., 3.]), torch.ones(2)))
torch.testing.assert_close(two.log_prob(z), reference.log_prob(z)[:, 0])
assert abs(z.mean()) < 0.1 and abs(z.var() - 10) < 0.2     # variance: 1 within + 9 between
assert set(two.pick(g).mean.unique().tolist()) == {-3., 3.}

# %%
#| fig-cap: "Two experts and what becomes of them: the product agrees on the middle, the mixture keeps both opinions."
#| fig-alt: "Two grey Gaussian curves, a narrow product between them and a two-peaked mixture."
a, b = gaussian(-1.2, .7), gaussian(1.2, .7)
x = torch.linspace(-4, 4, 300)[:, None, None]
fig, ax = plt.subplots(figsize=(6, 2.6))
for e in (a, b): ax.plot(x.flatten(), e.log_prob(x).exp().flatten(), color="0.6")
ax.plot(x.flatten(), product_of_experts([a, b]).log_prob(x).exp().flatten(), label="product")
ax.plot(x.flatten(), Mixture([a, b]).log_prob(x).exp().flatten(), label="mixture")
ax.set(xlabel="z", ylabel="density"); ax.legend();


# %% [markdown]
# ## Likelihoods
#
# A decoder turns $z$ into the parameters of a distribution over data. The likelihood says which
# distribution. Write $a = a(z)$ for what the decoder puts out and $d$ for a pixel or character, then
#
# $$
# \begin{aligned}
# \text{Laplace:} \quad \log p(x \mid z) &= -\sum_d \Big[ \frac{|x_d - a_d|}{b} + \log 2b \Big], \\
# \text{Gaussian:} \quad \log p(x \mid z) &= -\sum_d \Big[ \frac{(x_d - a_d)^2}{2 b^2} + \log b + \tfrac12 \log 2\pi \Big], \\
# \text{Bernoulli:} \quad \log p(x \mid z) &= \sum_d \big[ x_d\, a_d - \log(1 + e^{a_d}) \big], \\
# \text{categorical:} \quad \log p(x \mid z) &= \sum_d \log \mathrm{softmax}(a_d)_{x_d}.
# \end{aligned}\tag{6}
# $$
#
# $b$ is a fixed *scale*. Each class below answers three calls: `log_prob(x, params)` in nats per item,
# *summed* over pixels or characters; `mean(params)`, the picture to show; and `sample(params)`. A likelihood of your own is any object that answers them, as
# `Likelihood` writes down. Models check what it returns: one number per item, or an error that names the modality. What they can't see is an average over values where a
# sum belongs; that is yours to get right. A likelihood with parameters to train, a scale for each column, say, is an `nn.Module`; each model then trains a copy of its own.
#
# - **Laplace** with $b = 0.75$, as in MoPoE, for images: absolute error, robust to outliers.
# - **Gaussian** with $b = 1$: squared error, for vectors.
# - **Bernoulli** for images that are nearly black and white; $a$ is the *logit*, the probability of white is $1/(1 + e^{-a})$.
# - **Categorical** for text. The parameters are *logits*. (A published code passes log-probabilities
#   where probabilities are expected; it trains, but what it reports is not a likelihood.)

# %%
#| exports
class Likelihood(Protocol):
    "What models ask of a likelihood; `params` is whatever the modality's decoder returns."
    logits: bool = False # does it want any real number from a default decoder, and no sigmoid?
    def log_prob(self, x, # the data (batch, ...): images in [0, 1], as floats, and tokens as int64
                 params # what the decoder made of z
                ) -> torch.Tensor: # (batch,)
        "log p(x | params) in nats per item: SUMMED over all but the batch axis."; ...
    def mean(self, params) -> torch.Tensor: # (batch, ...)
        "What to show and to return for `params`: the mean, or the likeliest tokens."; ...
    def sample(self, params, generator=None) -> torch.Tensor: # (batch, ...)
        "One draw for each item. Only who draws needs it."; ...

def _same(params, x):
    "The data; `MmvaeError` if the decoder's output has another shape (nothing is stretched)."
    if not isinstance(x, torch.Tensor) or x.is_complex(): raise _wrong("x", x, "a real tensor")
    if not (_floats(params) and params.shape == x.shape and params.device == x.device):
        raise _wrong("params", params, f"floats as the data, {tuple(x.shape)} on {x.device}")
    if x.ndim < 2: raise _wrong("x", x, "(batch, ...), an item in each row")
    return x

def _alike(params, x):
    "The data as floats, if the decoder's output is of their shape."
    if _same(params, x).is_floating_point() or x.dtype == torch.uint8: return as_float(x)
    raise _wrong("x", x, "floats or bytes (torch.uint8)")

def _params(params, axes=0):
    "The same; `MmvaeError` for what is no tensor of floats, or has other axes than a law needs."
    if _floats(params) and (not axes or params.ndim == axes): return params
    raise _wrong("params", params, "floats (batch, length, vocabulary)" if axes else "floats")

def _drawn(law, p, *more, generator=None):
    "A draw of torch's; `MmvaeError` for parameters that are no numbers, or too large to count to."
    generator = _stream(generator, p.device)
    try: made = law(p, *more, generator=generator)
    except RuntimeError as e:
        if p.isfinite().all(): raise
        raise MmvaeError("params: got nan or infinite values, allowed: finite numbers") from e
    if p.device.type != "cpu" or is_traced() or not (made < 0).any(): return made
    raise MmvaeError(f"params: got a rate of {p.max().item():g}, allowed: below 1e18")

class _Looks:
    "A likelihood looks at its data at calls 1, 2, 4, 8, ...: to look is to wait."
    _asked = 0
    def _looks(self, x, always=False):
        self._asked += 1
        if not always and self._asked & (self._asked - 1): return False
        if is_traced() or not x.numel() or x.device.type == "meta": return False
        return not (x.is_cuda and torch.cuda.is_current_stream_capturing())        # lesson 02k

class Laplace:
    "Independent Laplace pixels around `params`, with a fixed `scale` in units of the data."
    logits = False
    def __init__(self, scale: float = 0.75 # b of eq. (6), in units of the data; images: [0, 1]
                ): self.scale = in_range("scale", scale, low=1e-6)
    def log_prob(self, x, # data (batch, ...), uint8 or floats
                 params # of the same shape: the centre
                ) -> torch.Tensor: # (batch,) nats
        "log p(x | params), summed over all but the batch axis."
        x = _alike(params, x)
        return -((x - params).abs()/self.scale + math.log(2*self.scale)).flatten(1).sum(1)
    def mean(self, params):
        "The centre itself, (batch, ...)."
        return _params(params)
    def sample(self, params, generator=None):
        "One draw, (batch, ...); it can leave [0, 1]."
        device = _params(params).device
        u = torch.rand(params.shape, generator=_stream(generator, device), device=device) - 0.5
        return params - self.scale*u.sign()*torch.log1p(-2*u.abs().clamp(max=0.4999999))

class Gaussian:
    "Independent Gaussian values around `params`, with a fixed deviation `scale`."
    logits = False
    def __init__(self, scale: float = 1.0 # b of eq. (6), in units of the data
                ): self.scale = in_range("scale", scale, low=1e-6)
    def log_prob(self, x, # data (batch, ...)
                 params # of the same shape: the centre
                ) -> torch.Tensor: # (batch,) nats
        "log p(x | params), summed over all but the batch axis."
        constant = math.log(self.scale) + 0.5*math.log(2*math.pi)
        x = _alike(params, x)
        return -(0.5*((x - params)/self.scale)**2 + constant).flatten(1).sum(1)
    def mean(self, params):
        "The centre itself, (batch, ...)."
        return _params(params)
    def sample(self, params, generator=None):
        "One draw, (batch, ...)."
        device = _params(params).device
        noise = torch.randn(params.shape, generator=_stream(generator, device), device=device)
        return params + self.scale*noise


# %%
#| exports
class Bernoulli(_Looks):
    "Independent Bernoulli pixels; `params` are logits. Grey counts as expected log-likelihood."
    logits = True        # so a default decoder leaves out its sigmoid (lesson 02e)
    def _in_range(self, x):
        "Refuse data outside [0, 1]."
        if not self._looks(x): return
        low, high = (v.item() for v in x.detach().aminmax())
        if not 0 <= low <= high <= 1:
            raise MmvaeError(f"x: got values from {low:g} to {high:g}, allowed for a Bernoulli "
                             "likelihood: 0 to 1 (counts and other numbers need another one)")
    def log_prob(self, x, # images (batch, ...), uint8 or floats in [0, 1]
                 params # logits of the same shape
                ) -> torch.Tensor: # (batch,) nats
        "log p(x | params), summed over all but the batch axis."
        x = _alike(params, x)
        self._in_range(x)
        nll = F.binary_cross_entropy_with_logits(params, x, reduction="none")
        return -nll.flatten(1).sum(1)
    def mean(self, params):
        "The probability of white, (batch, ...), in (0, 1)."
        return torch.sigmoid(_params(params))
    def sample(self, params, generator=None):
        "One draw, (batch, ...): 0 or 1."
        return _drawn(torch.bernoulli, torch.sigmoid(_params(params)), generator=generator)

class Categorical(_Looks):
    "Independent tokens, int64 (batch, length); `params` are logits (batch, length, vocabulary)."
    def _known(self, x, params):
        "Refuse what is no token; on the processor, where nobody waits, it is looked for each time."
        shape, device = _params(params, 3).shape, params.device
        if not isinstance(x, torch.Tensor) or x.dtype not in (torch.int64, torch.uint8) or (
                x.shape != shape[:-1] or x.device != device):
            raise _wrong("x", x, f"for logits of shape {tuple(shape)} on {device}: int64 of shape "
                         f"{tuple(shape[:-1])}")
        if not self._looks(x, always=x.device.type == "cpu"): return
        low, high = (v.item() for v in x.aminmax())
        if not 0 <= low <= high < params.shape[-1]:
            raise MmvaeError(f"x: got class {low if low < 0 else high}, allowed: 0 to "
                             f"{params.shape[-1] - 1}")
    def log_prob(self, x, # tokens (batch, length), int64
                 params # logits (batch, length, vocabulary)
                ) -> torch.Tensor: # (batch,) nats
        "log p(x | params), summed over the length."
        self._known(x, params)
        return -F.cross_entropy(params.transpose(1, 2), x.long(), reduction="none").sum(1)
    def mean(self, params):
        "The likeliest token at each place, (batch, length): a mean of words is no word."
        return _params(params, 3).argmax(-1)
    def sample(self, params, generator=None):
        "One draw, (batch, length), each place on its own."
        p = torch.softmax(_params(params, 3), -1).flatten(0, 1)
        return _drawn(torch.multinomial, p, 1, generator=generator).view(params.shape[:2])


# %% [markdown]
# Against PyTorch's distributions, on uint8 images as they are stored:

# %%
x = torch.randint(0, 256, (4, 3, 5, 5), generator=g, dtype=torch.uint8)
params = torch.randn(4, 3, 5, 5, generator=g)
scaled = x/255
for ours, theirs, size in [(Laplace(.75), D.Laplace(params, .75), .75),
                           (Gaussian(.3), D.Normal(params, .3), .3*(2/math.pi)**.5)]:
    torch.testing.assert_close(ours.log_prob(x, params), theirs.log_prob(scaled).sum((1, 2, 3)))
    assert abs(ours.sample(torch.zeros(200_000), g).abs().mean() - size) < .01
black_white = (x > 127).to(torch.uint8)*255
torch.testing.assert_close(Bernoulli().log_prob(black_white, params),
                           D.Bernoulli(logits=params).log_prob((x > 127).float()).sum((1, 2, 3)))
tokens, logits = torch.randint(0, 7, (4, 8), generator=g), torch.randn(4, 8, 7, generator=g)
torch.testing.assert_close(Categorical().log_prob(tokens, logits),
                           D.Categorical(logits=logits).log_prob(tokens).sum(1))
assert Categorical().mean(logits).shape == Categorical().sample(logits, g).shape == (4, 8)
assert abs(Bernoulli().sample(torch.ones(100_000), g).mean() - 1/(1 + math.exp(-1))) < .01
try: Bernoulli().log_prob(torch.tensor([[0., 3.]]), torch.zeros(1, 2))      # unbounded above
except MmvaeError as e: print(e)

# %% [markdown]
# The scale decides what an error costs. A pixel that should be white is painted in grey levels from black to white:

# %%
#| fig-cap: "Log-likelihood of one white pixel against the value painted. Laplace with scale 0.75 hardly minds an error; a smaller scale, or a Bernoulli pixel, minds it more."
#| fig-alt: "Three rising curves of different height and steepness that are highest where the painted value is one."
painted = torch.linspace(.02, 1, 200)[:, None]
white = torch.ones(200, 1)
curves = {"Laplace, b = 0.75": Laplace(.75).log_prob(white, painted),
          "Laplace, b = 0.2": Laplace(.2).log_prob(white, painted),
          "Bernoulli": Bernoulli().log_prob(white, torch.logit(painted, eps=1e-4))}
fig, ax = plt.subplots(figsize=(6, 2.6))
for label, curve in curves.items(): ax.plot(painted.flatten(), curve, label=label)
ax.set(xlabel="painted value", ylabel="log-likelihood (nats)"); ax.legend();


# %% [markdown]
# ## What goes wrong
#
# - *Averages instead of sums.* A loss that takes the mean over pixels and the mean over latent
#   coordinates has multiplied the KL term by (pixels / coordinates). Lesson 02 measures the damage.
# - *Variance through a softplus or exp without a floor.* Sooner or later a posterior collapses to a
#   point and a gradient overflows; `LOGVAR_RANGE` is the guard, and it is wide enough not to bind.
# - *A product of overconfident experts.* Products sharpen; if two experts disagree by many standard
#   deviations the product is a narrow peak that neither believes in.
#
# ## Recap
#
# - Precisions add in a product; mixtures keep opinions apart.
# - A product of posteriors counts the prior too often unless it is divided out.
# - All log-densities here are sums, in nats per item.
#
# ## Exercises
#
# 1. Show that equation (3) with a standard normal prior among the experts always has variance below 1.
# 2. For which experts does the guard in `divide_prior` act? Construct one.
# 3. From (2): which $\nu$ and $\tau$ make $\mathrm{KL}(q \,\|\, p)$ zero? And by how much does the KL to the prior grow if $\mu_1$ moves from 0 to 2?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The precision is $1 + \sum_m 1/\sigma_m^2 > 1$.
# 2. It acts in a coordinate where $\sum_m 1/\sigma_m^2 - (M-1) < \max_m 1/\sigma_m^2$, for instance
#    two experts with variance 2: $0.5 + 0.5 - 1 = 0 < 0.5$. The result has variance 2 again, and its mean is between theirs.
# 3. $\nu = \mu$ and $\tau = \sigma$: each term is $r - 1 - \log r$ with $r = \sigma_l^2/\tau_l^2$, plus a square, and vanishes only at $r = 1$. By
#    $\frac12 (2^2 - 0) = 2$ nats, whatever $\sigma$ is.
# :::
#
# ### In code: the best scale of a Laplace
#
# Fill in `best_scale`: given errors $x - a$, the scale $b$ of the Laplace likelihood at which
# their log-likelihood is largest. The check tries 3,801 scales one by one.

# %%
#| code-fold: true
#| code-summary: "Solution"
def best_scale(errors):
    "The scale b that maximises the sum of log Laplace(error; 0, b)."
    ### BEGIN SOLUTION
    return errors.abs().mean()      # where the derivative of -|e|/b - log 2b is zero on average
    ### END SOLUTION


# %%
errors = torch.randn(500, generator=generator("errors"))**3
scales = torch.linspace(.2, 4, 3801)
log_p = D.Laplace(0., scales[:, None]).log_prob(errors).sum(1)
assert abs(best_scale(errors) - scales[log_p.argmax()]) < 2e-3

# %% [markdown]
# ## References
#
# - G. Hinton, [Training Products of Experts by Minimizing Contrastive Divergence](https://www.cs.toronto.edu/~hinton/absps/nccd.pdf), 2002.
# - M. Wu, N. Goodman, [Multimodal Generative Models for Scalable Weakly-Supervised Learning](https://arxiv.org/abs/1802.05335), 2018.
# - Y. Shi et al., [Variational Mixture-of-Experts Autoencoders](https://arxiv.org/abs/1911.03393), 2019.
