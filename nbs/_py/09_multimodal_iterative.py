# %% [markdown]
# # Multimodal iterative inference
#
# > Start from one modality, refine by the multimodal ELBO, distil: the method of the talk.
#
# ::: {.callout-note}
# ## You will learn
#
# - the iterative teacher: unimodal starts, one refiner for all of them, and decoders, trained together;
# - why its loss is a bound, and who learns from which term;
# - how to read the negative ELBO against the iteration $t$, and why an agreement of means is no agreement of posteriors;
# - why the teacher cannot be used when a modality is missing.
#
# Runs in one to two minutes on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: a digit starts a bell; the bell is decoded into all views and compared with all views of the data; the gradient of that comparison goes to a refiner, which moves the bell.](drawings/loop.svg)

# %%
#| default_exp multimodal_iterative

# %%
#| export
import itertools
import torch
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.distributions import *
from mmvae_nb.networks import *
from mmvae_nb.vae import *
from mmvae_nb.iterative_inference import *
from mmvae_nb.multimodal_elbo import *
from mmvae_nb.distillation import *

# %%
import matplotlib.pyplot as plt
from ipywidgets import interact
from mmvae_nb.checkpoints import cached
from mmvae_nb.data import as_float
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.plotting import *
from mmvae_nb.pretrained_models import pretrained
from mmvae_nb.training import *
set_style()

# %% [markdown]
# ## One change of view
#
# Lesson 03 ended with posteriors on a line. The joint one stood far ahead (how far from the ideal $q^*(z \mid x_1, \dots, x_M)$, lesson 07 measures), those from one modality
# far away. Lessons 04 to 06 trained encoders that answer for a part. Lesson 08 had a tool that moves a posterior towards the ideal, whatever it started from, if it is given
# the ELBO to climb. So start at a *unimodal* posterior and climb the *multimodal* ELBO.
#
# First in a toy, with two modalities: one says where $z$ lies from left to right, the other how high.

# %%
gaussian = lambda mean, var: DiagonalGaussian(torch.tensor([mean]), torch.tensor([var]).log())
ideal = gaussian([1.3, .8], [.1, .08])
seen_one = {"start: x1": gaussian([1.4, 0.], [.12, 1.]), "start: x2": gaussian([0., .9], [1., .1])}
def step(q, g_mean, g_logvar, memory=None):
    "A bounded step in the posterior's own units (lesson 08), with nothing learnt."
    mean = q.mean + q.std*torch.tanh(q.std*g_mean/3)/2
    return DiagonalGaussian(mean, q.logvar + torch.tanh(2*g_logvar/3)), memory


# %%
#| fig-cap: "Ellipses are posteriors (one standard deviation), purple the way of their means. From either modality alone, 24 steps up the ELBO of both lead to the same posterior."
#| fig-alt: "A tall and a wide ellipse, each with a path of shrinking ellipses to one small ellipse in the middle."
fig, ax = plt.subplots(figsize=(5.6, 4)); turn = torch.linspace(0, 6.3, 100)
for style, (name, start) in zip(("-", "--"), seen_one.items()):
    path = refine(lambda q: -q.kl(ideal), start, step, 24)     # log p(x) is a constant: left out
    for t, q in enumerate(path):
        ring = q.mean[0] + q.std[0]*torch.stack([turn.cos(), turn.sin()], 1)
        ax.plot(*ring.T, style, color=ROLE_COLOURS["teacher"], lw=2 if t == 0 else .6,
                label=name if t == 0 else None)
    ax.plot(*torch.cat([q.mean for q in path]).T, ".:", color=ROLE_COLOURS["gradient"])
ax.plot(*ideal.mean[0], "k*", ms=12, label="ideal posterior")
ax.set(xlabel="first coordinate of z", ylabel="second coordinate", aspect="equal")
fig.legend(loc="outside lower center", ncols=3);

# %% [markdown]
# The same by hand, with three views and what is generated on the way. Choose a start and step. The first two views know one direction each and are broad in the other. The third says next to nothing of the first coordinate, so it has the longest way. After one step from $x_1$ the KL to the posterior has fallen from 11.3 to 2.2 nats. All three end in the same place, with the 0.01 nats left that no *diagonal* Gaussian can close. On the right are the six generations. At $t = 0$ they are guesses. From $t = 1$ on the gradient has shown them the blue line that they are to hit.
#
# ::: {.instrument .refine-path}
# ![Still picture, after four steps. On the left the ellipses of a posterior on its way from the first view to the dashed posterior of all. On the right six bars, what is generated of one view from another, each over a line, the data.](instruments/refine-path.svg)
#
# *On the course's site this picture steps and plays: a choice of the start, a slider for t; in a notebook, run `Instrument("refine-path")`.*
# :::

# %%
#| hide
#| eval: false
from mmvae_nb.plotting import Instrument
Instrument("refine-path")

