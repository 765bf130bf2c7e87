# %% [markdown]
# # Running one job
#
# > papermill executes a notebook; what it left is tidied, what went wrong is said in one line.
#
# ::: {.callout-note}
# ## You will learn
#
# - what happens between a job's start and its files;
# - where the executed copy of a notebook is kept, and what of it may be committed.
#
# A workshop page: skip it at first. Runs in a few seconds.
# :::

# %% [markdown]
# ![Drawing: a notebook and parameters go in; if all cells run, results, an executed copy and a report's words come out, else one line and a copy up to the cell that failed.](drawings/job.svg)

# %%
#| default_exp experiments.job

# %%
#| export
import contextlib, os, re, shutil
from pathlib import Path
from mmvae_nb.core import *
from mmvae_nb.experiments.graph import notebook_file
from mmvae_nb.experiments.talk import write_talk_table

# %%
import tempfile
import nbformat
from mmvae_nb.experiments.graph import Job


# %% [markdown]
# papermill executes the notebook; the executed copy is kept beside the results, where the site finds it. What a report
# printed is kept a second time, without pictures, in `reports`, to be committed. When a cell fails, the error's last line is
# passed on and the rest stays in the copy whose name ends in `.failed.ipynb`. The job that makes `talk.csv` needs no notebook.

# %%
#| exports
def run_job(job, # a `Job`
            results # results folder of the scale
           ):
    "Do a job; `MmvaeError` with the failing cell's message."
    with _status_file(Path(results).resolve()/"status"/f"{job.name}.json"):
        write_status(state="running", text="starting")
        try:
            if job.notebook: _run_notebook(job, Path(results))
            else: write_talk_table(job.parameters["results"])
        except Exception as e:
            ours = isinstance(e, (_JobFailed, MmvaeError))
            message = str(e) if ours else f"{type(e).__name__}: {e}"
            write_status(state="failed", error=message); raise MmvaeError(message) from None
        write_status(state="done")

def _run_notebook(job, results):
    "Execute a job's notebook and keep its copies."
    papermill = from_extra("papermill")
    executed = results/"executed"/f"{job.name.split('-', 1)[1]}.ipynb"
    failed, part = executed.with_suffix(".failed.ipynb"), executed.with_suffix(".part.ipynb")
    try:
        with atomic_path(part) as tmp:
            with contextlib.suppress(OSError): failed.unlink()
            try: _execute(notebook_file(job.notebook), tmp, job.parameters)
            except papermill.PapermillExecutionError as e:
                shutil.copyfile(tmp, failed)
                raise _JobFailed(e.ename, e.evalue) from e
            _tidy(tmp, executed)
        if job.name.endswith("-report"):
            _keep_words(executed, results/"reports"/f"{Path(job.notebook).stem}.ipynb")
    finally:
        with contextlib.suppress(OSError): part.unlink()


# %%
#| exports
@contextlib.contextmanager
def _status_file(path):
    "Within: this process, and those it starts, report to `path`."
    before = os.environ.get("MMVAE_STATUS")
    os.environ["MMVAE_STATUS"] = str(path)
    try: yield
    finally:
        del os.environ["MMVAE_STATUS"]
        if before: os.environ["MMVAE_STATUS"] = before


# %%
#| exports
# glibc gives the memory of large tensors back after each update and faults it in again at the next
_KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30),
                 "MALLOC_TOP_PAD_": str(2**28)}

def _execute(source, target, parameters):
    "Run a notebook by papermill; a kernel that doesn't start gets a second chance."
    import logging
    for name, value in _KEEPS_MEMORY.items(): os.environ.setdefault(name, value)   # the kernel's
    papermill = from_extra("papermill")
    logging.getLogger("papermill").setLevel(logging.ERROR)
    for last in (False, True):
        try: return papermill.execute_notebook(
            source, target, parameters=parameters, kernel_name="python3", language="python",
            progress_bar=False, cwd=".")
        except RuntimeError as e:     # two kernels that start at once can be given the same port
            started = not re.search("before replying|didn't respond", str(e))
            if last or started: raise

class _JobFailed(Exception):
    def __str__(self):
        name, value = self.args
        first = value.strip().splitlines()[0] if value.strip() else ""
        return first if name == "MmvaeError" else f"{name}: {first}"


# %%
#| exports
def _tidy(source, target):
    "Keep an executed notebook without papermill's traces and without progress bars."
    import nbformat
    nb = nbformat.read(source, 4)
    nb.metadata.pop("papermill", None)
    for c in nb.cells:
        c.metadata = {k: v for k, v in c.metadata.items() if k == "tags" and v}
        if c.cell_type == "code":
            noise = lambda o: o.output_type == "stream" and o.name == "stderr"
            c.outputs = [o for o in c.outputs if not noise(o)]
    with atomic_path(target) as tmp: nbformat.write(nb, tmp)

def _keep_words(source, target):
    "Keep what a report printed, small enough to commit: its pictures lie in `figures`."
    import nbformat
    nb = nbformat.read(source, 4)
    shown = lambda o: any(kind.startswith("image/") for kind in o.get("data", {}))
    for c in nb.cells:
        if c.cell_type == "code": c.outputs = [o for o in c.outputs if not shown(o)]
    with atomic_path(target) as tmp: nbformat.write(nb, tmp)


# %% [markdown]
# A small notebook, once as it should be and once with a number that it refuses:

# %%
cells = ["number: int = 1  # a number", "assert number < 9, 'too many'\nprint('number', number)"]
nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
nb.cells[0].metadata["tags"] = ["parameters"]
with tempfile.TemporaryDirectory() as folder:
    nbformat.write(nb, f"{folder}/small.ipynb")
    def small(n): return Job("some-small-report", f"{folder}/small.ipynb", {"number": n}, (), ())
    run_job(small(2), folder)
    words = nbformat.read(f"{folder}/reports/small.ipynb", 4)
    try: run_job(small(10), folder)
    except MmvaeError as e: print(e)
    else: raise AssertionError("let through")
    files = sorted(p.name for p in Path(folder, "executed").iterdir())
    state = read_json(f"{folder}/status/some-small-report.json")
assert words.cells[-1].outputs[0].text == "number 2\n"
assert files == ["small-report.failed.ipynb", "small-report.ipynb"]
assert (state["state"], state["error"]) == ("failed", "AssertionError: too many")

# %% [markdown]
# ## Recap
#
# A job leaves its results, an executed copy and, for a report, the words of it; a job that fails leaves one line and the copy up to the cell that failed.
