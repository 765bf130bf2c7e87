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
# - two tight estimates of $\log p(x)$, importance sampling and annealed importance sampling, and how both can be wrong;
# - what each part depends on, measured on MNIST;
# - which part of the missing-modality problem is an amortization gap that inference can close, and which is not.
#
# Runs in one to two minutes on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: three levels; log p(x) on top, below it by the approximation gap the ELBO of the best bell, below that by the amortization gap the ELBO of the encoder's.](drawings/gap.svg)

# %%
#| default_exp amortization_gap

# %%
#| export
import math, warnings
from collections import namedtuple
import torch
from mmvae_nb.core import *
from mmvae_nb.distributions import *

# %%
from dataclasses import replace
import matplotlib.pyplot as plt, numpy as np, pandas as pd
import torch.nn.functional as F
from torch.distributions import MultivariateNormal, Normal
from mmvae_nb.data import TensorData
from mmvae_nb.datasets.digits import small_mnist
from mmvae_nb.metrics import importance_log_likelihood
from mmvae_nb.networks import *
from mmvae_nb.plotting import *
from mmvae_nb.training import *
from mmvae_nb.vae import *
set_style()
from mmvae_nb.checkpoints import cached


# %% [markdown]
# ## Three readers of one picture
#
# A decoder is given. Three readers look at a picture $x$ and say which $z$ it was drawn from. The first knows the
# answer that Bayes' rule gives, $p(z \mid x)$, whatever its shape. The second may take as long as it likes for this one picture, but has to answer
# with a Gaussian whose coordinates are independent. The third is the encoder: it answers with such a Gaussian too, and at once, by one pass of a network
# that has to serve all pictures.
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
def gradient_ascent(elbo, # callable: `DiagonalGaussian` -> (batch,)
                    start, # posterior to start from
                    steps=400, # gradient evaluations
                    lr=0.05, # rate of Adam, decayed to a tenth along a cosine
                    tolerance=0.01 # nats per item it may still rise without a warning; None: any
                   ) -> DiagonalGaussian:
    "The best Gaussian, q* of eq. (2), by Adam. Of 100 steps or more it warns if they were too few."
    needs_gradients("gradient_ascent")
    in_range("steps", steps, low=0, whole=True)
    values, (mean, logvar) = [], (v.detach().clone().requires_grad_() for v in (start.mean, start.logvar))
    optimiser = torch.optim.Adam([mean, logvar], lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps), lr/10)
    with torch.enable_grad():
        for _ in range(steps):
            value = elbo(DiagonalGaussian(mean, logvar)); values.append(value.detach())
            mean.grad, logvar.grad = torch.autograd.grad(-value.sum(), [mean, logvar])
            optimiser.step(); schedule.step()
    if tolerance is not None and steps >= 100: _warn_of_rise(torch.stack(values), tolerance)
    return DiagonalGaussian(mean, logvar).detach()

def needs_gradients(what):
    "Refuse to begin under `torch.inference_mode`, where nothing can be differentiated."
    if torch.is_inference_mode_enabled():
        raise MmvaeError(f"{what}: got called under torch.inference_mode, allowed: torch.no_grad, "
                         "or neither, as it takes gradients of its own")

def _warn_of_rise(values, tolerance):
    "One line if the last fifth of the steps lies above the fifth before by more than its noise."
    k, n = len(values)//5, values.shape[1]
    before, last = values[-2*k:-k].double(), values[-k:].double()
    rise = (last.mean(0) - before.mean(0)).mean().item()
    noise = ((last.var(0) + before.var(0))/k).sum().sqrt().item()/n
    if rise > tolerance + 3*noise:
        warnings.warn(f"steps: {len(values)} were too few, the ELBO still rose by {rise:.2g} nats "
                      "an item in the last fifth of them; more steps, a nearer start or a larger "
                      "lr may help", stacklevel=3)


# %% [markdown]
# ## A model in which all is known
#
# Let $z \sim \mathcal N(0, I)$ and $x = Wz + \text{noise}$, the noise Gaussian with variance $v$. The true posterior is a Gaussian,
# $\mathcal N(\nu, P^{-1})$ with precision $P = I + W^\top W/v$ and mean $\nu = P^{-1} W^\top x/v$, and $x \sim \mathcal N(0, WW^\top + v I)$.
# (Collect in $-\frac12 \|z\|^2 - \frac{1}{2v} \|x - Wz\|^2$ what is quadratic in $z$ and what is linear.) As soon as the columns of
# $W$ are not orthogonal, $P$ is not diagonal: no Gaussian of our family is the true posterior. Which one is best?
# With $q = \mathcal N(\mu, \mathrm{diag}\, \sigma^2)$, and $\mathbb E_q (z - \nu)^\top P (z - \nu) = \sum_l P_{ll}\, \sigma_l^2 + (\mu - \nu)^\top P (\mu - \nu)$,
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
# best Gaussian in this direction of KL is too narrow, never too wide (lesson 02d: it picks).

# %%
g = generator(0, "linear")
W, noise = torch.randn(12, 6, generator=g), 0.5
x = torch.randn(16, 6, generator=g) @ W.T + noise*torch.randn(16, 12, generator=g)
P = torch.eye(6) + W.T @ W/noise**2
m = x @ W @ torch.linalg.inv(P)/noise**2
exact = MultivariateNormal(torch.zeros(12), W @ W.T + noise**2*torch.eye(12)).log_prob(x)
known_gap = 0.5*(P.diagonal().log().sum() - torch.logdet(P)).item()          # eq. (4)

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
print(*(w.message for w in told))                       # of the 400 steps; 2,000 are enough
assert len(told) == 1 and "400 were too few" in str(told[0].message)
torch.testing.assert_close(best.mean, m, atol=.01, rtol=0)
torch.testing.assert_close(best.var, (1/P.diagonal()).expand(16, 6), atol=0, rtol=.02)
reached = exact - linear_elbo(best)
torch.testing.assert_close(reached, torch.full((16,), known_gap), atol=.02, rtol=0)
print(f"approximation gap: {known_gap:.3f} nats by eq. (4); by climbing for 2,000 steps "
      f"{reached.mean():.3f}, for 400 steps {(exact - linear_elbo(early)).mean():.3f}")

