# %% [markdown]
# # What each method costs
#
# > Parameters, updates and seconds of every run, and what they mean.
#
# Same student network and number of updates for every teacher; same decoders everywhere. Times come from the runs themselves, each in one process; the column
# "relative" divides the time of an update by that of the JVAE, which is the part that carries over to another machine.

# %%
import pandas as pd
from mmvae_nb.experiments.runs import *
from mmvae_nb.plotting import method_name

# %% tags=["parameters"]
dataset: str = "mnist_svhn_text"  # name of the data set
source: str = "rendered"  # rendered or real data
items: int = 200  # source items per image modality, None for all
results: str = "_runs/smoke"  # folder for the results of a scale
device: str = "cpu"  # auto, cpu, cuda, cuda:N, mps
scale: str = "smoke"  # name of the scale
seeds: int = 1  # how many seeds were run
part: str = "benchmarks"  # which part of the experiments

# %%
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report


# %%
def row(method):
    runs, model = report.runs(method), report.load(method)
    p = runs[0]["parameters"]
    kept = all(r["seconds"]/60*r["threads"] <= r["parameters"]["budget"] for r in runs)
    return {"method": method, "name": method_name(method), "device": runs[0]["device"],
            "threads": runs[0]["threads"],
            "parameters_trained": sum(v.numel() for v in model.parameters() if v.requires_grad),
            "updates": runs[0]["updates"], "batch_size": p["batch_size"],
            "seconds": sum(r["seconds"] for r in runs)/len(runs), "within_budget": kept}
costs = pd.DataFrame([row(m) for m in report.methods]).set_index("method")
costs["ms_per_update"] = 1000*costs.seconds/costs.updates
costs["relative"] = costs.ms_per_update/costs.ms_per_update["jvae"]
report.table(costs, "benchmarks", index=True, float_format="%.5g").set_index("name").round(2)

# %% [markdown]
# An update of the iterative teacher passes $T + 1$ times through the decoders and back; distilling it needs $T$ passes from each start to make the
# targets. At test time a student costs one encoder pass, whoever taught it.
