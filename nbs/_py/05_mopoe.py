# %% [markdown]
# # MoPoE
#
# > A mixture of products of experts over all subsets; MVAE and MMVAE are its corners.
#
# ::: {.callout-note}
# ## You will learn
#
# - two ways to make one posterior of several, the product and the mixture, and when a product is right;
# - the bound of MoPoE (Sutter et al., 2021) and how it follows from the ELBO;
# - the product of experts (MVAE) and the mixture of experts (MMVAE) as special cases;
# - why a mixture loses detail when it has to explain what it has not seen.
#
# Runs in about a minute on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: the bells of two experts and their narrow product above; below, the mixture of the three as one curve.](drawings/subsets.svg)

# %%
#| default_exp mopoe

# %%
#| export
import itertools
import torch
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.distributions import *
from mmvae_nb.distributions import _many
from mmvae_nb.networks import *
from mmvae_nb.vae import *
from mmvae_nb.multimodal_elbo import *

# %%
import matplotlib.pyplot as plt
import pandas as pd
from mmvae_nb.plotting import *
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.training import *
from mmvae_nb.checkpoints import cached
from mmvae_nb.pretrained_models import pretrained

# %% [markdown]
# ## Every subset has an opinion
#
# JMVAE has a joint encoder and one for each modality. MoPoE has one encoder per modality and no others, $q_m(z \mid x_m)$, the *experts*. So what does it answer when several modalities are there? There are two simple ways to make one opinion of several.
#
# - A *product* is an *and*: all experts must find a $z$ likely. Multiply the bells and divide by the integral. Multiplying bells adds their exponents, so precisions add up, and the mean is that of the experts, each weighted with its precision:
#
# $$
# \begin{aligned}
# \prod_m \mathcal N(z; \mu_m, \sigma_m^2) \;\propto\; \mathcal N\Big( z;\; \frac{\sum_m \mu_m/\sigma_m^2}{\sum_m 1/\sigma_m^2},\; \frac{1}{\sum_m 1/\sigma_m^2} \Big).
# \end{aligned}
# $$
#
# - A *mixture* is an *or*: it is enough that one of them finds $z$ likely. Take one expert at random: the density is the mean of theirs.
#
# The product is sharper than each of its experts, the mixture never sharper than the sharpest. ([Lesson 02d](02d_distributions.ipynb#product-of-experts) tests both.)

# %%
gaussian = lambda mean, var: DiagonalGaussian(torch.tensor([[mean]]), torch.tensor([[var]]).log())
experts = [gaussian(-.8, 1.), gaussian(1.5, .6)]
precision = sum(1/e.var for e in experts)                              # the product, by hand
mean = sum(e.mean/e.var for e in experts)/precision
torch.testing.assert_close(product_of_experts(experts).mean, mean)
torch.testing.assert_close(product_of_experts(experts).var, 1/precision)

# %% [markdown]
# MoPoE uses both. For any subset $A$ of modalities it forms the
# product of experts $q_A(z \mid x_A) \propto \prod_{m \in A} q_m(z \mid x_m)$, and its joint posterior is
# the *mixture* of all $2^M - 1$ of them:
#
# $$
# \begin{aligned}
# q(z \mid x) = \frac{1}{2^M - 1} \sum_{\emptyset \ne A \subseteq \{1..M\}} q_A(z \mid x_A).
# \end{aligned}\tag{1}
# $$
#
# ![Drawing: seven small bells in three rows, one for each subset of three modalities; the more experts, the narrower; the top is MVAE's, the lowest row MMVAE's, all seven MoPoE's.](drawings/lattice.svg)

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "Two experts, their product with the prior, and the mixture of all three (MoPoE with two modalities)."
#| fig-alt: "Two overlapping peaks and a wide prior; the product is a narrower peak between them; the mixture covers all and is lower."
z = torch.linspace(-6.5, 5, 500)
density = lambda q: q.log_prob(z.view(-1, 1, 1)).exp()[:, 0]
product = product_of_experts(experts, prior=True)     # the full subset: the prior joins
fig, ax = plt.subplots(figsize=(6.5, 2.6))
for e, name, dash in zip(experts, "12", (":", "-.")):
    ax.plot(z, density(e), dash, color=ROLE_COLOURS["data"], label=f"expert {name}")
