"What holds the house together: packaging, lock, mirrors, saved outputs, commands, sizes."
import ast, configparser, json, os, re, shutil, subprocess, sys, tomllib, warnings

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import notebooks as nbs
import site_build
from site_helpers import (EXPERIMENTS, LESSONS, MIRRORS, PACKAGE, ROOT, TOOLS, as_json, edit, make, notebook,
                          outputs, python, said_by, targets, text)

by_stem = lambda p: p.stem

@pytest.fixture(scope="module")
def settings():
    c = configparser.ConfigParser()
    c.read(ROOT/"settings.ini", encoding="utf-8")
    return c["DEFAULT"]

@pytest.fixture(scope="module")
def project(): return tomllib.loads(text("pyproject.toml"))["project"]

@pytest.fixture(scope="module")
def files():
    "Every file that is, or would be, in a commit."
    r = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True)
    if r.returncode: pytest.skip("not a git checkout")
    return [p for p in (ROOT/f for f in r.stdout.decode().split("\0") if f) if p.is_file()]


# ---- packaging

def test_settings_and_pyproject_agree(settings, project):
    import mmvae_nb
    assert settings["lib_name"] == project["name"] == "mmvae_nb"
    assert settings["version"] == mmvae_nb.__version__
    assert settings["description"] == project["description"]
    assert f">={settings['min_python']}" == project["requires-python"]
    assert (settings["license"], project["license"]) == ("apache2", "Apache-2.0")
    assert settings["requirements"].split() == project["dependencies"]

def test_lock_pins_what_pyproject_asks_for(project):
    lines = [line for line in text("requirements.txt").splitlines() if line and not line.startswith("#")]
    pins = {}
    for line in lines:
        m = re.fullmatch(r"([\w.-]+)==([\w.]+)", line)   # no other operator, no local suffix, no path, no host
        assert m, line
        pins[canonicalize_name(m[1])] = m[2]
    assert len(pins) == len(lines)
    asked = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    for r in map(Requirement, asked):
        assert pins.get(canonicalize_name(r.name)) in r.specifier, f"{r}: {pins.get(canonicalize_name(r.name))}"

def test_commands_and_entry_points(project):
    module, function = project["scripts"]["mmvae"].split(":")
    assert module.removeprefix("mmvae_nb.") in nbs.modules() and function == "main"
    assert project["entry-points"]["nbdev"] == {"mmvae_nb": "mmvae_nb._modidx:d"}

@pytest.mark.parametrize("tool", ["ruff", "bandit"])
def test_what_finds_faults_is_the_same_one_everywhere(tool, project):
    [asked] = [r for r in project["optional-dependencies"]["dev"] if r.startswith(tool)]
    assert asked in text("requirements.txt").splitlines()

def test_bandit_finds_nothing_and_sees_what_it_should(tmp_path):
    bad = "import subprocess, pickle\nsubprocess.run('ls ' + input(), shell=True)\npickle.load(open('x'))\n"
    (tmp_path/"bad.py").write_text(bad)
    look = lambda *where: python("-m", "bandit", "-q", "-r", "-c", "pyproject.toml", *where, cwd=ROOT)
    fine, bad = look("mmvae_nb", "tools"), look(tmp_path)
    assert fine.returncode == 0, fine.stdout + fine.stderr
    assert bad.returncode == 1 and "B602" in bad.stdout and "B301" in bad.stdout

def test_citation_is_of_this_software(project):
    cited = yaml.safe_load(text("CITATION.cff"))
    assert (cited["title"], cited["license"]) == ("mmvae_nb", project["license"])
    assert f'__version__ = "{cited["version"]}"' in text("mmvae_nb/__init__.py")
    assert cited["authors"] == [{"name": a["name"]} for a in project["authors"]]
    assert cited["references"][0]["identifiers"][0]["value"] == "arXiv:2410.11403"

def test_a_python_that_is_too_old_costs_one_line(tmp_path):
    fake = tmp_path/"python3"
    fake.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo Python 3.8.1\nexit 1\n")
    fake.chmod(0o755)
    for name in ["Makefile", "requirements.txt", "pyproject.toml"]: shutil.copy(ROOT/name, tmp_path)
    r = make("venv", f"PYTHON={fake}", cwd=tmp_path)
    said = [line for line in r.stderr.splitlines() if not line.startswith("make")]
    assert r.returncode and len(said) == 1
    assert "Python 3.11 or newer" in said[0] and "3.8.1" in said[0]
    assert not (tmp_path/".venv").exists()


