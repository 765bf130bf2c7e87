# %% [markdown]
# # Iterative amortized inference
#
# > A learned refiner that improves a posterior by looking at the gradient of its ELBO.
#
# ::: {.callout-note}
# ## You will learn
#
# - what the amortization gap is, and how to see it for single items;
# - how iterative amortized inference (Marino et al., 2018) closes it with a few learned steps;
# - two refiners: the published one, and ours, which works in the posterior's own units;
# - how both compare with plain gradient ascent and with the best Gaussian there is.
#
# Runs in about a minute on a laptop CPU.
# :::

# %%
#| default_exp iterative_inference

# %%
#| export
import torch
from torch import nn
import torch.nn.functional as F
from mmvae_nb.core import *
from mmvae_nb.data import mnist_svhn_text
from mmvae_nb.distributions import *
from mmvae_nb.networks import *
from mmvae_nb.vae import *
from mmvae_nb.training import *

# %%
import matplotlib.pyplot as plt
from mmvae_nb.plotting import *


# %% [markdown]
# ## The gap
#
# An encoder must answer for every $x$ with one pass of one network. For a single $x$, with time to
# spare, we could do better: start anywhere and climb $\mathcal L(x; q_\lambda)$ in
# $\lambda = (\mu, \log\sigma^2)$ itself. Where that ends, $q^*$, is the best diagonal Gaussian, and
#
# $$
# \begin{aligned}
# \underbrace{\log p(x) - \mathcal L(x; q^*)}_{\text{approximation gap}}
#   + \underbrace{\mathcal L(x; q^*) - \mathcal L(x; q_{\phi}(z\mid x))}_{\text{amortization gap}}
#   = \mathrm{KL}(q_\phi(z \mid x) \,\|\, p(z \mid x)).
# \end{aligned}\tag{1}
# $$
#
# The first part is the price of the Gaussian family, the second the price of having one network
# answer for all. Cremer et al. (2018) measured that the second is often the larger.
#
# Nothing below knows about modalities, images or encoders. All it needs is a callable
# `elbo(q)` that gives, for a batch of posteriors, the ELBO of each item.

# %%
#| exports
def elbo_gradient(elbo, # callable: `DiagonalGaussian` (batch) -> (batch,) ELBO in nats
                  q, # the posterior to evaluate at
                  keep=False # keep the graph, so that the ELBO can be trained on as well?
                 ):
    "The ELBO of each item at `q`, and its gradient in mean and log-variance (both detached)."
    with torch.enable_grad():
        if not keep or not q.mean.requires_grad:
            q = DiagonalGaussian(q.mean.detach().requires_grad_(), q.logvar.detach().requires_grad_())
        value = elbo(q)
        g_mean, g_logvar = torch.autograd.grad(value.sum(), [q.mean, q.logvar], retain_graph=keep)
    return (value if keep else value.detach()), g_mean.detach(), g_logvar.detach()


# %% [markdown]
# A check with a known answer. If $x \sim \mathcal N(z, 1)$ then
# $\mathcal L = -\frac12[(x-\mu)^2 + \sigma^2] - \mathrm{KL} + \text{const}$, so
# $\partial\mathcal L/\partial\mu = x - 2\mu$ and $\partial \mathcal L/\partial \log\sigma^2 = \frac12 - \sigma^2$.

# %%
x = torch.tensor([[1.7], [-.4]])
known = lambda q: -0.5*((x - q.mean)**2 + q.var).sum(-1) - q.kl()
q = DiagonalGaussian(torch.tensor([[.3], [.1]]), torch.tensor([[-.5], [.2]]))
value, g_mean, g_logvar = elbo_gradient(known, q)
torch.testing.assert_close(g_mean, x - 2*q.mean)
torch.testing.assert_close(g_logvar, 0.5 - q.var)


# %% [markdown]
# ## The slow way: climb for each item
#
# Plain gradient ascent on $\lambda$ with Adam. With a few hundred steps it is our *oracle* $q^*$; with a
# handful it is the baseline that any learned refiner has to beat.

# %%
#| exports
def gradient_ascent(elbo, # callable: `DiagonalGaussian` -> (batch,)
                    start, # posterior to start from
                    steps=400, # gradient evaluations
                    lr=0.05 # rate of Adam, decayed to a tenth along a cosine
                   ) -> DiagonalGaussian:
    "Climb the ELBO of each item by Adam on its own mean and log-variance (the oracle, eq. 1)."
    mean, logvar = (v.detach().clone().requires_grad_() for v in (start.mean, start.logvar))
    optimiser = torch.optim.Adam([mean, logvar], lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps), lr/10)
    with torch.enable_grad():
        for _ in range(steps):
            loss = -elbo(DiagonalGaussian(mean, logvar)).sum()
            mean.grad, logvar.grad = torch.autograd.grad(loss, [mean, logvar])
            optimiser.step(); schedule.step()
    return DiagonalGaussian(mean, logvar).detach()


