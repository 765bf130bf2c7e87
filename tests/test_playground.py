"The playground: a browser computes what the package computes, from files alone, and can be worked by anybody."
import base64, gzip, json, re, shutil

import numpy as np, pytest, torch

import playground as tool
import playground_graphs as graphs
from browser import CHROMIUM, Browser
from playground_pack import levels_of, rounded
from site_helpers import LESSONS, ROOT

from mmvae_nb.core import MmvaeError, seed_everything
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.iterative_inference import elbo_gradient
from mmvae_nb.multimodal_iterative import IterativeTeacher
from mmvae_nb.networks import default_specs
from mmvae_nb.pretrained_models import cards, pretrained

PAGE = ROOT/"site"/"playground"
BARE = """<!doctype html><html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>playground</title></head><body><main class="content"><div data-playground="given"></div>
<div data-playground="views"></div><div data-playground="refine"></div></main>
<script src="{}/playground.js"></script></body></html>"""


# ---- what is committed

def handed(name):
    "What a script hands to the page."
    text = (PAGE/f"{name}.js").read_text(encoding="utf-8")
    return json.loads(re.fullmatch(r'playground\.put\("[\w-]+", (.*)\);\n', text, re.S)[1])

ABOUT = handed("data")
METHODS = [m["name"] for m in ABOUT["methods"]]
CARD = {m["name"]: m["card"] for m in [*ABOUT["methods"], ABOUT["teacher"]]}
TEACHER = ABOUT["teacher"]["name"]

def test_the_page_has_the_weights_that_are_shipped():
    known = cards()
    for m in [*ABOUT["methods"], ABOUT["teacher"]]:
        assert m["sha256"] == known[m["card"]]["sha256"], f"{m['name']}: other weights than the page's: make playground"
    assert "iterative_student" in METHODS and "mopoe" in METHODS

def test_the_page_is_small_and_loaded_by_no_other():
    files = {f.name: f.stat().st_size for f in PAGE.iterdir()}
    assert max(files.values()) < 3e6 and sum(files.values()) < 15e6, files
    loads = [p.stem for p in LESSONS if "site/playground/" in p.read_text(encoding="utf-8")]
    assert loads == ["playground"]
    for f in PAGE.glob("play*"):       # nothing is asked from outside
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", f.read_text(encoding="utf-8")), f.name

def test_the_runtime_is_the_one_that_is_pinned():
    parts = [handed(f"runtime-{i + 1}") for i in range(tool.PARTS)]
    assert {p["version"] for p in parts} == {tool.RUNTIME}
    wasm = gzip.decompress(base64.b64decode("".join(p["wasm"] for p in parts)))
    assert wasm[:4] == b"\0asm" and len(wasm) > 10_000_000
    code = gzip.decompress(base64.b64decode(parts[0]["code"])).decode()
    assert f"v{tool.RUNTIME.rsplit('-', 1)[1]}" in code and "MIT" in (PAGE/"LICENSE-onnxruntime.txt").read_text()

def test_another_archive_than_the_pinned_one_is_refused(monkeypatch, tmp_path):
    def npm(args, cwd, **_): (cwd/f"{tool.RUNTIME}.tgz").write_bytes(b"another")
    monkeypatch.setattr(tool.subprocess, "run", npm)
    with pytest.raises(MmvaeError, match="SHA-512 differs"): tool.fetched(tmp_path)


# ---- graphs

def small():
    "An iterative teacher on the modalities of the page, small and untrained, and items for it."
    from mmvae_nb.data import Modality
    made = {"a": Modality("a", "image", (1, 8, 8)), "b": Modality("b", "text", (8,), "xyz ")}
    seed_everything(0)
    teacher = IterativeTeacher(default_specs(made), latent=3, hidden=16).eval().requires_grad_(False)
    return teacher, (torch.rand(1, 1, 8, 8), torch.randint(4, (1, 8)))

