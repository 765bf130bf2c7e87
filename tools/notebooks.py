"""Keep notebooks, their text mirrors, the exported modules and the saved outputs in step.

    python tools/notebooks.py sync               after an edit of a notebook or its mirror
    python tools/notebooks.py execute [PATH ..]  run lessons top to bottom and save their outputs
    python tools/notebooks.py check              a line for each thing out of step; exit code 1
"""
import argparse, contextlib, hashlib, io, json, os, re, shutil, subprocess, sys
import tempfile, time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNEL = {"display_name": "python3", "language": "python", "name": "python3"}
STAMP = "outputs_of"  # the key in a notebook's metadata; named in settings.ini too


# ---- what there is

def lessons(root=ROOT):
    "The notebooks whose outputs are saved: the home page and the lessons, in order."
    return sorted((root/"nbs").glob("*.ipynb"))

def numbered(root=ROOT):
    "The lessons proper, course and workshop: those with a number."
    return [p for p in lessons(root) if p.stem[:2].isdigit()]

def in_workshop(path):
    "Is this lesson one of apparatus, skipped at first? 00 and those with a letter."
    return bool(re.match(r"00_|\d\d[a-z]_", path.stem))

def module_of(path):
    "The dotted module that a notebook exports to (`vae`, `datasets.digits`), or None."
    code = "\n".join(source(c) for c in read(path)["cells"] if c["cell_type"] == "code")
    return (m := re.search(r"(?m)^#\| *default_exp +([\w.]+)", code)) and m[1]

def experiments(root=ROOT):
    "The notebooks that papermill runs with parameters; they are saved without outputs."
    return sorted((root/"nbs"/"experiments").glob("*.ipynb"))

def mirror(path, root=ROOT):
    "The text mirror of the notebook at `path`: nbs/a/b.ipynb is mirrored in nbs/_py/a/b.py."
    return root/"nbs"/"_py"/path.relative_to(root/"nbs").with_suffix(".py")

def orphans(root=ROOT):
    "Mirrors without a notebook."
    known = {mirror(p, root) for p in lessons(root) + experiments(root)}
    return [p for p in sorted((root/"nbs"/"_py").rglob("*.py")) if p not in known]

def source(cell):
    "The text of a cell of a notebook read as JSON."
    s = cell["source"]
    return s if isinstance(s, str) else "".join(s)

def code_digest(nb):
    "A checksum of a notebook's code cells, in order; prose and what is never run do not count."
    code = [source(c) for c in nb["cells"]
            if c["cell_type"] == "code" and source(c).strip() and not skipped(source(c))]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]

def read(path): return json.loads(path.read_text(encoding="utf-8"))


# ---- the tools we call

def jupytext(*args):
    "Run jupytext in this process; its output as text."
    from jupytext.cli import jupytext as run
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(out): run([str(a) for a in args])
    return out.buffer.getvalue().decode("utf-8")

def as_text(path):
    "The mirror that the notebook at `path` should have."
    return jupytext("--to", "py:percent", "-o", "-", path)

def nbdev(command, folder):
    "Run `nbdev_export` or `nbdev_clean` in `folder`."
    module = {"nbdev_export": "nbdev.doclinks", "nbdev_clean": "nbdev.clean"}[command]
    code = f"from {module} import {command}; {command}()"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)

