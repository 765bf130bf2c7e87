"""Lesson 00, plumbing: which code a result rests on, told from hand-made packages and from this one."""
import ast, errno, importlib, subprocess, sys, textwrap, time
from pathlib import Path

import numpy as np, pytest

import mmvae_nb
from mmvae_nb.core import MmvaeError, cached_arrays, digest, one_of, read_json, source_closure, write_status

PACKAGE = Path(mmvae_nb.__file__).parent


@pytest.fixture
def house(tmp_path, monkeypatch):
    "Writes a package called `toyhouse` (and modules beside it), and asks for closures in it."
    monkeypatch.syspath_prepend(tmp_path)
    def write(**files):
        for name, text in {"toyhouse/__init__": "", **files}.items():
            path = tmp_path/f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return lambda *modules, **how: source_closure(*modules, package="toyhouse", **how)
    return write


# ---- what counts

def test_what_is_used_is_followed_to_its_end(house):
    closure = house(**{"toyhouse/a": "from .b import f\ng = f", "toyhouse/b": "from .c import h\ndef f(): return h()",
                       "toyhouse/c": "def h(): pass", "toyhouse/d": ""})
    assert closure("a") == ("a", "b", "c") and closure("b") == ("b", "c") and closure("c") == ("c",)
    assert closure("a", "d") == ("a", "b", "c", "d") and closure("toyhouse.c") == ("c",) and closure() == ()

@pytest.mark.parametrize("line, counts", [
    ("from .b import f", False), ("from .b import f\nf()", True), ("from .b import f as g\nf = 1; f", False),
    ("from .b import f as g\ng", True), ("from toyhouse.b import f\nx = [f]", True), ("from . import b\nb.f()", True),
    ("from . import b", False), ("import toyhouse.b\ntoyhouse.b.f()", True), ("import toyhouse.b as q\nq.f", True),
    ("import toyhouse.b as q", False), ("from .b import *", False), ("from .b import *\nf()", True),
    ("from .b import *\nhidden", False), ("from .b import *\ndef f(): pass\nf()", False)])
def test_an_import_counts_if_a_name_of_it_is_used(line, counts, house):
    closure = house(**{"toyhouse/a": line, "toyhouse/b": "__all__ = ['f']\ndef f(): pass\nhidden = 1"})
    assert closure("a") == (("a", "b") if counts else ("a",))

def test_a_local_variable_of_the_same_name_is_no_use(house):
    body = "from .b import *\ndef g(f): return [f for f in f]\nclass C:\n    def f(self): pass\n"
    closure = house(**{"toyhouse/a": body, "toyhouse/b": "__all__ = ['f']\ndef f(): pass"})
    assert closure("a") == ("a",)

def test_imports_inside_functions_count_for_what_stands_there(house):
    inside = "def run():\n    from .b import f\n    def later(): return f\n    return later\n"
    idle = "def run():\n    from .b import f\ndef other(f): return f\n"
    closure = house(**{"toyhouse/a": inside, "toyhouse/idle": idle, "toyhouse/b": "f = 1"})
    assert closure("a") == ("a", "b") and closure("idle") == ("idle",)

def test_sub_packages_and_circles(house):
    closure = house(**{"toyhouse/data/__init__": "",
                       "toyhouse/data/birds": "from ..core import x\nfrom .sounds import y\nz = x, y",
                       "toyhouse/data/sounds": "from toyhouse.data import birds\ny = lambda: birds.z",
                       "toyhouse/core": "x = 1"})
    assert closure("data.birds") == ("core", "data.birds", "data.sounds") == closure("data.sounds")

def test_a_name_of_the_packages_face_leads_to_its_module(house):
    closure = house(**{"toyhouse/__init__": "from .b import f\nfrom .c import *", "toyhouse/b": "f = 1",
                       "toyhouse/c": "", "method": "from toyhouse import f\nimport beside\nprint(f, beside)",
                       "beside": "from toyhouse.c import x\nx"})
    assert closure("method") == ("b", "method")            # of others' modules the named ones only

