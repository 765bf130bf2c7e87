"The class: exercises, handouts, slides, times, the walk along t."
import base64, copy, html, io, json, os, re, tarfile
from html.parser import HTMLParser
from pathlib import Path

import nbformat, pandas as pd, pytest, torch

import handouts, slides, times
from handouts import BEGIN, END
from notebooks import in_workshop, module_of
from site_helpers import COURSE, LESSONS, NUMBERED, cells, notebook, python, read, targets, text
from standalone import embedded, unfenced

HANDED_OUT = [p for p in NUMBERED if "## Exercises" in p.read_text(encoding="utf-8")]
IN_CODE = [p for p in HANDED_OUT if "### In code:" in p.read_text(encoding="utf-8")]
by_name = pytest.mark.parametrize("path", IN_CODE, ids=lambda p: p.stem)

def imports_only(code):
    "Line by line: one pattern for all lines tries every way to cut `from x import y`, two for each line."
    return all(re.match(r"(import|from) |#|\s*$", line) for line in code.splitlines())


# ---- exercises

def exercises(nb):
    "Pairs of cells: one to be filled in (or filled in), and the one that checks it."
    code = [c for c in nb.cells if c.cell_type == "code"]
    filled = lambda c: BEGIN in c.source or c.metadata.get("nbgrader", {}).get("solution")
    return [(a, b) for a, b in zip(code, code[1:]) if filled(a)]

@pytest.fixture(scope="module")
def spaces():
    "What the cells of a lesson's exercises see: its imports and its own module, and nothing trained."
    made = {}
    def space(path):
        if path not in made:
            code = [c.source for c in cells(path) if imports_only(c.source)]
            made[path] = {}
            own = module_of(path)                              # lesson 11 has none
            for cell in [*code, *([f"from mmvae_nb.{own} import *"] if own else [])]: exec(cell, made[path])
        return dict(made[path])
    return space

def test_every_lesson_about_the_subject_has_exercises_in_code():
    assert {p for p in COURSE if int(p.stem[:2]) < 14} <= set(IN_CODE)

def answered(cell, answer):
    "The source of a blank with `answer` in place of the stub."
    blank = "# YOUR CODE HERE\n    raise NotImplementedError()"
    assert cell.source.count(blank) == 1
    return cell.source.replace(blank, answer)

@by_name
def test_checks_fail_on_the_blank_and_pass_on_the_solution(path, spaces):
    lesson, given = read(path), handouts.handout(path)
    pairs = list(zip(exercises(lesson), exercises(given)))
    assert pairs, f"{path.stem} has no exercise in code"
    for (solution, _), (blank, check) in pairs:
        space = spaces(path)
        exec(solution.source, space)
        exec(check.source, space)
        with pytest.raises((NotImplementedError, AssertionError)):
            space = spaces(path)
            exec(blank.source, space)
            exec(check.source, space)

@by_name
def test_checks_refuse_a_thoughtless_answer(path, spaces):
    for blank, check in exercises(handouts.handout(path)):
        first = re.search(r"def \w+\((\w*)", blank.source)[1] or "0"
        for answer in ["pass", "return 0.", f"return {first}"]:
            space = spaces(path)
            exec(answered(blank, answer), space)
            with pytest.raises(Exception):  # noqa: B017 (any: the answer is of any type)
                exec(check.source, space)


# ---- handouts

@pytest.mark.parametrize("path", HANDED_OUT, ids=lambda p: p.stem)
def test_a_handout_has_no_solution_left(path):
    lesson, given = read(path), handouts.handout(path)
    assert "## Solutions" in "".join(c.source for c in lesson.cells)
    said = "\n".join(c.source for c in given.cells)
    assert not re.search(r"SOLUTION|## Solutions|^#\|", said, re.M)
    assert said.count("YOUR ANSWER HERE") == 1
    assert "## Exercises" in said and "## References" in said
    for cell, _ in exercises(lesson):
        inside = cell.source.split(BEGIN)[1].split(END)[0]
        for line in filter(None, map(str.strip, inside.splitlines())): assert line not in said
    assert not any(c.get("outputs") or c.get("execution_count") for c in given.cells)
    nbformat.validate(given)

