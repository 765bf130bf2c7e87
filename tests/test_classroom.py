"The class: exercises, handouts, slides, times, the walk along t."
import base64, copy, html, json, os, re, shutil, subprocess, sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat, pandas as pd, pytest, torch

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

def test_pictures_travel_with_handouts_and_slides():
    path = next(p for p in COURSE if p.stem.startswith("15"))
    named = re.compile(r"!\[([^\]]*)\]\(([^)]*\.png)\)")
    words = lambda nb: "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    pictures = named.findall(words(read(path)))
    assert pictures
    for made in (classroom.handout(path), classroom.slides(path)):
        assert not named.search(words(made))
        for alt, file in pictures:
            data = re.findall(f'<img alt="{re.escape(html.escape(alt))}" src="data:image/png;base64,([^"]+)">', words(made))
            assert [base64.b64decode(d) for d in data] == [(path.parent/file).read_bytes()]
    with pytest.raises(FileNotFoundError): classroom.embedded("![a](nothing.png)", path)

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


# ---- the lecturer's page

def test_the_page_names_sections_and_commands_there_are():
    page = (ROOT/"nbs"/"_py"/"lecturer.py").read_text(encoding="utf-8")
    makefile = (ROOT/"Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^# |`)make ([a-z-]+)", page, re.M)): assert f"\n{target}: " in makefile, target
    exercises_named = re.findall(r"exercise \*(.+?)\*", page)
    titles = {m for p in COURSE for c in read(p).cells for m in re.findall(r"^### In code: (.*)$", c.source, re.M)}
    assert len(exercises_named) > 5 and set(exercises_named) <= titles
    rows = re.findall(r"^# \| (\d+) \|", page, re.M)
    starts = [list(map(int, plan.split())) for plan in re.findall(r"0(?: \d+)+", " ".join(rows).replace(" 0 ", " ; 0 "))]
    assert len(starts) == 4 and all(s == sorted(s) and s[-1] < 90 for s in starts)


# ---- slides

by_deck = pytest.mark.parametrize("path", [p for p in lessons() if p.stem[0].isdigit()], ids=lambda p: p.stem)

@by_deck
def test_every_section_and_every_figure_is_on_the_slides(path):
    deck = classroom.slides(path).cells
    starts = [c.source.split("\n")[0] for c in deck if c.metadata.slideshow.slide_type == "slide"]
    prose = "\n\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")
    prose = re.sub(r"```.*?```", "", prose, flags=re.S)
    wanted = [h for h in re.findall(r"^##? .*", prose, re.M) if h[3:] not in ("Solutions", "References")]
    assert starts == wanted
    shown = "\n".join(c.source for c in deck)
    kept = [o for c in read(path).cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})]
    named = re.findall(r"!\[[^\]]+\]\([^)]+\.png\)", prose)             # pictures of runs
    assert shown.count("<img ") == len(kept) + len(named) and '<img alt="" ' not in shown
    assert not re.search(r"SOLUTION|^:::|^#\|", shown, re.M)

def test_blocks_and_their_weights():
    text = "A paragraph\nof two lines\n$$a\\\\\n\nb$$\nand more.\n\n- one\n- two\n## Head\n::: {.callout-note}\n```python\nx\n\n# y\n```\n:::"
    assert list(classroom.blocks(text)) == ["A paragraph\nof two lines", "$$a\\\\\n\nb$$", "and more.", "- one\n- two", "## Head",
                                            "```python\nx\n\n# y\n```"]
    assert classroom.weight("- one\n- two") > classroom.weight("one") and classroom.weight("$$a$$") > 2
    assert classroom.weight("w "*400) > classroom.LINES/2

def test_long_paragraphs_keep_whole_sentences():
    text = "First, with $a. B$ in it. " + "Second sentence. "*30 + "It leads on:"
    short = classroom.shortened(text)
    starred = "Near $q^*(z)$ it is so. " + "Second sentence. "*30
    assert len(classroom.shortened(starred)) < 300
    assert short.startswith("First, with $a. B$ in it. Second sentence.") and short.endswith("Second sentence. … It leads on:")
    assert len(short) < 300 and classroom.shortened("Short.") == "Short."
    assert classroom.shortened("| a | b |\n" * 100) == "| a | b |\n" * 100

def test_a_sentence_that_leads_to_nothing_is_left_out():
    assert classroom.ended("It is so. We can check it:") == "It is so."
    assert classroom.ended("And the refusals, by name:") == "" and classroom.ended("It is so.") == "It is so."

