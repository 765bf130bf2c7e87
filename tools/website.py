"""Build the site: lessons, reports of the experiments, reference of the modules.

    python tools/website.py [--out _docs] [--strict]

Quarto renders it where installed, else smalldocs does. Notebooks are shown with their saved outputs;
nothing is run. What is rendered lies in `_proc/`: the notebooks without nbdev's directives, a page
for each report of each scale's committed results, and `_quarto.yml` with a sidebar of what is there.
Nothing in the site points outside it but ordinary links: KaTeX comes from `site/katex`.
"""
import argparse, ast, base64, csv, importlib, inspect, io, os, re, shutil, subprocess, sys, textwrap
from pathlib import Path
from urllib.parse import unquote

import yaml
from execnb.nbio import mk_cell, read_nb, write_nb
from nbdev.config import get_config
from nbdev.frontmatter import FrontmatterProc
from nbdev.process import Processor
from nbdev.processors import FilterDefaults
from PIL import Image

from notebooks import ROOT, experiments, lessons, source, tidy


# ---- notebooks

class FrontMatter(Processor):
    "The title of a notebook's first cell as front matter; its subtitle, which may hold maths, set large."
    def begin(self):
        for cell in self.nb.cells:
            if cell.cell_type != "markdown" or not cell.source.startswith("# "): continue
            m = re.match(r"# +(.+)\n*((?:>.*\n?)*)", cell.source)
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

HEAVY = 150_000   # bytes; a picture above this is tried as JPEG

def lighter(png):
    "The suffix and bytes to publish: photographs as JPEG; what gains little by it (charts) as it is."
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

def defined(code):
    "What a cell that exports and is shown defines at its top level."
    if not re.search(r"(?m)^#\| *exports\b", code): return []
    def name(n):
        if isinstance(n, (ast.ClassDef, ast.FunctionDef)): return n.name
        made = isinstance(n, ast.Assign) and getattr(getattr(n.value, "func", None), "id", None)
        return n.targets[0].id if made == "namedtuple" else "_"
    return [s for n in ast.parse(code).body if (s := name(n))[0] != "_"]

def definitions(root=ROOT):
    "For each exported symbol: the lesson that defines it, and the anchor of the cell."
    found = {}
    for path in lessons(root):
        for c in read_nb(path).cells:
            if c.cell_type != "code": continue
            names = defined(c.source)
            found.update({n: (path.name, f"def-{names[0]}") for n in names})
    return found

RESULT = re.compile(r"(!?)\[([^\]]*)\]\(\.\./results/(\w+)/(figures|tables)/([\w-]+)\.(png|csv)\)")

REPORT = re.compile(r"\[([^\]]*)\]\(experiments/(\w+)\.ipynb\)")

def to_results(text, pages):
    "Links to files of `results/` and to reports as links to where the site shows them; `pages` says where."
    def new(m):
        picture, said, scale, folder, stem, _ = m.groups()
        if picture: return f"![{said}]({pages.pictures[scale, stem]})" if (scale, stem) in pages.pictures else said
        where = pages.where.get((scale, folder, stem))
        return f"[{said}]({where}#{stem})" if where else said
    def report(m): return f"[{m[1]}]({pages.best[m[2]]})" if m[2] in pages.best else m[1]
    return REPORT.sub(report, RESULT.sub(new, text))

def page(path, target, pages=None, # `Results`, for links to results
         fold=False, # fold the code?
         links=""    # Markdown, to stand below the title and subtitle
        ):
    "Write the notebook at `path` to `target` without directives, hidden cells and progress bars."
    nb = read_nb(path)
    if links: nb.cells[0].source = re.sub(r"\A(# .+\n*(?:>.*\n?)*)", lambda m: f"{m[1]}\n::: {{.links}}\n{links}\n:::\n\n", nb.cells[0].source)
    for c in nb.cells:
        if c.cell_type == "code":
            c.outputs = tidy(c.get("outputs", []))
            lighten(c.outputs)
            if names := defined(c.source): c.source = f"#| label: def-{names[0]}\n{c.source}"
            if fold: c.source = f"#| code-fold: true\n{c.source}"
        elif pages: c.source = to_results(c.source, pages)
        for data in (o.get("data", {}) for o in c.get("outputs", [])):
            if pages and "text/markdown" in data:
                data["text/markdown"] = to_results(source({"source": data["text/markdown"]}), pages)
    Filters()(nb)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_nb(nb, target)


# ---- results

