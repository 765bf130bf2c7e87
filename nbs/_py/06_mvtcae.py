# %% [markdown]
# # MVTCAE
#
# > A product of experts that is trained to be predictable from each expert alone.
#
# ::: {.callout-note}
# ## You will learn
#
# - total correlation, and how a representation that explains it follows from two bottlenecks;
# - the loss of MVTCAE (Hwang et al., 2021), derived, and checked against a Monte Carlo estimate;
# - why its own encoders are not the best answer to one modality, and what a student would say;
# - CRMVAE, which also decodes from each encoder alone, and what that trains and what it leaves untrained.
#
# Runs in one to two minutes on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: two overlapping circles, the information of x1 and of x2; the shared part counts plus two minus one, the others plus one minus one; z is drawn round the shared part.](drawings/information.svg)

# %%
#| default_exp mvtcae

# %%
#| export
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.distributions import *
from mmvae_nb.networks import *
from mmvae_nb.vae import *
from mmvae_nb.multimodal_elbo import *

# %%
import math
import matplotlib.pyplot as plt
import pandas as pd
from mmvae_nb.plotting import *
from mmvae_nb.data import PairedByKey
from mmvae_nb.datasets.digits import mnist_svhn_text
import torch
from mmvae_nb.training import *
from mmvae_nb.checkpoints import cached
from mmvae_nb.pretrained_models import pretrained

# %% [markdown]
# ## What the modalities share
#
# Two methods so far, and each has its price. JMVAE (lesson 04) needs a joint encoder beside those of single modalities. MoPoE (lesson 05) builds the joint posterior out of them, but asks every subset to explain what it has not seen. MVTCAE builds it out of them too, as one product, and asks
# something else of the single ones: that $z$ should hold what the modalities *share*. That needs a measure of sharing.
#
# The *total correlation* of $x_1, \dots, x_M$ is the number of nats by which they are not independent:
# $\mathrm{TC}(x) = \mathrm{KL}\big(p(x) \,\|\, \prod_m p(x_m)\big)$. A representation $z$ explains the part of it that vanishes
# when $z$ is known, $\mathrm{TC}(x; z) = \mathrm{TC}(x) - \mathrm{TC}(x \mid z)$. Written with mutual informations:
#
# $$
# \begin{aligned}
# \mathrm{TC}(x; z) = \sum_{m=1}^{M} I(x_m; z) - I(x; z).
# \end{aligned}\tag{1}
# $$
#
# *Why:* with the entropy $H$, the mean of minus the log density, $\mathrm{TC}(x) = \sum_m H(x_m) - H(x)$, the same with everything conditioned on $z$, and the difference of the two. In
# words: $z$ should know much about *every* modality and, in total, as little as possible. Information held by one modality
# alone is added once and subtracted once, so encoding it gains nothing. For two modalities:

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "Two modalities as areas of information. What z (dashed) knows of both counts twice and is subtracted once. The overlap, I(x1; x2), is TC(x)."
#| fig-alt: "Two overlapping circles, H(x1) and H(x2); a dashed circle z covers most of the overlap and a little of each side."
fig, ax = plt.subplots(figsize=(6, 2.8))
for side in (-.6, .6):
    ax.add_patch(plt.Circle((side, 0), 1, color=ROLE_COLOURS["data"], alpha=.3))
ax.add_patch(plt.Circle((0, 0), .6, fill=False, ls="--", lw=1.5))
words = {(-1.1, .5): "H(x1)", (1.1, .5): "H(x2)", (0, .1): "I(x1; x2)", (.5, .5): "z"}
for at, word in words.items(): ax.text(*at, word, ha="center", va="center")
ax.annotate("only x1's: +1 - 1", (-.5, -.1), (-2.4, -.9), arrowprops={"arrowstyle": "->"})
ax.annotate("of both: +2 - 1", (.1, -.2), (1.2, -.95), arrowprops={"arrowstyle": "->"})
ax.set(xlim=(-2.5, 2.5), ylim=(-1.1, 1.1), aspect="equal"); ax.axis("off");

