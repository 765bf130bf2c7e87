# %% [markdown]
# # mmvae_nb
#
# > Multimodal VAEs, step by step: a tutorial that is a package and an experiment.
#
# A multimodal VAE learns one hidden description of things seen in several ways: a handwritten digit,
# a street number, a word. From any of them it should infer the description, and generate the others.
# That is easy while all of them are given, and hard when only one is: the *missing-modality problem*.
#
# These lessons build the customary answers (JMVAE, MVAE, MMVAE, MoPoE, MVTCAE) and a newer one. It starts
# from one modality, refines what was inferred by the gradient of the multimodal ELBO, and then
# distils the result into a student that needs that one modality only. It was proposed by Oshima,
# Suzuki and Matsuo in a talk of 2023 and a later paper
# ([arXiv 2410.11403](https://arxiv.org/abs/2410.11403)). The last lesson runs the experiments of
# that talk again and puts our numbers beside its own, whatever they show.

# %% [markdown]
# ## Who it is for
#
# - You know how to train a neural network in PyTorch and have seen a VAE, or are about to: read the
#   course from lesson 02 on.
# - You want to use these models on modalities of your own: every lesson is a module of the package
#   `mmvae_nb`, and lesson 02 shows how to bring tensors.
# - You want to check the numbers: one command runs the comparison, on two CPU cores.
# - You teach: each lesson runs by itself in about a minute on a laptop, without a download, and ends
#   in exercises with solutions.

# %% [markdown]
# ## How to start
#
# You need git, make and Python 3.11 or newer.
#
# ```bash
# git clone https://github.com/mmvae-nb/mmvae_nb
# cd mmvae_nb
# make lab     # the lessons in JupyterLab
# make run     # the headline comparison on rendered data, then its table
# make test    # every lesson and every test
# ```
#
# Each of these first makes a virtual environment of its own (about 2 GB) if there is none. `make`
# alone lists the rest. The data that is used by default is made by the package; real data is used
# only where you ask for it, and every table says which it was.

# %% [markdown]
# ## The lessons
#
# | | lesson | what you have at the end |
# |---|---|---|
# | 02 | [Data](02_data.ipynb) | triples of a digit, a street number and a word; the batch contract |
# | 03 | [Distributions](03_distributions.ipynb) | Gaussians, their KL, products and mixtures; likelihoods |
# | 04 | [Networks](04_networks.ipynb) | an encoder and a decoder for each kind of modality |
# | 05 | [The VAE](05_vae.ipynb) | the ELBO, a trained VAE, and why a mean in the loss hides a beta |
# | 06 | [Training](06_training.ipynb) | one `fit` for all models: progress, checkpoints, resume |
# | 07 | [Metrics](07_metrics.ipynb) | FID, linear probe, coherence: what each can and can't tell |
# | 09 | [Iterative inference](09_iterative_inference.ipynb) | a refiner that climbs the ELBO, for one modality |
# | 10 | [The multimodal ELBO](10_multimodal_elbo.ipynb) | the joint VAE; the missing-modality problem, measured |
# | 11 | [Distillation](11_distillation.ipynb) | students that see one modality; products of students |
# | 12 | [JMVAE](12_jmvae.ipynb) | students trained together with their teacher, or afterwards |
# | 13 | [MoPoE](13_mopoe.ipynb) | mixtures of products of experts; MVAE and MMVAE as special cases |
# | 14 | [MVTCAE](14_mvtcae.ipynb) | a product of experts that is trained to be predictable from each expert alone |
# | 15 | [Multimodal iterative inference](15_multimodal_iterative.ipynb) | the method: refine from one modality, then distil |
# | 18 | [The experiments](18_reproduce.ipynb) | the table of experiments, and our numbers beside the talk's |
#
# Two more hold what every lesson uses: [00 Plumbing](00_core.ipynb) and
# [01 Pictures and tables](01_plotting.ipynb). You can skip them on a first reading.
