# %% [markdown]
# # The variational autoencoder
#
# > The bells of lesson 01 with neural networks: from a bound on the log-likelihood to a model that draws digits.
#
# ::: {.callout-note}
# ## You will learn
#
# - what has to be guessed once a picture takes the place of a thermometer's reading;
# - where the evidence lower bound (ELBO) comes from, in two ways;
# - how the reparameterisation trick makes its gradient computable;
# - how to train a VAE with a loop you can read in one glance;
# - why a loss that averages where it should sum is a hidden $\beta$.
#
# Runs in about a minute on a laptop CPU. [Lesson 01](01_story.ipynb) is all you need.
# :::

# %% [markdown]
# ![Drawing: a bell between the broad prior on the left, to which one dashed arrow pulls it, and the place that explains x on the right, to which another pulls it.](drawings/vae.svg)

# %%
#| default_exp vae

# %%
#| export
import math
from collections import namedtuple
from collections.abc import Mapping
from dataclasses import replace
import torch
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.distributions import *
from mmvae_nb.kinds import as_kind, check_type, given_to
from mmvae_nb.missing import check_finite, dense, is_traced
from mmvae_nb.networks import *

# %%
import math
import matplotlib.pyplot as plt
import torch.nn.functional as F
from mmvae_nb.plotting import *
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.data import as_float
from mmvae_nb.pretrained_models import pretrained
set_style()

# %% [markdown]
# ## A model with something hidden
#
# In lesson 01 the hidden thing was one number, and the way from it to a reading was a straight line. Now the thing seen is a picture of 784 pixels.
# Think of a digit as made in two steps: first choose *what* to draw (which digit, how slanted, how
# bold), a point $z$ in a small space, the *latent variable*; then draw it. Choosing is the prior $p(z)$, as before a bell about zero, $\mathcal N(0, I)$, now in $L$ coordinates. Drawing is the
# likelihood $p_\theta(x \mid z)$, a network called the *decoder*. Together they are the *generative model*. We see only $x$. How probable a picture is under the model, its *evidence* or *marginal likelihood*,
#
# $$
# \begin{aligned}
# p_\theta(x) = \int p(z)\, p_\theta(x \mid z)\, dz,
# \end{aligned}\tag{1}
# $$
#
# sums over every $z$ that could have produced this picture. For straight lines it had a formula; if the decoder is a network it has none. And
# drawing $z$ from the prior and averaging is hopeless, because almost no $z$ explains the given $x$.
# ($\theta$ are the decoder's parameters. The symbols of all lessons are on [one page](notation.ipynb).)
#
# ## The ELBO, first way: Jensen
#
# Lesson 01 drew the ELBO as a difference (explaining less claiming) and checked its ceiling by numbers. Here it is derived, for any decoder. Bring in a helper $q(z)$, the *approximate posterior*, that proposes likely $z$ for this $x$. Multiply and divide by it: the integral (1) becomes a mean
# over $q$. The logarithm is concave: it bends downwards, so that a chord between two of its points lies below it. Therefore the logarithm of a mean is at least the mean of the logarithms (Jensen's inequality):
#
# $$
# \begin{aligned}
# \log p_\theta(x) &= \log \mathbb E_{q(z)} \left[ \frac{p(z)\, p_\theta(x \mid z)}{q(z)} \right] \\
#   &\ge \mathbb E_{q(z)} \left[ \log \frac{p(z)\, p_\theta(x \mid z)}{q(z)} \right] \\
#   &= \mathbb E_{q(z)}[\log p_\theta(x \mid z)] - \mathrm{KL}(q(z) \,\|\, p(z))
#    =: \mathcal L(x; q).
# \end{aligned}\tag{2}
# $$
#
# This is the *evidence lower bound*, the ELBO. The first term rewards reconstruction (its negative is the *reconstruction error*). The second, the Kullback-Leibler divergence from the prior, keeps the proposal from claiming more than it has to.
# All of it is counted in *nats*, the unit of natural logarithms; one nat more means the data are $e$, about 2.7, times as probable.
#
# ## The ELBO, second way: what is lost
#
# Jensen does not say how much is lost. Bayes' rule does: put
# $p(z)\,p_\theta(x\mid z) = p_\theta(x)\,p_\theta(z \mid x)$ into (2). $\log p_\theta(x)$ does not depend on $z$ and leaves the
# expectation; what stays in it is minus a KL:
#
# $$
# \begin{aligned}
# \mathcal L(x; q) &= \mathbb E_{q(z)} \left[ \log \frac{p_\theta(x)\, p_\theta(z \mid x)}{q(z)} \right] \\
#   &= \log p_\theta(x) - \mathbb E_{q(z)} \left[ \log \frac{q(z)}{p_\theta(z \mid x)} \right] \\
#   &= \log p_\theta(x) - \mathrm{KL}(q(z) \,\|\, p_\theta(z \mid x)).
# \end{aligned}\tag{3}
# $$
#
# The bound is tight when $q$ is the true posterior. So maximising $\mathcal L$ over $q$ is
# *inference* (*variational inference*, as $q$ varies over a family of distributions), and maximising it over $\theta$ is *learning*. A VAE does both at once, with a
# network that maps $x$ to the parameters $\lambda = (\mu, \log \sigma^2)$ of $q$: *amortized
# inference*, one network (encoder, or *inference model*) for all items. Keep equation (3) in mind: the whole course is about the KL in it.
#
# ::: {.callout-tip collapse="true"}
# ## Predict, then open: you train a better encoder for the same decoder. What moves in equation (3), and what can't?
#
# The KL gets smaller and $\mathcal L$ rises by as much. $\log p_\theta(x)$ stays where it is, because $q$ does not occur in it. So two encoders of *one* decoder can be compared by their ELBOs to the last nat. Two models can't: there a higher ELBO may come from a better decoder or from a better encoder.
# :::
#
# ## Bells by the batch
#
# From here on a bell has $L$ independent coordinates, $q = \mathcal N(\mu, \mathrm{diag}\, \sigma^2)$, and there is one for each item of a batch. `DiagonalGaussian` holds the means and the *log*-variances, both of shape (batch, $L$): a network may put out any real number for either, and the variance stays positive. Its KL to the prior is
# the one of lesson 01, summed over coordinates,
#
# $$
# \begin{aligned}
# \mathrm{KL}(q \,\|\, \mathcal N(0, I)) = \tfrac12 \sum_{l=1}^{L} \big( \sigma_l^2 + \mu_l^2 - 1 - \log \sigma_l^2 \big).
# \end{aligned}
# $$
#
# Three methods do all the work: `kl`, `log_prob` and `rsample`, a random draw. ([Lesson 02d](02d_distributions.ipynb) of the workshop derives and tests them; you can do without it.)

