"""Methods, data sets and reports from outside the package, run through the graph to a table."""
import re

import nbformat, pandas as pd, pytest

from helpers import copy_project, environment, files, run
from mmvae_nb.core import MmvaeError
from mmvae_nb.experiments import table
from mmvae_nb.experiments.graph import jobs_for
from mmvae_nb.experiments.table import Dataset, Method, Report, load_plugins, register

TOY = '''
import torch
from mmvae_nb.data import TensorData
from mmvae_nb.experiments.table import Dataset, Method, Report, register
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_elbo import JVAE

class Mine(MoPoE):
    "A method: MoPoE with less weight on the KL."
    def __init__(self, specs, latent, beta): super().__init__(specs, latent, beta/2)

class Together(JVAE): "A method that needs all modalities, under a name that nobody knows."

def two_views(split, source, items=None, device="cpu"):
    "A data set: two noisy views of a class, as vectors."
    g = torch.Generator().manual_seed({"train": 0, "validation": 1, "test": 2}[split])
    y = torch.arange(items or 400) % 4
    view = lambda width: torch.eye(4)[y] @ torch.ones(4, width).tril() + .1*torch.randn(len(y), width, generator=g)
    return TensorData({"left": view(6), "right": view(9)}, labels=y, name="two_views", split=split,
                      class_names=list("abcd"), provenance={"left": "made up"}).to(device)

class Judge:
    "How near a generated item is to the true one."
    by_chance, features = ("distance",), {}
    def __init__(self, train, validation, updates, width, device): pass
    def scores(self, to, made, batch, labels): return {"distance": (made - batch[to]).pow(2).mean(1).cpu()}
    def facts(self): return {}

register(methods={"mine": Method("toy", "Mine", label="My method", colour="#333333"),
                  "together": Method("toy", "Together"),
                  "mine_student": Method("distillation", "Students", teacher="together", updates="student_updates")},
         datasets={"two_views": Dataset("toy", "two_views", judge="toy.Judge")},
         reports={"near": Report("toy_report.ipynb", ("mine", "together", "mine_student"), ("near",),
                                 dataset="two_views")})
'''
REPORT = ['''dataset: str = ""  # all of these are given by the job
source: str = ""
items: int = 0
results: str = ""
device: str = ""
scale: str = ""
seeds: int = 1
part: str = ""''', '''from mmvae_nb.experiments.runs import open_report
from mmvae_nb.plotting import method_name
report = open_report(part, dataset, scale, source, results, seeds, items, device)
near = report.records().query("metric == 'distance'")
report.table(near.assign(method=near.method.map(method_name)), "near")''']

def toy(folder):
    "The module `toy` and its report."
    assert len([l for l in TOY.splitlines() if l.strip()]) < 40
    (folder/"toy.py").write_text(TOY)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in REPORT])
    nb.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nb, folder/"toy_report.ipynb")

def test_a_toy_method_and_a_toy_data_set_go_through_the_graph_to_tables(tmp_path):
    """In under 40 lines outside the package: a method, one that needs all modalities, its student, data, judge and
    report."""
    folder = copy_project(tmp_path/"p"); toy(folder)
    how = dict(cwd=folder, env=environment(folder, MMVAE_PLUGINS="toy"))
    argv = ["reproduce", "--scale", "smoke", "--dataset", "two_views"]
    first = run(*argv, "--in-process", **how)
    assert first.returncode == 0, first.stderr
    root = folder/"results"/"smoke"
    near, talk = (pd.read_csv(root/"tables"/f"{name}.csv") for name in ("near", "talk"))
    assert set(near.method) == {"My method", "together", "mine_student"} and near.value.gt(0).all()
    own = talk[talk.dataset == "two_views"].set_index(["method", "metric", "condition"]).value.sort_index()
    assert own.notna().all() and len(talk) == 52 + len(own)
    assert {"left->right", "right->left"} <= set(own["mine", "distance"].index)
    assert not {"left", "right"} & set(own["together", "negative_elbo"].index)
    assert "all" in own["together", "negative_elbo"].index
    assert {"left", "right"} == set(own["mine_student", "teacher_student_kl"].index)
    assert (root/"reports"/"toy_report.ipynb").exists()
    (root/"runs"/"two_views-mine-0-metrics.json").unlink()     # the scheduler and a kernel know of the plugin, too
    made, numbers = files(root), pd.read_csv(root/"tables"/"near.csv")
    again = run(*argv, **how)                                  # its own code counts as a source, and is up to date
    assert again.returncode == 0 and first.stdout.endswith(again.stdout), again.stderr
    log = (root/"logs"/"snakemake.log").read_text()
    assert set(re.findall(r"^(?:local)?rule (\S+):", log, re.M)) == {
        *(f"two_views-{j}" for j in ("mine-0-evaluate", "near-report", "talk")), "all"}
    assert set(made) < set(files(root)) and numbers.equals(pd.read_csv(root/"tables"/"near.csv"))
    listed = run("data", **how)
    assert "two_views  rendered: 400/400/400  left 6, right 9" in listed.stdout, listed.stdout + listed.stderr

