"""The committed results as pages: one for each report of a scale, and one that lists its files.

Which report a figure or a table belongs to is what `mmvae_nb.experiments.table.REPORTS` says.
"""
import ast, csv, os, re
from pathlib import Path

from execnb.nbio import mk_cell, read_nb, write_nb
from mmvae_nb.experiments.table import REPORTS, SCALES, may_publish
from mmvae_nb.experiments.tuning import TUNING

from notebooks import ROOT
from site_pages import lighter, page, title_of

KINDS = {"figures": ".png", "tables": ".csv"}
BESIDE = {"bench", "missing"} # folders of `results/` that are no scale: pages of their own
WHOLE = {"talk"}   # tables of no one report: shown in a scale's list of files
LINK = re.compile(r"(!?)\[([^\]]*)\]\(\.\./results/(\w+)/(figures|tables)/([\w-]+)\.(?:png|csv)\)"
                  r"(\{[^}]*\})?")
REPORT = re.compile(r"\[([^\]]*)\]\(experiments/(\w+)\.ipynb\)")


# ---- who shows what

def by_size(scales):
    "Scales, the largest first; one that the table of scales does not know comes last."
    order = list(SCALES)[::-1]
    return sorted(scales, key=lambda s: (order.index(s) if s in order else len(order), s))

def public(scale, report):
    "May the pictures of a `Report` at a scale be shown? A scale that is not known counts as real."
    return may_publish(report.dataset, source_of(scale))

def source_of(scale): return SCALES[scale].source if scale in SCALES else "real"

def anchor(file):
    "The place of a file on its page: a figure and a table may have the same name."
    return f"{file.parent.name[:-1]}-{file.stem}"

class Results:
    "The committed results: which page shows which file."
    def __init__(self, root=ROOT,
                 reports=None # name -> `Report`; default the ledger, and the search's
                ):
        self.reports = {**REPORTS, "tuning": TUNING} if reports is None else reports
        self.root = root
        self.pictures = {}                       # (scale, stem) -> path of a picture on the site
        self.shown, self.left_over = {}, []      # scale -> {report: [files]}; files of no report
        found = {p.name for p in (root/"results").glob("*") if p.is_dir()}
        for scale in by_size(found - BESIDE): self.shown[scale] = self.of_scale(scale)

    def of_scale(self, scale):
        "Report -> its files, in the ledger's order; under None what belongs to the whole scale."
        folder, found, known = self.root/"results"/scale, {}, set()
        for name, report in self.reports.items():
            listed = [folder/kind/f"{stem}{suffix}" for kind, suffix in KINDS.items()
                      for stem in getattr(report, kind)]
            shown = public(scale, report)
            files = [f for f in listed if f.exists() and (shown or f.suffix == ".csv")]
            known |= set(files)
            ran = name in self.executed(scale) or name in self.kept(scale)
            if (files or ran) and not self.superseded(scale, name): found[name] = files
        there = [f for kind, suffix in KINDS.items() for f in (folder/kind).glob(f"*{suffix}")]
        rest = sorted(f for f in there if f not in known)
        found[None] = [f for f in rest if f.suffix == ".csv" and f.stem in WHOLE]
        self.left_over += [f for f in rest if f not in found[None]]
        return found

    def superseded(self, scale, name):
        "Is a report shown at a larger scale, on the same kind of data? The site shows the largest."
        return any(name in found and source_of(s) == source_of(scale)
                   for s, found in self.shown.items())

    def executed(self, scale):
        "Executed reports of a scale that may be shown, by name."
        found = (self.root/"results"/scale/"executed").glob("[!.]*-report.ipynb")
        names = {p.stem.removesuffix("-report"): p for p in found}
        known = self.reports
        return {n: p for n, p in names.items() if n in known and public(scale, known[n])}

    def kept(self, scale):
        "Executed reports of a scale without their pictures, by name."
        return {p.stem: p for p in (self.root/"results"/scale/"reports").glob("[!.]*.ipynb")}

    def where(self, scale, kind, stem):
        "The page that shows a file, or None."
        for report, files in self.shown.get(scale, {}).items():
            if any((f.parent.name, f.stem) == (kind, stem) for f in files):
                return f"results/{scale}/{report or 'index'}" + (".ipynb" if report else ".md")

    def best(self, report):
        "The page of a report at the largest scale that has one, or None."
        scale = next((s for s, found in self.shown.items() if report in found), None)
        return scale and f"results/{scale}/{report}.ipynb"

    def publish(self, proc):
        "Copy pictures and tables to where pages show them from."
        for files in (f for found in self.shown.values() for f in found.values()):
            for file in files:
                suffix, data = file.suffix[1:], file.read_bytes()
                if suffix == "png": suffix, data = lighter(data)
                target = (proc/file.relative_to(self.root)).with_suffix(f".{suffix}")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                if suffix != "csv":
                    scale = file.parts[-3]
                    self.pictures[scale, file.stem] = target.relative_to(proc).as_posix()

    def to_results(self, text):
        "Links to files of `results/` and to reports as links to where the site shows them."
        def new(m):
            picture, said, scale, kind, stem, attributes = m.groups()
            if picture:
                there, plain = self.pictures.get((scale, stem)), said.replace('"', "'")
                told = attributes or f'{{fig-alt="{plain}"}}'      # Quarto takes no alt from here
                return f"![{said}]({there}){told}" if there else said
            there = self.where(scale, kind, stem)
            return f"[{said}]({there}#{kind[:-1]}-{stem})" if there else said
        def report(m): return f"[{m[1]}]({there})" if (there := self.best(m[2])) else m[1]
        return REPORT.sub(report, LINK.sub(new, text))