# %% [markdown]
#
# There is a second way to write the same number. Add up each column of blocks, a filled one as a gain and a dashed one as a cost: slant and colour cancel in both forms, and what is shared is left once. (The blocks are two views and a $z$ of three parts that are independent of each other.)
#
# ![Drawing: blocks for what z holds, a slant only x1 tells, a shared part, a colour only x2 tells; two forms of gains and costs, the second at half height, and in both only the shared block is left.](drawings/forms.svg)
#
# In formulas, and for any $M$: for every $m$, the chain rule says $I(x; z) = I(x_m; z) + I(x; z \mid x_m)$.
# Average it over $m$ and put it into (1):
#
# $$
# \begin{aligned}
# \mathrm{TC}(x; z) = \frac{M - 1}{M} \sum_{m=1}^{M} I(x_m; z) - \frac1M \sum_{m=1}^{M} I(x; z \mid x_m).
# \end{aligned}\tag{2}
# $$
#
# The last term asks: if only $x_m$ were there, how surprising would $z$ be? That is the missing-modality problem as a term of
# the objective.
#
# MVTCAE mixes both forms, $(1 - \kappa)$ times (1) plus $\kappa$ times (2), with a share $0 \le \kappa \le 1$ (the paper, and
# our code, call it $\alpha$; here that letter is JMVAE's weight of lesson 04). Both are the same number, so what is there to mix? Nothing, until each of their terms is replaced by a bound, which comes next. The bounds differ: (1) leads to a pull of the joint posterior towards the prior, (2) to a pull towards each expert. $\kappa$ says how much of each:
#
# $$
# \begin{aligned}
# \mathrm{TC}(x; z) = {}& \frac{M - \kappa}{M} \sum_{m=1}^{M} I(x_m; z) \\
#   & - (1 - \kappa)\, I(x; z) - \frac{\kappa}{M} \sum_{m=1}^{M} I(x; z \mid x_m).
# \end{aligned}\tag{3}
# $$
#
# (The factor of the first sum is $(1 - \kappa) + \kappa\, \frac{M - 1}{M} = \frac{M - \kappa}{M}$.)
#
# ## From information to a loss
#
# Each term has a bound that can be computed. Let $q(z \mid x)$ be the joint posterior, $p(z)$ the prior, and $q_m(z \mid x_m)$ *any*
# distribution that sees $x_m$ only:
#
# $$
# \begin{aligned}
# I(x_m; z) &\ge H(x_m) + \mathbb E\, \log p_\theta(x_m \mid z), \\
# I(x; z) &\le \mathbb E\, \mathrm{KL}\big(q(z \mid x) \,\|\, p(z)\big), \\
# I(x; z \mid x_m) &\le \mathbb E\, \mathrm{KL}\big(q(z \mid x) \,\|\, q_m(z \mid x_m)\big).
# \end{aligned}\tag{4}
# $$
#
# All three for one reason: replacing the true conditional in an expected logarithm by another distribution costs a KL, and a KL is never
# negative. In full, with $q(x_m \mid z)$, $q(z)$ and $q(z \mid x_m)$ for the conditionals and marginals of the joint distribution $p(x)\, q(z \mid x)$:
#
# $$
# \begin{aligned}
# I(x_m; z) &= H(x_m) + \mathbb E \log q(x_m \mid z) \\
#   &= H(x_m) + \mathbb E \log p_\theta(x_m \mid z) + \mathbb E\, \mathrm{KL}\big(q(x_m \mid z) \,\|\, p_\theta(x_m \mid z)\big), \\
# I(x; z) &= \mathbb E\, \mathrm{KL}\big(q(z \mid x) \,\|\, q(z)\big) \\
#   &= \mathbb E\, \mathrm{KL}\big(q(z \mid x) \,\|\, p(z)\big) - \mathrm{KL}\big(q(z) \,\|\, p(z)\big), \\
# I(x; z \mid x_m) &= \mathbb E\, \mathrm{KL}\big(q(z \mid x) \,\|\, q(z \mid x_m)\big) \\
#   &= \mathbb E\, \mathrm{KL}\big(q(z \mid x) \,\|\, q_m(z \mid x_m)\big) \\
#   &\quad - \mathbb E\, \mathrm{KL}\big(q(z \mid x_m) \,\|\, q_m(z \mid x_m)\big).
# \end{aligned}
# $$
#
# (In the last line $q(z \mid x_m)$ is the average of the joint posterior over the items that share $x_m$.) In (3) the term with the lower bound has a positive factor and those with upper bounds have negative ones, so together they give a lower bound of $\mathrm{TC}(x; z)$, as long as
# weights and $\beta$ are 1. The entropy $H(x_m)$ does not depend on the model. With weights $w_m$ and $\beta$ as everywhere in this
# course, what is minimised for each item is
#
# $$
# \begin{aligned}
# \mathcal J(x) = {}& -\frac{M - \kappa}{M} \sum_m w_m\, \mathbb E_q \log p_\theta(x_m \mid z) \\
#   & + \beta \Big\{ (1 - \kappa)\, \mathrm{KL}(q \,\|\, p)
#   + \frac{\kappa}{M} \sum_m \mathrm{KL}(q \,\|\, q_m) \Big\}.
# \end{aligned}\tag{5}
# $$
#
# The joint posterior is the product of the experts, $q \propto \prod_m q_m$, without the prior as an expert. Compare with JMVAE (lesson
# 04): there, too, a KL pulls single-modality encoders and the joint one together; here the joint one *is made of* them. With
# $\kappa = 0$, (5) is the negative ELBO of a product of experts, and nothing trains an encoder to be used alone.
#
# By hand first, for three triples, by the MVTCAE of 10,000 updates that comes with the course (trained with photographed street numbers; here it gets rendered ones). With $\kappa = 5/6$ the reconstruction counts $(M - \kappa)/M = 0.72$ times, so the loss is the smaller number:

# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
specs = default_specs(train.modalities)
batch = train.batch(0, 3)
trained, M, kappa = pretrained("real_mvtcae"), 3, 5/6
with torch.no_grad():
    q_m = {n: trained.encoders[n](batch[n]) for n in specs}
    q = product_of_experts(list(q_m.values()))
    z = q.rsample(generator=generator(0, "by hand"))
    explains = trained.weighted(trained.log_likelihoods(batch, z))
    plain, conditional = q.kl(), sum(q.kl(e) for e in q_m.values())
    loss = -(M - kappa)/M*explains + (1 - kappa)*plain + kappa/M*conditional    # eq. (5)
pd.DataFrame({"reconstruction": -explains, "KL to the prior": plain,
              "sum of KLs to the experts": conditional, "loss": loss}).round().astype(int)


# %% [markdown]
# The class has the same lines, and checks what it is given:

# %%
#| exports
class MVTCAE(MultimodalVAE):
    "Product of experts with conditional bottlenecks (Hwang et al., 2021), eq. (5)."
    @checked
    def __init__(self, specs: dict[str, ModalitySpec], # per modality
                 latent: int = 20, # latent coordinates
                 beta: float = 1.0, # weight of the KL terms
                 alpha: float = 5/6 # between the plain (0) and the conditional (1) bottleneck
                ):
        super().__init__(specs, latent, beta)
        self.alpha = in_range("alpha", alpha, low=0, high=1)
        self.encoders = nn.ModuleDict({n: UnimodalEncoder(s, latent) for n, s in specs.items()})

    def infer(self, batch) -> DiagonalGaussian:
        "The product of the experts of what is given, without the prior."
        return self.product(self.encoders[n](batch[n]) for n in self.check(batch))

    def divergences(self, batch) -> dict:
        "KL(joint || unimodal) in nats per item, for each modality of the batch."
        experts = {n: self.encoders[n](batch[n]) for n in self.check(batch)}
        joint = product_of_experts(list(experts.values()))
        return {n: joint.kl(q) for n, q in experts.items()}

    def loss(self, batch) -> Loss:
        "Eq. (5), M of what is there: `total` in weighted nats per item, its parts unweighted."
        experts = [self.encoders[n](batch[n]) for n in self.check(batch)]
        q, share = product_of_experts(experts), self.alpha/len(experts)
        logs = self.log_likelihoods(batch, q.rsample())
        pull = sum(q.kl(e) for e in experts)
        total = self.beta*((1 - self.alpha)*q.kl() + share*pull) - (1 - share)*self.weighted(logs)
        return Loss(total.mean(), self.parts(logs, kl=q.kl(), pull=pull))


# %% [markdown]
# $(M - \kappa)/M = 1 - \kappa/M$, hence `share`. The authors publish settings for other data only ($\kappa = 5/6$, $\beta = 2.5$ for
# five modalities). We take $\kappa = 5/6$, $\beta = 1$ and the weights of all other methods; that is our choice.
#
# ## Checked by Monte Carlo
#
# The formula uses closed forms for the KLs. An independent value: build the product from its experts' precisions by hand, draw
# many $z$ from it, and average the integrand of (5) as it stands, logarithm by logarithm, with PyTorch's densities.

# %%
seed_everything(0, "check"); model = MVTCAE(specs, beta=2.5).eval()


# %%
@torch.no_grad()
def monte_carlo(model, batch, samples):
    "Draws of the integrand of eq. (5), averaged over the batch: (samples,)."
    experts = {n: model.encoders[n](batch[n]) for n in specs}
    tau = sum(1/e.var for e in experts.values())                 # the product's precision
    mean = sum(e.mean/e.var for e in experts.values())/tau
    z = mean + torch.randn(samples, *mean.shape)/tau.sqrt()
    log_q = torch.distributions.Normal(mean, tau**-0.5).log_prob(z).sum(-1)
    log_p = torch.distributions.Normal(0., 1.).log_prob(z).sum(-1)
    normal = torch.distributions.Normal
    log_m = [normal(e.mean, e.std).log_prob(z).sum(-1) for e in experts.values()]
    nll = -torch.stack([model.weighted(model.log_likelihoods(batch, v)) for v in z])
    a, b, M = model.alpha, model.beta, len(specs)
    kl = (1 - a)*(log_q - log_p) + a/M*sum(log_q - v for v in log_m)
    return ((M - a)/M*nll + b*kl).mean(-1)


