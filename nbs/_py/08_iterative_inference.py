# %% [markdown]
# # Iterative amortized inference
#
# > A learned refiner that improves a posterior by looking at the gradient of its ELBO.
#
# ::: {.callout-note}
# ## You will learn
#
# - how iterative amortized inference (Marino et al., 2018) closes the amortization gap with a few learned steps;
# - two refiners: the published one, and ours, which works in the posterior's own units;
# - how both compare with plain gradient ascent and with the best Gaussian there is.
#
# Runs in about a minute on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: contour lines of the ELBO; a path of dots leads from the encoder's answer uphill to the top, with the gradient as a dashed arrow at each dot.](drawings/refine.svg)

# %%
#| default_exp iterative_inference

# %%
#| export
import math
from collections import namedtuple
import torch
from torch import nn
import torch.nn.functional as F
from mmvae_nb.core import *
from mmvae_nb.amortization_gap import needs_gradients
from mmvae_nb.distributions import *
from mmvae_nb.vae import *

# %%
import matplotlib.pyplot as plt
from mmvae_nb.plotting import *
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.networks import *
from mmvae_nb.training import *
from mmvae_nb.amortization_gap import *
from mmvae_nb.checkpoints import cached


# %% [markdown]
# ## Between the encoder and the oracle
#
# Lesson 07 measured what an encoder loses: its posterior $q_\phi(z \mid x)$ lies below the best Gaussian of the item, $q^*$, by the amortization
# gap $\mathcal L(x; q^*) - \mathcal L(x; q_\phi)$. It also showed how to find $q^*$: climb $\mathcal L(x; q_\lambda)$ in $\lambda = (\mu, \log\sigma^2)$ itself,
# for hundreds of steps (`gradient_ascent`). That is the slow way, and our *oracle*. With a handful of steps it is the baseline that any learned
# refiner has to beat.
#
# This lesson looks for the fast way: few steps, each of them learned. As with the oracle, nothing below knows about modalities, images or encoders. All it needs is a
# callable `elbo(q)` that gives, for a batch of posteriors, the ELBO of each item, and its gradient.

# %%
#| exports
def elbo_gradient(elbo, # callable: `DiagonalGaussian` (batch) -> (batch,) ELBO in nats
                  q, # the posterior to evaluate at
                  also=() # tensors in which the gradient of the sum over the batch is wanted, too
                 ):
    "The ELBO of each item at `q`, detached, and its gradients in `q`'s parameters (and `also`)."
    with torch.enable_grad():
        mean, logvar = (p.detach().requires_grad_() for p in (q.mean, q.logvar))
        value = elbo(DiagonalGaussian(mean, logvar))
        gradients = torch.autograd.grad(value.sum(), [mean, logvar, *also], allow_unused=bool(also))
    return value.detach(), *gradients


# %% [markdown]
# A check with a known answer. Let the prior be $\mathcal N(0, 1)$. If $x \sim \mathcal N(z, 1)$ then
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
# The slow way ends at the true posterior, as this is a Gaussian here:

# %%
best = gradient_ascent(known, q)
torch.testing.assert_close(best.mean, x/2, atol=1e-2, rtol=0)       # the true posterior N(x/2, 1/2)
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
# \end{aligned}\tag{1}
# $$
#
# It is trained by the ELBO it reaches, averaged over the steps:
#
# $$
# \begin{aligned}
# \min_\omega\; -\frac1T \sum_{t=1}^{T} \mathbb E_x\big[ \mathcal L(x; q_{\lambda_t}) \big].
# \end{aligned}\tag{2}
# $$
#
# The current $\lambda_t$ and the gradient go into $f_\omega$ *detached*: in (2) the term of step $t + 1$ trains what the refiner does
# with the inputs of step $t$, and no gradient flows through earlier iterations.
#
# **Marino's refiner** normalises the gradients with a layer norm over each item's own coordinates (never over
# the batch: an item's result must not depend on its neighbours), passes them with $\lambda_t$ through an MLP,
# and mixes the current value with a proposal through a gate:
# $\lambda_{t+1} = \gamma \odot \lambda_t + (1 - \gamma) \odot \tilde\lambda$, where gate $\gamma \in (0, 1)$ and proposal $\tilde\lambda$ are
# both put out by the MLP, one number for each parameter. The gate starts near 1, so that an untrained refiner changes little.

