"What once went wrong without a word for users with modalities of their own: right now, or refused in one line."
import copy, warnings
from dataclasses import replace
from functools import partial

import numpy as np, pandas as pd, pytest, torch
import torch.nn.functional as F
from torch import nn

from mmvae_nb.checkpoints import load, save
from mmvae_nb.core import MmvaeError
from mmvae_nb.data import Modality, PairedByKey, Standardize, TensorData
from mmvae_nb.distillation import Students, distill
from mmvae_nb.distributions import Bernoulli, Gaussian, Laplace
from mmvae_nb.jmvae import JMVAE
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import StudentsOverT, on_decoders
from mmvae_nb.networks import (MOST_WEIGHT, ModalitySpec, UnimodalEncoder, conv_decoder, default_specs, image_spec,
                               mlp_decoder)
from mmvae_nb.training import fit
from mmvae_nb.vae import VAE
from model_helpers import iterative, one_line, rng, vector_spec

SMALL = dict(device="cpu", progress=False)

def refused(call, *words, starts=""):
    with pytest.raises(MmvaeError) as e: call()
    text = one_line(e)
    assert text.startswith(starts) and "allowed" in text and all(w in text for w in words), text

class Own:
    "A Gaussian likelihood that returns what `shape` makes of the log densities of all values."
    def __init__(self, shape=lambda logs: logs.flatten(1).sum(1)): self.shape, self.seen = shape, []
    def log_prob(self, x, params):
        self.seen.append((x.dtype, x.max().item()))
        return self.shape(torch.distributions.Normal(params, 1.).log_prob(x))
    def mean(self, params): return params

class LearntScale(nn.Module):
    "A Gaussian with a deviation to learn for each column."
    def __init__(self, columns=3):
        super().__init__()
        self.columns, self.log_scale = columns, nn.Parameter(torch.zeros(columns))
    def log_prob(self, x, params): return torch.distributions.Normal(params, self.log_scale.exp()).log_prob(x).sum(1)
    def mean(self, params): return params

def learnt(): return {n: vector_spec(3, LearntScale()) for n in "ab"}

def pair(n=48, size=3):
    z = torch.randn(n, 2, generator=rng(3))
    return {m: z@torch.randn(2, size, generator=rng(i)) for i, m in enumerate("ab")}


# ---- 1: a sigmoid before a likelihood of logits

SHAPES = {"square": (1, 16, 16), "large": (3, 64, 64), "odd": (1, 6, 10)}

@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_default_decoder_gives_what_its_likelihood_wants(shape):
    def made(spec):
        torch.manual_seed(0)
        return spec.decoder(4)(30*torch.randn(20, 4, generator=rng()))
    spec = image_spec(shape)
    black_white = replace(spec, likelihood=Bernoulli())
    squashed, logits, again = made(spec), made(black_white), made(replace(black_white, likelihood=Laplace(.2)))
    assert logits.min() < 0 and logits.max() > 1 and 0 <= squashed.min() <= squashed.max() <= 1
    torch.testing.assert_close(torch.sigmoid(logits), squashed)                 # nothing else has changed
    assert torch.equal(again, squashed)                                         # and back

def test_black_and_white_pictures_are_learnt_with_the_default_decoder():
    y = torch.arange(64) % 2
    x = y[:, None, None, None].expand(64, 1, 6, 10).float()*torch.tensor([1., 0]).repeat(5)
    specs = default_specs(TensorData({"x": x}).modalities)
    torch.manual_seed(0); model = VAE(replace(specs["x"], likelihood=Bernoulli()), "x", 2)
    fit(model, TensorData({"x": x}), 60, 32, lr=.01, **SMALL)
    made = model.generate({"x": x})["x"]
    assert made.min() < .1 and made.max() > .9                                  # it was [.50, .73]

@pytest.mark.parametrize("net", [
    lambda z: conv_decoder(z, (1, 8, 8)), lambda z: conv_decoder(z, (3, 64, 64)),
    lambda z: mlp_decoder(z, (1, 8, 8)),
    lambda z: nn.Sequential(nn.Linear(z, 64), nn.Sigmoid(), nn.Unflatten(1, (8, 8))),
    lambda z: nn.Sequential(nn.Sequential(nn.Linear(z, 64), nn.Sigmoid()))])