def test_a_traced_step_with_its_gradient_is_the_step():
    teacher, items = small()
    args = (*torch.randn(2, 2, 3), torch.zeros(2, 7), torch.randn(2, 3), torch.randn(4, 3), torch.randn(1, 3))
    step, on = graphs.Step(teacher), torch.ones(2)
    traced = graphs.traced(step, (*args, on, *items))
    assert not any("backward" in str(n.target) for n in traced.graph.nodes)
    other = (*(1.5*a + .1 for a in args), torch.tensor([1., 0.]), *(items[0].flip(-1), items[1].flip(-1)))
    for name, a, b in zip(step.outputs(), step(*other), traced(*other)):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5, msg=name)

def test_rounding_keeps_127_steps_of_each_row_and_is_done_once():
    teacher, _ = small()
    before = {n: p.clone() for n, p in teacher.named_parameters()}
    rounded(teacher)
    once = {n: p.clone() for n, p in teacher.named_parameters()}
    rounded(teacher)
    changed = 0
    for n, p in teacher.named_parameters():
        torch.testing.assert_close(p, once[n], rtol=1e-6, atol=0)
        off = (p - before[n]).abs()
        changed += bool(off.max() > 0)
        if off.max() > 0: assert (off.flatten(1) <= before[n].flatten(1).abs().amax(1, keepdim=True)/253).all()
    assert changed > 3
    levels, scales = levels_of(np.array([[1., -2.], [0., 0.]], "float32"))
    assert levels.tolist() == [[64, -127], [0, 0]] and np.isfinite(scales).all()

def test_without_onnx_the_way_to_it_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MmvaeError, match="make playground"): graphs.to_onnx(None, ())


# ---- in a browser, from files

@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not CHROMIUM: pytest.skip("no Chromium (Debian: apt-get install chromium), so the page was not run")
    b = Browser(tmp_path_factory.mktemp("profile"))
    yield b
    b.close()

def opened(browser, folder, until=("all",)):
    "Open the bare page with the scripts of a folder, as a file."
    (folder/"page.html").write_text(BARE.format(PAGE if folder.name != "copy" else "."), encoding="utf-8")
    browser.go((folder/"page.html").as_uri())
    browser.wait(lambda: browser.js("document.documentElement.dataset.playground") in until)

def complaints(browser): return [e for e in browser.errors() if not e.startswith("asks the network: file:")]

@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    "The page, ready; it has asked for files only."
    browser.size(1280)
    opened(browser, tmp_path_factory.mktemp("page"))
    assert complaints(browser) == []
    return browser

def numbers(x):
    "A tensor as an expression of the page's script."
    kind, each = ("Float32Array", "Number") if x.is_floating_point() else ("BigInt64Array", "BigInt")
    return f"{kind}.from({x.flatten().tolist()}, {each})"

def items(seed):
    "One item of each modality, drawn at random among the page's examples."
    drawn, found = np.random.default_rng(seed), {}
    for m in ABOUT["modalities"]:
        if m["kind"] == "text":
            words = pretrained(CARD[TEACHER]).specs[m["name"]].modality
            found[m["name"]] = words.encode([str(drawn.choice(m["items"]))])
            continue
        x = np.frombuffer(base64.b64decode(m["items"]), np.uint8).reshape(-1, *m["shape"])
        found[m["name"]] = torch.tensor(x[[drawn.integers(len(x))]]).float()/255
    return found

def script_of(batch): return "{" + ", ".join(f"{n}: {numbers(x)}" for n, x in batch.items()) + "}"

PLAIN = "o => Object.fromEntries(Object.entries(o).map(([k, v]) => [k, Array.from(v, Number)]))"

def close(got, wanted, what):
    "Within a thousandth of the largest number."
    wanted = wanted.detach().flatten().double().numpy()
    assert np.abs(np.array(got) - wanted).max() <= 1e-3*np.abs(wanted).max(), what
    return float(np.abs(np.array(got) - wanted).max()/np.abs(wanted).max())

@pytest.mark.parametrize("name", METHODS)
def test_inference_and_generation_agree_with_the_package(page, name):
    model, batch, view = rounded(pretrained(CARD[name])), items(1), 3
    noise, worst = torch.tensor(ABOUT["views"][view]), 0
    for subset in ABOUT["sets"]:
        some = {n: batch[n] for n in subset}
        got = page.js(f"playground.imagine('{name}', {script_of(some)}, {view}).then({PLAIN})")
        q = model.infer(some)
        worst = max(worst, close(got["mean"], q.mean, subset), close(got["logvar"], q.logvar, subset))
        made = model.generate(q.mean + q.std*noise)
        for n, x in made.items():
            if x.is_floating_point(): worst = max(worst, close(got[f"new_{n}"], x, (subset, n)))
            else: assert got[f"new_{n}"] == x.flatten().tolist(), (subset, n)
    print(f"{name}: at most {worst:.1e} apart")

