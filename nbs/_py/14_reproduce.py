# %% [markdown]
# # Reproduce
#
# > What runs, with what, and where the results go: one table, read by one Snakefile.
#
# ::: {.callout-note}
# ## You will learn
#
# - the scales (`smoke`, `quick`, `real`, `half`, `long`, `long_bf16`, `twice`, `equal_time`, `paper`; `tuning` belongs to [the search](14g_tuning.ipynb)) and what each of them fixes;
# - how methods, data sets and reports stand in one table, and how to add your own from outside;
# - how to read our numbers beside the talk's, and how to load any trained model.
#
# Runs in a few seconds; the experiments themselves take from minutes (`quick`) to many hours of a processor (`long`, `twice`); `paper` is meant for a GPU.
# :::
#
# Everything is started from the command line:
#
# | command | what it does |
# |---|---|
# | `make run` | the headline comparison (slides 36-38) at scale `quick` |
# | `make reproduce SCALE=long` | all parts of a scale, on the real data found through `MMVAE_DATA` ([which command made which result](#which-command-made-which-result)) |
# | `make table SCALE=real` | the table beside the talk's numbers, with the paths of the figures |
# | `make data` | which data were found |
#
# `make` uses the environment it has made; `mmvae ...` on these pages is its program, `.venv/bin/mmvae` or, after `. .venv/bin/activate`, `mmvae`.
#
# This lesson is about *what* is run. How names become models, models jobs, and jobs a run that can be interrupted is told on eight short
# workshop pages: [the talk's numbers](14a_talk.ipynb), [runs](14b_runs.ipynb), [the graph](14c_graph.ipynb), [a job](14d_jobs.ipynb),
# [watching](14e_watch.ipynb), [the command line](14f_command_line.ipynb), [the search for settings](14g_tuning.ipynb) and [a run without a scheduler](14h_in_process.ipynb).

# %% [markdown]
# ![Drawing: a chain of boxes: data, train, students, evaluate, report.](drawings/reproduce.svg)

# %%
#| default_exp experiments.table

# %%
#| export
import dataclasses, importlib, importlib.util, os, re
from dataclasses import dataclass
from pathlib import Path
from mmvae_nb.core import *


# %% [markdown]
# ## Scales
#
# A scale fixes everything that costs time. `budget` is in core-minutes for training one model; runs record
# what they took, so a budget that is not kept shows. Settings were chosen on the validation split. ($T$ is the number of refinements of lesson 09.)

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
    precision: str = "auto" # bf16 where the machine has it fast (lesson 02g), else float32
    oracle_items: int = 250 # test items that get a free Gaussian each, on the JVAE's decoders
    text_weight: float = 1.0 # a factor on the weights of texts
    split: str = "test" # what is measured on; "validation" where settings are chosen
    device: str = "auto"


# %%
#| exports
SCALES = { # from the smallest to the largest
    "smoke": Scale("rendered", 200, 3, 3, 3, 2, 16, 2, 1, 100, 80, 10, 16, 1, device="cpu"),
    "quick": Scale("rendered", None, 2000, 800, 600, 200, 32, 3, 1, 3000, 800, 400, 16, 8),
    "real": Scale("real", None, 2800, 1600, 2400, 400, 64, 4, 3, 5000, 1500, 800, 32, 40),
    "half": Scale("real", None, 5000, 2500, 2500, 2000, 64, 4, 3, 5000, 1500, 800, 32, 45,
                  precision="float32"),
    "long": Scale("real", None, 10000, 5000, 5000, 2000, 64, 4, 5, 5000, 1500, 800, 32, 90,
                  precision="float32"),
    "long_bf16": Scale("real", None, 10000, 5000, 5000, 2000, 64, 4, 3, 5000, 1500, 800, 32, 90,
                       precision="bf16"),
    "twice": Scale("real", None, 20000, 10000, 10000, 2000, 64, 4, 1, 5000, 1500, 800, 32, 180,
                   precision="float32"),
    "equal_time": Scale("real", None, 33000, 16500, 16500, 2000, 64, 4, 1, 5000, 1500, 800, 32,
                        180, precision="float32"),
    "paper": Scale("real", None, 40000, 20000, 20000, 5000, 256, 4, 3, 5000, 10000, 4000, 32, 600),
}


# %% [markdown]
# `real` is an evening's look, `long` what lesson 11 reports. Four scales ask a question or two of `long`, and differ from it in nothing else but the number of seeds: `half`, what does each ingredient of the refiner do (`--part refiner_ingredients`) and how many iterations are enough (`--part iterations`), as half the updates tell it for half the price; `long_bf16`, does mixed precision change the numbers; `twice`, do twice the updates change the order; `equal_time`, what does the student of a JVAE become in the minutes that an iterative teacher and its student take at `long` (lesson 11)? The last is meant for that student alone: `mmvae reproduce --scale equal_time --part convergence --methods jmvae_student`. So these five say which precision they mean, and don't leave it to the machine.

# %%
def differ(a, b): return {f.name for f in dataclasses.fields(Scale) if getattr(SCALES[a], f.name) != getattr(SCALES[b], f.name)}
assert differ("long", "long_bf16") == {"precision", "seeds"}
LENGTH = {"updates", "student_updates", "refiner_updates", "seeds", "budget"}
assert differ("long", "twice") == differ("long", "equal_time") == differ("long", "half") == LENGTH