# %% [markdown]
# For two coordinates (4) is $-\frac12 \log(1 - \rho^2)$, where $\rho$ is their correlation in the true posterior: the approximation gap is what the two
# coordinates know about each other, and an independent Gaussian cannot say it.

# %%
#| fig-cap: "Approximation gap of a diagonal Gaussian against the correlation in the true posterior: cheap up to 0.5, expensive near 1."
#| fig-alt: "A curve that is flat near zero and rises steeply as the correlation tends to one, with dots on it."
rho, tried, climbed = np.linspace(0, .99, 100), (.3, .6, .9, .97), []
for r in tried:
    Q = torch.linalg.inv(torch.tensor([[1., r], [r, 1.]]))
    def tilted(q):
        return -0.5*((q.mean @ Q)*q.mean + q.var*Q.diagonal() - q.logvar).sum(-1)
    q = gradient_ascent(tilted, DiagonalGaussian.standard(1, 2))
    climbed.append((-tilted(q) - 1 - 0.5*torch.logdet(Q)).item())
fig, ax = plt.subplots(figsize=(5, 2.6))
ax.plot(rho, -0.5*np.log(1 - rho**2), label="eq. (4)")
ax.plot(tried, climbed, "o", label="climbing")
ax.set(xlabel="correlation ρ", ylabel="gap (nats)"); ax.legend();

# %% [markdown]
# So the approximation gap is a property of the decoder and the family, not of the encoder. It also says
# how a decoder can make it small: by arranging its latent space so that posteriors have independent coordinates. A VAE is trained on the ELBO,
# which contains the gap, so its decoder is rewarded for doing so.
#
# ## How probable is a picture?
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
# \end{aligned}\tag{5}
# $$

# %%
#| exports
Estimate = namedtuple("Estimate", "log_px ess")  # log p(x), effective sample size: both (batch,)

def importance_estimate(log_w # log weights, (samples, batch)
                  ) -> Estimate:
    "log p(x) from importance weights, with their effective sample size; eq. (5)."
    total = log_w.logsumexp(0)
    return Estimate(total - math.log(len(log_w)), (2*total - (2*log_w).logsumexp(0)).exp())


# %%
log_w = torch.tensor([[2., 0.], [2., -50.], [2., -50.]]).double()
known = torch.tensor([[3., 1.], [2., -math.log(3)]]).double()      # equal weights; one of three
torch.testing.assert_close(importance_estimate(log_w).ess, known[0])
torch.testing.assert_close(importance_estimate(log_w).log_px, known[1])


# %% [markdown]
# By hand, on the linear model, with three proposals: the true posterior's best Gaussian, the same one made twice as wide, and the prior.

