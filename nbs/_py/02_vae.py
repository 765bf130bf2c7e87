# %% [markdown]
# # The variational autoencoder
#
# > From a bound on the log-likelihood to a trained model that draws digits, with one modality.
#
# ::: {.callout-note}
# ## You will learn
#
# - where the evidence lower bound (ELBO) comes from, in two ways;
# - how the reparameterisation trick makes its gradient computable;
# - how to train a VAE with a loop you can read in one glance;
# - why a loss that averages where it should sum is a hidden $\beta$.
#
# Runs in about a minute on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: a bell between the broad prior on the left, to which one dashed arrow pulls it, and the place that explains x on the right, to which another pulls it.](drawings/vae.svg)

# %%
#| default_exp vae

# %%
#| export
from collections import namedtuple
import torch
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.distributions import *
from mmvae_nb.networks import *

# %%
import math
from dataclasses import replace
import matplotlib.pyplot as plt
from mmvae_nb.plotting import *
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.data import Modality
from mmvae_nb.data import as_float

# %% [markdown]
# ## A model with something hidden
#
# Think of a digit as made in two steps: first choose *what* to draw (which digit, how slanted, how
# bold), a point $z$ in a small space, the *latent variable*; then draw it. Choosing is the prior $p(z)$, drawing is the
# likelihood $p_\theta(x \mid z)$; together they are the *generative model*. We see only $x$. How probable a picture is under the model, its *evidence* or *marginal likelihood*,
#
# $$
# \begin{aligned}
# p_\theta(x) = \int p(z)\, p_\theta(x \mid z)\, dz,
# \end{aligned}\tag{1}
# $$
#
# is an integral over everything that might have been meant. It has no closed form if the decoder is a network, and
# drawing $z$ from the prior and averaging is hopeless: almost no $z$ explains the given $x$.
# ($\theta$ are the decoder's parameters. The symbols of all lessons are on [one page](notation.ipynb).)
#
# ## The ELBO, first way: Jensen
#
# Bring in a helper $q(z)$, the *approximate posterior*, that proposes likely $z$ for this $x$. Multiply and divide by it: the integral (1) becomes a mean
# over $q$. The logarithm is concave, so the logarithm of a mean is at least the mean of the logarithms (Jensen's inequality):
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
# This is the *evidence lower bound*, the ELBO. The first term rewards reconstruction (its negative is the *reconstruction error*), the second keeps the proposal close to the prior.
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
# A check in a case where all is known, $p(x\mid z) = \mathcal N(z, 1)$ in one dimension: then
# $p(x) = \mathcal N(0, 2)$ and the posterior is $\mathcal N(x/2, 1/2)$ (the second number is the variance, here and
# everywhere). Equations (2) and (3) must agree for any $q$.

# %%
x = torch.tensor([1.7])
q = DiagonalGaussian(torch.tensor([[.3]]), torch.tensor([[-.4]]))
posterior = DiagonalGaussian(x[None]/2, torch.tensor([[.5]]).log())
log_px = DiagonalGaussian(torch.zeros(1, 1), torch.tensor([[2.]]).log()).log_prob(x[None])
def expected_log_likelihood(q): return -0.5*(math.log(2*math.pi) + (x - q.mean)**2 + q.var).sum(-1)
bound_2 = expected_log_likelihood(q) - q.kl()
bound_3 = log_px - q.kl(posterior)
torch.testing.assert_close(bound_2, bound_3)
assert (bound_2 < log_px).all()
print(f"log p(x) = {log_px.item():.3f}, ELBO = {bound_2.item():.3f} nats")

# %% [markdown]
# Move the mean of $q$, for three deviations, and watch the bound:

# %%
#| fig-cap: "The ELBO for x = 1.7 against the mean of q, for three deviations of q. Only the true posterior (mean 0.85, deviation 0.71) reaches log p(x), the dashed line. The distance below the line is the KL of (3)."
#| fig-alt: "Three hills under a dashed line; the middle deviation touches the line at 0.85, the others stay below."
means = torch.linspace(-1, 2.7, 200)[:, None]
fig, ax = plt.subplots(figsize=(6, 2.8))
for std in (.35, .5**.5, 1.3):
    q = DiagonalGaussian(means, torch.full_like(means, 2*math.log(std)))
    ax.plot(means, expected_log_likelihood(q) - q.kl(), label=f"deviation {std:.2f}")