# %%
q = DiagonalGaussian(torch.zeros(3, 20) + .5, torch.zeros(3, 20) - 1) # three items
torch.testing.assert_close(q.kl(), 10*(q.var + .25 - 1 + 1)[:, 0])    # the formula above
assert q.rsample().shape == (3, 20) and q.log_prob(q.mean).shape == (3,)

# %% [markdown]
# A check of (2) and (3) in a case where all is known, $p(x\mid z) = \mathcal N(z, 1)$ in one dimension, a thermometer of lesson 01: then
# $p(x) = \mathcal N(0, 2)$ and the posterior is $\mathcal N(x/2, 1/2)$ (the second number is the variance, here and
# everywhere). The two equations must agree for any $q$.

# %%
x = torch.tensor([1.7])
q = DiagonalGaussian(torch.tensor([[.3]]), torch.tensor([[-.4]]))
posterior = DiagonalGaussian(x[None]/2, torch.tensor([[.5]]).log())
log_px = DiagonalGaussian(torch.zeros(1, 1), torch.tensor([[2.]]).log()).log_prob(x[None])
def expected_log_likelihood(q):
    return -0.5*(math.log(2*math.pi) + (x - q.mean)**2 + q.var).sum(-1)
bound_2 = expected_log_likelihood(q) - q.kl()
bound_3 = log_px - q.kl(posterior)
torch.testing.assert_close(bound_2, bound_3)
assert (bound_2 < log_px).all()
print(f"log p(x) = {log_px.item():.3f}, ELBO = {bound_2.item():.3f} nats")

# %% [markdown]
# Move the mean of $q$, for three standard deviations, and watch the bound. It is the hill of lesson 01, drawn as there, for one reading:

# %%
#| fig-cap: "The ELBO for x = 1.7 against the mean of q, for three standard deviations of q. Only the true posterior (mean 0.85, standard deviation 0.71) reaches log p(x), the dashed black line. The distance below the line is the KL of (3)."
#| fig-alt: "Three orange hills, dotted, solid and dashed, under a dashed black line; the solid one touches the line at 0.85, the others stay below."
means = torch.linspace(-1, 2.7, 200)[:, None]
fig, ax = plt.subplots(figsize=(6, 2.8))
for std, style in [(1.3, "--"), (.5**.5, "-"), (.35, ":")]:
    q = DiagonalGaussian(means, torch.full_like(means, 2*math.log(std)))
    ax.plot(means, expected_log_likelihood(q) - q.kl(), style,
            color=ROLE_COLOURS["teacher"], label=f"$\\sigma$ = {std:.2f}")
ax.axhline(log_px.item(), color="k", ls="--", lw=1)
ax.text(-1.1, log_px.item() + .12, "log p(x)")
ax.set(xlabel="mean of q", ylabel="ELBO (nats)", ylim=(-6.2, -1.4))
ax.legend(loc="lower center");

# %% [markdown]
# Now move both by hand. Try this: get as high as you can with the mean alone, then with the standard deviation alone. Neither reaches the ceiling, because the gap, the thick upright line, is the KL of (3) and a bell has to agree with the true posterior in *both*. Then make $q$ narrow at the right place: reconstruction gains less than the KL to the prior costs.
#
# ::: {.instrument .elbo-hill}
# ![Still picture: above, three bells, the prior, the true posterior and q, which is too far left and too broad; below, the ELBO as a hill over the mean of q, and a dot on it, 0.99 nats below a dashed ceiling.](instruments/elbo-hill.svg)
#
# *On the course's site this picture has sliders for the mean and the standard deviation of q; in a notebook, run `Instrument("elbo-hill")`.*
# :::

# %%
#| hide
#| eval: false
from mmvae_nb.plotting import Instrument
Instrument("elbo-hill")

# %% [markdown]
# ## The gradient: reparameterise
#
# To maximise (2) we need its gradient, and there is an obstacle: the expectation is over a distribution that itself depends on $\lambda$. Compare the two lanes, where the die stands and how far back the gradient comes:
#
# ![Drawing: two lanes from a digit through the encoder to a bell, z, the decoder and the likelihood. Above, a die stands between the bell and z, and the gradient from the right ends there at a bar. Below, the die stands outside and gives noise to z; the gradient runs through z, mean and standard deviation back to the encoder.](drawings/reparameterised.svg)
#
# So write the sample as
# $z = \mu + \sigma \odot \epsilon$ with $\epsilon \sim \mathcal N(0, I)$ ($\odot$: coordinate by coordinate). The noise does not depend
# on $\lambda$, so the gradient moves inside the expectation, and an average over a few samples will do for it (a *Monte Carlo estimate*). `rsample`
# does just this (the r is for *reparameterised*). For $\mathbb E_q[z^2] = \mu^2 + \sigma^2$ the answer is known, so we can check it.
# (`generator(0, "vae")` is a stream of random numbers that starts where its arguments say. `seed_everything`, below, does the same for everything drawn without such a stream. So this page prints the same each time.)