# %%
seed_everything(1, "Monte Carlo"); theirs = monte_carlo(model, batch, 2000)
with torch.no_grad(): ours = torch.stack([model.loss(batch).total for _ in range(500)])
error = (theirs.var()/len(theirs) + ours.var()/len(ours))**.5
assert abs(theirs.mean() - ours.mean()) < 3*error
print(f"exported {ours.mean():.2f}, Monte Carlo {theirs.mean():.2f}, standard error {error:.2f}")

# %% [markdown]
# The corners, and what it says about a subset:

# %%
#| code-fold: true
#| code-summary: "Check: kappa = 0, and a product of all"
plain = MVTCAE(specs, alpha=0.).eval(); plain.load_state_dict(model.state_dict())
seed_everything(2, "corner"); total, parts = plain.loss(batch)
weighted = sum(specs[n].weight*parts[n] for n in specs)
torch.testing.assert_close(total.detach(), weighted + parts["kl"])

# %%
#| code-fold: true
#| code-summary: "Check"
full = model.infer(batch)
torch.testing.assert_close(1/full.var, sum(1/model.infer({n: batch[n]}).var for n in specs))
apart = sum(v.mean() for v in model.divergences(batch).values()).detach()
torch.testing.assert_close(apart, model.loss(batch).parts["pull"])

# %%
#| code-fold: true
#| code-summary: "Check: one modality"
words = {"text": batch["text"]}               # of one modality: 1 - alpha times its negative ELBO
seed_everything(3, "alone"); alone = model.loss(words).total
seed_everything(3, "alone"); elbo = model.elbo(words, model.infer(words)).mean()
torch.testing.assert_close(alone, -(1 - model.alpha)*elbo)
try: MVTCAE(specs, alpha=2.)
except MmvaeError as e: print(e)
else: raise AssertionError("let through")

# %% [markdown]
# ## Its own encoders, and students
#
# ::: {.callout-tip collapse="true"}
# ## Predict, then open: every expert is exactly right, $q_m = p(z \mid x_m)$. Is their product right, too sure, or not sure enough?
#
# Too sure: the prior is in each of them, so the product has it $M$ times (lesson 05). Equation (6) counts it.
# :::
#
# The product of three experts is narrower than each of them, always: precisions add up. So if each expert is right about its own modality, the product is
# too narrow; and if the product is right, its experts are too broad. Count precisions, for modalities that are independent given $z$: let $x_m$ add
# the precision $1/v_m$ to the prior's 1, so that right experts have precision $1 + 1/v_m$. Then
#
# $$
# \begin{aligned}
# \underbrace{\sum_m (1 + 1/v_m) = M + \sum_m 1/v_m}_{\text{product of right experts}} \;>\;
#   \underbrace{1 + \sum_m 1/v_m}_{\text{true joint posterior}}:
# \end{aligned}\tag{6}
# $$
#
# the prior is counted $M$ times. Dividing by it $M - 1$ times would mend this; MVTCAE, like its paper, does not. So each expert serves two masters: as a factor of the product, and as an answer of its own.
#
# A *student* as in lesson 01 has no such double duty. It is another encoder of $x_m$, trained for one thing only, to be as near as can be to the joint posterior of a model that stays as it is. So it may spread as much as one modality
# leaves open. ([Lesson 10](10_distillation.ipynb) is about students. Here eight lines will do.) We train one MVTCAE, then three students of it:

# %%
run = dict(updates=500, batch_size=32, lr=2e-3, seed=0, progress=False, device="cpu")
modules = ["mvtcae", "training", "datasets.digits"]
new = lambda: (seed_everything(0, "mvtcae"), MVTCAE(specs))[1]
model = cached("mvtcae", new, lambda m: fit(m, train, **run), run, modules)


# %%
def imitate(students, updates=300):
    "Train encoders of single modalities to be near the joint posterior of `model`."
    optimiser = torch.optim.Adam(students.parameters(), 2e-3)
    for update in range(updates):
        seen = train.batch(update, 32)
        with torch.no_grad(): teacher = model.infer(seen)
        loss = sum(teacher.kl(students[n](seen[n])).mean() for n in specs)
        optimiser.zero_grad(); loss.backward(); optimiser.step()


# %%
encoders = lambda: torch.nn.ModuleDict({n: UnimodalEncoder(s, 20) for n, s in specs.items()})
new = lambda: (seed_everything(0, "students"), encoders())[1]
students = cached("mvtcae-students", new, imitate, [run, 300], modules)
test, labels = validation.take(300)

# %%
with torch.no_grad():
    joint, own = model.infer(test), model.divergences(test)
    far = {n: {"own encoder": own[n].mean().item(),
               "student": joint.kl(students[n](test[n])).mean().item()} for n in specs}
far = pd.DataFrame(far).T
assert far["student"].sum() < far["own encoder"].sum()
far.round(1)

