"What a user's own model, likelihood or file says when it is wrong. Defects that a user of the package met."
import json
from dataclasses import replace
from functools import partial

import numpy as np, pytest, torch
from torch import nn
import torch.fx.experimental.proxy_tensor
from safetensors.torch import save_file

from mmvae_nb.checkpoints import describe, fingerprint, load, save, save_weights
from mmvae_nb.core import MmvaeError, digest
from mmvae_nb.data import TensorData
from mmvae_nb.distillation import distill
from mmvae_nb.distributions import Bernoulli, Categorical, Gaussian, Laplace
from mmvae_nb.evaluation import evaluate
from mmvae_nb.experiments.cli import main
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import on_decoders
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


# ---- likelihoods, networks and calls of other forms

@pytest.mark.parametrize("law", [Gaussian(), Laplace(), Bernoulli()])
def test_other_sizes_of_a_batch_are_not_broadcast(law):
    for x, params in ((torch.zeros(1, 3), torch.zeros(5, 3)), (torch.zeros(5, 3), torch.zeros(1, 3))):
        refused(lambda x=x, p=params: law.log_prob(x, p), "(1, 3)", "(5, 3)", starts="params: got shape")

@pytest.mark.parametrize("x, words", [
    (torch.tensor([[0, 4]]), ["class 4", "0 to 3"]), (torch.tensor([[-100, 1]]), ["class -100"]),
    (torch.zeros(1, 2), ["float32", "int64"]), (torch.zeros(1, 3).long(), ["(1, 3)", "(1, 2)"]),
    (torch.zeros(3, 2).long(), ["(3, 2)", "(1, 2)"]), (torch.zeros(1, 2).int(), ["int32"])])
def test_what_is_no_token_is_one_line(x, words):
    refused(lambda: Categorical().log_prob(x, torch.zeros(1, 2, 4)), *words, starts="x: got")

def test_tokens_of_a_compiled_likelihood_are_not_looked_at():
    logits, x = torch.randn(3, 2, 4), torch.tensor([[0, 3], [1, 2], [3, 3]])
    made = torch.fx.experimental.proxy_tensor.make_fx(lambda x, params: Categorical().log_prob(x, params))(x, logits)
    torch.testing.assert_close(made(x, logits), logits.log_softmax(-1).gather(2, x[..., None]).sum((1, 2)))

class Numpy(Gaussian):
    def log_prob(self, x, params): return np.zeros(len(x))

@pytest.mark.parametrize("make, words, starts", [
    (lambda: wrong(Gaussian(), encoder=nn.Linear), ["lambda: ..."], "encoder of a: got"),
    (lambda: wrong(Gaussian(), decoder=lambda: nn.Linear(2, 6)), ["lambda latent: ..."], "decoder of a: got"),
    (lambda: wrong(Gaussian(), decoder=lambda z: nn.Linear(z + 1, 6)).generate({"a": A}), ["decoder"], "a: got z"),
    (lambda: VAE(wrong(Gaussian(), decoder=lambda z: nn.Linear(z + 1, 6)).specs["a"], "a", 2)({"a": torch.tensor(A)}),
     ["decoder"], "a: got z"),
    (lambda: wrong(Numpy())({"a": torch.tensor(A)}), ["a ndarray", "(batch,)"], "a: log_prob of Numpy"),
    (lambda: wrong().decode(torch.zeros(3, 2), "q"), ["a, b"], "modality: got 'q'"),
    (lambda: wrong().decode(torch.zeros(3, 5), "a"), ["(3, 5)", "(batch, 2)"], "z: got"),
    (lambda: wrong().elbo({"a": torch.tensor(A)}, None), ["NoneType"], "q: got"),
    (lambda: one("vector").elbo({"a": torch.tensor(A)}, None), ["NoneType"], "q: got"),
    (lambda: wrong().generate({"a": A}, to=[]), ["a, b"], "to: got no modality"),
    (lambda: on_decoders(wrong(), latent=3), ["3"], "latent: got"),
    (lambda: evaluate(wrong(), pair(), pair(), tell=3), ["3", "function"], "tell: got")])
def test_what_was_a_raw_error_is_one_line(make, words, starts):
    with pytest.raises(MmvaeError) as e: make()
    said = str(e.value)
    assert said.startswith(starts) and "\n" not in said and "allowed" in said and len(said) < 400, said
    for w in words: assert w in said, f"{w!r} is not in: {said}"


# ---- the command line of one who has the wheel only

@pytest.mark.parametrize("words, said", [
    ("reproduce --scale foo", "scale: got 'foo'"), ("reproduce --part foo", "part: got 'foo'"),
    ("reproduce --methods foo", "methods: got 'foo'"), ("reproduce --seeds 0", "seeds: got 0"),
    ("reproduce --in-process --seeds 0", "seeds: got 0"), ("generate mopoe --given svhn --seed -1", "seed: got -1"),
    ("reproduce --in-process", "allowed: a notebook of the repository; run it in a clone"),
    ("job foo", "allowed: a notebook of the repository; run it in a clone")])
def test_wrong_options_are_named_outside_of_the_repository(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    told = capsys.readouterr().err
    assert said in told and "allowed" in told and told.count("\n") == 1 and "Snakefile" not in told, told


# ---- what a model of one's own gives, and tables on their way back

class Scalar(nn.Module):
    def __init__(self): super().__init__(); self.w = nn.Parameter(torch.ones(1))
    def forward(self, batch): return (self.w**2).sum()

def test_a_model_that_gives_no_parts_is_refused():
    from mmvae_nb.data import TensorData
    from mmvae_nb.training import fit
    data = TensorData({"a": torch.randn(8, 3)})
    with pytest.raises(MmvaeError, match=r"^model: got one that gives a Tensor .* allowed: .*Loss\(total, parts\)"):
        fit(Scalar(), data, 1, batch_size=4, progress=False)

@pytest.mark.parametrize("law", ["Poisson", "NegativeBinomial", "StudentT"])
def test_likelihoods_of_kinds_do_not_broadcast_over_items(law):
    import mmvae_nb
    with pytest.raises(MmvaeError, match="^params: got shape"):
        getattr(mmvae_nb, law)().log_prob(torch.ones(1, 3), torch.zeros(5, 3))

def test_a_table_says_what_it_can_not_read():
    import pandas as pd
    from mmvae_nb.kinds import Table
    frame = pd.DataFrame({"x": [0., 1., 2.], "y": [1., 0., 1.]})
    with pytest.raises(MmvaeError, match="^counts: got 3, allowed"): Table(frame, counts=3)
    for given in (None, "x"):
        with pytest.raises(MmvaeError, match="^x: got"): Table(frame).back(given)
