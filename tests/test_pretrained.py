"Trained models from a folder: found by name, checked against their card, opened offline."
import json

import pytest, torch

import mmvae_nb
from mmvae_nb.core import MmvaeError, seed_everything
from mmvae_nb.data import TensorData
from mmvae_nb.distillation import Students, distill
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.pretrained_models import CARD, cards, pretrained, ship
from mmvae_nb.training import fit

ABOUT = dict(data_name="two views, made up", terms="none", method="MoPoE", updates=0, seed=0, metrics={},
             made_by="a test")

@pytest.fixture
def shipped(tmp_path, monkeypatch):
    "A model and the folder where it was shipped as `two`; no other folder is searched."
    monkeypatch.chdir(tmp_path); monkeypatch.setenv("MMVAE_WEIGHTS", str(tmp_path/"mine"))
    seed_everything(0)
    data = TensorData({"a": torch.randn(40, 3), "b": torch.randn(40, 5)}, labels=torch.arange(40) % 2,
                      class_names=["x", "y"])
    model = MoPoE(default_specs(data.modalities), latent=2)
    ship(model, tmp_path/"mine", "two", data, **ABOUT)
    return model, tmp_path/"mine", data

def test_a_shipped_model_is_the_model_to_half_precision(shipped):
    model, folder, data = shipped
    again, batch = mmvae_nb.pretrained("two"), data.batch(0, 16)
    for k, v in model.state_dict().items():
        assert again.state_dict()[k].dtype == v.dtype and torch.equal(again.state_dict()[k], v.half().float()), k
    with torch.no_grad(): a, b = model.infer(batch), again.infer(batch)
    torch.testing.assert_close(a.mean, b.mean, atol=2e-3, rtol=2e-3)
    assert again.card["data"] == ABOUT["data_name"] and set(CARD) <= set(again.card) and not again.training
    whole = sum(v.numel() for v in model.state_dict().values())
    assert 2*whole < again.card["bytes"] < 2*whole + 8000
    assert (folder/"two.safetensors").stat().st_size == again.card["bytes"]

def test_the_folder_named_first_counts(shipped, tmp_path):
    model, folder, _ = shipped
    ship(model, tmp_path/"weights", "two", **{**ABOUT, "data_name": "another"})
    ship(model, tmp_path/"weights", "three", **{**ABOUT, "data_name": "another"})
    assert {n: c["data"] for n, c in cards().items() if n in ("two", "three")} == {
        "two": ABOUT["data_name"], "three": "another"}

@pytest.mark.parametrize("spoil, words", [
    (lambda f: (f/"two.safetensors").unlink(), "two.safetensors: No such file"),
    (lambda f: (f/"two.safetensors").write_bytes((f/"two.safetensors").read_bytes()[:-9]), "not the file its card"),
    (lambda f: (f/"two.json").write_text("{"), "not valid JSON"),
    (lambda f: (f/"two.json").write_text(json.dumps({"name": "two"})), "the card lacks file, sha256"),
    (lambda f: (f/"two.json").write_text("[1]"), "the card lacks name")])
def test_what_is_not_as_its_card_says_is_refused(spoil, words, shipped):
    spoil(shipped[1])
    with pytest.raises(MmvaeError) as e: pretrained("two")
    assert words in str(e.value) and "\n" not in str(e.value)

def test_a_card_never_leads_out_of_its_folder(shipped, tmp_path):
    _, folder, _ = shipped
    said = json.loads((folder/"two.json").read_text())
    (tmp_path/"secret.safetensors").write_bytes((folder/"two.safetensors").read_bytes())
    (folder/"two.safetensors").unlink()
    (folder/"two.json").write_text(json.dumps({**said, "file": "../secret.safetensors"}))
    with pytest.raises(MmvaeError, match="mine/secret.safetensors: No such file"): pretrained("two")

def test_wrong_names_and_empty_folders_get_one_line(shipped, monkeypatch):
    model, folder, _ = shipped
    with pytest.raises(MmvaeError, match="name: got 'tow', allowed: .*two"): pretrained("tow")
    with pytest.raises(MmvaeError, match="name: got 'a b', allowed: letters"): ship(model, folder, "a b", **ABOUT)
    with pytest.raises(MmvaeError, match="about: got no terms, updates"):
        ship(model, folder, "new", **{k: v for k, v in ABOUT.items() if k not in ("terms", "updates")})
    assert not list(folder.glob("new*"))
    monkeypatch.setattr("mmvae_nb.pretrained_models.weight_dirs", lambda: [folder/"nowhere"])
    with pytest.raises(MmvaeError, match="no trained model is in .*nowhere, allowed: a folder of them"):
        pretrained("two")


# ---- a teacher and its students have the same decoders, and one file holds them

@pytest.fixture
def pair(shipped):
    "A JVAE and its students, which hold the decoders of both."
    _, folder, data = shipped
    teacher = JVAE(default_specs(data.modalities), latent=2)
    ship(Students(teacher), folder, "students", data, **ABOUT)
    ship(teacher, folder, "teacher", data, shares="students", **ABOUT)
    return teacher, folder, data