# %% [markdown]
# ## Methods
#
# A method is a class with options; students have a teacher. One entry here is all a new method needs.

# %%
#| exports
@dataclass(frozen=True)
class Method:
    "A model is `module.cls(specs, latent, beta, **options)`, or `cls(teacher, **options)`."
    module: str # module of this package, or any that can be imported
    cls: str # class or function in it
    teacher: str | None = None # method of the trained model it is made from
    options: dict = dataclasses.field(default_factory=dict)
    uses_steps: bool = False # does it take the scale's T?
    updates: str = "updates" # the field of `Scale` that says how long it is trained
    seeds: int | None = None # at most so many; None: as many as the scale says
    label: str = "" # name in print; that of lesson 00b, or the key, by default
    colour: str = "" # "#rrggbb" in every figure; by default that of lesson 00b, or any
    settings: dict = dataclasses.field(default_factory=dict) # fields of `Scale` that differ for it


# %%
#| exports
_plain = {"divide_prior": False}   # products as in the talk; both rules are measured (lesson 03c)
SEARCHED = 64                      # items of an update in the search for settings (lesson 14g)
_faster = {"lr": 4e-3}             # found there on validation items, as `warm_start` is
_iterative = dict(module="multimodal_iterative", cls="IterativeTeacher", uses_steps=True)
_iterative_fast = dict(**_iterative, settings=_faster)
_students = dict(module="distillation", cls="Students", updates="student_updates", options=_plain)
_started = {**_students, "options": {**_plain, "warm_start": True}}
_refined = dict(module="multimodal_iterative", cls="on_decoders", teacher="jmvae_student",
                uses_steps=True, updates="refiner_updates", seeds=3)
_study = dict(module="multimodal_iterative", updates="study_updates", seeds=3)
METHODS = {
    "mopoe": Method("mopoe", "MoPoE"),
    "jvae": Method("multimodal_elbo", "JVAE"),
    "jmvae_student": Method(**_students, teacher="jvae"),
    "jmvae": Method("jmvae", "JMVAE", options={"alpha": 0.1}, seeds=3),
    "mvtcae": Method("mvtcae", "MVTCAE"),
    "mvtcae_student": Method(**_students, teacher="mvtcae"),
    "mvae": Method("mopoe", "MVAE", seeds=3),
    "mmvae": Method("mopoe", "MMVAE", settings=_faster, seeds=3),
    "crmvae": Method("mvtcae", "CRMVAE", label="CRMVAE", colour="#882255", seeds=3),
    "crmvae_student": Method(**_students, teacher="crmvae", label="CRMVAE student",
                             colour="#aa4499", seeds=3),
    "iterative": Method(**_iterative),
    "iterative_student": Method(**_started, teacher="iterative"),
    # controls: does the learning rate make the difference?
    "mopoe_fast": Method("mopoe", "MoPoE", settings=_faster, colour="#88bb33",
                         label="MoPoE, higher rate"),
    "jvae_fast": Method("multimodal_elbo", "JVAE", settings=_faster, colour="#999933",
                        label="JVAE, higher rate"),
    "jvae_fast_student": Method(**_students, teacher="jvae_fast", colour="#999933",
                                label="JMVAE student, higher rate"),
    "iterative_fast": Method(**_iterative_fast, label="Iterative teacher, higher rate"),
    "iterative_fast_student": Method(**_started, teacher="iterative_fast", colour="#ee7733",
                                     label="Iterative student, higher rate"),
    # controls, at both rates: does the warm start, which a JVAE's students can't have?
    **{f"{t}_student_cold": Method(**_students, teacher=t, seeds=2, colour=c,
                                   label=f"Iterative student, started cold{at}")
       for t, at, c in (("iterative", "", "#117733"),
                        ("iterative_fast", ", higher rate", "#225522"))},
    # controls, at both: the same decoders and the breadth of a student, no refined targets
    **{f"{t}_student_t0": Method(
        **{**_started, "options": {**_started["options"], "steps": 0, "starts": "any"}},
        teacher=t, seeds=2, colour=c, label=f"Student of all starts q_0{at}")
       for t, at, c in (("iterative", "", "#44aa99"),
                        ("iterative_fast", ", higher rate", "#225555"))},
    # control: an item teaches one iterative student of three, so each sees a third (of 64)
    "jvae_fast_student_third": Method(**_students, teacher="jvae_fast", colour="#666600",
                                      settings={"batch_size": 21},
                                      label="JMVAE student, higher rate, a third of the items"),
    # controls: do decoders learn from single modalities? At both rates
    "jvae_unimodal_decoders": Method("jmvae", "JVAEWithStudents", colour="#332288", seeds=3,
                                     label="JVAE, decoders also from single modalities"),
    "jvae_unimodal_decoders_student": Method(
        **_started, teacher="jvae_unimodal_decoders", colour="#6699cc", seeds=3,
        label="Student of JVAE, decoders also from single modalities"),
    "jvae_unimodal_decoders_fast": Method(
        "jmvae", "JVAEWithStudents", settings=_faster, seeds=1,
        label="JVAE, decoders also from single modalities, higher rate"),
    "jvae_unimodal_decoders_fast_student": Method(
        **_started, teacher="jvae_unimodal_decoders_fast", colour="#4477aa", seeds=1,
        label="Student of JVAE, decoders also from single modalities, higher rate"),
    "iterative_last": Method(**_iterative_fast, options={"decoders": "last"}, colour="#661100",
                             label="Iterative teacher, decoders from t = T only, higher rate",
                             seeds=3),
    "iterative_last_student": Method(**_started, teacher="iterative_last", colour="#997700",
                                     label="Iterative student, decoders from t = T only, "
                                           "higher rate", seeds=3),
    # controls, at the higher rate: what is each ingredient of the refiner good for?
    **{f"iterative_without_{w}": Method(
        **_iterative_fast, options={"without": [w]}, seeds=1,
        label=f"Iterative teacher without {w}") for w in ("units", "memory", "bound", "calming")},
    **{f"iterative_without_{w}_student": Method(
        **_started, teacher=f"iterative_without_{w}", label=f"Iterative student without {w}",
        seeds=1) for w in ("units", "memory", "bound", "calming")},
    # on the JVAE's decoders: only inference differs
    "refined": Method(**_refined, label="Refined, JVAE's decoders"),
    "refined_marino": Method(**_refined, options={"refiner": "marino"},
                             label="Marino's refiner, JVAE's decoders"),
    "refined_student": Method(**_students, teacher="refined", seeds=1,
                              label="Student of refined, JVAE's decoders", colour="#556b2f"),
    "refined_student_t16": Method(**{**_students, "options": {**_plain, "steps": 16}},
                                  teacher="refined", seeds=1,
                                  label="Student of refined at T = 16, JVAE's decoders",
                                  colour="#9acd32"),
    # how many iterations, at test and at training
    "iterative_student_over_t": Method(**_study, cls="StudentsOverT", teacher="iterative",
                                       label="Iterative students, one for each T"),
    "iterative_student_to_10": Method(**_study, cls="StudentsOverT", teacher="iterative",
                                      options={"over": (1, 2, 10)},
                                      label="Iterative students, T up to 10"),
    "iterative_student_t1": Method(**{**_started, "options": {**_started["options"], "steps": 1}},
                                   teacher="iterative", seeds=3, colour="#004488",
                                   label="Iterative student, T = 1"),
    **{f"iterative_t{t}": Method(**_study, cls="IterativeTeacher", options={"steps": t},
                                 label=f"Iterative teacher, T = {t}") for t in (1, 2, 4, 8)},
}


