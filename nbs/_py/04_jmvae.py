# %% [markdown]
# # JMVAE
#
# > An encoder for each modality, trained together with the joint one.
#
# ::: {.callout-note}
# ## You will learn
#
# - JMVAE-kl (Suzuki et al., 2016): the JVAE and an encoder for each modality, trained in one objective;
# - what that does to the joint encoder, the *teacher*: it is pulled towards its *students*;
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
from mmvae_nb.checkpoints import cached
from mmvae_nb.plotting import ROLE_COLOURS
from mmvae_nb.pretrained_models import pretrained

# %% [markdown]
# ## The idea
#
# The joint VAE of lesson 03 has one encoder, and that one needs everything. The plain remedy is an encoder $q_m(z \mid x_m)$ for each modality beside it, which learns to answer what the joint encoder answers. Lesson 01 had such a pair: a *teacher* that has seen all, and a *student* that has seen $x_m$
# only and comes as near to the teacher's answers as it can, measured by $\mathrm{KL}(\text{teacher} \,\|\, \text{student})$.
#
# When should the student learn? *Afterwards*, when the teacher is finished and stays as it is: that is distillation, for [lesson 10](10_distillation.ipynb). Such a teacher knows nothing of its students, and may put into $z$ what no student can ever guess. Or *meanwhile*, both in one objective, so that the
# students can complain. The two then compromise: the teacher encodes less, but only what its students can infer. That is JMVAE.
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
# $\alpha$ sets how much; $\alpha = 0.1$ is the standard choice. In the beginning the unimodal encoders know nothing and would only
# disturb, so the term is phased in over the first updates (`warm_up`).
#
# *What the extra term bounds.* Draw $z$ from a unimodal encoder and let it generate another modality $x_n$, $n \ne m$: the model of $x_n$ given $x_m$ that is really used is $\int q_m(z \mid x_m)\, p_\theta(x_n \mid z)\, dz$. That is the lower row of this drawing, with $m = 1$ and $n = 2$. Compare it with the upper row, which is what the ELBO trains: the decoder is the same, the bell is another one.
#
# ![Drawing: above, digit and street number go through the joint encoder to a narrow bell and through a decoder to a street number; below, the digit alone goes through its own encoder to a broad bell and through the same decoder; in the broad bell, dashed, the upper bell and that of another street number; between the lanes stands the KL.](drawings/across.svg)
#
# Jensen, with the joint posterior as the helper, gives for each pair
#
# $$
# \begin{aligned}
# \log \int q_m(z \mid x_m)\, p_\theta(x_n \mid z)\, dz
#   &= \log \mathbb E_{q_\phi} \Big[ \frac{q_m(z \mid x_m)}{q_\phi(z \mid x)}\, p_\theta(x_n \mid z) \Big] \\
#   &\ge \mathbb E_{q_\phi}[\log p_\theta(x_n \mid z)] - \mathrm{KL}\big( q_\phi(z \mid x) \,\|\, q_m(z \mid x_m) \big).
# \end{aligned}\tag{2}
# $$
#
# So minus the pull is, up to reconstructions, a bound on how well each modality generates another. With two modalities and $w_m = 1$, add $\alpha$ times both bounds (2) to $\mathcal L$. Both pulls are in the sum, and each reconstruction once more, $\alpha$ times. So it is minus the objective (1), but for reconstructions that count $1 + \alpha$ times.
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
# posterior has $1/1.3$ of the weight and each student $0.1/1.3$. As students are broad, because $x_m$ leaves things open (lesson 01, equation 5), so becomes the teacher. In one dimension:

# %%
#| fig-cap: "What the pull does to an ideal teacher: true posterior, one broad student that stands still, and eq. (3) for three values of alpha."
#| fig-alt: "A narrow peak and a broad one; three curves between them, broader and nearer to the student for larger alpha."
z = torch.linspace(-4, 4, 801)
log_target = torch.distributions.Normal(1.5, .3).log_prob(z)
log_pupil = torch.distributions.Normal(0., 1.).log_prob(z)
fig, ax = plt.subplots(figsize=(6.5, 2.6))
ax.plot(z, log_target.exp(), "k", label="true posterior")
ax.plot(z, log_pupil.exp(), color=ROLE_COLOURS["student"], label="student")
for alpha, dash in {0.1: "-", 1.: "--", 5.: ":"}.items():    # beta = 1, M = 1
    q_opt = torch.softmax((log_target + alpha*log_pupil)/(1 + alpha), 0)/.01  # z in steps of 0.01
    ax.plot(z, q_opt, dash, color=ROLE_COLOURS["teacher"], label=f"teacher, alpha = {alpha}")
