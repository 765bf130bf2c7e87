"""Experiments without a scheduler, and the bundle that carries them to a machine without network."""
import json, os, signal, subprocess, sys, tarfile, time
from pathlib import Path

import pytest, torch
from safetensors.torch import load_file, save_file

import bundle
from mmvae_nb.core import MmvaeError
from mmvae_nb.experiments.cli import main

ROOT = Path(__file__).resolve().parent.parent

def test_what_a_machine_lacks_is_what_we_need_and_it_has_not():
    need, usual = bundle.closure(bundle.NEEDED), bundle.closure(bundle.USUAL)
    assert {"accelerate", "safetensors", "huggingface-hub", "psutil"} <= need - usual
    assert {"torch", "numpy", "networkx", "scikit-learn", "joblib"} <= usual          # of torch, of scikit-learn
    assert not need & {"snakemake", "papermill", "nbdev", "quarto"}

def test_a_bundle_holds_code_notebooks_wheels_and_digits_only(tmp_path, monkeypatch):
    def no_download(folder, python): (Path(folder)/"thing-1-py3-none-any.whl").write_bytes(b"wheel")
    monkeypatch.setattr(bundle, "wheels", no_download)
    for name in ("MNIST/raw/a", "svhn/b.mat", "celeba/faces.zip"):
        (tmp_path/"data"/name).parent.mkdir(parents=True, exist_ok=True); (tmp_path/"data"/name).write_bytes(b"x")
    bundle.make(tmp_path/"b.tgz", tmp_path/"data", "3.12")
    with tarfile.open(tmp_path/"b.tgz") as tar: names = set(tar.getnames())
    files = {n for n in names if "." in Path(n).name or n.endswith("/a")}
    assert {"go.py", "wheels/thing-1-py3-none-any.whl", "mmvae_nb/core.py", "nbs/experiments/train.ipynb",
            "data/MNIST/raw/a", "data/svhn/b.mat"} <= files and not any("celeba" in n and "data" in n for n in names)
    assert all(n.startswith(("go.py", "wheels", "mmvae_nb", "nbs/experiments", "data")) for n in names)

def fake_results(root):
    g = torch.Generator().manual_seed(0)
    for i in range(3):
        (root/"paper"/"weights").mkdir(parents=True, exist_ok=True); (root/"paper"/"runs").mkdir(exist_ok=True)
        state = {"w": torch.randn(40_000, generator=g), "n": torch.tensor([i])}
        save_file(state, root/"paper"/"weights"/f"m{i}.safetensors")
        (root/"paper"/"runs"/f"m{i}.json").write_text("{}"*i)
    (root/"paper"/"weights"/"m0-checkpoint").mkdir()
    (root/"paper"/"weights"/"m0-checkpoint"/"model.safetensors").write_bytes(b"not taken")

@pytest.mark.parametrize("files, whole", [(8, True), (1, False)])
def test_results_come_home_in_a_few_small_files(tmp_path, files, whole):
    fake_results(tmp_path/"results")
    count, left_out = bundle.pack(tmp_path/"results", tmp_path/"home", size=128*1024, files=files)
    parts = sorted((tmp_path/"home").iterdir())
    assert len(parts) == count <= files and all(p.stat().st_size <= 128*1024 for p in parts)
    assert (not left_out) == whole and all("weights" in n for n in left_out)       # records go first
    bundle.unpack(parts, tmp_path/"again")
    back = {p.relative_to(tmp_path/"again").as_posix() for p in (tmp_path/"again").rglob("*") if p.is_file()}
    kinds = (("runs", "json"), ("weights", "safetensors"))
    assert back | set(left_out) == {f"paper/{k}/m{i}.{e}" for k, e in kinds for i in range(3)}
    for name in (n for n in back if "weights" in n):
        a, b = load_file(tmp_path/"results"/name), load_file(tmp_path/"again"/name)
        assert b["w"].dtype == torch.float16 and torch.allclose(a["w"], b["w"].float(), rtol=1e-3, atol=1e-4)
        assert torch.equal(a["n"], b["n"])

def test_a_file_from_elsewhere_writes_nowhere_else(tmp_path):
    (tmp_path/"evil").write_text("x")
    with tarfile.open(tmp_path/"part.tar", "w") as tar: tar.add(tmp_path/"evil", "../../outside")
    with pytest.raises(tarfile.OutsideDestinationError): bundle.unpack([tmp_path/"part.tar"], tmp_path/"a"/"b")
    assert not (tmp_path/"outside").exists() and not (tmp_path.parent/"outside").exists()

