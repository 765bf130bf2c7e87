"The reports: what a notebook may do, what it saves, and that the committed tables are those of the committed records."
import ast, io, json, re
from pathlib import Path

import numpy as np, pandas as pd, pytest
from scipy import stats

from mmvae_nb.core import MmvaeError, write_json
from mmvae_nb.experiments.runs import difference, matched, on_shared_seeds, open_report
from mmvae_nb.experiments.table import METHODS, REPORTS, run_paths, seeds_of
from site_helpers import outputs

ROOT = Path(__file__).parent.parent
LONG = ROOT/"results"/"long"


def cells(part):
    nb = json.loads((ROOT/f"nbs/experiments/{REPORTS[part].notebook}.ipynb").read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in nb["cells"] if c["cell_type"] == "code"]

def calls(part):
    "Every call in a report: (name of the function or method, its node)."
    for n in ast.walk(ast.parse("\n".join(cells(part)))):
        if isinstance(n, ast.Call):
            yield getattr(n.func, "id", getattr(n.func, "attr", "")), n

def texts(node):
    "What an argument may be: a string, or the pattern of an f-string."
    if isinstance(node, ast.Constant): return re.escape(node.value)
    return "".join(re.escape(v.value) if isinstance(v, ast.Constant) else ".+" for v in node.values)

@pytest.mark.parametrize("part", REPORTS)
def test_a_report_opens_itself_and_writes_nothing_by_hand(part):
    source, called = cells(part), [name for name, _ in calls(part)]
    assert called.count("open_report") == 1
    opening = next(i for i, c in enumerate(source) if "open_report(" in c)
    assert source[opening].startswith("report = open_report(") and "dataset: str" in source[opening - 1]
    by_hand = {"save_figure", "savefig", "to_csv", "atomic_path", "write_json", "write_talk_table", "load_run",
               "load_items", "run_paths", "paired_interval"}
    assert not by_hand & set(called)

def test_a_report_of_more_seeds_than_a_method_has_takes_those_there_are(tmp_path):
    for method, seeds in (("mopoe", 3), ("jvae", 1)):
        for seed in range(seeds): write_json(run_paths(tmp_path, "cub", method, seed)["run"], {"seed": seed})
    report = open_report("cub", "cub", "long", "real", tmp_path, 3)
    assert [r["seed"] for r in report.runs("mopoe")] == [0, 1, 2] and [r["seed"] for r in report.runs("jvae")] == [0]
    assert [r["seed"] for r in open_report("cub", "cub", "long", "real", tmp_path, 2).runs("mopoe")] == [0, 1]
    with pytest.raises(MmvaeError, match="cub-iterative-0.json: no such file"): report.runs("iterative")

@pytest.mark.parametrize("part", REPORTS)
def test_a_report_saves_what_the_ledger_lists_and_no_more(part):
    for method, listed in (("save", REPORTS[part].figures), ("table", REPORTS[part].tables)):
        saved = [texts(n.args[1]) for name, n in calls(part)
                 if name == method and getattr(n.func.value, "id", "") == "report"]
        assert saved or not listed
        for name in listed: assert any(re.fullmatch(s, name) for s in saved), f"{name} is not saved"
        for s in saved: assert any(re.fullmatch(s, name) for name in listed), f"{s} is not listed"

def test_the_scales_beside_a_report_are_those_on_the_same_data(tmp_path):
    def planted(scale, method, seed, data):
        paths = run_paths(tmp_path/scale, "mnist_svhn_text", method, seed)
        write_json(paths["run"], {"data": data}); write_json(paths["metrics"], {"rows": []})
    methods = REPORTS["convergence"].methods
    for scale, seeds, data in (("short", 3, "real"), ("longer", 2, "real"), ("drawn", 1, "rendered")):
        for m in methods:
            for s in range(seeds): planted(scale, m, s, data)
    planted("longer", methods[0], 2, "real")                   # a seed that the others don't have yet, and don't need
    planted("search", "try_mopoe", 0, "real"); (tmp_path/"bench").mkdir()
    report = open_report("convergence", "mnist_svhn_text", "longer", "real", str(tmp_path/"longer"), 2)
    beside = report.beside()
    assert all(r.methods == list(methods) for r in beside.values())
    seeds = {n: [len(r.runs(m)) for m in methods] for n, r in beside.items()}
    assert seeds == {"short": [3]*len(methods), "longer": [3] + [2]*(len(methods) - 1)}

