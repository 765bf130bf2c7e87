# %% [markdown]
# # The gap, on one model's decoders
#
# > The same decoders for all: joint encoder, refined posteriors, gradient ascent, students and the oracle. Only inference differs.
#
# A JVAE is trained and its decoders are frozen. On them we compare the negative ELBO of the joint encoder's posterior, of posteriors refined from each
# *single* modality by two learned refiners and by plain gradient ascent with the same number of gradient evaluations, and of the oracle: a free Gaussian
# per item, climbed for 600 steps. All on the same test items, each estimated with the same noise. The refined posteriors use the gradient of the full ELBO, so
# they see every modality; the single modality is where they start.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import mmvae_nb.reproduce as reproduce
from mmvae_nb.core import *
from mmvae_nb.metrics import paired_interval
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
part: str = "gap_decomposition"  # which part of the experiments

# %%
table = reproduce.write_talk_table(results)
table = table[table.dataset == dataset]
data_used = f"{'real' if source == 'real' else 'rendered'} data, scale {scale}"
elbos = table[table.metric == "negative_elbo"]
starts = elbos[(elbos.method == "refined") & elbos.condition.str.endswith(", t=0")]
names = [c.removesuffix(", t=0") for c in starts.condition]
kept = {(m, s): reproduce.load_items(results, dataset, m, s)
        for m in reproduce.PARTS[part][0] for s in reproduce.seeds_of(m, seeds)}
oracle_n = len(kept["jvae", 0]["negative_elbo|oracle"])
def values(method, condition, n=None):
    "Negative ELBO of the first `n` test items, (seeds, items)."
    return np.stack([kept[method, s][f"negative_elbo|{condition}"][:n or oracle_n]
                     for s in reproduce.seeds_of(method, seeds)])
print(f"{data_used}, {seeds} seed(s), {oracle_n} test items for every number on this page")

# %%
joint, oracle = values("jvae", "all"), values("jvae", "oracle")
gap = (joint - oracle).mean(1)
print(f"joint encoder {joint.mean():.1f}, oracle {oracle.mean():.1f}: "
      f"amortization gap {gap.mean():.1f} nats "
      f"({', '.join(f'{g:.1f}' for g in gap)} per seed)")


# %% [markdown]
# ## From one modality, step by step
#
# Mean over seeds (the table says how many each has). The share of the joint encoder's gap that is closed is 0 % where a posterior is as good as the joint encoder's and
# 100 % at the oracle; it is negative before that.

# %%
def series(method, n):
    kind = "t" if method != "ascent" else "ascent"
    m = method if method != "ascent" else "refined"
    found = [c for c in elbos[elbos.method == m].condition if c.startswith(f"{n}, {kind}=")]
    steps = sorted(int(c.split("=")[1]) for c in found)
    return steps, [values(m, f"{n}, {kind}={t}") for t in steps]
kinds = {"refined": "our refiner", "refined_marino": "Marino's refiner",
         "ascent": "gradient ascent (Adam)"}
rows = []
for n in names:
    for method, label in kinds.items():
        for t, v in zip(*series(method, n)):
            lead = joint[:len(v)] - v                         # the same seeds and items
            mean, low, high = paired_interval(lead)
            std = v.mean(1).std(ddof=1) if len(v) > 1 else np.nan
            rows.append({"start": n, "method": label, "steps": t, "negative_elbo": v.mean(),
                         "std": std, "median_lead": np.median(lead), "lead": mean,
                         "low": low, "high": high, "closed": (lead.mean(1)/gap[:len(v)]).mean(),
                         "seeds": len(v)})
study = pd.DataFrame(rows)
with atomic_path(f"{results}/tables/gap_decomposition.csv") as tmp:
    study.to_csv(tmp, index=False, float_format="%.6g")
shown = study[study.steps.isin([1, 2, 4, 8, 16, 32, 64])]
shown.pivot_table("negative_elbo", ["start", "method", "seeds"], "steps", sort=False).round(1)

# %%
(100*shown.pivot_table("closed", ["start", "method"], "steps", sort=False)).round(0)