# %% [markdown]
# Two comparisons run through the experiments. *Own decoders*: each method trains its own generative model, as in the talk. *Same decoders*: `refined` puts
# starts and a refiner on the JVAE's frozen decoders, `refined_student` is distilled from it, and only inference differs from the JVAE and
# its students (`refined_student_t16` imitates $q_{16}$, however few iterations the refiner was trained with).
#
# A rate belongs to its batch. With 32 items an update and 2,000 updates (`quick`) the iterative teacher's validation loss was 110 nats higher at 0.004, which the search had found for 64, than at the scale's own 0.002; MoPoE's was 23 lower (one training each, not kept). So on scales of smaller batches all methods have one rate: 0.002 on digits at `quick`; on birds and faces 0.004 at `quick`, 0.003 at `real` and 0.002 at `long`, none of them searched for.
#
# *Controls* change one thing. The learning rate is one: `jvae_fast` and `iterative_fast` are the two teachers at twice the rate, which the search in short runs had chosen for the second (lesson 14g), `mopoe_fast` is MoPoE at it, for which the search had chosen it too, and controls whose name has `fast` belong to them, as do `iterative_last` and the teachers `iterative_without_...`. Some methods decode from single modalities while they train, and that alone may help: `iterative_last` takes it from the iterative teacher (only $q_T$ trains the
# decoders), `iterative_student_cold` starts its encoders from nothing as the students of a JVAE do, `iterative_student_t0` has a student's breadth on the same decoders, but imitates the starts $q_0$ of all modalities, which were never refined, `jvae_unimodal_decoders` gives it to the JVAE (lesson 04), and CRMVAE is MVTCAE with it (lesson 06). And an item teaches one of the three iterative students, because its search starts at one modality; so the students of `jvae_fast_student_third` see a third of the items in each update.
#
# Names and colours of the ten methods that the lessons draw are those of lesson 00b; a method that only the experiments know brings its own. The reports ask for them here.

# %%
#| exports
def teachers_of(method # a key of METHODS
               ) -> list: # keys, the first trained first; none for a generative model
    "The teacher of a method, preceded by its own teacher, and so on."
    t = METHODS[method].teacher
    return [*teachers_of(t), t] if t else []

def settings_of(method # a key of METHODS
               ) -> dict: # fields of `Scale`
    "What differs for a method; students measure their teacher's model, so they share what it is."
    of_the_model, found = ("latent", "beta", "text_weight"), {}
    for t in teachers_of(method):
        found |= {k: v for k, v in METHODS[t].settings.items() if k in of_the_model}
    return found | METHODS[method].settings