ax.axhline(log_px.item(), ls="--", color="0.4")
ax.set(xlabel="mean of q", ylabel="ELBO (nats)"); ax.legend();

# %% [markdown]
# ## The gradient: reparameterise
#
# The expectation in (2) is over a distribution that depends on $\lambda$. Write its sample as
# $z = \mu + \sigma \odot \epsilon$ with $\epsilon \sim \mathcal N(0, I)$ ($\odot$: coordinate by coordinate). The randomness no longer depends
# on $\lambda$, so the gradient moves inside the expectation, and an average over a few samples will do for it (a *Monte Carlo estimate*). `rsample` of lesson 02d
# does just this. For $\mathbb E_q[z^2] = \mu^2 + \sigma^2$ the answer is known, so we can check it:

# %%
mean, logvar = torch.tensor([[.8]], requires_grad=True), torch.tensor([[.2]], requires_grad=True)
z = DiagonalGaussian(mean, logvar).rsample(200_000, generator(0, "vae"))
(z**2).mean().backward()
assert abs(mean.grad.item() - 2*.8) < .02                            # d/dmu = 2 mu
assert abs(logvar.grad.item() - torch.tensor(.2).exp().item()) < .02  # d/dlogvar = sigma^2

# %% [markdown]
# ## The naive version, by hand
#
# Encoder, decoder, a loop. Real MNIST digits, 20 latent coordinates. Every pixel is a coin flip (`Bernoulli` of lesson 02d), which suits
# digits that are nearly black and white; it wants logits, so the default decoder leaves its sigmoid out. (The multimodal lessons use the Laplace likelihood, as MoPoE does. It is slower to
# learn from: exercise 3.)

# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
spec = default_specs(train.modalities, weights={"mnist": 1.})["mnist"]
spec = replace(spec, likelihood=Bernoulli())
latent = 20
seed_everything(0, "by hand")
encoder, decoder = UnimodalEncoder(spec, latent), spec.make_decoder(latent)
assert decoder(torch.ones(1, latent)).min() < 0          # logits
optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 2e-3)
history = []
for update in range(200):
    x = train.batch(update, 128)["mnist"]
    q = encoder(x)
    elbo = spec.likelihood.log_prob(x, decoder(q.rsample())) - q.kl()   # eq. (2), nats per item
    optimiser.zero_grad(); (-elbo.mean()).backward(); optimiser.step()
    history.append(-elbo.mean().item())
assert sum(history[-20:]) < sum(history[:20])
print(f"negative ELBO: first {history[0]:.0f}, last {history[-1]:.0f} nats per item")

# %% [markdown]
# ## The exported version
#
# The same, as a module. Every model in this course answers three calls: `infer` (data to
# posterior), `generate` (latent or data to data) and `loss` (a batch to a scalar and its named
# parts). `weight` and `beta` generalise the objective:
#
# $$
# \begin{aligned}
# \mathcal L(x; q) = \mathbb E_q[w \log p_\theta(x \mid z)] - \beta\, \mathrm{KL}(q \,\|\, p).
# \end{aligned}\tag{4}
# $$

# %%
#| exports
Loss = namedtuple("Loss", "total parts")  # a scalar to minimise, and a dict of named detached parts

def path_kl(q, z):
    "KL(q || prior) per item at a sample `z` of `q`; gradients through z only; eq. (5)."
    prior = DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z))
    return q.detach().log_prob(z) - prior.log_prob(z)

