# %% [markdown]
# # Time and memory
#
# > What a training step of every method costs, beside another library and beside the networks alone.
#
# Three things are timed, in turn and in one process, so that whatever slows the machine down slows all of them:
#
# - **ours**: a step exactly as [`fit`](02g_training.ipynb) takes it, with its batch, the clipping of the gradient and Adam;
# - **the peer**: the same objective in [multivae](https://multivae.readthedocs.io), version 1.0.3, with *our* networks, likelihoods and weights, so that
#   only the code around the networks differs. Its batches are made before the clock runs;
# - **the floor**: every network of the objective forward and backward with given gradients, and a plain Adam; no likelihood, no divergence, no sampling,
#   in float32 with images stored channels last. A step can't be much cheaper with these networks in float32; a faster Adam or a shorter number can go below it.
#
# Times are processor time of one thread (on a GPU: by the wall, between two synchronisations), medians of repetitions in the order A B B A. Only the ratios travel: on another
# machine, and even in another process, the same step takes another time. The command is `make bench`; a block alone is measured anew by
# `make bench ARGS="--only steps"`. All data here is drawn by the package, but where a table says otherwise.
#
# A test compares the peer's losses with ours on the same weights and items, samples replaced by their means: they are the same to five digits.
#
# Each table is a file of `results/bench`. Which machine made which:

# %%
#| echo: false
from pathlib import Path
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown
from mmvae_nb.experiments.table import METHODS
from mmvae_nb.plotting import method_colour, method_name, set_style

set_style()
FOLDER = Path("../results/bench")
ABSENT = "*Not measured yet: `make bench` makes this table.*"
LABELS = {**{f"iterative_t{t}": f"iterative teacher, T = {t}" for t in (1, 2, 4, 8)},
          "jvae_student": "student of the JVAE",
          "iterative_student": "student of the iterative teacher, T = 4"}

def rows(block, **chosen):
    "The rows of a block's table that have the values `chosen`; None if there is no table."
    path = FOLDER/f"{block}.csv"
    if not path.exists(): return None
    found = pd.read_csv(path, keep_default_na=False, na_values={"median_ms": [""]})
    for column, value in chosen.items(): found = found[found[column] == value]
    return found

def label(method): return LABELS.get(method) or method_name(method)

def number(v): return "" if pd.isna(v) else v if isinstance(v, str) else f"{v:.2f}" if v < 10 else f"{v:,.0f}"

def table(frame):
    "A table in Markdown, numbers to the right."
    head = [list(frame.columns), ["---:" if frame[c].dtype.kind in "fi" else "---" for c in frame]]
    lines = head + [[number(v) for v in r] for r in frame.values]
    return Markdown("\n".join("| " + " | ".join(r) + " |" for r in lines))

def wide(found, keys):
    "One row a case: the median of each subject, and what ours is of the others."
    who = found["who"] + " " + found["precision"]
    by = found.assign(subject=who).pivot_table(index=keys, columns="subject", values="median_ms", sort=False)
    best = [c for c in by if c.startswith("ours ") and c != "ours float32"]
    out = by[[c for c in by if c.startswith("ours")]].add_suffix(", ms")
    for other, column in (("peer", "peer float32"), ("floor", "floor float32")):
        if column not in by: continue
        out[f"{other}, ms"] = by[column]
        out[f"ours / {other}"] = by["ours float32"]/by[column]
    for c in best:
        short = c.split()[1]
        out[f"{short} / float32"] = by[c]/by["ours float32"]
        for other in ("peer float32", f"peer {short}"):
            if other in by: out[f"{short} / {other}"] = by[c]/by[other]
    return out.reset_index()

def shown(block, keys, **chosen):
    "The table of a block, or what makes it."
    found = rows(block, **chosen)
    if found is None or not len(found): return Markdown(ABSENT)
    frame = wide(found, keys)
    frame["method"] = frame["method"].map(label)
    if "data" in frame: frame["data"] = frame["data"].str.removeprefix("made_up_")
    return table(frame.rename(columns={"data": "modalities"}))


# %%
#| echo: false
def machines():
    "Where the numbers come from, a line for each machine."
    lines = {}
    for path in sorted(FOLDER.glob("*.csv")):
        for r in rows(path.stem)[["device", "gpu", "cpu", "vectors", "amx", "threads", "torch"]].drop_duplicates().itertuples():
            known = [f"{k}: {v}" for k, v in (("vectors", r.vectors), ("AMX", r.amx)) if v]
            what = f"{r.gpu or r.cpu} ({'; '.join([r.device, *known])}), {r.threads} thread(s), torch {r.torch}"
            lines.setdefault(what, []).append(path.stem)
    return Markdown("\n".join(f"- {', '.join(blocks)}: {what}" for what, blocks in lines.items()) or ABSENT)