# %%
best = gradient_ascent(known, q)
torch.testing.assert_close(best.mean, x/2, atol=1e-2, rtol=0)          # the true posterior N(x/2, 1/2)
torch.testing.assert_close(best.var, torch.full_like(x, .5), atol=1e-2, rtol=0)


# %% [markdown]
# ## The learned way
#
# Marino et al. train a network $f$ that sees where it is and which way is up, and says where to go:
#
# $$
# \begin{aligned}
# \lambda_{t+1} = f_\omega\big(\lambda_t,\; \nabla_\lambda \mathcal L(x; q_{\lambda_t})\big),
#   \qquad t = 0, \dots, T-1.
# \end{aligned}\tag{2}
# $$
#
# It is trained by the ELBO it reaches, averaged over the steps. The current $\lambda_t$ and the
# gradient are *detached*: no gradient flows through earlier iterations.
#
# **Marino's refiner** normalises the gradients with a layer norm over each item's own coordinates (never over
# the batch: an item's result must not depend on its neighbours), passes them with $\lambda_t$ through an MLP,
# and mixes the current value with a proposal through a gate:
# $\lambda_{t+1} = g \odot \lambda_t + (1 - g) \odot \tilde\lambda$. The gate starts near 1.

# %%
#| exports
def _body(inputs, hidden):
    "Two hidden layers with a shortcut, as all refiners here use."
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ELU(), Shortcut(hidden), nn.ELU())

class Shortcut(nn.Module):
    "x + a linear map of the normalised x; the norm is over each item's own features."
    def __init__(self, width): super().__init__(); self.norm, self.map = nn.LayerNorm(width), nn.Linear(width, width)
    def forward(self, x): return x + self.map(self.norm(x))

class MarinoRefiner(nn.Module):
    "Layer-normed gradients in, gated proposal out (Marino et al., 2018, eq. 8 and appendix)."
    def __init__(self, latent, hidden=512):
        super().__init__()
        self.latent, self.body, self.out = latent, _body(4*latent, hidden), nn.Linear(hidden, 4*latent)
        with torch.no_grad(): self.out.weight.mul_(0.1); self.out.bias[:2*latent] = 0.; self.out.bias[2*latent:] = 3.

    def forward(self, q, g_mean, g_logvar) -> DiagonalGaussian:
        "The next posterior from the current one and the gradient of its ELBO."
        normed = [F.layer_norm(v, (self.latent,)) for v in (g_mean, g_logvar, q.mean, q.logvar)]
        mean, logvar, gate_m, gate_v = self.out(self.body(torch.cat(normed, -1))).float().chunk(4, -1)
        a, b = torch.sigmoid(gate_m), torch.sigmoid(gate_v)
        return DiagonalGaussian(a*q.mean + (1 - a)*mean, b*q.logvar + (1 - b)*logvar)


# %% [markdown]
# ## Ours: the posterior's own units
#
# A gradient of 100 nats per unit of $\mu$ means "move a lot" if $\sigma = 1$ and "you are a
# hair's breadth away" if $\sigma = 0.01$. The layer norm throws away its size altogether. We
# rescale it instead: $\sigma\,\partial\mathcal L/\partial\mu$ is the gain in nats *per
# standard deviation moved*, and $\partial\mathcal L/\partial \log\sigma^2$ already is unit-free. (Up
# to a constant this is the natural gradient times $1/\sigma$: the Fisher information of a
# Gaussian's mean is $1/\sigma^2$.) A signed logarithm tames the range. The output is a gate between
#
# - a *step* $\mu + \sigma \cdot c \tanh(a)$, at most $c$ deviations long, which is what is needed near the optimum, and
# - a *proposal*, a plain new value, which is what is needed far away from it.

# %%
#| exports
def signed_log(x):
    "sign(x) log(1 + |x|): odd, monotone, linear near zero."
    return x.sign()*torch.log1p(x.abs())

class Refiner(nn.Module):
    "Gradients in units of the posterior's deviation; a gate between a bounded step and a proposal."
    def __init__(self, latent, # latent coordinates
                 hidden=512, # width of the network
                 longest=3.0 # c: longest step, in deviations of the posterior
                ):
        super().__init__()
        self.latent, self.longest = latent, longest
        self.body, self.out = _body(4*latent, hidden), nn.Linear(hidden, 6*latent)
        with torch.no_grad(): self.out.weight.mul_(0.1); self.out.bias.zero_(); self.out.bias[4*latent:] = 3.

    def forward(self, q, g_mean, g_logvar) -> DiagonalGaussian:
        "The next posterior from the current one and the gradient of its ELBO."
        inputs = [signed_log(q.std*g_mean), signed_log(g_logvar), q.mean, q.logvar]
        out = self.out(self.body(torch.cat(inputs, -1))).float()
        step_m, step_v, mean, logvar, gate_m, gate_v = out.chunk(6, -1)
        a, b = torch.sigmoid(gate_m), torch.sigmoid(gate_v)
        step_m, step_v = q.mean + q.std*self.longest*torch.tanh(step_m), q.logvar + torch.tanh(step_v)
        return DiagonalGaussian(a*step_m + (1 - a)*mean, b*step_v + (1 - b)*logvar)