# %%
def linear_joint(z):
    "log p(x, z) for z of shape (samples * 16, 6)."
    given_z = Normal(z @ W.T, noise).log_prob(x.repeat(len(z)//len(x), 1)).sum(-1)
    return given_z + Normal(0., 1.).log_prob(z).sum(-1)

def log_weights(log_joint, q, samples, g):
    "Log importance weights, (samples, batch)."
    z = q.rsample(samples, g)
    return (log_joint(z.flatten(0, 1)).view(samples, -1) - q.log_prob(z)).double()

rows = {}
wide = DiagonalGaussian(best.mean, best.logvar + 2*math.log(2))
for name, q in {"best Gaussian": best, "twice as wide": wide, "prior": start}.items():
    e = importance_estimate(log_weights(linear_joint, q, 3000, generator(0, "by hand")))
    rows[name] = {"mean error (nats)": (e.log_px - exact).mean().item(),
                  "effective samples of 3,000": e.ess.mean().item()}
    lesson_07 = importance_log_likelihood(linear_joint, q, 3000, generator(0, "by hand"), 3000)
    torch.testing.assert_close(lesson_07, e.log_px)
errors = [row["mean error (nats)"] for row in rows.values()]
assert abs(errors[1]) < .1 and errors[2] < -1
pd.DataFrame(rows).T.round(2)


# %% [markdown]
# The best Gaussian is not the best proposal: it is too narrow, by (4), and twice the width gives more effective samples. Too wide wastes samples, too narrow misses
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
# \end{aligned}\tag{6}
# $$
#
# and a sample walks up. From rung to rung it pays the ratio of the upper rung to the lower, at the place where it stands; then it moves a
# little by a Markov chain step $\mathcal T_r$ that leaves the upper one, $f_r$, invariant. Its weight is the product of all that it paid:
#
# $$
# \begin{aligned}
# \log w &= \sum_{r=1}^{R} \log \frac{f_r(z_{r-1})}{f_{r-1}(z_{r-1})} \\
#   &= \sum_{r=1}^{R} (\gamma_r - \gamma_{r-1}) \big[ \log p(x, z_{r-1}) - \log q(z_{r-1}) \big].
# \end{aligned}\tag{7}
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
# \end{aligned}\tag{8}
# $$
#
# This holds for any ladder, however coarse, and however badly the chains mix. So, again by Jensen, the estimate errs downwards in expectation. A
# finer ladder and better moves make the weights more equal and the error small.
#
# The moves are Hamiltonian Monte Carlo (Neal, 2011): give the sample a random momentum, let it roll
# along the gradient of $\log f_r$ for a few *leapfrog* steps, and accept where it ended with the probability that makes $f_r$ invariant. We let it roll in the units of the
# proposal, $z = \mu + \sigma \odot \epsilon$ (the code calls $\epsilon$ `u`), so that one step size suits all coordinates.

# %%
#| exports
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
# time. But look at (8): $\mathcal T_r$ must not depend on the path that led to it. So the tuning is done by a *pilot* of two chains an item, whose
# weights are thrown away; the chains that count use the pilot's step sizes.
#
# The rungs follow Wu et al. (2017): $\gamma_r$ is a sigmoid in $r$, rescaled to run from 0 to 1, so that they are close together at both ends.

# %%
#| exports
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
        log_w = log_w + (ladder[k] - ladder[k-1])*ratio.double()                     # eq. (7)
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
#| exports
def annealed_importance_sampling(log_joint, # z (chains * batch, latent) -> log p(x, z), nats
                                 start, # `DiagonalGaussian` the chains start from, one per item
                                 steps=50, # R, rungs of the ladder
                                 chains=8, # samples per item
                                 leapfrog=5, # gradient evaluations per rung
                                 generator=None # random stream
                                ) -> torch.Tensor: # log weights (chains, batch)
    "Log weights, for `importance_estimate`; eq. (7). Item i of chain c is row c * batch + i of z."
    needs_gradients("annealed_importance_sampling")
    for name, value in dict(steps=steps, chains=chains, leapfrog=leapfrog).items():
        in_range(name, value, low=1, whole=True)
    shape = tuple(log_joint(start.mean).shape)
    if shape != (len(start),):
        raise MmvaeError(f"log_joint: got shape {shape} back, allowed: {(len(start),)}")
    _, sizes = _climb(log_joint, start, steps, 2, leapfrog, generator)
    return _climb(log_joint, start, steps, chains, leapfrog, generator, sizes)[0]


# %% [markdown]
# From the *prior*, where importance sampling was lost: 16 chains on 100 rungs, pilot included, evaluate $\log p(x, z)$ about as often as importance sampling
# with 12,000 samples.

# %%
prior = DiagonalGaussian.standard(16, 6)
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
# ## The split
#
# Now (2), per item. Both ELBOs are estimated with the *same* noise: what a lucky sample gives to one posterior it gives to the other too, and the
# difference is one of posteriors. Use the KL at the sample (`path=True`, lesson 02, equation 5): the integrand is then $\log p(x, z) - \log q(z)$, which hardly
# varies where $q$ is close to the true posterior.

# %%
#| exports
def gap_decomposition(elbo, # callable: (`DiagonalGaussian`, generator) -> (batch,) ELBO in nats
                      amortized, # the encoder's posterior
                      best, # the best of its family, from `gradient_ascent`
                      log_px, # (batch,), a tight estimate of log p(x)
                      samples=100, # of z, for each ELBO
                      seed=0 # of the noise, the same for both
                     ) -> dict: # of (batch,) tensors in nats
    "The two parts of log p(x) - ELBO for each item, and what they are differences of; eq. (2)."
    in_range("samples", samples, low=1, whole=True)
    def value(q):
        g = generator(seed, "gap", device=q.mean.device)
        with torch.no_grad(): values = torch.stack([elbo(q, g) for _ in range(samples)])
        return values.double().mean(0)
    log_px, top, ours = log_px.double(), value(best), value(amortized)
    return {"log_px": log_px, "best": top, "amortized": ours,
            "approximation": log_px - top, "amortization": top - ours}


# %% [markdown]
# In the linear model both parts are known. Let the "encoder" be off by $\delta$, 0.1 in every mean; by (3) that costs $\frac12 \delta^\top P \delta$.

# %%
off = DiagonalGaussian(best.mean + .1, best.logvar)
parts = gap_decomposition(linear_elbo, off, best, exact, samples=1)
for name, known, relative in [("approximation", known_gap, 0.),
                              ("amortization", 0.5*.01*P.sum().item(), .05)]:
    torch.testing.assert_close(parts[name].float(), torch.full((16,), known),
                               atol=.02 if relative == 0 else .05, rtol=relative)


# %% [markdown]
# ## A VAE with two latents: everything in view
#
# With two latents a grid over the plane replaces all sampling: the true posterior can be drawn, and $\log p(x)$ is a sum over grid points. So here
# we can see the three readers, and check both estimators on a real decoder.
#
# **The likelihood.** For nats to mean nats we need $\beta = 1$, weight 1 and a proper likelihood. We make the digits black and white (a
# pixel is on if it is above half) and take Bernoulli pixels: $p(x)$ is the probability of a picture, and $\log p(x) \le 0$. The
# Laplace likelihood of the later lessons is proper too, but a density: it contains the constant $-784 \log(2 \cdot 0.75) \approx -318$ nats, and its scale of 0.75 is so broad for
# pixels in $[0, 1]$ that posteriors are wide and all gaps small.

# %%
def black_and_white(split):
    images, labels = small_mnist(split)
    return TensorData({"mnist": (images > 127).to(torch.uint8)*255}, labels,
                      name="black and white digits", split=split)

def spec(hidden=400, head=256):
    "Bernoulli digits; an encoder of `hidden` units and a second layer of `head` units (0: none)."
    base = default_specs(train.modalities, weights={"mnist": 1.})["mnist"]
    return replace(base, likelihood=Bernoulli(), features=hidden, hidden=head,
                   encoder=lambda: mlp_encoder((1, 28, 28), hidden),
                   decoder=lambda latent: mlp_decoder(latent, (1, 28, 28), squash=False))

train, test = black_and_white("train"), black_and_white("test")
run = dict(updates=1000, batch_size=128, lr=2e-3, seed=0, progress=False, device="cpu")
modules = ["vae", "training", "datasets.digits"]
def trained(latent):
    new = lambda: (seed_everything(0, "gap"), VAE(spec(), "mnist", latent))[1]
    learn = lambda m: fit(m, train, **run)
    return cached(f"gap-vae-{latent}", new, learn, [run, latent], modules).requires_grad_(False)
flat = trained(2)


# %% [markdown]
# The grid: 401 by 401 points, 0.025 apart. For Bernoulli pixels with logits $a(z)$, $\log p(x \mid z) = x^\top a(z) - \sum_d \log(1 + e^{a_d(z)})$, a matrix
# product for all items and all points at once. That this is exact enough is checked by leaving out every other point.

# %%
def callables(vae, items):
    "The two functions of z and q that everything below is computed from."
    def log_joint(z):
        repeated = {"mnist": items["mnist"].repeat(len(z)//len(items["mnist"]), 1, 1, 1)}
        return vae.log_likelihood(repeated, z) + Normal(0., 1.).log_prob(z).sum(-1)
    return log_joint, lambda q, generator=None: vae.elbo(items, q, generator, path=True)

digits, _ = test.take(64)
axis = torch.linspace(-5, 5, 401); points = torch.cartesian_prod(axis, axis)
on = (digits["mnist"] > 127).float().flatten(1)
logits = (flat.decoder(c).flatten(1) for c in points.split(20_000))
on_grid = torch.cat([on @ a.T - F.softplus(a).sum(1) for a in logits], 1).double()
on_grid = (on_grid + Normal(0., 1.).log_prob(points).sum(1)).view(64, 401, 401)
def integral(log_f, step): return log_f.flatten(1).logsumexp(1) + 2*math.log(step)
exact_2d = integral(on_grid, .025)
coarser = integral(on_grid[:, ::2, ::2], .05)
assert (exact_2d - coarser).abs().max() < .05
print(f"log p(x): {exact_2d.mean():.2f} nats on average; "
      f"a grid twice as coarse changes it by at most {(exact_2d - coarser).abs().max():.3f}")

# %%
joint_2d, elbo_2d = callables(flat, digits)
amortized_2d = flat.infer(digits).detach()
seed_everything(0, "climb"); best_2d = gradient_ascent(elbo_2d, amortized_2d)
gaps_2d = gap_decomposition(elbo_2d, amortized_2d, best_2d, exact_2d)
log_q = amortized_2d.log_prob(points[:, None].expand(-1, 64, -1)).T.double()   # (1) on the grid
kl = (log_q.exp()*(log_q - on_grid.flatten(1) + exact_2d[:, None])).sum(1)*.025**2
total = gaps_2d["approximation"] + gaps_2d["amortization"]
torch.testing.assert_close(kl.mean(), total.mean(), rtol=.05, atol=.05)
print({n: round(v.mean().item(), 2) for n, v in gaps_2d.items()})
print("approximation + amortization, and the KL on the grid:",
      round(total.mean().item(), 2), round(kl.mean().item(), 2))

# %%
#| fig-cap: "True posteriors (grey) of three test digits under a VAE with two latents, with the Gaussian where the climb ended and the encoder's. Left: the typical item. Middle: the item that the climb left furthest below log p(x), on the wrong one of two hills, which is too low to show. Right: the largest amortization gap."
#| fig-alt: "Three panels with grey density and two ellipses each; in the middle both lie below the one peak that shows, and on the right the encoder's lies between the peak and a second, paler one."
typical = (total - total.median()).abs().argmin().item()
shown = {"typical": typical, "approximation": gaps_2d["approximation"].argmax().item(),
         "amortization": gaps_2d["amortization"].argmax().item()}
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2))
for ax, (name, i) in zip(axes, shown.items()):
    ax.contourf(axis, axis, (on_grid[i] - exact_2d[i]).T.exp(), levels=20, cmap="Greys")
    corners = [points[on_grid[i].flatten() > on_grid[i].max() - 5]]
    for q, colour in ((best_2d[i], "C0"), (amortized_2d[i], "C1")):
        angle = torch.linspace(0, 2*math.pi, 100)[:, None]
        ring = q.mean + q.std*torch.cat([angle.cos(), angle.sin()], 1)
        for k in (1, 2): ax.plot(*(q.mean + k*(ring - q.mean)).T, color=colour, lw=1.2)
        corners.append(q.mean + 2.5*(ring - q.mean))
    low, high = torch.cat(corners).amin(0), torch.cat(corners).amax(0)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="$z_1$", ylabel="$z_2$",
           title=" + ".join(f"{gaps_2d[n][i].clamp(min=0):.1f}"
                            for n in ("approximation", "amortization")) + " nats")
    ax.grid(False)
for label, colour in {"end of the climb": "C0", "encoder": "C1"}.items():
    axes[0].plot([], color=colour, label=label)
axes[0].legend();

# %% [markdown]
# Rings are drawn at one and two deviations. Titles give what the climb has not reached plus what the encoder loses against the end of the climb: the approximation and the amortization gap, *if* the
# climb has found the best Gaussian. In the middle it has not, as the next cells show.

# %%
prior_2d = DiagonalGaussian.standard(64, 2)
tries, starts = {}, {"encoder": amortized_2d, "best": best_2d, "prior": prior_2d}
for name, q in starts.items():
    tries[f"importance sampling from {name}"] = log_weights(joint_2d, q, 1000, generator(0, "flat"))
for name, steps in {"best": 50, "prior": 200}.items():
    tries[f"AIS from {name}, {steps} rungs"] = annealed_importance_sampling(
        joint_2d, starts[name], steps, generator=generator(0, "flat"))
table = {}
for name, log_w in tries.items():
    error, ess = importance_estimate(log_w).log_px - exact_2d, importance_estimate(log_w).ess
    table[name] = {"mean error": error.mean(), "worst": error.min(),
                   "effective / drawn": ess.mean()/len(log_w)}
pd.DataFrame(table).T.astype(float).round(2)

# %% [markdown]
# Read the rows one by one. With the *encoder's* posterior as proposal a thousand samples do not help where it looks in the wrong place. With the *best
# Gaussian* the average error is small, but one item is off by 4.1 nats, and nothing shows it: the effective sample size is high, and
# AIS from the same start agrees. It is the item in the middle panel. Its posterior has its mass somewhere else, the climb
# ended on a small hill near the encoder's guess, and all samples begin on that hill. (It holds about $e^{-4.1}$, 2 % of the mass, so the grey does not show it.) Chains that start from the *prior* find the other hill, at the price of more rungs and of
# weights that differ more. (They are not perfect either, with eight chains.)
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
print(f"{(gain > .5).sum()} of 64 items gain more than 0.5 nats, the most {gain.max():.1f}; "
      f"approximation gap {before:.2f} before, {after:.2f} nats after")

# %% [markdown]
# ## Twenty latents
#
# Now a VAE as the course uses it, with no grid to hide behind. Three encoders answer for the *same* decoder: the one it was
# trained with; the same after 1,000 more updates with the decoder frozen; and one of 16 hidden units in a single layer, trained from scratch on the frozen decoder.
# (The small one has 600 updates, so it differs in two ways.) As the decoder is the same, $\log p(x)$ and $q^*$ are the same for all three, and whatever differs is amortization. Each is measured on 64
# digits it was trained on and 64 it has never seen.

# %%
vae = trained(20)
def on_decoder(name, updates, hidden=400, head=256, copy=True):
    "An encoder trained on the frozen decoder of `vae`, from a copy of its encoder or from scratch."
    def new():
        seed_everything(0, name); m = VAE(spec(hidden, head), "mnist", 20)
        m.decoder.load_state_dict(vae.decoder.state_dict()); m.decoder.requires_grad_(False)
        if copy: m.encoder.load_state_dict(vae.encoder.state_dict())
        return m
    settings = {**run, "updates": updates}
    learn = lambda m: fit(m, train, **settings)
    model = cached(f"gap-{name}", new, learn, [run, settings, hidden, head, copy], modules)
    return model.requires_grad_(False)

encoders = {"16 units": on_decoder("small", 600, 16, 0, copy=False),
            "trained with the decoder": vae,
            "1,000 more updates": on_decoder("longer", 1000)}

# %%
parts, kept = {}, {}
for split, data in {"training items": train, "test items": test}.items():
    items, _ = data.take(64)
    log_joint, elbo = callables(vae, items)
    seed_everything(0, "climb"); best = gradient_ascent(elbo, vae.infer(items), 600)
    log_w = annealed_importance_sampling(log_joint, best, generator=generator(0, split))
    tight = importance_estimate(log_w)
    kept[split] = log_joint, elbo, best, tight
    for name, m in encoders.items():
        parts[split, name] = gap_decomposition(elbo, m.infer(items), best, tight.log_px)
    assert parts[split, name]["approximation"].min() > -.5
means = pd.DataFrame({k: {n: v.mean().item() for n, v in p.items()} for k, p in parts.items()}).T
means["amortization, standard error"] = [p["amortization"].std().item()/8 for p in parts.values()]
means.round(2)

# %%
#| fig-cap: "What inference loses, in nats per item. The approximation gap (blue) is the same for all encoders of a decoder; the amortization gap (orange) depends on size, training, and on whether the item was seen."
#| fig-alt: "Two groups of three stacked bars; the bar of the small encoder is by far the tallest, and the amortization part is larger for test items."
fig, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
for ax, split in zip(axes, kept):
    rows = means.loc[split]
    at = range(len(rows))
    ax.bar(at, rows["approximation"], label="approximation", color="C0")
    ax.bar(at, rows["amortization"], bottom=rows["approximation"], label="amortization", color="C1")
    for i, (a, b) in enumerate(zip(rows["approximation"], rows["amortization"])):
        ax.text(i, a/2, f"{a:.1f}", ha="center", va="center", color="white")
        ax.text(i, a + b, f"{b:.1f}", ha="center", va="bottom")
    said = [n.replace(" the ", "\nthe ").replace(" more", "\nmore") for n in rows.index]
    ax.set(title=split, xticks=at, xticklabels=said)
    ax.grid(axis="x", visible=False)
axes[0].set_ylabel("log p(x) - ELBO (nats)"); axes[1].legend();

# %%
small, own, longer = (means.loc["test items", "amortization"][n] for n in encoders)
seen = means.loc["training items", "amortization"]
assert small > own > longer and longer > seen["1,000 more updates"]
assert own > seen["trained with the decoder"]

# %% [markdown]
# This is what Cremer et al. found, in small: a larger encoder, and a longer training of it, shrink the amortization gap and leave the
# approximation gap alone; and the gap is larger on items the encoder was not trained on. This last part, the encoder's own generalization gap, was
# hardly changed by the longer training: 2.5 nats before and 2.3 after, with standard errors of 0.4 and 0.3. (Compare differences between the two panels only in the gaps: they show other digits, so their $\log p(x)$ differ anyway.)
#
# In their experiments the models were trained as a whole, each with its own decoder, and there a richer family of posteriors was seen to shrink the approximation gap.
#
# ## Is log p(x) tight?
#
# Three estimates that share as little as possible: importance sampling from the best Gaussian with Cremer's 5,000 samples; AIS from the best Gaussian; and,
# for 16 of the items, a slow AIS from the prior, which knows nothing of the encoder and of its hills.

# %%
log_joint, elbo, best, tight = kept["test items"]
amortized = vae.infer(test.take(64)[0])
leaps = {}
for name, q in {"best Gaussian": best, "encoder": amortized}.items():
    g = generator(0, "leaps")
    leaps[name] = torch.cat([log_weights(log_joint, q, 100, g) for _ in range(50)])
few, _ = test.take(64); few = {"mnist": few["mnist"][:16]}
slow = importance_estimate(annealed_importance_sampling(
    callables(vae, few)[0], DiagonalGaussian.standard(16, 20), 200, generator=generator(0, "slow")))
difference = slow.log_px - tight.log_px[:16]
wide_leap = importance_estimate(leaps["best Gaussian"])
assert difference.mean().abs() < .5 and (wide_leap.log_px - tight.log_px).mean().abs() < .5
print(f"AIS from the best Gaussian {tight.log_px.mean():.2f} ({tight.ess.mean():.1f} effective "
      f"of 8); importance sampling {wide_leap.log_px.mean():.2f} "
      f"({wide_leap.ess.mean():.0f} effective of 5,000)")
print("AIS from the prior minus AIS from the best Gaussian, 16 items: "
      f"{difference.mean():.2f} on average, {difference.min():.2f} to {difference.max():.2f}")

# %% [markdown]
# On average they agree to about 0.2 nats, small against the gaps above. Item by item the slow one is noisy; upwards it can't err far, for a weight with mean $p(x)$ exceeds $p(x)$ by the factor $e^\Delta$, that is by $\Delta$ nats, with
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
levels = parts["test items", "trained with the decoder"]
for name, value in {"AIS": levels["log_px"], "ELBO of the best Gaussian": levels["best"]}.items():
    ax.axhline(value.mean(), ls="--", color="0.4", lw=1)
    ax.text(5000, value.mean(), name, ha="right", va="bottom", fontsize="small")
negative = (importance_estimate(leaps["encoder"][:10]).log_px < levels["best"]).double().mean()
print("items whose estimate from 10 samples of the encoder lies below the best Gaussian's ELBO: "
      f"{100*negative:.0f} %")

# %% [markdown]
# ## What goes wrong, and how you would notice
#
# - *Too few importance samples.* The gap looks small, or negative, as above. Look at the effective sample size; double $K$ and see whether the estimate still rises.
# - *A proposal on the wrong hill.* Neither the effective sample size nor a larger $K$ shows it, as the two-latent model taught. Start from the prior too, at
#   least for some items.
# - *An oracle that stopped too early.* What it has not climbed is booked as approximation instead of amortization. In the linear model 400 steps from the prior were not
#   enough, and 2,000 were. Climb longer and see whether it still rises; start it from the encoder, which is near.
# - *Too few samples of an ELBO.* One sample of it varies by nats, as the next cell shows. The same noise for both posteriors helps a little; what makes tenths readable is the
#   hundred samples, and the average over items.
# - *Train and test mixed up.* On training items an encoder looks better than it is.
# - *Nats that are no nats.* The next section.

# %%
once = torch.stack([elbo(amortized, generator(0, "once", i)) for i in range(100)])
paired = torch.stack([elbo(best, generator(0, "once", i)) for i in range(100)])
other = torch.stack([elbo(best, generator(1, "once", i)) for i in range(100)])
spread = {"encoder's ELBO": once, "difference, same noise": paired - once,
          "difference, other noise": other - once}
print("standard deviation of one sample, nats:",
      {n: round(v.std(0).mean().item(), 1) for n, v in spread.items()})

# %% [markdown]
# ## Weights and beta
#
# The objective of the multimodal lessons has weights $w_m$ and a $\beta$. What becomes of (1)? Divide by $\beta$ and move the likelihoods'
# exponents inside:
#
# $$
# \begin{aligned}
# \mathcal L_{w,\beta}(x; q) &= \mathbb E_q\Big[\sum_m w_m \log p(x_m \mid z)\Big] - \beta\, \mathrm{KL}(q \,\|\, p) \\
#   &= \beta\, \mathbb E_q\Big[ \log p(z) \prod_m p(x_m \mid z)^{w_m/\beta} - \log q(z) \Big]
#    = \beta \big[ \log Z(x) - \mathrm{KL}(q \,\|\, \tilde p(z \mid x)) \big], \\
# \tilde p(z \mid x) &= \frac{1}{Z(x)}\, p(z) \prod_m p(x_m \mid z)^{w_m/\beta}, \qquad
#   Z(x) = \int p(z) \prod_m p(x_m \mid z)^{w_m/\beta}\, dz.
# \end{aligned}\tag{9}
# $$
#
# The form survives, with two changes. The posterior that inference aims at is a *tempered* one: a weight above $\beta$ pretends that there are several copies of the
# modality. And $\beta \log Z(x)$ stands where $\log p(x)$ stood, which is no log-likelihood of anything. Differences between posteriors under one objective, the amortization gap among
# them, keep their meaning, as $\beta$ times a difference of KLs to the tempered posterior; but they are nats of the objective, not of the data, and must not be
# compared between objectives. With MNIST at weight 3.9, a gap of 4 is not "4 nats of likelihood". The gaps in lesson 09 are of this kind.
#
# A check of (9) in the linear model, with $w = 3.9$ and $\beta = 2.5$. A power of a Gaussian is a Gaussian again, so all of it is known:

# %%
w, beta, D = 3.9, 2.5, 12
c = w/beta; P_c = torch.eye(6) + c*W.T @ W/noise**2
tempered = MultivariateNormal(c*x @ W @ torch.linalg.inv(P_c)/noise**2, precision_matrix=P_c)
log_Z = (MultivariateNormal(torch.zeros(D), W @ W.T + noise**2/c*torch.eye(D)).log_prob(x)
         + D/2*(math.log(2*math.pi*noise**2/c) - c*math.log(2*math.pi*noise**2)))
left = w*(linear_elbo(off) + off.kl()) - beta*off.kl()
off_full = MultivariateNormal(off.mean, torch.diag_embed(off.var))
kl = torch.distributions.kl_divergence(off_full, tempered)
torch.testing.assert_close(left, beta*(log_Z - kl), rtol=1e-4, atol=1e-2)

# %% [markdown]
# ## What a missing modality has to do with it
#
# Lesson 03 will show a model of two modalities, $p(z)\, p(x_1 \mid z)\, p(x_2 \mid z)$, whose second modality is missing when it is used. An encoder
# that sees $x_1$ only answers with $s(z \mid x_1)$ (a *student*, lesson 10). Measure it on the line of this lesson, by the ELBO of *both* modalities:
#
# $$
# \begin{aligned}
# \log p(x_1, x_2) - \mathcal L(x_1, x_2; s) = \mathrm{KL}\big( s(z \mid x_1) \,\|\, p(z \mid x_1, x_2) \big).
# \end{aligned}\tag{10}
# $$
#
# $s$ is a Gaussian of our family, and $q^*$, the best of the family for this $(x_1, x_2)$, is another. So the distance between them is an
# amortization gap: the missing-modality problem *is part of* the amortization gap of the multimodal ELBO. That is the thesis of the talk this course follows, and it suggests that what
# closes the gap solves the problem. But not all of the gap is of one kind. For a given $x_1$ many $x_2$ are possible, and $s$ has to give one answer for all of them. Average (10) over them,
# writing $p_{x_2}(z)$ for $p(z \mid x_1, x_2)$ and $\mathbb E$ for the mean over $x_2$ given $x_1$:
#
# $$
# \begin{aligned}
# \mathbb E\, \mathrm{KL}(s \,\|\, p_{x_2}) &= \int s(z) \big[ \log s(z) - \mathbb E \log p_{x_2}(z) \big] dz
#   = \underbrace{\mathrm{KL}(s \,\|\, s^*)}_{\text{the encoder's fault}} \; \underbrace{-\log C}_{\text{not in } x_1}, \\
# s^*(z) &= \frac1C \exp\big( \mathbb E \log p_{x_2}(z) \big), \qquad C = \int \exp\big( \mathbb E \log p_{x_2}(z) \big)\, dz \le 1.
# \end{aligned}\tag{11}
# $$
#
# *Why $C \le 1$:* by Jensen $\exp(\mathbb E \log p_{x_2}) \le \mathbb E\, p_{x_2}$, and this integrates to one. Equality holds only if $p_{x_2}$ is the same for (almost)
# all $x_2$, that is, if $x_2$ says nothing about $z$ that $x_1$ has not said. So:
#
# - $\mathrm{KL}(s \,\|\, s^*)$ is an inference problem like that of the 16 units above. A better encoder, a longer training, a better teacher: all can help.
# - $-\log C$ is *missing information*. No function of $x_1$ can remove it, however it is trained. *Iterative inference on the full ELBO* can: each gradient of
#   $\mathcal L(x_1, x_2; q)$ is computed with $x_2$. It may start from $s$, and yet ends at $q^*(x_1, x_2)$. A student distilled from it sees $x_1$ only and pays the
#   floor again.
#
# A student of lesson 10 minimises the other direction of KL, and has another floor. If the pairs come from the model then the mean of
# $p_{x_2}$ is $p(z \mid x_1)$, by the law of total probability, and
#
# $$
# \begin{aligned}
# \mathbb E\, \mathrm{KL}(p_{x_2} \,\|\, s) = \underbrace{\mathbb E\, \mathrm{KL}(p_{x_2} \,\|\, p(z \mid x_1))}_{I(z;\, x_2 \mid x_1)}
#   + \mathrm{KL}(p(z \mid x_1) \,\|\, s).
# \end{aligned}\tag{12}
# $$
#
# The best student is the true posterior of one modality, broad where $x_1$ leaves things open, and what it lacks is precisely the information that $x_2$ adds.
#
# All of this in one dimension, with $x_m = z + \text{noise of variance } v_m$: precisions are $1 + 1/v_1 = P_1$ with $x_1$ and $P = P_1 + 1/v_2$ with both. The mean $\nu$ of $p_{x_2}$ varies with $x_2$; by
# the law of total variance its variance is $1/P_1 - 1/P$. The exponent of $s^*$ is an average of parabolas of equal curvature: $s^* = \mathcal N(\mathbb E\, \nu, 1/P)$, and
# $-\log C = \frac12 P\, (1/P_1 - 1/P) = \frac12 (P/P_1 - 1)$. The floor of (12) is $\frac12 \log (P/P_1)$.

# %%
v1, v2, x1 = 1., .1, .8
P1 = 1 + 1/v1; P12 = P1 + 1/v2
z = x1/v1/P1 + torch.randn(20_000, 1, generator=generator(0, "z"))/P1**.5        # z given x1,
x2 = z + v2**.5*torch.randn(20_000, 1, generator=generator(0, "x2"))   # then x2: pairs with one x1
def fixed(mean, precision):
    return DiagonalGaussian(torch.full_like(z, mean), torch.full_like(z, -math.log(precision)))
both = DiagonalGaussian((x1/v1 + x2/v2)/P12, torch.full_like(z, -math.log(P12)))
s_star, alone = fixed(x1/v1/P1, P12), fixed(x1/v1/P1, P1)
floors = {"ELBO's direction": (s_star.kl(both).mean().item(), .5*(P12/P1 - 1)),
          "distillation's direction": (both.kl(alone).mean().item(), .5*math.log(P12/P1))}
for measured, formula in floors.values(): assert abs(measured/formula - 1) < .03
for worse in (fixed(x1/v1/P1 + .1, P12), fixed(x1/v1/P1, 2*P12), fixed(x1/v1/P1, P12/2), alone):
    assert worse.kl(both).mean() > s_star.kl(both).mean()
refined = gradient_ascent(lambda q: -q.kl(both), s_star, 300)     # full ELBO, less log p(x1, x2)
assert refined.kl(both).mean() < .01                              # it has x2 through the gradient
for n, (a, b) in floors.items(): print(f"{n}: {a:.2f} nats, by the formula {b:.2f}")
print(f"refined from s*: {refined.kl(both).mean():.3f} nats")

# %% [markdown]
#

# %%
#| fig-cap: "What one x_1 leaves open. Grey: the posterior given both modalities, for ten values of x_2. An encoder of x_1 alone must give one answer for all of them. By the ELBO the best is s*, as narrow as each grey curve and in their middle; by distillation it is p(z | x_1), broad enough to cover them."
#| fig-alt: "Ten narrow grey curves side by side, a narrow blue curve in their middle and a broad orange one over all."
line = torch.linspace(-1.6, 2.4, 400)[:, None]
fig, ax = plt.subplots(figsize=(6, 2.6))
for i in range(10): ax.plot(line, both[i].log_prob(line).exp(), color="0.75", lw=1)
for name, q in {"s*": s_star, "p(z | x_1)": alone}.items():
    ax.plot(line, q[0].log_prob(line).exp(), lw=2.5, label=name)
ax.set(xlabel="z", ylabel="density"); ax.legend();


# %% [markdown]
# The start cannot be better than its floor, and climbing the full ELBO goes below it, to zero.
#
# ## Recap
#
# - $\log p(x)$ minus the ELBO is $\mathrm{KL}(q \,\|\, p(z \mid x))$. The best Gaussian per item cuts it in two: approximation (decoder and family) and amortization (encoder).
# - $q^*$ is found by climbing each item's own ELBO, $\log p(x)$ by importance sampling or AIS. Both err downwards; a climb that stopped early and a proposal on the wrong hill
#   look fine from inside.
# - On one decoder the amortization gap depended on the size of the encoder, on how long it was trained, and on whether it had seen the item.
# - With weights or $\beta \ne 1$ the gap is measured to a tempered posterior.
# - The missing-modality problem is an amortization gap with a floor: an encoder of one modality can reach the floor, inference that sees all modalities can go below.
#
# Lesson 08 keeps the decoder and the encoder and puts a learned refiner between encoder and $q^*$.
#
# ## Exercises
#
# 1. Is the amortization gap the same as $\mathrm{KL}(q_\phi \,\|\, q^*)$? Compute both in the linear model, from (3) and (4).
# 2. What is the expectation of the estimated approximation gap if $\log p(x)$ is estimated by *one* importance sample from $q^*$? And from $q_\phi$?
# 3. Let the family be all Gaussians with full covariance. Which part of the gap changes in the linear model, and to what? Why might the other change too, for an encoder?
# 4. Suppose you have one exact sample of $p(z \mid x)$ and run the ladder downwards from it. Show that the mean of $1/w$ is $1/p(x)$. What does that
#    say about $\log w$, and why is it possible for data drawn from the model?
# 5. Measure the gaps of the VAE with `beta=4` during training, at $\beta = 1$. Which objective should $q^*$ climb? Predict the sign of the change of each part.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Not in general. With $\delta = \mu - \nu$ and $\sigma^2$ the variances of $q_\phi$, (3) minus (4) is $\frac12[\sum_l (P_{ll}\, \sigma_l^2 - \log (P_{ll}\, \sigma_l^2) - 1) + \delta^\top P \delta]$, and
#    $\mathrm{KL}(q_\phi \,\|\, q^*)$ has $\delta^\top \mathrm{diag}(P)\, \delta$ instead of $\delta^\top P \delta$. They agree if $P$ is diagonal or the means are equal.
# 2. From $q^*$: $\mathbb E \log w = \mathcal L(x; q^*)$, so zero. From $q_\phi$: minus the amortization gap.
# 3. The approximation gap becomes zero, as the true posterior is in the family. The amortization gap is now measured from $\log p(x)$, so for the same $q_\phi$ it is larger by what the other
#    lost; an encoder with more numbers to predict may lose more, too.
# 4. Integrate (8) from the other end: the path is drawn from $p(z \mid x) = f_R/p(x)$, each move back is the reversal of $\mathcal T_r$, and $\mathbb E[1/w] = \int f_0/p(x) = 1/p(x)$. By Jensen $\mathbb E \log w \ge \log p(x)$: an upper
#    bound, and with the usual one a sandwich (bidirectional Monte Carlo; Grosse et al., 2015). For data drawn from the model the $z$ it was drawn with is such a sample.
# 5. The one at $\beta = 1$, if nats are to be nats. The encoder aimed at another, broader posterior (equation 9 with $1/\beta$), so the amortization gap at $\beta = 1$ should be large, most of it because the
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
    return m, -P.diagonal().log()        # the variances with the other coordinates held fixed
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
assert least < distance(m, marginal) - .1                 # the marginal variances are too wide

# %% [markdown]
# ## References
#
# - C. Cremer, X. Li, D. Duvenaud, [Inference Suboptimality in Variational Autoencoders](https://arxiv.org/abs/1801.03558), 2018.
# - R. Neal, [Annealed Importance Sampling](https://arxiv.org/abs/physics/9803008), 1998 (journal version 2001).
# - R. Neal, [MCMC Using Hamiltonian Dynamics](https://arxiv.org/abs/1206.1901), 2011.
# - Y. Wu, Y. Burda, R. Salakhutdinov, R. Grosse, [On the Quantitative Analysis of Decoder-Based Generative Models](https://arxiv.org/abs/1611.04273), 2017.
# - R. Grosse, Z. Ghahramani, R. Adams, [Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo](https://arxiv.org/abs/1511.02543), 2015.
# - Y. Burda, R. Grosse, R. Salakhutdinov, [Importance Weighted Autoencoders](https://arxiv.org/abs/1509.00519), 2016.