# %%
#| exports
def _body(inputs, hidden):
    "Two hidden layers with a shortcut, as all refiners here use."
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ELU(), ResidualLinear(hidden), nn.ELU())

class ResidualLinear(nn.Module):
    "x + a linear map of the normalised x; the norm is over each item's own features."
    def __init__(self, width):
        super().__init__()
        self.norm, self.map = nn.LayerNorm(width), nn.Linear(width, width)
    def forward(self, x): return x + self.map(self.norm(x))

class MarinoRefiner(nn.Module):
    "Layer-normed gradients in, gated proposal out (Marino et al., 2018, eq. 8 and appendix)."
    def __init__(self, latent, hidden=512):
        super().__init__()
        self.latent = latent
        self.body, self.out = _body(4*latent, hidden), nn.Linear(hidden, 4*latent)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias[:2*latent] = 0.; self.out.bias[2*latent:] = 3.

    def forward(self, q, g_mean, g_logvar, memory=None):
        "The next posterior, from the current one and its gradient; nothing is remembered."
        normed = [F.layer_norm(v, (self.latent,)) for v in (g_mean, g_logvar, q.mean, q.logvar)]
        out = self.out(self.body(torch.cat(normed, -1))).float()
        mean, logvar, gate_m, gate_v = out.chunk(4, -1)
        a, b = torch.sigmoid(gate_m), torch.sigmoid(gate_v)
        return DiagonalGaussian(a*q.mean + (1 - a)*mean, b*q.logvar + (1 - b)*logvar), memory


# %% [markdown]
# ## Ours: the posterior's own units, and a memory
#
# A gradient of 100 nats per unit of $\mu$ means "move a lot" if $\sigma = 1$ and "you are a
# hair's breadth away" if $\sigma = 0.01$. The layer norm throws away its size altogether. We
# rescale it instead: $\sigma\,\partial\mathcal L/\partial\mu$ is the gain in nats *per
# standard deviation moved*, and $\partial\mathcal L/\partial \log\sigma^2$ already is unit-free. (This is the *natural* gradient in
# these units. The Fisher information of a Gaussian is $1/\sigma^2$ for its mean and $\frac12$ for its log-variance, so the natural gradient is
# $\sigma^2\, \partial\mathcal L/\partial\mu$, which is $\sigma\, \partial\mathcal L/\partial\mu$ deviations, and
# $2\, \partial\mathcal L/\partial\log\sigma^2$; the last exercise derives it.) A signed logarithm tames the range. The output is a gate between
#
# - a *step* $\mu + \sigma \cdot c \tanh(o)$, with $o$ from the network: at most $c$ deviations long, which is what is needed near the optimum, and
# - a *proposal* $\tilde\mu$, a plain new value, which is what is needed far away from it.
#
# For the mean, with all products coordinate by coordinate,
#
# $$
# \begin{aligned}
# \mu_{t+1} = \mu_t + r_t \Big( \gamma \big( \mu_t + \sigma_t\, c \tanh(o) \big) + (1 - \gamma)\, \tilde\mu - \mu_t \Big),
#   \qquad r_t = \min\Big( 1, \frac{16}{t + 1} \Big),
# \end{aligned}\tag{3}
# $$
#
# and the same for $\log\sigma^2$, whose step is $\tanh$ of its own output. What $r_t$ is for comes next.
#
# Near the optimum one gradient is mostly noise: it comes from a single sample of $z$. What averages noise is *memory*. Each
# item keeps a running mean of its gradients, $\bar g_t = 0.9\, \bar g_{t-1} + 0.1\, g_t$, and a count of its steps, its *age*. The refiner sees
# the mean (divided by one minus 0.9 to the power of the age, as Adam does, so that early values are not too small) in the current
# posterior's units, and the logarithm of the age: it can learn to take smaller steps when it is old. And beyond the age of 16 whatever
# it proposes is shrunk to the fraction $r_t$ of (3): with noisy gradients, steps of constant size never come to rest, and steps that shrink
# as $1/t$ do (Robbins and Monro, 1951: their sum is infinite, so they reach any place, and the sum of their squares is finite, so the noise
# averages out). That keeps hundreds of iterations from drifting; it does not help a refiner that goes
# astray before that because it never met items that old.
#
# Each of the four ingredients (units, memory, bound on the step, calming) can be left out by `without=`, so that an experiment can say what it is good for.

