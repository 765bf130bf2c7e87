"The instruments in a notebook: what their cells put out, in a page that treats it as JupyterLab does."
import json, re, tomllib

import pytest, torch

import handouts, instruments, slides
from browser import CHROMIUM, Browser
from mmvae_nb.core import MmvaeError
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.linear_gaussian import LinearGaussian, gaps
from mmvae_nb.plotting import INSTRUMENTS, Instrument
from site_helpers import LESSONS, ROOT, as_json, cells
from site_pages import page

RECORDS = ROOT/"nbs"/"instruments"/"talk-line.json"
# How JupyterLab (rendermime's renderHTML) shows the HTML of a cell that was run: it comes as innerHTML, and then its
# scripts are made anew, so that they run. The text's colour is the theme's.
NOTEBOOK = """<!doctype html><meta charset="utf-8"><title>t</title><body style="color:{ink};background:{paper}">
<main id="cells"></main><script>
const show = html => {{
  const host = document.createElement("div");
  document.getElementById("cells").append(host);
  host.innerHTML = html;
  for (const old of host.querySelectorAll("script")) {{
    const made = document.createElement("script");
    made.textContent = old.textContent;
    old.replaceWith(made);
  }}
}};
window.heard = [];
addEventListener("keydown", e => heard.push(e.key));
for (const html of {outputs}) show(html);
</script>"""
FRAMES = "[...document.querySelectorAll('iframe[data-instrument]')]"

def cell_of(path):
    "The code of the cell that shows a lesson's instrument, the text before it, and its saved outputs."
    found = [("".join(c["source"]), c.get("outputs")) for c in as_json(path)["cells"]]
    return next(((code, still, saved) for (still, _), (code, saved) in zip(found, found[1:])
                 if "::: {.instrument" in still and "Instrument(" in code), None)

SHOWN = {p: cell for p in LESSONS if (cell := cell_of(p))}

def run(code, monkeypatch):
    "What a cell of a lesson shows when a reader runs it alone, in the lesson's folder."
    monkeypatch.chdir(ROOT/"nbs")
    *before, last = re.sub(r"(?m)^#.*\n", "", code).strip().splitlines()
    space = {}
    exec("\n".join(before), space)
    return eval(last, space)

@pytest.fixture(scope="module")
def outputs():
    "The HTML of each lesson's cell, by the instrument's name; one of them a second time."
    with pytest.MonkeyPatch.context() as m: found = [run(code, m) for code, _, _ in SHOWN.values()]
    return [(o.name, o._repr_html_()) for o in [*found, Instrument("elbo-hill")]]

@pytest.fixture(scope="module")
def notebook(tmp_path_factory, outputs):
    "A tab; `notebook(ink, paper)` opens the page with all outputs."
    if not CHROMIUM: pytest.skip("no Chromium (Debian: apt-get install chromium), so no instrument was moved")
    folder = tmp_path_factory.mktemp("notebook")
    tab = Browser(folder/"profile")
    def opened(ink="#111", paper="#fff", width=900):
        text = json.dumps([html for _, html in outputs]).replace("</", "<\\/")
        (folder/"page.html").write_text(NOTEBOOK.format(ink=ink, paper=paper, outputs=text), encoding="utf-8")
        tab.size(width)
        tab.go(f"file://{folder}/page.html")
        tab.wait(lambda: tab.js(f"{FRAMES}.every(f => f.contentWindow.instruments)"), RuntimeError)
        return tab
    yield opened
    tab.close()

def told(tab, i):
    "The numbers below the picture in a frame."
    got = tab.js(f"[...{FRAMES}[{i}].contentDocument.querySelectorAll('dd')].map(e => e.textContent)")
    return [float(t.replace("\u2212", "-")) for t in got]

def move(tab, i, **state):
    "Move sliders in a frame as a reader does."
    for control, value in state.items():
        tab.js(f"""(f => {{ const s = f.contentDocument.getElementById(f.dataset.instrument + '-{control}');
                    s.value = {value}; s.dispatchEvent(new Event('input')) }})({FRAMES}[{i}])""")


# ---- in the notebook

def test_each_frame_moves_and_says_the_numbers_of_the_package(notebook, outputs):
    tab = notebook()
    assert tab.js(f"{FRAMES}.map(f => Object.keys(f.contentWindow.instruments.live).join())") == [n for n, _ in outputs]
    first = [n for n, _ in outputs].index("elbo-hill")
    move(tab, first, mean=.4, deviation=.9)
    double = lambda x: torch.tensor([[x]], dtype=torch.double)
    exact = gaps(LinearGaussian({"x": ([[1.]], [0.], 1.)}), {"x": double(1.7)},
                 DiagonalGaussian(double(.4), double(.81).log()))
    assert told(tab, first)[2] == pytest.approx(exact["elbo"].item(), abs=.006)
    controls = {"jmvae-alpha": "alpha", "two-experts": "m1", "refine-path": "t", "kl-direction": "mix",
                "one-rate": "rate"}
    for i, name in enumerate(n for n, _ in outputs):
        if name not in controls: continue
        seen = f"{FRAMES}[{i}].contentDocument.querySelector('dl').textContent"
        before = tab.js(seen)
        move(tab, i, **{controls[name]: 1})
        assert tab.js(seen) != before, name

def test_the_talks_line_has_its_records(notebook, outputs):
    tab, i = notebook(), [n for n, _ in outputs].index("talk-line")
    seen = lambda: tab.js(f"{FRAMES}[{i}].contentDocument.querySelector('svg').textContent")
    data = as_json(RECORDS)
    assert f"{data['student']['MNIST']:.0f} nats" in seen()
    tab.js(f"{FRAMES}[{i}].contentDocument.querySelector(\"input[type=radio][value='2']\").click()")
    assert f"{data['student']['Text']:.0f} nats" in seen()