ax.set(xlabel="z", ylabel="density", xlim=(-3, 3)); ax.legend();

# %% [markdown]
# ## By hand
#
# Equation (1) on six triples. The trained JVAE of lesson 03 has a joint encoder and decoders; students of it, which come with the course as well, have an encoder for each modality. (Both were trained with photographed street numbers; here they get rendered ones.)

# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
specs = default_specs(train.modalities)
batch = train.batch(0, 6)
joint, own = pretrained("real_jvae"), pretrained("real_jmvae_student").encoders
with torch.no_grad():
    q = joint.infer(batch)                                             # from all modalities
    elbo = joint.elbo(batch, q, generator(0, "by hand"))
    pull = {f"KL to {n}": q.kl(own[n](batch[n])) for n in specs}       # to each student
    loss = -elbo + .1*sum(pull.values())                               # equation (1), alpha = 0.1
pd.DataFrame({"negative ELBO": -elbo, **pull, "loss": loss}).round().astype(int)


# %% [markdown]
# From the joint bell to that of a student it is 25 to 50 nats: a student's is broader, and lies where the other views of this digit may be. In the loss that makes a tenth of some 90 to 125 nats beside an ELBO of 3,000. It is a small term, and the only one by which the students are trained. What is left is to make a class of it.
#
#
# ## The model
#
# It has all the encoders there are, so it can answer for any subset: by the joint encoder if everything is there, by one encoder for one modality, and for two of three by the *product* of theirs, in which precisions add as in lesson 01.

# %%
#| exports
class _JointAndOwn(MultimodalVAE):
    "A joint encoder, and one for each modality."
    def __init__(self, specs, latent, beta):
        super().__init__(specs, latent, beta)
        self.encoder = JointEncoder(specs, latent)
        self.encoders = nn.ModuleDict({n: UnimodalEncoder(s, latent) for n, s in specs.items()})

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


# %% [markdown]
# And the loss, equation (1):

# %%
#| exports
class JMVAE(_JointAndOwn):
    "JMVAE-kl (Suzuki et al., 2016, eq. 8): joint and unimodal encoders trained together."
    @checked
    def __init__(self, specs: dict[str, ModalitySpec], # per modality
                 latent: int = 20, # latent coordinates
                 beta: float = 1.0, # weight of the KL terms
                 alpha: float = 0.1, # weight of the unimodal divergences
                 warm_up: int = 200 # updates over which alpha grows from 0 to its value
                ):
        super().__init__(specs, latent, beta)
        self.alpha = in_range("alpha", alpha, low=0)
        self.warm_up = in_range("warm_up", warm_up, low=0, whole=True)
        self.register_buffer("updates_seen", torch.zeros((), dtype=torch.long))

    def _alpha_now(self):
        "Alpha, phased in; as a tensor, because reading a number from a card makes all wait for it."
        if not self.training: return self.alpha
        self.updates_seen += 1
        if not self.warm_up: return self.alpha
        return (self.alpha*(self.updates_seen.double()/self.warm_up).clamp(max=1.)).float()

    def loss(self, batch) -> Loss:
        "Eq. (1), with alpha phased in while training. Of a part of the modalities: its ELBO."
        if len(self.check(batch)) < len(self.names): return _of_a_part(self, batch)
        q = self.encoder(batch)
        logs = self.log_likelihoods(batch, q.rsample())
        pull = sum(q.kl(self.encoders[n](batch[n])) for n in self.names)
        total = -(self.weighted(logs) - self.beta*q.kl()).mean() + self._alpha_now()*pull.mean()
        return Loss(total, self.parts(logs, kl=q.kl(), pull=pull))


