"Every lesson runs from top to bottom, each in a process of its own."
import os, re

import pytest

from helpers import of_processor
from site_helpers import LESSONS, ROOT, python
SLOW = [p for p in LESSONS if re.search(r'"#\| *slow', p.read_text(encoding="utf-8"))]
RUN = """
import sys, pathlib, nbdev.test as nt
path, *flags = sys.argv[1:]
sys.exit(not nt.test_nb(pathlib.Path(path), skip_flags=flags)[0])
"""

def run(path, *skip, seconds):
    # The backend is left to the lesson, as in Jupyter
    env = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    r = python("-c", RUN, path, *skip, cwd=ROOT, env=env, preexec_fn=of_processor(seconds), timeout=6*seconds)
    assert r.returncode == 0, f"{path.name} fails:\n{r.stdout[-2000:]}\n{r.stderr[-6000:]}"

@pytest.mark.timeout(3700)
@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_lesson(path): run(path, "slow", "cuda", seconds=600)

@pytest.mark.slow
@pytest.mark.timeout(22000)
@pytest.mark.parametrize("path", SLOW, ids=lambda p: p.stem)
def test_lesson_with_slow_cells(path): run(path, "cuda", seconds=3600)