ax.plot(z, density(gaussian(0., 1.)), color="0.8", label="prior")
ax.plot(z, density(product), "--", color=ROLE_COLOURS["teacher"], label="product of both and the prior")
ax.plot(z, density(Mixture([*experts, product])), "k", label="mixture")
ax.set(xlabel="z", ylabel="density", xlim=(-6.5, 5)); ax.legend(loc="upper left", fontsize=8);

# %% [markdown]
# Move the two experts. Draw them apart: the product settles between them, where neither would have looked, and as sure as ever; the mixture keeps both opinions and gets broad. Give both the mean 1 and the deviation 0.8: without the surplus prior the product moves *past* both, to 1.47, because two independent hints count more than one (lesson 02d, equation 4). Last, make one expert wider than the prior (a deviation above 1): now there is nothing to divide out, and the picture says so.
#
# ::: {.instrument .two-experts}
# ![Still picture: two dashed bells, the experts; a narrow product between them, the same with the prior divided out a little further right, and the mixture, a curve with two bumps.](instruments/two-experts.svg)
#
# *On the course's site this picture has sliders for the means and standard deviations of both experts; in a notebook, run `Instrument("two-experts")`.*
# :::

# %%
#| hide
#| eval: false
from mmvae_nb.plotting import Instrument
Instrument("two-experts")

# %% [markdown]
# ## The bound
#
# Put (1) into the ELBO. The expectation under a mixture is the mean of the components' expectations, and the KL of the mixture is at most the mean of the components' KLs (why: below):
#
# $$
# \begin{aligned}
# \mathcal L(x; q) \;\ge\; \frac{1}{2^M - 1} \sum_A \Big\{ \mathbb E_{q_A} \Big[ \sum_{m=1}^{M} w_m \log p_\theta(x_m \mid z) \Big]
#   - \beta\, \mathrm{KL}(q_A \,\|\, p) \Big\}.
# \end{aligned}\tag{2}
# $$
#
# How much is given away? As much as $z$ tells of the subset it came from. If all components agree it is nothing, if they lie apart it is all that can be:
#
# ![Drawing: three rows of three bells, each at a third of its height, and a line, their sum; the bells agree, overlap, lie apart, and a bar beside them is empty, filled to two fifths, and nearly full at log 3.](drawings/bound.svg)
#
# Now the formula. Write $J = 2^M - 1$ for the number of components and $q$ for the mixture. In the difference of the KLs the prior cancels, because the mean of the $\mathbb E_{q_A} \log p$ is $\mathbb E_q \log p$:
#
# $$
# \begin{aligned}
# \frac1J \sum_A \mathrm{KL}(q_A \,\|\, p) - \mathrm{KL}(q \,\|\, p)
#   &= \frac1J \sum_A \mathbb E_{q_A}[\log q_A] - \mathbb E_q[\log q] \\
#   &= \frac1J \sum_A \mathbb E_{q_A}[\log q_A - \log q] \\
#   &= \frac1J \sum_A \mathrm{KL}(q_A \,\|\, q) \;\in\; [0, \log J].
# \end{aligned}\tag{3}
# $$
#
# A KL is not negative, which proves (2). And $q \ge q_A/J$ everywhere, so none is above $\log J$: with three modalities at most $\beta \log 7 < 2 \beta$ nats. (2) is nearly as good as the ELBO of the mixture itself, so if
# mixtures do worse, this inequality is not the reason. (MMVAE as published keeps the density of the mixture, and uses several importance samples; our "singletons" is (2). MVAE as published adds the ELBOs of
# single modalities and of random subsets, each for the modalities in it only; our "full" is its product alone.)
#
# Note the sums: every subset has to explain *all* modalities, also those it has not seen.
# In training one subset is drawn per item; `exact=True` takes all of them. As in
# the authors' code, the prior takes part as an expert in the full subset only. MVAE's product always holds the prior, whatever is given:
# the prior was a factor in training, and when a modality is missing only the factor of that modality is left out.
#
# ## When is a product right?
#
# One $q_m$ can't be right in all the roles it has in (2). To see it, count how often each product has the prior in it, where Bayes' rule has it once:
#
# ![Drawing: a table of MoPoE's three kinds of product, of one, two and all three experts with the prior; read as posteriors they have the prior once, twice, four times, read as likelihoods never, never, once; once is framed as right.](drawings/priors.svg)
#
# So there are two exact products, one for each column. If the experts are *posteriors*, $q_m = p(z \mid x_m)$, a product of $|A|$ has the prior $|A|$ times, and the surplus is divided out:
#
# $$
# \begin{aligned}
# p(z \mid x_A) \;\propto\; p(z) \prod_{m \in A} p(x_m \mid z) \;\propto\; \frac{\prod_{m \in A} p(z \mid x_m)}{p(z)^{|A| - 1}}.
# \end{aligned}
# $$
#
# (Exercise 2 of lesson 01 was this case, with two thermometers.) If the experts are *likelihoods*, $q_m \propto p(x_m \mid z)$, the product has to be multiplied by the prior once, *also for a single expert*.
#
# MoPoE never divides, and it multiplies by the prior for the full subset only. So training finds a compromise between the columns. (2) stays a bound (at $w_m = \beta = 1$) whatever the experts are; only its tightness suffers.
#
# ## By hand
#
# The bound (2) for three triples: seven subsets, a bell for each, and the mean of their ELBOs of *everything*. The encoders and decoders are those of the MoPoE of 10,000 updates that comes with the course, trained with photographed street numbers; here it gets rendered ones:

# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
specs = default_specs(train.modalities)
batch = train.batch(0, 3)
trained, rows = pretrained("real_mopoe"), {}
for size in (1, 2, 3):
    for A in itertools.combinations(specs, size):
        with torch.no_grad():
            experts = [trained.encoders[n](batch[n]) for n in A]
            q_A = product_of_experts(experts, prior=size == 3)           # eq. (1)
            rows[" × ".join(A)] = trained.elbo(batch, q_A, generator(0, "by hand")).tolist()
table = pd.DataFrame(rows, index=["item 0", "item 1", "item 2"]).T
pd.concat([table, table.mean().rename("bound (2)").to_frame().T]).round().astype(int)


# %% [markdown]
# Go down a column. Each product is ahead of its parts. From one modality the ELBO is 440 to 1,570 nats below that of all three, and the bound, the mean of the seven, is 330 to 730 below it. That is what is maximised, so the decoders serve all seven at once.
#
#
# ## The model
#
# First the subsets. `kind` has two corners of (1) beside it: the product of all modalities alone is MVAE (Wu and Goodman, 2018), the mixture of single ones is MMVAE (Shi et al., 2019).

# %%
#| exports
def subsets_of(names, # modality names
               kind="powerset" # (MoPoE), or "full" (MVAE: product), "singletons" (MMVAE: mixture)
              ) -> list: # of tuples of names
    "The subsets of modalities whose products of experts are mixed."
    names = tuple(names)
    one_of("subsets", kind, ["powerset", "full", "singletons"])
    if kind == "full": return [names]
    if kind == "singletons": return [(n,) for n in names]
    return [s for k in range(1, len(names) + 1) for s in itertools.combinations(names, k)]


# %%
assert len(subsets_of("abc")) == 7 and subsets_of("abc")[-1] == ("a", "b", "c")
assert subsets_of("abc", "full") == [("a", "b", "c")]
assert subsets_of("abc", "singletons") == [("a",), ("b",), ("c",)]


# %% [markdown]
# The experts, and what each subset answers:

# %%
#| exports
class _Experts(MultimodalVAE):
    "One encoder per modality, and products of them."
    @checked
    def __init__(self, specs: dict[str, ModalitySpec], # per modality
                 latent: int = 20, # latent coordinates
                 beta: float = 1.0, # weight of the KL terms
                 subsets: str = "powerset", # "powerset", "full" (MVAE) or "singletons" (MMVAE)
                 exact: bool = False # all subsets in the loss, instead of one drawn per item?
                ):
        super().__init__(specs, latent, beta)
        self.subsets, self.exact, self._kind = subsets_of(specs, subsets), exact, subsets
        self.always_prior = subsets == "full"
        self.encoders = nn.ModuleDict({n: UnimodalEncoder(s, latent) for n, s in specs.items()})

    def products(self, batch) -> list:
        "q_A for each subset A of the modalities in the batch."
        have = self.check(batch)
        experts = {n: self.encoders[n](batch[n]) for n in have}
        return [self.product([experts[n] for n in s]) for s in subsets_of(have, self._kind)]

    def product(self, posteriors, **options):
        "The product of experts; the prior joins the full subset, in MVAE every one."
        posteriors = _many("posteriors", posteriors)
        if self.always_prior: return product_of_experts(posteriors, prior=True)
        return super().product(posteriors, prior=len(posteriors) == len(self.names))


# %% [markdown]
# Inference and loss. Whoever asks for a *given* subset gets its product, as in the paper; the mixture (1) is what is trained:

# %%
#| exports
class MoPoE(_Experts):
    "Mixture of products of experts (Sutter, Daunhawer and Vogt, 2021), eq. (2)."
    def mixture(self, batch) -> Mixture:
        "The joint posterior of eq. (1), as a distribution."
        return Mixture(self.products(batch))

    def infer(self, batch) -> DiagonalGaussian:
        "The product of the experts of what is given (the paper's conditional generation)."
        return self.product([self.encoders[n](batch[n]) for n in self.check(batch)])

    def loss(self, batch) -> Loss:
        "The negative bound of eq. (2): one random subset per item, or all of them."
        products = self.products(batch)
        kl = torch.stack([q.kl() for q in products]).mean(0)
        draws = products if self.exact else [Mixture(products).pick()]
        logs = [self.log_likelihoods(batch, q.rsample()) for q in draws]
        logs = {n: torch.stack([l[n] for l in logs]).mean(0) for n in logs[0]}
        total = -(self.weighted(logs) - self.beta*kl).mean()
        return Loss(total, self.parts(logs, kl=kl))


# %%
#| exports
class MVAE(MoPoE):
    "The product of all experts and the prior (Wu and Goodman, 2018): `MoPoE`'s full subset alone."
    @checked
    def __init__(self, specs: dict[str, ModalitySpec], # per modality
                 latent: int = 20, # latent coordinates
                 beta: float = 1.0 # weight of the KL terms
                ):
        super().__init__(specs, latent, beta, subsets="full")

class MMVAE(MoPoE):
    "The mixture of single experts (Shi et al., 2019), with the bound (2): `MoPoE`'s singletons."
    @checked
    def __init__(self, specs: dict[str, ModalitySpec], # per modality
                 latent: int = 20, # latent coordinates
                 beta: float = 1.0, # weight of the KL terms
                 exact: bool = False # all experts in the loss, instead of one drawn per item?
                ):
        super().__init__(specs, latent, beta, subsets="singletons", exact=exact)


# %% [markdown]
# ## Checked against a loop that leaves nothing to chance
#
# Below, the bound (2) is computed item by item and subset by subset, in double precision, straight from the
# formula, with the noise fixed so that both see the same $z$.

# %%
seed_everything(0, "check"); model = MoPoE(specs, beta=2.5, exact=True).double().eval()
inputs = {n: x.double()/255 if n != "text" else x for n, x in batch.items()}
_float = DiagonalGaussian.rsample


