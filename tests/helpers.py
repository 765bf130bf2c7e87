"What several tests of the experiments share: names, processes, and a copy of the project to spoil."
import os, re, resource, shutil, subprocess, sys
from pathlib import Path

import nbformat

from mmvae_nb.experiments.table import METHODS, REPORTS, parts_of

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = sorted((ROOT/"nbs"/"experiments").glob("*.ipynb"))
DATA = "mnist_svhn_text"
SMOKE = ["--scale", "smoke"]
PARTS = {p: REPORTS[p] for p in parts_of(DATA, "smoke")}
DIGIT_METHODS = [m for m in METHODS if any(m in r.methods for r in PARTS.values())]
FIGURES = [f"figures/{f}.png" for r in PARTS.values() for f in r.figures]
REPORT_FILES = (FIGURES + [f"tables/{t}.csv" for r in PARTS.values() for t in r.tables]
                + [f"reports/{r.notebook}.ipynb" for r in PARTS.values()])
HEADLINE = PARTS["headline"].methods
TALK_METHODS = ["mopoe", "jmvae_student", "iterative_student"]
MAIN = "import sys; from mmvae_nb.experiments.cli import main; sys.exit(main())"
PROGRESS = re.compile(r"looking for what is out of date \.\.\.|\[ *\d+:\d\d\] (\d+) of (\d+) jobs done \| running: .+")

def role(job):
    "judges, train, evaluate, report or talk"
    return job.name.split("-")[-1]


# ---- files

def files(folder): return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())

def half_written(folder):
    return [f for f in files(folder) if Path(f).name.startswith(".") or ".part" in f or f.endswith(".tmp")]

def times(folder):
    "Modification times of the results, by name."
    return {f: (Path(folder)/f).stat().st_mtime_ns for f in files(folder)}

def append(path): path.write_text(path.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")

def notebook(folder, *cells):
    "A small notebook `odd` in a project's experiments; its first cell has the parameters."
    (folder/"nbs").unlink(); (folder/"nbs"/"experiments").mkdir(parents=True)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nb.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nb, folder/"nbs"/"experiments"/"odd.ipynb")


# ---- what a command says

def errors(text):
    "The lines on stderr that are not progress."
    return [l for l in text.splitlines() if not PROGRESS.fullmatch(l)]

def one_error(text, *words):
    lines = errors(text)
    assert len(lines) == 1 and lines[0].startswith("mmvae: "), text
    for w in words: assert w in lines[0], lines[0]
    return lines[0]

HANGS = 3000        # seconds after which a process is thought to hang, however busy the machine is

def of_processor(seconds):
    "To be called in a new process: it is killed when it, or one that it starts, has computed for so long."
    return lambda: resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))

def run(*argv, cwd, env=None, seconds=1000):
    return subprocess.run([sys.executable, "-c", MAIN, *map(str, argv)], cwd=cwd, capture_output=True, text=True,
                          timeout=HANGS, preexec_fn=of_processor(seconds), env={**os.environ, **(env or {})})


# ---- a copy of the project, so that nothing here touches the real one

def copy_project(folder):
    folder.mkdir(parents=True)
    for what in ("mmvae_nb", "nbs/experiments"):
        shutil.copytree(ROOT/what, folder/what, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    shutil.copy2(ROOT/"Snakefile", folder)
    return folder

def environment(folder, *more, **variables):
    "For a process in a copy of the project; `more` folders with modules."
    drop = ("MMVAE_STATUS", "MMVAE_RESULTS", "MMVAE_PLUGINS")
    path = os.pathsep.join(map(str, [folder, *more]))
    return {**{k: v for k, v in os.environ.items() if k not in drop},
            "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **variables}

def set_smoke(folder, **fields):
    "Change what scale `smoke` says, in the copy's own table."
    path = folder/"mmvae_nb"/"experiments"/"table.py"
    line = f'SCALES["smoke"] = dataclasses.replace(SCALES["smoke"], **{fields!r})'
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")

def snakemake(folder, part="headline", seeds=1, device="cpu", dataset=DATA):
    "Jobs that Snakemake would run, asked as `reproduce` asks it."
    r = subprocess.run([sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--rerun-incomplete",
                        "--dry-run", "--rerun-triggers", "mtime", "params", "input", "--config", "scale=smoke",
                        f"dataset={dataset}", f"part={part}", f"seeds={seeds}",
                        "results=results", f"device={device}"],
                       cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=HANGS)
    assert r.returncode == 0, r.stdout + r.stderr
    said = r.stdout + r.stderr
    names = {n.removeprefix(f"{dataset}-") for n in re.findall(r"^(?:local)?rule (\S+):", said, re.M)} - {"all"}
    assert bool(names) != ("Nothing to be done" in said)
    return names
