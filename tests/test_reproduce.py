"""Lesson 18, reproduce: the graph from end to end, the command line, and the results it leaves."""
import ast, contextlib, dataclasses, fcntl, gzip, itertools, json, math, os, re, shutil, signal, statistics, struct, subprocess, sys, time
from pathlib import Path

import nbformat, numpy as np, pandas as pd, papermill, pytest, torch
from PIL import Image
from scipy.io import savemat

import mmvae_nb.reproduce as R
from mmvae_nb.core import MmvaeError, read_json

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = sorted((ROOT/"nbs"/"experiments").glob("*.ipynb"))
DATA = "mnist_svhn_text"
PARTS = {p: R.PARTS[p] for p in R.DATASETS[DATA].parts}
REPORT_FILES = {p: R._report_files[p] for p in PARTS}
METHODS = [m for m in R.METHODS if any(m in methods for methods, _ in PARTS.values())]
MAIN = "import sys; from mmvae_nb.reproduce import main; sys.exit(main())"
PROGRESS = re.compile(r"looking for what is out of date \.\.\.|\[ *\d+:\d\d\] (\d+) of (\d+) jobs done \| running: .+")
TALK_METHODS = ["mopoe", "jmvae_student", "iterative_student"]


# ---- the talk's numbers

# (slide, data, metric, method): how many, and their sum - added up by hand from the slides
SUMS = {
    (37, DATA, "fid", "mopoe"): (4, 887.67), (37, DATA, "fid", "jmvae_student"): (4, 236.9), (37, DATA, "fid", "iterative_student"): (4, 207.65),
    (38, DATA, "linear_accuracy", "mopoe"): (3, 2.7748), (38, DATA, "linear_accuracy", "jmvae_student"): (3, 2.7264),
    (38, DATA, "linear_accuracy", "iterative_student"): (3, 2.7747),
    (40, "cub", "fid", "mopoe"): (1, 311.319), (40, "cub", "fid", "jmvae_student"): (1, 195.425), (40, "cub", "fid", "iterative_student"): (1, 191.425),
    (40, "cub", "cosine_similarity", "mopoe"): (1, -0.004795), (40, "cub", "cosine_similarity", "jmvae_student"): (1, 0.003665),
    (40, "cub", "cosine_similarity", "iterative_student"): (1, 0.00796),
    (64, DATA, "fid", "mopoe"): (2, 449.48), (64, DATA, "fid", "jmvae_student"): (2, 119.746), (64, DATA, "fid", "iterative_student"): (2, 116.808),
    (65, DATA, "linear_accuracy", "mopoe"): (3, 2.9453), (65, DATA, "linear_accuracy", "jmvae_student"): (3, 2.9701),
    (65, DATA, "linear_accuracy", "iterative_student"): (3, 2.9763),
    (68, DATA, "teacher_student_kl", "jmvae_student"): (3, 178.313), (68, DATA, "teacher_student_kl", "iterative_student"): (3, 166.966),
    (68, "cub", "teacher_student_kl", "jmvae_student"): (2, 351.576), (68, "cub", "teacher_student_kl", "iterative_student"): (2, 749.169)}

SINGLE = [(37, "svhn->mnist", "mopoe", 194.49), (37, "text->mnist", "iterative_student", 38.691), (37, "mnist->svhn", "jmvae_student", 65.407),
          (37, "text->svhn", "mopoe", 246.85), (38, "svhn", "jmvae_student", 0.7540), (38, "text", "mopoe", 0.9992),
          (38, "mnist", "iterative_student", 0.9811), (64, "text+mnist->svhn", "mopoe", 252.50), (64, "svhn+text->mnist", "iterative_student", 44.026),
          (65, "svhn+text", "jmvae_student", 0.9900), (65, "mnist+svhn", "iterative_student", 0.9857), (68, "svhn", "iterative_student", 51.836)]

def test_the_talks_numbers():
    t = R.talk_numbers()
    assert len(t) == 52 and dict(t.dataset.value_counts()) == {DATA: 42, "cub": 10}
    got = t.groupby(["slide", "dataset", "metric", "method"], sort=False).talk_value.agg(["count", "sum"])
    assert list(got.index) == list(SUMS)                       # in the talk's order
    for key, (count, total) in SUMS.items():
        assert got.loc[key, "count"] == count and abs(got.loc[key, "sum"] - total) < 1e-6, key
    for slide, condition, method, value in SINGLE:
        rows = t[(t.slide == slide) & (t.condition == condition) & (t.method == method) & (t.dataset == DATA)]
        assert rows.talk_value.tolist() == [value]
    assert not t.duplicated(["slide", "dataset", "metric", "condition", "method"]).any()
    lower = {"fid": True, "teacher_student_kl": True, "linear_accuracy": False, "cosine_similarity": False}
    assert all((row.better == "lower") == lower[row.metric] for row in t.itertuples())


# ---- the table of experiments

GRAPHS = list(itertools.product(R.SCALES, [*PARTS, "all"], [None, 1, 2]))

@pytest.fixture
def at_root(monkeypatch): monkeypatch.chdir(ROOT)

def role(job): return job.name.split("-")[-1]

@pytest.mark.parametrize("scale, part, seeds", GRAPHS)
def test_a_graph_is_in_order_and_makes_every_file_once(scale, part, seeds, at_root):
    jobs = R.jobs_for(scale, part=part, seeds=seeds)
    outputs = [f for j in jobs for f in j.outputs]
    assert len(set(outputs)) == len(outputs) > 0 and len({j.name for j in jobs}) == len(jobs)
    made = set()
    for j in jobs:
        for f in j.inputs: assert f in made or (Path(f).is_file() and not f.startswith("results")), (j.name, f)
        assert all(f.startswith(f"results/{scale}/") for f in j.outputs)
        assert (ROOT/"nbs"/"experiments"/f"{j.notebook}.ipynb").is_file() and f"nbs/experiments/{j.notebook}.ipynb" in j.inputs
        assert json.loads(json.dumps(j.parameters)) == j.parameters
        made |= set(j.outputs)
    methods = {m for p in (PARTS if part == "all" else [part]) for m in PARTS[p][0]}
    methods |= {t for m in methods for t in TEACHERS_OF.get(m, [])}
    n = R.SCALES[scale].seeds if seeds is None else seeds
    once = ("iterative_t", "iterative_student_over_t", "refined_")                          # studies with one seed
    count = lambda methods: sum(1 if m.startswith(once) else n for m in methods)
    reports = len(PARTS) if part == "all" else 1
    assert len(jobs) == 1 + 2*count(methods) + reports        # judges; train and evaluate each; reports
    for j in jobs:
        if role(j) == "report":                                # a report waits for every method and seed
            assert sum(f.endswith("-metrics.json") for f in j.inputs) == count(PARTS[j.parameters["part"]][0])

TEACHERS_OF = {"jmvae_student": ["jvae"], "mvtcae_student": ["mvtcae"], "iterative_student": ["iterative"],
               "iterative_student_over_t": ["iterative"], "refined": ["jvae", "jmvae_student"],
               "refined_marino": ["jvae", "jmvae_student"], "refined_student": ["jvae", "jmvae_student", "refined"]}

def test_students_wait_for_their_own_teacher(at_root):
    for j in R.jobs_for("real", part="all"):
        if role(j) != "train": continue
        method, seed = j.parameters["method"], j.parameters["seed"]
        weights = [f for f in j.inputs if f.endswith(".safetensors")]
        teacher = TEACHERS_OF.get(method, [None])[-1]
        assert weights == ([f"results/real/weights/{DATA}-{teacher}-{seed}.safetensors"] if teacher else [])