# %%
#| code-fold: true
#| code-summary: "Equation (2), term by term"
def brute_force(model, batch):
    "Equation (2), term by term: one item, one subset, one modality at a time."
    total = 0.
    for i in range(3):
        item = {n: x[i:i+1] for n, x in batch.items()}
        for s in subsets_of(specs):
            precision, weighted = torch.zeros(2, 20, dtype=torch.float64)
            for n in s:
                q = GaussianHead.forward(model.encoders[n].head, model.encoders[n].trunk(item[n]))
                precision += (-q.logvar[0]).exp(); weighted += q.mean[0]*(-q.logvar[0]).exp()
            if len(s) == 3: precision += 1
            mean, var = weighted/precision, 1/precision
            kl = 0.5*(var + mean**2 - 1 - var.log()).sum()
            for n, spec in specs.items():
                log_p = spec.likelihood.log_prob(item[n], model.decoders[n](mean[None]))[0]
                total += spec.weight*log_p/(3*7)
            total -= 2.5*kl/(3*7)
    return -total


# %%
try:
    DiagonalGaussian.rsample = lambda self, n=None, generator=None: self.mean   # no noise, for both
    with torch.no_grad(): ours, theirs = model.loss(inputs).total, brute_force(model, inputs)
finally: DiagonalGaussian.rsample = _float
assert abs(ours - theirs)/abs(theirs) < 1e-5, (ours, theirs)
print(f"exported {ours:.6f}, brute force {theirs:.6f}")

# %% [markdown]
# Drawing one subset per item is an unbiased estimate of the same bound:

# %%
#| code-fold: true
#| code-summary: "Check"
model.exact = False; seed_everything(0, "draws")
with torch.no_grad(): draws = torch.stack([model.loss(inputs).total for _ in range(400)])
model.exact = True
with torch.no_grad(): exact = torch.stack([model.loss(inputs).total for _ in range(60)])
error = (draws.var()/400 + exact.var()/60)**.5
assert abs(draws.mean() - exact.mean()) < 3*error

# %%
#| code-fold: true
#| code-summary: "Check"
alone = MMVAE(specs)
assert len(alone.products(batch)) == 3 and len(MVAE(specs).products(batch)) == 1
assert alone.mixture(batch).log_prob(torch.zeros(3, 20)).shape == (3,)

# %% [markdown]
# ## Why mixtures lose
#
# Look at equation (2) for the subset {text}. Its $z$ knows the word and has to explain a *particular*
# MNIST image. It cannot know the slant, so the best it can do is an average digit. The decoder is trained
# on these $z$ too, and they are as frequent as any other. In MMVAE, the mixture of single modalities, two
# thirds of all reconstructions of an image are made by experts that have not seen it; in MoPoE three of the seven subsets lack it.
#
# Lesson 03 has put this into nats. For $w_m = \beta = 1$, what the term of subset $A$ loses against $\log p_\theta(x)$ is $\mathrm{KL}(q_A(z \mid x_A) \,\|\, p_\theta(z \mid x))$. Now $q_A$ is one answer for all $x$ that share $x_A$,
# so by equation (4) there, averaged over these $x$, it can't be less than the floor $-\log C_A$:
#
# $$
# \begin{aligned}
# \mathbb E\big[\log p_\theta(x) - \text{bound (2)}\big]
#   &= \frac1J \sum_A \mathbb E\, \mathrm{KL}\big(q_A \,\|\, p_\theta(z \mid x)\big)
#   \;\ge\; \frac1J \sum_A \mathbb E\, [-\log C_A], \\
#   C_A &= \int \exp\big( \mathbb E_{x \mid x_A} \log p_\theta(z \mid x) \big)\, dz.
# \end{aligned}\tag{4}
# $$
#
# Every $-\log C_A$ is positive unless the modalities outside $A$ say nothing about $z$ that $x_A$ has not said. No encoder removes it. Only the *model* can: by keeping out of $z$ whatever a single modality can't know of the others. Then slant and colour have
# nowhere to go but the noise of the likelihood, and the picture is an average. For the product (MVAE, the full subset alone) the sum has one term, and its floor is zero, as nothing is missing. JMVAE pays nothing either: there the floor is the students' loss, and they do not train the
# decoders. Daunhawer et al. (2021) prove a related limit, on the ELBO of all models with such sub-sampling. We train the three variants equally long and look.
#
# ::: {.callout-tip collapse="true"}
# ## Predict, then open: all three modalities are given. Which of the three should explain the street number best, and which worst? And from the word alone?
#
# With everything given: the product (MVAE) best, the mixture of single experts (MMVAE) worst, MoPoE between them, because the share of reconstructions that were trained without seeing the street number is 0, two thirds and three sevenths. From the word alone the order says nothing: the product's
# text encoder has never been used alone.
# :::