class VAE(Remembers, nn.Module):
    "Variational autoencoder of one modality (Kingma and Welling, 2013), objective of eq. (4)."
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
        self.spec, self.likelihood = spec, spec.likelihood

    def infer(self, batch) -> DiagonalGaussian:
        "q(z | x) for each item."
        if self.name not in batch:
            raise MmvaeError(f"batch: got {', '.join(batch) or 'nothing'}, allowed: {self.name}")
        return self.encoder(batch[self.name])

    @torch.no_grad()
    def generate(self, z, # latents (batch, latent), or a batch (dict): its posterior's mean
                 n=None, # of a batch: draws of z for each item, and so (n, batch, ...)
                 generator=None # for the draws
                ) -> dict: # name -> (batch, ...), images in [0, 1]
        "Decode latents; or infer from a batch first. Means of the likelihood, without gradient."
        if n is not None: in_range("n", n, low=1, whole=True)
        if isinstance(z, dict):
            q = self.infer(z); z = q.mean if n is None else q.rsample(n, generator)
        elif n is not None:
            raise MmvaeError(f"n: got {n} for latents, allowed: None, as they are drawn already")
        x = self.likelihood.mean(self.decoder(z.flatten(0, -2)))
        return {self.name: x.unflatten(0, z.shape[:-1])}

    def log_likelihood(self, batch, z):
        "log p(x | z) in nats per item, unweighted."
        return self.spec.log_prob(batch[self.name], self.decoder(z))

    def elbo(self, batch, q, generator=None, path=False):
        "One-sample estimate of eq. (4) in nats per item, for ANY `q`; `path`: KL of eq. (5)."
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
test, labels = validation.take(300)
with torch.no_grad(): total, parts = vae.loss(test)
assert set(parts) == {"nll", "kl"} and abs(total - parts["nll"] - parts["kl"]) < 1e-2
with torch.no_grad():
    for path in (False, True):
        estimate = -vae.elbo(test, vae.infer(test), path=path).mean()
        torch.testing.assert_close(estimate, total, rtol=.02, atol=0)
try: vae.infer({"svhn": test["svhn"]})
except MmvaeError as e: assert str(e) == "batch: got svhn, allowed: mnist"

# %%
#| fig-cap: "Top: validation digits. Middle: their reconstructions. Bottom: digits drawn from the prior."
#| fig-alt: "Three rows of ten handwritten digits."
z = torch.randn(10, latent, generator=generator(1, "prior"))
with torch.no_grad():
    rows = {"data": as_float(test["mnist"][:10]),
            "reconstruction": vae.generate(test)["mnist"][:10],
            "from the prior": vae.generate(z)["mnist"]}
generation_grid(rows);


# %% [markdown]
# ## Two estimators of one gradient
#
# The KL has a closed form, so the only noise in the gradient seems to come from the likelihood. That noise never stops,
# though: even where $q$ *is* the true posterior, each single sample gives a gradient, and only their mean is zero. Roeder et al.
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
# integrand $\log p(x, z) - \log q(z) = \log p(x)$ does not depend on $z$ at all: *every* sample gives a gradient of exactly zero. Lessons
# 07 and 08, which follow gradients into the optimum, live on that. A case with a known answer: $x \sim \mathcal N(z, 1)$, posterior
# $\mathcal N(x/2, 1/2)$.

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
assert gradients(posterior, path=True).abs().max() < 1e-6 < gradients(posterior, path=False).std()
for path in (False, True):                           # both are unbiased: the gradient is 1 - 2 mean
    g = gradients(elsewhere, path)
    assert abs(g.mean() - .6) < 3*g.std()/2000**.5

# %%
#| fig-cap: "2,000 one-sample gradients of each estimator (the mean is what training wants). At the true posterior the samples of (5) are all exactly zero; their bar is cut off. Elsewhere both scatter about 0.6."
#| fig-alt: "Two panels of histograms: on the left a wide one and a single spike at zero, on the right two wide ones."
places = {"q is the true posterior": posterior, "q is elsewhere": elsewhere}
names = {False: "KL in closed form", True: "KL at the sample, (5)"}
fig, axes = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True)
for ax, (where, q) in zip(axes, places.items()):
    for path, name in names.items():
        g = gradients(q, path).flatten()
        ax.hist(g.tolist(), bins=[.2*i for i in range(-20, 26)], alpha=.6, label=name)
        print(f"{where}, {name}: mean {g.mean():.2f}, deviation {g.std():.2f}")
    ax.set(title=where, xlabel="gradient in the mean of q", ylim=(0, 300))
axes[0].set_ylabel("samples"); axes[1].legend();


