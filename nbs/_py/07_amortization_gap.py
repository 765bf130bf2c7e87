# %% [markdown]
# # The amortization gap
#
# > How many nats inference loses, and to what: the Gaussian family, or one network for all items.
#
# ::: {.callout-note}
# ## You will learn
#
# - why $\log p(x)$ minus the ELBO is a KL, and how it splits into an approximation and an amortization part;
# - the best Gaussian of an item: found by climbing, and checked where it is known in closed form;
# - what each part depends on, measured on MNIST;
# - which part of the missing-modality problem is an amortization gap that inference can close, and which is not.
#
# Runs in about a minute on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: three levels; log p(x) on top, below it by the approximation gap the ELBO of the best bell, below that by the amortization gap the ELBO of the encoder's.](drawings/gap.svg)

# %%
#| default_exp amortization_gap

# %%
#| export
import math, warnings
from collections import namedtuple
from collections.abc import Callable
import torch
from mmvae_nb.core import *
from mmvae_nb.signatures import checked, needs_gradients
from mmvae_nb.distributions import *
from mmvae_nb.distributions import _floats, _wrong

# %%
import textwrap
import matplotlib.pyplot as plt, numpy as np, pandas as pd
import torch.nn.functional as F
from dataclasses import replace
from torch.distributions import MultivariateNormal, Normal
from mmvae_nb.checkpoints import cached
from mmvae_nb.data import TensorData
from mmvae_nb.datasets.digits import small_mnist
from mmvae_nb.metrics import importance_log_likelihood
from mmvae_nb.networks import *
from mmvae_nb.plotting import *
from mmvae_nb.training import *
from mmvae_nb.vae import *
set_style()


# %% [markdown]
# ## Three readers of one picture
#
# A decoder is given. Three readers look at a picture $x$ and say which $z$ it was drawn from. The first knows the
# answer that Bayes' rule gives, $p(z \mid x)$, whatever its shape. The second may take as long as it likes for this one picture, but has to answer
# with a Gaussian whose coordinates are independent. The third is the encoder: it answers with such a Gaussian too, and at once, by one pass of a network
# that has to serve all pictures. In the drawing the hill is the same three times; see what of it each answer covers, and where an answer leaves it:
#
# ![Drawing: three panels with the same bent grey hill; the first reader's answer is the hill itself, the second's an upright ellipse over its bend, which sticks out a little, the third's, the encoder's, an ellipse beside that place; between them the approximation and the amortization gap.](drawings/readers.svg)
#
# What does the second lose against the first? The price of the *family*. What does the third lose against the second? The
# price of *amortization*, of spreading the cost of inference over all items. The two call for different remedies (a richer
# family, or better inference in the same family), so we want to know them apart, in nats.
#
# Lesson 02 found the total. Put $p(x, z) = p(x)\, p(z \mid x)$ into the ELBO:
#
# $$
# \begin{aligned}
# \mathcal L(x; q) &= \mathbb E_q\big[\log p(x, z) - \log q(z)\big]
#   = \mathbb E_q\big[\log p(x) + \log p(z \mid x) - \log q(z)\big] \\
#   &= \log p(x) - \mathrm{KL}\big(q \,\|\, p(z \mid x)\big).
# \end{aligned}\tag{1}
# $$
#
# So the ELBO ranks posteriors of one item by their KL to the true one. Let $q^*$ be the best of the family $\mathcal Q$, and add and subtract its ELBO:
#
# $$
# \begin{aligned}
# q^* &= \arg\max_{q \in \mathcal Q} \mathcal L(x; q), \\
# \log p(x) - \mathcal L(x; q_\phi) &=
#   \underbrace{\log p(x) - \mathcal L(x; q^*)}_{\text{approximation gap}}
#   + \underbrace{\mathcal L(x; q^*) - \mathcal L(x; q_\phi)}_{\text{amortization gap}} \\
#   &= \underbrace{\mathrm{KL}(q^* \,\|\, p(z \mid x))}_{\ge\, 0}
#   + \underbrace{\mathrm{KL}(q_\phi \,\|\, p(z \mid x)) - \mathrm{KL}(q^* \,\|\, p(z \mid x))}_{\ge\, 0}.
# \end{aligned}\tag{2}
# $$
#
# The first part is a KL, hence not negative. The second is a *difference* of two KLs, not negative because $q_\phi$ lies in
# $\mathcal Q$ and $q^*$ is the best there. Cremer et al. (2018) measured both, and so shall we. Two things are needed that training never asks for:
# $q^*$, and $\log p(x)$ itself.
#
# ## The best Gaussian: climb for each item
#
# The second reader is easy to build. The parameters $\lambda = (\mu, \log\sigma^2)$ of one item are 40 numbers; we climb
# $\mathcal L(x; q_\lambda)$ by gradient, with Adam, until nothing is gained. There is no encoder in this. All that is needed is a
# callable `elbo(q)` that gives, for a batch of posteriors, the ELBO of each item; whether it is exact or estimated with a sample does
# not matter.

# %%
#| exports
#| code-fold: true
#| code-summary: "Helper: one number for each item"
def _per_item(name, x, items, back=" back"):
    "The same; `MmvaeError` for what is no tensor of one number for each item."
    if _floats(x) and x.shape == (items,): return x
    got, more = (f"shape {tuple(x.shape)}", "") if _floats(x) else \
        (f"a {type(x).__name__}", ", a tensor of floats")
    raise MmvaeError(f"{name}: got {got}{back}, allowed: ({items},){more}")


