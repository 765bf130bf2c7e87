# %% [markdown]
# # Settings
#
# > Every method gets the same small search, on validation items, before anything is compared.
#
# ::: {.callout-note}
# ## You will learn
#
# - which settings are tried for each method, and by what number one of them is chosen;
# - how a search is added to the experiments from outside their tables.
#
# A workshop page: skip it at first. Runs in seconds.
# :::
#
# A comparison in which one method was tuned and the others were not says who had the time to tune. So all methods get the same search: the settings that they share
# (learning rate, $\beta$, weight of the text), each at the values below, and one or two knobs that only they have. One setting is changed at a time, because a full grid of five settings
# is out of reach of two processor cores. Each trial is short, has one seed, and is measured on *validation* items, which no table of results uses.

# %% [markdown]
# ![Drawing: the default in the middle, and along four arms one setting at a time with the values that are tried.](drawings/tuning.svg)

# %%
#| default_exp experiments.tuning

# %%
#| export
import dataclasses, os
from mmvae_nb.experiments.table import *

# %% [markdown]
# ## What is tried
#
# The scale `tuning` is that of the real data with 2,000 updates a model and half as many for students. So short
# because there are many: the number is printed below. A trial of a teacher is judged by its students, since they are what is compared.

# %%
#| exports
SHARED = {"lr": (1e-3, 4e-3), "beta": (0.5, 2.5), "text_weight": (0.3,)} # beside 2e-3, 1 and 1
OWN = { # method: knob: values, beside the default
    "mopoe": {"exact": (True,)},
    "mvtcae": {"alpha": (0.5, 0.95)},
    "jmvae": {"alpha": (0.01, 1.0)},
    "iterative_student": {"direction": ("reverse",), "warm_start": (True,), "starts": ("all",)},
    "jmvae_student": {"direction": ("reverse",)},
}
FOUND = ("warm_start",) # options that METHODS has from this search
STUDENTS = {"jvae": "jmvae_student", "iterative": "iterative_student"} # who speaks for a teacher

def trial_of(method, # a key of METHODS
             knob="", # a setting of the scale, or an option of the model; "" for none
             value=None # the value tried
            ) -> str: # key of METHODS once `trials` are registered
    "The name of a trial, such as mopoe_beta_0p5."
    return f"try_{method}" + (f"_{knob}_{value}".replace(".", "p") if knob else "")

def _changed(method, knob, value, teacher):
    "A method as it was before the search, with one setting changed, taught by a trial."
    m = dataclasses.replace(METHODS[method], teacher=teacher, seeds=1, settings={})
    if knob in SHARED: return dataclasses.replace(m, settings={knob: value})
    options = {k: v for k, v in m.options.items() if k not in FOUND}
    if knob: options[knob] = value
    return dataclasses.replace(m, options=options, uses_steps=m.uses_steps and knob != "steps")

def grid() -> list: # of (method, knob, value)
    "What is tried: for each method its defaults, then one change at a time."
    teachers = ("iterative", "jvae", "mopoe", "mvtcae", "jmvae")
    shared = {m: {**SHARED, **OWN.get(m, {})} for m in teachers}
    students = {s: OWN.get(s, {}) for s in STUDENTS.values()}
    return [(m, k, v) for m, knobs in {**shared, **students}.items()
            for k, values in {**({"": (None,)} if m in shared else {}), **knobs}.items()
            for v in values]

def speaker(method, knob="", value=None) -> str: # key of METHODS
    "The trial that is measured for a line of the grid: a teacher's student, or the model itself."
    return trial_of(STUDENTS.get(method, method), knob, value)

def trials() -> dict: # name -> `Method`, teachers before their students
    "All trials, and the teachers that they need."
    made = {}
    for method, knob, value in grid():
        teacher = METHODS[method].teacher and trial_of(METHODS[method].teacher)
        made[trial_of(method, knob, value)] = _changed(method, knob, value, teacher)
        if method in STUDENTS:
            taught_by = trial_of(method, knob, value)
            made[speaker(method, knob, value)] = _changed(STUDENTS[method], "", None, taught_by)
    return made


# %%
made = trials()
assert made[trial_of("mopoe", "beta", 0.5)].settings == {"beta": 0.5}
assert made[trial_of("jmvae_student", "lr", 4e-3)].teacher == trial_of("jvae", "lr", 4e-3)
assert trial_of("mvtcae", "alpha", 0.95) == "try_mvtcae_alpha_0p95"
assert made[trial_of("jmvae_student", "direction", "reverse")].teacher == trial_of("jvae")
assert all(m.teacher is None or m.teacher in made for m in made.values())
len(made)