# %%
mean, logvar = (torch.tensor([[v]], requires_grad=True) for v in (.8, .2))
z = DiagonalGaussian(mean, logvar).rsample(200_000, generator(0, "vae"))
(z**2).mean().backward()
assert abs(mean.grad.item() - 2*.8) < .02                            # d/dmu = 2 mu
assert abs(logvar.grad.item() - torch.tensor(.2).exp().item()) < .02  # d/dlogvar = sigma^2

# %% [markdown]
# ## The naive version, by hand
#
# ![Drawing: a digit goes through an encoder to a bell over z, and from there through a decoder to a digit.](drawings/networks.svg)
#
# Encoder, decoder, a loop. The encoder takes the 784 pixels of a digit to 40 numbers, which are mean and log-variance of 20 latent coordinates; the decoder goes back. Every pixel is a coin flip (a *Bernoulli* variable), because
# these digits are nearly black and white. The decoder gives each pixel $d$ a number $a_d$, its *logit*: white has the probability $1/(1 + e^{-a_d})$, so
#
# $$
# \begin{aligned}
# \log p_\theta(x \mid z) = \sum_d \big[ x_d\, a_d - \log(1 + e^{a_d}) \big].
# \end{aligned}
# $$
#
# The digits are real ones, MNIST's, which come with the package; `"rendered"` is said of their street numbers, which are drawn and not needed yet. `train.batch(update, 128)` gives the 128 items of an update as a *dictionary*, from the name of a modality to a tensor, images as bytes; which items an update sees depends on its number only. ([Lesson 02a](02a_data.ipynb) says what else a data set does.)
# The *validation* digits are never trained on: on them we look at what was learnt.
#
# Two names in the code: `F.softplus(a)` is $\log(1 + e^a)$. *Adam* is gradient descent in which each parameter has a step length of its own, got from its latest gradients.

# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
latent = 20
seed_everything(0, "by hand")
encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2*latent))
decoder = nn.Sequential(nn.Linear(latent, 400), nn.ReLU(), nn.Linear(400, 784))
optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 2e-3)

# %%
history = []
for update in range(200):
    x = train.batch(update, 128)["mnist"].flatten(1)/255        # bytes -> numbers in [0, 1]
    q = DiagonalGaussian(*encoder(x).chunk(2, 1))               # inference
    a = decoder(q.rsample())
    log_p = (x*a - F.softplus(a)).sum(1)
    elbo = log_p - q.kl()                                       # eq. (2), nats per item
    optimiser.zero_grad(); (-elbo.mean()).backward(); optimiser.step()
    history.append(-elbo.mean().item())
assert sum(history[-20:]) < sum(history[:20])
print(f"negative ELBO: first {history[0]:.0f}, last {history[-1]:.0f} nats per item")

# %% [markdown]
# ## The exported version
#
# The same, as a module. What it needs to know about a modality stands in an object of its own, a `ModalitySpec`. The spec makes the encoder and the decoder. It also holds the likelihood and its weight. `default_specs` writes a spec for each modality, by its kind. For these digits both networks have a hidden layer of 400 units, as above, and the encoder a second one of 256. We put the Bernoulli likelihood in, which is the formula of above. ([Lesson 02e](02e_networks.ipynb) builds the networks for pictures in colour and for words.)

# %%
spec = default_specs(train.modalities, weights={"mnist": 1.})["mnist"]
spec = replace(spec, likelihood=Bernoulli())
a = spec.make_decoder(latent)(torch.randn(128, latent))
by_hand = (x*a.flatten(1) - F.softplus(a.flatten(1))).sum(1)
torch.testing.assert_close(spec.log_prob(x.view_as(a), a), by_hand)


# %% [markdown]
# Every model in this course answers three calls: `infer` (data to
# posterior), `generate` (latent or data to data) and `loss` (a batch to a scalar and its named
# parts). `weight` and `beta` generalise the objective:
#
# $$
# \begin{aligned}
# \mathcal L(x; q) = \mathbb E_q[w \log p_\theta(x \mid z)] - \beta\, \mathrm{KL}(q \,\|\, p).
# \end{aligned}\tag{4}
# $$
#
# First the two networks and what they are asked. This is what matters of the class:
#
# ```python
# class _TwoNetworks(nn.Module):
#     def __init__(self, spec, name, latent=20, beta=1.0):
#         self.encoder = UnimodalEncoder(spec, latent)
#         self.decoder = spec.make_decoder(latent)
#
#     def infer(self, batch):                  # data -> q(z | x)
#         return self.encoder(batch[self.name])
#
#     def generate(self, z):                   # latents -> pictures, by the name of the modality
#         return {self.name: self.likelihood.mean(self.decoder(z))}
# ```
#
# The whole of it also checks what it is given, and draws several $z$ for an item if asked. The checks are those of every model of this course, so they are functions. Tensors of a
# batch are looked at by type and shape, because that costs nothing in training; what a user hands to `generate` by its numbers, too, and arrays are answered with arrays:

