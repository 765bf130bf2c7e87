"""What a class needs: handouts with the solutions cut, slides, and filled caches.

    python tools/classroom.py handouts [--out _handouts] [NB ..]
    python tools/classroom.py slides   [--out _slides] [NB ..]
    python tools/classroom.py cache    [NB ..]   run the lessons, so that what they train is in the cache
    python tools/classroom.py time     [NB ..]   measure them with an empty and with a filled cache

How exercises are written in the lessons is told on the lecturer's page (nbs/lecturer.ipynb).
"""
import argparse, ast, base64, html, os, re, resource, shutil, subprocess, sys, tarfile, tempfile, time
from pathlib import Path

import nbformat
from nbconvert.preprocessors import Preprocessor
from nbgrader.preprocessors import (CheckCellMetadata, ClearOutput, ClearSolutions, ComputeChecksums,
                                    LockCells)

from notebooks import ROOT, lessons

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


# ---- handouts

def embedded(text, path):
    "Markdown of the notebook at `path` with its pictures inside: it is read in a folder of its own."
    data = lambda file: base64.b64encode((path.parent/file).read_bytes()).decode()
    return re.sub(r"!\[([^\]]*)\]\((?!data:)([^)]+)\.png\)",
                  lambda m: f'<img alt="{html.escape(m[1])}" src="data:image/png;base64,{data(m[2] + ".png")}">', text)

class MarkSolutions(Preprocessor):
    "Tell nbgrader which cells hold a solution and which check one; leave out what only nbdev reads."
    folded = re.compile(r"^::: \{\.callout[^\n]*\n## Solutions?\n.*?^:::$", re.S | re.M)

    def preprocess(self, nb, resources):
        nb.cells, awaited, number = [c for c in map(undirected, nb.cells) if c.source], None, 0
        for c in nb.cells:
            if c.cell_type == "markdown":
                c.source, found = self.folded.subn(lambda m: f"{BEGIN}\n{m[0]}\n{END}", c.source)
                if found: c.metadata["nbgrader"] = graded("questions", solution=True, grade=True, points=0)
            elif BEGIN in c.source:
                number += 1
                awaited = f"exercise-{number}"
                c.metadata["nbgrader"] = graded(awaited, solution=True)
            elif awaited:                      # the code cell after a solution checks it
                c.metadata["nbgrader"] = graded(f"{awaited}-check", grade=True, locked=True, points=1)
                awaited = None
        if awaited: raise ValueError(f"{awaited}: no code cell after it checks the solution")
        return nb, resources

def graded(name, **fields):
    "nbgrader's note on a cell."
    return {"schema_version": 3, "grade_id": name, "task": False, "grade": False, "solution": False,
            "locked": False, **fields}

def undirected(cell):
    "The cell without nbdev's directives."
    if cell.cell_type == "code": cell.source = re.sub(r"(?m)^#\| ?\w.*\n?", "", cell.source).strip()
    return cell

def marked(path):
    "The lesson at `path`, with solutions, as nbgrader wants it: the source of an assignment."
    nb = nbformat.read(path, as_version=4)
    nb.metadata = {"kernelspec": nb.metadata.get("kernelspec", {})}
    for c in nb.cells:
        if c.cell_type == "markdown": c.source = embedded(c.source, path)
    return processed(nb, path, MarkSolutions(enabled=True), ClearOutput(), CheckCellMetadata())

def handout(path):
    "The lesson at `path` as a class gets it: no solutions, no outputs, answers checked by locked cells."
    return processed(marked(path), path, ClearSolutions(), LockCells(), ComputeChecksums(), CheckCellMetadata())

def processed(nb, path, *steps):
    "The notebook after these steps."
    resources = {"unique_key": path.stem}
    for step in steps: nb, resources = step.preprocess(nb, resources)
    return nb

def exercises(nb):
    "Pairs of cells of a notebook: one to be filled in (or filled in), and the one that checks it."
    code = [c for c in nb.cells if c.cell_type == "code"]
    return [(a, b) for a, b in zip(code, code[1:]) if BEGIN in a.source or a.metadata.get("nbgrader", {}).get("solution")]

