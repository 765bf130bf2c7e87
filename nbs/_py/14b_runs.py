# %% [markdown]
# # From names to objects
#
# > Load data, networks, judges and trained models by name, and open a report.
#
# ::: {.callout-note}
# ## You will learn
#
# - how a name of lesson 14's tables becomes data, a model or a judge, and how a trained model is read back;
# - how a report finds its runs, and why it can save only what the ledger lists;
# - how two methods are compared on the seeds that both have.
#
# A workshop page: skip it at first. Runs in a few seconds.
# :::

# %% [markdown]
# ![Drawing: above, a name leads to record and weights, and these to a model; below, runs of two methods joined seed by seed, one without a partner left out.](drawings/runs.svg)

# %%
#| default_exp experiments.runs

# %%
#| export
import itertools, json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from mmvae_nb.core import *
from mmvae_nb.experiments.table import *
from mmvae_nb.experiments.talk import metric_rows, talk_rows
from mmvae_nb.metrics import seed_interval

# %%
import tempfile
import torch
from mmvae_nb.networks import default_specs
from mmvae_nb.checkpoints import save_weights


# %% [markdown]
# ## Names
#
# These functions are what the experiment notebooks call. `load_run` is also the door for a reader who wants to play
# with a trained model.

# %%
#| exports
def _dataset(name): return DATASETS[one_of("dataset", name, DATASETS)]

def load_data(dataset, # a key of DATASETS
              split, # "train", "validation" or "test"
              source, # "rendered" or "real"
              items=None, # source items per image modality; None for all
              device="cpu" # where the items are kept
             ): # -> `MultimodalData`
    "A split of a data set by name; `MmvaeError` if real data is asked for and not there."
    d = _dataset(dataset)
    return find(f"{d.module}.{d.make}")(split, source, items=items, device=device)

def make_specs(dataset, # a key of DATASETS
               modalities, # dict: name -> `Modality`
               text_weight=1.0 # a factor on the weights of texts
              ) -> dict: # name -> `ModalitySpec`
    "The networks of a data set."
    specs = find(_dataset(dataset).specs)(modalities)
    texts = [n for n, m in modalities.items() if m.kind == "text"] if text_weight != 1 else []
    return specs | {n: replace(specs[n], weight=text_weight*specs[n].weight) for n in texts}

def make_judge(dataset, # a key of DATASETS
               train, # `MultimodalData` that the judge learns from
               validation, # and the one that says how good it is
               updates, # of each of its classifiers
               width, # channels of their first layer
               device="cpu" # where they are trained
              ):
    "The judge of a data set: `features`, `scores` and `facts` (lesson 03a)."
    judge = find(_dataset(dataset).judge)
    return judge(train, validation, updates=updates, width=width, device=device)


# %%
#| exports
def make_model(method, # a key of METHODS
               specs, # dict: name -> `ModalitySpec`
               latent=20, # latent coordinates
               beta=1.0, # weight of the KL term
               steps=4, # T, where the method has one
               teacher=None # trained teacher, for students
              ):
    "A fresh model of `method`."
    m = METHODS[one_of("method", method, METHODS)]
    cls = find(f"{m.module}.{m.cls}")
    options = {**m.options, **({"steps": steps} if m.uses_steps else {})}
    if not m.teacher: return cls(specs, latent, beta, **options)
    if teacher is None:
        raise MmvaeError(f"teacher: got None, allowed: a trained {m.teacher} for {method}")
    return cls(teacher, **options)


# %% [markdown]
# ## What a run leaves
#
# The record of a run says how it was made, and what its modalities look like. So a model can be read back without its data.

# %%
#| exports
def described(modalities # dict: name -> `Modality`
             ) -> list: # as JSON can hold it
    "Modalities for the record of a run; a vocabulary on one line."
    return [dict(name=m.name, kind=m.kind, shape=list(m.shape),
                 vocabulary=m.vocabulary and json.dumps(m.vocabulary)) for m in modalities.values()]

def _modalities(run):
    "The modalities that a run's record describes; an old record names its data only."
    from mmvae_nb.data import Modality
    p = run["parameters"]
    if "modalities" not in run:
        return load_data(p["dataset"], "validation", p["source"], p["items"]).modalities
    return {m["name"]: Modality(m["name"], m["kind"], tuple(m["shape"]), m["vocabulary"]
            and json.loads(m["vocabulary"])) for m in run["modalities"]}


