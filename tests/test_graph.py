"""The graph: its jobs are in order, rest on what they use and on nothing else, and know every setting."""
import ast, dataclasses, itertools, json, re
from pathlib import Path

import nbformat, pytest

from helpers import DATA, ROOT, role
from mmvae_nb.core import MmvaeError
from mmvae_nb.experiments.graph import jobs_for, training_sources
from mmvae_nb.experiments.runs import load_run, make_model
from mmvae_nb.experiments.table import DATASETS, METHODS, REPORTS, SCALES, Scale, parts_of, teachers_of

GRAPHS = list(itertools.product(SCALES, [*parts_of(DATA), "all"], [None, 1, 2]))

@pytest.mark.parametrize("scale, part, seeds", GRAPHS)
def test_a_graph_is_in_order_and_makes_every_file_once(scale, part, seeds, at_root):
    jobs = jobs_for(scale, part=part, seeds=seeds)
    outputs = [f for j in jobs for f in j.outputs]
    assert len(set(outputs)) == len(outputs) > 0 and len({j.name for j in jobs}) == len(jobs)
    made = set()
    for j in jobs:
        for f in j.inputs:
            assert f in made or Path(f).is_file() and (role(j) == "talk" or not f.startswith("results")), (j.name, f)
        assert all(f.startswith(f"results/{scale}/") for f in j.outputs)
        if role(j) != "talk":
            assert (ROOT/"nbs"/"experiments"/f"{j.notebook}.ipynb").is_file()
            assert f"nbs/experiments/{j.notebook}.ipynb" in j.inputs
        assert json.loads(json.dumps(j.parameters)) == j.parameters
        made |= set(j.outputs)
    parts = parts_of(DATA, scale) if part == "all" else [part]
    methods = {m for p in parts for m in REPORTS[p].methods}
    methods |= {t for m in methods for t in TEACHERS_OF.get(m, [])}
    n = SCALES[scale].seeds if seeds is None else seeds
    count = lambda methods: sum(min(n, AT_MOST.get(m, n)) for m in methods)
    assert len(jobs) == 2 + 2*count(methods) + len(parts)        # judges, talk; train and evaluate each; reports
    assert role(jobs[-1]) == "talk" and {f for f in made if f.endswith("-metrics.json")} <= set(jobs[-1].inputs)
    for j in jobs:
        if role(j) == "report":                                # a report waits for every method and seed
            assert sum(f.endswith("-metrics.json") for f in j.inputs) == count(REPORTS[j.parameters["part"]].methods)

AT_MOST = {  # seeds: all for the headline, three for other rows, studies of T and controls, fewer for some controls
    **dict.fromkeys(("jmvae", "mvae", "mmvae", "crmvae", "crmvae_student", "refined", "refined_marino"), 3),
    **dict.fromkeys((f"iterative_t{t}" for t in (1, 2, 4, 8)), 3),
    **dict.fromkeys(("iterative_student_over_t", "iterative_student_t1"), 3),
    **dict.fromkeys((f"{m}{s}" for m in ("iterative_last", "jvae_unimodal_decoders")
                    for s in ("", "_student")), 3),
    **dict.fromkeys((f"iterative_without_{w}{s}" for w in ("units", "memory", "bound", "calming")
                     for s in ("", "_student")), 1),
    **dict.fromkeys(("jvae_unimodal_decoders_fast", "jvae_unimodal_decoders_fast_student"), 1),
    **dict.fromkeys(("refined_student", "refined_student_t16"), 1),
    **dict.fromkeys((f"iterative{rate}_student_{w}" for rate in ("", "_fast") for w in ("cold", "t0")), 2)}

