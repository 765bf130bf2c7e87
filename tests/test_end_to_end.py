"""The graph from end to end at the smallest scale: one run for all tests, and what a change would run again."""
import itertools, math, os, re, shutil
from pathlib import Path

import nbformat, numpy as np, pandas as pd, pytest, torch
from PIL import Image

from helpers import (DATA, DIGIT_METHODS, FIGURES, HEADLINE, PARTS, PROGRESS, REPORT_FILES, SMOKE, TALK_METHODS, append,
                     copy_project, environment, errors, files, half_written, one_error, run, set_smoke, snakemake,
                     times)
from mmvae_nb.core import MmvaeError, read_json, write_json
from mmvae_nb.experiments.cli import main
from mmvae_nb.experiments.graph import jobs_for
from mmvae_nb.experiments.runs import generated_rows, load_data, load_items, load_run, run_paths
from mmvae_nb.experiments.table import METHODS, SCALES
from mmvae_nb.experiments.talk import talk_numbers
from mmvae_nb.training import resolve_precision

# ---- a copy of the project, so that nothing here touches the real one

def test_a_failing_job_ends_the_run_with_its_message(tmp_path):
    folder = copy_project(tmp_path/"p")
    set_smoke(folder, items=5)
    r = run("reproduce", *SMOKE, "--methods", "jvae", cwd=folder, env=environment(folder))
    assert r.returncode == 2 and r.stdout == ""
    one_error(r.stderr, "items: got 5, allowed: a whole number at least 10", f"{DATA}-j")
    assert not half_written(folder/"results")
    assert not any(f.endswith((".safetensors", ".csv", ".png")) for f in files(folder/"results"))


# ---- the smoke graph, once for this module, whoever comes first

WATCHED = {f"{DATA}-{n}" for n in ("judges", "talk", "headline-report",     # the jobs that the scheduler ran
                                   *(f"{m}-0-{what}" for m in HEADLINE for what in ("train", "evaluate")))}

def test_ctrl_c_leaves_nothing_half_written(smoke):
    stopped = smoke[1]["interrupted"]
    assert stopped["code"] == 130 and stopped["out"] == ""
    assert errors(stopped["err"]) == ["mmvae: interrupted; the same command continues"]
    assert not stopped["half"] and not [f for f in stopped["files"] if f.startswith(("tables", "figures"))]

def test_the_headline_run(smoke):
    first = smoke[1]["first"]
    assert first["code"] == 0 and not errors(first["err"])
    progress = [list(map(int, m.groups())) for m in map(PROGRESS.fullmatch, first["err"].splitlines()) if m[1]]
    assert len(progress) >= 2 and all(a[0] <= b[0] <= b[1] for a, b in itertools.pairwise(progress))
    assert set(first["ran"]) <= WATCHED | {"all"} and f"{DATA}-headline-report" in first["ran"]
    for name in ("MoPoE", "JMVAE student", "Iterative student", "slide 37", "slide 38", "rendered"):
        assert name in first["out"]
    for shown in re.findall(r"^(?:figure|table): +(\S+)$", first["out"], re.M): assert (smoke[0]/shown).is_file()
    assert "slide_36_cross_modal.png" in first["out"]
    assert first["out"].rstrip().endswith("results/smoke/tables/talk.csv")
    # the printed numbers are the talk's and ours
    table = pd.read_csv(smoke[0]/"results"/"smoke"/"tables"/"talk.csv")
    block = first["out"].split("slide 38")[1]
    for method, shown in [("mopoe", "MoPoE"), ("iterative_student", "Iterative student")]:
        row = next(l for l in block.splitlines() if l.startswith(shown))
        ours = table[(table.slide == 38) & (table.method == method)]
        numbers = [float(x) for x in row.removeprefix(shown).split()]
        np.testing.assert_allclose(numbers, np.ravel([*zip(ours.talk_value, ours.value)]), rtol=2e-3, atol=1e-4)