def short(text):
    "A number with four digits that count; anything else as it is."
    try: number = float(text)
    except ValueError: return text
    if number.is_integer(): return f"{number:.0f}"
    return text if len(text) < 6 else f"{number:.4g}" if abs(number) < 1e4 else f"{number:.0f}"

def md_table(path, rows=200):
    """The CSV file at `path` as a Markdown table, of its first rows if it is long.

    What is the same in every row is said once, below it; a column of numbers is set to the right; a long table scrolls.
    """
    head, *body = csv.reader(path.open(encoding="utf-8"))
    def text(c):
        c = short(c).replace("|", "\\|").replace("->", " → ")
        return c.replace(" ", "\u00a0") if len(c) < 24 else c   # what is short stays on one line
    columns = list(zip(*(map(text, row) for row in body)))
    number = lambda c: re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?%?|nan|inf|", c, re.I)
    same = [len(body) > 1 and len(set(c)) == 1 for c in columns]
    shown = [(h.replace("_", " "), "---:" if all(map(number, c)) else "---", *c[:rows]) for h, c, s in zip(head, columns, same) if not s]
    said = [f"{h.replace('_', ' ')} {c[0]}" for h, c, s in zip(head, columns, same) if s and c[0]]
    lines = ["| " + " | ".join(row) + " |" for row in zip(*shown)]
    if len(lines) > 30: lines = ["::: {.long}", "", *lines, "", ":::"]
    first = f", the first {rows} of {len(body)} rows" if len(body) > rows else ""
    return "\n".join([*lines, "", f"[{path.name}](tables/{path.name}){first}." + (f" In every row: {', '.join(said)}." if said else "")])

def size_of(scale):
    "The place of a scale, the largest first."
    order = ["paper", "real", "quick"]
    return order.index(scale) if scale in order else len(order)

class Results:
    "The committed results: which report shows which file, and where its page will be."
    def __init__(self, root=ROOT):
        self.where, self.pictures, self.reports = {}, {}, {}
        templates = []
        for nb in experiments(root):
            code = "\n".join(c.source for c in read_nb(nb).cells if c.cell_type == "code")
            for folder, name in re.findall(r"\{results\}/(figures|tables)/([^\"']+)\.(?:png|csv)", code):
                fixed = re.split(r"\{\w+\}", name)
                templates.append((len("".join(fixed)), folder, "[\\w-]+".join(map(re.escape, fixed)), nb.stem))
        templates.sort(reverse=True)   # the one with most fixed text first
        for file in sorted((root/"results").glob("*/*/*.*")):
            scale, folder, stem = file.parts[-3], file.parts[-2], file.stem
            if (folder, file.suffix) not in {("figures", ".png"), ("tables", ".csv")}: continue
            report = next((r for _, f, t, r in templates if f == folder and re.fullmatch(t, stem)), None)
            place = f"results/{scale}/{report}.ipynb" if report else f"results/{scale}/index.md"
            self.where[scale, folder, stem] = place
            self.reports.setdefault((scale, report), []).append(file)
        # Reports that were run, with or without files of their own; and for each the largest scale
        self.best = {r: f"results/{s}/{r}.ipynb" for s, r in sorted({*self.reports, *[k for found in run_reports(root) for k in found]}, key=lambda k: -size_of(k[0])) if r}

    def publish(self, file, proc):
        "Copy a figure to where pages show it from."
        scale = file.parts[-3]
        suffix, data = lighter(file.read_bytes())
        target = proc/"results"/scale/"figures"/f"{file.stem}.{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        self.pictures[scale, file.stem] = target.relative_to(proc).as_posix()

def figure(cell, path, stem, last):
    "Markdown for a figure with the alternative text of the cell that makes it and, if it is the cell's last one, the caption."
    def said(key): return (m := re.search(rf"(?m)^#\| *{key}: *\"?(.*?)\"?$", cell.source)) and m[1].replace('"', "'")
    alt = said("fig-alt") or stem.replace("_", " ")
    return f'![{(said("fig-cap") or alt) if last else ""}]({path}){{fig-alt="{alt}"}}'

def shows(cell, file):
    "Is this the cell that makes `file`? It names it, or calls a function with the slide's number."
    if f"/{file.name}" in cell.source: return True
    m = re.match(r"slide_(\d+)_", file.stem)
    return bool(m and re.search(rf"\(\s*{m[1]}\b", cell.source))

