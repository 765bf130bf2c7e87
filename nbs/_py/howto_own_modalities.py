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
# # Bring your own modalities
#
# > From two arrays on disk to students that turn one into the other, in one listing.
#
# ::: {.callout-note}
# ## You will learn
#
# - what shape your data must have, and what is guessed from it;
# - the one number that must be set for your data: the scale of the likelihood;
# - how to tell that training worked, with a measure that the training knows nothing of.
#
# Runs in under a minute on a laptop CPU.
# :::
#
# ## Two arrays
#
# Each modality is one array; row $i$ of every array is the same item. Float arrays with two axes are vectors, `uint8` arrays of
# shape (items, channels, height, width) are images. Whole numbers may be text, counts or categories, so you say which: `kinds={"word": "text"}` for tokens, `.astype("float32")` for
# counts, ones and zeros for categories (lesson 02). Here the two
# modalities are toys: the left and the right half of the small digits of scikit-learn, 32 numbers each.

# %%
import os, tempfile
import numpy as np
from sklearn.datasets import load_digits

here = os.getcwd()
os.chdir(tempfile.mkdtemp())      # a folder of its own, so that nothing of yours is overwritten
images = load_digits().images.astype("float32")/16
np.save("left.npy", images[:, :, :4].reshape(-1, 32))
np.save("right.npy", images[:, :, 4:].reshape(-1, 32))

# %% [markdown]
# ## The listing
#
# Replace the names and files by yours. `default_specs` chooses networks by the kind of each modality (lesson 04); the
# teacher is the one of lesson 15, and `distill` makes a student for each modality (lesson 11).

# %%
from dataclasses import replace
import numpy as np
import torch
from mmvae_nb import Gaussian, IterativeTeacher, TensorData, default_specs, distill, fit, save
from mmvae_nb.core import seed_everything

arrays = {"left": np.load("left.npy"), "right": np.load("right.npy")}    # row i: the same item
train = {name: a[:1200] for name, a in arrays.items()}
test = {name: torch.tensor(a[1200:]) for name, a in arrays.items()}

data = TensorData(train)                                                 # on the CPU; fit moves it
specs = default_specs(data.modalities)
specs = {name: replace(s, likelihood=Gaussian(scale=0.2)) for name, s in specs.items()}
run = dict(batch_size=64, lr=2e-3, seed=0)

seed_everything(0, "teacher")
teacher = IterativeTeacher(specs, latent=8, steps=2, hidden=128)
fit(teacher, data, updates=600, **run)
students = distill(teacher, data, updates=300, **run)
save(students, "students.safetensors")                                   # one file: numbers and recipe

with torch.no_grad():
    made = students.generate({"left": test["left"]}, to="right")["right"]     # needs no right half
    z = students.infer({"left": test["left"]}).mean                         # the shared description
np.save("right_from_left.npy", made)

# %% [markdown]
# A colleague who has the package opens the file by `load("students.safetensors")` and needs none of the lines above: specs, scale and options are in it, and
# nothing that could be run (lesson 06a).
#
# `JVAE(specs, latent=8)` in place of `IterativeTeacher` trains several times faster and is the
# baseline to compare with. For networks of your own, write a `ModalitySpec` by hand: README and lesson 04 show one.
#
# ## Did it work?
#
# The loss alone does not say. Two measures that training knows nothing of: a classifier of *real* right halves reads the digit
# from the made ones, and the squared error is set beside that of the mean right half, which is what a model
# without any information would draw.

# %%
from sklearn.linear_model import LogisticRegression

def measured(students):
    "How good are right halves made from left ones? A judge of real halves, and the squared error."
    digits = load_digits().target
    judge = LogisticRegression(max_iter=2000).fit(train["right"], digits[:1200])
    with torch.no_grad(): made = students.generate({"left": test["left"]}, to="right")["right"]
    error = lambda x: float(((x - test["right"])**2).mean())
    mean_half = torch.tensor(train["right"]).mean(0)
    with torch.no_grad(): nats = students.infer({"left": test["left"]}).kl().mean().item()
    return {"digit read from a made half": round(judge.score(made, digits[1200:]), 3),
            "from a real half": round(judge.score(test["right"], digits[1200:]), 3),
            "squared error": round(error(made), 4), "of the mean half": round(error(mean_half), 4),
            "KL to the prior (nats)": round(nats, 3)}

good = measured(students)
assert good["digit read from a made half"] > .4          # chance is 0.1
assert good["squared error"] < .8*good["of the mean half"]
good

# %%
#| fig-cap: "Test items: the whole digit, and the left half with the right half that the student made for it."
#| fig-alt: "Two rows of ten small digits. Upper row: real. Lower row: left half real, right half made from the left one alone."
from mmvae_nb.plotting import generation_grid, set_style