@pytest.fixture
def records(tmp_path):
    "Two methods with three seeds, one with seed 0 only."
    values = {"jmvae_student": [4., 5., 9.], "iterative_student": [1., 3., 2.], "refined_student": [3.]}
    for m, row in values.items():
        for seed, v in enumerate(row):
            rows = [dict(metric="fid", condition=c, value=v + i, n=10) for i, c in enumerate(("a", "b"))]
            write_json(run_paths(tmp_path, "mnist_svhn_text", m, seed)["metrics"], dict(
                dataset="mnist_svhn_text", method=m, seed=seed, data="rendered", device="cpu", rows=rows))
    report = open_report("mnist_svhn_text", "mnist_svhn_text", "smoke", "rendered", tmp_path, 3)
    return report.records()

def test_a_difference_is_students_t_over_the_seeds_that_both_have(records):
    d = difference(records, "iterative_student", "jmvae_student", "fid", ["a", "b"], sign=-1)
    low, high = stats.ttest_rel([4, 5, 9], [1, 3, 2]).confidence_interval(.95)
    assert np.allclose([d["better by"], d["low"], d["high"]], [4, low, high])
    assert d["seeds"] == 3 and d["verdict"] == "open"

def test_only_shared_seeds_are_compared_and_one_seed_leaves_all_open(records):
    one = difference(records, "refined_student", "jmvae_student", "fid", "a", sign=-1)
    assert one["better by"] == 1 and one["seeds"] == 1 and one["verdict"] == "open" and np.isnan(one["low"])
    same = on_shared_seeds(records, "refined_student", "jmvae_student", "iterative_student")
    assert set(same.seed) == {0} and same.groupby("method").value.mean().to_dict() == {
        "iterative_student": 1.5, "jmvae_student": 4.5, "refined_student": 3.5}
    later = records[~((records.method == "jmvae_student") & (records.seed == 0))]
    for refused in (lambda: matched(later, "refined_student", "jmvae_student", "fid", "a"),
                    lambda: difference(later, "refined_student", "jmvae_student", "fid", "a"),
                    lambda: on_shared_seeds(later, "refined_student", "jmvae_student")):
        with pytest.raises(MmvaeError, match="^seeds: got refined_student.*allowed: at least one in common$"): refused()

def recomputed(part):
    "The tables that a report makes of the committed records, its notebook run as it is."
    import matplotlib; matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    tables = {}
    parameters = dict(dataset="mnist_svhn_text", source="real", items=None, results=str(LONG), device="cpu",
                      scale="long", seeds=5, part=part)
    space = {"display": lambda *a: None}
    for source in cells(part):
        if "dataset: str" in source: space.update(parameters); continue
        exec(compile(source, part, "exec"), space)
        report = space.get("report")
        if report is not None:                       # from here on nothing reaches the committed files
            report.save = lambda figure, name: plt.close(figure)
            report.table = lambda frame, name, **how: tables.setdefault(name, frame)
    return tables

@pytest.mark.parametrize("part", ["teacher_student_kl", "gap_decomposition"])
def test_committed_tables_are_those_of_the_committed_records(part):
    found = recomputed(part)
    assert set(found) == set(REPORTS[part].tables)
    for name, frame in found.items():
        again = pd.read_csv(io.StringIO(frame.to_csv(index=False, float_format="%.6g")))
        pd.testing.assert_frame_equal(again, pd.read_csv(LONG/"tables"/f"{name}.csv"))

def metric(method, name, conditions):
    "Mean over conditions for each seed, from the files themselves."
    out = []
    for seed in seeds_of(method, 5):
        rows = json.loads(run_paths(LONG, "mnist_svhn_text", method, seed)["metrics"].read_text())["rows"]
        out.append(np.mean([r["value"] for r in rows if r["metric"] == name and r["condition"] in conditions]))
    return np.array(out)

