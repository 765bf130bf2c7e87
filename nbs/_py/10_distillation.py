# %% [markdown]
# # Distillation
#
# > Students that see one modality each, taught by a posterior that has seen them all.
#
# ::: {.callout-note}
# ## You will learn
#
# - how a student $s_m(z \mid x_m)$ is distilled from any teacher posterior, and what it converges to;
# - why a perfect student still has a KL to its teacher;
# - how students are combined when two modalities are given.
#
# Runs in about a minute on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: above, the teacher needs all views and is crossed out after training; its narrow bell is copied by a student's broader bell, below, which comes from the word alone.](drawings/student.svg)

# %%
#| default_exp distillation

# %%
#| export
import torch
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.distributions import *
from mmvae_nb.networks import *
from mmvae_nb.vae import *
from mmvae_nb.training import *
from mmvae_nb.multimodal_elbo import *

# %%
import itertools
import matplotlib.pyplot as plt, pandas as pd
from mmvae_nb.metrics import *
from mmvae_nb.plotting import *
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.checkpoints import cached
from mmvae_nb.judges.classes import cached_classifier

# %% [markdown]
# ## The idea
#
# The JVAE's posterior is good and needs everything. So train, for each modality, another encoder that sees
# only $x_m$ and imitates it. Write $q_{\mathrm{teach}}(z \mid x)$ for what the teacher answers: here the joint posterior $q_\phi$, in lesson 09 a
# refined one. The teacher stays as it is; only the students learn:
#
# $$
# \begin{aligned}
# \min_{s_m} \; \mathbb E_{x \sim \text{data}} \Big[ \mathrm{KL}\big( q_{\mathrm{teach}}(z \mid x_1, \dots, x_M) \,\big\|\, s_m(z \mid x_m) \big) \Big].
# \end{aligned}\tag{1}
# $$
#
# What is the best a student can do? For a given $x_m$ the other modalities vary, and so does the teacher's
# answer. Write $\bar q(z \mid x_m) = \mathbb E_{x \mid x_m}[q_{\mathrm{teach}}(z \mid x)]$ for the average answer. Then
#
# $$
# \begin{aligned}
# \mathbb E_{x \mid x_m} [\mathrm{KL}(q_{\mathrm{teach}} \| s_m)]
#   = \underbrace{\mathbb E_{x \mid x_m}[\mathrm{KL}(q_{\mathrm{teach}} \| \bar q)]}_{\text{what } x_m \text{ does not tell}}
#   + \mathrm{KL}(\bar q \,\|\, s_m).
# \end{aligned}\tag{2}
# $$
#
# *Why:* add and subtract $\log \bar q$. With $\mathbb E$ for the mean over $x$ given $x_m$,
#
# $$
# \begin{aligned}
# \mathbb E\, \mathbb E_{q_{\mathrm{teach}}}[\log q_{\mathrm{teach}} - \log s_m]
#   = \mathbb E\, \mathbb E_{q_{\mathrm{teach}}}[\log q_{\mathrm{teach}} - \log \bar q]
#   + \mathbb E\, \mathbb E_{q_{\mathrm{teach}}}[\log \bar q - \log s_m].
# \end{aligned}
# $$
#
# In the last term the function in the brackets depends on $x_m$ only, so the
# average over $x$ falls on $q_{\mathrm{teach}}$ alone and makes it $\bar q$: the term is $\mathbb E_{\bar q}[\log \bar q - \log s_m]$, a KL.
#
# The first part does not depend on the student. It is the information that the other modalities have
# about $z$ and $x_m$ has not, and no distillation removes it. The second is minimised by
# the Gaussian with the *mean and variance of* $\bar q$: this direction of KL covers (lesson 02d). To see it, write
# $\bar\mu_l$ and $\bar v_l$ for the mean and variance of $z_l$ under $\bar q$, $\mu_l$ and $\sigma_l^2$ for those of the student:
#
# $$
# \begin{aligned}
# \mathrm{KL}(\bar q \,\|\, s_m) &= \mathbb E_{\bar q}[\log \bar q] - \mathbb E_{\bar q}[\log s_m] \\
#   &= \text{const} + \tfrac12 \sum_l \Big[ \log \sigma_l^2 + \frac{\bar v_l + (\bar\mu_l - \mu_l)^2}{\sigma_l^2} \Big],
# \end{aligned}\tag{3}
# $$
#
# smallest at $\mu_l = \bar\mu_l$; then the derivative in $\sigma_l^2$, which is $\frac12 (1/\sigma_l^2 - \bar v_l/\sigma_l^4)$, vanishes at $\sigma_l^2 = \bar v_l$: taking over
# mean and variance is called *moment matching*. And $\bar v_l$ has two parts, by the law of total variance. With $\mu^{\mathrm{teach}}$ and $\sigma^{\mathrm{teach}}$ for the parameters of one answer,
#
# $$
# \begin{aligned}
# \bar v_l = \underbrace{\mathbb E_{x \mid x_m}\big[ (\sigma_l^{\mathrm{teach}})^2 \big]}_{\text{how sure the teacher is}}
#   + \underbrace{\mathrm{Var}_{x \mid x_m}\big[ \mu_l^{\mathrm{teach}} \big]}_{\text{how far its answers lie apart}}.
# \end{aligned}\tag{4}
# $$
#
# So a student is broad where $x_m$ leaves things open: rightly so.
#
# If the teacher were exact and the data drawn from the model, $q_{\mathrm{teach}} = p(z \mid x)$, then $\bar q = \mathbb E\, p(z \mid x) = p(z \mid x_m)$, by the law of total probability. The student aims at the true posterior of its
# modality, and the first part of (2), averaged over $x_m$, is the conditional mutual information $I(z; x \mid x_m)$.
#
# A check of (2) by numbers: three teacher answers in one dimension, and a grid search for the best
# student.

