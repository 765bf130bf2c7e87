# %% [markdown]
# # Train one model
#
# > Data set, method, seed and scale are parameters; weights and a record of the run are the result.

# %%
import shutil, time
from pathlib import Path
import torch
from mmvae_nb.checkpoints import fingerprint, latest, save_weights
from mmvae_nb.core import *
from mmvae_nb.experiments.graph import training_sources
from mmvae_nb.experiments.runs import described, load_data, load_run, make_model, make_specs, run_paths
from mmvae_nb.experiments.table import METHODS
from mmvae_nb.plotting import plt
from mmvae_nb.training import fit, resolve_precision

# %% tags=["parameters"]
dataset: str = "mnist_svhn_text"  # name of the data set
source: str = "rendered"  # rendered or real data
items: int = 200  # source items per image modality, None for all
results: str = "_runs/smoke"  # folder for the results of a scale
device: str = "cpu"  # auto, cpu, cuda, cuda:N, mps
method: str = "jvae"  # what to train
seed: int = 0  # of weights, pairing and noise
updates: int = 3  # optimiser steps
batch_size: int = 16  # items per update
lr: float = 0.002  # peak learning rate
latent: int = 20  # latent coordinates
beta: float = 1.0  # weight of the KL term
steps: int = 2  # T, for the iterative teacher
text_weight: float = 1.0  # a factor on the weights of texts
precision: str = "float32"  # float32, bf16, or auto
budget: float = 1.0  # core-minutes this training should keep to
settings: str = "{}"  # the method's class and options, for the record

# %%
device, precision = resolve_device(device), resolve_precision(precision, device)
parameters = dict(dataset=dataset, source=source, items=items, method=method, seed=seed,
                  updates=updates, batch_size=batch_size, lr=lr, latent=latent, beta=beta,
                  steps=steps, text_weight=text_weight, precision=precision, budget=budget,
                  settings=settings)
paths = run_paths(results, dataset, method, seed)
train, validation = (load_data(dataset, s, source, items, device) for s in ("train", "validation"))
train

# %% [markdown]
# Students need their trained teacher.

# %%
specs = make_specs(dataset, train.modalities, text_weight)
teacher = METHODS[method].teacher
if teacher: teacher, _ = load_run(results, dataset, teacher, seed, device)
seed_everything(seed, method)
model = make_model(method, specs, latent, beta, steps, teacher)
trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
print(f"{type(model).__name__}: {trained:,} trained parameters")

# %% [markdown]
# A checkpoint every few hundred updates lets an interrupted run continue. Its folder is named after the settings, the model (also a student's teacher)
# and the code, so one of another experiment is never picked up.

# %%
code = [Path(f).read_text(encoding="utf-8") for f in training_sources(dataset, source, method)]
stamp = digest([parameters, train.checksum, fingerprint(model), code])
checkpoint = Path(results)/"weights"/f"{dataset}-{method}-{seed}-{stamp}"
last, (held_out, _) = latest(checkpoint), validation.take(min(500, len(validation)))
resumed_at, start = int(last.name.removeprefix("update_")) if last else 0, time.time()
history = fit(model, train, updates, batch_size, lr, seed, device, precision,
              checkpoint=checkpoint, every=200, validation=held_out,
              record=type(model).__module__.startswith("mmvae_nb."))   # others may count in Python
seconds = time.time() - start
if resumed_at < updates: seconds /= 1 - resumed_at/updates    # what the whole training takes at this pace

# %%
#| fig-cap: "The loss on training and validation items."
seen = history.dropna(subset=["validation"]) if "validation" in history else history[:0]
plt.plot(history["update"], history["total"], lw=.7, label="training")
plt.plot(seen["update"], seen.get("validation", []), "k.-", label="validation")
plt.gca().set(xlabel="update", ylabel="loss (nats per item)"); plt.legend();

# %%
seed_everything(seed, "validation")
total, parts = model.eval().loss(held_out)
save_weights(model, paths["weights"])
write_json(paths["run"], {
    "parameters": parameters, "seed": seed, "method": method, "dataset": dataset,
    "data": "real" if train.real else "rendered", "checksum": train.checksum,
    "modalities": described(train.modalities), "class_names": train.class_names,
    "device": str(device), "torch": torch.__version__, "threads": torch.get_num_threads(),
    "updates": updates, "resumed_at": resumed_at, "seconds": round(seconds, 1),
    "validation_loss": total.item(),
    "validation_parts": {k: v.item() for k, v in parts.items()},
    "history": [{k: round(v, 3) for k, v in row.items() if v == v}
                for row in history.iloc[:: max(1, len(history)//40)].to_dict("records")]})
shutil.rmtree(checkpoint, ignore_errors=True)
print(f"validation loss {total.item():.1f} nats; {seconds:.0f} s")
