# %% [markdown]
# # JMVAE
#
# > Students that grow up together with their teacher.
#
# ::: {.callout-note}
# ## You will learn
#
# - JMVAE-kl (Suzuki et al., 2016): the JVAE and its unimodal encoders trained in one objective;
# - how that differs from distilling afterwards: the teacher is pulled towards its students;
# - a control in which the students change the decoders and not the teacher's posterior.
#
# Runs in one to two minutes on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: the joint encoder's narrow bell and a student's broad one pull at each other by dashed arrows, the student harder.](drawings/pull.svg)

# %%
#| default_exp jmvae

# %%
#| export
import torch
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.distributions import *
from mmvae_nb.networks import *
from mmvae_nb.vae import *
from mmvae_nb.multimodal_elbo import *

# %%
import matplotlib.pyplot as plt
import pandas as pd
from mmvae_nb.data import PairedByKey
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.training import *
from mmvae_nb.distillation import *
from mmvae_nb.checkpoints import cached

# %% [markdown]
# ## The idea
#
# Lesson 10 had a teacher that knows nothing of its students. It may put into $z$ what no student can ever guess. What if the
# students could complain? Then teacher and students would settle in the middle: the teacher says less, and what it says can be followed.
#
# ## The objective
#
# JMVAE-kl adds the students' divergences to the negative ELBO of the joint model:
#
# $$
# \begin{aligned}
# \mathcal J(x) = -\mathcal L(x; q_\phi) + \alpha \sum_{m=1}^{M} \mathrm{KL}\big( q_\phi(z \mid x_1, \dots, x_M) \,\big\|\, q_m(z \mid x_m) \big).
# \end{aligned}\tag{1}
# $$
#
# Nothing is detached. The students follow the teacher, and the teacher gives up what no student can follow:
# $\alpha$ sets how much. $\alpha = 0.1$ is customary. In the beginning the unimodal encoders know nothing and would only
# disturb, so the term is phased in over the first updates (`warm_up`).
#
# *What the extra term bounds.* Draw $z$ from a unimodal encoder and let it generate another modality $x_n$, $n \ne m$: the model of $x_n$ given $x_m$ that is really used is $\int q_m(z \mid x_m)\, p_\theta(x_n \mid z)\, dz$. Jensen, with
# the joint posterior as the helper, gives for each pair
#
# $$
# \begin{aligned}
# \log \int q_m(z \mid x_m)\, p_\theta(x_n \mid z)\, dz
#   &= \log \mathbb E_{q_\phi} \Big[ \frac{q_m(z \mid x_m)}{q_\phi(z \mid x)}\, p_\theta(x_n \mid z) \Big] \\
#   &\ge \mathbb E_{q_\phi}[\log p_\theta(x_n \mid z)] - \mathrm{KL}\big( q_\phi(z \mid x) \,\|\, q_m(z \mid x_m) \big).
# \end{aligned}\tag{2}
# $$
#
# So minus the pull is, up to reconstructions, a bound on how well each modality generates another. With two modalities and $w_m = 1$, $\mathcal L$ plus $\alpha$ times both bounds (2) is minus the objective (1), except that the reconstructions count
# $1 + \alpha$ times.
#
# *What the teacher becomes.* Hold the students fixed and ask which $q$ minimises (1), for weights and $\beta$ as in lesson 03 (equation 2). Up to a constant, (1) is $\beta\, \mathrm{KL}(q \,\|\, \tilde p) + \alpha \sum_m \mathrm{KL}(q \,\|\, q_m)$. Collect the logarithms:
#
# $$
# \begin{aligned}
# \beta\, \mathrm{KL}(q \,\|\, \tilde p) + \alpha \sum_m \mathrm{KL}(q \,\|\, q_m)
#   &= (\beta + \alpha M)\, \mathbb E_q \Big[ \log q - \frac{\beta \log \tilde p + \alpha \sum_m \log q_m}{\beta + \alpha M} \Big], \\
# q_{\text{opt}}(z) &\propto \tilde p(z \mid x)^{\frac{\beta}{\beta + \alpha M}} \prod_m q_m(z \mid x_m)^{\frac{\alpha}{\beta + \alpha M}}.
# \end{aligned}\tag{3}
# $$
#
# The first line is a KL to the second, up to a constant. The ideal teacher is a *geometric mean* of the true posterior and of its students: for Gaussians, its precision is the weighted mean of theirs. With $\beta = 1$, $\alpha = 0.1$, $M = 3$ the true
# posterior has $1/1.3$ of the weight and each student $0.1/1.3$. As students are broad (lesson 10), so becomes the teacher. In one dimension:

