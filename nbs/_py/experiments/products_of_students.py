# %% [markdown]
# # Two modalities given
#
# > Products of students: slides 61-65, and what changes when the surplus prior is divided out.
#
# With two of three modalities given, the talk multiplies the students' Gaussians. If modalities are conditionally independent given $z$,
# Bayes' rule says something slightly different: $p(z \mid x_1, x_2) \propto p(z \mid x_1)\, p(z \mid x_2) / p(z)$. Each student's posterior already
# contains the prior once, so a plain product counts it twice. Both are measured here.

# %%
from mmvae_nb.experiments.runs import *
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
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report

# %%
students = ["mopoe", "mvtcae", "mvtcae_student", "jmvae_student", "iterative_student"]
models = {m: report.load(m) for m in students}
test, table = report.data(), report.talk()
batch, labels = test.take(10)
def draw(slide, given, to):
    heading = ", ".join(report.title(g) for g in given) + f" -> {report.title(to)}"
    rows = generated_rows(models, test, batch, given, to)
    figure = side_by_side({heading: rows}, note=f"{report.note}, plain product, z sampled")
    report.save(figure, f"slide_{slide}_two_given")


# %% [markdown]
# ## Slides 61 to 63: pictures
#
# What was given first, then the ground truth; the same items and noise for all.

# %%
#| fig-cap: "Handwritten digits generated from a street number and its word."
#| fig-alt: "Handwritten digits: what was given, ground truth and one row per method."
draw(61, ["svhn", "text"], "mnist")

# %%
#| fig-cap: "Street numbers generated from a handwritten digit and its word."
#| fig-alt: "Street numbers: what was given, ground truth and one row per method."
draw(62, ["mnist", "text"], "svhn")

# %%
#| fig-cap: "Words generated from a handwritten digit and a street number."
#| fig-alt: "Words: what was given, ground truth and one row per method."
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
columns = ["value_plain", "std_plain", "value_divided", "std_divided", "difference"]
report.table(both[["metric", "condition", "method", *columns]], "products_of_students")
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
# MoPoE's and MVTCAE's products are trained as they are, without the prior, so for them dividing is a change after training. Where a posterior is broader
# than the prior the division means nothing and is capped: the product is then as narrow as its narrowest factor, and its mean not outside of theirs (lesson 02d).
