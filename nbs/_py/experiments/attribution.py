# %% [markdown]
# # Where the lead comes from
#
# > The iterative student against the JMVAE student, and controls that share one half of what it has.
#
# The students of the iterative teacher have two things that those of a JVAE have not: *decoders* that met posteriors of single modalities while they were trained (the term at t = 0), and *targets* that were
# refined by the gradient of all modalities. Each control has one of the two, or a part of it:
#
# | control | decoders know single modalities | targets |
# |---|---|---|
# | JMVAE student | no | joint encoder |
# | MMVAE: the loss of the iterative teacher at T = 0 | yes | none |
# | CRMVAE | yes, each its own modality | product of experts |
# | student of a JVAE whose decoders also learn from single modalities | yes | joint encoder |
# | JMVAE student with a third of the items an update, as an item teaches one of three iterative students | no | joint encoder |
# | iterative student, decoders trained at t = T only | no | refined |
# | student of refined, on the JVAE's decoders (T as trained, and T = 16) | no | refined, frozen decoders |
# | iterative student, encoders started cold as those of a JVAE's students | yes | refined |
# | student of all starts q_0 of the iterative teacher | yes | the starts of all modalities, never refined |
# | iterative student | yes | refined |
#
# The teachers of some were trained at the *higher* of two learning rates, or at both; each is set against the JMVAE student whose teacher had the same rate.

# %%
import matplotlib.pyplot as plt, pandas as pd
from mmvae_nb.experiments.runs import *
from mmvae_nb.experiments.table import METHODS, teachers_of
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
part: str = "attribution"  # which part of the experiments

# %%
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report

# %%
records = report.records()
accuracy = [n for n in report.modalities]
coherence = [f"{a}->{b}" for a in accuracy for b in accuracy if a != b]
wanted = {"coherence": coherence, "linear_accuracy": accuracy}

BASES = {False: "jmvae_student", True: "jvae_fast_student"}
def base_of(method):
    "The JMVAE student at the learning rate of a method, or of its teacher."
    rates = [METHODS[m].settings.get("lr") for m in [*teachers_of(method), method]]
    return BASES[METHODS["jvae_fast"].settings["lr"] in rates]
def lead(method, metric):
    "By how much a method is ahead of that student, over the seeds that both have."
    what = method, base_of(method), metric, wanted[metric]
    both = matched(records, *what)
    return {"method": method, "metric": metric, "value": both[method].mean(), "than": what[1],
            "its value": both[what[1]].mean(), **difference(records, *what)}
others = [m for m in report.methods if m not in BASES.values()]
leads = pd.DataFrame([lead(m, metric) for metric in wanted for m in others])
report.table(leads, "attribution")
named = leads.assign(**{k: leads[k].map(method_name) for k in ("method", "than")})
named.set_index(["metric", "method"]).round(3)

# %%
#| fig-cap: "Lead over the JMVAE student of the same seed and rate (mean of six directions, mean of three modalities), with Student's t interval over the seeds, 95 %, where there are several."
#| fig-alt: "Two panels of points with horizontal bars, one line for each control, and a vertical line at zero."
fig, axes = plt.subplots(1, 2, figsize=(9, 0.4*len(others) + 1), sharey=True)
for ax, metric in zip(axes, wanted):
    for y, r in enumerate(leads[leads.metric == metric].to_dict("records")):
        colour = method_colour(r["method"])
        ax.plot([r["low"], r["high"]], [y, y], color=colour, lw=2)
        ax.plot(r["better by"], y, "o", color=colour)
    ax.axvline(0, color="k", lw=.8)
    ax.set(xlabel=f"lead in {metric.replace('_', ' ')}", yticks=range(len(others)),
           yticklabels=map(method_name, others))
report.save(fig, "attribution")

# %% [markdown]
# ## Decoders or inference?
#
# With the same targets, decoders that know single modalities or not; and with the same decoders, refined targets or not. Differences seed by seed; both sides of a line have teachers of one learning rate.

# %%
pairs = {"decoders, joint targets": ("jvae_unimodal_decoders_student", "jmvae_student"),
         "decoders, joint targets, higher rate":
             ("jvae_unimodal_decoders_fast_student", "jvae_fast_student"),
         "decoders, refined targets, higher rate":
             ("iterative_fast_student", "iterative_last_student"),
         "targets, decoders that know": ("iterative_student", "jvae_unimodal_decoders_student"),
         "targets, decoders that know, higher rate":
             ("iterative_fast_student", "jvae_unimodal_decoders_fast_student"),
         "targets, decoders that don't, higher rate":
             ("iterative_last_student", "jvae_fast_student"),
         "targets, the JVAE's decoders": ("refined_student", "jmvae_student"),
         "both": ("iterative_student", "jmvae_student"),
         "both, higher rate": ("iterative_fast_student", "jvae_fast_student")}
split = [{"what differs": what, "metric": metric,
          **difference(records, a, b, metric, wanted[metric])} for what, (a, b) in pairs.items() for metric in wanted
         if {a, b} <= set(report.methods)]
pd.DataFrame(split).set_index(["what differs", "metric"]).round(3)