TEACHERS_OF = {"jmvae_student": ["jvae"], "mvtcae_student": ["mvtcae"],
               **dict.fromkeys((f"iterative_student{w}" for w in ("", "_cold", "_t0", "_t1")), ["iterative"]),
               "iterative_student_over_t": ["iterative"], "refined": ["jvae", "jmvae_student"],
               "refined_marino": ["jvae", "jmvae_student"], "refined_student": ["jvae", "jmvae_student", "refined"],
               "refined_student_t16": ["jvae", "jmvae_student", "refined"], "crmvae_student": ["crmvae"],
               **dict.fromkeys(("jvae_fast_student", "jvae_fast_student_third"), ["jvae_fast"]),
               **dict.fromkeys((f"iterative_fast_student{w}" for w in ("", "_cold", "_t0")), ["iterative_fast"]),
               "jvae_unimodal_decoders_fast_student": ["jvae_unimodal_decoders_fast"],
               "jvae_unimodal_decoders_student": ["jvae_unimodal_decoders"],
               "iterative_last_student": ["iterative_last"],
               **{f"iterative_without_{w}_student": [f"iterative_without_{w}"]
                  for w in ("units", "memory", "bound", "calming")}}

def test_students_wait_for_their_own_teacher(at_root):
    for j in jobs_for("real", part="all"):
        if role(j) != "train": continue
        method, seed = j.parameters["method"], j.parameters["seed"]
        weights = [f for f in j.inputs if f.endswith(".safetensors")]
        teacher = TEACHERS_OF.get(method, [None])[-1]
        assert weights == ([f"results/real/weights/{DATA}-{teacher}-{seed}.safetensors"] if teacher else [])

# ---- what a job rests on, tested by use

def module_of(path): return str(Path(path).relative_to("mmvae_nb").with_suffix("")).replace("/", ".")

def modules_of(job): return {module_of(f) for f in job.inputs if f.startswith("mmvae_nb/")}

def offered(module):
    "The names that a module defines at its top, and those it says it offers."
    names = set()
    for node in ast.parse((ROOT/"mmvae_nb"/f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)): names.add(node.name)
        if isinstance(node, ast.Assign):
            names |= {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return names - {"__all__"}

def names_in(text):
    return ({n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}
            | {n.attr for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Attribute)})

def code_of(notebook):
    return "\n".join(c.source for c in nbformat.read(ROOT/f"nbs/experiments/{notebook}.ipynb", 4).cells
                     if c.cell_type == "code")

def named_by_table(dataset, method):
    "Modules that the tables of lesson 14 name for a training."
    d = DATASETS[dataset]
    return {d.module, d.specs.rsplit(".", 1)[0], *(METHODS[m].module for m in [*teachers_of(method), method])}

@pytest.mark.parametrize("dataset, scale", itertools.product(DATASETS, ["quick", "real"]))
def test_a_training_rests_on_nothing_that_it_does_not_use(dataset, scale, at_root):
    """Of every data set, drawn and real, and every method: each module is used by another of the inputs, the notebook
    or the table."""
    for method in METHODS:
        train = next(j for j in jobs_for(scale, dataset, methods=[method]) if j.name.endswith(f"-{method}-0-train"))
        modules = modules_of(train)
        assert not {m for m in modules if m.startswith(("judges", "experiments"))
                    or m in ("plotting", "metrics", "evaluation")}, (method, modules)
        if scale == "real":
            assert not modules & {"datasets.drawn_birds", "datasets.drawn_faces", "datasets.street_numbers"}
        used = {m: names_in((ROOT/"mmvae_nb"/f"{m.replace('.', '/')}.py").read_text(encoding="utf-8")) for m in modules}
        for m in modules - named_by_table(dataset, method):
            by_others = set().union(names_in(code_of("train")), *(used[o] for o in modules - {m}))
            assert offered(m) & by_others, (method, m)

@pytest.mark.parametrize("dataset", DATASETS)
def test_drawn_data_rests_on_what_draws_it(dataset, at_root):
    for j in jobs_for("quick", dataset, methods=["jvae"]):
        if role(j) != "talk": assert set(DATASETS[dataset].drawn) <= modules_of(j), j.name