# %%
run = dict(updates=350, batch_size=32, lr=2e-3, seed=0, progress=False, device="cpu")
modules = ["mopoe", "training", "datasets.digits"]
test, labels = validation.take(300)

# %%
models = {}
for name, kind in {"MVAE (product)": MVAE, "MoPoE": MoPoE, "MMVAE (mixture)": MMVAE}.items():
    new = lambda kind=kind: (seed_everything(0, "mopoe"), kind(specs))[1]
    models[name] = cached(f"{kind.__name__.lower()}", new, lambda m: fit(m, train, **run),
                          run, modules)

# %%
#| fig-cap: "Street numbers after 350 updates: data, reconstructions from all three modalities, and generations from the word alone."
#| fig-alt: "Two blocks with rows for data, MVAE, MoPoE and MMVAE."
with torch.no_grad():
    full = {n: m.generate(test, to="svhn")["svhn"][:8] for n, m in models.items()}
    text = {n: m.generate({"text": test["text"]}, to="svhn")["svhn"][:8] for n, m in models.items()}
def say(tokens):
    "Words without the spaces around them, so that each stands under its column."
    return [word.strip() for word in train.modalities["text"].decode(tokens)]
words = say(test["text"][:8])
side_by_side({"all given": {"data": test["svhn"][:8], **full},
              "Text alone": {"given": words, **text}}, columns=1);

# %%
with torch.no_grad():
    z = {n: m.infer(test).mean for n, m in models.items()}
    nll = {n: -m.log_likelihoods(test, z[n])["svhn"].mean().item() for n, m in models.items()}
assert nll["MVAE (product)"] < nll["MMVAE (mixture)"]
{n: round(v) for n, v in nll.items()}

# %% [markdown]
# The numbers are the negative log-likelihoods of the street number (nats, at the posterior's mean) when *everything* is given. The product, which
# never has to guess, explains it best, and MoPoE stands between (one seed, a short training). From the word alone none of the three draws a street
# number after so short a training: the product, whose encoders have never been used alone, draws the same blur for
# every word, and the two mixtures draw the average grey.
#
# Is it only the short training? A MoPoE of 2,000 updates on the same rendered data comes with the course ([lesson 02j](02j_pretrained.ipynb)). Beside the one above:

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "MoPoE after the 350 updates of this page, and the one that comes with the course, after 2,000. Given everything, the long training draws the brightness of the street number and nearly the same figure in all of them, like an eight. From the word alone its handwritten zeros can be read, and its street numbers are grey with at most the shadow of a figure."
#| fig-alt: "Two blocks. With all given: street numbers, nearly grey patches, patches with a dark or bright eight. From the word: grey street numbers in two rows, one and the same blurred digit, then digits of which the zeros are clear."
long = pretrained("mopoe")
trained = {f"{run['updates']} updates": models["MoPoE"],
           f"{long.card['updates']:,} updates": long}
with torch.no_grad():
    full, text = ({n: m.generate(given) for n, m in trained.items()}
                  for given in (test, {"text": test["text"]}))
