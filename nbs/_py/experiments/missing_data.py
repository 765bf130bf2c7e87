# %% [markdown]
# # Training with modalities missing
#
# > Every method on the same items, of which more and more lack a part; beside it, the complete items alone.
#
# Each modality of each training item is missing by chance; an item that would have nothing keeps one of them. "All items" trains on everything that is left, "complete items" on those that lack
# nothing, which is all that a joint encoder can do. Networks, updates and test items are the same. A made item counts if a judge of real ones reads the right class in it.
#
# What is trained once is kept under `runs/`, so a run that was stopped goes on where it was. The defaults are a trial of the code. The table of digits in halves, MoPoE after five times the updates (committed as `missing_digits_halves_longer.csv`), and that of the triples are made by
#
# ```
# papermill nbs/experiments/missing_data.ipynb missing_data.ipynb -p results results/missing -p seeds 3 -p updates 600 -p items 0 -p methods all -p missing "0 25 50 75 40/40/70"
# papermill nbs/experiments/missing_data.ipynb missing_longer.ipynb -p results results/missing_longer -p seeds 3 -p updates 3000 -p items 0 -p methods mopoe -p missing "0 40/40/70 75"
# papermill nbs/experiments/missing_data.ipynb missing_triples.ipynb -p dataset mnist_svhn_text -p source real -p results results/missing -p seeds 3 -p updates 600 -p items 0 -p methods all -p latent 20 -p missing "0 25 50 75"
# ```

# %%
import itertools, time
from dataclasses import replace
from pathlib import Path
import matplotlib.pyplot as plt, numpy as np, pandas as pd, torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from mmvae_nb import *
from mmvae_nb.core import generator, read_json, seed_everything, write_json
from mmvae_nb.judges.classes import ClassJudge
from mmvae_nb.plotting import *

# %%
set_style()

# %% tags=["parameters"]
dataset: str = "digits_halves"  # digits_halves (scikit-learn's, no download) or mnist_svhn_text
source: str = "rendered"  # of mnist_svhn_text: rendered or real data
missing: str = "0 50"  # percent missing, in all modalities or in each: 40/40/70
methods: str = "mopoe jvae_student"  # names of methods, or all
items: int = 300  # training items, 0 for all
updates: int = 20  # updates of each model, and half as many of its students
batch_size: int = 64  # items of a batch
latent: int = 8  # latent coordinates
seeds: int = 1  # how many seeds: of weights, holes and batches
results: str = "_runs/smoke"  # folder for table and figure
device: str = "cpu"  # auto, cpu, cuda, cuda:N, mps

# %%
KINDS = {"mvae": MVAE, "mmvae": MMVAE, "mopoe": MoPoE, "mvtcae": MVTCAE, "crmvae": CRMVAE, "jmvae": JMVAE,
         "iterative_student": IterativeTeacher, "jvae_student": JVAE}
chosen = list(KINDS) if methods == "all" else methods.split()
how = dict(batch_size=batch_size, lr=2e-3, progress=False, device=device)

def digits_halves():
    "Training items, test items, labels of both, specifications, and who judges."
    digits = load_digits()
    x, y = digits.images.astype("float32")/16, digits.target
    x = {"left": x[:, :, :4].reshape(-1, 32), "right": x[:, :, 4:].reshape(-1, 32), "label": np.eye(10, dtype="float32")[y]}
    x, y = {n: torch.tensor(v) for n, v in x.items()}, torch.tensor(y)
    specs = default_specs(TensorData(x).modalities)
    specs = {n: s if n == "label" else replace(s, likelihood=Gaussian(.2)) for n, s in specs.items()}
    judge = {n: LogisticRegression(max_iter=1000).fit(v[:1400], y[:1400]).predict for n, v in x.items()}
    reads = {n: lambda made, f=f: torch.as_tensor(f(made.cpu().numpy())) for n, f in judge.items()}
    cut = lambda part: ({n: v[part] for n, v in x.items()}, y[part])
    return cut(slice(items or 1400)), cut(slice(1400, None)), specs, reads

def triples():
    train, test = (mnist_svhn_text(s, source) for s in ("train", "test"))
    judge = ClassJudge(train, device=device)
    reads = {n: lambda made, f=f: f.predict(made).cpu() for n, f in judge.nets.items()}
    return train.take(items or len(train)), test.take(min(len(test), 1500)), default_specs(train.modalities), reads

(train, y), (test, y_test), specs, reads = digits_halves() if dataset == "digits_halves" else triples()
modalities = {n: s.modality for n, s in specs.items()}
everything = TensorData(train, modalities=modalities, labels=y)
everything