def test_pictures_travel_with_handouts_and_slides():
    path = next(p for p in COURSE if p.stem.startswith("09"))
    named = re.compile(r"!\[([^\]]*)\]\(([^)]*\.png)\)")
    words = lambda nb: "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    pictures = named.findall(words(read(path)))
    assert pictures
    for made in (handouts.handout(path), slides.slides(path)):
        assert not named.search(words(made))
        for alt, file in pictures:
            tag = f'<img alt="{re.escape(html.escape(alt))}" src="data:image/png;base64,([^"]+)">'
            data = re.findall(tag, words(made))
            assert [base64.b64decode(d) for d in data] == [(path.parent/file).read_bytes()]
    with pytest.raises(FileNotFoundError): handouts.embedded("![a](nothing.png)", path)

def test_the_rest_of_a_handout_is_the_lesson():
    path = COURSE[1]
    lesson, given = read(path), handouts.handout(path)
    kept = {c.source for c in given.cells}
    plain = [c for c in lesson.cells if not c.source.startswith("#|") and "## Solutions" not in c.source]
    assert len(plain) > 10 and all(unfenced(embedded(c.source, COURSE[1])) in kept for c in plain)
    assert not any(":::" in s or ".svg)" in s for s in kept)

@pytest.fixture(scope="module")
def small(tmp_path_factory):
    "A lesson of one exercise that needs nothing."
    return notebook(tmp_path_factory.mktemp("small")/"02_small.ipynb",
                    "# T\n\n## Exercises\n\n1. Why?\n\n::: {.callout-tip}\n## Solutions\n\n1. So.\n:::",
                    f"def two():\n    {BEGIN}\n    return 2\n    {END}", "assert two() == 2")

def test_a_solution_without_a_check_is_refused(small):
    nb = read(small)
    del nb.cells[-1]
    with pytest.raises(ValueError, match="^exercise-1: no code cell after it checks the solution$"):
        handouts.MarkSolutions().preprocess(nb, {})

def test_lessons_without_exercises_have_no_handout(small, tmp_path):
    plain = notebook(tmp_path/"03_plain.ipynb", "# T", "1 + 1")
    assert handouts.write([small, plain], tmp_path/"out") == 1
    assert [p.name for p in (tmp_path/"out").iterdir()] == [small.name]

def test_nbgrader_judges_what_is_handed_in(small, tmp_path):
    given = handouts.handout(small)
    right, wrong, cheat = (copy.deepcopy(given) for _ in range(3))
    right.cells[1].source = answered(given.cells[1], "return 2")
    cheat.cells[2].source = "assert True"
    for name, nb, verdict in [("right", right, "Success! Your notebook passes all the tests."),
                              ("wrong", wrong, "VALIDATION FAILED ON 1 CELL(S)"),
                              ("cheat", cheat, "THE CONTENTS OF 1 TEST CELL(S) HAVE CHANGED")]:
        nbformat.write(nb, tmp_path/f"{name}.ipynb")
        r = python("-m", "nbgrader", "validate", f"{name}.ipynb", cwd=tmp_path)
        assert verdict in r.stdout, (name, r.stdout, r.stderr)


# ---- the lecturer's page

def test_the_page_names_sections_and_commands_there_are():
    page = text("nbs/_py/lecturer.py")
    assert set(re.findall(r"(?:^# |`)make ([a-z-]+)", page, re.M)) <= targets()
    for tool in re.findall(r"tools/\w+\.py", page): assert text(tool)
    named = re.findall(r"exercise \*(.+?)\*", page)
    titles = {m for p in IN_CODE for c in read(p).cells
              for m in re.findall(r"^### In code: (.*)$", c.source, re.M)}
    assert len(named) > 5 and set(named) <= titles

def test_the_plans_of_the_lectures_fit_in_their_time():
    rows = re.findall(r"^# \| (\d+) \|", text("nbs/_py/lecturer.py"), re.M)
    plans = " ".join(rows).replace(" 0 ", " ; 0 ")
    starts = [list(map(int, plan.split())) for plan in re.findall(r"0(?: \d+)+", plans)]
    assert len(starts) == 4
    assert all(s == sorted(s) and s[-1] < 90 for s in starts)


# ---- slides

@pytest.mark.parametrize("path", NUMBERED, ids=lambda p: p.stem)
def test_every_section_and_every_figure_is_on_the_slides(path):
    deck = slides.slides(path).cells
    starts = [c.source.split("\n")[0] for c in deck if c.metadata.slideshow.slide_type == "slide"]
    prose = "\n\n".join(c.source for c in cells(path, "markdown"))
    prose = re.sub(r"```.*?```", "", prose, flags=re.S)
    wanted = [h for h in re.findall(r"^##? .*", prose, re.M) if h[3:] not in ("Solutions", "References")]
    assert starts == wanted
    shown = "\n".join(c.source for c in deck)
    kept = [o for c in cells(path) for o in c.outputs if "image/png" in o.get("data", {})]
    named = re.findall(r"!\[[^\]]+\]\([^)]+\.png\)", prose)             # pictures of runs
    assert shown.count("<img ") == len(kept) + len(named)
    assert '<img alt="" ' not in shown
    assert not re.search(r"SOLUTION|^:::|^#\|", shown, re.M)