# %%
#| exports
@checked
def gradient_ascent(elbo: Callable, # `DiagonalGaussian` -> (batch,)
                    start: DiagonalGaussian, # posterior to start from
                    steps: int = 400, # gradient evaluations
                    lr: float = 0.05, # rate of Adam, decayed to a tenth along a cosine
                    tolerance: float | None = 0.01 # nats an item it may rise at the end; None: any
                   ) -> DiagonalGaussian:
    "The best Gaussian, q* of eq. (2), by Adam. Of 100 steps or more it warns if they were too few."
    needs_gradients("gradient_ascent")
    in_range("steps", steps, low=0, whole=True); in_range("lr", lr, low=0)
    values = []
    mean, logvar = (v.detach().clone().requires_grad_() for v in (start.mean, start.logvar))
    optimiser = torch.optim.Adam([mean, logvar], lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps), lr/10)
    with torch.enable_grad():
        for _ in range(steps):
            value = _per_item("elbo", elbo(DiagonalGaussian(mean, logvar)), len(start))
            if not value.requires_grad:
                raise MmvaeError("elbo: got values back that no gradient goes through, allowed: a "
                                 "function of mean and logvar")
            values.append(value.detach())
            mean.grad, logvar.grad = torch.autograd.grad(-value.sum(), [mean, logvar])
            optimiser.step(); schedule.step()
    if tolerance is not None and steps >= 100: _warn_of_rise(torch.stack(values), tolerance)
    return DiagonalGaussian(mean, logvar).detach()

def _warn_of_rise(values, tolerance):
    "One line if the last fifth of the steps lies above the fifth before by more than its noise."
    k, n = len(values)//5, values.shape[1]
    before, last = values[-2*k:-k].double(), values[-k:].double()
    rise = (last.mean(0) - before.mean(0)).mean().item()
    noise = ((last.var(0) + before.var(0))/k).sum().sqrt().item()/n
    if rise > tolerance + 3*noise:
        warnings.warn(f"steps: {len(values)} were too few, the ELBO still rose by {rise:.2g} nats "
                      "an item in the last fifth of them; more steps, a nearer start or a larger "
                      "lr may help", stacklevel=4)


# %% [markdown]
# ## A model in which all is known
#
# Let $z \sim \mathcal N(0, I)$ and $x = Wz + \text{noise}$, the noise Gaussian with variance $v$. The true posterior is a Gaussian,
# $\mathcal N(\nu, P^{-1})$ with precision $P = I + W^\top W/v$ and mean $\nu = P^{-1} W^\top x/v$, and $x \sim \mathcal N(0, WW^\top + v I)$.
# (Collect in $-\frac12 \|z\|^2 - \frac{1}{2v} \|x - Wz\|^2$ what is quadratic in $z$ and what is linear.) As soon as the columns of
# $W$ are not orthogonal, $P$ is not diagonal: no Gaussian of our family is the true posterior. Which one is best? Two bars lie below the tilted ellipse of a true posterior; compare the circle, the best answer of our family, with both of them:
#
# ![Drawing: a tilted grey ellipse, the true posterior of two coordinates, and a purple circle that crosses it on the two axes, the best diagonal Gaussian; below, a short bar, the slice, as wide as the circle, and a longer one, the shadow of the ellipse.](drawings/tilted.svg)
#
# Why the slice? With $q = \mathcal N(\mu, \mathrm{diag}\, \sigma^2)$, and $\mathbb E_q (z - \nu)^\top P (z - \nu) = \sum_l P_{ll}\, \sigma_l^2 + (\mu - \nu)^\top P (\mu - \nu)$,
#
# $$
# \begin{aligned}
# \mathrm{KL}(q \,\|\, \mathcal N(\nu, P^{-1})) &= \mathbb E_q\Big[ \tfrac12 (z - \nu)^\top P (z - \nu) - \tfrac12 \sum_l \frac{(z_l - \mu_l)^2}{\sigma_l^2} \Big] \\
#   &\quad - \tfrac12 \sum_l \log \sigma_l^2 - \tfrac12 \log\det P \\
#   &= \tfrac12 \Big[ \sum_l \big(P_{ll}\, \sigma_l^2 - \log \sigma_l^2\big) + (\mu - \nu)^\top P (\mu - \nu) - L - \log \det P \Big].
# \end{aligned}\tag{3}
# $$
#
# The mean should be $\nu$. Each $\sigma_l^2$ has a term of its own; its derivative $P_{ll} - 1/\sigma_l^2$ vanishes at $\sigma_l^2 = 1/P_{ll}$. Put
# both in, and what is left is the approximation gap:
#
# $$
# \begin{aligned}
# \mu^* &= \nu, \qquad (\sigma_l^*)^2 = \frac{1}{P_{ll}}, \\
#   \mathrm{KL}(q^* \,\|\, p(z \mid x)) &= \tfrac12 \Big[ \sum_l \log P_{ll} - \log\det P \Big].
# \end{aligned}\tag{4}
# $$
#
# Note that $1/P_{ll}$ is the variance of $z_l$ when the *other coordinates are known*. It is smaller than the variance that $z_l$ has in the posterior: the
# best Gaussian in this direction of KL is too narrow, never too wide (it *picks*: where the posterior has no mass it must have none; [lesson 02d](02d_distributions.ipynb)).

# %%
g = generator(0, "linear")
W, noise = torch.randn(12, 6, generator=g), 0.5
x = torch.randn(16, 6, generator=g) @ W.T + noise*torch.randn(16, 12, generator=g)
P = torch.eye(6) + W.T @ W/noise**2
m = x @ W @ torch.linalg.inv(P)/noise**2
known_gap = 0.5*(P.diagonal().log().sum() - torch.logdet(P)).item()          # eq. (4)

# %%
exact = MultivariateNormal(torch.zeros(12), W @ W.T + noise**2*torch.eye(12)).log_prob(x)
def linear_elbo(q, generator=None):
    "The ELBO of the linear model, in closed form: no noise."
    fit = Normal(q.mean @ W.T, noise).log_prob(x).sum(-1)
    return fit - 0.5*(q.var*(W.T @ W).diagonal()).sum(-1)/noise**2 - q.kl()


# %% [markdown]
# The ascent must find this optimum from the prior, and the ELBO it reaches must lie below the exact $\log p(x)$ by (4), for every item:

# %%
start = DiagonalGaussian.standard(16, 6)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    early, best = (gradient_ascent(linear_elbo, start, n) for n in (400, 2000))
for w in told: print(textwrap.fill(str(w.message), 78))   # of 400 steps; 2,000 are enough
assert len(told) == 1 and "400 were too few" in str(told[0].message)
reached = exact - linear_elbo(best)
print(f"approximation gap: {known_gap:.3f} nats by eq. (4)\n"
      f"by climbing for 2,000 steps {reached.mean():.3f}, "
      f"for 400 steps {(exact - linear_elbo(early)).mean():.3f}")

