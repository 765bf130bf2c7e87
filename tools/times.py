"""Run the lessons as a class would: fill the cache, or measure how long they take.

    python tools/times.py cache [NB ..]   run them, so that what they train is in the cache
    python tools/times.py time  [NB ..]   measure them with an empty and with a filled cache
"""
import argparse, os, resource, subprocess, sys, tempfile, time
from pathlib import Path

from notebooks import ROOT, numbered

TIMES = ROOT/"results"/"lesson_seconds.csv"
RUN = """
import pathlib, sys, nbdev.test as nt
sys.exit(not nt.test_nb(pathlib.Path(sys.argv[1]), skip_flags=['slow', 'cuda'])[0])
"""


def seconds(path, cache):
    "Run a lesson in a process of its own; seconds by the clock, and of the processor."
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    start, before = time.time(), used()
    env = {"OMP_NUM_THREADS": "1", **os.environ, "MMVAE_CACHE": str(cache)}
    r = subprocess.run([sys.executable, "-c", RUN, str(path.resolve())], cwd=ROOT, env=env,
                       capture_output=True, text=True)
    if r.returncode: sys.exit(f"{path.name} fails:\n{r.stdout[-1000:]}{r.stderr[-3000:]}")
    return time.time() - start, used() - before

def measured(path):
    "Seconds of one thread that a lesson takes from an empty cache, and from one it has filled."
    with tempfile.TemporaryDirectory() as cache:
        return [round(seconds(path, cache)[1]) for _ in range(2)]

def write_times(rows, file=TIMES):
    "Put {lesson: [empty, filled]} into the table, in the place of older rows."
    import pandas as pd
    old = pd.read_csv(file, index_col="lesson").T.to_dict("list") if file.exists() else {}
    table = pd.DataFrame({**old, **rows}, index=["empty_cache_s", "filled_cache_s"]).T.sort_index()
    table.to_csv(file, index_label="lesson")

def fill(paths):
    "Run lessons with the cache that `MMVAE_CACHE` names."
    cache = Path(os.environ.get("MMVAE_CACHE") or ROOT/"_cache").resolve()
    for p in paths: print(f"{p.stem}: {seconds(p, cache)[0]:.0f} s", flush=True)

def measure(paths):
    "Measure lessons into the committed table."
    for p in paths:
        empty, filled = took = measured(p)
        write_times({p.stem: took})
        print(f"{p.stem}: {empty} s from an empty cache, {filled} s from a filled one", flush=True)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sub = p.add_subparsers(required=True)
    for name, run, does in [("cache", fill, "fill the cache by running the lessons"),
                            ("time", measure, f"measure the lessons, into {TIMES.name}")]:
        s = sub.add_parser(name, help=does)
        s.add_argument("paths", nargs="*", type=Path, help="notebooks (default: every lesson)")
        s.set_defaults(run=run)
    a = p.parse_args(argv)
    a.run(a.paths or numbered())


if __name__ == "__main__": sys.exit(main())