def handouts(paths, out, made=handout):
    "Write the handout of each lesson that has exercises into `out`, or what else is `made` of it; how many."
    out.mkdir(parents=True, exist_ok=True)
    found = [p for p in paths if "## Exercises" in p.read_text(encoding="utf-8")]
    for p in found: nbformat.write(made(p), out/p.name)
    return len(found)


# ---- slides

REVEAL = "reveal.js-4.6.1"
TEMPLATE = r"""
{%- extends 'reveal/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block notebook_css -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
<link rel="stylesheet" href="KATEX/katex.min.css">
<script src="KATEX/katex.min.js"></script>
<script src="KATEX/contrib/auto-render.min.js"></script>
{%- endblock -%}
{%- block html_head_css -%}
<style>
main { height: 100%; }
.reveal .slides { text-align: left; font-size: 36px; }
.reveal .slides h1, .reveal .slides h2, .reveal .slides h3 { text-transform: none; margin: 0 0 .5em; }
.reveal .slides h1 { font-size: 2.2em; margin-top: 3em; } .reveal .slides h2 { font-size: 1.4em; } .reveal .slides h3 { font-size: 1.1em; }
.reveal .slides p, .reveal .slides li { line-height: 1.35; margin: 0 0 .5em; }
.reveal .slides ul, .reveal .slides ol { display: block; margin-left: 1.2em; }
.reveal .slides blockquote { width: auto; margin: 0; box-shadow: none; background: none; }
.reveal .slides pre { width: 100%; margin: .4em 0; box-shadow: none; font-size: 23px; line-height: 1.3; white-space: pre-wrap; }
.reveal .slides .highlight { background: #f6f6f6; padding: .2em .6em; } .reveal .slides pre code { max-height: none; }
.reveal .slides table { font-size: .72em; } .reveal .slides .katex-display { margin: .6em 0; }
.reveal .slides img { display: block; margin: 0 auto; height: 480px; width: 100%; object-fit: contain; }
.reveal .slides .caption { font-size: .75em; color: #555; }
</style>
{%- endblock -%}
{%- block footer_js -%}
<script src="{{ resources.reveal.url_prefix }}/dist/reveal.js"></script>
<script src="{{ resources.reveal.url_prefix }}/plugin/notes/notes.js"></script>
<script>
renderMathInElement(document.body, {throwOnError: false, delimiters: [
  {left: "$$", right: "$$", display: true}, {left: "$", right: "$", display: false}]});
Reveal.initialize({width: 1280, height: 720, margin: 0.05, hash: true, center: false, slideNumber: "h.v",
                   transition: "none", plugins: [RevealNotes]});
function fit() {   // a display that is wider than the slide is set smaller, then all of a slide that is too full
  const s = Reveal.getCurrentSlide();
  for (const d of s.querySelectorAll(".katex-display")) {
    let width = 100;   // room for the equation's number
    d.style.fontSize = "1em";
    for (const b of d.querySelectorAll(".katex-html > .base")) width += b.offsetWidth;
    d.style.fontSize = Math.min(1, 1180/width) + "em";
  }
  s.style.zoom = 1;
  const parts = [...s.querySelectorAll("*")].filter(e => !e.closest("aside") && e.offsetParent);
  const top = s.getBoundingClientRect().top, low = Math.max(...parts.map(e => e.getBoundingClientRect().bottom));
  s.style.zoom = Math.min(1, 710*Reveal.getScale()/(low - top), 1280/s.scrollWidth);
}
Reveal.on("slidechanged", fit); document.fonts.ready.then(fit);
</script>
{%- endblock -%}
"""
LINES, WIDTH, CODE = 13, 72, 86   # what fits on a slide below its heading: lines of text, characters in a line of text, of code
SKIPPED = ["Exercises", "Solutions", "References"]   # of the first, only the questions are shown