# %%
#| code-fold: true
#| code-summary: "Check: mean, variances and gap are those of equation (4)"
torch.testing.assert_close(best.mean, m, atol=.01, rtol=0)
torch.testing.assert_close(best.var, (1/P.diagonal()).expand(16, 6), atol=0, rtol=.02)
torch.testing.assert_close(reached, torch.full((16,), known_gap), atol=.02, rtol=0)

# %% [markdown]
# For two coordinates (4) is $-\frac12 \log(1 - \rho^2)$, where $\rho$ is their correlation in the true posterior: the approximation gap is what the two
# coordinates know about each other, and an independent Gaussian cannot say it.

# %%
#| fig-cap: "Approximation gap of a diagonal Gaussian against the correlation in the true posterior: cheap up to 0.5, expensive near 1. Black: the formula. Purple: what climbing by gradient found, at four places."
#| fig-alt: "A black curve that is flat near zero and rises steeply as the correlation tends to one, with four purple dots on it."
rho, tried, climbed = np.linspace(0, .99, 100), (.3, .6, .9, .97), []
for r in tried:
    Q = torch.linalg.inv(torch.tensor([[1., r], [r, 1.]]))
    def tilted(q):
        return -0.5*((q.mean @ Q)*q.mean + q.var*Q.diagonal() - q.logvar).sum(-1)
    q = gradient_ascent(tilted, DiagonalGaussian.standard(1, 2))
    climbed.append((-tilted(q) - 1 - 0.5*torch.logdet(Q)).item())
fig, ax = plt.subplots(figsize=(5, 2.6))
ax.plot(rho, -0.5*np.log(1 - rho**2), color="k", label="eq. (4)")
ax.plot(tried, climbed, "o", color=ROLE_COLOURS["gradient"], label="climbing")
ax.set(xlabel="correlation ρ", ylabel="gap (nats)"); ax.legend();


# %% [markdown]
# So the approximation gap is a property of the decoder and the family, not of the encoder. It also says
# how a decoder can make it small: by arranging its latent space so that posteriors have independent coordinates. A VAE is trained on the ELBO,
# which contains the gap, so its decoder is rewarded for doing so.
#
# ## The split
#
# Now (2), per item. Both ELBOs are estimated with the *same* noise: what a lucky sample gives to one posterior it gives to the other too, and the
# difference is one of posteriors. Use the KL at the sample (`path=True`, lesson 02, equation 5): the integrand is then $\log p(x, z) - \log q(z)$, which hardly
# varies where $q$ is close to the true posterior.

# %%
#| exports
@checked
def gap_decomposition(elbo: Callable, # (`DiagonalGaussian`, generator) -> (batch,) ELBO in nats
                      amortized: Posterior, # the encoder's
                      best: Posterior, # the best of its family, from `gradient_ascent`
                      log_px: torch.Tensor, # (batch,), a tight estimate of log p(x)
                      samples: int = 100, # of z, for each ELBO
                      seed=0 # of the noise, the same for both
                     ) -> dict: # of (batch,) tensors in nats
    "The two parts of log p(x) - ELBO for each item, and what they are differences of; eq. (2)."
    in_range("samples", samples, low=1, whole=True)
    _per_item("log_px", log_px, items := len(amortized), "")
    if len(best) != items:
        raise MmvaeError(f"best: got {len(best)} items, allowed: {items}, as amortized has")
    def value(q):
        g = generator(seed, "gap", device=q.mean.device)
        with torch.no_grad(): drawn = [elbo(q, g) for _ in range(samples)]
        return torch.stack([_per_item("elbo", v, items) for v in drawn]).double().mean(0)
    log_px, top, ours = log_px.double(), value(best), value(amortized)
    return {"log_px": log_px, "best": top, "amortized": ours,
            "approximation": log_px - top, "amortization": top - ours}


# %% [markdown]
# In the linear model both parts are known. Let the "encoder" be off by $\delta$, 0.1 in every mean; by (3) that costs $\frac12 \delta^\top P \delta$.

# %%
off = DiagonalGaussian(best.mean + .1, best.logvar)
parts = gap_decomposition(linear_elbo, off, best, exact, samples=1)
by_delta = 0.5*.01*P.sum().item()
print(f"amortization gap {parts['amortization'].mean():.2f} nats, "
      f"by equation (3) {by_delta:.2f}")

# %%
#| code-fold: true
#| code-summary: "Check: both parts, for every item"
known = {"approximation": (known_gap, .02), "amortization": (by_delta, 2.)}
for name, (gap, atol) in known.items():
    ours = parts[name].float()
    torch.testing.assert_close(ours, torch.full_like(ours, gap), atol=atol, rtol=0)


# %% [markdown]
# ::: {.callout-tip collapse="true"}
# ## Predict, then open: who can close which part?
#
# Soon we measure a VAE. Say for each change which part of its gap shrinks:
#
# - (a) an encoder ten times as wide, trained on the same decoder;
# - (b) twice as long a training of the encoder, the decoder frozen;
# - (c) Gaussians with full covariance for $q$;
# - (d) looking at training items instead of test items.
#
# *Answer.* (a) and (b): the amortization part only, for $\log p(x)$ and $q^*$ know nothing of the encoder. (c): the approximation part; the other may even grow, as there is more to predict. (d):
# the amortization part, because the encoder was trained on these items; the climb to $q^*$ sees one item at a time, so it has nothing to remember.
# :::

# %% [markdown]
# ## A VAE with two latents: everything in view
#
# With two latents a grid over the plane replaces all sampling: the true posterior can be drawn, and $\log p(x)$ is a sum over grid points. So here
# we can see the three readers on a real decoder.
#
# **The likelihood.** For nats to mean nats we need $\beta = 1$, weight 1 and a proper likelihood. We make the digits black and white (a
# pixel is on if it is above half) and take Bernoulli pixels: $p(x)$ is the probability of a picture, and $\log p(x) \le 0$. The
# Laplace likelihood of lessons 03 to 06 is proper too, but a density: it contains the constant $-784 \log(2 \cdot 0.75) \approx -318$ nats, and its scale of 0.75 is so broad for
# pixels in $[0, 1]$ that posteriors are wide and all gaps small.