# %% [markdown]
#
# In both toys the hill has a single smooth summit. With trained networks the starts do *not* all end in one place. Those of the teacher that comes with the course are still more than 100 nats of KL apart after eight steps, [as printed below](#walk-along-t).
#
# Now in formulas. Let $e_m$ be the encoder that gives the start from modality $m$, and $f_\omega$ the refiner of lesson 08. It gets the posterior's parameters $\lambda_t$ and the gradient of the ELBO of *all* modalities:
#
# $$\begin{aligned}
# \lambda^{(m)}_0 &= e_m(x_m), \qquad
# \lambda^{(m)}_{t+1} = f_\omega\big(\lambda^{(m)}_t, \nabla_\lambda \mathcal L(x_1, \dots, x_M; q_{\lambda^{(m)}_t})\big).
# \end{aligned}\tag{1}$$
#
# The posteriors $q_0, \dots, q_T$ of one refinement are its *trajectory*. Starts, refiner and decoders are trained together, on the mean negative ELBO along it:
#
# $$\begin{aligned}
# \min_{e, \omega, \theta}\; & - \frac{1}{T+1} \sum_{t=0}^{T} \mathbb E_{x, m} \big[ \mathcal L(x; q_{\lambda^{(m)}_t}) \big].
# \end{aligned}\tag{2}$$
#
# There is no joint encoder any more, because what the other modalities know comes in through the gradient. One refiner
# serves all starts. The starting modality $m$ is drawn for each item.
#
# ## Is it a bound, and who learns from what?
#
# *A bound.* The derivation of the ELBO in lesson 03 holds for any $q$. It does not ask how $q$ was found, nor what it has seen. So each $\mathcal L(x; q_{\lambda_t})$ is a lower bound of $\log p_\theta(x)$, and so is their mean in (2). (With weights and $\beta$ it is a bound of $\beta \log Z(x)$, lesson 03, equation 2.)
#
# *Who learns.* In (1) $\lambda_t$ and its gradient are handed to the refiner detached (lesson 08), so the gradient of (2) falls apart. Read the drawing column by column: $\mathcal L_t$, the ELBO at step $t$, trains the network that made $q_t$, and the decoders.
#
# ![Drawing: five bells from left to right; the first is made by the encoder from the digit alone, each later one by the refiner from the one before, with a bar that stops gradients; dots below: the first ELBO trains the start, the others the refiner, all the decoders.](drawings/paid.svg)
#
# With $\mathcal L_t$ for the ELBO at step $t$ and $\lambda_t$ as a function of the last step only,
#
# $$\begin{aligned}
# \nabla_e:\;& -\frac{1}{T+1}\, \frac{\partial \mathcal L_0}{\partial \lambda_0} \frac{\partial \lambda_0}{\partial e}, \\
# \nabla_\omega:\;& -\frac{1}{T+1} \sum_{t=1}^{T} \frac{\partial \mathcal L_t}{\partial \lambda_t} \frac{\partial f_\omega}{\partial \omega}, \\
# \nabla_\theta:\;& -\frac{1}{T+1} \sum_{t=0}^{T} \frac{\partial \mathcal L_t}{\partial \theta}.
# \end{aligned}\tag{3}$$
#
# - The starts learn from $t = 0$ only. So they learn to be good posteriors themselves, not good places to start from.
# - The refiner learns to gain in one step, wherever it is. (Each of its terms is also divided by the size of the gradient it was shown, lesson 08.)
# - The decoders learn from all steps.
#
# *What the start can't reach.* $q_0$ has seen $x_m$ only. So its KL from the true posterior, averaged over the items that share $x_m$, is at least $-\log C$. This is the floor of lesson 03 (equation 4). Equation 7 of lesson 07 is the same floor for two modalities. The later $q_t$ are not held by it, because the gradient has shown them the rest.
#
# ## By hand
#
# The whole of (1) and (2) is a loop. Three encoders, one refiner (lesson 08), decoders (lesson 03), none of them trained yet:

# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
specs, batch = default_specs(train.modalities), train.batch(0, 4)
seed_everything(0, "by hand")
starts = nn.ModuleDict({n: UnimodalEncoder(s, 20) for n, s in specs.items()})
refiner, decoding = Refiner(20, hidden=64), MultimodalVAE(specs, 20)


# %%
def loss_by_hand(x, m, T=2):
    "Eq. (2) for one start: the mean negative ELBO of q_0, ..., q_T."
    elbo = lambda q: decoding.elbo(x, q, path=True)
    q, memory, total = starts[m](x[m]), None, 0.                      # q_0 sees x_m only
    for t in range(T + 1):
        total = total - elbo(q).mean()/(T + 1)                        # trains whatever made q
        if t == T: return total
        _, *gradients = elbo_gradient(elbo, q)                        # here the others come in
        q, memory = refiner(q.detach(), *gradients, memory)           # eq. (1)


# %% [markdown]
# The lines of (3) can be seen in the gradients. With $T = 0$ the refiner gets none. With $T = 2$ all three get some. Of the encoders it is only the one that was started from:

# %%
def reached(m, T):
    "Which networks the loss sends a gradient to."
    for part in (starts, refiner, decoding): part.zero_grad()
    loss_by_hand(batch, m, T).backward()
    moves = lambda p: p.grad is not None and p.grad.abs().sum() > 0
    parts = {f"start {n}": e for n, e in starts.items()}
    parts |= {"refiner": refiner, "decoders": decoding}
    return [n for n, part in parts.items() if any(map(moves, part.parameters()))]

for T in (0, 2): print(f"text, T = {T}:", ", ".join(reached("text", T)))
assert reached("text", 0) == ["start text", "decoders"]
assert reached("text", 2) == ["start text", "refiner", "decoders"]


# %% [markdown]
# The model of the package is this loop with three savings. All starts are refined side by side. Each ELBO needs one backward pass and not two (lesson 08). And the starting modality is drawn for each item, so an update refines each item once.
#
# The talk leaves open which iterations train the decoders. We train them, too, on the mean over $t$. The options are
# `decoders="last"` (as Marino et al. do) and `decoders="frozen"` (taken from a trained model). The class is long, and what matters is its `loss`, equation (2):
#
# ```python
# # an excerpt of IterativeTeacher
# def loss(self, batch) -> Loss:
#     q = Mixture(self.starts(batch).values()).pick()        # for each item the start of a drawn m
#     continues = self.training and self.replay.share > 0    # some items go on where they were left?
#     elbos = self._continued(batch, q) if continues else self._climbed(batch, q).elbos
#     means = torch.stack(elbos)                             # of q_0, ..., q_T
#     steps = {f"t={t}": -means[t].detach() for t in (0, self.steps)}
#     return Loss(-means.mean(), {**steps, **self._parts})   # the rest is for the curves
# ```
#
# Whoever opens the class reads `trajectory` next, which is equation (1). The rest is bookkeeping: `trajectories` refines all starts side by side, and `_continued` goes on with earlier refinements (lesson 08). The first class keeps one memory of those for each set of modalities.