def test_a_second_run_does_nothing(smoke):
    first, second = smoke[1]["first"], smoke[1]["second"]
    assert second["code"] == 0 and second["out"] == first["out"] and not errors(second["err"])
    moved = ({f for f in first["times"] if second["times"].get(f) != first["times"][f]}
             | set(second["times"]) - set(first["times"]))
    assert moved <= {"status/lock"} and second["talk"] == first["talk"]
    assert second["seconds"] < max(20, first["seconds"]/2)

def test_a_larger_part_adds_only_what_is_missing(smoke):
    first, more = smoke[1]["second"], smoke[1]["all"]
    missing = set(DIGIT_METHODS) - set(HEADLINE)
    wanted = ({f"{DATA}-{m}-0-{what}" for m in missing for what in ("train", "evaluate")}
              | {f"{DATA}-{p}-report" for p in PARTS if p != "headline"} | {f"{DATA}-talk"})
    assert sorted(more["ran"]) == sorted(wanted)
    old = {f: t for f, t in first["times"].items() if f.split("/")[0] in ("weights", "runs", "figures", "executed")}
    assert old and all(more["times"][f] == t for f, t in old.items())
    for f in REPORT_FILES: assert f in more["times"], f

def test_the_scheduler_takes_what_one_process_made(smoke):
    "Only the table is made again, to the same numbers: it was written from more files than the scheduler knew of."
    one, settled = smoke[1]["all"], smoke[1]["settled"]
    assert set(settled["ran"]) <= {f"{DATA}-talk", "all"} and settled["talk"] == one["talk"]

def test_talk_csv_has_the_talks_rows_in_order_then_ours(results):
    t = pd.read_csv(results/"tables"/"talk.csv")
    for column in "slide dataset metric condition method talk_value value std n_seeds data n device".split():
        assert column in t
    theirs, ours, talk = t[t.talk_value.notna()], t[t.talk_value.isna()], talk_numbers()
    assert len(theirs) == 52 and list(theirs.index) == list(range(52)) and len(ours) > 40
    for c in ("slide", "dataset", "metric", "condition", "method", "talk_value"):
        assert theirs[c].tolist() == talk[c].tolist()
    assert theirs[theirs.dataset == DATA].value.notna().all() and theirs[theirs.dataset == "cub"].value.isna().all()
    assert not t.duplicated(["slide", "dataset", "metric", "condition", "method"]).any()
    run = t[t.value.notna()]
    assert (run.data == "rendered").all() and (run.device == "cpu").all()
    assert (run.n_seeds == 1).all() and run["std"].isna().all()
    assert set(ours.method) == set(DIGIT_METHODS) and np.isfinite(run.value).all()
    fid = run[run.metric == "fid"]
    assert (fid.floor > 0).all() and fid.features.str.contains("classifier").all()
    assert (fid.n == SCALES["smoke"].samples).all()
    probe = run[run.metric == "linear_accuracy"]
    assert (probe.n == SCALES["smoke"].probe_points).all() and probe.value.between(0, 1).all()

def test_the_headline_table(results):
    h, t = pd.read_csv(results/"tables"/"headline.csv"), pd.read_csv(results/"tables"/"talk.csv")
    assert h.groupby("slide").size().to_dict() == {37: 12, 38: 9} and sorted(set(h.method)) == sorted(TALK_METHODS)
    assert h.value.notna().all() and h.talk_value.notna().all()
    same = t[t.slide.isin([37, 38]) & t.talk_value.notna()].reset_index(drop=True)
    pd.testing.assert_frame_equal(h[same.columns], same, check_dtype=False)

@pytest.mark.parametrize("name", sorted(Path(f).name for f in FIGURES))
def test_figures_are_pictures(name, results):
    with Image.open(results/"figures"/name) as image:
        assert image.format == "PNG" and min(image.size) > 200
        pixels = np.asarray(image.convert("L"), dtype=float)
    assert pixels.std() > 10 and (pixels < 250).mean() > 0.01      # words take little ink