def clean(path, root=ROOT):
    "What `nbdev_clean` does, for one notebook, without making it look newer than its mirror."
    from execnb.nbio import read_nb, write_nb
    from nbdev.clean import clean_nb
    from nbdev.config import get_config
    cfg, times, nb = get_config(path=root), path.stat(), read_nb(path)
    clean_nb(nb, cfg.clear_all, cfg.get("allowed_metadata_keys").split(),
             cfg.get("allowed_cell_metadata_keys").split(), cfg.clean_ids)
    nb["metadata"].setdefault("kernelspec", KERNEL)   # one made from its mirror lacks it
    write_nb(nb, path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


# ---- sync

def sync(root=ROOT):
    "Bring notebooks and mirrors in step (the newer of the two wins), export, clean."
    for nb in lessons(root) + experiments(root):
        twin = mirror(nb, root)
        jupytext("--quiet", "--sync", twin if twin.exists() else nb)
    for twin in orphans(root): jupytext("--quiet", "--sync", twin)
    nbdev("nbdev_export", root)
    for path in lessons(root) + experiments(root):
        clean(path, root)
        # Once more, now that jupytext's notes on blank lines are gone from the notebook
        text, twin = as_text(path), mirror(path, root)
        if twin.read_text(encoding="utf-8") != text: twin.write_text(text, encoding="utf-8")


# ---- execute

DIRECTIVE = re.compile(r"^\s*#\|\s*([\w-]+)\s*(:\s*\S+)?", re.M)

def skipped(code, flags=frozenset()):
    "Is a cell of this code one that is not run: `#| eval: false`, or marked by one of `flags`?"
    found = {k: (v or "").strip(": ").lower() for k, v in DIRECTIVE.findall(code)}
    return found.get("eval") == "false" or bool(flags & set(found))

def tidy(outputs):
    "Leave out of outputs what is of no use to a reader: stderr, progress bars, their traces."
    kept = []
    for o in outputs:
        if o["output_type"] == "stream":
            if o["name"] == "stderr": continue
            o["text"] = re.sub(r"[^\n]*\r(?!\n)", "", "".join(o["text"]))
            if not o["text"].strip(): continue
        if "application/vnd.jupyter.widget-view+json" in o.get("data", {}): continue
        kept.append(o)
    return kept

def runner(nb, folder, timeout, flags):
    "A client that runs `nb` in `folder` but for the cells that `flags` name."
    from nbclient import NotebookClient

    class Runner(NotebookClient):
        async def async_execute_cell(self, cell, cell_index, **kwargs):
            if cell.cell_type == "code" and skipped(cell.source, set(flags)):
                cell.outputs = []
                return cell
            return await super().async_execute_cell(cell, cell_index, **kwargs)

    return Runner(nb, timeout=timeout, kernel_name="python3", record_timing=False,
                  coalesce_streams=True, extra_arguments=["--IPKernelApp.log_level=40"],
                  resources={"metadata": {"path": str(folder)}})

def execute(path, timeout=900, flags=("slow", "cuda"), root=ROOT):
    "Run one notebook in a fresh kernel and save its outputs; the seconds it took."
    import nbformat
    path, start = Path(path).resolve(), time.time()
    twin = mirror(path, root)
    if twin.exists() and twin.read_text(encoding="utf-8") != as_text(path):
        raise RuntimeError("differs from its mirror: run `make export` first")
    nb = nbformat.read(path, as_version=4)
    runner(nb, path.parent, timeout, flags).execute()
    for c in nb.cells:
        if c.cell_type == "code": c.outputs = tidy(c.outputs)
    nb.metadata[STAMP] = code_digest(nb)
    nb.metadata.pop("widgets", None)
    part = path.with_name(f".{path.name}.part")
    nbformat.write(nb, part)
    clean(part, root)
    os.replace(part, path)
    if twin.exists(): os.utime(twin)   # the mirror stays the newer, so edits of it count
    return time.time() - start

def execute_all(paths, jobs=2, timeout=900, slow=False):
    "Run notebooks, `jobs` at a time, in order; the number that failed."
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
    os.environ.pop("MPLBACKEND", None)         # "agg" would leave every figure out, without a word
    if jobs > 1: os.environ.setdefault("OMP_NUM_THREADS", "1")
    flags = ("cuda",) if slow else ("slow", "cuda")
    failed, start = 0, time.time()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        todo = {pool.submit(execute, p, timeout, flags): p for p in paths}
        for done in as_completed(todo):
            name = todo[done].name
            try: print(f"{name}: {done.result():.0f} s", flush=True)
            except Exception as e:
                failed += 1
                text = re.sub(r"\x1b\[[0-9;]*m", "", str(e)).strip()
                print(f"{name}: FAILED\n{text}", file=sys.stderr, flush=True)
    print(f"{len(paths)} notebooks in {time.time() - start:.0f} s, {failed} failed")
    return failed


# ---- check

def check_outputs(root=ROOT):
    "Lessons: saved outputs are those of the saved code. Experiments: no outputs."
    for p in lessons(root):
        nb, name = read(p), p.relative_to(root)
        code = [c for c in nb["cells"] if c["cell_type"] == "code"]
        stamp = nb["metadata"].get(STAMP)
        if not code: continue
        if stamp is None: yield f"{name}: not executed yet; run `make execute NB={name}`"
        elif stamp != code_digest(nb):
            yield f"{name}: the saved outputs are of other code; run `make execute NB={name}`"
        for o in (o for c in code for o in c["outputs"]):
            if o["output_type"] == "error": yield f"{name}: a saved cell ends in {o['ename']}"
        if any(c["outputs"] for c in code if skipped(source(c))):
            yield f"{name}: a cell that is not run has an output; run `make execute NB={name}`"
    for p in experiments(root):
        if any(c.get("outputs") for c in read(p)["cells"]):
            yield f"{p.relative_to(root)}: an experiment is saved without outputs"

def check_mirrors(root=ROOT):
    "Every notebook has a mirror that says the same, and every mirror a notebook."
    for p in lessons(root) + experiments(root):
        twin = mirror(p, root)
        if not twin.exists(): yield f"{p.relative_to(root)}: no mirror; run `make export`"
        elif twin.read_text(encoding="utf-8") != as_text(p):
            yield f"{twin.relative_to(root)}: differs from its notebook; run `make export`"
    for p in orphans(root): yield f"{p.relative_to(root)}: no notebook; run `make export`"

def contents(folder):
    "File contents by relative path, without what git ignores anyway."
    skip = {"__pycache__", ".ipynb_checkpoints", "nbdev.yml"}
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file() and not skip & set(p.parts)}