# %%
means, variances = torch.tensor([[-1.], [.5], [2.]]), torch.tensor([[.1], [.2], [.1]])
answers = DiagonalGaussian(means, variances.log())
matched_mean = answers.mean.mean()
matched_var = answers.var.mean() + (answers.mean - matched_mean).pow(2).mean()    # eq. (4)
student = lambda m, v: DiagonalGaussian(torch.full((3, 1), m), torch.full((3, 1), v).log())
best = answers.kl(student(matched_mean.item(), matched_var.item())).mean()
grid = [answers.kl(student(m, v)).mean() for m in torch.linspace(-1, 2, 61).tolist()
        for v in torch.linspace(.2, 4, 96).tolist()]
assert best <= min(grid) + 1e-6 and min(grid) - best < .01   # nothing on the grid is better
assert best > .5                                             # and yet the best student is not at 0

# %% [markdown]
# In a picture: the three answers that go with one $x_m$, their average, and the best student. The Gaussian that is best in the *other* direction of KL (exercise 1) is
# drawn too: its precision is the mean of the answers' precisions, so it does not cover them.

# %%
#| fig-cap: "One x_m, three answers of the teacher (grey), their average, and the best Gaussian in either direction of KL."
#| fig-alt: "Three narrow peaks, a curve with three bumps below them, one broad Gaussian over all three, one narrow in the middle."
z = torch.linspace(-4, 5, 400).view(-1, 1, 1)
density = lambda q: q.log_prob(z).exp()                       # (400, answers)
precision = (1/answers.var).mean()
weighted = (answers.mean/answers.var).mean()
reverse = DiagonalGaussian((weighted/precision).view(1, 1), -precision.log().view(1, 1))
fig, ax = plt.subplots(figsize=(6.5, 2.8)); z_axis = z.flatten()
ax.plot(z_axis, density(answers)/3, color="0.7")
ax.plot(z_axis, density(answers).mean(1), "k", label="average of the answers")
forward = DiagonalGaussian(matched_mean.view(1, 1), matched_var.log().view(1, 1))
for label, q in {"KL(teacher || student)": forward, "KL(student || teacher)": reverse}.items():
    ax.plot(z_axis, density(q), "--", label=f"best in {label}")
