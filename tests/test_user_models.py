"What a user's own model, likelihood or file says when it is wrong. Defects that a user of the package met."
import json
from dataclasses import replace
from functools import partial

import numpy as np, pytest, torch
from safetensors.torch import save_file

from mmvae_nb.checkpoints import describe, fingerprint, load, save, save_weights
from mmvae_nb.core import digest
from mmvae_nb.data import TensorData
from mmvae_nb.distillation import distill
from mmvae_nb.distributions import Gaussian
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import ModalitySpec, default_specs, mlp_decoder, mlp_encoder
from mmvae_nb.training import fit
from mmvae_nb.using import impute
from mmvae_nb.vae import VAE
from model_helpers import *
from test_user_border import A, refused


# ---- VAE: the same door as models of several modalities

def one(kind, shape=(6,), x=None):
    kinds = {} if kind == "vector" else {"a": kind}
    data = TensorData({"a": A if x is None else x}, kinds=kinds)
    return VAE(default_specs(data.modalities)["a"], "a", 2).eval()

FLAGS = (A > 0).astype("uint8")

@pytest.mark.parametrize("make, words, starts", [
    (lambda: one("vector").generate({"a": torch.full((3, 6), torch.nan)}), ["nan"], "a: got nan"),
    (lambda: one("vector").infer({"a": torch.full((3, 6), torch.nan)}), ["nan"], "a: got nan"),
    (lambda: one("vector").generate(torch.full((3, 2), torch.nan)), ["nan"], "latents: got nan"),
    (lambda: one("image", x=np.zeros((9, 1, 8, 8), "uint8")).generate({"a": torch.full((3, 1, 8, 8), 255.)}),
     ["0 to 255", "0 to 1"], "a: got images"),
    (lambda: one("binary", x=FLAGS).infer({"a": torch.tensor(FLAGS)}), ["uint8", "binary"], "a: got"),
    (lambda: one("binary", x=FLAGS).generate({"a": FLAGS + 1}), ["0 to 1"], "values of a: got 2"),
    (lambda: one("counts", x=FLAGS).generate({"a": A}), ["whole"], "counts of a: got"),
    (lambda: one("vector").infer({"a": A}), ["ndarray", "tensor"], "a: got"),
    (lambda: one("vector").loss({"a": A}), ["ndarray", "tensor"], "a: got"),
    (lambda: one("vector").infer({"a": torch.zeros(3, 5)}), ["(3, 5)", "(6,)"], "a: got shape"),
    (lambda: one("vector").infer(torch.zeros(3, 6)), ["dict"], "batch: got a Tensor"),
    (lambda: one("vector").infer({"b": torch.zeros(3, 6)}), ["b", "a"], "batch: got b")])
def test_a_model_of_one_modality_checks_what_it_is_given(make, words, starts):
    refused(make, *words, starts=starts)

def test_a_model_of_one_modality_takes_what_is_right():
    flags = one("binary", x=FLAGS)
    made = [flags.generate({"a": x})["a"] for x in (FLAGS, FLAGS.astype("float32"), torch.tensor(FLAGS))]
    assert [type(x) for x in made] == [np.ndarray, np.ndarray, torch.Tensor]
    np.testing.assert_array_equal(made[0], made[1]); np.testing.assert_array_equal(made[0], made[2].numpy())
    whole = one("vector").generate({"a": A, "b": A})                       # others' modalities are not its own
    assert whole.keys() == {"a"} and whole["a"].shape == (40, 6)
    assert one("vector").generate(A[:, :2])["a"].shape == (40, 6)          # latents
    assert one("vector")({"a": torch.tensor(A)}).total.isfinite()


# ---- what nobody has said of a spec is as the data have it