# %%
#| fig-cap: "What the pull does to an ideal teacher: true posterior, one broad student that stands still, and eq. (3) for three values of alpha."
#| fig-alt: "A narrow peak and a broad one; three curves between them, broader and nearer to the student for larger alpha."
z = torch.linspace(-4, 4, 801)
log_target = torch.distributions.Normal(1.5, .3).log_prob(z)
log_pupil = torch.distributions.Normal(0., 1.).log_prob(z)
fig, ax = plt.subplots(figsize=(6.5, 2.6))
ax.plot(z, log_target.exp(), "k", label="true posterior")
ax.plot(z, log_pupil.exp(), "k:", label="student")
for alpha in (0.1, 1., 5.):                                  # beta = 1, M = 1
    q_opt = torch.softmax((log_target + alpha*log_pupil)/(1 + alpha), 0)/.01  # z in steps of 0.01
    ax.plot(z, q_opt, "--", label=f"teacher, alpha = {alpha}")
ax.set(xlabel="z", ylabel="density", xlim=(-3, 3)); ax.legend();


# %% [markdown]
#
# In the talk's tables "JMVAE student" is a student distilled from a trained JVAE (lesson 10). JMVAE-kl is a row of
# its own here.

# %%
#| exports
class JMVAE(MultimodalVAE):
    "JMVAE-kl (Suzuki et al., 2016, eq. 8): joint and unimodal encoders trained together."
    @checked
    def __init__(self, specs: dict[str, ModalitySpec], latent: int = 20, beta: float = 1.0,
                 alpha: float = 0.1, # weight of the unimodal divergences
                 warm_up: int = 200 # updates over which alpha grows from 0 to its value
                ):
        super().__init__(specs, latent, beta)
        self.alpha = in_range("alpha", alpha, low=0)
        self.warm_up = in_range("warm_up", warm_up, low=0, whole=True)
        self.encoder = JointEncoder(specs, latent)
        self.encoders = nn.ModuleDict({n: UnimodalEncoder(s, latent) for n, s in specs.items()})
        self.register_buffer("updates_seen", torch.zeros((), dtype=torch.long))

    def infer(self, batch) -> DiagonalGaussian:
        "All modalities: the joint encoder. One: its encoder. Some: the product of theirs."
        have = self.check(batch)
        if len(have) == len(self.names): return self.encoder(batch)
        return self.product(self.encoders[n](batch[n]) for n in have)

    def divergences(self, batch) -> dict:
        "KL(joint || unimodal) in nats per item, for each modality."
        self.check(batch, all=True)
        joint = self.encoder(batch)
        return {n: joint.kl(self.encoders[n](batch[n])) for n in self.names}

    def loss(self, batch) -> Loss:
        "Eq. (1), with alpha phased in while training. Of a part of the modalities: its ELBO."
        if len(self.check(batch)) < len(self.names): return self._of_a_part(batch)
        q = self.encoder(batch)
        logs = self.log_likelihoods(batch, q.rsample())
        pull = sum(q.kl(self.encoders[n](batch[n])) for n in self.names)
        phase = 1.
        if self.training and self.warm_up:
            phase = min(1., (self.updates_seen.item() + 1)/self.warm_up)
        if self.training: self.updates_seen += 1
        total = -(self.weighted(logs) - self.beta*q.kl()).mean() + self.alpha*phase*pull.mean()
        return Loss(total, self.parts(logs, kl=q.kl(), pull=pull))

    def _of_a_part(self, batch):
        "The negative ELBO of what is there, by its encoders: a joint one is for all modalities."
        q = self.infer(batch)
        logs = self.log_likelihoods(batch, q.rsample())
        total = -(self.weighted(logs) - self.beta*q.kl()).mean()
        return Loss(total, self.parts(logs, kl=q.kl()))


# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
specs = default_specs(train.modalities)
batch = train.batch(0, 6)
seed_everything(0, "check"); model = JMVAE(specs, alpha=.3, warm_up=4)
total, parts = model.eval().loss(batch)
by_hand = sum(specs[n].weight*parts[n] for n in specs) + parts["kl"] + .3*parts["pull"]
torch.testing.assert_close(total.detach(), by_hand)
apart = sum(v.mean() for v in model.divergences(batch).values()).detach()
torch.testing.assert_close(parts["pull"], apart)
total, parts = model.train().loss(batch)      # first of four warm-up updates: a quarter of alpha
by_hand = sum(specs[n].weight*parts[n] for n in specs) + parts["kl"] + .25*.3*parts["pull"]
torch.testing.assert_close(total.detach(), by_hand)
pair = {n: batch[n] for n in ["mnist", "svhn"]}
product = product_of_experts([model.infer({n: batch[n]}) for n in pair])
torch.testing.assert_close(model.infer(pair).mean, product.mean)

