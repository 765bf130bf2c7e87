"What holds the house together: packaging, lock, mirrors, saved outputs, commands, site."
import configparser, json, os, re, shutil, subprocess, sys, tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import notebooks as nbs

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT/"nbs").glob("*.ipynb"))
EXPERIMENTS = sorted((ROOT/"nbs"/"experiments").glob("*.ipynb"))
MIRRORS = sorted((ROOT/"nbs"/"_py").rglob("*.py"))

def text(name): return (ROOT/name).read_text(encoding="utf-8")

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
    lines = [l for l in text("requirements.txt").splitlines() if l and not l.startswith("#")]
    pins = {}
    for l in lines:
        m = re.fullmatch(r"([\w.-]+)==([\w.]+)", l)   # no other operator, no local suffix, no path, no host
        assert m, l
        pins[canonicalize_name(m[1])] = m[2]
    assert len(pins) == len(lines)
    asked = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    for r in map(Requirement, asked):
        assert pins.get(canonicalize_name(r.name)) in r.specifier, f"{r}: {pins.get(canonicalize_name(r.name))}"

def test_commands_and_entry_points(project):
    assert project["scripts"] == {"mmvae": "mmvae_nb.reproduce:main"}
    assert project["entry-points"]["nbdev"] == {"mmvae_nb": "mmvae_nb._modidx:d"}

def test_a_python_that_is_too_old_costs_one_line(tmp_path):
    fake = tmp_path/"python3"
    fake.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo Python 3.8.1\nexit 1\n")
    fake.chmod(0o755)
    for name in ["Makefile", "requirements.txt", "pyproject.toml"]: shutil.copy(ROOT/name, tmp_path)
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    r = subprocess.run(["make", "venv", f"PYTHON={fake}"], cwd=tmp_path, capture_output=True, text=True, env=env)
    said = [l for l in r.stderr.splitlines() if not l.startswith("make")]
    assert r.returncode and len(said) == 1 and "Python 3.11 or newer" in said[0] and "3.8.1" in said[0]
    assert not (tmp_path/".venv").exists()


# ---- commands

def targets():
    phony = re.search(r"^\.PHONY: (.*)$", text("Makefile"), re.M)[1]
    return set(phony.split())

def test_make_help_lists_every_target():
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    r = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, env=env, check=True)
    listed = set(re.findall(r"^  make ([\w-]+) ", r.stdout, re.M))
    assert listed == targets()
    for t in listed: assert re.search(rf"^{t}:", text("Makefile"), re.M), t

@pytest.mark.parametrize("name", ["README.md", "nbs/_py/index.py", "tools/notebooks.py"])
def test_commands_in_the_text_exist(name):
    used = set(re.findall(r"(?:^(?:# )?|`)make ([a-z-]+)", text(name), re.M))
    assert used and used <= targets(), used - targets()

def test_links_in_the_readme_lead_somewhere():
    here = [l for l in re.findall(r"\]\(([^)#]+)", text("README.md")) if "://" not in l]
    assert here and [l for l in here if not (ROOT/l).exists()] == []


# ---- what a commit may hold

def test_no_big_files(files):
    big = {str(p.relative_to(ROOT)): p.stat().st_size for p in files if p.stat().st_size > 3_000_000}
    assert not big

def test_data_sets_are_named_by_the_environment_only(files):
    word = "../" + "shared"
    for p in files:
        if p.relative_to(ROOT).parts[0] == ".ci": continue
        try: said = p.read_text(encoding="utf-8")
        except UnicodeDecodeError: continue
        assert word not in said, p

@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_saved_outputs_name_no_folder_of_this_machine(path):
    place = re.compile(r"(?<![\w.:/<~-])/[\w.-]+/[\w.-]+")
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for o in cell.get("outputs", []):
            said = "".join(o.get("text", [])) + "".join(o.get("data", {}).get("text/plain", []))
            assert not place.search(said), place.search(said)[0]