def closure(*modules):
    "Modules that these import, directly or not, read from their syntax trees."
    found, todo = set(), list(modules)
    while todo:
        m = todo.pop()
        if m in found: continue
        found.add(m)
        tree = ast.parse((ROOT/"mmvae_nb"/f"{m}.py").read_text(encoding="utf-8"))
        todo += [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 1 and n.module]
    return found

def modules_of(job): return {Path(f).stem for f in job.inputs if Path(f).parent.name == "mmvae_nb"}

def test_jobs_depend_on_the_modules_they_use_and_on_no_others(at_root):
    own = {"mopoe": ["mopoe"], "jvae": ["multimodal_elbo"], "jmvae": ["jmvae"], "iterative": ["multimodal_iterative"],
           "jmvae_student": ["distillation", "multimodal_elbo"], "iterative_student": ["distillation", "multimodal_iterative"],
           "mvtcae": ["mvtcae"], "mvtcae_student": ["mvtcae"]}
    own = {m: own.get(m, ["multimodal_iterative"]) for m in METHODS}      # all others refine
    for j in R.jobs_for("quick", part="all"):
        if role(j) == "train": assert modules_of(j) == closure("training", *own[j.parameters["method"]])
        if role(j) == "evaluate": assert modules_of(j) == closure("training", "metrics", "iterative_inference", *own[j.parameters["method"]])
        if role(j) == "judges": assert modules_of(j) == closure("metrics")
    assert "mopoe" not in closure("multimodal_iterative") and "jmvae" not in closure("mopoe", "distillation")

def test_reports_depend_on_what_they_import(at_root):
    for j in R.jobs_for("quick", part="all"):
        if role(j) != "report": continue
        source = "\n".join(c.source for c in nbformat.read(ROOT/f"nbs/experiments/{j.notebook}.ipynb", 4).cells if c.cell_type == "code")
        imported = set(re.findall(r"^from mmvae_nb\.(\w+) import", source, re.M)) - {"reproduce"}
        assert imported and imported <= modules_of(j), imported - modules_of(j)

CHANGED = { # field of a scale -> another value, and the jobs that it concerns
    "source": ("real", "all"), "items": (300, "all"), "device": ("auto", "all"), "updates": (4, {"train of a model"}),
    "student_updates": (5, {"train of students"}), "refiner_updates": (5, {"train of a refiner"}),
    "study_updates": (5, {"train of a study"}), "batch_size": (8, {"train of a model", "train of students"}),
    "steps": (3, {"train of a model", "train of students"}), "lr": (1e-3, {"train of a model", "train of students"}),
    "latent": (8, {"train of a model", "train of students"}), "beta": (2.0, {"train of a model", "train of students"}),
    "precision": ("bf16", {"train of a model", "train of students"}), "probe_points": (90, {"evaluate"}), "samples": (70, {"evaluate"}),
    "oracle_items": (30, {"evaluate"}),
    "judge_updates": (11, {"judges", "evaluate"}), "judge_width": (24, {"judges", "evaluate"})}

@pytest.mark.parametrize("field", list(CHANGED))
def test_a_changed_setting_reaches_the_parameters_of_its_jobs(field, at_root, monkeypatch):
    before = {j.name: j.parameters for j in R.jobs_for("smoke", part="all")}
    value, wanted = CHANGED[field]
    assert getattr(R.SCALES["smoke"], field) != value
    monkeypatch.setitem(R.SCALES, "smoke", dataclasses.replace(R.SCALES["smoke"], **{field: value}))
    every = {"train of students", "train of a model", "train of a refiner", "train of a study"}
    if wanted == {"train of a model", "train of students"}: wanted = every
    def of(name):
        if "over_t" in name or "iterative_t" in name: return "a study"
        return "students" if "student" in name else "a refiner" if "refined" in name else "a model"
    def kind(j): return role(j) + (f" of {of(j.name)}" if role(j) == "train" else "")
    after = R.jobs_for("smoke", part="all")
    changed = {kind(j) for j in after if j.parameters != before[j.name]}
    same = {kind(j) for j in after if j.parameters == before[j.name]}
    assert not changed & same and changed == ({kind(j) for j in after} if wanted == "all" else wanted)

def test_every_setting_of_a_scale_is_looked_at():
    assert {f.name for f in dataclasses.fields(R.Scale)} == {*CHANGED, "seeds", "budget"}

@pytest.mark.parametrize("change", [dict(options={"alpha": 0.5}), dict(cls="Other")])
def test_a_changed_method_reaches_the_parameters_of_its_jobs(change, at_root, monkeypatch):
    before = {j.name: j.parameters for j in R.jobs_for("smoke", part="all")}
    monkeypatch.setitem(R.METHODS, "jmvae", dataclasses.replace(R.METHODS["jmvae"], **change))
    changed = [j.name for j in R.jobs_for("smoke", part="all") if j.parameters != before[j.name]]
    assert f"{DATA}-jmvae-0-train" in changed and f"{DATA}-mopoe-0-train" not in changed

def test_methods_bring_their_teachers_and_no_report(at_root):
    jobs = R.jobs_for("smoke", methods=["iterative_student", "iterative_student"])
    assert [j.name.removeprefix(f"{DATA}-") for j in jobs] == ["judges", "iterative-0-train", "iterative-0-evaluate",
                                                              "iterative_student-0-train", "iterative_student-0-evaluate"]
    parts = {j.name for j in R.jobs_for("smoke", part="all")}
    assert {j.name for j in jobs} < parts
    for name, m in R.METHODS.items():                          # each method can be made
        made = R.jobs_for("smoke", methods=[name], results="elsewhere", device="cuda:3")
        assert made[-1].parameters["method"] == name and made[-1].parameters["device"] == "cuda:3"
        assert all(f.startswith("elsewhere/smoke/") for j in made for f in j.outputs)

def test_budgets_and_sizes_are_sane():
    for name, s in R.SCALES.items():
        assert s.source == ("real" if name in ("real", "paper") else "rendered") and s.budget > 0 and s.samples >= 2
    smoke, quick, real, paper = (R.SCALES[k] for k in ("smoke", "quick", "real", "paper"))
    assert smoke.updates < quick.updates < real.updates < paper.updates == 40000 and smoke.device == "cpu"
    assert real.probe_points == paper.probe_points == 5000 and real.seeds == paper.seeds == 3

@pytest.mark.parametrize("call, words", [
    (lambda: R.jobs_for("huge"), "scale: got 'huge', allowed: smoke, quick, real, paper"),
    (lambda: R.jobs_for("smoke", dataset="mnist"), "dataset: got 'mnist', allowed: mnist_svhn_text"),
    (lambda: R.jobs_for("smoke", part="slides"), "part: got 'slides', allowed: headline, mnist_svhn_text, products_of_students"),
    (lambda: R.jobs_for("smoke", seeds=0), "seeds: got 0, allowed: a whole number at least 1"),
    (lambda: R.jobs_for("smoke", seeds=1.5), "seeds: got 1.5"),
    (lambda: R.jobs_for("smoke", methods=["mopoe", "vae"]), "method: got 'vae', allowed: mopoe, jvae"),
    (lambda: R.make_model("iterative_student", {}), "teacher: got None, allowed: a trained iterative"),
    (lambda: R.load_run("nowhere", DATA, "mopoe"), "nowhere/runs/mnist_svhn_text-mopoe-0.json: no such file")])
def test_wrong_names_get_one_line(call, words, at_root):
    with pytest.raises(MmvaeError) as e: call()
    assert str(e.value).startswith(words) and "\n" not in str(e.value)


# ---- the experiments' notebooks

def parameters_of(path, folder):
    "The parameters as papermill finds them; it wants a kernel named in the notebook."
    nb = nbformat.read(path, 4)
    nb.metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3", "language": "python"})
    nbformat.write(nb, folder/path.name)
    return papermill.inspect_notebook(str(folder/path.name))

