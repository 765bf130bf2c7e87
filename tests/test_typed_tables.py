"Tables that are typed into lessons 12 and 13 say what the records of the experiments say."
import json, re

import pytest

from site_helpers import ROOT

MEAN = ", mean of z"
METHODS = {"MoPoE": "mopoe", "MVTCAE, its own encoders": "mvtcae", "JMVAE student": "jmvae_student",
           "iterative student": "iterative_student"}
TABLES = { # lesson, words that come before the table, results: columns as (metric, condition), "chance" of it
    "drawn birds": ("12_birds", "*Drawn birds* (scale", "quick", "cub", [
        (m, f"text->image{how}") for m in ("belly_right", "attributes_right", "fid") for how in ("", MEAN)]),
    "real birds": ("12_birds", "*Real birds* (scale", "long", "cub", [
        ("main_colour", "text->image"), ("chance of main_colour", "text->image"), ("main_colour", f"text->image{MEAN}"),
        ("chance of main_colour", f"text->image{MEAN}"), ("fid", "text->image")]),
    "drawn faces": ("13_faces", "Drawn faces, scale `quick`", "quick", "celeba", [
        ("attribute_measured", "text->image"), ("attribute_match", "image->text"),
        ("attribute_exact", "image->text"), ("fid", "text->image")]),
    "real faces": ("13_faces", "Real faces, scale `long`", "long", "celeba", [
        ("attribute_agreement", "text->image"), ("attribute_agreement", f"text->image{MEAN}"),
        ("attribute_match", "image->text"), ("fid", "text->image")])}

def typed(lesson, before):
    "Method -> the cells of the first table after some words."
    text = (ROOT/"nbs"/"_py"/f"{lesson}.py").read_text(encoding="utf-8").partition(before)[2]
    table = re.search(r"(?:^# \|.*\n)+", text, re.M)[0].splitlines()[2:]
    rows = [[c.strip() for c in line.strip("# |").split("|")] for line in table]
    return {METHODS[name]: cells for name, *cells in rows if name in METHODS}

def recorded(scale, dataset, method):
    "(metric, condition) -> value of the first seed, and what chance or the floor is."
    path = ROOT/"results"/scale/"runs"/f"{dataset}-{method}-0-metrics.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    value = {(r["metric"], r["condition"]): r["value"] for r in rows}
    return value | {(f"chance of {r['metric']}", r["condition"]): r["floor"] for r in rows if "floor" in r}

@pytest.mark.parametrize("table", TABLES)
def test_what_is_typed_is_what_was_recorded(table):
    lesson, before, scale, dataset, columns = TABLES[table]
    found = typed(lesson, before)
    assert len(found) >= 3
    for method, cells in found.items():
        numbers = recorded(scale, dataset, method)
        assert len(cells) == len(columns)
        for cell, column in zip(cells, columns):
            digits = len(cell.partition(".")[2])
            assert f"{numbers[column]:.{digits}f}" == cell, f"{method}: {column}"
