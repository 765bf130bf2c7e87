# %% [markdown]
# # Reproduce
#
# > What runs, with what, and where the results go: one table, read by one Snakefile.
#
# ::: {.callout-note}
# ## You will learn
#
# - the scales (`smoke`, `quick`, `real`, `paper`) and what each of them fixes;
# - how the experiments depend on one another, and why a second run does nothing;
# - how to read our numbers beside the talk's, and how to load any trained model.
#
# Runs in a few seconds; the experiments themselves take minutes (`quick`) to hours (`paper`).
# :::
#
# Everything is started from the command line:
#
# | command | what it does |
# |---|---|
# | `make run` | the headline comparison (slides 36-38) at scale `quick` |
# | `make reproduce SCALE=real` | all parts, on the real data found through `MMVAE_DATA` |
# | `make table SCALE=real` | the table beside the talk's numbers, with the paths of the figures |
# | `make data` | which data were found |

# %%
#| default_exp reproduce

# %%
#| export
import argparse, contextlib, dataclasses, importlib.util, json, os
import re, shutil, subprocess, sys, time
from dataclasses import dataclass
from pathlib import Path
from mmvae_nb.core import *

# %% [markdown]
# ## The talk's numbers
#
# The talk reports 52 numbers, on slides 37, 38, 40, 64, 65 and 68. They stand here once, and everything that
# compares with them reads them from here. The talk names its JVAE-taught student "JMVAE stu.".

# %%
#| exports
_methods = ("mopoe", "jmvae_student", "iterative_student")
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
def talk_numbers():
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
# ## Scales
#
# A scale fixes everything that costs time. `budget` is in core-minutes for training one model; runs record
# what they took, so a budget that is not kept shows. Settings were chosen on the validation split. ($T$ is the number of refinements of lesson 15.)

# %%
#| exports
@dataclass(frozen=True)
class Scale:
    "What a run costs: sizes, updates, and the data it asks for."
    source: str # "rendered" or "real" data
    items: int | None # source items per image modality; None for all
    updates: int # of each generative model
    student_updates: int # of distillation
    refiner_updates: int # of a refiner on frozen decoders
    study_updates: int # of the short trainings that compare values of T
    batch_size: int # items per update
    steps: int # T of the iterative teacher
    seeds: int # how many, from 0
    probe_points: int # training points of the linear probe
    samples: int # test items for FID, coherence, KL and ELBO
    judge_updates: int # of the digit classifiers
    judge_width: int # channels of their first layer
    budget: float # core-minutes for training one model
    lr: float = 2e-3 # peak learning rate, one cycle
    latent: int = 20 # latent coordinates
    beta: float = 1.0 # weight of the KL term
    precision: str = "float32" # or "bf16"
    oracle_items: int = 250 # test items that get a free Gaussian each, on the JVAE's decoders
    device: str = "auto"


# %%
#| exports
SCALES = {
    "smoke": Scale("rendered", 200, 3, 3, 3, 2, 16, 2, 1, 100, 80, 10, 16, 1, device="cpu"),
    "quick": Scale("rendered", None, 2000, 800, 600, 200, 32, 3, 1, 3000, 800, 400, 16, 8),
    "real": Scale("real", None, 2800, 1600, 2400, 400, 64, 4, 3, 5000, 1500, 800, 32, 40),
    "paper": Scale("real", None, 40000, 20000, 20000, 5000, 256, 4, 3, 5000, 10000, 4000, 32, 600,
                   precision="bf16"),
}


# %% [markdown]
# ## Methods
#
# A method is a class with options; students have a teacher. One entry here is all a new method needs.

# %%
#| exports
@dataclass(frozen=True)
class Method:
    "A model is `module.cls(specs, latent, beta, **options)`, or `cls(teacher, **options)`."
    module: str # module of this package
    cls: str # class or function in it
    teacher: str | None = None # method of the trained model it is made from
    options: dict = dataclasses.field(default_factory=dict)
    uses_steps: bool = False # does it take the scale's T?
    updates: str = "updates" # the field of `Scale` that says how long it is trained
    one_seed: bool = False # is one seed enough?


# %%
#| exports
_students = dict(module="distillation", cls="Students", updates="student_updates")
_refined = dict(module="multimodal_iterative", cls="on_decoders", teacher="jmvae_student",
                uses_steps=True, updates="refiner_updates")
_study = dict(module="multimodal_iterative", updates="study_updates", one_seed=True)
METHODS = {
    "mopoe": Method("mopoe", "MoPoE"),
    "jvae": Method("multimodal_elbo", "JVAE"),
    "jmvae_student": Method(**_students, teacher="jvae"),
    "jmvae": Method("jmvae", "JMVAE", options={"alpha": 0.1}),
    "mvtcae": Method("mvtcae", "MVTCAE"),
    "mvtcae_student": Method(**_students, teacher="mvtcae"),
    "iterative": Method("multimodal_iterative", "IterativeTeacher", uses_steps=True),
    "iterative_student": Method(**_students, teacher="iterative"),
    # on the JVAE's decoders: only inference differs
    "refined": Method(**_refined),
    "refined_marino": Method(**_refined, options={"refiner": "marino"}, one_seed=True),
    "refined_student": Method(**_students, teacher="refined", one_seed=True),
    # how many iterations, at test and at training
    "iterative_student_over_t": Method(**_study, cls="StudentsOverT", teacher="iterative"),
    "iterative_student_to_10": Method(**_study, cls="StudentsOverT", teacher="iterative",
                                      options={"over": (1, 2, 10)}),
    **{f"iterative_t{t}": Method(**_study, cls="IterativeTeacher", options={"steps": t})
       for t in (1, 2, 4, 8)},
}

# %% [markdown]
# A part of the experiments is a list of methods, and the report that shows them.