ax.set(xlabel="z", ylabel="density", ylim=(0, 1.8)); ax.legend();

# %% [markdown]
# ## Students
#
# A teacher is any model with `targets(batch)`: for each modality the posterior its student should
# imitate. For the JVAE it is the joint posterior each time. (The iterative teacher of lesson 09 gives each
# student its own: the one refined from that student's modality.) Generation uses the teacher's decoders.
#
# With several modalities given, students are combined by a product of experts, as in the talk's appendix;
# the surplus priors are divided out (lesson 02d, equation 4), unless `divide_prior=False`. An ideal student is a *posterior*, as seen above, with the prior in it. So the product of the
# students of a subset $A$ has the prior $|A|$ times where Bayes' rule has it once, and dividing by $p(z)^{|A| - 1}$ is the exact rule:
#
# $$
# \begin{aligned}
# p(z \mid x_A) \propto p(z) \prod_{m \in A} p(x_m \mid z) \propto p(z)^{1 - |A|} \prod_{m \in A} p(z \mid x_m).
# \end{aligned}\tag{5}
# $$
#
# For Gaussians precisions add, so with $p = \mathcal N(0, I)$ the precision of (5) is that of the plain product less $|A| - 1$: the plain product is too sure of itself, and its mean lies too near to zero. Real students are not exact, so which rule does better is a question for measurement, [below](#two-at-once); the talk has the plain product, and so have the experiments.

# %%
#| exports
NO_TEACHER = ("teacher: got none, as a file leaves it out, allowed: students made by `distill` or "
              "`Students(teacher)` in this process")

def one_each(names, # of modalities
             items # (batch, ...): how many there are to share out, and where they lie
            ) -> dict: # name -> indices of its share, or all where there are fewer items than names
    "Share out the items of a batch at random, as evenly as can be."
    if len(items) < len(names): return dict.fromkeys(names, slice(None))
    order = torch.randperm(len(items), device=items.device)
    return dict(zip(names, order.tensor_split(len(names))))

