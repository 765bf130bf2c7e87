"What a user's arrays mean depends on their kind, not on their type; and numbers of no kind are refused at the door."
import copy, warnings
from dataclasses import replace

import numpy as np, pandas as pd, pytest, torch
from torch.utils.data import DataLoader

from mmvae_nb.core import MmvaeError
from mmvae_nb.data import Modality, TensorData
from mmvae_nb.kinds import NegativeBinomial, Poisson, as_kind, check_values, count_spec
from mmvae_nb.missing import PRESENT, infer_each
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.networks import default_specs
from mmvae_nb.training import Stream, fit
from mmvae_nb.using import impute, log_likelihood, refined
from mmvae_nb.vae import Loss

N = 200
KINDS = {"c": "counts", "b": "binary", "k": "categories"}
WHOLE = ["uint8", "int32", "int64"]
g = np.random.default_rng(0)
z = g.normal(size=(N, 2)).astype("float32")
ITEMS = {"y": z, "c": g.poisson(np.exp(1 + .5*z)).astype("float32"), "b": (z > 0).astype("float32"),
         "k": np.digitize(z[:, :1], [-.5, .5]), "img": np.clip(.5 + z[:, :1, None, None]*np.ones((1, 4, 4))/6, 0, 1)}
ITEMS["img"] = (255*ITEMS["img"]).round().astype("uint8")
DATA = TensorData(ITEMS, kinds=KINDS)
HOW = dict(updates=60, batch_size=50, lr=5e-3, progress=False, device="cpu")

def new_model(data=DATA):
    torch.manual_seed(0)
    return MoPoE(default_specs(data.modalities, {n: 1. for n in data.modalities}), 3)

@pytest.fixture(scope="module")
def trained():
    model = new_model()
    fit(model, DATA, **HOW)
    return model

def as_type(name, t):
    "The items of a modality in another type: the same numbers, as a user may have them."
    return torch.as_tensor(ITEMS[name]).bool().numpy() if t == "bool" else ITEMS[name].astype(t)

def equal(a, b):
    assert a.keys() == b.keys()
    for n in a: np.testing.assert_array_equal(a[n], b[n])

def refused(call, start, *words):
    with pytest.raises(MmvaeError) as e: call()
    text = str(e.value)
    assert "\n" not in text and text.startswith(start) and all(w in text for w in words), text

WAYS = [("c", t) for t in WHOLE] + [("b", t) for t in [*WHOLE, "bool"]] + [("k", "uint8"), ("k", "int32")]


# ---- one meaning in every call: the path of floats is the standard

@pytest.mark.parametrize("name, t", WAYS)
def test_generate_and_log_likelihood_read_by_kind(trained, name, t):
    x, own = as_type(name, t)[:9], ITEMS[name][:9]
    assert x.dtype == t and len(np.unique(x)) > 1
    equal(trained.generate({name: x}), trained.generate({name: own}))
    equal(trained.generate({name: torch.as_tensor(x)}), trained.generate({name: torch.as_tensor(own)}))
    equal(trained.generate({name: x.tolist()}), trained.generate({name: own}))
    equal(trained.generate({name: pd.DataFrame(x)}), trained.generate({name: own}))
    short = dict(samples=16, climb=3)
    a, b = (log_likelihood(trained, {name: v}, **short).nats for v in (x, own))
    np.testing.assert_array_equal(a, b)
    q = [refined(trained, {name: v}, steps=3).mean for v in (x, own)]
    assert torch.equal(*q)

def test_whole_numbers_of_a_vector_are_no_bytes(trained):
    two = np.array([[1, 2], [0, 1]])
    for t in [*WHOLE, "float64"]:
        equal(trained.generate({"y": two.astype(t)}, "b"), trained.generate({"y": two.astype("float32")}, "b"))

def test_bytes_of_images_are_bytes(trained):
    x = ITEMS["img"][:6]
    equal(trained.generate({"img": x}, "y"), trained.generate({"img": x.astype("float32")/np.float32(255)}, "y"))

