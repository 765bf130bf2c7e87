"Lessons as notebooks that stand alone: what is inside them, where their links lead, their first cell."
import ast, base64, html, re
from types import SimpleNamespace

import nbformat, pytest, yaml
from execnb.nbio import nb2str
from IPython.core.inputtransformer2 import TransformerManager
from site_helpers import LESSONS, ROOT, python, read
from site_pages import only_imports
from standalone import BRANCH, colab, downloads, embedded, first_cell, linked, standalone, unfenced

REPO, SITE = "https://github.com/someone/mmvae_nb", "https://someone.github.io/mmvae_nb"
CONFIG = SimpleNamespace(git_url=REPO, doc_host="https://someone.github.io", doc_baseurl="/mmvae_nb")
MADE = {p.stem: nbformat.reads(nb2str(standalone(p, CONFIG)), 4) for p in LESSONS}
CODED = [n for n, nb in MADE.items() if any(c.cell_type == "code" for c in nb.cells)]

def words(nb): return "\n\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
def code(nb): return [c.source for c in nb.cells if c.cell_type == "code"]


# ---- text

def test_a_note_is_a_quotation_and_what_is_closed_is_details():
    given = ('Before.\n\n::: {.callout-note}\n## You will learn\n\n- one;\n\n```python\nx = 1\n```\n:::\n\nBetween.\n\n'
             '::: {.callout-tip collapse="true"}\n## Predict: why?\n\nSo.\n:::\n\n'
             '::: {.instrument .elbo-hill}\n![a](b.svg)\n:::\nAfter.')
    assert unfenced(given) == (
        "Before.\n\n> **You will learn**\n>\n> - one;\n>\n> ```python\n> x = 1\n> ```\n\nBetween.\n\n"
        "<details><summary><b>Predict: why?</b></summary>\n\nSo.\n\n</details>\n\n![a](b.svg)\nAfter.")

@pytest.mark.parametrize("given, there", [
    ("02_vae.ipynb", f"{SITE}/02_vae.html"), ("02_vae.ipynb#the-elbo", f"{SITE}/02_vae.html#the-elbo"),
    ("../results/long/tables/talk.csv", f"{SITE}/results/long/tables/talk.csv"),
    ("../mmvae_nb/core.py", f"{REPO}/blob/main/mmvae_nb/core.py"),
    ("experiments/cub.ipynb", f"{REPO}/blob/main/nbs/experiments/cub.ipynb"),
    ("#here", "#here"), ("https://a.org/b.ipynb", "https://a.org/b.ipynb")])
def test_links_lead_to_the_site_and_to_files_of_the_repository(given, there):
    assert linked(f"See [it]({given}).", SITE, REPO) == f"See [it]({there})."

@pytest.mark.parametrize("name", MADE)
def test_nothing_that_only_quarto_or_a_folder_understands_is_left(name):
    text = words(MADE[name])
    assert ":::" not in text
    assert all(u.startswith(("https://", "http://", "#")) for u in re.findall(r"\]\(([^)\s]*)\)", text))
    assert not any(c.startswith("#|") for c in code(MADE[name]))
    nbformat.validate(MADE[name])

@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_its_drawings_are_inside(path):
    drawn = re.findall(r"!\[([^\]]*)\]\(([^)]*\.svg)\)", words(read(path)))
    found = re.findall(r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)">', words(MADE[path.stem]))
    assert [(html.unescape(alt), base64.b64decode(data)) for alt, data in found] == \
        [(alt, (path.parent/file).read_bytes()) for alt, file in drawn]

def test_a_picture_that_is_not_there_is_missed():
    with pytest.raises(FileNotFoundError): embedded("![a](nothing.svg)", LESSONS[0])

@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_all_code_of_the_lesson_is_there_in_its_order(path):
    lesson = [re.sub(r"(?m)^#\|.*\n?", "", c).strip() for c in code(read(path))]
    given = code(MADE[path.stem])[1:]
    modules = lambda c: [getattr(n, "module", "") for n in ast.parse(c).body]        # a star is named in a download
    for one, other in zip(given, filter(None, lesson), strict=True):
        if only_imports(other): assert modules(one) == modules(other)
        else: assert one == other
    assert not any(c.get("outputs") for c in MADE[path.stem].cells)


# ---- Colab

@pytest.mark.parametrize("name", CODED)
def test_the_first_cell_sets_colab_up_and_does_nothing_elsewhere(name):
    first, *others = code(MADE[name])
    assert '"google.colab" in sys.modules' in first and f"git clone --depth 1 {REPO} " in first
    assert f"pip install git+{REPO}" in first
    exec(TransformerManager().transform_cell(first), {})                          # not on Colab
    assert not any("google.colab" in c for c in others)

def test_what_needs_more_than_the_package_says_so():
    "What gensim or a notebook runner is for asks for them; all else is spared their minutes."
    assert MADE.keys() - set(CODED) == {"glossary", "notation"}                   # nothing to run there
    assert {n for n in CODED if "[experiments]" in code(MADE[n])[0]} == {"12_birds", "14d_jobs"}

def test_the_first_cell_brings_package_models_and_results(tmp_path):
    "As a notebook runs it that is alone in its folder: cloned from here, and without installing anything."
    if not (ROOT/".git").exists(): pytest.skip("no repository to clone")
    cell = first_cell("file:///mmvae_nb", ROOT/"nbs"/"10_distillation.ipynb")
    cell = cell.replace("file:///mmvae_nb", f"{ROOT.as_uri()} mmvae_nb").replace("pip install", "echo")
    look = """
from pathlib import Path
import mmvae_nb
model = mmvae_nb.pretrained("mopoe")
assert Path("../results/long").is_dir() and Path("10_distillation.ipynb").is_file()
print(Path(mmvae_nb.__file__).resolve().parent.parent)"""
    shell = "from IPython import InteractiveShell\nget_ipython = InteractiveShell.instance\n"
    r = python("-c", shell + TransformerManager().transform_cell(cell + look), cwd=tmp_path)
    assert r.returncode == 0 and r.stdout.splitlines()[-1] == str(tmp_path/"mmvae_nb"), r.stdout + r.stderr

def test_colab_opens_what_the_workflow_pushes():
    "One click: the link names the branch and the file that the folder of downloads holds."
    assert colab(LESSONS[0], REPO) == \
        f"https://colab.research.google.com/github/someone/mmvae_nb/blob/{BRANCH}/{LESSONS[0].name}"
    steps = yaml.safe_load((ROOT/".github"/"workflows"/"docs.yml").read_text(encoding="utf-8"))["jobs"]["docs"]["steps"]
    pushed = next(s for s in steps if "working-directory" in s)
    assert pushed["working-directory"] == "_docs/notebooks" and f"-b {BRANCH}\n" in pushed["run"]
    assert f"{{{{ github.repository }}}}\" {BRANCH}\n" in pushed["run"]

def test_downloads_are_all_lessons(tmp_path):
    downloads(tmp_path/"out")
    assert sorted(p.name for p in (tmp_path/"out").iterdir()) == sorted(p.name for p in LESSONS)