# ---- notebooks

@pytest.mark.parametrize("path", LESSONS + EXPERIMENTS, ids=lambda p: p.stem)
def test_mirror_matches(path):
    assert nbs.mirror(path).read_text(encoding="utf-8") == nbs.as_text(path)

def test_every_mirror_has_a_notebook(): assert nbs.orphans() == []

def test_stamp_survives_cleaning(settings):
    assert nbs.STAMP in settings["allowed_metadata_keys"].split()

@pytest.mark.parametrize("path", MIRRORS, ids=lambda p: p.stem)
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
        "# %% [markdown]\n# # One\n\n# %%\n#| default_exp one\n\n# %%\n#| exports\ndef one(): return 1\n\n"
        "# %%\nimport os, sys\n\n# %%\nprint('lost\\rkept')\nprint('noise', file=sys.stderr)\n\n"
        "# %%\n#| slow\nprint('slow')\n\n# %%\nos.path.realpath(sys.prefix), one()\n", encoding="utf-8")
    (tmp_path/"nbs"/"_py"/"experiments"/"run.py").write_text(
        '# %% tags=["parameters"]\nepochs: int = 1  # passes over the data\n\n# %%\nprint(epochs)\n', encoding="utf-8")
    nbs.sync(tmp_path)
    return tmp_path

def edit(path, old, new):
    before = path.read_text(encoding="utf-8")
    assert old in before
    path.write_text(before.replace(old, new), encoding="utf-8")

def test_check_finds_what_is_out_of_step(small):
    lesson, twin = small/"nbs"/"00_one.ipynb", small/"nbs"/"_py"/"00_one.py"
    assert (small/"mmvae_nb"/"one.py").exists()
    assert not (small/"mmvae_nb"/"run.py").exists()   # an experiment is no module
    assert json.loads((small/"nbs"/"experiments"/"run.ipynb").read_text())["cells"][0]["metadata"] == {"tags": ["parameters"]}
    assert [l.split(":")[1].split(";")[0] for l in nbs.check(small)] == [" not executed yet"]
    nbs.execute(lesson, timeout=120, root=small)
    assert nbs.check(small) == []
    outputs = [c["outputs"] for c in json.loads(lesson.read_text())["cells"] if c["cell_type"] == "code"]
    said = ["".join(o.get("text", o.get("data", {}).get("text/plain"))) for cell in outputs for o in cell]
    # The kernel is the one of this environment; stderr, overwritten lines and slow cells left nothing
    assert said == ["kept\n", f"('{os.path.realpath(sys.prefix)}', 1)"]

    edit(twin, "# One", "# Uno")                      # prose: the outputs still belong to the code
    assert [l.split(";")[0] for l in nbs.check(small)] == ["nbs/_py/00_one.py: differs from its notebook"]
    nbs.sync(small)
    assert nbs.check(small) == [] and "Uno" in lesson.read_text()

    edit(twin, "'noise'", "'other noise'")            # code: they do not
    nbs.sync(small)
    assert [l.split(";")[0] for l in nbs.check(small)] == ["nbs/00_one.ipynb: the saved outputs are of other code"]
    nbs.execute(lesson, timeout=120, root=small)
    assert nbs.check(small) == []

    edit(small/"mmvae_nb"/"one.py", "return 1", "return 2")
    assert [l.split(";")[0] for l in nbs.check(small)] == ["mmvae_nb/one.py: changed by nbdev_export"]
    nbs.sync(small)
    shutil.copy(lesson, small/"nbs"/"01_two.ipynb")
    assert any("01_two.ipynb: no mirror" in l for l in nbs.check(small))

def test_check_as_a_command(small):
    r = subprocess.run([sys.executable, ROOT/"tools"/"notebooks.py", "check", "--root", small],
                       capture_output=True, text=True)
    assert r.returncode == 1 and "not executed yet" in r.stdout and "1 lessons, 1 experiments: 1 out of step" in r.stdout