def test_a_decoder_of_ones_own_that_ends_in_a_sigmoid_is_refused(net):
    spec = ModalitySpec(lambda: nn.Linear(4, 4), 4, net, Bernoulli())
    refused(lambda: JVAE({"x": spec}, 2), "sigmoid", "logits", starts="decoder of x: ")
    JVAE({"x": replace(spec, likelihood=Gaussian())}, 2)

def test_a_gate_by_sigmoid_within_a_decoder_is_none_at_its_end():
    class Gated(nn.Module):
        def __init__(self, z): super().__init__(); self.out, self.gate = nn.Linear(z, 4), nn.Sigmoid()
        def forward(self, z): return self.out(z*self.gate(z))
    model = JVAE({"x": ModalitySpec(lambda: nn.Linear(4, 4), 4, Gated, Bernoulli())}, 2)
    logits = model.decode(20*torch.randn(50, 2, generator=rng(0)), "x")
    assert logits.min() < 0 and logits.max() > 1                # it is used, and gives any real number

def test_a_saved_model_of_logits_comes_back(tmp_path):
    spec = replace(image_spec((3, 64, 64)), likelihood=Bernoulli())
    model, z = JVAE({"x": spec}, 3).eval(), torch.randn(2, 3, generator=rng())
    save(model, tmp_path/"m")
    assert torch.equal(load(tmp_path/"m").decode(z, "x"), model.decode(z, "x")) and model.decode(z, "x").min() < 0


# ---- 2: likelihoods with parameters

def test_each_model_trains_a_likelihood_of_its_own():
    specs, data = learnt(), TensorData(pair())
    one = JVAE(specs, 2); fit(one, data, 5, 16, lr=.05, **SMALL)
    scale = lambda m: m.specs["a"].likelihood.log_scale
    with torch.no_grad(): torch.manual_seed(0); before = one.loss(data.pools).total
    two = MoPoE(specs, 2)
    assert torch.equal(scale(two), torch.zeros(3))                              # begins anew
    fit(two, data, 5, 16, lr=.05, **SMALL)
    with torch.no_grad(): torch.manual_seed(0); assert torch.equal(one.loss(data.pools).total, before)
    students = distill(one, data, 2, batch_size=16, **SMALL)
    assert not scale(one).requires_grad and scale(students) is scale(one)       # theirs, and frozen
    assert scale(JVAE(specs, 2)).requires_grad and scale(two).requires_grad
    alone = VAE(specs["a"], "a", 2)
    assert alone.likelihood is not specs["a"].likelihood and "likelihood.log_scale" in alone.state_dict()

def test_students_over_t_speak_as_their_teacher_and_borrowed_decoders_stay():
    teacher = iterative(learnt(), 2)
    students = StudentsOverT(teacher, over=(0, 1))
    assert students.likelihoods["a"] is teacher.likelihoods["a"] is students.at(1).specs["a"].likelihood
    model = JVAE(learnt(), 2)
    with torch.no_grad(): model.likelihoods["a"].log_scale.fill_(-1.)
    new = on_decoders(model, steps=1, hidden=8)
    assert new.likelihoods["a"].log_scale.eq(-1).all() and not new.likelihoods["a"].log_scale.requires_grad
    assert model.likelihoods["a"].log_scale.requires_grad

def test_a_copy_of_a_model_keeps_likelihood_and_spec_together(tmp_path):
    again = copy.deepcopy(JVAE(learnt(), 2))
    assert again.specs["a"].likelihood is again.likelihoods["a"]

def test_saved_students_bring_the_scales_that_their_teacher_learnt(tmp_path):
    teacher = JVAE(learnt(), 2)
    with torch.no_grad(): teacher.likelihoods["b"].log_scale.fill_(-2.)
    with pytest.warns(UserWarning, match="lambdas"): save(Students(teacher), tmp_path/"m")
    again = load(tmp_path/"m", specs=learnt())
    assert again.specs["b"].likelihood.log_scale.eq(-2).all() and again.likelihoods["b"].log_scale.eq(-2).all()