# %% [markdown]
# A student inherits $\beta$ and the weight of the text from its teacher, whose decoders it uses (`settings_of`). Learning rate it does not: it is tried for the teacher only, and
# for students the default stands.
#
# ## By what number
#
# Losses with different $\beta$ or weights can't be compared, nor can those of different methods. What all methods are for can be: posteriors in which the class can be read off, and
# generations that fit. The *score* is the mean of two means, of linear accuracy over the three modalities given alone and of coherence over the six directions.

# %%
#| exports
def score(rows # a DataFrame with columns metric, condition and value, of one model
         ) -> dict: # accuracy, coherence and their mean, the score
    "How good a trial is, on validation items."
    pick = lambda metric, pattern: rows.value[(rows.metric == metric)
                                              & rows.condition.str.fullmatch(pattern)].mean()
    accuracy, coherence = pick("linear_accuracy", r"\w+"), pick("coherence", r"(?!all)\w+->\w+")
    return {"accuracy": accuracy, "coherence": coherence, "score": (accuracy + coherence)/2}


# %%
import pandas as pd
known = [["linear_accuracy", "mnist", .9], ["linear_accuracy", "text", 1.],
         ["linear_accuracy", "mnist+svhn", 0.], ["coherence", "mnist->svhn", .5],
         ["coherence", "mnist->svhn, mean of z", 0.]]
known = pd.DataFrame(known, columns=["metric", "condition", "value"])
assert score(known) == {"accuracy": .95, "coherence": .5, "score": .725}

# %% [markdown]
# ## Into the tables
#
# The trials would only be in the way elsewhere, so they come in as anybody's additions do: this module is a plugin. `make tuning` names it in `MMVAE_PLUGINS` and asks for its report. Each trial is measured on
# 900 validation items: from 1,000 on an evaluation also computes FIDs in general features, which the score doesn't use and which take half of its time.

# %%
#| exports
TUNING = Report("tuning", tuple(dict.fromkeys(speaker(*line) for line in grid())), # a method a line
                ("tuning",), ("tuning",))

def add_tuning():
    "Register scale, trials and report."
    scale = dataclasses.replace(SCALES["real"], updates=2000, student_updates=1000, seeds=1,
                                samples=900, probe_points=3000, oracle_items=0, split="validation")
    register(methods=trials(), scales={"tuning": scale}, reports={"tuning": TUNING})

if __name__ in os.environ.get("MMVAE_PLUGINS", "").split(","): add_tuning()

# %%
assert len(TUNING.methods) == len(grid()) and set(TUNING.methods) <= set(trials())

# %% [markdown]
# ## What is taken from it
#
# The search has been run once; its table is committed, and its page is [*What was tried*](experiments/tuning.ipynb). With one seed a small lead is chance, and a setting that doubles the price of an
# update has to beat what the default does with twice the updates, which was not tried. So the rule, set when this table was known and before any longer run had ended: of each model that is trained, the change that gains most is
# taken if it gains at least 0.02 and costs no more time. Two changes are out by their cost: MoPoE's exact loss decodes seven times instead of once, all starts refine three times as many posteriors.

# %%
tried = pd.read_csv("../results/tuning/tables/tuning.csv")
default = tried[tried.changed == "nothing"].set_index("method").score
tried["gain"] = tried.score - tried.method.map(default)
cheap = tried[(tried.gain >= 0.02) & ~tried.changed.isin(["exact", "starts"])]
taken = cheap.sort_values("gain").groupby("of").tail(1)
found = {(t.of, t.changed): t.value for t in taken.itertuples()}
assert {k: float(v) if k[1] == "lr" else v for k, v in found.items()} == {
    ("mopoe", "lr"): METHODS["mopoe_fast"].settings["lr"],
    ("iterative", "lr"): METHODS["iterative_fast"].settings["lr"],
    ("iterative_student", "warm_start"): str(METHODS["iterative_student"].options["warm_start"])}
table = taken[["of", "changed", "value", "score", "gain"]].round(3).reset_index(drop=True)
table.rename(columns={"of": "model", "changed": "setting", "value": "taken"})

# %% [markdown]
# A control takes what the method it is compared with takes: MMVAE the rate found for MoPoE, the iterative teachers of the ablations theirs, and students start warm wherever a control of the iterative
# student has encoders to start from. Birds and faces have rates of their own (lesson 14), and keep them: nothing was searched there. Changes were not combined. And the runs are short. So the two teachers of lesson 11 and MoPoE were trained at both rates at 10,000 updates, too, where each has the smaller loss on validation items at 0.002. That is what `METHODS` has for all three now; what was taken here is its `iterative_fast` and `mopoe_fast`, which are controls ([lesson 11](11_findings.ipynb#the-other-rate)). (Already here its own loss was smaller at 0.002; it was the score of its students that spoke for 0.004.) The rest of the table is left as it was tried; for MVTCAE, JMVAE-kl and the JVAE no change reached the 0.02.
#
# ## Recap
#
# One search for all, one setting at a time, on validation items, by one score; what was tried is a table of its own.
