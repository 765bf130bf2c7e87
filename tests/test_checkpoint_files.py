"""Lesson 02h: no code from files, no damage unseen, one line for each refusal."""
import errno, json, os, pickle, random, shutil, struct, warnings
from pathlib import Path

import pytest, torch
from checkpoint_helpers import FILES, HOW, copied, data, jvae, mutated, newest, replaying, restamp, train
from safetensors.torch import load_file, save_file
from torch import nn

import mmvae_nb.checkpoints as checkpoints
from mmvae_nb.checkpoints import load_weights, save, save_weights
from mmvae_nb.core import MmvaeError, atomic_path, digest, sweep
from mmvae_nb.data import TensorData
from mmvae_nb.distributions import Gaussian, Laplace
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import ModalitySpec, default_specs
from mmvae_nb.states import read_state, write_state
from mmvae_nb.training import fit
from mmvae_nb.vae import Loss

class Evil:
    def __init__(self, place): self.place = str(place)
    def __reduce__(self): return Path.touch, (Path(self.place),)

def plant(path, kind, sign):
    "A file that makes another one when it is unpickled."
    if kind == "torch": torch.save({"state": Evil(sign)}, path)
    else: path.write_bytes(pickle.dumps(Evil(sign)))

def refused(call, *words):
    with pytest.raises(MmvaeError) as e: call()
    text = str(e.value)
    assert "\n" not in text and len(text) < 500, text
    for w in words: assert w in text, text
    return text

@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    "A training stopped after 4 of 8 updates, its final weights, and the same with replay."
    root = tmp_path_factory.mktemp("ck")
    for name, model in {"jvae": jvae, "replay": replaying}.items():
        train(root/name, model, stop_after=4)
    train(root/"seed", seed=1, stop_after=4)
    return root, train(None)

@pytest.fixture
def folder(stopped, tmp_path): return copied(stopped[0]/"jvae", tmp_path/"c")


# ---- no code from files

@pytest.mark.parametrize("model", ["jvae", "replay"])
@pytest.mark.parametrize("kind", ["torch", "pickle"])
@pytest.mark.parametrize("sealed", [False, True], ids=["as is", "with its digest in run.json"])
def test_a_pickle_planted_in_any_file_is_not_run(model, kind, sealed, stopped, tmp_path):
    sign = tmp_path/"sign"
    plant(tmp_path/"p", "torch", sign); torch.load(tmp_path/"p", weights_only=False)
    assert sign.exists(); sign.unlink()                              # it does what we fear
    strange = ("custom_checkpoint_0.pkl", "random_states_0.pkl", "optimizer.bin", "pytorch_model.bin")
    for name in (*FILES, *strange):
        here = newest(copied(stopped[0]/model, tmp_path/name))
        plant(here/name, kind, sign)
        if sealed and name not in ("run.json", *strange): restamp(here)
        again = lambda: train(here.parent, {"jvae": jvae, "replay": replaying}[model])  # noqa: B023
        if name in FILES: refused(again, str(here), name, "damaged", "delete it")
        else: again()                                                # nobody looks at it
        assert not sign.exists(), name

def test_a_checkpoint_holds_numbers_and_json(stopped):
    for model in ("jvae", "replay"):
        here = newest(stopped[0]/model)
        assert sorted(p.name for p in here.iterdir()) == sorted(FILES)
        for f in FILES[:3]:
            raw = (here/f).read_bytes()
            n, = struct.unpack("<Q", raw[:8])
            ends = [v["data_offsets"][1] for k, v in json.loads(raw[8:8 + n]).items() if k != "__metadata__"]
            assert 8 + n + max(ends) == len(raw)
    assert read_state(here/"process_0.safetensors")["own"][0]["batch"]["a"].shape == (8, 4)   # what is replayed

def test_only_numbers_and_words_can_be_kept(tmp_path):
    class Odd(nn.Linear):
        def checkpoint_state(self):
            class State:
                def reset(self): pass
                def state_dict(self): return {"call": [Evil("x")]}
                def load_state_dict(self, state): pass
            return [State()]
        def forward(self, batch): return Loss(super().forward(batch["a"]).pow(2).mean(), {})
    refused(lambda: fit(Odd(4, 1), data(), **HOW, checkpoint=tmp_path), "got a Evil", "call.0", "allowed: tensors")
    assert list(tmp_path.iterdir()) == []


