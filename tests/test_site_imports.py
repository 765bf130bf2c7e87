"Pages say by name what a star import brings."
import ast, importlib
from types import SimpleNamespace

import pytest
from site_helpers import LESSONS, read
from site_imports import by_name, offered, used
from site_pages import only_imports

code = lambda s: SimpleNamespace(cell_type="code", source=s)
text = lambda s: SimpleNamespace(cell_type="markdown", source=s)
def brought(module): return set(importlib.import_module(module).__all__)

def test_a_star_says_what_it_brings_of_what_is_used():
    cells = [code("x = in_range('n', 3)\n%matplotlib inline"), code("class A:\n    def f(self): raise MmvaeError(x)"),
             text("Try:\n```python\none_of('a', 1, [1])\n```\nand not digest.")]
    names = used(cells)
    assert {"in_range", "MmvaeError", "one_of", "x"} <= names and "digest" not in names
    given = "import torch\nfrom mmvae_nb.core import *\nfrom os.path import *\nfrom mmvae_nb.vae import *  # models"
    assert by_name(given, names) == given.replace("core import *", "core import in_range, MmvaeError, one_of")
    assert by_name(given, {"x"}) == given

def test_a_hidden_cell_needs_nothing_on_the_page():
    assert used([code("#| hide\n#| eval: false\nInstrument('x')"), code("#|hide\ny"), code("z  # hide")]) == {"z"}

def test_a_long_list_is_broken_and_means_the_same():
    every = set(offered("mmvae_nb.core"))
    said = by_name("from mmvae_nb.core import *", every)
    assert said.count("\n") > 2 and max(map(len, said.split("\n"))) <= 100
    assert {a.name for a in ast.parse(said).body[0].names} == every == brought("mmvae_nb.core")
    assert offered("mmvae_nb.no_such") == offered("torch") == ()

@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_s_imports_bring_the_names_that_it_uses(path):
    "Compared with what Python would bring; names that the page makes itself may be left out of neither."
    cells = read(path).cells
    names = used(cells)
    for c in (c for c in cells if c.cell_type == "code" and only_imports(c.source)):
        before, after = ast.parse(c.source).body, ast.parse(by_name(c.source, names)).body
        for old, new in zip(before, after, strict=True):
            star = isinstance(old, ast.ImportFrom) and old.names[0].name == "*"
            if star: assert {a.name for a in new.names} == (brought(old.module) & names or {"*"})
            else: assert ast.dump(old) == ast.dump(new)
