"Star imports of a notebook as a reader of its page wants them: by the names that the page uses."
import ast, re, textwrap
from functools import lru_cache

from notebooks import ROOT

@lru_cache(maxsize=None)
def offered(module, root=ROOT):
    "The names in a module's `__all__`, without importing it; none of a module that is not ours."
    at = root.joinpath(*module.split("."))
    path = at/"__init__.py" if at.is_dir() else at.with_suffix(".py")
    if not path.is_file(): return ()
    for n in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__":
            return tuple(ast.literal_eval(n.value))
    return ()

def used(cells):
    """The names in the code that a notebook shows, listings in its text included. A cell that is
    hidden or a line for the shell has none."""
    codes = [s for c in cells for s in ([c.source] if c.cell_type == "code" else
                                        re.findall(r"(?ms)^```python\n(.*?)^```", c.source))
             if not re.search(r"(?m)^#\| *hide\b", s)]
    found = set()
    for code in codes:
        try: tree = ast.parse(re.sub(r"(?m)^( *)[!%].*$", r"\1pass", code))
        except SyntaxError: continue
        found |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return found

def by_name(code, names):
    "The same imports, in which a star of ours says what it brings of these names."
    lines = code.split("\n")
    stars = [(n.lineno, n.module) for n in ast.parse(code).body
             if isinstance(n, ast.ImportFrom) and n.names[0].name == "*"]
    for number, module in stars:
        brings = sorted({*offered(module)} & names, key=str.lower)
        whole = f"from {module} import *"
        if not brings or lines[number - 1].split("#")[0].strip() != whole: continue
        said = f"from {module} import {', '.join(brings)}"
        if len(said) > 100:
            inside = textwrap.wrap(", ".join(brings), 96, break_long_words=False)
            said = f"from {module} import (\n    " + "\n    ".join(inside) + ")"
        lines[number - 1] = said
    return "\n".join(lines)