# %%
#| exports
_all = ["mopoe", "jvae", "jmvae_student", "jmvae", "mvtcae", "mvtcae_student", "iterative",
        "iterative_student", "refined", "refined_student"]
_compared = ["mopoe", "jvae", "jmvae_student", "iterative", "iterative_student"]
PARTS = { # name -> methods, and the report that shows them
    "headline": (_compared, "headline"),
    "mnist_svhn_text": (_all, "mnist_svhn_text"),
    "products_of_students": (["mopoe", "jmvae_student", "mvtcae", "mvtcae_student",
                              "iterative_student"], "products_of_students"),
    "teacher_student_kl": (["jvae", "jmvae_student", "mvtcae_student", "iterative",
                            "iterative_student", "refined", "refined_student"],
                           "teacher_student_kl"),
    "gap_decomposition": (["jvae", "refined", "refined_marino", "jmvae_student",
                           "refined_student"], "gap_decomposition"),
    "iterations": (["iterative", "iterative_student", "iterative_student_over_t",
                    *[f"iterative_t{t}" for t in (1, 2, 4, 8)]], "iterations"),
    "distillation_variants": (["iterative"], "distillation_variants"),
    "benchmarks": (_all, "benchmarks"),
    "cub": (_compared, "cub"),
    "celeba": (["mopoe", "mvtcae", "jvae", "jmvae_student", "iterative", "iterative_student",
                "iterative_student_to_10"], "celeba"),
}

# %% [markdown]
# | part | shows | slides |
# |---|---|---|
# | [`headline`](experiments/headline.ipynb) | MoPoE, JMVAE student, iterative student | 36-38 |
# | [`mnist_svhn_text`](experiments/mnist_svhn_text.ipynb) | every method, all directions, text, teachers; parameters, updates, seconds | 36-38, 44-49 |
# | [`products_of_students`](experiments/products_of_students.ipynb) | two modalities given, both kinds of product | 61-65 |
# | [`teacher_student_kl`](experiments/teacher_student_kl.ipynb) | the hypotheses with intervals, and why the KL is what it is | 33, 66-69 |
# | [`gap_decomposition`](experiments/gap_decomposition.ipynb) | joint encoder, refiners, gradient ascent and oracle on the same decoders | 21-31 |
# | [`iterations`](experiments/iterations.ipynb) | T at test and at training, teacher and student | 53-58 |
# | [`distillation_variants`](experiments/distillation_variants.ipynb) | warm start, direction of the KL, wider students, validation split | 42 |
# | [`benchmarks`](experiments/benchmarks.ipynb) | what each method costs | |
# | [`cub`](experiments/cub.ipynb) | birds and captions (lesson 16) | 39, 40, 60, 68 |
# | [`celeba`](experiments/celeba.ipynb) | faces and attribute text (lesson 17) | 50-52, 59 |
#
# Two comparisons run through them. *Own decoders*: each method trains its own generative model, as in the talk. *Same decoders*: `refined` puts
# starts and a refiner on the JVAE's frozen decoders, `refined_student` is distilled from it, and only inference differs from the JVAE and
# its students.

# %%
assert {m.teacher for m in METHODS.values()} - {None} <= set(METHODS)
assert all(set(methods) <= set(METHODS) for methods, _ in PARTS.values())
{name: (s.source, s.updates, s.batch_size, s.steps, s.budget) for name, s in SCALES.items()}


# %% [markdown]
# ## Data sets
#
# A data set brings a function that loads a split, its networks, its judge and its parts. It may also ask for other settings than
# the scale's, where its items are larger or fewer. The notebooks that train and evaluate know none of this: they ask here.

# %%
#| exports
@dataclass(frozen=True)
class Dataset:
    "Where a data set's functions are, and what differs from the scale."
    module: str # module of this package
    make: str # function in it: split, source, items, device -> `MultimodalData`
    parts: tuple # keys of PARTS
    specs: str = "networks.default_specs" # function that makes the networks
    judge: str = "judges.classes.ClassJudge" # its judge
    settings: dict = dataclasses.field(default_factory=dict) # scale, or "*": {field: value}
    private: bool = False # may pictures made from the real items not be published?


# %%
#| exports
_large = dict(latent=64, lr=4e-3, oracle_items=0)                      # 64 x 64 images
_real = dict(updates=1600, student_updates=800, batch_size=32, steps=3, lr=3e-3, seeds=1,
             judge_updates=600, judge_width=16)
_digit_parts = tuple(p for p in PARTS if p not in ("cub", "celeba"))
DATASETS = {
    "mnist_svhn_text": Dataset("datasets.digits", "mnist_svhn_text", _digit_parts),
    "cub": Dataset("datasets.birds", "cub", ("cub",), "text.cub_specs", "judges.birds.BirdJudge", {"*": _large,
        "quick": dict(updates=1600, student_updates=1200, samples=500),
        "real": {**_real, "updates": 2400, "student_updates": 3000, "samples": 675}}),
    "celeba": Dataset("datasets.faces", "celeba", ("celeba",), "text.celeba_specs", "judges.faces.FaceJudge", {"*": _large,
        "quick": dict(updates=1000, student_updates=500, samples=800),
        "real": {**_real, "updates": 1000, "student_updates": 500, "study_updates": 150,
                 "samples": 800}}, private=True),
}

def scale_of(scale, # a key of SCALES
             dataset # a key of DATASETS
            ) -> Scale:
    "The scale with the settings that the data set asks for."
    d = DATASETS[one_of("dataset", dataset, DATASETS)]
    settings = {**d.settings.get("*", {}), **d.settings.get(scale, {})}
    return dataclasses.replace(SCALES[one_of("scale", scale, SCALES)], **settings)


# %%
assert sorted(p for d in DATASETS.values() for p in d.parts) == sorted(PARTS)  # each in one set
assert scale_of("real", "mnist_svhn_text") == SCALES["real"]
assert scale_of("real", "cub").latent == 64
{name: (d.module, d.judge, d.parts) for name, d in DATASETS.items()}


