"What the tests of the house, the site and the class share: where things are, and how to read them."
import json, os, re, subprocess, sys

import nbformat

import notebooks as nbs

ROOT = nbs.ROOT
LESSONS, NUMBERED, EXPERIMENTS = nbs.lessons(), nbs.numbered(), nbs.experiments()
COURSE = [p for p in NUMBERED if not nbs.in_workshop(p)]
MIRRORS = sorted((ROOT/"nbs"/"_py").rglob("*.py"))
PACKAGE = sorted(p for p in (ROOT/"mmvae_nb").rglob("*.py") if not p.name.startswith("_"))
TOOLS = sorted((ROOT/"tools").glob("*.py"))

def text(name): return (ROOT/name).read_text(encoding="utf-8")

def read(path): return nbformat.read(path, as_version=4)

def cells(path, kind="code"):
    "The cells of a notebook of one kind."
    return [c for c in read(path).cells if c.cell_type == kind]

def outputs(path):
    "The outputs of a notebook's cells, one after the other."
    return [o for c in cells(path) for o in c.get("outputs", [])]

def markdown(output): return "".join(output.get("data", {}).get("text/markdown", ""))

def said_by(path):
    "The Markdown of a notebook: its prose, and the Markdown its cells put out."
    return "\n".join([c.source for c in cells(path, "markdown")] + list(map(markdown, outputs(path))))

def make(*args, cwd=ROOT):
    "Run make as a user would, not as a part of another make."
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(["make", *args], cwd=cwd, capture_output=True, text=True, env=env)

def python(*args, **kwargs):
    "Run this Python with some arguments."
    return subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True, **kwargs)

def notebook(path, *sources):
    "Write a notebook of code cells, and of Markdown cells where a source begins with a heading."
    v4 = nbformat.v4
    new = lambda s: v4.new_markdown_cell(s) if s.startswith("# ") else v4.new_code_cell(s)
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(v4.new_notebook(cells=list(map(new, sources)), metadata=kernel), path)
    return path

def edit(path, old, new):
    before = path.read_text(encoding="utf-8")
    assert old in before
    path.write_text(before.replace(old, new), encoding="utf-8")

def as_json(path): return json.loads(path.read_text(encoding="utf-8"))

def targets():
    "The targets of the Makefile."
    return set(re.search(r"^\.PHONY: (.*)$", text("Makefile"), re.M)[1].split())
