"""The reports on mechanisms, from records made up so that the answers are known; and the search for settings."""
import itertools, json, os, subprocess, sys
from pathlib import Path

import numpy as np, pandas as pd, pytest
from scipy import stats

from mmvae_nb.core import write_json
from mmvae_nb.experiments.in_process import run_cells
from mmvae_nb.experiments.table import METHODS, REPORTS, parts_of, run_paths, settings_of
from mmvae_nb.experiments.tuning import grid, score, speaker, trial_of, trials

DATA, NAMES = "mnist_svhn_text", ["mnist", "svhn", "text"]
DIRECTIONS = [f"{a}->{b}" for a, b in itertools.permutations(NAMES, 2)]

def planted(root, method, seed, values):
    "Records of a run whose metrics have these values in every condition."
    paths = run_paths(root, DATA, method, seed)
    kinds = [dict(name=n, kind="text" if n == "text" else "image", shape=[8] if n == "text" else [1, 8, 8],
                  vocabulary='"ab"' if n == "text" else None) for n in NAMES]
    write_json(paths["run"], {"modalities": kinds, "parameters": {}, "updates": 5, "validation_loss": 1.})
    where = {"coherence": DIRECTIONS, "linear_accuracy": NAMES,
             "negative_elbo": [f"{n}, t={t}" for n in NAMES for t in (0, 4, 16)]}
    rows = [dict(metric=k, condition=c, value=v, n=9) for k, v in values.items() for c in where[k]]
    write_json(paths["metrics"], dict(dataset=DATA, method=method, seed=seed, data="real", device="cpu", rows=rows))

def reported(part, root, seeds, monkeypatch):
    "The names that a report's code leaves, and its table."
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(Path(__file__).parent.parent)
    made = run_cells(part, dict(results=str(root), seeds=seeds, scale="real", source="rendered"))
    return made, pd.read_csv(root/"tables"/f"{part}.csv")

def test_the_lead_is_split_by_students_t(tmp_path, monkeypatch):
    g, base = np.random.default_rng(0), {}
    for i, m in enumerate(REPORTS["attribution"].methods):
        for s in range(3):
            base[m, s] = .5 + .1*i + .01*g.standard_normal()
            planted(tmp_path, m, s, {"coherence": base[m, s], "linear_accuracy": .9})
    made, table = reported("attribution", tmp_path, 3, monkeypatch)
    row = table[(table.method == "crmvae") & (table.metric == "coherence")].iloc[0]
    lead = np.array([base["crmvae", s] - base["jmvae_student", s] for s in range(3)])
    half = stats.sem(lead)*stats.t.ppf(.975, 2)
    wanted = [lead.mean(), lead.mean() - half, lead.mean() + half]
    np.testing.assert_allclose([row["better by"], row.low, row.high], wanted, rtol=1e-4)
    assert row.verdict == "supported" and row.seeds == 3
    row = table[(table.method == "mmvae") & (table.metric == "coherence")].iloc[0]     # of the higher rate, as its base
    lead = np.mean([base["mmvae", s] - base["jvae_fast_student", s] for s in range(3)])
    assert row.than == "jvae_fast_student" and abs(row["better by"] - lead) < 1e-5
    assert set(table[table.metric == "linear_accuracy"].verdict) <= {"open"}       # all alike: nothing is supported
    split = {(d["what differs"], d["metric"]): d for d in made["split"]}
    wanted = np.mean([base["iterative_fast_student", s] - base["iterative_last_student", s] for s in range(3)])
    assert abs(split["decoders, refined targets, higher rate", "coherence"]["better by"] - wanted) < 1e-9
    assert split["targets, the JVAE's decoders", "coherence"]["seeds"] == 1        # those students have one seed
    assert (tmp_path/"figures"/"attribution.png").stat().st_size > 5000