def seeds_of(method, seeds): # of `seeds` seeds, those that `method` is run with
    "The seeds of a method: 0, 1, ..."
    return range(min(seeds, METHODS[method].seeds or seeds))

def show_names():
    "Tell lesson 00b's figures and tables how the methods of this table are called and coloured."
    from mmvae_nb.plotting import name_method
    for key, m in METHODS.items(): name_method(key, m.label, m.colour)


# %%
from mmvae_nb.plotting import method_name

# %%
assert {m.teacher for m in METHODS.values()} - {None} <= set(METHODS)
assert teachers_of("refined_student") == ["jvae", "jmvae_student", "refined"]
assert list(seeds_of("mopoe", 3)) == [0, 1, 2] and list(seeds_of("iterative_t4", 5)) == [0, 1, 2]
show_names()
assert method_name("iterative_t4") == "Iterative teacher, T = 4" and method_name("mopoe") == "MoPoE"
{name: (s.source, s.updates, s.batch_size, s.steps, s.budget) for name, s in SCALES.items()}


# %% [markdown]
# ## Data sets
#
# A data set brings a function that loads a split, its networks and its judge. It may also ask for other settings than
# the scale's, where its items are larger or fewer. The notebooks that train and evaluate know none of this: they ask here. At `long` birds and faces get 5,000 updates of 32 items, at the rate at which each teacher of lesson 11 has its smaller loss; no search was made for them.

# %%
#| exports
@dataclass(frozen=True)
class Dataset:
    "Where a data set's functions are, and what differs from the scale."
    module: str # module of this package, or any that can be imported
    make: str # function in it: split, source, items, device -> `MultimodalData`
    specs: str = "networks.default_specs" # function that makes the networks
    judge: str = "judges.classes.ClassJudge" # its judge
    settings: dict = dataclasses.field(default_factory=dict) # scale, or "*": {field: value}
    private: bool = False # may pictures made from the real items not be published?
    drawn: tuple = () # modules that only draw: real data doesn't depend on them
    found: str = "" # function that lists the data found: a DataFrame, a row per modality
    download: str = "" # function that fetches the official files and returns their folder


# %%
#| exports
_large = dict(latent=64, lr=4e-3, oracle_items=0)                      # 64 x 64 images
_real = dict(updates=1600, student_updates=800, batch_size=32, steps=3, lr=3e-3, seeds=1,
             judge_updates=600, judge_width=16)
_long = {**_real, "updates": 5000, "student_updates": 5000, "study_updates": 500, "lr": 2e-3,
         "seeds": 3}
DATASETS = {
    "mnist_svhn_text": Dataset("datasets.digits", "mnist_svhn_text",
                               drawn=("datasets.street_numbers",),
                               found="datasets.digits.found_data",
                               download="datasets.digits.download"),
    "cub": Dataset("datasets.birds", "cub", "text.cub_specs", "judges.birds.BirdJudge", {
        "*": _large, "quick": dict(updates=1600, student_updates=1200, samples=500),
        "real": {**_real, "updates": 2400, "student_updates": 3000, "samples": 675},
        "long": {**_long, "samples": 675}},
        drawn=("datasets.drawn_birds",)),
    "celeba": Dataset("datasets.faces", "celeba", "text.celeba_specs", "judges.faces.FaceJudge", {
        "*": _large, "quick": dict(updates=1000, student_updates=500, samples=800),
        "real": {**_real, "updates": 1000, "student_updates": 500, "study_updates": 150,
                 "samples": 800},
        "long": {**_long, "student_updates": 2500, "samples": 800}}, private=True,
        drawn=("datasets.drawn_faces",)),
}


# %%
#| exports
def scale_of(scale, # a key of SCALES
             dataset # a key of DATASETS
            ) -> Scale:
    "The scale with the settings that the data set asks for."
    d = DATASETS[one_of("dataset", dataset, DATASETS)]
    settings = {**d.settings.get("*", {}), **d.settings.get(scale, {})}
    return dataclasses.replace(SCALES[one_of("scale", scale, SCALES)], **settings)

def may_publish(dataset, # a key of DATASETS
                source # "rendered" or "real"
               ) -> bool: # else they stay in `private`, which git ignores
    "May pictures made from these items be shown to everybody?"
    private = DATASETS[one_of("dataset", dataset, DATASETS)].private
    return not (private and one_of("source", source, ["rendered", "real"]) == "real")

def figure_folder(dataset, # a key of DATASETS
                  source # "rendered" or "real"
                 ) -> str: # in the results folder of a scale
    "Where a report's figures go."
    return "figures" if may_publish(dataset, source) else "private"


# %%
assert scale_of("real", "mnist_svhn_text") == SCALES["real"]
assert scale_of("real", "cub").latent == 64
assert not may_publish("celeba", "real") and may_publish("celeba", "rendered")
assert may_publish("cub", "real") and figure_folder("celeba", "real") == "private"
{name: (d.module, d.judge) for name, d in DATASETS.items()}


# %% [markdown]
# ## Reports
#
# A part of the experiments is a report: a page of results. This ledger says what it needs and what it makes, and everybody reads it: the graph
# (the files are outputs of the report's job), the report itself (it may save nothing that is not listed), the site and the slide map.