# %%
#| exports
#| code-fold: true
#| code-summary: "Class: a memory of earlier refinements for each set of modalities"
class _ReplayOfEach(Replay):
    "A `Replay` for items with all modalities, and one for each set of less."
    def __init__(self, share, count):
        super().__init__(share)
        self.count, self.partial = count, {}

    def _of(self, batch):
        "The memory of batches like this one."
        if len(batch) == self.count: return super()
        return self.partial.setdefault(" ".join(sorted(batch)), Replay(self.share))

    def mix(self, batch, q): return self._of(batch).mix(batch, q)
    def store(self, batch, q, memory): self._of(batch).store(batch, q, memory)
    def reset(self): super().reset(); self.partial = {}

    def state_dict(self):
        parts = {n: r.state_dict() for n, r in self.partial.items()}
        return {**super().state_dict(), **({"partial": parts} if parts else {})}

    def load_state_dict(self, state):
        whole, self.partial = {k: v for k, v in state.items() if k != "partial"}, {}
        super().load_state_dict(whole)
        for n, part in state.get("partial", {}).items():
            self.partial[n] = Replay(self.share)
            self.partial[n].load_state_dict(part)


# %%
#| exports
#| code-fold: true
#| code-summary: "Class: IterativeTeacher"
class IterativeTeacher(MultimodalVAE):
    "Unimodal starts refined by the gradient of the multimodal ELBO, eq. (1) and (2)."
    needs_all = refines = True

    @checked
    def __init__(self, specs: dict[str, ModalitySpec], # per modality
                 latent: int = 20, # latent coordinates
                 beta: float = 1.0, # weight of the KL terms
                 steps: int = 4, # T, refinements of each start
                 refiner: str = "ours", # "ours" (`Refiner`) or "marino" (`MarinoRefiner`)
                 decoders: str = "mean", # trained on the "mean" over t, the "last" one, or "frozen"
                 hidden: int = 512, # width of the refiner
                 replay: float = 0.0, # share of a batch that continues earlier ones (lesson 08)
                 without: tuple | list = () # ingredients that "ours" is to do without (lesson 08)
                ):
        super().__init__(specs, latent, beta)
        self.steps = in_range("steps", steps, low=1, whole=True)
        self.train_decoders = one_of("decoders", decoders, ["mean", "last", "frozen"])
        in_range("hidden", hidden, low=1, high=10**6, whole=True)
        kinds = {"ours": Refiner, "marino": MarinoRefiner}
        left_out = {"without": tuple(without)} if without else {}
        if left_out: one_of("refiner", refiner, ["ours"])
        self.refiner = kinds[one_of("refiner", refiner, kinds)](latent, hidden, **left_out)
        self.replay = _ReplayOfEach(in_range("replay", replay, 0, 0.99), len(specs))
        self.encoders = nn.ModuleDict({n: UnimodalEncoder(s, latent) for n, s in specs.items()})
        self.own_decoders = decoders != "frozen"
        if not self.own_decoders:
            for part in (self.decoders, self.likelihoods): part.requires_grad_(False)

    def train(self, mode=True):
        "Training mode; frozen decoders stay as they are."
        super().train(mode)
        if not self.own_decoders: self.decoders.eval()
        return self

    def checkpoint_state(self):
        "What a training continues beside the weights."
        return [self.replay]

    def starts(self, batch) -> dict:
        "q_0 of each modality in the batch."
        return {n: self.encoders[n](batch[n]) for n in self.check(batch)}

    @checked
    def trajectory(self, batch, # the ELBO is that of the modalities in it
                   start: str | DiagonalGaussian, # a modality's name, or q_0
                   steps: int | None = None, # T; the trained one by default
                   generator=None # of the samples of z
                  ) -> list: # q_0, ..., q_T
        "Refine from one modality by the multimodal ELBO."
        have, steps = self.check(batch), self.steps if steps is None else steps
        in_range("steps", steps, low=0, high=MOST_STEPS, whole=True)
        if isinstance(start, str):
            start = self.encoders[one_of("start", start, have)](batch[start])
        return refine(lambda q: self.elbo(batch, q, generator, path=True), start, self.refiner,
                      steps)

    def infer(self, batch, start=None, steps=None, generator=None) -> DiagonalGaussian:
        "q_T, refined from `start` (the first modality by default), of all modalities."
        self.check(batch, all=True)
        start = self.names[0] if start is None else start
        return self.trajectory(batch, start, steps, generator)[-1]

    def trajectories(self, batch, steps=None, generator=None,
                     groups=None # name -> indices of the items that start there; None: all do
                    ) -> list: # of dicts, for t = 0, ..., T
        "q_t from each start. All starts are refined side by side."
        have = self.check(batch)
        groups = groups or dict.fromkeys(have, slice(None))
        starts = [self.encoders[n](batch[n][i]) for n, i in groups.items()]
        stacked = {n: torch.cat([batch[n][i] for i in groups.values()]) for n in have}
        qs = refine(lambda q: self.elbo(stacked, q, generator, path=True),
                    DiagonalGaussian.cat(starts), self.refiner,
                    self.steps if steps is None else steps)
        ends = list(itertools.accumulate(map(len, starts), initial=0))
        return [{n: q[a:b] for n, a, b in zip(groups, ends, ends[1:])} for q in qs]

    def targets(self, batch, steps=None, generator=None, groups=None) -> dict:
        "q_T from each start: what each student should imitate."
        return self.trajectories(batch, steps, generator, groups)[-1]

    def loss(self, batch) -> Loss:
        "The negative ELBO of what is there, the mean over t = 0..T and over drawn starts; eq. (2)."
        q = Mixture(self.starts(batch).values()).pick()
        continues = self.training and self.replay.share > 0
        elbos = self._continued(batch, q) if continues else self._climbed(batch, q).elbos
        means = torch.stack(elbos)
        steps = {f"t={t}": -means[t].detach() for t in (0, self.steps)}
        return Loss(-means.mean(), {**steps, **self._parts})

    def _climbed(self, batch, q, memory=None):
        "A `Refinement` to train on; at t < T it trains the decoders only if all t do."
        own = [*self.decoders.parameters(), *self.likelihoods.parameters()]
        trained = [p for p in own if p.requires_grad and self.train_decoders != "last"]
        seen = {}
        def elbo(q):               # `self.elbo(batch, q, path=True)`, and what it is the sum of
            z = q.rsample()
            seen["kl"], seen["logs"] = path_kl(q, z), self.log_likelihoods(batch, z)
            return self.weighted(seen["logs"]) - self.beta*seen["kl"]
        done = refine(elbo, q, self.refiner, self.steps, keep=True, parameters=trained,
                      memory=memory)
        self._parts = self.parts(seen["logs"], kl=done.trajectory[-1].kl())     # those of q_T
        return done

    def _continued(self, batch, q):
        "The mean ELBOs where a share of the items continues earlier refinements."
        first = self.elbo(batch, q).mean()      # t = 0, also of those that make room
        items, q, memory = self.replay.mix(batch, q)
        done = self._climbed(items, q, memory)
        self.replay.store(items, done.trajectory[-1], done.memory)
        return [first, *done.elbos[1:]]


