# %% [markdown]
# # What was tried
#
# > The same small search for every method, on validation items, before anything is compared.
#
# One setting is changed at a time, from learning rate 0.002, beta 1, text weight 1 and the defaults of each model. A teacher is judged by its students. *Accuracy* is that of a linear probe, the mean
# over the three modalities given alone; *coherence* the mean over the six directions; the *score* is the mean of both. One seed each, so differences of a few hundredths are within what
# another seed would give.

# %%
import matplotlib.pyplot as plt, pandas as pd
from mmvae_nb.experiments.runs import *
from mmvae_nb.experiments.tuning import STUDENTS, grid, score, speaker
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
part: str = "tuning"  # which part of the experiments

# %%
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report

# %%
records = report.records()
def line(method, knob, value):
    name = speaker(method, knob, value)
    [run] = report.runs(name)
    return {"method": STUDENTS.get(method, method), "changed": knob or "nothing",
            "of": method if knob else "", "value": value, "updates": run["updates"],
            **score(records[records.method == name]), "validation_loss": run["validation_loss"]}
table = pd.DataFrame([line(*l) for l in grid() if speaker(*l) in report.methods])
table["best"] = table.score == table.groupby("method").score.transform("max")
print(f"{len(table)} of the {len(grid())} lines of the search have been run")
report.table(table, "tuning").round(3)

# %%
#| fig-cap: "The score of every trial. The defaults are the squares; the best of each method is filled."
#| fig-alt: "A row of points for each method, with a square among them."
order = list(dict.fromkeys(table.method))
fig, ax = plt.subplots(figsize=(7, 0.5*len(order) + 1))
for t in table.itertuples():
    ax.scatter(t.score, order.index(t.method), marker="s" if t.changed == "nothing" else "o", s=45,
               color=method_colour(t.method), facecolor=None if t.best else "none")
ax.set(yticks=range(len(order)), yticklabels=map(method_name, order), xlabel="score on validation items")
report.save(fig, "tuning")
