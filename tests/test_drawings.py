"The drawings: what is committed is what is drawn, nothing is clipped, and all of it can be read."
import re
import xml.etree.ElementTree as ET

import numpy as np, pytest

import drawings
from drawing_pen import PAPER, ROLES, WIDTH
from mmvae_nb.plotting import ROLE_COLOURS
from site_helpers import MIRRORS, ROOT

FOLDER = ROOT/"nbs"/"drawings"
DRAWN = drawings.drawn()
each = pytest.mark.parametrize("name", DRAWN)
tag = lambda e: e.tag.rsplit("}", 1)[-1]

def test_committed_drawings_are_those_that_are_drawn():
    assert {p.name for p in FOLDER.iterdir()} == set(DRAWN)
    assert drawings.main(["--check"]) == 0

def test_a_changed_drawing_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(drawings, "ROOT", tmp_path)
    (tmp_path/"nbs").mkdir()
    assert drawings.main(["--check"]) == 1 and not (tmp_path/"nbs"/"drawings").exists()
    assert drawings.main([]) == 0 and drawings.main(["--check"]) == 0
    (tmp_path/"nbs"/"drawings"/"loop.svg").write_text("<svg/>")
    capsys.readouterr()
    assert drawings.main(["--check"]) == 1 and capsys.readouterr().out.count("\n") == 1

def advance(text):
    "A generous guess of a text's width in units of its size, for a wide typeface."
    return sum(.36 if c in " .,:;'|()!il→1" else .92 if c in "mwMWE∇≈%" else .64 for c in text)

@each
def test_it_says_what_it_shows_and_fetches_nothing(name):
    root = ET.fromstring(DRAWN[name])
    kinds = {tag(e): e for e in root}
    assert root.get("role") == "img" and root.get("aria-labelledby") == "t d"
    assert len(kinds["title"].text) > 4 and len(kinds["desc"].text) > 40
    assert not re.search(r"(?i)href|url\(|@import|<script|<image", DRAWN[name])

@each
def test_no_text_is_clipped_or_too_small_for_a_phone(name):
    root = ET.fromstring(DRAWN[name])
    _, _, width, height = map(float, root.get("viewBox").split())
    assert width == WIDTH
    texts = [e for e in root if tag(e) == "text"]
    assert texts
    for e in texts:
        said, size = "".join(e.itertext()).replace("\u200b", ""), float(e.get("font-size"))
        assert size >= 14, said                        # 10 pixels where the drawing is 350 wide
        lowered = [float(s.get("font-size")[:-1])*size/100 for s in e if s.get("font-size")]
        assert min(lowered, default=size)*350/WIDTH >= 9, said
        wide, x, y = advance(said)*size*(.9 if size > 18 else .88), float(e.get("x")), float(e.get("y"))
        left = x - {"start": 0, "middle": wide/2, "end": wide}[e.get("text-anchor")]
        assert left >= 0 and left + wide <= width, f"{said}: {left:.0f} to {left + wide:.0f}"
        assert size < y < height - 4, said

def extent(e):
    "Words and box of a text; bold letters are wider."
    said, size = "".join(e.itertext()).replace("\u200b", ""), float(e.get("font-size"))
    wide = advance(said)*size*(1.04 if int(e.get("font-weight")) >= 600 else .9)
    x, y = float(e.get("x")), float(e.get("y"))
    left = x - {"start": 0, "middle": wide/2, "end": wide}[e.get("text-anchor")]
    return said, left, y - .72*size, left + wide, y + .1*size

def crowded(svg):
    "Pairs of texts that lie on each other, and texts that leave their frame."
    root = ET.fromstring(svg)
    texts = [extent(e) for e in root if tag(e) == "text"]
    frames = [tuple(float(e.get(k)) for k in ("x", "y", "width", "height")) for e in root if tag(e) == "rect"]
    found = [(a[0], b[0]) for i, a in enumerate(texts) for b in texts[:i]
             if min(a[3], b[3]) > max(a[1], b[1]) and min(a[4], b[4]) > max(a[2], b[2])]
    for said, left, top, right, bottom in texts:
        x, y = (left + right)/2, (top + bottom)/2
        around = [f for f in frames if f[0] < x < f[0] + f[2] and f[1] < y < f[1] + f[3]]
        if not around: continue
        f = min(around, key=lambda f: f[2]*f[3])
        if left < f[0] - 2 or right > f[0] + f[2] + 2: found.append((said, "its frame"))
    return found