# %%
#| export
def _shipped(run, method, seed, device):
    "The model that was shipped of this very run, in half precision; None without one."
    from mmvae_nb.pretrained_models import cards, pretrained
    wanted = {"method": method, "seed": seed, **{k: run.get(k) for k in ("updates", "checksum")}}
    loss = round(run.get("validation_loss", float("nan")), 1)   # of another run it is another
    for name, card in cards().items():
        same = all(card.get(k) == v for k, v in wanted.items())
        if same and card["metrics"].get("validation_loss") == loss:
            return pretrained(name, device=resolve_device(device))


# %%
#| exports
def untrained(run # the record of a run
             ): # the model that it began with, but for its random numbers
    "A fresh model like that of a run."
    p = run["parameters"]
    specs = make_specs(p["dataset"], _modalities(run), p.get("text_weight", 1.0))
    how = p["latent"], p["beta"], p["steps"]
    def fresh(m): return m and make_model(m, specs, *how, fresh(METHODS[m].teacher))
    return fresh(p["method"])

def load_run(results, # results folder of a scale, such as "results/quick"
             dataset, # a key of DATASETS
             method, # a key of METHODS
             seed=0, # from 0
             device="cpu", # where the model is wanted
             shipped=False # if its file is gone, take what was shipped of this run (lesson 02j)?
            ): # -> (model, run)
    "A trained model and the record of its run."
    from mmvae_nb.checkpoints import load_weights
    one_of("dataset", dataset, DATASETS); one_of("method", method, METHODS)
    paths = run_paths(results, dataset, method, seed)
    run = read_json(paths["run"])
    if shipped and not paths["weights"].exists() and (m := _shipped(run, method, seed, device)):
        return m, run
    asked = {**run["parameters"], "dataset": dataset, "method": method}
    model = load_weights(untrained({**run, "parameters": asked}), paths["weights"])
    return model.to(resolve_device(device)), run

def load_items(results, # results folder of a scale
               dataset, # a key of DATASETS
               method, # a key of METHODS
               seed # from 0
              ) -> dict: # "metric|condition" -> (items,)
    "The numbers per test item that an evaluation kept."
    import numpy as np
    path = run_paths(results, dataset, method, seed)["items"]
    try:
        with np.load(path) as f: return dict(f)
    except FileNotFoundError as e:
        raise MmvaeError(f"{path}: no such file; `mmvae reproduce` makes it") from e


# %% [markdown]
# A student's file holds its teacher too, so it can be loaded and used on its own. Weights are not
# committed, their records are; so in a fresh clone `shipped=True` finds what lesson 02j ships of the same
# run (same method, seed, updates, data and validation loss), in half precision. A training never asks for it, because a
# teacher rounded to half precision is another teacher. First with fresh weights, saved and read back:

# %%
modalities = load_data("mnist_svhn_text", "validation", "rendered", 200).modalities
specs = default_specs(modalities)
student = make_model("jmvae_student", specs, teacher=make_model("jvae", specs))
with tempfile.TemporaryDirectory() as folder:
    paths = run_paths(folder, "mnist_svhn_text", "jmvae_student", 0)
    save_weights(student, paths["weights"])
    parameters = dict(source="rendered", items=200, latent=20, beta=1., steps=4)
    record = {"parameters": parameters, "modalities": described(modalities)}
    for r in (record, {"parameters": parameters}):            # with and without the modalities
        write_json(paths["run"], r)
        again, _ = load_run(folder, "mnist_svhn_text", "jmvae_student")
        pairs = zip(student.state_dict().values(), again.state_dict().values())
        assert all(torch.equal(a, b) for a, b in pairs)
    run = read_json("../results/quick/runs/mnist_svhn_text-mopoe-0.json")
    run["validation_loss"] = read_json("../weights/mopoe.json")["metrics"]["validation_loss"]
    write_json(run_paths(folder, "mnist_svhn_text", "mopoe", 0)["run"], run)
    shipped, _ = load_run(folder, "mnist_svhn_text", "mopoe", shipped=True)
    assert shipped.card["updates"] == run["updates"]
    for other in ({"updates": 1999}, {"checksum": "another"}, {"validation_loss": 1.}): # other runs
        assert _shipped({**run, **other}, "mopoe", 0, "cpu") is None