# %% [markdown]
# Nats of KL from the joint posterior: the students are nearer, by 0.1 to 5 nats. That is no proof that they are the better posteriors, but it is
# what they were trained for, and MVTCAE's own encoders only partly. The same comparison in pictures, from the word alone:

# %%
#| fig-cap: "Digits and street numbers drawn from the word alone, by MVTCAE's own text encoder and by the text student, after 500 and 300 updates."
#| fig-alt: "Two blocks with three rows each: the word, own encoder, student."
few = {"text": test["text"][:8]}
with torch.no_grad():
    z = students["text"](few["text"]).mean
    made = {"own encoder": model.generate(few), "student": model.generate(z)}
given = {"given": [w.strip() for w in train.modalities["text"].decode(few["text"])]}
side_by_side({n: {**given, **{k: v[n] for k, v in made.items()}} for n in ["mnist", "svhn"]},
             columns=1);

# %% [markdown]
# The own encoder's digits look alike, whatever the word; the student's zeros and threes can be told apart. After so short a training neither draws street numbers. The MVTCAE of 10,000 updates does, by its own encoders; one sample of $z$ for each column:

# %%
#| fig-cap: "The MVTCAE of 10,000 updates. From a digit: the digit comes back, the street numbers have colours and some the right figure (third, fourth, sixth, seventh), and one of the eight words is right, three. From a word: the word comes back, the fourth, fifth and seventh of the handwritten digits are right, and the first two street numbers."
#| fig-alt: "Two blocks of eight columns. Below digits: the same digits, blurred street numbers in several colours, and words of which most are wrong or none. Below words: thin handwritten digits, blurred street numbers in several colours, and the same words."
eight, blocks = {n: x[:8] for n, x in test.items()}, {}
show = {"mnist": lambda x: x, "svhn": lambda x: x,
        "text": lambda x: [w.strip() for w in train.modalities["text"].decode(x)]}
for n in ("mnist", "text"):
    made = trained.generate({n: eight[n]}, sample=True, generator=generator(0, n))
    blocks[f"{n} alone"] = {"given": show[n](eight[n]), **{m: show[m](made[m]) for m in specs}}
side_by_side(blocks, columns=1);


# %% [markdown]
# So it draws in strokes and colours where MoPoE draws grey (lesson 05). What one view says of another is often not heard, though: of the words for eight digits one is right. [Below](#crmvae-decode-from-each-encoder-alone) is a reason.
#
# Do students of it do better after a long training? Here are both in a picture from the runs of lesson 14: real street numbers, 10,000 updates of 64 items, 5,000 for the student. In either block compare the rows MVTCAE and MVTCAE student. They
# hardly differ, so here a student adds nothing that shows. Both draw colours and strokes, and not always the right number. ([Lesson 11](11_findings.ipynb) counts how often.)
#
# ![Two blocks of street numbers, from digits and from words. Below what was given and the ground truth stand MoPoE (grey), MVTCAE and its student (nearly the same pictures, in many colours), JMVAE-kl, the JMVAE student and the iterative student.](../results/long/figures/slide_36_all_methods.png)

# %% [markdown]
# ## CRMVAE: decode from each encoder alone
#
# There is a gap in (5): every $z$ that a decoder meets in training is drawn from the *joint* posterior. The pull brings $q_m$ near to it, but by (6) never
# all the way. So whoever generates from one modality hands the decoders a $z$ from a broader distribution, and part of it lies where they have not been.
#
# A submission to ICLR 2023 (see the references) calls models like this one and JMVAE *coordination-based models*: they bring unimodal posteriors close to the joint one, and no mixture is needed. It blames their
# poor generation from one modality on that gap, and closes it. Its CRMVAE lets each encoder, alone, reconstruct its modality. The formula below is that of the implementation in
# [MultiVae](https://github.com/AgatheSenellart/MultiVae), times $M + 1$:
#
# $$
# \begin{aligned}
# \mathcal J(x) = {}& -\frac12 \sum_m w_m \Big\{ \mathbb E_{q(z \mid x)} \log p_\theta(x_m \mid z)
#   + \mathbb E_{q_m(z \mid x_m)} \log p_\theta(x_m \mid z) \Big\} \\
#   & + \beta \Big\{ \mathrm{KL}(q \,\|\, p) + \sum_m \mathrm{KL}(q \,\|\, q_m) \Big\},
#   \qquad q \propto \prod_m q_m.
# \end{aligned}\tag{7}
# $$
#
# ![Drawing: on one axis the narrow product q over the broad prior, at its sides the bells of two encoders; arrows are the KLs from q to them and to the prior; both views are decoded from q, in CRMVAE also each from its own encoder, dashed.](drawings/ties.svg)
#
# *Why times $M + 1$?* To the optimum a constant factor is nothing, nor to Adam, which divides the size of the gradient out. It matters to `fit`, because it cuts gradients longer than 100 (lesson 02g). In (7) the two
# halves add up to one reconstruction of each modality, as in an ELBO, and `total` is in the same weighted nats as all other losses of the course.
#
# *What is new and what is not?* Take $\kappa = M/(M + 1)$ in (5). Then all its divergences have the weight $\beta/(M + 1)$, so $M + 1$ times (5) has exactly the braces of (7),
# and $M$ times the reconstruction from the joint posterior in place of the two halves. So two things differ: half of the reconstruction starts from $q_m$, and reconstructions count $M$ times less. At equal reconstructions,
# $\beta$ in CRMVAE does what $M \beta$ does in MVTCAE. A comparison at one $\beta$ changes both things at once.
#
# *Is it a mixture, then?* No. In MMVAE each $q_m$ has to reconstruct *all* modalities, also those it has not seen, and pays the floor of lesson 05 (equation 4) for it. Here $q_m$ reconstructs $x_m$ only, which it has seen: no floor. The
# price: no term trains the decoder of $x_n$ on draws from $q_m$, $n \ne m$. That generation from one modality to *another* gets better is a hope, carried by the pull.
#
# *Is it a bound?* With one modality $q = q_1$, the pull is zero, and (7) is the negative ELBO. With more it is none: $q_m$ has no divergence from the prior of its own, so $-\mathcal J$ can exceed $\log p_\theta(x)$ (exercise 3).