class Students(MultimodalVAE):
    "One encoder per modality, distilled from `teacher`, which is frozen HERE, in place; eq. (1)."
    @checked
    def __init__(self, teacher: MultimodalVAE, # trained; with `targets`, or able to `infer` all
                 direction: str = "forward", # KL(teacher || student); "reverse": the other way
                 divide_prior: bool = True, # divide surplus priors out of products, eq. (5)?
                 warm_start: bool = False, # start from the teacher's own unimodal encoders?
                 steps: int | None = None, # T of a teacher that refines (lesson 09); None: its own
                 starts: str = "one" # where such a teacher starts for an item: "one", or "all"
                ):
        super().__init__(teacher.specs, teacher.latent, teacher.beta)
        self.direction = one_of("direction", direction, ["forward", "reverse"])
        self.divide_prior = one_of("divide_prior", divide_prior, [True, False])
        self.teacher = teacher.requires_grad_(False).eval()
        self.refined = hasattr(teacher, "targets") and not isinstance(teacher, Students)
        self.target_options = {}
        self.in_groups = one_of("starts", starts, ["one", "all"]) == "one"
        self.in_groups &= getattr(teacher, "refines", False)
        if steps is not None:
            if not self.refined:
                raise MmvaeError(f"steps: got {steps}, allowed: None, "
                                 "as this teacher does not refine")
            self.target_options = {"steps": in_range("steps", steps, low=0, whole=True)}
        self.speak_as(teacher)
        encoders = {n: UnimodalEncoder(s, self.latent) for n, s in self.specs.items()}
        self.encoders = nn.ModuleDict(encoders)
        if warm_start: self._copy(getattr(teacher, "encoders", None))

    def _copy(self, encoders):
        if encoders is None:
            raise MmvaeError("warm_start: got True, allowed: False, "
                             "as this teacher has no unimodal encoders")
        self.encoders.load_state_dict(encoders.state_dict()); self.encoders.requires_grad_(True)

    def train(self, mode=True):
        "Training mode for the students only."
        super().train(mode)
        if self.teacher is not None: self.teacher.eval()
        return self

    def arguments(self) -> dict:
        "What it takes to infer and generate: a file leaves out the teacher (lesson 02h)."
        return dict(specs=self.specs, latent=self.latent, beta=self.beta,
                    direction=self.direction, divide_prior=self.divide_prior)

    @classmethod
    def from_arguments(cls, specs, latent, beta, **options):
        "Students without a teacher."
        new = cls(MultimodalVAE(specs, latent, beta), **options)
        new.teacher = None
        return new

    def infer(self, batch) -> DiagonalGaussian:
        "One modality: its student. Several: the product of their students."
        return self.product((self.encoders[n](batch[n]) for n in self.check(batch)),
                            divide_prior=self.divide_prior)

    def targets(self, batch, groups=None) -> dict:
        "The teacher's posterior for each modality's student, detached."
        if self.teacher is None: raise MmvaeError(NO_TEACHER)
        with torch.no_grad():
            asked = {} if groups is None else {"groups": groups}
            if self.refined: return self.teacher.targets(batch, **asked, **self.target_options)
            joint = self.teacher.infer(batch).detach()
            return {n: joint for n in self.check(batch)}

    def divergences(self, batch,
                    groups=None # name -> indices of the items that its student sees; None: all
                   ) -> dict:
        "KL between teacher and student in nats per item, for each modality of the batch."
        have, targets, out = self.check(batch), self.targets(batch, groups), {}
        for n in have:
            s = self.encoders[n](batch[n] if groups is None else batch[n][groups[n]])
            out[n] = targets[n].kl(s) if self.direction == "forward" else s.kl(targets[n])
        return out

    def loss(self, batch) -> Loss:
        "The mean divergence, summed over students (they share nothing: each has its own gradient)."
        have = self.check(batch)
        groups = one_each(have, batch[have[0]]) if self.in_groups else None
        kls = {n: v.mean() for n, v in self.divergences(batch, groups).items()}
        return Loss(sum(kls.values()), {n: v.detach() for n, v in kls.items()})


# %% [markdown]
# One thing about cost. The JVAE answers for an item once, and all students learn from that answer. The teacher of lesson 09 answers by a search of its own for
# *each* start, so teaching $M$ students costs $M$ searches an item. With `starts="one"` the items of a batch are shared out, and each teaches one student only: the expected gradient is the
# same, an update costs a third, and so more items are seen in the same time.
#
# `distill` makes the students and trains them; it takes what `fit` takes.

# %%
#| exports
@checked
def distill(teacher: MultimodalVAE, # a trained model that can infer from everything
            data, # a `MultimodalData`
            updates: int, # optimiser steps
            students: dict | None = None, # keyword arguments of `Students`
            **fit_options # passed to `fit`
           ) -> Students:
    "Students of `teacher`, trained on `data` by eq. (1). It is frozen: they share its decoders."
    with keeping_random_state():
        seed_everything(fit_options.get("seed", 0), "students")
        model = Students(teacher, **(students or {}))
    fit(model, data, updates, **fit_options)
    return model


# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
specs = default_specs(train.modalities)
run = dict(updates=1000, batch_size=32, lr=2e-3, seed=0, progress=False, device="cpu")
modules = ["multimodal_elbo", "training", "datasets.digits"]
new_jvae = lambda: (seed_everything(0, "jvae"), JVAE(specs))[1]
jvae = cached("jvae", new_jvae, lambda m: fit(m, train, **run), run, modules)
jvae_before = [p.clone() for p in jvae.parameters()]
settings = dict(updates=700, batch_size=32, lr=2e-3, seed=0, progress=False, device="cpu")
new_students = lambda: (seed_everything(0, "students"), Students(jvae))[1]
students = cached("jvae_students", new_students, lambda m: fit(m, train, **settings),
                  [run, settings], [*modules, "distillation"])
