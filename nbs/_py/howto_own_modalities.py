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
# - how to tell that training worked, with a measure that the training knows nothing of;
# - three worked cases: pictures, words and a table; two sensors of different rate; five modalities that share a class.
#
# Runs in about two minutes on a laptop CPU.
# :::
#
# ![Drawing: six steps: arrays, a specification for each modality, a teacher, training, students with a judge, a file.](drawings/own.svg)
#
# ## Two arrays
#
# Each modality is one array; row $i$ of every array is the same item. Float arrays with two axes are vectors, `uint8` arrays of
# shape (items, channels, height, width) are images. Whole numbers may be text, counts or categories, so you say which: `kinds={"word": "text"}` for tokens, `"counts"`,
# `"binary"` or `"categories"` for the others; `"sequence"` says that three axes are (items, time, channels) ([lesson 02f](02f_kinds.ipynb)). Tables of pandas will do as well. If there are several, they must have one
# index, because row $i$ has to be the same item in all of them (what `Table`, `Standardize` or `encode` makes of a table remembers its index); their columns are taken by *position*, so keep the order of training whenever the model is used. Strings become numbers by a `Modality`:
# `Modality("word", "text", (8,), "abcdefghijklmnopqrstuvwxyz ").encode(words)`, and `Modality("colour", "categories", (1,), ("red", "blue")).encode(colours)`. The default networks of text halve the length twice, so it is a multiple of 4;
# `encode` fills up what is shorter. Here the two
# modalities are toys: the left and the right half of the small digits of scikit-learn, 32 numbers each.

# %%
import os, tempfile
import numpy as np
from sklearn.datasets import load_digits

here = os.getcwd()
os.chdir(tempfile.mkdtemp())   # a folder of its own, so that nothing of yours is overwritten
images = load_digits().images.astype("float32")/16
np.save("left.npy", images[:, :, :4].reshape(-1, 32))
np.save("right.npy", images[:, :, 4:].reshape(-1, 32))

# %% [markdown]
# ## The listing
#
# Replace the names and files by yours. `default_specs` chooses networks by the kind of each modality ([lesson 02e](02e_networks.ipynb)); the
# teacher is the one of [lesson 09](09_multimodal_iterative.ipynb), and `distill` makes a student for each modality ([lesson 10](10_distillation.ipynb)).

# %%
from dataclasses import replace
import numpy as np
import torch
from mmvae_nb import Gaussian, IterativeTeacher, TensorData, default_specs, distill, fit, save
from mmvae_nb.core import seed_everything

arrays = {"left": np.load("left.npy"), "right": np.load("right.npy")}  # row i: the same item
train = {name: a[:1200] for name, a in arrays.items()}
test = {name: torch.tensor(a[1200:]) for name, a in arrays.items()}

data = TensorData(train)                                               # on the CPU; fit moves it
specs = default_specs(data.modalities)
specs = {name: replace(s, likelihood=Gaussian(scale=0.2)) for name, s in specs.items()}
run = dict(batch_size=64, lr=2e-3, seed=0)

seed_everything(0, "teacher")
teacher = IterativeTeacher(specs, latent=8, steps=2, hidden=128)
fit(teacher, data, updates=600, **run)
students = distill(teacher, data, updates=300, **run)
save(students, "students.safetensors")                       # one file: numbers and recipe

made = students.generate({"left": test["left"]}, to="right")["right"]  # needs no right half
with torch.no_grad(): z = students.infer({"left": test["left"]}).mean   # the shared description
np.save("right_from_left.npy", made)

# %% [markdown]
# A colleague who has the package opens the file by `load("students.safetensors")` and needs none of the lines above: specs, scale and options are in it, and
# nothing that could be run ([lesson 02h](02h_checkpoints.ipynb)). Shapes and the words of a text are in it, too: `students.specs["word"].modality` encodes and decodes. What turned *your* units into the model's is not:
# a `Standardize` or a `Table` (further down) knows means, names of columns and names of classes. Keep it beside the file, `pickle.dump(table, f)`, or the numbers can't be turned back into rows.
#
# `JVAE(specs, latent=8)` in place of `IterativeTeacher` trains several times faster and is the
# baseline to compare with. For networks of your own, write a `ModalitySpec` by hand: README and [lesson 02e](02e_networks.ipynb) show one.
#
# ## Did it work?
#
# The loss alone does not say. Two measures that training knows nothing of: a classifier of *real* right halves reads the digit
# from the made ones, and the squared error is set beside that of the mean right half, which is what a model
# without any information would draw.