# %%
def holes(percent, seed):
    "(n, modalities) bool, what is there; every item keeps something."
    share = torch.tensor([float(p)/100 for p in percent.split("/")]).expand(len(train))
    noise = torch.rand(len(y), len(train), generator=generator(seed, "holes"))
    there = noise >= share
    there[torch.arange(len(y)), (noise - share).argmax(1)] = True      # the one that was nearest to stay
    return there

def trained(method, data, seed):
    "A model that infers from any part, trained on `data`."
    seed_everything(seed, "missing")
    model = KINDS[method](specs, latent)
    fit(model, data, updates, seed=seed, **{**how, "batch_size": min(batch_size, len(data))})
    if not method.endswith("student"): return model
    return distill(model, data, max(1, updates//2), seed=seed, **{**how, "batch_size": min(batch_size, len(data))})

@torch.no_grad()
def measured(model):
    "(given, made) and the share of made items that the judge reads rightly."
    x, names = {n: v.to(next(model.parameters()).device) for n, v in test.items()}, list(test)
    for k in range(1, len(names)):
        for given in itertools.combinations(names, k):
            made = model.generate({n: x[n] for n in given})
            for to in names:
                if to not in given: yield "+".join(given), to, (reads[to](made[to]) == y_test).float().mean().item()


# %%
def rows(percent, method, seed):
    "The measures of one method on all items, and on the complete ones."
    data = TensorData(train, modalities=modalities, labels=y, present=holes(percent, seed))
    ways = {"all items": data, "complete items": data.complete()} if data.partial else {"all items": data}
    for way, d in ways.items():
        if way == "all items" and data.partial and method == "jvae_student": continue
        began = time.process_time()
        model = trained(method, d, seed)
        facts = dict(missing=percent, method=method, trained_on=way, seed=seed, items=len(d), data=d.checksum,
                     cpu_seconds=round(time.process_time() - began, 1))
        yield from (dict(facts, given=g, to=to, coherence=v) for g, to, v in measured(model))

def kept(percent, method, seed):
    "The same from its file, where an earlier run with these settings has left one."
    file = Path(results)/"runs"/f"missing_{dataset}-{method}-{percent.replace('/', '_')}-{seed}.json"
    asked = dict(updates=updates, batch_size=batch_size, latent=latent, checksum=everything.checksum)
    found = read_json(file) if file.exists() else {}
    if found.get("asked") != asked:
        write_json(file, found := {"asked": asked, "rows": list(rows(percent, method, seed))})
    return found["rows"]

folder = Path(results); (folder/"runs").mkdir(parents=True, exist_ok=True)
table = pd.DataFrame([r for s in range(seeds) for p in missing.split() for m in chosen for r in kept(p, m, s)])
table.assign(dataset=dataset, updates=updates).to_csv(folder/f"missing_{dataset}.csv", index=False, float_format="%.5g")
by = ["missing", "method", "trained_on"]
wide = table.assign(what=table.given + "->" + table.to).pivot_table("coherence", by, "what")
wide.insert(0, "mean", wide.mean(axis=1))
wide.insert(1, "cpu_seconds", table.groupby(by).cpu_seconds.mean())
wide.round(3)

# %%
#| fig-cap: "The share of made items that are read rightly, the mean over all directions. Solid: trained on all items; dashed: on the complete ones."
#| fig-alt: "A line for each method that falls from left to right, dashed lines below solid ones."
mean = table.groupby([*by, "seed"]).coherence.mean().groupby(by).agg(["mean", "std"]).reset_index()
fig, ax = plt.subplots(figsize=(6, 4))
order = missing.split()
for i, m in enumerate(chosen):
    for way, line in {"all items": "-", "complete items": "--"}.items():
        t = mean[(mean.method == m) & ((mean.trained_on == way) | (mean.missing == "0"))]
        t = t.sort_values("missing", key=lambda p: p.map(order.index))
        ax.errorbar([order.index(p) for p in t.missing], t["mean"], t["std"].fillna(0), color=f"C{i}", ls=line,
                    marker="o", ms=3, capsize=2, label=method_name(m) if way == "all items" or m == "jvae_student" else None)
ax.set(xticks=range(len(order)), xticklabels=order, xlabel="missing in each modality (%)", ylabel="coherence")
ax.legend(fontsize=7)
fig.savefig(folder/f"missing_{dataset}.png", bbox_inches="tight", dpi=150)