class Fixed(DiagonalGaussian):
    "A Gaussian whose next sample is known."
    noise = None
    def rsample(self, n=None, generator=None): return self.mean + self.std*self.noise

def fixed(q, noise):
    made = Fixed(q.mean, q.logvar)
    made.noise = noise
    return made

@pytest.mark.parametrize("subset", [("mnist", "text"), ("mnist", "svhn", "text"), ("text",)])
def test_refinement_agrees_with_the_package(page, subset):
    teacher, batch = rounded(pretrained(CARD[TEACHER])).eval(), {n: x for n, x in items(2).items() if n in subset}
    steps, M = 4, len(teacher.names)
    got = page.js(f"""(async () => {{ const r = new playground.Refinement({script_of(batch)}), out = [];
        for (let t = 0; t <= {steps}; t++) out.push(({PLAIN})(await r.at(t))); return out; }})()""")
    noise, looks = torch.tensor(ABOUT["steps"]), torch.tensor(ABOUT["looks"])
    worst = 0
    for n in subset:
        i, q, memory = teacher.names.index(n), teacher.encoders[n](batch[n]), None
        for t in range(steps + 1):
            mine = {k: np.array(v).reshape(M, -1)[i] for k, v in got[t].items() if k != "view" and len(v) >= M}
            wanted = -torch.stack([teacher.elbo(batch, fixed(q, e)) for e in looks]).mean(0)
            worst = max(worst, close(mine["mean"], q.mean, (n, t)), close(mine["nelbo"], wanted, (n, t)),
                        close(mine["deviation"], q.std, (n, t)))
            eps = noise[M*(t % ABOUT["teacher"]["steps"]) + i]
            _, *g = elbo_gradient(lambda q, eps=eps: teacher.elbo(batch, fixed(q, eps), path=True), q)
            worst = max(worst, close(mine["g_mean"], g[0], (n, t)), close(mine["g_logvar"], g[1], (n, t)))
            with torch.no_grad(): q, memory = teacher.refiner(q.detach(), *g, memory)
    print(f"{subset}: at most {worst:.1e} apart after {steps} steps")

def test_a_drawn_digit_is_scaled_and_centred_as_the_training_digits_are(page):
    one = "[[[0, 0], [0.3, 1], [0.5, 0.2]], [[0.1, 0.6], [0.4, 0.6]]]"
    there = f"{one}.map(s => s.map(([x, y]) => [40 + 7*x, 90 + 7*y]))"
    a, b = (np.array(page.js(f"Array.from(playground.rasterised({s}, 28))")).reshape(28, 28) for s in (one, there))
    assert np.abs(a - b).max() < .02                   # wherever and however large it was drawn
    rows, columns = np.nonzero(a.sum(1) > .05)[0], np.nonzero(a.sum(0) > .05)[0]
    assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
    centre = [(a.sum(1 - k)*(np.arange(28) + .5)).sum()/a.sum() for k in (0, 1)]
    assert np.abs(np.array(centre) - 14).max() < .15
    assert a.max() > .95 and ((a > .1) & (a < .9)).sum() > 20          # soft edges
    assert np.allclose(a*255, np.round(a*255), atol=1e-3)
    dot = np.array(page.js("Array.from(playground.rasterised([[[5, 5]]], 28))"))
    assert 3 < dot.sum() < 9

LOOK = """[...document.querySelectorAll('[data-playground="views"] tbody tr:last-child :is(canvas, output)')]
  .map(e => e.toDataURL ? e.toDataURL() : e.textContent).join()"""

def settled(page, before):
    "What the last method generates, once it is other than before."
    page.wait(lambda: page.js(LOOK) != before)
    return page.js(LOOK)