def test_a_failing_lesson_is_not_saved(small):
    lesson = small/"nbs"/"00_one.ipynb"
    edit(small/"nbs"/"_py"/"00_one.py", "return 1", "return 1/0")
    nbs.sync(small)
    before = lesson.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"): nbs.execute(lesson, timeout=120, root=small)
    assert lesson.read_bytes() == before
    assert sorted(p.name for p in lesson.parent.iterdir() if p.is_file()) == ["00_one.ipynb"]


# ---- the site

def sidebar():
    def hrefs(entries):
        for e in entries: yield from [e["href"]] if "href" in e else hrefs(e["contents"])
    return list(hrefs(yaml.safe_load(text("_quarto.yml"))["website"]["sidebar"]["contents"]))

def test_sidebar_and_home_page_list_every_lesson(settings):
    names = {p.name for p in LESSONS}
    assert set(sidebar()) == names
    linked = set(re.findall(r"\]\((\w+\.ipynb)\)", text("nbs/_py/index.py")))
    assert linked == names - {"index.ipynb"}
    assert (ROOT/"nbs"/"_quarto.yml").is_symlink() and text("nbs/_quarto.yml") == text("_quarto.yml")
    assert yaml.safe_load(text("_quarto.yml"))["project"]["output-dir"] == settings["doc_path"]

@pytest.mark.timeout(600)
@pytest.mark.skipif(bool(shutil.which("quarto")), reason="looks at what smalldocs writes")
def test_site(tmp_path):
    r = subprocess.run([sys.executable, ROOT/"tools"/"website.py", "--out", tmp_path/"_docs", "--proc", tmp_path/"_proc"],
                       capture_output=True, text=True, cwd=tmp_path)
    assert r.returncode == 0, r.stdout + r.stderr
    assert "warning" not in r.stdout, r.stdout
    home = (tmp_path/"_docs"/"index.html").read_text(encoding="utf-8")
    for path in LESSONS:
        page = (tmp_path/"_docs"/path.name).with_suffix(".html").read_text(encoding="utf-8")
        assert not re.search(r"#\|\s*\w", re.sub(r"<[^>]+>", "", page)), f"{path.stem}: a raw directive shows"
        assert "default_exp" not in page
        assert f'href="{path.stem}.html"' in home or f'href="./{path.stem}.html"' in home, path.stem
    found = json.loads((tmp_path/"_docs"/"search.json").read_text(encoding="utf-8"))
    assert {f["href"].split("#")[0] for f in found} >= {f"{p.stem}.html" for p in LESSONS}
    for p in (ROOT/"mmvae_nb").glob("[a-z]*.py"): assert (tmp_path/"_docs"/"api"/f"{p.stem}.html").exists(), p.stem

def test_results_become_pages(tmp_path):
    import website
    root, proc = tmp_path/"root", tmp_path/"_proc"
    assert website.result_pages(proc, root) == []
    scale = root/"results"/"quick"
    for name in ["tables", "figures", "executed"]: (scale/name).mkdir(parents=True)
    (scale/"tables"/"talk.csv").write_text("slide,value\n37,1.5\n")
    (scale/"figures"/"slide_36_grid.png").write_bytes(b"not looked into")
    for name in ["headline-report", "mopoe-0-train"]: shutil.copy(LESSONS[0], scale/"executed"/f"{name}.ipynb")
    [section] = website.result_pages(proc, root)
    assert [e["href"] for e in section["contents"]] == ["results/quick/index.md", "results/quick/headline-report.ipynb"]
    page = (proc/"results"/"quick"/"index.md").read_text()
    assert "| slide | value |\n| --- | --- |\n| 37 | 1.5 |" in page and "(figures/slide_36_grid.png)" in page
    assert (proc/"results"/"quick"/"figures"/"slide_36_grid.png").exists()