def test_slices_of_a_run_make_what_one_run_makes(tmp_path):
    "A smoke training in slices that end in the middle of a notebook, with no scheduler, no papermill."
    command = [sys.executable, "-c", "import sys; sys.modules['papermill'] = sys.modules['snakemake'] = None\n"
               "from mmvae_nb.experiments.cli import main; sys.exit(main())", "reproduce", "--scale", "smoke",
               "--methods", "jvae", "--in-process", "--results"]
    env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    def go(folder, *more):
        return subprocess.run([*command, str(folder), *more], cwd=ROOT, env=env, capture_output=True, text=True)
    first = go(tmp_path/"slices", "--minutes", "0.02")
    assert "time is up; 4 jobs are left" in first.stderr and first.returncode == 0
    done = go(tmp_path/"slices")
    assert done.returncode == 0 and "4 of 4" in done.stderr and "table:" in done.stdout, done.stderr
    assert go(tmp_path/"slices").stderr == ""                                    # nothing is made twice
    assert (tmp_path/"slices"/"smoke"/"runs"/"mnist_svhn_text-jvae-0-metrics.json").exists()

def test_minutes_are_for_a_run_in_process(capsys):
    assert main(["reproduce", "--scale", "smoke", "--minutes", "3"]) == 2
    assert "minutes: got it without --in-process" in capsys.readouterr().err
    with pytest.raises(MmvaeError, match="minutes"):
        from mmvae_nb.experiments.in_process import run_in_process
        run_in_process([], minutes=0)              # an alarm after 0 seconds would never ring

def test_what_rests_on_a_job_made_again_is_made_again(tmp_path, monkeypatch):
    from mmvae_nb.experiments import in_process
    from mmvae_nb.experiments.graph import Job
    monkeypatch.chdir(tmp_path)
    jobs = [Job(name, name, {}, inputs, (name,)) for name, inputs in
            dict(train=(), other=(), evaluate=("train",), report=("evaluate", "other"), code=("file.py",)).items()]
    ran = []
    def do(job): ran.append(job.name); Path(job.outputs[0]).write_text("made")
    monkeypatch.setattr(in_process, "_do", do)
    for lost, wanted in [(None, [j.name for j in jobs]), (None, []), ("train", ["train", "evaluate", "report"]),
                         ("other", ["other", "report"]), ("report", ["report"])]:
        if lost: Path(lost).unlink()
        ran.clear()
        assert in_process.run_in_process(jobs) == [] and ran == wanted


# ---- several processes

WORKER = """
import sys
from mmvae_nb.experiments.graph import Job
from mmvae_nb.experiments.in_process import run_in_process
folder, seconds = sys.argv[1], float(sys.argv[2])
def job(name, *needs, meets=""):
    return Job(name, f"{folder}/write.ipynb", dict(folder=folder, name=name, meets=meets, seconds=seconds),
               tuple(f"{folder}/{n}" for n in needs), (f"{folder}/{name}",))
jobs = [job("a", meets="b"), job("b", meets="a"), job("c", "a"), job("d", "a", "b", "c")]
if seconds: jobs = jobs[2:3]
if __name__ == "__main__": print(run_in_process(jobs))
"""
WRITE = """
import time; from pathlib import Path
with open(f"{folder}/log", "a") as f: f.write(f"{name}\\n")
Path(f"{folder}/began-{name}").touch()
end = time.time() + 120                                 # a waits for b, b for a: no process can do both
while meets and not Path(f"{folder}/began-{meets}").exists(): assert time.time() < end; time.sleep(.02)
time.sleep(seconds); Path(f"{folder}/{name}").write_text("made")
"""

@pytest.fixture
def shared(tmp_path, monkeypatch):
    "A folder for jobs that each write a line; a function that starts a process on them."
    monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    cell = lambda source, *tags: dict(cell_type="code", source=[source], metadata={"tags": tags})
    cells = [cell("folder, name, meets, seconds = '', '', '', 0", "parameters"), cell(WRITE)]
    (tmp_path/"write.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path/"worker.py").write_text(WORKER)
    env, started = dict(os.environ, PYTHONPATH=str(ROOT)), []
    def start(seconds=0):
        command = [sys.executable, "worker.py", str(tmp_path), str(seconds)]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True))
        return started[-1]
    start.folder = tmp_path
    yield start
    for p in started: p.kill(); p.communicate()

def log(folder): return (folder/"log").read_text().split() if (folder/"log").exists() else []

def test_two_processes_share_the_jobs_and_none_is_done_twice(shared):
    both = [shared(), shared()]
    said = [p.communicate(timeout=300) for p in both]
    assert [p.returncode for p in both] == [0, 0] and [out.strip() for out, _ in said] == ["[]", "[]"], said
    lines = log(shared.folder)
    assert set(lines[:2]) == {"a", "b"} and lines[2:] == ["c", "d"]

