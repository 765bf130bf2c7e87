"Who owns a figure or a table: what the site shows of `results/`, and where."
import re, subprocess
from collections import Counter, namedtuple

import nbformat, pytest
from mmvae_nb.experiments.table import REPORTS
from PIL import Image

import site_results
from site_helpers import ROOT, as_json, markdown, notebook
from site_results import Results, anchor, by_size, md_table, result_pages

Report = namedtuple("Report", "notebook methods tables figures dataset", defaults=[(), (), "mnist_svhn_text"])


# ---- the committed results

def committed():
    "Tables and figures that are in a commit."
    r = subprocess.run(["git", "ls-files", "-z", "results"], cwd=ROOT, capture_output=True)
    if r.returncode: pytest.skip("not a git checkout")
    files = [ROOT/f for f in r.stdout.decode().split("\0") if f]
    return [f for f in files if f.parent.name in ("tables", "figures")]

@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    "The committed results, written as pages; page -> the anchors in it."
    proc = tmp_path_factory.mktemp("proc")
    results = Results()
    results.publish(proc)
    result_pages(proc, results)
    anchors = {}
    for path in proc.rglob("*.ipynb"):
        said = "\n".join(markdown(o) for c in nbformat.read(path, 4).cells for o in c.get("outputs", []))
        anchors[path.relative_to(proc).as_posix()] = Counter(re.findall(r'<a id="([\w-]+)">', said))
    return results, proc, anchors

def listed(file):
    "The report that lists a file."
    kind = file.parent.name
    found = [name for name, r in REPORTS.items() if file.stem in getattr(r, kind)]
    assert len(found) <= 1, f"{file.name}: listed by {found}"
    return found[0] if found else None

def test_every_committed_file_stands_once_on_the_page_of_the_report_that_lists_it(pages):
    results, proc, anchors = pages
    for f in committed():
        scale, report = f.parts[-3], listed(f)
        if report is None: continue
        if scale == "real" and report not in results.shown["real"]:           # a longer run has it, and is shown
            assert results.where(scale, f.parent.name, f.stem) is None and report in results.shown["long"]
            continue
        page = f"results/{scale}/{report}.ipynb"
        assert results.where(scale, f.parent.name, f.stem) == page
        found = {name: a[anchor(f)] for name, a in anchors.items() if anchor(f) in a and f"/{scale}/" in name}
        assert found == {page: 1}

def test_every_committed_file_is_listed_by_a_report(pages):
    assert pages[0].left_over == []

def test_celeba_shows_its_four_pictures(pages):
    _, proc, _ = pages
    said = (proc/"results"/"quick"/"celeba.ipynb").read_text(encoding="utf-8")
    for stem in REPORTS["celeba"].figures:
        assert re.search(rf"\(figures/{stem}\.(png|jpg)\)", said), stem
    for scale in ("quick", "real"):
        for page in (proc/"results"/scale).glob("*.ipynb"):
            assert page.stem == "celeba" or not re.search(r"slide_5[0129]_", page.read_text(encoding="utf-8"))

def test_a_slide_is_shown_by_the_cell_that_draws_it(pages):
    said = {c.source: "".join(map(markdown, c.get("outputs", [])))
            for c in nbformat.read(pages[1]/"results"/"long"/"headline.ipynb", 4).cells if c.cell_type == "code"}
    [source] = [s for s, shown in said.items() if "figure-slide_36_cross_modal" in shown]
    assert "slide_36_cross_modal" in source

def test_links_lead_to_the_page_that_shows_the_file(pages):
    results, _, _ = pages
    say = results.to_results
    assert say("[a](../results/quick/figures/slide_50_methods.png)") == \
        "[a](results/quick/celeba.ipynb#figure-slide_50_methods)"
    assert say("[a](../results/real/tables/talk.csv)") == "[a](results/real/index.md#table-talk)"
    shown = say("![a](../results/long/figures/slide_36_cross_modal.png)")
    assert re.fullmatch(r"!\[a\]\(results/long/figures/slide_36_cross_modal\.(png|jpg)\)\{fig-alt=\"a\"\}", shown)
    assert say("[a](../results/real/figures/none.png), ![b](../results/real/figures/none.png)") == "a, b"
    assert say("[r](experiments/iterations.ipynb)") == "[r](results/half/iterations.ipynb)"
    assert say("[r](experiments/none.ipynb)") == "r"


# ---- rules, on results of our own

@pytest.fixture
def checkout(tmp_path):
    "One report with a table and a figure, a table of the whole scale, and a figure that no report lists."
    root = tmp_path/"root"
    scale = root/"results"/"quick"
    for name in ["tables", "figures", "executed", "reports"]: (scale/name).mkdir(parents=True)
    (scale/"tables"/"talk.csv").write_text("slide,value\n37,1.23456789\n")
    (scale/"tables"/"own.csv").write_text("a,b\nx|y,2\n")
    for name in ["slide_36_grid", "own", "lost"]: Image.new("RGB", (8, 8), "white").save(scale/"figures"/f"{name}.png")
    notebook(root/"nbs"/"experiments"/"report.ipynb", "# A report\n\n> About it.\n\nWords.",
             'def draw(slide): report.save(f, f"slide_{slide}_grid")\npart = "own"\nreport.table(x, "own")',
             '#| fig-cap: "A caption."\n#| fig-alt: "What is to be seen."\ndraw(36)',
             'report.save(f, "own")')
    return root