# ---- commands

def test_make_help_lists_every_target():
    r = make("help")
    assert r.returncode == 0
    listed = set(re.findall(r"^  make ([\w-]+) ", r.stdout, re.M))
    assert listed == targets()
    for t in listed: assert re.search(rf"^{t}:", text("Makefile"), re.M), t

def test_tools_that_are_named_exist():
    names = ["Makefile", ".ci/run", "README.md", "nbs/_py/lecturer.py", *(f"tools/{p.name}" for p in TOOLS)]
    named = {m for name in names for m in re.findall(r"tools/\w+\.py", text(name))}
    assert len(named) > 4
    assert [n for n in named if not (ROOT/n).exists()] == []

@pytest.mark.parametrize("name", ["README.md", "nbs/_py/index.py", "tools/notebooks.py"])
def test_commands_in_the_text_exist(name):
    used = set(re.findall(r"(?:^(?:# )?|`)make ([a-z-]+)", text(name), re.M))
    assert used and used <= targets(), used - targets()

def test_links_in_the_readme_lead_somewhere():
    here = [l for l in re.findall(r"\]\(([^)#]+)", text("README.md")) if "://" not in l]
    assert here and [l for l in here if not (ROOT/l).exists()] == []


# ---- what a commit may hold

def test_no_big_files(files):
    limit = lambda p: 5_500_000 if p.parent == ROOT/"weights" else 3_000_000
    big = {str(p.relative_to(ROOT)): p.stat().st_size for p in files if p.stat().st_size > limit(p)}
    assert not big

def test_data_sets_are_named_by_the_environment_only(files):
    word = "../" + "shared"
    for p in files:
        if p.relative_to(ROOT).parts[0] == ".ci": continue
        try: said = p.read_text(encoding="utf-8")
        except UnicodeDecodeError: continue
        assert word not in said, p

@pytest.mark.parametrize("path", LESSONS, ids=by_stem)
def test_saved_outputs_name_no_folder_of_this_machine(path):
    place = re.compile(r"(?<![\w.:/<~-])/[\w.-]+/[\w.-]+")
    for o in outputs(path):
        said = "".join(o.get("text", [])) + "".join(o.get("data", {}).get("text/plain", []))
        assert not place.search(said), place.search(said)[0]


# ---- notebooks

@pytest.mark.parametrize("path", LESSONS + EXPERIMENTS, ids=by_stem)
def test_mirror_matches(path):
    assert nbs.mirror(path).read_text(encoding="utf-8") == nbs.as_text(path)

def test_every_mirror_has_a_notebook(): assert nbs.orphans() == []

def test_stamp_survives_cleaning(settings):
    assert nbs.STAMP in settings["allowed_metadata_keys"].split()

@pytest.mark.parametrize("path", MIRRORS, ids=by_stem)
def test_maths_is_shown_by_jupyter_and_by_the_site(path):
    prose = re.sub(r"(?m)^# ?", "", path.read_text(encoding="utf-8"))
    for display in re.findall(r"\$\$(.*?)\$\$", prose, re.S):
        assert display.count(r"\tag") <= 1, f"one tag a display: {display}"
        inner = re.search(r"\\begin\{(\w+)\}.*\\tag.*\\end\{\1\}", display, re.S)
        assert not inner, f"Jupyter refuses a tag inside {inner[1]}; put it after \\end: {display}"

