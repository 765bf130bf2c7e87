"""Build the site: lessons, reports of the experiments, reference of the modules.

    python tools/site_build.py [--out _docs] [--strict]

Quarto renders it where installed, else smalldocs does. Notebooks are shown with their saved
outputs; nothing is run. What is rendered lies in `_proc/`: the notebooks without nbdev's
directives, a page for each report of each scale's committed results, and `_quarto.yml` with a
sidebar of what is there. Nothing in the site points outside it but ordinary links: KaTeX comes
from `site/katex`.
"""
import argparse, base64, hashlib, io, os, re, shutil, subprocess, sys
from pathlib import Path
from urllib.parse import quote, unquote

import yaml
from execnb.nbio import read_nb
from nbdev.config import get_config
from PIL import Image

from instruments import wire
from notebooks import ROOT, in_workshop, lessons, module_of, numbered
from site_pages import page, title_of
from site_reference import grouped, reference
from site_results import Results, result_pages
from site_table import table_page
from standalone import colab, downloads


# What only Quarto reads: smalldocs does the same without being told
QUARTO = {
    "html-math-method": "katex", "respect-user-color-scheme": True,
    "columns": 1000,                    # else pandoc gives the columns of a wide table equal widths
    "grid": {"sidebar-width": "215px", "body-width": "860px", "margin-width": "175px",
             "gutter-width": "1.3rem"}} # 100 characters of code in a line


# ---- what is rendered

def present(entries, proc, say=True):
    "The entries of a sidebar or navbar whose page exists; a section to be filled later stays."
    kept = []
    for e in entries:
        if "contents" in e:
            inner = present(e["contents"], proc, say)
            if inner or not e["contents"]: kept.append({**e, "contents": inner})
        elif "://" in e["href"] or (proc/e["href"]).exists(): kept.append(e)
        elif say: print(f"left out of the sidebar, no such page: {e['href']}")
    return kept

def links_of(nb, repo, reference):
    "Markdown below a page's title: where its notebook is, its module's reference, whom to ask."
    runs = any(c.cell_type == "code" for c in read_nb(nb).cells)
    found = [f"[Notebook]({repo}/blob/main/nbs/{nb.name})",
             f'<a href="notebooks/{nb.name}" download>Download</a>',
             *([f"[Colab]({colab(nb, repo)})"] if runs else []),
             *([f"[Reference]({reference})"] if reference else []),
             f"[Questions]({repo}/issues?q={quote(f'in:title {title_of(nb)}')})",
             f"[Ask]({repo}/issues/new?title={quote(title_of(nb) + ': ')})"]
    return " · ".join(found)

def lesson_pages(proc, pages, config, modules, root):
    "Write the pages of the lessons, each with links to its notebook and its module's reference."
    repo = config["website"]["repo-url"]
    for nb in lessons(root):
        links = links_of(nb, repo, modules.get(module_of(nb)))
        page(nb, proc/nb.name, pages, links="" if nb.stem == "index" else links)

def folded(entries, names=("Workshop", "Reference"), under="In depth"):
    "The sidebar with sections that are skipped at first inside one of their own, where they fold."
    inner = [e for e in entries if e.get("section") in names]
    return [e for e in entries if e not in inner] + [{"section": under, "contents": inner}]

def listed(entries):
    "The pages that the entries of a sidebar name."
    return {h for e in entries for h in ([e["href"]] if "href" in e else listed(e["contents"]))}

def complete(entries, root=ROOT):
    "Put lessons that no entry names into the section Course or, with a letter, Workshop; in place."
    known = listed(entries)
    for nb in [nb for nb in numbered(root) if nb.name not in known]:
        name = "Workshop" if in_workshop(nb) else "Course"
        section = next(e["contents"] for e in entries if e.get("section") == name)
        section.append({"text": f"{nb.name.split('_')[0]} {title_of(nb)}", "href": nb.name})
        section.sort(key=lambda e: e["href"])

def navigation(config, proc, results, modules, root=ROOT):
    "Fill the sidebar, and leave out of it and the navbar what is not there."
    bar, top = config["website"]["sidebar"], config["website"]["navbar"]
    complete(bar["contents"], root)
    bar["contents"] = present(bar["contents"], proc)
    for side in top: top[side] = present(top[side], proc, say=False)
    for name, entries in [("Results", results), ("Reference", grouped(modules))]:
        section = next((e for e in bar["contents"] if e.get("section") == name), None)
        if section is None: bar["contents"].append({"section": name, "contents": entries})
        else: section["contents"] += entries
    bar["contents"] = folded(bar["contents"])

