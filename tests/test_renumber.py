"Other numbers for lessons: everything that names them follows, and a wrong number is found."
import subprocess

import pytest

import renumber
from site_helpers import edit, notebook

PROSE = """# %% [markdown]
# # Two
#
# After lesson 02 come lessons 03, 04a and 05; see [02](02_b.ipynb#two), [05 The last](05_e.ipynb), lesson
# 05, equation 3, and Lesson 99. Not a lesson: 02, 0.02, page 03 of 05. Lessons 02 to 05 are the course.
# So says lesson 05. And 2 % are not lesson 05.2.
"""

@pytest.fixture
def small(tmp_path):
    "Four lessons that name each other, their mirrors, a sidebar and a test."
    (tmp_path/"nbs"/"_py").mkdir(parents=True)
    for stem in ["02_b", "03_c", "04a_d", "05_e"]:
        notebook(tmp_path/"nbs"/f"{stem}.ipynb", f"# {stem}", "# lesson 05 in\n# lesson 03")
        (tmp_path/"nbs"/"_py"/f"{stem}.py").write_text(PROSE, encoding="utf-8")
    (tmp_path/"_quarto.yml").write_text('- {text: "02 Two", href: 02_b.ipynb}\n- {text: "05 Five", href: 05_e.ipynb}\n')
    (tmp_path/"tests").mkdir()
    (tmp_path/"tests"/"test_x.py").write_text('PAGE = "nbs/_py/05_e.py"   # lesson 05\nOTHER = "x05_e 05_else"\n')
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path

def said(root, name): return (root/name).read_text(encoding="utf-8")

SWAP = ["02_b=05_b", "05_e=02_e", "03_c=03a_c"]

def test_files_links_prose_and_sidebar_follow_at_once(small):
    edit(small/"nbs"/"_py"/"02_b.py", "and Lesson 99", "and more")
    renumber.apply(renumber.checked(SWAP, small), small)
    assert {p.stem for p in (small/"nbs").glob("*.ipynb")} == {"05_b", "03a_c", "04a_d", "02_e"}
    assert {p.stem for p in (small/"nbs"/"_py").glob("*.py")} == {"05_b", "03a_c", "04a_d", "02_e"}
    text = said(small, "nbs/_py/05_b.py")
    assert "After lesson 05 come lessons 03a, 04a and 02; see [05](05_b.ipynb#two), [02 The last](02_e.ipynb)" in text
    assert "lesson\n# 02, equation 3" in text and "02, 0.02, page 03 of 05" in text
    assert "lesson 02. And" in text and "lesson 05.2." in text          # the end of a sentence, and no end
    assert "Lessons 02 to 05 are" in text                              # a range is left to a reader
    assert said(small, "_quarto.yml") == '- {text: "05 Two", href: 05_b.ipynb}\n- {text: "02 Five", href: 02_e.ipynb}\n'
    assert said(small, "tests/test_x.py") == 'PAGE = "nbs/_py/02_e.py"   # lesson 02\nOTHER = "x05_e 05_else"\n'
    book = said(small, "nbs/02_e.ipynb")
    assert "lesson 02 in" in book and "lesson 03a" in book

def test_there_and_back_is_where_it_began(small):
    before = {p.relative_to(small): p.read_text() for p in renumber.files(small)}
    renumber.apply(renumber.checked(SWAP, small), small)
    assert {p.relative_to(small) for p in renumber.files(small)} != set(before)
    renumber.apply(renumber.checked(["=".join(reversed(m.split("="))) for m in SWAP], small), small)
    assert {p.relative_to(small): p.read_text() for p in renumber.files(small)} == before

def test_without_apply_nothing_is_written(small, capsys):
    before = {p: p.read_text() for p in renumber.files(small)}
    assert renumber.main([*SWAP, "--root", str(small)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(l.startswith("_quarto.yml:1: ") for l in lines)
    assert sum("a range, left as it is: Lessons 02 to 05" in l for l in lines) == 4
    assert {p: p.read_text() for p in renumber.files(small)} == before

def test_wrong_numbers_are_found(small, capsys):
    for p in (small/"nbs"/"_py").glob("*.py"): edit(p, "and Lesson 99", "and more")
    assert renumber.wrong(small) == []
    edit(small/"nbs"/"_py"/"03_c.py", "[02](02_b", "[03](02_b")
    edit(small/"nbs"/"_py"/"05_e.py", "lesson\n# 05,", "lesson\n# 77,")
    edit(small/"_quarto.yml", '"05 Five"', '"06 Five"')
    edit(small/"nbs"/"_py"/"02_b.py", "(05_e.ipynb)", "(05_gone.ipynb)")
    assert renumber.main(["--root", str(small)]) == 1
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "_quarto.yml:2: 06 leads to 05_e", "nbs/_py/02_b.py:4: no lesson 05_gone",
        "nbs/_py/03_c.py:4: 03 leads to 02_b", "nbs/_py/05_e.py:4: there is no lesson 77"]

@pytest.mark.parametrize("moves, words", [
    (["02_b"], "allowed: 05_vae=02_vae"), (["09_x=02_x"], "no such lesson: 09_x"), (["02_b=03_b"], "the number 03"),
    (["02_b=06_b", "02_b=07_b"], "named twice")])
def test_what_cannot_be_meant_is_refused(small, moves, words):
    with pytest.raises(SystemExit, match=words): renumber.checked(moves, small)

def test_no_number_in_the_project_is_wrong(): assert renumber.wrong(renumber.ROOT) == []
