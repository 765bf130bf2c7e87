# %% [markdown]
# # How probable is a picture?
#
# > Two estimates of $\log p(x)$ for a deep decoder, importance sampling and annealed importance sampling, and how both can be wrong.
#
# ::: {.callout-note}
# ## You will learn
#
# - why importance sampling is right on average and yet too low nearly always, and how the effective sample size shows it;
# - annealed importance sampling: a ladder from a simple distribution to the posterior, with Hamiltonian moves;
# - a case where both agree, every sign is good, and both are wrong.
#
# Runs in about a minute on a laptop CPU.
# :::
#
# Lesson 07 needs $\log p(x)$ to say how large an approximation gap is. This page of the workshop builds the estimates and tests them; the course goes on without it. What it defines is part of the module of lesson 07, `mmvae_nb.amortization_gap`.

# %% [markdown]
# ![Drawing: four bells on four rungs, from the proposal below to the posterior on top; a sample goes up a rung, where its weight is multiplied, and across by a Markov chain step.](drawings/ladder.svg)

# %%
import math
import matplotlib.pyplot as plt, numpy as np, pandas as pd
import torch, torch.nn.functional as F
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from torch.distributions import MultivariateNormal, Normal
from mmvae_nb.amortization_gap import _per_item, gap_decomposition, gradient_ascent
from mmvae_nb.signatures import checked, needs_gradients
from mmvae_nb.checkpoints import cached
from mmvae_nb.core import *
from mmvae_nb.data import TensorData
from mmvae_nb.datasets.digits import small_mnist
from mmvae_nb.distributions import *
from mmvae_nb.distributions import _floats, _wrong
from mmvae_nb.metrics import importance_log_likelihood
from mmvae_nb.networks import *
from mmvae_nb.plotting import *
from mmvae_nb.training import *
from mmvae_nb.vae import *
set_style()

# %% [markdown]
# ## Importance sampling, and how many samples it is worth
#
# $\log p(x)$ is an integral over all $z$. Lesson 03a estimates it by importance sampling: draw $z_k \sim q$ and average the weights
# $w_k = p(x, z_k)/q(z_k)$. The mean of a weight is $p(x)$, exactly; the logarithm of an average is at most $\log p(x)$ in
# expectation (Jensen). How far below depends on how unequal the weights are. If one of a thousand carries nearly everything then we have, in effect, one
# sample. The *effective sample size* counts this:
#
# $$
# \begin{aligned}
# \log \hat p(x) &= \log \frac1K \sum_k w_k, \\
#   \mathrm{ESS} &= \frac{(\sum_k w_k)^2}{\sum_k w_k^2} \in [1, K].
# \end{aligned}\tag{1}
# $$

# %%
#| exports amortization_gap
Estimate = namedtuple("Estimate", "log_px ess")  # log p(x), effective sample size: both (batch,)

def importance_estimate(log_w # log weights, (samples, batch)
                  ) -> Estimate:
    "log p(x) from importance weights, with their effective sample size; lesson 07a, eq. (1)."
    if not (_floats(log_w) and log_w.ndim and len(log_w)):
        raise _wrong("log_w", log_w, "floats (samples, batch), one sample or more")
    total = log_w.logsumexp(0)
    return Estimate(total - math.log(len(log_w)), (2*total - (2*log_w).logsumexp(0)).exp())


# %%
log_w = torch.tensor([[2., 0.], [2., -50.], [2., -50.]]).double()
known = torch.tensor([[3., 1.], [2., -math.log(3)]]).double()      # equal weights; one of three
torch.testing.assert_close(importance_estimate(log_w).ess, known[0])
torch.testing.assert_close(importance_estimate(log_w).log_px, known[1])

# %% [markdown]
# By hand, on the linear model of lesson 07, where $\log p(x)$ is known, with three proposals: the true posterior's best Gaussian (lesson 07, equation 4), the same one made twice as wide, and the prior.

# %%
g = generator(0, "linear")
W, noise = torch.randn(12, 6, generator=g), 0.5
x = torch.randn(16, 6, generator=g) @ W.T + noise*torch.randn(16, 12, generator=g)
P = torch.eye(6) + W.T @ W/noise**2
exact = MultivariateNormal(torch.zeros(12), W @ W.T + noise**2*torch.eye(12)).log_prob(x)
best = DiagonalGaussian(x @ W @ torch.linalg.inv(P)/noise**2, -P.diagonal().log().expand(16, 6))
wide, prior = DiagonalGaussian(best.mean, best.logvar + 2*math.log(2)), DiagonalGaussian.standard(16, 6)


