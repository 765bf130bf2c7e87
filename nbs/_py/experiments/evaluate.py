# %% [markdown]
# # Evaluate one model
#
# > FID, linear probe, coherence, teacher-student KL and ELBO on the test split: one row per number.
#
# Every method is evaluated on the same test items, and with the same noise where there is any.

# %%
import torch
import mmvae_nb.metrics as metrics
import mmvae_nb.reproduce as reproduce
from mmvae_nb.core import *

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
judge_updates: int = 10  # updates of the digit classifiers
judge_width: int = 16  # channels of their first layer

# %%
device = resolve_device(device)
model, run = reproduce.load_run(results, dataset, method, seed, device)
model.requires_grad_(False)
train = reproduce.load_data(dataset, "train", source, items, device)
test = reproduce.load_data(dataset, "test", source, items, device)
judges = {n: metrics.cached_classifier(train, n, updates=judge_updates, width=judge_width, device=device) for n in test.modalities}
batch, labels = test.take(samples)
others, _ = train.take(samples)
images = [n for n, m in test.modalities.items() if m.kind == "image"]
rows = []
def add(metric, condition, value, n, **more):
    rows.append({"metric": metric, "condition": condition, "value": float(value), "n": int(n), **more})
    write_status(step=len(rows), total=max(60, len(rows) + 1), text=f"{metric} {condition}")


# %% [markdown]
# ## From some modalities to others
#
# For the models that can infer from a part: generation samples $z$ from the posterior, as the talk's slide 36
# seems to. The floor of an FID is that of real images against other real images, the same number of them.

# %%
teacher = method in ("jvae", "iterative")       # needs every modality
names = list(test.modalities)
def key(given): return "+".join(given)
@torch.no_grad()
def posterior(data, given, size=500):
    "Posterior means of a large batch, in slices."
    return torch.cat([model.infer({n: data[n][i:i + size] for n in given}).mean for i in range(0, len(data[given[0]]), size)])
@torch.no_grad()
def sampled(given, to):
    g = generator(seed, "generate", key(sorted(given)), device=device)
    parts = [model.generate({n: batch[n][i:i + 500] for n in given}, to=to, sample=True, generator=g)[to]
             for i in range(0, samples, 500)]
    return torch.cat(parts)
pairs = [["mnist", "svhn"], ["svhn", "text"], ["text", "mnist"]]   # in the talk's order of names

# %%
if not teacher:
    floors = {n: metrics.fid(batch[n], others[n], judges[n]) for n in images}
    for given in [[n] for n in names] + pairs:
        for to in [n for n in names if n not in given]:
            made, direction = sampled(given, to), f"{key(given)}->{to}"
            add("coherence", direction, metrics.coherence(made, labels, judges[to]), samples)
            if to in images:
                add("fid", direction, metrics.fid(batch[to], made, judges[to]), samples, floor=floors[to], features=judges[to].name)

# %% [markdown]
# ## Linear probe
#
# Logistic regression on the posterior means, fitted on training items, judged on test items.

# %%
if not teacher:
    points, point_labels = train.take(probe_points)
    for given in [[n] for n in names] + pairs:
        z, z_test = posterior(points, given), posterior(batch, given)
        for n, metric in [(probe_points, "linear_accuracy"), (min(500, probe_points), "linear_accuracy_500")]:
            add(metric, key(given), metrics.linear_probe(z, point_labels, z_test, labels, points=n), n)

# %% [markdown]
# ## Teacher and student
#
# $\mathrm{KL}(\text{teacher} \,\|\, \text{student})$ in nats, for methods that have both.

# %%
if hasattr(model, "divergences"):
    seed_everything(seed, "divergences")
    kls = [model.divergences({n: x[i:i + 500] for n, x in batch.items()}) for i in range(0, samples, 500)]
    for n in names: add("teacher_student_kl", n, torch.cat([k[n] for k in kls]).mean(), samples)


# %% [markdown]
# ## Negative ELBO
#
# Of the full triple, for every posterior a model offers: from one modality, from two, from all; and for the iterative
# teacher from each start at every $t$. Within one model these can be compared; between models with
# different decoders they mix the quality of inference with that of the decoders.

# %%
@torch.no_grad()
def nelbo(q, data, repeats=4):
    g = generator(seed, "elbo", device=device)
    return -torch.stack([model.elbo(data, q, g) for _ in range(repeats)]).mean()
part = {n: x[:500] for n, x in batch.items()}
if method == "iterative":
    for start in names:
        for t, q in enumerate(model.trajectory(part, start, max(16, model.steps), generator(seed, "refine", device=device))):
            add("negative_elbo", f"{start}, t={t}", nelbo(q, part), len(part[start]))
elif not teacher:
    for given in [[n] for n in names] + pairs:
        with torch.no_grad(): q = model.infer({n: part[n] for n in given})
        add("negative_elbo", key(given), nelbo(q, part), len(part[names[0]]))
if method not in ("iterative", "iterative_student", "jmvae_student"):
    with torch.no_grad(): q = model.infer(part)
    add("negative_elbo", "all", nelbo(q, part), len(part[names[0]]))

# %% [markdown]
# ## Teachers
#
# Generated from a posterior that has seen every modality: a ceiling, not cross-modal generation.

# %%
if teacher:
    with torch.no_grad(): q = {"all": model.infer(batch)} if method == "jvae" else {f"all, from {n}": p for n, p in model.targets(batch).items()}
    for condition, p in q.items():
        g = generator(seed, "generate", condition, device=device)
        with torch.no_grad(): made = model.generate(p.rsample(generator=g))
        for n in names: add("coherence", f"{condition}->{n}", metrics.coherence(made[n], labels, judges[n]), samples)

# %%
write_json(reproduce.run_paths(results, dataset, method, seed)["metrics"], {"dataset": dataset, "method": method, "seed": seed,
    "data": run["data"], "checksum": train.checksum, "device": str(device), "torch": torch.__version__, "rows": rows})
print(f"{len(rows)} numbers")