# %%
#| exports
def symlog(x):
    "sign(x) log(1 + |x|): odd, monotone, linear near zero."
    return x.sign()*torch.log1p(x.abs())

INGREDIENTS = ("units", "memory", "bound", "calming") # of the refiner; each can be left out

class Refiner(nn.Module):
    "Gradients, new and remembered, in the posterior's own units; a bounded step or a proposal."
    def __init__(self, latent, # latent coordinates
                 hidden=512, # width of the network
                 max_step=3.0, # c: longest step, in deviations of the posterior
                 momentum=0.9, # share of the old in the running mean of gradients
                 decay_after=16, # age in steps from which on steps shrink as decay_after/age
                 without=() # of INGREDIENTS: what to leave out, to see what it is good for
                ):
        super().__init__()
        self.without = tuple(one_of("without", w, INGREDIENTS) for w in without)
        if "memory" in without: momentum = 0.
        if "calming" in without: decay_after = math.inf
        self.latent, self.max_step = latent, max_step
        self.momentum = in_range("momentum", momentum, low=0, high=0.999)
        self.decay_after = decay_after if math.isinf(decay_after) else \
            in_range("decay_after", decay_after, low=1)
        self.body, self.out = _body(6*latent + 1, hidden), nn.Linear(hidden, 6*latent)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_(); self.out.bias[4*latent:] = 3.

    def remember(self, g_mean, g_logvar, memory=None):
        "Memory, (batch, 2*latent + 1): running means of gradients, and the number of steps."
        new = torch.cat([g_mean, g_logvar], -1)
        if memory is None: memory = new.new_zeros(len(new), 2*self.latent + 1)
        means = self.momentum*memory[:, :-1] + (1 - self.momentum)*new
        return torch.cat([means, memory[:, -1:] + 1], -1)

    def forward(self, q, g_mean, g_logvar, memory=None):
        "The next posterior, and the memory to hand in with the next gradient."
        memory = self.remember(g_mean, g_logvar, memory)
        age = memory[:, -1:]
        past_m, past_v = (memory[:, :-1]/(1 - self.momentum**age)).chunk(2, -1)
        unit = torch.ones_like(q.std) if "units" in self.without else q.std
        told = torch.zeros_like(age) if "memory" in self.without else 0.5*age.log()
        inputs = [unit*g_mean, g_logvar, unit*past_m, past_v]
        inputs = [*map(symlog, inputs), q.mean, q.logvar, told]
        out = self.out(self.body(torch.cat(inputs, -1))).float()
        step_m, step_v, mean, logvar, gate_m, gate_v = out.chunk(6, -1)
        a, b = torch.sigmoid(gate_m), torch.sigmoid(gate_v)
        bound = (lambda x: x) if "bound" in self.without else torch.tanh
        step_m, step_v = q.mean + unit*self.max_step*bound(step_m), q.logvar + bound(step_v)
        rate = (self.decay_after/age).clamp(max=1.)
        mean, logvar = a*step_m + (1 - a)*mean, b*step_v + (1 - b)*logvar
        mean, logvar = q.mean + rate*(mean - q.mean), q.logvar + rate*(logvar - q.logvar)
        return DiagonalGaussian(mean, logvar), memory


# %%
sign = torch.tensor([0., -1., 1.])
assert torch.equal(symlog(sign), sign*torch.log(torch.tensor(2.)))
assert ResidualLinear(8)(torch.zeros(2, 8)).shape == (2, 8)
for make in (MarinoRefiner, Refiner):
    seed_everything(0, "refiner"); refiner = make(1, hidden=16)
    both, memory = refiner(q, g_mean, g_logvar)
    one, _ = refiner(q[:1], g_mean[:1], g_logvar[:1])    # an item does not see its neighbours
    torch.testing.assert_close(both.mean[:1], one.mean)
    assert (both.mean - q.mean).abs().max() < .3          # the gate starts near 1