def test_a_model_of_double_precision_keeps_it(trained):
    model, x = copy.deepcopy(trained).double(), ITEMS["y"][:4].astype("float64") + 1e-12
    made = model.generate({"y": x}, "b")["b"]
    assert made.dtype == np.float64
    assert not np.array_equal(made, model.generate({"y": x.astype("float32")}, "b")["b"])


# ---- filled holes

@pytest.mark.parametrize("name, t", WAYS)
def test_impute_gives_back_the_callers_type_rounded(trained, name, t):
    there, x = np.arange(N) >= 20, as_type(name, t)
    by_floats = impute(trained, {"y": z, name: ITEMS[name]}, there={name: there})[name]
    made = impute(trained, {"y": z, name: x}, there={name: there})[name]
    assert made.dtype == t
    np.testing.assert_array_equal(made[20:], x[20:])
    np.testing.assert_array_equal(made[:20], np.round(by_floats[:20]).astype(t))
    if name == "c": assert abs(made[:20].astype(float).mean() - by_floats[:20].mean()) < .15       # cut: 0.5 less
    drawn = impute(trained, {"y": z, name: x}, there={name: there}, sample="x", n=2)[name]
    assert drawn.dtype == t and drawn.max() <= 5*ITEMS[name].max()

def test_impute_of_pictures_and_of_large_counts(trained):
    there = {"img": np.arange(N) >= 7}
    made = impute(trained, {"y": z, "img": ITEMS["img"]}, there=there)["img"]
    by_floats = trained.generate({"y": z[:7]}, "img")["img"]
    np.testing.assert_array_equal(made[:7], np.round(255*by_floats).clip(0, 255).astype("uint8"))
    large = TensorData({"y": z, "c": 1000 + ITEMS["c"]}, kinds={"c": "counts"})
    model = new_model(large)
    with torch.no_grad():
        for p in model.decoders["c"].parameters(): p.zero_()
        list(model.decoders["c"].parameters())[-1].fill_(7.)                                  # a mean of e^7 = 1097
    filled = impute(model, {"y": z, "c": ITEMS["c"].astype("uint8")}, there={"c": there["img"]})["c"]
    assert (filled[:7] == 255).all()                                                 # the most that a byte can say
    filled = impute(model, {"y": z, "c": ITEMS["c"].astype("int16")}, there={"c": there["img"]})["c"]
    assert (filled[:7] == 1097).all()

def test_impute_looks_at_what_is_there_and_not_at_what_is_not(trained):
    x = ITEMS["c"].copy(); x[3] = -7
    assert (impute(trained, {"y": z, "c": x}, there={"c": np.arange(N) != 3})["c"] >= 0).all()
    refused(lambda: impute(trained, {"y": z, "c": x}), "counts of c: got -7")
    floats = ITEMS["img"].astype("float32"); floats[:5] = np.nan
    refused(lambda: impute(trained, {"y": z, "img": floats}), "img: got images of floats from", "uint8 from 0 to 255")


# ---- what is refused

half, one = np.full((1, 2), 2.5, "float32"), np.ones((1, 2), "float32")
WRONG = [("c", half, "counts of c: got 2.5, allowed: whole numbers from 0"), ("c", -one, "counts of c: got -1"),
         ("b", 2*one, "values of b: got 2, allowed: 0 to 1"), ("b", -one, "values of b: got -1"),
         ("k", np.array([[7]]), "k: got class 7, allowed: 0 to 2 (0, 1, 2)"),
         ("k", np.array([[-1]]), "k: got class -1"),
         ("k", np.ones((1, 1)), "k: got torch.float64, allowed for a modality"),
         ("img", np.full((1, 1, 4, 4), 200.), "img: got images of floats from 200 to 200, allowed: uint8 from 0 to"),
         ("img", -np.ones((1, 1, 4, 4)), "img: got images of floats from -1"),
         ("img", np.ones((1, 1, 4, 4), "int64"), "img: got torch.int64, allowed for a modality of kind image"),
         ("y", np.full((1, 2), np.nan), "y: got nan or infinite values in 1 of 1 items"),
         ("y", pd.DataFrame([["u", "v"]]), "y: got a DataFrame that is no array of numbers"),
         ("y", [["u", "v"]], "y: got a list that is no array"), ("y", None, "y: got a NoneType, allowed: nothing"),
         ("y", torch.tensor(3.), "y: got 3.0, allowed: an array, items along its first axis"),
         ("y", one*1j, "y: got torch.complex64, allowed for a modality of kind vector")]