# %% [markdown]
# ## From names to objects
#
# These functions are what the experiment notebooks call. `load_run` is also the door for a reader who wants to play
# with a trained model.

# %%
#| exports
def _of_dataset(dataset, name):
    "A function or class that a data set names."
    module, called = getattr(DATASETS[one_of("dataset", dataset, DATASETS)], name).rsplit(".", 1)
    return getattr(importlib.import_module(f"mmvae_nb.{module}"), called)

def load_data(dataset, split, source, items=None, device="cpu"):
    "A split of a data set by name."
    d = DATASETS[one_of("dataset", dataset, DATASETS)]
    return getattr(importlib.import_module(f"mmvae_nb.{d.module}"), d.make)(split, source, items=items, device=device)

def make_specs(dataset, modalities):
    "The networks of a data set: name -> `ModalitySpec`."
    return _of_dataset(dataset, "specs")(modalities)

def make_judge(dataset, train, validation, updates, width, device="cpu"):
    "The judge of a data set: `features`, `scores` and `facts` (lesson 07)."
    judge = _of_dataset(dataset, "judge")
    return judge(train, validation, updates=updates, width=width, device=device)


# %%
#| exports
def make_model(method, # a key of METHODS
               specs, # dict: name -> `ModalitySpec`
               latent=20, beta=1.0,
               steps=4, # T, where the method has one
               teacher=None # trained teacher, for students
              ):
    "A fresh model of `method`."
    m = METHODS[one_of("method", method, METHODS)]
    cls = getattr(importlib.import_module(f"mmvae_nb.{m.module}"), m.cls)
    options = {**m.options, **({"steps": steps} if m.uses_steps else {})}
    if not m.teacher: return cls(specs, latent, beta, **options)
    if teacher is None:
        raise MmvaeError(f"teacher: got None, allowed: a trained {m.teacher} for {method}")
    return cls(teacher, **options)


# %%
#| exports
def run_paths(results, # results folder of a scale, such as "results/quick"
              dataset, method, seed) -> dict:
    "Where a run keeps its weights, record and metrics."
    stem, results = f"{dataset}-{method}-{seed}", Path(results)
    weights, runs = results/"weights", results/"runs"
    return {"weights": weights/f"{stem}.safetensors", "run": runs/f"{stem}.json",
            "metrics": runs/f"{stem}-metrics.json", "items": weights/f"{stem}-items.npz"}

def load_run(results, dataset, method, seed=0, device="cpu"):
    "A trained model and the record of its run: (model, run)."
    from mmvae_nb.checkpoints import load_weights
    one_of("dataset", dataset, DATASETS); one_of("method", method, METHODS)
    paths = run_paths(results, dataset, method, seed)
    run = read_json(paths["run"]); p = run["parameters"]
    data = load_data(dataset, "validation", p["source"], p["items"])
    specs, how = make_specs(dataset, data.modalities), (p["latent"], p["beta"], p["steps"])
    def fresh(m): return m and make_model(m, specs, *how, fresh(METHODS[m].teacher))
    model = fresh(method)
    return load_weights(model, paths["weights"]).to(resolve_device(device)), run


# %%
#| exports
def _legible(data, name, x):
    "Items of modality `name`: text as strings, images as they are."
    return data.modalities[name].decode(x) if data.modalities[name].kind == "text" else x

def generated_rows(models, # dict: label or method -> model
                   data, # a `MultimodalData`
                   batch, # its items to start from
                   given, # name or names of the modalities given
                   to, # name of the modality wanted
                   sample=True # draw z, the same noise for every model, or take the mean?
                  ) -> dict: # rows for a figure: the truth first
    "What each model makes of `to` from `given`, with the true items on top; text as strings."
    import torch
    given = [given] if isinstance(given, str) else list(given)
    rows = {"ground truth": _legible(data, to, batch[to])}
    some = {n: batch[n] for n in given}
    for label, model in models.items():
        g = generator(0, "figure", *given, device=batch[to].device)
        with torch.no_grad(): made = model.generate(some, to=to, sample=sample, generator=g)
        rows[label] = _legible(data, to, made[to])
    return rows


# %%
#| exports
def load_items(results, dataset, method, seed) -> dict: # "metric|condition" -> (items,)
    "The numbers per test item that an evaluation kept."
    import numpy as np
    path = run_paths(results, dataset, method, seed)["items"]
    try:
        with np.load(path) as f: return dict(f)
    except FileNotFoundError as e:
        raise MmvaeError(f"{path}: no such file; `mmvae reproduce` makes it") from e


# %% [markdown]
# A student's file holds its teacher too, so it can be loaded and used on its own. Here with fresh
# weights, saved and read back:

# %%
import tempfile
import torch
from mmvae_nb.networks import default_specs
from mmvae_nb.checkpoints import save_weights

# %%
specs = default_specs(load_data("mnist_svhn_text", "validation", "rendered", 200).modalities)
student = make_model("jmvae_student", specs, teacher=make_model("jvae", specs))
with tempfile.TemporaryDirectory() as folder:
    paths = run_paths(folder, "mnist_svhn_text", "jmvae_student", 0)
    save_weights(student, paths["weights"])
    parameters = dict(source="rendered", items=200, latent=20, beta=1., steps=4)
    write_json(paths["run"], {"parameters": parameters})
    again, _ = load_run(folder, "mnist_svhn_text", "jmvae_student")
pairs = zip(student.state_dict().values(), again.state_dict().values())
assert all(torch.equal(a, b) for a, b in pairs)
for bad in [lambda: make_model("mopo", specs), lambda: make_model("jmvae_student", specs),
            lambda: load_data("mnist", "train", "real")]:
    try: bad()
    except MmvaeError as e: print(e)
    else: raise AssertionError("let through")