def blocks(text):
    "The blocks of a Markdown text: headings, paragraphs, lists, tables, displays, code."
    part, inside = [], None   # `inside`: what a display or a listing that is open will end with
    for line in [*text.splitlines(), ""]:
        if line.startswith(":::"): continue
        mark = next((m for m in ("```", "$$") if line.strip().startswith(m)), None)
        breaks = not inside and (mark or not line.strip() or line.startswith("#"))
        if breaks and part: yield "\n".join(part)
        if breaks: part = []
        if line.strip() or inside: part.append(line)
        if inside: inside = None if inside in line else inside
        elif mark and line.count(mark) % 2: inside = mark
        if part and not inside and (mark or "$$" in line or line.startswith("#")):
            yield "\n".join(part); part = []

def shortened(text, limit=260):
    "The first sentences of a paragraph, up to about `limit` characters, and a last one that leads on."
    if len(text) <= 1.3*limit or re.match(r"\s*(\d+\.|[-*|>$`<])", text) or "$$" in text: return text
    def whole(s):
        said = re.sub(r"\$[^$]*\$", "", s)   # without its formulas
        return said.count("$") % 2 == said.count("*") % 2 == said.count("`") % 2 == 0 and said.count("(") == said.count(")")
    sentences = [""]
    for s in re.split(r"(?<=[.!?:])\s+(?=[A-Z$*`])", text):
        if sentences[-1] and not whole(sentences[-1]): sentences[-1] += " " + s
        else: sentences.append(s)
    kept = sentences[1]
    for s in sentences[2:]:
        if len(kept) + len(s) > limit: break
        kept += " " + s
    return kept + (f" … {sentences[-1]}" if text.endswith(":") and not kept.endswith(":") else "")

def ended(text):
    "The paragraph without a last sentence that leads on (to a cell that is on no slide)."
    if not text.endswith(":") or "$$" in text or text.startswith(("-", "|", "```")): return text
    return "" if not (m := re.match(r"(?s)(.*[.!?])\s", text)) else m[1].removesuffix(" …")