def test_what_a_cell_prints_stays_with_its_code_and_no_line_stands_alone(tmp_path):
    code = nbformat.v4.new_code_cell("\n".join(f"print({i})" for i in range(12)), outputs=[nbformat.v4.new_output("stream", text="0\n1")])
    for prose, many in [("One line.", 1), ("A sentence of some length. "*16, 2)]:
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# T\n\n## S\n\n{prose}"), code])
        nbformat.write(nb, tmp_path/"02_x.ipynb")
        deck = [c.source for c in classroom.slides(tmp_path/"02_x.ipynb").cells if c.metadata.slideshow.slide_type != "notes"]
        assert len(deck) == 1 + many and "print(11)" in deck[-1] and "0\n1" in deck[-1]

def test_long_code_becomes_an_outline():
    code = 'def f(a, b=1):\n    "Does f."\n    return a\nclass C(D):\n    "A C."\n    def _g(self): pass\n    def h(self): return 1\n'
    assert classroom.outline(code) == 'def f(a, b=1): ...\n    "Does f."\nclass C: ...\n    "A C."\n    def h(self): ...'

@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    "Decks of two lessons. Without npm or a network, and without a copy in the cache, there are none."
    out = tmp_path_factory.mktemp("decks")/"_slides"
    cache = Path(os.environ["MMVAE_CACHE"])
    try: classroom.decks([p for p in COURSE if p.stem[:2] in ("03", "05")], out, cache)
    except SystemExit as e: pytest.skip(str(e))
    return out

class Links(HTMLParser):
    "What a page loads."
    def __init__(self): super().__init__(); self.found = []
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag in ("script", "img") and "src" in a: self.found.append(a["src"])
        if tag == "link": self.found.append(a["href"])

def test_slides_load_nothing_from_elsewhere(decks):
    if not (decks/"site_libs"/"katex").exists(): pytest.skip("npm can't fetch KaTeX")
    for page in decks.glob("*.html"):
        links = Links(); links.feed(page.read_text(encoding="utf-8"))
        local = [l for l in links.found if not l.startswith("data:")]
        assert all((decks/l).is_file() for l in local), local
        assert page.name == "index.html" or len(local) >= 6
    css = [f.read_text(encoding="utf-8") for f in decks.rglob("*.css")]
    assert css and not re.search(r"url\(['\"]?https?:", "".join(css))

MEASURE = """<script>Reveal.on("ready", () => document.fonts.ready.then(() => setTimeout(() => {
  const found = {slides: 0, wrong: document.querySelectorAll(".katex-error").length, maths: document.querySelectorAll(".katex").length, over: []};
  for (const s of Reveal.getSlides()) {
    const i = Reveal.getIndices(s); Reveal.slide(i.h, i.v); found.slides++;
    const top = document.querySelector(".slides").getBoundingClientRect().top;
    const seen = [...s.querySelectorAll("*")].filter(e => !e.closest("aside") && e.offsetParent);
    const bottom = Math.max(...seen.map(e => e.getBoundingClientRect().bottom - top))/Reveal.getScale();
    if (bottom > 730 || s.scrollWidth*(s.style.zoom || 1) > 1290) found.over.push([i.h, i.v, bottom, s.scrollWidth]);
  }
  document.body.innerHTML = "<pre id=result>" + JSON.stringify(found) + "</pre>";
}, 300)));</script></html>"""

@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
@pytest.mark.timeout(300)
def test_nothing_hangs_over_the_edge_of_a_slide(decks):
    if not (decks/"site_libs"/"katex").exists(): pytest.skip("npm can't fetch KaTeX")
    for page in sorted(decks.glob("0*.html")):
        probe = page.with_name("probe.html")
        probe.write_text(page.read_text(encoding="utf-8").replace("</html>", MEASURE), encoding="utf-8")
        r = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                            "--window-size=1280,720", "--virtual-time-budget=10000", "--dump-dom", probe.as_uri()],
                           capture_output=True, text=True, timeout=120)
        probe.unlink()
        found = json.loads(re.search(r'<pre id="result">(\{.*?\})</pre>', r.stdout)[1])
        assert found["slides"] > 15 and found["maths"] > 20 and not found["wrong"] and found["over"] == [], found

def test_one_line_says_what_to_do_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as e: classroom.reveal(tmp_path/"out", tmp_path/"cache")
    assert "npm pack reveal.js@" in str(e.value) and "\n" not in str(e.value) and str(tmp_path/"cache") in str(e.value)


