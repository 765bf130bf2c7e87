"""The notebooks that papermill runs: explained parameters, known to the graph, smoke-sized by default."""
import ast, itertools, re

import nbformat, papermill, pytest

from helpers import EXPERIMENTS, PARTS, role
from mmvae_nb.experiments.graph import jobs_for
from mmvae_nb.experiments.table import REPORTS, SCALES

ALONE = {"tuning", "missing_data"}   # a plugin's, with a scale of its own; and one that is run by hand

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
        assert p["name"] == name and p["help"].strip() and p["default"] not in ("", "None"), p
        assert p["inferred_type_name"] in ("str", "int", "float"), p
        value = ast.literal_eval(p["default"])
        assert type(value).__name__ == p["inferred_type_name"]

@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_an_experiment_is_prose_and_no_export(path):
    nb = nbformat.read(path, 4)
    assert nb.cells[0].cell_type == "markdown" and nb.cells[0].source.startswith("# ")
    assert not any(re.search(r"^#\| *(export|default_exp)", c.source, re.M) for c in nb.cells)

@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_papermill_can_inspect_an_experiment_as_it_is(path): assert papermill.inspect_notebook(str(path))

@pytest.mark.parametrize("scale, part", itertools.product(SCALES, PARTS))
def test_notebooks_know_every_parameter_they_are_given(scale, part, at_root, tmp_path):
    known = {p.stem: parameters_of(p, tmp_path) for p in EXPERIMENTS}
    jobs = jobs_for(scale, part=part)
    assert {j.notebook for j in jobs} - {""} <= set(known)
    for j in jobs:
        if role(j) == "talk": continue
        assert set(j.parameters) == set(known[j.notebook]), (j.name, set(j.parameters) ^ set(known[j.notebook]))
        kinds = {"int": (int, type(None)), "float": (int, float), "str": str}
        for k, v in j.parameters.items(): assert isinstance(v, kinds[known[j.notebook][k]["inferred_type_name"]])

def test_defaults_are_the_smoke_size(at_root, tmp_path):
    for path in (p for p in EXPERIMENTS if p.stem not in ALONE):
        defaults = {k: ast.literal_eval(p["default"]) for k, p in parameters_of(path, tmp_path).items()}
        jobs = jobs_for("smoke", defaults["dataset"], part=defaults.get("part", "all"))
        jobs = [j for j in jobs if j.notebook == path.stem]
        assert jobs
        for k in ("source", "items", "updates", "batch_size", "steps", "probe_points", "samples", "judge_updates",
                  "seeds", "scale", "budget"):
            if k in defaults: assert defaults[k] == jobs[0].parameters[k], (path.stem, k)

def test_every_part_has_a_notebook_and_every_report_a_part():
    no_reports = {"train", "evaluate", "judges", *ALONE}
    assert {r.notebook for r in REPORTS.values()} == {p.stem for p in EXPERIMENTS} - no_reports
