"What the tests of data, judges and whole runs share."
import os, shutil, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def one_line(error, most=600):
    "The text of a caught error, which must be one line and no essay."
    text = str(error.value)
    assert text and "\n" not in text and len(text) < most
    return text


def same_weights(a, b):
    "Are the parameters and buffers of two modules equal bit for bit?"
    import torch
    one, two = a.state_dict(), b.state_dict()
    return list(one) == list(two) and all(torch.equal(one[k], two[k]) for k in one)


# ---- runs in a copy of the project, so that nothing touches the real one

def role(job): return job.name.split("-")[-1]

def copy_project(folder):
    folder.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for what in ("mmvae_nb", "nbs/experiments"): shutil.copytree(ROOT/what, folder/what, ignore=ignore)
    shutil.copy2(ROOT/"Snakefile", folder)
    return folder

def environment(folder):
    drop = ("MMVAE_STATUS", "MMVAE_RESULTS")
    kept = {k: v for k, v in os.environ.items() if k not in drop}
    return {**kept, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}

def run(*argv, cwd, env=None, timeout=600):
    "The command line as a process of its own, in the folder `cwd`."
    main = "import sys; from mmvae_nb.experiments.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", main, *map(str, argv)], cwd=cwd, capture_output=True,
                          text=True, timeout=timeout, env={**os.environ, **(env or {})})