# %%
def black_and_white(split):
    images, labels = small_mnist(split)
    return TensorData({"mnist": (images > 127).to(torch.uint8)*255}, labels,
                      name="black and white digits", split=split)
train, test = black_and_white("train"), black_and_white("test")

def spec(hidden=400, head=256):
    "Bernoulli digits; an encoder of `hidden` units, then a layer of `head` (0: none)."
    base = default_specs(train.modalities, weights={"mnist": 1.})["mnist"]
    return replace(base, likelihood=Bernoulli(), features=hidden, hidden=head,
                   encoder=lambda: mlp_encoder((1, 28, 28), hidden),
                   decoder=lambda latent: mlp_decoder(latent, (1, 28, 28), squash=False))


# %%
run = dict(updates=1000, batch_size=128, lr=2e-3, seed=0, progress=False, device="cpu")
modules = ["vae", "training", "datasets.digits"]
def trained(latent):
    new = lambda: (seed_everything(0, "gap"), VAE(spec(), "mnist", latent))[1]
    learn = lambda m: fit(m, train, **run)
    model = cached(f"gap-vae-{latent}", new, learn, [run, latent], modules)
    return model.requires_grad_(False)
flat = trained(2)

# %% [markdown]
# The grid: 401 by 401 points, 0.025 apart. For Bernoulli pixels with logits $a(z)$, $\log p(x \mid z) = x^\top a(z) - \sum_d \log(1 + e^{a_d(z)})$, a matrix
# product for all items and all points at once. That this is exact enough is checked by leaving out every other point.

# %%
digits, _ = test.take(64)
axis = torch.linspace(-5, 5, 401); points = torch.cartesian_prod(axis, axis)
on = (digits["mnist"] > 127).float().flatten(1)
logits = (flat.decoder(c).flatten(1) for c in points.split(20_000))
on_grid = torch.cat([on @ a.T - F.softplus(a).sum(1) for a in logits], 1).double()
on_grid = (on_grid + Normal(0., 1.).log_prob(points).sum(1)).view(64, 401, 401)


# %%
def integral(log_f, step): return log_f.flatten(1).logsumexp(1) + 2*math.log(step)
exact_2d = integral(on_grid, .025)
coarser = integral(on_grid[:, ::2, ::2], .05)
assert (exact_2d - coarser).abs().max() < .05
change = (exact_2d - coarser).abs().max()
print(f"log p(x): {exact_2d.mean():.2f} nats on average; "
      f"a grid twice as coarse changes it by at most {change:.3f}")


# %%
def elbo_of(vae, items):
    "The ELBO of each item as a function of a posterior."
    return lambda q, generator=None: vae.elbo(items, q, generator, path=True)
elbo_2d, amortized_2d = elbo_of(flat, digits), flat.infer(digits).detach()
seed_everything(0, "climb"); climbed_2d = gradient_ascent(elbo_2d, amortized_2d)
gaps_2d = gap_decomposition(elbo_2d, amortized_2d, climbed_2d, exact_2d)
said = {"log_px": "log p(x)", "best": "ELBO, best Gaussian", "amortized": "ELBO, encoder",
        "approximation": "approximation gap", "amortization": "amortization gap"}
pd.DataFrame({"nats": {said[n]: v.mean().item() for n, v in gaps_2d.items()}}).round(2)

# %% [markdown]
# By (1) the two parts together are the KL from the encoder's answer to the true posterior. On the grid that KL can be summed up:

# %%
log_q = amortized_2d.log_prob(points[:, None].expand(-1, 64, -1)).T.double()
kl = (log_q.exp()*(log_q - on_grid.flatten(1) + exact_2d[:, None])).sum(1)*.025**2
total = gaps_2d["approximation"] + gaps_2d["amortization"]
torch.testing.assert_close(kl.mean(), total.mean(), rtol=.05, atol=.05)
print(f"both parts {total.mean():.2f} nats, the KL on the grid {kl.mean():.2f}")

# %%
#| code-fold: true
#| code-summary: "Drawing the three readers"
ENCODER, CLIMB = ROLE_COLOURS["teacher"], ROLE_COLOURS["gradient"]
parts_of_gap = "approximation", "amortization"

def rings(ax, q, colour):
    "A Gaussian as rings at one and two standard deviations; a corner of its frame."
    turn = torch.linspace(0, 2*math.pi, 100)[:, None]
    ring = q.std*torch.cat([turn.cos(), turn.sin()], 1)
    for k in (1, 2): ax.plot(*(q.mean + k*ring).T, color=colour, lw=1.2)
    return q.mean + 2.5*ring

def readers(ax, i):
    "The true posterior of item i in grey, the end of the climb and the encoder as rings."
    ax.contourf(axis, axis, (on_grid[i] - exact_2d[i]).T.exp(), levels=20, cmap="Greys")
    seen = [points[on_grid[i].flatten() > on_grid[i].max() - 5],
            rings(ax, climbed_2d[i], CLIMB), rings(ax, amortized_2d[i], ENCODER)]
    low, high = torch.cat(seen).amin(0), torch.cat(seen).amax(0)
    parts = (gaps_2d[n][i].clamp(min=0) for n in parts_of_gap)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="$z_1$", ylabel="$z_2$",
           title=" + ".join(f"{p:.1f}" for p in parts) + " nats")
    ax.grid(False)


# %%
#| fig-cap: "True posteriors (grey) of three test digits under the VAE with two latents, after 1,000 updates of 128 digits. Purple: the Gaussian where the climb ended; orange: the encoder's. Over each panel stands what inference loses: first how far the end of the climb is below log p(x), then how far the encoder is below the end of the climb. So 0.1 + 0.9 nats, over the left panel, says that the climb lost 0.1 nats and the encoder 0.9 more. Left: the typical item. Middle: the item that the climb left furthest below log p(x), on the wrong one of two hills, which is too low to show. Right: the largest amortization gap."
#| fig-alt: "Three panels with grey density and rings of two Gaussians each; in the middle both lie far from the one peak that shows, and on the right the encoder's lies beside the peak. The legend stands below them."
typical = -(total - total.median()).abs()
shown = [v.argmax().item() for v in (typical, *map(gaps_2d.get, parts_of_gap))]
fig, axes = plt.subplots(1, 3, figsize=(9, 3.5))
for ax, i in zip(axes, shown): readers(ax, i)
axes[0].fill_between([], [], color="0.4", label="true posterior")
for label, colour in {"end of the climb": CLIMB, "encoder": ENCODER}.items():
    axes[0].plot([], color=colour, label=label)