# ---- caches and times

def test_times_are_measured_and_replace_older_ones(tmp_path, monkeypatch):
    lesson, table = tmp_path/"09_x.ipynb", tmp_path/"times.csv"
    code = ("import os, time\nfrom pathlib import Path\nmade = Path(os.environ['MMVAE_CACHE'])/'made'\nstart = time.process_time()\n"
            "while not made.exists() and time.process_time() < start + 3: pass\nmade.touch()")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), lesson)
    empty, filled = classroom.measured(lesson)
    assert 2 <= empty - filled <= 4
    classroom.write_times({"09_x": [9, 8], "02_y": [3, 2]}, table)
    classroom.write_times({"09_x": [empty, filled]}, table)
    assert table.read_text() == f"lesson,empty_cache_s,filled_cache_s\n02_y,3,2\n09_x,{empty},{filled}\n"

def test_a_lesson_that_fails_is_named(tmp_path):
    lesson = tmp_path/"09_x.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1/0")]), lesson)
    with pytest.raises(SystemExit, match="^09_x.ipynb fails:"): classroom.seconds(lesson, tmp_path)

def test_the_committed_times_are_of_lessons_there_are():
    table = pd.read_csv(classroom.TIMES, index_col="lesson")
    assert set(table.index) <= {p.stem for p in lessons()} and len(table) > 5
    assert (table > 0).all(axis=None) and table.index.is_unique


# ---- the walk along t (lesson 15)

LESSON_15 = next(p for p in COURSE if p.stem.startswith("15"))

@pytest.fixture(scope="module")
def walk(spaces):
    "The lesson's function, and a small teacher to walk with."
    from mmvae_nb.data import mnist_svhn_text
    from mmvae_nb.multimodal_iterative import IterativeTeacher
    from mmvae_nb.networks import default_specs
    [cell] = [c.source for c in read(LESSON_15).cells if "def walk(" in c.source]
    space = spaces(LESSON_15)
    exec(cell.split("\nitem = ")[0], space)
    data = mnist_svhn_text("train", items=20)
    torch.manual_seed(0)
    teacher = IterativeTeacher(default_specs(data.modalities), latent=5, steps=2, hidden=8).eval()
    return space["walk"], teacher, {n: x[:1] for n, x in data.batch(0, 4).items()}

def test_a_walk_begins_at_the_starts_and_decodes_every_posterior(walk):
    walk, teacher, item = walk
    frames = walk(teacher, item, 3)
    assert len(frames) == 4
    for n in teacher.names:
        torch.testing.assert_close(frames[0][n][0].mean, teacher.encoders[n](item[n]).mean)
        assert not torch.equal(frames[3][n][0].mean, frames[0][n][0].mean)
        for q, made in (f[n] for f in frames):
            assert q.mean.shape == (1, 5) and not q.mean.requires_grad
            for m in teacher.names: torch.testing.assert_close(made[m], teacher.generate(q.mean)[m])

def test_a_longer_walk_repeats_the_shorter_one(walk):
    walk, teacher, item = walk
    short, long, other = walk(teacher, item, 1), walk(teacher, item, 3), walk(teacher, item, 3, seed=1)
    for n in teacher.names:
        for t in (0, 1): torch.testing.assert_close(short[t][n][0].mean, long[t][n][0].mean)
        assert not torch.equal(long[3][n][0].mean, other[3][n][0].mean)

def test_the_slider_draws_any_step_from_any_start(walk):
    import matplotlib.pyplot as plt
    function, teacher, item = walk
    [cell] = [c.source for c in read(LESSON_15).cells if "interact(at" in c.source]
    names = teacher.names
    space = dict(plt=plt, specs=teacher.specs, frames=function(teacher, item, 2), words=lambda x: ["a word"]*len(x),
                 pairs=[(a, b) for a in names for b in names if a != b], made=[])
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
    cells = [c for c in read(LESSON_15).cells if c.cell_type == "code"]
    [slider] = [c for c in cells if "interact(" in c.source]
    assert slider.outputs == []
    assert "widget" not in json.dumps([c.outputs for c in cells] + [read(LESSON_15).metadata])
    [strips] = [c for c in cells if "strips[" in c.source]
    assert re.search(r'#\| fig-alt: ".{40,}"', strips.source) and "image/png" in strips.outputs[-1]["data"]
