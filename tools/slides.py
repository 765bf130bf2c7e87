"""The lessons as reveal.js slides that need no network.

    python tools/slides.py [--out _slides] [NB ..]

Each `##` of a lesson starts a stack of slides; what it holds is laid out in its order, a full slide
at a time. A slide that is still too full is set smaller by the browser, and scrolls beyond that.
"""
import argparse, ast, base64, hashlib, html, os, re, shutil, subprocess, sys, tarfile, tempfile
from pathlib import Path

import nbformat

from handouts import FOLDED
from notebooks import ROOT, numbered
from standalone import embedded, undirected

REVEAL = "reveal.js-4.6.1"
# What npm calls its integrity: `npm view reveal.js@4.6.1 dist.integrity` prints it.
INTEGRITY = ("sha512-1CW0auaXNPmwmvQ7TwpszwVxMi2Xr5cTS3J3EBC"
             "/HHgbPF32Dn7aiu/LKWDOGjMbaDwKQiGmfqcoGQ74HUHCMw==")
ROOM, WIDTH = 15, 78                   # lines of a slide, and characters in one
SKIPPED = ["Solutions", "References"]
LISTING = 15                           # lines; of longer code the signatures are shown


# ---- what is shown

BLOCK = re.compile(r"""(?smx)
      ^[ ]*```.*?^[ ]*```$                                          # a listing
    | ^[ ]*\$\$.*?\$\$[^\n]*$                                       # a display
    | ^\#+[ ][^\n]*$                                                # a heading
    | (?:^(?![ ]*```|[ ]*\$\$|\#+[ ]) [^\n]*\S [^\n]*(?:\n|\Z))+    # a paragraph, list, table""")

def blocks(text):
    "The blocks of a Markdown text: headings, paragraphs, lists, tables, displays, listings."
    text = re.sub(r"(?m)^:::.*$", "", text)
    return [m[0].strip("\n") for m in BLOCK.finditer(text)]

def size(block):
    "About how many lines of a slide a block takes."
    if block.startswith("<img"): return ROOM
    return 1 + sum(1 + len(line)//WIDTH for line in block.splitlines())

def shortened(text, limit=300):
    "A long paragraph's first sentences, up to about `limit` characters; anything else as it is."
    if len(text) <= 1.3*limit or "$$" in text or re.match(r"\s*([-*|>`<]|\d+\.)", text): return text
    kept = ""
    for s in re.split(r"(?<=[.!?:])\s+(?=[A-Z$*`])", text):
        if len(kept) + len(s) > limit and whole(kept): break
        kept += f" {s}" if kept else s
    return kept

def whole(text):
    "Does no formula, emphasis, code or bracket stay open at the end of this (non-empty) text?"
    said = re.sub(r"\$[^$]*\$", "", text)
    even = all(said.count(mark) % 2 == 0 for mark in "$*`")
    return bool(text) and even and said.count("(") == said.count(")")

def outline(code):
    "Signatures and docstrings of the public functions, classes and methods in `code`."
    def walk(nodes, indent):
        for n in (n for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))):
            if n.name.startswith("_"): continue
            args = f"({ast.unparse(n.args)})" if isinstance(n, ast.FunctionDef) else ""
            yield f"{indent}{'def' if args else 'class'} {n.name}{args}: ..."
            if said := ast.get_docstring(n): yield f'{indent}    "{said.splitlines()[0]}"'
            if not args: yield from walk(n.body, indent + "    ")
    return "\n".join(walk(ast.parse(code).body, ""))

def picture(png, cell):
    "A picture of a code cell with its caption."
    told = dict(re.findall(r'#\| *(fig-cap|fig-alt): *"(.*)"', cell.source))
    alt, data = html.escape(told.get("fig-alt", "")), png.strip()
    return (f'<img alt="{alt}" src="data:image/png;base64,{data}">\n'
            f'<p class="caption">{told.get("fig-cap", "")}</p>')

def printed(output):
    "The blocks of what a cell put out, pictures apart."
    data = output.get("data", {})
    if "text/html" in data: return ["".join(data["text/html"])]
    text = output.get("text") or data.get("text/plain")
    return [f"```\n{text.strip()[:900]}\n```"] if text else []

def shown(cell):
    "What a code cell puts on slides: its figures; else its code, if short, and what it printed."
    outputs, exports = cell.get("outputs", []), "#| exports" in cell.source
    found = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    if found: return [picture(png, cell) for png in found]
    code, said = undirected(cell.source), [b for o in outputs for b in printed(o)]
    if not (said or exports): return []        # a cell that only checks something
    if exports and code.count("\n") >= LISTING: code = outline(code)
    short = code and code.count("\n") < LISTING
    return [f"```python\n{code}\n```"]*bool(short) + said


# ---- slides

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:)([^)\s]*)\)")

def relinked(block, made):
    """A block whose links to lessons lead to their decks, if those are `made`; of links to what no
    deck shows (other pages, places, files) the text is left."""
    if block.startswith(("```", "$$")): return block
    def new(m):
        page = m[2].partition("#")[0].removesuffix(".ipynb")
        return f"[{m[1]}]({page}.html)" if page in made else m[1]
    return LINK.sub(new, block)

