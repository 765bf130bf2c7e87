# %% [markdown]
# # The variational autoencoder
#
# > From a bound on $\log p(x)$ to a trained model that draws digits, with one modality.
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

# %%
#| default_exp vae

# %%
#| export
from collections import namedtuple
import torch
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.data import Modality, as_float, mnist_svhn_text
from mmvae_nb.distributions import *
from mmvae_nb.networks import *

# %%
import matplotlib.pyplot as plt
from mmvae_nb.plotting import *

# %% [markdown]
# ## A model with something hidden
#
# Think of a digit as made in two steps: first choose *what* to draw (which digit, how slanted, how
# bold), a point $z$ in a small space; then draw it. Choosing is the prior $p(z)$, drawing is the
# likelihood $p_\theta(x \mid z)$. We see only $x$. How probable a picture is under the model,
#
# $$
# \begin{aligned}
# p_\theta(x) = \int p(z)\, p_\theta(x \mid z)\, dz,
# \end{aligned}\tag{1}
# $$
#
# is an integral over everything that might have been meant. It has no closed form, and
# drawing $z$ from the prior and averaging is hopeless: almost no $z$ explains the given $x$.
#
# ## The ELBO, first way: Jensen
#
# Bring in a helper $q(z)$ that proposes likely $z$ for this $x$, and use that the
# logarithm is concave:
#
# $$
# \begin{aligned}
# \log p_\theta(x) = \log \mathbb E_{q(z)} \left[ \frac{p(z)\, p_\theta(x \mid z)}{q(z)} \right]
#   &\ge \mathbb E_{q(z)} \left[ \log \frac{p(z)\, p_\theta(x \mid z)}{q(z)} \right] \\
#   &= \mathbb E_{q(z)}[\log p_\theta(x \mid z)] - \mathrm{KL}(q(z) \,\|\, p(z))
#    =: \mathcal L(x; q).
# \end{aligned}\tag{2}
# $$
#
# The first term rewards reconstruction, the second keeps the proposal close to the prior.
#
# ## The ELBO, second way: what is lost
#
# Jensen does not say how much is lost. Bayes' rule does: put
# $p(z)\,p_\theta(x\mid z) = p_\theta(x)\,p_\theta(z \mid x)$ into (2). $\log p_\theta(x)$ does not depend on $z$ and leaves the
# expectation; what stays in it is minus a KL:
#
# $$
# \begin{aligned}
# \mathcal L(x; q) &= \mathbb E_{q(z)} \left[ \log \frac{p_\theta(x)\, p_\theta(z \mid x)}{q(z)} \right]
#   = \log p_\theta(x) - \mathbb E_{q(z)} \left[ \log \frac{q(z)}{p_\theta(z \mid x)} \right] \\
#   &= \log p_\theta(x) - \mathrm{KL}(q(z) \,\|\, p_\theta(z \mid x)).
# \end{aligned}\tag{3}
# $$
#
# The bound is tight when $q$ is the true posterior. So maximising $\mathcal L$ over $q$ is
# *inference*, and maximising it over $\theta$ is *learning*. A VAE does both at once, with a
# network that maps $x$ to the parameters $\lambda = (\mu, \log \sigma^2)$ of $q$: *amortized*
# inference, one network for all items. Keep equation (3) in mind: the whole course is about the KL in it.
#
# A check in a case where all is known, $p(x\mid z) = \mathcal N(z, 1)$ in one dimension: then
# $p(x) = \mathcal N(0, 2)$ and the posterior is $\mathcal N(x/2, 1/2)$. Equations (2) and (3) must
# agree for any $q$.

# %%
x = torch.tensor([1.7])
q = DiagonalGaussian(torch.tensor([[.3]]), torch.tensor([[-.4]]))
posterior = DiagonalGaussian(x[None]/2, torch.tensor([[.5]]).log())
log_px = DiagonalGaussian(torch.zeros(1, 1), torch.tensor([[2.]]).log()).log_prob(x[None])
expected_log_likelihood = -0.5*(torch.log(torch.tensor(2*torch.pi)) + (x - q.mean)**2 + q.var).sum(-1)
bound_2 = expected_log_likelihood - q.kl()
bound_3 = log_px - q.kl(posterior)
torch.testing.assert_close(bound_2, bound_3)
assert (bound_2 < log_px).all()
print(f"log p(x) = {log_px.item():.3f}, ELBO = {bound_2.item():.3f} nats")

