# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: python3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Notation
#
# > One table for the whole series: symbol, meaning, shape, its name in the code, and where it is introduced.
#
# $B$ is the number of items in a batch, $L$ the number of latent coordinates, $M$ the number of modalities. "Per item"
# means shape $(B)$. All logarithms are natural, all divergences and likelihoods are sums over
# coordinates, in nats per item.
#
# ## Data
#
# | symbol | meaning | shape | in the code | lesson |
# |---|---|---|---|---|
# | $x = (x_1, \dots, x_M)$ | an item with $M$ modalities | | `batch`, a `dict` | [02](02_data.ipynb#what-a-batch-is) |
# | $x_m$ | modality $m$ of it | $(B, \dots)$ | `batch[name]` | [02](02_data.ipynb#what-a-batch-is) |
# | $y$ | its class | $(B)$ | `labels` | [02](02_data.ipynb) |
# | $n$ | number of items: of an epoch (02), of a test set (07) | | `len(data)` | [02](02_data.ipynb) |
# | $B$ | items per update | | `batch_size` | [02](02_data.ipynb#a-data-set-as-a-function-of-the-update-number) |
# | $u$, $U$ | number of the update, and how many there are | | `update`, `updates` | [02](02_data.ipynb#a-data-set-as-a-function-of-the-update-number) |
# | $A$ | a non-empty subset of the modalities | | `subsets_of` | [13](13_mopoe.ipynb#every-subset-has-an-opinion) |
#
# ## Model
#
# | symbol | meaning | shape | in the code | lesson |
# |---|---|---|---|---|
# | $z$ | latent variable | $(B, L)$ | `z`; $L$ is `latent` | [03](03_distributions.ipynb#notation) |
# | $p(z) = \mathcal N(0, I)$ | prior | | `kl()` without argument | [03](03_distributions.ipynb#notation) |
# | $p_\theta(x_m \mid z)$ | decoder and likelihood of modality $m$ | per item | `decoders[m]`, `likelihood` | [03](03_distributions.ipynb#likelihoods) |
# | $\theta$ | parameters of the decoders | | `model.decoders` | [05](05_vae.ipynb) |
# | $w_m$ | weight of modality $m$'s log-likelihood | scalar | `ModalitySpec.weight` | [04](04_networks.ipynb#from-modalities-to-specifications) |
# | $\beta$ | weight of the KL term | scalar | `beta` | [05](05_vae.ipynb#the-exported-version) |
# | $b$ | scale of the Laplace likelihood | scalar | `Laplace(scale)` | [03](03_distributions.ipynb#likelihoods) |
# | $\mathcal L(x; q)$ | (weighted) evidence lower bound | per item | `elbo(batch, q)` | [05](05_vae.ipynb), [10](10_multimodal_elbo.ipynb) |
#
# ## Posteriors
#
# | symbol | meaning | shape | in the code | lesson |
# |---|---|---|---|---|
# | $q_\lambda(z) = \mathcal N(\mu, \mathrm{diag}\,\sigma^2)$ | approximate posterior | $(B, L)$ twice | `DiagonalGaussian` | [03](03_distributions.ipynb#the-diagonal-gaussian) |
# | $\lambda = (\mu, \log\sigma^2)$ | its parameters | $(B, L)$ each | `mean`, `logvar` | [03](03_distributions.ipynb#notation) |
# | $\epsilon$ | noise of a reparameterised sample, $z = \mu + \sigma \odot \epsilon$ | $(B, L)$ | inside `rsample` | [05](05_vae.ipynb#the-gradient-reparameterise) |
# | $q_\phi(z \mid x_1, \dots, x_M)$ | posterior of the joint encoder, with parameters $\phi$ | $(B, L)$ | `JVAE.infer` | [10](10_multimodal_elbo.ipynb#the-joint-vae) |
# | $q_m(z \mid x_m)$ | posterior of modality $m$'s own encoder | $(B, L)$ | `encoders[m]` | [12](12_jmvae.ipynb#the-objective) |
# | $q_A(z \mid x_A)$ | product of the experts of subset $A$ | $(B, L)$ | `MoPoE.products` | [13](13_mopoe.ipynb#every-subset-has-an-opinion) |
# | $q^*$ | the best diagonal Gaussian of an item, the oracle | $(B, L)$ | `gradient_ascent` | [08](08_amortization_gap.ipynb#the-best-gaussian-climb-for-each-item) |
# | $p(z \mid x)$ | true posterior | | | [05](05_vae.ipynb#the-elbo-second-way-what-is-lost) |
# | $\mathrm{KL}(q \,\Vert\, p)$ | Kullback-Leibler divergence | per item | `q.kl(p)` | [03](03_distributions.ipynb#the-diagonal-gaussian) |
# | $K$ | number of experts (03), components (13) or importance samples (07) | | | |
#
# ## Iterative inference and distillation
#
# | symbol | meaning | shape | in the code | lesson |
# |---|---|---|---|---|
# | $t = 0, \dots, T$ | refinement iteration, and how many | | `steps` is $T$ | [09](09_iterative_inference.ipynb#the-learned-way) |
# | $\lambda_t$, $q_t$ | posterior after $t$ iterations | $(B, L)$ each | `trajectory[t]` | [09](09_iterative_inference.ipynb#the-learned-way) |
# | $\lambda^{(m)}_t$, $q^{(m)}_t$ | the same, started from modality $m$ | $(B, L)$ each | `trajectory(batch, m)` | [15](15_multimodal_iterative.ipynb#one-change-of-view) |
# | $g = \nabla_\lambda \mathcal L$ | gradient of the ELBO in $\lambda$ | $(B, L)$ twice | `elbo_gradient` | [09](09_iterative_inference.ipynb) |
# | $\bar g_t$ | running mean of an item's gradients | $(B, L)$ twice | `memory` | [09](09_iterative_inference.ipynb#ours-the-posteriors-own-units-and-a-memory) |
# | $f_\omega$ | refiner with parameters $\omega$ | | `Refiner` | [09](09_iterative_inference.ipynb#the-learned-way) |
# | $e_m$ | encoder that gives the start from modality $m$ | | `encoders[m]` | [15](15_multimodal_iterative.ipynb#one-change-of-view) |
# | $q_T(z \mid x)$ | what a teacher answers: $q_T$ after refinement, or the joint posterior | $(B, L)$ | `targets` | [11](11_distillation.ipynb#the-idea) |
# | $s_m(z \mid x_m)$ | student of modality $m$ | $(B, L)$ | `Students.encoders[m]` | [11](11_distillation.ipynb#the-idea) |
# | $\bar q(z \mid x_m)$ | the teacher's average answer, given $x_m$ only | | | [11](11_distillation.ipynb#the-idea) |
#
# ## Methods
#
# | symbol | meaning | in the code | lesson |
# |---|---|---|---|
# | $\alpha$ in JMVAE | weight of the pull between joint and unimodal posteriors | `JMVAE(alpha)` | [12](12_jmvae.ipynb#the-objective) |
# | $\alpha$ in MVTCAE | share of the second way to write the total correlation | `MVTCAE(alpha)` | [14](14_mvtcae.ipynb#what-the-modalities-share) |
# | $\mathrm{TC}(x)$, $I(x; z)$, $H(x)$ | total correlation, mutual information, entropy | | [14](14_mvtcae.ipynb#what-the-modalities-share) |
# | $\eta$, $\rho$ | peak learning rate, share of the warm-up | `lr` | [06](06_training.ipynb#the-learning-rate) |
# | $\Sigma$, $\hat\Sigma$ | covariances of real and generated features | `frechet_distance` | [07](07_metrics.ipynb#the-fréchet-distance) |
#
# Some letters serve twice, and the context tells: $\alpha$ as above; $s$ is a student in lesson 11 and a deviation in equation (2)
# of lesson 03; a bar is a mean in lessons 09 and 11 and "held fixed" in lesson 05; $L$ is the number of
# latent coordinates and, in lesson 14, a loss.