# ---- 3: what log_prob returns

WRONG = {"a column": lambda l: l.sum(1, keepdim=True), "all in one": lambda l: l.sum(), "not summed": lambda l: l,
         "a number": lambda l: 0., "over items": lambda l: l.sum(0)}

@pytest.mark.parametrize("shape", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("make", [JVAE, MoPoE, iterative, lambda s, z: VAE(s["a"], "a", z)])
def test_a_likelihood_that_does_not_return_a_number_per_item_is_refused(shape, make):
    model = make({n: vector_spec(3, Own(shape)) for n in "ab"}, 2)
    refused(lambda: model.loss(pair(6)), "log_prob of Own returned", "(batch,)", starts="a: ")

def test_items_and_columns_in_equal_number_do_not_hide_it():
    model = JVAE({n: vector_spec(3, Own(lambda l: l)) for n in "ab"}, 2)
    refused(lambda: model.loss(pair(3)), "returned (3, 3)", "for (3, 3)", starts="a: ")

def test_a_decoder_of_another_shape_names_its_modality():
    spec = replace(vector_spec(3), decoder=lambda z: nn.Linear(z, 4))
    model = JVAE({"a": vector_spec(3), "b": spec}, 2)
    refused(lambda: model.loss(pair(5)), "(5, 4)", "(5, 3)", starts="b: params: got")


# ---- 4: whole numbers

@pytest.mark.parametrize("x", [torch.randint(0, 9, (20, 4)), np.arange(80).reshape(20, 4), torch.ones(20, 4).bool(),
                               torch.ones(20, 4, dtype=torch.int32), pd.DataFrame({"k": [1, 2, 3]})])
def test_whole_numbers_are_no_text_until_somebody_says_so(x):
    refused(lambda: TensorData({"counts": x}), "kinds={'counts': 'text'}", "'counts'", "'categories'",
            starts="counts: got whole")

@pytest.mark.parametrize("kind", ["text", "categories"])
def test_one_huge_token_is_refused_before_a_vocabulary_of_its_size_is_made(kind):
    x = torch.zeros(3, 5, dtype=torch.int64)
    for high in (2**40, 2**62, 2**20 + 1):
        x[1, 2] = high
        refused(lambda: TensorData({"own": x}, kinds={"own": kind}), f"got {high}", "at most 1048576",
                starts="tokens of own")
    x[1, 2] = -1; x[0, 0] = -1
    refused(lambda: TensorData({"own": x[:, 2:3] - 5}, kinds={"own": kind}), starts="tokens of own: got")

def test_whole_numbers_are_what_they_are_said_to_be():
    x = torch.randint(0, 9, (20, 4), generator=rng())
    assert TensorData({"x": x}, kinds={"x": "text"}).modalities["x"].kind == "text"
    assert TensorData({"x": x}, modalities=[Modality("x", "text", (4,), "abcdefghi")]).modalities["x"].num_tokens == 9
    assert TensorData({"x": x.float()}).modalities["x"].kind == "vector"
    one_hot = F.one_hot(x).flatten(1).float()
    assert TensorData({"x": one_hot}).modalities["x"].shape == (4*int(x.max() + 1),)
    refused(lambda: TensorData({"x": x}, kinds={"x": "vector"}), "torch.int64", "x.float()", starts="x: got")
    refused(lambda: TensorData({"x": x.float()}, kinds={"x": "text"}), "whole numbers", starts="x: got torch.float32")
    refused(lambda: TensorData({"x": x}, kinds={"y": "text"}), starts="kinds: got 'y'")
    refused(lambda: TensorData({"x": x}, kinds={"x": "count"}), starts="kind of x: got 'count'")

def test_a_token_that_training_never_saw_names_the_modality():
    data = TensorData({"word": torch.randint(0, 5, (20, 4), generator=rng())}, kinds={"word": "text"})
    model = JVAE(default_specs(data.modalities), 2)
    refused(lambda: model.infer({"word": torch.full((2, 4), 77)}), "index out of range", starts="word: got (2, 4)")


# ---- 5, 11: parameters that nobody trains; a Bernoulli of counts

class Forgotten:
    "A scale to learn in a class that torch does not know of."
    def __init__(self, scale): self.scale = scale
    def log_prob(self, x, params): return -((x - params)/self.scale).pow(2).sum(1)
    def mean(self, params): return params

@pytest.mark.parametrize("scale", [nn.Parameter(torch.ones(3)), torch.ones(3, requires_grad=True), nn.Linear(1, 1)])
def test_parameters_in_a_likelihood_that_is_no_module_are_refused(scale):
    refused(lambda: vector_spec(3, Forgotten(scale)), "scale", "Forgotten", "nn.Module", starts="likelihood: ")
    vector_spec(3, Forgotten(torch.ones(3)))                                    # a constant is fine

@pytest.mark.parametrize("likelihood", [Gaussian, 3, nn.MSELoss()])
def test_what_is_no_likelihood_is_refused(likelihood):
    refused(lambda: vector_spec(3, likelihood), "log_prob", starts="likelihood: got")

@pytest.mark.parametrize("x", [torch.full((6, 3), 7.), torch.full((6, 3), -.1), torch.full((6, 3), float("nan"))])
def test_a_bernoulli_of_what_is_no_share_is_refused(x):
    model = JVAE({"clicks": vector_spec(3, Bernoulli())}, 2)
    refused(lambda: model.loss({"clicks": x}), "0 to 1", starts="clicks: x: got values from")
    JVAE({"clicks": vector_spec(3, Bernoulli())}, 2).loss({"clicks": torch.rand(6, 3)})

def test_bernoulli_looks_at_the_data_only_now_and_then():
    "A look is a wait for the accelerator."
    x, looks = torch.rand(4, 2), []
    class Seen(torch.Tensor):
        def aminmax(self): looks.append(1); return self.as_subclass(torch.Tensor).aminmax()
    likelihood = Bernoulli()
    for _ in range(1000): likelihood._in_range(x.as_subclass(Seen))
    assert len(looks) == 10                                                     # 1, 2, 4, ..., 512


# ---- 6, 7: bytes; weights

@pytest.mark.parametrize("make", [JVAE, MoPoE, lambda s, z: VAE(s["x"], "x", z)])
def test_a_likelihood_of_ones_own_sees_bytes_as_numbers_from_0_to_1(make):
    x = torch.randint(0, 256, (8, 1, 6, 10), dtype=torch.uint8, generator=rng())
    own = Own()
    model = make({"x": replace(image_spec((1, 6, 10)), likelihood=own)}, 2)
    assert abs(model.loss({"x": x}).total.item()) < 200                         # it was 1e7
    assert {d for d, _ in own.seen} == {torch.float32} and max(v for _, v in own.seen) == x.max()/255

def test_default_weights_are_bounded_and_otherwise_the_rule():
    m = {"photo": Modality("photo", "image", (3, 64, 64)), "x": Modality("x", "vector", (1,)),
         "y": Modality("y", "vector", (200,))}
    weights = {n: s.weight for n, s in default_specs(m).items()}
    assert weights == {"photo": 1., "x": MOST_WEIGHT, "y": 12288/200} and MOST_WEIGHT == 100
    assert default_specs(m, {"x": 12288})["x"].weight == 12288                  # who asks for it gets it


# ---- 10: a batch of any size, exported

@pytest.mark.parametrize("names", ["a", "ab"])
def test_torch_export_leaves_the_batch_open(names):
    class Answers(nn.Module):
        def __init__(self, model): super().__init__(); self.model = model
        def forward(self, batch): return self.model.generate(batch, to="b")["b"]
    torch.manual_seed(0)
    model, batch = MoPoE({n: vector_spec(3) for n in "ab"}, 2).eval(), {n: x for n, x in pair(9).items() if n in names}
    any_size = torch.export.Dim("batch", min=2)
    whole = torch.export.export(Answers(model), ({n: x[:5] for n, x in batch.items()},),
                                dynamic_shapes=({n: {0: any_size} for n in batch},))
    torch.testing.assert_close(whole.module()(batch), model.generate(batch)["b"])


# ---- 13: factories

def test_a_trained_module_handed_out_twice_is_refused_at_once():
    net, back = nn.Linear(3, 8), nn.Linear(2, 3)
    tied = replace(vector_spec(3), encoder=lambda: net)
    refused(lambda: JMVAE({"a": tied}, 2), "same weights", "deepcopy", starts="encoder of a: ")
    refused(lambda: JVAE({"a": tied}, 2), starts="encoder of a: ")              # before hours of training, not after
    within = replace(tied, encoder=lambda: nn.Sequential(net, nn.ReLU()))
    refused(lambda: JVAE({"a": within}, 2), starts="encoder of a: ")
    refused(lambda: JVAE({"a": replace(vector_spec(3), decoder=lambda z: back)}, 2), starts="decoder of a: ")
    JMVAE({"a": replace(tied, encoder=lambda: copy.deepcopy(net))}, 2)

def test_a_frozen_module_may_be_shared():
    net = nn.Linear(3, 8).requires_grad_(False)
    model = JMVAE({"a": replace(vector_spec(3), encoder=lambda: nn.Sequential(net, nn.Linear(8, 8)))}, 2)
    joint, alone = model.encoder.trunks["a"], model.encoders["a"].trunk
    assert joint[0] is alone[0] is net and joint[1] is not alone[1]

def test_the_look_at_a_factory_draws_no_numbers():
    torch.manual_seed(0); a = JVAE({"a": vector_spec(3)}, 2)
    torch.manual_seed(0)
    decoder, encoder = vector_spec(3).decoder(2), vector_spec(3).encoder()
    assert torch.equal(a.decoders["a"][0].weight, decoder[0].weight)
    assert torch.equal(a.encoder.trunks["a"][0].weight, encoder[0].weight)

@pytest.mark.parametrize("wrong", [nn.Sequential(nn.Linear(3, 3)), "mlp"], ids=["module", "name"])
@pytest.mark.parametrize("what", ["encoder", "decoder"])
def test_a_module_in_place_of_a_function_is_told(what, wrong):
    refused(lambda: replace(vector_spec(3), **{what: wrong}), "a function that makes a new one", "lambda",
            starts=f"{what}: got a {type(wrong).__name__}")
    refused(lambda: JVAE({"a": replace(vector_spec(3), **{what: lambda *z: 3})}, 2), "nn.Module",
            starts=f"{what} of a: got a int")


# ---- 14: units

def test_a_table_in_mixed_units_is_told_once_and_standardised():
    x = np.random.default_rng(0).normal([1, 5e3, -2e6, 4], [1, 1e3, 1e6, 0], (300, 4))
    with pytest.warns(UserWarning, match="table: its columns have deviations from 0 to 9.8e.05") as told:
        TensorData({"table": x, "other": torch.randn(300, 2, generator=rng())})
    assert len(told) == 1 and "\n" not in str(told[0].message) and "Standardize" in str(told[0].message)
    assert told[0].filename == __file__                                         # the caller's line
    units = Standardize(x[:200])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = TensorData({"table": units(x[:200])})
    torch.testing.assert_close(data.pools["table"].mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.pools["table"].std(0, correction=0), torch.tensor([1., 1, 1, 0]))
    test = (x[200:] - x[:200].mean(0))/np.where(x[:200].std(0), x[:200].std(0), 1)    # by what training says
    torch.testing.assert_close(units(x[200:]), torch.tensor(test).float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(units.back(units(x[200:])), torch.tensor(x[200:]).float())

@pytest.mark.parametrize("x", [torch.randn(50, 3), torch.rand(50, 3), 20*torch.randn(50, 3), torch.zeros(50, 3),
                               torch.tensor([1., 1e-3, 0])*torch.randn(50, 3)])    # edge pixels hardly ever change
def test_ordinary_tables_are_not_told(x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(TensorData({"x": x}).pools["x"], x)


# ---- messages that name the modality, what was given, and what is allowed

@pytest.mark.parametrize("x, words", [
    (["two", "words"], ["list", "Modality.encode"]), ([[1., None]], ["list"]), ({"k": 1}, ["dict"]),
    (np.array([["a"]]), ["ndarray"]), (pd.DataFrame({"k": ["a", "b"]}), ["DataFrame"]), (None, ["NoneType"]),
    (torch.randn(5), ["(5,)", "x[:, None]"]), (torch.randn(5, 24, 2), ["(5, 24, 2)", "flatten(1)"]),
    (torch.randn(5, 1, 4, 4)*9, ["flattened"])])
def test_data_of_another_kind_are_named(x, words): refused(lambda: TensorData({"own": x}), *words, starts="own: got")

def test_tables_of_numbers_and_modalities_by_name_are_taken():
    table = pd.DataFrame({"k": [1., 2, 3], "l": [0., 1, 0]}, index=[3, 7, 9])
    data = TensorData({"t": table})
    assert torch.equal(data.pools["t"], torch.tensor([[1., 0], [2, 1], [3, 0]]))
    assert TensorData({"t": table}, modalities=data.modalities).modalities == data.modalities
    refused(lambda: TensorData({"t": table}, modalities={"t": "vector"}), "str", starts="modalities: got")
    refused(lambda: Modality("series", "vector", (24, 2)), "(24, 2)", "flatten", starts="series: got items")
    refused(lambda: Modality("word", "text", (4,)), "vocabulary", starts="word: got")

def test_keys_are_not_called_classes():
    m, pools = {n: Modality(n, "vector", (1,)) for n in "ab"}, {"a": torch.randn(4, 1), "b": torch.randn(2, 1)}
    make = partial(PairedByKey, "p", "train", m, pools)
    refused(lambda: make(keys={"a": torch.arange(4), "b": torch.arange(2)}), "key 2", starts="b: got no item")
    refused(lambda: make({"a": torch.arange(4), "b": torch.arange(2)}), "class 2", starts="b: got no item")

def test_texts_that_the_default_networks_can_not_take_are_named():
    word = Modality("w", "text", (6,), "ab ")
    refused(lambda: default_specs({"w": word}), "6 tokens", "multiple of 4", starts="w: got")

@pytest.mark.parametrize("x, words", [
    (np.zeros((4, 3), np.float32), ["ndarray", "tensor"]), (None, ["absent key"]), (torch.zeros(3), ["(3,)"]),
    (torch.zeros(4, 5), ["(4, 5)", "(3,)"]), (torch.zeros(4, 3).double(), ["torch.float64"])])
@pytest.mark.parametrize("make", [JVAE, MoPoE])
def test_a_batch_that_does_not_fit_names_its_modality(x, words, make):
    data = TensorData({"left": torch.randn(9, 3)})
    model = make(default_specs(data.modalities), 2)
    refused(lambda: model.infer({"left": x}), *words, starts="left: got")

@pytest.mark.parametrize("make", [JVAE, lambda s, z: Students(JVAE(s, z)), lambda s, z: VAE(s["b"], "b", z)])
def test_networks_that_do_not_fit_name_their_modality(make):
    specs = {n: vector_spec(3) for n in "ab"}
    batch = {"a": torch.zeros(4, 3), "b": torch.zeros(4, 5)}
    given = lambda model: {n: batch[n] for n in ([model.name] if isinstance(model, VAE) else "ab")}
    model = make(specs, 2)
    refused(lambda: model.infer(given(model)), "(4, 5)", "mat1 and mat2", starts="b: got")
    batch["b"] = torch.zeros(4, 3)
    model = make({**specs, "b": replace(specs["b"], features=9)}, 2)
    refused(lambda: model.infer(given(model)), "(4, 8)", "(batch, 9)", starts="b: its encoder returned")

def test_an_encoder_knows_the_modality_of_its_spec():
    spec = default_specs({"left": Modality("left", "vector", (3,))})["left"]
    refused(lambda: UnimodalEncoder(spec, 2)(torch.zeros(4, 9)), "(4, 9)", starts="left: got")

def test_what_is_out_of_memory_says_so_itself():
    class Full(nn.Module):
        def forward(self, x): raise torch.OutOfMemoryError("full")
    with pytest.raises(torch.OutOfMemoryError):
        JVAE({"a": replace(vector_spec(3), encoder=Full)}, 2).infer({"a": torch.zeros(1, 3)})
