"""The lessons' notebooks as files that stand alone: on Colab, in a class, in a folder of downloads.

Their pictures are inside, and what only nbdev and Quarto read is said in Markdown that every
notebook shows.
"""
import base64, html, re

from execnb.nbio import mk_cell, read_nb, write_nb
from nbdev.config import get_config

from notebooks import ROOT, lessons
from site_imports import by_name, used
from site_pages import only_imports

BRANCH = "notebooks" # of the repository, with what `downloads` writes, for Colab
KINDS = {"png": "image/png", "svg": "image/svg+xml"}
# Pages that use what `pip install mmvae_nb[experiments]` brings: word vectors, a notebook runner
WITH_EXTRA = {"12_birds", "14d_jobs"}


# ---- text and code

def embedded(text, path, kinds=tuple(KINDS)):
    "Markdown of the notebook at `path` with its pictures of these kinds inside: it moves away."
    def inside(m):
        data = base64.b64encode((path.parent/m[2]).read_bytes()).decode()
        return f'<img alt="{html.escape(m[1])}" src="data:{KINDS[m[3]]};base64,{data}">'
    return re.sub(rf"!\[([^\]]*)\]\((?!data:)([^)]+\.({'|'.join(kinds)}))\)", inside, text)

def undirected(code):
    "Code without nbdev's directives."
    return re.sub(r"(?m)^#\| ?\w.*\n?", "", code).strip()

CALLOUT = re.compile(r'^::: \{\.callout-\w+( collapse="true")?\}\n## ([^\n]*)\n(.*?)^:::$',
                     re.S | re.M)
OTHER = re.compile(r"^::: \{\.[^\n]*\}\n(.*?)^:::$", re.S | re.M)

def unfenced(text):
    """Markdown without Quarto's fences: a note is a quotation under its heading, one that is
    closed at first is HTML's `details`; of others the content is left."""
    def note(m):
        closed, title, body = m[1], m[2].strip(), m[3].strip("\n")
        if closed:
            return f"<details><summary><b>{title}</b></summary>\n\n{body}\n\n</details>"
        return "\n".join(f"> {line}".rstrip() for line in [f"**{title}**", "", *body.split("\n")])
    return OTHER.sub(lambda m: m[1].strip("\n"), CALLOUT.sub(note, text))

def linked(text, site, repo):
    "Markdown whose links lead to the site, and to the repository where they name its files."
    text = re.sub(r"(?<=\]\()(\w+)\.ipynb(#[^)\s]*)?(?=\))", rf"{site}/\1.html\2", text)
    text = re.sub(r"(?<=\]\()\.\./(results/[^)\s]*\.(?:png|csv))(?=\))", rf"{site}/\1", text)
    text = re.sub(r"(?<=\]\()(?=experiments/)", f"{repo}/blob/main/nbs/", text)
    return re.sub(r"(?<=\]\()\.\./([^)\s]*)(?=\))", rf"{repo}/blob/main/\1", text)


# ---- on Colab

def first_cell(repo, nb):
    """What a notebook that is alone on Colab wants run first. The package is taken from the clone,
    as trained models and results lie beside it; a wheel brings neither."""
    name = repo.rsplit("/", 1)[-1]
    extra = "[experiments]" if nb.stem in WITH_EXTRA else ""
    return "\n".join([f"!git clone --depth 1 {repo} && pip install ./{name}{extra}",
                      f"%cd {name}/nbs", 'import sys; sys.path.insert(0, "..")'])

def on_colab(nb, repo):
    "The same as a cell that does something there only."
    lines = first_cell(repo, nb).splitlines()
    said = ["# On Colab: the course, its models and its packages (a minute or two)", "import sys",
            'if "google.colab" in sys.modules:']
    inside = [f"    {s.removeprefix('import sys; ')}" for s in lines]
    hint = ["else:", "    from importlib.util import find_spec",
            '    if not find_spec("mmvae_nb"):',
            f'        print("Not installed here: pip install git+{repo}; results that a page "',
            '              "reads lie in a clone only.")']
    return mk_cell("\n".join([*said, *inside, *hint]))

def colab(nb, repo):
    "The address under which Colab opens the lesson `nb`, ready to be run."
    at = repo.replace("https://github.com", "https://colab.research.google.com/github")
    return f"{at}/blob/{BRANCH}/{nb.name}"


# ---- files

def standalone(path, config):
    """The lesson at `path` as a notebook without outputs that needs nothing beside it but the site,
    for figures of results."""
    nb, repo, site = read_nb(path), config.git_url, config.doc_host + config.doc_baseurl
    needed = used(nb.cells)
    for c in nb.cells:
        if c.cell_type == "code":
            named = by_name(c.source, needed) if only_imports(c.source) else c.source
            c.outputs, c.execution_count, c.source = [], None, undirected(named)
        else: c.source = linked(unfenced(embedded(c.source, path, ("svg",))), site, repo)
    nb.cells = [c for c in nb.cells if c.source]          # some hold nothing but directives
    if any(c.cell_type == "code" for c in nb.cells): nb.cells.insert(1, on_colab(path, repo))
    return nb

def downloads(out, root=ROOT):
    "Write the lessons' notebooks into a new folder `out`."
    out.mkdir(parents=True)
    config = get_config(path=root)
    for path in lessons(root): write_nb(standalone(path, config), out/path.name)
