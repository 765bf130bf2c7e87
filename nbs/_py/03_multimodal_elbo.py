# %% [markdown]
# # The multimodal ELBO and the missing modality
#
# > A joint VAE understands pictures and words together, and is lost when one of them is missing.
#
# ::: {.callout-note}
# ## You will learn
#
# - the data of this course: one digit, seen in three ways;
# - the ELBO of several modalities, with weights;
# - the joint VAE (JVAE) and the three calls every multimodal model here answers;
# - the missing-modality problem: seen in pictures, measured in nats, and split into what can be mended and what can't.
#
# Runs in about a minute on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: one hidden z at the top; arrows lead from it through three decoders down to a handwritten seven, a street number and the word seven.](drawings/model.svg)
#
# ![Drawing: a joint encoder with three inputs. Two are empty, dashed squares; only the word is there. Its answer is a bell away from the true one.](drawings/hole.svg)

# %%
#| default_exp multimodal_elbo

# %%
#| export
import torch
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.distributions import *
from mmvae_nb.distributions import _many
from mmvae_nb.missing import *
from mmvae_nb.networks import *
from mmvae_nb.vae import *

# %%
from dataclasses import replace
import matplotlib.pyplot as plt
from mmvae_nb.plotting import *
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.training import *
from mmvae_nb.checkpoints import cached
from mmvae_nb.pretrained_models import pretrained
set_style()

# %% [markdown]
# ## One digit, three ways
#
# The two thermometers of lesson 01 were two views of one temperature. From here on the hidden thing is a digit, and there are three views of it: a handwritten digit, a street number and an English word. They were never collected together. What makes a triple is that
# all three show the same number, so partners are drawn at random within a class, anew in each epoch.
#
# A batch is a dictionary, from the name of a modality to a tensor whose first axis counts the items. A *missing* modality is an absent key, and not a tensor of zeros: why, this lesson will show. The digits are real; the street numbers of this page are drawn by a
# program and easier than photographs. ([Lesson 02a](02a_data.ipynb) has the rest: pairing, splits, real street numbers, data of your own.)

# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
batch = train.batch(0, 6)
{n: (tuple(x.shape), x.dtype) for n, x in batch.items()}


# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "The six items of this batch. In a column all three show one number, and nothing else is common to them."
#| fig-alt: "A row of handwritten digits, a row of coloured street numbers with the same digits, a row of words."
def say(tokens):
    "Words without the spaces around them, so that each stands under its column."
    return [word.strip() for word in train.modalities["text"].decode(tokens)]
show = lambda out, k=10: {"MNIST": out["mnist"][:k], "SVHN": out["svhn"][:k],
                          "Text": say(out["text"][:k])}
generation_grid(show(batch));

# %% [markdown]
# For each modality a model has to know how to encode it, how to decode it, and what a good reconstruction is. That stands in its `ModalitySpec`, as in lesson 02. The default ones have a hidden layer for handwritten digits and convolutions for street numbers and words
# ([lesson 02e](02e_networks.ipynb)). Images get a *Laplace* likelihood, minus the absolute error of each pixel divided by 0.75; each letter of a word gets a probability for every letter of the alphabet (a *categorical* likelihood).

# %%
specs = default_specs(train.modalities)
{n: (type(s.likelihood).__name__, round(s.weight, 1)) for n, s in specs.items()}

# %% [markdown]
# The last number is a weight. Why it is needed comes next.
#
# ## One latent, several modalities
#
# What do the three have in common? The number. We model them as conditionally independent given one latent $z$:
# once $z$ is known, the street number says nothing more about the word. In a formula,
# $p(x_1, \dots, x_M, z) = p(z) \prod_m p_\theta(x_m \mid z)$. This is a *multimodal VAE*. Whatever the modalities share has to be in $z$, their *shared representation*;
# inferring it from one of them and decoding another is *cross-modal generation*. The derivation of
# lesson 02 goes through with $x = (x_1, \dots, x_M)$. By Jensen, for any $q$,
#
# $$
# \begin{aligned}
# \log p_\theta(x) &= \log \mathbb E_{q(z)} \Big[ \frac{p(z) \prod_m p_\theta(x_m \mid z)}{q(z)} \Big] \\
#   &\ge \mathbb E_{q(z)} \Big[ \log p(z) + \sum_m \log p_\theta(x_m \mid z) - \log q(z) \Big],
# \end{aligned}
# $$
#
# because the logarithm of the product is a sum; and the mean of $\log p - \log q$ is minus a KL. So a further modality is a further term, as the second thermometer was in lesson 01.
#
# But the terms are of very different size. A street number has 3,072 pixels, a word 8 letters, so the sum would hardly notice a wrong word. Therefore each term gets a weight, by the rule of MoPoE (lesson 05): inversely proportional to how many numbers the modality has (for the word a tenth of that, which is our choice). With weights for the terms and for the KL:
#
# $$
# \begin{aligned}
# \mathcal L(x; q) = \mathbb E_{q(z)} \Big[ \sum_{m=1}^{M} w_m \log p_\theta(x_m \mid z) \Big]
#   - \beta\, \mathrm{KL}(q(z) \,\|\, p(z)).
# \end{aligned}\tag{1}
# $$
#
# With $w_m = \beta = 1$ this is a lower bound on $\log p(x_1, \dots, x_M)$. With other weights $\mathcal L$ is an objective and no longer a bound on a likelihood, and we say so where it matters. What it loses is again a KL. Write the weights as exponents, and (1) is
# $-\beta\, \mathbb E_q \big[ \log q - \log p - \sum_m \frac{w_m}{\beta} \log p_\theta(x_m \mid z) \big]$. The last two terms are the logarithm of $p(z) \prod_m p_\theta(x_m \mid z)^{w_m/\beta}$. As a function of $z$ this is positive, but it does not integrate to one. Divided by its integral, $Z(x)$, it is a density, $\tilde p(z \mid x)$. So the two terms are $\log \tilde p + \log Z$, and $Z$ does not depend on $z$:
#
# $$
# \begin{aligned}
# \mathcal L(x; q) &= \beta \log Z(x) - \beta\, \mathrm{KL}\big(q \,\|\, \tilde p(z \mid x)\big), \\
#   \tilde p(z \mid x) &= \frac{1}{Z(x)}\, p(z) \prod_m p_\theta(x_m \mid z)^{w_m/\beta}.
# \end{aligned}\tag{2}
# $$
#
# For $w_m = \beta = 1$ this is $\log p_\theta(x) - \mathrm{KL}(q \,\|\, p_\theta(z \mid x))$, as in equation (3) of lesson 01. Either way, comparing ELBOs of one item compares KL distances to the same target, no matter how each posterior was obtained.
#
# ![Drawing: three views go into a joint encoder; its mean, deviation and some noise make one z, which goes to three decoders; beside each decoded view stands its weighted log-likelihood, below the KL of q and the prior.](drawings/elbo.svg)
#
# By hand it is four lines. The encoder sees all three modalities and answers with one bell; each modality has a decoder of its own:

# %%
seed_everything(0, "by hand")
encoder = JointEncoder(specs, 20)
decoders = {n: s.make_decoder(20) for n, s in specs.items()}

# %%
q = encoder(batch)
z = q.rsample()
log_p = {n: s.log_prob(batch[n], decoders[n](z)) for n, s in specs.items()}
elbo = sum(specs[n].weight*v for n, v in log_p.items()) - q.kl()           # eq. (1)
{**{n: round(-v.mean().item()) for n, v in log_p.items()},
 "negative ELBO": round(-elbo.mean().item())}


# %% [markdown]
# ## The three calls
#
# All multimodal models of this course share decoders, the ELBO (1), and three calls that take any
# non-empty subset of the modalities: `infer(batch)`, `generate(z or batch, to=...)`, `loss(batch)`. What a model can't do for a subset it says by name. So lessons 04 to 10 only have to say how each method *infers* and what it *minimises*. The rest is in one class, `MultimodalVAE`, which wraps the four lines above and is used like this: `model.elbo(batch, q)` is equation (1) for any posterior, `model.generate({"text": words}, to="svhn")` draws street numbers from words.
#
# It is built in five pieces. Their listings are folded: read on at [the joint VAE](#the-joint-vae), the first model made with it, and come back for whatever you want to see.
#
# First the modalities and their decoders. Each model makes networks of its own from the specs, and copies a likelihood that has parameters, so nothing that is trained is shared in silence:

# %%
#| exports
#| code-fold: true
#| code-summary: "Class: modalities and their decoders"
class _Modalities(Remembers, nn.Module):
    "Specifications, decoders and likelihoods of some modalities."
    @checked
    def __init__(self, specs: dict[str, ModalitySpec], # dict: name -> `ModalitySpec`
                 latent: int = 20, # latent coordinates
                 beta: float = 1.0 # weight of the KL term
                ):
        super().__init__()
        _check_names(specs)
        self.specs = {n: s.of_model(n) for n, s in specs.items()}
        self.latent = in_range("latent", latent, low=1, high=MOST_LATENT, whole=True)
        self.beta, self.teacher = in_range("beta", beta, low=0), None   # students have a teacher
        own = self.specs.items()
        self.decoders = nn.ModuleDict({n: s.make_decoder(latent) for n, s in own})
        learned = {n: s.likelihood for n, s in own if isinstance(s.likelihood, nn.Module)}
        self.likelihoods = nn.ModuleDict(learned)         # with parameters of their own

    @property
    def names(self): return list(self.specs)

    def speak_as(self, other # a `MultimodalVAE`
                ):
        "Generate as another model does: by its decoders and its likelihoods, which are not copied."
        if not isinstance(other, _Modalities):
            raise MmvaeError(f"other: got a {type(other).__name__}, allowed: a `MultimodalVAE`")
        of = lambda model: f"{', '.join(model.names)} with {model.latent} latent coordinates"
        if of(other) != of(self):
            raise MmvaeError(f"other: got a model of {of(other)}, allowed: {of(self)}")
        self.decoders, self.likelihoods = other.decoders, other.likelihoods
        self.specs = other.specs


# %% [markdown]
# The objective. It is the four lines by hand, cut into methods that a model may replace (`decode`, say, where a modality has a latent of its own):