old = memory.clone(); old[:, -1] = 63.                    # ours, at the 64th step: a quarter of it
late, _ = refiner(q, g_mean, g_logvar, old)
refiner.decay_after = 1000; whole, _ = refiner(q, g_mean, g_logvar, old)
torch.testing.assert_close(late.mean - q.mean, (whole.mean - q.mean)/4)
again = refiner.remember(2*g_mean, g_logvar, memory)      # ours: mean of g, 2 g, weighted 9 to 10
torch.testing.assert_close(again[:, :1]/(1 - .9**2), g_mean*(.9 + 2)/1.9)
assert again[0, -1] == 2
for left_out in INGREDIENTS:                # each changes what an old item is told to do
    seed_everything(0, "refiner"); poorer = Refiner(1, hidden=16, without=[left_out])
    seed_everything(0, "refiner"); refiner = Refiner(1, hidden=16)
    assert not torch.equal(poorer(q, g_mean, g_logvar, old)[0].mean,
                           refiner(q, g_mean, g_logvar, old)[0].mean)

# %% [markdown]
# ## Iterating
#
# `refine` applies a refiner $T$ times and returns the whole trajectory $q_0, \dots, q_T$. In training (`keep`) it
# also returns the ELBO of each, with a graph: the loss is their negative mean.
#
# Two details of training. *Far items shout:* an item thousands of nats from its optimum has gradients
# a hundred times larger than one that is nearly there, and the refiner would learn from the former only. So what reaches the
# refiner from each step is divided by the size of the gradient it was shown, $\sqrt{1 + \overline{(\sigma \odot g)^2}}$; the
# loss itself is unchanged. *Each ELBO needs one backward pass, not two:* the gradient of $\mathcal L$ in $\lambda_t$, which
# the refiner was shown, is also what training the refiner needs. If the model is trained with it (`parameters`), the same pass gives the model's gradients as well.
# So each value goes into the loss with its gradients known (`_Known`), and its graph is gone before the next step. Only $q_T$, after which no refiner comes, is left to the loss's own backward pass.

# %%
#| exports
Refinement = namedtuple("Refinement", "trajectory elbos memory")  # q_0..q_T, mean ELBOs, memory

def _normalised_backward(q, g_mean):
    "`q` itself; what comes back through it is divided by the size of `g_mean` in `q`'s units."
    w = (1 + (q.std*g_mean).detach().pow(2).mean(-1, keepdim=True)).rsqrt()
    mean, logvar = (w*v + ((1 - w)*v).detach() for v in (q.mean, q.logvar))
    return DiagonalGaussian(mean, logvar)

class _Known(torch.autograd.Function):
    "A value whose gradients in `inputs` are known: none is computed on the way back."
    @staticmethod
    def forward(ctx, value, gradients, *inputs):
        ctx.gradients = gradients
        return value.clone()
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, above):
        return None, None, *(g if g is None else above*g for g in ctx.gradients)

def refine(elbo, # callable: `DiagonalGaussian` -> (batch,) ELBO in nats
           start, # q_0
           refiner, # module: (q, g_mean, g_logvar, memory) -> (next q, memory)
           steps, # T
           keep=False, # keep the refiner's graph and the ELBOs, to train on?
           parameters=(), # with `keep`: what is trained of the model behind `elbo`
           memory=None # the refiner's, to go on where an earlier refinement stopped
          ):
    "The trajectory q_0, ..., q_T (detached), or with `keep` a `Refinement`, eq. (1)."
    needs_gradients("refine")
    in_range("steps", steps, low=0, whole=True)
    if keep: return _refine_to_train(elbo, start, refiner, steps, list(parameters), memory)
    trajectory = [start]
    for _ in range(steps):
        _, *gradients = elbo_gradient(elbo, trajectory[-1])
        with torch.no_grad(): q, memory = refiner(trajectory[-1].detach(), *gradients, memory)
        trajectory.append(q)
    return [q.detach() for q in trajectory]

def _refine_to_train(elbo, start, refiner, steps, parameters, memory):
    "The same with the refiner's graph, and with the mean ELBO of every q_t, q_T included."
    trajectory, elbos, q = [start], [], start
    for _ in range(steps):
        value, g_mean, g_logvar, *more = elbo_gradient(elbo, q, parameters)
        known = [g if g is None else g/len(value) for g in (g_mean, g_logvar, *more)]
        elbos.append(_Known.apply(value.mean(), known, q.mean, q.logvar, *parameters))
        with torch.enable_grad():
            new, memory = refiner(trajectory[-1].detach(), g_mean, g_logvar, memory)
            q = _normalised_backward(new, g_mean)
        trajectory.append(new)
    elbos.append(elbo(q).mean())
    return Refinement(trajectory, elbos, memory if memory is None else memory.detach())