unmoved = [torch.equal(a, b) for a, b in zip(jvae_before, jvae.parameters())]
assert all(unmoved)                                                       # the teacher's parameters
assert not any(p.requires_grad for p in students.decoders.parameters())

# %%
quick = distill(jvae, train, 2, batch_size=8, progress=False, device="cpu")
batch = train.batch(0, 6)
one = {n: quick.infer({n: batch[n]}) for n in specs}
two = quick.infer({n: batch[n] for n in ["mnist", "text"]})
both = product_of_experts([one["mnist"], one["text"]], divide_prior=True)
torch.testing.assert_close(two.mean, both.mean)
total, parts = quick.loss(batch)
torch.testing.assert_close(parts["svhn"], jvae.infer(batch).kl(one["svhn"]).mean().detach())
torch.testing.assert_close(total.detach(), sum(parts.values()))
backwards = Students(jvae, direction="reverse")
torch.testing.assert_close(backwards.divergences(batch)["text"],
                           backwards.encoders["text"](batch["text"]).kl(jvae.infer(batch)))
try: Students(jvae, warm_start=True)
except MmvaeError as e: assert "warm_start" in str(e)
shares = one_each(["a", "b", "c"], torch.zeros(8))
assert sorted(map(len, shares.values())) == [2, 3, 3]
assert torch.equal(torch.cat(list(shares.values())).sort().values, torch.arange(8))

# %% [markdown]
# ## What the students can do
#
# The word is given, and nothing else; now there is an encoder for just that.

# %%
#| fig-cap: "From one modality to the others, through the students of the JVAE."
#| fig-alt: "Three blocks of rows: given words, generated digits; given MNIST digits, generated street numbers and words; and so on."
test, labels = validation.take(300)
show = {"mnist": lambda x: x[:8], "svhn": lambda x: x[:8],
        "text": lambda x: train.modalities["text"].decode(x[:8])}
blocks = {}
with torch.no_grad():
    for given in specs:
        made = students.generate({given: test[given]})
        rows = {f"{given}, given": show[given](test[given])}
        blocks[f"{given} alone"] = {**rows, **{n: show[n](made[n]) for n in specs if n != given}}
side_by_side(blocks, columns=1);

# %% [markdown]
# Three numbers say how good they are (lesson 03a): the KL to the teacher, the accuracy of a linear probe on the
# posterior means, and coherence: how often a classifier finds the given digit in what was generated.

# %%
pool, pool_labels = train.take(2000)
with torch.no_grad():
    kl = {n: v.mean().item() for n, v in students.divergences(test).items()}
    probe = {n: linear_probe(students.infer({n: pool[n]}).mean, pool_labels,
                             students.infer({n: test[n]}).mean, labels, points=2000) for n in specs}
judge = cached_classifier(train, "mnist", device="cpu")
with torch.no_grad(): made = students.generate({"text": test["text"]}, to="mnist")["mnist"]
agree = coherence(made, labels, judge)
assert probe["text"] > .9 and probe["mnist"] > .6 and agree > .3   # chance is 0.1
print("KL to the teacher (nats):", {n: round(v, 1) for n, v in kl.items()})
print("linear probe:", {n: round(v, 3) for n, v in probe.items()})
print("coherence Text -> MNIST:", round(agree, 2))

# %% [markdown]
# ### Two at once
#
# Both rules for two students, on validation items: the KL from the teacher, who has seen all three, and the negative ELBO of all three, both in nats. The variance of the divided product is larger, never smaller.

# %%
joint, pairs, found = jvae.infer(test), list(itertools.combinations(specs, 2)), {}
for rule in (False, True):
    students.divide_prior = rule
    for pair in pairs:
        with torch.no_grad():
            q = students.infer({n: test[n] for n in pair})
            nelbo = -torch.stack([students.elbo(test, q, generator(0, k)) for k in range(8)]).mean()
        found[" + ".join(pair), "divided" if rule else "plain"] = {
            "KL from the teacher": joint.kl(q).mean().item(), "negative ELBO": nelbo.item(),
            "mean deviation": q.std.mean().item()}
