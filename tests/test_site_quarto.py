"What Quarto would make of the site, on small pieces written as it writes them (no Quarto is needed)."
import re

import pytest, yaml

from instruments import wired
from site_build import here_only, inside, offline, prepare, warned
from site_helpers import ROOT
from site_pages import definitions, place
from site_reference import at_line
from site_results import Results, captionless, figure

BOOTSTRAP = ('@import"https://fonts.googleapis.com/css2?family=Source+Sans+Pro:wght@300;400;700&display=swap";'
             ':root{--bs-blue: #2780e3}')
DARKLY = '@charset "UTF-8";@import url(https://fonts.googleapis.com/css2?family=Lato:ital;wght@0&display=swap);body{margin:0}'
PAGE = """<!DOCTYPE html><html><head>
<script src="../site_libs/quarto-nav/quarto-nav.js"></script>
<link href="../site_libs/bootstrap/bootstrap.min.css" rel="stylesheet">
<link rel="stylesheet" href="https://cdn.jsdelivr.net/npm/katex@0.16.9/dist/katex.min.css">
<script src="https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.6/require.min.js"
  integrity="sha512-c3" crossorigin="anonymous"></script>
<script src="https://cdnjs.cloudflare.com/ajax/libs/jquery/3.5.1/jquery.min.js"
  integrity="sha512-bL" crossorigin="anonymous"></script>
<script type="application/javascript">define('jquery', [],function() {return window.jQuery;})</script>
<script>var kept = "define";</script>
</head><body><a href="https://example.org">an ordinary link</a></body></html>"""

def test_style_sheets_ask_for_no_font():
    assert inside(BOOTSTRAP, "k") == ":root{--bs-blue: #2780e3}"
    assert inside(DARKLY, "k") == '@charset "UTF-8";body{margin:0}'

def test_pages_ask_for_no_script_and_keep_their_own(tmp_path):
    page = tmp_path/"results"/"page.html"
    page.parent.mkdir(); page.write_text(PAGE)
    offline(tmp_path)
    html = page.read_text()
    assert re.findall(r"https://[^\"]+", html) == ["https://example.org"]
    assert 'href="../site_libs/katex/katex.min.css"' in html and (tmp_path/"site_libs"/"katex"/"katex.min.css").exists()
    assert "quarto-nav.js" in html and "bootstrap.min.css" in html and 'var kept = "define"' in html
    assert "define('jquery'" not in html

@pytest.mark.parametrize("line, seen", [
    ("\x1b[33mWARN: Unable to resolve link target: nowhere.ipynb\x1b[39m", True),
    ("\x1b[33m[WARNING] Div at line 31 column 1 unclosed at line 301 column 1, closing implicitly.\x1b[39m", True),
    ("[WARNING] Could not convert TeX math", True), ("WARN: twice", True),
    ("[ 1/61] howto_own_modalities.ipynb", False), ("Output created: _docs/index.html", False)])
def test_warnings_are_seen_in_colour_too(line, seen):
    found = warned(f"[ 3/61] WARNINGS.ipynb\n{line}\n")
    assert found == ([re.sub(r"\x1b\[\d+m", "", line)] if seen else [])

def test_ids_of_cells_are_as_quarto_writes_them():
    "In lower case, and with no prefix that Quarto keeps for numbered definitions, theorems, figures and the like."
    found = definitions()
    anchors = {(page, anchor) for page, anchor in found.values()}
    assert found["JVAE"] == ("03_multimodal_elbo.ipynb", "src-jvae") and len(anchors) > 100
    kept = ("fig tbl lst tip nte wrn imp cau thm lem cor prp cnj def exm exr sol rem alg sec eq".split())
    for _, anchor in anchors: assert anchor == anchor.lower() and anchor.split("-")[0] not in kept
    cells = {}
    for symbol, where in found.items(): cells.setdefault(where, []).append(symbol)
    assert all(place([names[0]]) == anchor for (_, anchor), names in cells.items())      # one cell, one id

def test_a_caption_stands_once():
    code = '#| fig-cap: "Losses."\n#| fig-alt: "Two lines that fall."\nplot(history)'
    cell = type("Cell", (), {"source": code})
    assert figure(cell, "a.png", "losses", last=True) == '![Losses.](a.png){fig-alt="Two lines that fall."}'
    assert captionless(code) == "plot(history)" and captionless("#| echo: false\nx") == "#| echo: false\nx"