# %%
#| exports
@dataclass(frozen=True)
class Report:
    "A page of results: what it needs and what it makes."
    notebook: str # its file in nbs/experiments without ending, or the path of an .ipynb
    methods: tuple # keys of METHODS
    tables: tuple = () # tables/NAME.csv
    figures: tuple = () # figures/NAME.png
    dataset: str = "mnist_svhn_text" # a key of DATASETS
    slides: tuple = () # of the talk, whose numbers it is about
    scales: tuple = () # those at which it is a part of "all"; () for every


# %%
#| exports
def _slides(*named): return tuple(f"slide_{n}_{what}" for n, what in named)

_all = ("mopoe", "jvae", "jmvae_student", "jmvae", "mvtcae", "mvtcae_student", "iterative",
        "iterative_student", "refined", "refined_student")
_compared = ("mopoe", "jvae", "jmvae_student", "iterative", "iterative_student")
REPORTS = {
    "headline": Report("headline", _compared, ("headline",),
        (*_slides((36, "cross_modal")), "headline_nelbo_over_t"), slides=(37, 38)),
    "mnist_svhn_text": Report("mnist_svhn_text", _all, ("mnist_svhn_text", "methods"), _slides(
        (36, "all_methods"), *((n, "cross_modal") for n in range(44, 50))),
        slides=(37, 38, 64, 65, 68)),
    "products_of_students": Report("products_of_students",
        ("mopoe", "jmvae_student", "mvtcae", "mvtcae_student", "iterative_student"),
        ("products_of_students",), _slides(*((n, "two_given") for n in (61, 62, 63))),
        slides=(64, 65)),
    "teacher_student_kl": Report("teacher_student_kl",
        ("jvae", "jmvae_student", "mvtcae_student", "iterative", "iterative_student", "refined",
         "refined_student"), ("hypotheses",), ("teacher_student_kl",), slides=(68,)),
    "gap_decomposition": Report("gap_decomposition",
        ("jvae", "refined", "refined_marino", "jmvae_student", "refined_student"),
        ("gap_decomposition",), ("gap_decomposition", "refiners_over_t")),
    "iterations": Report("iterations",
        ("iterative", "iterative_student", "iterative_student_t1", "iterative_student_over_t",
         *(f"iterative_t{t}" for t in (1, 2, 4, 8))), ("iterations",),
        ("iterations_over_t", "iterations_at_training", *_slides(
            *((n, f"over_t_{who}") for n in range(53, 59) for who in ("teacher", "student")))),
        scales=("smoke", "quick", "real", "half", "paper")),
    "attribution": Report("attribution",
        ("jmvae_student", "jvae_fast_student", "iterative_student", "iterative_fast_student",
         *(f"{t}_student_{w}" for w in ("cold", "t0") for t in ("iterative", "iterative_fast")),
         "jvae_fast_student_third", "mmvae", "crmvae",
         "jvae_unimodal_decoders_student", "jvae_unimodal_decoders_fast_student",
         "iterative_last_student", "refined_student", "refined_student_t16"),
        ("attribution",), ("attribution",), scales=("real", "long", "paper")),
    "refiner_ingredients": Report("refiner_ingredients", (
        "iterative_fast", "iterative_fast_student",
        *(f"iterative_without_{w}{s}" for w in ("units", "memory", "bound", "calming")
          for s in ("", "_student"))), ("refiner_ingredients",), ("refiner_ingredients",),
        scales=("half", "paper")),
    "convergence": Report("convergence",
        ("mopoe", "mopoe_fast", "mvtcae", "jmvae_student", "mvtcae_student", "iterative_student",
         "iterative_fast_student"), ("convergence",), ("convergence",),
        scales=("long", "twice", "paper")),
    "distillation_variants": Report("distillation_variants", ("iterative",),
        ("distillation_variants",)),
    "benchmarks": Report("benchmarks", _all, ("benchmarks",)),
    "cub": Report("cub", _compared, ("cub",), _slides((39, "text_to_image"), (60, "captions")),
        "cub", slides=(40, 68)),
    "celeba": Report("celeba",
        ("mopoe", "mvtcae", "jvae", "jmvae_student", "iterative", "iterative_student",
         "iterative_student_to_10"), ("celeba",), _slides((50, "methods"),
        (51, "over_t_text_to_image"), (52, "over_t_image_to_text"), (59, "image_to_text")),
        "celeba"),
}

def parts_of(dataset, # a key of DATASETS
             scale=None # only those that are a part of "all" at this key of SCALES
            ) -> list: # keys of REPORTS
    "The reports on a data set."
    one_of("dataset", dataset, DATASETS)
    return [name for name, r in REPORTS.items() if r.dataset == dataset
            and (scale is None or not r.scales or scale in r.scales)]