# %%
#| exports
#| code-fold: true
#| code-summary: "Class: the objective"
class _Objective(_Modalities):
    "The ELBO of eq. (1), and what it consists of."
    def decode(self, z, # latents (batch, latent)
               modality # a modality's name
              ): # (batch, ...)
        "The parameters of a modality's likelihood."
        net = self.decoders[one_of("modality", modality, self.names)]
        check_latents("z", z, self.latent)
        return decoded(net, z, self.latent, modality)

    def log_likelihoods(self, batch, z) -> dict:
        "log p(x_m | z) in nats per item (unweighted) for each modality in the batch."
        return {n: self.specs[n].log_prob(batch[n], self.decode(z, n)) for n in self.check(batch)}

    def weighted(self, log_likelihoods):
        "sum_m w_m log p(x_m | z), per item."
        check_dict("log_likelihoods", log_likelihoods)
        for n in log_likelihoods: one_of("log_likelihoods", n, self.names)
        return sum(self.specs[n].weight*v for n, v in log_likelihoods.items())

    def elbo(self, batch, # dict: name -> tensor; what is missing is left out of the sum
             q, # a `Posterior` of its items, wherever it comes from
             generator=None, # random stream of the sample
             path=False # with the KL of lesson 02, eq. (5), whose gradient is quieter
            ): # (batch,) nats
        "Eq. (1) per item by one sample, for ANY `q`."
        check_posterior(q)
        z = q.rsample(generator=generator)
        kl = path_kl(q, z) if path else q.kl()
        return self.weighted(self.log_likelihoods(batch, z)) - self.beta*kl


# %% [markdown]
# Which modalities are there? `check` says so, and refuses what does not fit. Several posteriors of one item become one by their *product*, the rule of lesson 01 by which precisions add (lesson 05 asks when that is right):

# %%
#| exports
#| code-fold: true
#| code-summary: "Class: subsets, checked"
class _Subsets(_Objective):
    "Any non-empty subset of the modalities."
    def check(self, batch, # dict: name -> tensor
              all=False # must every modality be there?
             ) -> list: # the names present, in the model's order
        "Check a batch's keys, types and sizes; `MmvaeError` names what is wrong."
        check_dict("batch", batch)
        if PRESENT in batch:
            raise MmvaeError("batch: got items that lack different modalities, allowed: one pattern"
                             " at a time (lesson 09a): `model(batch)`, `infer_each`, `patterns`, "
                             "`impute`")
        for n in batch: one_of("modality", n, self.names)
        have = [n for n in self.names if n in batch]
        if not have: raise MmvaeError(f"batch: got no modality, allowed: {', '.join(self.names)}")
        check_items({n: batch[n] for n in have}, self)
        if any(batch[n].shape[0] != batch[have[0]].shape[0] for n in have):     # pairwise: a set of
            raise MmvaeError(f"batch: got sizes {[len(batch[n]) for n in have]}, "  # sizes would be
                             "allowed: one size for all")                   # fixed by torch.export
        missing = [n for n in self.names if n not in batch]
        if all and missing:
            raise MmvaeError(f"batch: got {', '.join(have)}; {type(self).__name__} needs "
                             f"{', '.join(missing)} too and can't do without, allowed: all of "
                             f"{', '.join(self.names)} (students of it, by `distill`, infer from a "
                             "part; of data with holes `complete()` has the whole items)")
        return have

    def product(self, posteriors, **options): # `options` of `product_of_experts`
        "One posterior: itself. Several: their product of experts."
        posteriors = _many("posteriors", posteriors)
        return posteriors[0] if len(posteriors) == 1 else product_of_experts(posteriors, **options)


# %% [markdown]
# Generation, for those who *use* a model. It takes arrays and answers with arrays, brings what it is given to the model's device and its answer back, and keeps no
# gradient (whoever trains through a decoder calls `decode`, which keeps it). By default it answers with one mean per item. `n=100` draws a hundred $z$ for each item, and
# `sample="x"` draws the data around each mean as well: the spread of the first says what the model does not know, that of the second what it expects to see.

# %%
#| exports
#| code-fold: true
#| code-summary: "Class: draws"
class _Draws(_Subsets):
    "From what is given to z, and from z to what is shown."
    def _latents(self, source, sample, generator, n):
        "(batch, latent), or (n, batch, latent): as given, or of what is inferred."
        if n is not None: in_range("n", n, low=1, high=MOST_DRAWS, whole=True)
        if not isinstance(source, dict): check_latents("source", source, self.latent)
        elif not source:
            raise MmvaeError(f"source: got no modality, allowed: {', '.join(self.names)}")
        else:
            own = {"generator": generator} if self.refines and generator else {}
            q = self.infer(source, **own)
            return q.rsample(n, generator) if sample or n else q.mean
        if n is None: return source
        if sample == "x": return source.expand(n, *source.shape)
        raise MmvaeError(f"n: got {n} for latents, allowed: with sample='x', as their means are "
                         "the same each time")

    def _said(self, name, z, draw, generator):
        "Means of a modality's likelihood at z (..., batch, latent), or draws from it."
        spec, flat = self.specs[name], z.flatten(0, -2) if z.ndim > 2 else z
        if draw and not hasattr(spec.likelihood, "sample"):
            raise MmvaeError(f"{name}: its {type(spec.likelihood).__name__} has no `sample`, "
                             "allowed for sample='x': a likelihood with one")
        params, items = self.decode(flat, name), flat.shape[0]
        check_results(name, params, minus=True)           # a token is a number, whatever it is from
        x = spec.sample(params, items, generator) if draw else spec.mean(params, items)
        check_results(name, x)
        return x.unflatten(0, z.shape[:-1]) if z.ndim > 2 else x