# ---- tables and figures

def short(text):
    "A number with four digits that count; anything else as it is."
    try: number = float(text)
    except ValueError: return text
    if number.is_integer(): return f"{number:.0f}"
    return text if len(text) < 6 else f"{number:.4g}" if abs(number) < 1e4 else f"{number:.0f}"

def cell_text(text):
    "A table's cell in Markdown; what is short stays on one line."
    text = short(text).replace("|", "\\|").replace("->", " → ")
    return text.replace(" ", "\u00a0") if len(text) < 24 else text

def md_table(path, rows=200):
    """The CSV file at `path` as a Markdown table, of its first rows if it is long.

    What is the same in every row is said once, below it; a column of numbers is set to the right;
    a long table scrolls.
    """
    with path.open(encoding="utf-8") as f: head, *body = csv.reader(f)
    head = [h.replace("_", " ") for h in head]
    columns = list(zip(*(map(cell_text, row) for row in body)))
    number = lambda c: re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?%?|nan|inf|", c, re.I)
    same = [len(body) > 1 and len(set(c)) == 1 for c in columns]
    shown = [(h, "---:" if all(map(number, c)) else "---", *c[:rows])
             for h, c, s in zip(head, columns, same) if not s]
    said = [f"{h} {c[0]}" for h, c, s in zip(head, columns, same) if s and c[0]]
    lines = ["| " + " | ".join(row) + " |" for row in zip(*shown)]
    if len(lines) > 30: lines = ["::: {.long}", "", *lines, "", ":::"]
    first = f", the first {rows} of {len(body)} rows" if len(body) > rows else ""
    always = f" In every row: {', '.join(said)}." if said else ""
    return "\n".join([*lines, "", f"[{path.name}](tables/{path.name}){first}.{always}"])

def figure(cell, path, stem, last):
    "Markdown for a figure, described as its cell does; the cell's last one has the caption."
    def said(key):
        m = re.search(rf"(?m)^#\| *{key}: *\"?(.*?)\"?$", cell.source)
        return m and m[1].replace('"', "'")
    alt = said("fig-alt") or stem.replace("_", " ")
    return f'![{(said("fig-cap") or alt) if last else ""}]({path}){{fig-alt="{alt}"}}'


def captionless(code):
    "Code without the caption of its figure, which stands below the figure itself."
    return re.sub(r"(?m)^#\| *fig-(?:cap|alt):.*\n?", "", code)


# ---- the page of a report

def strings(call):
    "The names in a call's arguments: (place of the argument, end of a string in it)."
    for i, a in enumerate(call.args):
        for value in (n.value for n in ast.walk(a) if isinstance(n, ast.Constant)):
            if isinstance(value, str): yield i, value.split("/")[-1]

def makes(cell):
    "What a report's cell makes: names of files, and numbers of slides that it hands to a function."
    names, slides = set(), set()
    for call in (n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Call)):
        table = getattr(call.func, "attr", "") == "table"
        first = call.args[0] if call.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, int): slides.add(first.value)
        for i, name in strings(call):
            if name.endswith((".csv", ".png")): names.add(name)
            elif i: names.add(name + (".csv" if table else ".png"))   # report.save(figure, name)
    return names, slides