def weight(block):
    "About how many lines of a slide a block takes."
    if block.startswith("<"): return LINES
    if block.startswith("```"): return 0.62*sum(max(1, -(-len(line)//CODE)) for line in block.splitlines()[1:-1]) + 1
    lines = block.splitlines()
    if block.startswith("|"): return 1.1*len(lines)
    if "$$" in block: return 2.2*(block.count(r"\\") + 1) + 1
    items = re.split(r"\n(?=\s*(?:[-*]|\d+\.) )", block)
    return sum(-(-len(i)//WIDTH) for i in items) + 0.8

def outline(code):
    "Signatures and docstrings of the public functions, classes and methods in `code`."
    def walk(nodes, indent):
        for n in nodes:
            if not isinstance(n, (ast.FunctionDef, ast.ClassDef)) or n.name.startswith("_"): continue
            args = f"({ast.unparse(n.args)})" if isinstance(n, ast.FunctionDef) else ""
            yield f"{indent}{'def' if args else 'class'} {n.name}{args}: ..."
            if ast.get_docstring(n): yield f'{indent}    "{ast.get_docstring(n).splitlines()[0]}"'
            if not args: yield from walk(n.body, indent + "    ")
    return "\n".join(walk(ast.parse(code).body, ""))

def shown(cell):
    "The blocks that a code cell puts on slides: its figures, numbers and, if it is short, its code."
    code = undirected(cell.copy()).source
    told = dict(re.findall(r'#\| *(fig-cap|fig-alt): *"(.*)"', cell.source))
    pictures, said = [], []
    for o in cell.get("outputs", []):
        data = o.get("data", {})
        if "image/png" in data:
            pictures.append(f'<img alt="{html.escape(told.get("fig-alt", ""))}" src="data:image/png;base64,{data["image/png"].strip()}">'
                            f'\n<p class="caption">{told.get("fig-cap", "")}</p>')
        elif "text/html" in data: said.append("".join(data["text/html"]))
        elif "text/plain" in data or "text" in o: said.append("```\n" + (o.get("text") or data["text/plain"]).strip()[:900] + "\n```")
    if pictures: return pictures
    if "#| exports" in cell.source and code.count("\n") >= 15: code = outline(code)
    shows = said or "#| exports" in cell.source
    return [f"```python\n{code}\n```"]*(bool(shows) and 0 < len(code) and code.count("\n") < 15) + said

def slides(path):
    "The lesson at `path` as a notebook of Markdown cells: one for each slide, then its speaker's notes."
    deck, title = [], ""
    def start(kind, *parts): deck.append((kind, list(parts), [])); return sum(map(weight, parts[1:]))
    cells = nbformat.read(path, as_version=4).cells
    for c, following in zip(cells, [*cells[1:], None]):
        text = MarkSolutions.folded.sub("", c.source)
        parts = list(blocks(embedded(text, path))) if c.cell_type == "markdown" else shown(c) if title not in SKIPPED else []
        nothing = following and following.cell_type == "code" and not shown(following)
        for i, b in enumerate(parts):
            if re.match("##? ", b):
                title = b.lstrip("# ")
                if title not in SKIPPED[1:]: used = start("slide", b)
            elif title not in SKIPPED[1:]:
                short = shortened(b)
                if nothing and i == len(parts) - 1: short = ended(short)
                together = sum(map(weight, parts)) if c.cell_type == "code" and i == 0 else 0   # a cell's code and what it prints
                needed = together if together <= LINES else weight(short)
                few = used <= 3 or c.cell_type == "code" and i and weight(short) <= 3
                room = 1.25*LINES if few else LINES   # a line or two do not get a slide of their own: `fit` makes room
                if used and short and (used + max(needed, weight(short)) > room or b.startswith("### ")):
                    used = start("subslide", f"## {title}")
                if short: deck[-1][1].append(short); used += weight(short)
                if short != b: deck[-1][2].append(b)
    nb = nbformat.v4.new_notebook(metadata={"title": path.stem})
    for kind, *texts in deck:
        for kind, text in zip([kind, "notes"], texts):
            meta = {"slideshow": {"slide_type": kind}}
            if text: nb.cells.append(nbformat.v4.new_markdown_cell("\n\n".join(text), metadata=meta))
    return nb

def reveal(out, cache):
    "Put reveal.js into the folder of slides; npm fetches it into the cache the first time."
    tgz = cache/f"{REVEAL}.tgz"
    if not tgz.exists():
        with tempfile.TemporaryDirectory() as tmp:
            try: subprocess.run(["npm", "pack", REVEAL.replace("-", "@"), "--silent"], cwd=tmp, check=True,
                                capture_output=True, timeout=120)
            except (subprocess.SubprocessError, OSError):
                sys.exit(f"slides: npm can't fetch reveal.js; run `npm pack {REVEAL.replace('-', '@')}` on a machine "
                         f"with a network and put {tgz.name} into {cache}")
            cache.mkdir(parents=True, exist_ok=True)
            shutil.move(f"{tmp}/{tgz.name}", tgz)
    wanted = re.compile(r"package/(LICENSE|dist/(?:reveal\.(?:css|js)|theme/white\.css"
                        r"|theme/fonts/source-sans-pro/.+\.(?:css|woff))|plugin/notes/notes\.js)")
    with tarfile.open(tgz) as tar:
        for member in tar.getmembers():
            m = wanted.fullmatch(member.name)
            if not m: continue
            target = out/"site_libs"/"reveal"/m[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(tar.extractfile(member).read())

def decks(paths, out, cache):
    "Write a deck of slides for each lesson, and a page that lists them; they need no network."
    from nbconvert import SlidesExporter
    from smalldocs.layout import KATEX
    from traitlets.config import Config
    shutil.rmtree(out, ignore_errors=True); out.mkdir(parents=True)
    reveal(out, cache)
    exporter = SlidesExporter(raw_template=TEMPLATE.replace("KATEX", KATEX), reveal_theme="white",
        reveal_url_prefix="site_libs/reveal", exclude_anchor_links=True,
        config=Config(CSSHTMLHeaderPreprocessor={"style": "friendly"}))
    listed = []
    for p in paths:
        page = out/f"{p.stem}.html"
        text = exporter.from_notebook_node(slides(p))[0]
        page.write_text(re.sub(r"https://[\w./-]+/katex@[\w.]+/dist", "site_libs/katex", text), encoding="utf-8")
        listed.append(f'<li><a href="{page.name}">{p.stem.replace("_", " ")}</a></li>')
    (out/"index.html").write_text(f'<!DOCTYPE html><meta charset="utf-8"><title>Slides</title><h1>Slides</h1>'
                                  f'<ul>{"".join(listed)}</ul>', encoding="utf-8")
    shutil.copytree(ROOT/"site"/"katex", out/"site_libs"/"katex", dirs_exist_ok=True)
    return len(listed)


# ---- caches and times

TIMES = ROOT/"results"/"lesson_seconds.csv"
RUN = "import sys, nbdev.test as nt, pathlib; sys.exit(not nt.test_nb(pathlib.Path(sys.argv[1]), skip_flags=['slow', 'cuda'])[0])"

def seconds(path, cache):
    "Run a lesson in a process of its own, with the given cache; seconds by the clock, and of the processor."
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    start, before = time.time(), used()
    r = subprocess.run([sys.executable, "-c", RUN, str(path.resolve())], cwd=ROOT, capture_output=True, text=True,
                       env={"OMP_NUM_THREADS": "1", **os.environ, "MMVAE_CACHE": str(cache)})
    if r.returncode: sys.exit(f"{path.name} fails:\n{r.stdout[-1000:]}{r.stderr[-3000:]}")
    return time.time() - start, used() - before

def measured(path):
    "Seconds of one thread that a lesson takes from an empty cache, and from one that it has filled itself."
    with tempfile.TemporaryDirectory() as cache: return [round(seconds(path, cache)[1]) for _ in range(2)]

def write_times(rows, file=TIMES):
    "Put {lesson: [empty, filled]} into the table, in the place of older rows."
    import pandas as pd
    old = pd.read_csv(file, index_col="lesson").T.to_dict("list") if file.exists() else {}
    table = pd.DataFrame({**old, **rows}, index=["empty_cache_s", "filled_cache_s"]).T.sort_index()
    table.to_csv(file, index_label="lesson")


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sub = p.add_subparsers(dest="command", required=True)
    for name, does in [("handouts", "lessons without their solutions"), ("slides", "lessons as reveal.js slides")]:
        s = sub.add_parser(name, help=does)
        s.add_argument("--out", type=Path, default=ROOT/f"_{name}", help=f"where they go (default _{name})")
        s.add_argument("paths", nargs="*", type=Path, help="notebooks (default: every lesson)")
    sub.choices["handouts"].add_argument("--with-solutions", action="store_true",
                                         help="for the `source` folder of a course with nbgrader's gradebook")
    for name, does in [("cache", "fill the cache by running the lessons"), ("time", f"measure the lessons, into {TIMES.name}")]:
        sub.add_parser(name, help=does).add_argument("paths", nargs="*", type=Path, help="notebooks (default: every lesson)")
    args = p.parse_args(argv)
    cache = Path(os.environ.get("MMVAE_CACHE") or ROOT/"_cache").resolve()
    paths = args.paths or [q for q in lessons() if q.stem[0].isdigit()]
    if args.command == "handouts":
        print(f"{handouts(paths, args.out, marked if args.with_solutions else handout)} handouts in {args.out}; check an answer with: nbgrader validate NOTEBOOK")
    if args.command == "slides":
        print(f"{decks(paths, args.out, cache)} decks; open {args.out/'index.html'}")
    for q in paths if args.command in ("cache", "time") else []:
        if args.command == "cache": print(f"{q.stem}: {seconds(q, cache)[0]:.0f} s", flush=True)
        else:
            write_times({q.stem: (took := measured(q))})
            print(f"{q.stem}: {took[0]} s from an empty cache, {took[1]} s from a filled one", flush=True)
    return 0


if __name__ == "__main__": sys.exit(main())