# %%
#| exports
#| code-fold: true
#| code-summary: "Class: generation"
class _Generation(_Draws):
    "`generate`, for tensors or arrays on any device."
    def at_home(self, source # latents, or a batch: tensors or arrays, on any device
               ):
        "The same as tensors on the model's device, by kind (lesson 02f); `MmvaeError` for nan."
        return at_home(self, source)

    @torch.no_grad()
    @checked
    def generate(self, source, # latents (batch, latent), or a batch to infer them from; or arrays
                 to: str | list | tuple | None = None, # name or names to generate; all by default
                 sample: bool | str = False, # draw z? "x": draw z, and x around it
                 generator: torch.Generator | None = None, # for all draws, on the model's device
                 n: int | None = None # draws of z for each item, even without `sample`
                ) -> dict: # name -> (batch, ...), or (n, batch, ...): arrays if arrays were given
        "Decode latents, or infer from a batch (a dict) first; no gradient is kept (see `decode`)."
        to = self.names if to is None else [to] if isinstance(to, str) else list(to)
        if not to: raise MmvaeError(f"to: got no modality, allowed: {', '.join(self.names)}")
        for m in to: one_of("to", m, self.names)
        z = self._latents(self.at_home(source), one_of("sample", sample, [False, True, "x"]),
                          generator, n)
        return as_given({m: self._said(m, z, sample == "x", generator) for m in to}, source)


# %% [markdown]
# Put together. What a model is able to do stands in three attributes, so that nobody has to ask for its name. `infer` and `loss` are left to the methods:

# %%
#| exports
#| code-fold: true
#| code-summary: "Class: MultimodalVAE"
class MultimodalVAE(_Generation):
    "Decoders, the ELBO of eq. (1), and the three calls; subclasses say how to infer."
    needs_all = False     # can it infer from all modalities only?
    refines = False       # does it refine posteriors by the gradient of the ELBO (lesson 09)?
    own_decoders = True   # are its decoders trained with it, or for it, and not another model's?

    def variants(self) -> dict: # suffix of the names of its numbers -> model
        "The models in this one that are evaluated one by one: itself, if it holds no others."
        return {"": self}

    def parts(self, log_likelihoods, # name -> (batch,) nats, unweighted
              **terms # name -> (batch,) nats
             ) -> dict: # of detached scalars
        "The named parts of a loss: means over the batch of its terms and of -log p(x_m | z)."
        if both := terms.keys() & log_likelihoods.keys():          # else one column, of one of them
            raise MmvaeError(f"{min(both)}: got it as the name of a modality, allowed: any but "
                             f"{', '.join(terms)}, parts of the loss of {type(self).__name__}")
        return {**{n: v.mean().detach() for n, v in terms.items()},
                **{n: -v.mean().detach() for n, v in log_likelihoods.items()}}

    def infer(self, batch): raise NotImplementedError
    def loss(self, batch): raise NotImplementedError

    def forward(self, batch) -> Loss:
        "The loss; items that lack different modalities are taken pattern by pattern."
        check_dict("batch", batch)
        return Loss(*by_pattern(self.loss, batch)) if PRESENT in batch else self.loss(batch)


# %%
#| exports
#| code-fold: true
#| code-summary: "What is refused at the door"
def _check_names(specs):
    "Refuse names that torch's submodules could not have."
    if not specs: raise MmvaeError("specs: got none, allowed: at least one modality")
    for n in specs:
        if not n or "." in n or n == PRESENT or hasattr(nn.ModuleDict(), n):
            raise MmvaeError(f"specs: got a modality called {n!r}, allowed: names without a dot "
                             "that are no attribute of torch's ModuleDict, and not "
                             f"{PRESENT!r}")
        check_name(n)


# %% [markdown]
# ## The joint VAE
#
# The most direct model: one encoder sees everything and answers with the *joint posterior* $q_\phi(z \mid x_1, \dots, x_M)$.

# %%
#| exports
class JVAE(MultimodalVAE):
    "Joint VAE: one encoder of all modalities (slide 67; Suzuki's JMVAE, 2016, without students)."
    needs_all = True

    @checked
    def __init__(self, specs: dict[str, ModalitySpec], # name -> `ModalitySpec` (`default_specs`)
                 latent: int = 20, # coordinates of z, the description that all modalities share
                 beta: float = 1.0 # weight of the KL to the prior; 1: a bound on log p(x)
                ):
        super().__init__(specs, latent, beta)
        self.encoder = JointEncoder(specs, latent)

    def infer(self, batch) -> DiagonalGaussian:
        "q(z | all modalities). `MmvaeError` if one is missing: there is no input for it."
        self.check(batch, all=True)
        return self.encoder(batch)

    def loss(self, batch) -> Loss:
        "The mean negative ELBO, eq. (1)."
        q = self.infer(batch)
        logs = self.log_likelihoods(batch, q.rsample())
        total = -(self.weighted(logs) - self.beta*q.kl()).mean()
        return Loss(total, self.parts(logs, kl=q.kl()))


# %%
seed_everything(0, "check"); model = JVAE(specs)
total, parts = model.loss(batch)
assert set(parts) == {"kl", "mnist", "svhn", "text"}
by_hand = sum(specs[n].weight*parts[n] for n in specs) + parts["kl"]
torch.testing.assert_close(total.detach(), by_hand)

# %% [markdown]
# The ELBO of any posterior, in a case where it can be computed otherwise: with
# decoders that ignore $z$, the expectation is constant and only the KL varies.

# %%
#| code-fold: true
#| code-summary: "Check"
q1 = DiagonalGaussian(torch.randn(6, 20), torch.randn(6, 20))
q2 = DiagonalGaussian.standard(6, 20)
class Constant(nn.Module):
    def __init__(self, net): super().__init__(); self.net = net
    def forward(self, z): return self.net(torch.zeros_like(z))