# %%
#| exports
#| code-fold: true
#| code-summary: "What is refused at the door"
def check_dict(name, # the argument's
               x # what was given as a batch
              ):
    "Refuse what is no batch."
    if isinstance(x, Mapping): return
    raise MmvaeError(f"{name}: got a {type(x).__name__}, allowed: a dict: name -> (batch, ...)")

def check_items(batch, # dict: name -> what should be a tensor of items
                model # whose `specs` say what they are
               ):
    "Refuse another shape or type; and nan where to look costs no wait: on the CPU, untrained."
    for n, x in batch.items():
        _check_shape(n, x, model.specs[n].modality)
        look = not model.training and x.device.type == "cpu" and x.is_floating_point()
        if look: check_finite(n, x)

def check_results(name, # of the modality
                  x, # what a model made of its input
                  minus=False # may there be minus infinity, as a logit of what can't be?
                 ):
    "Refuse results that are no numbers, where to look costs no wait: on the CPU."
    if not isinstance(x, torch.Tensor) or not x.is_floating_point(): return
    if x.device.type != "cpu" or is_traced(): return
    fine = x < math.inf if minus else x.isfinite()
    if fine.all(): return
    raise MmvaeError(f"{name}: got {x[~fine][0].item():g} from the model, allowed: finite numbers "
                     "(its weights, or the values that it is given, are too large or no numbers)")

def _check_shape(name, x, modality):
    if not isinstance(dense(name, x), torch.Tensor):
        missing = "nothing: what is missing is an absent key" if x is None else \
            "a tensor (`torch.as_tensor`)"
        raise MmvaeError(f"{name}: got a {type(x).__name__}, allowed: {missing}")
    if modality is None and x.dtype == torch.uint8 and x.ndim < 4:   # they become x/255
        raise MmvaeError(f"{name}: got bytes of shape {tuple(x.shape)}, allowed: bytes of images "
                         "(batch, channels, height, width) only; other numbers are `x.float()`")
    if x.ndim and (modality is None or x.shape[1:] == torch.Size(modality.shape)):
        return modality and check_type(modality, x, name)
    shape = "" if modality is None else f" with items of shape {tuple(modality.shape)}"
    raise MmvaeError(f"{name}: got shape {tuple(x.shape)}, allowed: a batch{shape}, items first")

def decoded(net, # a decoder
            z, # latents (batch, latent)
            latent, # how many coordinates they have
            name # of the modality, for errors
           ): # the parameters of its likelihood
    "What a decoder makes of z; `MmvaeError` says whether z or the decoder is of another width."
    if z.shape[-1] != latent:
        raise MmvaeError(f"z: got shape {tuple(z.shape)}, allowed: (batch, {latent})")
    try: return net(z)
    except torch.OutOfMemoryError: raise
    except RuntimeError as e:
        why = str(e).strip().splitlines() or ["RuntimeError"]
        raise MmvaeError(f"{name}: got z of {tuple(z.shape)}, allowed: what its decoder takes "
                         f"({why[0]}), which is made for `latent` coordinates") from e

def check_posterior(q # should draw by `rsample`
                   ):
    "Refuse what is no posterior."
    if hasattr(q, "rsample"): return
    raise MmvaeError(f"q: got a {type(q).__name__}, allowed: a posterior, as `infer` gives it")

def loss_of(model, # in training
            batch # dict: name -> (batch, ...)
           ): # (total, parts)
    "The loss of a batch; `MmvaeError` if a model can't take it, or gives no loss and its parts."
    try: found = model(batch)
    except TypeError as e:
        why = str(e).strip().splitlines() or ["TypeError"]
        raise MmvaeError(f"model: got a {type(model).__name__} that fails on a batch "
                         f"({why[0]:.80}), allowed: one that takes a dict of tensors") from e
    if isinstance(found, (tuple, list)) and len(found) == 2 and isinstance(found[1], dict):
        return found
    raise MmvaeError(f"model: got one that gives a {type(found).__name__} for a batch, allowed: "
                     "one that gives `Loss(total, parts)`, a scalar and a dict of its parts")

def take_over(model, # whose `specs` may not say what their modalities are
              modalities # dict: name -> `Modality`, of the data it learns from
             ):
    "What nobody has said of a spec is as the data have it; so it is checked, and saved."
    specs = getattr(model, "specs", None)
    for n, spec in specs.items() if isinstance(specs, dict) else ():
        if isinstance(spec, ModalitySpec) and spec.modality is None and n in modalities:
            specs[n] = replace(spec, modality=modalities[n])


# %%
#| exports
#| code-fold: true
#| code-summary: "Arrays and tensors from outside"
def at_home(model, # has `specs`
            source # latents, or a batch: tensors or arrays, on any device
           ): # tensors on the model's device
    "The same as the model takes it (lesson 02f); `MmvaeError` for numbers of no such kind."
    if isinstance(source, dict): return given_to(model, source)
    if not hasattr(source, "__array__"): return source       # `check_latents` says what is wrong
    like, z = next(model.parameters(), torch.empty(0)), as_kind(None, source, "latents")
    check_finite("latents", z)
    return z.to(like.device, like.dtype if z.is_floating_point() else None)

def as_given(made, # dict: name -> tensor
             source # what it was made from
            ) -> dict: # name -> tensor where that lay, or array if arrays were given
    "What was made, in the form of what was given."
    like = next(iter(source.values())) if isinstance(source, dict) else source
    if not isinstance(like, torch.Tensor): return {m: x.cpu().numpy() for m, x in made.items()}
    return {m: x.to(like.device) for m, x in made.items()}


# %%
#| exports
Loss = namedtuple("Loss", "total parts")  # a scalar to minimise, and a dict of named detached parts