@pytest.fixture
def small(tmp_path):
    "A project of one lesson and one experiment, in step."
    for name in ["settings.ini", "jupytext.toml"]: shutil.copy(ROOT/name, tmp_path)
    (tmp_path/"mmvae_nb").mkdir()
    (tmp_path/"nbs"/"_py"/"experiments").mkdir(parents=True)
    (tmp_path/"nbs"/"experiments").mkdir()
    (tmp_path/"nbs"/"_py"/"00_one.py").write_text(
        "# %% [markdown]\n# # One\n\n# %%\n#| default_exp rooms.one\n\n# %%\n#| exports\ndef one(): return 1\n\n"
        "# %%\nimport os, sys\n\n# %%\nprint('lost\\rkept')\nprint('noise', file=sys.stderr)\n\n"
        "# %%\n#| slow\nprint('slow')\n\n# %%\nos.path.realpath(sys.prefix), one()\n", encoding="utf-8")
    (tmp_path/"nbs"/"_py"/"experiments"/"run.py").write_text(
        '# %% tags=["parameters"]\nepochs: int = 1  # passes over the data\n\n# %%\nprint(epochs)\n', encoding="utf-8")
    nbs.sync(tmp_path)
    return tmp_path

def found(root):
    "What the check says, without the remedies."
    return [line.split(";")[0] for line in nbs.check(root)]

def test_sync_exports_lessons_only_and_keeps_parameters(small):
    assert nbs.modules(small) == {"rooms.one"}           # an experiment is no module
    assert nbs.module_of(small/"nbs"/"00_one.ipynb") == "rooms.one"
    assert nbs.module_of(small/"nbs"/"experiments"/"run.ipynb") is None
    cells = as_json(small/"nbs"/"experiments"/"run.ipynb")["cells"]
    assert cells[0]["metadata"] == {"tags": ["parameters"]}

def test_outputs_are_those_of_this_environment_without_noise(small):
    lesson = small/"nbs"/"00_one.ipynb"
    nbs.execute(lesson, timeout=1200, root=small)
    assert nbs.check(small) == []
    said = ["".join(o.get("text", o.get("data", {}).get("text/plain"))) for o in outputs(lesson)]
    # stderr, overwritten lines and slow cells left nothing
    assert said == ["kept\n", f"('{os.path.realpath(sys.prefix)}', 1)"]

def test_a_cell_that_is_not_run_makes_no_outputs_old_and_has_none(small):
    lesson, twin = small/"nbs"/"00_one.ipynb", small/"nbs"/"_py"/"00_one.py"
    nbs.execute(lesson, timeout=1200, root=small)
    text = twin.read_text(encoding="utf-8")
    twin.write_text(text + "\n# %%\n#| eval: false\n'shown to who runs it'\n", encoding="utf-8")
    nbs.sync(small)
    assert nbs.check(small) == []
    nb = as_json(lesson)
    nb["cells"][-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["kept by hand"]}]
    lesson.write_text(json.dumps(nb), encoding="utf-8")
    [line] = nbs.check_outputs(small)
    assert line.startswith("nbs/00_one.ipynb: a cell that is not run has an output; ")
    nbs.execute(lesson, timeout=1200, root=small)
    assert nbs.check(small) == []

def test_check_finds_what_is_out_of_step(small):
    lesson, twin = small/"nbs"/"00_one.ipynb", small/"nbs"/"_py"/"00_one.py"
    assert found(small) == ["nbs/00_one.ipynb: not executed yet"]
    nbs.execute(lesson, timeout=1200, root=small)
    edit(twin, "# One", "# Uno")                      # prose: the outputs still belong to the code
    assert found(small) == ["nbs/_py/00_one.py: differs from its notebook"]
    nbs.sync(small)
    assert nbs.check(small) == [] and "Uno" in lesson.read_text()

    edit(twin, "'noise'", "'other noise'")            # code: they do not
    nbs.sync(small)
    assert found(small) == ["nbs/00_one.ipynb: the saved outputs are of other code"]
    nbs.execute(lesson, timeout=1200, root=small)
    assert nbs.check(small) == []

def test_check_finds_modules_that_no_lesson_makes(small):
    nbs.execute(small/"nbs"/"00_one.ipynb", timeout=1200, root=small)
    edit(small/"mmvae_nb"/"rooms"/"one.py", "return 1", "return 2")
    assert found(small) == ["mmvae_nb/rooms/one.py: changed by nbdev_export"]
    nbs.sync(small)
    (small/"mmvae_nb"/"rooms"/"old.py").write_text("x = 1\n")
    assert "mmvae_nb/rooms/old.py: exported from no lesson" in found(small)