HOW = dict(batch_size=8, progress=False, device="cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8)).astype("uint8")

def by_hand(shape=(1, 8, 8)):
    "A spec that does not say what its modality is, of networks that a file can name."
    return ModalitySpec(partial(mlp_encoder, shape), 400, partial(mlp_decoder, shape=shape), Gaussian(.2))

def pair(): return TensorData({"m": PIXELS, "a": A})

@pytest.mark.parametrize("new", [lambda: MoPoE({"m": by_hand(), "a": by_hand((6,))}, 2),
                                 lambda: VAE(by_hand(), "m", 2)])
def test_training_says_what_a_modality_is(new, tmp_path):
    model, before = new(), fingerprint(new())
    assert model.specs["m"].modality is None
    fit(model, pair(), 1, **HOW, checkpoint=tmp_path/"c")
    assert (m := model.specs["m"].modality).kind == "image" and m.shape == (1, 8, 8)
    assert fingerprint(model) == before                                    # so checkpoints are continued
    fit(new(), pair(), 1, **HOW, checkpoint=tmp_path/"c")
    refused(lambda: model.generate({"m": np.full((2, 1, 8, 8), 255.)}), "0 to 255", starts="m: got images")
    save(model, tmp_path/"m.safetensors")
    assert describe(tmp_path/"m.safetensors")["specs"]["m"]["modality"]["kind"] == "image"
    again = load(tmp_path/"m.safetensors")
    assert again.specs["m"].modality == m
    np.testing.assert_array_equal(again.generate({"m": PIXELS})["m"], model.generate({"m": PIXELS})["m"])

def test_students_and_their_teacher_learn_what_a_modality_is():
    teacher = JVAE({"m": by_hand(), "a": by_hand((6,))}, 2)
    students = distill(teacher, pair(), 1, **HOW)
    assert [x.specs["a"].modality.kind for x in (teacher, students)] == ["vector"]*2

def test_what_a_spec_says_of_its_modality_stays():
    known = default_specs(pair().modalities)
    model = MoPoE({**known, "m": by_hand()}, 2)
    fit(model, pair(), 1, **HOW)
    assert model.specs["a"].modality is known["a"].modality and known["m"].modality is not None


# ---- a likelihood whose mean has another shape

class Own(Gaussian):
    def mean(self, params): return params.sum(1)

def wrong(law=None, **more):
    "A model of two modalities whose vectors have a likelihood of somebody's own."
    spec = default_specs(pair().modalities)["a"]
    return MoPoE({"a": replace(spec, likelihood=law or Own(.2), **more), "b": by_hand((4,))}, 2).eval()

B = np.zeros((40, 4), "float32")

def test_a_mean_of_another_shape_is_one_line():
    refused(lambda: wrong().generate({"a": A}), "(40,)", "(40, 6)", starts="mean of a: got shape")
    refused(lambda: wrong().generate({"b": B}, "a", n=3), "(120,)", "(120, 6)", starts="mean of a: got shape")
    refused(lambda: VAE(wrong().specs["a"], "a", 2).generate(torch.zeros(5, 2)), "(5, 6)", starts="mean of a: got")
    holes = {"a": np.where(np.arange(40)[:, None] < 3, np.nan, A).astype("float32"), "b": B}
    for m in (wrong(), wrong(modality=None)):
        refused(lambda m=m: impute(m, holes), "(3,", "(3, 6)", starts="mean of a: got shape")
    class Total(Gaussian):
        def mean(self, params): return params.sum()
        def sample(self, params, generator=None): return params.sum(1)
    refused(lambda: wrong(Total(.2), modality=None).generate({"a": A}), "(40, ...)", starts="mean of a: got shape ()")
    refused(lambda: wrong(Total(.2)).generate({"a": A}, sample="x"), "(40, 6)", starts="sample of a: got shape (40,)")
    class Numpy(Gaussian):
        def mean(self, params): return params.numpy()
    refused(lambda: wrong(Numpy(.2)).generate({"a": A}), "ndarray", "tensor", starts="mean of a: got")


# ---- weights and files

def spoilt(value):
    model = MoPoE(default_specs(pair().modalities), 2).eval()
    with torch.no_grad(): model.decoders["a"][0].bias[1] = value
    return model

def test_weights_that_can_not_be_kept_are_refused(tmp_path):
    path = tmp_path/"m.safetensors"
    for value in (torch.nan, torch.inf):
        refused(lambda v=value: save(spoilt(v), path), "decoders.a.0.bias", "finite", starts="model: got")
    refused(lambda: save(spoilt(-70000.), path, half=True), "-70000", "65504", "half", starts="half: got")
    assert not path.exists()
    save(spoilt(65504.), path, half=True)
    assert load(path).decoders["a"][0].bias[1] == 65504
    save(spoilt(70000.), path)
    assert load(path).decoders["a"][0].bias[1] == 70000
    for way in (save, save_weights): refused(lambda w=way: w(spoilt(0.), "a\0b"), starts="path: got 'a")
    refused(lambda: save(spoilt(0.), path, data=TensorData({"z": A})), "z", "m, a", starts="data: got z")

@pytest.mark.parametrize("key", ["class", "arguments", "specs"])
def test_a_header_that_lacks_something_is_one_line(key, tmp_path):
    state = {"w": torch.zeros(1)}
    header = {"schema": 1, "class": "mmvae_nb.mopoe:MoPoE", "arguments": {}, "specs": {}, "weights": digest(state)}
    del header[key]
    save_file(state, path := str(tmp_path/"m"), {"mmvae_nb": json.dumps(header)})
    for way in (load, describe): refused(lambda w=way: w(path), f"without {key}", starts=path)

def test_a_file_says_what_it_can_not_name(tmp_path):
    class Local(Gaussian): pass
    with pytest.warns(UserWarning, match="can't name likelihood of a \\("): save(wrong(Local()), tmp_path/"m")
    with pytest.warns(UserWarning, match="can't name encoder of a; decoder of a \\(lambdas"):
        save(wrong(Gaussian(), encoder=lambda: mlp_encoder((6,)), decoder=lambda z: mlp_decoder(z, (6,))), tmp_path/"m")