# %%
#| exports
#| code-fold: true
#| code-summary: "Class: encoder and decoder of one modality, and what they refuse"
class _TwoNetworks(Remembers, nn.Module):
    "Encoder and decoder of one modality."
    @checked
    def __init__(self, spec: ModalitySpec, # the modality's `ModalitySpec`
                 name: str, # the modality's name, its key in a batch
                 latent: int = 20, # latent coordinates
                 beta: float = 1.0 # weight of the KL term
                ):
        super().__init__()
        in_range("latent", latent, low=1, high=MOST_LATENT, whole=True)
        if not name: raise MmvaeError(f"name: got {name!r}, allowed: a modality's name")
        spec = spec.of_model(name)
        self.name, self.latent, self.weight = name, latent, spec.weight
        self.beta = in_range("beta", beta, low=0)
        self.encoder, self.decoder = UnimodalEncoder(spec, latent), spec.make_decoder(latent)
        self.specs, self.likelihood = {name: spec}, spec.likelihood

    @property
    def spec(self): return self.specs[self.name]

    def _own(self, argument, batch):
        "Its modality of a batch, as a dict of one."
        check_dict(argument, batch)
        if self.name in batch: return {self.name: batch[self.name]}
        raise MmvaeError(f"{argument}: got {', '.join(batch) or 'nothing'}, allowed: {self.name}")

    def infer(self, batch) -> DiagonalGaussian:
        "q(z | x) for each item."
        return self.encoder(self._seen(batch))

    def _seen(self, batch):
        check_items(x := self._own("batch", batch), self)
        return x[self.name]

    def _decoded(self, z): return decoded(self.decoder, z, self.latent, self.name)

    @torch.no_grad()
    @checked
    def generate(self, z, # latents (batch, latent), or a batch (dict): its posterior's mean
                 n: int | None = None, # of a batch: draws of z an item, and so (n, batch, ...)
                 generator: torch.Generator | None = None # for the draws
                ) -> dict: # name -> (batch, ...), images in [0, 1]; an array if one was given
        "Decode latents; or infer from a batch first. Means of the likelihood, without gradient."
        if n is not None: in_range("n", n, low=1, high=MOST_DRAWS, whole=True)
        given = z = self._own("z", z) if isinstance(z, dict) else z
        z = at_home(self, z)
        if isinstance(z, dict):
            q = self.infer(z); z = q.mean if n is None else q.rsample(n, generator)
        elif n is not None:
            raise MmvaeError(f"n: got {n} for latents, allowed: None, as they are drawn already")
        check_latents("z", z, self.latent)
        check_results(self.name, params := self._decoded(z.flatten(0, -2)), minus=True)
        check_results(self.name, x := self.spec.mean(params, z.shape[:-1].numel()))
        return as_given({self.name: x.unflatten(0, z.shape[:-1])}, given)


# %% [markdown]
# Then the objective. `elbo` takes *any* $q$, wherever it comes from: later lessons compare many. (`path` is for the last section.)

# %%
#| exports
class VAE(_TwoNetworks):
    "Variational autoencoder of one modality (Kingma and Welling, 2013), objective of eq. (4)."
    def log_likelihood(self, batch, z):
        "log p(x | z) in nats per item, unweighted."
        return self.spec.log_prob(self._seen(batch), self._decoded(z))

    def elbo(self, batch, q, generator=None, path=False):
        "One-sample estimate of eq. (4) in nats per item, for ANY `q`; `path`: KL of eq. (5)."
        check_posterior(q)
        z = q.rsample(generator=generator)
        kl = path_kl(q, z) if path else q.kl()
        return self.weight*self.log_likelihood(batch, z) - self.beta*kl

    def loss(self, batch) -> Loss:
        "The mean negative ELBO of a batch."
        q = self.infer(batch)
        log_p, kl = self.log_likelihood(batch, q.rsample()).mean(), q.kl().mean()
        total = -(self.weight*log_p - self.beta*kl)
        return Loss(total, {"nll": -log_p.detach(), "kl": kl.detach()})

    def forward(self, batch): return self.loss(batch)


# %%
def train_vae(model, updates=400):
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for update in range(updates):
        total, parts = model(train.batch(update, 128))
        optimiser.zero_grad(); total.backward(); optimiser.step()
    return model

seed_everything(0, "exported")
vae = train_vae(VAE(spec, "mnist", latent))

# %%
#| code-fold: true
#| code-summary: "Check"
test, labels = validation.take(300)
with torch.no_grad(): total, parts = vae.loss(test)
assert set(parts) == {"nll", "kl"} and abs(total - parts["nll"] - parts["kl"]) < 1e-2
with torch.no_grad(): estimate = -vae.elbo(test, vae.infer(test)).mean()
torch.testing.assert_close(estimate, total, rtol=.02, atol=0)
try: vae.infer({"svhn": test["svhn"]})
except MmvaeError as e: assert str(e) == "batch: got svhn, allowed: mnist"

# %% [markdown]
# What it makes of digits that it has not been trained on, and what it draws when a $z$ comes from the prior:

# %%
#| fig-cap: "The exported VAE with 20 latents after 400 updates of 128 digits. Top: validation digits. Middle: their reconstructions. Bottom: what the decoder draws when z comes from the prior."
#| fig-alt: "Ten digits, softer ones below them of which two have become another digit, and ten soft shapes of which about half are digits."
z = torch.randn(10, latent, generator=generator(1, "prior"))
with torch.no_grad():
    rows = {"data": as_float(test["mnist"][:10]),
            "reconstruction": vae.generate(test)["mnist"][:10],
            "from the prior": vae.generate(z)["mnist"]}
generation_grid(rows);