# %%
#| fig-cap: "Negative ELBO against the number of gradient evaluations, from each single modality, on the JVAE's frozen decoders. Bands: one standard deviation over seeds."
#| fig-alt: "Three panels, one per start; falling curves of two refiners and of gradient ascent, with lines for the joint encoder and the oracle."
fig, axes = plt.subplots(1, len(names), figsize=(4*len(names), 3.4), sharey=True)
for ax, n in zip(axes, names):
    for method, label in kinds.items():
        part_of = study[(study.start == n) & (study.method == label) & (study.steps > 0)]
        mean, std = part_of.negative_elbo, part_of["std"]
        line, = ax.plot(part_of.steps, mean, marker=".", label=label)
        if std.notna().any():
            ax.fill_between(part_of.steps, mean - std, mean + std, alpha=.2, lw=0,
                            color=line.get_color())
    ax.axhline(joint.mean(), ls="--", color="0.4", label="joint encoder")
    ax.axhline(oracle.mean(), ls="-", color="k", lw=1, label="oracle")
    ax.set(xscale="log", xlabel="gradient evaluations", title=f"start: {n}",
           ylim=(oracle.mean() - 30, joint.mean() + 500))
    ax.set_xscale("log", base=2)
axes[0].set_ylabel("negative ELBO (nats per item)"); axes[-1].legend(fontsize=7)
save_figure(fig, f"{results}/figures/refiners_over_t.png");

# %% [markdown]
# ## Targets
#
# Set before the runs: ahead of the joint encoder from every single modality within 8 steps, 75 % of its gap closed within 16, no
# divergence at 64 (not worse there than at 16 by more than a nat).

# %%
ours = study[study.method == "our refiner"].set_index(["start", "steps"])
for n in names:
    last = max(ours.loc[n].index)
    at = {t: ours.loc[(n, t)] for t in (8, 16, last)}
    print(f"{n}: lead over the joint encoder at 8 steps {at[8].lead:.1f} nats "
          f"[{at[8].low:.1f}, {at[8].high:.1f}], median item {at[8].median_lead:.1f}; "
          f"closed at 16: {100*at[16].closed:.0f} %; change from 16 to {last}: "
          f"{at[last].negative_elbo - at[16].negative_elbo:+.1f} nats")

# %% [markdown]
# ## What is left, item by item
#
# A mean can hide two kinds of items. Quantiles of the distance to the joint encoder (negative: better than it) after 16 steps. Where the median
# is negative, most items are ahead of the joint encoder; where the last column is large, a few are stuck far behind it. (A likely place to be stuck is one that explains the modality they started
# from and not the others; this table does not test it.)

# %%
levels = [.05, .25, .5, .75, .9, .95, .99]
behind = {n: values("refined", f"{n}, t=16") - joint for n in names}
pd.DataFrame({f"our refiner, from {n}": np.quantile(behind[n], levels) for n in names},
             index=[f"{100*q:.0f} %" for q in levels]).T.round(1)

# %% [markdown]
# ## All on one line
#
# The picture of slides 21-31 with numbers: students that see one modality, refined posteriors that start from it, the joint encoder and
# the best Gaussian. On a logarithmic axis, as distance to the oracle.
# Black is the joint encoder, orange a refined posterior or its student, blue a student of the joint encoder.

# %%
#| fig-cap: "Distance to the best Gaussian in nats, on the same decoders. Further left is better."
#| fig-alt: "Dots on a logarithmic axis: joint encoder and refined posteriors on the left, students on the right."
points = {"joint encoder (sees all)": joint}
for n in names:
    for t in (4, 16): points[f"refined from {n}, {t} steps"] = values("refined", f"{n}, t={t}")
    points[f"student of the joint encoder, {n} only"] = values("jmvae_student", n)
    points[f"student of refined, {n} only"] = values("refined_student", n)
far = {k: (v - oracle[:len(v)]).mean() for k, v in points.items()}
order = sorted(far, key=far.get, reverse=True)
fig, ax = plt.subplots(figsize=(7, .28*len(order) + .6))
def colour(k): return "C1" if "refined" in k else "C0" if "student" in k else "k"
at = [max(far[k], .1) for k in order]
ax.scatter(at, range(len(order)), color=[colour(k) for k in order])
for i, k in enumerate(order):
    ax.annotate(f"{far[k]:.0f}", (at[i], i), xytext=(6, -3), textcoords="offset points", fontsize=7)
ax.set(xscale="log", yticks=range(len(order)), yticklabels=order,
       xlabel="negative ELBO above the oracle's (nats per item)")
ax.margins(x=.12)
save_figure(fig, f"{results}/figures/gap_decomposition.png");