def test_two_of_them_and_the_page_around_leave_each_other_alone(notebook, outputs):
    tab = notebook()
    one, two = [i for i, (n, _) in enumerate(outputs) if n == "elbo-hill"]
    move(tab, one, mean=2)
    assert told(tab, one) != told(tab, two)
    assert tab.js("[typeof window.instruments, document.querySelectorAll('.instrument, style').length]") == \
        ["undefined", 0]

def test_an_arrow_key_moves_the_slider_and_not_the_notebook(notebook, outputs):
    tab, i = notebook(), [n for n, _ in outputs].index("elbo-hill")
    tab.js(f"{FRAMES}[{i}].contentDocument.getElementById('elbo-hill-mean').focus()")
    for kind in ("keyDown", "keyUp"):
        tab.send("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    state = f"{FRAMES}[{i}].contentWindow.instruments.live['elbo-hill'].state.mean"
    assert tab.wait(lambda: tab.js(state)) == .05 and tab.js("heard") == []

@pytest.mark.parametrize("width", [900, 420])
def test_a_frame_is_as_high_as_what_it_shows(notebook, width):
    tab = notebook(width=width)
    for _ in range(2):
        sizes = tab.js(f"""{FRAMES}.map(f => {{ f.scrollIntoView(); const e = f.contentDocument.documentElement;
                           return [f.offsetHeight, e.scrollHeight, e.scrollWidth, f.offsetWidth] }})""")
        assert all(high == shown and wide <= there for high, shown, wide, there in sizes), sizes
        tab.size(width - 60)                     # a notebook's window gets narrower, and pictures lower
        tab.js("new Promise(r => setTimeout(r, 400))")

def test_it_is_dark_where_the_notebook_is_and_follows_it(notebook):
    tab = notebook("rgba(255, 255, 255, 0.87)", "#111")
    ground = f"""[...new Set({FRAMES}.map(f => f.contentWindow.getComputedStyle(
                 f.contentDocument.querySelector('.instrument')).backgroundColor))]"""
    dark, light = ["rgb(32, 38, 46)"], ["rgb(255, 255, 255)"]
    assert tab.js(ground) == dark
    for ink, there in [("#333", light), ("color(srgb 0.9 0.9 1)", dark), ("color(srgb 0.1 0.1 0.2)", light)]:
        tab.js(f"document.body.style.color = '{ink}'")           # color() is what color-mix() gives in a style sheet
        tab.js("new Promise(r => setTimeout(r, 1500))")
        assert tab.js(ground) == there, ink

def test_it_needs_no_network(notebook):
    assert [e for e in notebook().errors() if "file://" not in e] == []


# ---- what is asked for

def test_names_are_those_of_the_stills(): assert list(instruments.STILLS) == INSTRUMENTS

@pytest.mark.parametrize("name, records, line", [
    ("hill", None, "name: got 'hill', allowed: elbo-hill, two-experts"), (None, None, "name: got None, allowed: "),
    ("talk-line", None, "records: got None, allowed: the file of what was measured"),
    ("talk-line", "nowhere.json", "nowhere.json: no such file"),
    ("talk-line", ROOT/"results"/"benchmark.json", None)])
def test_a_wrong_name_or_file_is_one_line(name, records, line, tmp_path):
    if line is None:
        records = tmp_path/"other.json"
        records.write_text('{"starts": []}')
        line = f"records: got '{records}', allowed: "
    with pytest.raises(MmvaeError) as e: Instrument(name, records)
    assert str(e.value).startswith(line) and "\n" not in str(e.value)

def test_words_in_the_records_cannot_end_the_script(tmp_path):
    data = as_json(RECORDS) | {"scale": "</script><b>out</b>"}
    (tmp_path/"r.json").write_text(json.dumps(data))
    assert "&lt;/script&gt;&lt;b&gt;" not in Instrument("talk-line", tmp_path/"r.json")._repr_html_()

def test_the_script_comes_with_the_package():
    tools = tomllib.loads((ROOT/"pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    others = {p.name for p in (ROOT/"mmvae_nb").iterdir() if p.is_file() and p.suffix != ".py"}
    assert set(tools["package-data"]["mmvae_nb"]) == others >= {"instruments.js"}


# ---- the cells

def test_each_instrument_has_a_cell_right_after_its_still_that_is_not_run():
    shown = {}
    for path, (code, before, saved) in SHOWN.items():
        name = re.search(r"::: \{\.instrument \.([\w-]+)\}", before)[1]
        call = code.splitlines()[-1]
        assert call.startswith(f'Instrument("{name}"') and f"`{call}`" in before, path.stem
        assert code.startswith("#| hide\n#| eval: false\n") and saved == [], path.stem
        shown[name] = path
    assert sorted(shown) == sorted(INSTRUMENTS)

@pytest.mark.parametrize("path", SHOWN, ids=lambda p: p.stem)
def test_the_cell_is_in_handouts_and_neither_on_the_site_nor_on_slides(path, tmp_path):
    page(path, tmp_path/path.name)
    calls = lambda cs: sum("import Instrument" in c.source for c in cs)
    assert calls(cells(path)) == 1 and calls(cells(tmp_path/path.name)) == 0
    assert calls(slides.slides(path).cells) == 0 and calls(handouts.handout(path).cells) == 1