# ---- no damage unseen

@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "last byte", "half", "empty", "gone", "a folder", "another seed's"])
def test_each_damage_of_each_file_is_one_line(name, damage, folder, stopped):
    here = newest(folder)
    whole = (here/name).read_bytes()
    if damage in ("gone", "a folder"):
        (here/name).unlink()
        if damage == "a folder": (here/name).mkdir()
    elif damage == "another seed's": shutil.copy(newest(stopped[0]/"seed")/name, here/name)
    else:
        i = len(whole)//2 if damage == "flip" else len(whole) - 1
        (here/name).write_bytes({"half": whole[:len(whole)//2], "empty": b""}.get(
            damage, whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1:]))
    model = jvae(); before = digest(model.state_dict())
    said = refused(lambda: fit(model, data(), **HOW, checkpoint=folder), str(folder))
    if (name, damage) == ("run.json", "another seed's"): assert "is not the file" in said
    else: assert str(here) in said and name in said and "delete it: training goes on from the beginning" in said
    assert digest(model.state_dict()) == before and not model.training
    shutil.rmtree(here)
    assert train(folder) == stopped[1]                               # what the line says to do helps

def test_random_damage_is_never_used(folder, stopped):
    rng, here = random.Random(0), newest(folder)
    whole = {n: (here/n).read_bytes() for n in FILES}
    seen = 0
    for i in range(60):
        name = FILES[i % 4]
        bad = mutated(whole[name], rng)
        if bad == whole[name]: continue
        (here/name).write_bytes(bad)
        refused(lambda: train(folder), str(folder))
        (here/name).write_bytes(whole[name]); seen += 1
    assert seen > 50 and train(folder) == stopped[1]

@pytest.mark.parametrize("edit, words", [
    (lambda r: r.update(update=10**9), "run.json was changed"), (lambda r: r.update(update=7), "run.json was changed"),
    (lambda r: r.pop("history"), "run.json was changed"), (lambda r: r.pop("settings"), "run.json was changed"),
    (lambda r: r.update(history="none"), "run.json was changed"), (lambda r: r.update(more=1), "run.json was changed"),
    (lambda r: r.pop("digest"), "run.json was changed"), (lambda r: r.update(files={}), "run.json was changed"),
    (lambda r: r.update(schema=3), "a newer mmvae_nb"), (lambda r: r.update(schema=1), "an older mmvae_nb"),
    (lambda r: r.pop("schema"), "an older mmvae_nb"), (lambda r: r.update(schema="two"), "damaged"),
    (lambda r: r.update(schema=None), "damaged"), (lambda r: r.update(schema=[2]), "damaged")])
def test_an_edited_record_is_refused(edit, words, folder):
    here = newest(folder)
    run = json.loads((here/"run.json").read_text())
    edit(run)
    (here/"run.json").write_text(json.dumps(run))
    refused(lambda: train(folder), words, str(here))

@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "{}", "{", "\x00"])
def test_a_record_of_another_form_is_refused(text, folder):
    (newest(folder)/"run.json").write_text(text)
    refused(lambda: train(folder), str(folder))

def test_a_renamed_checkpoint_is_refused(folder):
    here = newest(folder)
    here.rename(here.with_name("update_0000006"))
    refused(lambda: train(folder), "it is of update 4")

def test_strangers_in_the_folder_are_not_looked_at(folder, stopped):
    for name in ("update_zzz", "update_0000009.bak", "update_0000009 (1)", "update_9", "notes"): (folder/name).mkdir()
    (folder/"update_").write_text("x"); (folder/".partial_0000005").mkdir()
    (folder/f".try-{2**22 + 7}-writable").touch()                    # of one killed while it looked
    assert train(folder) == stopped[1]
    left = {p.name for p in folder.iterdir()}
    assert left == {"update_zzz", "update_0000009.bak", "update_0000009 (1)", "update_9", "notes", "update_",
                    "update_0000008"}

def test_another_number_of_threads_is_told(folder):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.warns(UserWarning, match=rf"made with {before} threads \(now {before + 1}\).*last bits"):
            train(folder)
    finally: torch.set_num_threads(before)