# %% [markdown]
# ## Jobs
#
# A job is one notebook of `nbs/experiments/`, run by papermill with some parameters: papermill puts a cell with their values after the one that is tagged
# `parameters`, runs all cells and keeps the copy. Jobs hang together by their files. This is the graph of the part `headline` with one seed; every evaluation
# needs one more job, `judges`, which trains the classifiers of lesson 07:
#
# ```
# mopoe-train ────────────────────────────────── mopoe-evaluate ───────────────┐
# jvae-train ──────┬──────────────────────────── jvae-evaluate ────────────────┤
#                  └─ jmvae_student-train ────── jmvae_student-evaluate ───────┤
# iterative-train ─┬──────────────────────────── iterative-evaluate ───────────┤
#                  └─ iterative_student-train ── iterative_student-evaluate ───┴─ headline-report
# ```
#
# A job knows its input and
# output files, so a build tool can tell what is out of date. Besides the results of other jobs, a job
# depends on its notebook and on the source of the modules it uses, *directly or through others*: a
# changed lesson on MoPoE retrains MoPoE and redraws what shows it, and leaves the rest alone. What this very lesson
# says reaches a job through its parameters.

# %%
#| exports
@dataclass(frozen=True)
class Job:
    "One notebook run: what it is called, what it takes and what it makes."
    name: str
    notebook: str # file name in nbs/experiments, without ending
    parameters: dict
    inputs: tuple # files that must exist and be older
    outputs: tuple # files it makes

def _package():
    "The folder of this package's modules."
    return Path(importlib.util.find_spec("mmvae_nb").origin).parent

def _imports(module):
    "Modules of this package that `module` imports, directly or not, itself included."
    found, todo = set(), [module]
    while todo:
        m = todo.pop()
        if m in found: continue
        found.add(m)
        text = (_package()/f"{m.replace('.', '/')}.py").read_text(encoding="utf-8")
        up = m.count(".") + 1
        todo += re.findall(rf"^from \.{{{up}}}(\w[\w.]*) import", text, re.M)
    return found

def _sources(notebook, modules):
    "The files whose change makes a job's result outdated."
    package = Path(os.path.relpath(_package()))
    names = sorted(set().union(*[_imports(m) for m in modules]))
    return (f"nbs/experiments/{notebook}.ipynb", *[str(package/f"{m.replace('.', '/')}.py") for m in names])


# %%
#| exports
def jobs_for(scale, # a key of SCALES
             dataset="mnist_svhn_text", # a key of DATASETS
             part=None, # a key of PARTS, or "all"; the data set's first by default
             seeds=None, # how many; the scale's number by default
             methods=None, # only these methods (and their teachers), without a report
             results="results", # folder above the scales
             device=None # the scale's by default
            ) -> list: # of `Job`s, in an order that works
    "The experiments of a part at a scale."
    s, d = scale_of(scale, dataset), DATASETS[dataset]
    one_of("part", part or d.parts[0], [*d.parts, "all"])
    seeds = s.seeds if seeds is None else in_range("seeds", seeds, low=1, whole=True)
    root, device = Path(results)/scale, device or s.device
    parts = list(d.parts) if part == "all" else [part or d.parts[0]]
    wanted = list(methods or dict.fromkeys(m for p in parts for m in PARTS[p][0]))
    for m in wanted: one_of("method", m, METHODS)
    wanted = list(dict.fromkeys(t for m in wanted for t in [*_teachers(m), m]))
    common = dict(dataset=dataset, source=s.source, items=s.items, results=str(root), device=device)
    judges = Job(f"{dataset}-judges", "judges",
                 {**common, "updates": s.judge_updates, "width": s.judge_width},
                 _sources("judges", ["metrics", d.module]),
                 (str(root/"runs"/f"{dataset}-judges.json"),))
    jobs = [judges]
    for m in wanted:
        for seed in seeds_of(m, seeds):
            jobs += _model_jobs(s, root, common, dataset, m, seed, judges)
    if methods: return jobs
    return jobs + [_report_job(root, {**common, "scale": scale, "seeds": seeds, "part": p})
                   for p in parts]


# %%
#| exports
def _report_job(root, parameters):
    "Show a part, once all of its methods are evaluated."
    dataset, seeds, part = (parameters[k] for k in ("dataset", "seeds", "part"))
    methods, notebook = PARTS[part]
    evaluated = [str(run_paths(root, dataset, m, i)["metrics"])
                 for m in methods for i in seeds_of(m, seeds)]
    modules = [DATASETS[dataset].module, "metrics", "plotting", "distillation",
               *{METHODS[m].module for m in methods}]
    figures = figure_folder(root, dataset, parameters["source"])
    place = lambda f: figures/Path(f).name if f.startswith("figures/") else root/f
    return Job(f"{dataset}-{part}-report", notebook, parameters,
               (*evaluated, *_sources(notebook, modules)),
               tuple(str(place(f)) for f in _report_files[part]))


# %%
#| exports
def figure_folder(results, dataset, source):
    "Where a report's figures go: `private`, which git ignores, if they may not be published."
    private = DATASETS[dataset].private and source == "real"
    return Path(results)/("private" if private else "figures")

def _teachers(method):
    "The teacher of a method, preceded by its own teacher, and so on."
    t = METHODS[method].teacher
    return [*_teachers(t), t] if t else []

def seeds_of(method, seeds): # of `seeds` seeds, those that `method` is run with
    "The seeds of a method: 0, 1, ..."
    return range(1 if METHODS[method].one_seed else seeds)


# %%
#| exports
def _slides(*named): return [f"figures/slide_{n}_{what}.png" for n, what in named]