deaf = JVAE(specs)
deaf.decoders = nn.ModuleDict({n: Constant(d) for n, d in deaf.decoders.items()})
close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-3, atol=.02)
with torch.no_grad(): close(deaf.elbo(batch, q2) - deaf.elbo(batch, q1), q1.kl())
g1, g2 = generator(0, "z"), generator(0, "z")
with torch.no_grad():
    change = deaf.elbo(batch, q1, g1, path=True) - deaf.elbo(batch, q1, g2)
    z = q1.rsample(generator=generator(0, "z")); close(change, q1.kl() - path_kl(q1, z))


# %% [markdown]
# A likelihood with a scale to learn, in two models from the same specs: each trains its own, unless one is told to speak as the other (the students of lesson 10 speak as their teacher).

# %%
#| code-fold: true
#| code-summary: "Check"
class LearntScale(nn.Module):
    def __init__(self): super().__init__(); self.log_scale = nn.Parameter(torch.zeros(()))
    def log_prob(self, x, a): return -((x - a).abs()*(-self.log_scale).exp()
                                       + self.log_scale + .69315).flatten(1).sum(1)
    def mean(self, a): return a

learnt = {n: replace(s, likelihood=LearntScale()) for n, s in specs.items() if n != "text"}
one, two = JVAE(learnt), JVAE(learnt)
pictures = {n: batch[n] for n in learnt}
one.loss(pictures).total.backward()
grad = lambda m: m.specs["svhn"].likelihood.log_scale.grad
assert grad(one) is not None and grad(two) is None
two.speak_as(one)
assert two.specs["svhn"].likelihood is one.likelihoods["svhn"]
assert two.decoders is one.decoders

# %% [markdown]
# What it can't do, it refuses by name:

# %%
#| code-fold: true
#| code-summary: "Check"
text_only = {"text": batch["text"]}
for bad, words in [(text_only, "mnist, svhn"), ({}, "no modality"),
                   ({"audio": batch["svhn"]}, "audio"),
                   ({**batch, "svhn": None}, "absent key"),
                   ({**batch, "svhn": batch["svhn"][0]}, "svhn: got shape (3, 32, 32)"),
                   ({**batch, "text": batch["text"][:3]}, "sizes")]:
    try: model.infer(bad)
    except MmvaeError as e: assert words in str(e), e
    else: raise AssertionError(words)

# %% [markdown]
# Arrays in, arrays out; five draws of $z$ for each item, then of $x$ as well. With the noise of the likelihood the draws spread by as much more as it says.

# %%
#| code-fold: true
#| code-summary: "Check"
arrays = {n: x.numpy() for n, x in batch.items()}
five = model.generate(arrays, "svhn", n=5, generator=generator(0, "draws"))["svhn"]
assert five.shape == (5, 6, 3, 32, 32) and type(five) is type(arrays["svhn"])
z = model.infer(batch).mean.detach()
noisy = model.generate(z, sample="x", n=200, generator=generator(1, "draws"), to="svhn")
close(noisy["svhn"].var(0).mean(), torch.tensor(2*.75**2))   # twice its scale squared
assert not model.generate(z)["svhn"].requires_grad and model.decode(z, "svhn").requires_grad

# %% [markdown]
# Now train it. `fit` is the loop of lesson 02 with a learning rate that rises and falls, a limit for the gradient, and a history of every part of the loss. ([Lesson 02g](02g_training.ipynb) grows it from five lines.) `cached` keeps what was trained in a folder, so that the cell takes a second the next time.

# %%
run = dict(updates=1000, batch_size=32, lr=2e-3, seed=0, progress=False, device="cpu")
modules = ["multimodal_elbo", "training", "datasets.digits"]
new_jvae = lambda: (seed_everything(0, "jvae"), JVAE(specs))[1]
jvae = cached("jvae", new_jvae, lambda m: fit(m, train, **run), run, modules)
test, labels = validation.take(300)

# %% [markdown]
# What does it generate when it has seen everything? Below, this model after its minute of training, and one that [comes with the course](02j_pretrained.ipynb), trained ten times as long on twice as many triples at a time, and with *photographed* street numbers: the drawn ones of this page are as new to it as to you. The first gets the words right and few of the digits; its street numbers are still near grey. The second shows what such a model can do: 20 numbers hold the style of the digit, the figure and the colour of the street number, and the word.

# %%
#| fig-cap: "Validation triples, and what two JVAEs make of their joint posterior's mean: the one trained above, and one trained for 10,000 updates of 64 triples with photographed street numbers."
#| fig-alt: "Three blocks of digits, street numbers and words. Data; half-readable digits and grey street numbers; digits and words as in the data, and blurred street numbers of which most can be read."
with torch.no_grad(): joint = jvae.generate(test)
trained = pretrained("real_jvae")
made = {"data": test, "1,000 updates": joint,
        f"{trained.card['updates']:,} updates": trained.generate(test)}
side_by_side({name: show(x) for name, x in made.items()}, columns=1);

# %% [markdown]
# From here on the lesson asks the second one. It works, so what goes wrong below is no matter of too little training.
#
# One $z$ makes all three, so a walk through $z$ changes all three. Below, from the posterior mean of one triple to that of another, in ten steps:

# %%
#| fig-cap: "A line in z between two validation triples, a nine and a five, decoded into all modalities by the JVAE of 10,000 updates. All three turn within two columns, the street number first, and the word between is none."
#| fig-alt: "Ten columns: a handwritten nine becomes a five, a blurred street number does so from the fourth column on, and the words are four times nine, then foue, then five times five."
with torch.no_grad(): means = trained.infer(test).mean
share = torch.linspace(0, 1, 10)[:, None]
generation_grid(show(trained.generate((1 - share)*means[2] + share*means[7])));