def prepare(proc, quarto=False, root=ROOT):
    "Fill the folder `proc` with what is to be rendered; warnings."
    shutil.rmtree(proc, ignore_errors=True)
    proc.mkdir(parents=True)
    get_config.cache_clear()
    config = yaml.safe_load((root/"_quarto.yml").read_text(encoding="utf-8"))
    config["smalldocs"]["api"]["root"] = str(root)
    config["project"]["resources"] = ["results/**/*.csv", "site/playground/*"]
    if quarto: config["format"]["html"] |= QUARTO
    def write():
        text = yaml.safe_dump(config, sort_keys=False)
        (proc/"_quarto.yml").write_text(text, encoding="utf-8")
    write()
    shutil.copytree(root/"site", proc/"site", ignore=shutil.ignore_patterns("katex", "*.j2"))
    for folder in (root/"nbs"/n for n in ("drawings", "instruments")):
        if folder.exists(): shutil.copytree(folder, proc/folder.name)
    pages = Results(root)
    pages.publish(proc)
    results = table_page(proc, pages) + result_pages(proc, pages)
    modules = reference(proc, config, root)
    config["smalldocs"] = {"linkify": True}   # the reference is there; names in prose link to it
    lesson_pages(proc, pages, config, modules, root)
    navigation(config, proc, results, modules, root)
    write()
    return [f"left over, listed by no report: {f.relative_to(root)}" for f in pages.left_over]


# ---- what was rendered

OUTSIDE = re.compile(r"""(?sx)
      @import \s* (?:url\(\s*)? ["']? https?://[^"')]* ["']? \s* \)? \s* ;?      # a font
    | <script [^>]*? \bsrc="https?://[^"]*" [^>]*> \s* </script>       # what pandas' tables want
    | <script [^>]*> \s* define\('jquery'.*? </script>                # ... and that it is there
    | <link [^>]*? \brel="(?:stylesheet|preconnect|preload)" [^>]*? \bhref="https?://[^"]*" [^>]*>
    """)

def inside(text, katex):
    "The text of a page or a style sheet, asking for nothing from outside; KaTeX is in `katex`."
    text = re.sub(r"https://[\w./-]+/katex@[\w.]+/dist", katex, text)
    return OUTSIDE.sub("", text)

MATHS = r'<span class="math inline">[^<]{,44}</span>'        # a longer one may have to break
MARKED = re.compile(rf"\({MATHS}[.,;:!?)]*|{MATHS}[.,;:!?)]+")

def kept(html):
    "A page whose short formulas keep the mark behind them, so that no line begins with a comma."
    return MARKED.sub(r'<span class="kept">\g<0></span>', html)

def offline(out, root=ROOT):
    "Serve KaTeX from inside the site, and no font or script from elsewhere."
    shutil.copytree(root/"site"/"katex", out/"site_libs"/"katex", dirs_exist_ok=True)
    for f in [*out.rglob("*.html"), *out.rglob("*.css")]:
        text = f.read_text(encoding="utf-8")
        new = inside(text, "../" * (len(f.relative_to(out).parts) - 1) + "site_libs/katex")
        if f.suffix == ".html": new = kept(new)
        if new != text: f.write_text(new, encoding="utf-8")

ACTIVE = re.compile(r'(<a class="nav-link) active" href="(?:\./)?([^"#]+)"'
                    r'(?: aria-current="page")?')

def here_only(html, name):
    """A page's HTML in whose navbar no other page is marked as this one. Quarto marks an entry that
    the sidebar has too on every page."""
    return ACTIVE.sub(lambda m: m[0] if m[2] == name else f'{m[1]}" href="{m[2]}"', html)

def marked(out):
    "Mark in the navbar the page itself, or nothing; in the folder of the site."
    for file in out.rglob("*.html"):
        html = file.read_text(encoding="utf-8")
        new = here_only(html, file.name if file.parent == out else "")
        if new != html: file.write_text(new, encoding="utf-8")

def size_of(data):
    "Width and height of a picture in pixels: of a file's path, or of its bytes."
    if getattr(data, "suffix", "") != ".svg": return Image.open(data).size
    head = data.read_text(encoding="utf-8").split(">", 1)[0]
    return re.search(r'\bwidth="(\d+)" height="(\d+)"', head).groups()

def sized(out):
    "Give pictures their size, so that text does not move when they come; files load when near."
    def new(m, folder):
        src = m[1]
        if src.startswith("data:image/svg") or "://" in src or " width=" in m[0]: return m[0]
        inside = src.startswith("data:")
        data = io.BytesIO(base64.b64decode(src.split(",", 1)[1])) if inside else folder/unquote(src)
        width, height = size_of(data)
        lazy = "" if inside else ' loading="lazy"'
        return m[0].replace("<img ", f'<img width="{width}" height="{height}"{lazy} ', 1)
    for file in out.rglob("*.html"):
        text, at = file.read_text(encoding="utf-8"), file.parent
        changed = re.sub(r'<img [^>]*?src="([^"]+)"[^>]*>', lambda m, at=at: new(m, at), text)
        if changed != text: file.write_text(changed, encoding="utf-8")