def press(page, key, code, number):
    "A key goes down and up."
    for kind in ("keyDown", "keyUp"):
        page.send("Input.dispatchKeyEvent", type=kind, key=key, code=code, windowsVirtualKeyCode=number,
                  **({"text": key} if key == " " else {}))

def test_by_pen_by_keyboard_and_by_slider(page):
    page.events.clear()
    seen = page.js(LOOK)
    x, y = page.js("(p => { p.scrollIntoView(); const r = p.getBoundingClientRect(); return [r.x, r.y]; })"
                   "(document.querySelector('.pg-pad'))")
    for kind, dx, dy in [("Pressed", 60, 40), ("Moved", 90, 90), ("Moved", 95, 150), ("Released", 95, 150)]:
        page.send("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x + dx, y=y + dy, button="left", buttons=1,
                  clickCount=1)
    seen = settled(page, seen)
    page.js("document.querySelector('.pg-type input[type=text]').focus()")
    page.js("document.activeElement.select()")
    page.send("Input.insertText", text="seven")
    seen = settled(page, seen)
    assert page.js("Number(playground.state.given.text[0])") == ABOUT["modalities"][-1]["vocabulary"].index("s")
    page.js("document.querySelector('.pg-choose .pg-thumb').focus()")
    press(page, " ", "Space", 32)
    seen = settled(page, seen)
    assert page.js("[...playground.state.on].sort().join()") == "mnist,svhn,text"
    page.js("document.querySelector('[data-playground=views] input[type=range]').focus()")
    press(page, "ArrowRight", "ArrowRight", 39)
    seen = settled(page, seen)
    assert page.js("playground.state.view") == 2
    assert complaints(page) == []

def test_a_character_that_is_unknown_is_said(page):
    page.js("(f => { f.value = 'né'; f.dispatchEvent(new Event('input')); })"
            "(document.querySelector('.pg-type input[type=text]'))")
    page.wait(lambda: "é" in page.js("document.querySelector('.pg-says').textContent"))
    page.js("document.querySelector('.pg-type .pg-thumb').click()")
    page.wait(lambda: page.js("document.querySelector('.pg-says').textContent") == "")

def test_the_refinement_is_stepped_and_played(page):
    count = "document.querySelectorAll('.pg-chart circle').length"
    starts = page.js("Object.keys(playground.given()).length")
    page.wait(lambda: page.js(count) == starts)
    page.js("[...document.querySelectorAll('.pg-controls button')].find(b => b.textContent === 'Step').click()")
    page.wait(lambda: page.js(count) == 2*starts)
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    page.js("document.querySelector('.pg-controls button').click()")
    page.wait(lambda: page.js(count) == 9*starts)
    page.send("Emulation.setEmulatedMedia", features=[])
    assert page.js("document.querySelector('.pg-chart').getAttribute('aria-label')").count(",") >= 8
    rows = page.js("[...document.querySelectorAll('.pg-row:not(.pg-head)')]"
                   ".map(r => r.querySelectorAll('canvas, output').length)")
    assert rows == [3]*starts

def test_on_a_phone_in_print_and_for_those_who_hear_it(page):
    page.size(390)
    try: assert page.js("document.documentElement.scrollWidth") <= 390
    finally: page.size(1280)
    nameless = page.js("""[...document.querySelectorAll('button, input, canvas, output, svg')].filter(e =>
      !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label, legend, [aria-hidden=true]')))
      .map(e => e.outerHTML)""")
    assert nameless == []
    page.send("Emulation.setEmulatedMedia", media="print")
    gone = "[...document.querySelectorAll('[data-playground] button')].every(b => !b.offsetParent)"
    page.wait(lambda: page.js(gone))
    assert page.js("!!document.querySelector('.pg-table').offsetParent")
    page.send("Emulation.setEmulatedMedia", media="")

def test_what_is_missing_is_said_in_one_line(browser, tmp_path):
    folder = tmp_path/"copy"
    shutil.copytree(PAGE, folder)
    (folder/"runtime-2.js").unlink()
    opened(browser, folder, ("failed", "all"))
    said = browser.js("document.querySelector('.pg-says').textContent")
    assert "runtime-2.js" in said and "\n" not in said