@pytest.mark.parametrize("name, x, words", WRONG)
def test_what_is_no_number_of_its_kind_is_refused_in_each_call(trained, name, x, words):
    other = {n: v[:1] for n, v in ITEMS.items() if n not in (name, "img")}
    refused(lambda: trained.generate({name: x}, "b"), words)
    refused(lambda: log_likelihood(trained, {name: x}, samples=4, climb=0), words)
    refused(lambda: log_likelihood(trained, other, {name: x}, samples=4, climb=0), words)
    refused(lambda: refined(trained, {name: x}, steps=1), words)
    if x is not None and "nan" not in words and "DataFrame" not in words and not isinstance(x, list):
        refused(lambda: impute(trained, {**other, name: x}), words)

def test_classes_are_named():
    words = Modality("k", "categories", (1,), ("red", "blue"))
    refused(lambda: check_values(words, torch.tensor([[0], [5]]), "k"), "k: got class 5, allowed: 0 to 1 (red, blue)")
    letters = Modality("t", "text", (2,), "ab")
    refused(lambda: check_values(letters, torch.tensor([[0, 2]]), "t"), "t: got token 2, allowed: 0 to 1 ('ab')")
    check_values(words, torch.tensor([[0], [1]]), "k")
    many = Modality("k", "categories", (1,), tuple(f"w{i}" for i in range(50)))
    refused(lambda: check_values(many, torch.tensor([[50]]), "k"), "k: got class 50, allowed: 0 to 49 (w0", "w11, ...)")

def test_probabilities_and_draws_of_pictures_pass(trained):
    trained.generate({"b": np.full((1, 2), .3, "float32")})
    trained.generate({"img": np.full((1, 1, 4, 4), 1.2, "float32")})

def test_infer_refuses_wrong_types_and_nan_out_of_training(trained):
    refused(lambda: trained.infer({"b": torch.ones(1, 2, dtype=torch.uint8)}), "b: got torch.uint8", "x.float()")
    refused(lambda: trained.infer({"b": torch.ones(1, 2, dtype=torch.int64)}), "b: got torch.int64", "x.float()")
    refused(lambda: trained.infer({"y": torch.full((3, 2), torch.nan)}), "y: got nan or infinite values in 3 of 3")
    batch = {"y": torch.full((3, 2), torch.nan), "b": torch.ones(3, 2),
             PRESENT: torch.tensor([[False, True], [True, True], [True, True]])}
    refused(lambda: infer_each(trained, batch), "y: got nan or infinite values in 2 of 2")
    batch[PRESENT][:, 0] = False
    assert infer_each(trained, batch).mean.isfinite().all()
    model = new_model()                                                       # in training nobody looks
    assert model.training and model.infer({"y": torch.full((3, 2), torch.nan)}).mean.isnan().all()

def test_no_item_is_no_error(trained):
    none = {n: x[:0] for n, x in ITEMS.items()}
    assert trained.generate({"c": none["c"]}, "y")["y"].shape == (0, 2)
    for given in (None, {"y": none["y"]}):
        found = log_likelihood(trained, {"b": none["b"]}, given)
        assert all(v.shape == (0,) for v in found) and isinstance(found.nats, np.ndarray)


# ---- training

def batches(items, size=50):
    return [{n: x[i:i + size] for n, x in items.items()} for i in range(0, N, size)]

def weights(model): return torch.cat([p.detach().flatten() for p in model.parameters()])

OWN = {n: torch.as_tensor(x) for n, x in ITEMS.items()}

