"The class: handouts, slides, caches."
import copy, re, shutil, subprocess, sys
from pathlib import Path

import nbformat, pytest

import classroom
from notebooks import lessons

ROOT = Path(__file__).resolve().parent.parent
# What is about the subject, and what the handouts of a class are made of
COURSE = [p for p in lessons() if re.match(r"0[2-9]|1[0-7]", p.stem)]
by_name = pytest.mark.parametrize("path", COURSE, ids=lambda p: p.stem)
IMPORTS = re.compile(r"(?:(?:import|from) [^\n]+\n?|#[^\n]*\n?|\s)+")


# ---- exercises

def read(path): return nbformat.read(path, as_version=4)

@pytest.fixture(scope="module")
def spaces():
    "What the cells of a lesson's exercises see: its imports and its own module, and nothing trained."
    made = {}
    def space(path):
        if path not in made:
            code = [c.source for c in read(path).cells if c.cell_type == "code"]
            [own] = re.findall(r"#\| default_exp (\w+)", "\n".join(code))
            made[path] = {}
            for cell in [c for c in code if IMPORTS.fullmatch(c)] + [f"from mmvae_nb.{own} import *"]:
                exec(cell, made[path])
        return dict(made[path])
    return space

def answered(cell, answer):
    "The source of a blank with `answer` in place of the stub."
    blank = "# YOUR CODE HERE\n    raise NotImplementedError()"
    assert cell.source.count(blank) == 1
    return cell.source.replace(blank, answer)

@by_name
def test_checks_fail_on_the_blank_and_pass_on_the_solution(path, spaces):
    lesson, given = read(path), classroom.handout(path)
    pairs = list(zip(classroom.exercises(lesson), classroom.exercises(given)))
    assert pairs, f"{path.stem} has no exercise in code"
    for (solution, _), (blank, check) in pairs:
        space = spaces(path)
        exec(solution.source, space); exec(check.source, space)
        with pytest.raises((NotImplementedError, AssertionError)):
            space = spaces(path)
            exec(blank.source, space); exec(check.source, space)

@by_name
def test_checks_refuse_a_thoughtless_answer(path, spaces):
    for blank, check in classroom.exercises(classroom.handout(path)):
        first = re.search(r"def \w+\((\w*)", blank.source)[1] or "0"
        for answer in ["pass", "return 0.", f"return {first}"]:
            space = spaces(path)
            exec(answered(blank, answer), space)
            with pytest.raises(Exception): exec(check.source, space)


# ---- handouts

@by_name
def test_a_handout_has_no_solution_left(path):
    lesson, given = read(path), classroom.handout(path)
    assert "## Solutions" in "".join(c.source for c in lesson.cells)
    said = "\n".join(c.source for c in given.cells)
    assert not re.search(r"SOLUTION|## Solutions|^#\|", said, re.M)
    assert said.count("YOUR ANSWER HERE") == 1 and "## Exercises" in said and "## References" in said
    for cell, _ in classroom.exercises(lesson):
        inside = cell.source.split(classroom.BEGIN)[1].split(classroom.END)[0]
        for line in filter(None, map(str.strip, inside.splitlines())): assert line not in said
    assert not any(c.get("outputs") or c.get("execution_count") for c in given.cells)
    nbformat.validate(given)

def test_the_rest_of_a_handout_is_the_lesson():
    path = COURSE[1]
    lesson, given = read(path), classroom.handout(path)
    kept = {c.source for c in given.cells}
    plain = [c for c in lesson.cells if not c.source.startswith("#|") and "## Solutions" not in c.source]
    assert len(plain) > 10 and all(c.source in kept for c in plain)

@pytest.fixture(scope="module")
def small(tmp_path_factory):
    "A lesson of one exercise that needs nothing."
    cells = [nbformat.v4.new_markdown_cell("# T\n\n## Exercises\n\n1. Why?\n\n::: {.callout-tip}\n## Solutions\n\n1. So.\n:::"),
             nbformat.v4.new_code_cell("def two():\n    ### BEGIN SOLUTION\n    return 2\n    ### END SOLUTION"),
             nbformat.v4.new_code_cell("assert two() == 2")]
    nb = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}})
    path = tmp_path_factory.mktemp("small")/"02_small.ipynb"
    nbformat.write(nb, path)
    return path

def test_a_solution_without_a_check_is_refused(small):
    nb = read(small); del nb.cells[-1]
    with pytest.raises(ValueError, match="^exercise-1: no code cell after it checks the solution$"):
        classroom.MarkSolutions().preprocess(nb, {})

@pytest.mark.timeout(200)
def test_nbgrader_judges_what_is_handed_in(small, tmp_path):
    command = [sys.executable, "-m", "nbgrader", "validate"]
    given = classroom.handout(small)
    right, wrong, cheat = (copy.deepcopy(given) for _ in range(3))
    right.cells[1].source = answered(given.cells[1], "return 2")
    cheat.cells[2].source = "assert True"
    for name, nb, verdict in [("right", right, "Success! Your notebook passes all the tests."),
                              ("wrong", wrong, "VALIDATION FAILED ON 1 CELL(S)"),
                              ("cheat", cheat, "THE CONTENTS OF 1 TEST CELL(S) HAVE CHANGED")]:
        nbformat.write(nb, tmp_path/f"{name}.ipynb")
        r = subprocess.run([*command, f"{name}.ipynb"], cwd=tmp_path, capture_output=True, text=True)
        assert verdict in r.stdout, (name, r.stdout, r.stderr)