rows = lambda made, to: {f"{to}, {n}": x[to][:8] for n, x in made.items()}
side_by_side({"all given": {"svhn, data": test["svhn"][:8], **rows(full, "svhn")},
              "Text alone": {"given": words, **rows(text, "svhn"), **rows(text, "mnist")}},
             columns=1);

# %% [markdown]
# Longer training mends the digits, and hardly the street numbers. And still longer? Here is MoPoE after 10,000 updates of 64 items on real street numbers, one of the runs of lesson 14. The two rows below it are methods to come, students (lesson [10](10_distillation.ipynb)) of a JVAE and of the teacher of lesson [09](09_multimodal_iterative.ipynb), with
# decoders of the same architecture ([what each cost](../results/real/tables/benchmarks.csv)):
#
# ![Two blocks of street numbers, from digits and from words, five rows each: what was given, ground truth, MoPoE (nearly grey), the JMVAE student and the iterative student (both draw blurred digits in many colours).](../results/long/figures/slide_36_cross_modal.png)
#
# ## What goes wrong, and how you would notice
#
# *A product does not say that its experts contradict each other.* Precisions add, whatever the means are, so it answers as surely as ever. That is how a wrong pairing in your own data would look. Below, a MoPoE of 10,000 updates gets each digit with its own word, and then with the word of another item. Look at
# the last two rows: a zero stands over *five*, and half of the words are none.

# %%
#| code-fold: true
#| code-summary: "Drawing: each digit with the word of the item before it"
#| fig-cap: "What the product makes of a digit and a word, by the MoPoE of 10,000 updates. Upper half: the right word. Lower half: a wrong one. Then the digits still follow the digit that was given, and the words follow the digit (first, third, fifth), the wrong word (second) or are none: niro, tiree, ffurr, fivee."
#| fig-alt: "Rows of digits and words. With the right words, digits and words come back nearly as given; with wrong words the digits do, and of the words below them half are misspelt and one names another digit."
real = pretrained("real_mopoe")
moved = test["text"].roll(1, 0)
rows, told = {"digit, given": test["mnist"][:8]}, {}
for pairing, word in {"right": test["text"], "wrong": moved}.items():
    with torch.no_grad():
        both = real.infer({"mnist": test["mnist"], "text": word})
        one, other = real.infer({"mnist": test["mnist"]}), real.infer({"text": word})
        made = real.generate(both.mean[:8])
    apart = (one.mean - other.mean)**2/(one.var + other.var)
    told[pairing] = f"deviation {both.std.mean():.3f}, experts {apart.mean():.0f} apart"
    rows |= {f"{pairing} word, given": say(word[:8]), f"{pairing}: digit": made["mnist"],
             f"{pairing}: word": say(made["text"])}
generation_grid(rows); plt.show()
told


