# %% [markdown]
# # Without a scheduler
#
# > The same jobs in this very process, in slices: for a machine where nothing can be installed.
#
# ::: {.callout-note}
# ## You will learn
#
# - how the notebooks of the experiments run without papermill and without Snakemake;
# - how a long run is cut into slices, each of which goes on where the last one stopped;
# - how several processes share the jobs without a scheduler that deals them out.
#
# A workshop page: skip it at first. Runs in seconds.
# :::
#
# Snakemake and papermill are what we use where they can be installed. A borrowed machine with a fast card often has PyTorch and little else, no network, and lends itself for minutes at a time. What has to be done
# there is the same: the jobs of lesson 14c, in order. A notebook is a list of cells, so running one takes a loop.

# %% [markdown]
# ![Drawing: two rows of time, one for each process, cut where a slice ends; each takes the next job that is ready, and what was cut goes on from its last saved state.](drawings/slices.svg)

# %%
#| default_exp experiments.in_process

# %%
#| export
import contextlib, os, shutil, signal, sys, time
from pathlib import Path
from mmvae_nb.core import *
from mmvae_nb.experiments.graph import notebook_file
from mmvae_nb.experiments.talk import write_talk_table

# %%
import json, tempfile


# %%
#| exports
def run_cells(notebook, # file name in nbs/experiments without ending, or a path
              parameters # dict: replaces what its cell tagged `parameters` says
             ) -> dict: # the names that its code defined
    "Execute the code of a notebook in this process."
    path = notebook_file(notebook)
    space = {"__name__": "__main__", "__file__": path, "display": print}
    for i, cell in enumerate(read_json(path)["cells"]):
        if cell["cell_type"] != "code": continue
        lines = "".join(cell["source"]).splitlines()
        text = "\n".join(l for l in lines if not l.startswith(("%", "!")))
        code = compile(text, f"{path}, cell {i}", "exec")
        exec(code, space)                                # nosec B102 # of the project's notebooks
        if "parameters" in cell["metadata"].get("tags", []): space.update(parameters)
    return space


# %%
with tempfile.TemporaryDirectory() as folder:
    cell = lambda source, *tags: dict(cell_type="code", source=[source], metadata={"tags": tags})
    cells = [cell("n, m = 1, 2", "parameters"), cell("%matplotlib inline\nsquare = n**2 + m")]
    path = Path(folder)/"square.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert run_cells(str(path), {"n": 3})["square"] == 11


# %% [markdown]
# ## In slices
#
# A slice ends by an alarm, wherever the process happens to be. Nothing is lost but the updates since the last checkpoint, because a training goes on from there (lesson 02g) and any other job is done again. What
# is there already is not made again, but for what rests on something made anew, such as the table of the talk; whether it is up to date with the code is not asked, so a folder belongs to one version of it.

# %%
#| exports
class _TimeUp(BaseException): "The slice is over. No `except Exception` on the way may catch it."

@contextlib.contextmanager
def _alarm(seconds):
    "Within: `_TimeUp` after some seconds; None for never."
    def ring(*_): raise _TimeUp
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds or 0)
    try: yield
    finally: signal.setitimer(signal.ITIMER_REAL, 0); signal.signal(signal.SIGALRM, before)

def _do(job):
    "One job. Of a report, pictures and tables are made; its page is kept without what it printed."
    if not job.notebook: return write_talk_table(job.parameters["results"])
    run_cells(job.notebook, job.parameters)
    for page in (f for f in job.outputs if f.endswith(".ipynb")):
        with atomic_path(page) as tmp: shutil.copyfile(notebook_file(job.notebook), tmp)

def _to_do(jobs):
    "Jobs of which an output is missing, and those that read what such a job makes."
    left, made = [], set()
    for job in jobs:
        if made.isdisjoint(job.inputs) and all(Path(f).exists() for f in job.outputs): continue
        left.append(job); made |= set(job.outputs)
    return left