@pytest.mark.parametrize("method", ["mopoe", "iterative", "refined_student", "iterative_student_over_t"])
def test_numbers_per_item_have_the_reported_mean(method, results):
    kept = load_items(results, DATA, method, 0)
    rows = {f"{r['metric']}|{r['condition']}": r["value"]
            for r in read_json(run_paths(results, DATA, method, 0)["metrics"])["rows"]}
    assert len(kept) > 10 and set(kept) <= set(rows)
    for name, values in kept.items():
        assert values.ndim == 1 and np.isclose(values.mean(), rows[name], rtol=1e-4, atol=1e-5), name
    with pytest.raises(MmvaeError, match="no such file"): load_items(results, DATA, method, 7)

def test_rows_of_a_figure_begin_with_the_truth_and_share_their_noise(results):
    model, _ = load_run(results, DATA, "mvtcae_student")
    test = load_data(DATA, "test", "rendered", SCALES["smoke"].items)
    batch, _ = test.take(5)
    rows = generated_rows({"a": model, "b": model}, test, batch, ["mnist", "text"], "svhn")
    assert list(rows) == ["mnist, given", "text, given", "ground truth", "a", "b"]
    assert torch.equal(rows["ground truth"], batch["svhn"]) and torch.equal(rows["a"], rows["b"])
    words = generated_rows({"a": model}, test, batch, "mnist", "text", sample=False)
    assert words["ground truth"] == test.modalities["text"].decode(batch["text"])
    assert all(isinstance(w, str) for w in words["a"])

@pytest.mark.parametrize("method", DIGIT_METHODS)
def test_the_record_of_a_run(method, results):
    run, s, student = read_json(run_paths(results, DATA, method, 0)["run"]), SCALES["smoke"], METHODS[method].teacher
    train = load_data(DATA, "train", "rendered", s.items)
    assert run["checksum"] == train.checksum and run["data"] == "rendered"
    assert run["dataset"] == DATA and run["method"] == method
    assert run["seed"] == 0 and run["device"] == "cpu" and run["torch"] == torch.__version__
    field = ("study_updates" if method.startswith(("iterative_t", "iterative_student_over")) else
             "refiner_updates" if method in ("refined", "refined_marino") else
             "student_updates" if student else "updates")
    assert run["updates"] == getattr(s, field) and 0 < run["seconds"] < 60*s.budget
    job = next(j for j in jobs_for("smoke", part="all") if j.name == f"{DATA}-{method}-0-train")
    told = {k: v for k, v in job.parameters.items() if k not in ("results", "device")}
    assert run["parameters"] == {**told, "precision": resolve_precision(told["precision"], "cpu")}
    assert math.isfinite(run["validation_loss"]) and run["history"][0]["update"] == 0
    metrics = read_json(run_paths(results, DATA, method, 0)["metrics"])
    assert metrics["checksum"] == run["checksum"] and metrics["method"] == method and len(metrics["rows"]) > 3
    assert all(math.isfinite(r["value"]) for r in metrics["rows"])

def test_nothing_is_left_behind(results):
    assert not half_written(results)
    n = len(DIGIT_METHODS)                                         # weights and numbers per item; checkpoints are gone
    assert sorted(p.suffix for p in (results/"weights").iterdir()) == [".npz"]*n + [".safetensors"]*n
    states = {p.stem: read_json(p)["state"] for p in (results/"status").glob("*.json")}
    assert set(states) == WATCHED and set(states.values()) == {"done"}

def test_executed_notebooks_are_clean_and_show_their_parameters(results):
    executed = sorted((results/"executed").glob("*.ipynb"))
    assert {f"{DATA}-{p.stem}" for p in executed} == WATCHED - {f"{DATA}-talk"}            # the table needs no notebook
    for path in executed:
        nb = nbformat.read(path, 4)
        outputs = [o for c in nb.cells for o in c.get("outputs", [])]
        assert outputs and not any(o.output_type == "error" or (o.output_type == "stream" and o.name == "stderr")
                                   for o in outputs)
        injected, = [c for c in nb.cells if "injected-parameters" in c.metadata.get("tags", [])]
        assert "results/smoke" in injected.source and "papermill" not in nb.metadata
        assert all(set(c.metadata) <= {"tags"} for c in nb.cells)

