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
# > One table for the whole series: symbol, meaning, its name in the code, and where it is introduced.
#
# Most symbols have one meaning in all lessons; the few that have two stand in the table twice, with the lessons that use them, and the last paragraph lists them. In the code, posteriors and latents have the shape $(B, L)$: $B$ items in a batch,
# $L$ latent coordinates. Likelihoods, divergences and bounds have the shape $(B)$, one number per item. All logarithms are natural; likelihoods and
# divergences are *sums* over coordinates, in nats. $\mathcal N(\cdot, \cdot)$ has the mean and the *variance*. A bar is a mean, a star an optimum, a hat an
# estimate or something generated.
#
# ## Data
#
# | symbol | meaning | in the code | lesson |
# |---|---|---|---|
# | $M$ | number of modalities | | [02a](02a_data.ipynb#what-a-batch-is) |
# | $x = (x_1, \dots, x_M)$ | an item with $M$ modalities | `batch`, a `dict` | [02a](02a_data.ipynb#what-a-batch-is) |
# | $x_m$ | modality $m$ of it | `batch[name]` | [02a](02a_data.ipynb#what-a-batch-is) |
# | $D_m$ | how many numbers $x_m$ has | | [02e](02e_networks.ipynb#from-modalities-to-specifications) |
# | $y$ | its class | `labels` | [02a](02a_data.ipynb) |
# | $n$ | number of items, of an epoch or of a test set | `len(data)` | [02a](02a_data.ipynb) |
# | $B$ | items per update | `batch_size` | [02a](02a_data.ipynb#a-data-set-as-a-function-of-the-update-number) |
# | $u$, $U$ | number of the update, and how many there are | `update`, `updates` | [02a](02a_data.ipynb#a-data-set-as-a-function-of-the-update-number) |
# | $A$, $\lvert A \rvert$ | a non-empty subset of the modalities, and its size | `subsets_of` | [05](05_mopoe.ipynb#every-subset-has-an-opinion) |
#
# ## Model
#
# | symbol | meaning | in the code | lesson |
# |---|---|---|---|
# | $z$, $L$ | latent variable, number of its coordinates | `z`, `latent` | [02d](02d_distributions.ipynb#notation) |
# | $p(z) = \mathcal N(0, I)$ | prior | `kl()` | [02d](02d_distributions.ipynb#notation) |
# | $p_\theta(x_m \mid z)$ | decoder and likelihood of modality $m$ | `decoders[m]` | [02d](02d_distributions.ipynb#likelihoods) |
# | $a(z)$ | what a decoder puts out: means or logits | `params` | [02d](02d_distributions.ipynb#likelihoods), [07](07_amortization_gap.ipynb) |
# | $\Gamma$ | the gamma function | `torch.lgamma` | [02f](02f_kinds.ipynb) |
# | $b$ | scale of a Laplace or Gaussian likelihood | `scale` | [02d](02d_distributions.ipynb#likelihoods) |
# | $\theta$ | parameters of the decoders | | [02](02_vae.ipynb) |
# | $w_m$ | weight of modality $m$'s log-likelihood | `weight` | [02e](02e_networks.ipynb#from-modalities-to-specifications) |
# | $\beta$ | weight of the KL term | `beta` | [02](02_vae.ipynb#the-exported-version) |
# | $\mathcal L(x; q)$ | (weighted) evidence lower bound, ELBO | `elbo` | [02](02_vae.ipynb), [03](03_multimodal_elbo.ipynb) |
#
# ## Posteriors
#
# | symbol | meaning | in the code | lesson |
# |---|---|---|---|
# | $q_\lambda(z) = \mathcal N(\mu, \mathrm{diag}\,\sigma^2)$ | approximate posterior | `DiagonalGaussian` | [02d](02d_distributions.ipynb#the-diagonal-gaussian) |
# | $\lambda = (\mu, \log\sigma^2)$ | its parameters | `mean`, `logvar` | [02d](02d_distributions.ipynb#notation) |
# | $\mathcal N(\nu, \mathrm{diag}\,\tau^2)$ | another Gaussian; in 07 $\nu$ is the mean of the true posterior, where that is one | `other` | [02d](02d_distributions.ipynb#the-diagonal-gaussian), [07](07_amortization_gap.ipynb#a-model-in-which-all-is-known) |
# | $\epsilon$ | noise of a sample, $z = \mu + \sigma \odot \epsilon$ | in `rsample` | [02](02_vae.ipynb#the-gradient-reparameterise) |
# | $\mathrm{sg}(\cdot)$ | stop-gradient: the value, with derivative zero | `detach` | [02](02_vae.ipynb#two-estimators-of-one-gradient) |
# | $p(z \mid x)$ | true posterior | | [02](02_vae.ipynb#the-elbo-second-way-what-is-lost) |
# | $\mathrm{KL}(q \,\Vert\, p)$ | Kullback-Leibler divergence | `q.kl(p)` | [02d](02d_distributions.ipynb#the-diagonal-gaussian) |
# | $q_\phi(z \mid x)$ | posterior of an encoder with parameters $\phi$; of the joint encoder from lesson 03 on | `infer` | [07](07_amortization_gap.ipynb), [03](03_multimodal_elbo.ipynb#the-joint-vae) |
# | $q_m(z \mid x_m)$ | posterior of modality $m$'s own encoder | `encoders[m]` | [04](04_jmvae.ipynb#the-objective) |
# | $q_A(z \mid x_A)$ | product of the experts of subset $A$ | `products` | [05](05_mopoe.ipynb#every-subset-has-an-opinion) |
# | $q^*$, $\mathcal Q$ | the best diagonal Gaussian of an item, the oracle; the family that it is the best of | `gradient_ascent` | [07](07_amortization_gap.ipynb#the-best-gaussian-climb-for-each-item) |
# | $J$ | number of components of a mixture | `components` | [02d](02d_distributions.ipynb#mixture-of-experts) |
#
# ## How probable is an item?
#
# | symbol | meaning | in the code | lesson |
# |---|---|---|---|
# | $K$; $z_k$, $w_k$ | number of importance samples; sample $k$ and its weight $p(x, z_k)/q(z_k)$ | `samples`, `log_w` | [03a](03a_metrics.ipynb#the-importance-weighted-log-likelihood), [07a](07a_log_likelihood.ipynb#importance-sampling-and-how-many-samples-it-is-worth) |
# | $R$; $f_r$, $\gamma_r$, $\mathcal T_r$ | rungs of a ladder; distribution, exponent and Markov chain step of rung $r$ | `steps` | [07a](07a_log_likelihood.ipynb#a-ladder-instead-of-a-leap) |
# | $W$, $P$ | matrix of the linear model, precision of its posterior | | [07](07_amortization_gap.ipynb#a-model-in-which-all-is-known) |
# | $\tilde p(z \mid x)$, $Z(x)$ | tempered posterior, its normaliser | | [03](03_multimodal_elbo.ipynb), [07](07_amortization_gap.ipynb#weights-and-beta) |
#
# ## Iterative inference and distillation
#
# | symbol | meaning | in the code | lesson |
# |---|---|---|---|
# | $t = 0, \dots, T$ | refinement iteration, and how many | `steps` is $T$ | [08](08_iterative_inference.ipynb#the-learned-way) |
# | $\lambda_t$, $q_t$ | posterior after $t$ iterations | `trajectory[t]` | [08](08_iterative_inference.ipynb#the-learned-way) |
# | $\lambda^{(m)}_t$, $q^{(m)}_t$ | the same, started from modality $m$ | `trajectory` | [09](09_multimodal_iterative.ipynb#one-change-of-view) |
# | $g = \nabla_\lambda \mathcal L$ | gradient of the ELBO in $\lambda$ | `elbo_gradient` | [08](08_iterative_inference.ipynb) |
# | $\gamma$ | gate of a refiner, between the current value (or a step from it) and a proposal | `gate` | [08](08_iterative_inference.ipynb#the-learned-way) |
# | $\tilde\lambda$, $\tilde\mu$ | the proposal: a new value | `mean`, `logvar` | [08](08_iterative_inference.ipynb#the-learned-way) |
# | $o$, $c$ | network output that makes the step $c \tanh(o)$, and its largest length in standard deviations | `max_step` | [08](08_iterative_inference.ipynb#ours-the-posteriors-own-units-and-a-memory) |
# | $r_t$ | share of the change that is made at iteration $t$ | `age` | [08](08_iterative_inference.ipynb#ours-the-posteriors-own-units-and-a-memory) |
# | $\bar g_t$ | running mean of an item's gradients | `memory` | [08](08_iterative_inference.ipynb#ours-the-posteriors-own-units-and-a-memory) |
# | $f_\omega$ | refiner with parameters $\omega$ | `Refiner` | [08](08_iterative_inference.ipynb#the-learned-way), [09](09_multimodal_iterative.ipynb#one-change-of-view) |
# | $e_m$ | encoder that gives the start from modality $m$ | `encoders[m]` | [09](09_multimodal_iterative.ipynb#one-change-of-view) |
# | $q_{\mathrm{teach}}(z \mid x)$ | what a teacher answers: $q_T$ after refinement, or the joint posterior | `targets` | [10](10_distillation.ipynb#the-idea) |
# | $s_m(z \mid x_m)$ | student of modality $m$ | `encoders[m]` | [10](10_distillation.ipynb#the-idea) |
# | $\bar q(z \mid x_m)$; $\bar\mu$, $\bar v$ | the teacher's average answer, given $x_m$ only; its mean and variance | | [10](10_distillation.ipynb#the-idea) |
#
# ## Methods, training, metrics
#
# | symbol | meaning | in the code | lesson |
# |---|---|---|---|
# | $\alpha$ | JMVAE: weight of the pull between joint and unimodal posteriors; 06 compares with it | `alpha` | [04](04_jmvae.ipynb#the-objective), [06](06_mvtcae.ipynb) |
# | $\kappa$ | MVTCAE: share of the second way to write the total correlation (its paper calls it $\alpha$) | `alpha` | [06](06_mvtcae.ipynb#what-the-modalities-share) |
# | $\mathcal J$ | the loss of a method, minimised, where it is not $-\mathcal L$: JMVAE's, MVTCAE's and CRMVAE's | `loss` | [04](04_jmvae.ipynb#the-objective), [06](06_mvtcae.ipynb) |
# | $\mathrm{TC}(x)$, $I(x; z)$, $H(x)$ | total correlation, mutual information, entropy | | [06](06_mvtcae.ipynb#what-the-modalities-share) |
# | $\eta$, $U_0$ | peak learning rate, number of warm-up updates | `lr` | [02g](02g_training.ipynb#the-learning-rate) |
# | $\hat x$ | a generated item | `generated` | [03a](03a_metrics.ipynb#coherence) |
# | $\Sigma$, $\hat\Sigma$ | covariances of real and generated features | `frechet_distance` | [03a](03a_metrics.ipynb#the-fréchet-distance) |
# | $h$, $\Pi$ | features of one side, directions along which the two sides agree | `CanonicalCorrelation` | [03a](03a_metrics.ipynb#do-a-picture-and-a-sentence-belong-together) |
#
# *Two meanings, told apart by the index:* $w_m$ weighs a modality and $w_k$ a sample; $f_\omega$ is the refiner and $f_r$ a rung; $\gamma$ is a refiner's gate and $\gamma_r$ the exponent of a rung; $r$ counts rungs and $r_t$ is a share.
#
# Small letters of a single paragraph ($c$, $C$, $\delta$, $\Delta$, $\rho$; $v$, $v_m$ for the variance of a noise; $\Phi$ for the normal distribution function) are defined where they stand.
