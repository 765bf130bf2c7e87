"Notation and glossary: what they promise about the lessons is true of them."
import re
from pathlib import Path

import pytest

NBS = Path(__file__).parent.parent/"nbs"
MIRRORS = {re.match(r"\d\d[a-z]?", p.name)[0]: p for p in sorted((NBS/"_py").glob("[0-9]*.py"))}
NOTATION = (NBS/"_py/notation.py").read_text(encoding="utf-8")
GLOSSARY = (NBS/"_py/glossary.py").read_text(encoding="utf-8")
FORMULA = r"(?s)\$\$.+?\$\$|\$[^$\n]+?\$"
LETTER = (r"\\(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|phi|chi|psi"
          r"|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega)(?![A-Za-z])|\\mathcal ?\{?[A-Z]\}?")


def prose(path):
    "The Markdown of a lesson, without the marks of comment."
    return "\n".join(re.findall(r"(?m)^# ?(.*)$", path.read_text(encoding="utf-8")))

def letters(text):
    "Greek and script letters in the formulas of a text."
    found = re.findall(LETTER, "\n".join(re.findall(FORMULA, text)))
    return {re.sub(r"[ {}]", "", f) for f in found} - {r"\pi"}                # 3.14 everywhere

def rows(page, columns):
    "The rows of a page's tables, without their heads."
    lines = re.findall(r"(?m)^# \| (.+) \|$", page)
    cells = [re.split(r" ?\| ", re.sub(r"\\\||\\Vert", "", l)) for l in lines]
    return [c for c in cells if len(c) == columns and not set(c[0]) <= set("-| ") and c[0] not in ("symbol", "English")]

SYMBOLS, ENTRIES = rows(NOTATION, 4), rows(GLOSSARY, 4)
USED = {k: letters(re.sub(r"(?m)^\|.*$", "", prose(p))) for k, p in MIRRORS.items()}   # tables look ahead

def linked(cell): return re.findall(r"\[(\d\d[a-z]?)\]", cell)

def test_both_pages_are_read():
    assert len(SYMBOLS) > 45 and len(ENTRIES) > 50 and sum(map(len, USED.values())) > 80

def test_every_greek_or_script_letter_of_a_lesson_is_on_the_page_of_symbols():
    missing = {k: sorted(found - letters(prose(NBS/"_py/notation.py"))) for k, found in USED.items()}
    assert not {k: v for k, v in missing.items() if v}

def test_a_rare_letter_is_listed_with_every_lesson_that_uses_it():
    "A letter of one or two lessons: its rows link to all of them. So a second meaning can't slip in unseen."
    closing = NOTATION[NOTATION.index("*Two meanings"):]
    single = letters(closing[closing.index("Small letters"):])
    for letter in sorted(set().union(*USED.values()) - single):
        where = {k for k, found in USED.items() if letter in found}
        if len(where) > 2: continue
        rows_of = [r for r in SYMBOLS if letter in letters(r[0])]
        told = {k for r in rows_of for k in linked(r[3])}
        assert where <= told, f"{letter} is used in {sorted(where)}, its rows link to {sorted(told)}"

def test_a_letter_in_two_rows_is_one_that_the_page_names():
    "By its first sign: $w_m$ and $w_k$ share the w, and the last paragraph says how to tell them apart."
    two = NOTATION[NOTATION.index("*Two meanings"):NOTATION.index("Small letters")]
    first = {}
    for i, row in enumerate(SYMBOLS):
        for formula in re.findall(r"\$([^$]+)\$", row[0]):
            sign = re.match(r"(?:\\(?:bar|hat|tilde|mathrm|lvert|nabla)[ {]*)*(\\mathcal ?[A-Z]|\\?[A-Za-z]+)", formula)
            if sign and not formula.startswith(("\\bar", "\\hat", "\\tilde", "\\mathrm", "\\lvert")):
                first.setdefault(sign[1], set()).add(i)
    # families whose index or argument is the meaning: densities, posteriors, data, iterations
    family = {"p", "q", "x", "z", r"\mathcal N", r"\lambda", r"\mathcal T", "t", "U"}
    shared = {s for s, where in first.items() if len(where) > 1} - family
    named = {re.match(r"\\?[A-Za-z]+", f)[0] for f in re.findall(r"\$([^$]+)\$", two)}
    assert shared <= named, f"{sorted(shared - named)} stand in two rows"

def test_no_page_promises_one_meaning_for_each_letter():
    for p in [*MIRRORS.values(), NBS/"_py/notation.py"]:
        assert not re.search("(?i)one letter, one meaning|each symbol has one meaning", prose(p)), p.name

def stems(term):
    "A pattern for a term, its words cut: conditional independence finds conditionally independent."
    cut = lambda w: re.escape(w[:max(4, len(w) - 4)]) + r"[\w']*"
    return r"[\s*`-]+".join(cut(w) for w in re.split(r"[\s-]+", term))

@pytest.mark.parametrize("row", ENTRIES, ids=lambda r: r[0])
def test_the_lesson_that_explains_a_word_has_it(row):
    terms = [t.strip() for t in re.split(r",|\(|\)", row[0]) if t.strip()]
    for lesson in linked(row[3]):
        text = prose(MIRRORS[lesson])
        for term in terms: assert re.search(stems(term), text, re.I), f"{term} is not in lesson {lesson}"
    anchor = re.search(r"\((\w+)\.ipynb#([^)]+)\)", row[3])
    if anchor:
        heads = re.findall(r"(?m)^# #+ (.+)$", (NBS/f"_py/{anchor[1]}.py").read_text(encoding="utf-8"))
        ids = {re.sub(r"[^\w -]", "", re.sub(r"\$[^$]*\$|\{[^}]*\}", "", h)).strip().lower().replace(" ", "-")
               for h in heads}
        assert anchor[2] in ids, f"{anchor[2]}: no such heading in {anchor[1]}"

@pytest.mark.parametrize("path", sorted((NBS/"_py").glob("*.py")), ids=lambda p: p.stem)
def test_no_formula_cuts_a_row_of_a_table(path):
    "A bar in a formula would be the end of its cell."
    width = None
    for line in path.read_text(encoding="utf-8").splitlines():
        row = re.match(r"# (\|.*\|)\s*$", line)
        if not row: width = None; continue
        cells = len(re.split(r"(?<!\\)\|", row[1]))
        width = width or cells
        assert cells == width, line
