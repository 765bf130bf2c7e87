# %% [markdown]
# # The command line
#
# > `mmvae`: list data, bring results up to date, print the table, draw from a trained model.
#
# ::: {.callout-note}
# ## You will learn
#
# - which commands there are, and how one is added;
# - how wrong input ends in one line.
#
# A workshop page: skip it at first. Runs in a few seconds.
# :::

# %% [markdown]
# ![Drawing: the words of a command line go through a parser to a function that does the work, or, where they are wrong, end in one line and exit code two.](drawings/commands.svg)

# %%
#| default_exp experiments.cli

# %%
#| export
import argparse, os, re, sys
from pathlib import Path
from mmvae_nb.core import *


# %% [markdown]
# `mmvae --help` lists it. Wrong input ends in one line and exit code 2. Each command is a function that adds its options and names the function that does the work. The tables of lesson 14
# are imported inside, because a module named in `MMVAE_PLUGINS` that can't be imported is wrong input, too.

# %%
#| exports
class _Parser(argparse.ArgumentParser):
    "Says what is wrong in one line, as everything else here."
    def error(self, message):
        kinds = {"int": "a whole number", "float": "a number"}
        if m := re.match(r"argument (?:--)?([\w-]+): invalid (int|float) value: (.*)", message):
            raise MmvaeError(f"{m[1]}: got {m[3]}, allowed: {kinds[m[2]]}")
        if m := re.match(r"argument (\w+): invalid choice: (.*) \(choose from (.*)\)", message):
            raise MmvaeError(f"{m[1]}: got {m[2]}, allowed: {m[3]}")
        raise MmvaeError(f"{message} (see `{self.prog} --help`)")

def _parser():
    p = _Parser(prog="mmvae", description="Multimodal VAEs: data, experiments and their tables.")
    commands = p.add_subparsers(dest="command", required=True)
    for add in (_data_parser, _reproduce_parser, _job_parser, _table_parser, _generate_parser):
        add(commands)
    return p

def _which(p):
    "Options that say which results are meant."
    from mmvae_nb.experiments.table import DATASETS, SCALES
    p.add_argument("--scale", default="quick", help=", ".join(SCALES))
    p.add_argument("--dataset", default="mnist_svhn_text", help=", ".join(DATASETS))
    p.add_argument("--results", default=os.environ.get("MMVAE_RESULTS") or "results",
                   help="folder above the scales")

def _graph(p):
    "Options that say which graph is meant."
    from mmvae_nb.experiments.table import REPORTS
    _which(p)
    p.add_argument("--part", default="all", help=", ".join([*REPORTS, "all"]))
    p.add_argument("--seeds", type=int, help="how many; the scale's number by default")
    p.add_argument("--methods", help="comma-separated; no report then")
    p.add_argument("--device", help="auto, cpu, cuda, cuda:N, mps")
    p.add_argument("--measured", help="kept: don't train again what has its metrics")


# %% [markdown]
# ## Data

# %%
#| exports
def _check_words(a):
    "Refuse an empty word, as a variable of a shell that is not set gives it: it says nothing."
    for name, value in vars(a).items():
        if value == "":
            raise MmvaeError(f"{name}: got '', allowed: a word that says which, or to leave it out")

def _data_parser(commands):
    p = commands.add_parser("data", help="list the data found")
    p.add_argument("--download", action="store_true", help="fetch the official files first")
    p.set_defaults(run=_data)

def _data(a):
    "List the data found."
    from mmvae_nb.experiments.table import DATASETS, find
    for d in DATASETS.values():
        if a.download and d.download: print("fetched into", find(d.download)())
    for name, d in DATASETS.items():
        rows = find(d.found)().to_dict("records") if d.found else []
        for row in rows: print("\n".join(_found_row(row)))
        for source in () if rows else ("rendered", "real"): print("\n".join(_found(name, source)))

def _found_row(row):
    "Two lines on a modality, from a data set's own list."
    counts = "/".join(str(row[s]) for s in ("train", "validation", "test"))
    yield (f"{row['dataset']}  {row['modality']:6} {row['source']:9} {counts:>18}  "
           f"{row['shape']:13} {row['where']}")
    yield f"{'':17}{row['provenance']}; terms: {row['terms']}"

def _found(dataset, source):
    "Lines on a data set: counts, shapes, provenance and terms, or why it can't be used."
    from mmvae_nb.experiments.runs import load_data
    try: sets = [load_data(dataset, split, source) for split in ("train", "validation", "test")]
    except MmvaeError as e: return [f"{dataset}  {source}: {e}"]
    counts, data = "/".join(str(len(s)) for s in sets), sets[0]
    shapes = ", ".join(f"{n} {'x'.join(map(str, m.shape))}" for n, m in data.modalities.items())
    about = [f"{data.provenance[n]}; terms: {data.terms.get(n, 'not said')}"
             for n in data.modalities if n in data.provenance]
    return [f"{dataset}  {source}: {counts}  {shapes}",
            *(f"{'':17}{line}" for line in dict.fromkeys(about))]


# %% [markdown]
# ## Results

# %%
#| exports
def _reproduce_parser(commands):
    p = commands.add_parser("reproduce", help="bring results up to date")
    _graph(p)
    p.add_argument("--cores", type=int, help="jobs at a time")
    p.add_argument("--in-process", action="store_true", help="without a scheduler (lesson 14h)")
    p.add_argument("--minutes", type=float, help="of a slice, with --in-process")
    p.set_defaults(run=_reproduce)

