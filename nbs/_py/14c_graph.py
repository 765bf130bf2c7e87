# %% [markdown]
# # The graph
#
# > Jobs that hang together by their files, and what each of them rests on.
#
# ::: {.callout-note}
# ## You will learn
#
# - how a part of the experiments becomes a list of jobs with inputs and outputs;
# - which source files a job rests on, read from what its code uses;
# - how one set of options serves Python, the command line and Snakemake.
#
# A workshop page: skip it at first. Runs in a few seconds.
# :::

# %% [markdown]
# ![Drawing: jobs of MoPoE and of the JVAE meet in a report; the lesson on MoPoE has changed, so its jobs and the report run again, and the JVAE's stay.](drawings/graph.svg)

# %%
#| default_exp experiments.graph

# %%
#| export
import ast, dataclasses, functools, importlib.util, json, os
from dataclasses import dataclass
from pathlib import Path
from mmvae_nb.core import *
from mmvae_nb.experiments.table import *

# %%
import contextlib


# %% [markdown]
# ## Jobs
#
# A job is one notebook of `nbs/experiments/`, run by papermill with some parameters: papermill puts a cell with their values after the one that is tagged
# `parameters`, runs all cells and keeps the copy. Jobs hang together by their files. This is the graph of the part `headline` with one seed; every evaluation
# needs one more job, `judges`, which trains the classifiers of lesson 03a, and from all evaluations one last job, `talk`, makes `talk.csv`:
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
# output files, so a build tool can tell what is out of date.

# %%
#| exports
@dataclass(frozen=True)
class Job:
    "One notebook run: what it is called, what it takes and what it makes."
    name: str
    notebook: str # file name in nbs/experiments without ending, or a path; "" makes talk.csv
    parameters: dict
    inputs: tuple # files that must exist and be older
    outputs: tuple # files it makes

def notebook_file(notebook # file name in nbs/experiments without ending, or the path of an .ipynb
                 ) -> str: # path
    "Where a job's notebook is."
    named = str(notebook).endswith(".ipynb")
    return str(notebook) if named else f"nbs/experiments/{notebook}.ipynb"


# %% [markdown]
# ## What a job rests on
#
# Besides the results of other jobs, a job
# depends on its notebook and on the source of the modules it uses, *directly or through others* (`source_closure` of lesson 00 reads them from the code): a
# changed lesson on MoPoE retrains MoPoE and redraws what shows it, and leaves the rest alone. Three things are left out:
#
# - the modules of lesson 14: what they say reaches a job through its parameters;
# - on real data, the modules that only draw;
# - in training, the pictures: a line of another colour is no other model.

# %%
#| exports
@functools.lru_cache(maxsize=None)
def _modules_of(path, changed):
    "The modules of this package that a notebook imports and uses."
    code = [c for c in read_json(path)["cells"] if c["cell_type"] == "code"]
    lines = "\n".join("".join(c["source"]) for c in code).splitlines()
    nodes = list(ast.walk(ast.parse("\n".join(l for l in lines if not l.startswith(("%", "!"))))))
    used = {"*", *(n.id for n in nodes if isinstance(n, ast.Name))}
    found = {m for n in nodes for m in _imported(n, used)}
    return tuple(sorted(m for m in found if m.startswith("mmvae_nb.")))

def _imported(node, used):
    "The modules that an import line names, if a name of it is used."
    if not isinstance(node, (ast.Import, ast.ImportFrom)): return ()
    if not {a.asname or a.name.split(".")[0] for a in node.names} & used: return ()
    return [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]