def test_a_linked_picture_has_its_alternative_text():
    pages = Results()
    pages.pictures["real", "x"] = "results/real/figures/x.jpg"
    said = pages.to_results('![He said "no".](../results/real/figures/x.png)')
    assert said == '![He said "no".](results/real/figures/x.jpg){fig-alt="He said \'no\'."}'
    own = pages.to_results('![A.](../results/real/figures/x.png){fig-alt="B."}')
    assert own == '![A.](results/real/figures/x.jpg){fig-alt="B."}'

@pytest.mark.parametrize("quarto", [False, True])
def test_settings_that_only_quarto_reads(quarto, tmp_path):
    (tmp_path/"_quarto.yml").write_text((ROOT/"_quarto.yml").read_text())
    for folder in ("site", "nbs", "results"): (tmp_path/folder).symlink_to(ROOT/folder)
    (tmp_path/"nbs").unlink(); (tmp_path/"nbs").mkdir()
    with pytest.MonkeyPatch.context() as m:
        m.setattr("site_build.reference", lambda *_: {}); m.setattr("site_build.result_pages", lambda *_: [])
        prepare(tmp_path/"_proc", quarto, tmp_path)
    html = yaml.safe_load((tmp_path/"_proc"/"_quarto.yml").read_text())["format"]["html"]
    asked = {k: html.get(k) for k in ("respect-user-color-scheme", "html-math-method")}
    assert asked == dict(zip(asked, (True, "katex") if quarto else (None, None)))
    assert ("columns" in html, "grid" in html) == (quarto, quarto) and html["toc"] is True

def test_the_navbar_marks_the_page_itself_only():
    "Quarto marks on every page an entry that the sidebar has as well; contents beside a page stay as they are."
    entry = '<li class="nav-item"><a class="nav-link{}" href="./{}"{}> <span>{}</span></a></li>'
    here, now = " active", ' aria-current="page"'
    toc = '<a href="#x" class="nav-link active" data-scroll-target="#x">X</a>'
    html = entry.format(here, "01_story.html", now, "First") + entry.format(here, "faq.html", now, "FAQ") + toc
    got = here_only(html, "faq.html")
    first = entry.format("", "01_story.html", "", "First").replace("./", "")
    assert got == first + entry.format(here, "faq.html", now, "FAQ") + toc
    assert "aria-current" not in here_only(html, "") and toc in here_only(html, "")

def test_source_links_name_a_line():
    link = "[source](https://github.com/mmvae-nb/mmvae_nb/blob/main/mmvae_nb/vae.py#L{})"
    lines = (ROOT/"mmvae_nb"/"vae.py").read_text(encoding="utf-8").splitlines()
    line = next(i for i, t in enumerate(lines, 1) if t.startswith("Loss = "))
    assert at_line(link.format(0), "Loss") == link.format(line)
    assert at_line(link.format(12), "fit") == link.format(12) and at_line(link.format(0), "Nobody").endswith("vae.py)")

def test_an_instrument_as_quarto_writes_it_gets_its_script():
    block = ('<div class="instrument {}">\n<div class="quarto-figure quarto-figure-center">\n<figure class="figure">'
             '<p><img src="instruments/x.svg" class="img-fluid"></p></figure></div></div>')
    page = "<html><body>" + block + "</body></html>"
    got = wired(page.format("elbo-hill"), "../", "RECORDS")
    assert got.endswith('<script src="../site/instruments.js"></script>\n</body></html>') and "RECORDS" not in got
    assert 'RECORDS<script src="site/instruments.js"></script>' in wired(page.format("talk-line"), "", "RECORDS")
    plain = "<html><body><p class='x'>an instrument</p></body></html>"
    assert wired(plain, "", "RECORDS") == plain

def test_a_formula_keeps_the_mark_behind_it():
    from site_build import kept
    maths = r'<span class="math inline">\(a &lt; b\)</span>'
    assert kept(f"if {maths}, then") == f'if <span class="kept">{maths},</span> then'
    assert kept(f"b ({maths}).") == f'b <span class="kept">({maths}).</span>'
    long = maths.replace("a", "a + b"*9)
    plain = f'<p>{maths} is <span class="math display">x</span>. But {long}, too.</p>'
    assert kept(plain) == plain
