# %% [markdown]
# # Running a graph
#
# > Snakemake decides what is run; we start it, watch it, and say in one line how far it is.
#
# ::: {.callout-note}
# ## You will learn
#
# - what is left to Snakemake, and what we read of what it prints;
# - how a run is interrupted without leaving half of anything.
#
# A workshop page: skip it at first. Runs in a few seconds.
# :::

# %% [markdown]
# ![Drawing: Snakemake starts the jobs that are out of date; each writes a status file, and from these one line of progress is made.](drawings/watch.svg)

# %%
#| default_exp experiments.watch

# %%
#| export
import contextlib, os, re, signal, subprocess, sys, threading, time
from pathlib import Path
from mmvae_nb.core import *
from mmvae_nb.experiments.table import scale_of
from mmvae_nb.experiments.graph import Options, jobs_for

# %%
import tempfile


# %% [markdown]
# Which jobs are out of date (a file they need is newer than a file they make, or their parameters have changed), and in which order and how many at a time they run, is the business of
# [Snakemake](https://snakemake.readthedocs.io). The `Snakefile` in the project's root is short: it
# makes a rule of each job. We start it, and turn the jobs' status files into one line of progress.
#
# ## What Snakemake prints
#
# Snakemake writes for people. These two functions are the only ones that read it, so a new version of it concerns them alone.

# %%
#| exports
def _steps_in(line):
    "(jobs done or None, jobs in all) if a line of Snakemake's says so, else None."
    if found := re.search(r"(\d+) of (\d+) steps", line): return tuple(map(int, found.groups()))
    if found := re.match(r"total\s+(\d+)\s*$", line): return None, int(found[1])

def _says_nothing_to_do(text):
    "Does Snakemake say that all is up to date?"
    return "Nothing to be done" in text


# %%
assert _steps_in("3 of 12 steps (25%) done") == (3, 12)
assert _steps_in("total             12") == (None, 12) and _steps_in("total wall time") is None
assert _says_nothing_to_do("Nothing to be done (all requested files are present).")


# %%
#| exports
def _snakemake(options, cores):
    "The command that starts Snakemake."
    from_extra("snakemake")
    return [sys.executable, "-m", "snakemake", "--cores", str(cores or os.cpu_count()),
            "--nolock", "--rerun-incomplete", "--rerun-triggers", "mtime", "params", "input",
            "--config", *[f"{k}={v}" for k, v in options.words().items()]]

def _outdated(command):
    "Would Snakemake run anything?"
    print("looking for what is out of date ...", file=sys.stderr, flush=True)
    out = subprocess.run([*command, "--dry-run"], capture_output=True, text=True)
    said = f"{out.stdout}\n{out.stderr}".strip()
    if out.returncode: raise MmvaeError(f"Snakemake: {said.splitlines()[-1]}")
    return not _says_nothing_to_do(said)


# %% [markdown]
# ## One line of progress

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
with tempfile.TemporaryDirectory() as folder:
    write_json(f"{folder}/status/cub-jvae-0-train.json", dict(step=5, total=20, time=time.time()))
    write_json(f"{folder}/status/cub-judges.json", dict(state="done", time=time.time()))
    line = _line(Path(folder), 1, 4, time.time() - 65)
assert line == "[ 1:05] 1 of 4 jobs done | running: jvae-0-train 25%"
line


# %%
#| exports
def _watch(process, root, log, started):
    "Follow a Snakemake process: show one line of progress until it ends."
    steps, tty = [0, 0], sys.stderr.isatty()
    reader = threading.Thread(target=_read, args=(process, log, steps), daemon=True)
    reader.start()
    shown = 0.
    while process.poll() is None:
        if steps[1] and time.time() - shown > (1 if tty else 10):
            shown, line = time.time(), _line(root, *steps, started)
            text, end = (f"\r\033[K{line[:118]}", "") if tty else (line, "\n")
            print(text, end=end, file=sys.stderr, flush=True)
        time.sleep(0.2)
    reader.join(5)
    if tty and shown: print("\r\033[K", end="", file=sys.stderr)

def _read(process, log, steps):
    "Keep what a process prints in `log`, and in `steps` how far it says it is."
    with open(log, "w", encoding="utf-8") as f:
        for text in process.stdout:
            f.write(text); f.flush()
            done, total = _steps_in(text) or (None, None)
            if done is not None: steps[0] = done
            if total is not None: steps[1] = total

def _stop(process, patience=None, jobs_too=False):
    "End Snakemake when its jobs have ended. Interrupted, it can hang: without jobs it is killed."
    psutil, patience = from_extra("psutil"), patience or _patience()
    idle, began, snakemake = 0., time.time(), psutil.Process(process.pid)
    below = _end_jobs(snakemake) if jobs_too else []        # Ctrl-C has reached them without us
    # told to terminate, Snakemake waits for what is in a queue; interrupted, it takes it out
    process.send_signal(signal.SIGINT if jobs_too else signal.SIGTERM)
    while process.poll() is None:
        time.sleep(.1)
        with contextlib.suppress(psutil.Error):
            idle = 0. if snakemake.children(recursive=True) else idle + .1
        if jobs_too and time.time() - began > patience: _kill(below); process.kill()
        if idle > patience: process.kill()
    gone, alive = psutil.wait_procs(below, timeout=patience)
    _kill(alive)

def _patience():
    "Seconds Snakemake gets to end by itself: more with a queue, whose jobs it must take out first."
    return 60 if os.environ.get("SNAKEMAKE_PROFILE") else 10

