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
# # Glossary, English and Japanese
#
# > The words of the field as this course uses them, with the usual Japanese terms.
#
# Where two Japanese terms are in use, both are given. The last column says which lesson explains a word.
#
# ## Models and inference
#
# | English | 日本語 | meaning here | lesson |
# |---|---|---|---|
# | amortization gap | 償却ギャップ(アモチゼーションギャップ) | nats of ELBO lost because one network answers for all items | [07](07_amortization_gap.ipynb) |
# | amortized inference | 償却推論(アモータイズド推論) | inference by a network that maps any item to its posterior | [02](02_vae.ipynb) |
# | approximate posterior | 近似事後分布 | the distribution $q$ that stands in for the true posterior | [02](02_vae.ipynb#the-elbo-first-way-jensen) |
# | approximation gap | 近似ギャップ | nats lost because the best Gaussian is not the true posterior | [07](07_amortization_gap.ipynb) |
# | conditional independence | 条件付き独立(性) | given $z$, the modalities tell nothing more about each other | [03](03_multimodal_elbo.ipynb) |
# | coordination-based model | 協調型モデル(定訳なし) | a model that draws unimodal posteriors to the joint one, without a mixture: JMVAE-kl, MVTCAE, CRMVAE | [06](06_mvtcae.ipynb#crmvae-decode-from-each-encoder-alone) |
# | cross-modal generation | クロスモーダル生成 | making one modality from another | [03](03_multimodal_elbo.ipynb) |
# | decoder, generative model | デコーダ(復号器)、生成モデル | the network from $z$ to the parameters of a likelihood | [02](02_vae.ipynb) |
# | distillation | 蒸留(知識蒸留) | training one network to imitate what another one answers | [10](10_distillation.ipynb) |
# | encoder, inference model | エンコーダ(符号化器)、推論モデル | the network from data to a posterior | [02](02_vae.ipynb) |
# | evidence, marginal likelihood | エビデンス、周辺尤度 | the probability of the data with $z$ integrated out | [02](02_vae.ipynb) |
# | evidence lower bound (ELBO) | 変分下界(変分下限)、エビデンス下界 | the bound on $\log p(x)$ that is maximised | [02](02_vae.ipynb) |
# | iterative amortized inference | 反復償却推論 | a learned network improves a posterior step by step, from its gradient | [08](08_iterative_inference.ipynb) |
# | joint posterior | 全モダリティを条件とする事後分布 | the posterior of $z$ that has seen all modalities (同時事後分布 is the posterior of several unknowns at once) | [03](03_multimodal_elbo.ipynb) |
# | latent variable | 潜在変数 | the hidden description $z$ of an item | [02](02_vae.ipynb) |
# | likelihood | 尤度 | the distribution of the data given $z$ | [02d](02d_distributions.ipynb#likelihoods) |
# | missing-modality problem | 欠損モダリティ問題 | inference gets poor when part of the input is absent | [03](03_multimodal_elbo.ipynb#the-missing-modality) |
# | mixture of experts | 混合エキスパート、エキスパートの混合(MoE) | one of several opinions, taken at random | [02d](02d_distributions.ipynb#mixture-of-experts) |
# | modality | モダリティ | one way of seeing an item: image, text, sound | [02a](02a_data.ipynb) |
# | multimodal VAE | マルチモーダル VAE | a VAE of several modalities with one shared $z$ | [03](03_multimodal_elbo.ipynb) |
# | oracle | オラクル | the best Gaussian of each item, found by long gradient ascent | [07](07_amortization_gap.ipynb) |
# | missing information, floor | 欠損モダリティだけが持つ情報(下限) | what the modalities that are there do not say; no inference from them removes it | [07](07_amortization_gap.ipynb#what-a-missing-modality-has-to-do-with-it) |
# | posterior collapse | 事後分布の崩壊、事後崩壊 | the posterior equals the prior and $z$ tells nothing | [02](02_vae.ipynb#what-goes-wrong-a-mean-is-a-hidden-beta) |
# | prior, posterior | 事前分布、事後分布 | what is believed about $z$ before and after seeing data | [02](02_vae.ipynb) |
# | product of experts | エキスパートの積、専門家の積(PoE) | several opinions multiplied: sharper than each of them | [02d](02d_distributions.ipynb#product-of-experts) |
# | refiner | 反復推論モデル(更新ネットワーク) | the network that proposes the next posterior | [08](08_iterative_inference.ipynb) |
# | reparameterisation trick | 再パラメータ化トリック | a sample as a function of parameters and noise, so that gradients pass | [02](02_vae.ipynb#the-gradient-reparameterise) |
# | shared representation | 共有表現 | what $z$ holds of all modalities together | [03](03_multimodal_elbo.ipynb) |
# | student, teacher | 生徒モデル(蒸留推論器)、教師モデル | the network that imitates, and the posterior that is imitated; 蒸留推論器 is the word of the talk | [10](10_distillation.ipynb) |
# | total correlation | 全相関(トータルコリレーション) | how far variables are from independent, in nats | [06](06_mvtcae.ipynb#what-the-modalities-share) |
# | variational autoencoder (VAE) | 変分オートエンコーダ、変分自己符号化器 | encoder and decoder trained together by the ELBO | [02](02_vae.ipynb) |
# | variational inference | 変分推論 | inference by maximising a bound over a family of distributions | [02](02_vae.ipynb) |
#
# ## Quantities and measures
#
# | English | 日本語 | meaning here | lesson |
# |---|---|---|---|
# | annealed importance sampling (AIS) | 焼きなまし重点サンプリング(AIS) | importance sampling by a ladder of many small steps from a simple distribution to the posterior | [07a](07a_log_likelihood.ipynb#a-ladder-instead-of-a-leap) |
# | bootstrap | ブートストラップ法 | an interval from redrawing the items; with three seeds it says little about other seeds | [03a](03a_metrics.ipynb#is-the-difference-real) |
# | confidence interval (Student's t) | 信頼区間(t 分布による) | the range that covers the true mean in 95 % of repetitions; here over seeds | [03a](03a_metrics.ipynb#is-the-difference-real) |
# | coherence | 一貫性(コヒーレンス) | how often a generated item shows the class that was given | [03a](03a_metrics.ipynb#coherence) |
# | effective sample size | 有効サンプルサイズ | how many equal weights would be worth as much as the unequal ones at hand | [07a](07a_log_likelihood.ipynb#importance-sampling-and-how-many-samples-it-is-worth) |
# | entropy | エントロピー | mean of minus the log density, in nats | [06](06_mvtcae.ipynb#what-the-modalities-share) |
# | Fisher information | フィッシャー情報量 | how fast a distribution changes with its parameters; the unit of the natural gradient | [08](08_iterative_inference.ipynb) |
# | Fréchet inception distance (FID) | フレシェ・インセプション距離(FID) | distance of two sets of features, each taken for a Gaussian | [03a](03a_metrics.ipynb#the-fréchet-distance) |
# | importance sampling | 重点サンプリング | averages under one distribution from samples of another | [03a](03a_metrics.ipynb#the-importance-weighted-log-likelihood) |
# | Kullback-Leibler divergence | カルバック・ライブラー・ダイバージェンス(KL ダイバージェンス、KL 情報量) | how much one distribution differs from another; not symmetric | [02d](02d_distributions.ipynb) |
# | Jensen's inequality | イェンセンの不等式 | the logarithm of a mean is at least the mean of the logarithms | [02](02_vae.ipynb) |
# | linear probe | 線形プローブ(線形評価、線形分類による評価) | accuracy of a linear classifier on latents | [03a](03a_metrics.ipynb#the-linear-probe) |
# | log-likelihood | 対数尤度 | logarithm of the likelihood, in nats | [02d](02d_distributions.ipynb#likelihoods) |
# | moment matching | モーメントマッチング(積率を合わせること) | taking over mean and variance of a distribution | [10](10_distillation.ipynb#the-idea) |
# | Monte Carlo estimate | モンテカルロ推定 | an average over random samples in place of an integral | [02](02_vae.ipynb#the-gradient-reparameterise) |
# | mutual information | 相互情報量 | what one variable tells about another, in nats | [06](06_mvtcae.ipynb) |
# | nat | ナット | unit of information with the natural logarithm; 1 nat is about 1.44 bit | [02d](02d_distributions.ipynb) |
# | precision | 精度(分散の逆数。多変量では精度行列) | one over the variance; precisions add in a product of Gaussians | [02d](02d_distributions.ipynb#product-of-experts) |
# | reconstruction error | 再構成誤差 | how far the decoded item is from the given one | [02](02_vae.ipynb) |
#
# ## Training
#
# | English | 日本語 | meaning here | lesson |
# |---|---|---|---|
# | batch | バッチ(ミニバッチ) | the items of one update | [02a](02a_data.ipynb#what-a-batch-is) |
# | checkpoint | チェックポイント | all that is needed to go on with a run | [02h](02h_checkpoints.ipynb#checkpoints) |
# | detach, stop gradient | 勾配の停止(計算グラフからの切り離し) | a value that passes no gradient back | [02](02_vae.ipynb#two-estimators-of-one-gradient) |
# | group normalisation | グループ正規化 | normalising groups of channels within one item | [02e](02e_networks.ipynb) |
# | learning rate | 学習率 | the size of an optimiser's step | [02g](02g_training.ipynb#the-learning-rate) |
# | mixed precision | 混合精度 | 16-bit numbers where they do, 32-bit where they must | [02g](02g_training.ipynb) |
# | natural gradient | 自然勾配 | the gradient in the units of the distribution | [08](08_iterative_inference.ipynb) |
# | random seed | 乱数シード | the number from which all chance of a run follows | [02g](02g_training.ipynb) |
# | train, validation, test (split) | 訓練・検証・テスト分割 | items to learn from, to choose settings on, to report on | [02a](02a_data.ipynb) |
# | warm-up | ウォームアップ | a gentle beginning, of the learning rate or of a term of the loss | [02g](02g_training.ipynb) |