# %% [markdown]
# ## The gradient: reparameterise
#
# The expectation in (2) is over a distribution that depends on $\lambda$. Write its sample as
# $z = \mu + \sigma \epsilon$ with $\epsilon \sim \mathcal N(0, I)$: the randomness no longer depends
# on $\lambda$, so the gradient moves inside the expectation. `rsample` of the last-but-one lesson
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
# Encoder, decoder, a loop. Real MNIST digits, 20 latent coordinates.

# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
spec = default_specs(train.modalities, weights={"mnist": 1.})["mnist"]
latent = 20
seed_everything(0, "by hand")
encoder, decoder = UnimodalEncoder(spec, latent), spec.decoder(latent)
optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)
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
    "KL(q || prior) estimated at `z`, a sample of `q`, per item; only the path through z is differentiated; eq. (5)."
    return q.detach().log_prob(z) - DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z)).log_prob(z)

class VAE(nn.Module):
    "Variational autoencoder of one modality (Kingma and Welling, 2013), objective of eq. (4)."
    def __init__(self, spec, # the modality's `ModalitySpec`
                 name, # the modality's name, its key in a batch
                 latent=20, # latent coordinates
                 beta=1.0 # weight of the KL term
                ):
        super().__init__()
        self.name, self.latent, self.weight = name, latent, spec.weight
        self.beta = in_range("beta", beta, low=0)
        self.encoder, self.decoder = UnimodalEncoder(spec, latent), spec.decoder(latent)
        self.likelihood = spec.likelihood

    def infer(self, batch) -> DiagonalGaussian:
        "q(z | x) for each item."
        if self.name not in batch:
            raise MmvaeError(f"batch: got {', '.join(batch) or 'nothing'}, allowed: {self.name}")
        return self.encoder(batch[self.name])

    def generate(self, z):
        "The decoder's mean for latents (batch, latent), or for a batch's posterior mean."
        z = self.infer(z).mean if isinstance(z, dict) else z
        return {self.name: self.likelihood.mean(self.decoder(z))}

    def log_likelihood(self, batch, z):
        "log p(x | z) in nats per item, unweighted."
        return self.likelihood.log_prob(batch[self.name], self.decoder(z))

    def elbo(self, batch, q, generator=None, path=False):
        "One-sample estimate of eq. (4) in nats per item, for ANY `q`; `path`: with the KL of eq. (5)."
        z = q.rsample(generator=generator)
        return self.weight*self.log_likelihood(batch, z) - self.beta*(path_kl(q, z) if path else q.kl())

    def loss(self, batch) -> Loss:
        "The mean negative ELBO of a batch."
        q = self.infer(batch)
        log_p, kl = self.log_likelihood(batch, q.rsample()).mean(), q.kl().mean()
        total = -(self.weight*log_p - self.beta*kl)
        return Loss(total, {"nll": -log_p.detach(), "kl": kl.detach()})

    def forward(self, batch): return self.loss(batch)


# %%
def train_vae(model, updates=250):
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
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
        torch.testing.assert_close(-vae.elbo(test, vae.infer(test), path=path).mean(), total, rtol=.02, atol=0)
try: vae.infer({"svhn": test["svhn"]})
except MmvaeError as e: assert str(e) == "batch: got svhn, allowed: mnist"

# %%
#| fig-cap: "Top: validation digits. Middle: their reconstructions. Bottom: digits drawn from the prior."
#| fig-alt: "Three rows of ten handwritten digits."
with torch.no_grad():
    rows = {"data": as_float(test["mnist"][:10]), "reconstruction": vae.generate(test)["mnist"][:10],
            "from the prior": vae.generate(torch.randn(10, latent, generator=generator(1, "prior")))["mnist"]}