def test_jobs_rest_on_the_modules_of_their_method_and_of_no_other(at_root):
    everybodys = {"core", "data", "missing", "distributions", "networks", "vae", "training", "recording", "watching",
                  "checkpoints", "signatures", "kinds",
                  "states", "multimodal_elbo", "distillation", "datasets.digits", "datasets.street_numbers"}
    own = {"mopoe": {"mopoe"}, "jvae": set(), "jmvae": {"jmvae"}, "jmvae_student": set(),
           "mvtcae": {"mvtcae"}, "mvtcae_student": {"mvtcae"}}
    refining = {"multimodal_iterative", "iterative_inference"}
    for j in jobs_for("quick"):
        if role(j) == "train": assert modules_of(j) - everybodys == own.get(j.parameters["method"], refining), j.name
        if role(j) == "evaluate":
            assert {"metrics", "judges.classes", METHODS[j.parameters["method"]].module} <= modules_of(j)
        if role(j) == "judges":
            assert {"metrics", "judges.classes"} <= modules_of(j) <= {
                "metrics", "judges.classes", "core", "data", "missing", "checkpoints", "states", "datasets.digits",
                "signatures",
                "datasets.street_numbers", "networks", "distributions"}

def test_reports_rest_on_what_they_import(at_root):
    for j in [j for d in DATASETS for j in jobs_for("quick", d)]:
        if role(j) != "report": continue
        imported = set(re.findall(r"^from mmvae_nb\.([\w.]+) import", code_of(j.notebook), re.M))
        imported = {m for m in imported if not m.startswith("experiments")}
        assert imported and imported <= modules_of(j), imported - modules_of(j)

def test_a_training_checkpoint_is_named_after_the_same_files(at_root):
    for j in jobs_for("real", "cub"):
        if role(j) == "train":
            assert training_sources("cub", "real", j.parameters["method"]) == tuple(
                f for f in j.inputs if not f.startswith("results"))


# ---- settings

CHANGED = { # field of a scale -> another value, and the jobs that it concerns
    "source": ("real", "all"), "items": (300, "all"), "device": ("auto", "all"), "updates": (4, {"train of a model"}),
    "student_updates": (5, {"train of students"}), "refiner_updates": (5, {"train of a refiner"}),
    "study_updates": (5, {"train of a study"}), "batch_size": (8, {"train of a model", "train of students"}),
    "steps": (3, {"train of a model", "train of students"}), "lr": (1e-3, {"train of a model", "train of students"}),
    "latent": (8, {"train of a model", "train of students"}), "beta": (2.0, {"train of a model", "train of students"}),
    "precision": ("bf16", {"train of a model", "train of students"}),
    "text_weight": (.5, {"train of a model", "train of students"}), "split": ("validation", {"evaluate"}),
    "probe_points": (90, {"evaluate"}), "samples": (70, {"evaluate"}),
    "oracle_items": (30, {"evaluate"}),
    "judge_updates": (11, {"judges", "evaluate"}), "judge_width": (24, {"judges", "evaluate"})}

@pytest.mark.parametrize("field", list(CHANGED))
def test_a_changed_setting_reaches_the_parameters_of_its_jobs(field, at_root, monkeypatch):
    before = {j.name: j.parameters for j in jobs_for("smoke", part="all")}
    value, wanted = CHANGED[field]
    assert getattr(SCALES["smoke"], field) != value
    monkeypatch.setitem(SCALES, "smoke", dataclasses.replace(SCALES["smoke"], **{field: value}))
    every = {"train of students", "train of a model", "train of a refiner", "train of a study"}
    if wanted == {"train of a model", "train of students"}: wanted = every
    def of(name):
        if "over_t" in name or "iterative_t" in name: return "a study"
        return "students" if "student" in name else "a refiner" if "refined" in name else "a model"
    def kind(j): return role(j) + (f" of {of(j.name)}" if role(j) == "train" else "")
    after = jobs_for("smoke", part="all")
    after = [j for j in after if role(j) != "talk"]           # it is told nothing but the folder
    own = {m for m in METHODS if field in METHODS[m].settings}
    after = [j for j in after if role(j) != "train" or j.parameters["method"] not in own]
    changed = {kind(j) for j in after if j.parameters != before[j.name]}
    same = {kind(j) for j in after if j.parameters == before[j.name]}
    assert not changed & same and changed == ({kind(j) for j in after} if wanted == "all" else wanted)

def test_every_setting_of_a_scale_is_looked_at():
    assert {f.name for f in dataclasses.fields(Scale)} == {*CHANGED, "seeds", "budget"}

