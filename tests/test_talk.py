"""The talk's numbers, and the table that sets ours beside them."""
import json, math

import pandas as pd, pytest

from helpers import DATA
from mmvae_nb.core import MmvaeError
from mmvae_nb.experiments.talk import metric_rows, talk_numbers, talk_rows, write_talk_table

# (slide, data, metric, method): how many, and their sum - added up by hand from the slides
SUMS = {
    (37, DATA, "fid", "mopoe"): (4, 887.67), (37, DATA, "fid", "jmvae_student"): (4, 236.9),
    (37, DATA, "fid", "iterative_student"): (4, 207.65),
    (38, DATA, "linear_accuracy", "mopoe"): (3, 2.7748), (38, DATA, "linear_accuracy", "jmvae_student"): (3, 2.7264),
    (38, DATA, "linear_accuracy", "iterative_student"): (3, 2.7747),
    (40, "cub", "fid", "mopoe"): (1, 311.319), (40, "cub", "fid", "jmvae_student"): (1, 195.425),
    (40, "cub", "fid", "iterative_student"): (1, 191.425),
    (40, "cub", "cosine_similarity", "mopoe"): (1, -0.004795),
    (40, "cub", "cosine_similarity", "jmvae_student"): (1, 0.003665),
    (40, "cub", "cosine_similarity", "iterative_student"): (1, 0.00796),
    (64, DATA, "fid", "mopoe"): (2, 449.48), (64, DATA, "fid", "jmvae_student"): (2, 119.746),
    (64, DATA, "fid", "iterative_student"): (2, 116.808),
    (65, DATA, "linear_accuracy", "mopoe"): (3, 2.9453), (65, DATA, "linear_accuracy", "jmvae_student"): (3, 2.9701),
    (65, DATA, "linear_accuracy", "iterative_student"): (3, 2.9763),
    (68, DATA, "teacher_student_kl", "jmvae_student"): (3, 178.313),
    (68, DATA, "teacher_student_kl", "iterative_student"): (3, 166.966),
    (68, "cub", "teacher_student_kl", "jmvae_student"): (2, 351.576),
    (68, "cub", "teacher_student_kl", "iterative_student"): (2, 749.169)}

SINGLE = [(37, "svhn->mnist", "mopoe", 194.49), (37, "text->mnist", "iterative_student", 38.691),
          (37, "mnist->svhn", "jmvae_student", 65.407), (37, "text->svhn", "mopoe", 246.85),
          (38, "svhn", "jmvae_student", 0.7540), (38, "text", "mopoe", 0.9992),
          (38, "mnist", "iterative_student", 0.9811),
          (64, "text+mnist->svhn", "mopoe", 252.50), (64, "svhn+text->mnist", "iterative_student", 44.026),
          (65, "svhn+text", "jmvae_student", 0.9900), (65, "mnist+svhn", "iterative_student", 0.9857),
          (68, "svhn", "iterative_student", 51.836)]

def test_the_talks_numbers():
    t = talk_numbers()
    assert len(t) == 52 and dict(t.dataset.value_counts()) == {DATA: 42, "cub": 10}
    got = t.groupby(["slide", "dataset", "metric", "method"], sort=False).talk_value.agg(["count", "sum"])
    assert list(got.index) == list(SUMS)                       # in the talk's order
    for key, (count, total) in SUMS.items():
        assert got.loc[key, "count"] == count and abs(got.loc[key, "sum"] - total) < 1e-6, key
    for slide, condition, method, value in SINGLE:
        rows = t[(t.slide == slide) & (t.condition == condition) & (t.method == method) & (t.dataset == DATA)]
        assert rows.talk_value.tolist() == [value]
    assert not t.duplicated(["slide", "dataset", "metric", "condition", "method"]).any()
    lower = {"fid": True, "teacher_student_kl": True, "linear_accuracy": False, "cosine_similarity": False}
    assert all((row.better == "lower") == lower[row.metric] for row in t.itertuples())


def test_seeds_are_averaged(tmp_path):
    for seed, value in [(0, 1.0), (1, 2.0), (2, 6.0)]:
        row = dict(metric="fid", condition="svhn->mnist", value=value, n=10, floor=0.5, features="f")
        (tmp_path/"runs").mkdir(exist_ok=True)
        (tmp_path/"runs"/f"{DATA}-mopoe-{seed}-metrics.json").write_text(json.dumps(dict(
            dataset=DATA, method="mopoe", seed=seed, data="rendered", device="cpu",
            rows=[row, {**row, "metric": "own", "value": 3.0}])))
    t = write_talk_table(tmp_path)
    first = t.iloc[0]
    assert (first.slide, first.talk_value, first.value, first.n_seeds, first.n, first.floor) == (
        37, 194.49, 3.0, 3, 10, 0.5)
    assert abs(first["std"] - math.sqrt(7)) < 1e-12 and t.iloc[1:52].value.isna().all()
    assert len(t) == 53 and t.iloc[52].metric == "own" and pd.isna(t.iloc[52].talk_value) and t.iloc[52]["std"] == 0
    assert len(pd.read_csv(tmp_path/"tables"/"talk.csv")) == 53

def test_before_anything_has_run_the_table_is_the_talks(tmp_path):
    t = talk_rows(tmp_path)
    assert len(t) == 52 and t.value.isna().all() and t.talk_value.notna().all()

def test_records_that_are_not_there_are_said_to_be_missing(tmp_path):
    "A lesson that reads them, opened without the repository, must not go on with empty tables."
    with pytest.raises(MmvaeError, match=r"results: got \S+nowhere, which is not there, allowed: .*clone"):
        metric_rows(tmp_path/"nowhere")
    assert metric_rows(tmp_path).empty                       # a folder in which nothing has run yet