@pytest.mark.parametrize("student, teacher", [("jmvae_student", "jvae"), ("iterative_student", "iterative")])
def test_a_trained_student_loads_with_its_teacher_and_generates(student, teacher, results):
    model, run = load_run(results, DATA, student)
    alone, _ = load_run(results, DATA, teacher)
    assert not model.training and run["method"] == student
    a, b = model.teacher.state_dict(), alone.state_dict()
    assert list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)      # training students changed no bit of it
    batch, _ = load_data(DATA, "test", "rendered", 200).take(5)
    for n in model.names:
        made = model.generate({n: batch[n]})
        assert {k: tuple(x.shape) for k, x in made.items()} == {
            "mnist": (5, 1, 28, 28), "svhn": (5, 3, 32, 32), "text": (5, 8)}
    again, _ = load_run(results, DATA, student)
    assert torch.equal(again.infer({"svhn": batch["svhn"]}).mean, model.infer({"svhn": batch["svhn"]}).mean)

def test_the_record_says_what_the_weights_score(results):
    "The validation loss and a metric, computed again from the weights on disk."
    model, run = load_run(results, DATA, "jmvae_student")
    test = load_data(DATA, "test", "rendered", 200)
    held_out, _ = load_data(DATA, "validation", "rendered", 200).take(200)
    with torch.no_grad():
        assert abs(model.loss(held_out).total.item() - run["validation_loss"]) < 1e-3*run["validation_loss"]
    rows = {(r["metric"], r["condition"]): r["value"]
            for r in read_json(run_paths(results, DATA, "jmvae_student", 0)["metrics"])["rows"]}
    batch, _ = test.take(SCALES["smoke"].samples)
    with torch.no_grad(): q, s = model.teacher.infer(batch), model.infer({"svhn": batch["svhn"]})
    kl = torch.distributions.kl_divergence(torch.distributions.Normal(q.mean, q.std),
                                           torch.distributions.Normal(s.mean, s.std)).sum(1).mean()
    assert abs(kl.item() - rows["teacher_student_kl", "svhn"]) < 1e-4 + 1e-3*kl.item()

@pytest.mark.parametrize("argv", [
    ["mopoe", "--given", "mnist"],
    ["jmvae_student", "--given", "svhn,text", "--to", "mnist"],
    ["jvae", "--given", "mnist,svhn,text", "--to", "svhn,text"],
    ["iterative_student", "--given", " text , svhn"]])
def test_generate_draws(argv, results, tmp_path, capsys):
    out = tmp_path/"deep"/"picture.png"
    assert main(["generate", *argv, *SMOKE, "--out", str(out)]) == 0
    printed, err = capsys.readouterr()
    assert printed == f"figure: {out}\n" and err == ""
    with Image.open(out) as image: assert image.format == "PNG" and np.asarray(image.convert("L")).std() > 5

@pytest.mark.parametrize("argv, words", [
    (["mopoe", "--given", "audio"], ["given: got 'audio', allowed: mnist, svhn, text"]),
    (["mopoe", "--given", "mnist,audio"], ["given: got 'audio'"]), (["mopoe", "--given", ""], ["given: got ''"]),
    (["mopoe", "--given", "mnist", "--to", "audio"], ["to: got 'audio', allowed: mnist, svhn, text"]),
    (["jvae", "--given", "mnist"], ["JVAE needs svhn, text too"]),
    (["iterative", "--given", "text,svhn"], ["IterativeTeacher needs mnist too"]),
    (["mopoe", "--given", "mnist", "--seed", "7"], ["mopoe-7.json: no such file"]),
    (["mopoe", "--given", "mnist", "--out", "picture.bmp"], ["path: got '.bmp', allowed: .png, .svg, .pdf"]),
    (["mopoe", "--given", "mnist", "--out", "/proc/picture.png"], ["/proc: can't be written to"])])