# %%
#| exports
class CRMVAE(MVTCAE):
    "`MVTCAE`'s divergences; each encoder alone reconstructs its modality, too; eq. (7)."
    @checked
    def __init__(self, specs: dict[str, ModalitySpec], # per modality
                 latent: int = 20, # latent coordinates
                 beta: float = 1.0 # weight of the KL terms
                ):
        super().__init__(specs, latent, beta, alpha=len(specs)/(len(specs) + 1))

    def loss(self, batch) -> Loss:
        "Eq. (7), M + 1 times MultiVae's: `total` in weighted nats per item, its parts unweighted."
        experts = {n: self.encoders[n](batch[n]) for n in self.check(batch)}
        q = product_of_experts(list(experts.values()))
        joint = self.log_likelihoods(batch, q.rsample())
        own = {n: self.log_likelihoods({n: batch[n]}, e.rsample())[n] for n, e in experts.items()}
        pull, own = sum(q.kl(e) for e in experts.values()), self.weighted(own)
        total = self.beta*(q.kl() + pull) - (self.weighted(joint) + own)/2
        return Loss(total.mean(), self.parts(joint, kl=q.kl(), pull=pull, own=-own))


# %% [markdown]
# An independent value again, this time in closed form. If a decoder is one linear map, $p_\theta(x \mid z) = \mathcal N(Wz + c, s^2 I)$, then for $q = \mathcal N(\mu, \mathrm{diag}\, v)$
#
# $$
# \begin{aligned}
# \mathbb E_q \log p_\theta(x \mid z) = -\frac{1}{2 s^2} \Big\{ \| x - W\mu - c \|^2 + \sum_{i,l} W_{il}^2 v_l \Big\}
#   - \frac{D}{2} \log(2 \pi s^2).
# \end{aligned}
# $$

# %%
s, D, N = .7, {"a": 3, "b": 5, "c": 2}, torch.distributions.Normal
def linear_spec(size, weight):
    "A linear encoder and decoder for vectors."
    return ModalitySpec(lambda: nn.Linear(size, 8), 8, lambda latent: nn.Linear(latent, size),
                        Gaussian(s), weight)

def expected(net, x, q):
    "E_q log N(x; W z + c, s^2) in nats per item, in closed form."
    miss = (x - net(q.mean)).pow(2).sum(1) + (q.var@net.weight.pow(2).T).sum(1)
    return -miss/(2*s**2) - x.shape[1]/2*math.log(2*math.pi*s**2)

@torch.no_grad()
def by_hand(model, batch):
    "Eq. (7), the product and the divergences by torch's Gaussians."
    own = {n: model.encoders[n](x) for n, x in batch.items()}
    tau = sum(1/e.var for e in own.values())
    q = DiagonalGaussian(sum(e.mean/e.var for e in own.values())/tau, -tau.log())
    kl = lambda p: torch.distributions.kl_divergence(N(q.mean, q.std), p).sum(1)
    spread = kl(N(0., 1.)) + sum(kl(N(e.mean, e.std)) for e in own.values())
    said = sum(spec.weight*(expected(model.decoders[n], batch[n], q)
                            + expected(model.decoders[n], batch[n], own[n]))
               for n, spec in model.specs.items())
    return (model.beta*spread - said/2).mean()