def test_check_finds_a_notebook_without_a_mirror(small):
    shutil.copy(small/"nbs"/"00_one.ipynb", small/"nbs"/"01_two.ipynb")
    assert "nbs/01_two.ipynb: no mirror" in found(small)

def test_check_as_a_command(small):
    r = python(ROOT/"tools"/"notebooks.py", "check", "--root", small)
    assert r.returncode == 1
    assert "not executed yet" in r.stdout and "1 lessons, 1 experiments: 1 out of step" in r.stdout

def test_a_failing_lesson_is_not_saved(small):
    lesson = small/"nbs"/"00_one.ipynb"
    edit(small/"nbs"/"_py"/"00_one.py", "return 1", "return 1/0")
    nbs.sync(small)
    before = lesson.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"): nbs.execute(lesson, timeout=1200, root=small)
    assert lesson.read_bytes() == before
    assert sorted(p.name for p in lesson.parent.iterdir() if p.is_file()) == ["00_one.ipynb"]


# ---- the site (its pages: test_site.py)

def sidebar():
    def hrefs(entries):
        for e in entries: yield from [e["href"]] if "href" in e else hrefs(e["contents"])
    return list(hrefs(yaml.safe_load(text("_quarto.yml"))["website"]["sidebar"]["contents"]))

def test_a_lesson_that_the_sidebar_does_not_name_is_put_into_its_section(tmp_path):
    (tmp_path/"nbs").mkdir()
    for name in ("05_vae", "06_flow", "06a_knots"):
        notebook(tmp_path/"nbs"/f"{name}.ipynb", f"# {name[2:]}")
    entries = [{"section": "Course", "contents": [{"text": "05 VAE", "href": "05_vae.ipynb"}]},
               {"section": "Workshop", "contents": []}]
    site_build.complete(entries, tmp_path)
    assert [[e["href"] for e in s["contents"]] for s in entries] == [
        ["05_vae.ipynb", "06_flow.ipynb"], ["06a_knots.ipynb"]]
    site_build.complete(entries, tmp_path)
    assert len(site_build.listed(entries)) == 3

def test_sidebar_and_home_page_list_every_lesson(settings):
    names = {p.name for p in LESSONS}
    # the sidebar may name pages to come: what is not there is left out of the site
    assert len(sidebar()) == len(set(sidebar()))
    assert names - set(sidebar()) <= {p.name for p in nbs.numbered()}    # those the build puts in
    linked = set(re.findall(r"\]\((\w+\.ipynb)[)#]", said_by(ROOT/"nbs"/"index.ipynb")))
    assert linked == names - {"index.ipynb"}, "the home page is out of date: make execute NB=nbs/index.ipynb"
    assert (ROOT/"nbs"/"_quarto.yml").is_symlink() and text("nbs/_quarto.yml") == text("_quarto.yml")
    assert yaml.safe_load(text("_quarto.yml"))["project"]["output-dir"] == settings["doc_path"]

def sections():
    "Section of the sidebar -> the notebooks in it."
    entries = yaml.safe_load(text("_quarto.yml"))["website"]["sidebar"]["contents"]
    return {e["section"]: [x["href"] for x in e["contents"]] for e in entries if "section" in e}

def test_the_workshop_holds_what_is_skipped_at_first():
    listed = sections()
    assert listed["Workshop"] == sorted(listed["Workshop"])
    assert {p.name for p in nbs.numbered() if nbs.in_workshop(p)} <= set(listed["Workshop"])
    elsewhere = [h for name, hrefs in listed.items() if name != "Workshop" for h in hrefs]
    assert not [h for h in elsewhere if nbs.in_workshop(ROOT/"nbs"/h)]


# ---- sizes

LINES, BODY, WIDTH = 450, 25, 100

@pytest.mark.parametrize("path", PACKAGE + TOOLS, ids=by_stem)
def test_no_file_and_no_function_is_too_long(path):
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= LINES
    long = []
    for n in ast.walk(ast.parse(source)):
        if not isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)): continue
        body = n.body[1:] if ast.get_docstring(n) and len(n.body) > 1 else n.body
        size = body[-1].end_lineno - body[0].lineno + 1
        if size > BODY: long.append(f"{n.name}: {size} lines")
    assert long == []