generation_grid(rows);


# %% [markdown]
# ## Two estimators of one gradient
#
# The KL has a closed form, so the only noise in the gradient seems to come from the likelihood. That noise never stops,
# though: even where $q$ *is* the true posterior, each single sample gives a gradient, and only their mean is zero. Roeder et al.
# (2017) take the KL at the sample too, and let the gradient flow through the sample alone, not through $q$'s own parameters
# (the bar means: held fixed):
#
# $$
# \begin{aligned}
# \widehat{\mathrm{KL}} = \log q_{\bar\lambda}(z) - \log p(z), \qquad z = \mu + \sigma \odot \epsilon.
# \end{aligned}\tag{5}
# $$
#
# The expectation of the gradient is the same, since what was left out has mean zero:
# $\mathbb E_q[\nabla_\lambda \log q_\lambda(z)] = \int \nabla_\lambda q_\lambda(z)\, dz = \nabla_\lambda 1 = 0$. But where $q = p(z \mid x)$, the
# integrand $\log p(x, z) - \log q(z) = \log p(x)$ does not depend on $z$ at all: *every* sample gives a gradient of exactly zero. Lessons
# 08 and 09, which follow gradients into the optimum, live on that. A case with a known answer: $x \sim \mathcal N(z, 1)$, posterior
# $\mathcal N(x/2, 1/2)$.

# %%
def gradients(q, path, samples=2000):
    "The gradient in the mean of log N(x; z, 1) - KL for x = 1, once per sample."
    mean = q.mean.expand(samples, 1).clone().requires_grad_()
    drawn = DiagonalGaussian(mean, q.logvar.expand(samples, 1)); z = drawn.rsample(generator=generator(0, "path"))
    value = -0.5*((1 - z)**2).sum(-1) - (path_kl(drawn, z) if path else drawn.kl())
    return torch.autograd.grad(value.sum(), mean)[0]

posterior = DiagonalGaussian(torch.tensor([[.5]]), torch.tensor([[.5]]).log())
elsewhere = DiagonalGaussian(torch.tensor([[.2]]), torch.tensor([[.3]]).log())
assert gradients(posterior, path=True).abs().max() < 1e-6 < gradients(posterior, path=False).std()
for path in (False, True):                                # both are unbiased: the gradient is 1 - 2 mean
    g = gradients(elsewhere, path); assert abs(g.mean() - .6) < 3*g.std()/2000**.5


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
#| fig-cap: "Reconstructions with the likelihood summed, and averaged over pixels (beta = 784). The latter have collapsed to one image."
#| fig-alt: "Rows of digits: data, recognisable reconstructions, and a row of ten identical blurs."
with torch.no_grad():
    rows = {"data": as_float(test["mnist"][:10]), "summed": vae.generate(test)["mnist"][:10],
            "averaged": hidden.generate(test)["mnist"][:10]}
generation_grid(rows);


# %% [markdown]
# How you would notice in your own work: the KL in the progress bar goes to zero, and all
# reconstructions look alike. Then compare: is your likelihood a sum over pixels, in nats?
#
# ## Recap
#
# The ELBO is $\log p(x)$ minus the KL from $q$ to the true posterior. Reparameterised samples make
# its gradient computable. Sums, not means.
#
# ## Exercises
#
# 1. Equation (2) came from Jensen's inequality. For which $q$ is it an equality, and how does (3) say the same?
# 2. Train with `beta=4`. What happens to `active` and to the reconstructions?
# 3. Replace the Laplace likelihood by `Bernoulli()`. Can the two negative ELBOs be compared?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Jensen is an equality if what is averaged is constant: $p(z)\,p(x \mid z)/q(z) = p(x)\, p(z \mid x)/q(z)$ does not depend on $z$ if and only if $q(z) = p(z \mid x)$. In (3) the KL is then zero.
# 2. Fewer coordinates stay active, and the pictures become blurrier: the KL costs more.
# 3. No. One is a density over real pixel values, the other a probability of black and white.
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