_report_files = {
    "headline": ["tables/headline.csv", "figures/slide_36_cross_modal.png",
                 "figures/headline_nelbo_over_t.png"],
    "mnist_svhn_text": ["tables/mnist_svhn_text.csv", "tables/methods.csv",
                        *_slides((36, "all_methods")),
                        *_slides(*((n, "cross_modal") for n in range(44, 50)))],
    "products_of_students": ["tables/products_of_students.csv",
                             *_slides(*((n, "two_given") for n in (61, 62, 63)))],
    "teacher_student_kl": ["tables/hypotheses.csv", "figures/teacher_student_kl.png"],
    "gap_decomposition": ["tables/gap_decomposition.csv", "figures/gap_decomposition.png",
                          "figures/refiners_over_t.png"],
    "iterations": ["tables/iterations.csv", "figures/iterations_over_t.png",
                   "figures/iterations_at_training.png",
                   *_slides(*((n, f"over_t_{who}") for n in range(53, 59)
                              for who in ("teacher", "student")))],
    "distillation_variants": ["tables/distillation_variants.csv"],
    "benchmarks": ["tables/benchmarks.csv"],
    "cub": ["tables/cub.csv", *_slides((39, "text_to_image"), (60, "captions"))],
    "celeba": ["tables/celeba.csv", *_slides(
        (50, "methods"), (51, "over_t_text_to_image"), (52, "over_t_image_to_text"),
        (59, "image_to_text"))],
}


# %%
#| exports
def _model_jobs(s, root, common, dataset, method, seed, judges):
    "Train and evaluate one method with one seed."
    m = METHODS[method]
    paths = {k: str(v) for k, v in run_paths(root, dataset, method, seed).items()}
    teacher = [str(run_paths(root, dataset, m.teacher, seed)["weights"])] if m.teacher else []
    modules = ["training", DATASETS[dataset].module,
               *[METHODS[t].module for t in [*_teachers(method), method]]]
    common = {**common, "method": method, "seed": seed}
    train = {k: getattr(s, k) for k in ("batch_size", "lr", "latent", "beta", "steps", "precision",
                                        "budget")}
    train = {**common, "updates": getattr(s, m.updates), **train,
             "settings": json.dumps(dataclasses.asdict(m), sort_keys=True)}
    evaluate = {**common, **{k: getattr(s, k) for k in (
        "probe_points", "samples", "oracle_items", "judge_updates", "judge_width")}}
    learnt, stem = (paths["weights"], paths["run"]), f"{dataset}-{method}-{seed}"
    used = _sources("evaluate", [*modules, "metrics", "iterative_inference"])
    return [Job(f"{stem}-train", "train", train, (*teacher, *_sources("train", modules)), learnt),
            Job(f"{stem}-evaluate", "evaluate", evaluate, (*learnt, *judges.outputs, *used),
                (paths["metrics"], paths["items"]))]


# %% [markdown]
# An order that works means: whatever a job needs of another job was made before it. And a change
# of the MoPoE lesson must not reach the JVAE's training:

# %%
jobs = jobs_for("quick"); made = set()
for job in jobs:
    needs = {f for f in job.inputs if f.startswith("results")}
    assert needs <= made, (job.name, needs - made); made |= set(job.outputs)
inputs = {j.name: j.inputs for j in jobs}
def depends(job, module):
    return any(f.endswith(f"/{module}.py") for f in inputs[f"mnist_svhn_text-{job}"])
assert depends("mopoe-0-train", "mopoe") and not depends("jvae-0-train", "mopoe")
assert depends("iterative_student-0-train", "iterative_inference")
assert not depends("jmvae_student-0-train", "iterative_inference")
assert len(made) == sum(len(j.outputs) for j in jobs)                      # no file is made twice
[j.name for j in jobs]


# %% [markdown]
# ## Running one job
#
# papermill executes the notebook; the executed copy is kept beside the results, where the site finds it. What a report
# printed is kept a second time, without pictures, in `reports`, to be committed. When a cell fails, the error's last line is
# passed on and the rest stays in the copy whose name ends in `.failed.ipynb`.

# %%
#| exports
def run_job(job, # a `Job`
            results # results folder of the scale
           ):
    "Execute a job's notebook; `MmvaeError` with the failing cell's message."
    import logging, warnings
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import papermill
    executed = Path(results)/"executed"/f"{job.name.split('-', 1)[1]}.ipynb"
    failed = executed.with_suffix(".failed.ipynb")
    with _status_file(Path(results).resolve()/"status"/f"{job.name}.json"):
        write_status(state="running", text="starting")
        try:
            with atomic_path(executed.with_suffix(".part.ipynb")) as tmp:
                with contextlib.suppress(OSError): failed.unlink()
                try: _execute(f"nbs/experiments/{job.notebook}.ipynb", tmp, job.parameters)
                except papermill.PapermillExecutionError as e:
                    shutil.copyfile(tmp, failed)
                    raise _JobFailed(e.ename, e.evalue) from e
                _tidy(tmp, executed)
            if job.name.endswith("-report"):
                _keep_words(executed, Path(results)/"reports"/f"{job.notebook}.ipynb")
        except Exception as e:
            ours = isinstance(e, (_JobFailed, MmvaeError))
            message = str(e) if ours else f"{type(e).__name__}: {e}"
            write_status(state="failed", error=message); raise MmvaeError(message) from None
        finally: executed.with_suffix(".part.ipynb").unlink(missing_ok=True)
        write_status(state="done")


# %%
#| exports
@contextlib.contextmanager
def _status_file(path):
    "Within: this process, and those it starts, report to `path`."
    before = os.environ.get("MMVAE_STATUS")
    os.environ["MMVAE_STATUS"] = str(path)
    try: yield
    finally:
        del os.environ["MMVAE_STATUS"]
        if before: os.environ["MMVAE_STATUS"] = before