PICTURES = "site/pictures" # what notebooks hold, as files
INLINE = re.compile(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]{4000,})")

def of_few_colours(png, kind="PNG"):
    "A picture's bytes with 256 colours; None where it shines through."
    with Image.open(io.BytesIO(png)) as picture:
        if "A" in picture.mode and picture.getchannel("A").getextrema()[0] < 255: return None
        few, out = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE), io.BytesIO()
    few.save(out, kind, **({"optimize": True} if kind == "PNG" else {"lossless": True}))
    return out.getvalue()

def as_webp(png):
    """A picture's bytes as WebP: 256 colours, or as photographs are kept where that is much less,
    as in grids of street numbers. None where it shines through."""
    if not (few := of_few_colours(png, "WEBP")): return None
    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(out, "WEBP", quality=85)
    return out.getvalue() if len(out.getvalue()) < .7*len(few) else few

def light(out):
    """Give the figures of reports and lessons 256 colours: a third of the bytes, and hardly another
    look. Those inside a page become WebP files, a quarter less again, and without base64, which
    adds a third. The files of `results/` and the notebooks stay as they are."""
    for file in out.glob("results/*/figures/*.png"):
        few = of_few_colours(file.read_bytes())
        if few and len(few) < file.stat().st_size: file.write_bytes(few)
    def new(m, up):
        few = as_webp(base64.b64decode(m[1])) or b""
        if not 0 < len(few)*4/3 < len(m[1]): return m[0]
        name = f"{PICTURES}/{hashlib.sha256(few).hexdigest()[:16]}.webp"
        (out/PICTURES).mkdir(parents=True, exist_ok=True)
        (out/name).write_bytes(few)
        return up + name
    for file in out.rglob("*.html"):
        text, up = file.read_text(encoding="utf-8"), "../"*(len(file.relative_to(out).parts) - 1)
        changed = INLINE.sub(lambda m, up=up: new(m, up), text)
        if changed != text: file.write_text(changed, encoding="utf-8")

OLD_FONT = re.compile(r""",\s*url\(["'][^"')]*\.woff(\?[^"')]*)?["']\)\s*format\(["']woff["']\)""")

def newer_fonts(out):
    "Leave out fonts that a WOFF2 of the same name stands before: no browser asks for them."
    old = [f for f in out.glob("site_libs/**/*.woff") if f.with_suffix(".woff2").exists()]
    for f in old: f.unlink()
    for css in out.glob("site_libs/**/*.css") if old else ():
        css.write_text(OLD_FONT.sub("", css.read_text(encoding="utf-8")), encoding="utf-8")

def warned(said):
    "The warnings in what Quarto (`WARN: ...`, in colour) and pandoc (`[WARNING] ...`) said."
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    return [line for line in plain.splitlines() if re.match(r"\s*\[?WARN", line)]

def render(proc, quarto):
    "Render `proc`; the warnings."
    if not quarto:
        from smalldocs.site import build
        return build(proc, quiet=True).warnings
    r = subprocess.run([quarto, "render", str(proc)], stderr=subprocess.PIPE, text=True)
    if r.returncode: raise SystemExit(f"quarto render failed:\n{r.stderr[-4000:]}")
    return warned(r.stderr)

def build(out, proc, root=ROOT):
    "Build the site into `out` by way of `proc`; warnings."
    quarto = shutil.which("quarto")
    warnings = prepare(proc, bool(quarto), root) + render(proc, quarto)
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(proc/"_docs", out)
    offline(out, root)
    sized(out)
    light(out)
    newer_fonts(out)
    marked(out)
    wire(out, root)
    downloads(out/"notebooks", root)
    return warnings


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", type=Path, default=ROOT/"_docs",
                   help="where the site goes (default _docs)")
    p.add_argument("--proc", type=Path, default=ROOT/"_proc",
                   help="a folder for what is rendered (default _proc)")
    p.add_argument("--strict", action="store_true", help="exit 1 if there was a warning")
    args = p.parse_args(argv)
    out, proc = args.out.resolve(), args.proc.resolve()
    os.chdir(ROOT)   # where nbdev looks for settings.ini
    warnings = build(out, proc)
    for w in warnings: print(f"warning: {w}")
    print(f"{len(list(out.rglob('*.html')))} pages in {out}")
    return int(args.strict and bool(warnings))


if __name__ == "__main__": sys.exit(main())