fig.legend(loc="outside lower center", ncols=3);

# %% [markdown]
# Rings are drawn at one and two standard deviations. Titles give what the climb has not reached plus what the encoder loses against the end of the climb: the approximation and the amortization gap, *if* the
# climb has found the best Gaussian. In the middle it has not. That posterior has nearly all of its mass somewhere else, and the climb ended on a small hill near the encoder's guess.
#
# So part of this "approximation gap" is a fault of our second reader, who stopped on the wrong hill. Let it start from the highest point of the
# grid as well, and keep the better of the two:

# %%
peak = points[on_grid.flatten(1).argmax(1)]
seed_everything(0, "climb")
other = gradient_ascent(elbo_2d, DiagonalGaussian(peak, torch.full_like(peak, -4.)))
again = gap_decomposition(elbo_2d, amortized_2d, other, exact_2d)
gain = (again["best"] - gaps_2d["best"]).clamp(min=0)
before, after = gaps_2d["approximation"].mean(), (gaps_2d["approximation"] - gain).mean()
print(f"{(gain > .5).sum()} of 64 items gain more than 0.5 nats, "
      f"the most {gain.max():.1f}\n"
      f"approximation gap {before:.2f} nats before, {after:.2f} after")

# %% [markdown]
# ## Twenty latents
#
# Now a VAE as the course uses it, with no grid to hide behind. Three encoders answer for the *same* decoder: the one it was
# trained with; the same after 1,000 more updates with the decoder frozen; and one of 16 hidden units in a single layer, trained from scratch on the frozen decoder.
# (The small one has 600 updates, so it differs in two ways.) As the decoder is the same, $\log p(x)$ and $q^*$ are the same for all three, and whatever differs is amortization. Each is measured on 64
# digits it was trained on and 64 it has never seen. Without a grid $\log p(x)$ is an estimate: importance sampling (lesson 03a) with 2,000 samples of the best Gaussian. [Lesson 07a](07a_log_likelihood.ipynb) asks how far
# such an estimate can be trusted, and builds another that is independent of it.

# %%
vae = trained(20)
def on_decoder(name, updates, hidden=400, head=256, copy=True):
    "An encoder trained on the frozen decoder of `vae`: a copy of its own, or from scratch."
    def new():
        seed_everything(0, name); m = VAE(spec(hidden, head), "mnist", 20)
        m.decoder.load_state_dict(vae.decoder.state_dict()); m.decoder.requires_grad_(False)
        if copy: m.encoder.load_state_dict(vae.encoder.state_dict())
        return m
    settings = {**run, "updates": updates}
    learn = lambda m: fit(m, train, **settings)
    model = cached(f"gap-{name}", new, learn, [run, settings, hidden, head, copy], modules)
    return model.requires_grad_(False)


# %%
encoders = {"16 units": on_decoder("small", 600, 16, 0, copy=False),
            "trained with the decoder": vae,
            "1,000 more updates": on_decoder("longer", 1000)}