# %%
seed_everything(0, "check"); model = IterativeTeacher(specs, steps=2)
targets = model.targets(batch, generator=generator(0, "z"))
trajectory = model.trajectory(batch, "text", generator=generator(0, "z"))
print(f"q_0 to q_{len(trajectory) - 1} from the word; a target for each of", *targets)

# %%
#| code-fold: true
#| code-summary: "Check: lengths, starts, nothing kept that trains"
assert len(trajectory) == 3 and not targets["svhn"].mean.requires_grad
torch.testing.assert_close(trajectory[0].mean, model.encoders["text"](batch["text"]).mean)
for n, q in model.targets(batch, steps=0).items():     # side by side or alone: the same start
    assert targets[n].mean.shape == (4, 20)
    torch.testing.assert_close(q.mean, model.encoders[n](batch[n]).mean, rtol=1e-4, atol=1e-5)


# %% [markdown]
# Which parameters does which option train? And what happens if a modality is missing? What `infer` gives out is refined by the ELBO of
# all modalities, so it needs all: it says so. (Training does not: the ELBO of what is there can be climbed as well, [lesson 09a](09a_missing.ipynb).)

# %%
def trained(decoders):
    m = IterativeTeacher(specs, steps=2, decoders=decoders); m.loss(batch).total.backward()
    moves = lambda p: p.grad is not None and p.grad.abs().sum() > 0
    moved = lambda part: any(map(moves, part.parameters()))
    return {n: moved(getattr(m, n)) for n in ["encoders", "refiner", "decoders"]}

{how: trained(how) for how in ("mean", "last", "frozen")}

# %%
#| code-fold: true
#| code-summary: "Check: who learns, and what is refused"
assert trained("mean") == trained("last") == {"encoders": True, "refiner": True, "decoders": True}
assert trained("frozen") == {"encoders": True, "refiner": True, "decoders": False}
try: model.infer({"text": batch["text"]})
except MmvaeError as e: assert "needs mnist, svhn too" in str(e)
try: IterativeTeacher(specs, refiner="marinos")
except MmvaeError as e: assert "'marinos'" in str(e)


# %% [markdown]
# ## On somebody else's decoders
#
# To compare inference only, the decoders must be the same: `on_decoders` puts starts and a refiner on the decoders
# of a trained model, which stay as they are. If the model has unimodal encoders (JMVAE-kl's, say), the starts begin as
# copies of them. With nothing else moving, earlier refinements can be continued (`replay`, lesson 08).

# %%
#| exports
#| code-fold: true
#| code-summary: "Function: on_decoders"
@checked
def on_decoders(model: MultimodalVAE, # a trained `MultimodalVAE`
                steps: int = 4, # T, refinements of each start
                replay: float = 0.6, # share of a batch that continues earlier refinements
                **options # of `IterativeTeacher`
               ) -> IterativeTeacher:
    "An `IterativeTeacher` on the decoders of a trained model, which stay as they are."
    for n in options.keys() & {"specs", "latent", "beta", "decoders"}:
        raise MmvaeError(f"{n}: got {options[n]!r:.40}, allowed: nothing, as the model has its own")
    new = IterativeTeacher(model.specs, model.latent, model.beta, steps, decoders="frozen",
                           replay=replay, **options)
    new.decoders.load_state_dict(model.decoders.state_dict())
    if hasattr(model, "encoders"): new.encoders.load_state_dict(model.encoders.state_dict())
    return new.to(next(model.parameters()).device)