assert _modalities(json.loads(json.dumps(record))) == modalities
for bad in [lambda: make_model("mopo", specs), lambda: make_model("jmvae_student", specs),
            lambda: load_data("mnist", "train", "real")]:
    try: bad()
    except MmvaeError as e: print(e)
    else: raise AssertionError("let through")


# %% [markdown]
# ## Rows of a figure
#
# What each of several models makes of the same items, with the same noise, below what was given and the truth: without the first, nobody could see whether the right digit came out.

# %%
#| exports
def legible(modality, # a `Modality`
            x # its items
           ): # -> images, or a list of strings
    "Items of a modality: text as strings, anything else as it is."
    return modality.decode(x) if modality.kind == "text" else x

def generated_rows(models, # dict: label or method -> model
                   data, # a `MultimodalData`
                   batch, # its items to start from
                   given, # name or names of the modalities given
                   to, # name of the modality wanted
                   sample=True # draw z, the same noise for every model, or take the mean?
                  ) -> dict: # rows for a figure: what was given, then the truth, then the models
    "What each model makes of `to` from `given`, below both of the items; text as strings."
    import torch
    given = [given] if isinstance(given, str) else list(given)
    rows = {f"{n}, given": legible(data.modalities[n], batch[n]) for n in given}
    rows["ground truth"] = legible(data.modalities[to], batch[to])
    some = {n: batch[n] for n in given}
    for label, model in models.items():
        g = generator(0, "figure", *given, device=batch[to].device)
        with torch.no_grad(): made = model.generate(some, to=to, sample=sample, generator=g)
        rows[label] = legible(data.modalities[to], made[to])
    return rows


# %%
data = load_data("mnist_svhn_text", "test", "rendered", 200)
batch, _ = data.take(3)
rows = generated_rows({"student": student}, data, batch, ["svhn"], "text")
assert list(rows) == ["svhn, given", "ground truth", "student"]
assert torch.equal(rows.pop("svhn, given"), batch["svhn"])
assert rows["ground truth"] == data.modalities["text"].decode(batch["text"])
rows


# %% [markdown]
# ## A report's door
#
# A report notebook begins with `open_report`: it hands out the runs that the ledger (lesson 14) says the report needs, and takes the figures and tables that the ledger says it
# makes. Anything else is refused, so the ledger is never wrong. Where pictures may not be published, figures go to `private`, and are not shown in the notebook either.

