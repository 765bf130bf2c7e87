"""One job: what it leaves, and what it says when it fails."""
from pathlib import Path

import nbformat, pytest

from helpers import DATA, files, half_written, notebook
from mmvae_nb.core import MmvaeError, read_json, write_json
from mmvae_nb.experiments.graph import Job
from mmvae_nb.experiments.job import run_job

FAILS = {
    "ours": ("from mmvae_nb.core import MmvaeError\nraise MmvaeError('items: got 5, allowed: more')",
             "items: got 5, allowed: more"),
    "python's": ("raise KeyError('x')", "KeyError: 'x'"),
    "two lines": ("raise RuntimeError('first\\nsecond')", "RuntimeError: first"),
    "no text": ("raise ValueError()", "ValueError:"),
    "dead": ("import os; os._exit(1)", "DeadKernelError"),
}

@pytest.mark.parametrize("how", list(FAILS))
def test_a_failing_notebooks_message_is_passed_on_in_one_line(how, project, monkeypatch):
    monkeypatch.setenv("MMVAE_STATUS", "")                     # restored afterwards: run_job sets it
    code, words = FAILS[how]
    notebook(project, "number: int = 1  # a number", code)
    job = Job(f"{DATA}-odd-0-train", "odd", {"number": 2}, (), ())
    with pytest.raises(MmvaeError) as e: run_job(job, "out")
    assert str(e.value).startswith(words) and "\n" not in str(e.value)
    status = read_json("out/status/mnist_svhn_text-odd-0-train.json")
    assert status["state"] == "failed" and status["error"] == str(e.value)
    assert not half_written("out") and not Path("out/executed/odd-0-train.ipynb").exists()

@pytest.mark.parametrize("what", ["missing", "half"])
def test_a_notebook_that_cannot_be_read_is_one_line(what, project, monkeypatch):
    monkeypatch.setenv("MMVAE_STATUS", "")
    notebook(project, "number: int = 1  # a number", "1 + 1")
    path = Path("nbs/experiments/odd.ipynb")
    if what == "missing": path.unlink()
    else: path.write_text(path.read_text()[:200])
    with pytest.raises(MmvaeError) as e: run_job(Job(f"{DATA}-odd", "odd", {}, (), ()), "out")
    assert "\n" not in str(e.value) and not half_written("out")

def test_a_kernel_that_does_not_start_gets_a_second_chance(project, monkeypatch):
    import papermill
    calls, real, dead = [], papermill.execute_notebook, "Kernel died before replying to kernel_info"
    def flaky(*a, **k):
        calls.append(1)
        if len(calls) < needed: raise RuntimeError(dead)
        return real(*a, **k)
    monkeypatch.setenv("MMVAE_STATUS", ""); monkeypatch.setattr(papermill, "execute_notebook", flaky)
    notebook(project, "number: int = 1  # a number", "print(number)")
    job, needed = Job(f"{DATA}-odd-0-train", "odd", {"number": 2}, (), ()), 2
    run_job(job, "out")
    assert len(calls) == 2 and Path("out/executed/odd-0-train.ipynb").exists()
    calls.clear(); needed = 9
    with pytest.raises(MmvaeError, match=dead): run_job(job, "out")
    assert len(calls) == 2

def test_what_a_report_printed_is_kept_without_pictures(project, monkeypatch):
    monkeypatch.setenv("MMVAE_STATUS", "")
    notebook(project, "number: int = 1  # a number",
             "display({'image/png': 'AAAA', 'text/plain': 'a figure'}, raw=True); print('number', number)")
    run_job(Job(f"{DATA}-odd-report", "odd", {"number": 2}, (), ()), "out")
    kinds = lambda path: [k for c in nbformat.read(path, 4).cells for o in c.get("outputs", [])
                          for k in o.get("data", {"text": 0})]
    assert "image/png" in kinds("out/executed/odd-report.ipynb") and kinds("out/reports/odd.ipynb") == ["text"]

def test_a_job_that_works_leaves_a_tidy_notebook(project, monkeypatch):
    monkeypatch.setenv("MMVAE_STATUS", "")
    notebook(project, "number: int = 1  # a number",
             "import sys; print('noise', file=sys.stderr); print('number', number + 40)")
    run_job(Job(f"{DATA}-odd-0-train", "odd", {"number": 2}, (), ()), "out")
    nb = nbformat.read("out/executed/odd-0-train.ipynb", 4)
    outputs = [o for c in nb.cells for o in c.get("outputs", [])]
    assert [o.text for o in outputs] == ["number 42\n"] and "papermill" not in nb.metadata
    assert [c.metadata.get("tags") for c in nb.cells] == [["parameters"], ["injected-parameters"], None]
    assert files("out") == ["executed/odd-0-train.ipynb", "status/mnist_svhn_text-odd-0-train.json"]
    assert read_json("out/status/mnist_svhn_text-odd-0-train.json")["state"] == "done"

def test_a_job_without_room_for_its_status_is_done_all_the_same(project, monkeypatch):
    "Here and in its kernel: the folder of status files is a regular file."
    monkeypatch.setenv("MMVAE_STATUS", "")
    notebook(project, "number: int = 1  # a number",
             "from mmvae_nb.core import write_status\nwrite_status(step=1)\nprint('number', number + 40)")
    Path("out").mkdir(); Path("out/status").touch()
    run_job(Job(f"{DATA}-odd-0-train", "odd", {"number": 2}, (), ()), "out")
    assert files("out") == ["executed/odd-0-train.ipynb", "status"]

def test_the_talk_job_needs_no_notebook(project, monkeypatch):
    monkeypatch.setenv("MMVAE_STATUS", "")
    row = dict(metric="fid", condition="svhn->mnist", value=2., n=10)
    write_json(Path("out/runs/a-metrics.json"),
               dict(dataset=DATA, method="mopoe", seed=0, data="rendered", device="cpu", rows=[row]))
    run_job(Job("cub-talk", "", {"results": "out"}, (), ()), "out")
    assert "194.49,2," in Path("out/tables/talk.csv").read_text()
    assert files("out") == ["runs/a-metrics.json", "status/cub-talk.json", "tables/talk.csv"]