@pytest.mark.parametrize("t", [*WHOLE, "bool"])
@pytest.mark.parametrize("validation", [False, True])
def test_loaders_and_validation_read_by_kind(t, validation):
    typed = {**OWN, "b": torch.as_tensor(as_type("b", t))}
    if t != "bool": typed |= {"c": torch.as_tensor(as_type("c", t)), "k": OWN["k"].to(typed["b"].dtype)}
    models, histories = [new_model(), new_model()], []
    for model, items in zip(models, (OWN, typed)):
        held = {k: v for k, v in items.items()} if validation else None
        data = DATA if validation else batches(items)
        histories.append(fit(model, data, updates=12, batch_size=50, progress=False, device="cpu", validation=held))
    pd.testing.assert_frame_equal(*histories)
    assert torch.equal(*map(weights, models))

def test_a_true_loader_of_numpy_items_learns_as_tensors_do():
    rows = [{"y": z[i], "b": (z[i] > 0).astype("uint8"), "c": ITEMS["c"][i].astype("uint8")} for i in range(N)]
    data = TensorData({n: ITEMS[n] for n in "ybc"}, kinds={"c": "counts", "b": "binary"})
    model = new_model(data)
    fit(model, DataLoader(rows, 50, shuffle=True), updates=300, lr=5e-3, progress=False, device="cpu")
    told = model.generate({"y": z}, "b")["b"] > .5
    assert (told == (z > 0)).mean() > .9

def wrong(name, x):
    "All items, with one that is wrong."
    items = {n: v.astype("float32") if n not in ("k", "img") else v for n, v in ITEMS.items()}
    items[name] = np.concatenate([items[name][:-1].astype(x.dtype), x])
    return items

@pytest.mark.parametrize("name, x, words", [w for w in WRONG if isinstance(w[1], np.ndarray)])
def test_a_wrong_number_in_validation_or_in_the_first_batch_is_refused(name, x, words):
    start, _, rest = words.partition(f"{name}:")
    of = lambda where: f"{start}{name} of {where}:{rest}" if "items" not in words else f"{name} of {where}: got nan"
    items = wrong(name, x)
    last = "from " if name == "img" and "floats" in words else None
    cut = lambda text: text.split(last)[0] if last else text
    how = dict(updates=20, progress=False, device="cpu")
    refused(lambda: fit(new_model(), [items], **how), cut(of("a batch of the data")))
    held = cut(of("validation"))                        # the whole of a dict is looked at before the first update
    if "items" in words: held = f"validation: got nan or infinite values in {name} of item {N - 1}"
    if "complex" in words: held = f"{name} of validation: got complex numbers"
    refused(lambda: fit(new_model(), DATA, batch_size=50, validation=items, **how), held)
    if "items" in words: return                         # holes of an iterable are named by its batch, tested below
    refused(lambda: fit(new_model(), DATA, batch_size=50, validation=[items], **how),
            held if "complex" in words else cut(of("validation")))

def test_nan_in_a_later_batch_is_said_to_be_in_the_data():
    x = ITEMS["y"].copy(); x[170, 1] = np.nan                                    # in the fourth batch of fifty
    data = batches({**ITEMS, "y": x})
    with pytest.raises(MmvaeError) as e: fit(new_model(), data, updates=20, progress=False, device="cpu")
    assert str(e.value).startswith("y of the batch of update 3: got nan or infinite values in 1 of 50 items")
    assert "lr" not in str(e.value)
    with pytest.raises(MmvaeError, match="smaller lr than 1e.30"):
        fit(new_model(), batches(ITEMS), **{**HOW, "lr": 1e30}, clip=None, schedule="constant")

def test_items_that_lack_something_may_lack_any_number():
    there = torch.ones(50, 5, dtype=torch.bool); there[:10, 0] = False
    some = [{**b, "y": np.where(np.arange(50)[:, None] < 10, np.nan, b["y"]), PRESENT: there} for b in batches(ITEMS)]
    history = fit(new_model(), some, updates=12, progress=False, device="cpu", validation=some[0])
    assert history.total.notna().all() and history.validation.notna().all()

def test_a_stream_of_one_s_own_is_read_by_kind_in_fit():
    typed = batches({**OWN, "b": OWN["b"].to(torch.uint8)})
    a, b = new_model(), new_model()
    for model, data in ((a, Stream(typed)), (b, batches(OWN))):
        fit(model, data, updates=5, progress=False, device="cpu")
    assert torch.equal(weights(a), weights(b))
    assert Stream(typed).batch(0)["b"].dtype == torch.uint8                             # without a model: as it came