def test_the_verdicts_are_those_of_a_t_test():
    "Every row of hypotheses.csv, computed by SciPy from the records; linear accuracy is open."
    claims = pd.read_csv(LONG/"tables/hypotheses.csv")
    singles, four = ["mnist", "svhn", "text"], ["svhn->mnist", "text->mnist", "mnist->svhn", "text->svhn"]
    of = {"fid": (four, -1), "fid_imagenet": (four, -1), "linear_accuracy": (singles, 1),
          "coherence": ([*four, "mnist->text", "svhn->text"], 1), "teacher_student_kl": (singles, -1),
          "negative_elbo": (singles, -1)}
    for c in claims.itertuples():
        a = "refined_student" if c.claim.startswith("same decoders") else "iterative_student"
        conditions, sign = of[c.metric]
        a, b = metric(a, c.metric, conditions), metric("jmvae_student", c.metric, conditions)
        d = sign*(a - b[:len(a)])
        assert np.isclose(c[3], d.mean(), rtol=1e-4) and c.seeds == len(d)
        if len(d) == 1: assert np.isnan([c.low, c.high]).all() and c.verdict == "open"; continue
        low, high = stats.ttest_1samp(d, 0).confidence_interval(.95)
        assert np.allclose([c.low, c.high], [low, high], rtol=1e-4)
        assert c.verdict == ("supported" if low > 0 else "contradicted" if high < 0 else "open")
    accuracy = claims[claims.metric.eq("linear_accuracy") & claims.claim.str.startswith("iterative")].iloc[0]
    assert accuracy.verdict == "open" and accuracy.low < 0 < accuracy.high

def test_targets_set_before_a_run_are_met_or_missed():
    study = pd.read_csv(LONG/"tables/gap_decomposition.csv")
    ours = study[study.method == "our refiner"].set_index(["start", "steps"])
    met = {n: (ours.loc[(n, 8)].low > 0, ours.loc[(n, 16)].closed >= .75,
               ours.loc[(n, 64)].negative_elbo - ours.loc[(n, 16)].negative_elbo <= 1)
           for n in ("mnist", "svhn", "text")}
    said = "".join("".join(o.get("text", [])) for o in outputs(ROOT/"nbs/11_findings.ipynb"))
    found = dict(re.findall(r"(?m)^([^:\n]+): (met|missed);\s+reached", said))
    names = ["ahead within 8 steps", "75 % closed within 16", "no divergence at 64"]
    assert found == {n: "met" if all(m[i] for m in met.values()) else "missed" for i, n in enumerate(names)}

def test_the_lesson_of_findings_types_no_result():
    "What it says of the runs is printed by its cells, so that longer runs drop in."
    mirror = (ROOT/"nbs/_py/11_findings.py").read_text(encoding="utf-8")
    told = "\n".join(re.findall(r"(?m)^# (.*)$", mirror[:mirror.index("## Exercises")]))
    results = re.findall(r"\d+\.\d+|\d+ (?:nats|%)", re.sub(r"\]\([^)]*\)", "", told))
    assert set(results) <= {"95 %", "10 %"}, results                # the level of an interval, and chance

def test_marino_and_the_student_of_refined_are_compared_on_their_seeds():
    study = pd.read_csv(LONG/"tables/gap_decomposition.csv")
    assert METHODS["refined_marino"].seeds == 3 and METHODS["refined_student"].seeds == 1
    marino = study[study.method == "Marino's refiner"]
    joint = metric("jvae", "negative_elbo", ["all"])
    assert (marino.seeds == 3).all() and np.allclose(marino.joint_encoder, joint[:3].mean(), rtol=1e-5)
    for n, refined, student in (("mnist", 6441.3, 6555.3), ("svhn", 6078.7, 6159.5), ("text", 5093.4, 5040.9)):
        assert abs(metric("refined_student", "negative_elbo", [n])[0] - refined) < .05
        assert abs(metric("jmvae_student", "negative_elbo", [n])[0] - student) < .05

def test_the_table_over_t_is_of_sampled_latents():
    "Directions are named one by one, so that none from the mean of z can slip in."
    half, single = ROOT/"results"/"half", ["mnist", "svhn", "text"]
    six = {f"{a}->{b}" for a in single for b in single if a != b}
    of = {"coherence": six, "fid": {d for d in six if not d.endswith("text")}, "linear_accuracy": set(single)}
    table = pd.read_csv(half/"tables"/"iterations.csv")
    table = table[table.metric.isin(of)]
    assert len(table) == 6*2*3
    for r in table.itertuples():
        method, end = (("iterative_student_over_t", f", T={r.T}") if r.who == "student" else
                       ("iterative", f", t={r.T}, teacher"))
        files = [run_paths(half, "mnist_svhn_text", method, s)["metrics"] for s in range(r.seeds)]
        wanted = {c + end for c in of[r.metric]}
        values = [x["value"] for f in files for x in json.loads(f.read_text())["rows"]
                  if x["metric"] == r.metric and x["condition"] in wanted]
        assert len(values) == r.seeds*len(wanted) and np.isclose(r.value, np.mean(values), rtol=1e-4)