# %%
from sklearn.linear_model import LogisticRegression

def measured(students):
    "How good are right halves made from left ones? By a judge, and by the squared error."
    digits = load_digits().target
    judge = LogisticRegression(max_iter=2000).fit(train["right"], digits[:1200])
    made = students.generate({"left": test["left"]}, to="right")["right"]
    error = lambda x: float(((x - test["right"])**2).mean())
    mean_half = torch.tensor(train["right"]).mean(0)
    with torch.no_grad(): nats = students.infer({"left": test["left"]}).kl().mean().item()
    return {"digit read from a made half": round(judge.score(made, digits[1200:]), 3),
            "from a real half": round(judge.score(test["right"], digits[1200:]), 3),
            "squared error": round(error(made), 4),
            "of the mean half": round(error(mean_half), 4),
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
# to the prior: near zero means too large a scale, or averages in place of sums ([lesson 02](02_vae.ipynb)). And if one modality's
# reconstruction does not move while the total falls, raise its weight: `default_specs(modalities, weights={"left": 2})`. By itself `default_specs` gives no more than 100:
# a single number beside a picture of 64 x 64 in colour would have 12,288, and the model would spend $z$ on its noise ([lesson 02e](02e_networks.ipynb#from-modalities-to-specifications)).
#
# ## Tables
#
# Columns in different units are the same trap once more: the scale suits one of them, and the largest alone is learnt. `TensorData` warns, also of series and of an offset far larger than the spread (degrees Kelvin, years); `Standardize` brings each column to mean 0 and
# deviation 1, by what the *training* items say, and takes what was generated back into the units of the table: an array becomes an array, a tensor a tensor. Here are heights in metres and weights in grams:

# %%
import textwrap, warnings
from mmvae_nb.data import Standardize

height = np.random.default_rng(0).normal(1.7, .1, 400)
weight = 70e3*(height/1.7)**2*np.random.default_rng(1).normal(1, .1, 400)
table = np.stack([height, weight], 1)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always"); TensorData({"body": table[:300]})
print(textwrap.fill(str(told[0].message), 90))
units = Standardize(table[:300])                           # the same `units` for the test
body = TensorData({"body": units(table[:300])})            # no warning
assert np.allclose(units.back(units(table[300:])), table[300:], rtol=1e-5)

# %% [markdown]
# ## A likelihood of your own
#
# Any object with `log_prob(x, params)` and `mean(params)` will do ([lesson 02d](02d_distributions.ipynb#likelihoods)). One with a deviation that is learnt for each column instead of
# set is an `nn.Module`, and each model trains a copy of its own:

# %%
from torch import nn

class LearntScale(nn.Module):
    "A Gaussian whose deviation is learnt, column by column."
    def __init__(self, n): super().__init__(); self.log_scale = nn.Parameter(torch.zeros(n))
    def log_prob(self, x, params):                             # (batch,): summed, not averaged
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

# %% [markdown]
# ## Three worked cases
#
# Each makes its own data, trains in well under a minute on one core, and ends with a number beside a baseline that needs no model. First what they share: a judge, which is a classifier of *real* items.

# %%
from functools import partial
import pandas as pd
from mmvae_nb import Modality, ModalitySpec, MoPoE, PairedByKey
from mmvae_nb.core import generator
from mmvae_nb.datasets.digits import digit_words
from mmvae_nb.kinds import StudentT, Table
from mmvae_nb.networks import mlp_decoder, mlp_encoder

small, digit = load_digits().images/16, load_digits().target
order = np.random.default_rng(0).permutation(len(small))     # the file goes by its writers
small, digit = small[order].astype("float32"), digit[order]
flat = lambda x: np.asarray(x).reshape(len(x), -1)

def judged(made, wanted, real, real_digit):
    "The share of made pictures that a classifier of real ones reads as the digit wanted."
    judge = LogisticRegression(max_iter=2000).fit(flat(real), real_digit)
    return judge.score(flat(made), wanted)

def trained(specs, data, updates, latent=8, **options):
    seed_everything(0, "case"); model = MoPoE(specs, latent=latent)
    fit(model, data, updates=updates, batch_size=64, lr=2e-3, progress=False, **options)
    return model


# %% [markdown]
# ### Pictures, words and a table
#
# A digit as a picture, as an English word, and as a row of a table with columns of three kinds. `Table` turns rows into numbers and back ([lesson 02f](02f_kinds.ipynb)).

# %%
words = [digit_words[d] for d in digit]
frame = pd.DataFrame({"ink": small.mean((1, 2)), "right half": small[:, :, 4:].mean((1, 2)),
                      "has a hole": np.isin(digit, [0, 6, 8, 9]),
                      "size": np.select([digit < 3, digit < 7], ["few", "some"], "many")})
table, picture = Table(frame[:1200]), torch.tensor(small)[:, None]
word = Modality("word", "text", (8,), "abcdefghijklmnopqrstuvwxyz ")
modalities = [Modality("picture", "image", (1, 8, 8)), word, table.modality("row")]
items = {"picture": picture, "word": word.encode(words), "row": table(frame)}
data = TensorData({n: x[:1200] for n, x in items.items()}, modalities=modalities)
specs = default_specs(data.modalities, weights={"picture": 1, "word": 2, "row": 2})
specs["picture"] = replace(specs["picture"], likelihood=Gaussian(.2))
model, rest = trained(specs, data, 500), {n: x[1200:] for n, x in items.items()}

# %%
written = word.decode(model.generate({"picture": rest["picture"]}, "word")["word"])
row = table.back(model.generate({"picture": rest["picture"]}, "row")["row"])
drawn = model.generate({"word": rest["word"]}, "picture")["picture"]
right = lambda a, b: float(np.mean(np.asarray(a) == np.asarray(b)))
usual = lambda x: float(pd.Series(x[1200:]).eq(pd.Series(x[:1200]).mode()[0]).mean())
column = lambda c: (right(row[c], frame[c][1200:]), usual(frame[c]))
read = judged(drawn, digit[1200:], small[:1200], digit[:1200])
cases = {
    "word from picture, exactly": (right([w.strip() for w in written], words[1200:]), usual(words)),
    "hole, from picture": column("has a hole"), "size, from picture": column("size"),
    "digit read from a picture made of a word": (read, .1)}
assert all(a > b + .1 for a, b in cases.values())
pd.DataFrame(cases, index=["model", "commonest answer"]).T.round(2)

# %% [markdown]
# ### Two sensors of different rate
#
# A machine turns at some speed under some load; nobody records either. An accelerometer gives 64 values in two directions, a thermometer nine in the same time. What the shaking says about the heat is
# measured by the share of the curves' variance that is explained; the mean curve explains nothing.

# %%
g = np.random.default_rng(0)
speed, load = g.uniform(1, 3, 1500), g.uniform(0, 1, 1500)
fast, slow = np.linspace(0, 2*np.pi, 64), np.linspace(0, 1, 9)
angle = fast*speed[:, None] + g.uniform(-.5, .5, (1500, 1))    # it starts anywhere near zero
shaking = np.stack([(.4 + load[:, None])*np.sin(angle), .5*np.cos(2*angle)], 2)
shaking += .1*g.normal(size=(1500, 64, 2))
heat = 1.5*load[:, None]*(1 - np.exp(-slow*speed[:, None])) + .05*g.normal(size=(1500, 9))
series = {"shaking": shaking.astype("float32"),
          "heat": (heat[..., None]/heat.std()).astype("float32")}
data = TensorData({n: x[:1200] for n, x in series.items()},
                  kinds=dict.fromkeys(series, "sequence"))
specs = default_specs(data.modalities)
specs["heat"] = replace(specs["heat"], likelihood=StudentT(scale=.2))   # where learning begins
model, rest = trained(specs, data, 500, latent=4), {n: x[1200:] for n, x in series.items()}


# %%
def explained(to, given):
    "The share of the variance around the mean series that is explained."
    made, real = model.generate({given: rest[given]}, to)[to], rest[to]
    return 1 - ((made - real)**2).mean()/((series[to][:1200].mean(0) - real)**2).mean()

draws = dict(sample="x", n=200, generator=generator(0, "heat"))
drawn = model.generate({"shaking": rest["shaking"]}, "heat", **draws)["heat"]
low, high = np.quantile(drawn, [.05, .95], axis=0)
found = {"heat from shaking, explained": explained("heat", "shaking"),
         "shaking from heat, explained": explained("shaking", "heat"),
         "heat within its 90 % band": ((low < rest["heat"]) & (rest["heat"] < high)).mean()}
assert found["heat from shaking, explained"] > .7
{what: round(float(share), 2) for what, share in found.items()}

# %% [markdown]
# The heat says next to nothing about the shaking, and that is right: where the rotation begins, nothing in the heat tells. A model can't generate what the given does not hold, and a number near zero
# need not be a fault of the training. The band comes from draws of $z$ *and* of the series (`sample="x"`); a share above 90 % says that the learnt scale has not come down to the noise yet: train longer.
#
# ### Five modalities that share a class
#
# In the manner of PolyMNIST: five styles of ink and ground, and what goes together is the *digit*, not the writing. `PairedByKey` draws partners by label, anew in each epoch; no item is in two styles. How much do more
# views help?

# %%
colours = np.random.default_rng(1).uniform(.1, .9, (5, 2, 3))
def rendered(images, style, seed):
    "Digits in the ink of one style, on its ground with a gradient that varies by item."
    g = np.random.default_rng((seed, style))
    ink, ground = colours[style, 0], colours[style, 1]
    ink = np.where(np.abs(ink - ground) < .3, 1 - ground.round(), ink)           # readable
    slope = g.uniform(-.25, .25, (len(images), 2))
    line = np.linspace(-1, 1, 8)
    ramp = slope[:, :1, None]*line[:, None] + slope[:, 1:, None]*line
    ground, ink, x = ground[:, None, None] + ramp[:, None], ink[:, None, None], images[:, None]
    picture = (1 - x)*ground + x*ink
    return (255*picture.clip(0, 1)).astype("uint8")

names, shape = [f"m{s}" for s in range(5)], (3, 8, 8)
pools = {n: torch.tensor(rendered(small[:1200][s::5], s, 0)) for s, n in enumerate(names)}
labels = {n: torch.tensor(digit[:1200][s::5]) for s, n in enumerate(names)}
modalities = {n: Modality(n, "image", shape) for n in names}
data = PairedByKey("five styles", "train", modalities, pools, labels)
specs = {n: ModalitySpec(partial(mlp_encoder, shape), 400, partial(mlp_decoder, shape=shape),
                         Gaussian(.15)) for n in names}
model = trained(specs, data, 600, latent=12)

# %%
real = {n: rendered(small[:1200], s, 7)/255 for s, n in enumerate(names)}
shown = {n: torch.tensor(rendered(small[1200:], s, 9)) for s, n in enumerate(names)}
def coherence(views):
    "Share of made pictures with the right digit, given `views` other styles, over all styles."
    shares = []
    for s, to in enumerate(names):
        given = {names[(s + 1 + i) % 5]: shown[names[(s + 1 + i) % 5]] for i in range(views)}
        made = model.generate(given, to)[to]
        shares.append(judged(made, digit[1200:], real[to], digit[:1200]))
    return float(np.mean(shares))
found = {views: coherence(views) for views in (1, 2, 4)}
assert found[4] > found[1] > .4                                              # chance: 0.1
{f"{views} given": round(share, 2) for views, share in found.items()}

# %%
#| fig-cap: "Ten test digits in the first style, and what the model draws in the other four from it alone: the digit is kept in most columns, hand and ground are free."
#| fig-alt: "Five rows of ten small coloured digits; the columns show the same digit in each row, mostly."
made = model.generate({"m0": shown["m0"]})
generation_grid({"m0, given": shown["m0"][:10], **{n: made[n][:10] for n in names[1:]}});


# %% [markdown]
# ## Use, export, other engines
#
# `generate` takes arrays on any device and gives arrays back; `n=100` draws $z$ a hundred times (even where `sample=False`, as a mean a hundred times over says nothing new), `sample="x"` draws the data as well. Holes in a test set, likelihoods with an error bar and refining at test time are in [lesson 03d](03d_using.ipynb).
# For a runtime without this package, export what you call, with the batch left open:

# %%
class Right(nn.Module):
    "The one call that is wanted elsewhere."
    def __init__(self, model): super().__init__(); self.model = model
    def forward(self, left): return self.model.generate({"left": left}, "right")["right"]

any_size = {0: torch.export.Dim("batch", min=2)}
program = torch.export.export(Right(students), (test["left"][:5],), dynamic_shapes=(any_size,))
ours = students.generate({"left": test["left"]}, "right")["right"]
assert np.allclose(program.module()(test["left"]), ours, atol=1e-5)         # of any size

# %% [markdown]
# For ONNX there is `torch.onnx.export(program, f="right.onnx")`, which takes the same program and needs the packages `onnx` and `onnxscript`; this page does not run it. It writes `right.onnx`, and its exporter may put the weights beside it into `right.onnx.data`; then keep both. [The playground](playground.ipynb) is made of such graphs.
#
# A training loop of your own needs nothing of ours but the loss; here it is, and beside it the same for Lightning, which this page does not install and has not run:
#
# ```python
# class Lit(lightning.LightningModule):                          # not run here
#     def __init__(self, model): super().__init__(); self.model = model
#     def training_step(self, batch, i):
#         total, parts = self.model(batch); self.log_dict(parts); return total
#     def configure_optimizers(self): return torch.optim.Adam(self.parameters(), 1e-3)
# ```

# %%
loop = JVAE(default_specs(TensorData(train).modalities), latent=8)
optimiser, totals = torch.optim.Adam(loop.parameters(), 1e-3), []
batches = torch.utils.data.DataLoader(torch.arange(1200), 64, shuffle=True)
for rows in batches:
    total, parts = loop({n: torch.tensor(a)[rows] for n, a in train.items()})
    optimiser.zero_grad(); total.backward(); optimiser.step(); totals.append(total.item())
assert np.mean(totals[-4:]) < np.mean(totals[:4])

# %% [markdown]
# ## Checklist
#
# - Data larger than memory: `fit` takes any `DataLoader` of dict batches ([lesson 02g](02g_training.ipynb)), and `TensorData` takes `np.memmap(..., mode="r")` and reads only what a batch needs, after one pass to check. That holds for float32, `uint8` and tokens: float64 is copied whole into float32, so write the file in single precision.
# - float32 arrays are not copied: what is changed in place afterwards is changed in the data set, too.
# - Split by source item *before* making the arrays, so that no item is in two splits ([lesson 02a](02a_data.ipynb)).
# - A decoder for a likelihood of logits (`Bernoulli`) has no sigmoid at its end. The default decoders know; others are looked at, and refused.
# - `encoder` and `decoder` are functions that make a *new* network at each call. For a pretrained one that shall be trained on: `lambda: copy.deepcopy(net)`.
# - Items that lack a modality train all models but the JVAE: `TensorData(arrays, present="given")` ([lesson 09a](09a_missing.ipynb)). Students need no more than one modality when they are used.
# - Modalities that share classes and not items (as MNIST and SVHN do) are paired by `PairedByKey` ([lesson 02a](02a_data.ipynb)).
# - Set aside validation items and choose scale, weights, `latent` and updates on them; [the FAQ](faq.ipynb) says where to begin.
