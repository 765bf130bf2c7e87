"The site as a reader meets it: built once, every page opened in a headless browser at two widths."
import ast, contextlib, functools, http.server, os, re, shutil, threading
from urllib.parse import unquote, urldefrag

import numpy as np
import pytest

import notebooks as nbs
from site_helpers import LESSONS, ROOT, as_json, cells, markdown, outputs, python, read
from site_pages import only_imports, with_imports
from site_results import BESIDE

@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "The folder of the site, the folder it was rendered from, and what the builder said."
    folder = tmp_path_factory.mktemp("site")
    r = python(ROOT/"tools"/"site_build.py", "--out", folder/"_docs", "--proc", folder/"_proc", "--strict", cwd=folder)
    assert r.returncode == 0, r.stdout + r.stderr
    return folder/"_docs", folder/"_proc", r.stdout

@pytest.fixture(scope="module")
def pages(built): return sorted(built[0].rglob("*.html"))


# ---- without a browser

def test_no_warnings_and_every_page(built):
    out, _, said = built
    assert "warning" not in said
    home = (out/"index.html").read_text(encoding="utf-8")
    for path in LESSONS:
        page = (out/path.name).with_suffix(".html").read_text(encoding="utf-8")
        assert "default_exp" not in page
        assert re.search(rf'href="(\./)?{path.stem}\.html"', home), f"{path.stem}: no link on the home page"
    for module in nbs.modules(): assert (out/"api"/f"{module}.html").exists(), module
    with_pages = [s for s in (ROOT/"results").iterdir() if any((s/kind).is_dir() for kind in ("tables", "reports"))]
    for scale in with_pages:        # records alone are for the reports of another scale
        assert (out/"results"/scale.name/"index.html").exists() == (scale.name not in BESIDE)

def test_icons_have_the_one_font_that_browsers_ask_for(built):
    [css] = built[0].rglob("bootstrap-icons.min.css")
    fonts = re.findall(r'url\("([^"?]+)', css.read_text(encoding="utf-8"))
    assert [f.rsplit(".", 1)[1] for f in fonts] == ["woff2"] and (css.parent/fonts[0]).stat().st_size > 50_000
    assert not list(css.parent.rglob("*.woff"))

def test_the_site_is_light(built, pages):
    assert sum(f.stat().st_size for f in built[0].rglob("*") if f.is_file()) < 40e6
    assert max(p.stat().st_size for p in pages) < 3e6
    from PIL import Image
    for few in list(built[0].glob("results/*/figures/*.png"))[:5]:         # fewer bytes, the same picture
        whole = ROOT/few.relative_to(built[0])
        with Image.open(few) as a, Image.open(whole) as b:
            far = np.abs(np.asarray(a.convert("RGB"), int) - np.asarray(b.convert("RGB"), int))
        assert far.mean() < 3 and few.stat().st_size <= whole.stat().st_size, few.name

@pytest.mark.skipif(bool(shutil.which("quarto")), reason="about what smalldocs writes")
def test_smalldocs_check_finds_nothing(built):
    r = python("-c", "import sys; from smalldocs.cli import main; sys.exit(main())", "check", built[1])
    assert r.returncode == 0, r.stdout + r.stderr
    assert "0 thing(s)" in r.stderr

@pytest.mark.skipif(bool(shutil.which("quarto")), reason="about what smalldocs writes")
def test_search_index_covers_every_page(built):
    found = as_json(built[0]/"search.json")
    assert {f["href"].split("#")[0] for f in found} >= {f"{p.stem}.html" for p in LESSONS}

def place_of(symbol):
    "The lesson that defines a symbol, and the anchor of the cell."
    from site_pages import definitions
    lesson, anchor = definitions()[symbol]
    return lesson.replace(".ipynb", ".html"), anchor