# %%
#| exports
def _of_a_part(model, batch):
    "The negative ELBO of what is there, by its encoders: a joint one is for all modalities."
    q = model.infer(batch)
    logs = model.log_likelihoods(batch, q.rsample())
    total = -(model.weighted(logs) - model.beta*q.kl()).mean()
    return Loss(total, model.parts(logs, kl=q.kl()))


# %%
seed_everything(0, "check"); model = JMVAE(specs, alpha=.3, warm_up=4)
{" + ".join(s): model.infer({n: batch[n] for n in s}) for s in (["text"], ["mnist", "svhn"], specs)}

# %%
#| code-fold: true
#| code-summary: "Check"
total, parts = model.eval().loss(batch)
by_hand = sum(specs[n].weight*parts[n] for n in specs) + parts["kl"] + .3*parts["pull"]
torch.testing.assert_close(total.detach(), by_hand)
apart = sum(v.mean() for v in model.divergences(batch).values()).detach()
torch.testing.assert_close(parts["pull"], apart)
total, parts = model.train().loss(batch)      # first of four warm-up updates: a quarter of alpha
by_hand = sum(specs[n].weight*parts[n] for n in specs) + parts["kl"] + .25*.3*parts["pull"]
torch.testing.assert_close(total.detach(), by_hand)

# %%
#| code-fold: true
#| code-summary: "Check"
pair = {n: batch[n] for n in ["mnist", "svhn"]}
product = product_of_experts([model.infer({n: batch[n]}) for n in pair])
torch.testing.assert_close(model.infer(pair).mean, product.mean)


# %% [markdown]
# ## The pull on the teacher
#
# The gradient of the pull reaches the joint encoder, so the teacher moves. With a *stop-gradient* on the teacher (`detach`) only the students would. Seen directly:

# %%
def pulls_teacher(detached):
    "Does the gradient of the pull reach the joint encoder?"
    q = model.encoder(batch)
    if detached: q = q.detach()
    model.zero_grad(set_to_none=True)
    sum(q.kl(model.encoders[n](batch[n])).mean() for n in specs).backward()
    return any(p.grad is not None for p in model.encoder.parameters())


# %%
assert pulls_teacher(detached=False) and not pulls_teacher(detached=True)

# %% [markdown]
# Where does the pull end? In the story with Gaussians (lesson 01, two thermometers, decoders fixed) the answer can be computed: teacher and students are Gaussians, each the best answer to the others. Move $\alpha$. At 0 the teacher is the exact posterior, and the student of the poor thermometer is 0.71 nats from it. At 0.1 the ELBO loses 0.002 nats and little changes. At 10 the students are near, because the teacher hardly says anything: it has moved to the prior's side and lost 1.5 nats.
#
# ::: {.instrument .jmvae-alpha}
# ![Still picture: above, the posterior, the teacher almost on it, and two students, one much broader; below, three curves against alpha: what the teacher says and the students' KL fall, the loss of the ELBO rises.](instruments/jmvae-alpha.svg)
#
# *On the course's site this picture has sliders for alpha and for the reading of the good thermometer; in a notebook, run `Instrument("jmvae-alpha")`.*
# :::

# %%
#| hide
#| eval: false
from mmvae_nb.plotting import Instrument
Instrument("jmvae-alpha")

# %% [markdown]
# What does the pull cost, and what does it buy? We train three models for equally many updates: without a pull, with the standard one and
# with a strong one. We compare the joint negative ELBO, how much the joint posterior says (its KL to the prior), and how far the unimodal encoders are
# from it.
#
# ::: {.callout-tip collapse="true"}
# ## Predict, then open: a strong pull brings teacher and students together. Is a small KL between them a sign that the students are good?
#
# No. It gets small also if the teacher says less. With $\alpha = 5$ the students come nearer to the joint posterior, and that posterior has moved towards the prior, from 14.4 nats of KL to 8.4. A teacher that says nothing at all would be imitated perfectly.
# :::

# %%
run = dict(updates=200, batch_size=32, lr=2e-3, seed=0, progress=False, device="cpu")
modules = ["jmvae", "training", "datasets.digits"]
test, _ = validation.take(300)