def test_no_line_of_exported_code_is_too_wide():
    wide = []
    for path in PACKAGE:
        code = re.split(r"(?m)^# %% (?!auto).*$", path.read_text(encoding="utf-8"))[1:]   # before it: nbdev's lines
        lines = [line for cell in code for line in cell.splitlines()]
        wide += [f"{path.relative_to(ROOT)}: {line}" for line in lines if len(line) > WIDTH]
    assert wide == []

@pytest.mark.parametrize("path", PACKAGE, ids=by_stem)
def test_a_module_compiles_without_a_warning(path):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        compile(path.read_text(encoding="utf-8"), str(path), "exec")
        assert [str(w.message) for w in said] == []
        compile(r"'\l'", "a bad escape", "exec")                   # such as this one
        assert len(said) == 1

def test_ruff_finds_nothing():
    r = python("-m", "ruff", "check", "--output-format", "concise", "mmvae_nb", "tools", "tests", cwd=ROOT)
    assert r.returncode == 0, r.stdout


def test_names_of_cases_do_not_depend_on_the_order_of_a_set():
    "Two workers must collect the same names, and the order of a set differs between processes."
    parametrized = lambda tree: (d for n in ast.walk(tree) for d in getattr(n, "decorator_list", [])
                                 if isinstance(d, ast.Call) and getattr(d.func, "attr", "") == "parametrize")
    def named_by_a_set(text):
        for call in parametrized(ast.parse(text)):
            listed = any(k.arg == "ids" and isinstance(k.value, ast.List) for k in call.keywords)
            sets = [n for n in ast.walk(call) if isinstance(n, ast.Set) and len(n.elts) > 1]
            if sets and not listed: yield call.lineno
    case = '@pytest.mark.parametrize("x", [{"a", "b"}], ids=%s)\ndef test_x(x): pass'
    assert list(named_by_a_set(case % "str")) == [1] and not list(named_by_a_set(case % '["set"]'))
    found = {p.name: list(named_by_a_set(p.read_text(encoding="utf-8"))) for p in (ROOT/"tests").rglob("*.py")}
    assert not {name: lines for name, lines in found.items() if lines}


# ---- walls: who imports whom

def exported(module):
    "The names in the `__all__` of a module of ours."
    tree = ast.parse((ROOT/"mmvae_nb"/(module.replace(".", "/") + ".py")).read_text(encoding="utf-8"))
    made = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__"]
    return set(ast.literal_eval(made[0])) if made else set()

def imported(path, node):
    "The module of ours that an import statement names, dotted; else None."
    if not isinstance(node, ast.ImportFrom): return None
    inside = ["mmvae_nb", *path.relative_to(ROOT/"mmvae_nb").with_suffix("").parts]
    parts = inside[:-node.level] if node.level else []
    full = ".".join([*parts, *filter(None, [node.module])])
    return full.removeprefix("mmvae_nb.") if full.startswith("mmvae_nb.") else None

@pytest.mark.parametrize("path", PACKAGE, ids=by_stem)
def test_every_import_of_a_module_of_ours_is_used(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    unused = []
    for n in ast.walk(tree):
        module = imported(path, n)
        if module is None: continue
        for a in n.names:
            names = exported(module) if a.name == "*" else {a.asname or a.name}
            if not names & used: unused.append(f"{module}.{a.name}")
    assert unused == []

def test_nobody_imports_upwards():
    "No circle, and nobody but the experiments knows of experiments, of data sets or of judges."
    arrows = {}
    for path in PACKAGE:
        module = ".".join(path.relative_to(ROOT/"mmvae_nb").with_suffix("").parts)
        found = {imported(path, n) for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))} - {None, module}
        arrows[module] = found & nbs.modules()
        package = module.split(".")[0]
        known = {"experiments": {"experiments", "judges", "datasets"}, "judges": {"judges", "datasets"},
                 "datasets": {"datasets"}}.get(package, set())
        above = {m for m in arrows[module] if "." in m and m.split(".")[0] not in known}
        assert not above, f"{module} imports {above}"
    left = dict(arrows)
    while left:
        free = [m for m, needs in left.items() if not needs & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for m in free: del left[m]
