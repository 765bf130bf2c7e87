# %% [markdown]
# # Longer training
#
# > Is the order of the methods that of their training's length? The same measures after shorter and longer runs.
#
# Every scale on real data that lies beside this one is read: its updates, its seeds, its settings. Learning rates and the starts of students can differ between scales, because the
# longer runs use what the search for settings found; the table says where they do.

# %%
import matplotlib.pyplot as plt, pandas as pd
from mmvae_nb.experiments.runs import *
from mmvae_nb.experiments.table import teachers_of
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
part: str = "convergence"  # which part of the experiments

# %%
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report

# %%
single = list(report.modalities)
six = [f"{a}->{b}" for a in single for b in single if a != b]
wanted = {"linear_accuracy": single, "coherence": six, "fid": [c for c in six if not c.endswith("text")]}

scales = report.beside()
records = {name: there.records() for name, there in scales.items()}

of_float32 = lambda there: [r for r in there.runs(there.methods[0]) if r["parameters"]["precision"] == "float32"]
rounded = {name for name, there in scales.items() if not of_float32(there) and f"{scale}_bf16" == name}

def line(there, method):
    "One method at one scale: what it was given, and the mean over seeds and conditions."
    chain = [there.runs(m) for m in [*teachers_of(method), method]]
    rows = records[there.scale].query("method == @method")
    mean = {m: rows.value[(rows.metric == m) & rows.condition.isin(c)].mean() for m, c in wanted.items()}
    return {"method": method, "scale": there.scale, "seeds": len(chain[-1]),
            "updates": "+".join(str(r[0]["updates"]) for r in chain),
            "of the model": chain[0][0]["updates"], "rate": chain[0][0]["parameters"]["lr"],
            "warm start": 'warm_start": true' in chain[-1][0]["parameters"]["settings"],
            "minutes": round(sum(r["seconds"] for runs in chain for r in runs)/60/len(chain[-1]), 1), **mean}


# %%
lines = [line(there, m) for there in scales.values() for m in there.methods if there.scale not in rounded]
table = pd.DataFrame(lines).sort_values(["of the model", "method"], ignore_index=True)
for m, best_first in {"linear_accuracy": False, "coherence": False, "fid": True}.items():
    table[f"rank, {m}"] = table.groupby("scale")[m].rank(ascending=best_first).astype(int)
report.table(table.drop(columns="of the model"), "convergence")
table.assign(method=table.method.map(method_name)).drop(columns="of the model").set_index(["scale", "method"]).round(3)

# %%
#| fig-cap: "Mean over modalities or directions, against the updates of the generative model; students come on top. A point is a mean over the seeds of its scale."
#| fig-alt: "Three panels, linear accuracy, coherence and FID, with a line for each method."
said = {"linear_accuracy": "linear accuracy", "coherence": "coherence", "fid": "FID"}
fig, axes = plt.subplots(1, 3, figsize=(11, 3.4))
for ax, (m, name) in zip(axes, said.items()):
    for key, t in table.groupby("method"):
        ax.plot(t["of the model"], t[m], "o-", color=method_colour(key), label=method_name(key))
    ax.set(xlabel="updates", ylabel=name, xscale="log")
    ticks = sorted(table["of the model"].unique())
    ax.set_xticks(ticks, [f"{t:,}" for t in ticks], rotation=40, ha="right"); ax.minorticks_off()
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
report.save(fig, "convergence");


# %%
def order(scale, m):
    t = table[table.scale == scale].sort_values(f"rank, {m}")
    return " > ".join(map(method_name, t.method))
for m in wanted:
    print(m)
    for s in dict.fromkeys(table.scale): print(f"  {s}: {order(s, m)}")


# %% [markdown]
# ## In bf16
#
# Where this scale was run in mixed precision as well, on several seeds: mean and standard deviation of either, and the difference in units of the standard deviation of one seed.

# %%
def both(method, there):
    "A method in either precision, metric by metric."
    rows = {}
    for m, where in wanted.items():
        a, b = (r[(r.method == method) & (r.metric == m) & r.condition.isin(where)].groupby("seed").value.mean()
                for r in (records[scale], records[there.scale]))
        spread = ((a.var() + b.var())/2)**.5
        rows[m] = {"float32": a.mean(), "std": a.std(), "seeds": len(a), "bf16": b.mean(), "std, bf16": b.std(),
                   "seeds, bf16": len(b), "difference/std": (b.mean() - a.mean())/spread}
    return pd.DataFrame(rows).T
pairs = {method_name(m): both(m, scales[r]) for r in rounded for m in scales[r].methods if m in report.methods}
display(pd.concat(pairs).round(3)) if pairs else print("not run in bf16")


# %% [markdown]
# ## Overfitting?
#
# The training loss of the last batches beside that of 500 validation items, per item. A large difference that grows with the updates says that a model has begun to learn items by heart.

# %%
def fitted(there, method):
    r = there.runs(method)[0]
    last = [h["total"] for h in r["history"][-5:]]
    return {"scale": there.scale, "method": method_name(method), "updates": r["updates"],
            "training": sum(last)/len(last), "validation": r["validation_loss"]}
losses = pd.DataFrame([fitted(there, m) for there in scales.values() for m in there.methods])
losses.assign(difference=losses.validation - losses.training).set_index(["scale", "method"]).round(1)