# %%
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
# $\alpha$ brings teacher and students together. The standard $\alpha = 0.1$ moves the ELBO by 2 nats here, which is nothing. The strong pull costs 15 (about what rounding alone can do, see below, so don't count on it), but with it the joint posterior
# becomes blander: 8.4 nats from the prior in place of 14.4. It says less, as (3) predicts. A small KL between teacher and student is therefore not
# yet a sign of quality. (One seed and 200 updates. The rounding of another processor has moved the row at $\alpha = 0$ by 17 nats of negative ELBO and 2.5 of KL: more than what $\alpha = 0.1$
# does, less than the effect of the strong pull on the KL.)
#
# ## Decoders that learn from students, too
#
# In (1) the students change the teacher's *posterior*. Its decoders still meet draws from the joint posterior only, and at a student's $z$, which is broader, they were never trained. The opposite is possible as well: students that
# change the *decoders* and leave the posterior alone. Nobody needs that as a method. It is a *control* for what comes later. Some methods decode from single modalities during training: the mixtures of the next lesson, CRMVAE in lesson 06, and the talk's own in
# lesson 09. If one of them generates well from one modality, is it because of its posterior, or because its decoders have seen such $z$? A JVAE with this one ingredient, and no other, can tell.
#
# Three groups of parameters, three gradients. $\phi$ is the joint encoder, $\theta$ the decoders, $\mathrm{sg}$ stops a gradient. Follow the dashed arrows from the right and from the KL, back to where a thick bar ends them:
#
# ![Drawing: two lanes, all views through the joint encoder and one view through a student, lead into the same decoders; dashed gradients go back into the decoders from both, on to the joint encoder from the upper one, and from the KL to the student; thick bars stop the others.](drawings/stopped.svg)
#
# As formulas:
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
# The first line is the JVAE's, the second trains the students on a teacher that still learns and does not feel it, and only the third is new: the decoders explain *all* modalities, half from the joint posterior and half from a single one. The sum over $m$
# is estimated by one modality drawn for each item, so an update decodes twice, whatever $M$ is.
#
# No single function has these three gradients, so the code needs two tricks. `detach` keeps the new reconstruction away from all encoders. And as the joint reconstruction counts only half for the decoders, its gradient in $z$ is doubled on the way to
# the encoder: $z + (z - \mathrm{sg}(z))$ has the value of $z$ and twice its derivative. Without that the encoder would see half a reconstruction beside a whole KL, as if $\beta$ were 2.

# %%
#| exports
class JVAEWithStudents(JMVAE):
    "A JVAE; its students, distilled meanwhile, train the decoders but not its posterior; eq. (4)."
    @checked
    def __init__(self, specs: dict[str, ModalitySpec], # per modality
                 latent: int = 20, # latent coordinates
                 beta: float = 1.0, # weight of the KL terms
                 share: float = 0.5 # of the decoders' reconstruction that starts from students
                ):
        super().__init__(specs, latent, beta, alpha=1.0, warm_up=0)
        self.share = in_range("share", share, low=0, high=.9)

    def loss(self, batch) -> Loss:
        "The gradients of eq. (4). Parts from the joint posterior; `students`: the sum of the KLs."
        if len(self.check(batch)) < len(self.names): return _of_a_part(self, batch)
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

# %%
size = slopes(jvae, "encoder").norm()
for m in models.values(): assert (slopes(m, "encoder") - slopes(jvae, "encoder")).norm() < 1e-4*size
none, half, most = (slopes(m, "decoders") for m in models.values())
assert (none - slopes(jvae, "decoders")).norm() < 1e-4*none.norm() < .01*(half - none).norm()
assert ((half - none)/.5 - (most - none)/.8).norm() < 1e-3*none.norm()

# %% [markdown]
# And the students must get the gradient of the second line of (4), and no other:

# %%
q = jvae.encoder(batch).detach()
sum(q.kl(given.encoders[n](batch[n])).mean() for n in specs).backward()
own = torch.cat([p.grad.flatten() for p in given.encoders.parameters()])
assert all((slopes(m, "encoders") - own).norm() < 1e-4*own.norm() for m in models.values())