# %%
#| code-fold: true
#| code-summary: "Check"
def drawn(model, batch, times=4000):
    "The exported loss, averaged over many draws."
    with torch.no_grad(): return model.loss({n: x.repeat(times, 1) for n, x in batch.items()}).total

for M in (3, 1):
    seed_everything(M, "CRMVAE"); sizes = dict(list(D.items())[:M])
    toy = CRMVAE({n: linear_spec(d, 1 + d/4) for n, d in sizes.items()}, latent=4, beta=1.7)
    vectors = {n: torch.randn(5, d) for n, d in sizes.items()}
    exported, hand = drawn(toy, vectors), by_hand(toy, vectors)
    torch.testing.assert_close(exported, hand, rtol=.01, atol=0.)
    print(f"M = {M}: exported {exported:.2f}, by hand {hand:.2f}")
q = toy.infer(vectors)                       # M = 1: the negative ELBO
elbo = toy.specs["a"].weight*expected(toy.decoders["a"], vectors["a"], q) - 1.7*q.kl()
torch.testing.assert_close(-elbo.mean(), hand)

# %% [markdown]
# What does the term do? A short trial on digits and words only. MVTCAE with $\kappa = 2/3$, $\beta = 1$ and CRMVAE with $\beta = 1/2$ differ in *where half of the reconstructions start* and in nothing else, up to a constant factor. The loss of
# one modality in nats, at draws from what is given:

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


# %%
ways = {"digit, both given": ("mnist", *two), "from itself": ("mnist", "mnist"),
        "from the word": ("mnist", "text"), "word, both given": ("text", *two),
        "from  itself": ("text", "text"), "from the digit": ("text", "mnist")}
table = {}
for kind in (lambda: MVTCAE(few, alpha=2/3), lambda: CRMVAE(few, beta=1/2)):
    name = type(kind()).__name__
    new = lambda: (seed_everything(0, "pair"), kind())[1]
    m = cached(f"pair-{name}", new, lambda m: fit(m, pair, **short), short, modules)
    table[name] = {k: lost(m, *way) for k, way in ways.items()}
table = pd.DataFrame(table).T
gap = table["from itself"] - table["digit, both given"]      # what an encoder alone loses
assert gap["CRMVAE"] < gap["MVTCAE"]
assert table.loc["CRMVAE", "from the word"] < table.loc["MVTCAE", "from the word"]
table.round(1)

# %% [markdown]
# In MVTCAE an encoder alone reconstructs its modality about 2 nats worse than both together do, digit or word; in CRMVAE it does as well or better, which is what the term asks for. It is not free: the digit with both given loses 3 nats. And the hope? Half
# of it came true: the digit from the word gains 2.5 nats, the word from the digit loses 2.4. (One seed, 300 updates. A second seed had the same signs. So had another processor with other rounding, and there a gain or loss came out as 8 nats: of these numbers take the sign.) A JVAE whose decoders learn all modalities from single ones is a control in lesson 04.
#
# ## What goes wrong, and how you would notice
#
# *Experts that are free to specialise.* With $\kappa = 0$ nothing holds an expert to the product. The trial on digits and words once more, beside the one with $\kappa = 2/3$ from above. Look at the two rows of each: the digits that come from both, and those from the digit itself.

# %%
#| code-fold: true
#| code-summary: "Drawing: the same model with kappa = 0"
#| fig-cap: "Digits by MVTCAE after 300 updates of 32 pairs, at the posterior's mean. With kappa = 2/3 the digit alone gives what both give. With kappa = 0 both give a blurred digit, and the digit alone gives one and the same blot."
#| fig-alt: "Five rows of digits: data; for kappa = 2/3 two rows that agree; for kappa = 0 a row of blurred digits and a row of eight equal white blots."
rows, told = {"data": test["mnist"][:8]}, {}
for kappa, name in {2/3: "pair-MVTCAE", 0.: "pair-MVTCAE-0.0"}.items():
    new = lambda: (seed_everything(0, "pair"), MVTCAE(few, alpha=kappa))[1]
    m = cached(name, new, lambda m: fit(m, pair, **short), short, modules)
    for given in (two, ["mnist"]):
        with torch.no_grad(): made = m.generate({n: test[n] for n in given}, to="mnist")["mnist"]
        rows[f"kappa = {kappa:.2f}, {'both' if given == two else 'digit'}"] = made[:8]
    with torch.no_grad(): parts = m.loss({n: test[n] for n in two}).parts
    told[f"{kappa:.2f}"] = {n: round(parts[n].item()) for n in ("mnist", "text", "kl", "pull")}
    told[f"{kappa:.2f}"]["digit from itself"] = round(lost(m, "mnist", "mnist"))
assert told["0.00"]["pull"] > 5*told["0.67"]["pull"]
generation_grid(rows); plt.show()
pd.DataFrame(told).rename_axis(columns="kappa")