def test_generate_refuses_in_one_line(argv, words, results, capsys):
    before = times(results)
    assert main(["generate", *argv, *SMOKE]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    one_error(err, *words)
    assert times(results) == before

def test_the_table_command(results, smoke, tmp_path, capsys):
    root = tmp_path/"smoke"
    # it writes its table, so not in the shared folder
    for part in ("runs", "figures"): shutil.copytree(results/part, root/part)
    assert main(["table", *SMOKE, "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for slide in (37, 38, 64, 65, 68): assert f"slide {slide}, {DATA}" in out
    assert "cub" not in out and out.count("\nfigure: ") == len(FIGURES)
    assert out.rstrip().endswith(str(root/"tables"/"talk.csv"))
    assert (root/"tables"/"talk.csv").read_text() == smoke[1]["all"]["talk"] and not half_written(root)

@pytest.mark.parametrize("damage, words", [
    ("missing", "no such file"), ("half", "not a weight file"), ("other", "weights of another model")])
def test_damaged_weights_are_one_line(damage, words, results, tmp_path, capsys):
    other = tmp_path/"r"/"smoke"
    shutil.copytree(results/"runs", other/"runs"); (other/"weights").mkdir()
    path, stem = run_paths(other, DATA, "mopoe", 0)["weights"], results/"weights"
    if damage == "half": path.write_bytes((stem/path.name).read_bytes()[:1000])
    if damage == "other": shutil.copy(run_paths(results, DATA, "jvae", 0)["weights"], path)
    assert main(["generate", "mopoe", *SMOKE, "--results", str(tmp_path/"r"), "--given", "mnist",
                 "--out", str(tmp_path/"x.png")]) == 2
    one_error(capsys.readouterr().err, str(path), words)
    assert not (tmp_path/"x.png").exists()

def test_a_damaged_record_is_one_line(results, tmp_path, capsys):
    other = tmp_path/"r"/"smoke"
    shutil.copytree(results/"runs", other/"runs")
    path = run_paths(other, DATA, "mopoe", 0)["metrics"]
    path.write_text(path.read_text()[:100])
    assert main(["table", *SMOKE, "--results", str(tmp_path/"r")]) == 2
    one_error(capsys.readouterr().err, str(path), "not valid JSON")
    assert not (other/"tables").exists()


# ---- what a change would run

@pytest.fixture
def copy(smoke, tmp_path):
    "A copy of the project after its runs: times kept, weights shared."
    link = lambda a, b: os.link(a, b) if a.endswith(".safetensors") else shutil.copy2(a, b)
    shutil.copytree(smoke[0], tmp_path/"p", copy_function=link, ignore=shutil.ignore_patterns("log", "__pycache__"))
    return tmp_path/"p"

def of(methods, *what): return {f"{m}-0-{w}" for m in methods for w in what}

def test_without_a_change_nothing_would_run(copy):
    assert snakemake(copy) == set() and snakemake(copy, "all") == set()

def test_a_new_date_is_no_change(copy):
    "As after an export that writes the same modules again."
    for p in (copy/"mmvae_nb").glob("*.py"): os.utime(p)
    assert snakemake(copy) == set()

def test_a_changed_lesson_reruns_what_depends_on_it(copy):
    append(copy/"mmvae_nb"/"mopoe.py")
    assert snakemake(copy) == of(["mopoe"], "train", "evaluate") | {"headline-report", "talk"}
    assert snakemake(copy, "all") == (of(["mopoe"], "train", "evaluate")
                                      | {f"{p}-report" for p in PARTS if "mopoe" in PARTS[p].methods} | {"talk"})

SHOWN = {"headline-report", "talk"}
TRAINED = of(HEADLINE, "train", "evaluate")

@pytest.mark.parametrize("module, wanted", [
    ("metrics", {"judges"} | of(HEADLINE, "evaluate") | SHOWN),
    ("judges/classes", {"judges"} | of(HEADLINE, "evaluate") | SHOWN),
    ("plotting", {"headline-report"}),
    ("amortization_gap", of(HEADLINE, "evaluate") | SHOWN),
    ("iterative_inference", of(["iterative", "iterative_student"], "train", "evaluate") | SHOWN),
    ("distillation", of(["jmvae_student", "iterative_student", "iterative"], "train", "evaluate") | SHOWN),
    ("jmvae", set()), ("experiments/table", set()), ("experiments/cli", set()), ("experiments/talk", {"talk"}),
    ("core", {"judges"} | TRAINED | SHOWN)])
def test_changed_modules_rerun_their_jobs(module, wanted, copy):
    append(copy/"mmvae_nb"/f"{module}.py")
    assert snakemake(copy) == wanted

def test_another_data_sets_run_makes_the_table_old_and_no_other(copy):
    "Its evaluation is in the same folder: the table takes it in, once, and then is up to date for both."
    path = copy/"results"/"smoke"/"runs"/f"{DATA}-mopoe-0-metrics.json"
    other = {**read_json(path), "dataset": "cub"}
    write_json(path.with_name("cub-mopoe-0-metrics.json"), other)
    assert snakemake(copy) == {"talk"}
    r = run("reproduce", *SMOKE, "--part", "headline", cwd=copy, env=environment(copy))
    assert r.returncode == 0, r.stderr
    assert snakemake(copy) == set() == snakemake(copy, "all")
    assert (pd.read_csv(copy/"results"/"smoke"/"tables"/"talk.csv")
            .query("dataset == 'cub' and method == 'mopoe'").value.notna()).any()

def test_a_changed_notebook_reruns_its_jobs(copy):
    path = copy/"nbs"/"experiments"/"evaluate.ipynb"
    nb = nbformat.read(path, 4)
    nb.cells.append(nbformat.v4.new_markdown_cell("A remark."))
    nbformat.write(nb, path)
    assert snakemake(copy) == of(HEADLINE, "evaluate") | SHOWN

@pytest.mark.parametrize("fields, wanted", [
    (dict(probe_points=90), of(HEADLINE, "evaluate") | SHOWN),
    (dict(student_updates=4), of(["jmvae_student", "iterative_student"], "train", "evaluate") | SHOWN),
    (dict(judge_updates=11), of(HEADLINE, "evaluate") | {"judges"} | SHOWN),
    (dict(lr=0.001), of(HEADLINE, "train", "evaluate") | SHOWN)],
    ids=lambda f: "-".join(f) if isinstance(f, dict) else "")
def test_a_changed_parameter_reruns_what_depends_on_it(fields, wanted, copy):
    set_smoke(copy, **fields)
    assert snakemake(copy) == wanted

def test_a_deleted_result_and_another_seed(copy):
    run_paths(copy/"results"/"smoke", DATA, "jvae", 0)["metrics"].unlink()
    assert snakemake(copy) == {"jvae-0-evaluate"} | SHOWN
    more = {n.replace("-0-", "-1-") for n in of(HEADLINE, "train", "evaluate")}
    assert snakemake(copy, seeds=2) == {"jvae-0-evaluate"} | SHOWN | more

@pytest.mark.slow
def test_a_changed_module_is_run_in_earnest(copy):
    "What the dry runs promise: MoPoE is trained and drawn again, the rest stays."
    before = times(copy/"results"/"smoke")
    append(copy/"mmvae_nb"/"mopoe.py")
    r = run("reproduce", *SMOKE, "--part", "headline", cwd=copy, env=environment(copy))
    assert r.returncode == 0 and not errors(r.stderr)
    after = times(copy/"results"/"smoke")
    moved = {f for f in after if after[f] != before.get(f)}
    assert {f for f in moved if f.startswith(("weights", "runs"))} == {
        *(f"weights/{DATA}-mopoe-0{end}" for end in (".safetensors", "-items.npz")),
        *(f"runs/{DATA}-mopoe-0{end}.json" for end in ("", "-metrics"))}
    assert "figures/slide_36_cross_modal.png" in moved and "tables/headline.csv" in moved
    assert snakemake(copy) == set()
