"""Lesson 02h: one file that a colleague opens, by this package alone, and that runs nothing."""
import functools, json, os, subprocess, sys, textwrap, warnings
from dataclasses import replace
from pathlib import Path

import pytest, torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmvae_nb.checkpoints import SCHEMA, describe, load, save, save_weights
from mmvae_nb.core import MmvaeError, Remembers, digest
from mmvae_nb.data import Modality, TensorData
from mmvae_nb.distillation import Students, distill
from mmvae_nb.distributions import Gaussian
from mmvae_nb.jmvae import JMVAE, JVAEWithStudents
from mmvae_nb.mopoe import MMVAE, MVAE, MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher, StudentsOverT, on_decoders
from mmvae_nb.mvtcae import CRMVAE, MVTCAE
from mmvae_nb.networks import ModalitySpec, default_specs
from mmvae_nb.text import celeba_specs, cub_specs
from mmvae_nb.training import fit
from mmvae_nb.vae import VAE

ROOT = Path(__file__).resolve().parent.parent
WORDS = ("<pad>", "<unk>", "<end>", *"red blue green bird".split())
MODALITIES = {
    "default": {"picture": Modality("picture", "image", (3, 8, 8)), "odd": Modality("odd", "image", (1, 7, 7)),
                "word": Modality("word", "text", (8,), "abcdefgh "), "numbers": Modality("numbers", "vector", (5,))},
    "cub": {"image": Modality("image", "image", (3, 64, 64)), "text": Modality("text", "text", (32,), WORDS)},
    "celeba": {"image": Modality("image", "image", (3, 64, 64)), "text": Modality("text", "text", (32,), "*abc,")}}
SPECS = {"default": default_specs, "cub": cub_specs, "celeba": celeba_specs}

def specs(kind="default", names=None):
    torch.manual_seed(0)
    return {n: s for n, s in SPECS[kind](MODALITIES[kind]).items() if names is None or n in names}

def items(kind="default", n=3, names=None):
    g = torch.Generator().manual_seed(1)
    def of(m):
        if m.kind == "image": return torch.randint(0, 256, (n, *m.shape), dtype=torch.uint8, generator=g)
        if m.kind == "text": return torch.randint(0, m.num_tokens, (n, *m.shape), generator=g)
        return torch.randn(n, *m.shape, generator=g)
    return {k: of(m) for k, m in MODALITIES[kind].items() if names is None or k in names}

few = functools.partial(specs, names=("numbers", "word"))
def refined(): return IterativeTeacher(few(), 4, steps=2, hidden=8)

MAKE = {"jvae": lambda: JVAE(few(), 4, beta=0.5), "jmvae": lambda: JMVAE(few(), 4, alpha=0.2, warm_up=3),
        "mopoe": lambda: MoPoE(few(), latent=4, exact=True),
        "mvae": lambda: MVAE(few(), 4), "mmvae": lambda: MMVAE(few(), 4),
        "mvtcae": lambda: MVTCAE(few(), 4, alpha=0.5), "iterative": refined,
        "crmvae": lambda: CRMVAE(few(), 4, 0.7), "jvae_with_students": lambda: JVAEWithStudents(few(), 4, share=0.2),
        "marino": lambda: IterativeTeacher(few(), 4, steps=1, hidden=8, refiner="marino", decoders="last"),
        "on_decoders": lambda: on_decoders(MVTCAE(few(), 4), steps=2, hidden=8),
        "students": lambda: Students(JVAE(few(), 4), divide_prior=True),
        "students_of_refined": lambda: Students(refined(), warm_start=True, steps=1, direction="reverse"),
        "students_over_t": lambda: StudentsOverT(refined(), over=(0, 1, 3)),
        "vae": lambda: VAE(few()["numbers"], "numbers", 4, beta=2.)}

def made(name):
    torch.manual_seed(5)
    model = MAKE[name]()
    with torch.no_grad():
        for p in model.parameters(): p.add_(0.01*torch.randn(p.shape))
    return model.eval()

def numbers(model, batch):
    "What a model infers and generates, as bits."
    if isinstance(model, VAE): batch = {"numbers": batch["numbers"]}
    torch.manual_seed(9)
    with torch.no_grad():
        q = model.infer(batch)
        return [q.mean, q.logvar, *model.generate(batch).values(), *model.generate(q.mean).values()]

