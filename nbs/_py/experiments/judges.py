# %% [markdown]
# # Judges
#
# > Digit classifiers that judge what the models generate: their features carry the FID, their verdicts the coherence.
#
# One classifier per modality, trained on the training split only; its accuracy on held-out items says how far its
# verdicts can be trusted.

# %%
from mmvae_nb.core import *
from mmvae_nb.metrics import cached_classifier
from mmvae_nb.reproduce import load_data

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
train, validation, test = (load_data(dataset, s, source, items, device) for s in ("train", "validation", "test"))
train

# %%
accuracy = {}
for i, name in enumerate(train.modalities):
    write_status(step=i, total=len(train.modalities), text=f"judge of {name}")
    judge = cached_classifier(train, name, updates=updates, width=width, device=device)
    accuracy[name] = {s.split: (judge.predict(s.items(name)[0]) == s.items(name)[1].to(device)).float().mean().item()
                      for s in (validation, test)}
accuracy

# %%
write_json(f"{results}/runs/{dataset}-judges.json", {"dataset": dataset, "data": "real" if train.real else "rendered",
           "checksum": train.checksum, "updates": updates, "width": width, "accuracy": accuracy})
