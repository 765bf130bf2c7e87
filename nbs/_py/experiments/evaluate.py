# %% [markdown]
# # Evaluate one model
#
# > FID, linear probe, coherence, text, teacher-student KL and ELBO on the test split: one row per number.
#
# Every method is evaluated on the same test items, and with the same noise where there is any, by `evaluate` of lesson 03c. Numbers per item are kept,
# too, so that the reports can compare methods item by item.

# %%
import numpy as np
import torch
from mmvae_nb.core import *
from mmvae_nb.evaluation import evaluate
from mmvae_nb.experiments.runs import load_data, load_run, make_judge, run_paths
from mmvae_nb.experiments.table import METHODS

# %% tags=["parameters"]
dataset: str = "mnist_svhn_text"  # name of the data set
source: str = "rendered"  # rendered or real data
items: int = 200  # source items per image modality, None for all
results: str = "_runs/smoke"  # folder for the results of a scale
device: str = "cpu"  # auto, cpu, cuda, cuda:N, mps
method: str = "jvae"  # what to evaluate
seed: int = 0  # of the run
probe_points: int = 100  # training points of the linear probe
samples: int = 80  # test items
oracle_items: int = 250  # test items that get a free Gaussian each, 0 for none
judge_updates: int = 10  # updates of the digit classifiers
judge_width: int = 16  # channels of their first layer
split: str = "test"  # what is measured on; "validation" where settings are chosen

# %%
device = resolve_device(device)
model, run = load_run(results, dataset, method, seed, device)
train, validation, measured = (load_data(dataset, s, source, items, device)
                               for s in ("train", "validation", split))
judge = make_judge(dataset, train, validation, judge_updates, judge_width, device)

# %% [markdown]
# The short trainings that only compare values of $T$, and controls of one seed, are not judged at every $t$.

# %%
along_t = METHODS[method].updates != "study_updates" and METHODS[method].seeds != 1
rows = evaluate(model, train, measured, judge, validation, samples, probe_points, oracle_items, seed,
                along_t=along_t)
rows.frame

# %%
paths = run_paths(results, dataset, method, seed)
with atomic_path(paths["items"]) as tmp, open(tmp, "wb") as f: np.savez_compressed(f, **rows.items)
write_json(paths["metrics"], {
    "dataset": dataset, "method": method, "seed": seed, "data": run["data"],
    "checksum": train.checksum, "split": split, "device": str(device), "torch": torch.__version__,
    "rows": rows.rows})
print(f"{len(rows.rows)} numbers")