def test_modules_left_out_take_with_them_what_only_they_bring(house):
    files = {"toyhouse/a": "from . import b, c\nb, c", "toyhouse/b": "from . import d, e\nd, e",
             "toyhouse/c": "from . import e\ne", "toyhouse/d": "", "toyhouse/e": "", "toyhouse/judges/__init__": "",
             "toyhouse/judges/x": "from .. import d\nd", "toyhouse/f": "from .judges import x\nx"}
    closure = house(**files)
    assert closure("a", without=["b"]) == ("a", "c", "e") and closure("a") == ("a", "b", "c", "d", "e")
    assert closure("f", without=["judges"]) == ("f",) and closure("f") == ("d", "f", "judges.x")

def test_nothing_is_run(house, capsys):
    closure = house(**{"toyhouse/__init__": "print('package')", "toyhouse/a": "print('a'); from .b import f; f",
                       "toyhouse/b": "1/0", "other": "print('other'); from toyhouse.a import x; x"})
    assert closure("other") == ("a", "b", "other") and not capsys.readouterr().out

@pytest.mark.parametrize("name", ["nothing", "nothing.at.all", "mmvae_nb.nothing", "", "time"])
def test_modules_that_are_not_there_get_one_line(name):
    with pytest.raises(MmvaeError) as e: source_closure("core", name)
    assert str(e.value).startswith("modules: got ") and "\n" not in str(e.value)


# ---- this package

MODULES = sorted(".".join(p.relative_to(PACKAGE).with_suffix("").parts)
                 for p in PACKAGE.rglob("*.py") if p.name[0] != "_")

@pytest.mark.parametrize("module", MODULES)
def test_the_closure_lies_within_what_the_import_lines_say(module):
    def lines(m, seen):
        if m in seen: return seen
        seen.add(m)
        for node in ast.walk(ast.parse((PACKAGE/f"{m.replace('.', '/')}.py").read_text())):
            if isinstance(node, ast.Import):
                for a in node.names:
                    if (n := a.name.removeprefix("mmvae_nb.")) in MODULES: lines(n, seen)
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("mmvae_nb")):
                up = m.split(".")[:-node.level] if node.level else []
                base = ".".join([*up, *(node.module or "").removeprefix("mmvae_nb").strip(".").split(".")]).strip(".")
                for n in [base, *(f"{base}.{a.name}".strip(".") for a in node.names)]:
                    if n in MODULES: lines(n, seen)
        return seen
    assert module in source_closure(module) and set(source_closure(module)) <= lines(module, set())

@pytest.mark.parametrize("module", [
    "mopoe", "mvtcae", "jmvae", "multimodal_elbo", "multimodal_iterative", "distillation"])
def test_models_rest_on_no_judge_no_drawing_and_no_measure(module):
    closure = source_closure(module)
    assert not [m for m in closure if m.split(".")[0] in ("judges", "datasets", "metrics", "plotting", "experiments")]
    assert {"core", "distributions", "networks"} < set(closure)

def test_running_a_module_loads_its_closure():
    "By Python's own imports: what a model's module loads is what it rests on, or imports without need."
    code = "import sys, mmvae_nb.mopoe; print(*sorted(m[9:] for m in sys.modules if m.startswith('mmvae_nb.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(source_closure("mopoe")) <= set(loaded)

def test_asking_is_quick():
    source_closure("multimodal_iterative")
    start = time.process_time()                            # of this process, however busy the machine is
    for m in MODULES: source_closure(m)
    assert time.process_time() - start < 5


# ---- digests

