"""Build the site: lessons, reports of the experiments, reference of the modules.

    python tools/website.py [--out _docs] [--strict]

Quarto renders it where installed, else smalldocs does. Notebooks are shown with their saved outputs;
nothing is run. What is rendered lies in `_proc/`: the notebooks without nbdev's directives, a page
for each scale's committed results, and `_quarto.yml` with a sidebar of what is there.
"""
import argparse, csv, os, re, shutil, subprocess, sys, tarfile, tempfile
from pathlib import Path

import yaml
from execnb.nbio import mk_cell, read_nb, write_nb
from nbdev.config import get_config
from nbdev.frontmatter import FrontmatterProc
from nbdev.process import Processor
from nbdev.processors import FilterDefaults

from notebooks import ROOT, lessons, tidy


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

def page(path, target):
    "Write the notebook at `path` to `target` without directives, hidden cells and progress bars."
    nb = read_nb(path)
    for c in nb.cells:
        if c.cell_type == "code": c.outputs = tidy(c.get("outputs", []))
    Filters()(nb)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_nb(nb, target)


# ---- results

def md_table(path):
    "The CSV file at `path` as a Markdown table."
    rows = [[c.replace("|", "\\|") for c in row] for row in csv.reader(path.open(encoding="utf-8"))]
    if not rows: return ""
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)

def result_pages(proc, root=ROOT):
    "Write the pages of `results/`; sidebar entries for them, one section a scale."
    sections = []
    for scale in sorted(p for p in (root/"results").glob("*") if p.is_dir()):
        to, entries = proc/"results"/scale.name, []
        tables, figures = sorted(scale.glob("tables/*.csv")), sorted(scale.glob("figures/*.png"))
        if tables or figures:
            (to/"figures").mkdir(parents=True)
            text = [f"---\ntitle: Tables and figures, scale {scale.name}\n---\n"]
            for t in tables: text += [f"## {t.stem.replace('_', ' ')}\n", md_table(t) + "\n"]
            for f in figures:
                shutil.copy(f, to/"figures")
                text += [f"## {f.stem.replace('_', ' ')}\n", f"![{f.stem}](figures/{f.name})\n"]
            (to/"index.md").write_text("\n".join(text), encoding="utf-8")
            entries.append({"text": "Tables and figures", "href": f"results/{scale.name}/index.md"})
        for nb in sorted(scale.glob("executed/*.ipynb")):
            if nb.name.startswith(".") or re.search(r"(train|evaluate|judges|failed)$", nb.stem): continue   # unfinished, or of one model
            page(nb, to/nb.name)
            name = nb.stem.removesuffix("-report").replace("_", " ")
            entries.append({"text": name, "href": f"results/{scale.name}/{nb.name}"})
        if entries: sections.append({"section": f"Results: {scale.name}", "contents": entries})
    return sections


# ---- the project that is rendered

def present(entries, proc):
    "The sidebar entries whose page exists."
    kept = []
    for e in entries:
        if "contents" in e: e = {**e, "contents": present(e["contents"], proc)}
        if e.get("contents") or ("href" in e and (proc/e["href"]).exists()): kept.append(e)
        elif "href" in e: print(f"left out of the sidebar, no such page: {e['href']}")
    return kept

def prepare(proc, quarto=False, root=ROOT):
    "Fill the folder `proc` with what is to be rendered."
    shutil.rmtree(proc, ignore_errors=True)
    proc.mkdir(parents=True)
    get_config.cache_clear()
    for nb in lessons(root): page(nb, proc/nb.name)
    config = yaml.safe_load((root/"_quarto.yml").read_text(encoding="utf-8"))
    config["smalldocs"]["api"]["root"] = str(root)
    if quarto: config["format"]["html"]["html-math-method"] = "katex"
    (proc/"_quarto.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    from smalldocs import api
    from smalldocs.config import load
    order = {p.stem[3:]: i for i, p in enumerate(lessons(root))}   # 05_vae is the lesson of module vae
    modules = sorted((p.stem for p in api.build_from_config(load(proc))), key=lambda m: order.get(m, 99))
    bar = config["website"]["sidebar"]
    bar["contents"] = present(bar["contents"], proc) + result_pages(proc, root) + [
        {"section": "Reference",
         "contents": [{"text": f"mmvae_nb.{m}", "href": f"api/{m}.qmd"} for m in modules]}]
    (proc/"_quarto.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

def katex(out, cache):
    "Serve KaTeX from inside the site, if npm can fetch it; else its pages go on linking to a CDN."
    from smalldocs.layout import KATEX   # where its pages look for KaTeX
    version = re.search(r"katex@([\w.]+)", KATEX)[1]
    tgz = cache/f"katex-{version}.tgz"
    if not tgz.exists():
        npm = shutil.which("npm")
        if not npm: return print("npm is not installed: maths is shown with KaTeX from a CDN")
        with tempfile.TemporaryDirectory() as tmp:
            try: subprocess.run([npm, "pack", f"katex@{version}", "--silent"], cwd=tmp, check=True,
                                capture_output=True, timeout=120)
            except (subprocess.SubprocessError, OSError):
                return print("npm can't fetch KaTeX: maths is shown with KaTeX from a CDN")
            cache.mkdir(parents=True, exist_ok=True)
            shutil.move(f"{tmp}/{tgz.name}", tgz)
    wanted = re.compile(r"package/(dist/(?:katex\.min\.(?:css|js)|contrib/auto-render\.min\.js"
                        r"|fonts/[\w-]+\.woff2)|LICENSE)")
    with tarfile.open(tgz) as tar:
        for member in tar.getmembers():
            m = wanted.fullmatch(member.name)
            if not m: continue
            target = out/"site_libs"/"katex"/m[1].removeprefix("dist/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(tar.extractfile(member).read())
    for f in out.rglob("*.html"):
        text = f.read_text(encoding="utf-8")
        here = "../" * (len(f.relative_to(out).parts) - 1) + "site_libs/katex"
        new = re.sub(r"https://[\w./-]+/katex@[\w.]+/dist", here, text)
        if new != text: f.write_text(new, encoding="utf-8")

def build(out, proc, root=ROOT):
    "Build the site into `out` by way of `proc`; what the renderer warned of."
    quarto = shutil.which("quarto")
    prepare(proc, bool(quarto), root)
    if quarto:
        subprocess.run([quarto, "render", str(proc)], check=True)
        warnings = []
    else:
        from smalldocs.site import build as render
        warnings = render(proc, quiet=True).warnings
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(proc/"_docs", out)
    katex(out, Path(os.environ.get("MMVAE_CACHE") or root/"_cache"))
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
