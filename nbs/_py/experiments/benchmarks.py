# %% [markdown]
# # What each method costs
#
# > Parameters, updates and seconds of every run, and what they mean.
#
# Same student network and number of updates for every teacher; same decoders everywhere. Times come from the runs themselves, each in one process; the column
# "relative" divides the time of an update by that of the JVAE, which is the part that carries over to another machine.

# %%
import pandas as pd
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
part: str = "benchmarks"  # which part of the experiments


# %%
def row(method):
    runs = [read_json(reproduce.run_paths(results, dataset, method, s)["run"])
            for s in reproduce.seeds_of(method, seeds)]
    model, p = reproduce.load_run(results, dataset, method, 0)[0], runs[0]["parameters"]
    kept = all(r["seconds"]/60*r["threads"] <= r["parameters"]["budget"] for r in runs)
    return {"method": method, "name": method_name(method), "device": runs[0]["device"],
            "threads": runs[0]["threads"],
            "parameters_trained": sum(v.numel() for v in model.parameters() if v.requires_grad),
            "updates": runs[0]["updates"], "batch_size": p["batch_size"],
            "seconds": sum(r["seconds"] for r in runs)/len(runs), "within_budget": kept}
costs = pd.DataFrame([row(m) for m in reproduce.PARTS[part][0]]).set_index("method")
costs["ms_per_update"] = 1000*costs.seconds/costs.updates
costs["relative"] = costs.ms_per_update/costs.ms_per_update["jvae"]
with atomic_path(f"{results}/tables/benchmarks.csv") as tmp: costs.to_csv(tmp, float_format="%.5g")
costs.set_index("name").round(2)

# %% [markdown]
# An update of the iterative teacher passes $T + 1$ times through the decoders and back; distilling it needs $T$ passes from each start to make the
# targets. At test time a student costs one encoder pass, whoever taught it.