@pytest.mark.parametrize("module, symbol", [("distillation", "Students"), ("datasets.digits", "mnist_svhn_text")])
def test_reference_and_lesson_link_to_each_other(built, module, symbol):
    lesson, anchor = place_of(symbol)
    reference = (built[0]/"api"/f"{module}.html").read_text(encoding="utf-8")
    page = (built[0]/lesson).read_text(encoding="utf-8")
    assert f'href="../{lesson}#{anchor}"' in reference
    assert f'id="{anchor}"' in page
    assert f'href="api/{module}.html"' in page.replace('href="./', 'href="')

def test_reference_is_grouped_by_package(built):
    groups = {e["section"]: [x["text"] for x in e["contents"]] for e in sidebar(built[1], "Reference")}
    assert list(groups)[0] == "mmvae_nb" and {"vae", "training"} <= set(groups["mmvae_nb"])
    assert set(groups) == {"mmvae_nb", "datasets", "judges", "experiments"}
    assert "digits" in groups["datasets"]
    assert "birds" in groups["datasets"] and "birds" in groups["judges"]

def sidebar(proc, section):
    "The entries of a section of the sidebar that was rendered."
    import yaml
    config = yaml.safe_load((proc/"_quarto.yml").read_text(encoding="utf-8"))
    contents = config["website"]["sidebar"]["contents"]
    everything = contents + next(e["contents"] for e in contents if e.get("section") == "In depth")
    return next(e for e in everything if e.get("section") == section)["contents"]

def test_a_title_has_its_notebook_below(built):
    page = (built[0]/"10_distillation.html").read_text(encoding="utf-8")
    links = re.search(r'<div class="links">.*?</div>', page, re.S)[0]
    assert re.findall(r">(\w+)</a>", links) == ["Notebook", "Download", "Colab", "Reference", "Questions", "Ask"]
    assert 'href="notebooks/10_distillation.ipynb" download' in links
    assert "/mmvae_nb/blob/main/nbs/10_distillation.ipynb" in links
    given = read(built[0]/"notebooks"/"10_distillation.ipynb")
    assert not any(c.get("outputs") for c in given.cells) and len(given.cells) > 20
    assert {p.name for p in (built[0]/"notebooks").iterdir()} == {p.name for p in LESSONS}

def test_questions_go_to_the_tracker_of_the_repository_under_the_name_of_the_page(built):
    from urllib.parse import parse_qs, urlsplit
    from nbdev.config import get_config
    page = (built[0]/"02_vae.html").read_text(encoding="utf-8")
    title = read(ROOT/"nbs"/"02_vae.ipynb").cells[0].source.splitlines()[0].removeprefix("# ")
    for name, at, query in [("Questions", "issues", {"q": [f"in:title {title}"]}),
                            ("Ask", "issues/new", {"title": [f"{title}: "]})]:
        asked = urlsplit(re.search(rf'<a href="([^"]+)">{name}</a>', page)[1])
        assert asked._replace(query="").geturl() == f"{get_config(path=ROOT).git_url}/{at}"
        assert parse_qs(asked.query) == query

def test_what_is_skipped_at_first_is_folded(built):
    html = (built[0]/"index.html").read_text(encoding="utf-8")
    lists = dict(re.findall(r'id="(quarto-sidebar-section-\d+)" class="([^"]*)"', html))
    named = re.findall(r'<span class="menu-text">([^<]+)</span></a>\s*<a class="sidebar-item-toggle[^>]*'
                       r'data-bs-target="#(quarto-sidebar-section-\d+)"', html)
    is_open = {name: "show" in lists[place].split() for name, place in named}
    assert is_open["Course"] and is_open["Guides"] and not is_open["Workshop"] and not is_open["Reference"]

def test_code_is_folded_in_reports_and_where_a_lesson_says_so(built):
    report = (built[0]/"results"/"long"/"headline.html").read_text(encoding="utf-8")
    assert report.count('class="code-fold"') == len(re.findall(r'<div class="[^"]*\bsourceCode\b', report)) > 5
    lesson = (built[0]/"05_mopoe.html").read_text(encoding="utf-8")       # folded there: a solution and checks
    told = [c.source for c in cells(ROOT/"nbs/05_mopoe.ipynb") if "#| code-fold: true" in c.source]
    assert lesson.count('class="code-fold"') == len(told) + 2 < lesson.count("sourceCode")/2
    for summary in ("Solution", "Imports of the module", "Imports of this page"):
        assert lesson.count(f"<summary>{summary}</summary>") == 1

