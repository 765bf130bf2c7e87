"""The table is what the records say: of the smoke run, and of every result that is committed."""
import fcntl, math, statistics
from pathlib import Path

import pandas as pd, pytest

from helpers import ROOT
from mmvae_nb.core import read_json
from mmvae_nb.experiments.table import METHODS, REPORTS, SCALES, may_publish, scale_of
from mmvae_nb.experiments.talk import talk_numbers

def recomputed(folder):
    "(dataset, metric, condition, method) -> values over seeds, read from the records."
    values = {}
    for path in sorted(Path(folder).glob("runs/*-metrics.json")):
        record = read_json(path)
        for r in record["rows"]:
            values.setdefault((record["dataset"], r["metric"], r["condition"], record["method"]), []).append(
                (record["seed"], r["value"], r["n"], record))
    return values

def consistent(folder):
    t, values = pd.read_csv(folder/"tables"/"talk.csv"), recomputed(folder)
    assert values
    keys = [(r.dataset, r.metric, r.condition, r.method) for r in t.itertuples()]
    assert set(values) <= set(keys) and len(set(keys)) == len(keys)
    for key, row in zip(keys, t.itertuples()):
        if key not in values:
            assert math.isnan(row.value) and not math.isnan(row.talk_value)
            continue
        found = values[key]
        numbers = [v for _, v, _, _ in found]
        assert len({s for s, *_ in found}) == len(found) == row.n_seeds
        assert math.isclose(row.value, statistics.fmean(numbers), rel_tol=1e-4, abs_tol=1e-6), key
        if len(numbers) > 1: assert math.isclose(row.std, statistics.stdev(numbers), rel_tol=1e-3, abs_tol=1e-6), key
        else: assert math.isnan(row.std)
        assert {r["data"] for *_, r in found} == {row.data} and {n for _, _, n, _ in found} == {row.n}
    return t

def test_the_smoke_table_is_what_the_records_say(results): assert len(consistent(results)) > 52

def being_written(folder):
    "Is a run at work in this results folder?"
    try:
        with open(folder/"status"/"lock") as f: fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError: return False
    except OSError: return True
    return False

COMMITTED = sorted(p.parent.parent for p in ROOT.glob("results/*/tables/talk.csv"))
committed = pytest.mark.parametrize("folder", COMMITTED, ids=lambda p: p.name)

@committed
def test_committed_tables_are_what_their_records_say(folder):
    if being_written(folder): pytest.skip("a run is writing here")
    t, s = consistent(folder), SCALES[folder.name]
    theirs, talk = t.iloc[:52], talk_numbers()
    for c in ("slide", "dataset", "metric", "condition", "method", "talk_value"):
        assert theirs[c].tolist() == talk[c].tolist()
    assert set(t.data.dropna()) == {s.source}                  # scales are never mixed

@committed
def test_committed_runs_keep_their_budget_and_say_how_they_were_made(folder):
    if being_written(folder): pytest.skip("a run is writing here")
    runs = [p for p in (folder/"runs").glob("*.json") if not p.stem.endswith(("-metrics", "-judges"))]
    assert runs
    for path in runs:
        run = read_json(path)
        s = scale_of(folder.name, run["dataset"])
        if folder.name in ("real", "paper"):
            assert run["seconds"] <= 60*run["parameters"]["budget"], f"{path.name}: {run['seconds']} s"
        assert run["updates"] == run["parameters"]["updates"] == getattr(s, METHODS[run["method"]].updates)
        assert run["data"] == s.source and len(run["checksum"]) == 12
        assert run["torch"] and run["device"] and run["seconds"] > 0
        assert path.stem == f"{run['dataset']}-{run['method']}-{run['seed']}"
        metrics = read_json(path.with_name(f"{path.stem}-metrics.json"))
        assert metrics["checksum"] == run["checksum"] and metrics["data"] == run["data"]

@committed
def test_committed_files_are_those_that_the_ledger_lists(folder):
    "A table or figure that no report makes would be one that nothing renews."
    tables, figures = ({f for r in REPORTS.values() for f in getattr(r, kind)} for kind in ("tables", "figures"))
    assert {p.stem for p in folder.glob("tables/*.csv")} <= {*tables, "talk"}
    assert {p.stem for p in folder.glob("figures/*.png")} <= figures
    assert {p.stem for p in folder.glob("reports/*.ipynb")} <= {r.notebook for r in REPORTS.values()}
    hidden = {f for r in REPORTS.values() if not may_publish(r.dataset, SCALES[folder.name].source) for f in r.figures}
    assert not hidden & {p.stem for p in folder.glob("figures/*.png")}