def cells_tagged(path, tag): return [c for c in nbformat.read(path, 4).cells if tag in c.metadata.get("tags", [])]

@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_every_experiment_has_explained_parameters(path, tmp_path):
    cell, = cells_tagged(path, "parameters")
    lines = [l for l in cell.source.splitlines() if l.strip()]
    found = parameters_of(path, tmp_path)
    assert len(found) == len(lines) >= 5                       # papermill sees each of them
    for name, p in found.items():
        assert p["name"] == name and p["help"].strip() and p["default"] not in ("", "None") and p["inferred_type_name"] in ("str", "int", "float"), p
        value = ast.literal_eval(p["default"])
        assert type(value).__name__ == p["inferred_type_name"]

@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_an_experiment_is_prose_and_no_export(path):
    nb = nbformat.read(path, 4)
    assert nb.cells[0].cell_type == "markdown" and nb.cells[0].source.startswith("# ")
    assert not any(re.search(r"^#\| *(export|default_exp)", c.source, re.M) for c in nb.cells)

@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_papermill_can_inspect_an_experiment_as_it_is(path): assert papermill.inspect_notebook(str(path))

@pytest.mark.parametrize("scale, part", itertools.product(R.SCALES, PARTS))
def test_notebooks_know_every_parameter_they_are_given(scale, part, at_root, tmp_path):
    known = {p.stem: parameters_of(p, tmp_path) for p in EXPERIMENTS}
    jobs = R.jobs_for(scale, part=part)
    assert {j.notebook for j in jobs} <= set(known)
    for j in jobs:
        assert set(j.parameters) == set(known[j.notebook]), (j.name, set(j.parameters) ^ set(known[j.notebook]))
        kinds = {"int": (int, type(None)), "float": (int, float), "str": str}
        for k, v in j.parameters.items(): assert isinstance(v, kinds[known[j.notebook][k]["inferred_type_name"]])

def test_defaults_are_the_smoke_size(at_root, tmp_path):
    for path in EXPERIMENTS:
        defaults = {k: ast.literal_eval(p["default"]) for k, p in parameters_of(path, tmp_path).items()}
        jobs = [j for j in R.jobs_for("smoke", defaults["dataset"], part="all") if j.notebook == path.stem]
        assert jobs
        for k in ("source", "items", "updates", "batch_size", "steps", "probe_points", "samples", "judge_updates", "seeds", "scale", "budget"):
            if k in defaults: assert defaults[k] == jobs[0].parameters[k], (path.stem, k)

def test_every_part_has_a_notebook_and_every_report_a_part():
    assert {report for _, report in R.PARTS.values()} == {p.stem for p in EXPERIMENTS} - {"train", "evaluate", "judges"}


# ---- the command line, with bad input

def errors(text):
    "The lines on stderr that are not progress."
    return [l for l in text.splitlines() if not PROGRESS.fullmatch(l)]

def one_error(text, *words):
    lines = errors(text)
    assert len(lines) == 1 and lines[0].startswith("mmvae: "), text
    for w in words: assert w in lines[0], lines[0]
    return lines[0]

def files(folder): return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())

def half_written(folder): return [f for f in files(folder) if Path(f).name.startswith(".") or ".partial" in f or f.endswith(".tmp")]

@pytest.fixture
def project(tmp_path, monkeypatch):
    "A folder that looks like the project's root: results and Snakemake's own files go here."
    folder = tmp_path/"project"
    folder.mkdir()
    (folder/"Snakefile").symlink_to(ROOT/"Snakefile"); (folder/"nbs").symlink_to(ROOT/"nbs")
    (folder/"file").write_text("a regular file")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MMVAE_STATUS", raising=False); monkeypatch.delenv("MMVAE_RESULTS", raising=False)
    return folder

SMOKE = ["--scale", "smoke"]
BAD = {
    "scale": (["reproduce", "--scale", "big"], "scale: got 'big', allowed: smoke, quick, real, paper"),
    "scale of table": (["table", "--scale", "big"], "scale: got 'big'"),
    "scale of generate": (["generate", "mopoe", "--scale", "big", "--given", "mnist"], "scale: got 'big'"),
    "part": (["reproduce", *SMOKE, "--part", "slides"], "part: got 'slides', allowed: headline, mnist_svhn_text, products_of_students"),
    "dataset": (["reproduce", *SMOKE, "--dataset", "imagenet"], "dataset: got 'imagenet', allowed: mnist_svhn_text"),
    "dataset of table": (["table", *SMOKE, "--dataset", "imagenet"], "dataset: got 'imagenet'"),
    "dataset of generate": (["generate", "mopoe", *SMOKE, "--dataset", "imagenet", "--given", "mnist"], "dataset: got 'imagenet'"),
    "method": (["reproduce", *SMOKE, "--methods", "jvae,mopo"], "method: got 'mopo', allowed: mopoe, jvae"),
    "method of generate": (["generate", "mopo", *SMOKE, "--given", "mnist"], "method: got 'mopo'"),
    "seeds 0": (["reproduce", *SMOKE, "--seeds", "0"], "seeds: got 0, allowed: a whole number at least 1"),
    "seeds -1": (["reproduce", *SMOKE, "--seeds", "-1"], "seeds: got -1"),
    "device": (["reproduce", *SMOKE, "--device", "cuda:99"], "device: got 'cuda:99', this machine has: auto, cpu"),
    "results below a file": (["reproduce", *SMOKE, "--results", "file/x"], "file/x/smoke/logs: can't be written to"),
    "results below a file, generate": (["generate", "mopoe", *SMOKE, "--results", "file/x", "--given", "mnist"], "file/x/smoke/runs"),
    "results below a file, job": (["job", f"{DATA}-judges", *SMOKE, "--results", "file/x"], "file/x/smoke/status: can't be written to"),
    "results below a file, table": (["table", *SMOKE, "--results", "file/x"], "results: got none in file/x/smoke"),
    "results in proc": (["reproduce", *SMOKE, "--results", "/proc/x"], "/proc/x/smoke/logs: can't be written to"),
    "results that is a number": (["reproduce", *SMOKE, "--results", "2024", "--device", "cuda:99"], "device: got 'cuda:99'"),
    "no results": (["table", *SMOKE], "results: got none in results/smoke, allowed: what `mmvae reproduce --scale smoke` makes"),
    "no run": (["generate", "mopoe", *SMOKE, "--given", "mnist"], "results/smoke/runs/mnist_svhn_text-mopoe-0.json: no such file"),
    "job": (["job", "nothing", *SMOKE], "job: got 'nothing', allowed: mnist_svhn_text-judges"),
    "argument": (["reproduce", *SMOKE, "--seeds", "two"], "seeds"),
    "command": (["reproduec"], "reproduec"),
}
KNOWN = {}

@pytest.mark.parametrize("argv, words", [
    pytest.param(*v, id=k, marks=[pytest.mark.xfail(strict=True, reason=KNOWN[k])] if k in KNOWN else []) for k, v in BAD.items()])
def test_bad_input_is_one_line(argv, words, project, capsys):
    before = files(project)
    try: code = R.main(argv)
    except SystemExit as e: code = e.code
    out, err = capsys.readouterr()
    assert code not in (0, None) and out == ""
    one_error(err, words)
    new = set(files(project)) - set(before)
    assert {Path(f).name for f in new if ".snakemake" not in f} <= {"last.json", "lock"} and not half_written(project/"results")

def test_outside_the_project_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert R.main(["reproduce", *SMOKE]) == 2
    one_error(capsys.readouterr().err, "Snakefile: not in this folder")
    assert files(tmp_path) == []

