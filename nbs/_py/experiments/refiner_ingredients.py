# %% [markdown]
# # What the refiner needs
#
# > Our refiner with one ingredient left out at a time, with decoders of its own, and the students that it teaches.
#
# *Units*: gradients and steps in deviations of the posterior. *Memory*: the running mean of gradients, and the age. *Bound*: steps of at most three deviations. *Calming*: steps that shrink from the age of 16 on.

# %%
import matplotlib.pyplot as plt, pandas as pd
from mmvae_nb.experiments.runs import *
from mmvae_nb.metrics import seed_interval
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
part: str = "refiner_ingredients"  # which part of the experiments

# %%
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report

# %%
records = report.records()
names = list(report.modalities)
directions = [f"{a}->{b}" for a in names for b in names if a != b]
teachers = [m for m in report.methods if not m.endswith("_student")]
def against(whole, poorer, metric, conditions, sign=1):
    d = difference(records, poorer, whole, metric, conditions, sign=sign)
    return {"without": poorer.split("_")[2], "metric": metric,
            "ahead of the whole by": d["better by"], **{k: d[k] for k in ("low", "high", "seeds", "verdict")}}
rows = []
for m in (t for t in teachers if t != "iterative_fast"):
    for t in (4, 16):
        have = set(records.condition[records.method == m])
        found = [f"{n}, t={t}" for n in names if f"{n}, t={t}" in have]
        if found: rows.append({"at": f"teacher, t = {t}",
                               **against("iterative_fast", m, "negative_elbo", found, sign=-1)})
    student = f"{m}_student"
    if student in report.methods:
        for metric, conditions in {"coherence": directions, "linear_accuracy": names}.items():
            d = against("iterative_fast_student", student, metric, conditions)
            rows.append({"at": "student", **d})
table = report.table(pd.DataFrame(rows), "refiner_ingredients")
table.set_index(["at", "metric", "without"]).sort_index().round(3)

# %%
#| fig-cap: "Negative ELBO against t, the mean over the starts, for the whole refiner and for those that lack something. A mean over seeds; the range is theirs. The axis ends above t = 1: a curve that leaves it has fallen apart."
#| fig-alt: "Falling curves over t, one for each refiner."
(fig, ax), seen = plt.subplots(figsize=(6, 3.2)), []
for m in teachers:
    r = records[(records.method == m) & (records.metric == "negative_elbo")]
    at = r.condition.str.extract(r", t=(\d+)$")[0].astype(float)
    over = r.groupby([at, "seed"]).value.mean().unstack()
    width = 2 if m == "iterative_fast" else 1
    ax.plot(over.index, over.mean(axis=1), ".-", label=method_name(m), lw=width)
    ax.fill_between(over.index, over.min(axis=1), over.max(axis=1), alpha=.15)
    seen.append(over.mean(axis=1))
ax.set_ylim(.99*min(v.min() for v in seen), 1.02*max(v.iloc[:2].iloc[-1] for v in seen))
ax.set(xlabel="iterations t", ylabel="negative ELBO (nats)"); ax.legend(fontsize=7)
report.save(fig, "refiner_ingredients")