machines()


# %% [markdown]
# ## A step of every method
#
# *What to see*: how far ours is above its floor, which is what all that is not a network costs; whether it is below the peer (a ratio below 1); and what
# a short or automatic precision saves, if this machine has one (the last columns, where they are). The iterative teacher pays for
# $T + 1$ passes through the decoders and $T$ through the refiner, and so does its floor; what its ratio to the floor gains
# with $T$ is what else each refinement costs: a likelihood, and the refiner's own bookkeeping. The targets of its
# students are gradients of the whole model, so there is no floor for them.

# %%
#| echo: false
def devices(block):
    found = rows(block)
    return [] if found is None else list(dict.fromkeys(found["device"]))

def per_device(block, keys, **chosen):
    "The table of each device; the device is named where there are several."
    several = devices(block)
    keys = (["device"] if len(several) > 1 else []) + keys
    return shown(block, keys, **chosen)

per_device("steps", ["batch", "method"])


# %%
#| echo: false
def summary():
    "In words: the range of the ratios in the table above."
    found = rows("steps", device="cpu")
    if found is None or not len(found): return Markdown("")
    frame, said = wide(found, ["batch", "method"]), []
    for other in ("peer", "floor"):
        r = frame.get(f"ours / {other}", pd.Series(dtype=float)).dropna()
        if len(r): said.append(f"{r.min():.2f} to {r.max():.2f} of the {other}'s (median {r.median():.2f}, {len(r)} cases)")
    n, short = found["repetitions"], []
    for other in ("float32", "bf16"):
        r = frame.get(f"bf16 / peer {other}", pd.Series(dtype=float)).dropna()
        if len(r): short.append(f"{r.min():.2f} to {r.max():.2f} of the peer's in {other}")
    auto = f" In bf16, which `precision=\"auto\"` chooses on this processor, it takes {' and '.join(short)}." if short else ""
    return Markdown(f"On the CPU a float32 step of ours takes {' and '.join(said)}; {n.min()} to {n.max()} repetitions." + auto)

summary()

# %% [markdown]
# ## End to end
#
# `fit` against the peer's trainer: the same number of updates of 64 over as many items, each with its progress bar and what it writes to disk by default here
# (ours: a checkpoint every 200 updates and one at the end; the peer's trainer: the best model, kept in memory after each epoch and written at the end).
# Milliseconds per update, each training run twice. *What to see*: how much more than the bare step above a training costs.

# %%
#| echo: false
per_device("fit", ["method", "updates"])


# %% [markdown]
# ## Growth with T, and with the number of modalities
#
# *What to see*: on the left straight lines, as each further step of refinement costs the same; on the right what each further modality costs
# (pictures of noise, 3 x 16 x 16, batch 64). MoPoE mixes $2^M - 1$ subsets, but they are products of $M$ small posteriors, so the networks dominate
# and its line should hardly bend.

# %%
#| echo: false
#| fig-cap: "Milliseconds of a step on the CPU, float32. Left: the iterative teacher over T, a line for each batch, relative to T = 1. Right: over the number of modalities, batch 64; dotted: the floor."
#| fig-alt: "Two charts of a step's time, over the number of refinement steps and over the number of modalities"
def growth():
    "Two charts: over T, and over modalities."
    steps, many = rows("steps", device="cpu", precision="float32"), rows("modalities", device="cpu", precision="float32")
    if steps is None or many is None: return Markdown(ABSENT)
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    own = steps[(steps["who"] == "ours") & steps["method"].str.startswith("iterative_t")]
    for batch, part in own.groupby("batch"):
        t, ms = part["method"].str.removeprefix("iterative_t").astype(int), part["median_ms"]
        left.plot(t, ms/ms.iloc[0], "o-", label=f"batch {batch}")
    left.set(xlabel="T", ylabel="a step, relative to T = 1", ylim=(0, None)); left.legend()
    for (method, who), part in many[many["who"] != "peer"].groupby(["method", "who"], sort=False):
        m, ours = part["data"].str.removeprefix("made_up_").astype(int), who == "ours"
        right.plot(m, part["median_ms"], "o-" if ours else ":", color=method_colour(method.split("_t")[0]),
                   label=label(method) if ours else None)
    right.set(xlabel="modalities", ylabel="a step, ms", ylim=(0, None), xticks=range(2, 7)); right.legend()
    plt.show()