# %%
def log_px_of(items, q, samples=2000):
    "log p(x) of each item by importance sampling from q."
    def log_joint(z):
        many = {"mnist": items["mnist"].repeat(len(z)//len(q), 1, 1, 1)}
        return vae.log_likelihood(many, z) + Normal(0., 1.).log_prob(z).sum(-1)
    noise = generator(0, "log p")
    return importance_log_likelihood(log_joint, q, samples, noise, chunk=100)


# %%
parts = {}
for split, data in {"training items": train, "test items": test}.items():
    items, _ = data.take(64); elbo = elbo_of(vae, items)
    seed_everything(0, "climb"); best = gradient_ascent(elbo, vae.infer(items), 600)
    log_px = log_px_of(items, best)
    for name, m in encoders.items():
        parts[split, name] = gap_decomposition(elbo, m.infer(items), best, log_px)
mean_of = lambda p: {n: v.mean().item() for n, v in p.items()}
means = pd.DataFrame({k: mean_of(p) for k, p in parts.items()}).T
means["standard error"] = [p["amortization"].std().item()/8 for p in parts.values()]
means.rename(columns={**said, "standard error": "its standard error"}).round(2)


# %%
#| code-fold: true
#| code-summary: "Drawing the bars"
def bars(ax, rows, title):
    "Approximation and amortization gap on top of each other, one bar an encoder."
    a, b = rows["approximation"], rows["amortization"]
    ax.bar(range(len(rows)), a, label="approximation", color="0.5")
    ax.bar(range(len(rows)), b, bottom=a, label="amortization", color=ENCODER)
    for i, (low, high) in enumerate(zip(a, b)):
        for middle, part in ((low/2, low), (low + high/2, high)):
            ax.text(i, middle, f"{part:.2f}", ha="center", va="center", size=8.5, color="w")
    names = [n.replace(" the ", "\nthe ").replace(" more", "\nmore") for n in rows.index]
    ax.set(title=title, xticks=range(len(rows)), xticklabels=names, ylim=(0, 21))
    ax.grid(axis="x", visible=False)


# %%
#| fig-cap: "What inference loses, in nats per item; each part carries its own number. All three encoders answer for the decoder of the VAE with 20 latents, after 1,000 updates of 128 digits. Its own encoder had these first 1,000 updates, the one on the right 1,000 more, the small one 600. The approximation gap (grey) is the same for all encoders of a decoder. The amortization gap (orange) depends on size, training, and on whether the item was seen."
#| fig-alt: "Two groups of three stacked bars; the bar of the small encoder is by far the tallest, and the amortization part is larger for test items."
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
for ax, split in zip(axes, ("training items", "test items")):
    bars(ax, means.loc[split], split)
axes[0].set_ylabel("log p(x) - ELBO (nats)"); axes[1].legend();

# %%
unseen, seen = (means.loc[s, "amortization"] for s in ("test items", "training items"))
assert unseen.is_monotonic_decreasing and (unseen > seen).iloc[1:].all()
errors = means["standard error"]
for n in encoders:
    error = math.hypot(errors["test items", n], errors["training items", n])
    print(f"{n}: {unseen[n] - seen[n]:.1f} nats more on items it has not seen "
          f"(standard error {error:.1f})")

# %% [markdown]
# This is what Cremer et al. found, in small: a larger encoder, and a longer training of it, shrink the amortization gap and leave the
# approximation gap alone. And the gap is larger on items the encoder was not trained on. This last part, the encoder's own generalization gap, was
# hardly changed by the longer training. (Compare only gaps between the two panels: they show other digits, so their $\log p(x)$ differ anyway.)
#
# In their experiments the models were trained as a whole, each with its own decoder, and there a richer family of posteriors was seen to shrink the approximation gap.
#
# ## What goes wrong, and how you would notice
#
# *An oracle that stopped too early.* What the climb did not reach is counted as approximation gap, although it belongs to the encoder. Here is the linear model again, where both gaps are known, and the "encoder" that was off by 0.1. The two parts of a bar always add up to 1.72 nats (after 300 steps one part is negative, so it hangs below zero and grey is longer than the sum). Look where grey ends: it should be at the dashed line.

# %%
#| code-fold: true
#| code-summary: "Drawing: the same gap, split after climbs of five lengths"
#| fig-cap: "Linear model: approximation gap (grey) and amortization gap (orange), in nats, as measured with climbs from the prior of five lengths. Dashed: the exact approximation gap. After 300 steps all of the loss and more seems to be the family's, and the encoder seems better than the best Gaussian: its part, below zero, is negative. After 2,000 the split is right."
#| fig-alt: "Five stacked bars. The first is all grey, with a sliver of orange below zero; the other four are of one height, a little less. The grey part shrinks to the dashed line at 2,000 steps, the orange part grows."
lengths = (300, 400, 600, 800, 2000)
ends = [gradient_ascent(linear_elbo, start, n, tolerance=None) for n in lengths]
splits = [gap_decomposition(linear_elbo, off, q, exact, samples=1) for q in ends]
grey, orange = ([part[n].mean().item() for part in splits] for n in parts_of_gap)
fig, ax = plt.subplots(figsize=(6, 2.8))
ax.bar(range(5), grey, color="0.5", label="approximation")
ax.bar(range(5), orange, bottom=[a if b > 0 else 0 for a, b in zip(grey, orange)],
       color=ENCODER, label="amortization")
for i, (a, b) in enumerate(zip(grey, orange)):
    ax.text(i, a/2, f"{a:.2f}", ha="center", va="center", color="w")
    ax.text(i, a + b/2 if b > 0 else b - .1, f"{b:.2f}", ha="center", va="center",
            color="w" if b > 0 else "k")
ax.axhline(known_gap, color="k", ls="--", lw=1); ax.axhline(0, color="k", lw=.8)
ax.set(xticks=range(5), xticklabels=[f"{n:,}" for n in lengths], xlabel="steps of the climb",
       ylabel="nats", ylim=(-.3, 2.1)); ax.grid(axis="x", visible=False)
fig.legend(loc="outside right upper")
assert orange[0] < 0 and abs(grey[-1] - known_gap) < .01

# %% [markdown]
# How to notice: climb longer and see whether the split still moves, or start the climb from the encoder, which is near. A negative amortization gap, as after 300 steps, gives the climb away; the 1.18 nats after 400 look like a result. More:
#
# - *An oracle on the wrong hill*, as in the middle panel above. Start a second climb somewhere else.
# - *$\log p(x)$ from too few samples.* The gap looks small, or negative ([lesson 07a](07a_log_likelihood.ipynb#is-log-px-tight)).
# - *Too few samples of an ELBO.* One sample of it varies by nats, as the next cell shows. The same noise for both posteriors helps a little; what makes tenths readable is the
#   hundred samples, and the average over items.
# - *Train and test mixed up.* On training items an encoder looks better than it is.
# - *Nats that are no nats.* The next section.

# %%
amortized = vae.infer(items)
def single(q, seed):
    "A hundred one-sample ELBOs of each item."
    return torch.stack([elbo(q, generator(seed, "once", i)) for i in range(100)])
once, paired, other = single(amortized, 0), single(best, 0), single(best, 1)
spread = {"encoder's ELBO": once, "difference, same noise": paired - once,
          "difference, other noise": other - once}
spread = pd.Series({n: v.std(0).mean().item() for n, v in spread.items()})
assert spread.iloc[1] < spread.iloc[0] < spread.iloc[2]
spread.round(1).to_frame("standard deviation of one sample (nats)")

# %% [markdown]
# ## Weights and beta
#
# The objective of lesson 03 has weights $w_m$ and a $\beta$. What becomes of (1) was [derived there](03_multimodal_elbo.ipynb#one-latent-several-modalities), equation (2):
#
# $$
# \begin{aligned}
# \mathcal L_{w,\beta}(x; q) &= \beta \big[ \log Z(x) - \mathrm{KL}(q \,\|\, \tilde p(z \mid x)) \big], \\
# \tilde p(z \mid x) &= \frac{1}{Z(x)}\, p(z) \prod_m p(x_m \mid z)^{w_m/\beta}, \qquad
#   Z(x) = \int p(z) \prod_m p(x_m \mid z)^{w_m/\beta}\, dz.
# \end{aligned}\tag{5}
# $$
#
# The form survives, with two changes. The posterior that inference aims at is a *tempered* one: a weight above $\beta$ pretends that there are several copies of the
# modality. And $\beta \log Z(x)$ stands where $\log p(x)$ stood, which is no log-likelihood of anything. Differences between posteriors under one objective, the amortization gap among
# them, keep their meaning, as $\beta$ times a difference of KLs to the tempered posterior. But they are nats of the objective, not of the data, and must not be
# compared between objectives. With MNIST at weight 3.9, a gap of 4 is not "4 nats of likelihood". The gaps of all multimodal models in this course are of this kind.
#
# A check of (5) in the linear model, with $w = 3.9$ and $\beta = 2.5$. A power of a Gaussian is a Gaussian again, so all of it is known:

# %%
w, beta, D = 3.9, 2.5, 12
c = w/beta; P_c = torch.eye(6) + c*W.T @ W/noise**2
m_c = c*x @ W @ torch.linalg.inv(P_c)/noise**2
tempered = MultivariateNormal(m_c, precision_matrix=P_c)
log_Z = (MultivariateNormal(torch.zeros(D), W @ W.T + noise**2/c*torch.eye(D)).log_prob(x)
         + D/2*(math.log(2*math.pi*noise**2/c) - c*math.log(2*math.pi*noise**2)))

# %%
left = w*(linear_elbo(off) + off.kl()) - beta*off.kl()
off_full = MultivariateNormal(off.mean, torch.diag_embed(off.var))
kl = torch.distributions.kl_divergence(off_full, tempered)
torch.testing.assert_close(left, beta*(log_Z - kl), rtol=1e-4, atol=1e-2)

# %% [markdown]
# ## What a missing modality has to do with it
#
# Lesson 03 [derived](03_multimodal_elbo.ipynb#a-part-of-the-amortization-gap-and-what-part) that what inference loses without a modality is a part of the amortization gap with a floor, its equation (4). Take two modalities, of which the second is missing when the model is used. An encoder that sees $x_1$ only answers with $s(z \mid x_1)$. On the line of this lesson, the ELBO of *both*, it loses a KL. With $p_{x_2}(z)$ for $p(z \mid x_1, x_2)$:
#
# $$
# \begin{aligned}
# \log p(x_1, x_2) - \mathcal L(x_1, x_2; s) = \mathrm{KL}\big( s(z \mid x_1) \,\|\, p_{x_2}(z) \big).
# \end{aligned}\tag{6}
# $$
#
# Its mean over the $x_2$ that go with one $x_1$ (the $\mathbb E$ of the next lines) is
#
# $$
# \begin{aligned}
# \mathbb E\, \mathrm{KL}(s \,\|\, p_{x_2}) = \underbrace{\mathrm{KL}(s \,\|\, s^*)}_{\text{better inference helps}} + \underbrace{(-\log C)}_{\text{not in } x_1}, \qquad
# s^*(z) = \frac1C \exp\big( \mathbb E \log p_{x_2}(z) \big), \quad C \le 1.
# \end{aligned}\tag{7}
# $$
#
# What is new here is who can go below the floor, what the floor is in the students' direction of KL, and how large both are:
#
# - $\mathrm{KL}(s \,\|\, s^*)$ is an inference problem like that of the 16 units above. A better encoder, a longer training, a better teacher: all can help.
# - $-\log C$ is *missing information*. No function of $x_1$ can remove it, however it is trained. *Iterative inference on the full ELBO* can: each gradient of
#   $\mathcal L(x_1, x_2; q)$ is computed with $x_2$. It may start from $s$, and yet ends at $q^*(x_1, x_2)$ (lessons 08 and 09). An encoder of $x_1$ that imitates it sees $x_1$ only and pays the
#   floor again.
#
# The students of lesson 10, encoders of one modality that imitate a posterior of all, minimise the other direction of KL, and have another floor. If the pairs come from the model then the mean of
# $p_{x_2}$ is $p(z \mid x_1)$, by the law of total probability, and
#
# $$
# \begin{aligned}
# \mathbb E\, \mathrm{KL}(p_{x_2} \,\|\, s) = \underbrace{\mathbb E\, \mathrm{KL}(p_{x_2} \,\|\, p(z \mid x_1))}_{I(z;\, x_2 \mid x_1)}
#   + \mathrm{KL}(p(z \mid x_1) \,\|\, s).
# \end{aligned}\tag{8}
# $$
#
# The best student is the true posterior of one modality, broad where $x_1$ leaves things open, and what it lacks is precisely the information that $x_2$ adds.
#
# All of this in one dimension, with $x_m = z + \text{noise of variance } v_m$: precisions are $1 + 1/v_1 = P_1$ with $x_1$ and $P = P_1 + 1/v_2$ with both. The mean $\nu$ of $p_{x_2}$ varies with $x_2$; by
# the law of total variance its variance is $1/P_1 - 1/P$. The exponent of $s^*$ is an average of parabolas of equal curvature: $s^* = \mathcal N(\mathbb E\, \nu, 1/P)$, and
# $-\log C = \frac12 P\, (1/P_1 - 1/P) = \frac12 (P/P_1 - 1)$. The floor of (8) is $\frac12 \log (P/P_1)$.

# %%
v1, v2, x1 = 1., .1, .8
P1 = 1 + 1/v1; P12 = P1 + 1/v2
normal = lambda name: torch.randn(20_000, 1, generator=generator(0, name))
z = x1/v1/P1 + normal("z")/P1**.5                               # z given x1,
x2 = z + v2**.5*normal("x2")                                    # then x2: pairs with one x1
def fixed(mean, precision):
    logvar = -math.log(precision)
    return DiagonalGaussian(torch.full_like(z, mean), torch.full_like(z, logvar))
both = DiagonalGaussian((x1/v1 + x2/v2)/P12, torch.full_like(z, -math.log(P12)))
s_star, alone = fixed(x1/v1/P1, P12), fixed(x1/v1/P1, P1)

# %%
of_elbo = s_star.kl(both).mean().item(), .5*(P12/P1 - 1)
of_distillation = both.kl(alone).mean().item(), .5*math.log(P12/P1)
floors = {"ELBO's direction": of_elbo, "distillation's direction": of_distillation}
refined = gradient_ascent(lambda q: -q.kl(both), s_star, 300)   # full ELBO - log p(x1, x2)
for n, (a, b) in floors.items(): print(f"{n}: {a:.2f} nats, by the formula {b:.2f}")
print(f"refined from s*: {refined.kl(both).mean():.3f} nats")

# %%
#| code-fold: true
#| code-summary: "Check: the floors are floors, and refinement goes below"
for measured, formula in floors.values(): assert abs(measured/formula - 1) < .03
middle = x1/v1/P1
for worse in (fixed(middle + .1, P12), fixed(middle, 2*P12), fixed(middle, P12/2), alone):
    assert worse.kl(both).mean() > s_star.kl(both).mean()
assert refined.kl(both).mean() < .01                      # it has x2 through the gradient

# %%
#| fig-cap: "What the first modality alone leaves open. Grey: the posterior given both modalities, for ten values of the second. An encoder of the first alone must give one answer for all of them. By the ELBO the best is s* (black), as narrow as each grey curve and in their middle. By distillation the best is the posterior given the first modality (green), broad enough to cover them: the student's aim."
#| fig-alt: "Ten narrow grey curves side by side, a narrow black curve in their middle and a broad green one over all; the legend stands below the plot."
line = torch.linspace(-1.6, 2.4, 400)[:, None]
fig, ax = plt.subplots(figsize=(5.8, 3))
for i in range(10): ax.plot(line, both[i].log_prob(line).exp(), color="0.75", lw=1)
ax.plot([], color="0.75", lw=1, label=r"$p(z \mid x_1, x_2)$")
for name, q, colour in [("$s^*$", s_star, "k"),
                        (r"$p(z \mid x_1)$", alone, ROLE_COLOURS["student"])]:
    ax.plot(line, q[0].log_prob(line).exp(), lw=2.5, label=name, color=colour)
ax.set(xlabel="z", ylabel="density"); fig.legend(loc="outside lower center", ncols=3);


# %% [markdown]
# An encoder of $x_1$ alone, such as the start of a climb, cannot be better than this floor, and climbing the full ELBO goes below it, to zero.
#
# ## Recap
#
# - $\log p(x)$ minus the ELBO is $\mathrm{KL}(q \,\|\, p(z \mid x))$. The best Gaussian per item cuts it in two: approximation (decoder and family) and amortization (encoder).
# - $q^*$ is found by climbing each item's own ELBO. A climb on the wrong hill looks fine from inside; and that one stopped too early shows only if you go on and it still rises.
# - On one decoder the amortization gap depended on the size of the encoder, on how long it was trained, and on whether it had seen the item.
# - With weights or $\beta \ne 1$ the gap is measured to a tempered posterior.
# - The missing-modality problem is an amortization gap with a floor: an encoder of one modality can at best reach the floor (if $s^*$ is a Gaussian), inference that sees all modalities can go below.
#
# Lesson 08 keeps decoder and encoder of the VAE with 20 latents, and puts a learned refiner between the encoder and $q^*$.
#
# ## Exercises
#
# 1. Is the amortization gap the same as $\mathrm{KL}(q_\phi \,\|\, q^*)$? Compute both in the linear model, from (3) and (4).
# 2. What is the expectation of the estimated approximation gap if $\log p(x)$ is estimated by *one* importance sample from $q^*$? And from $q_\phi$?
# 3. Let the family be all Gaussians with full covariance. Which part of the gap changes in the linear model, and to what? Why might the other change too, for an encoder?
# 4. Measure the gaps of the VAE with `beta=4` during training, at $\beta = 1$. Which objective should $q^*$ climb? Predict the sign of the change of each part.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Not in general. With $\delta = \mu - \nu$ and $\sigma^2$ the variances of $q_\phi$, (3) minus (4) is $\frac12[\sum_l (P_{ll}\, \sigma_l^2 - \log (P_{ll}\, \sigma_l^2) - 1) + \delta^\top P \delta]$, and
#    $\mathrm{KL}(q_\phi \,\|\, q^*)$ has $\delta^\top \mathrm{diag}(P)\, \delta$ instead of $\delta^\top P \delta$. They agree if $P$ is diagonal or the means are equal.
# 2. From $q^*$: $\mathbb E \log w = \mathcal L(x; q^*)$, so zero. From $q_\phi$: minus the amortization gap.
# 3. The approximation gap becomes zero, as the true posterior is in the family. The amortization gap is now measured from $\log p(x)$, so for the same $q_\phi$ it is larger by what the other
#    lost; an encoder with more numbers to predict may lose more, too.
# 4. The one at $\beta = 1$, if nats are to be nats. The encoder aimed at another, broader posterior (equation 5 with $1/\beta$), so the amortization gap at $\beta = 1$ should be large, most of it because the
#    encoder answers another question. What happens to the approximation gap is an empirical question: do it.
# :::
#
# ### In code: the best Gaussian, in closed form
#
# The target is a Gaussian in two dimensions with precision matrix `P` and mean `m`. Fill in `best_diagonal`: the mean and the log-variance of the diagonal Gaussian $q$ that is
# nearest to it in $\mathrm{KL}(q \,\|\, p)$. The check compares with many others.

# %%
#| code-fold: true
#| code-summary: "Solution"
def best_diagonal(m, P):
    "Mean and log-variance of the diagonal q with the least KL(q || N(m, P^-1))."
    ### BEGIN SOLUTION
    return m, -P.diagonal().log()     # the variances with the other coordinates held fixed
    ### END SOLUTION


# %%
m, P = torch.tensor([1., -2.]), torch.tensor([[3., 1.2], [1.2, 1.]])
normal = torch.distributions.MultivariateNormal
target = normal(m, precision_matrix=P)
def distance(mean, logvar):
    "KL(q || target), by torch."
    return torch.distributions.kl_divergence(normal(mean, torch.diag(logvar.exp())), target)
mean, logvar = best_diagonal(m, P)
least = distance(mean, logvar)
g = generator("neighbours")
for _ in range(300):
    near = [v + .1*torch.randn(2, generator=g) for v in (mean, logvar)]
    assert distance(*near) > least - 1e-6
marginal = target.covariance_matrix.diagonal().log()
assert least < distance(m, marginal) - .1             # the marginal variances are too wide

# %% [markdown]
# ## References
#
# - C. Cremer, X. Li, D. Duvenaud, [Inference Suboptimality in Variational Autoencoders](https://arxiv.org/abs/1801.03558), 2018: the split into two parts, and what each depends on.
# - Y. Burda, R. Grosse, R. Salakhutdinov, [Importance Weighted Autoencoders](https://arxiv.org/abs/1509.00519), 2015: another way to a tighter bound, by more samples instead of a better $q$.
