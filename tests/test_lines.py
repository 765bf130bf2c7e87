"""The page that counts lines: its examples run, no task takes more than the peer's, and what is saved is counted."""
import json, os, re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

def cells(): return [c for c in json.loads((ROOT/"nbs"/"lines.ipynb").read_text(encoding="utf-8"))["cells"]
                     if c["cell_type"] == "code"]

@pytest.fixture(scope="module")
def page():
    "What the page's code leaves behind."
    space, home = {}, os.getcwd()
    try:
        for c in cells(): exec("".join(c["source"]), space)
    finally: os.chdir(home)
    return space

def test_no_task_takes_more_lines_than_the_peers(page):
    for task, (ours, theirs) in page["tasks"].items():
        mine, peers = ([l for l in code.splitlines() if l.strip()] for code in (ours, theirs))
        assert mine and (not peers or len(mine) <= len(peers)), task
        assert all(len(l) <= 120 and ";" not in l for l in mine + peers), task       # a line is a line
    assert len(page["tasks"]) == 13                                                # none dropped in silence

def test_the_table_shows_what_the_code_counts(page):
    saved = "".join(cells()[-1]["outputs"][0]["data"]["text/plain"])
    for task, (ours, theirs) in page["tasks"].items():
        row = next(l for l in saved.splitlines() if l.startswith(task[:30]))
        wanted = [str(len(c.strip().splitlines())) if c.strip() else "no way" for c in (ours, theirs)]
        assert [w for w in re.split(r"\s{2,}", row)][-2:] == wanted, row