products = pd.DataFrame(found).T.unstack().round(2)
narrow, broad = (products["mean deviation"][rule] for rule in ("plain", "divided"))
assert (broad > narrow).all()
products


# %% [markdown]
# On real digits, three seeds, the experiments have both rules for three kinds of students (`results/real/tables/products_of_students.csv`): dividing the prior out makes coherence better by 0.03 in each kind, FID by 2 to 3, leaves the probe
# as it is, and the ELBO better for students of the JVAE and of the iterative teacher, worse for MVTCAE's. So it is the default of `Students`. It is none of MVTCAE or MoPoE, whose experts are trained as *factors* of a product and are no posteriors.

# %% [markdown]
# ## What goes wrong
#
#
# - *Reading the KL as failure.* By equation (2) it cannot reach zero. Compare it between teachers only with
#   care: a teacher that ignores the other modalities is easy to imitate.
# - *Averaging over pairs that never change.* If each digit is always paired with the same street number, the
#   student can learn the partner by heart and gets too narrow. How to notice: its KL to the teacher is far larger on validation items than on
#   training items. Here pairs are drawn anew each epoch.
#
# ## Recap
#
# A student minimises the KL from its teacher and matches the moments of the teacher's average answer. Two
# students together are a product. The teacher is not touched.
#
# ## Exercises
#
# 1. Which Gaussian minimises the other direction, $\mathbb E\, \mathrm{KL}(s_m \,\|\, q_{\mathrm{teach}})$? (Lesson 07, equation 11.)
# 2. Distil with `direction="reverse"`. What happens to the students' variances?
# 3. With `divide_prior=False`, does the probe from two modalities get worse?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The normalised $\exp \mathbb E \log q_{\mathrm{teach}}$. The logarithm of a Gaussian is a parabola, and so is a mean of parabolas: precision $\mathbb E[1/\sigma^2]$, mean weighted by the precisions. How
#    far the teacher's means lie apart does not enter its variance.
# 2. They shrink, for this reason.
# 3. Hardly: the mean moves towards zero, which a linear probe does not notice; the variance shrinks, which samples do.
# :::
#
# ### In code: the best student
#
# For one $x_m$ the teacher gives several answers $q_1, \dots, q_J$. By equation (2) the best student is the one closest to
# their average. Fill in `best_student`: the Gaussian $s$ with the smallest mean of
# $\mathrm{KL}(q_j \| s)$. The check looks whether any direction leads further down.

# %%
#| code-fold: true
#| code-summary: "Solution"
def best_student(answers):
    "The `DiagonalGaussian` (1, latent) closest to all `answers`, a `DiagonalGaussian` (J, latent)."
    ### BEGIN SOLUTION
    mean = answers.mean.mean(0, keepdim=True)
    var = (answers.var + (answers.mean - mean)**2).mean(0, keepdim=True)   # of the mixture
    return DiagonalGaussian(mean, var.log())
    ### END SOLUTION


# %%
g = generator("answers")
answers = DiagonalGaussian(torch.randn(6, 3, generator=g), torch.randn(6, 3, generator=g))
best = best_student(answers)
mean, logvar = (p.clone().requires_grad_() for p in (best.mean, best.logvar))
cost = answers.kl(DiagonalGaussian(mean.expand(6, 3), logvar.expand(6, 3))).mean()
for slope in torch.autograd.grad(cost, [mean, logvar]): assert slope.abs().max() < 1e-5
assert (best.var > answers.var.mean(0)).all()        # it also covers how far the answers are apart

# %% [markdown]
# ## References
#
# - G. Hinton, O. Vinyals, J. Dean, [Distilling the Knowledge in a Neural Network](https://arxiv.org/abs/1503.02531), 2015.