growth()

# %%
#| echo: false
per_device("modalities", ["data", "method"])


# %% [markdown]
# ## Growth with the batch
#
# *What to see*: items per second rise until the processor is full. Then they level off, and fall where what a step remembers no longer fits the caches. A larger batch is another optimisation, so it is no free gain.

# %%
#| echo: false
#| fig-cap: "Items per second of a float32 step on the CPU over the size of the batch. Dotted: the peer, where it has the method."
#| fig-alt: "Chart of items per second over the size of the batch, a line for each method"
def by_batch(methods=("jvae", "jmvae", "mopoe", "mvtcae", "iterative_t4")):
    "Items per second over the batch."
    found = rows("steps", device="cpu", precision="float32")
    if found is None: return Markdown(ABSENT)
    fig, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for (method, who), part in found[found["who"] != "floor"].groupby(["method", "who"], sort=False):
        if method not in methods: continue
        ours = who == "ours"
        ax.plot(part["batch"], 1e3*part["batch"]/part["median_ms"], "o-" if ours else ":",
                color=method_colour(method.split("_t")[0]), label=label(method) if ours else None)
    ax.set(xscale="log", xlabel="items per update", ylabel="items per second", ylim=(0, None))
    sizes = sorted(found["batch"].unique())
    ax.set_xticks(sizes, [str(s) for s in sizes]); ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    plt.show()

by_batch()

# %% [markdown]
# ## Pictures of 64 x 64
#
# Drawn birds with their captions, batch 64. The networks of [lesson 02e](02e_networks.ipynb) stand for both modalities (a convolutional text network, not that of [lesson 12c](12c_text.ipynb), which writes
# word by word), because the peer's likelihoods know independent tokens only. *What to see*: with larger maps the networks take a larger share, so a short precision saves more of the step than it does with digits, where the processor has it.

# %%
#| echo: false
per_device("birds", ["method"])


# %% [markdown]
# ## Peak memory
#
# The most memory that a process (or the GPU) held during three steps, and what it held before the model was made: Python, torch and the data. A process for each row.
# *What to see*: the difference of the two columns, which is weights, gradients, Adam's moments and activations; the last grow with the batch and, for the iterative teacher, with $T$.

# %%
#| echo: false
def peaks():
    "Peak memory, a row for each method, batch and subject."
    found = rows("memory")
    if found is None or not len(found): return Markdown(ABSENT)
    columns = {"device": "device", "method": "method", "batch": "batch", "who": "who", "precision": "precision",
               "before_mb": "before, MB", "peak_mb": "peak, MB"}
    frame = found[list(columns)].rename(columns=columns)
    return table(frame.assign(method=frame["method"].map(label), batch=frame["batch"].astype(str)))

peaks()


# %% [markdown]
# ## On a card, recorded
#
# Milliseconds an update of `fit` on one card, by the wall, between two looks at the loss: as Python writes it, operation by operation, and launched whole from a recording ([lesson 02k](02k_recording.ipynb)). One process had the card to itself. A cell without a number was not measured.
# *What to see*: as written the time is Python's and hardly the card's; recorded, four times the items cost less than half as much again. The command is `make bench ARGS="--only cuda"`; it measures on drawn digits, and the table says on which data its numbers were.

# %%
#| echo: false
def on_a_card():
    "As written and recorded, a row for each method, batch and precision."
    found = rows("cuda")
    if found is None or not len(found): return Markdown(ABSENT)
    keys = ["method", "data", "batch", "precision"]
    wide = found.pivot_table(index=keys, columns="recorded", values="ms", sort=False)
    wide = wide.reindex(columns=[False, True]).set_axis(["as written, ms", "recorded, ms"], axis=1)
    wide["times as fast"] = wide["as written, ms"]/wide["recorded, ms"]
    wide["minutes for 40,000"] = wide["recorded, ms"]*40_000/60_000
    frame = wide.reset_index()
    return table(frame.assign(method=frame["method"].map(lambda m: METHODS[m].label or label(m)), batch=frame["batch"].astype(str)))

on_a_card()

# %% [markdown]
# ## What is not here
#
# - **Quality.** A cheaper step is worth nothing if it learns less per step; the reports under *Results* compare what the methods learn.
# - **Start.** Importing torch and compiling kernels is left out: one round of steps runs before the clock does.
# - **Other objectives of the peer.** Its MVAE and MMVAE take other bounds than ours (subsampled subsets, many samples), so a ratio would compare objectives, not code.