# %% [markdown]
# And what lies near in $z$ is alike in all three. For two triples, here are the four of the other 299 whose posterior means are nearest:

# %%
#| code-fold: true
#| code-summary: "Drawing: neighbours in z"
#| fig-cap: "Left, an item and the four nearest to it: fives with the same slant and a long upper stroke, on street numbers of many colours. Right, upright ones, and among them a three of the same shape."
#| fig-alt: "Two blocks of five triples each. Left, five slanted fives; right, four upright fives and a three; street numbers of the same figures and the words five and three."
near = torch.cdist(means, means).argsort(1)[:, :5]          # each is its own nearest
blocks = {}
for i in (0, 7): blocks[f"item {i}, and its neighbours"] = show({n: x[near[i]] for n, x in test.items()})
side_by_side(blocks, columns=2); plt.show()
same = (labels[near[:, 1:]] == labels[:, None]).double().mean().item()
assert same > .8
print(f"of the neighbours of all 300, {same:.0%} are of the same class; by chance it would be a tenth")


# %% [markdown]
# ## The missing modality
#
# Now the text alone is given. The joint encoder has no input for the pictures. What do people do? Fill the
# hole with *something*: zeros, or an average image. The encoder has never seen such a thing in training, and
# nothing obliges it to answer sensibly. We ask as in lesson 01: how well does each answer explain the *full* triple, in nats of ELBO? (By the JVAE of 10,000 updates, whose street numbers in training were photographs.)
#
# ::: {.callout-tip collapse="true"}
# ## Predict, then open: four answers, one from each modality with zeros for the rest, and one that is just the prior. How much better than the prior, which has seen nothing, is each of the first three?
#
# The handwritten digit by 372 nats, of the 4,554 that the joint posterior is ahead: to be shown the digit, and zeros, is worth next to nothing. Black is not "no street number". It is a street number that is black all over, beside the word "aaaaaaaa" (token 0 is an a), and the encoder answers as if it had really seen them. The street number is worth 1,257, the word 2,574, the most of the three and still 1,980 behind the joint posterior.
# :::

# %%
def impute(batch, keep):
    "Everything but `keep` replaced: images by black, text by its first token."
    return {n: x if n in keep else torch.zeros_like(x) for n, x in batch.items()}


# %%
@torch.no_grad()
def nelbo(q):
    g = generator(0, "evaluation")
    return -torch.stack([trained.elbo(test, q, g) for _ in range(8)]).mean().item()


# %%
with torch.no_grad():
    gap = {"all modalities": nelbo(trained.infer(test))}
    for n in specs: gap[f"{n} only, rest zero"] = nelbo(trained.infer(impute(test, [n])))
    gap["prior (no data)"] = nelbo(DiagonalGaussian.standard(300, 20))
behind = {n: v - gap["all modalities"] for n, v in gap.items()}
assert min(v for n, v in behind.items() if n != "all modalities") > 1500
assert behind["mnist only, rest zero"] > .9*behind["prior (no data)"]
{n: round(v) for n, v in gap.items()}

# %% [markdown]
# The same numbers on a line, as in lesson 01:

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "ELBO of the full triple for posteriors that have seen different things: mean of 300 validation triples, by the JVAE of 10,000 updates. Orange: its encoder's answers; grey: the prior. Beside each dot stands what it lacks to the joint posterior (dashed line), in weighted nats."
#| fig-alt: "Five dots on five rows; the joint posterior is far to the right on a dashed line, MNIST with zeros is near the grey dot of the prior."
fig, ax = plt.subplots(figsize=(5.7, 2.6))
best, ground = -gap["all modalities"], dict(facecolor="w", edgecolor="none", pad=1)
ax.axvline(best, color="k", ls="--", lw=1, zorder=0)
for row, (name, v) in enumerate(sorted(gap.items(), key=lambda item: -item[1])):
    ax.plot(-v, row, "o", ms=9, color="0.5" if "prior" in name else ROLE_COLOURS["teacher"])
    if -v < best:
        ax.text(-v + 90, row, f"−{round(v) - round(-best):,}", va="center", size="small",
                bbox=ground)
ax.set(xlabel="ELBO of all modalities (weighted nats)", yticks=range(len(gap)),
       yticklabels=sorted(gap, key=lambda name: -gap[name]));

# %% [markdown]
# The joint posterior is at one end, the imputed ones are far from it: the nearest, the word with zeros for the rest, is 1,980 nats behind. The digit with zeros
# is near the prior, and the prior has seen nothing at all: a hole filled with black is not an absence of data but wrong data, and the encoder believes it.
# In a picture, for the word alone:

# %%
#| fig-cap: "What the JVAE of 10,000 updates draws when it is told only the word and zeros for the rest."
#| fig-alt: "A row of words; below it ten black squares, and ten that are black with the faintest spots."
with torch.no_grad(): lost = trained.generate(impute(test, ["text"]))
assert lost["mnist"].float().mean() < .02
generation_grid({"Text, given": show(test)["Text"],
                 "MNIST": lost["mnist"][:10], "SVHN": lost["svhn"][:10]});