# %%
#| exports
def _execute(source, target, parameters):
    "Run a notebook by papermill; a kernel that doesn't start gets a second chance."
    import papermill
    for last in (False, True):
        try: return papermill.execute_notebook(
            source, target, parameters=parameters, kernel_name="python3", language="python",
            progress_bar=False, cwd=".")
        except RuntimeError as e:     # two kernels that start at once can be given the same port
            started = not re.search("before replying|didn't respond", str(e))
            if last or started: raise

class _JobFailed(Exception):
    def __str__(self):
        name, value = self.args
        first = value.strip().splitlines()[0] if value.strip() else ""
        return first if name == "MmvaeError" else f"{name}: {first}"

def _tidy(source, target):
    "Keep an executed notebook without papermill's traces and without progress bars."
    import nbformat
    nb = nbformat.read(source, 4)
    nb.metadata.pop("papermill", None)
    for c in nb.cells:
        c.metadata = {k: v for k, v in c.metadata.items() if k == "tags" and v}
        if c.cell_type == "code":
            noise = lambda o: o.output_type == "stream" and o.name == "stderr"
            c.outputs = [o for o in c.outputs if not noise(o)]
    with atomic_path(target) as tmp: nbformat.write(nb, tmp)

def _keep_words(source, target):
    "Keep what a report printed, small enough to commit: its pictures lie in `figures`."
    import nbformat
    nb = nbformat.read(source, 4)
    shown = lambda o: any(kind.startswith("image/") for kind in o.get("data", {}))
    for c in nb.cells:
        if c.cell_type == "code": c.outputs = [o for o in c.outputs if not shown(o)]
    with atomic_path(target) as tmp: nbformat.write(nb, tmp)


# %% [markdown]
# ## Running a graph
#
# Which jobs are out of date (a file they need is newer than a file they make, or their parameters have changed), and in which order and how many at a time they run, is the business of
# [Snakemake](https://snakemake.readthedocs.io). The `Snakefile` in the project's root is short: it
# makes a rule of each job. We start it, and turn the jobs' status files into one line of progress.

# %%
#| exports
def _line(root, done, total, started):
    "One line: how many jobs are done, and what the running ones are doing."
    running = []
    for path in sorted((root/"status").glob("*.json")):
        with contextlib.suppress(MmvaeError):
            s = read_json(path)
            if s.get("state") in ("done", "failed") or s["time"] < started: continue
            share = f" {100*s['step']//s['total']}%" if s.get("total") else ""
            running.append(path.stem.split("-", 1)[1] + share)
    minutes, seconds = divmod(int(time.time() - started), 60)
    what = ", ".join(running) or "starting"
    return f"[{minutes:2d}:{seconds:02d}] {done} of {total or '?'} jobs done | running: {what}"


# %%
#| exports
def _watch(process, root, log, started):
    "Follow a Snakemake process: show one line of progress until it ends."
    import threading
    steps, tty = [0, 0], sys.stderr.isatty()
    def read():
        with open(log, "w", encoding="utf-8") as f:
            for text in process.stdout:
                f.write(text); f.flush()
                found = re.search(r"(\d+) of (\d+) steps", text)
                if found: steps[:] = map(int, found.groups())
                found = re.match(r"total\s+(\d+)\s*$", text)
                if found: steps[1] = int(found[1])
    reader = threading.Thread(target=read, daemon=True); reader.start()
    shown = 0.
    while process.poll() is None:
        if steps[1] and time.time() - shown > (1 if tty else 10):
            shown, line = time.time(), _line(root, *steps, started)
            text, end = (f"\r\033[K{line[:118]}", "") if tty else (line, "\n")
            print(text, end=end, file=sys.stderr, flush=True)
        time.sleep(0.2)
    reader.join(5)
    if tty and shown: print("\r\033[K", end="", file=sys.stderr)


# %%
#| exports
def reproduce(scale="quick", dataset="mnist_svhn_text", part=None, seeds=None, methods=None,
              results="results", device=None, cores=None):
    "Bring the results of a part up to date; jobs that are up to date are not run."
    jobs = jobs_for(scale, dataset, part, seeds, methods, results, device)
    s, root = scale_of(scale, dataset), Path(results)/scale
    if not Path("Snakefile").exists():
        raise MmvaeError("Snakefile: not in this folder; run from the project's root")
    write_json(root/"logs"/"last.json", {"part": part})   # also tells whether we may write at all
    part = part or DATASETS[one_of("dataset", dataset, DATASETS)].parts[0]
    config = dict(scale=scale, dataset=dataset, part=part, seeds=seeds or s.seeds,
                  results=str(results), methods=",".join(methods or []), device=device or s.device)
    command = _snakemake(config, cores)
    log, started = root/"logs"/"snakemake.log", time.time()
    (root/"status").mkdir(parents=True, exist_ok=True)
    with _only_one(root):
        if not _outdated(command): return jobs
        _preflight(scale, dataset, device)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True)
        try: _watch(process, root, log, started)
        except BaseException: _stop(process); raise
    if process.returncode:
        why = _why(root, jobs, started) or f"Snakemake: exit code {process.returncode}, see {log}"
        raise MmvaeError(why)
    return jobs

def _snakemake(config, cores):
    "The command that starts Snakemake."
    return [sys.executable, "-m", "snakemake", "--cores", str(cores or os.cpu_count()),
            "--nolock", "--rerun-incomplete", "--rerun-triggers", "mtime", "params", "input",
            "--config", *[f"{k}={v}" for k, v in config.items() if v != ""]]


# %%
#| exports
def _stop(process, patience=10):
    "End Snakemake when its jobs have ended. Interrupted, it can hang: without jobs it is killed."
    import psutil
    process.terminate()
    idle, snakemake = 0., psutil.Process(process.pid)
    while process.poll() is None:
        time.sleep(.1)
        with contextlib.suppress(psutil.Error):
            idle = 0. if snakemake.children(recursive=True) else idle + .1
        if idle > patience: process.kill()

