# %% [markdown]
# # Evaluate one model
#
# > FID, linear probe, coherence, text, teacher-student KL and ELBO on the test split: one row per number.
#
# Lesson 07b says what is measured, and on what. Every method is evaluated on the same test items, and with the same noise where
# there is any. Numbers per item are kept, too, so that the reports can compare methods item by item.

# %%
import numpy as np
import torch
import mmvae_nb.reproduce as reproduce
from mmvae_nb.core import *
from mmvae_nb.evaluation import evaluate

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

# %%
device = resolve_device(device)
model, run = reproduce.load_run(results, dataset, method, seed, device)
train, validation, test = (reproduce.load_data(dataset, split, source, items, device)
                           for split in ("train", "validation", "test"))
judge = reproduce.make_judge(dataset, train, validation, judge_updates, judge_width, device)
along_t = not reproduce.METHODS[method].one_seed      # a study on the side gets the short version
rows = evaluate(model, train, test, judge, validation, samples, probe_points, oracle_items, seed,
                along_t)
rows.frame.groupby("metric").value.describe().iloc[:, [0, 1, 3, 7]]

# %%
paths = reproduce.run_paths(results, dataset, method, seed)
with atomic_path(paths["items"]) as tmp, open(tmp, "wb") as f:
    np.savez_compressed(f, **rows.items)
write_json(paths["metrics"], {
    "dataset": dataset, "method": method, "seed": seed, "data": run["data"],
    "checksum": train.checksum, "device": str(device), "torch": torch.__version__,
    "rows": rows.rows})
print(f"{len(rows.rows)} numbers")
