# %% [markdown]
# # Two modalities given
#
# > Products of students: slides 61-65, and what changes when the surplus prior is divided out.
#
# With two of three modalities given, the talk multiplies the students' Gaussians. If modalities are conditionally independent given $z$,
# Bayes' rule says something slightly different: $p(z \mid x_1, x_2) \propto p(z \mid x_1)\, p(z \mid x_2) / p(z)$. Each student's posterior already
# contains the prior once, so a plain product counts it twice. Both are measured here.

# %%
import pandas as pd
import torch
import mmvae_nb.reproduce as reproduce
from mmvae_nb.core import *
from mmvae_nb.plotting import *

# %%
set_style()

# %% tags=["parameters"]
dataset: str = "mnist_svhn_text"  # name of the data set
source: str = "rendered"  # rendered or real data
items: int = 200  # source items per image modality, None for all
results: str = "_runs/smoke"  # folder for the results of a scale
device: str = "cpu"  # auto, cpu, cuda, cuda:N, mps
scale: str = "smoke"  # name of the scale
seeds: int = 1  # how many seeds were run
part: str = "products_of_students"  # which part of the experiments

# %%
device = resolve_device(device)
test = reproduce.load_data(dataset, "test", source, items, device)
table = reproduce.write_talk_table(results)
table = table[table.dataset == dataset]
data_used = f"{'real' if test.real else 'rendered'} data, scale {scale}"
print(f"{data_used}, {seeds} seed(s), device {device}")

# %%
students = ["mopoe", "mvtcae", "mvtcae_student", "jmvae_student", "iterative_student"]
models = {m: reproduce.load_run(results, dataset, m, 0, device)[0] for m in students}
def title(n): return n.upper() if test.modalities[n].kind == "image" else n.capitalize()
batch, labels = test.take(10)
def draw(slide, given, to):
    heading = ", ".join(title(g) for g in given) + f" -> {title(to)}"
    rows = reproduce.generated_rows(models, test, batch, given, to)
    figure = side_by_side({heading: rows}, note=f"{data_used}, plain product, z sampled")
    save_figure(figure, f"{results}/figures/slide_{slide}_two_given.png")


# %% [markdown]
# ## Slides 61 to 63: pictures
#
# Ground truth first, the same items and noise for all.

# %%
#| fig-cap: "Handwritten digits generated from a street number and its word."
#| fig-alt: "Handwritten digits: ground truth and one row per method."
draw(61, ["svhn", "text"], "mnist")

# %%
#| fig-cap: "Street numbers generated from a handwritten digit and its word."
#| fig-alt: "Street numbers: ground truth and one row per method."
draw(62, ["mnist", "text"], "svhn")

# %%
#| fig-cap: "Words generated from a handwritten digit and a street number."
#| fig-alt: "Words: ground truth and one row per method."
draw(63, ["mnist", "svhn"], "text")

# %% [markdown]
# ## Slides 64 and 65: numbers

# %%
print(table_text(table[table.slide.isin([64, 65]) & table.method.isin(students)]))

# %% [markdown]
# ## Plain product against the right rule
#
# For each pair of modalities and each method: the difference "prior divided" minus "plain", mean over seeds. Fewer nats of
# negative ELBO, a lower FID, a higher accuracy and coherence would speak for dividing.

# %%
suffix = ", prior divided"
pairs = table[table.method.isin(students) & table.condition.str.contains(r"\+")]
is_divided = pairs.condition.str.endswith(suffix)
plain, divided = pairs[~is_divided], pairs[is_divided]
divided = divided.assign(condition=divided.condition.str.removesuffix(suffix))
both = plain.merge(divided, on=["metric", "condition", "method"], suffixes=("_plain", "_divided"))
both["difference"] = both.value_divided - both.value_plain
with atomic_path(f"{results}/tables/products_of_students.csv") as tmp:
    columns = ["value_plain", "std_plain", "value_divided", "std_divided", "difference"]
    columns = ["metric", "condition", "method", *columns]
    both[columns].to_csv(tmp, index=False, float_format="%.6g")
lower = {"negative_elbo": True, "fid": True, "linear_accuracy": False, "coherence": False}
mean = both[both.metric.isin(lower)].groupby(["metric", "method"], sort=False)
mean = mean[["value_plain", "value_divided", "difference"]].mean()
mean.rename(index=method_name).round(3)

# %%
for metric, is_lower in lower.items():
    d = both[both.metric == metric].difference*(-1 if is_lower else 1)
    print(f"{metric}: dividing the prior out is better in {(d > 0).sum()} of {len(d)} cases, "
          f"equal in {(d == 0).sum()}")

# %% [markdown]
# MoPoE's and MVTCAE's products are trained as they are, without the prior, so for them dividing is a change after training. Where one posterior
# coordinate is close to the prior the division is capped: a product is never broader than its narrowest factor.