# %% [markdown]
# How to notice: not by the posterior's width. Its standard deviation is 0.225 with the right words and with the wrong ones. Look at the *experts*: the squared distance of their means, in units of their variances, is 10 with the right words and 20 with the wrong ones. (Experts that said truly how unsure they are would be about 1 apart. These are too sure of themselves, so hold a pair against pairs that you know to be right.) Three more:
#
# - *Grey averages.* The loss falls and the pictures stay blurred, even with everything given. Compare with the product, as above: if that is
#   sharper on the same items, part of the blur may be the floor of (4), which longer training of the mixture can't remove.
# - *Experts never used alone.* The product answers any subset, but its single experts were never asked in training. How to notice: the generations from one modality are
#   all alike, as in the first row from the word.
# - *A noisy loss.* One subset per item makes the loss jump; look at `exact=True` on a fixed batch before you conclude anything from it.
#
# ## Recap
#
# MoPoE mixes products over all subsets; its bound is the mean over subsets of ELBOs that must explain everything. It handles
# any subset without a joint encoder, and pays in sharpness. A product alone is sharp, and trains no expert to be used alone. [Lesson 06](06_mvtcae.ipynb) takes the product and mends that: MVTCAE pulls each expert towards the product, and CRMVAE lets it reconstruct what it *has* seen, so neither pays the floor.
#
# ## Exercises
#
# 1. When is the step from the mixture's ELBO to (2) free, and when does it cost the full $\beta \log J$?
# 2. How many decoder passes does `exact=True` cost with five modalities?
# 3. Two experts, $\mathcal N(0, 1)$ and $\mathcal N(4, 1)$. What are mean and variance of their product (without a prior), and of their mixture in halves? Which of the two answers "I don't know which"?
# 4. (Open.) A modality is often broken: its encoder is confident and wrong. Compare what a product and a mixture of three experts do with it, at training and at test. A good answer says who is pulled where, what the decoders learn from it, and what you would measure to notice.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. By (3) free if all $q_A$ are equal; $\beta \log J$ if they do not overlap, since then $q = q_A/J$ wherever $q_A$ has mass.
# 2. $2^5 - 1 = 31$ per modality.
# 3. Product: mean 2, variance 1/2. Mixture: mean 2, variance $1 + 4 = 5$. The mixture keeps both answers and says so by its width; the product answers with a place where neither expert has much mass.
# 4. A confident wrong expert has a large precision, so it moves a product most; a mixture of three is right two times of three, whatever the third says. In training a product teaches the broken expert by a gradient to be vague, as this is the only way not to hurt; a mixture makes decoders explain everything from its wrong answers, too, so pictures get greyer. To notice: the coherence of each subset with and without the modality, and the width of its encoder on broken items.
# :::
#
# ### In code: the KL of a mixture
#
# A mixture has no closed KL to the prior; MoPoE uses the mean of its components' KLs, which is larger. Fill in
# `mixture_kl`: the KL of a mixture of one-dimensional Gaussians to $\mathcal N(0, 1)$, estimated from samples. The check
# integrates on a grid.

# %%
#| code-fold: true
#| code-summary: "Solution"
def mixture_kl(means, stds, n=200_000):
    "KL(q || N(0, 1)) in nats, q the even mixture of N(means, stds^2), from `n` samples of q."
    ### BEGIN SOLUTION
    g, normal = generator("mixture"), torch.distributions.Normal
    k = torch.randint(len(means), (n,), generator=g)            # first a component, then a value
    z = means[k] + stds[k]*torch.randn(n, generator=g)
    log_q = normal(means, stds).log_prob(z[:, None]).exp().mean(1).log()
    return (log_q - normal(0., 1.).log_prob(z)).mean()
    ### END SOLUTION


# %%
means, stds = torch.tensor([-2., .5, 1.5]), torch.tensor([.5, 1., .3])
z = torch.linspace(-12, 12, 100_001)
density = lambda mean, std: torch.exp(-((z - mean)/std)**2/2)/(std*(2*torch.pi)**.5)
q, p = sum(density(m, s) for m, s in zip(means, stds))/3, density(0., 1.)
exact = torch.trapezoid(torch.where(q > 1e-30, q*(q/p).log(), 0.), z)
assert abs(mixture_kl(means, stds) - exact) < .02
components = DiagonalGaussian(means[:, None], 2*stds[:, None].log())
assert mixture_kl(means, stds) < components.kl().mean()

# %% [markdown]
# ## References
#
# - T. Sutter, I. Daunhawer, J. Vogt, [Generalized Multimodal ELBO](https://arxiv.org/abs/2105.02470), 2021. MoPoE; it also shows MVAE and MMVAE as the two ends of one family.
# - M. Wu, N. Goodman, [Multimodal Generative Models](https://arxiv.org/abs/1802.05335), 2018. MVAE: the product of experts, and why it is trained on subsets as well.
# - Y. Shi et al., [Variational Mixture-of-Experts Autoencoders](https://arxiv.org/abs/1911.03393), 2019. MMVAE: the mixture, and four things that one may want of a multimodal model.
# - I. Daunhawer et al., [On the Limitations of Multimodal VAEs](https://arxiv.org/abs/2110.04121), 2021. Why a mixture can't generate as well as a VAE of one modality: the floor of this lesson, in general.