@pytest.mark.parametrize("change", [dict(options={"alpha": 0.5}), dict(cls="Other")])
def test_a_changed_method_reaches_the_parameters_of_its_jobs(change, at_root, monkeypatch):
    before = {j.name: j.parameters for j in jobs_for("smoke", part="all")}
    monkeypatch.setitem(METHODS, "jmvae", dataclasses.replace(METHODS["jmvae"], **change))
    changed = [j.name for j in jobs_for("smoke", part="all") if j.parameters != before[j.name]]
    assert f"{DATA}-jmvae-0-train" in changed and f"{DATA}-mopoe-0-train" not in changed

def test_methods_bring_their_teachers_and_no_report(at_root):
    jobs = jobs_for("smoke", methods=["iterative_student", "iterative_student"])
    assert [j.name.removeprefix(f"{DATA}-") for j in jobs] == [
        "judges", "iterative-0-train", "iterative-0-evaluate", "iterative_student-0-train",
        "iterative_student-0-evaluate", "talk"]
    parts = {j.name for j in jobs_for("smoke", part="all")}
    assert {j.name for j in jobs} < parts
    for name in METHODS:                                     # each method can be made
        made = jobs_for("smoke", methods=[name], results="elsewhere", device="cuda:3")
        assert made[-2].parameters["method"] == name and made[-2].parameters["device"] == "cuda:3"
        assert all(f.startswith("elsewhere/smoke/") for j in made for f in j.outputs)

def test_a_name_in_print_or_a_colour_retrains_nothing(at_root, monkeypatch):
    before = jobs_for("smoke")
    monkeypatch.setitem(METHODS, "refined", dataclasses.replace(METHODS["refined"], label="Better", colour="#123456"))
    assert jobs_for("smoke") == before

def test_budgets_and_sizes_are_sane():
    for name, s in SCALES.items():
        assert s.source == ("rendered" if name in ("smoke", "quick") else "real") and s.budget > 0 and s.samples >= 2
    smoke, quick, real, paper = (SCALES[k] for k in ("smoke", "quick", "real", "paper"))
    assert smoke.updates < quick.updates < real.updates < paper.updates == 40000 and smoke.device == "cpu"
    assert real.probe_points == paper.probe_points == 5000 and real.seeds == paper.seeds == 3

@pytest.mark.parametrize("call, words", [
    (lambda: jobs_for("huge"),
     "scale: got 'huge', allowed: smoke, quick, real, half, long, long_bf16, twice, equal_time, paper"),
    (lambda: jobs_for("smoke", dataset="mnist"), "dataset: got 'mnist', allowed: mnist_svhn_text"),
    (lambda: jobs_for("smoke", part="slides"),
     "part: got 'slides', allowed: headline, mnist_svhn_text, products_of_students"),
    (lambda: jobs_for("smoke", seeds=0), "seeds: got 0, allowed: a whole number at least 1"),
    (lambda: jobs_for("smoke", seeds=1.5), "seeds: got 1.5"),
    (lambda: jobs_for("smoke", methods=["mopoe", "vae"]), "methods: got 'vae', allowed: mvae, jvae"),
    (lambda: make_model("iterative_student", {}), "teacher: got None, allowed: a trained iterative"),
    (lambda: load_run("nowhere", DATA, "mopoe"), "nowhere/runs/mnist_svhn_text-mopoe-0.json: no such file")])
def test_wrong_names_get_one_line(call, words, at_root):
    with pytest.raises(MmvaeError) as e: call()
    assert str(e.value).startswith(words) and "\n" not in str(e.value)


# ---- a rate belongs to its batch

def test_a_rate_that_was_searched_for_is_for_batches_of_that_size(at_root):
    "Smaller batches keep the rate of their scale; a method is the slower or faster one elsewhere."
    def rates(scale):
        jobs = jobs_for(scale, methods=["mopoe", "mopoe_fast", "iterative_student"], seeds=1)
        return {j.parameters["method"]: j.parameters["lr"] for j in jobs if role(j) == "train"}
    assert rates("long") == {"mopoe": 2e-3, "mopoe_fast": 4e-3, "iterative": 2e-3, "iterative_student": 2e-3}
    assert set(rates("quick").values()) == set(rates("smoke").values()) == {2e-3}