def run(*argv, cwd, env=None, timeout=600):
    return subprocess.run([sys.executable, "-c", MAIN, *map(str, argv)], cwd=cwd, capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **(env or {})})

def test_the_exit_code_of_a_real_process(project):
    r = run("reproduce", "--scale", "big", cwd=project)
    assert r.returncode == 2 and r.stdout == "" and r.stderr == "mmvae: scale: got 'big', allowed: smoke, quick, real, paper\n"

def test_a_second_run_in_the_same_folder_is_refused(project, capsys):
    (project/"results"/"smoke"/"status").mkdir(parents=True)
    with open(project/"results"/"smoke"/"status"/"lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        assert R.main(["reproduce", *SMOKE]) == 2
    one_error(capsys.readouterr().err, "another run is writing to results/smoke")


# ---- real data that is absent or damaged

def idx(array): return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())

def put_real(folder, n=240):
    "Small files in the true formats; images that are all alike."
    raw = folder/"MNIST"/"raw"
    raw.mkdir(parents=True); (folder/"svhn").mkdir()
    y = (np.arange(n) % 10).astype(np.uint8)
    for part in ("train", "t10k"):
        (raw/f"{part}-images-idx3-ubyte.gz").write_bytes(idx(np.random.default_rng(0).integers(0, 255, (n, 28, 28), dtype=np.uint8)))
        (raw/f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(y))
    savemat(folder/"svhn"/"test_32x32_first10000.mat", {"X": np.zeros((32, 32, 3, n), np.uint8), "y": (y + 1)[:, None],
            "photo": (np.arange(n) // 2 + 1).astype(np.uint16)[:, None]}, do_compression=True)

@pytest.mark.parametrize("damage, words", [
    ("absent", "svhn: real data asked for"), ("no mnist", "mnist: real data asked for"),
    ("half an archive", "train-images-idx3-ubyte.gz: damaged or incomplete"), ("half a matrix", "test_32x32_first10000.mat: damaged or incomplete"),
    ("empty labels", "t10k-labels-idx1-ubyte.gz: damaged or incomplete")])
def test_real_data_absent_or_damaged_is_one_line(damage, words, project, tmp_path, monkeypatch, capsys):
    folder = tmp_path/"real"
    folder.mkdir()
    monkeypatch.setenv("MMVAE_DATA", str(folder)); monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    monkeypatch.setattr(R, "_outdated", lambda command: True)  # Snakemake's own look is tested elsewhere
    monkeypatch.setattr(R.subprocess, "Popen", lambda *a, **k: pytest.fail("jobs were started"))
    if damage != "absent": put_real(folder)
    for f, keep in {"no mnist": ("MNIST/raw/train-labels-idx1-ubyte.gz", None), "half an archive": ("MNIST/raw/train-images-idx3-ubyte.gz", 0.5),
                    "half a matrix": ("svhn/test_32x32_first10000.mat", 0.5), "empty labels": ("MNIST/raw/t10k-labels-idx1-ubyte.gz", 0.)}.items():
        if f != damage: continue
        path = folder/keep[0]
        if keep[1] is None: path.unlink()
        else: path.write_bytes(path.read_bytes()[:int(keep[1]*path.stat().st_size)])
    assert R.main(["reproduce", "--scale", "real"]) == 2
    line = one_error(capsys.readouterr().err, words)
    if damage == "absent": assert str(folder) in line and "MMVAE_DATA" in line
    assert files(project/"results"/"real") == ["logs/last.json", "status/lock"] and not half_written(tmp_path)
    unpacked = [p for p in (tmp_path/"cache").rglob("*-ubyte")]
    assert all(p.stat().st_size == {"images": 16 + 240*784, "labels": 8 + 240}[p.name.split("-")[1]] for p in unpacked)

def test_whole_small_real_files_are_accepted(project, tmp_path, monkeypatch, capsys):
    "The same files undamaged pass, so the lines above are about the damage."
    (tmp_path/"real").mkdir(); put_real(tmp_path/"real")
    monkeypatch.setenv("MMVAE_DATA", str(tmp_path/"real")); monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    R._preflight("real", DATA, "cpu")
    assert R.main(["data"]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path/"real") in out and "absent" not in out and "unusable" not in out

def test_absent_real_data_from_end_to_end(project, tmp_path):
    "With Snakemake's look at the graph, in a process of its own."
    r = run("reproduce", "--scale", "real", cwd=project, env={"MMVAE_DATA": str(tmp_path/"none"), "MMVAE_CACHE": str(tmp_path/"cache")})
    assert r.returncode == 2 and r.stdout == ""
    one_error(r.stderr, "real data asked for", "MMVAE_DATA")
    assert files(project/"results") == ["real/logs/last.json", "real/status/lock"]


# ---- a job that fails

def notebook(folder, *cells, parameters=True):
    (folder/"nbs").unlink(); (folder/"nbs"/"experiments").mkdir(parents=True)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nb.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nb, folder/"nbs"/"experiments"/"odd.ipynb")

FAILS = {
    "ours": ("from mmvae_nb.core import MmvaeError\nraise MmvaeError('items: got 5, allowed: more')", "items: got 5, allowed: more"),
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
    job = R.Job(f"{DATA}-odd-0-train", "odd", {"number": 2}, (), ())
    with pytest.raises(MmvaeError) as e: R.run_job(job, "out")
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
    with pytest.raises(MmvaeError) as e: R.run_job(R.Job(f"{DATA}-odd", "odd", {}, (), ()), "out")
    assert "\n" not in str(e.value) and not half_written("out")

def test_a_hanging_snakemake_is_killed_but_not_before_its_jobs_have_ended():
    deaf = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    job = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3)']).wait(); "
    process = subprocess.Popen([sys.executable, "-c", deaf + "print(1, flush=True); " + job + "time.sleep(600)"], stdout=subprocess.PIPE)
    process.stdout.read(1)
    start = time.time(); R._stop(process, patience=.5)
    assert process.returncode == -9 and time.time() - start > 2

def test_a_kernel_that_does_not_start_gets_a_second_chance(project, monkeypatch):
    import papermill
    calls, real, dead = [], papermill.execute_notebook, "Kernel died before replying to kernel_info"
    def flaky(*a, **k):
        calls.append(1)
        if len(calls) < needed: raise RuntimeError(dead)
        return real(*a, **k)
    monkeypatch.setenv("MMVAE_STATUS", ""); monkeypatch.setattr(papermill, "execute_notebook", flaky)
    notebook(project, "number: int = 1  # a number", "print(number)")
    job, needed = R.Job(f"{DATA}-odd-0-train", "odd", {"number": 2}, (), ()), 2
    R.run_job(job, "out")
    assert len(calls) == 2 and Path("out/executed/odd-0-train.ipynb").exists()
    calls.clear(); needed = 9
    with pytest.raises(MmvaeError, match=dead): R.run_job(job, "out")
    assert len(calls) == 2

def test_what_a_report_printed_is_kept_without_pictures(project, monkeypatch):
    monkeypatch.setenv("MMVAE_STATUS", "")
    notebook(project, "number: int = 1  # a number", "display({'image/png': 'AAAA', 'text/plain': 'a figure'}, raw=True); print('number', number)")
    R.run_job(R.Job(f"{DATA}-odd-report", "odd", {"number": 2}, (), ()), "out")
    kinds = lambda path: [k for c in nbformat.read(path, 4).cells for o in c.get("outputs", []) for k in o.get("data", {"text": 0})]
    assert "image/png" in kinds("out/executed/odd-report.ipynb") and kinds("out/reports/odd.ipynb") == ["text"]

def test_a_job_that_works_leaves_a_tidy_notebook(project, monkeypatch):
    monkeypatch.setenv("MMVAE_STATUS", "")
    notebook(project, "number: int = 1  # a number", "import sys; print('noise', file=sys.stderr); print('number', number + 40)")
    R.run_job(R.Job(f"{DATA}-odd-0-train", "odd", {"number": 2}, (), ()), "out")
    nb = nbformat.read("out/executed/odd-0-train.ipynb", 4)
    outputs = [o for c in nb.cells for o in c.get("outputs", [])]
    assert [o.text for o in outputs] == ["number 42\n"] and "papermill" not in nb.metadata
    assert [c.metadata.get("tags") for c in nb.cells] == [["parameters"], ["injected-parameters"], None]
    assert files("out") == ["executed/odd-0-train.ipynb", "status/mnist_svhn_text-odd-0-train.json"]
    assert read_json("out/status/mnist_svhn_text-odd-0-train.json")["state"] == "done"


# ---- a copy of the project, so that nothing here touches the real one

def copy_project(folder):
    folder.mkdir(parents=True)
    for what in ("mmvae_nb", "nbs/experiments"):
        shutil.copytree(ROOT/what, folder/what, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    shutil.copy2(ROOT/"Snakefile", folder)
    return folder

def environment(folder):
    drop = ("MMVAE_STATUS", "MMVAE_RESULTS")
    return {**{k: v for k, v in os.environ.items() if k not in drop}, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}

def times(folder):
    "Modification times of the results; the lock, logs and statuses are no results."
    return {f: (Path(folder)/f).stat().st_mtime_ns for f in files(folder)}

def set_smoke(folder, **fields):
    "Change what scale `smoke` says, in the copy's own table."
    path = folder/"mmvae_nb"/"reproduce.py"
    line = f'SCALES["smoke"] = dataclasses.replace(SCALES["smoke"], **{fields!r})'
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")

def test_a_failing_job_ends_the_run_with_its_message(tmp_path):
    folder = copy_project(tmp_path/"p")
    set_smoke(folder, items=5)
    r = run("reproduce", *SMOKE, "--methods", "jvae", cwd=folder, env=environment(folder))
    assert r.returncode == 2 and r.stdout == ""
    one_error(r.stderr, "items: got 5, allowed: a whole number at least 10", f"{DATA}-j")
    assert not half_written(folder/"results") and not any(f.endswith((".safetensors", ".csv", ".png")) for f in files(folder/"results"))


# ---- the smoke graph, once for this module, whoever comes first

def started(folder):
    return subprocess.Popen([sys.executable, "-c", MAIN, "reproduce", *SMOKE, "--part", "headline"], cwd=folder, text=True, start_new_session=True,
                            env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

def interrupt(folder):
    "Start the run and press Ctrl-C while the first models are being trained."
    process, root = started(folder), folder/"results"/"smoke"
    deadline = time.time() + 300
    while not list(root.glob("status/*-train.json")) and process.poll() is None and time.time() < deadline: time.sleep(0.2)
    time.sleep(1)
    with contextlib.suppress(ProcessLookupError): os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return dict(code=process.returncode, out=out, err=err, files=files(root), half=half_written(root))

def timed(folder, *argv):
    start, root = time.time(), folder/"results"/"smoke"
    r = run(*argv, cwd=folder, env=environment(folder), timeout=1100)
    log = root/"logs"/"snakemake.log"
    return dict(code=r.returncode, out=r.stdout, err=r.stderr, seconds=time.time() - start, times=times(root),
                ran=re.findall(r"^(?:local)?rule (\S+):", log.read_text(), re.M), talk=(root/"tables"/"talk.csv").read_text())

def build(folder):
    copy_project(folder)
    report = {"interrupted": interrupt(folder)}
    for name, argv in {"first": ["reproduce", *SMOKE, "--part", "headline"], "second": ["reproduce", *SMOKE, "--part", "headline"],
                       "all": ["reproduce", *SMOKE, "--part", "all"]}.items():
        report[name] = timed(folder, *argv)
        if report[name]["code"]: raise RuntimeError(f"{name}: {report[name]['err'][-3000:]}")
    return report

@pytest.fixture(scope="module")
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

end_to_end = pytest.mark.timeout(1800)
ALL_JOBS = 1 + 2*len(METHODS) + len(PARTS)                 # judges; train and evaluate; reports
FIGURES = [f for files in REPORT_FILES.values() for f in files if f.endswith(".png")]

@end_to_end
def test_ctrl_c_leaves_nothing_half_written(smoke):
    stopped = smoke[1]["interrupted"]
    assert stopped["code"] == 130 and stopped["out"] == ""
    assert errors(stopped["err"]) == ["mmvae: interrupted; the same command continues"]
    assert not stopped["half"] and not [f for f in stopped["files"] if f.startswith(("tables", "figures"))]

@end_to_end
def test_the_headline_run(smoke):
    first = smoke[1]["first"]
    assert first["code"] == 0 and not errors(first["err"])
    progress = [list(map(int, m.groups())) for m in map(PROGRESS.fullmatch, first["err"].splitlines()) if m[1]]
    assert len(progress) >= 2 and all(a[0] <= b[0] <= b[1] for a, b in itertools.pairwise(progress))
    names = {"judges", "headline-report"} | {f"{m}-0-{what}" for m in PARTS["headline"][0] for what in ("train", "evaluate")}
    wanted = {f"{DATA}-{n}" for n in names}
    assert set(first["ran"]) <= wanted | {"all"} and f"{DATA}-headline-report" in first["ran"]
    for name in ("MoPoE", "JMVAE student", "Iterative student", "slide 37", "slide 38", "rendered"): assert name in first["out"]
    for shown in re.findall(r"^(?:figure|table): +(\S+)$", first["out"], re.M): assert (smoke[0]/shown).is_file()
    assert "slide_36_cross_modal.png" in first["out"] and first["out"].rstrip().endswith("results/smoke/tables/talk.csv")
    # the printed numbers are the talk's and ours
    table = pd.read_csv(smoke[0]/"results"/"smoke"/"tables"/"talk.csv")
    block = first["out"].split("slide 38")[1]
    for method, shown in [("mopoe", "MoPoE"), ("iterative_student", "Iterative student")]:
        row = next(l for l in block.splitlines() if l.startswith(shown))
        ours = table[(table.slide == 38) & (table.method == method)]
        numbers = [float(x) for x in row.removeprefix(shown).split()]
        np.testing.assert_allclose(numbers, np.ravel([*zip(ours.talk_value, ours.value)]), rtol=2e-3, atol=1e-4)

@end_to_end
def test_a_second_run_does_nothing(smoke):
    first, second = smoke[1]["first"], smoke[1]["second"]
    assert second["code"] == 0 and second["out"] == first["out"] and not errors(second["err"])
    moved = {f for f in first["times"] if second["times"].get(f) != first["times"][f]} | set(second["times"]) - set(first["times"])
    assert moved <= {"logs/last.json", "status/lock", "tables/talk.csv"} and second["talk"] == first["talk"]
    assert second["seconds"] < max(20, first["seconds"]/2)

@end_to_end
def test_a_larger_part_adds_only_what_is_missing(smoke):
    first, more = smoke[1]["second"], smoke[1]["all"]
    missing = set(METHODS) - set(PARTS["headline"][0])
    wanted = {f"{DATA}-{m}-0-{what}" for m in missing for what in ("train", "evaluate")} | {f"{DATA}-{p}-report" for p in PARTS if p != "headline"}
    assert sorted(more["ran"]) == sorted(wanted | {"all"})
    old = {f: t for f, t in first["times"].items() if f.split("/")[0] in ("weights", "runs", "figures", "executed")}
    assert old and all(more["times"][f] == t for f, t in old.items())
    for f in itertools.chain(*REPORT_FILES.values()): assert f in more["times"], f

@end_to_end
def test_talk_csv_has_the_talks_rows_in_order_then_ours(results):
    t = pd.read_csv(results/"tables"/"talk.csv")
    for column in "slide dataset metric condition method talk_value value std n_seeds data n device".split(): assert column in t
    theirs, ours, talk = t[t.talk_value.notna()], t[t.talk_value.isna()], R.talk_numbers()
    assert len(theirs) == 52 and list(theirs.index) == list(range(52)) and len(ours) > 40
    for c in ("slide", "dataset", "metric", "condition", "method", "talk_value"): assert theirs[c].tolist() == talk[c].tolist()
    assert theirs[theirs.dataset == DATA].value.notna().all() and theirs[theirs.dataset == "cub"].value.isna().all()
    assert not t.duplicated(["slide", "dataset", "metric", "condition", "method"]).any()
    run = t[t.value.notna()]
    assert (run.data == "rendered").all() and (run.device == "cpu").all() and (run.n_seeds == 1).all() and run["std"].isna().all()
    assert set(ours.method) == set(METHODS) and np.isfinite(run.value).all()
    fid = run[run.metric == "fid"]
    assert (fid.floor > 0).all() and fid.features.str.contains("classifier").all() and (fid.n == R.SCALES["smoke"].samples).all()
    probe = run[run.metric == "linear_accuracy"]
    assert (probe.n == R.SCALES["smoke"].probe_points).all() and probe.value.between(0, 1).all()

@end_to_end
def test_the_headline_table(results):
    h, t = pd.read_csv(results/"tables"/"headline.csv"), pd.read_csv(results/"tables"/"talk.csv")
    assert h.groupby("slide").size().to_dict() == {37: 12, 38: 9} and sorted(set(h.method)) == sorted(TALK_METHODS)
    assert h.value.notna().all() and h.talk_value.notna().all()
    same = t[t.slide.isin([37, 38]) & t.talk_value.notna()].reset_index(drop=True)
    pd.testing.assert_frame_equal(h[same.columns], same, check_dtype=False)

@end_to_end
@pytest.mark.parametrize("name", sorted(Path(f).name for fs in REPORT_FILES.values() for f in fs if f.endswith(".png")))
def test_figures_are_pictures(name, results):
    with Image.open(results/"figures"/name) as image:
        assert image.format == "PNG" and min(image.size) > 200
        pixels = np.asarray(image.convert("L"), dtype=float)
    assert pixels.std() > 10 and (pixels < 250).mean() > 0.01      # words take little ink

@end_to_end
@pytest.mark.parametrize("method", ["mopoe", "iterative", "refined_student", "iterative_student_over_t"])
def test_numbers_per_item_have_the_reported_mean(method, results):
    kept = R.load_items(results, DATA, method, 0)
    rows = {f"{r['metric']}|{r['condition']}": r["value"] for r in read_json(R.run_paths(results, DATA, method, 0)["metrics"])["rows"]}
    assert len(kept) > 10 and set(kept) <= set(rows)
    for name, values in kept.items(): assert values.ndim == 1 and np.isclose(values.mean(), rows[name], rtol=1e-4, atol=1e-5), name
    with pytest.raises(MmvaeError, match="no such file"): R.load_items(results, DATA, method, 7)

@end_to_end
def test_rows_of_a_figure_begin_with_the_truth_and_share_their_noise(results):
    model, _ = R.load_run(results, DATA, "mvtcae_student")
    test = R.load_data(DATA, "test", "rendered", R.SCALES["smoke"].items)
    batch, _ = test.take(5)
    rows = R.generated_rows({"a": model, "b": model}, test, batch, ["mnist", "text"], "svhn")
    assert list(rows) == ["mnist, given", "text, given", "ground truth", "a", "b"] and torch.equal(rows["ground truth"], batch["svhn"]) and torch.equal(rows["a"], rows["b"])
    words = R.generated_rows({"a": model}, test, batch, "mnist", "text", sample=False)
    assert words["ground truth"] == test.modalities["text"].decode(batch["text"]) and all(isinstance(w, str) for w in words["a"])

@end_to_end
@pytest.mark.parametrize("method", METHODS)
def test_the_record_of_a_run(method, results):
    run, s, student = read_json(R.run_paths(results, DATA, method, 0)["run"]), R.SCALES["smoke"], R.METHODS[method].teacher
    train = R.load_data(DATA, "train", "rendered", s.items)
    assert run["checksum"] == train.checksum and run["data"] == "rendered" and run["dataset"] == DATA and run["method"] == method
    assert run["seed"] == 0 and run["device"] == "cpu" and run["torch"] == torch.__version__
    field = ("study_updates" if method.startswith(("iterative_t", "iterative_student_over")) else
             "refiner_updates" if method in ("refined", "refined_marino") else "student_updates" if student else "updates")
    assert run["updates"] == getattr(s, field) and 0 < run["seconds"] < 60*s.budget
    job = next(j for j in R.jobs_for("smoke", part="all") if j.name == f"{DATA}-{method}-0-train")
    assert run["parameters"] == {k: v for k, v in job.parameters.items() if k not in ("results", "device")}
    assert math.isfinite(run["validation_loss"]) and run["history"][0]["update"] == 0
    metrics = read_json(R.run_paths(results, DATA, method, 0)["metrics"])
    assert metrics["checksum"] == run["checksum"] and metrics["method"] == method and len(metrics["rows"]) > 3
    assert all(math.isfinite(r["value"]) for r in metrics["rows"])

@end_to_end
def test_nothing_is_left_behind(results):
    assert not half_written(results)
    n = len(METHODS)                                         # weights and numbers per item; checkpoints are gone
    assert sorted(p.suffix for p in (results/"weights").iterdir()) == [".npz"]*n + [".safetensors"]*n
    states = {p.stem: read_json(p)["state"] for p in (results/"status").glob("*.json")}
    assert len(states) == ALL_JOBS and set(states.values()) == {"done"}

@end_to_end
def test_executed_notebooks_are_clean_and_show_their_parameters(results):
    executed = sorted((results/"executed").glob("*.ipynb"))
    assert len(executed) == ALL_JOBS
    for path in executed:
        nb = nbformat.read(path, 4)
        outputs = [o for c in nb.cells for o in c.get("outputs", [])]
        assert outputs and not any(o.output_type == "error" or (o.output_type == "stream" and o.name == "stderr") for o in outputs)
        injected, = [c for c in nb.cells if "injected-parameters" in c.metadata.get("tags", [])]
        assert "results/smoke" in injected.source and "papermill" not in nb.metadata
        assert all(set(c.metadata) <= {"tags"} for c in nb.cells)

@end_to_end
@pytest.mark.parametrize("student, teacher", [("jmvae_student", "jvae"), ("iterative_student", "iterative")])
def test_a_trained_student_loads_with_its_teacher_and_generates(student, teacher, results):
    model, run = R.load_run(results, DATA, student)
    alone, _ = R.load_run(results, DATA, teacher)
    assert not model.training and run["method"] == student
    a, b = model.teacher.state_dict(), alone.state_dict()
    assert list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)      # training students changed no bit of it
    batch, _ = R.load_data(DATA, "test", "rendered", 200).take(5)
    for n in model.names:
        made = model.generate({n: batch[n]})
        assert {k: tuple(x.shape) for k, x in made.items()} == {"mnist": (5, 1, 28, 28), "svhn": (5, 3, 32, 32), "text": (5, 8)}
    again, _ = R.load_run(results, DATA, student)
    assert torch.equal(again.infer({"svhn": batch["svhn"]}).mean, model.infer({"svhn": batch["svhn"]}).mean)

@end_to_end
def test_the_record_says_what_the_weights_score(results):
    "The validation loss and a metric, computed again from the weights on disk."
    model, run = R.load_run(results, DATA, "jmvae_student")
    test = R.load_data(DATA, "test", "rendered", 200)
    held_out, _ = R.load_data(DATA, "validation", "rendered", 200).take(500)
    with torch.no_grad(): assert abs(model.loss(held_out).total.item() - run["validation_loss"]) < 1e-3*run["validation_loss"]
    rows = {(r["metric"], r["condition"]): r["value"] for r in read_json(R.run_paths(results, DATA, "jmvae_student", 0)["metrics"])["rows"]}
    batch, _ = test.take(R.SCALES["smoke"].samples)
    with torch.no_grad(): q, s = model.teacher.infer(batch), model.infer({"svhn": batch["svhn"]})
    kl = torch.distributions.kl_divergence(torch.distributions.Normal(q.mean, q.std), torch.distributions.Normal(s.mean, s.std)).sum(1).mean()
    assert abs(kl.item() - rows["teacher_student_kl", "svhn"]) < 1e-4 + 1e-3*kl.item()

@end_to_end
@pytest.mark.parametrize("argv", [["mopoe", "--given", "mnist"], ["jmvae_student", "--given", "svhn,text", "--to", "mnist"],
                                  ["jvae", "--given", "mnist,svhn,text", "--to", "svhn,text"], ["iterative_student", "--given", " text , svhn"]])
def test_generate_draws(argv, results, tmp_path, capsys):
    out = tmp_path/"deep"/"picture.png"
    assert R.main(["generate", *argv, *SMOKE, "--out", str(out)]) == 0
    printed, err = capsys.readouterr()
    assert printed == f"figure: {out}\n" and err == ""
    with Image.open(out) as image: assert image.format == "PNG" and np.asarray(image.convert("L")).std() > 5

@end_to_end
@pytest.mark.parametrize("argv, words", [
    (["mopoe", "--given", "audio"], ["given: got 'audio', allowed: mnist, svhn, text"]),
    (["mopoe", "--given", "mnist,audio"], ["given: got 'audio'"]), (["mopoe", "--given", ""], ["given: got ''"]),
    (["mopoe", "--given", "mnist", "--to", "audio"], ["to: got 'audio', allowed: mnist, svhn, text"]),
    (["jvae", "--given", "mnist"], ["JVAE needs svhn, text too"]), (["iterative", "--given", "text,svhn"], ["IterativeTeacher needs mnist too"]),
    (["mopoe", "--given", "mnist", "--seed", "7"], ["mopoe-7.json: no such file"]),
    (["mopoe", "--given", "mnist", "--out", "picture.bmp"], ["path: got '.bmp', allowed: .png, .svg, .pdf"]),
    (["mopoe", "--given", "mnist", "--out", "/proc/picture.png"], ["/proc: can't be written to"])])
def test_generate_refuses_in_one_line(argv, words, results, capsys):
    before = times(results)
    assert R.main(["generate", *argv, *SMOKE]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    one_error(err, *words)
    assert times(results) == before

@end_to_end
def test_the_table_command(results, smoke, tmp_path, capsys):
    root = tmp_path/"smoke"
    for part in ("runs", "figures"): shutil.copytree(results/part, root/part)  # it writes its table, so not in the shared folder
    assert R.main(["table", *SMOKE, "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for slide in (37, 38, 64, 65, 68): assert f"slide {slide}, {DATA}" in out
    assert "cub" not in out and out.count("\nfigure: ") == len(FIGURES) and out.rstrip().endswith(str(root/"tables"/"talk.csv"))
    assert (root/"tables"/"talk.csv").read_text() == smoke[1]["all"]["talk"] and not half_written(root)

@end_to_end
@pytest.mark.parametrize("damage, words", [("missing", "no such file"), ("half", "not a weight file"), ("other", "weights of another model")])
def test_damaged_weights_are_one_line(damage, words, results, tmp_path, capsys):
    other = tmp_path/"r"/"smoke"
    shutil.copytree(results/"runs", other/"runs"); (other/"weights").mkdir()
    path, stem = R.run_paths(other, DATA, "mopoe", 0)["weights"], results/"weights"
    if damage == "half": path.write_bytes((stem/path.name).read_bytes()[:1000])
    if damage == "other": shutil.copy(R.run_paths(results, DATA, "jvae", 0)["weights"], path)
    assert R.main(["generate", "mopoe", *SMOKE, "--results", str(tmp_path/"r"), "--given", "mnist", "--out", str(tmp_path/"x.png")]) == 2
    one_error(capsys.readouterr().err, str(path), words)
    assert not (tmp_path/"x.png").exists()

@end_to_end
def test_a_damaged_record_is_one_line(results, tmp_path, capsys):
    other = tmp_path/"r"/"smoke"
    shutil.copytree(results/"runs", other/"runs")
    path = R.run_paths(other, DATA, "mopoe", 0)["metrics"]
    path.write_text(path.read_text()[:100])
    assert R.main(["table", *SMOKE, "--results", str(tmp_path/"r")]) == 2
    one_error(capsys.readouterr().err, str(path), "not valid JSON")
    assert not (other/"tables").exists()


# ---- what a change would run

def snakemake(folder, part="headline", seeds=1, device="cpu"):
    "Jobs that Snakemake would run, asked as `reproduce` asks it."
    r = subprocess.run([sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--rerun-incomplete", "--dry-run",
                        "--rerun-triggers", "mtime", "params", "input", "--config", "scale=smoke", f"dataset={DATA}", f"part={part}", f"seeds={seeds}",
                        "results=results", f"device={device}"], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stdout + r.stderr
    said = r.stdout + r.stderr
    names = {n.removeprefix(f"{DATA}-") for n in re.findall(r"^(?:local)?rule (\S+):", said, re.M)} - {"all"}
    assert bool(names) != ("Nothing to be done" in said)
    return names

@pytest.fixture
def copy(smoke, tmp_path):
    "A copy of the project after its runs: times kept, weights shared."
    link = lambda a, b: os.link(a, b) if a.endswith(".safetensors") else shutil.copy2(a, b)
    shutil.copytree(smoke[0], tmp_path/"p", copy_function=link, ignore=shutil.ignore_patterns("log", "__pycache__"))
    return tmp_path/"p"

def append(path): path.write_text(path.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")

def of(methods, *what): return {f"{m}-0-{w}" for m in methods for w in what}

HEADLINE = PARTS["headline"][0]

@end_to_end
def test_without_a_change_nothing_would_run(copy):
    assert snakemake(copy) == set() and snakemake(copy, "all") == set()

@end_to_end
def test_a_new_date_is_no_change(copy):
    "As after an export that writes the same modules again."
    for p in (copy/"mmvae_nb").glob("*.py"): os.utime(p)
    assert snakemake(copy) == set()

@end_to_end
def test_a_changed_lesson_reruns_what_depends_on_it(copy):
    append(copy/"mmvae_nb"/"mopoe.py")
    assert snakemake(copy) == of(["mopoe"], "train", "evaluate") | {"headline-report"}
    assert snakemake(copy, "all") == of(["mopoe"], "train", "evaluate") | {f"{p}-report" for p in PARTS if "mopoe" in PARTS[p][0]}

@end_to_end
@pytest.mark.parametrize("module, wanted", [
    ("metrics", {"judges", "headline-report"} | of(HEADLINE, "evaluate")),
    ("iterative_inference", {"headline-report"} | of(["iterative", "iterative_student"], "train") | of(HEADLINE, "evaluate")),
    ("distillation", {"headline-report"} | of(["jmvae_student", "iterative_student", "iterative"], "train", "evaluate")),
    ("jmvae", set()), ("reproduce", set()),
    ("core", {"judges", "headline-report"} | of(HEADLINE, "train", "evaluate"))])
def test_changed_modules_rerun_their_jobs(module, wanted, copy):
    append(copy/"mmvae_nb"/f"{module}.py")
    assert snakemake(copy) == wanted

@end_to_end
def test_a_changed_notebook_reruns_its_jobs(copy):
    path = copy/"nbs"/"experiments"/"evaluate.ipynb"
    nb = nbformat.read(path, 4)
    nb.cells.append(nbformat.v4.new_markdown_cell("A remark."))
    nbformat.write(nb, path)
    assert snakemake(copy) == of(HEADLINE, "evaluate") | {"headline-report"}

@end_to_end
@pytest.mark.parametrize("fields, wanted", [
    (dict(probe_points=90), of(HEADLINE, "evaluate") | {"headline-report"}),
    (dict(student_updates=4), of(["jmvae_student", "iterative_student"], "train", "evaluate") | {"headline-report"}),
    (dict(judge_updates=11), of(HEADLINE, "evaluate") | {"judges", "headline-report"}),
    (dict(lr=0.001), of(HEADLINE, "train", "evaluate") | {"headline-report"})], ids=lambda f: "-".join(f) if isinstance(f, dict) else "")
def test_a_changed_parameter_reruns_what_depends_on_it(fields, wanted, copy):
    set_smoke(copy, **fields)
    assert snakemake(copy) == wanted

@end_to_end
def test_a_deleted_result_and_another_seed(copy):
    R.run_paths(copy/"results"/"smoke", DATA, "jvae", 0)["metrics"].unlink()
    assert snakemake(copy) == {"jvae-0-evaluate", "headline-report"}
    more = {n.replace("-0-", "-1-") for n in of(HEADLINE, "train", "evaluate")}
    assert snakemake(copy, seeds=2) == {"jvae-0-evaluate", "headline-report"} | more

@pytest.mark.slow
@end_to_end
def test_a_changed_module_is_run_in_earnest(copy):
    "What the dry runs promise: MoPoE is trained and drawn again, the rest stays."
    before = times(copy/"results"/"smoke")
    append(copy/"mmvae_nb"/"mopoe.py")
    r = run("reproduce", *SMOKE, "--part", "headline", cwd=copy, env=environment(copy))
    assert r.returncode == 0 and not errors(r.stderr)
    after = times(copy/"results"/"smoke")
    moved = {f for f in after if after[f] != before.get(f)}
    assert {f for f in moved if f.startswith(("weights", "runs"))} == {f"weights/{DATA}-mopoe-0.safetensors", f"runs/{DATA}-mopoe-0.json",
                                                                      f"runs/{DATA}-mopoe-0-metrics.json"}
    assert "figures/slide_36_cross_modal.png" in moved and "tables/headline.csv" in moved
    assert snakemake(copy) == set()


# ---- results: the table is what the records say

def recomputed(folder):
    "(dataset, metric, condition, method) -> values over seeds, read from the records."
    values = {}
    for path in sorted(Path(folder).glob("runs/*-metrics.json")):
        record = read_json(path)
        for r in record["rows"]:
            values.setdefault((record["dataset"], r["metric"], r["condition"], record["method"]), []).append((record["seed"], r["value"], r["n"], record))
    return values

def consistent(folder):
    t, values = pd.read_csv(folder/"tables"/"talk.csv"), recomputed(folder)
    assert values
    keys = [(r.dataset, r.metric, r.condition, r.method) for r in t.itertuples()]
    assert set(values) <= set(keys) and len(set(keys)) == len(keys)
    for key, row in zip(keys, t.itertuples()):
        if key not in values:
            assert math.isnan(row.value) and not math.isnan(row.talk_value)
            continue
        found = values[key]
        numbers = [v for _, v, _, _ in found]
        assert len({s for s, *_ in found}) == len(found) == row.n_seeds
        assert math.isclose(row.value, statistics.fmean(numbers), rel_tol=1e-4, abs_tol=1e-6), key
        if len(numbers) > 1: assert math.isclose(row.std, statistics.stdev(numbers), rel_tol=1e-3, abs_tol=1e-6), key
        else: assert math.isnan(row.std)
        assert {r["data"] for *_, r in found} == {row.data} and {n for _, _, n, _ in found} == {row.n}
    return t

@end_to_end
def test_the_smoke_table_is_what_the_records_say(results): assert len(consistent(results)) > 52

def test_seeds_are_averaged(tmp_path):
    for seed, value in [(0, 1.0), (1, 2.0), (2, 6.0)]:
        row = dict(metric="fid", condition="svhn->mnist", value=value, n=10, floor=0.5, features="f")
        (tmp_path/"runs").mkdir(exist_ok=True)
        (tmp_path/"runs"/f"{DATA}-mopoe-{seed}-metrics.json").write_text(json.dumps(dict(
            dataset=DATA, method="mopoe", seed=seed, data="rendered", device="cpu", rows=[row, {**row, "metric": "own", "value": 3.0}])))
    t = R.write_talk_table(tmp_path)
    first = t.iloc[0]
    assert (first.slide, first.talk_value, first.value, first.n_seeds, first.n, first.floor) == (37, 194.49, 3.0, 3, 10, 0.5)
    assert abs(first["std"] - math.sqrt(7)) < 1e-12 and t.iloc[1:52].value.isna().all()
    assert len(t) == 53 and t.iloc[52].metric == "own" and pd.isna(t.iloc[52].talk_value) and t.iloc[52]["std"] == 0
    assert len(consistent(tmp_path)) == 53

def test_before_anything_has_run_the_table_is_the_talks(tmp_path):
    t = R.talk_rows(tmp_path)
    assert len(t) == 52 and t.value.isna().all() and t.talk_value.notna().all()

def being_written(folder):
    "Is a run at work in this results folder?"
    try:
        with open(folder/"status"/"lock") as f: fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError: return False
    except OSError: return True
    return False

COMMITTED = sorted(p.parent.parent for p in ROOT.glob("results/*/tables/talk.csv"))
committed = pytest.mark.parametrize("folder", COMMITTED, ids=lambda p: p.name)

@committed
def test_committed_tables_are_what_their_records_say(folder):
    if being_written(folder): pytest.skip("a run is writing here")
    t, s = consistent(folder), R.SCALES[folder.name]
    theirs, talk = t.iloc[:52], R.talk_numbers()
    for c in ("slide", "dataset", "metric", "condition", "method", "talk_value"): assert theirs[c].tolist() == talk[c].tolist()
    assert set(t.data.dropna()) == {s.source}                  # scales are never mixed

@committed
def test_committed_runs_keep_their_budget_and_say_how_they_were_made(folder):
    if being_written(folder): pytest.skip("a run is writing here")
    runs = [p for p in (folder/"runs").glob("*.json") if not p.stem.endswith(("-metrics", "-judges"))]
    assert runs
    for path in runs:
        run = read_json(path)
        s = R.scale_of(folder.name, run["dataset"])
        if folder.name in ("real", "paper"): assert run["seconds"] <= 60*run["parameters"]["budget"], f"{path.name}: {run['seconds']} s"
        assert run["updates"] == run["parameters"]["updates"] == getattr(s, R.METHODS[run["method"]].updates)
        assert run["data"] == s.source and len(run["checksum"]) == 12 and run["torch"] and run["device"] and run["seconds"] > 0
        assert path.stem == f"{run['dataset']}-{run['method']}-{run['seed']}"
        metrics = read_json(path.with_name(f"{path.stem}-metrics.json"))
        assert metrics["checksum"] == run["checksum"] and metrics["data"] == run["data"]