def sections(path, made=None):
    """The sections of a lesson: its headings of the first two levels, each with the blocks below.
    `made`: names of the decks that links may lead to (default: one for each lesson)."""
    found, made = [], {p.stem for p in numbered()} if made is None else made
    for c in nbformat.read(path, as_version=4).cells:
        if c.cell_type == "markdown":
            for b in blocks(embedded(FOLDED.sub("", c.source), path, ("png",))):
                b = relinked(b, made)
                if re.match("##? ", b): found.append((b, []))
                else: found[-1][1].append(b)
        elif found and found[-1][0] != "## Exercises": found[-1][1].extend(shown(c))
    return [s for s in found if s[0].lstrip("# ") not in SKIPPED]

def packed(heading, content):
    "Slides of a section: what each shows, and the paragraphs of which it shows the beginning only."
    slides, used = [([heading], [])], 0
    for b in content:
        short = shortened(b)
        if used and (used + size(short) > ROOM or b.startswith("### ")):
            slides.append(([f"## {heading.lstrip('# ')}"], []))
            used = 0
        slides[-1][0].append(short)
        used += size(short)
        if short != b: slides[-1][1].append(b)
    return slides

def slides(path, made=None):
    "The lesson at `path` as a notebook of Markdown cells: one for each slide, then its notes."
    nb = nbformat.v4.new_notebook(metadata={"title": path.stem})
    def add(kind, parts):
        about = {"slideshow": {"slide_type": kind}}
        nb.cells.append(nbformat.v4.new_markdown_cell("\n\n".join(parts), metadata=about))
    for section in sections(path, made):
        for i, (parts, notes) in enumerate(packed(*section)):
            add("subslide" if i else "slide", parts)
            if notes: add("notes", notes)
    return nb


# ---- decks

INDEX = """<!DOCTYPE html><meta charset="utf-8"><title>Slides</title>
<body style="font-family: sans-serif; line-height: 1.6; margin: 2rem auto; max-width: 40rem">
<h1>Slides</h1><ul>{}</ul>
"""

def reveal(out, cache):
    "Put reveal.js into the folder of slides; npm fetches it into the cache the first time."
    tgz = cache/f"{REVEAL}.tgz"
    if not tgz.exists(): fetch(tgz)
    check(tgz)
    wanted = re.compile(r"package/(LICENSE|dist/(?:reveal\.(?:css|js)|theme/white\.css"
                        r"|theme/fonts/source-sans-pro/[\w-]+\.(?:css|woff))|plugin/notes/notes\.js)")
    with tarfile.open(tgz) as tar:
        for member in tar.getmembers():
            if not (m := wanted.fullmatch(member.name)) or not member.isfile(): continue
            target = out/"site_libs"/"reveal"/m[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(tar.extractfile(member).read())

def check(tgz):
    "Refuse an archive that is not, byte by byte, the one this was written for."
    found = base64.b64encode(hashlib.sha512(tgz.read_bytes()).digest()).decode()
    if f"sha512-{found}" != INTEGRITY:
        sys.exit(f"slides: {tgz} is not {REVEAL} as published (its SHA-512 differs); delete it")

def fetch(tgz):
    "Fetch reveal.js to the file `tgz`, or say in one line what to do."
    package = REVEAL.replace("-", "@")
    with tempfile.TemporaryDirectory() as tmp:
        try: subprocess.run(["npm", "pack", package, "--silent"], cwd=tmp, check=True,
                            capture_output=True, timeout=120)
        except (subprocess.SubprocessError, OSError):
            sys.exit(f"slides: npm can't fetch reveal.js; run `npm pack {package}` on a machine "
                     f"with a network and put {tgz.name} into {tgz.parent}")
        tgz.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(f"{tmp}/{tgz.name}", tgz)

def exporter():
    "nbconvert's exporter with our template, which loads KaTeX and reveal.js from beside the deck."
    from nbconvert import SlidesExporter
    from traitlets.config import Config
    template = (ROOT/"site"/"slides.html.j2").read_text(encoding="utf-8")
    return SlidesExporter(raw_template=template, reveal_theme="white", exclude_anchor_links=True,
                          reveal_url_prefix="site_libs/reveal",
                          config=Config(CSSHTMLHeaderPreprocessor={"style": "friendly"}))

def decks(paths, out, cache):
    "Write a deck of slides for each lesson, and a page that lists them; they need no network."
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    reveal(out, cache)
    shutil.copytree(ROOT/"site"/"katex", out/"site_libs"/"katex", dirs_exist_ok=True)
    for n in ("drawings", "instruments"): shutil.copytree(ROOT/"nbs"/n, out/n, dirs_exist_ok=True)
    make, listed = exporter(), []
    for p in paths:
        deck = slides(p, {p.stem for p in paths})
        (out/f"{p.stem}.html").write_text(make.from_notebook_node(deck)[0], encoding="utf-8")
        title = html.escape(deck.cells[0].source.splitlines()[0].lstrip("# "))
        number = p.stem.split("_")[0]
        listed.append(f'<li><a href="{p.stem}.html">{number} {title}</a></li>')
    (out/"index.html").write_text(INDEX.format("".join(listed)), encoding="utf-8")
    return len(listed)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", type=Path, default=ROOT/"_slides",
                   help="where they go (default _slides)")
    p.add_argument("paths", nargs="*", type=Path, help="notebooks (default: every lesson)")
    a = p.parse_args(argv)
    cache = Path(os.environ.get("MMVAE_CACHE") or ROOT/"_cache").resolve()
    print(f"{decks(a.paths or numbered(), a.out, cache)} decks; open {a.out/'index.html'}")


if __name__ == "__main__": sys.exit(main())