# %%
assert torch.equal(signed_log(torch.tensor([0., -1., 1.])), torch.tensor([0., -1., 1.])*torch.log(torch.tensor(2.)))
assert Shortcut(8)(torch.zeros(2, 8)).shape == (2, 8)
for make in (MarinoRefiner, Refiner):
    seed_everything(0, "refiner"); refiner = make(1, hidden=16)
    both = refiner(q, g_mean, g_logvar)
    one = refiner(q[:1], g_mean[:1], g_logvar[:1])       # an item does not see its neighbours
    torch.testing.assert_close(both.mean[:1], one.mean)
    assert (both.mean - q.mean).abs().max() < .3          # the gate starts near 1


# %% [markdown]
# ## Iterating
#
# `refine` applies a refiner $T$ times and returns the whole trajectory $q_0, \dots, q_T$. In training it
# also returns the ELBO of each, with a graph: the loss is their negative mean.

# %%
#| exports
def refine(elbo, # callable: `DiagonalGaussian` -> (batch,) ELBO in nats
           start, # q_0
           refiner, # module: (q, g_mean, g_logvar) -> next q
           steps, # T
           keep=False # keep graphs for training: ELBO of q_0..q_T is returned as well
          ):
    "The trajectory q_0, ..., q_T (detached), or with `keep` (trajectory, ELBOs), eq. (2)."
    in_range("steps", steps, low=0, whole=True)
    trajectory, elbos = [start], []
    for _ in range(steps):
        value, g_mean, g_logvar = elbo_gradient(elbo, trajectory[-1], keep)
        elbos.append(value)
        with torch.set_grad_enabled(keep):
            trajectory.append(refiner(trajectory[-1].detach(), g_mean, g_logvar))
    if not keep: return [q.detach() for q in trajectory]
    return trajectory, elbos + [elbo(trajectory[-1])]


# %%
class Ascend(nn.Module):
    "A refiner that is a plain gradient step, to see `refine` at work."
    def forward(self, q, g_mean, g_logvar): return DiagonalGaussian(q.mean + .3*g_mean, q.logvar + .3*g_logvar)

trajectory = refine(known, q, Ascend(), 40)
values = torch.stack([known(p) for p in trajectory])
assert len(trajectory) == 41 and (values[1:] >= values[:-1] - 1e-5).all()
torch.testing.assert_close(trajectory[-1].mean, x/2, atol=1e-3, rtol=0)
_, kept = refine(known, q, Ascend(), 3, keep=True)
torch.testing.assert_close(torch.stack(kept), values[:4])


# %% [markdown]
# ## Training a refiner on a frozen VAE
#
# We take a trained VAE, freeze it, and train only the refiner. Half of the batches start where the
# encoder ends, the others after a few steps that carry no loss (`burn_in`): a refiner that never
# saw the neighbourhood of the optimum does not know how to behave there.

# %%
#| exports
class RefinerTraining(nn.Module):
    "A refiner to be trained on a frozen model that has `infer(batch)` and `elbo(batch, q)`."
    def __init__(self, model, refiner, steps=4, burn_in=4):
        super().__init__()
        self.refiner, self.steps, self.burn_in = refiner, in_range("steps", steps, low=1, whole=True), burn_in
        self.model = model.requires_grad_(False).eval()

    def start(self, batch):
        "q_0: the frozen encoder's posterior."
        with torch.no_grad(): return self.model.infer(batch).detach()

    def infer(self, batch, steps=None):
        "The trajectory q_0, ..., q_T."
        return refine(lambda q: self.model.elbo(batch, q), self.start(batch), self.refiner,
                      self.steps if steps is None else steps)

    def forward(self, batch) -> Loss:
        "The mean negative ELBO over the trajectory."
        q = self.start(batch)
        burn = max(0, int(torch.randint(-self.burn_in, self.burn_in + 1, ())))
        elbo = lambda q: self.model.elbo(batch, q)
        if burn: q = refine(elbo, q, self.refiner, burn)[-1]
        _, elbos = refine(elbo, q, self.refiner, self.steps, keep=True)
        means = torch.stack([e.mean() for e in elbos])
        return Loss(-means[1:].mean(), {"first": -means[0].detach(), "last": -means[-1].detach()})


# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
spec = default_specs(train.modalities, weights={"mnist": 1.})["mnist"]
new_vae = lambda: (seed_everything(0, "vae"), VAE(spec, "mnist", 20))[1]
run = dict(updates=500, batch_size=128, progress=False, device="cpu")
modules = ["core", "data", "distributions", "networks", "vae", "training"]
vae = cached("vae", new_vae, lambda m: fit(m, train, **run), run, modules)

refiners = {}
for name, make in {"Marino's refiner": MarinoRefiner, "our refiner": Refiner}.items():
    seed_everything(0, name)
    training = RefinerTraining(vae, make(20, hidden=256))
    fit(training, train, updates=250, batch_size=128, lr=2e-3, progress=False, device="cpu")
    refiners[name] = training.refiner

# %% [markdown]
# ## Did it work?
#
# Validation digits, the same for all; the oracle climbs for 300 steps. The ELBO is estimated with
# 16 samples of $z$ with the *same* noise for every posterior, so that the comparison is of
# posteriors and not of luck.

# %%
items, _ = validation.take(200)
elbo = lambda q: vae.elbo(items, q)

@torch.no_grad()
def nelbo(q):
    g = generator(0, "evaluation")
    return -torch.stack([vae.elbo(items, q, g) for _ in range(16)]).mean().item()

with torch.no_grad(): start = vae.infer(items)
oracle = gradient_ascent(elbo, start, 300)
ascent = {t: nelbo(gradient_ascent(elbo, start, t, lr=.1)) for t in (1, 2, 4, 8, 16)}
learned = {n: [nelbo(q) for q in refine(elbo, start, r, 16)] for n, r in refiners.items()}

# %%
#| fig-cap: "Negative ELBO on validation digits against the number of gradient evaluations. Lower is better; the dashed line is the best Gaussian."
#| fig-alt: "Falling curves for two refiners and gradient ascent, between the encoder's value and the oracle's."
fig, ax = plt.subplots(figsize=(6.5, 3))
for name, values in learned.items(): ax.plot(range(17), values, marker=".", label=name)
ax.plot([0, *ascent], [nelbo(start), *ascent.values()], marker=".", color="0.5", label="gradient ascent (Adam)")
ax.axhline(nelbo(oracle), ls="--", color="k", label="oracle: 300 steps per item")
ax.set(xlabel="iterations t", ylabel="negative ELBO (nats)"); ax.legend();

# %%
gap = nelbo(start) - nelbo(oracle)
closed = {n: (nelbo(start) - v[4])/gap for n, v in learned.items()}
assert gap > 0.3                                          # the amortization gap is real
assert closed["our refiner"] > 0.1                        # and the refiner closes part of it in 4 steps
print(f"encoder {nelbo(start):.1f}, oracle {nelbo(oracle):.1f} nats; "
      + ", ".join(f"{n} closes {100*c:.0f} % in 4 steps" for n, c in closed.items()))

# %% [markdown]
# ## What goes wrong
#
# - *It works for the T it was trained with and diverges beyond.* Near the optimum gradients are small
#   and noisy; without burn-in the refiner has never been there. Look at the curve beyond T before you trust it.
# - *Gradients through the earlier iterations.* Forgetting to detach multiplies memory by T and makes
#   training unstable.
# - *A batch norm in the refiner.* Then the result for an item depends on who sits beside it.
#
# ## Recap
#
# The amortization gap is what one network for all items costs. A refiner that sees gradients closes part
# of it in a few steps. It needs nothing but a callable `elbo(q)`, so lesson 15 can hand it the
# multimodal ELBO unchanged.
#
# ## Exercises
#
# 1. Show that the natural gradient of $\mathcal L$ in $\mu$ is $\sigma^2\,\partial\mathcal L/\partial\mu$.
# 2. Refine from the *prior* instead of the encoder's posterior. How many steps does our refiner need?
# 3. Train with `burn_in=0` and plot 64 steps.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The Fisher information of $\mathcal N(\mu, \sigma^2)$ in $\mu$ is $1/\sigma^2$; multiply the gradient by its inverse.
# 2. `refine(elbo, DiagonalGaussian.standard(200, 20), refiner, 64)`; a refiner trained only from the encoder's start
#    needs many or fails, which is why lesson 15 trains it from every start it will meet.
# 3. The curve turns up after the trained range.
# :::
#
# ## References
#
# - J. Marino, Y. Yue, S. Mandt, [Iterative Amortized Inference](https://arxiv.org/abs/1807.09356), 2018.
# - C. Cremer, X. Li, D. Duvenaud, [Inference Suboptimality in Variational Autoencoders](https://arxiv.org/abs/1801.03558), 2018.