# %%
#| exports
class OpenReport:
    "What a report reads and writes; made by `open_report`."
    def __init__(self, part, dataset, scale, source, results, seeds, items, device):
        self.part, self.dataset, self.scale, self.source = part, dataset, scale, source
        self.root, self.seeds, self.count, self.device = Path(results), seeds, items, device
        self.notebook = REPORTS[part].notebook
        self.private = not may_publish(dataset, source)
        self.note = f"{source} data, scale {scale}"

    def __repr__(self):
        return f"{self.part}: {self.note}, {self.seeds} seed(s), device {self.device}"

    @property
    def methods(self):
        "Those of the report's methods that were evaluated here: a list of keys."
        return [m for m in REPORTS[self.part].methods
                if run_paths(self.root, self.dataset, m, 0)["metrics"].exists()]

    def seeds_of(self, method):
        "The seeds that a method was run with."
        one_of("method", method, METHODS)
        return self._trained(method) if self.seeds is None else seeds_of(method, self.seeds)

    def data(self, split="test"):
        "A split of the report's data."
        return load_data(self.dataset, split, self.source, self.count, self.device)

    def load(self, method, seed=0):
        "A trained model; where its file is gone, what was shipped of the same run."
        return load_run(self.root, self.dataset, method, seed, self.device, shipped=True)[0]

    def beside(self):
        "This report at each scale whose results lie in the same folder, on the same data: by name."
        folders = (p for p in self.root.resolve().parent.iterdir() if (p/"runs").is_dir())
        found = {}
        for folder in sorted(folders):
            there = OpenReport(self.part, self.dataset, folder.name, self.source, folder,
                               None, self.count, self.device)          # whatever seeds there are
            if not there.methods: continue
            if there.runs(there.methods[0])[0]["data"] == self.source: found[folder.name] = there
        return found

    def _trained(self, method):
        at = lambda s: run_paths(self.root, self.dataset, method, s)["run"].exists()
        return list(itertools.takewhile(at, itertools.count()))

    def runs(self, method):
        "What the runs of a method recorded: a list, one dict for each seed that there is."
        there = self._trained(method) or [0]                       # without any the first says so
        return [read_json(run_paths(self.root, self.dataset, method, s)["run"])
                for s in self.seeds_of(method) if s in there]

    def judges(self):
        "What the judges' job recorded: `facts` and `references`."
        return read_json(self.root/"runs"/f"{self.dataset}-judges.json")

    def records(self):
        "Every number of the report's methods and seeds: a DataFrame, one row for each seed."
        rows = metric_rows(self.root)
        rows = rows[(rows.dataset == self.dataset) & rows.method.isin(self.methods)]
        kept = [r.seed in self.seeds_of(r.method) for r in rows.itertuples()]
        columns = ["dataset", "method", "seed", "metric", "condition", "value", "n", "floor"]
        return rows.loc[kept, [*columns, "features"]].reset_index(drop=True)

    def talk(self):
        "The rows of `talk.csv` on the report's data set, made anew from the records."
        table = talk_rows(self.root)
        return table[table.dataset == self.dataset]

    def items(self, method, seed=0):
        "The numbers per test item: a dict, \"metric|condition\" -> vector."
        return load_items(self.root, self.dataset, method, seed)

    @cached_property
    def modalities(self):
        "The data set's modalities: a dict, name -> `Modality`."
        return _modalities(self.runs(self.methods[0])[0])

    def title(self, name):
        "A modality's name in a heading: MNIST, SVHN, Text."
        record = self.runs(self.methods[0])[0]
        kinds = {m["name"]: m["kind"] for m in record.get("modalities", [])}
        kinds = kinds or dict(mnist="image", svhn="image", text="text")   # an old record has none
        if name not in kinds: return str(name)
        return name.upper() if kinds[name] == "image" else name.capitalize()

    def show(self, name, x):
        "Items of a modality as a figure wants them: text as strings."
        return legible(self.modalities[one_of("modality", name, self.modalities)], x)

    def save(self, figure, name):
        "Save a figure as NAME.png; where it may not be published, in `private`, and unseen."
        from mmvae_nb.plotting import plt, save_figure
        one_of(f"figure of report {self.part}", name, REPORTS[self.part].figures)
        path = save_figure(figure, self.root/figure_folder(self.dataset, self.source)/f"{name}.png")
        if self.private: plt.close(figure)
        return path

    def table(self, frame, name, **to_csv):
        "Save a DataFrame as tables/NAME.csv, without its index by default."
        one_of(f"table of report {self.part}", name, REPORTS[self.part].tables)
        with atomic_path(self.root/"tables"/f"{name}.csv") as tmp:
            frame.to_csv(tmp, **{"index": False, "float_format": "%.6g", **to_csv})
        return frame


# %%
#| exports
def open_report(part, # a key of REPORTS
                dataset, # a key of DATASETS
                scale, # name of the scale, for the note below figures
                source, # "rendered" or "real"
                results, # results folder of the scale, such as "results/quick"
                seeds, # how many seeds were run
                items=None, # source items per image modality; None for all
                device="cpu" # where models and data are wanted
               ) -> OpenReport:
    "A report's runs, data and the files that it may write."
    one_of("part", part, REPORTS); one_of("dataset", dataset, DATASETS)
    one_of("source", source, ["rendered", "real"])
    seeds = in_range("seeds", seeds, low=1, whole=True)
    show_names()
    return OpenReport(part, dataset, scale, source, results, seeds, items, resolve_device(device))


# %% [markdown]
# ## Compared on the same seeds
#
# A difference between two methods is a difference between runs that share their seed: the same pairs, the same items, and where one method is taught by the other, the same
# teacher. Means over different seeds are never compared.