# %% [markdown]
# Most reconstructions keep their digit, but not all: the slanted five at the left closes above and comes out nearly as a nine, and so does the four. In the bottom row about half can be read, a 3 and two 8s among them. The others lie between two digits, and the seventh and eighth are none at all. For the decoder has learnt what to draw where digits were encoded, and a $z$ from the prior may fall in between.
#
# Four hundred updates are seconds. A VAE with the same networks that was trained ten times as long, for a minute, [comes with the course](02j_pretrained.ipynb). The same digits and the same $z$:

# %%
#| fig-cap: "The VAE of 4,000 updates. Top: validation digits. Middle: their reconstructions. Bottom: what its decoder draws from the same z as above."
#| fig-alt: "Three rows of ten digits: data, reconstructions with the same strokes, and sharp shapes, of which the first, the fourth and the fifth are no digits."
long = pretrained("vae")
with torch.no_grad():
    rows = {"data": as_float(test["mnist"][:10]),
            "reconstruction": long.generate(test)["mnist"][:10],
            "from the prior": long.generate(z)["mnist"]}
generation_grid(rows);

# %% [markdown]
# The reconstructions keep their digits now, the slanted five and the four too; only in the bold zero the hole closes. The strokes of the bottom row are sharper, but not all of it are digits: the first, the fourth and the fifth are none. Longer training does not teach the decoder what to draw where no digit was encoded.
#
# ## What z looks like
#
# Twenty coordinates can't be drawn, two can. So here is the same model with two. On the left each validation digit stands where its posterior has its mean; on the right $z$ is taken from a grid over the grey square, and decoded.

# %%
seed_everything(0, "two latents")
flat = train_vae(VAE(spec, "mnist", 2))

# %%
#| fig-cap: "A VAE with two latents after 400 updates of 128 digits. Left: posterior means of 300 validation digits. Outside the grey square lie a few of them, ones for the most part; their numbers are printed above. Right: what the decoder makes of z on a grid over this square."
#| fig-alt: "Left, dots in ten colours, some digits in regions of their own, others mixed, and a grey square around most of them; right, a sheet of digits that change gradually from one into another, with blurs in the middle."
side, axis = 14, torch.linspace(-2.5, 2.5, 14)
z1, z2 = torch.meshgrid(axis, axis.flip(0), indexing="xy")        # z2 grows upwards
with torch.no_grad():
    means = flat.infer(test).mean
    sheet = flat.generate(torch.stack([z1, z2], -1).view(-1, 2))["mnist"]
outside = (means.abs() > 2.7).any(1)
ones = outside[labels == 1].sum()
assert outside.sum() < 60 and ones > outside.sum()/2
print(f"outside the grey square: {outside.sum()} of {len(means)} digits, {ones} are ones")
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2))
dots = left.scatter(*means.T, c=labels, cmap="tab10", vmin=-.5, vmax=9.5, s=14)
fig.legend(*dots.legend_elements(), title="digit", loc="outside left center")
left.add_patch(plt.Rectangle((-2.7, -2.7), 5.4, 5.4, fill=False, ec="0.5"))
left.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
sheet = sheet.view(side, side, 28, 28).permute(0, 2, 1, 3).reshape(side*28, side*28)
right.imshow(sheet, cmap="gray", extent=(-2.7, 2.7, -2.7, 2.7)); right.grid(False)
right.set(xlabel="$z_1$", ylabel="$z_2$");

# %% [markdown]
# Nobody told the model of classes. Digits that look alike lie side by side because one decoder has to draw both, and the KL to the prior leaves no room between them: in most places something like a digit comes out. In the middle of the right panel it is a blur, because there the regions of many digits meet, two coordinates can't keep them apart (nor has this model trained for long), and the decoder draws an average. But one picture turns into the next without a jump, and that makes a line through $z$ a way to change one thing into another. A line through the *pixels* is none:

# %%
#| fig-cap: "From a validation 3 to a validation 5. Above: the pixels are averaged. Below: the mean of z moves, in the VAE with 20 latents after 400 updates of 128 digits, and is decoded. The lower row passes through a 5 and ends, as its reconstruction did, in something like a 9."
#| fig-alt: "Two rows of ten pictures: above, a 3 and a 5 laid over each other; below, one stroke that changes its shape from a 3 through a 5 to nearly a 9."
share = torch.linspace(0, 1, 10)[:, None]
a, b = (test["mnist"][labels == k][:1] for k in (3, 5))
with torch.no_grad(): from_a, from_b = (vae.infer({"mnist": x}).mean for x in (a, b))
between = vae.generate((1 - share)*from_a + share*from_b)["mnist"]
mixed = (1 - share[..., None, None])*as_float(a) + share[..., None, None]*as_float(b)
generation_grid({"in pixels": mixed, "in z": between});

# %% [markdown]
# The same walk through the $z$ of the VAE of 4,000 updates:

# %%
#| fig-cap: "From the same 3 to the same 5, by the VAE of 4,000 updates. It passes through something like an 8 and ends in the 5."
#| fig-alt: "Ten pictures of one stroke that changes from a 3 through a blurred 8 to a 5."
with torch.no_grad(): ends = [long.infer({"mnist": x}).mean for x in (a, b)]
generation_grid({"in z": long.generate((1 - share)*ends[0] + share*ends[1])["mnist"]});