@pytest.mark.parametrize("code, only", [
    ("#| export\nimport torch\nfrom math import pi", True), ("import torch\nset_style()", True),
    ("set_style()", False), ("import torch\nx = torch.zeros(3)", False), ("!ls\nimport torch", False)])
def test_cells_that_only_import_are_known(code, only): assert only_imports(code) is only

def test_imports_of_a_module_are_shown_folded():
    assert with_imports("#| export\nimport torch") == \
        '#| code-fold: true\n#| code-summary: "Imports of the module"\n#| exports\nimport torch'

def test_no_page_is_heavy(built, pages):
    out = built[0]
    for p in pages:
        html = p.read_text(encoding="utf-8")
        pictures = {(p.parent/unquote(s)).resolve() for s in re.findall(r'<img[^>]* src="([^":]+)"', html)}
        weight = p.stat().st_size + sum(f.stat().st_size for f in pictures)
        assert weight < 3_000_000, f"{p.relative_to(out)}: {weight/1e6:.1f} MB with its pictures"

def test_pictures_have_their_size(built, pages):
    from PIL import Image
    found = 0
    for p in pages:
        for tag in re.findall(r"<img [^>]*>", p.read_text(encoding="utf-8")):
            assert re.search(r' width="\d+" height="\d+"', tag), (p.name, tag[:120])
            found += 1      # those of reports that were run here are inside the page
            if (src := re.search(r'src="([^":]+\.(?:png|jpg))"', tag)):
                width, height = Image.open(p.parent/unquote(src[1])).size
                assert f'width="{width}" height="{height}"' in tag and 'loading="lazy"' in tag
    assert found > 20

def test_reference_gives_a_class_the_methods_of_the_private_ones_it_was_cut_into(built):
    page = (built[0]/"api"/"multimodal_elbo.html").read_text(encoding="utf-8")
    for name in ("MultimodalVAE.infer", "MultimodalVAE.elbo", "MultimodalVAE.generate", "JVAE.infer"):
        assert f">{name}" in page or f"{name}(" in page, name
    assert "JVAE.elbo" not in page and "_Objective" not in page

def test_reference_says_nothing_twice():
    from site_reference import lean
    head = "| Parameter | Type | Default | Description |\n| --- | --- | --- | --- |\n"
    said = lean(f"```python\nf(x, y = None)\n```\n\n{head}| `x` |  | required | an x |\n| `y` | None | `None` |  |\n")
    assert "f(x, y=None)" in said
    assert "| Parameter | Default | Description |" in said
    assert "| `y` | `None` |  |" in said
    assert lean(f"A\n\n{head}| `x` | int | required |  |\n") == "A\n\n"
    long = lean("```python\nf(" + ", ".join(f"name_{i} = {i}" for i in range(20)) + ")\n```").splitlines()
    assert len(long) > 4 and max(map(len, long)) <= 92
    assert "".join(part.strip() for part in long[1:-1]).count("=") == 20

def test_no_name_that_a_function_was_pasted_under(built):
    page = (built[0]/"api"/"multimodal_iterative.html").read_text(encoding="utf-8")
    assert "_iterative_loss" not in page and 'id="IterativeTeacher.loss"' in page

def test_committed_figures_have_alternative_text():
    for path in LESSONS:
        for c in cells(path):
            if not any(k.startswith("image/") for o in c.outputs for k in o.get("data", {})): continue
            m = re.search(r"(?m)^#\| *fig-alt: *(.+)$", c.source)
            assert m and len(m[1]) > 15, f"{path.name}: a figure without fig-alt: {c.source[:80]}"

def markdown_now(path):
    "What the last lines of a notebook's code cells give, run here and now, as far as it is Markdown."
    space, said = {}, []
    for c in cells(path):
        body = ast.parse(c.source).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "cell", "exec"), space)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), space) if last else None
        if type(value).__name__ == "Markdown": said.append(value.data)
    return said