def test_a_plugin_that_cannot_be_imported_is_one_line(tmp_path):
    (tmp_path/"broken.py").write_text("import nothing_of_that_name\n")
    for name, why in {"missing": "No module named 'missing'",
                      "broken": "No module named 'nothing_of_that_name'"}.items():
        r = run("table", "--scale", "smoke", cwd=tmp_path, env={"MMVAE_PLUGINS": name})
        assert r.returncode == 2 and r.stdout == ""
        assert r.stderr == f"mmvae: MMVAE_PLUGINS: {name} can't be imported (ModuleNotFoundError: {why})\n"

def test_what_an_outside_module_uses_counts_as_source(tmp_path, monkeypatch, at_root):
    toy(tmp_path); monkeypatch.syspath_prepend(tmp_path)
    for kind in ("METHODS", "DATASETS", "REPORTS"): monkeypatch.setattr(table, kind, dict(getattr(table, kind)))
    for module in ("runs", "graph"):
        for kind in ("METHODS", "DATASETS", "REPORTS"):
            monkeypatch.setattr(f"mmvae_nb.experiments.{module}.{kind}", getattr(table, kind))
    load_plugins(" toy ")
    for name, used in {"mine": "mopoe", "together": "multimodal_elbo"}.items():
        train = next(j for j in jobs_for("smoke", "two_views", methods=[name]) if j.name.endswith("train"))
        assert {"toy.py", f"{used}.py"} <= {f.split("/")[-1] for f in train.inputs}

@pytest.mark.parametrize("entries, words", [
    (dict(methods={"mopoe": Method("mine", "Mine")}), "method: got 'mopoe', which is taken"),
    (dict(datasets={"cub": Dataset("mine", "cub")}), "dataset: got 'cub', which is taken"),
    (dict(reports={"headline": Report("mine", ("mopoe",))}), "report: got 'headline', which is taken"),
    (dict(reports={"all": Report("mine", ("mopoe",))}), "report: got the name 'all'"),
    (dict(methods={"a-b": Method("mine", "Mine")}),
     "method: got the name 'a-b', allowed: letters, digits, underscores"),
    (dict(methods={"x": Method("mine", "Mine", teacher="vae")}), "teacher of method x: got 'vae', allowed: mvae, jvae"),
    (dict(methods={"x": Method("m", "M", teacher="y"), "y": Method("m", "M", teacher="x")}),
     "teacher of method x: got 'x', taught by itself"),
    (dict(methods={"x": Method("m", "M", updates="epochs")}), "updates of method x: got 'epochs'"),
    (dict(methods={"x": "Mine"}), "method x: got a str, allowed: Method"),
    (dict(reports={"x": Report("mine", ("mopoe", "vae"))}), "methods of report x: got 'vae'"),
    (dict(reports={"x": Report("mine", ("mopoe",), dataset="dogs")}), "dataset of report x: got 'dogs'"),
    (dict(datasets={"x": Dataset("m", "f", settings={"quick": {"epochs": 3}})}), "settings of dataset x: got 'epochs'"),
    (dict(datasets={"x": Dataset("m", "f", settings={"fast": {}})}), "settings of dataset x: got 'fast'")])
def test_entries_that_cannot_be_are_refused_in_one_line_and_nothing_is_added(entries, words):
    before = [dict(t) for t in (table.METHODS, table.DATASETS, table.REPORTS)]
    with pytest.raises(MmvaeError) as e: register(**{"methods": {"fine": Method("mopoe", "MoPoE")}, **entries})
    assert str(e.value).startswith(words) and "\n" not in str(e.value)
    assert before == [table.METHODS, table.DATASETS, table.REPORTS]

def test_a_module_that_is_nowhere_is_one_line(at_root, monkeypatch):
    monkeypatch.setitem(table.METHODS, "lost", Method("nowhere_at_all", "Lost"))
    with pytest.raises(MmvaeError, match="got 'nowhere_at_all'") as e: jobs_for("smoke", methods=["lost"])
    assert "\n" not in str(e.value)
