"Files that a user names: to save to, to open, and those that the command line finds."
import json, os
from dataclasses import replace
from functools import partial

import pytest, torch

from mmvae_nb.checkpoints import describe, load, load_weights, save, save_weights
from mmvae_nb.core import MmvaeError, atomic_path
from mmvae_nb.data import Modality, TensorData
from mmvae_nb.experiments.cli import main
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.networks import default_specs
from mmvae_nb.vae import VAE
from helpers import one_error
from test_user_border import A, quiet, refused


def colours(*words, more=(), n=24):
    k = Modality("k", "categories", (1,), words) if words else None
    y = torch.arange(n) % 3
    x = {"x": torch.tensor(A[:n]), "k": y[:, None], **{m: torch.tensor(A[:n, :2]) for m in more}}
    return quiet(lambda: TensorData(x, y, [k] if k else None, kinds=None if k else {"k": "categories"}))

def of(data): return MoPoE(default_specs(data.modalities), 2).eval()

RGB = ("red", "green", "blue")


# ---- to save to

def test_only_a_regular_file_is_replaced(tmp_path):
    model, pipe, folder = of(colours(*RGB)), tmp_path/"pipe", tmp_path/"folder"
    os.mkfifo(pipe); folder.mkdir()
    (tmp_path/"link").symlink_to(pipe)
    look = lambda p: [getattr(os.lstat(p), f"st_{k}") for k in ("mode", "ino", "size", "mtime_ns")]   # not atime
    before = {p: look(p) for p in (pipe, folder, tmp_path/"link")}
    for path in before:
        for way in (save, save_weights):
            refused(lambda p=path, w=way: w(model, p), "a file", "pipe", starts=f"path: got {str(path)!r}")
    assert {p: look(p) for p in before} == before and sorted(tmp_path.iterdir()) == sorted(before)
    (tmp_path/"old").write_text("old")
    (tmp_path/"name").symlink_to(tmp_path/"old")
    for name in ("old", "name", "new"):                                  # a file, a link to one, nothing
        save(model, tmp_path/name)
        assert describe(tmp_path/name)["class"] == "mmvae_nb.mopoe:MoPoE"

def test_a_name_that_is_too_long_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a"*300, "ä"*130, "a." + "b"*300, "€"*84 + ".mod"):
        with pytest.raises(MmvaeError) as e: save(of(colours(*RGB)), name)
        assert str(e.value) == f"{name}: can't be written to (File name too long)"
        refused(lambda n=name: load(n), "no such file", starts=f"path: got '{name[:2]}")
    assert not list(tmp_path.iterdir())
    for name in ("a"*255, "ä"*127, "€"*20 + "." + "€"*60):                    # as long as a name may be
        with atomic_path(name) as tmp: tmp.write_text("whole")
        assert (tmp_path/name).read_text() == "whole"


# ---- to open

def test_what_is_no_file_is_said_to_be_none(tmp_path):
    model = of(colours(*RGB))
    os.mkfifo(tmp_path/"pipe")
    for way in (load, describe, partial(load_weights, model)):
        for path, what in ((tmp_path, "a folder"), (tmp_path/"pipe", "a device or pipe"), (tmp_path/"none", "no such")):
            refused(lambda w=way, p=path: w(p), f"({what}", starts=f"path: got {str(path)!r} (")
    for bad in (None, 3, [], {}, b"m", torch.zeros(2)):
        for way in (describe, partial(load_weights, model)):
            refused(lambda w=way, b=bad: w(b), starts="path: got " + repr(bad)[:5])


# ---- what the file says of tokens, and what the caller says

def test_a_model_is_not_opened_with_classes_of_other_names(tmp_path):
    path, own = tmp_path/"m", lambda *words: default_specs(colours(*words).modalities)
    save(of(colours(*RGB)), path)
    refused(lambda: load(path, specs=own("blue", "green", "red")), "'blue' as number 0", "that of the model", "'red'",
            starts="vocabulary of k of specs: got")
    refused(lambda: load(path, specs={"k": own("blue", "green", "red")["k"]}), starts="vocabulary of k of specs: got")
    x = own(*RGB)["x"]
    refused(lambda: load(path, specs={"x": replace(x, modality=replace(x.modality, shape=(5,)))}), "(5,)", "(6,)",
            starts="shape of x of specs: got")
    for good in (own(*RGB), own()):                                  # numbers without names go with any names
        assert load(path, specs=good).specs["k"].modality.vocabulary == RGB
    save(of(colours()), path)
    assert load(path, specs=own(*RGB)).specs["k"].modality.vocabulary == RGB