# %%
#| code-fold: true
#| code-summary: "Check: the same decoders and starts, nothing trained in them, earlier refinements continued"
borrowed = on_decoders(model, steps=2, hidden=16)
z = torch.randn(2, 20, generator=generator(0, "z"))
for n in specs:
    torch.testing.assert_close(borrowed.generate(z)[n], model.generate(z)[n])
    torch.testing.assert_close(borrowed.starts(batch)[n].mean, model.starts(batch)[n].mean)
for _ in range(2): borrowed.train().loss(train.batch(0, 4)).total.backward()
borrowed.eval().loss(batch)                        # an evaluation continues nothing
assert all(p.grad is None for p in borrowed.decoders.parameters())
assert borrowed.replay.stored[2][:, -1].max() == 4 # the second update continued some of the first

# %% [markdown]
# ## Training the teacher
#
# A short training, with $T = 3$. Each update passes $T + 1$ times through the decoders, so it costs several times an
# update of the JVAE.

# %%
run = dict(updates=300, batch_size=32, lr=2e-3, seed=0, progress=False, device="cpu")
modules = ["multimodal_iterative", "training", "datasets.digits"]
new_teacher = lambda: (seed_everything(0, "iterative"),
                       IterativeTeacher(specs, steps=3, hidden=256))[1]
teacher = cached("iterative", new_teacher, lambda m: fit(m, train, **run), run, modules)


# %% [markdown]
# ## Negative ELBO against t
#
# For each start, up to $t = 8$. The teacher was trained with $T = 3$, so what lies beyond is *extrapolation*: steps from places that the refiner never met in training.

# %%
#| exports
@torch.no_grad()
def nelbo_over_t(teacher, # an `IterativeTeacher`
                 batch, # all modalities
                 start, # name of the starting modality
                 steps, # T
                 samples=4, # samples of z per estimate
                 seed=0 # of the noise, the same for every t
                ) -> list: # mean negative ELBO in nats at t = 0, ..., T
    "The mean negative ELBO of q_0, ..., q_T on a batch, with the same noise for every t."
    one_of("start", start, teacher.check(batch))
    noise = generator(seed, "refine", device=batch[start].device)
    qs = teacher.trajectory(batch, start, steps, noise)
    def value(q):
        g = generator(seed, "elbo", device=q.mean.device)
        elbos = [teacher.elbo(batch, q, g).mean() for _ in range(samples)]
        return -torch.stack(elbos).mean().item()
    return [value(q) for q in qs]


# %%
test, labels = validation.take(200)
curves = {n: nelbo_over_t(teacher, test, n, 8) for n in specs}
assert all(len(c) == 9 for c in curves.values())
assert all(c[3] < c[0] for c in curves.values())            # refining helps, from every start
assert all(abs(c[8] - c[4]) < 20 for c in curves.values())  # and then it is flat

# %%
#| fig-cap: "Negative ELBO of the full triple, refined from one modality. Training had T = 3, so the curve beyond is extrapolation: it stays flat up to t = 8."
#| fig-alt: "Three falling curves, one for each starting modality, against the iteration t."
ax = line_chart(list(range(9)), {f"start: {n}": (c, None) for n, c in curves.items()},
                xlabel="iteration t", ylabel="negative ELBO (nats)",
                ax=plt.subplots(figsize=(5.7, 3.2))[1], colour=ROLE_COLOURS["teacher"])


# %% [markdown]
# ## Walk along t
#
# Averages hide what happens to one item. `walk` refines a single triple from each modality and decodes the mean of every
# $q_t$ on the way. Two teachers walk. The *shipped* one comes with the course and had 2,000 updates on this data ([lesson 02j](02j_pretrained.ipynb)). The one above had a minute. Everything in this section is the shipped one's, except where it says "a minute". With your own digit or word, and a teacher trained for longer, the same walk is in the [playground](playground.ipynb#the-refinement-step-by-step).
#
# ::: {.callout-tip collapse="true"}
# ## Predict, then open: do the three posteriors come together?
#
# All three climb the same hill. So after enough steps the means should be close. And the KL between two of the posteriors, does it go to zero? Decide before you look at the numbers below.
#
# *Answer.* The means do come closer. The KL need not, because it counts distances in standard deviations of the posterior. If these shrink faster than the means approach each other, the KL rises. The climb is also noisy, and each start meets other samples of $z$. So the KL does not go to zero in any case.
# :::

# %%
@torch.no_grad()
def walk(teacher, # an `IterativeTeacher`
         item, # a batch of one, all modalities
         steps, # T
         seed=0 # of the samples of z
        ) -> list: # for t = 0, ..., T: start -> (posterior, modality -> what its mean decodes to)
    "The refinement of one item from each of its modalities, with what can be generated on the way."
    noise = generator(seed, "walk", device=item[teacher.names[0]].device)
    path = teacher.trajectories(item, steps, noise)
    return [{n: (q, teacher.generate(q.mean)) for n, q in qs.items()} for qs in path]

shipped, item = pretrained("iterative"), {n: x[:1] for n, x in test.items()}
frames, of_a_minute = (walk(t, item, 8) for t in (shipped, teacher))
assert len(frames) == 9
for n in specs: assert torch.equal(frames[0][n][0].mean, shipped.encoders[n](item[n]).mean)
print(f"shipped: {shipped.card['updates']} updates, T = {shipped.steps}; "
      f"a minute: {run['updates']} updates, T = {teacher.steps}")

# %% [markdown]
# Do the three posteriors come together? Means over the six ordered pairs of starts:

# %%
pairs = [(a, b) for a in specs for b in specs if a != b]
measures = {"distance of the means": lambda p, q: (p.mean - q.mean).norm(),
            "standard deviation": lambda p, q: p.std.mean(), "KL (nats)": lambda p, q: p.kl(q)}
apart = {}
for whose, walked in {"shipped": frames, "a minute": of_a_minute}.items():
    print(f"{whose}, at t = 0, 1, 2, 4, 8:")
    for name, of in measures.items():
        values = [sum(of(walked[t][a][0], walked[t][b][0]).item() for a, b in pairs)/6
                  for t in (0, 1, 2, 4, 8)]
        apart[whose, name] = values
        print(f"  {name:21}", *(f"{v:6.0f}" if "KL" in name else f"{v:6.2f}" for v in values))

# %% [markdown]
#

# %%
#| code-fold: true
#| code-summary: "Check: what the text says of these numbers"
for whose in ("shipped", "a minute"):
    means = apart[whose, "distance of the means"]
    assert means == sorted(means, reverse=True) and means[-1] < .55*means[0]
assert 100 < apart["shipped", "KL (nats)"][-1] < apart["shipped", "KL (nats)"][0]
kl = apart["a minute", "KL (nats)"]
assert min(kl) < .9*kl[0] and kl[-1] > 1.5*kl[0]

# %% [markdown]
# The means come closer from column to column, by half or more in eight steps, for both teachers. The KL does not go to zero in
# either. Count the marks on the three rulers (one coordinate here; the teachers have twenty):
#
# ![Drawing: three rows of two bells with a ruler between their means. Above, four standard deviations and a KL of 8 nats. In the middle, half as far apart and as wide, two and 2 nats. Below, as near as in the middle but a third as wide, six and 18 nats.](drawings/near.svg)
#
# The shipped teacher's standard deviations hardly change, as in the middle row, so its KL
# falls with the distance, but still stands above 100 nats. Those of the teacher of a minute shrink, as in the last row, and its KL
# falls first, then turns round and ends higher than it began. (The table has means over twenty coordinates, and in these distance and deviation shrink alike from $t = 2$ on. What lets the KL rise is in single coordinates, which a mean hides.) An agreement of means is not an agreement of posteriors. And all this does not contradict that all starts end at about the same ELBO ([the section before](#negative-elbo-against-t)): two bells that are narrower than the posterior can lie in different parts of it, equally good, and far apart in units of their own widths.
#
# Next, the coordinates of $z$ on which the starts disagree most, and the six generations. Mind what they are. At $t = 0$ the
# posterior has seen one modality. From $t = 1$ on the gradient has shown it *all three*. So what appears in the later columns
# is a reconstruction by way of another modality, not cross-modal generation.

# %%
#| fig-cap: "The shipped teacher: posterior mean and standard deviation against t, one item, from each start, for the four coordinates where the starts differ most."
#| fig-alt: "Four panels, in each three curves with bands, one for each starting modality, from t = 0 to t = 8."
first = torch.cat([frames[0][n][0].mean for n in specs])
fig, axes = plt.subplots(2, 2, figsize=(8, 4.6), layout="constrained", sharex=True)
for ax, k in zip(axes.flat, first.std(0).topk(4).indices.tolist()):
    along = lambda n, part: torch.stack([getattr(f[n][0], part)[0, k] for f in frames])
    lines = {f"start: {n}": (along(n, "mean"), along(n, "std")) for n in specs}
    line_chart(range(9), lines, "iteration t", f"coordinate {k} of z", ax=ax,
               colour=ROLE_COLOURS["teacher"])
    ax.get_legend().remove()
fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3);

# %%
words = lambda tokens: [w.strip() for w in train.modalities["text"].decode(tokens)]
def strips(frames):
    "For each pair of modalities the data, then what q_t's mean decodes to."
    rows = {"t": ["data", *"01248"]}
    for a, b in pairs:
        data = item[b] if b == "text" else as_float(item[b])
        made = torch.cat([data, *[frames[t][a][1][b] for t in (0, 1, 2, 4, 8)]])
        rows[f"{a} → {b}"] = words(made) if b == "text" else made
    return rows


# %%
#| fig-cap: "One item by the shipped teacher. Left the data, then what the posterior's mean decodes to at t = 0, 1, 2, 4, 8. From t = 1 on it has seen the target. From then on each word is right. The street number is a blurred five from the digit. From the word it comes later and fades again at t = 8."
#| fig-alt: "Six strips, one for each pair of starting and generated modality: the data, then images or words at t = 0, 1, 2, 4 and 8."
generation_grid(strips(frames), title="shipped: 2,000 updates", cell=0.8);

# %%
#| fig-cap: "The same item by the teacher that this lesson trained for a minute: it fails. The street number is a grey patch or a blurred figure, and not a five; the handwritten five looks like a three or a seven. Both words are right at t = 2, and neither is at t = 8."
#| fig-alt: "The same six strips, with grey patches for street numbers and some wrong digits and words."
generation_grid(strips(of_a_minute), title="a minute: 300 updates", cell=0.8);


# %% [markdown]
# Compare the columns. At $t = 0$ the shipped teacher has seen the digit or the street number only, and says a scrap of a word and a pale patch. That is the compromise that its start was trained for. One step later the word is *five*, and from the digit the patch is a five, blurred but there. The teacher of a minute leaves the patch grey or draws another number, and its handwritten five looks like a three or a seven. It is of the same class and uses the same code, so what the second picture lacks is training. (That is one item; lesson 11 measures many.)
#
# Last, the same walk from a handwritten digit to a street number, by a teacher that was trained on *real* data for 5,000 updates (lesson 14). Most get sharper from the first row to the last, a few do not (*T* in the labels of the rows is our $t$: steps of one teacher). It has seen the street number, so this too is reconstruction.
#
# ![Street numbers decoded from the posterior refined from MNIST digits, after 1, 2, 4 and 16 iterations, below the true street numbers: blurred at first, then sharper.](../results/half/figures/slide_55_over_t_teacher.png)