@pytest.mark.parametrize("path", NUMBERED, ids=lambda p: p.stem)
def test_the_words_of_a_lesson_are_on_its_slides_or_in_their_notes(path):
    deck = slides.slides(path).cells
    said = "".join("".join(c.source for c in deck).split())
    for heading, content in slides.sections(path):
        for block in content: assert "".join(block.split()) in said, (heading, block)

def test_blocks():
    text = ("A paragraph\nof two lines\n$$a\\\\\n\nb$$\nand more.\n\n- one\n- two\n## Head\n::: {.callout-note}\n"
            "```python\nx\n\n# y\n```\n:::\n    $$c$$ {x}\nlast")
    assert slides.blocks(text) == ["A paragraph\nof two lines", "$$a\\\\\n\nb$$", "and more.", "- one\n- two",
                                   "## Head", "```python\nx\n\n# y\n```", "    $$c$$ {x}", "last"]

def test_links_on_slides_lead_to_decks_or_are_words():
    text = ("[a](02_vae.ipynb#x), [b](notation.ipynb), [c](#here), [d](https://example.org), "
            "[e](../results/real/tables/talk.csv), ![f](drawings/vae.svg)")
    said = "[a](02_vae.html), b, c, [d](https://example.org), e, ![f](drawings/vae.svg)"
    assert slides.relinked(text, {"02_vae"}) == said
    assert slides.relinked("```\nx[0](y)\n```", set()) == "```\nx[0](y)\n```"
    decks = {p.stem for p in NUMBERED}
    for p in NUMBERED:
        for target in re.findall(r"(?<!!)\[[^\]]+\]\((?!https?:)([\w./#-]+\.(?:ipynb|html|csv)[^)]*)\)",
                                 "\n".join(c.source for c in slides.slides(p).cells)):
            assert target.removesuffix(".html") in decks, (p.name, target)

def test_slides_hold_no_more_than_fits():
    content = ["### One", *["A line."]*9, "### Two", "```\n" + "x\n"*12 + "```", "<img src>", "Last."]
    made = [parts for parts, _ in slides.packed("## H", content)]
    assert [len(m) for m in made] == [8, 4, 2, 2, 2, 2]
    assert made[0][:2] == ["## H", "### One"] and made[2] == ["## H", "### Two"]
    assert made[-1] == ["## H", "Last."]

def test_long_paragraphs_keep_whole_sentences():
    text = "First, with $a. B$ in it. " + "Second sentence. "*30 + "It leads on:"
    short = slides.shortened(text)
    assert short.startswith("First, with $a. B$ in it. Second sentence.") and short.endswith(".")
    assert len(short) <= 300
    starred = "Near $q^*(z)$ it is so. " + "Second sentence. "*30
    assert len(slides.shortened(starred)) <= 300
    assert slides.shortened("Short.") == "Short."
    assert slides.shortened("(A. B. " + "C. D. "*90) == "(A. B. " + "C. D. "*90      # no cut inside brackets
    assert slides.shortened("| a | b |\n" * 100) == "| a | b |\n" * 100

def test_long_code_becomes_an_outline():
    code = ('def f(a, b=1):\n    "Does f."\n    return a\n'
            'class C(D):\n    "A C."\n    def _g(self): pass\n    def h(self): return 1\n')
    assert slides.outline(code) == 'def f(a, b=1): ...\n    "Does f."\nclass C: ...\n    "A C."\n    def h(self): ...'

@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    "Decks of two lessons. Without npm or a network, and without a copy in the cache, there are none."
    out = tmp_path_factory.mktemp("decks")/"_slides"
    cache = Path(os.environ["MMVAE_CACHE"])
    try: slides.decks([p for p in COURSE if p.stem[:2] in ("03", "05", "16")], out, cache)
    except SystemExit as e: pytest.skip(str(e))
    return out

class Links(HTMLParser):
    "What a page loads."
    def __init__(self):
        super().__init__()
        self.found = []
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag in ("script", "img") and "src" in a: self.found.append(a["src"])
        if tag == "link": self.found.append(a["href"])