def test_data_of_other_modalities_do_not_go_with_a_model(tmp_path):
    model = of(colours(*RGB))
    for x in ({"x": A, "c": A[:, :2]}, {"x": A}, {"c": A}):
        data = quiet(lambda x=x: TensorData(x))
        refused(lambda d=data: save(model, tmp_path/"m", d), "all modalities of the model, k, x",
                starts=f"data: got {', '.join(x)}, allowed")
    assert not list(tmp_path.iterdir())
    save(model, tmp_path/"m", colours(*RGB, more="c"))                    # `fit` takes such data, too
    assert list(describe(tmp_path/"m")["specs"]) == ["k", "x"]
    save(VAE(model.specs["k"], "k"), tmp_path/"m", colours(*RGB))
    assert describe(tmp_path/"m")["specs"]["k"]["modality"]["vocabulary"] == list(RGB)


# ---- what the command line finds, and is given

ROW = {"metric": "coherence", "condition": "svhn->mnist", "value": .5, "n": 10}
RUN = {"dataset": "mnist_svhn_text", "method": "mopoe", "seed": 0, "data": "rendered", "device": "cpu", "rows": [ROW]}

@pytest.mark.parametrize("found, words", [
    ([], "got []"), (3, "got 3"), (None, "got None"), ("rows", "got 'rows'"), ({}, "got no dataset"),
    ({**RUN, "rows": None}, "got rows None"), ({**RUN, "rows": {"a": 1}}, "got rows {'a': 1}"),
    ({**RUN, "rows": [ROW, 3]}, "got 3 in row 1"),
    ({**RUN, "rows": [{**ROW, "value": "much"}]}, "got value 'much' in row 0"),
    ({**RUN, "rows": [{**ROW, "value": None}]}, "got value None in row 0"), ({**RUN, "device": 3}, "got device 3"),
    ({**RUN, "rows": [{**ROW, "n": 2.5}]}, "got n 2.5 in row 0"), ({**RUN, "seed": [1]}, "got seed [1]"),
    ({**RUN, "rows": [{**ROW, "floor": "low"}]}, "got floor 'low' in row 0"),
    ({**RUN, "rows": [{"metric": "coherence"}]}, "got no condition in row 0")])
def test_a_record_of_another_form_is_one_line(found, words, tmp_path, capsys):
    path = tmp_path/"quick"/"runs"/"mnist_svhn_text-mopoe-0-metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(found))
    assert main(["table", "--results", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    one_error(err, f"{path}: {words}, allowed: the record of an evaluation")
    assert out == "" and not (tmp_path/"quick"/"tables").exists()
    path.write_text(json.dumps(RUN))
    assert main(["table", "--results", str(tmp_path)]) == 0

@pytest.mark.parametrize("argv, words", [
    (["reproduce", "--scale", ""], "scale: got '', allowed"), (["reproduce", "--dataset="], "dataset: got ''"),
    (["reproduce", "--part", ""], "part: got ''"), (["table", "--results", ""], "results: got ''"),
    (["job", "judges", "--device", ""], "device: got ''"), (["reproduce", "--methods", ""], "methods: got ''"),
    (["reproduce", "--methods", ","], "methods: got '', allowed: mopoe"),
    (["reproduce", "--methods", "jvae,,mopoe"], "methods: got '', allowed: mopoe"),
    (["job", "judges", "--methods", "jvae, "], "methods: got '', allowed: mopoe")])
def test_an_empty_word_is_one_line(argv, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mmvae_nb.experiments.watch.reproduce", lambda **how: pytest.fail(f"it began: {how}"))
    monkeypatch.setattr("mmvae_nb.experiments.graph.jobs_for", lambda **how: pytest.fail(f"it began: {how}"))
    assert main(argv) == 2
    out, err = capsys.readouterr()
    one_error(err, words)
    assert out == "" and not list(tmp_path.iterdir())

def test_an_empty_variable_is_one_that_is_not_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMVAE_RESULTS", "")
    assert main(["table"]) == 2
    one_error(capsys.readouterr().err, "results: got none in results/quick")