# %% [markdown]
# In JupyterLab the next cell has a slider for $t$ and a choice of the start (a page of the site can't run it). All
# values are there already, so it only draws.

# %%
def at(t=0, start=list(specs)[0]):
    "Draw the posterior from one start after t steps, and the six generations of all starts."
    fig, axes = plt.subplots(1, 7, figsize=(13, 2.2), width_ratios=[5] + [1]*6,
                             layout="constrained")
    q = frames[t][start][0]
    axes[0].errorbar(range(q.mean.shape[1]), q.mean[0], 2*q.std[0], fmt="o")
    axes[0].set(ylim=(-4, 4), xlabel="coordinate of z",
                title=f"mean and 2 standard deviations, start: {start}, t = {t}")
    for ax, (a, b) in zip(axes[1:], pairs):
        made = frames[t][a][1][b]
        if b == "text": ax.text(.5, .5, words(made)[0], ha="center")
        else: ax.imshow(made[0].permute(1, 2, 0), cmap="gray", vmin=0, vmax=1)
        ax.set_title(f"{a} → {b}", fontsize=8); ax.axis("off")
    plt.show()

interact(at, t=(0, 8), start=list(specs));

# %% [markdown]
# ## The catch: it needs what is missing
#
# The refined posterior has *seen* all modalities, through the gradient. So its "MNIST → SVHN" pictures are no cross-modal generation, and where a modality is missing there is no ELBO of all to climb. The way out is a second network for each modality, a *student*. It sees one modality only, and is trained to answer what the refinement from that same
# modality answered. (The method `targets` of the teacher gives these answers.)
#
# The start $q_0$ also sees one modality only. But it is trained to score by the ELBO of all, not to cover what the refinement may answer. In runs on real data the street numbers that it draws are far less like real ones than the student's ([lesson 10](10_distillation.ipynb#why-not-the-start)). [Lesson 10](10_distillation.ipynb) builds the students, of this teacher and of the JVAE. [Lesson 11](11_findings.ipynb) says what both were worth in long runs.
#
# How many iterations $T$? An update costs about $T + 1$ passes through the decoders, so a larger $T$ at training must be paid for. And a teacher need not bear many more steps than it was trained with: those of one or two steps don't, in lesson 11 ([which T?](11_findings.ipynb#which-t)), nor does the short-trained one of three in the next section; lesson 11's of four and eight do. So measure yours.
#
# ## What goes wrong
#
# *More iterations than it was trained for.* The shipped teacher had $T = 3$. Here it refines 64 digits for 64 steps. Look at the rows of pictures from top to bottom, then at the numbers beside them, the negative ELBO in nats.

# %%
#| code-fold: true
#| code-summary: "Drawing: 64 steps of a teacher that was trained for three"
#| fig-cap: "The shipped teacher (trained with T = 3) refines from the digit, six values of t from top to bottom; beside each the mean negative ELBO of 64 items. It is best at t = 8. At t = 16 it has begun to rise: the first street number breaks up and the fourth turns into a six, the other pictures look as before. From t = 32 on the handwritten nine opens into a seven, and at t = 48 three of the five street numbers are blots. The five is in two pieces in every row."
#| fig-alt: "Rows of five digits and five street numbers, below the data. Four of the digits change little from row to row, the nine opens into a seven; the first street number fades at t = 16 and is a blot at t = 32, the next two are blots at t = 48."
many, rows = {n: x[:64] for n, x in test.items()}, {}
long_path = shipped.trajectory(many, "mnist", 64, generator(0, "far"))
with torch.no_grad():
    for t in (3, 8, 16, 32, 48, 64):
        g, q = generator(0, "far", t), long_path[t]
        nats = -torch.stack([shipped.elbo(many, q, g).mean() for _ in range(4)]).mean().item()
        made = shipped.generate(q.mean[:5])
        print(f"t = {t}: {nats:,.0f} nats, standard deviation {q.std.mean():.2f}, "
              f"norm of the mean {q.mean.norm(dim=1).mean():.1f}")
        rows[f"t = {t}: {nats:,.0f}"] = torch.cat([made["mnist"].expand(-1, 3, -1, -1),
            torch.nn.functional.interpolate(made["svhn"], 28)])
data = [as_float(many[n][:5]) for n in ("mnist", "svhn")]
data = torch.cat([data[0].expand(-1, 3, -1, -1), torch.nn.functional.interpolate(data[1], 28)])
generation_grid({"data": data, **rows});