def modules(root=ROOT):
    "The modules of the package, sub-packages too, by their dotted names."
    package = root/"mmvae_nb"
    found = (p.relative_to(package).with_suffix("") for p in package.rglob("*.py"))
    return {".".join(p.parts) for p in found if not p.name.startswith("_")}

def check_modules(root=ROOT):
    "Every module is exported from a lesson: `nbdev_export` leaves one alone that no lesson makes."
    made = {module_of(p) for p in lessons(root)}
    for name in sorted(modules(root) - made):
        yield f"mmvae_nb/{name.replace('.', '/')}.py: exported from no lesson; delete it"

def check_generated(root=ROOT):
    "`nbdev_export` and `nbdev_clean` would change nothing (tried on a copy)."
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        shutil.copy(root/"settings.ini", tmp)
        for folder in ["nbs", "mmvae_nb"]:
            shutil.copytree(root/folder, tmp/folder, symlinks=True,
                            ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        for command in ["nbdev_export", "nbdev_clean"]:
            before, _ = contents(tmp), nbdev(command, tmp)
            after = contents(tmp)
            for name in sorted(before.keys() | after.keys()):
                if before.get(name) != after.get(name):
                    yield f"{name}: changed by {command}; run `make export`"

def check(root=ROOT):
    "Everything out of step, one line each."
    parts = (check_outputs, check_mirrors, check_modules, check_generated)
    return [line for part in parts for line in part(root)]


def parser():
    "The commands and their options."
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sub = p.add_subparsers(dest="command", required=True)
    s = sub.add_parser("sync", help="mirrors and notebooks in step, modules exported, all cleaned")
    s.set_defaults(run=lambda a: sync())
    e = sub.add_parser("execute", help="run lessons in fresh kernels and save their outputs")
    e.add_argument("paths", nargs="*", type=Path, help="notebooks (default: every lesson)")
    e.add_argument("--jobs", type=int, default=2, help="how many at a time (default 2)")
    e.add_argument("--timeout", type=int, default=900, help="seconds a cell may take (default 900)")
    e.add_argument("--slow", action="store_true", help="run cells marked `#| slow` too")
    e.set_defaults(run=lambda a: int(bool(
        execute_all(a.paths or lessons(), a.jobs, a.timeout, a.slow))))
    c = sub.add_parser("check", help="list what is out of step; exit code 1 if anything is")
    c.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    c.set_defaults(run=lambda a: report(a.root.resolve()))
    return p

def report(root):
    "Print what is out of step; exit code 1 if anything is."
    found = check(root)
    for line in found: print(line)
    print(f"{len(lessons(root))} lessons, {len(experiments(root))} experiments: "
          + (f"{len(found)} out of step" if found else "all in step"))
    return int(bool(found))

def main(argv=None):
    args = parser().parse_args(argv)
    return args.run(args)


if __name__ == "__main__": sys.exit(main())