# %%
class Ascend(nn.Module):
    "A refiner that is a plain gradient step, to see `refine` at work."
    def __init__(self): super().__init__(); self.rate = nn.Parameter(torch.tensor(.3))
    def forward(self, q, g_mean, g_logvar, memory=None):
        return DiagonalGaussian(q.mean + self.rate*g_mean, q.logvar + self.rate*g_logvar), memory

trajectory = refine(known, q, Ascend(), 40)
values = torch.stack([known(p) for p in trajectory])
assert len(trajectory) == 41 and (values[1:] >= values[:-1] - 1e-5).all()
torch.testing.assert_close(trajectory[-1].mean, x/2, atol=1e-3, rtol=0)

# %% [markdown]
# The same path seen from above. Each item has its own landscape; here is that of the first one.

# %%
#| fig-cap: "The ELBO of one item over the posterior's two parameters (contours). 40 plain gradient steps end at the true posterior."
#| fig-alt: "Contours around one summit; a dotted path from the start climbs across them."
axes = torch.linspace(-.5, 1.5, 80), torch.linspace(-2., 1., 80)
mu, logvar = torch.meshgrid(*axes, indexing="ij")
land = DiagonalGaussian(mu.reshape(-1, 1), logvar.reshape(-1, 1))
height = (-0.5*((x[0] - land.mean)**2 + land.var).sum(-1) - land.kl()).reshape(80, 80)
fig, ax = plt.subplots(figsize=(5, 3))
ax.contour(mu, logvar, height, 20, cmap="Greys", linewidths=.8)
path = torch.stack([torch.stack([p.mean[0, 0], p.logvar[0, 0]]) for p in trajectory])
ax.plot(*path.T, ".-", label="q_0 ... q_40")
ax.plot(x[0, 0]/2, torch.tensor(.5).log(), "k*", ms=12, label="true posterior")
ax.set(xlabel="mean", ylabel="log-variance"); ax.legend();


# %% [markdown]
# The gradients that come out of one pass are those of the plain way, which keeps every graph and goes back through all of them at the end. `scale` stands for a parameter of the model.

# %%
def plain(elbo, q, refiner, steps):
    "The mean ELBOs of q_0, ..., q_T, with all graphs."
    elbos, at = [elbo(q).mean()], q
    for _ in range(steps):
        _, *gradients = elbo_gradient(elbo, at)
        new, _ = refiner(at.detach(), *gradients)
        elbos.append(elbo(_normalised_backward(new, gradients[0])).mean()); at = new
    return elbos

grads, scale = {}, nn.Parameter(torch.tensor(.9))
scaled = lambda q: scale*known(q)
for way in ("plain", "one pass"):
    ascend = Ascend()
    if way == "plain": elbos = plain(scaled, q, ascend, 3)
    else: elbos = refine(scaled, q, ascend, 3, keep=True, parameters=[scale]).elbos
    grads[way] = torch.autograd.grad(torch.stack(elbos).sum(), [ascend.rate, scale])
torch.testing.assert_close(grads["plain"], grads["one pass"]); assert grads["plain"][0] > 0


# %% [markdown]
# ## Training a refiner on a frozen VAE
#
# We take a trained VAE, freeze it, and train only the refiner. A refiner that never saw the neighbourhood of the
# optimum does not know how to behave there, and diverges. So refinements are not thrown away after $T$ steps: the
# next update continues most of them (`Replay`), at their age and with their memory. After a while every update sees items of all
# ages, from fresh to dozens of steps old, for the price of $T$ steps.