def test_a_teacher_without_its_decoders_is_the_teacher(pair):
    teacher, folder, data = pair
    ship(teacher, folder, "whole", data, **ABOUT)
    again, whole = mmvae_nb.pretrained("teacher"), mmvae_nb.pretrained("whole")
    own, other = again.state_dict(), whole.state_dict()
    assert own.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in own.items())
    lent = sum(v.numel() for v in teacher.decoders.state_dict().values())
    assert abs(whole.card["bytes"] - again.card["bytes"] - 2*lent) < 2000 and lent > 500
    assert type(again) is JVAE and again.card["shares"] == "students" and again.specs.keys() == whole.specs.keys()

def test_a_file_without_decoders_is_no_model_by_itself(pair):
    with pytest.raises(MmvaeError, match="weights without a recipe"): mmvae_nb.load(pair[1]/"teacher.safetensors")

@pytest.mark.parametrize("spoil, words", [
    (lambda f: (f/"students.json").unlink(), "teacher.safetensors: shares its decoders with 'students', allowed: a "),
    (lambda f: (f/"students.safetensors").unlink(), "students.safetensors: No such file"),
    (lambda f: (f/"students.safetensors").write_bytes(b"x"), "students.safetensors: not the file its card describes"),
    (lambda f: (f/"teacher.safetensors").write_bytes(b"x"), "teacher.safetensors: not the file its card describes")])
def test_decoders_that_are_not_there_or_changed_get_one_line(spoil, words, pair):
    spoil(pair[1])
    with pytest.raises(MmvaeError) as e: pretrained("teacher")
    assert words in str(e.value) and "\n" not in str(e.value)

@pytest.mark.parametrize("lender, words", [("two", "shares: got 'two', allowed: a model with the same decoders"),
                                           ("teacher", "new.safetensors: shares its decoders with 'teacher', allowed"),
                                           ("nobody", "new.safetensors: shares its decoders with 'nobody', allowed")])
def test_only_equal_decoders_of_a_whole_file_are_shared(lender, words, pair):
    teacher, folder, data = pair
    with pytest.raises(MmvaeError) as e: ship(teacher, folder, "new", data, shares=lender, **ABOUT)
    assert words in str(e.value) and not list(folder.glob("new*"))

def test_the_lender_is_the_one_of_the_same_folder(pair, tmp_path, monkeypatch):
    teacher, folder, data = pair
    other = JVAE(default_specs(data.modalities), latent=2)
    ship(Students(other), tmp_path/"first", "students", data, **ABOUT)
    monkeypatch.setattr("mmvae_nb.pretrained_models.weight_dirs", lambda: [tmp_path/"first", folder])
    again = pretrained("teacher").state_dict()
    for k, v in teacher.decoders.state_dict().items(): assert torch.equal(again[f"decoders.{k}"], v.half().float()), k

def test_what_comes_with_the_course_is_small_and_may_be_shown():
    own = {n: c for n, c in cards().items() if c["path"].parent.name == "weights"}
    assert len(own) >= 10 and sum(c["path"].stat().st_size for c in own.values()) < 45e6
    for n, c in own.items():
        assert c["bytes"] == c["path"].stat().st_size and 0 < c["bytes"] < 6e6, n
        assert not n.startswith("celeba") or c["source"] == "rendered", n         # no weights of real faces


# ---- a call that is refused leaves things as they were

@pytest.mark.parametrize("more, words", [
    ({"shares": "two"}, "shares: got 'two', allowed: another model's name"),
    ({"metrics": {"fid": torch.zeros(2)}}, "metrics: got {'fid': tensor"),
    ({"metrics": {"fid": float("nan")}}, "metrics: got {'fid': nan}"),
    ({"made_by": {1}}, "made_by: got {1}")])
def test_a_refused_shipment_changes_no_file(more, words, shipped):
    model, folder, data = shipped
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(MmvaeError) as e: ship(model, folder, "two", data, **{**ABOUT, **more})
    assert words in str(e.value) and "\n" not in str(e.value)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before

@pytest.mark.parametrize("key, value", [("file", 5), ("name", ["two"]), ("sha256", None)])
def test_a_card_of_another_form_gets_one_line(key, value, shipped):
    folder = shipped[1]
    (folder/"two.json").write_text(json.dumps({**json.loads((folder/"two.json").read_text()), key: value}))
    with pytest.raises(MmvaeError, match=f"two.json: {key}: got .*, allowed: a string"): cards()

@pytest.mark.parametrize("bad", [
    lambda m, d: Students(m, steps=4), lambda m, d: Students(m, warm_start=True), lambda m, d: distill(m, d, 5, lr=-1.),
    lambda m, d: distill(m, d, 5, batch_size=1000)])
def test_a_teacher_that_is_refused_can_still_learn(bad, shipped):
    data = shipped[2]
    teacher = JVAE(default_specs(data.modalities), latent=2)
    with pytest.raises(MmvaeError): bad(teacher, data)
    assert all(p.requires_grad for p in teacher.parameters())
    fit(teacher, data, 1, 8, device="cpu", progress=False)