# %% [markdown]
# | part | shows | slides |
# |---|---|---|
# | [`headline`](experiments/headline.ipynb) | MoPoE, JMVAE student, iterative student | 36-38 |
# | [`mnist_svhn_text`](experiments/mnist_svhn_text.ipynb) | every method, all directions, text, teachers; parameters, updates, seconds | 36-38, 44-49 |
# | [`products_of_students`](experiments/products_of_students.ipynb) | two modalities given, both kinds of product | 61-65 |
# | [`teacher_student_kl`](experiments/teacher_student_kl.ipynb) | the hypotheses with intervals, and why the KL is what it is | 33, 66-69 |
# | [`gap_decomposition`](experiments/gap_decomposition.ipynb) | joint encoder, refiners, gradient ascent and oracle on the same decoders | 21-31 |
# | [`iterations`](experiments/iterations.ipynb) | T at test and at training, teacher and student | 53-58 |
# | [`attribution`](experiments/attribution.ipynb) | controls of the recipe: start, targets, decoders, items (lesson 11) | |
# | [`refiner_ingredients`](experiments/refiner_ingredients.ipynb) | the refiner with one ingredient removed at a time | |
# | [`convergence`](experiments/convergence.ipynb) | what longer training changes, beside the scales on the same data | |
# | [`distillation_variants`](experiments/distillation_variants.ipynb) | warm start, direction of the KL, wider students, validation split | 42 |
# | [`benchmarks`](experiments/benchmarks.ipynb) | what each method costs | |
# | [`cub`](experiments/cub.ipynb) | birds and captions (lesson 12) | 39, 40, 60, 68 |
# | [`celeba`](experiments/celeba.ipynb) | faces and attribute text (lesson 13) | 50-52, 59 |

# %%
assert all(set(r.methods) <= set(METHODS) and r.dataset in DATASETS for r in REPORTS.values())
assert parts_of("cub") == ["cub"] and parts_of("mnist_svhn_text")[0] == "headline"
made = [(kind, f) for r in REPORTS.values() for kind in ("tables", "figures")
        for f in getattr(r, kind)]
assert len(set(made)) == len(made)                           # no file is made twice
slides = {int(f.split("_")[1]) for _, f in made if f.startswith("slide_")}
assert slides == {36, 39, *range(44, 64)}                    # every figure slide of results


# %% [markdown]
# ## Your own method, data set or report
#
# The tables take entries from outside. The module that holds your class need not be part of this package; it must be one that Python can import. Because jobs run in processes
# of their own, an entry made in a notebook does not reach them: put the call of `register` into a module, and name the module in the environment variable `MMVAE_PLUGINS`.
#
# ```python
# # my_method.py
# from mmvae_nb.experiments.table import Method, register
# from mmvae_nb.mopoe import MoPoE
#
# class Mine(MoPoE): ...
#
# register(methods={"mine": Method("my_method", "Mine", label="Mine", colour="#333333")})
# ```
#
# ```
# MMVAE_PLUGINS=my_method PYTHONPATH=. mmvae reproduce --scale smoke --methods mine
# ```

# %%
#| exports
def register(methods=(), # dict: name -> `Method`
             datasets=(), # dict: name -> `Dataset`
             reports=(), # dict: name -> `Report`
             scales=() # dict: name -> `Scale`
            ):
    "Add entries to the four tables; `MmvaeError` for what can't be, and then none is added."
    methods, datasets, reports, scales = map(dict, (methods, datasets, reports, scales))
    for kind, cls, table, new in (("method", Method, METHODS, methods),
                                  ("dataset", Dataset, DATASETS, datasets),
                                  ("report", Report, REPORTS, reports),
                                  ("scale", Scale, SCALES, scales)):
        for name, entry in new.items(): _check_entry(kind, cls, table, name, entry)
    known = {**METHODS, **methods}
    for name, m in methods.items(): _check_method(name, m, known)
    for name, d in datasets.items(): _check_dataset(name, d)
    for name, r in reports.items():
        one_of(f"dataset of report {name}", r.dataset, {**DATASETS, **datasets})
        for m in r.methods: one_of(f"methods of report {name}", m, known)
    METHODS.update(methods); DATASETS.update(datasets)
    REPORTS.update(reports); SCALES.update(scales)

def _check_entry(kind, cls, table, name, entry):
    "Is this an entry, under a name that is free?"
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w*", name)) or name == "all":
        raise MmvaeError(f"{kind}: got the name {name!r}, allowed: letters, digits, underscores")
    if not isinstance(entry, cls):
        raise MmvaeError(f"{kind} {name}: got a {type(entry).__name__}, allowed: {cls.__name__}")
    if table.get(name, entry) != entry:
        raise MmvaeError(f"{kind}: got {name!r}, which is taken, allowed: another name")


# %%
#| exports
_fields = {f.name: f for f in dataclasses.fields(Scale)}

def _check_method(name, method, known):
    "Are its teachers known, and its length of training?"
    one_of(f"updates of method {name}", method.updates, [f for f in _fields if "updates" in f])
    for field in method.settings: one_of(f"settings of method {name}", field, _fields)
    seen, t = {name}, method.teacher
    while t is not None:
        t = one_of(f"teacher of method {name}", t, known)
        if t in seen: raise MmvaeError(f"teacher of method {name}: got {t!r}, taught by itself")
        seen.add(t); t = known[t].teacher

def _check_dataset(name, dataset):
    "Are its settings those of a scale?"
    for scale, settings in dataset.settings.items():
        one_of(f"settings of dataset {name}", scale, ["*", *SCALES])
        for field in settings: one_of(f"settings of dataset {name}", field, _fields)


