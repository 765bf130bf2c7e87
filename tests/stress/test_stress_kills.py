"""Processes that are killed: trainings at any moment, the graph with its jobs and kernels, one of two ranks."""
import contextlib, fcntl, os, signal, subprocess, sys, time

import psutil, pytest
from checkpoint_helpers import data, jvae, replaying, train
from helpers import MAIN, SMOKE, copy_project, environment, errors, files, half_written
from reader_helpers import seeded

from mmvae_nb.core import digest

# ---- trainings

def in_child(call):
    "The number of a forked process that does `call`; it writes nothing, and ends with 0."
    pid = os.fork()
    if not pid:
        code = 1
        with contextlib.suppress(BaseException): call(); code = 0
        os._exit(code)
    return pid

@pytest.mark.parametrize("name, model, how", [
    ("each update", jvae, dict(every=1)), ("every five", jvae, dict(every=5)), ("replay", replaying, dict(every=1)),
    ("best weights", jvae, dict(every=2, validation=data, every_validation=10, keep="best", schedule="constant"))])
def test_trainings_killed_at_any_moment(name, model, how, tmp_path, count):
    "At least 25 kills each; what comes out in the end is what an uninterrupted training gives, bit by bit."
    rng, kills = seeded("kills", name), 0
    how = {"updates": 60, **{k: v() if callable(v) else v for k, v in how.items()}}
    wanted, round_ = train(None, model, **how), 0
    begun = time.time(); train(tmp_path/"timed", model, **how); whole = time.time() - begun
    while kills < 25:
        folder, done, round_ = tmp_path/f"{round_}", False, round_ + 1
        while not done:
            pid = in_child(lambda: train(folder, model, **how))              # noqa: B023
            time.sleep(rng.uniform(.05, whole/2))
            if not (done := os.waitpid(pid, os.WNOHANG)[0] == pid):
                os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0); kills += 1
        assert train(folder, model, **how) == wanted
        assert [p.name for p in folder.iterdir()] == ["update_0000060"]
    count("kills survived", kills); count("processes killed", kills)


# ---- the graph

ASK = ["reproduce", *SMOKE, "--methods", "jvae", "--cores", "2"]

def start(folder):
    return subprocess.Popen([sys.executable, "-c", MAIN, *ASK], cwd=folder, text=True, start_new_session=True,
                            env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

def below(process):
    with contextlib.suppress(psutil.Error): return psutil.Process(process.pid).children(recursive=True)
    return []

def results(folder): return {f: digest((folder/"results"/f).read_bytes().hex())
                             for f in files(folder/"results") if f.endswith((".safetensors", ".npz", "talk.csv"))}

def test_a_graph_killed_twenty_times(tmp_path, count):
    whole, killed = copy_project(tmp_path/"whole"), copy_project(tmp_path/"killed")
    begun = time.time(); code = start(whole).wait(); seconds = time.time() - begun
    assert code == 0
    rng, kills, gone = seeded("graph"), 0, 0
    while kills < 20:
        process = start(killed)
        time.sleep(rng.uniform(1, .4*seconds))
        if process.poll() is None:
            family = below(process)
            os.killpg(process.pid, signal.SIGKILL); kills += 1; gone += 1 + len(family)
            psutil.wait_procs(family, timeout=20)                            # kernels see that nobody is there
            assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        process.communicate()
    process = start(killed)
    _, err = process.communicate()
    assert process.returncode == 0, err[-2000:]
    assert results(killed) == results(whole) and not half_written(killed/"results")
    count("kills survived", kills); count("of which in the graph", kills); count("processes killed", gone)

@pytest.mark.parametrize("when", ["looking", "training"])
def test_a_terminated_graph_ends_with_its_jobs_and_the_lock_goes_last(when, tmp_path, count):
    folder = copy_project(tmp_path/"p")
    process, root = start(folder), folder/"results"/"smoke"
    wanted = "status/*-train.json" if when == "training" else "status/lock"
    deadline = time.time() + 1800
    while not list(root.glob(wanted)) and process.poll() is None and time.time() < deadline: time.sleep(.1)
    kernels = lambda: [p for p in below(process) if any("ipykernel" in w for w in p.cmdline())]
    while when == "training" and not kernels() and time.time() < deadline: time.sleep(.1)
    assert process.poll() is None and (when == "looking" or kernels())
    time.sleep(1)
    family = below(process)
    os.kill(process.pid, signal.SIGTERM)
    free = None
    while process.poll() is None:
        with open(root/"status"/"lock") as f, contextlib.suppress(OSError):
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB); free = [p for p in family if p.is_running()]; break
        time.sleep(.02)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 143 and out == "" and errors(err) == ["mmvae: interrupted; the same command continues"]
    alive = lambda ps: [p for p in ps if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not alive(family) and not alive(free or [])
    assert not half_written(root)
    count("processes killed", len(family))


# ---- one of two ranks

RANKS = """
import os, sys, torch
sys.path.insert(0, sys.argv[2])
from checkpoint_helpers import HOW, data, jvae
from mmvae_nb.training import fit
from mmvae_nb.vae import Loss
rank, how = int(os.environ["RANK"]), sys.argv[1]
model = jvae()
if how != "well":
    loss, calls = model.loss, [0]
    def bad(batch):
        calls[0] += 1
        found = loss(batch)
        if calls[0] == 4 and rank == 1:
            if how == "exit": os._exit(3)
            if how == "raise": raise KeyError("no such file")
            return Loss(found.total*float("nan"), found.parts)
        return found
    model.loss = bad
rows = fit(model, data(), **HOW)
print("mean", rank, rows.total.tolist())
"""

@pytest.mark.parametrize("how", ["nan", "exit", "raise", "well"])
def test_one_of_two_ranks(how, tmp_path, count):
    (tmp_path/"two.py").write_text(RANKS)
    run = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port",
                          str(29500 + os.getpid() % 2000), str(tmp_path/"two.py"), how,
                          os.path.dirname(__file__) + "/.."], capture_output=True, text=True, timeout=3000)
    if how == "well":
        said = [l.split(" ", 2) for l in run.stdout.splitlines() if l.startswith("mean")]
        assert len(said) == 2 and said[0][2] == said[1][2]                   # both know the mean of both
    else:
        assert run.returncode
        words = {"nan": ["got nan at update 3 of process 1", "at update 3 of process 0"],
                 "exit": ["exitcode"], "raise": ["no such file"]}[how]
        assert all(w in run.stderr for w in words), run.stderr[-3000:]
        count("processes killed", 2)