@pytest.mark.parametrize("name", ["index", "slide_map"])
def test_saved_links_are_up_to_date(name, monkeypatch):
    "The tables of links are those that their code makes now; a new lesson or figure changes them."
    monkeypatch.chdir(ROOT/"nbs")
    path = ROOT/"nbs"/f"{name}.ipynb"
    saved = [said for o in outputs(path) if (said := markdown(o))]
    assert saved and markdown_now(path) == saved, f"run: make execute NB=nbs/{name}.ipynb"

def test_listing_for_own_modalities(tmp_path):
    "The listing runs as it stands, and what its student makes is read by a classifier that it knows nothing of."
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier
    code = [c.source for c in cells(ROOT/"nbs"/"howto_own_modalities.ipynb")]
    [listing] = [s for s in code if 'np.save("right_from_left.npy"' in s]
    assert listing.count("\n") + 1 < 40
    digits = load_digits()
    images = digits.images.astype("float32")/16
    for name, half in {"left": images[:, :, :4], "right": images[:, :, 4:]}.items():
        np.save(tmp_path/f"{name}.npy", half.reshape(-1, 32))
    r = python("-c", listing, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert r.returncode == 0, r.stderr[-3000:]
    made, real = np.load(tmp_path/"right_from_left.npy"), np.load(tmp_path/"right.npy")
    judge = KNeighborsClassifier(5).fit(real[:1200], digits.target[:1200])
    assert judge.score(made, digits.target[1200:]) > 0.4          # chance is 0.1
    error = lambda x: ((x - real[1200:])**2).mean()
    assert error(made) < 0.8*error(real[:1200].mean(0))           # the mean half knows nothing of the left one
    assert (tmp_path/"students.safetensors").stat().st_size > 10_000


# ---- in a browser

LOOK = r"""(async () => {
  document.querySelectorAll('img').forEach(i => i.loading = 'eager');
  await Promise.all([...document.images].map(i => i.complete ? 0 : new Promise(r => i.onload = i.onerror = r)));
  const said = [], skip = 'pre, code, script, style, annotation, .katex, textarea';
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let raw = '';
  while (walk.nextNode()) if (!walk.currentNode.parentElement.closest(skip)) raw += walk.currentNode.data + '\n';
  const tex = /\$\$|\\\(|\\\[|\\(begin|end|frac|mathbb|mathcal|mathrm|operatorname|theta|lambda|log|sum|tag)\b/g;
  for (const m of raw.matchAll(tex))
    said.push('raw TeX: ' + raw.slice(Math.max(0, m.index - 20), m.index + 40));
  for (const m of raw.matchAll(/(^|\n)\s*(#\||:::)/g)) said.push('raw directive: ' + raw.slice(m.index, m.index + 40));
  for (const e of document.querySelectorAll('.katex-error')) said.push('TeX that KaTeX refuses: ' + e.title);
  for (const p of document.querySelectorAll('pre'))
    if (/(^|\n)#\|\s*\w/.test(p.textContent)) said.push('a directive in code: ' + p.textContent.slice(0, 60));
  for (const i of document.images) {
    if (!i.naturalWidth) said.push('no picture: ' + i.src.slice(0, 80));
    if (!i.alt.trim() && i.closest('main')) said.push('no alternative text: ' + i.src.slice(0, 80));
  }
  const all = (selector, f) => [...document.querySelectorAll(selector)].map(f);
  return {said, ids: all('[id]', e => e.id).concat(all('a[name]', e => e.name)),
          links: all('a[href]', a => a.href), maths: document.querySelectorAll('.katex').length,
          expected: document.querySelectorAll('.math').length};
})()"""
WIDTH = "[document.documentElement.scrollWidth, innerWidth]"

@contextlib.contextmanager
def serve(folder):
    "The address of a server of `folder`."
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=s.serve_forever, daemon=True).start()
    try: yield f"http://127.0.0.1:{s.server_port}/"
    finally: s.shutdown(); s.server_close()

@pytest.fixture(scope="module")
def server(built):
    with serve(built[0]) as address: yield address

