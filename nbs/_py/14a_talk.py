# %% [markdown]
# # The talk's numbers
#
# > The 52 numbers of the talk, once, and the table that sets ours beside them.
#
# ::: {.callout-note}
# ## You will learn
#
# - which numbers the talk reports, and on which slides;
# - how the table `talk.csv` comes from the records of all evaluations.
#
# A workshop page: skip it at first. Runs in a few seconds.
# :::

# %% [markdown]
# ![Drawing: the talk's 52 numbers and the records of all evaluations go into one table, with a column for the talk's value and one for ours.](drawings/talk.svg)

# %%
#| default_exp experiments.talk

# %%
#| export
from pathlib import Path
from mmvae_nb.core import *

# %%
import tempfile

# %% [markdown]
# ## What the talk reports
#
# The talk reports 52 numbers, on slides 37, 38, 40, 64, 65 and 68. They stand here once, and everything that
# compares with them reads them from here. The talk names its JVAE-taught student "JMVAE stu.".

# %%
#| exports
_talk = [ # slide, dataset, metric, better, conditions, {method: values}
 (37, "mnist_svhn_text", "fid", "lower", "svhn->mnist text->mnist mnist->svhn text->svhn", {
    "mopoe": [194.49, 199.69, 246.64, 246.85], "jmvae_student": [59.468, 48.680, 65.407, 63.345],
    "iterative_student": [49.957, 38.691, 60.328, 58.674]}),
 (38, "mnist_svhn_text", "linear_accuracy", "higher", "mnist svhn text", {
    "mopoe": [.9787, .7969, .9992], "jmvae_student": [.9743, .7540, .9981],
    "iterative_student": [.9811, .7937, .9999]}),
 (40, "cub", "fid", "lower", "text->image", {
    "mopoe": [311.319], "jmvae_student": [195.425], "iterative_student": [191.425]}),
 (40, "cub", "cosine_similarity", "higher", "text->image", {
    "mopoe": [-.004795], "jmvae_student": [.003665], "iterative_student": [.007960]}),
 (64, "mnist_svhn_text", "fid", "lower", "svhn+text->mnist text+mnist->svhn", {
    "mopoe": [196.98, 252.50], "jmvae_student": [44.281, 75.465],
    "iterative_student": [44.026, 72.782]}),
 (65, "mnist_svhn_text", "linear_accuracy", "higher", "mnist+svhn svhn+text text+mnist", {
    "mopoe": [.9813, .9679, .9961], "jmvae_student": [.9827, .9900, .9974],
    "iterative_student": [.9857, .9926, .9980]}),
 (68, "mnist_svhn_text", "teacher_student_kl", "lower", "mnist svhn text", {
    "jmvae_student": [46.434, 56.883, 74.996], "iterative_student": [44.022, 51.836, 71.108]}),
 (68, "cub", "teacher_student_kl", "lower", "image text", {
    "jmvae_student": [104.542, 247.034], "iterative_student": [140.878, 608.291]}),
]


# %%
#| exports
def talk_numbers(): # -> DataFrame
    "The talk's 52 numbers: slide, dataset, metric, better, condition, method, talk_value."
    import pandas as pd
    columns = ["slide", "dataset", "metric", "better", "condition", "method", "talk_value"]
    return pd.DataFrame([(*about, c, m, v)
                         for *about, conditions, values in _talk for m, row in values.items()
                         for c, v in zip(conditions.split(), row)], columns=columns)


# %%
talk = talk_numbers()
assert len(talk) == 52
assert (talk.dataset == "mnist_svhn_text").sum() == 42 and (talk.dataset == "cub").sum() == 10
known = talk.query("slide == 38 and method == 'iterative_student' and condition == 'svhn'")
assert known.talk_value.item() == .7937
talk.head(3)

# %% [markdown]
# ## Ours, from the records
#
# Every evaluation leaves a JSON file with one row per number. `metric_rows` reads them all, one row per seed.

# %%
#| exports
_columns = ["slide", "dataset", "metric", "condition", "method", "talk_value", "value", "std",
            "n_seeds", "data", "n", "device", "floor", "features"]
_key = _columns[1:5]                                     # what a row is about

_about = {"dataset": str, "method": str, "seed": int, "data": str, "device": str, "rows": list}
_row = {"metric": str, "condition": str, "value": (int, float), "n": int}
_more = {"floor": (int, float), "features": str}         # what a row may have

def _other(found, wanted, more=()): # -> text, or None
    "What makes JSON another than that wanted."
    if not isinstance(found, dict): return f"{found!r:.40}"
    right = lambda v, kind: isinstance(v, kind) and not isinstance(v, bool)
    for n, kind in {**wanted, **{n: _more[n] for n in more if n in found}}.items():
        if n not in found: return f"no {n}"
        if not right(found[n], kind): return f"{n} {found[n]!r:.40}"