def test_a_digest_follows_code_far_below_and_not_beside(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path/"toymethod.py").write_text("from mmvae_nb.mopoe import MoPoE\nMine = MoPoE\n")
    first = digest({}, ["toymethod"])
    (tmp_path/"toymethod.py").write_text("from mmvae_nb.mopoe import MoPoE\n# %% ../a.ipynb #1\nMine = MoPoE\n")
    assert digest({}, ["toymethod"]) == first              # where a cell comes from does not count
    (tmp_path/"toymethod.py").write_text("from mmvae_nb.mopoe import MoPoE\nMine = MoPoE, 1\n")
    assert digest({}, ["toymethod"]) != first

def test_a_change_of_a_module_below_changes_the_digest(tmp_path):
    "On a copy of the package: `distributions` is under `mopoe`, `metrics` is not."
    import shutil
    shutil.copytree(PACKAGE, tmp_path/"mmvae_nb", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from mmvae_nb.core import digest; print(digest({}, ['mopoe']))"
    def ask():
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
                              env={"PYTHONPATH": str(tmp_path), "PATH": ""}).stdout
    def append(module): (tmp_path/"mmvae_nb"/f"{module}.py").open("a").write("\nx_y_z = 1\n")
    first = ask()
    append("metrics"); assert ask() == first
    append("distributions"); assert ask() != first

def test_the_order_of_modules_and_what_they_share_do_not_matter():
    assert digest({}, ["mopoe", "jmvae"]) == digest({}, ["jmvae", "mopoe"]) == digest({}, ["jmvae", "mopoe", "core"])
    assert digest({}, ["mopoe"]) != digest({}, ["jmvae"]) != digest({})


# ---- files that may fail

@pytest.mark.parametrize("at, value", [(0, 0), (8, 99), (6, 1)], ids=["no zip", "a way to pack", "a password"])
def test_a_cache_that_cannot_be_read_is_made_anew(at, value, tmp_path):
    path, made = tmp_path/"x.npz", []
    make = lambda: made.append(1) or {"x": np.arange(3)}
    for _ in range(2): assert cached_arrays(path, make)["x"].tolist() == [0, 1, 2]
    raw = bytearray(path.read_bytes())
    raw[at] = value
    if at: raw[raw.rindex(b"PK\1\2") + at + 2] = value     # the directory at the end says the same
    path.write_bytes(raw)
    for _ in range(2): assert cached_arrays(path, make)["x"].tolist() == [0, 1, 2]
    assert len(made) == 2

@pytest.mark.parametrize("why", ["full", "no folder"])
def test_a_status_that_cannot_be_written_stops_nobody(why, tmp_path, monkeypatch):
    (tmp_path/"file").touch()
    monkeypatch.setenv("MMVAE_STATUS", str(tmp_path/("s.json" if why == "full" else "file/s.json")))
    def full(*a, **k): raise OSError(errno.ENOSPC, "No space left on device")
    if why == "full": monkeypatch.setattr(Path, "write_text", full)
    write_status(step=1)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    with pytest.raises(AttributeError): write_status(step=object())    # what is no JSON is a fault of the code
    if why == "full":
        monkeypatch.undo(); monkeypatch.setenv("MMVAE_STATUS", str(tmp_path/"s.json"))
        write_status(step=2)
        assert read_json(tmp_path/"s.json")["step"] == 2

def test_of_many_allowed_values_the_likeliest_are_shown_whole():
    jobs = [f"mnist_svhn_text-a_method_with_a_long_name-{seed}-{what}"
            for seed in range(50) for what in ("train", "evaluate")]
    with pytest.raises(MmvaeError) as e: one_of("job", "mnist_svhn_text-a_method_with_a_long_nam-17-train", jobs)
    shown = str(e.value).split("allowed: ")[1].split(", ")
    assert shown[0] == jobs[34] and shown[-1] == "... (100 in all)"
    assert set(shown[:-1]) <= set(jobs) and len(str(e.value)) <= 400
    with pytest.raises(MmvaeError) as e: one_of("job", None, jobs)
    assert jobs[0] in str(e.value)