def test_the_same_number_is_not(folder, stopped):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(folder) == stopped[1]


# ---- errors while training

def test_after_a_divergence_the_advice_can_be_followed(tmp_path):
    class Bad(JVAE):
        def loss(self, batch):
            self.seen = getattr(self, "seen", 0) + 1
            loss = super().loss(batch)
            return loss if self.seen < 6 else Loss(loss.total*float("nan"), loss.parts)
    model = Bad(default_specs(data().modalities), 2)
    said = refused(lambda: fit(model, data(), **HOW, checkpoint=tmp_path, every=2), "got nan at update 5", "smaller lr",
                   f"in another folder than {tmp_path} or after deleting it")
    assert not model.training and "process" not in said
    shutil.rmtree(tmp_path)
    train(tmp_path, lr=0.001)
    assert "folder" not in refused(lambda: fit(Bad(default_specs(data().modalities), 2), data(), **HOW), "smaller lr")

def test_a_part_that_is_no_number_is_told_once():
    class Parts(JVAE):
        def loss(self, batch): return Loss(super().loss(batch).total, {"half": torch.tensor(float("nan"))})
    model = Parts(default_specs(data().modalities), 2)
    with pytest.warns(UserWarning, match="its part half is nan at update 0") as told:
        fit(model, data(), **{**HOW, "updates": 21})
    assert len([w for w in told if "half" in str(w.message)]) == 1

FULL = [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only file system"),
        checkpoints.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")]

@pytest.mark.parametrize("error", FULL, ids=["full", "read-only", "safetensors"])
def test_a_full_disk_is_one_line_and_nothing_is_left(error, tmp_path, monkeypatch):
    import mmvae_nb.states as states
    write, calls = states.save_file, []
    def fails(tensors, path, about):
        calls.append(path)
        if len(calls) == 5: raise error                              # in the second checkpoint
        write(tensors, path, about)
    monkeypatch.setattr(states, "save_file", fails)
    monkeypatch.setattr(checkpoints, "save_file", lambda *a: (_ for _ in ()).throw(error))
    refused(lambda: train(tmp_path/"c", every=2), str(tmp_path/"c"), "can't be written to", error.strerror
            if isinstance(error, OSError) else "No space left")
    assert [p.name for p in (tmp_path/"c").iterdir()] == ["update_0000002"]
    model = jvae()
    refused(lambda: save_weights(model, tmp_path/"w.safetensors"), "w.safetensors: can't be written to")
    refused(lambda: save(model, tmp_path/"m.safetensors"), "m.safetensors: can't be written to")
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    monkeypatch.undo()
    assert train(tmp_path/"c", every=2) == train(None)

def test_a_folder_in_the_way_is_one_line(tmp_path):
    (tmp_path/"w").mkdir(); (tmp_path/"w"/"x").touch()
    refused(lambda: save_weights(jvae(), tmp_path/"w"), f"path: got '{tmp_path/'w'}', allowed", "no folder")
    assert [p.name for p in tmp_path.iterdir()] == ["w"]

def test_what_a_killed_process_left_is_swept_and_no_more(tmp_path):
    gone = tmp_path/"a"/f".result-{2**22 + 7}-abcd1234.json"
    mine = tmp_path/"a"/f".result-{os.getpid()}-abcd1234.json"
    gone.parent.mkdir()
    for p in (gone, mine, tmp_path/".gitignore", tmp_path/"a"/".result-12-short.json"): p.touch()
    with atomic_path(tmp_path/"b.json") as tmp:
        sweep(tmp_path)
        assert tmp.exists()
    assert not gone.exists() and mine.exists() and len(list(tmp_path.rglob("*"))) == 5


# ---- weights

def weights(tmp_path, model=None):
    path = tmp_path/"w.safetensors"
    save_weights(model or jvae(), path)
    return path

def test_each_flipped_bit_of_weights_is_seen(tmp_path):
    path, model = weights(tmp_path), jvae()
    whole, before, rng = path.read_bytes(), digest(model.state_dict()), random.Random(1)
    body = 8 + struct.unpack("<Q", whole[:8])[0]
    for _ in range(200):
        i = rng.randrange(body, len(whole))
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << rng.randrange(8)]) + whole[i + 1:])
        refused(lambda: load_weights(model, path), str(path), "damaged")
    assert digest(model.state_dict()) == before