# %% [markdown]
# It was told "a black digit, a black street number, and this word", and this is what it draws. The word is not lost on it, and mostly comes back when it is decoded ([below](#what-goes-wrong-and-how-you-would-notice)). But what the word says about the pictures counts for nothing beside pictures that the encoder takes for seen. No longer training mends this, as training is where it learnt to believe its input. The distance from the joint posterior is the **missing-modality problem**.
#
# ## A part of the amortization gap, and what part
#
# The thesis of the talk this course follows is a change of view, the one of lesson 01. All of these posteriors are
# amortized guesses at the *same* ideal posterior, the best bell $q^*(z \mid x_1, \dots, x_M)$ of this item. Some have
# poorer input than others. By (2), differences on the line are differences of KLs to the same target. Take any guess $s(z \mid x_A)$ that has seen a subset
# $A$ only, and set $w_m = \beta = 1$ (otherwise write $\tilde p$ for $p$ and multiply by $\beta$). What it loses against $q^*$ is an amortization gap by definition:
#
# $$
# \begin{aligned}
# \underbrace{\mathcal L(x; q^*) - \mathcal L(x; s)}_{\text{amortization gap of } s}
#   = \underbrace{\mathcal L(x; q^*) - \mathcal L(x; q_\phi)}_{\text{of the joint encoder}}
#   + \underbrace{\mathcal L(x; q_\phi) - \mathcal L(x; s)}_{\text{missing-modality problem}}.
# \end{aligned}\tag{3}
# $$
#
# So what closes that gap may also help here. Not all of it is of one kind, though. Below, three items share $x_A$, the word, and differ in the slant of the seven. Each has a true posterior of its own (dashed), but $s$ has to give one answer for all of them. So even the best one, $s^*$, is some way from each:
#
# ![Drawing: left, three sevens of different slant above one word, seven, and over each a dashed bell; a black bell, s*, lies between them, a green one, s, away to the left. Right, a bar: above a thick line a large green part, fault 12.5, below it a grey one, floor 4.3. A green arrow ends on the line, a purple dashed one, the climb, goes on down to zero.](drawings/floor.svg)
#
# How large are the two parts? Average the distance of $s$ from the truth, $\mathrm{KL}(s \,\|\, p(z \mid x))$, over the items $x$ that share $x_A$. The mean falls on the
# only part that varies, $\mathbb E_{x \mid x_A} \log p(z \mid x)$. Its exponential, divided by its integral $C$, is the density $s^*$:
#
# $$
# \begin{aligned}
# \mathbb E_{x \mid x_A} \mathrm{KL}(s \,\|\, p(z \mid x))
#   &= \int s(z) \big[ \log s(z) - \mathbb E_{x \mid x_A} \log p(z \mid x) \big] dz \\
#   &= \underbrace{\mathrm{KL}(s \,\|\, s^*)}_{\text{better inference helps}} + \underbrace{(-\log C)}_{\text{not in } x_A}, \\
# s^*(z) &= \frac1C \exp\big( \mathbb E_{x \mid x_A} \log p(z \mid x) \big).
# \end{aligned}\tag{4}
# $$
#
# (The gap in (3) is this less the approximation gap, $\mathrm{KL}(q^* \,\|\, p(z \mid x))$, which no bell can avoid.)
#
# - The *fault*, $\mathrm{KL}(s \,\|\, s^*)$, is that of the one that infers: filling with zeros has a lot of it. A better encoder of $x_A$ reduces it, and its least
#   value within the Gaussians is zero if $s^*$ is Gaussian.
# - The *floor*, $-\log C$, is what $x_A$ does not say. It is never negative, because by Jensen $\exp(\mathbb E \log p) \le \mathbb E\, p$, which integrates to one. It is zero only if the other modalities
#   add nothing about $z$. No reader of $x_A$ alone gets below it, and it is no fault of amortization over items: a free optimisation of $s$ for each value of $x_A$ pays it too.
#
# For equal bells both are half a squared distance in standard deviations. In the drawing $s$ is 5 from $s^*$, which makes 12.5 nats; the three truths are 3, 1 and 4 from it, and half the mean of 9, 1 and 16 is 4.3. For the thermometers the floor had a formula, the second line of (6) in lesson 01.
#
# Inference that climbs the *full* ELBO goes below the floor, because it is no function of $x_A$. That is how lesson 09 makes its teacher. A student of that teacher sees $x_A$ only and pays the floor again.
#
# ## What goes wrong, and how you would notice
#
# *The missing modality is filled with something.* The model answers without complaint, and wrongly. Below, the word is given, and three fillings stand for the pictures: black, white and noise. Look at the street numbers, which take the brightness of the filling, and at the digits, which are the filling's and not the word's.

# %%
#| code-fold: true
#| code-summary: "Drawing: three fillings"
#| fig-cap: "The JVAE of 10,000 updates is given the word, and the same kind of filling for both pictures. Black gives black, white gives a white blob that is one and the same for all words, noise, drawn anew for each item, a blob with a hole and no digit. The street numbers are black, white or grey; in all of them a trace of the figure can be seen, the faintest in the black ones. With the white pictures the last two words come back as another and as none."
#| fig-alt: "Ten rows. The given words; then for black, white and noise a row of digits (black; equal white blobs; blobs of various shapes), a row of street numbers (black; white; grey, with traces of figures), and a row of words; with the white pictures the last two are wrong, three and eree."
noise = {n: torch.randint(0, 256, test[n].shape, generator=generator("fill")).to(test[n].dtype)
         for n in ("mnist", "svhn")}
fillings = {"black": {n: torch.zeros_like(x) for n, x in noise.items()},
            "white": {n: torch.full_like(x, 255) for n, x in noise.items()}, "noise": noise}