# %%
own = {"mopoe_exact": Method("mopoe", "MoPoE", options={"exact": True}, label="MoPoE, exact"),
       "mopoe_exact_student": Method(**_students, teacher="mopoe_exact")}
register(methods=own)
register(methods=own)                                        # the same once more is no harm
assert teachers_of("mopoe_exact_student") == ["mopoe_exact"]
for bad in [dict(methods={"mopoe": Method("mine", "Mine")}), dict(methods={"a-b": Method("m", "M")}),
            dict(methods={"x": Method("mine", "Mine", teacher="nobody")}),
            dict(methods={"x": Method("mine", "Mine", teacher="x")}), dict(methods={"x": "Mine"}),
            dict(reports={"x": Report("x", ("mopoe", "vae"))}),
            dict(datasets={"x": Dataset("m", "f", settings={"quick": {"epochs": 3}})})]:
    try: register(**bad)
    except MmvaeError as e: print(e)
    else: raise AssertionError(f"{bad} was let through")
assert "x" not in {**METHODS, **DATASETS, **REPORTS}


# %% [markdown]
# A module is looked for in this package first.

# %%
#| exports
def full_name(module # of this package, such as "datasets.birds", or any that can be imported
             ) -> str: # as Python imports it
    "The name that `module` is imported by; `MmvaeError` if there is none such."
    for name in (f"mmvae_nb.{module}", module):
        try: found = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError): continue
        if found: return name
    raise MmvaeError(f"module: got {module!r}, allowed: one of mmvae_nb, or one that Python finds")

def find(path # "module.name", such as "judges.birds.BirdJudge"
        ):
    "The function or class at `path`."
    module, name = path.rsplit(".", 1)
    found = getattr(importlib.import_module(full_name(module)), name, None)
    if found is None: raise MmvaeError(f"{module}: got {name!r}, which it doesn't have")
    return found


# %%
from mmvae_nb.mopoe import MoPoE

# %%
assert find("mopoe.MoPoE") is MoPoE
assert full_name("mopoe") == "mmvae_nb.mopoe" and full_name("json.decoder") == "json.decoder"
for bad in ["mopo.MoPoE", "mopoe.MoPo"]:
    try: find(bad)
    except MmvaeError as e: print(e)
    else: raise AssertionError(bad)

# %% [markdown]
# ## Which command made which result
#
# Core-hours are those of one core of a processor with AVX-512, by the pace of [Time and memory](bench.ipynb) and two to three minutes for each evaluation; two cores take half as long by the clock. (About half of `long` was run on a GPU.)
#
# | result | command | core-hours |
# |---|---|---|
# | home page, [lesson 11](11_findings.ipynb), figures of slides 36 and 44 to 49, 61 to 63 | `make reproduce SCALE=long` | 27 |
# | real birds and faces, lessons [12](12_birds.ipynb) and [13](13_faces.ipynb) | `make reproduce SCALE=long DATASET=cub`, `DATASET=celeba` | 5 each |
# | [which T](11_findings.ipynb#which-t), figures of slides 53 to 58 | `make reproduce SCALE=half PART=iterations` | 5 |
# | [what an ingredient is worth](11_findings.ipynb#what-an-ingredient-is-worth) | `make reproduce SCALE=half PART=refiner_ingredients SEEDS=1` | 3 |
# | [twice the updates](11_findings.ipynb#does-longer-training-change-it) | `make reproduce SCALE=twice PART=convergence` | 5 |
# | [equal minutes](11_findings.ipynb#more-minutes-for-the-jvae) | `mmvae reproduce --scale equal_time --part convergence --methods jmvae_student` | 1 |
# | bf16, in the report [`convergence`](experiments/convergence.ipynb) | `mmvae reproduce --scale long_bf16 --methods jmvae_student,mopoe_fast,mvtcae` | 2 |
# | the shorter runs that lesson 11 compares with | `make reproduce SCALE=real` | 10 |
# | the search for settings, [lesson 14g](14g_tuning.ipynb) | `make tuning` | 5 |
# | drawn digits, birds and faces; models of the lessons and the [playground](playground.ipynb) | `make run`, `make reproduce SCALE=quick`, with `DATASET=cub`, `DATASET=celeba` | below 1 each |
#
# A command may do more than what stands here. On birds and faces it trains MoPoE, MVTCAE and the students of $T$ up to 10 with three seeds, of which one is on record; the teachers of each $T$ with three, of which two are (of $T = 8$ one); and of `twice` all methods of the part.
#
# ## How to read the numbers
#
# Every run ends in one table, `results/<scale>/tables/talk.csv`. It begins with the 52 numbers of the talk, in the talk's order, each beside ours where there is one; our own
# rows follow. The [page on the talk's numbers](14a_talk.ipynb) says how it is made. Some of its rows:

# %%
import pandas as pd
from mmvae_nb.experiments.talk import talk_numbers

# %%
talk = pd.read_csv("../results/long/tables/talk.csv")
asked = talk_numbers()
assert len(asked) == 52 and talk.talk_value[:52].tolist() == asked.talk_value.tolist()
talk[:52].query("slide in (37, 38) and condition in ('text->svhn', 'svhn')")