def test_a_lock_dies_with_its_process(shared, monkeypatch):
    from mmvae_nb.experiments.graph import Job
    from mmvae_nb.experiments.in_process import run_in_process
    (shared.folder/"a").write_text("made")
    held, end = shared(seconds=600), time.time() + 120
    while not (shared.folder/"began-c").exists(): assert time.time() < end and held.poll() is None; time.sleep(.05)
    at, name = shared.folder, "c"
    job = Job(name, f"{at}/write.ipynb", dict(folder=str(at), name=name), (f"{at}/a",), (f"{at}/{name}",))
    assert run_in_process([job], minutes=.03) == ["c"] and log(at) == ["c"]
    held.send_signal(signal.SIGKILL); held.wait()
    assert run_in_process([job], minutes=2) == [] and log(at) == ["c", "c"] and (at/"c").exists()

@pytest.fixture
def in_turn(tmp_path, monkeypatch):
    "train -> evaluate -> report, as files; a function that does jobs as another process would, and what ran."
    from mmvae_nb.experiments import in_process
    from mmvae_nb.experiments.graph import Job
    monkeypatch.chdir(tmp_path); monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    jobs = [Job(n, n, {}, i, (n,)) for n, i in dict(train=(), evaluate=("train",), report=("evaluate",)).items()]
    ran, tick = [], iter(range(10**9, 10**9 + 1000))
    def write(name): Path(name).write_text("made"); os.utime(name, (next(tick),)*2)
    monkeypatch.setattr(in_process, "_do", lambda job: (ran.append(job.name), write(job.name)))
    return in_process, jobs, ran, write

def test_what_another_made_meanwhile_is_not_made_again(in_turn, monkeypatch):
    in_process, jobs, ran, write = in_turn
    for n in ("evaluate", "report"): write(n)                    # of a training that is lost
    def first(job):
        ran.append(job.name); write(job.name)
        if job.name == "train": write("evaluate")                # by another, which is as far as that
    monkeypatch.setattr(in_process, "_do", first)
    assert in_process.run_in_process(jobs) == [] and ran == ["train", "report"]

def test_what_another_made_of_something_old_is_made_again(in_turn, monkeypatch):
    in_process, jobs, ran, write = in_turn
    write("evaluate")
    def first(job):
        if job.name == "train": write("report")                  # by one that came late, of the old evaluation
        ran.append(job.name); write(job.name)
    monkeypatch.setattr(in_process, "_do", first)
    assert in_process.run_in_process(jobs) == [] and ran == ["train", "evaluate", "report"]

def test_a_job_that_waits_for_a_locked_one_is_skipped(in_turn):
    in_process, jobs, ran, _ = in_turn
    from mmvae_nb.experiments.graph import Job
    jobs = [*jobs, Job("other", "other", {}, (), ("other",))]
    with in_process._alone(jobs[0]) as free:
        assert free and in_process.run_in_process(jobs, minutes=.02) == ["train", "evaluate", "report"]
    assert ran == ["other"]
    assert in_process.run_in_process(jobs) == [] and ran == ["other", "train", "evaluate", "report"]

def test_without_locks_one_process_does_all(in_turn, monkeypatch):
    in_process, jobs, ran, _ = in_turn
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with in_process._alone(jobs[0]) as a, in_process._alone(jobs[0]) as b: assert a and b
    assert in_process.run_in_process(jobs) == [] and ran == ["train", "evaluate", "report"]

def test_processes_that_start_together_unpack_the_wheels_once(tmp_path, monkeypatch):
    import zipfile
    (tmp_path/"wheels").mkdir()
    with zipfile.ZipFile(tmp_path/"wheels"/"t-1-py3-none-any.whl", "w") as z: z.writestr("nowhere_else.py", "x = 1")
    for name in ("MMVAE_DATA", "MMVAE_CACHE"): monkeypatch.setenv(name, str(tmp_path/"elsewhere"))
    monkeypatch.setattr(os, "chdir", lambda _: None); monkeypatch.setattr(sys, "path", list(sys.path))
    is_dir, seen = Path.is_dir, []
    def late(self):
        if self.name == "lib" and not seen:                      # we look, and another is done before we are
            seen.append(1); bundle.prepare(tmp_path); return False
        return is_dir(self)
    monkeypatch.setattr(Path, "is_dir", late)
    bundle.prepare(tmp_path)
    assert seen and sorted(p.name for p in tmp_path.iterdir()) == ["lib", "wheels"]
    assert [p.name for p in (tmp_path/"lib").iterdir()] == ["nowhere_else.py"]
