"""The other data sets go through the same experiments: their graphs, and a whole run at the smallest scale."""
import fcntl, json, os
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from helpers import ROOT, copy_project, environment, role, run
from mmvae_nb.core import MmvaeError, read_json
from mmvae_nb.experiments.graph import jobs_for
from mmvae_nb.experiments.runs import load_data, load_run, make_judge, make_model, make_specs, run_paths
from mmvae_nb.experiments.table import DATASETS, REPORTS, SCALES, parts_of, scale_of

OTHERS = [d for d in DATASETS if d != "mnist_svhn_text"]

# ---- graphs

@pytest.mark.parametrize("dataset", OTHERS)
@pytest.mark.parametrize("scale", SCALES)
def test_a_graph_is_in_order_and_says_what_the_data_set_asks_for(dataset, scale, at_root):
    s, d = scale_of(scale, dataset), DATASETS[dataset]
    jobs = jobs_for(scale, dataset, "all")
    made, methods = set(), set(REPORTS[parts_of(dataset)[0]].methods)
    for j in jobs:
        for f in j.inputs: assert f in made or Path(f).is_file(), (j.name, f)
        made |= set(j.outputs)
        if role(j) == "talk": continue
        modules = {str(Path(f).with_suffix("")).removeprefix("mmvae_nb/").replace("/", ".") for f in j.inputs}
        assert d.module in modules and j.parameters["dataset"] == dataset and j.parameters["source"] == s.source
        if role(j) == "train":
            assert [j.parameters[k] for k in ("latent", "lr", "steps")] == [s.latent, s.lr, s.steps]
    assert {j.parameters["method"] for j in jobs if role(j) == "train"} == methods
    assert len(made) == sum(len(j.outputs) for j in jobs)

def test_a_data_set_keeps_the_scales_settings_where_it_asks_for_none():
    for scale, s in SCALES.items():
        assert scale_of(scale, "mnist_svhn_text") == s
        for d in OTHERS:
            changed = {**DATASETS[d].settings.get("*", {}), **DATASETS[d].settings.get(scale, {})}
            own = scale_of(scale, d)
            for field in s.__dataclass_fields__:
                assert getattr(own, field) == changed.get(field, getattr(s, field)), (d, scale, field)

def test_pictures_of_real_faces_go_where_git_does_not_look(at_root):
    ignored = (ROOT/".gitignore").read_text().split()
    assert "results/*/private/" in ignored
    for scale in ("real", "paper"):
        pictures = [f for j in jobs_for(scale, "celeba", "all") for f in j.outputs if f.endswith(".png")]
        assert len(pictures) == 4 and all(f.startswith(f"results/{scale}/private/") for f in pictures)
    drawn = [f for j in jobs_for("quick", "celeba", "all") for f in j.outputs if f.endswith(".png")]
    assert all(f.startswith("results/quick/figures/") for f in drawn)
    assert not any("private" in f for j in jobs_for("real", "cub", "all") for f in j.outputs)

@pytest.mark.parametrize("call, words", [
    (lambda: scale_of("quick", "dogs"), "dataset: got 'dogs', allowed: mnist_svhn_text, cub, celeba"),
    (lambda: scale_of("huge", "cub"), "scale: got 'huge'"),
    (lambda: jobs_for("smoke", "cub", "headline"), "part: got 'headline', allowed: cub, all"),
    (lambda: jobs_for("smoke", "mnist_svhn_text", "cub"), "part: got 'cub'")])
def test_wrong_names_get_one_line(call, words, at_root):
    with pytest.raises(MmvaeError) as e: call()
    assert words in str(e.value) and "\n" not in str(e.value)

@pytest.mark.parametrize("dataset", DATASETS)
def test_networks_and_judge_come_from_the_data_sets_module(dataset):
    data = load_data(dataset, "validation", "rendered", 30)
    specs = make_specs(dataset, data.modalities)
    assert list(specs) == list(data.modalities)
    model = make_model("jvae", specs, 5)
    batch = data.batch(0, 4)
    with torch.no_grad(): made = model.generate(batch)
    for n, x in made.items(): assert x.shape == batch[n].shape and torch.isfinite(x.float()).all()
    item = {n: x[:1] for n, x in batch.items()}
    with torch.no_grad(): alone, among = model.infer(item).mean[0], model.infer(batch).mean[0]
    torch.testing.assert_close(alone, among, rtol=1e-4, atol=1e-5)


