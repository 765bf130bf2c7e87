"""The lessons as a class gets them: solutions cut, answers checked by locked cells.

    python tools/handouts.py [--out _handouts] [--with-solutions] [NB ..]

How exercises are written in the lessons is told on the lecturer's page (nbs/lecturer.ipynb).
"""
import argparse, re, sys
from pathlib import Path

import nbformat
from nbconvert.preprocessors import Preprocessor
from nbgrader.preprocessors import (CheckCellMetadata, ClearOutput, ClearSolutions,
                                    ComputeChecksums, LockCells)

from notebooks import ROOT, numbered
from standalone import embedded, undirected, unfenced

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
FOLDED = re.compile(r"^::: \{\.callout[^\n]*\n## Solutions?\n.*?^:::$", re.S | re.M)


def graded(name, **fields):
    "nbgrader's note on a cell."
    return {"schema_version": 3, "grade_id": name, "task": False, "grade": False,
            "solution": False, "locked": False, **fields}

class MarkSolutions(Preprocessor):
    "Tell nbgrader which cells hold a solution and which check one."
    def preprocess(self, nb, resources):
        awaited, number = None, 0
        for c in nb.cells:
            if c.cell_type == "markdown":
                c.source, found = FOLDED.subn(lambda m: f"{BEGIN}\n{m[0]}\n{END}", c.source)
                if found:
                    c.metadata["nbgrader"] = graded("questions", solution=True, grade=True,
                                                    points=0)
            elif BEGIN in c.source:
                number += 1
                awaited = f"exercise-{number}"
                c.metadata["nbgrader"] = graded(awaited, solution=True)
            elif awaited:                      # the code cell after a solution checks it
                check = graded(f"{awaited}-check", grade=True, locked=True, points=1)
                c.metadata["nbgrader"], awaited = check, None
        if awaited: raise ValueError(f"{awaited}: no code cell after it checks the solution")
        return nb, resources

def marked(path):
    "The lesson at `path`, with solutions, as nbgrader wants it: the source of an assignment."
    nb = nbformat.read(path, as_version=4)
    nb.metadata = {"kernelspec": nb.metadata.get("kernelspec", {})}
    for c in nb.cells:
        c.source = embedded(c.source, path) if c.cell_type == "markdown" else undirected(c.source)
    nb.cells = [c for c in nb.cells if c.source]      # some hold nothing but directives
    nb = processed(nb, path, MarkSolutions(enabled=True), ClearOutput(), CheckCellMetadata())
    for c in nb.cells:
        if c.cell_type == "markdown": c.source = unfenced(c.source)
    return nb

def handout(path):
    "The lesson at `path` as a class gets it: no solutions, no outputs, locked cells that check."
    return processed(marked(path), path, ClearSolutions(), LockCells(), ComputeChecksums(),
                     CheckCellMetadata())

def processed(nb, path, *steps):
    "The notebook after these steps."
    resources = {"unique_key": path.stem}
    for step in steps: nb, resources = step.preprocess(nb, resources)
    return nb

def write(paths, out, made=handout):
    "Write what is `made` of each lesson that has exercises into `out`; how many."
    out.mkdir(parents=True, exist_ok=True)
    found = [p for p in paths if "## Exercises" in p.read_text(encoding="utf-8")]
    for p in found: nbformat.write(made(p), out/p.name)
    return len(found)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", type=Path, default=ROOT/"_handouts",
                   help="where they go (default _handouts)")
    p.add_argument("--with-solutions", action="store_true",
                   help="for the `source` folder of a course with nbgrader's gradebook")
    p.add_argument("paths", nargs="*", type=Path, help="notebooks (default: every lesson)")
    a = p.parse_args(argv)
    count = write(a.paths or numbered(), a.out, marked if a.with_solutions else handout)
    print(f"{count} handouts in {a.out}; check an answer with: nbgrader validate NOTEBOOK")


if __name__ == "__main__": sys.exit(main())