# %% [markdown]
# ## Several processes
#
# One job seldom fills a fast card, nor all cores. So the command may be started several times, side by side, with the same options. The processes don't speak with each other. Each takes the first job whose inputs are there and that no other has locked; what another has made meanwhile it leaves out.
# If nothing is ready it waits a second and looks again, until none is left.
#
# A lock is an empty file in the cache, one for each job. The system locks it for a process and frees it when that process ends, *however* it ends; a file that merely existed would stay behind a kill and block the job for ever. So the processes have to share the cache, which those of one machine do. Where Python has no `fcntl`, start one process only.

# %%
#| exports
@contextlib.contextmanager
def _alone(job):
    "Within: True, and no other process does this job; or False, because one does."
    try: import fcntl
    except ImportError: fcntl = None
    path, free = cache_dir("locks")/digest([os.path.abspath(f) for f in job.outputs]), True
    with open(path, "w") as f:
        try: fcntl and fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError: free = False
        yield free

def _times(files): return [os.stat(f).st_mtime_ns if os.path.exists(f) else 0 for f in files]

def _done(job, before):
    "Has another process made its outputs, all anew since `before` and from inputs as they are now?"
    now = _times(job.outputs)
    anew = all(t and t != b for t, b in zip(now, before))
    return anew and min(now) >= max(_times(job.inputs), default=0)

def _one_of(left, before):
    "The first job that can be done is no longer left: (job, seconds). None if there is none now."
    missing = {f for j in left for f in j.outputs}
    for i, job in enumerate(left):
        if not missing.isdisjoint(job.inputs): continue
        with _alone(job) as free:
            if not free: continue
            started = time.time()
            if not _done(job, before[job.name]): _do(job)
            return left.pop(i), time.time() - started


# %% [markdown]
# A process that comes late can't know that another is about to make one of its inputs anew, so it may build on the old one. The other sees that what it finds is older than its inputs, and makes it again.

# %%
#| exports
def run_in_process(jobs, # `Job`s of lesson 14c, in an order that works
                   minutes=None # of this slice; None for until all is done
                  ) -> list: # names of the jobs that are left
    "Do what is not done yet, in this process; others may do the same jobs at the same time."
    os.environ.setdefault("MPLBACKEND", "Agg")
    if minutes is not None: in_range("minutes", minutes, low=1e-3)
    total = len(left := _to_do(jobs))
    before = {job.name: _times(job.outputs) for job in left}
    try:
        with _alarm(minutes and 60*minutes):
            while left:
                if (one := _one_of(left, before)) is None: time.sleep(1); continue
                print(f"{total - len(left)} of {total}: {one[0].name}, {one[1]:.0f} s",
                      file=sys.stderr, flush=True)
    except _TimeUp: print(f"time is up; {len(left)} jobs are left", file=sys.stderr, flush=True)
    return [j.name for j in left]


# %%
from mmvae_nb.experiments.graph import Job
with tempfile.TemporaryDirectory() as folder:
    made = [f"{folder}/{n}" for n in "ab"]
    cells = [cell("import time; from pathlib import Path; out, seconds = '', 0", "parameters"),
             cell("time.sleep(seconds); Path(out).write_text('made')")]
    (path := Path(folder)/"write.ipynb").write_text(json.dumps({"cells": cells}))
    todo = [Job(f"write-{n}", str(path), {"out": m, "seconds": s}, (), (m,))
            for n, m, s in zip("ab", made, (0, 60))]
    assert run_in_process(todo, minutes=.02) == ["write-b"] and Path(made[0]).exists()
    todo[1].parameters["seconds"] = 0
    with _alone(todo[1]) as free:                        # as another process would
        assert free and run_in_process(todo, minutes=.02) == ["write-b"] and not Path(made[1]).exists()
    assert run_in_process(todo) == [] and Path(made[1]).exists()

# %% [markdown]
# `mmvae reproduce --in-process --minutes 8` does it, and `for i in 1 2 3 4; do mmvae reproduce --in-process & done; wait` does it with four processes. On one graphics card NVIDIA's multi-process service lets their kernels run beside each other ([lesson 02k](02k_recording.ipynb) says what that gave). To take everything to such a machine in one file, and to bring the results home in a few small ones: `python tools/bundle.py --help`.
#
# ## Recap
#
# A job is a notebook and its parameters; who runs it does not matter, as long as it can be killed at any time. Processes that share jobs need no master: a lock that dies with its holder is enough.