# %%
def linear_joint(z):
    "log p(x, z) for z of shape (samples * 16, 6)."
    given_z = Normal(z @ W.T, noise).log_prob(x.repeat(len(z)//len(x), 1)).sum(-1)
    return given_z + Normal(0., 1.).log_prob(z).sum(-1)

def log_weights(log_joint, q, samples, g):
    "Log importance weights, (samples, batch)."
    z = q.rsample(samples, g)
    return (log_joint(z.flatten(0, 1)).view(samples, -1) - q.log_prob(z)).double()


# %%
rows = {}
for name, q in {"best Gaussian": best, "twice as wide": wide, "prior": prior}.items():
    e = importance_estimate(log_weights(linear_joint, q, 3000, generator(0, "by hand")))
    rows[name] = {"mean error (nats)": (e.log_px - exact).mean().item(),
                  "effective samples of 3,000": e.ess.mean().item()}
    same = importance_log_likelihood(linear_joint, q, 3000, generator(0, "by hand"), 3000)
    torch.testing.assert_close(same, e.log_px)                    # the one of lesson 03a
errors = [row["mean error (nats)"] for row in rows.values()]
assert abs(errors[1]) < .1 and errors[2] < -1
pd.DataFrame(rows).T.round(2)


# %% [markdown]
# The best Gaussian is not the best proposal: it is too narrow (lesson 07), and twice the width gives more effective samples. Too wide wastes samples, too narrow misses
# places where the weights are large. And from the prior the estimate is too low by several nats with six latents already, although it is "unbiased": the rare $z$ that would put it right was
# not drawn.
#
# ## A ladder instead of a leap
#
# *Annealed importance sampling* (AIS, Neal 2001) never leaps from the proposal $q$ to the posterior. It puts a ladder of distributions in
# between,
#
# $$
# \begin{aligned}
# & f_r(z) = q(z)^{1 - \gamma_r}\, p(x, z)^{\gamma_r}, \\
# & 0 = \gamma_0 < \gamma_1 < \dots < \gamma_R = 1,
# \end{aligned}\tag{2}
# $$
#
# and a sample walks up. At each rung its log-weight is increased by the logarithm of the upper rung over the lower, at the place where it stands; then it moves a
# little by a Markov chain step $\mathcal T_r$ that leaves the upper one, $f_r$, invariant:
#
# $$
# \begin{aligned}
# \log w &= \sum_{r=1}^{R} \log \frac{f_r(z_{r-1})}{f_{r-1}(z_{r-1})} \\
#   &= \sum_{r=1}^{R} (\gamma_r - \gamma_{r-1}) \big[ \log p(x, z_{r-1}) - \log q(z_{r-1}) \big].
# \end{aligned}\tag{3}
# $$
#
# *Why the mean of $w$ is $p(x)$.* Take the expectation and integrate over $z_0$ first. Its density is $f_0 = q$, which cancels with the first denominator. What is left is
# $\int f_1(z_0)\, \mathcal T_1(z_1 \mid z_0)\, dz_0 = f_1(z_1)$, since $\mathcal T_1$ leaves $f_1$ invariant. Now $z_1$ stands where
# $z_0$ stood:
#
# $$
# \begin{aligned}
# \mathbb E[w] &= \int\!\cdots\!\int q(z_0) \frac{f_1(z_0)}{q(z_0)} \mathcal T_1(z_1 \mid z_0)\, \frac{f_2(z_1)}{f_1(z_1)} \mathcal T_2(z_2 \mid z_1) \cdots\, dz_0\, dz_1 \cdots \\
#   &= \int\!\cdots\!\int f_1(z_1)\, \frac{f_2(z_1)}{f_1(z_1)} \mathcal T_2(z_2 \mid z_1) \cdots\, dz_1 \cdots
#    = \dots = \int f_R(z)\, dz = p(x).
# \end{aligned}\tag{4}
# $$
#
# This holds for any ladder, however coarse, and however badly the chains mix. So, again by Jensen, the estimate errs downwards in expectation. A
# finer ladder and better moves make the weights more equal and the error small.
#
# The moves are Hamiltonian Monte Carlo (Neal, 2011): give the sample a random momentum, let it roll
# along the gradient of $\log f_r$ for a few *leapfrog* steps, and accept where it ended with the probability that makes $f_r$ invariant. We let it roll in the units of the
# proposal, $z = \mu + \sigma \odot \epsilon$ (the code calls $\epsilon$ `u`), so that one step size suits all coordinates.

# %%
#| exports amortization_gap
def _value_and_gradient(log_f, u):
    "`log_f(u)` for each row, and its gradient, both detached."
    with torch.enable_grad():
        u = u.detach().requires_grad_(); value = log_f(u)
        return value.detach(), torch.autograd.grad(value.sum(), u)[0]

def _hamiltonian(log_f, u, size, leapfrog, generator):
    "One Hamiltonian Monte Carlo step for each row of `u`: new rows, acceptance probabilities."
    momentum = torch.randn(u.shape, generator=generator, dtype=u.dtype, device=u.device)
    (before, gradient), new, p = _value_and_gradient(log_f, u), u, momentum
    for _ in range(leapfrog):
        p = p + 0.5*size*gradient
        new = new + size*p
        value, gradient = _value_and_gradient(log_f, new)
        p = p + 0.5*size*gradient
    change = value - before + 0.5*(momentum**2 - p**2).sum(-1)
    accept = change.exp().nan_to_num(0.).clamp(max=1.)
    drawn = torch.rand(accept.shape, generator=generator, dtype=u.dtype, device=u.device)
    return torch.where((drawn < accept)[:, None], new, u), accept


# %% [markdown]
# The step must be right: if it is too long nothing is accepted, if too short nothing moves. It is tuned at each rung to accept about 70 % of the
# time. But look at (4): $\mathcal T_r$ must not depend on the path that led to it. So the tuning is done by a *pilot* of two chains an item, whose
# weights are thrown away; the chains that count use the pilot's step sizes.
#
# The rungs follow Wu et al. (2017): $\gamma_r$ is a sigmoid in $r$, rescaled to run from 0 to 1, so that they are close together at both ends.

# %%
#| exports amortization_gap
def _ladder(steps):
    "gamma_0 = 0, ..., gamma_R = 1 along a sigmoid."
    s = torch.sigmoid(torch.linspace(-4, 4, steps + 1, dtype=torch.float64))
    return ((s - s[0])/(s[-1] - s[0])).tolist()

def _climb(log_joint, start, steps, chains, leapfrog, generator, sizes=None):
    "Walk `chains` samples per item up the ladder: log weights (chains, batch), step sizes used."
    q = DiagonalGaussian(*(v.detach().repeat(chains, 1) for v in (start.mean, start.logvar)))
    u = torch.randn(q.mean.shape, generator=generator, dtype=q.mean.dtype, device=q.mean.device)
    ladder, log_w, used = _ladder(steps), 0., []
    size = torch.full((len(start),), 0.3, dtype=u.dtype, device=u.device)
    for k in range(1, steps + 1):
        def log_f(u, b=ladder[k]):
            z = q.mean + q.std*u; return b*log_joint(z) + (1 - b)*q.log_prob(z)
        with torch.no_grad(): ratio = log_f(u, 1.) - log_f(u, 0.)
        log_w = log_w + (ladder[k] - ladder[k-1])*ratio.double()                     # eq. (3)
        if k == steps: return log_w.view(chains, -1), used
        used.append(size if sizes is None else sizes[k-1])
        u, accept = _hamiltonian(log_f, u, used[-1].repeat(chains)[:, None], leapfrog, generator)
        size = size*torch.exp(0.3*(accept.view(chains, -1).mean(0) - 0.7))


# %% [markdown]
# A picture of a ladder in one dimension, from a proposal that misses to a posterior with two peaks:

# %%
#| fig-cap: "A ladder of eight rungs, every curve scaled to height one. The proposal (pale) and the posterior (dark) hardly overlap; neighbours do."
#| fig-alt: "Nine curves from a pale hill on the left to a dark one with two peaks on the right, each near the next."
line = torch.linspace(-5, 5, 500)
log_q = Normal(-2., .8).log_prob(line)
log_target = torch.logaddexp(Normal(1.3, .5).log_prob(line), Normal(3., .4).log_prob(line))
fig, ax = plt.subplots(figsize=(6, 2.6))
for b in _ladder(8):
    log_f = (1 - b)*log_q + b*log_target
    ax.plot(line, (log_f - log_f.max()).exp(), color=plt.cm.viridis(1 - b), label=f"{b:.2f}")
ax.set(xlabel="z", ylabel="rung, scaled"); ax.legend(title="γ", fontsize="x-small");


# %% [markdown]
# `log_joint` has the form that `importance_log_likelihood` asks for in lesson 03a, so either can be used in place of the other.

# %%
#| exports amortization_gap
@checked
def annealed_importance_sampling(log_joint: Callable, # z (chains * batch, latent) -> log p(x, z)
                                 start: DiagonalGaussian, # where the chains start, one per item
                                 steps: int = 50, # R, rungs of the ladder
                                 chains: int = 8, # samples per item
                                 leapfrog: int = 5, # gradient evaluations per rung
                                 generator: torch.Generator | None = None # random stream
                                ) -> torch.Tensor: # log weights (chains, batch)
    "Log weights, for `importance_estimate`; 07a, (3). Item i of chain c is row c * batch + i of z."
    needs_gradients("annealed_importance_sampling")
    for name, value in dict(steps=steps, chains=chains, leapfrog=leapfrog).items():
        in_range(name, value, low=1, whole=True)
    _per_item("log_joint", log_joint(start.mean), len(start))
    _, sizes = _climb(log_joint, start, steps, 2, leapfrog, generator)
    return _climb(log_joint, start, steps, chains, leapfrog, generator, sizes)[0]


# %% [markdown]
# From the *prior*, where importance sampling was lost: 16 chains on 100 rungs, pilot included, evaluate $\log p(x, z)$ about as often as importance sampling
# with 12,000 samples.

# %%
log_w = annealed_importance_sampling(linear_joint, prior, 100, 16, generator=generator(0, "ladder"))
ladder = importance_estimate(log_w)
leap = importance_estimate(log_weights(linear_joint, prior, 12_000, generator(0, "leap")))
assert log_w.shape == (16, 16) and _ladder(4)[0] == 0 and _ladder(4)[-1] == 1
assert (ladder.log_px - exact).mean().abs() < .4 < (leap.log_px - exact).mean().abs()
print(f"mean error from the prior: importance sampling {(leap.log_px - exact).mean():.2f} nats, "
      f"AIS {(ladder.log_px - exact).mean():.2f} ({ladder.ess.mean():.1f} effective of 16 chains)")

# %% [markdown]
# With a single rung there is no ladder and AIS must be plain importance sampling. And what it refuses:

# %%
one = annealed_importance_sampling(linear_joint, wide, 1, 3000, generator=generator(0, "one rung"))
g = generator(0, "one rung"); torch.randn(2*16, 6, generator=g)               # what the pilot draws
same = log_weights(linear_joint, wide, 3000, g)
torch.testing.assert_close(one, same, atol=1e-3, rtol=1e-4)
for bad in [dict(steps=0), dict(chains=2.5), dict(log_joint=lambda z: z)]:
    try: annealed_importance_sampling(**{"log_joint": linear_joint, "start": prior, **bad})
    except MmvaeError as e: print(e)
    else: raise AssertionError(bad)


# %% [markdown]
# ## Two latents: both agree, and both are wrong
#
# The black and white digits and the Bernoulli VAE of lesson 07. With two latents $\log p(x)$ is a sum over a grid, so every estimate can be held against the truth.

# %%
#| code-fold: true
#| code-summary: "Data, model and grid, as in lesson 07"
def black_and_white(split):
    images, labels = small_mnist(split)
    return TensorData({"mnist": (images > 127).to(torch.uint8)*255}, labels,
                      name="black and white digits", split=split)
train, test = black_and_white("train"), black_and_white("test")
spec = replace(default_specs(train.modalities, weights={"mnist": 1.})["mnist"],
               likelihood=Bernoulli(), features=400, hidden=256,
               encoder=lambda: mlp_encoder((1, 28, 28), 400),
               decoder=lambda latent: mlp_decoder(latent, (1, 28, 28), squash=False))
run = dict(updates=1000, batch_size=128, lr=2e-3, seed=0, progress=False, device="cpu")
modules = ["vae", "training", "datasets.digits"]
def trained(latent):
    new = lambda: (seed_everything(0, "gap"), VAE(spec, "mnist", latent))[1]
    learn = lambda m: fit(m, train, **run)
    return cached(f"gap-vae-{latent}", new, learn, [run, latent], modules).requires_grad_(False)


# %%
#| code-fold: true
#| code-summary: "log p(x) on the grid, as in lesson 07"
flat = trained(2)
digits, _ = test.take(64)
axis = torch.linspace(-5, 5, 401); points = torch.cartesian_prod(axis, axis)
on = (digits["mnist"] > 127).float().flatten(1)
logits = (flat.decoder(c).flatten(1) for c in points.split(20_000))
on_grid = torch.cat([on @ a.T - F.softplus(a).sum(1) for a in logits], 1).double()
exact_2d = (on_grid + Normal(0., 1.).log_prob(points).sum(1)).logsumexp(1) + 2*math.log(.025)


# %%
def callables(vae, items):
    "The two functions of z and q that everything below is computed from."
    def log_joint(z):
        repeated = {"mnist": items["mnist"].repeat(len(z)//len(items["mnist"]), 1, 1, 1)}
        return vae.log_likelihood(repeated, z) + Normal(0., 1.).log_prob(z).sum(-1)
    return log_joint, lambda q, generator=None: vae.elbo(items, q, generator, path=True)


# %%
joint_2d, elbo_2d = callables(flat, digits)
seed_everything(0, "climb"); best_2d = gradient_ascent(elbo_2d, flat.infer(digits))
tries, starts = {}, {"encoder": flat.infer(digits), "best": best_2d,
                     "prior": DiagonalGaussian.standard(64, 2)}
for name, q in starts.items():
    tries[f"importance sampling from {name}"] = log_weights(joint_2d, q, 1000, generator(0, "flat"))
for name, steps in {"best": 50, "prior": 200}.items():
    tries[f"AIS from {name}, {steps} rungs"] = annealed_importance_sampling(
        joint_2d, starts[name], steps, generator=generator(0, "flat"))

# %%
estimates = {name: importance_estimate(log_w) for name, log_w in tries.items()}
table = {name: {"mean error": (e.log_px - exact_2d).mean(), "worst": (e.log_px - exact_2d).min(),
                "effective / drawn": e.ess.mean()/len(tries[name])}
         for name, e in estimates.items()}
pd.DataFrame(table).T.astype(float).round(2)

# %%
errors = {n: estimates[n].log_px - exact_2d for n in ("importance sampling from best", "AIS from best, 50 rungs")}
worst = next(iter(errors.values())).argmin().item()
print(f"item {worst}: " + ", ".join(f"{n} off by {e[worst]:.1f} nats" for n, e in errors.items())
      + f"; effective samples of 1,000: {estimates['importance sampling from best'].ess[worst]:.0f}")

# %% [markdown]
# Read the rows one by one. With the *encoder's* posterior as proposal a thousand samples do not help where it looks in the wrong place. With the *best
# Gaussian* the average error is small, but one item is off by several nats, and nothing shows it: the effective sample size is high, and
# AIS from the same start agrees. It is the item in the middle panel of lesson 07's picture. Its posterior has its mass somewhere else, the climb
# ended on a small hill near the encoder's guess, and all samples begin on that hill. (The hill holds $e^{-\text{error}}$ of the mass: a few per cent, so the grey there does not show it.) Chains that start from the *prior* find the other hill, at the price of more rungs and of
# weights that differ more. (They are not perfect either, with eight chains.)
#
# ## Is log p(x) tight?
#
# With twenty latents there is no grid. Three estimates that share as little as possible: importance sampling from the best Gaussian with Cremer's 5,000 samples; AIS from the best Gaussian; and,
# for 16 of the items, a slow AIS from the prior, which knows nothing of the encoder and of its hills.

# %%
vae, (items, _) = trained(20), test.take(64)
log_joint, elbo = callables(vae, items)
amortized = vae.infer(items)
seed_everything(0, "climb"); best = gradient_ascent(elbo, amortized, 600)
leaps = {}
for name, q in {"best Gaussian": best, "encoder": amortized}.items():
    g = generator(0, "leaps")
    leaps[name] = torch.cat([log_weights(log_joint, q, 100, g) for _ in range(50)])

# %%
few = {"mnist": items["mnist"][:16]}
ladder = annealed_importance_sampling(log_joint, best, generator=generator(0, "test items"))
slow = annealed_importance_sampling(callables(vae, few)[0], DiagonalGaussian.standard(16, 20), 200,
                                    generator=generator(0, "slow"))
tight, wide_leap, slow = map(importance_estimate, (ladder, leaps["best Gaussian"], slow))
difference = slow.log_px - tight.log_px[:16]
assert difference.mean().abs() < .5 and (wide_leap.log_px - tight.log_px).mean().abs() < .5

# %%
print(f"AIS from the best Gaussian {tight.log_px.mean():.2f} ({tight.ess.mean():.1f} effective "
      f"of 8);\nimportance sampling {wide_leap.log_px.mean():.2f} "
      f"({wide_leap.ess.mean():.0f} effective of 5,000)")
print("AIS from the prior minus AIS from the best Gaussian, 16 items:\n"
      f"{difference.mean():.2f} on average, {difference.min():.2f} to {difference.max():.2f}")

# %% [markdown]
# On average the three agree to a fraction of a nat, small against the gaps of lesson 07. Item by item the slow one is noisy; upwards it can't err far, for a weight with mean $p(x)$ exceeds $p(x)$ by the factor $e^\Delta$, that is by $\Delta$ nats, with
# probability at most $e^{-\Delta}$ (Markov). All three err downwards in expectation, so the true $\log p(x)$ and with it the approximation
# gap is, if anything, a little larger.
#
# How wrong it can go with fewer samples:

# %%
#| fig-cap: "Importance sampling against the number of samples. With one sample its expectation is the ELBO of the proposal, so too few samples make the approximation gap look like zero, or negative."
#| fig-alt: "Two rising curves: from the best Gaussian it starts at that Gaussian's ELBO; from the encoder it starts below."
counts = [1, 3, 10, 30, 100, 300, 1000, 5000]
at = lambda w, k: importance_estimate(w[:k]).log_px.mean().item()
curves = {f"from the {n}": ([at(w, k) for k in counts], None) for n, w in leaps.items()}
ax = line_chart(counts, curves, "importance samples K", "log p(x), nats per item", logx=True)
gaps = gap_decomposition(elbo, amortized, best, tight.log_px)
for name, value in {"AIS": gaps["log_px"], "ELBO of the best Gaussian": gaps["best"]}.items():
    ax.axhline(value.mean(), ls="--", color="0.4", lw=1)
    ax.text(5000, value.mean(), name, ha="right", va="bottom", fontsize="small")

# %%
negative = (importance_estimate(leaps["encoder"][:10]).log_px < gaps["best"]).double().mean()
print("items whose estimate from 10 samples of the encoder lies below the best Gaussian's ELBO: "
      f"{100*negative:.0f} %")

# %% [markdown]
# ## What goes wrong, and how you would notice
#
# - *Too few importance samples.* The gap looks small, or negative, as above. Look at the effective sample size; double $K$ and see whether the estimate still rises.
# - *A proposal on the wrong hill.* Neither the effective sample size nor a larger $K$ shows it, as the two-latent model taught. Start from the prior too, at
#   least for some items.
#
# ## Recap
#
# Importance sampling averages weights, and the logarithm of an average errs downwards. AIS replaces one leap by many small ones, which makes the weights more equal. Both are blind to mass where no sample begins.
#
# ## Exercises
#
# 1. Of $K$ weights one is so large that the others do not count. What are the estimate and the effective sample size? And what would they be if just that sample had not been drawn, and the others were all alike?
# 2. Suppose you have one exact sample of $p(z \mid x)$ and run the ladder downwards from it. Show that the mean of $1/w$ is $1/p(x)$. What does that
#    say about $\log w$, and why is it possible for data drawn from the model?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The estimate is $\log w_{\max} - \log K$ and the effective sample size 1. Without that sample the estimate is the logarithm of the common weight, lower by as much as one likes, and the effective sample size is $K - 1$. So a large one says that the weights *drawn* agree, and nothing of those that were not.
# 2. Integrate (4) from the other end: the path is drawn from $p(z \mid x) = f_R/p(x)$, each move back is the reversal of $\mathcal T_r$, and $\mathbb E[1/w] = \int f_0/p(x) = 1/p(x)$. By Jensen $\mathbb E \log w \ge \log p(x)$: an upper
#    bound, and with the usual one a sandwich (bidirectional Monte Carlo; Grosse et al., 2015). For data drawn from the model the $z$ it was drawn with is such a sample.
# :::
#
# ## References
#
# - R. Neal, [Annealed Importance Sampling](https://arxiv.org/abs/physics/9803008), 1998 (journal version 2001).
# - R. Neal, [MCMC Using Hamiltonian Dynamics](https://arxiv.org/abs/1206.1901), 2011.
# - Y. Wu, Y. Burda, R. Salakhutdinov, R. Grosse, [On the Quantitative Analysis of Decoder-Based Generative Models](https://arxiv.org/abs/1611.04273), 2017.
# - R. Grosse, Z. Ghahramani, R. Adams, [Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo](https://arxiv.org/abs/1511.02543), 2015.
# - Y. Burda, R. Grosse, R. Salakhutdinov, [Importance Weighted Autoencoders](https://arxiv.org/abs/1509.00519), 2016.