# %% [markdown]
# ## What goes wrong: a mean is a hidden beta
#
# Much code writes the reconstruction as `F.mse_loss(x, y)` or `(...).mean()`, an average over pixels, and the
# KL as a sum over coordinates (or an average too). Dividing the likelihood by its 784
# pixels while leaving the KL alone is the same objective as $\beta = 784$, up to a factor,
# $\frac{1}{784} \mathbb E_q[\log p] - \mathrm{KL} = \frac{1}{784} \big( \mathbb E_q[\log p] - 784\, \mathrm{KL} \big)$: the model
# finds that saying nothing is cheapest.
#
# ::: {.callout-tip collapse="true"}
# ## Predict, then open: trained with the average over pixels, how many of the 20 coordinates will say anything about the digit, and what will the reconstructions look like?
#
# None, and all the same: the cells below count 0 coordinates and draw ten identical blurs. To tell digits apart costs the trained model 16 nats of KL and saves it 85 nats of reconstruction (122 instead of 207). Divide the saving by 784: 0.1 nat is left, and the price is still 16.
# :::
#
# Let us see how many coordinates carry information, that
# is, have a KL above 0.1 nats on average, if the likelihood is summed, and if it is averaged.

# %%
def active(model):
    "Number of latent coordinates whose mean KL exceeds 0.1 nats."
    q = model.infer(test)
    return int(((q.var + q.mean**2 - 1 - q.logvar)/2).mean(0).gt(0.1).sum())

seed_everything(0, "hidden beta")
hidden = train_vae(VAE(spec, "mnist", latent, beta=784.))
with torch.no_grad():
    counts = {"summed": active(vae), "averaged over pixels": active(hidden)}
    costs = {n: m.loss(test).parts for n, m in {"summed": vae, "averaged over pixels": hidden}.items()}
assert counts["summed"] >= 5 and counts["averaged over pixels"] == 0
for n, p in costs.items():
    print(f"{n}: {counts[n]} coordinates, KL {p['kl']:.0f}, reconstruction {p['nll']:.0f} nats")

# %%
#| fig-cap: "Reconstructions of validation digits by two VAEs with 20 latents, each after 400 updates of 128 digits: with the likelihood summed, and averaged over pixels (beta = 784). The latter have collapsed to one blur."
#| fig-alt: "Rows of digits: data, recognisable reconstructions, and a row of ten identical blurs."
with torch.no_grad():
    rows = {"data": as_float(test["mnist"][:10]),
            "summed": vae.generate(test)["mnist"][:10],
            "averaged": hidden.generate(test)["mnist"][:10]}
generation_grid(rows);


# %% [markdown]
# How you would notice in your own work: the KL in the progress bar goes to zero, and all
# reconstructions look alike. This is called *posterior collapse*: $q$ equals the prior whatever $x$ is. Then compare: is your likelihood a sum over pixels, in nats?

# %% [markdown]
# ## Two estimators of one gradient
#
# In lesson 01 we climbed the ELBO of a single day to its summit. Lessons 07 to 09 will do the same for pictures, with gradients from samples, and for that one refinement is worth having. (It is used nowhere before; skip it until then if you like.)
#
# The KL has a closed form, so the only noise in the gradient comes from the likelihood. That noise does not go away at the summit. Even when $q$ *is* the true posterior, single-sample gradients are not zero; only their average is. Roeder et al.
# (2017) take the KL at the sample too, and let the gradient flow through the sample alone, not through $q$'s own parameters.
# With the *stop-gradient* $\mathrm{sg}(\cdot)$, which has the value of its argument and the derivative zero (`detach` in the code):
#
# $$
# \begin{aligned}
# \widehat{\mathrm{KL}} = \log q_{\mathrm{sg}(\lambda)}(z) - \log p(z), \quad z = \mu + \sigma \odot \epsilon.
# \end{aligned}\tag{5}
# $$
#
# The expectation of the gradient is the same, since what was left out has mean zero:
# $\mathbb E_q[\nabla_\lambda \log q_\lambda(z)] = \int \nabla_\lambda q_\lambda(z)\, dz = \nabla_\lambda 1 = 0$. But where $q = p(z \mid x)$, the
# integrand $\log p(x, z) - \log q(z) = \log p(x)$ does not depend on $z$ at all: *every* sample gives a gradient of exactly zero, so a climb can come to rest.

# %%
#| exports
def path_kl(q, z):
    "KL(q || prior) per item at a sample `z` of `q`; gradients through z only; eq. (5)."
    prior = DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z))
    return q.detach().log_prob(z) - prior.log_prob(z)


# %%
#| code-fold: true
#| code-summary: "Check"
with torch.no_grad(): estimate = -vae.elbo(test, vae.infer(test), path=True).mean()
torch.testing.assert_close(estimate, total, rtol=.02, atol=0)


# %% [markdown]
# The thermometer once more, where the answer is known: $x \sim \mathcal N(z, 1)$, posterior $\mathcal N(x/2, 1/2)$.

# %%
def gradients(q, path, samples=2000):
    "The gradient in the mean of log N(x; z, 1) - KL for x = 1, once per sample."
    mean = q.mean.expand(samples, 1).clone().requires_grad_()
    drawn = DiagonalGaussian(mean, q.logvar.expand(samples, 1))
    z = drawn.rsample(generator=generator(0, "path"))
    value = -0.5*((1 - z)**2).sum(-1) - (path_kl(drawn, z) if path else drawn.kl())
    return torch.autograd.grad(value.sum(), mean)[0]

posterior = DiagonalGaussian(torch.tensor([[.5]]), torch.tensor([[.5]]).log())
elsewhere = DiagonalGaussian(torch.tensor([[.2]]), torch.tensor([[.3]]).log())
assert gradients(posterior, path=True).abs().max() < 1e-6
assert gradients(posterior, path=False).std() > .5
for path in (False, True):                      # both unbiased: the gradient is 1 - 2 mean
    g = gradients(elsewhere, path)
    assert abs(g.mean() - .6) < 3*g.std()/2000**.5

