"""What a colleague does: the wheel in a fresh environment, the three worked cases of the how-to, one file each; then a
process that knows nothing of the recipe opens the files and generates the same numbers."""
import json, os, shutil, subprocess, sys, venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow

CASES = """
import json, sys
import numpy as np, torch
from mmvae_nb import save
cells, space, models = json.load(open("cells.json")), {}, []
for cell in cells:
    before = space.get("model")
    exec(compile(cell, "a cell of the how-to", "exec"), space)
    if (model := space.get("model")) is not before: models.append([model, space.get("rest")])
models[-1][1] = space["shown"]
assert len(models) == 3, models
for i, (model, items) in enumerate(models):
    save(model, f"case{i}.safetensors")
    first = model.names[0]
    given = np.array(items[first][:5])
    made = model.generate({first: given})
    np.savez(f"case{i}.npz", given=given, **{f"made {n}": np.asarray(x) for n, x in made.items()})
    print(first, given.shape, {n: x.shape for n, x in made.items()})
"""
COLLEAGUE = """
import sys, numpy as np, mmvae_nb
for i in range(3):
    model, known = mmvae_nb.load(f"case{i}.safetensors"), np.load(f"case{i}.npz")
    made = model.generate({model.names[0]: known["given"]})
    for n, x in made.items():      # to rounding: after `fit` convolutions lie otherwise in memory than in the file
        np.testing.assert_allclose(x, known[f"made {n}"], rtol=1e-5, atol=1e-6)
print("the same numbers, by", mmvae_nb.__file__)
"""

def cells():
    "The code of the how-to that its three cases need: the imports, and all from their heading on."
    nb = json.loads((ROOT/"nbs"/"howto_own_modalities.ipynb").read_text(encoding="utf-8"))
    text = [("".join(c["source"]), c["cell_type"] == "code") for c in nb["cells"]]
    start = next(i for i, (t, _) in enumerate(text) if t.startswith("## Three worked cases"))
    end = next(i for i, (t, _) in enumerate(text) if t.startswith("## Use, export"))
    before = [line for t, code in text[:start] if code for line in t.splitlines()
              if line.startswith(("import ", "from "))]
    return ["import matplotlib; matplotlib.use('agg')\n" + "\n".join(before),
            *(t for t, code in text[start:end] if code)]

def python(program, folder, code, **env):
    "Run code in another environment that sees neither this checkout nor this one's packages."
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MMVAE_", "VIRTUAL_ENV"))}
    r = subprocess.run([program, "-I", "-c", code], cwd=folder, env={**clean, "OMP_NUM_THREADS": "1", **env},
                       capture_output=True, text=True, timeout=3000)
    assert r.returncode == 0, r.stderr[-3000:]
    return r.stdout

@pytest.mark.timeout(7200)
def test_the_wheel_runs_the_how_to_elsewhere_and_its_files_open_without_the_recipe(tmp_path):
    source = tmp_path/"source"
    shutil.copytree(ROOT, source, ignore=lambda d, names: set(names) - {
        "mmvae_nb", "pyproject.toml", "settings.ini", "README.md", "LICENSE"} if Path(d) == ROOT else {"__pycache__"})
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*pip, "."], cwd=source, check=True, timeout=600)
    wheel = next(tmp_path.glob("mmvae_nb-*.whl"))
    venv.create(tmp_path/"env", with_pip=True)
    there = str(tmp_path/"env"/"bin"/"python")
    r = subprocess.run([there, "-m", "pip", "install", "--quiet", "-c", str(ROOT/"requirements.txt"), str(wheel)],
                       capture_output=True, text=True, timeout=3000)
    if r.returncode and "No matching distribution" in r.stderr: pytest.skip("no package index is in reach")
    assert r.returncode == 0, r.stderr[-2000:]
    work = tmp_path/"work"
    work.mkdir()
    (work/"cells.json").write_text(json.dumps(cells()), encoding="utf-8")
    print(python(there, work, CASES))
    (work/"cells.json").unlink()
    said = python(there, work, COLLEAGUE)
    assert str(tmp_path/"env") in said and "the same numbers" in said
    assert len(list(work.glob("case*.safetensors"))) == 3