def sources(notebook, # as in `Job`
            modules, # whose code the job runs by name: of this package, or absolute
            without=() # modules to leave out, with what only they bring
           ) -> tuple: # paths, the notebook's first
    "The files whose change makes a job's result outdated."
    path = notebook_file(notebook)
    if not Path(path).is_file():
        raise MmvaeError(f"notebook: got {path}, which is not there, allowed: a notebook of the "
                         "repository; run it in a clone's root")
    uses = [m for m in _modules_of(path, os.stat(path).st_mtime_ns)
            if not m.startswith("mmvae_nb.experiments.")]
    named = frozenset([*modules, *uses])
    return path, *_files(_closure(named, ("experiments", *without), _package_version()))

@functools.lru_cache(maxsize=None)
def _closure(modules, without, version): return source_closure(*modules, without=without)

def _package_version():
    "Another number when a module of the package has been written."
    package = Path(importlib.util.find_spec("mmvae_nb").origin).parent
    return hash(tuple((str(p), p.stat().st_mtime_ns) for p in sorted(package.rglob("*.py"))))

def _files(modules):
    "The source files of modules, seen from the current folder."
    origins = [importlib.util.find_spec(full_name(m)).origin for m in modules]
    return tuple(os.path.relpath(o) for o in origins)


# %%
#| exports
def _drawn(dataset, source):
    "What has no part in results on this data."
    return DATASETS[dataset].drawn if source == "real" else ()

def _bases(dataset, *methods):
    "The modules that a data set and methods, with their teachers, name."
    d, chain = DATASETS[dataset], dict.fromkeys(t for m in methods for t in [*teachers_of(m), m])
    return [d.module, d.specs.rsplit(".", 1)[0], *(METHODS[m].module for m in chain)]

def training_sources(dataset, # a key of DATASETS
                     source, # "rendered" or "real"
                     method # a key of METHODS
                    ) -> tuple: # paths
    "The files that a training rests on; its checkpoints are named after what they say."
    without = ("plotting", *_drawn(dataset, source))
    return sources("train", ["training", *_bases(dataset, method)], without)


# %% [markdown]
# ## The jobs of a part

# %%
#| exports
@dataclass(frozen=True)
class Options:
    "What is asked for: the same in Python, on the command line and for Snakemake."
    scale: str = "quick" # a key of SCALES
    dataset: str = "mnist_svhn_text" # a key of DATASETS
    part: str = "all" # a key of REPORTS
    seeds: int | None = None # how many; the scale's number by default
    methods: tuple = () # only these methods (and their teachers), without a report
    results: str = "results" # folder above the scales
    device: str | None = None # the scale's by default
    measured: str | None = None # "kept": as `jobs_for` says

    @classmethod
    def read(cls, words # mapping: name -> value or text; other names are not looked at
            ):
        "Options from the words of a command line, or from Snakemake's configuration."
        asked = {f.name: words[f.name] for f in dataclasses.fields(cls)
                 if words.get(f.name) not in (None, "")}
        asked = {k: v if k == "methods" else int(v) if k == "seeds" else str(v)
                 for k, v in asked.items()}
        methods = str(asked.pop("methods", "")).split(",")
        return cls(**asked, methods=tuple(m.strip() for m in methods if m.strip()))

    def words(self) -> dict: # name -> text
        "The same as text, without what is left open; `read` understands it."
        text = {**vars(self), "methods": ",".join(self.methods)}
        return {k: str(v) for k, v in text.items() if v not in (None, "")}


# %%
some = Options("smoke", seeds=2, methods=("jvae", "mopoe"), results="2024")
assert Options.read(some.words()) == some and Options.read({"scale": "quick", "x": 1}) == Options()
some.words()