rows, told = {"Text, given": say(test["text"][:8])}, {}
for name, pictures in {"nothing": {}, **fillings}.items():
    filled = {**test, **pictures}
    with torch.no_grad(): q = trained.infer(filled); made = trained.generate(q.mean)
    if pictures: rows |= {f"{name}: {n}": x for n, x in show(made, 8).items()}
    back = [a == b for a, b in zip(say(made["text"]), say(test["text"]))]
    told[name] = sum(back)/300, nelbo(q), q.std.mean().item()
assert told["white"][0] < .7 and told["black"][0] < .97 < told["nothing"][0]
generation_grid(rows); plt.show()
for name, (words, nats, std) in told.items():
    print(f"filled with {name:8} {words:4.0%} of the words come back, negative ELBO {nats:,.0f}, "
          f"standard deviation {std:.2f}")


# %% [markdown]
# How to notice: decode what was *given*. With all three there every word of the 300 comes back, with white pictures 55 of 100, with black ones 93 and with noise 96; so look at many, and try several fillings. And where you have items with everything, compare with the joint posterior on the same items: it has a negative ELBO of 3,004 nats, the fillings have 4,156 to 5,992. The prior is too easy a mark, because all three fillings beat its 7,558. The width tells little: with noise or white pictures the posterior is as narrow (a standard deviation of 0.12 and 0.13) as with the true ones (0.12). Two more:
#
# - *One modality is not learnt.* The total falls, its own term does not, and its row in the grid is one and the same blur: the street numbers after 1,000 updates are near that.
#   Train longer, or raise its weight.
# - *Negative ELBOs of different weights are compared.* They are nats of different objectives, with different targets $\tilde p$ in (2).
#
# ## Recap
#
# One latent, a sum of weighted log-likelihoods, one KL. The JVAE needs everything; a hole filled with
# zeros is not a missing modality but a wrong one. What inference without a modality loses is part of the amortization gap: one share is the
# encoder's, the other is information that only the missing modality has.
#
# So a model should be *able* to do without a modality. Lessons 04 to 06 are the standard answers, and differ in where the posterior of a subset comes from. [JMVAE](04_jmvae.ipynb) trains an encoder for each modality beside the joint one,
# [MoPoE](05_mopoe.ipynb) and its relatives build the joint posterior out of them, and [MVTCAE](06_mvtcae.ipynb) ties the two together. Lessons [07](07_amortization_gap.ipynb) to [10](10_distillation.ipynb) are the talk's answer.
#
# ## Exercises
#
# 1. Impute the *mean* training image instead of zeros. Better? Why is it still not an answer?
# 2. Set all weights to 1 and train again. Which modality does the model neglect?
# 3. A modality is a copy of another, pixel by pixel. What does the ELBO with weights of 1 make of it, and is the posterior of both too narrow or too broad?
# 4. (Open.) Somebody wants to fill the hole by the output of a model that predicts the missing view from the one that is there. When would this be an answer, and when not? A good answer says what the joint encoder then believes, what happens where the view leaves several partners open, and how to test it.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Usually better, since the input is closer to the training data; but the encoder treats the grey blur as
#    evidence, with the certainty it has for a real image.
# 2. Text: its eight characters weigh a few nats against hundreds for the images.
# 3. It counts the same evidence twice: the log-likelihood doubles, so the posterior is too narrow, as if the view had been seen twice independently. Half the weight for each repairs it.
# 4. It is an answer where the prediction is all but certain. Elsewhere the encoder takes one guess, or an average of partners, for a fact, and its posterior is as narrow as for a real view: the certainty of the guess has been lost. A test: draw several predictions, encode each, and compare the spread of the posteriors' means with their width.
# :::
#
# ### In code: the posterior of whatever is there
#
# One model where nothing has to be trained: $p(z) = \mathcal N(0, 1)$ and $p(x_m \mid z) = \mathcal N(z, v_m)$ for each
# modality. Fill in `exact_posterior`: mean and variance of $p(z \mid \cdot)$ given the modalities that are
# there, any number of them, none too. The check multiplies the densities on a fine grid.

# %%
#| code-fold: true
#| code-summary: "Solution"
def exact_posterior(x, v):
    "Mean and variance of p(z | x), from dicts by modality: values, and noise variances."
    ### BEGIN SOLUTION
    precision = 1 + sum(1/v[m] for m in x)              # the 1 is the prior's
    return sum(x[m]/v[m] for m in x)/precision, 1/precision
    ### END SOLUTION


# %%
seen, v = {"a": 2., "b": -1., "c": .5}, {"a": 1., "b": .16, "c": 4.}
z = torch.linspace(-10, 10, 20_001, dtype=torch.double)
for names in ["", "a", "bc", "abc"]:
    log_p = -z**2/2 + sum(-(seen[m] - z)**2/v[m]/2 for m in names)
    p = log_p.exp()/log_p.exp().sum()
    mean, var = exact_posterior({m: seen[m] for m in names}, v)
    assert abs(mean - (p*z).sum()) < 1e-4
    assert abs(var - ((p*z**2).sum() - (p*z).sum()**2)) < 1e-4

# %% [markdown]
# ## References
#
# - M. Suzuki, K. Nakayama, Y. Matsuo, [Joint Multimodal Learning with Deep Generative Models](https://arxiv.org/abs/1611.01891), 2016. The joint VAE, and the missing modality as a problem of its encoder; its remedy is the next lesson.
# - M. Suzuki, Y. Matsuo, [A survey of multimodal deep generative models](https://arxiv.org/abs/2207.02127), 2022. All that lessons 03 to 06 teach, and its relatives, in one order: the map to go on with.
# - A. Senellart et al., [MultiVae](https://github.com/AgatheSenellart/MultiVae). Other code for the same models and more; good to compare with.