# %% [markdown]
# ## The pull on the teacher
#
# The gradient of the pull reaches the joint encoder. In distillation it does not. Seen directly:

# %%
together = JMVAE(specs)
pull = sum(v.mean() for v in together.divergences(batch).values())
together.zero_grad(set_to_none=True); pull.backward()
assert sum(p.grad.abs().sum() for p in together.encoder.parameters()) > 0
jvae = JVAE(specs); after = Students(jvae); after.loss(batch).total.backward()
assert all(p.grad is None for p in jvae.parameters())

# %% [markdown]
# What does the pull cost, and what does it buy? We train three models for equally many updates: without a pull, with the customary one and
# with a strong one. We compare the joint negative ELBO, how much the joint posterior says (its KL to the prior), and how far the unimodal encoders are
# from it.

# %%
run = dict(updates=200, batch_size=32, lr=2e-3, seed=0, progress=False, device="cpu")
modules = ["jmvae", "training", "datasets.digits"]
test, _ = validation.take(300)
table = {}
for alpha in (0., 0.1, 5.):
    new = lambda: (seed_everything(0, "jmvae"), JMVAE(specs, alpha=alpha))[1]
    m = cached(f"jmvae-{alpha}", new, lambda m: fit(m, train, **run), [run, alpha], modules)
    seed_everything(0, "test")                                       # the same noise for all three
    with torch.no_grad(): total, parts = m.loss(test)
    table[alpha] = {"negative ELBO": (total - alpha*parts["pull"]).item(),
                    "KL(joint || prior)": parts["kl"].item(),
                    "KL(joint || unimodal), mean": parts["pull"].item()/3}
table = pd.DataFrame(table).T.rename_axis("alpha")
assert table["KL(joint || unimodal), mean"].is_monotonic_decreasing
table.round(1)


# %% [markdown]
# With $\alpha = 0$ the unimodal encoders are never trained. Such a network answers about the prior, whatever it sees, so its KL is about that of the prior. A larger
# $\alpha$ brings teacher and students together. The customary $\alpha = 0.1$ costs 2 nats of the ELBO here, which is nothing, the strong pull 14, *and* with it the joint posterior
# becomes blander: 8.4 nats from the prior in place of 14.4. It says less, as (3) predicts. A small KL between teacher and student is therefore not
# yet a sign of quality. (One seed and 200 updates. The rounding of another processor has moved the row at $\alpha = 0$ by 17 nats of negative ELBO and 2.5 of KL: more than what $\alpha = 0.1$
# costs, less than the effect of the strong pull on the KL.)
#
# ## Decoders that learn from students, too
#
# In (1) the students change the teacher's *posterior*. Its decoders still meet draws from the joint posterior only, and at a student's $z$, which is broader, they were never trained. The opposite is possible as well: students that
# change the *decoders* and leave the posterior alone. Nobody needs that as a method. It is a *control*. Some methods decode from single modalities during training: the mixtures of lesson 05, CRMVAE in lesson 06, the iterative teacher of
# lesson 09 at $t = 0$. If one of them generates well from one modality, is it because of its posterior, or because its decoders have seen such $z$? A JVAE with this one ingredient, and no other, can tell.
#
# Three groups of parameters, three gradients. $\phi$ is the joint encoder, $\theta$ the decoders, $\mathrm{sg}$ stops a gradient:
#
# $$
# \begin{aligned}
# \nabla_\phi:\;& -\nabla_\phi\, \mathcal L(x; q_\phi), \\
# \nabla_{q_m}:\;& \nabla\, \mathrm{KL}\big( \mathrm{sg}(q_\phi(z \mid x)) \,\big\|\, q_m(z \mid x_m) \big), \\
# \nabla_\theta:\;& -\nabla_\theta \Big\{ \tfrac12\, \mathbb E_{q_\phi} \sum_n w_n \log p_\theta(x_n \mid z)
#   + \tfrac12\, \frac1M \sum_m \mathbb E_{\mathrm{sg}(q_m)} \sum_n w_n \log p_\theta(x_n \mid z) \Big\}.
# \end{aligned}\tag{4}
# $$
#
# The first line is the JVAE's, the second is distillation (lesson 10) while the teacher still learns, and only the third is new: the decoders explain *all* modalities, half from the joint posterior and half from a single one. The sum over $m$
# is estimated by one modality drawn for each item, so an update decodes twice, whatever $M$ is.
#
# No single function has these three gradients, so the code needs two tricks. `detach` keeps the new reconstruction away from all encoders. And as the joint reconstruction counts only half for the decoders, its gradient in $z$ is doubled on the way to
# the encoder: $z + (z - \mathrm{sg}(z))$ has the value of $z$ and twice its derivative. Without that the encoder would see half a reconstruction beside a whole KL, as if $\beta$ were 2.