# %%
#| exports
def jobs_for(scale, # a key of SCALES
             dataset="mnist_svhn_text", # a key of DATASETS
             part="all", # a key of REPORTS on that data set, or "all"
             seeds=None, # how many; the scale's number by default
             methods=None, # only these methods (and their teachers), without a report
             results="results", # folder above the scales
             device=None, # the scale's by default
             measured=None # "kept": what has its metrics is not made again
            ) -> list: # of `Job`s, in an order that works
    "The experiments of a part at a scale."
    one_of("measured", measured, [None, "kept"])
    s, root = scale_of(scale, dataset), Path(results)/scale
    seeds = s.seeds if seeds is None else in_range("seeds", seeds, low=1, whole=True)
    parts = _wanted_parts(scale, dataset, part, methods)
    wanted = methods or dict.fromkeys(m for p in parts for m in REPORTS[p].methods)
    for m in wanted: one_of("methods", m, METHODS)
    wanted = dict.fromkeys(t for m in wanted for t in [*teachers_of(m), m])
    common = dict(dataset=dataset, source=s.source, items=s.items, results=str(root),
                  device=device or s.device)
    jobs = [judges := _judges_job(s, root, common)]
    for m in wanted:
        for seed in seeds_of(m, seeds): jobs += _model_jobs(s, root, common, m, seed, judges)
    reported = {**common, "scale": scale, "seeds": seeds}
    jobs += [_report_job(root, {**reported, "part": p}) for p in parts]
    talk = _talk_job(root, dataset, jobs)
    return [*(_not_measured(jobs) if measured else jobs), talk]

def _wanted_parts(scale, dataset, part, methods):
    "The reports to make: none where only some methods are asked for."
    known = parts_of(dataset)
    one_of("part", part, [*known, "all"])
    if methods: return []
    if not known: raise MmvaeError(f"part: {dataset} has no report; say which methods")
    return parts_of(dataset, scale) if part == "all" else [part]


# %% [markdown]
# `talk.csv` is shared by all data sets of a scale. Its job takes every evaluation found, of whichever data set, besides those of this graph, and makes the table
# whole: so it is out of date when any of them is newer, and not because another data set was run in between.

# %%
#| exports
def _judges_job(s, root, common):
    "Train the judges of a data set."
    d, dataset = DATASETS[common["dataset"]], common["dataset"]
    used = sources("judges", [d.module, d.judge.rsplit(".", 1)[0]],
                   _drawn(dataset, common["source"]))
    return Job(f"{dataset}-judges", "judges",
               {**common, "updates": s.judge_updates, "width": s.judge_width}, used,
               (str(root/"runs"/f"{dataset}-judges.json"),))

def _report_job(root, parameters):
    "Show a part, once all of its methods are evaluated."
    dataset, seeds, part, source = (parameters[k] for k in ("dataset", "seeds", "part", "source"))
    r = REPORTS[part]
    evaluated = [str(run_paths(root, dataset, m, i)["metrics"])
                 for m in r.methods for i in seeds_of(m, seeds)]
    used = sources(r.notebook, _bases(dataset, *r.methods), _drawn(dataset, source))
    made = [root/"tables"/f"{t}.csv" for t in r.tables]
    made += [root/figure_folder(dataset, source)/f"{f}.png" for f in r.figures]
    made += [root/"reports"/f"{Path(r.notebook).stem}.ipynb"]
    return Job(f"{dataset}-{part}-report", r.notebook, parameters, (*evaluated, *used),
               tuple(map(str, made)))

def _talk_job(root, dataset, jobs):
    "Write the table beside the talk's numbers, whole, from all that was evaluated."
    planned = {f for j in jobs for f in j.outputs if f.endswith("-metrics.json")}
    found = map(str, (root/"runs").glob("*-metrics.json"))
    return Job(f"{dataset}-talk", "", {"results": str(root)},
               (*sorted({*planned, *found}), *_files(source_closure("experiments.talk"))),
               (str(root/"tables"/"talk.csv"),))