@each
def test_no_label_lies_on_another_or_leaves_its_frame(name):
    assert not crowded(DRAWN[name])

def test_a_crowded_drawing_is_found():
    d = drawings.Drawing("Crowded", "Two labels on each other, and one that is wider than its frame.", 200)
    d.text(100, 100, "one label"); d.text(130, 104, "another"); d.box(300, 80, 40, 40); d.text(320, 104, "too wide")
    assert crowded(d.svg()) == [("another", "one label"), ("too wide", "its frame")]

def luminance(colour):
    c = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)])/255
    return np.where(c <= .04045, c/12.92, ((c + .055)/1.055)**2.4) @ [.2126, .7152, .0722]

def test_lessons_draw_roles_in_the_colours_of_the_drawings():
    assert ROLE_COLOURS == {name: light for name, (light, _) in ROLES.items()}

@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", [*ROLES, "ink", "soft"])
def test_every_colour_can_be_read_on_its_ground(name, theme):
    a, b = sorted([luminance({**ROLES, **PAPER}[name][theme]), luminance(PAPER["paper"][theme])])
    assert (b + .05)/(a + .05) >= 4.5

def test_lessons_name_drawings_that_exist_and_describe_them():
    used = {}
    for p in MIRRORS:
        for alt, name in re.findall(r"!\[([^\]]*)\]\(drawings/([\w.]+)\)", p.read_text(encoding="utf-8")):
            assert name in DRAWN and len(alt) > 40, (p.name, name)
            used.setdefault(name, []).append(p.stem)
    assert {"model.svg", "hole.svg", "loop.svg", "student.svg"} <= set(used)
    assert all("01_story" in used[f"{n}.svg"] for n in drawings.METHOD)
    assert set(used) == set(DRAWN)                          # none is drawn for nobody

def test_every_lesson_has_a_drawing():
    "Numbered and lettered ones, and the guide."
    lessons = {p.stem: p.read_text(encoding="utf-8") for p in MIRRORS if re.match(r"\d\d", p.stem)}
    lessons |= {p.stem: p.read_text(encoding="utf-8") for p in MIRRORS if p.stem.startswith("howto")}
    assert len(lessons) > 40
    assert not {n for n, text in lessons.items() if "](drawings/" not in text}

def test_drawings_are_small():
    sizes = {n: len(text.encode()) for n, text in DRAWN.items()}
    assert max(sizes.values()) < 24_000 and sum(sizes.values()) < 445_000, sizes

def test_three_of_five_items_are_continued_one_column_further_right():
    from drawings_whys import BATCHES, SHARE, ages
    columns = [{c: k for k, row in enumerate(b) for c in row if c.isalpha()} for b in BATCHES]
    assert all(len(c) == 5 for c in columns) and set(columns[0].values()) == {0}
    for above, below in zip(columns, columns[1:]):
        old = above.keys() & below.keys()
        assert len(old) == round(SHARE*5) and all(below[c] == above[c] + 1 for c in old)
        assert all(below[c] == 0 for c in below.keys() - old)
    assert [round(100*a) for a in ages(SHARE)] == [40, 24, 14, 9, 13]

def test_fault_and_floor_are_the_mean_kl():
    from drawings_whys import GUESS, OPEN, fault_and_floor, kl_of_equals
    fault, floor = fault_and_floor(OPEN, GUESS)
    mean = sum(kl_of_equals(GUESS - m, 1) for m in OPEN)/len(OPEN)
    assert fault == 12.5 and round(floor, 1) == 4.3 and abs(fault + floor - mean) < 1e-9

def test_the_site_gives_a_drawing_its_size_and_its_scheme(tmp_path):
    import site_build
    (tmp_path/"loop.svg").write_text(DRAWN["loop.svg"], encoding="utf-8")
    (tmp_path/"page.html").write_text('<p><img src="loop.svg" alt="x"></p>', encoding="utf-8")
    site_build.sized(tmp_path)
    _, _, w, h = map(float, re.search(r'viewBox="([^"]+)"', DRAWN["loop.svg"])[1].split())
    width, height = map(int, re.search(r' width="(\d+)" height="(\d+)"', (tmp_path/"page.html").read_text()).groups())
    assert width == 540 and abs(height/width - h/w) < .01
    css = (ROOT/"site"/"site.css").read_text(encoding="utf-8")
    assert "prefers-color-scheme:dark" in DRAWN["loop.svg"]
    assert re.search(r'quarto-dark img\[src\$="\.svg"\][^{]*{ color-scheme: dark', css)