# %%
#| exports
class JVAEWithStudents(JMVAE):
    "A JVAE; its students, distilled meanwhile, train the decoders but not its posterior; eq. (4)."
    @checked
    def __init__(self, specs: dict[str, ModalitySpec], latent: int = 20, beta: float = 1.0,
                 share: float = 0.5 # of the decoders' reconstruction that starts from students
                ):
        super().__init__(specs, latent, beta, alpha=1.0, warm_up=0)
        self.share = in_range("share", share, low=0, high=.9)

    def loss(self, batch) -> Loss:
        "The gradients of eq. (4). Parts from the joint posterior; `students`: the sum of the KLs."
        if len(self.check(batch)) < len(self.names): return self._of_a_part(batch)
        q, students = self.encoder(batch), [self.encoders[n](batch[n]) for n in self.names]
        z, s = q.rsample(), self.share
        joint = self.log_likelihoods(batch, z + s/(1 - s)*(z - z.detach()))
        alone = Mixture(p.detach() for p in students).pick().rsample()
        alone = self.weighted(self.log_likelihoods(batch, alone))
        pull = sum(q.detach().kl(p) for p in students)
        total = self.beta*q.kl() + pull - (1 - s)*self.weighted(joint) - s*alone
        return Loss(total.mean(), self.parts(joint, kl=q.kl(), pull=pull, students=-alone))


# %% [markdown]
# Is it so? Beside a JVAE with the same weights and the same noise, the joint encoder must get the same gradient, whatever the share. That of the decoders has to lie on a line between none and all:

# %%
def slopes(model, part):
    "The gradients of a part of a model, in one vector; the noise is that of seed 1."
    seed_everything(1, "slopes"); model.zero_grad(set_to_none=True)
    model.loss(batch).total.backward()
    return torch.cat([p.grad.flatten() for p in getattr(model, part).parameters()])

seed_everything(0, "check"); given = JVAEWithStudents(specs); same = given.state_dict()
jvae = JVAE(specs); jvae.load_state_dict({k: v for k, v in same.items() if k in jvae.state_dict()})
models = {s: JVAEWithStudents(specs, share=s) for s in (0., .5, .8)}
for m in models.values(): m.load_state_dict(same)
size = slopes(jvae, "encoder").norm()
for m in models.values(): assert (slopes(m, "encoder") - slopes(jvae, "encoder")).norm() < 1e-4*size
none, half, most = (slopes(m, "decoders") for m in models.values())
assert (none - slopes(jvae, "decoders")).norm() < 1e-4*none.norm() < .01*(half - none).norm()
assert ((half - none)/.5 - (most - none)/.8).norm() < 1e-3*none.norm()
taught = Students(jvae, warm_start=False); taught.encoders.load_state_dict(given.encoders.state_dict())
own = slopes(taught, "encoders")
assert all((slopes(m, "encoders") - own).norm() < 1e-4*own.norm() for m in models.values())

# %% [markdown]
# What does it change? A short trial on digits and words only, without and with the ingredient, with the same updates. Each number is the loss of one modality in nats, at draws from what is given:

# %%
two = ["mnist", "text"]
pair = PairedByKey("mnist_text", "train", *({n: d[n] for n in two}
                   for d in (train.modalities, train.pools, train.labels)))
few, short = {n: specs[n] for n in two}, dict(run, updates=300)
@torch.no_grad()
def lost(model, to, *given):
    "-log p(x_to | z) in nats per item, z drawn from the posterior of the given modalities."
    seed_everything(3, "draws"); q = model.infer({n: test[n] for n in given})
    return -model.log_likelihoods({to: test[to]}, q.rsample())[to].mean().item()