# %%
#| exports
def matched(records, # DataFrame of `OpenReport.records`
            a, b, # keys of METHODS
            metric, # such as "fid"
            condition, # such as "svhn->mnist"; of several the mean
            condition_b=None # of `b`, where it is another
           ): # -> DataFrame: index the seeds that both have, columns `a` and `b`
    "The values of two methods, seed by seed; `MmvaeError` without a seed that both have."
    import pandas as pd
    def values(m, wanted):
        wanted = [wanted] if isinstance(wanted, str) else list(wanted)
        r = records[(records.method == m) & (records.metric == metric)]
        r = r[r.condition.isin(wanted)].pivot_table("value", "seed", "condition")
        return r.reindex(columns=wanted).dropna().mean(axis=1)
    pair = {a: values(a, condition), b: values(b, condition_b or condition)}
    table = pd.concat(pair, axis=1, join="inner")
    if len(table): return table
    got = "; ".join(f"{m}: {sorted(v.index) or 'none'}" for m, v in pair.items())
    raise MmvaeError(f"seeds: got {got} for {metric} {condition}, allowed: at least one in common")

def difference(records, # DataFrame of `OpenReport.records`
               a, b, # keys of METHODS
               metric, # such as "fid"
               condition, # such as "svhn->mnist"; of several the mean
               sign=1, # -1 where lower is better
               condition_b=None # of `b`, where it is another
              ) -> dict: # better by, low, high, seeds, verdict
    "By how much `a` is ahead of `b`: mean and Student's t over the seeds that both have."
    both = matched(records, a, b, metric, condition, condition_b)
    mean, low, high, n = seed_interval(sign*(both[a] - both[b]))
    verdict = "supported" if low > 0 else "contradicted" if high < 0 else "open"  # nan: open
    return {"better by": mean, "low": low, "high": high, "seeds": n, "verdict": verdict}

def on_shared_seeds(records, # DataFrame of `OpenReport.records`
                    *methods # keys of METHODS
                   ): # -> DataFrame
    "The records of some methods on the seeds that all of them have; `MmvaeError` if there is none."
    found = {m: set(records.seed[records.method == m]) for m in methods}
    shared = set.intersection(*found.values()) if found else set()
    if not shared:
        got = "; ".join(f"{m}: {sorted(s) or 'none'}" for m, s in found.items())
        raise MmvaeError(f"seeds: got {got}, allowed: at least one in common")
    return records[records.method.isin(methods) & records.seed.isin(shared)]


# %%
def kept(method, seed, *values):
    rows = [dict(metric="fid", condition=c, value=v, n=10) for c, v in zip(("a", "b"), values)]
    write_json(run_paths(folder, "cub", method, seed)["metrics"], dict(
        dataset="cub", method=method, seed=seed, data="rendered", device="cpu", rows=rows))

with tempfile.TemporaryDirectory() as folder:
    for s in range(3): kept("mopoe", s, s + 1., s + 3.)
    kept("jvae", 0, 5., 6.); kept("jvae", 1, 7.)
    report = open_report("cub", "cub", "smoke", "rendered", folder, 2)
    records, found = report.records(), report.methods
    with tempfile.TemporaryDirectory():
        report.table(records, "cub")
        written = (Path(folder)/"tables"/"cub.csv").exists()
    for bad in [lambda: report.table(records, "birds"), lambda: report.save(None, "slide_39"),
                lambda: open_report("slides", "cub", "smoke", "real", folder, 1),
                lambda: matched(records, "mopoe", "iterative", "fid", "a")]:
        try: bad()
        except MmvaeError as e: print(e)
        else: raise AssertionError("let through")
assert found == ["mopoe", "jvae"] and sorted(set(records.seed)) == [0, 1] and written
both = matched(records, "mopoe", "jvae", "fid", ["a", "b"])
assert both.to_dict("list") == {"mopoe": [2.], "jvae": [5.5]} and list(both.index) == [0]
assert matched(records, "mopoe", "jvae", "fid", "a").jvae.tolist() == [5., 7.]
ahead = difference(records, "mopoe", "jvae", "fid", "a", sign=-1)         # by 4 and by 5 nats
assert ahead["better by"] == 4.5 and ahead["seeds"] == 2 and ahead["verdict"] == "open"
assert abs(ahead["high"] - 4.5 - 12.706*.5) < 1e-3                          # t of 1 degree: 12.7
assert difference(records, "mopoe", "jvae", "fid", "b", -1)["verdict"] == "open"   # one seed
assert set(on_shared_seeds(records[records.condition == "b"], "mopoe", "jvae").seed) == {0}
both

# %% [markdown]
# ## Recap
#
# A name is all that an experiment notebook needs. `load_run` gives a trained model and its record; `open_report` a report's runs and files; `matched` two methods on the seeds that both have.