# %% [markdown]
# How to notice: draw the negative ELBO far beyond $T$, as lesson 08 does, and not the pictures alone. It turns after $t = 8$. At $t = 16$ two street numbers of five tell, and no handwritten digit. What goes on can be read beside it: the means leave the region of the prior, whose draws in 20 coordinates have a norm of about $\sqrt{20} = 4.5$. Their norm grows from 5 to
# 29, where no decoder has ever been trained. And the standard deviation, which had stayed at 0.2, then grows as well. Two more:
#
# - *Teacher samples shown as cross-modal generation.* They have seen the target. This site says so wherever they appear.
# - *Decoders trained on early iterations learn blur*, as in MoPoE. $q_0$ knows one modality only, and the best that a decoder can do for a $z$ that may mean several things is their average. That is a price of the
#   mean over $t$. The price of training on the last step only is slower learning of everything else. There may be a gain as well: decoders that have
#   met what one modality tells may know better what to do with a student's $z$. Which of the two weighs more is a question for experiments, and lesson 11 takes it up.
#
# ## Recap
#
# Unimodal starts, one refiner for all of them, the multimodal ELBO. The starts learn from $t = 0$ only, the refiner from its own steps, the decoders from every step. What the other modalities know comes in through the gradient, so the
# refined posterior has seen everything; lesson 10 distils it into encoders that have not.
#
# ## Exercises
#
# 1. How many decoder passes does one update cost with $T = 4$, forward and backward?
# 2. Start `trajectory` from the prior. Does the refiner cope with a start it was never trained on? Predict where the curve begins, and where it is after 8 steps.
# 3. A refiner is trained on frozen decoders with `on_decoders`. Which lines of (3) remain?
# 4. *Open.* Design a start that has seen two modalities, and say which term of (2) trains it. A good answer shows three things. First, its negative ELBO against $t$ beside those of one-modality starts, on the same items with the same noise, over a few seeds. Second, that it costs no more passes through the decoders, or what they bought. Third, what a student may learn from its trajectory, given that the student sees one modality.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. In the package's class five forward and five backward, one of each for $q_0$ to $q_4$. The backward pass of $q_0$ to $q_3$ gives the refiner its gradient and serves the training as well; that of $q_4$ is for training alone. The loop by hand runs $q_0$ to $q_3$ twice, once for the refiner and once for training: nine forward and nine backward.
# 2. It begins at the negative ELBO of the prior, 4,728 nats, behind every start (3,929 to 4,232). Its first gradients are of the size that the vaguest starts had in training, so the first steps help: 3,737 nats at $t = 3$. Afterwards it is on ground that the refiner knows, and at $t = 8$ it stands at 3,559. It copes, but the three starts are at 3,498 to 3,499 by then. So it stays about 60 nats behind, because nothing in the loss promises that it catches up. The next cell has the whole curve.
# 3. The first two, because the decoders get no gradient. Starts and refiner share no parameter, so each could be trained without the other.
# 4. One way: the product of two starts (lesson 05), which needs no new network. Trained through $\mathcal L_0$, the two encoders learn to be good factors of a product, and may get worse alone. If they are left as they are, the refiner has to be trained on such starts, because it never met one.
# :::

# %%
#| code-fold: true
#| code-summary: "Exercise 2: the curve from the prior"
path = teacher.trajectory(test, DiagonalGaussian.standard(200, 20), 8, generator(0, "refine"))
with torch.no_grad():
    from_prior = [-torch.stack([teacher.elbo(test, q, generator(0, k)).mean()
                                for k in range(4)]).mean().item() for q in path]
print("from the prior, t = 0 to 8:", *(f"{v:.0f}" for v in from_prior))
for n, c in curves.items(): print(f"from {n}: {c[0]:.0f} to {c[8]:.0f}")
assert from_prior[0] > max(c[0] for c in curves.values())
assert 20 < from_prior[8] - max(c[8] for c in curves.values()) < 100


# %% [markdown]
# ### In code: climb by hand
#
# A model where the ideal posterior is known: $p(z) = \mathcal N(0, 1)$, $p(x_m \mid z) = \mathcal N(z, v_m)$. Fill in
# `climb`: from a Gaussian that has seen one modality, follow the gradient of the multimodal ELBO. Its gradient is
# $\sum_m (x_m - \mu)/v_m - \mu$ in $\mu$ and $\frac12 - \frac{\sigma^2}{2}(1 + \sum_m 1/v_m)$ in $\log\sigma^2$. Steps
# of the *natural* gradient (lesson 08: multiply by $\sigma^2$ and by 2) are of the right size everywhere. The check
# multiplies densities on a grid.

# %%
#| code-fold: true
#| code-summary: "Solution"
def climb(x, v, mean, logvar, steps=60, rate=0.3):
    "Refine N(mean, exp(logvar)) by the ELBO of all of `x`, noise variances `v`: mean, logvar."
    ### BEGIN SOLUTION
    for _ in range(steps):
        g_mean = ((x - mean)/v).sum() - mean
        g_logvar = 0.5*(1 - logvar.exp()*(1 + (1/v).sum()))
        mean, logvar = mean + rate*logvar.exp()*g_mean, logvar + rate*2*g_logvar
    return mean, logvar
    ### END SOLUTION


# %%
x, v = torch.tensor([2., -1., .5]), torch.tensor([1., .36, 4.])
z = torch.linspace(-10, 10, 20_001)
p = torch.softmax(-z**2/2 - ((x[:, None] - z)**2/v[:, None]/2).sum(0), 0)
for m in range(3):                                   # from each modality, the same summit
    alone = x[m]/(1 + v[m]), torch.log(v[m]/(1 + v[m]))
    mean, logvar = climb(x, v, *alone)
    assert abs(mean - (p*z).sum()) < 1e-3 < abs(alone[0] - (p*z).sum())
    assert abs(logvar.exp() - (p*(z - mean)**2).sum()) < 1e-3

# %% [markdown]
# ## References
#
# - Y. Oshima, M. Suzuki, Y. Matsuo, [Enhancing Unimodal Latent Representations in Multimodal VAEs through Iterative Amortized Inference](https://arxiv.org/abs/2410.11403), October 2024. The paper that followed the talk: read it for the method of this lesson in its authors' words and for their experiments.
# - J. Marino, Y. Yue, S. Mandt, [Iterative Amortized Inference](https://arxiv.org/abs/1807.09356), 2018. Read it for the refiner: what it is shown of the gradient, how it is trained, and experiments with one modality.