LEDGER = {"report": Report("report", (), ("own", "not_run"), ("slide_36_grid", "own"))}

def rendered(root, proc):
    pages = Results(root, LEDGER)
    pages.publish(proc)
    [section] = result_pages(proc, pages)
    assert [e["href"] for e in section["contents"]] == ["results/quick/report.ipynb", "results/quick/index.md"]
    made = nbformat.read(proc/"results"/"quick"/"report.ipynb", 4)
    return pages, made.cells, [c for c in made.cells if c.cell_type == "code"]

def ran(root, target):
    "Save the report as one that was run."
    nb = as_json(root/"nbs"/"experiments"/"report.ipynb")
    nb["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "it ran"}]
    nbformat.write(nbformat.from_dict(nb), root/"results"/"quick"/target)

def test_files_stand_behind_the_cells_that_make_them(checkout, tmp_path):
    pages, cells, code = rendered(checkout, tmp_path/"_proc")
    said = ["".join(map(markdown, c.outputs)) for c in code]
    assert "| a | b |\n| --- | ---: |\n| x\\|y | 2 |" in said[0]
    assert '![A caption.](figures/slide_36_grid.png){fig-alt="What is to be seen."}' in said[1]
    assert "![own](figures/own.png)" in said[2] and "own.png" not in said[0]
    assert all("code-fold: true" in c.source for c in code)
    assert any("that are committed" in c.source for c in cells)

def test_the_list_names_every_file_and_shows_what_belongs_to_no_one_report(checkout, tmp_path):
    pages, _, _ = rendered(checkout, tmp_path/"_proc")
    index = (tmp_path/"_proc"/"results"/"quick"/"index.md").read_text()
    assert "| 37 | 1.235 |" in index and "{#table-talk}" in index
    for place in ["figure-slide_36_grid", "figure-own", "table-own"]: assert f"(report.ipynb#{place})" in index
    assert [f.name for f in pages.left_over] == ["lost.png"] and "lost" not in index
    assert not (tmp_path/"_proc"/"results"/"quick"/"figures"/"lost.png").exists()

def test_an_executed_report_is_shown_as_it_ran(checkout, tmp_path):
    ran(checkout, "executed/report-report.ipynb")
    _, cells, code = rendered(checkout, tmp_path/"_proc")
    assert code[0].outputs[0].text == "it ran"
    assert markdown(code[1].outputs[-1]) == '<a id="figure-slide_36_grid"></a>'
    assert not any("that are committed" in c.source for c in cells)

def test_what_a_report_printed_is_shown_with_the_committed_figures(checkout, tmp_path):
    ran(checkout, "reports/report.ipynb")
    _, cells, code = rendered(checkout, tmp_path/"_proc")
    assert code[0].outputs[0].text == "it ran" and "x\\|y" not in str(code[0])
    assert "figures/slide_36_grid.png" in markdown(code[1].outputs[-1])
    assert not any("that are committed" in c.source for c in cells)

def test_real_faces_are_not_shown(tmp_path):
    for scale in ("quick", "real", "mine"):
        for report in ("celeba", "cub"):
            for file in (f"executed/{report}-report.ipynb", f"reports/{report}.ipynb"):
                path = tmp_path/"results"/scale/file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        picture = tmp_path/"results"/scale/"figures"/"slide_50_methods.png"
        picture.parent.mkdir()
        picture.touch()
    results = Results(tmp_path)
    assert {s: set(results.executed(s)) for s in results.shown} == \
        {"real": {"cub"}, "quick": {"celeba", "cub"}, "mine": {"cub"}}
    assert all(set(results.kept(s)) == {"celeba", "cub"} for s in results.shown)     # no pictures in these
    assert [s for s in results.shown if results.where(s, "figures", "slide_50_methods")] == ["quick"]
    assert len(results.left_over) == 2          # the pictures that should not be there are named

def test_the_largest_scale_comes_first(monkeypatch):
    assert by_size(["quick", "other", "paper", "smoke", "real"]) == ["paper", "real", "quick", "smoke", "other"]
    monkeypatch.setattr(site_results, "SCALES", {"quick": None, "huge": None})
    assert by_size(["quick", "real", "huge"]) == ["huge", "quick", "real"]

def test_tables(tmp_path):
    file = tmp_path/"t.csv"
    file.write_text("slide,data,condition,value\n1,real,a->b,2.00\n1,real,c->d,nan\n2,real,e|f,0.123456\n")
    lines = md_table(file).splitlines()
    assert lines[:2] == ["| slide | condition | value |", "| ---: | --- | ---: |"]
    assert [row.split(" | ")[-1] for row in lines[2:5]] == ["2 |", "nan |", "0.1235 |"]
    assert "e\\|f" in lines[4]
    assert lines[-1] == "[t.csv](tables/t.csv). In every row: data real."
    file.write_text("a,b\n" + "".join(f"{i},{i % 2}\n" for i in range(50)))
    shown = md_table(file, rows=40)
    assert "::: {.long}" in shown and "the first 40 of 50 rows." in shown
    assert shown.count("\n| ") == 42
