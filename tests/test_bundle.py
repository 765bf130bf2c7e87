"""Experiments without a scheduler, and the bundle that carries them to a machine without network."""
import os, subprocess, sys, tarfile
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