def joined(nb):
    "Make one of code cells that follow each other with nothing shown in between, in place."
    kept = []
    for c in nb.cells:
        before = kept[-1] if kept else None
        if before and before.cell_type == c.cell_type == "code" and not before.outputs and "#|" not in before.source:
            told = re.match(r"(?:#\|.*\n)*", c.source)[0]
            c.source = f"{told}{before.source.rstrip()}\n\n{c.source[len(told):]}"
            kept.pop()
        kept.append(c)
    nb.cells = kept

def report_page(nb_path, files, target, scale, pages, executed=None, kept=None):
    "A report: its executed copy where there is one, else what it printed or its text, with the committed tables and figures."
    nb = read_nb(executed or kept or nb_path)
    code, placed = [c for c in nb.cells if c.cell_type == "code"], {}
    said = "\n".join(c.source for c in code)
    files = sorted(files, key=lambda f: [said.find(word) for word in f.stem.split("_")])   # in the order the report names them
    for f in files: placed.setdefault(next((i for i, c in enumerate(code) if shows(c, f)), len(code) - 1), []).append(f)
    for i, c in enumerate(code):
        # An anchor for each file, and without outputs of its own the file itself
        for f in placed.get(i, []):
            anchor = f'<a id="{f.stem}"></a>'
            if executed or kept and f.suffix == ".csv": text = anchor
            elif f.suffix == ".csv": text = f"{anchor}\n\n{md_table(f)}"
            else: text = f"{anchor}\n\n" + figure(c, os.path.relpath(pages.pictures[scale, f.stem], f"results/{scale}"), f.stem, f == placed[i][-1])
            c.outputs.append({"output_type": "display_data", "metadata": {}, "data": {"text/markdown": text}})
    if not executed and not kept:
        note = ("::: {.callout-note}\nThis page shows the report's text with the tables and figures that are committed. "
                f"`make reproduce SCALE={scale}` runs it, and then the page shows all it prints.\n:::")
        nb.cells.insert(1, mk_cell(note, "markdown"))
    joined(nb)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_nb(nb, target)
    page(target, target, fold=True)

def publishable(scale, report):
    "May the pictures of an executed report be shown? Those made from photographs of people may not."
    from mmvae_nb.reproduce import DATASETS, SCALES
    private = {part for d in DATASETS.values() if d.private for part in d.parts}
    return report not in private or (scale in SCALES and SCALES[scale].source != "real")

def run_reports(root, scale="*"):
    "What is kept of reports that were run: executed copies, and those without pictures, as two dicts by (scale, name)."
    found = lambda pattern: {(p.parts[-3], p.stem.removesuffix("-report")): p for p in (root/"results").glob(f"{scale}/{pattern}")}
    executed = {k: p for k, p in found("executed/[!.]*-report.ipynb").items() if publishable(*k)}
    return executed, found("reports/[!.]*.ipynb")

def result_pages(proc, pages, root=ROOT):
    "Write the pages of `results/`; sidebar entries for them, one section a scale."
    sections = []
    order = {p.stem: i for i, p in enumerate(experiments(root))}
    for scale in sorted({s for s, _ in pages.reports}, key=size_of):
        executed, kept = ({r: p for (_, r), p in found.items()} for found in run_reports(root, scale))
        mine = {r: pages.reports.get((scale, r), []) for r in order
                if (scale, r) in pages.reports or r in executed or r in kept}
        entries = []
        for report, files in mine.items():
            report_page(root/"nbs"/"experiments"/f"{report}.ipynb", files, proc/"results"/scale/f"{report}.ipynb",
                        scale, pages, executed.get(report), kept.get(report))
            entries.append({"text": title_of(root/"nbs"/"experiments"/f"{report}.ipynb"), "href": f"results/{scale}/{report}.ipynb"})
        index = [f"---\ntitle: All tables and figures, scale {scale}\n---\n", "| file | shown in |", "|---|---|"]
        for report, files in mine.items():
            said = title_of(root/"nbs"/"experiments"/f"{report}.ipynb")
            index += [f"| `{f.parent.name}/{f.name}` | [{said}]({report}.ipynb#{f.stem}) |" for f in files]
        for f in pages.reports.get((scale, None), []):
            shown = md_table(f) if f.suffix == ".csv" else f"![{f.stem.replace('_', ' ')}](figures/{Path(pages.pictures[scale, f.stem]).name})"
            index += [f"\n## {f.stem.replace('_', ' ')} {{#{f.stem}}}\n", shown]
        (proc/"results"/scale/"index.md").write_text("\n".join(index), encoding="utf-8")
        entries.append({"text": "All tables and figures", "href": f"results/{scale}/index.md"})
        sections.append({"section": f"Scale {scale}", "contents": entries})
    return sections