set_style()
picture = lambda half: half.reshape(-1, 1, 8, 4).clamp(0, 1)
halves = lambda left, right: torch.cat([picture(left), picture(right)], -1)
generation_grid({"real": halves(test["left"][:10], test["right"][:10]),
                 "right half made": halves(test["left"][:10], made[:10])});

# %% [markdown]
# ## The number to get right: the scale
#
# The likelihood's scale says how large an error is small, in the units of your data. The default of 1 suits
# data with deviation 1; these pixels lie between 0 and 1. With a scale that is too large every error looks small, so explaining the
# data is not worth its KL, and the posterior collapses to the prior. The same listing with the default:

# %%
seed_everything(0, "teacher")
blind = IterativeTeacher(default_specs(data.modalities), latent=8, steps=2, hidden=128)
fit(blind, data, updates=600, progress=False, **run)
bad = measured(distill(blind, data, updates=300, progress=False, **run))
assert bad["KL to the prior (nats)"] < .1 < 1 < good["KL to the prior (nats)"]
bad

# %%
os.chdir(here)

# %% [markdown]
# Three rules of thumb. Start with a scale near the error that you would be content with (here 0.2 of a range of 1). Look at the KL
# to the prior: near zero means too large a scale, or averages in place of sums (lesson 05). And if one modality's
# reconstruction does not move while the total falls, raise its weight: `default_specs(modalities, weights={"left": 2})`. By itself `default_specs` gives no more than 100:
# a single number beside a picture of 64 x 64 in colour would have 12,288, and the model would spend $z$ on its noise ([lesson 04](04_networks.ipynb#from-modalities-to-specifications)).
#
# ## Tables
#
# Columns in different units are the same trap once more: the scale suits one of them, and the largest alone is learnt. `TensorData` warns; `Standardize` brings each column to mean 0 and
# deviation 1, by what the *training* items say, and takes what was generated back into the units of the table. Here are heights in metres and weights in grams:

# %%
import warnings
from mmvae_nb.data import Standardize

height = np.random.default_rng(0).normal(1.7, .1, 400)
table = np.stack([height, 70e3*(height/1.7)**2*np.random.default_rng(1).normal(1, .1, 400)], 1)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always"); TensorData({"body": table[:300]})
print(told[0].message)
units = Standardize(table[:300])
body = TensorData({"body": units(table[:300])})                 # no warning; the same `units` for the test
assert np.allclose(units.back(units(table[300:])), table[300:], rtol=1e-5)

# %% [markdown]
# ## A likelihood of your own
#
# Any object with `log_prob(x, params)` and `mean(params)` will do ([lesson 03](03_distributions.ipynb#likelihoods)). One with a deviation that is learnt for each column instead of
# set is an `nn.Module`, and each model trains a copy of its own:

# %%
from torch import nn

class LearntScale(nn.Module):
    "A Gaussian whose deviation is learnt, column by column."
    def __init__(self, n): super().__init__(); self.log_scale = nn.Parameter(torch.zeros(n))
    def log_prob(self, x, params):                               # (batch,): summed, not averaged
        return torch.distributions.Normal(params, self.log_scale.exp()).log_prob(x).sum(1)
    def mean(self, params): return params

from mmvae_nb import JVAE
shared = {n: replace(s, likelihood=LearntScale(32)) for n, s in specs.items()}
one, two = JVAE(shared, latent=8), JVAE(shared, latent=8)
fit(one, data, updates=20, progress=False, **run)
scale = lambda model: model.specs["right"].likelihood.log_scale       # each model's own
assert scale(one).abs().min() > 0 and scale(two).abs().max() == 0

# %% [markdown]
# What is wrong in shape is refused, and the modality named: `log_prob` must return `(batch,)`. What is wrong in *meaning* is not seen. A mean over the values where a sum belongs is a
# hidden $\beta$ and ends in the collapse above; and a scale in the wrong units is a trap whoever wrote the likelihood.
#
# ## Checklist
#
# - Split by source item *before* making the arrays, so that no item is in two splits (lesson 02).
# - A decoder for a likelihood of logits (`Bernoulli`) has no sigmoid at its end. The default decoders know; others are looked at, and refused.
# - `encoder` and `decoder` are functions that make a *new* network at each call. For a pretrained one that shall be trained on: `lambda: copy.deepcopy(net)`.
# - Items that lack a modality can't train these models; the students need no more than one modality when they are used.
# - Modalities that share classes and not items (as MNIST and SVHN do) are paired by `PairedByKey` (lesson 02).
# - Set aside validation items and choose scale, weights, `latent` and updates on them; [the FAQ](faq.ipynb) says where to begin.