def _end_jobs(snakemake):
    "Ask all below Snakemake to end, kernels apart: their jobs see to them. Who was asked."
    psutil, below = from_extra("psutil"), []
    with contextlib.suppress(psutil.Error): below = snakemake.children(recursive=True)
    for p in below:
        with contextlib.suppress(psutil.Error):
            if "ipykernel_launcher" not in p.cmdline(): p.terminate()
    return below

def _kill(processes):
    for p in processes:
        with contextlib.suppress(from_extra("psutil").Error): p.kill()


# %% [markdown]
# ## Reproduce
#
# Before anything runs, we make sure that the data and the device are there, and that nobody else writes to the folder.

# %%
#| exports
def reproduce(scale="quick", # a key of SCALES
              dataset="mnist_svhn_text", # a key of DATASETS
              part="all", # a key of REPORTS on that data set, or "all"
              seeds=None, # how many; the scale's number by default
              methods=None, # only these methods (and their teachers), without a report
              results="results", # folder above the scales
              device=None, # auto, cpu, cuda, cuda:N or mps; the scale's by default
              measured=None, # "kept": what has its metrics isn't made again
              cores=None # jobs at a time; as many as the machine has cores by default
             ) -> list: # the `Job`s of the graph, run or not
    "Bring the results of a part up to date; `MmvaeError` with the message of the job that failed."
    if cores is not None: in_range("cores", cores, low=1, whole=True)
    if device is not None: resolve_device(device)
    options = Options(scale, dataset, part, seeds, tuple(methods or ()), str(results), device,
                      measured)
    if not Path("Snakefile").exists():
        raise MmvaeError("Snakefile: not in this folder; run from the project's root")
    jobs, root = jobs_for(**vars(options)), Path(results)/scale
    command, started = _snakemake(options, cores), time.time()
    with _only_one(root):
        if not _outdated(command): return jobs
        _preflight(scale, dataset, device)
        _run(command, root, started)
    return jobs


# %%
#| exports
def _run(command, root, started):
    "Run Snakemake to its end, or to ours."
    log = root/"logs"/"snakemake.log"
    log.parent.mkdir(exist_ok=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try: _watch(process, root, log, started)
    except BaseException as e: _stop(process, jobs_too=isinstance(e, Terminated)); raise
    if not process.returncode: return
    raise MmvaeError(_why(root, started) or f"Snakemake: exit code {process.returncode}, see {log}")

def _preflight(scale, dataset, device):
    "Fail before anything runs if data or device are missing."
    from mmvae_nb.experiments.runs import load_data
    s = scale_of(scale, dataset)
    resolve_device(device or s.device)
    for split in ("train", "validation", "test"):
        if s.source == "real": load_data(dataset, split, s.source, s.items)

def _why(root, started):
    "The message of a job that has failed since."
    for path in sorted((root/"status").glob("*.json")):
        with contextlib.suppress(MmvaeError):
            status = read_json(path)
            if status.get("state") == "failed" and status["time"] >= started:
                return f"{path.stem}: {status['error']}"

@contextlib.contextmanager
def _only_one(root):
    "Refuse a second run in the same results folder, and a folder that can't be written to."
    try:
        (root/"status").mkdir(parents=True, exist_ok=True)
        f = open(root/"status"/"lock", "w")
    except OSError as e: raise unwritable(root, e) from e
    with f:
        try:
            import fcntl
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError: pass                           # not on this system
        except OSError as e:
            raise MmvaeError(f"results: another run is writing to {root}") from e
        sweep(root)                                        # what a killed run left
        try: yield
        finally: sweep(root)                               # and a killed job of this one


# %% [markdown]
# A job that failed in this run tells why, one of an earlier run does not; and a second run is refused.

# %%
with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    with _only_one(root):
        try:
            with _only_one(root): pass
        except MmvaeError as e: print(str(e).replace(folder, "..."))
    write_json(root/"status"/"a-train.json", dict(state="failed", error="too old", time=1.))
    write_json(root/"status"/"b-train.json", dict(state="failed", error="no data", time=9.))
    assert _why(root, 5.) == "b-train: no data" and _why(root, 10.) is None

# %% [markdown]
# ## Through a cluster's queue
#
# On a cluster the jobs belong into its queue, and Snakemake has an *executor* for each kind of queue. Nothing here changes for that. A *profile* says where jobs go: a folder with
# a file `config.yaml`. For Slurm, after `pip install snakemake-executor-plugin-slurm`:
#
# ```yaml
# executor: slurm
# jobs: 20                # in the queue at a time
# retries: 2              # a job that was killed is begun again, and a training goes on from its checkpoint
# latency-wait: 60        # seconds that a file may need to be seen on another machine
# default-resources: ["mem_mb=4000", "runtime=600"]
# ```
#
# Then `SNAKEMAKE_PROFILE=that/folder mmvae reproduce ...` as ever: the line of progress, the lock and the way it ends are the same, because jobs report through files. (On a Slurm without its accounting, jobs were seen to go on
# after SIGTERM: look with `squeue`, and `scancel` them.) All machines must see
# the project's folder and its `.venv` under the same path. Each job takes one processor, as the Snakefile says. `make test-slow` runs such a graph through Slurm where `sinfo` answers,
# and anywhere through a queue of its own (Snakemake's `cluster-generic` executor): one job is killed, and the graph ends with the results of a run without a queue.
#
# ## Recap
#
# `reproduce` asks Snakemake what is out of date, and if anything is, runs it with one line of progress; interrupted, it ends when its jobs have ended; terminated (as a cluster does when time is up), it ends them first. The lock on
# the results goes last, so nobody can start a second run beside what is still ending.
