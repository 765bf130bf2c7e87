# %% [markdown]
# # Judges
#
# > Digit classifiers that judge what the models generate: their features carry the FID, their verdicts the coherence.
#
# One classifier per modality, trained on the training split only; its accuracy on held-out items says how far its
# verdicts can be trusted.

# %%
import torch
from mmvae_nb.core import *
from mmvae_nb.experiments.runs import load_data, make_judge

# %% tags=["parameters"]
dataset: str = "mnist_svhn_text"  # name of the data set
source: str = "rendered"  # rendered or real data
items: int = 200  # source items per image modality, None for all
results: str = "_runs/smoke"  # folder for the results of a scale
device: str = "cpu"  # auto, cpu, cuda, cuda:N, mps
updates: int = 10  # updates of each classifier
width: int = 16  # channels of its first layer

# %%
device = resolve_device(device)
train, validation, test = (load_data(dataset, s, source, items, device)
                           for s in ("train", "validation", "test"))
train

# %%
write_status(step=0, total=1, text="training the judge")
judge = make_judge(dataset, train, validation, updates, width, device)
facts = judge.facts()
facts

# %% [markdown]
# What would perfect generation score? The judge on the true test items is the ceiling of each measure. With their partners mixed up, the items
# give its value by chance.

# %%
batch, labels = test.take(min(len(test), 1500))
number = lambda v: float(torch.as_tensor(v, dtype=torch.float).mean())
references = {}
for to, x in batch.items():
    real, mixed = judge.scores(to, x, batch, labels), judge.scores(to, x.roll(1, 0), batch, labels)
    for metric, value in real.items():
        references[f"{metric}|{to}"] = {"real": number(value), "mixed up": number(mixed[metric])}
references

# %%
write_json(f"{results}/runs/{dataset}-judges.json", {
    "dataset": dataset, "data": "real" if train.real else "rendered", "checksum": train.checksum,
    "updates": updates, "width": width, "n": len(batch[to]), "facts": facts,
    "references": references})