# %% [markdown]
# What does it change? A short trial on digits and words only, without and with the ingredient, with the same updates. Each number is the loss of one modality in nats, at draws from what is given. (`PairedByKey` pairs two pools of items by their class, [lesson 02a](02a_data.ipynb#pairs-by-class).)

# %%
two = ["mnist", "text"]
pair = PairedByKey("mnist_text", "train", *({n: d[n] for n in two}
                   for d in (train.modalities, train.pools, train.labels)))
few, short = {n: specs[n] for n in two}, dict(run, updates=300)


# %%
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


# %%
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
# The word from the digit gains 11 nats, the digit from the word 0.6; with both given 1 to 2 nats are lost, as the same decoders now serve two kinds of $z$. No encoder was trained for any of this. So whoever decodes from
# single modalities while training gets such a gain in nats for nothing, and this control says how much of a method's lead it is. But look at the last column: hardly a word is spelt right, with or without. A decoder gains nats also by learning to be
# *unsure* where its $z$ tells little. Whether it draws the right things is another number: *coherence*, the share of generated items that a trained classifier takes for the class that was given ([lesson 03a](03a_metrics.ipynb#coherence)). It needs longer runs than this one (one seed, 300 updates).
#
# ## After a long training
#
# All models of this lesson were trained for a minute or less, so it shows nats and no pictures. These are from the runs of lesson 14: 10,000 updates of 64 items on real street numbers, one sample of $z$ for each picture. Look at the row *JMVAE-kl* of either block, below the digit or the word that was given. From the digits the third number, an eight, and the next two, a two and a one, are there; the second and the ninth nobody could name. From the words about half can be named. So its $q_m$ find the right region more often than not, in colours of their own choice: no encoder of a digit or a word can know them. The row *JMVAE student* below is lesson 10's: a JVAE first, and the pull in a training of its own. ([Lesson 11](11_findings.ipynb) counts how often each draws the right number.)
#
# ![Two blocks of street numbers, from digits and from words. Below what was given and the ground truth stand MoPoE (grey), MVTCAE and its student, JMVAE-kl (blurred numbers in many colours, most of them the right ones from digits and about half from words), the JMVAE student and the iterative student.](../results/long/figures/slide_36_all_methods.png)
#
# ## What goes wrong, and how you would notice
#
# *The teacher gives in.* A toy with two views. One is a point in the plane, the other only the direction in which it lies. How far out the point is no student of the direction can ever know. Look at what the *joint* encoder, which sees both views, still knows of that distance (dark is near, bright is far).

# %%
#| code-fold: true
#| code-summary: "Two JMVAEs for points in the plane"
g = generator("plane")
turn, far = 2*torch.pi*torch.rand(600, generator=g), .4 + 1.2*torch.rand(600, generator=g)
direction = torch.stack([turn.cos(), turn.sin()], 1)
plane = {"point": direction*far[:, None], "direction": direction}
mlp = lambda a, b: nn.Sequential(nn.Linear(a, 64), nn.Tanh(), nn.Linear(64, b))
planar = {n: ModalitySpec(lambda: mlp(2, 64), 64, lambda latent: mlp(latent, 2), Gaussian(.1), 1.)
          for n in plane}
def in_the_plane(alpha, updates=600):
    "A JMVAE of the toy, trained for some seconds."
    seed_everything(0, "plane"); m = JMVAE(planar, latent=2, alpha=alpha, warm_up=100)
    optimiser = torch.optim.Adam(m.parameters(), 5e-3)
    for some in torch.randint(600, (updates, 64), generator=generator("order")):
        optimiser.zero_grad(); m.loss({n: x[some] for n, x in plane.items()}).total.backward()
        optimiser.step()
    return m.eval()