# %%
#| exports
def _model_jobs(s, root, common, method, seed, judges):
    "Train and evaluate one method with one seed."
    dataset, source, m = common["dataset"], common["source"], METHODS[method]
    kept = set(DATASETS[dataset].settings.get("*", {})) # a method's rate was found on other data,
    if s.batch_size < SEARCHED: kept.add("lr")          # and for batches of that size
    own = {k: v for k, v in settings_of(method).items() if k not in kept}
    s = dataclasses.replace(s, **own)
    paths = {k: str(v) for k, v in run_paths(root, dataset, method, seed).items()}
    teacher = [str(run_paths(root, dataset, m.teacher, seed)["weights"])] if m.teacher else []
    common = {**common, "method": method, "seed": seed}
    learnt, stem = (paths["weights"], paths["run"]), f"{dataset}-{method}-{seed}"
    judged = DATASETS[dataset].judge.rsplit(".", 1)[0]
    used = sources("evaluate", [*_bases(dataset, method), judged], _drawn(dataset, source))
    return [Job(f"{stem}-train", "train", {**common, **_training(s, m)},
                (*teacher, *training_sources(dataset, source, method)), learnt),
            Job(f"{stem}-evaluate", "evaluate", {**common, **_evaluation(s)},
                (*learnt, *judges.outputs, *used), (paths["metrics"], paths["items"]))]

def _training(s, m):
    "What a training is told, besides the data."
    fields = ("batch_size", "lr", "latent", "beta", "steps", "text_weight", "precision", "budget")
    told = ("label", "colour", "settings", "seeds")  # to the reader, or field by field
    recipe = {k: v for k, v in dataclasses.asdict(m).items() if k not in told}
    return {"updates": getattr(s, m.updates), **{k: getattr(s, k) for k in fields},
            "settings": json.dumps(recipe, sort_keys=True)}

def _evaluation(s):
    "What an evaluation is told, besides the run."
    fields = ("probe_points", "samples", "oracle_items", "judge_updates", "judge_width", "split")
    return {k: getattr(s, k) for k in fields}


# %% [markdown]
# Which of the jobs that could run is to run first? The one with the longest chain of others behind it, because the whole is never done before that chain is. With two cores that
# is the iterative teacher, long before anything of MoPoE. How long a job takes is guessed: an evaluation takes about as long as 500 updates, that of a teacher ten times as long, because of the oracle or of the steps of its
# refinement; and who refines in training pays each of its steps.
#
# Weights are large and not committed; the numbers measured with them are. So a fresh clone would train again whatever it has the numbers of. Whoever wants only what is
# missing, a further seed or a further method, says `--measured kept`: a model whose record names the very parameters asked for, and whose metrics are there, is left out, unless somebody who is not
# measured yet needs its weights as a teacher's. (Whether the code has changed since, its record can't tell: that is why it has to be asked for.)

# %%
#| exports
def _as_asked(job):
    "Does the record of a training say the parameters of this job?"
    record = next(Path(f) for f in job.outputs if f.endswith(".json"))
    said = read_json(record).get("parameters", {}) if record.exists() else {}
    free = ("results", "device", "budget")
    if job.parameters["precision"] == "auto": free += ("precision",) # a record says what it became
    asked = {k: v for k, v in job.parameters.items() if k not in free}
    return asked == {k: said.get(k) for k in asked}

def _not_measured(jobs):
    "Jobs without those of models that are measured, but with their teachers'."
    who = lambda job: (job.parameters.get("method"), job.parameters.get("seed"))
    same = {who(j) for j in jobs if j.notebook == "train" and _as_asked(j)}
    same &= {who(j) for j in jobs if j.notebook == "evaluate" and Path(j.outputs[0]).exists()}
    left, needed = [], set()
    for job in reversed(jobs):
        measured = job.notebook == "evaluate" or needed.isdisjoint(job.outputs)
        if job.notebook in ("train", "evaluate") and who(job) in same and measured: continue
        left.append(job); needed |= set(job.inputs)
    return left[::-1]


# %% [markdown]
# Here two models were measured, of which one is the teacher of a student that was not; and a third was trained for another number of updates.