def test_what_is_left_out_of_the_refiner_is_told_apart(tmp_path, monkeypatch):
    for m in REPORTS["refiner_ingredients"].methods:
        worse = "memory" in m
        for s in range(2):
            planted(tmp_path, m, s, {"negative_elbo": 3000. + 7*worse + s} if not m.endswith("_student") else
                    {"coherence": .7 - .1*worse + .01*s, "linear_accuracy": .9})
    _, table = reported("refiner_ingredients", tmp_path, 2, monkeypatch)
    got = table.set_index(["at", "metric", "without"])["ahead of the whole by"]
    assert abs(got["teacher, t = 4", "negative_elbo", "memory"] + 7) < 1e-6
    assert got["teacher, t = 16", "negative_elbo", "units"] == 0
    assert abs(got["student", "coherence", "memory"] + .1) < 1e-6 and len(table) == 4*4

def test_every_method_gets_the_same_search():
    lines = grid()
    shared = {m: {(k, v) for who, k, v in lines if who == m and k in ("", "lr", "beta", "text_weight")}
              for m in ("iterative", "jvae", "mopoe", "mvtcae", "jmvae")}
    assert len(set(map(frozenset, shared.values()))) == 1 and all(len(s) == 6 for s in shared.values())
    made = trials()
    names = list(made)
    for name, m in made.items():
        if m.teacher: assert names.index(m.teacher) < names.index(name)                     # teachers come first
    assert all(speaker(*line) in made for line in lines)
    for name in ("mopoe", "jmvae", "iterative_student"):       # without what the search itself has found
        assert made[trial_of(name)].settings == {} and "warm_start" not in made[trial_of(name)].options
    assert made[trial_of("jmvae")].options == {"alpha": .1}

def test_a_student_shares_its_teachers_model_but_not_its_rate(monkeypatch):
    import dataclasses
    tuned = dataclasses.replace(METHODS["jvae"], settings={"beta": .5, "lr": 1e-3, "text_weight": .3})
    monkeypatch.setitem(METHODS, "jvae", tuned)
    assert settings_of("jmvae_student") == {"beta": .5, "text_weight": .3} == settings_of("refined")
    assert settings_of("jvae")["lr"] == 1e-3 and settings_of("mvtcae") == {}

def test_the_score_is_of_single_modalities_and_samples():
    rows = [("linear_accuracy", n, .6) for n in NAMES] + [("coherence", d, .2) for d in DIRECTIONS]
    rows += [("linear_accuracy", "mnist+svhn", 1.), ("linear_accuracy_500", "text", 1.),
             *(("coherence", c, 1.) for c in ("mnist+svhn->text", "all->text", "mnist->text, mean of z"))]
    got = score(pd.DataFrame(rows, columns=["metric", "condition", "value"]))
    assert got == pytest.approx({"accuracy": .6, "coherence": .2, "score": .4})

def test_the_search_comes_in_as_a_plugin_only():
    code = """
import json
from mmvae_nb.experiments.table import METHODS, REPORTS, SCALES
from mmvae_nb.experiments.graph import jobs_for
jobs = jobs_for("tuning", part="tuning", results="nowhere") if "tuning" in SCALES else []
splits = sorted({j.parameters["split"] for j in jobs if j.notebook == "evaluate"})
print(json.dumps([len(METHODS), "tuning" in REPORTS, splits, [j.name for j in jobs if j.notebook == "train"]]))"""
    root = Path(__file__).parent.parent
    def said(plugins):
        env = dict(os.environ, MMVAE_PLUGINS=plugins)
        command = [sys.executable, "-c", code]
        return json.loads(subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=True).stdout)
    count, there, splits, trained = said("mmvae_nb.experiments.tuning")
    assert there and splits == ["validation"] and len(trained) == len(trials()) == count - said("")[0]
    assert said("")[1:] == [False, [], []]

def test_dear_parts_are_asked_for_by_name_or_at_a_scale_that_can_pay():
    assert "attribution" in parts_of(DATA) and "attribution" in parts_of(DATA, "real")
    assert "attribution" not in parts_of(DATA, "smoke") and "headline" in parts_of(DATA, "smoke")