# %% [markdown]
# The right panel is a warning: away from the posterior (5) may be the noisier of the two, as it is here. It pays near the optimum.

# %% [markdown]
# ## What goes wrong: a mean is a hidden beta
#
# Much code writes the reconstruction as `F.mse_loss(x, y)` or `(...).mean()`, an average over pixels, and the
# KL as a sum over coordinates (or an average too). Dividing the likelihood by its 784
# pixels while leaving the KL alone is the same objective as $\beta = 784$, up to a factor,
# $\frac{1}{784} \mathbb E_q[\log p] - \mathrm{KL} = \frac{1}{784} \big( \mathbb E_q[\log p] - 784\, \mathrm{KL} \big)$: the model
# finds that saying nothing is cheapest. Let us see how many coordinates carry information, that
# is, have a KL above 0.1 nats on average, if the likelihood is summed, and if it is averaged.

# %%
def active(model):
    "Number of latent coordinates whose mean KL exceeds 0.1 nats."
    q = model.infer(test)
    return int(((q.var + q.mean**2 - 1 - q.logvar)/2).mean(0).gt(0.1).sum())

seed_everything(0, "hidden beta")
hidden = train_vae(VAE(spec, "mnist", latent, beta=784.))
with torch.no_grad(): counts = {"summed": active(vae), "averaged over pixels": active(hidden)}
assert counts["summed"] >= 5 and counts["averaged over pixels"] == 0
counts

# %%
#| fig-cap: "Reconstructions with the likelihood summed, and averaged over pixels (beta = 784). The latter have collapsed to one blur."
#| fig-alt: "Rows of digits: data, recognisable reconstructions, and a row of ten identical blurs."
with torch.no_grad():
    rows = {"data": as_float(test["mnist"][:10]), "summed": vae.generate(test)["mnist"][:10],
            "averaged": hidden.generate(test)["mnist"][:10]}
generation_grid(rows);


# %% [markdown]
# How you would notice in your own work: the KL in the progress bar goes to zero, and all
# reconstructions look alike. This is called *posterior collapse*: $q$ equals the prior whatever $x$ is. Then compare: is your likelihood a sum over pixels, in nats?
#
# ## Recap
#
# - The ELBO is $\log p(x)$ minus $\mathrm{KL}(q \,\|\, p(z \mid x))$: maximising it over $q$ is inference, over $\theta$ learning.
# - Reparameterised samples make its gradient computable. With the KL at the sample, equation (5), the noise vanishes at the optimum.
# - Sums, not means: averaging the likelihood over $n$ pixels is $\beta = n$, and the posterior collapses.
#
# ## Exercises
#
# 1. Equation (2) came from Jensen's inequality. For which $q$ is it an equality, and how does (3) say the same?
# 2. Train with `beta=4`. What happens to `active` and to the reconstructions?
# 3. Use the spec as `default_specs` makes it, with the Laplace likelihood of scale 0.75, and train as often. What do the
#    reconstructions look like, and why? Can the two negative ELBOs be compared?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Jensen is an equality if what is averaged is constant: $p(z)\,p(x \mid z)/q(z) = p(x)\, p(z \mid x)/q(z)$ does not depend on $z$ if and only if $q(z) = p(z \mid x)$. In (3) the KL is then zero.
# 2. Fewer coordinates stay active, and the pictures become blurrier: the KL costs more.
# 3. They hardly differ from digit to digit: a scale of 0.75 is broad for pixels between 0 and 1, so errors cost little against the KL.
#    The values can't be compared: one is a density over real pixel values, the other a probability of black and white.
# :::
#
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
    return pixels/latents       # multiply the loss by the number of pixels, compare with eq. (4)
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
# - D. Kingma, M. Welling, [Auto-Encoding Variational Bayes](https://arxiv.org/abs/1312.6114), 2013.
# - D. Kingma, M. Welling, [An Introduction to Variational Autoencoders](https://arxiv.org/abs/1906.02691), 2019.
# - G. Roeder, Y. Wu, D. Duvenaud, [Sticking the Landing](https://arxiv.org/abs/1703.09194), 2017.
# - I. Higgins et al., [beta-VAE](https://openreview.net/forum?id=Sy2fzU9gl), 2017.