@pytest.mark.parametrize("change, words", [
    (lambda v: v.half(), "is torch.float16, allowed: torch.float32"),
    (lambda v: (v*100).to(torch.int8), "is torch.int8, allowed: torch.float32"),
    (lambda v: v.double(), "is torch.float64"), (lambda v: v*float("nan"), "not finite"),
    (lambda v: v*float("inf"), "not finite")])
@pytest.mark.parametrize("header", [False, True], ids=["without a header", "with its digest"])
def test_other_numbers_are_not_taken(change, words, header, tmp_path):
    path, model = weights(tmp_path), jvae()
    state = {k: change(v) for k, v in load_file(path).items()}
    about = {"mmvae_nb_weights": json.dumps({"weights": digest(state)})} if header else None
    save_file(state, path, about)
    refused(lambda: load_weights(model, path), str(path), words)

def test_weights_of_other_origin_are_taken(tmp_path):
    path, model = tmp_path/"w", jvae()
    state = {k: v + 1 for k, v in model.state_dict().items()}
    save_file(state, path)
    assert digest(load_weights(model, path).state_dict()) == digest(state)
    save(model, tmp_path/"whole")
    assert digest(load_weights(jvae(), tmp_path/"whole").state_dict()) == digest(state)

def one(likelihood=Gaussian, weight=2., activation=nn.ReLU, **options):
    make = lambda: nn.Sequential(nn.Linear(4, 8), activation())
    spec = ModalitySpec(make, 8, lambda z: nn.Linear(z, 4), likelihood(**options), weight)
    torch.manual_seed(0)
    return {"a": spec}

@pytest.mark.parametrize("other, words", [
    (lambda: JVAE(one(scale=0.5), 2), ("likelihood of a", "scale=0.5", "scale=1.0")),
    (lambda: JVAE(one(Laplace, scale=1.0), 2), ("likelihood of a", "Laplace", "Gaussian")),
    (lambda: JVAE(one(weight=3.), 2), ("weight of a", "3.0", "2.0")),
    (lambda: JVAE(one(activation=nn.Tanh), 2), ("activations",)),
    (lambda: JVAE(one(activation=lambda: nn.LeakyReLU(0.3)), 2), ("activations",)),
    (lambda: JVAE(one(), 2, beta=4.), ("beta", "4.0", "1.0"))])
def test_weights_trained_for_something_else_are_refused(other, words, tmp_path):
    path = weights(tmp_path, JVAE(one(scale=1.0), 2))
    load_weights(JVAE(one(scale=1.0), 2), path)
    model = other(); before = digest(model.state_dict())
    refused(lambda: load_weights(model, path), str(path), "allowed", *words)
    assert digest(model.state_dict()) == before

def test_weights_know_activations_by_what_they_do(tmp_path):
    path = weights(tmp_path, JVAE(one(activation=lambda: nn.LeakyReLU(0.1)), 2))
    refused(lambda: load_weights(JVAE(one(activation=lambda: nn.LeakyReLU(0.2)), 2), path), "activations")
    load_weights(JVAE(one(activation=lambda: nn.LeakyReLU(0.1)), 2), path)

def test_a_convolution_goes_on_to_the_same_bits(tmp_path):
    "Weights and moments of convolutions lie channels last; a fused Adam walks through memory."
    g = torch.Generator().manual_seed(3)
    pictures = TensorData({"p": torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8, generator=g)})
    def new(): torch.manual_seed(0); return JVAE(default_specs(pictures.modalities), 2)
    whole, part, how = new(), new(), {**HOW, "updates": 6}
    fit(whole, pictures, **how)
    fit(new(), pictures, **how, checkpoint=tmp_path, stop_after=3)
    fit(part, pictures, **how, checkpoint=tmp_path)
    assert digest(whole.state_dict()) == digest(part.state_dict())

def test_states_come_back_exactly(tmp_path):
    net = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    write_state(tmp_path/"s", {1: net.weight, "1": (1, [None]), "both": [net.bias, net.bias]})
    back = read_state(tmp_path/"s")
    assert back[1].stride() == net.weight.stride() and torch.equal(back[1], net.weight) and back["1"] == (1, [None])
    assert torch.equal(back["both"][1], net.bias)