def placed(code, files):
    "Number of a code cell -> the files to show after it: where they are made, else at the end."
    made, found = [makes(c) for c in code], {}
    def place(file):
        slide = (m := re.match(r"slide_(\d+)_", file.stem)) and int(m[1])
        return next((i for i, (names, slides) in enumerate(made)
                     if file.name in names or slide in slides), len(code) - 1)
    for f in files: found.setdefault(place(f), []).append(f)
    return found

def markdown(text):
    return {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": text}}

def joined(nb):
    "Make one of code cells that follow each other with nothing shown in between, in place."
    kept = []
    for c in nb.cells:
        before = kept[-1] if kept else None
        silent = before and not before.get("outputs") and "#|" not in before.source
        if silent and before.cell_type == c.cell_type == "code":
            told = re.match(r"(?:#\|.*\n)*", c.source)[0]
            c.source = f"{told}{before.source.rstrip()}\n\n{c.source[len(told):]}"
            kept.pop()
        kept.append(c)
    nb.cells = kept

NOT_RUN = """::: {{.callout-note}}
This page shows the report's text with the tables and figures that are committed.
`make reproduce SCALE={scale}` runs it, and then the page shows all it prints.
:::"""

class ReportPage:
    "A report: its executed copy where there is one, else what it printed or its text; its files."
    def __init__(self, pages, scale, report):
        self.pages, self.scale, self.report = pages, scale, report
        notebook = pages.reports[report].notebook          # a name, or a path of somebody's own
        self.source = pages.root/"nbs"/"experiments"/Path(notebook).with_suffix(".ipynb")
        self.executed = pages.executed(scale).get(report)
        self.kept = pages.kept(scale).get(report)
        self.files = pages.shown[scale][report]

    def shows(self, cell, file, last):
        "Markdown after a cell that makes `file`: its anchor, and the file where no output has it."
        place = f'<a id="{anchor(file)}"></a>'
        if self.executed or self.kept and file.suffix == ".csv": return place
        if file.suffix == ".csv": return f"{place}\n\n{md_table(file)}"
        path = os.path.relpath(self.pages.pictures[self.scale, file.stem], f"results/{self.scale}")
        return f"{place}\n\n{figure(cell, path, file.stem, last)}"

    def write(self, proc):
        "Write the page; its entry in the sidebar."
        nb = read_nb(self.executed or self.kept or self.source)
        code = [c for c in nb.cells if c.cell_type == "code"]
        for i, files in placed(code, self.files).items():
            code[i].outputs += [markdown(self.shows(code[i], f, f == files[-1])) for f in files]
            if not self.executed: code[i].source = captionless(code[i].source)
        if not self.executed and not self.kept:
            nb.cells.insert(1, mk_cell(NOT_RUN.format(scale=self.scale), "markdown"))
        joined(nb)
        href = f"results/{self.scale}/{self.report}.ipynb"
        (proc/href).parent.mkdir(parents=True, exist_ok=True)
        write_nb(nb, proc/href)
        page(proc/href, proc/href, fold=True)
        return {"text": title_of(self.source), "href": href}


# ---- all pages

def list_of_files(pages, scale):
    "The page that lists a scale's files, and shows those that belong to no one report."
    lines = [f"---\ntitle: All tables and figures, scale {scale}\n---\n",
             "| file | shown in |", "|---|---|"]
    for report, files in pages.shown[scale].items():
        if report is None: continue
        said = title_of(ReportPage(pages, scale, report).source)
        lines += [f"| `{f.parent.name}/{f.name}` | [{said}]({report}.ipynb#{anchor(f)}) |"
                  for f in files]
    for f in pages.shown[scale][None]:
        lines += [f"\n## {f.stem.replace('_', ' ')} {{#{anchor(f)}}}\n", md_table(f)]
    return "\n".join(lines)

def result_pages(proc, pages):
    "Write the pages of `results/`; sidebar entries for them, one section a scale."
    sections = []
    for scale, shown in pages.shown.items():
        if shown == {None: []}: continue             # records only, for the reports of another
        entries = [ReportPage(pages, scale, r).write(proc) for r in shown if r is not None]
        listing = Path("results")/scale/"index.md"
        (proc/listing).parent.mkdir(parents=True, exist_ok=True)
        (proc/listing).write_text(list_of_files(pages, scale), encoding="utf-8")
        entries.append({"text": "All tables and figures", "href": listing.as_posix()})
        sections.append({"section": f"Scale {scale}", "contents": entries})
    return sections