def test_slides_load_nothing_from_elsewhere(decks):
    for page in decks.glob("*.html"):
        links = Links()
        links.feed(page.read_text(encoding="utf-8"))
        local = [l for l in links.found if not l.startswith("data:")]
        assert all((decks/l).is_file() for l in local), local
        assert page.name == "index.html" or len(local) >= 6
    css = [f.read_text(encoding="utf-8") for f in decks.rglob("*.css")]
    assert css and not re.search(r"url\(['\"]?https?:", "".join(css))

MEASURE = """(async () => {
  const found = {slides: 0, wrong: document.querySelectorAll(".katex-error").length,
                 maths: document.querySelectorAll(".katex").length, over: [], scrolled: 0};
  for (const s of Reveal.getSlides()) {
    const i = Reveal.getIndices(s);
    Reveal.slide(i.h, i.v);
    await new Promise(requestAnimationFrame);
    found.slides++;
    const top = document.querySelector(".slides").getBoundingClientRect().top;
    const bottom = (s.getBoundingClientRect().bottom - top)/Reveal.getScale();
    const style = getComputedStyle(s);
    const wide = s.scrollWidth > s.clientWidth + 2, tall = s.scrollHeight > s.clientHeight + 2;
    if (tall) found.scrolled++;
    if (bottom > 730 || wide && style.overflowX != "auto" || tall && style.overflowY != "auto")
      found.over.push([i.h, i.v, bottom, s.scrollWidth, s.scrollHeight]);
  }
  return found;
})()"""

def test_nothing_hangs_over_the_edge_of_a_slide_and_nothing_is_fetched(decks, tmp_path):
    from browser import CHROMIUM, Browser
    if not CHROMIUM: pytest.skip("no Chromium (Debian: apt-get install chromium)")
    browser = Browser(tmp_path)
    try:
        browser.size(1280, 720)
        for page in sorted(decks.glob("[01]*.html")):
            browser.go(page.as_uri())
            found = browser.js(MEASURE)
            assert found["slides"] > 15 and found["maths"] > 10
            assert not found["wrong"], page.name
            assert found["over"] == [], page.name
            assert found["scrolled"] <= found["slides"]/20, page.name     # the rest is set smaller
            assert [e for e in browser.errors() if "file://" not in e] == []
    finally: browser.close()

def test_one_line_says_what_to_do_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as e: slides.reveal(tmp_path/"out", tmp_path/"cache")
    said = str(e.value)
    assert "npm pack reveal.js@" in said and str(tmp_path/"cache") in said
    assert "\n" not in said

def archive(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name); info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

def test_another_archive_than_the_published_one_is_not_unpacked(tmp_path):
    archive(tmp_path/"cache"/f"{slides.REVEAL}.tgz", {"package/dist/reveal.js": b"evil()"})
    with pytest.raises(SystemExit, match="as published") as e: slides.reveal(tmp_path/"out", tmp_path/"cache")
    assert "\n" not in str(e.value) and not (tmp_path/"out").exists()

def test_nothing_is_unpacked_outside_the_folder(tmp_path, monkeypatch):
    up = "package/dist/theme/fonts/source-sans-pro/../../../../../../../x.css"
    archive(tmp_path/"cache"/f"{slides.REVEAL}.tgz", {up: b"x", "package/dist/reveal.js": b"y", "../x.css": b"x"})
    monkeypatch.setattr(slides, "check", lambda tgz: None)
    slides.reveal(tmp_path/"out", tmp_path/"cache")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".tgz"] == ["reveal.js"]


# ---- caches and times

def test_times_are_measured_and_replace_older_ones(tmp_path, monkeypatch):
    lesson, table = tmp_path/"09_x.ipynb", tmp_path/"times.csv"
    notebook(lesson, "import os, time\nfrom pathlib import Path\nmade = Path(os.environ['MMVAE_CACHE'])/'made'\n"
                     "start = time.process_time()\n"
                     "while not made.exists() and time.process_time() < start + 3: pass\nmade.touch()")
    empty, filled = times.measured(lesson)
    assert 2 <= empty - filled <= 4
    times.write_times({"09_x": [9, 8], "02_y": [3, 2]}, table)
    times.write_times({"09_x": [empty, filled]}, table)
    assert table.read_text() == f"lesson,empty_cache_s,filled_cache_s\n02_y,3,2\n09_x,{empty},{filled}\n"

def test_a_lesson_that_fails_is_named(tmp_path):
    lesson = notebook(tmp_path/"09_x.ipynb", "1/0")
    with pytest.raises(SystemExit, match="^09_x.ipynb fails:"): times.seconds(lesson, tmp_path)

