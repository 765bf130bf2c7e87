"Counts of what `make test-slow` has tried, in one last line."
from pathlib import Path

import pytest

COUNTS = ("kills survived", "of which in the graph", "files mutated", "bad calls", "pickles planted",
          "processes killed")
counted = dict.fromkeys(COUNTS, 0)

def pytest_collection_modifyitems(items):
    for i in items:
        if Path(__file__).parent in i.path.parents: i.add_marker(pytest.mark.slow)

@pytest.fixture
def count():
    "count(what, n): so many more have been tried, and came out well."
    def count(what, n=1): assert what in counted; counted[what] += n
    return count

def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    failures = len(stats.get("failed", [])) + len(stats.get("error", []))
    if any(counted.values()):
        terminalreporter.write_line(", ".join(f"{k} {v}" for k, v in counted.items()) + f", failures {failures}")