@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from browser import CHROMIUM, Browser
    if not CHROMIUM: pytest.skip("no Chromium (Debian: apt-get install chromium), so no page was looked at")
    b = Browser(tmp_path_factory.mktemp("profile"))
    yield b
    b.close()

def looked_at(browser, url):
    "Open a page; what is in it, and all that is wrong with it by itself."
    browser.size(1280)
    browser.go(url)
    look = browser.js(LOOK)
    said = look["said"] + browser.errors()
    if look["maths"] < look["expected"]: said.append(f"maths: {look['expected']} pieces, {look['maths']} rendered")
    for width in (1280, 390):
        browser.size(width)
        wide, inner = browser.js(WIDTH)
        if wide > inner: said.append(f"{wide} pixels wide in a window of {inner}")
    return look, said

def broken_links(seen, # page -> what was found in it
                 address, folder):
    "Links inside the site that lead to no page, or to no place in it."
    for name, look in seen.items():
        for link in sorted(set(look["links"])):
            if not link.startswith(address): continue
            url, anchor = urldefrag(link.removeprefix(address))
            url = unquote(url.split("?")[0]) or "index.html"
            if url.endswith("/"): url += "index.html"
            if not (folder/url).is_file(): yield f"{name}: a link to {url}, which is not there"
            elif anchor and url in seen and unquote(anchor) not in seen[url]["ids"]:
                yield f"{name}: a link to {url}#{anchor}, no such place"

def test_every_page_in_a_browser(built, pages, server, browser):
    seen, wrong = {}, []
    for p in pages:
        name = p.relative_to(built[0]).as_posix()
        seen[name], said = looked_at(browser, server + name)
        wrong += [f"{name}: {s}" for s in said]
    wrong += broken_links(seen, server, built[0])
    assert not wrong, "\n".join(wrong)

def test_what_is_wrong_is_seen(tmp_path, browser):
    (tmp_path/"favicon.ico").touch()
    (tmp_path/"bad.html").write_text(r"""<!doctype html><title>bad</title><main id="top">
      <p>See $$x$$ and \(\theta\).</p><p>::: {.note}</p>
      <pre>#| exports</pre><img src="none.png"><span class="math">x</span><div style="width: 700px">wide</div>
      <a href="#nowhere">a</a><a href="none.html">b</a><a href="#top">c</a>
      <script>console.error('an error'); undefined_function()</script></main>""")
    with serve(tmp_path) as address:
        look, said = looked_at(browser, address + "bad.html")
        said += broken_links({"bad.html": look}, address, tmp_path)
    for part in ["raw TeX", "raw directive", "a directive in code", "no picture", "no alternative text",
                 "maths: 1 pieces, 0", "an error", "undefined_function", "404", "in a window of 390",
                 "none.html, which is not there", "#nowhere, no such place"]:
        assert any(part in s for s in said), (part, said)
    assert not any("in a window of 1280" in s or "#top" in s for s in said)

@pytest.mark.skipif(bool(shutil.which("quarto")), reason="about smalldocs's search box")
def test_search_finds_the_amortization_gap(server, browser):
    browser.size(1280)
    browser.go(server + "index.html")
    browser.js("document.querySelector('.sd-search-toggle').click()")
    browser.js("""(() => { const i = document.querySelector('.smalldocs-search input'); i.value = 'amortization gap';
                   i.dispatchEvent(new Event('input', {bubbles: true})); })()""")
    found = "[...document.querySelectorAll('.search-result')].map(a => [a.href, a.textContent])"
    hits = browser.wait(lambda: browser.js(found))
    assert any("amortization gap" in said.lower() and "amortization" in href for href, said in hits[:8]), hits
    assert not browser.errors()

def test_dark_mode_is_dark(server, browser):
    ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)"
    light = f"{ground}.reduce((a, b) => a + +b, 0)"
    for mode, dark in [("light", False), ("dark", True)]:
        browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": mode}])
        browser.go(server + "index.html")
        assert (browser.js(light) < 200) == dark
    browser.send("Emulation.setEmulatedMedia", features=[])