# %%
#| exports
class Replay:
    "Unfinished refinements of earlier updates, to be continued in place of part of a batch."
    def __init__(self, share=0.6 # of a batch; the chance of an item to be continued once more
                ): self.share, self.stored = in_range("share", share, low=0, high=0.99), None

    def mix(self, batch, q):
        "(batch, posteriors, memory): a share of the items replaced by stored ones."
        if self.stored is None or not self.share: return batch, q, None
        old, old_q, old_memory = self.stored
        count = min(round(self.share*len(q)), len(q) - 1)     # one item at least is new
        i = torch.randperm(len(old_q), device=old_q.mean.device)[:count]
        fresh, again = len(q) - len(i), lambda x: x[i].to(q.mean.device)
        batch = {n: torch.cat([x[:fresh], again(old[n])]) for n, x in batch.items()}
        continued = DiagonalGaussian(*map(again, (old_q.mean, old_q.logvar)))
        q = DiagonalGaussian.cat([q[:fresh], continued])
        if old_memory is None: return batch, q, None
        memory = again(old_memory)
        return batch, q, torch.cat([memory.new_zeros(fresh, memory.shape[1]), memory])

    def reset(self):
        "Forget what an earlier training left."
        self.stored = None

    def store(self, batch, q, memory): self.stored = (batch, q.detach(), memory)

    def state_dict(self):
        "What a checkpoint has to hold for a training to go on with the same items."
        if self.stored is None: return {}
        batch, q, memory = self.stored
        return {"batch": batch, "mean": q.mean, "logvar": q.logvar, "memory": memory}

    def load_state_dict(self, state):
        self.stored = (state["batch"], DiagonalGaussian(state["mean"], state["logvar"]),
                       state["memory"]) if state else None

class RefinerTraining(nn.Module):
    "A refiner to be trained on a frozen model that has `infer(batch)` and `elbo(batch, q, path=)`."
    def __init__(self, model, refiner, steps=4, replay=0.6):
        super().__init__()
        self.refiner, self.replay = refiner, Replay(replay)
        self.steps = in_range("steps", steps, low=1, whole=True)
        self.model = model.requires_grad_(False).eval()

    def train(self, mode=True):
        "Training mode for the refiner only."
        super().train(mode); self.model.eval(); return self

    def checkpoint_state(self):
        "What a training continues beside the weights."
        return [self.replay]

    def start(self, batch):
        "q_0: the frozen encoder's posterior."
        with torch.no_grad(): return self.model.infer(batch).detach()

    def infer(self, batch, steps=None):
        "The trajectory q_0, ..., q_T."
        elbo = lambda q: self.model.elbo(batch, q, path=True)
        return refine(elbo, self.start(batch), self.refiner, self.steps if steps is None else steps)

    def forward(self, batch) -> Loss:
        "The mean negative ELBO of T further steps, of fresh items and of continued ones."
        q, memory = self.start(batch), None
        if self.training: batch, q, memory = self.replay.mix(batch, q)
        elbo = lambda q: self.model.elbo(batch, q, path=True)
        done = refine(elbo, q, self.refiner, self.steps, keep=True, memory=memory)
        if self.training: self.replay.store(batch, done.trajectory[-1], done.memory)
        means = torch.stack(done.elbos)
        return Loss(-means[1:].mean(), {"first": -means[0].detach(), "last": -means[-1].detach()})


# %%
items = {"x": torch.arange(8.)}; fresh = DiagonalGaussian(torch.zeros(8, 1), torch.zeros(8, 1))
replay = Replay(.5); assert replay.mix(items, fresh)[2] is None                 # nothing stored yet
stored = DiagonalGaussian(torch.ones(8, 1), torch.zeros(8, 1))
replay.store({"x": torch.arange(8.) + 100}, stored, torch.full((8, 3), 4.))
mixed, q_mixed, memory = replay.mix(items, fresh)
old = mixed["x"] >= 100
assert old.sum() == 4 and (q_mixed.mean[:, 0] == old.float()).all()
assert (memory[:, -1] == 4*old).all()

# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
spec = default_specs(train.modalities, weights={"mnist": 1.})["mnist"]
new_vae = lambda: (seed_everything(0, "vae"), VAE(spec, "mnist", 20))[1]
run = dict(updates=500, batch_size=128, progress=False, device="cpu")
modules = ["vae", "training", "datasets.digits"]
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
elbo = lambda q: vae.elbo(items, q, path=True)

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
ax.plot([0, *ascent], [nelbo(start), *ascent.values()], marker=".", color="0.5",
        label="gradient ascent (Adam)")
ax.axhline(nelbo(oracle), ls="--", color="k", label="oracle: 300 steps per item")
ax.set(xlabel="iterations t", ylabel="negative ELBO (nats)"); ax.legend();