# %%
#| fig-cap: "2,000 one-sample gradients of each estimator (the mean is what training wants). At the true posterior the samples of (5) are all exactly zero; their bar is cut off. Elsewhere both scatter about 0.6. Grey: the KL in closed form; purple: the KL at the sample."
#| fig-alt: "Two panels of histograms: on the left a wide grey one and a single purple spike at zero, on the right two wide ones; the legend stands below them."
places = {"q is the true posterior": posterior, "q is elsewhere": elsewhere}
looks = {False: dict(color="0.5", label="KL in closed form"),
         True: dict(color=ROLE_COLOURS["gradient"], label="KL at the sample, (5)")}
fig, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
for ax, (where, q) in zip(axes, places.items()):
    for path, look in looks.items():
        g = gradients(q, path).flatten()
        ax.hist(g.tolist(), bins=[.2*i - .1 for i in range(-20, 27)], alpha=.6, **look)
        print(f"{where}, {look['label']}: mean {g.mean():.2f}, deviation {g.std():.2f}")
    ax.set(title=where, xlabel="gradient in the mean of q", ylim=(0, 300))
axes[0].set_ylabel("samples")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2);

# %% [markdown]
# The right panel is a warning: away from the posterior (5) may be the noisier of the two, as it is here. It pays near the optimum.

# %% [markdown]
# ## Recap
#
# - The ELBO is $\log p(x)$ minus $\mathrm{KL}(q \,\|\, p(z \mid x))$: maximising it over $q$ is inference, over $\theta$ learning.
# - A VAE does both at once. Its encoder answers for all pictures with one network, so it has the amortization gap of lesson 01.
# - Reparameterised samples make the gradient computable. With the KL at the sample, equation (5), the noise vanishes at the optimum.
# - Sums, not means: averaging the likelihood over $n$ pixels is $\beta = n$, and the posterior collapses.
#
# One kind of picture so far. [Lesson 03](03_multimodal_elbo.ipynb) takes several things that are seen of one digit, and then takes some of them away.
#
# ## Exercises
#
# 1. Equation (2) came from Jensen's inequality. For which $q$ is it an equality, and how does (3) say the same?
# 2. Train with `beta=4`. What happens to `active` and to the reconstructions?
# 3. Use the spec as `default_specs` makes it. Its likelihood is that of the next lessons, a *Laplace* density: minus the absolute error of each pixel, divided by a scale of 0.75. Train as often. What do the
#    reconstructions look like, and why? Can the two negative ELBOs be compared?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Jensen is an equality if what is averaged is constant: $p(z)\,p(x \mid z)/q(z) = p(x)\, p(z \mid x)/q(z)$ does not depend on $z$ if and only if $q(z) = p(z \mid x)$. In (3) the KL is then zero.
# 2. Fewer coordinates stay active, 9 instead of 20, because the KL costs more. The pictures become blurrier: the reconstruction costs 148 nats instead of 122. (The cell below trains it.)
# 3. They hardly differ from digit to digit: a scale of 0.75 is broad for pixels between 0 and 1, so errors cost little against the KL.
#    The values can't be compared: one is a density over real pixel values, the other a probability of black and white.
# :::

# %%
#| code-fold: true
#| code-summary: "Exercise 2 in numbers"
seed_everything(0, "exported")
four = train_vae(VAE(spec, "mnist", latent, beta=4.))
seed_everything(0, "exercise 2")
with torch.no_grad():
    found = {f"beta {m.beta:.0f}": (active(m), round(m.loss(test).parts["nll"].item()))
             for m in (vae, four)}
(few, worse), (many, better) = found["beta 4"], found["beta 1"]
assert few < many and worse > better + 10
print("active coordinates, reconstruction error in nats:", found)


# %% [markdown]
# ### In code: another hidden beta
#
# Some code averages twice: the reconstruction over the pixels, and the KL over the latent coordinates. Fill in
# `hidden_beta`: the $\beta$ of equation (4), with $w = 1$, that such a loss has up to a factor.

# %%
#| code-fold: true
#| code-summary: "Solution"
def hidden_beta(pixels, latents):
    "The beta of (mean over pixels of the reconstruction) + (mean over latents of the KL)."
    ### BEGIN SOLUTION
    return pixels/latents    # multiply the loss by the number of pixels, compare with (4)
    ### END SOLUTION


# %%
for pixels, latents in [(784, 20), (3072, 20), (50, 50)]:
    nll, kl = (torch.rand(n, generator=generator("beta", n)) + 1 for n in (pixels, latents))
    averaged = nll.mean() + kl.mean()
    summed = nll.sum() + hidden_beta(pixels, latents)*kl.sum()
    torch.testing.assert_close(summed, pixels*averaged)

# %% [markdown]
# ## References
#
# - D. Kingma, M. Welling, [Auto-Encoding Variational Bayes](https://arxiv.org/abs/1312.6114), 2013. Where the VAE and the reparameterised gradient come from; short.
# - D. Kingma, M. Welling, [An Introduction to Variational Autoencoders](https://arxiv.org/abs/1906.02691), 2019. The same at leisure, with every step; chapter 2 is this lesson.
# - G. Roeder, Y. Wu, D. Duvenaud, [Sticking the Landing](https://arxiv.org/abs/1703.09194), 2017. Equation (5), and when it helps.
# - I. Higgins et al., [beta-VAE](https://openreview.net/forum?id=Sy2fzU9gl), 2017. Equation (4) with a $\beta$ above 1, and what it is good for.