toys = {alpha: in_the_plane(alpha) for alpha in (.1, 50.)}

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "Points, and what a JMVAE that is given everything makes of them; dark ones are near the centre, bright ones far. With a weak pull that is so afterwards, too. With a strong pull all lie on one ring, bright and dark mixed: the teacher has given up what the student of the direction can't follow."
#| fig-alt: "Three panels of points. Data and the weak pull: a broad ring, dark inside and bright outside. Strong pull: one thin ring on which dark and bright are mixed."
fig, axes = plt.subplots(1, 3, figsize=(8, 2.9), sharex=True, sharey=True)
with torch.no_grad():
    drawn = {f"alpha = {alpha}": m.generate(plane)["point"] for alpha, m in toys.items()}
    found = {alpha: m.loss(plane).parts for alpha, m in toys.items()}
for ax, (name, x) in zip(axes, {"data": plane["point"], **drawn}.items()):
    ax.scatter(*x.T, c=far, s=6); ax.set(aspect="equal", title=name)
plt.show()
found = pd.DataFrame({alpha: {n: v.item() for n, v in p.items()} for alpha, p in found.items()})
assert found.loc["pull", 50.] < .1*found.loc["pull", .1] and found.loc["kl", 50.] < found.loc["kl", .1]
found.T[["kl", "pull", "point"]].rename_axis("alpha").round(1)


# %% [markdown]
# Who looks at `pull` alone sees a success: with the strong pull the students are within 0.1 nats of their teacher, with the weak one 3.0. How to notice: watch `kl` beside it. It fell as well, from 4.5 to 3.0, and the loss of the point rose by 7 nats. A `kl` that falls together with `pull` is the teacher giving in. Two more:
#
# - *The pull is there from the first update.* Untrained encoders draw the joint posterior to the prior before it has learnt anything. How to notice: the
#   `kl` stays near zero while `pull` is small.
# - *A KL summed where its mean is expected.* The table shows the mean over modalities; `pull` is the sum.
#
# ## Recap
#
# JMVAE-kl trains a joint encoder and one for each modality at once; the teacher pays for being imitable. Distilling afterwards (lesson 10) leaves the teacher
# alone. `JVAEWithStudents` is a control between the two: a teacher that nobody pulls, decoders that know students. None of them touches the amortization gap of the joint encoder itself; lesson 09 does.
#
# JMVAE needs a joint encoder, and $M$ more. [Lesson 05](05_mopoe.ipynb) does without: it builds the joint posterior out of the encoders of single modalities.
#
# (In the talk's tables "JMVAE student" is a student that was distilled afterwards, from a trained JVAE. JMVAE-kl is a row of its own here.)
#
# ## Exercises
#
# 1. Detach the joint posterior in `pull`. What does the teacher learn then, and what the students?
# 2. Why is `updates_seen` a buffer and not an attribute?
# 3. Two pictures with the same word have joint posteriors $\mathcal N(-1, 0.5^2)$ and $\mathcal N(1, 0.5^2)$, equally often. Which Gaussian does the word's encoder become by the pull alone?
# 4. (Open.) You may choose $\alpha$ for a data set with one rich and one poor modality. What would you measure, on which items, and what would make you stop raising it? A good answer names a price for the joint posterior, a gain for the unimodal ones, and a split that the choice does not spoil.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The teacher is that of the JVAE, as if it had no students; the students learn from a teacher that is still changing. With `share=0` that is what `JVAEWithStudents` does.
# 2. Buffers are saved with a checkpoint; a resumed run continues the phase-in where it was.
# 3. The one with the same mean and variance as both together: $\mathcal N(0, 0.5^2 + 1)$, a standard deviation of 1.12. Much of its mass lies where neither posterior has any.
# 4. For instance: the negative ELBO of all modalities (the price), the KL of each encoder to the joint posterior and what is generated from one modality (the gain), all on validation items; stop where the price grows faster than the gain, and report test items once.
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
# - M. Suzuki, K. Nakayama, Y. Matsuo, [Joint Multimodal Learning with Deep Generative Models](https://arxiv.org/abs/1611.01891), 2016. Its equation (8) is our (1).
# - R. Vedantam, I. Fischer, J. Huang, K. Murphy, [Generative Models of Visually Grounded Imagination](https://arxiv.org/abs/1705.10762), 2017. TELBO: the unimodal encoders are trained by ELBOs of their own views, and no pull; it puts beside each other what each choice of objective makes an encoder mean.