def _options(a):
    "What is asked for, checked before anything is looked for on the disk."
    from mmvae_nb.experiments.graph import Options
    from mmvae_nb.experiments.table import METHODS, parts_of, scale_of
    o = Options.read(vars(a))
    scale_of(o.scale, o.dataset)
    one_of("part", o.part, [*parts_of(o.dataset), "all"])
    if a.methods is not None: _listed("methods", a.methods, METHODS)
    if o.seeds is not None: in_range("seeds", o.seeds, low=1, whole=True)
    one_of("measured", o.measured, [None, "kept"])
    return vars(o)

def _reproduce(a):
    "Bring results up to date, then print the table of what was asked for."
    from mmvae_nb.experiments.table import REPORTS
    from mmvae_nb.experiments.watch import reproduce
    options = _options(a)
    if a.in_process:
        from mmvae_nb.experiments.graph import jobs_for
        from mmvae_nb.experiments.in_process import run_in_process
        if run_in_process(jobs_for(**options), a.minutes): return
    elif a.minutes is not None:
        raise MmvaeError("minutes: got it without --in-process, allowed: both, or neither")
    else: reproduce(**options, cores=a.cores)
    _print_table(a, None if a.methods else REPORTS.get(a.part))

def _job_parser(commands):
    p = commands.add_parser("job", help="run one job of the graph (Snakemake calls this)")
    p.add_argument("name"); _graph(p)
    p.set_defaults(run=_job)

def _job(a):
    "Run one job of a graph."
    from mmvae_nb.experiments.graph import jobs_for
    from mmvae_nb.experiments.job import run_job
    jobs = {j.name: j for j in jobs_for(**_options(a))}
    run_job(jobs[one_of("job", a.name, jobs)], Path(a.results)/a.scale)


# %%
#| exports
def _table_parser(commands):
    p = commands.add_parser("table", help="the table beside the talk's numbers")
    _which(p)
    p.set_defaults(run=_print_table)

def _print_table(a, report=None):
    "Print our numbers beside the talk's (those a report is about), and where the figures are."
    from mmvae_nb.experiments.table import DATASETS, SCALES, show_names
    from mmvae_nb.experiments.talk import talk_rows, write_talk_table
    from mmvae_nb.plotting import table_text
    root = Path(a.results)/one_of("scale", a.scale, SCALES); one_of("dataset", a.dataset, DATASETS)
    if not any((root/"runs").glob("*-metrics.json")):
        raise MmvaeError(f"results: got none in {root}, "
                         f"allowed: what `mmvae reproduce --scale {a.scale}` makes")
    show_names()
    path = root/"tables"/"talk.csv"
    table = talk_rows(root) if path.exists() else write_talk_table(root)
    print(table_text(_worth_printing(table[table.dataset == a.dataset], report)))
    for figure in sorted((root/"figures").glob("*.png")): print("figure:", figure)
    print("table: ", path)

def _worth_printing(table, report):
    "What a report is about; else what the talk has; else from one modality to another."
    if report and report.slides:
        return table[table.slide.isin(report.slides) & table.method.isin(report.methods)]
    if table.slide.notna().any(): return table[table.slide.notna()]
    return table[table.condition.str.fullmatch(r"\w+->\w+")]


# %%
#| exports
def _generate_parser(commands):
    p = commands.add_parser("generate", help="a picture of cross-modal generation")
    p.add_argument("method"); _which(p)
    p.add_argument("--given", required=True, help="modalities, comma-separated")
    p.add_argument("--to", help="modalities; the others by default")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", default="generated.png")
    p.set_defaults(run=_generate)

def _listed(name, text, allowed):
    return [one_of(name, t.strip(), allowed) for t in text.split(",")]

def _generate(a):
    "Draw what a trained model generates for test items."
    import torch
    from mmvae_nb.experiments.runs import legible, load_data, load_run
    from mmvae_nb.experiments.table import SCALES
    from mmvae_nb.plotting import generation_grid, save_figure
    scale = one_of("scale", a.scale, SCALES)
    in_range("seed", a.seed, low=0, whole=True)
    model, run = load_run(Path(a.results)/scale, a.dataset, a.method, a.seed, shipped=True)
    given = _listed("given", a.given, model.names)
    to = _listed("to", a.to, model.names) if a.to else [n for n in model.names if n not in given]
    data = load_data(a.dataset, "test", *(run["parameters"][k] for k in ("source", "items")))
    batch, _ = data.take(10)
    with torch.no_grad(): made = model.generate({g: batch[g] for g in given}, to=to)
    rows = {f"{g}, given": legible(data.modalities[g], batch[g]) for g in given}
    rows |= {n: legible(data.modalities[n], x) for n, x in made.items()}
    print("figure:", save_figure(generation_grid(rows), a.out))


# %% [markdown]
# ## The door

# %%
#| exports
def main(argv=None # words of the command line; the process's own by default
        ) -> int: # exit code: 0, 2 for wrong input, 130 when interrupted, 143 when terminated
    "The command `mmvae`."
    try:
        with ending_when_terminated():
            a = _parser().parse_args(argv)
            _check_words(a)
            a.run(a)
        return 0
    except MmvaeError as e:
        print(f"mmvae: {e}", file=sys.stderr); return 2
    except KeyboardInterrupt as e:
        print("mmvae: interrupted; the same command continues", file=sys.stderr)
        return 143 if isinstance(e, Terminated) else 130


# %%
for bad in ["reproduce --scale huge", "reproduce --part slides", "reproduce --methods mopo",
            "table --dataset cifar", "reproduce --seeds 0", "generate jvaee --given text"]:
    assert main(bad.split()) == 2, bad

# %% [markdown]
# ## Recap
#
# A command is a parser function and a function that does the work; whatever is wrong with the input is said in one line.