# ---- a whole run of each at the smallest scale

def build(folder, dataset):
    "In one process: the digits go through the scheduler (test_end_to_end)."
    copy_project(folder)
    r = run("reproduce", "--scale", "smoke", "--dataset", dataset, "--in-process", cwd=folder, env=environment(folder))
    return dict(code=r.returncode, out=r.stdout, err=r.stderr)

@pytest.fixture(scope="module", params=[pytest.param(d, marks=pytest.mark.xdist_group(d)) for d in OTHERS])
def finished(request, tmp_path_factory):
    "(data set, results folder, what the command printed). Workers of pytest-xdist share one run of each."
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"): base = base.parent
    done = base/f"{request.param}.json"
    with open(base/f"{request.param}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists(): done.write_text(json.dumps(build(base/request.param, request.param)))
    return request.param, base/request.param/"results"/"smoke", json.loads(done.read_text())

def test_a_run_prints_its_table_and_leaves_its_pictures(finished):
    dataset, results, printed = finished
    assert printed["code"] == 0, printed["err"][-2000:]
    reports = [j for j in jobs_for("smoke", dataset, "all") if role(j) == "report"]
    for f in (f for j in reports for f in j.outputs):
        path = results.parent/Path(f).relative_to("results")
        assert path.is_file(), f
        if path.suffix != ".png": continue
        with Image.open(path) as image:
            assert min(image.size) > 200 and np.asarray(image.convert("L"), dtype=float).std() > 10
    assert not list(results.rglob("*.part*")) and not [p for p in results.rglob("*") if p.name.startswith(".")]

def test_the_table_has_every_row_of_the_talk_for_the_data_set(finished):
    dataset, results, _ = finished
    t = pd.read_csv(results/"tables"/"talk.csv")
    talk, own = t[t.talk_value.notna()], t[(t.dataset == dataset) & t.value.notna()]
    here = talk.dataset == dataset
    assert len(talk) == 52 and talk[here].value.notna().all() and talk[~here].value.isna().all()
    assert (talk.dataset == dataset).sum() == (10 if dataset == "cub" else 0)
    assert set(own.method) == set(REPORTS[dataset].methods)
    assert (own.data == "rendered").all() and np.isfinite(own.value).all()
    fid = own[own.metric == "fid"]
    assert len(fid) and (fid.floor > 0).all() and fid.features.str.contains("classifier").all()
    for n in ("image", "text"): assert len(own[(own.metric == "teacher_student_kl") & (own.condition == n)]) >= 2

def test_scores_are_what_the_judge_says_of_the_weights_on_disk(finished, monkeypatch):
    "A score recomputed from a trained model, without the notebook that wrote it."
    dataset, results, _ = finished
    monkeypatch.chdir(results.parent.parent)
    model, run_ = load_run(results, dataset, "mopoe")
    s = scale_of("smoke", dataset)
    sets = [load_data(dataset, split, "rendered", s.items) for split in ("train", "validation", "test")]
    judge = make_judge(dataset, *sets[:2], s.judge_updates, s.judge_width)
    batch, labels = sets[2].take(s.samples)
    with torch.no_grad(): made = model.generate({"image": batch["image"]}, to="text")["text"]
    rows = {(r["metric"], r["condition"]): r
            for r in read_json(run_paths(results, dataset, "mopoe", 0)["metrics"])["rows"]}
    found = judge.scores("text", made, batch, labels)
    for metric, value in found.items():
        row = rows[metric, "image->text, mean of z"]
        mean = float(torch.as_tensor(value, dtype=torch.float).mean())
        assert abs(mean - row["value"]) < 1e-4*(1 + abs(row["value"])), metric
        assert ("floor" in row) == (metric in judge.by_chance)

def test_the_judge_is_on_record_with_its_ceiling_and_chance(finished):
    dataset, results, _ = finished
    record = read_json(results/"runs"/f"{dataset}-judges.json")
    exact = {"cub": ["belly_right|image", "attributes_right|image"],
             "celeba": ["attribute_measured|image", "attribute_match|text"]}[dataset]
    for name in exact:
        found = record["references"][name]
        assert found["real"] > 0.95 > 0.65 > found["mixed up"], name
    assert record["facts"] and all(np.isfinite(v) for v in record["facts"].values())
