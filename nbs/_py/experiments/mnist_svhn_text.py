# %% [markdown]
# # All methods on MNIST-SVHN-Text
#
# > Every method's numbers side by side: the talk's rows, JMVAE-kl, the teachers, and all directions.

# %%
import pandas as pd
import torch
import mmvae_nb.reproduce as reproduce
from mmvae_nb.core import *
from mmvae_nb.plotting import *

# %% tags=["parameters"]
dataset: str = "mnist_svhn_text"  # name of the data set
source: str = "rendered"  # rendered or real data
items: int = 200  # source items per image modality, None for all
results: str = "_runs/smoke"  # folder for the results of a scale
device: str = "cpu"  # auto, cpu, cuda, cuda:N, mps
scale: str = "smoke"  # name of the scale
seeds: int = 1  # how many seeds were run
part: str = "mnist_svhn_text"  # which part of the experiments

# %%
students = ["mopoe", "jmvae", "jmvae_student", "iterative_student"]
device = resolve_device(device)
test = reproduce.load_data(dataset, "test", source, items, device)
table = reproduce.write_talk_table(results)
table = table[table.dataset == dataset]
print(f"scale {scale}, {'real' if test.real else 'rendered'} data, {seeds} seed(s), device {device}")

# %% [markdown]
# ## The talk's tables
#
# Slides 37, 38, 64, 65 and 68, with JMVAE-kl as a row of its own. FID in features of our digit classifiers.

# %%
print(table_text(table[table.slide.notna()]))


# %% [markdown]
# ## Coherence in all directions
#
# How often a digit classifier finds the given digit in what was generated. Rows that begin with "all" are teachers: their
# posterior has seen every modality, so they show a ceiling and no cross-modal generation.

# %%
def wide(metric):
    t = table[table.metric == metric].pivot_table("value", "condition", "method", sort=False)
    return t.rename(columns=method_name).round(3)
wide("coherence")

# %% [markdown]
# ## Negative ELBO of the full triple
#
# Each model on its own decoders.

# %%
wide("negative_elbo").round(1)

# %% [markdown]
# ## Fewer points for the probe
#
# The linear probe fitted on 500 points, as MoPoE's authors do.

# %%
wide("linear_accuracy_500")

# %% [markdown]
# ## Slide 45: digits from street numbers and words

# %%
models = {m: reproduce.load_run(results, dataset, m, 0, device)[0] for m in students}
batch, labels = test.take(10)
@torch.no_grad()
def made(given, to):
    show = lambda x: test.modalities[to].decode(x) if test.modalities[to].kind == "text" else x
    rows = {"ground truth": show(batch[to])}
    for m, model in models.items():
        g = generator(0, "slide 45", given, device=device)
        rows[m] = show(model.generate({given: batch[given]}, to=to, sample=True, generator=g)[to])
    return rows
note = f"{'real' if test.real else 'rendered'} data, scale {scale}, z sampled"

# %%
#| fig-cap: "Cross-modal generation of handwritten digits from a street number and from a word."
#| fig-alt: "Two blocks of handwritten digits, a row for the ground truth and one for each method."
figure = side_by_side({"SVHN -> MNIST": made("svhn", "mnist"), "Text -> MNIST": made("text", "mnist")}, note=note, columns=1)
save_figure(figure, f"{results}/figures/slide_45_cross_modal.png");

# %%
with atomic_path(f"{results}/tables/mnist_svhn_text.csv") as tmp: table.to_csv(tmp, index=False, float_format="%.6g")
