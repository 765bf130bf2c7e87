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
    assert project["scripts"] == {"mmvae": "mmvae_nb.experiments.cli:main"}
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


# ---- the site (its pages: test_site.py)

def sidebar():
    def hrefs(entries):
        for e in entries: yield from [e["href"]] if "href" in e else hrefs(e["contents"])
    return list(hrefs(yaml.safe_load(text("_quarto.yml"))["website"]["sidebar"]["contents"]))

def test_sidebar_and_home_page_list_every_lesson(settings):
    names = {p.name for p in LESSONS}
    # the sidebar may name pages to come: what is not there is left out of the site
    assert names <= set(sidebar()) and len(sidebar()) == len(set(sidebar()))
    linked = set(re.findall(r"\]\((\w+\.ipynb)[)#]", said_by(ROOT/"nbs"/"index.ipynb")))
    assert linked == names - {"index.ipynb"}, "the home page is out of date: make execute NB=nbs/index.ipynb"
    assert (ROOT/"nbs"/"_quarto.yml").is_symlink() and text("nbs/_quarto.yml") == text("_quarto.yml")
    assert yaml.safe_load(text("_quarto.yml"))["project"]["output-dir"] == settings["doc_path"]

def said_by(path):
    "The Markdown of a notebook: its prose, and the Markdown its cells put out."
    parts = []
    for c in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if c["cell_type"] == "markdown": parts.append(nbs.source(c))
        parts += ["".join(o["data"]["text/markdown"]) for o in c.get("outputs", []) if "text/markdown" in o.get("data", {})]
    return "\n".join(parts)

@pytest.fixture
def results(tmp_path):
    "A checkout with one report, one table and one figure of its own, and one file that no report names."
    from PIL import Image
    root = tmp_path/"root"
    scale = root/"results"/"quick"
    for name in ["tables", "figures", "executed"]: (scale/name).mkdir(parents=True)
    (scale/"tables"/"talk.csv").write_text("slide,value\n37,1.23456789\n")
    (scale/"tables"/"own.csv").write_text("a,b\nx|y,2\n")
    Image.new("RGB", (8, 8), "white").save(scale/"figures"/"slide_36_grid.png")
    (root/"nbs"/"experiments").mkdir(parents=True)
    nb = {"cells": [{"cell_type": "markdown", "metadata": {}, "source": "# A report\n\n> About it.\n\nWords."},
                    {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source":
                     "def draw(slide): save_figure(f, f\"{results}/figures/slide_{slide}_grid.png\")\nx.to_csv(f\"{results}/tables/own.csv\")"},
                    {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source":
                     "#| fig-cap: \"A caption.\"\n#| fig-alt: \"What is to be seen.\"\ndraw(36)"}],
          "metadata": {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}, "nbformat": 4, "nbformat_minor": 5}
    (root/"nbs"/"experiments"/"report.ipynb").write_text(json.dumps(nb))
    return root

def rendered(root, proc):
    import website
    pages = website.Results(root)
    for f in (root/"results").glob("*/figures/*.png"): pages.publish(f, proc)
    [section] = website.result_pages(proc, pages, root)
    assert [e["href"] for e in section["contents"]] == ["results/quick/report.ipynb", "results/quick/index.md"]
    return pages, json.loads((proc/"results"/"quick"/"report.ipynb").read_text())["cells"]

def test_committed_results_become_pages(results, tmp_path):
    import website
    proc = tmp_path/"_proc"
    pages, cells = rendered(results, proc)
    first, second = [c for c in cells if c["cell_type"] == "code"]
    assert "code-fold: true" in nbs.source(first) and "code-fold: true" in nbs.source(second)
    assert "| a | b |\n| --- | ---: |\n| x\\|y | 2 |" in first["outputs"][0]["data"]["text/markdown"]
    assert '![A caption.](figures/slide_36_grid.png){fig-alt="What is to be seen."}' in second["outputs"][0]["data"]["text/markdown"]
    assert (proc/"results"/"quick"/"figures"/"slide_36_grid.png").exists()
    assert any("committed" in nbs.source(c) for c in cells)
    index = (proc/"results"/"quick"/"index.md").read_text()
    assert "| 37 | 1.235 |" in index and "(report.ipynb#slide_36_grid)" in index
    # Links of a notebook to the files lead to the pages that show them; what is not there stays as text
    say = lambda s: website.to_results(s, pages)
    assert say("[a](../results/quick/figures/slide_36_grid.png)") == "[a](results/quick/report.ipynb#slide_36_grid)"
    assert say("[a](../results/quick/tables/talk.csv)") == "[a](results/quick/index.md#talk)"
    assert say("![a](../results/quick/figures/slide_36_grid.png)") == "![a](results/quick/figures/slide_36_grid.png)"
    assert say("[a](../results/quick/figures/none.png)") == "a"

def test_an_executed_report_is_shown_as_it_ran(results, tmp_path):
    nb = json.loads((results/"nbs"/"experiments"/"report.ipynb").read_text())
    nb["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "it ran"}]
    (results/"results"/"quick"/"executed"/"report-report.ipynb").write_text(json.dumps(nb))
    _, cells = rendered(results, tmp_path/"_proc")
    outputs = [c["outputs"] for c in cells if c["cell_type"] == "code"]
    assert nbs.source({"source": outputs[1][0]["text"]}) == "it ran"
    assert outputs[1][1]["data"]["text/markdown"] == '<a id="slide_36_grid"></a>' and not any("committed" in nbs.source(c) for c in cells)

def test_what_a_report_printed_is_shown_with_the_committed_figures(results, tmp_path):
    nb = json.loads((results/"nbs"/"experiments"/"report.ipynb").read_text())
    nb["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "it ran"}]
    kept = results/"results"/"quick"/"reports"/"report.ipynb"
    kept.parent.mkdir(); kept.write_text(json.dumps(nb))
    _, cells = rendered(results, tmp_path/"_proc")
    first, second = [c["outputs"] for c in cells if c["cell_type"] == "code"]
    assert nbs.source({"source": first[0]["text"]}) == "it ran" and "x\\|y" not in str(first)
    assert "figures/slide_36_grid.png" in second[0]["data"]["text/markdown"]
    assert not any("committed" in nbs.source(c) for c in cells)
