"""The instruments of the lessons: what lies in nbs/instruments (still pictures, and what was
measured for the talk's line), and their pages.

    python tools/instruments.py [--check]     --check: exit 1 if a file is not what is drawn

A lesson shows one by a block with the classes `instrument` and its name, and in it the still
picture for print and slides. `mmvae_nb/instruments.js` makes it move; a page without one does not
load it. The stills are drawn by the same script, in Chromium. In a notebook a cell after the block
shows it moving (`Instrument` of `mmvae_nb.plotting`); the site leaves that cell out.
"""
import argparse, json, re, shutil, subprocess, sys, tempfile
from pathlib import Path

from mmvae_nb.experiments.runs import on_shared_seeds
from mmvae_nb.experiments.table import METHODS, SCALES
from mmvae_nb.experiments.talk import metric_rows

from drawing_pen import style
from notebooks import ROOT

SCRIPT = "mmvae_nb/instruments.js"
ON_SITE = "site/instruments.js"
RECORDS = "talk-line.json"
USED = re.compile(r'class="[^"]*\binstrument\b')
TITLES = {"mnist": "MNIST", "svhn": "SVHN", "text": "Text"}
# What the still of each shows: the values of its controls
STILLS = {"elbo-hill": {}, "two-experts": {}, "kl-direction": {}, "jmvae-alpha": {},
          "one-rate": {}, "refine-path": {"t": 4}, "talk-line": {}}


# ---- what was measured

def line_data(root=ROOT, scale="long"):
    """The talk's line in nats below the best Gaussian, from the records of a scale's runs: a mean
    over the seeds that all its posteriors have. None if one of them was not run."""
    rows = metric_rows(root/"results"/scale)
    rows = rows[(rows.dataset == "mnist_svhn_text") & (rows.metric == "negative_elbo")]
    methods = ["jvae", "refined", "jmvae_student", "refined_student"]
    if not set(methods) <= set(rows.method): return None
    shared = on_shared_seeds(rows, *methods)
    level = shared.groupby(["method", "condition"]).value.mean().to_dict()
    joint, few = level["jvae", "all"], ("jvae", "all, the oracle's items")
    gap = level.get(few, joint) - level["jvae", "oracle"]   # on the items that have an oracle
    below = lambda method, c: round(level[method, c] - joint + gap, 2)
    steps = lambda n: sorted(int(c.split("=")[1]) for m, c in level
                             if m == "refined" and c.startswith(f"{n}, t="))
    each = lambda value: {TITLES[n]: value(n) for n in TITLES}
    return {"starts": list(TITLES.values()), "joint": round(gap, 2), "scale": scale,
            "seeds": sorted(map(int, shared.seed.unique())),
            "T": METHODS["refined_student"].options.get("steps", SCALES[scale].steps),
            "refined": each(lambda n: {t: below("refined", f"{n}, t={t}") for t in steps(n)}),
            "student": each(lambda n: below("refined_student", n)),
            "jstudent": each(lambda n: below("jmvae_student", n))}

def records(root=ROOT):
    "What instruments read from the records, as HTML: one element for each; empty without records."
    found = line_data(root)
    text = json.dumps(found, ensure_ascii=False).replace("</", "<\\/")
    return f'<script type="application/json" id="instrument-line">{text}</script>' if found else ""


# ---- pages

def wired(html, up, given):
    "A page's HTML with the script, and with the records `given` where it shows them."
    if not USED.search(html): return html
    data = given if re.search(r'class="[^"]*\btalk-line\b', html) else ""
    load = f'{data}<script src="{up}{ON_SITE}"></script>\n'
    head, end, rest = html.rpartition("</body>")
    return f"{head}{load}{end}{rest}"

def wire(out, root=ROOT):
    "Let the pages of the site at `out` that have an instrument load the script; the others don't."
    given = records(root)
    (out/"site").mkdir(exist_ok=True)
    shutil.copy(root/SCRIPT, out/ON_SITE)
    for file in out.rglob("*.html"):
        html = file.read_text(encoding="utf-8")
        new = wired(html, "../"*(len(file.relative_to(out).parts) - 1), given)
        if new != html: file.write_text(new, encoding="utf-8")


# ---- stills

PAGE = """<!DOCTYPE html><meta charset="utf-8"><body>{places}{given}<script>{script}</script>
<script>
for (const [name, state] of Object.entries({states})) instruments.live[name].set(state)
</script>"""
FILE = """<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}"
 role="img">
<style>{look}.dots{{stroke-dasharray:2 4}}.faint{{opacity:.4}}.thin{{opacity:.35}}</style>
<rect class="f-paper" width="{w}" height="{h}" rx="8"/>
{shapes}
</svg>
"""

def as_file(width, height, shapes):
    "A picture of a page as an SVG file of its own, a shape on a line."
    shapes = re.sub(r"></(?:path|circle|ellipse)>", "/>", shapes).replace("><", ">\n<")
    return FILE.format(w=width, h=height, look=style('class="f-paper"' + shapes), shapes=shapes)

def stills(chromium, root=ROOT):
    "File name -> SVG of each instrument's still picture, as Chromium draws it."
    places = "".join(f'<div class="instrument {n}"></div>' for n in STILLS)
    script = (root/SCRIPT).read_text(encoding="utf-8")
    page = PAGE.format(places=places, given=records(root), script=script, states=json.dumps(STILLS))
    with tempfile.TemporaryDirectory() as tmp:
        (Path(tmp)/"page.html").write_text(page, encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 f"--user-data-dir={tmp}/profile", "--dump-dom", f"file://{tmp}/page.html"]
        r = subprocess.run([chromium, *flags], capture_output=True, text=True, timeout=120)
    svg = r'<svg role="img"[^>]*viewBox="0 0 (\d+) (\d+)"[^>]*>(.*?)</svg>'
    drawn = re.findall(svg, r.stdout)
    if len(drawn) == len(STILLS): return {f"{n}.svg": as_file(*d) for n, d in zip(STILLS, drawn)}
    raise SystemExit(f"instruments: Chromium drew {len(drawn)} of {len(STILLS)}")


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check, folder = p.parse_args(argv).check, ROOT/"nbs"/"instruments"
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    chromium = next((path for path in found if path), None)
    if not chromium: raise SystemExit("instruments: Chromium draws the stills, and is not here")
    drawn = stills(chromium) | {RECORDS: json.dumps(line_data(), indent=1) + "\n"}
    saved = {f.name: f.read_text(encoding="utf-8") for f in folder.glob("*")}
    old = sorted(n for n in drawn | saved if drawn.get(n) != saved.get(n))
    for n in old:
        print(f"nbs/instruments/{n}: {'not what is drawn now' if check else 'written'}")
        if check: continue
        if n in drawn: (folder/n).write_text(drawn[n], encoding="utf-8")
        else: (folder/n).unlink()
    return int(check and bool(old))


if __name__ == "__main__": sys.exit(main())