# %%
import tempfile
with (contextlib.chdir(Path(importlib.util.find_spec("mmvae_nb").origin).parent.parent),
      tempfile.TemporaryDirectory() as tmp):
    asked = dict(scale="smoke", methods=["jvae", "jmvae_student", "mopoe", "mvtcae"], results=tmp)
    for job in (all_jobs := jobs_for(**asked)):
        changed = {"updates": 7} if "mvtcae" in job.name else {}
        record = {"parameters": {**job.parameters, **changed}, "rows": []}
        if job.notebook in ("train", "evaluate") and "student" not in job.name:
            write_json(next(f for f in job.outputs if f.endswith(".json")), record)
    left = [j.name.split("-", 1)[1] for j in jobs_for(**asked, measured="kept")]
assert len(all_jobs) == 10
left

# %%
assert left == ["judges", "jvae-0-train", "jmvae_student-0-train", "jmvae_student-0-evaluate",
                "mvtcae-0-train", "mvtcae-0-evaluate", "talk"]


# %%
#| exports
def _guessed_cost(job):
    "Of a job, in updates of a model that does not refine."
    p = job.parameters
    if "method" not in p: return 100
    chain = [METHODS[m] for m in [*teachers_of(p["method"]), p["method"]][-2:]]
    refines = any(m.uses_steps for m in chain)
    teaches = any(m.teacher == p["method"] for m in METHODS.values())
    if teaches and p.get("oracle_items"): return 5000
    return p.get("updates", 500)*(1 + p.get("steps", 8) if refines else 1)

def priorities(jobs # of `jobs_for`
              ) -> dict: # name of a job -> its cost and that of the longest chain behind it
    "What to run first."
    maker, chain = {f: j.name for j in jobs for f in j.outputs}, {}
    for j in reversed(jobs):
        chain[j.name] = chain.get(j.name, 0) + _guessed_cost(j)
        for m in {maker[f] for f in j.inputs if f in maker}:
            chain[m] = max(chain.get(m, 0), chain[j.name])
    return chain


# %% [markdown]
# An order that works means: whatever a job needs of another job was made before it. And a change
# of the MoPoE lesson must not reach the JVAE's training. (The notebooks are looked for from the project's root.)

# %%
with contextlib.chdir(Path(importlib.util.find_spec("mmvae_nb").origin).parent.parent):
    jobs = jobs_for("quick", part="headline", results="nowhere")
    real = jobs_for("real", "cub", results="nowhere")
made = set()
for job in jobs:
    needs = {f for f in job.inputs if f.startswith("nowhere")}
    assert needs <= made, (job.name, needs - made); made |= set(job.outputs)
first = priorities(jobs)
name = "mnist_svhn_text-{}-0-train".format
assert first[name("iterative")] > first[name("mopoe")] and first[name("jvae")] > first[name("mopoe")]
for job in jobs:                                       # who waits is never before whom it waits for
    assert all(first[j.name] > first[job.name] for j in jobs if set(j.outputs) & set(job.inputs))
def depends(jobs, job, module):
    inputs = next(j.inputs for j in jobs if j.name.endswith(job))
    return any(f.endswith(f"/{module}.py") for f in inputs)
assert depends(jobs, "mopoe-0-train", "mopoe") and not depends(jobs, "jvae-0-train", "mopoe")
assert depends(jobs, "iterative_student-0-train", "iterative_inference")
assert not depends(jobs, "jmvae_student-0-train", "iterative_inference")
assert depends(real, "jvae-0-train", "birds") and not depends(real, "jvae-0-train", "drawn_birds")
assert not depends(real, "jvae-0-train", "metrics") and not depends(real, "jvae-0-train", "plotting")
assert len(made) == sum(len(j.outputs) for j in jobs)                      # no file is made twice
[j.name for j in jobs]

# %% [markdown]
# ## Recap
#
# Jobs follow from the tables of lesson 14. A job rests on other jobs' files, its notebook, and the modules that its code uses; one set of `Options` says which graph is meant.