def spelt(model):
    "The share of words that are right, generated from the digit alone."
    with torch.no_grad(): made = model.generate({"mnist": test["mnist"]}, to="text")["text"]
    said, true = map(train.modalities["text"].decode, (made, test["text"]))
    return sum(a.strip() == b.strip() for a, b in zip(said, true))/len(true)

table = {}
for share in (0., .5):
    new = lambda: (seed_everything(0, "jvae"), JVAEWithStudents(few, share=share))[1]
    m = cached(f"jvae-with-students-{share}", new, lambda m: fit(m, pair, **short), [short, share],
               modules)
    table[share] = {"digit, both given": lost(m, "mnist", *two),
                    "digit from the word": lost(m, "mnist", "text"),
                    "word, both given": lost(m, "text", *two),
                    "word from the digit": lost(m, "text", "mnist"), "spelt right": spelt(m)}
table = pd.DataFrame(table).T.rename_axis("share")
assert table.loc[.5, "word from the digit"] < table.loc[0., "word from the digit"] - 4
table.round(1)


# %% [markdown]
# The word from the digit gains 10 nats, the digit from the word 0.4; with both given 1 to 2 nats are lost, as the same decoders now serve two kinds of $z$. No encoder was trained for any of this. So whoever decodes from
# single modalities while training gets such a gain in nats for nothing, and this control says how much of a method's lead it is. But look at the last column: hardly a word is spelt right, with or without. A decoder gains nats also by learning to be
# *unsure* where its $z$ tells little. Whether it draws the right things is another number (coherence, lesson 03a), and needs longer runs than this one (one seed, 300 updates).
#
# ## What goes wrong, and how you would notice
#
# - *The teacher collapses towards its students.* The pull falls nicely, and so does `kl`. Watch both: a `kl` that falls together with `pull` is the teacher giving in.
# - *The pull is there from the first update.* Untrained encoders draw the joint posterior to the prior before it has learnt anything. How to notice: the
#   `kl` stays near zero while `pull` is small.
# - *A KL summed where its mean is expected.* The table shows the mean over modalities; `pull` is the sum.
#
# ## Recap
#
# JMVAE-kl trains everything at once; the teacher pays for being imitable. Distilling afterwards leaves the teacher
# alone. `JVAEWithStudents` is a control: the posterior of the first kind of teacher, decoders that know students. None touches the amortization gap of the joint encoder itself: lesson 09 does.
#
# ## Exercises
#
# 1. Detach the joint posterior in `pull`. What is the difference to `Students` then?
# 2. Why is `updates_seen` a buffer and not an attribute?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The students learn from a teacher that is still changing; the teacher is that of the JVAE. With `share=0` that is what `JVAEWithStudents` does.
# 2. Buffers are saved with a checkpoint; a resumed run continues the phase-in where it was.
# :::
#
# ### In code: where the pull ends
#
# Take one student $s$ that stands still, and a teacher $q$ that is free to move. By equation (3) of lesson 02 the ELBO
# is $-\mathrm{KL}(q \,\|\, p(z \mid x))$ up to a constant, so equation (1) asks for the smallest
# $\mathrm{KL}(q \,\|\, p(z \mid x)) + \alpha\, \mathrm{KL}(q \,\|\, s)$. Fill in `pulled`: that $q$, if all are Gaussian.

# %%
#| code-fold: true
#| code-summary: "Solution"
def pulled(posterior, student, alpha):
    "The `DiagonalGaussian` q that minimises KL(q || posterior) + alpha KL(q || student)."
    ### BEGIN SOLUTION
    precision = (1/posterior.var + alpha/student.var)/(1 + alpha)  # a weighted product of experts
    weighted = (posterior.mean/posterior.var + alpha*student.mean/student.var)/(1 + alpha)
    return DiagonalGaussian(weighted/precision, -precision.log())
    ### END SOLUTION


# %%
g = generator("pull")
posterior, student = (DiagonalGaussian(*torch.randn(2, 1, 4, generator=g)) for _ in range(2))
for alpha in (0.1, 1., 5.):
    q = pulled(posterior, student, alpha)
    mean, logvar = (p.clone().requires_grad_() for p in (q.mean, q.logvar))
    moved = DiagonalGaussian(mean, logvar)
    cost = (moved.kl(posterior) + alpha*moved.kl(student)).sum()
    for slope in torch.autograd.grad(cost, [mean, logvar]): assert slope.abs().max() < 1e-4

# %% [markdown]
# ## References
#
# - M. Suzuki, K. Nakayama, Y. Matsuo, [Joint Multimodal Learning with Deep Generative Models](https://arxiv.org/abs/1611.01891), 2016.