# %% [markdown]
# Read a row from the left: which slide, data and measure, under which condition, by which method; the talk's value and ours (`value`, mean over `n_seeds` seeds, and their standard
# deviation `std`). Then what the value rests on: real or rendered data, `n` items or probe points, the device, and for an FID its `floor` and `features`. Our FID is in
# the features of our own judges, so its size cannot be compared with the talk's, only the order of the methods. `make table` prints the part that the talk reports.
#
# ## How to load a trained model
#
# Every run keeps its files under names made of data set, method and seed.

# %%
#| exports
def run_paths(results, # results folder of a scale, such as "results/quick"
              dataset, # a key of DATASETS
              method, # a key of METHODS
              seed # from 0
             ) -> dict: # "weights", "run", "metrics", "items" -> path
    "Where a run keeps its weights, record, metrics and numbers per item."
    stem, results = f"{dataset}-{method}-{seed}", Path(results)
    weights, runs = results/"weights", results/"runs"
    return {"weights": weights/f"{stem}.safetensors", "run": runs/f"{stem}.json",
            "metrics": runs/f"{stem}-metrics.json", "items": weights/f"{stem}-items.npz"}


# %%
run_paths("results/quick", "mnist_svhn_text", "jmvae_student", 0)


# %% [markdown]
# So a trained model is one call away: its weights, and the record of how they were made.
#
# ```python
# from mmvae_nb.experiments.runs import load_run
# model, run = load_run("results/long", "mnist_svhn_text", "jmvae_student", seed=0, shipped=True)
# from mmvae_nb.datasets.digits import mnist_svhn_text
# batch, _ = mnist_svhn_text("test", "rendered").take(8)
# model.generate({"text": batch["text"]}, to=["svhn"])
# ```
#
# A student's file holds its teacher too, so it can be used on its own. The [page on runs](14b_runs.ipynb) shows it at work.
#
# ## Entries from outside are read last
#
# When all tables stand, the modules named in `MMVAE_PLUGINS` are imported.

# %%
#| exports
def load_plugins(named=None # modules, comma-separated; by default what MMVAE_PLUGINS says
                ):
    "Import the modules that register entries of their own."
    named = os.environ.get("MMVAE_PLUGINS", "") if named is None else named
    for name in filter(None, (n.strip() for n in named.split(","))):
        try: importlib.import_module(name)
        except MmvaeError: raise
        except Exception as e:
            why = f"{type(e).__name__}: {e}"
            raise MmvaeError(f"MMVAE_PLUGINS: {name} can't be imported ({why})") from e

load_plugins()

# %%
try: load_plugins("json, no_such_module")
except MmvaeError as e: print(e)
else: raise AssertionError("let through")

# %% [markdown]
# ## What goes wrong, and how you would notice
#
# - **A job fails.** The last line on the screen names the job and the error; its executed copy, with all cells up to the one that failed, is `results/<scale>/executed/*.failed.ipynb`.
# - **A run is interrupted.** The same command goes on where it was: finished jobs are not run again.
# - **`load_run` finds no weights.** Tables, figures and run records are committed, weights are not (git ignores `results/*/weights`). Train first (`mmvae reproduce --scale quick --methods jvae`), or say `shipped=True`: it finds weights in `weights/` that were shipped of the very run on record, and of no other.
# - **Two runs into one folder.** The second is refused with one line: it would mix its results with those of the first.
# - **Numbers of different data in one table.** Drawn and real sets are never mixed in a scale, and the column `data` of `talk.csv` says which it was. Look there first when a number surprises.
# - **Minutes that make no sense.** `seconds` are wall-clock: another program on the machine, or more jobs at a time than cores, lengthens them. Compare them only within runs made alike.
# - **A number without its spread.** `n_seeds` is 1 for all of `quick`, `twice` and `equal_time`, on birds and faces for all but the students of `long` and their teachers, and for some controls of `long`; then `std` is empty, and a small difference may be chance.
#
# ## Recap
#
# Scales, methods, data sets and reports are tables, and they take entries from outside. Jobs follow from them; Snakemake runs what is out of date; papermill runs a notebook
# each; `talk.csv` has every row of the talk with our value beside it.
#
# ## Exercises
#
# 1. Register a method `mopoe_exact` (MoPoE with `exact=True`) in a module of your own and see with `mmvae reproduce --scale smoke --methods mopoe_exact` what runs.
# 2. Touch `nbs/experiments/headline.ipynb`, then change a word in it. When does `make run` run something?
# 3. Open `results/real/tables/talk.csv`. Its column `floor` stands beside each FID. Why can even a perfect generator not get below about that number?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. `register(methods={"mopoe_exact": Method("mopoe", "MoPoE", options={"exact": True})})` in `my_method.py`, and `MMVAE_PLUGINS=my_method PYTHONPATH=.` before the command; judges (if not there yet),
#    training, evaluation, and the table.
# 2. Only after the change: Snakemake compares checksums of small files when their times are newer.
# 3. The floor is the FID of real images against other real images, as many as there are generated ones. A perfect generator draws just such other images. Means and covariances of
#    finite samples differ by chance, and the FID counts every difference.
# :::
#
# ## References
#
# - F. Moelder et al., [Sustainable data analysis with Snakemake](https://doi.org/10.12688/f1000research.29032.2), 2021.
# - [papermill](https://papermill.readthedocs.io).
