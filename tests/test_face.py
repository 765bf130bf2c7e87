"""What `import mmvae_nb` offers: names that load late, a map that is true, and packages that are there."""
import ast, importlib, re, subprocess, sys, tomllib
from pathlib import Path

import pytest

import mmvae_nb
from mmvae_nb.core import MmvaeError, from_extra, source_closure

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT/"mmvae_nb"
FACE = (PACKAGE/"__init__.py").read_text(encoding="utf-8")
MODULES = sorted(".".join(p.relative_to(PACKAGE).with_suffix("").parts)
                 for p in PACKAGE.rglob("*.py") if p.name[0] != "_")
PROJECT = tomllib.loads((ROOT/"pyproject.toml").read_text(encoding="utf-8"))["project"]
WANTED = """Modality TensorData PairedByKey ModalitySpec default_specs Gaussian Laplace Bernoulli Categorical VAE JVAE
JMVAE MoPoE MVAE MMVAE MVTCAE CRMVAE IterativeTeacher on_decoders Students distill fit evaluate save load
mnist_svhn_text MmvaeError NegativeBinomial Poisson StudentT impute log_likelihood pretrained
Standardize Table""".split()

def python(code, *flags):
    run = subprocess.run([sys.executable, *flags, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


# ---- the names

def test_the_face_offers_these_names():
    assert sorted(mmvae_nb.__all__) == sorted(WANTED) and set(WANTED) <= set(dir(mmvae_nb))

@pytest.mark.parametrize("name", WANTED)
def test_a_name_is_that_of_the_module_that_defines_it(name):
    module = importlib.import_module(f"mmvae_nb.{mmvae_nb._where[name]}")
    found = getattr(mmvae_nb, name)
    assert found is getattr(module, name) and found.__module__ == module.__name__

def test_importing_loads_nothing():
    heavy = ("import sys, mmvae_nb; dir(mmvae_nb); "
             "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy', 'pandas')])")
    assert python(heavy).strip() == "[]"
    assert python("import sys; from mmvae_nb import MmvaeError; print('torch' in sys.modules)").strip() == "False"

def test_a_name_that_is_not_offered_is_an_ordinary_attribute_error():
    with pytest.raises(AttributeError, match="module 'mmvae_nb' has no attribute 'jvae_'"): _ = mmvae_nb.jvae_
    with pytest.raises(ImportError): exec("from mmvae_nb import Jvae")

def test_a_star_brings_all_names_and_no_others():
    names = python("from mmvae_nb import *; print(*[n for n in dir() if n[0] != '_'])").split()
    assert sorted(names) == sorted(WANTED)

def test_editors_see_what_is_loaded_late():
    "The imports for type checkers, the list and the table say the same."
    [block] = [n for n in ast.parse(FACE).body if isinstance(n, ast.If)]
    seen = {a.name: node.module for node in block.body for a in node.names}
    assert seen == mmvae_nb._where
    assert sorted(mmvae_nb.__all__) == sorted(seen) and mmvae_nb.__all__ == sorted(mmvae_nb.__all__)

def test_a_method_of_others_by_the_face_rests_on_its_module(tmp_path, monkeypatch):
    (tmp_path/"toyface.py").write_text("from mmvae_nb import MVTCAE, MmvaeError\nclass Mine(MVTCAE): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    closure = source_closure("toyface")
    assert {"toyface", "mvtcae", "multimodal_elbo"} < set(closure) and "jmvae" not in closure


# ---- the docstring

def test_the_map_names_every_module_and_no_other():
    rows = re.findall(r"^    ([a-z][a-z_.* ]+?) {3,}\S", mmvae_nb.__doc__, re.M)
    named = {n for row in rows for n in row.split()}
    groups = {m.split(".")[0] + ".*" if "." in m else m for m in MODULES}
    assert named == groups

@pytest.mark.slow
def test_the_example_works_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = mmvae_nb.__doc__.split("\n\n")[1:3]
    code = "\n".join(l[4:] for l in "\n".join(lines).splitlines())
    space = {}
    exec(re.sub(r"updates=\d+", "updates=2, device='cpu', progress=False", code), space)
    assert space["pictures"].shape == (8, 3, 32, 32)
    assert space["load"]("students.safetensors").names == ["mnist", "svhn", "text"]


# ---- the packages behind it

def imported(module):
    "The packages that a module imports at its top, and those within functions: (at once, late)."
    tree = ast.parse((PACKAGE/f"{module.replace('.', '/')}.py").read_text())
    found = {False: set(), True: set()}
    def walk(node, late):
        for c in ast.iter_child_nodes(node):
            if isinstance(c, ast.Import): found[late] |= {a.name.split(".")[0] for a in c.names}
            if isinstance(c, ast.ImportFrom) and not c.level: found[late].add(c.module.split(".")[0])
            walk(c, late or isinstance(c, (ast.FunctionDef, ast.Lambda)))
    walk(tree, False)
    return found[False], found[True]

NAMES = {"sklearn": "scikit-learn", "PIL": "pillow", "torch_fidelity": "torch-fidelity"}

def packages(kind):
    listed = PROJECT["dependencies"] if kind == "core" else PROJECT["optional-dependencies"][kind]
    return {re.match(r"[\w-]+", d)[0].replace("_", "-") for d in listed}

@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_imports_is_brought(module):
    """At once: by the package itself. Late, or for the experiments: by an extra, through `from_extra` or with a line
    of its own."""
    at_once, late = ({NAMES.get(n, n) for n in names} - set(sys.stdlib_module_names) - {"mmvae_nb"}
                     for names in imported(module))
    assert at_once <= packages("core"), at_once - packages("core")
    allowed = packages("core") | packages("inception") | ({"nbformat"} if module.startswith("experiments") else set())
    assert late <= allowed, late - allowed

def test_what_the_experiments_bring_is_used():
    "By `from_extra`, as the kernel of the notebooks, or by its command."
    text = "\n".join((PACKAGE/f"{m.replace('.', '/')}.py").read_text() for m in MODULES)
    asked = {n.split(".")[0].replace("_", "-") for n in re.findall(r'from_extra\("([\w.]+)"', text)}
    assert asked | {"ipykernel"} == packages("experiments")
    assert not packages("experiments") & packages("core")

@pytest.mark.parametrize("name", ["nobody_has_this", "nobody.has.this"])
def test_an_absent_package_is_one_line(name):
    with pytest.raises(MmvaeError) as e: from_extra(name)
    assert str(e.value) == f"{name}: not installed, allowed: after `pip install mmvae_nb[experiments]`"

def test_a_package_that_is_broken_is_not_called_absent(tmp_path, monkeypatch):
    (tmp_path/"brokenpackage.py").write_text("import nobody_has_this")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nobody_has_this"): from_extra("brokenpackage")

def test_without_torchvision_only_the_readers_of_real_data_ask_for_it(monkeypatch):
    "A package that is set to None can't be found."
    code = """
import sys, importlib.metadata as m; sys.modules["torchvision"] = None
version = m.version
def known(name):
    if name in ("torchvision", "torch-fidelity", "torch_fidelity"): raise m.PackageNotFoundError(name)
    return version(name)
m.version = known
import importlib.util; find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "torchvision" else find(name, *a)
import torch
from mmvae_nb.core import MmvaeError, load_torchvision
from mmvae_nb.metrics import frechet_distance
assert load_torchvision(needed=False) is None and frechet_distance(torch.randn(9, 3), torch.randn(9, 3)) >= 0
try: load_torchvision()
except MmvaeError as e: print(e)
"""
    assert python(code).strip() == "torchvision: not installed, allowed: after `pip install mmvae_nb[experiments]`"