# %%
gap = nelbo(start) - nelbo(oracle)
closed = {n: (nelbo(start) - v[4])/gap for n, v in learned.items()}
assert gap > 0.3                                       # the amortization gap is real
assert closed["our refiner"] > 0.1                     # and the refiner closes part of it
print(f"encoder {nelbo(start):.1f}, oracle {nelbo(oracle):.1f} nats; closed in 4 steps: "
      + ", ".join(f"{n} {100*c:.0f} %" for n, c in closed.items()))


# %% [markdown]
# What to see. The gap is small here, 1.3 nats of 442: one network serves these simple digits almost as well as a posterior for each. Our refiner
# closes 71 % of it within four steps and stays about there up to 16, beyond the $T = 4$ of its training. Plain Adam gets *worse* first: its first step moves every
# parameter by its learning rate, here 0.1, however close the optimum is. That is the trouble with steps that know
# nothing of the posterior's units. Marino's refiner has not left its start (0 %) after these 250 updates. With longer training it does: lesson 09 has
# both refiners after 2,400 updates each. One seed and 200 digits, so read the shapes of the curves and not the last digit.

# %% [markdown]
# ## What goes wrong
#
# - *It works for the T it was trained with and diverges beyond.* Near the optimum gradients are small
#   and noisy; without replay the refiner has never been there. How to notice: draw the curve beyond $T$, as above, before you trust it.
# - *Gradients through the earlier iterations.* If $\lambda_t$ is not detached, the backward pass runs through all steps and through the
#   second derivatives of the decoder. How to notice: $\lambda_0$ gets a gradient from the term at $t = 1$.
# - *A batch norm in the refiner.* Then the result for an item depends on who sits beside it.
#
# ## Recap
#
# The amortization gap is what one network for all items costs. A refiner that sees gradients closes part
# of it in a few steps. It needs nothing but a callable `elbo(q)`, so lesson 09 can hand it the
# multimodal ELBO unchanged.
#
# ## Exercises
#
# 1. Refine from the *prior* instead of the encoder's posterior. How many steps does our refiner need?
# 2. Train with `replay=0` and plot 64 steps.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. `refine(elbo, DiagonalGaussian.standard(200, 20), refiner, 64)`; a refiner trained only from the encoder's start
#    needs many or fails, which is why lesson 09 trains it from every start it will meet.
# 2. Without replay no item older than $T$ was ever seen in training. Look where the curve turns up.
# :::
#
# ### In code: the natural gradient
#
# A step of the same length in $\lambda = (\mu, \log\sigma^2)$ can be a large or a small change of $q$. The natural
# gradient $F^{-1} \nabla_\lambda \mathcal L$ measures steps by the change of $q$: $F$ is the curvature at zero of
# $\delta \mapsto \mathrm{KL}(q_\lambda \| q_{\lambda + \delta})$. Fill in `natural_gradient`. The check computes $F$ by
# differentiating the KL twice.

# %%
#| code-fold: true
#| code-summary: "Solution"
def natural_gradient(q, g_mean, g_logvar):
    "The natural gradient in mean and log-variance, from the plain one: two tensors."
    ### BEGIN SOLUTION
    return q.var*g_mean, 2*g_logvar       # F is diagonal: 1/sigma^2 and 1/2
    ### END SOLUTION


# %%
q = DiagonalGaussian(torch.tensor([[.3, -1.]]), torch.tensor([[-2., .7]]))
def change(step): return q.kl(DiagonalGaussian(q.mean + step[:2], q.logvar + step[2:])).sum()
F_matrix = torch.autograd.functional.hessian(change, torch.zeros(4))
g = torch.tensor([1., -2., 3., .5])
expected = torch.linalg.solve(F_matrix, g)
mean, logvar = natural_gradient(q, g[None, :2], g[None, 2:])
torch.testing.assert_close(torch.cat([mean, logvar], 1)[0], expected)

# %% [markdown]
# ## References
#
# - J. Marino, Y. Yue, S. Mandt, [Iterative Amortized Inference](https://arxiv.org/abs/1807.09356), 2018.
# - H. Robbins, S. Monro, [A Stochastic Approximation Method](https://doi.org/10.1214/aoms/1177729586), 1951.
# - C. Cremer, X. Li, D. Duvenaud, [Inference Suboptimality in Variational Autoencoders](https://arxiv.org/abs/1801.03558), 2018.