# %% [markdown]
# How to notice: nothing that was trained with everything given shows it. The losses of digit and word differ by 2 nats at most, and at $\kappa = 0$ `pull` is not even in the loss. So log it all the same: it stands at about 320 nats in place of 20. And reconstruct each modality from itself alone, which costs 17 nats more than with both.
#
# *No tie to the prior.* With $\kappa = 1$ nothing ties the posterior to the prior, and
# samples from the prior need not look like anything. Watch `pull` and `kl` separately: a falling total hides
# one of them rising.
#
# ## Recap
#
# Total correlation counts what modalities share. Two ways to write it give two bottlenecks; their mixture is MVTCAE's loss. Its joint posterior
# is a product of experts, and each expert is pulled towards the product. CRMVAE also lets each expert reconstruct its modality; nothing but the pull lets it generate another one.
#
# All the methods so far differ in what stands in for a missing modality. None asks how good the joint posterior itself is. [Lesson 07](07_amortization_gap.ipynb) measures what an encoder loses even when everything is given, and from there on the two losses are treated as one.
#
# ## Exercises
#
# 1. Show that $\mathrm{KL}(q \,\|\, q_m) = 0$ for all $m$ is impossible for a product of $M \ge 2$ proper Gaussian experts.
# 2. Derive (1) for $M = 2$ and $z = x_1$. What does $z$ explain?
# 3. Two modalities, $x_m = z +$ noise $\mathcal N(0, 1)$, $w_m = \beta = 1$, and an item that contradicts itself: $x_1 = 5$, $x_2 = -5$. With $q_1 = \mathcal N(10/3, 4)$ and $q_2 = \mathcal N(-10/3, 4)$, compare $-\mathcal J$ of (7) with $\log p(x)$.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The product's precision is the sum of all precisions, so it is larger than each; two Gaussians of different variance have a positive KL.
# 2. $I(x_1; x_1) + I(x_2; x_1) - I(x; x_1) = H(x_1) + I(x_1; x_2) - H(x_1) = I(x_1; x_2)$: all of the total correlation, as $x_2$
#    is independent of $x_1$ given $x_1$.
# 3. $q = \mathcal N(0, 2)$. The braces: $\mathrm{KL}(q \| p) = 0.15$ and $\mathrm{KL}(q \| q_m) = 1.49$ each, 3.12 together. Half the reconstructions: $-\frac12 (25 + 2) - \frac12 (2.78 + 4) - \log 2\pi = -18.73$. So $-\mathcal J = -21.9$, and $\log p(x) = -25 - \log 2\pi - \frac12 \log 3 = -27.4$:
#    5.5 nats above what would have to bound it.
# :::
#
# ### In code: a total correlation
#
# Fill in `total_correlation`: that of Gaussian variables, from their covariance matrix. The check uses torch's
# entropies, and the textbook value for two variables with correlation $\rho$.

# %%
#| code-fold: true
#| code-summary: "Solution"
def total_correlation(covariance):
    "TC in nats of jointly Gaussian variables with this covariance matrix."
    ### BEGIN SOLUTION
    return (covariance.diagonal().log().sum() - covariance.logdet())/2
    ### END SOLUTION


# %%
a = torch.randn(4, 6, generator=generator("covariance"))
covariance = a@a.T
joint = torch.distributions.MultivariateNormal(torch.zeros(4), covariance).entropy()
apart = sum(torch.distributions.Normal(0., v.sqrt()).entropy() for v in covariance.diagonal())
torch.testing.assert_close(total_correlation(covariance), apart - joint, rtol=1e-4, atol=1e-4)
for rho in (0., .5, -.9):
    two = total_correlation(torch.tensor([[4., 2*rho], [2*rho, 1.]]))
    torch.testing.assert_close(two, -torch.log(torch.tensor(1 - rho**2))/2)

# %% [markdown]
# ## References
#
# - H. Hwang, G.-H. Kim, S. Hong, K.-E. Kim, [Multi-View Representation Learning via Total Correlation Objective](https://proceedings.neurips.cc/paper/2021/hash/65a99bb7a3115fdede20da98b08a370f-Abstract.html), 2021. MVTCAE: the total correlation that the views share, and the bounds of it that become the loss.
# - [Mitigating the limitations of multimodal VAEs with coordination-based approach](https://openreview.net/forum?id=Rn8u4MYgeNJ), submission to ICLR 2023. CRMVAE: every expert is held to the joint posterior, and every expert decodes.
# - A. Senellart et al., [MultiVae](https://github.com/AgatheSenellart/MultiVae): implementations of many multimodal VAEs, CRMVAE's among them.
# - M. Suzuki et al., [Joint Multimodal Learning with Deep Generative Models](https://arxiv.org/abs/1611.01891), 2016. Where pulling unimodal encoders to a joint one began (lesson 04).