def _outdated(command):
    "Would Snakemake run anything?"
    print("looking for what is out of date ...", file=sys.stderr, flush=True)
    out = subprocess.run([*command, "--dry-run"], capture_output=True, text=True)
    said = f"{out.stdout}\n{out.stderr}".strip()
    if out.returncode: raise MmvaeError(f"Snakemake: {said.splitlines()[-1]}")
    return "Nothing to be done" not in said

def _preflight(scale, dataset, device):
    "Fail before anything runs if data or device are missing."
    s = scale_of(scale, dataset)
    resolve_device(device or s.device)
    for split in ("train", "validation", "test"):
        if s.source == "real": load_data(dataset, split, s.source, s.items)

def _why(root, jobs, started):
    "The message of the first failed job."
    for j in jobs:
        with contextlib.suppress(MmvaeError):
            status = read_json(root/"status"/f"{j.name}.json")
            if status.get("state") == "failed" and status["time"] >= started:
                return f"{j.name}: {status['error']}"

@contextlib.contextmanager
def _only_one(root):
    "Refuse a second run in the same results folder."
    try: import fcntl
    except ImportError: yield; return      # not on this system
    with open(root/"status"/"lock", "w") as f:
        try: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e: raise MmvaeError(f"results: another run is writing to {root}") from e
        yield


# %% [markdown]
# ## The table beside the talk's
#
# Every evaluation leaves a JSON file with one row per number. `talk_rows` collects them: first every row of
# the talk's tables, in its order, with our value where there is one; then our own rows.

# %%
#| exports
_columns = ["slide", "dataset", "metric", "condition", "method", "talk_value", "value", "std",
            "n_seeds", "data", "n", "device", "floor", "features"]
_key = _columns[1:5]                                     # what a row is about

def _our_rows(results):
    "One row for each number of the evaluations: mean and standard deviation over seeds."
    import pandas as pd
    found = []
    for path in sorted((Path(results)/"runs").glob("*-metrics.json")):
        run = read_json(path)
        about = {k: run[k] for k in ("dataset", "method", "seed", "data", "device")}
        found += [{**about, **row} for row in run["rows"]]
    columns = [*_key, "seed", "data", "device", "value", "n", "floor", "features"]
    return pd.DataFrame(found, columns=columns).groupby(_key, sort=False).agg(
        value=("value", "mean"), std=("value", "std"), n_seeds=("seed", "nunique"),
        data=("data", "first"), n=("n", "first"), device=("device", "first"),
        floor=("floor", "mean"), features=("features", "first")).reset_index()


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

def write_talk_table(results):
    "Write `tables/talk.csv` of a scale, whole or not at all; returns the table."
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
# ## The command line
#
# `mmvae --help` lists it. Wrong input ends in one line and exit code 2.

# %%
#| exports
def _parser():
    p = _Parser(prog="mmvae", description="Multimodal VAEs: data, experiments and their tables.")
    commands = p.add_subparsers(dest="command", required=True)
    def add(name, help, *options):
        c = commands.add_parser(name, help=help)
        for flag, how in options: c.add_argument(flag, **how)
    named = [_option("--scale", ", ".join(SCALES), default="quick"),
             _option("--dataset", ", ".join(DATASETS), default="mnist_svhn_text"),
             _option("--results", "folder above the scales",
                     default=os.environ.get("MMVAE_RESULTS", "results"))]
    graph = [*named[:2], _option("--part", ", ".join([*PARTS, "all"]), default="all"),
             _option("--seeds", "how many; the scale's number by default", type=int),
             _option("--methods", "comma-separated; no report then", default=""),
             _option("--device", "auto, cpu, cuda, cuda:N, mps"), named[2]]
    add("data", "list the data found",
        _option("--download", "fetch the official files first", action="store_true"))
    add("reproduce", "bring results up to date", *graph,
        _option("--cores", "jobs at a time", type=int))
    add("job", "run one job of the graph (Snakemake calls this)", ("name", {}), *graph)
    add("table", "the table beside the talk's numbers", *named)
    add("generate", "a picture of cross-modal generation", ("method", {}), *named,
        _option("--given", "modalities, comma-separated", required=True),
        _option("--to", "modalities; the others by default"),
        _option("--seed", type=int, default=0), _option("--out", default="generated.png"))
    return p

def _option(flag, help=None, **how): return flag, dict(how, help=help)

class _Parser(argparse.ArgumentParser):
    "Says what is wrong in one line, as everything else here."
    def error(self, message): raise MmvaeError(f"{message} (see `{self.prog} --help`)")


# %%
#| exports
def _listed(text): return [t.strip() for t in text.split(",")]

def _options(a):
    "Arguments of `jobs_for` from the command line's."
    return dict(scale=a.scale, dataset=a.dataset, part=a.part, seeds=a.seeds, results=a.results,
                device=a.device, methods=[m for m in _listed(a.methods) if m] or None)

def _print_table(a, methods=None):
    "Print our numbers beside the talk's, and where the figures are."
    from mmvae_nb.plotting import table_text
    root = Path(a.results)/one_of("scale", a.scale, SCALES); one_of("dataset", a.dataset, DATASETS)
    if not any((root/"runs").glob("*-metrics.json")):
        raise MmvaeError(f"results: got none in {root}, "
                         f"allowed: what `mmvae reproduce --scale {a.scale}` makes")
    table = talk_rows(root)
    with contextlib.suppress(MmvaeError):                 # a read-only folder can still be shown
        table = write_talk_table(root)
    table = table[table.dataset == a.dataset]
    ours = table[table.condition.isin(["text->image", "image->text"])]   # the talk has none
    table = table[table.slide.notna()] if table.slide.notna().any() else ours
    if methods: table = table[table.method.isin(methods) & table.slide.isin([37, 38])]
    print(table_text(table))
    for path in sorted((root/"figures").glob("*.png")): print("figure:", path)
    print("table: ", root/"tables"/"talk.csv")


