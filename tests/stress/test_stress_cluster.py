"""The graph as jobs of a queue: Slurm where one runs (`sinfo` answers), and a queue of this machine's own anywhere.
`mmvae reproduce` is asked as ever; a profile of Snakemake's says where its jobs go."""
import contextlib, os, shutil, signal, subprocess, sys, time
from pathlib import Path

import psutil, pytest, yaml
from helpers import DATA, SMOKE, copy_project, environment, errors, files, half_written, run
from test_stress_kills import results, start

ASK = ["reproduce", *SMOKE, "--methods", "jvae", "--cores", "2"]
HERE = Path(__file__).resolve().parent
COMMON = {"jobs": 2, "retries": 2, "latency-wait": 30, "seconds-between-status-checks": 1}

def slurm(folder):
    for module in ("slurm", "slurm_jobstep"):
        pytest.importorskip(f"snakemake_executor_plugin_{module}")
    if not shutil.which("sinfo") or subprocess.run(["sinfo"], capture_output=True).returncode: pytest.skip("no Slurm")
    return {"executor": "slurm", "slurm-status-command": "squeue", "slurm-no-account": True,
            "slurm-init-seconds-before-status-checks": 2, "default-resources": ["mem_mb=1500", "runtime=60"]}

def own_queue(folder):
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    queue, cancel = f"{sys.executable} {HERE/'submit.py'} {folder/'queue'}", folder/"cancel"
    cancel.write_text(f'#!/bin/sh\nexec {queue} cancel "$@"\n'); cancel.chmod(0o755)      # asked by one word
    return {"executor": "cluster-generic", "cluster-generic-submit-cmd": f"{queue} run",
            "cluster-generic-status-cmd": f"{queue} status", "cluster-generic-cancel-cmd": str(cancel)}

def submitted(folder):
    "How many jobs the log of Snakemake says went to the queue."
    log = (folder/"results"/"smoke"/"logs"/"snakemake.log").read_text()
    return log.count("has been submitted with SLURM jobid") + log.count("Submitted job ")

def of_job(name, folder):
    "The process of a job of this graph that some queue has started: no child of ours."
    for p in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = p.cmdline()
            if "job" in words and f"{DATA}-{name}" in words and Path(p.cwd()) == folder and words[0] != "sh": yield p

def await_job(name, folder, process, seconds=1200):
    "A kernel of the job works by now."
    deadline = time.time() + seconds
    while time.time() < deadline and process.poll() is None:
        for p in of_job(name, folder):
            with contextlib.suppress(psutil.Error):
                if any("ipykernel" in w for c in p.children(recursive=True) for w in c.cmdline()): return p
        time.sleep(.2)
    raise AssertionError(f"{name} has not begun")

@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    "What one process makes of the same jobs."
    folder = copy_project(tmp_path_factory.mktemp("alone")/"p")
    r = run(*ASK[:-2], "--in-process", cwd=folder, env=environment(folder))
    assert r.returncode == 0, r.stderr
    return results(folder)

@pytest.fixture(params=[own_queue, slurm], ids=["own queue", "slurm"])
def queue(request, tmp_path, monkeypatch):
    "A copy of the project whose jobs go to a queue."
    folder, profile = copy_project(tmp_path/"p"), tmp_path/"profile"
    profile.mkdir()
    (profile/"config.yaml").write_text(yaml.safe_dump({**COMMON, **request.param(tmp_path)}))
    monkeypatch.setenv("SNAKEMAKE_PROFILE", str(profile))
    return folder

@pytest.mark.timeout(5400)
def test_a_job_of_a_queue_is_killed_and_the_graph_goes_on(queue, alone, count):
    process = start(queue)
    job = await_job("jvae-0-train", queue, process)
    assert process.pid not in [p.pid for p in job.parents()]                # it is the queue's
    below = job.children(recursive=True)
    job.kill()
    _, err = process.communicate()
    assert process.returncode == 0 and not errors(err), err[-3000:]
    log = (queue/"results"/"smoke"/"logs"/"snakemake.log").read_text()
    assert "Trying to restart job" in log and submitted(queue) == 5         # four jobs, and one of them again
    assert results(queue) == alone and not half_written(queue/"results")
    assert not [p for p in below if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    count("kills survived"); count("of which in the graph"); count("processes killed", 1 + len(below))

@pytest.mark.parametrize("queue", [own_queue], indirect=True, ids=["own queue"])      # of Slurm, see lesson 14e
@pytest.mark.timeout(5400)
def test_a_graph_that_is_terminated_takes_its_jobs_out_of_the_queue(queue, count):
    process = start(queue)
    job = await_job("jvae-0-train", queue, process)
    family = [job, *job.children(recursive=True)]
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 143 and errors(err) == ["mmvae: interrupted; the same command continues"], err[-3000:]
    psutil.wait_procs(family, timeout=60)
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not [f for f in files(queue/"results") if f.endswith((".safetensors", ".csv"))]
    count("processes killed", len(family))