def test_only_the_first_batch_is_looked_at(monkeypatch):
    from mmvae_nb import kinds
    seen = []
    monkeypatch.setattr(kinds, "check_values", lambda m, x, name: seen.append(name))
    fit(new_model(), batches(OWN), updates=9, progress=False, device="cpu", validation=OWN)
    wanted = [f"{n} of a batch of the data" for n in ITEMS] + 2*[f"{n} of validation" for n in ITEMS]   # two slices
    assert sorted(seen) == sorted(wanted)

def test_a_model_of_one_s_own_gets_what_the_loader_gave():
    class Own(torch.nn.Module):
        def __init__(self): super().__init__(); self.w, self.types = torch.nn.Parameter(torch.zeros(2)), set()
        def forward(self, batch):
            self.types |= {x.dtype for x in batch.values()}
            return Loss((batch["y"].float() - self.w).square().mean(), {})
    model = Own()
    fit(model, [{"y": torch.ones(4, 2, dtype=torch.uint8), "label": torch.arange(4), "d": torch.ones(4).double()}],
        updates=3, progress=False, device="cpu")
    assert model.types == {torch.uint8, torch.int64, torch.float64}


# ---- likelihoods of counts

@pytest.mark.parametrize("law", [Poisson, lambda: NegativeBinomial(2)])
@pytest.mark.parametrize("x, got", [(-1., "-1"), (2.5, "2.5"), (-.5, "-0.5")])
def test_likelihoods_of_counts_refuse_what_counts_nothing(law, x, got):
    data = torch.tensor([[0., 3.], [1., x]])
    refused(lambda: law().log_prob(data, torch.zeros(2, 2)), f"x: got {got}, allowed for a likelihood of counts")
    assert law().log_prob(data.abs().round(), torch.zeros(2, 2)).isfinite().all()
    spec = count_spec((2,))
    refused(lambda: spec.log_prob(data, torch.zeros(2, 2)), "a modality: x: got")

def test_a_look_at_counts_is_rare(monkeypatch):
    from mmvae_nb import kinds
    looks, law = [], Poisson()
    monkeypatch.setattr(kinds, "_no_counts", lambda x: looks.append(1) or x[:0])
    for _ in range(100): law.log_prob(torch.ones(2, 2), torch.zeros(2, 2))
    assert len(looks) == 7                                                              # calls 1, 2, 4, ..., 64

def test_training_on_fractions_as_counts_is_refused():
    refused(lambda: TensorData({"y": z, "c": ITEMS["c"] + .5}, kinds={"c": "counts"}), "counts of c: got")
    data = TensorData({"y": z, "c": ITEMS["c"] + .5})
    spec = replace(default_specs(data.modalities)["c"], likelihood=Poisson())
    torch.manual_seed(0)
    model = MoPoE({**default_specs(data.modalities), "c": spec}, 3)
    refused(lambda: fit(model, data, **HOW), "c: x: got", "allowed for a likelihood of counts")


# ---- by kind, one at a time

@pytest.mark.parametrize("kind, shape", [("vector", (2,)), ("counts", (2,)), ("binary", (2,)), ("sequence", (1, 2)),
                                         ("categories", (2,)), ("text", (2,))])
def test_each_kind_reads_whole_numbers(kind, shape):
    m = Modality("x", kind, shape, ("u", "v") if kind in ("categories", "text") else None)
    wanted = torch.int64 if kind in ("categories", "text") else torch.float32
    for t in [*WHOLE, "bool"]:
        x = as_kind(m, np.array([[0, 1]]).reshape(1, *shape).astype(t), "x")
        assert x.dtype == wanted and x.flatten().tolist() == [0, 1]

def test_no_warning_and_no_change_of_the_users_arrays(trained):
    x = ITEMS["y"][:3].copy(); x.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.generate({"y": x}); impute(trained, {"y": x}); log_likelihood(trained, {"y": x}, samples=200, climb=60)
    np.testing.assert_array_equal(x, ITEMS["y"][:3])
