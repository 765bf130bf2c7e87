"Set before anything imports torch or matplotlib: one thread a process, no window, a cache of our own."
import contextlib, fcntl, json, os, re, signal, subprocess, sys, time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("MMVAE_CACHE", str(ROOT/"_cache"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
sys.path.insert(0, str(ROOT/"tools"))


@pytest.hookimpl(tryfirst=True)            # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items):
    for i in items:                        # one worker makes what these share, and the other is not kept waiting
        if {"smoke", "results"} & set(i.fixturenames): i.add_marker(pytest.mark.xdist_group("smoke"))
    marked = [i for i in items if i.get_closest_marker("cuda")]
    if not marked: return
    import torch
    if torch.cuda.is_available(): return
    for i in marked: i.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def empty(tmp_path, monkeypatch):
    "An empty data folder and an empty cache; the current folder has no data either."
    folder, cwd = tmp_path/"data-folder", tmp_path/"cwd"
    folder.mkdir(); cwd.mkdir()
    monkeypatch.setenv("MMVAE_DATA", str(folder))
    monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    monkeypatch.chdir(cwd)
    return folder


# ---- the experiments

@pytest.fixture
def at_root(monkeypatch): monkeypatch.chdir(ROOT)

@pytest.fixture
def project(tmp_path, monkeypatch):
    "A folder that looks like the project's root: results and Snakemake's own files go here."
    folder = tmp_path/"project"
    folder.mkdir()
    (folder/"Snakefile").symlink_to(ROOT/"Snakefile"); (folder/"nbs").symlink_to(ROOT/"nbs")
    (folder/"file").write_text("a regular file")
    monkeypatch.chdir(folder)
    for name in ("MMVAE_STATUS", "MMVAE_RESULTS", "MMVAE_PLUGINS"): monkeypatch.delenv(name, raising=False)
    return folder

def interrupt(folder):
    "Start the smoke run of a copy of the project and press Ctrl-C while the first models are being trained."
    from helpers import MAIN, SMOKE, environment, files, half_written
    process = subprocess.Popen([sys.executable, "-c", MAIN, "reproduce", *SMOKE, "--part", "headline"], cwd=folder,
                               text=True, start_new_session=True, env=environment(folder),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    root, deadline = folder/"results"/"smoke", time.time() + 1800
    while not list(root.glob("status/*-train.json")) and process.poll() is None and time.time() < deadline:
        time.sleep(0.2)
    time.sleep(1)
    with contextlib.suppress(ProcessLookupError): os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=600)
    return dict(code=process.returncode, out=out, err=err, files=files(root), half=half_written(root))

def timed(folder, *argv):
    "Run a command in a copy of the project; what it said, ran and made."
    from helpers import environment, run, times
    start, root = time.time(), folder/"results"/"smoke"
    r = run(*argv, cwd=folder, env=environment(folder))
    log = r.stderr if "--in-process" in argv else (root/"logs"/"snakemake.log").read_text()
    return dict(code=r.returncode, out=r.stdout, err=r.stderr, seconds=time.time() - start, times=times(root),
                ran=re.findall(r"^(?:(?:local)?rule |\d+ of \d+: )([^\s:,]+)", log, re.M),
                talk=(root/"tables"/"talk.csv").read_text())

def build(folder):
    """The smoke runs that the tests look at. The headline goes through the scheduler, job by job; the rest in one
    process, where a job costs its own work only."""
    from helpers import SMOKE, copy_project
    copy_project(folder)
    report = {"interrupted": interrupt(folder)}
    for name, argv in {"first": ["headline"], "second": ["headline"], "all": ["all", "--in-process"],
                       "settled": ["all"]}.items():
        report[name] = timed(folder, "reproduce", *SMOKE, "--part", *argv)
        if report[name]["code"]: raise RuntimeError(f"{name}: {report[name]['err'][-3000:]}")
    return report

@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    "(the project's copy with its results, what happened on the way). Workers of pytest-xdist share one."
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"): base = base.parent
    with open(base/"smoke.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = base/"smoke.json"
        if not done.exists():
            try: report = build(base/"smoke")
            except Exception as e: report = {"failed": f"{type(e).__name__}: {e}"}
            done.write_text(json.dumps(report))
    report = json.loads(done.read_text())
    assert "failed" not in report, report["failed"]
    return base/"smoke", report

@pytest.fixture
def results(smoke, monkeypatch):
    "The results folder, with its project as the current folder."
    monkeypatch.chdir(smoke[0])
    monkeypatch.delenv("MMVAE_RESULTS", raising=False)
    return smoke[0]/"results"/"smoke"