def title_of(path):
    "The heading of a notebook."
    return next(m[1] for c in read_nb(path).cells if (m := re.match(r"# +(.+)", c.source)))


# ---- the project that is rendered

def present(entries, proc, say=True):
    "The entries of a sidebar or navbar whose page exists; a section that is to be filled later stays."
    kept = []
    for e in entries:
        if "contents" in e:
            inner = present(e["contents"], proc, say)
            if inner or not e["contents"]: kept.append({**e, "contents": inner})
        elif "://" in e["href"] or (proc/e["href"]).exists(): kept.append(e)
        elif say: print(f"left out of the sidebar, no such page: {e['href']}")
    return kept

def lean(text):
    "A page of the reference without what its signatures say already; long signatures on several lines."
    def table(m):
        rows = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in m[0].strip().splitlines()]
        body = [[n, "" if (kind, default) == ("None", "`None`") else kind, default, said] for n, kind, default, said in rows[2:]]
        if not any(said for *_, said in body): return ""
        keep = [i for i in range(4) if any(row[i] for row in body)]
        return "\n".join("| " + " | ".join(row[i] for i in keep) + " |" for row in [*rows[:2], *body]) + "\n"
    def signature(m):
        line = m[1].replace(" = ", "=")
        return "```python\n" + textwrap.fill(line, 92, subsequent_indent=" "*(line.find("(") + 1), break_long_words=False,
                                             break_on_hyphens=False) + "\n```"
    text = re.sub(r"(?m)^\| Parameter \|.*\n(?:\|.*\n?)+", table, text)
    return re.sub(r"```python\n(.+)\n```", signature, text)

def renamed(text, module):
    "The text with functions that were put into a class under another name called by it."
    for c in filter(inspect.isclass, vars(module).values()):
        for name, f in vars(c).items():
            if c.__module__ == module.__name__ and inspect.isfunction(f) and f.__name__ not in (name, "<lambda>"):
                text = text.replace(f.__name__, f"{c.__name__}.{name}")
    return text

def reference(proc, config, root=ROOT):
    "Write the pages of the reference, each symbol with a link to the lesson that defines it; the sidebar's entries."
    from smalldocs import api
    from smalldocs.config import load
    order = {p.stem[3:]: p for p in lessons(root)}   # 05_vae is the lesson of module vae
    first = {m: i for i, m in enumerate(order)}
    made, lesson = api.build_from_config(load(proc)), definitions(root)
    for path in made:
        def links(m):
            name, anchor = lesson.get(m[2], (None, None))
            more = f" · [lesson](../{name}#{anchor})" if name else ""
            return f"{m[1]}::: {{.source-links}}\n{m[3]}{more}\n:::"
        text = renamed(lean(path.read_text(encoding="utf-8")), importlib.import_module(f"mmvae_nb.{path.stem}"))
        text = re.sub(r"(?m)^(###? (?:class )?([\w.]+) \{.*\}\n\n)(\[source\]\([^)]*\)).*$", links, text)
        if path.stem in order:
            # A subtitle with maths is the page's description, where maths is not set
            said = f"The module of lesson [{title_of(order[path.stem])}](../{order[path.stem].name}).\n\n"
            text = re.sub(r"(?m)^## ", lambda m: said + m[0], text, count=1)
            text = re.sub(r"(?m)^description: .*$", lambda m: re.sub(r"\$([^$]+)\$", lambda t: t[1].replace("\\", ""), m[0]), text, count=1)
        path.write_text(text, encoding="utf-8")
    modules = sorted((p.stem for p in made), key=lambda m: first.get(m, 99))
    return [{"text": f"mmvae_nb.{m}", "href": f"api/{m}.qmd"} for m in modules]