def _record(path):
    "What an evaluation left; `MmvaeError` for JSON of another form."
    run = read_json(path)
    wrong = _other(run, _about)
    if not wrong:
        rows = enumerate(run["rows"])
        wrong = next((f"{w} in row {i}" for i, r in rows if (w := _other(r, _row, _more))), None)
    if not wrong: return run
    raise MmvaeError(f"{path}: got {wrong}, allowed: the record of an evaluation "
                     "(delete it, and `mmvae reproduce` makes it anew)")

def metric_rows(results # results folder of a scale, such as "results/quick"
               ): # -> DataFrame: dataset, metric, condition, method, seed, value, n, ...
    "Every number of every evaluation found, a row for each seed; `MmvaeError` without the folder."
    import pandas as pd
    if not Path(results).is_dir():
        raise MmvaeError(f"results: got {results}, which is not there, allowed: a folder of "
                         "results (they are in the repository: clone it, run in its folder nbs)")
    found = []
    for path in sorted((Path(results)/"runs").glob("*-metrics.json")):
        run = _record(path)
        about = {k: run[k] for k in ("dataset", "method", "seed", "data", "device")}
        found += [{**about, **row} for row in run["rows"]]
    columns = [*_key, "seed", "data", "device", "value", "n", "floor", "features"]
    return pd.DataFrame(found, columns=columns)

def _our_rows(results):
    "One row for each number of the evaluations: mean and standard deviation over seeds."
    return metric_rows(results).groupby(_key, sort=False).agg(
        value=("value", "mean"), std=("value", "std"), n_seeds=("seed", "nunique"),
        data=("data", "first"), n=("n", "first"),
        device=("device", lambda d: " and ".join(dict.fromkeys(d))),
        floor=("floor", "mean"), features=("features", "first")).reset_index()


# %% [markdown]
# `talk_rows` joins both: first every row of
# the talk's tables, in its order, with our value where there is one; then our own rows.

# %%
#| exports
def talk_rows(results # results folder of a scale
             ): # -> DataFrame with the columns of talk.csv
    "The talk's rows with our mean and standard deviation over seeds, then our other rows."
    import pandas as pd
    ours, talk = _our_rows(results), talk_numbers()
    slides = talk.drop_duplicates(_key[:3])[["slide", *_key[:3]]]
    theirs = talk.merge(ours, on=_key, how="left")
    other = ours.merge(talk[_key], on=_key, how="left", indicator=True)
    other = other.query("_merge == 'left_only'").merge(slides, on=_key[:3], how="left")
    table = pd.concat([theirs, other], ignore_index=True)[_columns]
    return table.astype({"slide": "Int64", "n_seeds": "Int64", "n": "Int64"})

def write_talk_table(results # results folder of a scale
                    ): # -> DataFrame, the table
    "Write `tables/talk.csv` of a scale, whole or not at all."
    table = talk_rows(results)
    with atomic_path(Path(results)/"tables"/"talk.csv") as tmp:
        table.to_csv(tmp, index=False, float_format="%.6g")
    return table


# %%
with tempfile.TemporaryDirectory() as folder:
    for seed, value in enumerate([.8, .9]):
        rows = [dict(metric="linear_accuracy", condition="svhn", value=value, n=100),
                dict(metric="coherence", condition="text->svhn", value=value, n=100)]
        run = dict(dataset="mnist_svhn_text", method="mopoe", seed=seed, data="rendered",
                   device="cpu", rows=rows)
        write_json(f"{folder}/runs/{seed}-metrics.json", run)
    assert metric_rows(folder).seed.tolist() == [0, 0, 1, 1]
    table = write_talk_table(folder)
    written = (Path(folder)/"tables"/"talk.csv").read_text()
assert written.startswith("slide,dataset,metric")
ours = "method == 'mopoe' and metric == 'linear_accuracy' and condition == 'svhn'"
row = table.query(ours).iloc[0]
assert len(table) == 53 and row.n_seeds == 2
assert abs(row.value - .85) < 1e-9 and abs(row["std"] - .005**.5) < 1e-9
assert table.iloc[:52].talk_value.tolist() == talk.talk_value.tolist()
assert table.iloc[52].metric == "coherence"

# %% [markdown]
# The table is always made whole, from every evaluation in the folder, whatever data set it is of: so it does not matter which run made it last.
#
# ## Recap
#
# The talk's numbers stand once; `talk_rows` puts ours beside them; a job of its own ([lesson 14c](14c_graph.ipynb)) writes the table when an evaluation has changed.