def test_the_committed_times_are_of_lessons_there_are():
    table = pd.read_csv(times.TIMES, index_col="lesson")
    assert set(table.index) <= {p.stem for p in NUMBERED}
    assert {p.stem for p in COURSE} <= set(table.index), "run: python tools/times.py time NB .."
    assert (table > 0).all(axis=None) and table.index.is_unique

def test_the_workshop_is_what_has_a_letter_and_the_plumbing():
    workshop = {p.stem.split("_")[0] for p in NUMBERED if in_workshop(p)}
    assert "00" in workshop and all(len(n) == 3 for n in workshop - {"00"})
    assert [p.stem[:2] for p in COURSE] == sorted({p.stem[:2] for p in COURSE})
    assert not any(in_workshop(p) for p in LESSONS if not p.stem[0].isdigit())


# ---- the walk along t (lesson 09)

LESSON_09 = next(p for p in COURSE if p.stem.startswith("09"))

@pytest.fixture(scope="module")
def walk(spaces):
    "The lesson's function, and a small teacher to walk with."
    from mmvae_nb.datasets.digits import mnist_svhn_text
    from mmvae_nb.multimodal_iterative import IterativeTeacher
    from mmvae_nb.networks import default_specs
    [cell] = [c.source for c in read(LESSON_09).cells if "def walk(" in c.source]
    space = spaces(LESSON_09)
    exec(cell.split("\nshipped, item = ")[0], space)
    data = mnist_svhn_text("train", items=20)
    torch.manual_seed(0)
    teacher = IterativeTeacher(default_specs(data.modalities), latent=5, steps=2, hidden=8).eval()
    return space["walk"], teacher, {n: x[:1] for n, x in data.batch(0, 4).items()}

def test_a_walk_begins_at_the_starts_and_decodes_every_posterior(walk):
    function, teacher, item = walk
    frames = function(teacher, item, 3)
    assert len(frames) == 4
    for n in teacher.names:
        torch.testing.assert_close(frames[0][n][0].mean, teacher.encoders[n](item[n]).mean)
        assert not torch.equal(frames[3][n][0].mean, frames[0][n][0].mean)
        for q, made in (f[n] for f in frames):
            assert q.mean.shape == (1, 5) and not q.mean.requires_grad
            for m in teacher.names: torch.testing.assert_close(made[m], teacher.generate(q.mean)[m])

def test_a_longer_walk_repeats_the_shorter_one(walk):
    function, teacher, item = walk
    short, long, other = (function(teacher, item, t, **how) for t, how in [(1, {}), (3, {}), (3, {"seed": 1})])
    for n in teacher.names:
        for t in (0, 1): torch.testing.assert_close(short[t][n][0].mean, long[t][n][0].mean)
        assert not torch.equal(long[3][n][0].mean, other[3][n][0].mean)

def test_the_slider_draws_any_step_from_any_start(walk):
    import matplotlib.pyplot as plt
    function, teacher, item = walk
    [cell] = [c.source for c in read(LESSON_09).cells if "interact(at" in c.source]
    names = teacher.names
    space = dict(plt=plt, specs=teacher.specs, frames=function(teacher, item, 2), made=[],
                 words=lambda x: ["a word"]*len(x), pairs=[(a, b) for a in names for b in names if a != b])
    space["interact"] = lambda f, **how: space["made"].append(how)
    exec(cell, space)
    assert space["made"] == [{"t": (0, 8), "start": names}]
    for t, start in [(0, "mnist"), (1, "svhn"), (2, "text")]:
        space["at"](t, start)
        left, *images = plt.gcf().axes
        assert start in left.get_title() and f"t = {t}" in left.get_title() and len(images) == 6
        assert left.lines[0].get_ydata() == pytest.approx(space["frames"][t][start][0].mean[0].numpy())
        assert [len(ax.images) + len(ax.texts) for ax in images] == [1]*6
        plt.close("all")

def test_the_site_shows_pictures_in_place_of_the_widget():
    cells = [c for c in read(LESSON_09).cells if c.cell_type == "code"]
    [slider] = [c for c in cells if "interact(" in c.source]
    assert slider.outputs == []
    assert "widget" not in json.dumps([c.outputs for c in cells] + [read(LESSON_09).metadata])
    strips = [c for c in cells if "generation_grid(strips(" in c.source]
    assert len(strips) == 2                                    # of the shipped teacher, and of one of a minute
    for c in strips: assert re.search(r'#\| fig-alt: ".{40,}"', c.source) and "image/png" in c.outputs[-1]["data"]