def prepare(proc, quarto=False, root=ROOT):
    "Fill the folder `proc` with what is to be rendered."
    shutil.rmtree(proc, ignore_errors=True)
    proc.mkdir(parents=True)
    get_config.cache_clear()
    pages = Results(root)
    for file in sorted((root/"results").glob("*/figures/*.png")): pages.publish(file, proc)
    for file in sorted((root/"results").glob("*/tables/*.csv")):
        (proc/file.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, proc/file.relative_to(root))
    config = yaml.safe_load((root/"_quarto.yml").read_text(encoding="utf-8"))
    for nb in lessons(root):
        links = f"[Notebook]({config['website']['repo-url']}/blob/main/nbs/{nb.name})"
        if (root/"mmvae_nb"/f"{nb.stem[3:]}.py").exists(): links += f" · [Reference of `mmvae_nb.{nb.stem[3:]}`](api/{nb.stem[3:]}.qmd)"
        page(nb, proc/nb.name, pages, links="" if nb.stem == "index" else links)
    shutil.copytree(root/"site", proc/"site", ignore=shutil.ignore_patterns("katex"))
    config["smalldocs"]["api"]["root"] = str(root)
    config["project"]["resources"] = ["results/**/*.csv"]
    if quarto: config["format"]["html"]["html-math-method"] = "katex"
    def write(): (proc/"_quarto.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    write()
    results, modules = result_pages(proc, pages, root), reference(proc, config, root)
    config["smalldocs"] = {"linkify": True}   # the reference is there: not to be made again; names in prose link to it
    bar, top = config["website"]["sidebar"], config["website"]["navbar"]
    bar["contents"] = present(bar["contents"], proc)
    for side in top: top[side] = present(top[side], proc, say=False)
    for name, entries in [("Results", results), ("Reference", modules)]:   # where _quarto.yml has the section, else at the end
        section = next((e for e in bar["contents"] if e.get("section") == name), None)
        if section is None: bar["contents"].append({"section": name, "contents": entries})
        else: section["contents"] += entries
    write()

def offline(out, root=ROOT):
    "Serve KaTeX from inside the site, and no font from elsewhere."
    shutil.copytree(root/"site"/"katex", out/"site_libs"/"katex", dirs_exist_ok=True)
    for f in [*out.rglob("*.html"), *out.rglob("*.css")]:
        text = f.read_text(encoding="utf-8")
        here = "../" * (len(f.relative_to(out).parts) - 1) + "site_libs/katex"
        new = re.sub(r"https://[\w./-]+/katex@[\w.]+/dist", here, text)
        if f.suffix == ".css": new = re.sub(r"@import\s+url\([\"']?https?://[^)]*\)\s*;", "", new)
        if new != text: f.write_text(new, encoding="utf-8")

def sized(out):
    "Give pictures their size, so that text does not move when they come; those in files are loaded when they are near."
    def new(m, page):
        src = m[1]
        if src.startswith("data:image/svg") or "://" in src or " width=" in m[0]: return m[0]
        data = io.BytesIO(base64.b64decode(src.split(",", 1)[1])) if src.startswith("data:") else page.parent/unquote(src)
        width, height = Image.open(data).size
        lazy = "" if src.startswith("data:") else ' loading="lazy"'
        return m[0].replace("<img ", f'<img width="{width}" height="{height}"{lazy} ', 1)
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        changed = re.sub(r'<img [^>]*?src="([^"]+)"[^>]*>', lambda m: new(m, page), text)
        if changed != text: page.write_text(changed, encoding="utf-8")

def build(out, proc, root=ROOT):
    "Build the site into `out` by way of `proc`; what the renderer warned of."
    quarto = shutil.which("quarto")
    prepare(proc, bool(quarto), root)
    if quarto:
        r = subprocess.run([quarto, "render", str(proc)], stderr=subprocess.PIPE, text=True)
        if r.returncode: raise SystemExit(f"quarto render failed:\n{r.stderr[-4000:]}")
        warnings = [l for l in r.stderr.splitlines() if l.startswith("WARN")]
    else:
        from smalldocs.site import build as render
        warnings = render(proc, quiet=True).warnings
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(proc/"_docs", out)
    offline(out, root)
    sized(out)
    return warnings


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", type=Path, default=ROOT/"_docs", help="where the site goes (default _docs)")
    p.add_argument("--proc", type=Path, default=ROOT/"_proc", help="a folder for what is rendered (default _proc)")
    p.add_argument("--strict", action="store_true", help="exit 1 if the renderer warned of anything")
    args = p.parse_args(argv)
    out, proc = args.out.resolve(), args.proc.resolve()
    os.chdir(ROOT)   # where nbdev looks for settings.ini
    warnings = build(out, proc)
    for w in warnings: print(f"warning: {w}")
    print(f"{len(list(out.rglob('*.html')))} pages in {out}")
    return int(args.strict and bool(warnings))


if __name__ == "__main__": sys.exit(main())