# %%
#| exports
def _generate(a):
    "Draw what a trained model generates for test items."
    import torch
    from mmvae_nb.plotting import generation_grid, save_figure
    scale = one_of("scale", a.scale, SCALES)
    model, run = load_run(Path(a.results)/scale, a.dataset, a.method, a.seed)
    given = [one_of("given", g, model.names) for g in _listed(a.given)]
    others = [n for n in model.names if n not in given]
    to = [one_of("to", t, model.names) for t in _listed(a.to)] if a.to else others
    p = run["parameters"]
    data = load_data(a.dataset, "test", p["source"], p["items"])
    batch, _ = data.take(10)
    with torch.no_grad(): made = model.generate({g: batch[g] for g in given}, to=to)
    rows = {f"{g}, given": _legible(data, g, batch[g]) for g in given}
    rows |= {n: _legible(data, n, x) for n, x in made.items()}
    print("figure:", save_figure(generation_grid(rows), a.out))


# %%
#| exports
def _data(a):
    "List the data found."
    import mmvae_nb.datasets.digits as d
    if a.download: print("fetched into", d.download())
    for row in d.found_data().to_dict("records"):
        counts = "/".join(str(row[s]) for s in ("train", "validation", "test"))
        print(f"{row['dataset']}  {row['modality']:6} {row['source']:9} {counts:>18}  "
              f"{row['shape']:13} {row['where']}")
        print(f"{'':17}{row['provenance']}; terms: {row['terms']}")
    for name in [n for n in DATASETS if n != "mnist_svhn_text"]:
        for source in ("rendered", "real"): print("\n".join(_found(name, source)))

def _found(dataset, source):
    "Two lines on a data set: counts, shapes, provenance and terms, or why it can't be used."
    try: sets = [load_data(dataset, split, source) for split in ("train", "validation", "test")]
    except MmvaeError as e: return [f"{dataset}  {source}: {e}"]
    counts, m = "/".join(str(len(s)) for s in sets), sets[0].modalities
    shapes = ", ".join(f"{n} {'x'.join(map(str, v.shape))}" for n, v in m.items())
    about = f"{sets[0].provenance['image']}; terms: {sets[0].terms['image']}"
    return [f"{dataset}  {source}: {counts}  {shapes}", f"{'':17}{about}"]


# %%
#| exports
def main(argv=None) -> int: # exit code
    "The command `mmvae`."
    try:
        a = _parser().parse_args(argv)
        if a.command == "data": _data(a)
        elif a.command == "table": _print_table(a)
        elif a.command == "generate": _generate(a)
        elif a.command == "job":
            jobs = {j.name: j for j in jobs_for(**_options(a))}
            run_job(jobs[one_of("job", a.name, jobs)], Path(a.results)/a.scale)
        else:
            reproduce(**_options(a), cores=a.cores)
            headline = a.part == "headline" and _methods
            _print_table(a, headline)
        return 0
    except MmvaeError as e:
        print(f"mmvae: {e}", file=sys.stderr); return 2
    except KeyboardInterrupt:
        print("mmvae: interrupted; the same command continues", file=sys.stderr); return 130


# %%
for bad in ["reproduce --scale huge", "reproduce --part slides", "reproduce --methods mopo",
            "table --dataset cifar", "reproduce --seeds 0", "generate jvaee --given text"]:
    assert main(bad.split()) == 2, bad

# %% [markdown]
# ## What goes wrong, and how you would notice
#
# - **A job fails.** The last line on the screen names the job and the error; its executed copy, with all cells up to the one that failed, is `results/<scale>/executed/*.failed.ipynb`.
# - **A run is interrupted.** The same command goes on where it was: finished jobs are not run again.
# - **`load_run` finds no weights.** Tables, figures and run records are committed, weights are not (git ignores `results/*/weights`). Train first: `mmvae reproduce --scale quick --methods jvae`.
# - **Two runs into one folder.** The second is refused with one line: it would mix its results with those of the first.
# - **Numbers of different data in one table.** Drawn and real sets are never mixed in a scale, and the column `data` of `talk.csv` says which it was. Look there first when a number surprises.
# - **Minutes that make no sense.** `seconds` are wall-clock: another program on the machine, or more jobs at a time than cores, lengthens them. Compare them only within runs made alike.
# - **A number without its spread.** `n_seeds` is 1 for all of `quick`, and at `real` for birds and faces; then `std` is empty, and a small difference may be chance.
#
# ## Recap
#
# Scales and methods are tables; jobs follow from them; Snakemake runs what is out of date; papermill runs a notebook
# each; `talk.csv` has every row of the talk with our value beside it.
#
# ## Exercises
#
# 1. Add a method `mvae` (MoPoE with `subsets="full"`) to `METHODS` and see with `mmvae reproduce --scale smoke --methods mvae` what runs.
# 2. Touch `nbs/experiments/headline.ipynb`, then change a word in it. When does `make run` run something?
# 3. Open `results/real/tables/talk.csv`. Its column `floor` stands beside each FID. Why can even a perfect generator not get below about that number?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. `"mvae": Method("mopoe", "MoPoE", options={"subsets": "full"})`; judges (if not there yet), training and evaluation.
# 2. Only after the change: Snakemake compares checksums of small files when their times are newer.
# 3. The floor is the FID of real images against other real images, as many as there are generated ones. A perfect generator draws just such other images. Means and covariances of
#    finite samples differ by chance, and the FID counts every difference.
# :::
#
# ## References
#
# - F. Moelder et al., [Sustainable data analysis with Snakemake](https://doi.org/10.12688/f1000research.29032.2), 2021.
# - [papermill](https://papermill.readthedocs.io).
