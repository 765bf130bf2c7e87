"A notebook as a page of the site: title as front matter, no directives, lighter pictures, links."
import ast, base64, io, re

import yaml
from execnb.nbio import mk_cell, read_nb, write_nb
from nbdev.frontmatter import FrontmatterProc
from nbdev.process import Processor
from nbdev.processors import FilterDefaults
from PIL import Image

from notebooks import ROOT, lessons, source, tidy
from site_imports import by_name, used

HEAVY = 150_000   # bytes; a picture above this is tried as JPEG
OPENING = re.compile(r"\A# +(.+)\n*((?:>.*\n?)*)")


class FrontMatter(Processor):
    "The title of a notebook as front matter; its subtitle, which may hold maths, set large."
    def begin(self):
        for cell in self.nb.cells:
            if cell.cell_type != "markdown" or not cell.source.startswith("# "): continue
            m = OPENING.match(cell.source)
            subtitle = re.sub(r"(?m)^> ?", "", m[2]).strip()
            rest = cell.source[m.end():].strip()
            cell.source = (f"::: {{.lead}}\n{subtitle}\n:::\n\n" if subtitle else "") + rest or None
            front = yaml.safe_dump({"title": m[1].strip()}, width=1000)
            self.nb.cells.insert(0, mk_cell(f"---\n{front}---", "raw"))
            return

class Filters(FilterDefaults):
    "nbdev's filters, for a page that reads like its notebook and keeps its name."
    def base_procs(self):
        return [FrontMatter] + [p for p in super().base_procs() if p is not FrontmatterProc]


# ---- pictures

def lighter(png):
    "The suffix and bytes to publish: JPEG for photographs; what gains little (charts) as it is."
    if len(png) < HEAVY: return "png", png
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(out, "JPEG", quality=90, optimize=True)
    return ("jpg", out.getvalue()) if out.tell() < len(png)/2 else ("png", png)

def lighten(outputs):
    "Make the pictures in a cell's outputs lighter, in place."
    for data in (o.get("data", {}) for o in outputs):
        if "image/png" not in data: continue
        suffix, new = lighter(base64.b64decode(source({"source": data["image/png"]})))
        if suffix == "jpg":
            del data["image/png"]
            data["image/jpeg"] = base64.b64encode(new).decode()


# ---- definitions and titles

def defined(code):
    "What a cell that exports and is shown defines at its top level."
    if not re.search(r"(?m)^#\| *exports\b", code): return []
    def name(n):
        if isinstance(n, (ast.ClassDef, ast.FunctionDef)): return n.name
        made = isinstance(n, ast.Assign) and getattr(getattr(n.value, "func", None), "id", None)
        return n.targets[0].id if made == "namedtuple" else "_"
    return [s for n in ast.parse(code).body if (s := name(n))[0] != "_"]

def place(names):
    """The id of a cell that defines `names`. Quarto writes ids of cells in lower case, and takes
    `def-` for a numbered definition."""
    return f"src-{names[0].lower()}"

def definitions(root=ROOT):
    "For each exported symbol: the lesson that defines it, and the anchor of the cell."
    found = {}
    for path in lessons(root):
        for c in read_nb(path).cells:
            if c.cell_type != "code": continue
            names = defined(c.source)
            found.update({n: (path.name, place(names)) for n in names})
    return found

def only_imports(code):
    "Does a cell import, and do nothing else but set the style of figures?"
    if "#| echo: false" in code: return False
    try: body = ast.parse(code).body
    except SyntaxError: return False               # a line for the shell, say
    brings = [isinstance(n, (ast.Import, ast.ImportFrom)) for n in body]
    return any(brings) and all(b or ast.unparse(n) == "set_style()" for b, n in zip(brings, body))

def with_imports(code):
    "Imports can be read on the page, but folded: nbdev would hide those of a module altogether."
    whose = "of the module" if re.search(r"(?m)^#\| *exports?\b", code) else "of this page"
    code = re.sub(r"(?m)^#\| *export\b", "#| exports", code)
    return f'#| code-fold: true\n#| code-summary: "Imports {whose}"\n{code}'

def title_of(path):
    "The heading of a notebook."
    cells = (c.source for c in read_nb(path).cells)
    return next(m[1] for s in cells if (m := OPENING.match(s)))


# ---- pages

def linked(cell, pages):
    "Lead a cell's links to files of `results/` to where the site shows them."
    if cell.cell_type == "markdown": cell.source = pages.to_results(cell.source)
    for data in (o.get("data", {}) for o in cell.get("outputs", [])):
        if "text/markdown" in data:
            data["text/markdown"] = pages.to_results(source({"source": data["text/markdown"]}))

def page(path, target, pages=None, # `Results`, for links to results
         fold=False, # fold the code?
         links=""    # Markdown, to stand below the title and subtitle
        ):
    "Write the notebook at `path` to `target` without directives, hidden cells and progress bars."
    nb = read_nb(path)
    if links:
        below = lambda m: f"{m[0]}\n::: {{.links}}\n{links}\n:::\n\n"
        nb.cells[0].source = OPENING.sub(below, nb.cells[0].source)
    needed = used(nb.cells)
    for c in nb.cells:
        if pages: linked(c, pages)
        if c.cell_type != "code": continue
        c.outputs = tidy(c.get("outputs", []))
        lighten(c.outputs)
        if names := defined(c.source): c.source = f"#| label: {place(names)}\n{c.source}"
        if fold: c.source = f"#| code-fold: true\n{c.source}"
        elif only_imports(c.source): c.source = with_imports(by_name(c.source, needed))
    Filters()(nb)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_nb(nb, target)