def one_line(error):
    text = str(error.value)
    assert text and "\n" not in text and len(text) < 400
    return text

def rewrite(path, change):
    "The file at `path` with another header."
    header = describe(path)
    change(header)
    save_file(load_file(path), path, {"mmvae_nb": json.dumps(header)})


# ---- there and back

@pytest.mark.parametrize("name", MAKE)
def test_a_model_comes_back_bit_by_bit(name, tmp_path):
    model, path, batch = made(name), tmp_path/"deep"/"m.safetensors", items(names=("numbers", "word"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(model, path)
    before = torch.get_rng_state()
    again = load(path)
    assert torch.equal(before, torch.get_rng_state()) and type(again) is type(model) and not again.training
    assert all(torch.equal(a, b) for a, b in zip(numbers(model, batch), numbers(again, batch)))
    assert [p.name for p in path.parent.iterdir()] == ["m.safetensors"]
    for o in ("latent", "beta", "alpha", "warm_up", "exact", "steps", "train_decoders", "divide_prior", "direction",
              "over", "subsets"):
        assert getattr(again, o, None) == getattr(model, o, None), o
    save(again, tmp_path/"twice.safetensors")                       # and what came back can be saved
    assert describe(tmp_path/"twice.safetensors")["weights"] == describe(path)["weights"]

@pytest.mark.parametrize("kind", SPECS)
def test_every_kind_of_spec_comes_back(kind, tmp_path):
    own, path = specs(kind), tmp_path/"m"
    save(MoPoE(own, 4), path)
    again = load(path).specs
    for n, s in own.items():
        a = again[n]
        assert (a.features, a.weight, a.hidden, a.modality) == (s.features, s.weight, s.hidden, MODALITIES[kind][n])
        assert type(a.likelihood) is type(s.likelihood) and vars(a.likelihood) == vars(s.likelihood)
        assert a.encoder()(items(kind)[n]).shape == (3, s.features) and str(a.decoder(4)) == str(s.decoder(4))

def test_replaced_parts_of_a_spec_come_back(tmp_path):
    own = {n: replace(s, likelihood=Gaussian(0.2), weight=3., hidden=0) for n, s in few().items() if n == "numbers"}
    save(JVAE(own, 4), tmp_path/"m")
    s = load(tmp_path/"m").specs["numbers"]
    assert s.likelihood.scale == 0.2 and s.weight == 3. and s.hidden == 0

def test_another_process_generates_the_same(tmp_path):
    "With the file and the package, and without a line of the recipe."
    some = {n: m for n, m in MODALITIES["default"].items() if n in ("numbers", "word")}
    train = TensorData(items(n=40, names=some), modalities=list(some.values()))
    teacher = JVAE(default_specs(train.modalities), 4)
    fit(teacher, train, 3, 8, device="cpu", progress=False)
    students = distill(teacher, train, 3, batch_size=8, device="cpu", progress=False)
    save(students, tmp_path/"m.safetensors", train)
    given = {"numbers": train.pools["numbers"][:4]}
    torch.save(given, tmp_path/"given.pt")
    code = """
        import sys, torch
        from mmvae_nb.checkpoints import load
        model, given = load("m.safetensors"), torch.load("given.pt")
        torch.save({"made": model.generate(given), "z": model.infer(given).mean}, "made.pt")
        print(*sorted(m for m in sys.modules if m.startswith("mmvae_nb.")))
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert run.returncode == 0, run.stderr[-2000:]
    theirs, own = torch.load(tmp_path/"made.pt"), students.generate(given)
    assert torch.equal(theirs["z"], students.infer(given).mean)
    assert all(torch.equal(theirs["made"][n], own[n]) for n in own)
    assert "mmvae_nb.experiments" not in run.stdout and "mmvae_nb.metrics" not in run.stdout

def test_vocabulary_and_class_names_go_along(tmp_path):
    m = MODALITIES["default"]
    tensors = {"numbers": torch.randn(4, 5), "word": m["word"].encode(["bad"]*4)}
    data = TensorData(tensors, torch.tensor([0, 1, 1, 0]), [m["word"]], class_names=["no", "yes"])
    save(JVAE(few(), 4), tmp_path/"m", data)
    about = describe(tmp_path/"m")
    assert about["class_names"] == ["no", "yes"] and about["specs"]["word"]["modality"]["vocabulary"] == "abcdefgh "
    word = load(tmp_path/"m").specs["word"].modality
    assert word == m["word"] and word.decode(word.encode(["bad"])) == ["bad     "]


# ---- students

@pytest.mark.parametrize("name", ["students", "students_of_refined", "students_over_t"])
def test_students_leave_their_teacher_behind(name, tmp_path):
    model = made(name)
    save(model, tmp_path/"m")
    save_weights(model, tmp_path/"all")
    kept = load_file(tmp_path/"m")
    needed = sum(p.numel() for part in (model.encoders, model.decoders) for p in part.parameters())
    assert {k.split(".")[0] for k in kept} == {"encoders", "decoders"}
    assert sum(v.numel() for v in kept.values()) == needed
    size = (tmp_path/"m").stat().st_size
    assert 4*needed < size < 4*needed + 20_000 and size < (tmp_path/"all").stat().st_size
    again = load(tmp_path/"m")
    assert again.teacher is None and again.train().training
    with pytest.raises(MmvaeError, match="teacher: got none"): again.loss(items(names=("numbers", "word")))

def test_students_of_each_t_come_back(tmp_path):
    model, given = made("students_over_t"), {"word": items()["word"]}
    save(model, tmp_path/"m")
    again = load(tmp_path/"m")
    for t in (0, 1, 3):
        assert torch.equal(model.at(t).infer(given).mean, again.at(t).infer(given).mean)
        assert torch.equal(model.at(t).generate(given)["numbers"], again.at(t).generate(given)["numbers"])
    save(model.at(1), tmp_path/"one")
    assert torch.equal(load(tmp_path/"one").infer(given).mean, model.at(1).infer(given).mean)


# ---- networks of one's own

def own_specs():
    return {n: ModalitySpec(lambda k=k: nn.Sequential(nn.Linear(k, 7), nn.ReLU()), 7,
                            lambda latent, k=k: nn.Linear(latent, k), Gaussian())
            for n, k in {"sound": 4, "motion": 2}.items()}

def test_lambdas_are_told_in_one_line_and_given_again(tmp_path):
    model, path = JVAE(own_specs(), 3).eval(), tmp_path/"m"
    with pytest.warns(UserWarning, match=r"sound, motion.*load\(path, specs=") as told: save(model, path)
    assert len(told) == 1 and "\n" not in str(told[0].message)
    with pytest.raises(MmvaeError, match=r"specs: got none for sound, motion") as e: load(path)
    one_line(e)
    batch = {"sound": torch.randn(2, 4), "motion": torch.randn(2, 2)}
    assert torch.equal(load(path, specs=own_specs()).infer(batch).mean, model.infer(batch).mean)
    with pytest.raises(MmvaeError, match="specs: got 'smell', allowed: sound, motion"):
        load(path, specs={"smell": own_specs()["sound"]})
    other = {**own_specs(), "sound": own_specs()["motion"]}
    with pytest.raises(MmvaeError, match="weights of another model"): load(path, specs=other)

def test_modules_of_others_are_called_only_if_trusted(tmp_path, monkeypatch):
    (tmp_path/"mynets.py").write_text(textwrap.dedent("""
        from functools import partial
        from torch import nn
        from mmvae_nb.multimodal_elbo import JVAE
        from mmvae_nb.networks import ModalitySpec
        from mmvae_nb.distributions import Gaussian
        def trunk(size, width): return nn.Sequential(nn.Linear(size, width), nn.ReLU())
        def back(latent, size): return nn.Linear(latent, size)
        class Far(Gaussian): pass
        class Mine(JVAE):
            def __init__(self, specs, latent, twice=False): super().__init__(specs, latent); self.twice = twice
        spec = ModalitySpec(partial(trunk, 4, width=6), 6, partial(back, size=4), Far(0.5))
        """))
    monkeypatch.syspath_prepend(tmp_path)
    import mynets
    model, path = mynets.Mine({"a": mynets.spec}, 3, twice=True), tmp_path/"m"
    save(model, path)
    with pytest.raises(MmvaeError, match=r"it calls mynets, allowed.*trusted=\('mynets',\)") as e: load(path)
    one_line(e)
    again = load(path, trusted=("mynets",))
    assert again.twice and type(again.specs["a"].likelihood) is mynets.Far and again.specs["a"].likelihood.scale == 0.5


# ---- files that are not what they should be

@pytest.fixture
def path(tmp_path):
    save(made("jvae"), tmp_path/"m.safetensors")
    return tmp_path/"m.safetensors"

@pytest.mark.parametrize("damage, words", [
    ("missing", "no such file"), ("empty", "damaged"), ("half", "damaged"), ("text", "damaged"), ("folder", "a folder"),
    ("a weight", "the weights are not those"), ("weights only", "weights without a recipe"),
    ("schema", "got schema 99")])
def test_a_damaged_file_gets_one_line(damage, words, path):
    whole = path.read_bytes()
    if damage == "missing": path.unlink()
    elif damage == "folder": path.unlink(); path.mkdir()
    elif damage == "a weight": path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "weights only": save_weights(made("jvae"), path)
    elif damage == "schema": rewrite(path, lambda h: h.update(schema=99))
    else: path.write_bytes({"empty": b"", "half": whole[:len(whole)//2], "text": b"not a model at all"}[damage])
    with pytest.raises(MmvaeError) as e: load(path)
    starts = f"path: got {str(path)!r}" if damage in ("missing", "folder") else str(path)
    assert one_line(e).startswith(starts) and words in str(e.value)

@pytest.mark.parametrize("change, words", [
    (lambda h: h["arguments"].update(latent=5), "weights of another model"),
    (lambda h: h.update({"class": "mmvae_nb.mopoe:MoPoE"}), "weights of another model"),
    (lambda h: h["arguments"].update(unheard_of=1), "can't be made from what it says"),
    (lambda h: h.update({"class": "mmvae_nb.mopoe:NoSuch"}), "which is not there"),
    (lambda h: h.update({"class": "mmvae_nb.nothing:NoSuch"}), "which is not there")])
def test_another_model_than_the_weights_gets_one_line(change, words, path):
    rewrite(path, change)
    with pytest.raises(MmvaeError) as e: load(path)
    assert one_line(e).startswith(str(path)) and words in str(e.value)

@pytest.mark.parametrize("call", [
    "os:system", "builtins:eval", "mmvae_nb.core:write_json", "mmvae_nb.networks:write_json", "mmvae_nb.networks:torch",
    "subprocess:run", "mmvae_nb.core:load_torchvision", "torch:load", ":", "x"])
@pytest.mark.parametrize("where", ["class", "encoder", "likelihood"])
def test_a_file_can_call_nothing_but_models_and_networks(call, where, path, tmp_path):
    def change(h):
        if where == "class": h["class"] = call
        else: h["specs"]["word"][where] = {"call": call, "args": [str(tmp_path/"written"), "x"], "named": {}}
    rewrite(path, change)
    with pytest.raises(MmvaeError) as e: load(path)
    assert one_line(e).startswith(str(path)) and not (tmp_path/"written").exists()

def test_nothing_in_the_file_is_a_pickle_or_code(path):
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])                             # all of it: JSON, then numbers
    end = max(v["data_offsets"][1] for k, v in header.items() if k != "__metadata__")
    assert 8 + size + end == len(raw) and set(header["__metadata__"]) == {"mmvae_nb"}
    about = json.loads(header["__metadata__"]["mmvae_nb"])
    assert about["schema"] == SCHEMA and about["weights"] == digest(load_file(path))
    assert about["class"] == "mmvae_nb.multimodal_elbo:JVAE"

class Here(JVAE):
    "Can be found again in this test module, takes an argument that JSON can't hold."
    def __init__(self, specs, latent, act=None): super().__init__(specs, latent)

def test_what_cannot_be_saved_is_refused_in_one_line(tmp_path):
    with pytest.raises(MmvaeError, match="model: got a Linear, allowed: a VAE or MultimodalVAE") as e:
        save(nn.Linear(2, 2), tmp_path/"m")
    one_line(e)
    with pytest.raises(MmvaeError, match="model: its argument act is a ReLU") as e:
        save(Here(few(), 4, nn.ReLU()), tmp_path/"m")
    one_line(e)
    class Local(JVAE): pass
    with pytest.raises(MmvaeError, match="model: got a Local"): save(Local(few(), 4), tmp_path/"m")
    assert not (tmp_path/"m").exists()

def test_what_remembers_its_arguments_can_be_copied():
    import copy
    model = made("jmvae")
    assert copy.deepcopy(model).arguments()["alpha"] == 0.2 and isinstance(model, Remembers)
