"What a user hands over at the border: tables, units, words, keys. Defects that a user of the package met."
import pickle, warnings
from dataclasses import replace

import numpy as np, pandas as pd, pytest, torch
from torch import nn

from mmvae_nb.core import MmvaeError
from mmvae_nb.data import Modality, PairedByKey, Standardize, TensorData
from mmvae_nb.distributions import Bernoulli, Categorical, Gaussian
from mmvae_nb.kinds import Table
from mmvae_nb.missing import as_labels
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.training import fit
from model_helpers import *

G = np.random.default_rng(0)
A, B = G.normal(size=(40, 6)).astype("float32"), G.normal(size=(40, 4)).astype("float32")

def refused(make, *words, starts=""):
    with pytest.raises(MmvaeError) as e: make()
    said = str(e.value)
    assert said.startswith(starts) and "\n" not in said and len(said) < 400, said
    assert "got" in said and "allowed" in said, said
    for w in words: assert w in said, f"{w!r} is not in: {said}"

def quiet(make):
    with warnings.catch_warnings(): warnings.simplefilter("error"); return make()

def model(**kinds):
    data = quiet(lambda: TensorData({"a": A, "b": B}))
    return MoPoE(default_specs(data.modalities), 2).eval()


# ---- tables of pandas: rows by their index, columns by their place

def test_tables_whose_indexes_differ_are_refused():
    a, b = pd.DataFrame(A), pd.DataFrame(B)
    mixed = a.sample(frac=1, random_state=0)
    refused(lambda: TensorData({"a": mixed, "b": b}), "index", "to_numpy", starts="b: got a table")
    refused(lambda: TensorData({"a": mixed}, labels=pd.Series(range(40))), "index", "labels", starts="a: got")
    refused(lambda: TensorData({"a": a.set_axis(range(1, 41)), "b": b}, present="given"), starts="b: got")
    with warnings.catch_warnings():                                     # a read-only array is not written to
        warnings.simplefilter("error")
        assert len(TensorData({"a": a, "b": b.to_numpy()}, labels=pd.Series(0, a.index))) == 40
    same = TensorData({"a": mixed, "b": b.loc[mixed.index]})                          # brought in order
    assert torch.equal(same.pools["b"], torch.tensor(B)[torch.tensor(mixed.index.to_numpy())])
    assert torch.equal(TensorData({"a": mixed, "b": b.to_numpy()}).pools["b"], torch.tensor(B))
    named = a.set_axis([f"p{i}" for i in range(40)])
    assert len(TensorData({"a": named, "b": b.set_axis(named.index)}, labels=pd.Series(0, named.index))) == 40
    refused(lambda: TensorData({"a": a, "b": b[:39]}), "40", "39", starts="tensors: got")

def test_what_is_said_of_copies_and_columns_is_so():
    x, y = A.copy(), A.astype("float64")
    data = TensorData({"x": x, "y": y})
    x += 1; y += 1
    assert torch.equal(data.pools["x"], torch.tensor(A + 1)) and torch.equal(data.pools["y"], torch.tensor(A))
    for word in ("index", "columns are positions", "not copied", "in place"):
        assert word in " ".join(TensorData.__doc__.lower().split()), word

def test_data_of_nothing_and_complex_data_are_named():
    refused(lambda: TensorData({}), starts="tensors: got none")
    refused(lambda: TensorData({"w": A + 1j}), "complex64", "view_as_real", starts="w: got complex numbers")
    refused(lambda: TensorData({"w": A + 1j}, kinds={"w": "counts"}), starts="w: got complex numbers")


# ---- Standardize

def test_standardize_gives_back_what_came():
    units, mean, std = Standardize(A*3 + 7), (A*3 + 7).mean(0), (A*3).std(0)
    made = model().generate({"b": B[:5]}, "a")["a"]
    assert isinstance(made, np.ndarray)
    back = units.back(made)
    assert isinstance(back, np.ndarray) and back.dtype == np.float32
    np.testing.assert_allclose(back, made*std + mean, rtol=1e-4, atol=1e-4)
    tensor = units.back(torch.tensor(made, requires_grad=True))
    assert isinstance(tensor, torch.Tensor) and not tensor.requires_grad
    close(tensor, torch.tensor(back))
    draws = model().generate({"b": B[:5]}, "a", n=3)["a"]
    np.testing.assert_allclose(units.back(draws), draws*std + mean, rtol=1e-4, atol=1e-4)
    close(torch.as_tensor(units.back(units(A))), torch.tensor(A), 1e-4, 1e-4)

def test_standardize_refuses_other_columns():
    units = Standardize(A)
    for x in (A[:3, :1], B, torch.tensor(B), A[:, 0]):
        for call in (units, units.back): refused(lambda x=x, call=call: call(x), "(items, 6)", starts="x: got shape")
    frame = pd.DataFrame(A, columns=list("uvwxyz"))
    close(Standardize(frame)(frame), units(A))
    refused(lambda: Standardize(frame)(frame[list("zyxwvu")]), "'u'", starts="columns: got ['z'")
    close(Standardize(frame)(A), units(A))                                            # no names: by place

@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_standardize_refuses_a_column_with_holes(value):
    x = A.copy(); x[3, 2] = value
    refused(lambda: Standardize(x), "column 2", starts="train: got nan or infinite")
    x[3] = np.nan                                                                     # an item that lacks all of it
    close(Standardize(x)(A), Standardize(np.delete(A, 3, 0))(A))

def test_standardize_keeps_the_digits_beside_a_large_offset():
    seconds = 1.7e9 + np.arange(40.)[:, None]
    found = Standardize(seconds)(seconds)[:, 0].numpy()
    np.testing.assert_allclose(found, (np.arange(40) - 19.5)/np.arange(40).std(), rtol=1e-4)


# ---- warnings of units and axes

@pytest.mark.parametrize("scale", [1e4, 1e-4])
def test_sequences_in_odd_units_are_told(scale):
    x = torch.randn(50, 12, 2, generator=rng())
    quiet(lambda: TensorData({"x": x}, kinds={"x": "sequence"}))
    with pytest.warns(UserWarning, match="^x: its columns have deviations from"):
        TensorData({"x": x*scale}, kinds={"x": "sequence"})

def test_a_large_offset_is_told():
    x = torch.randn(200, 3, generator=rng())
    for quietly in (x, x + 5, 20*x + 50, torch.ones(9, 2)): quiet(lambda v=quietly: TensorData({"x": v}))
    with pytest.warns(UserWarning, match="means up to 1e.04.*Standardize") as told: TensorData({"x": x + 1e4})
    assert told[0].filename == __file__ and len(told) == 1
    with pytest.warns(UserWarning, match="means up to"):
        TensorData({"x": torch.randn(50, 12, 2, generator=rng()) + 100}, kinds={"x": "sequence"})

def test_images_of_channels_last_are_told():
    x = torch.randint(0, 256, (9, 16, 16, 3), dtype=torch.uint8, generator=rng())
    with pytest.warns(UserWarning, match=r"^x: got items of shape \(16, 16, 3\).*permute\(0, 3, 1, 2\)"):
        TensorData({"x": x})
    for fine in (x.permute(0, 3, 1, 2), x[:, :3, :, :3], x[:, :1, :, :1]): quiet(lambda v=fine: TensorData({"x": v}))


# ---- words, classes, vocabularies

WORD = Modality("word", "text", (8,), "abc ")
COLOUR = Modality("colour", "categories", (1,), ("red", "dark blue"))

def test_a_bare_string_is_no_list_of_strings():
    for bad in ("abc", None, 1): refused(lambda bad=bad: WORD.encode(bad), "list of strings", starts="word: got")
    for bad in ([None], [1], ["ab", ["c"]]): refused(lambda bad=bad: WORD.encode(bad), "strings", starts="word: got")
    assert WORD.encode(np.array(["abc"])).tolist() == [[0, 1, 2, 3, 3, 3, 3, 3]]
    refused(lambda: WORD.encode(["axe"]), "'x'", "'axe'", "'a', 'b', 'c'", starts="word: got")

def test_categories_are_encoded_and_decoded_whole():
    assert COLOUR.encode(["dark blue", "red"]).tolist() == [[1], [0]]
    assert COLOUR.encode([["red"], ("dark blue",)]).tolist() == [[0], [1]]
    assert COLOUR.encode(pd.Series(["red", "dark blue"])).tolist() == [[0], [1]]
    assert COLOUR.decode(COLOUR.encode(["dark blue", "red"])) == ["dark blue", "red"]
    two = Modality("two", "categories", (2,), ("red", "dark blue"))
    for way in (list, np.array): assert two.encode(way([["red", "dark blue"]])).tolist() == [[0, 1]]
    refused(lambda: COLOUR.encode(["green"]), "'red', 'dark blue'", starts="colour: got 'green'")
    for m, bad, most in ((COLOUR, ["red", "red"], 1), (two, ["red"], 2)):
        with pytest.raises(MmvaeError, match=f"allowed: {most}"): m.encode([bad])
    data = TensorData({"colour": COLOUR.encode(["red", "dark blue"]*9)}, modalities=[COLOUR])
    assert data.pools["colour"].unique().tolist() == [0, 1]

def test_strings_and_truth_values_as_categories():
    kinds = {"c": "categories"}
    refused(lambda: TensorData({"c": ["red", "blue"]}, kinds=kinds), "encode", "'categories'", starts="c: got")
    flags = G.normal(size=(20, 2)) > 0
    data = TensorData({"c": flags}, kinds=kinds)
    assert torch.equal(data.pools["c"], torch.tensor(flags).long()) and data.modalities["c"].num_tokens == 2

def test_tokens_that_are_none_are_not_decoded():
    for bad in (-1, 2, .5):
        refused(lambda bad=bad: COLOUR.decode(torch.tensor([[bad]])), starts=f"tokens of colour: got {bad}")
    for bad in (torch.zeros(3).long(), None, [[0]]):
        refused(lambda bad=bad: COLOUR.decode(bad), "(batch, length)", starts="colour: got")
    assert COLOUR.decode(np.array([[1]])) == ["dark blue"]

def test_shapes_and_vocabularies_that_can_not_be():
    refused(lambda: Modality("w", "text", (8,), "aab "), "'a' twice", starts="vocabulary of w: got")
    refused(lambda: Modality("w", "categories", (1,), ("x", "y", "x")), "'x' twice", starts="vocabulary of w: got")
    for size in (-8, 2.5, True):
        refused(lambda n=size: Modality("w", "vector", (n,)), starts=f"shape of w: got {size}")
    assert Table(pd.DataFrame({"x": [1., 2], "y": [3., 1]})).modality("t").vocabulary == ("number", "number")

def test_the_class_says_what_its_fields_are():
    for word in ("`shape`", "`vocabulary`", "multiple of 4", "(T, C)"): assert word in Modality.__doc__, word


# ---- tables of mixed columns

FRAME = pd.DataFrame({"x": [1., 2, 4, 3], "k": ["a", "b", "a", "a"], "n": [0, 3, 1, 2]})

@pytest.mark.parametrize("make, words", [
    (lambda t: t(FRAME[["x"]]), ["columns: got a table that lacks 'k', 'n'", "'x', 'k', 'n'"]),
    (lambda t: t(FRAME.to_numpy()), ["table: got a ndarray"]),
    (lambda t: t(FRAME[["x", "k", "k", "n"]]), ["columns of table: got 'k' twice"]),
    (lambda t: t(FRAME.assign(x=["1", "2", "three", "4"])), ["x: got", "three", "allowed: numbers"]),
    (lambda t: t(FRAME.assign(x=np.inf)), ["x: got infinite"]),
    (lambda t: t(FRAME.assign(n=-1.)), ["counts of n: got -1"]),
    (lambda t: t(FRAME.assign(n=1.5)), ["counts of n: got 1.5", "whole"]),
    (lambda t: t.back([[0, -1., 1]]), ["class in k: got -1", "0 to 1"]),
    (lambda t: t.back([[0, 2., 1]]), ["class in k: got 2"]),
    (lambda t: t.back([[0, .5, 1]]), ["class in k: got 0.5"]),
    (lambda t: t.back([[0, np.nan, 1]]), ["class in k: got nan"]),
    (lambda t: t.back(np.zeros((4, 4))), ["x: got shape (4, 4)", "(items, 3)"]),
    (lambda t: t.back(np.zeros((5, 4, 3))), ["x: got shape (5, 4, 3)", "for d in draws"]),
    (lambda t: Table(FRAME, counts=["x", "d"]), ["counts: got 'd'"]),
    (lambda t: Table(FRAME.assign(n=-1.5), counts="n"), ["counts of n: got -1.5"]),
    (lambda t: Table(FRAME.assign(n=[0, 1, 2, .5]), counts=["n"]), ["counts of n: got 0.5"]),
    (lambda t: Table(FRAME.assign(x=[1, 2, 3, np.inf])), ["x: got infinite"]),
    (lambda t: Table(FRAME[["x", "x"]]), ["columns of train: got 'x' twice"]),
    (lambda t: Table(FRAME[[]]), ["train: got shape (4, 0)"]),
    (lambda t: Table(FRAME.assign(day=pd.date_range("2026-01-01", periods=4))), ["day: got times"]),
    (lambda t: Table(FRAME.assign(day=pd.date_range("2026-01-01", periods=4, tz="UTC"))), ["day: got times"]),
    (lambda t: Table(pd.DataFrame({"id": [f"p{i}" for i in range(20)]})), ["id: got 20 rows of 20 classes"])])
def test_tables_refuse_what_they_would_get_wrong(make, words):
    refused(lambda: make(Table(FRAME, counts="n")), *words, starts=words[0])

def test_tables_take_what_is_right():
    assert Table(FRAME, counts="n").columns == ("number", 2, "count") == Table(FRAME, counts=["n"]).columns
    flags = FRAME.assign(f=pd.array([True, False, True, True], dtype="boolean"))
    table = Table(flags)
    assert table.columns[-1] == "binary" and table(flags)[:, -1].tolist() == [1, 0, 1, 1]
    assert table.back(table(flags)).f.tolist() == [True, False, True, True]
    assert Table(FRAME)(FRAME[["n", "k", "x"]]).tolist() == Table(FRAME)(FRAME).tolist()      # by name, not by place
    kept = pickle.loads(pickle.dumps(table))                                          # what the guide says to do
    pd.testing.assert_frame_equal(kept.back(table(flags)), table.back(table(flags)))


# ---- likelihoods, labels, keys

def test_likelihoods_that_do_not_fit_are_one_line():
    specs = default_specs(TensorData({"a": A, "b": B}).modalities)
    wrong = lambda law, of=specs, m=JVAE: m({**of, "a": replace(of["a"], likelihood=law)}, 2)
    for m in (JVAE, MoPoE):
        refused(lambda m=m: wrong(Categorical(), m=m), "Categorical", "kind vector", starts="likelihood of a: got")
    refused(lambda: wrong(torch.distributions.Normal(0, 1)), "Normal", "log_prob and mean", starts="likelihood: got a")
    word = default_specs({"a": replace(WORD, name="a")})
    for law in (Gaussian(.2), Bernoulli()):
        refused(lambda law=law: wrong(law, word), "kind text", "Categorical", starts="likelihood of a: got")
    class Own(nn.Module):
        def log_prob(self, x, params, extra=None): return -(x - params).abs().sum(1)
        def mean(self, params): return params
    assert wrong(Own())({"a": torch.tensor(A), "b": torch.tensor(B)}).total.isfinite()

def test_labels_of_another_form_are_explained():
    refused(lambda: TensorData({"a": A}, labels={"z": np.zeros(40, int)}), "one array", starts="labels: got {'z'")
    refused(lambda: as_labels(["cat", "dog"]), "pandas.Categorical", starts="labels: got")
    y = torch.zeros(40, dtype=torch.int64)
    pools, modalities = {"a": torch.tensor(A)}, {"a": Modality("a", "vector", (6,))}
    refused(lambda: PairedByKey("p", "train", modalities, pools, {"z": y}), "allowed: a", starts="labels: got 'z'")

def test_keys_may_be_arrays_of_whole_numbers():
    pools = {"a": torch.tensor(A), "b": torch.tensor(B)}
    modalities = {"a": Modality("a", "vector", (6,)), "b": Modality("b", "vector", (4,))}
    make = lambda keys, **more: PairedByKey("p", "train", modalities, pools, keys=keys, **more)
    tensors = {"a": torch.arange(40), "b": torch.arange(40).flip(0)}
    known = make(tensors)
    for way in (lambda k: k.numpy(), lambda k: k.numpy().astype("int32"), lambda k: pd.Series(k), lambda k: k.tolist()):
        data = make({n: way(k) for n, k in tensors.items()})
        assert data.checksum == known.checksum and torch.equal(data.batch(0, 8)["b"], known.batch(0, 8)["b"])
    labels = {n: (k % 3).numpy() for n, k in tensors.items()}
    assert PairedByKey("p", "train", modalities, pools, labels).labels["a"].dtype == torch.int64
    names = [f"photo {i}" for i in range(40)]
    for way in (list, np.array, pd.Series):
        refused(lambda way=way: make({"a": way(names), "b": way(names)}), "pandas.Categorical",
                starts="keys of a: got strings")
    refused(lambda: make({"a": np.zeros(40), "b": np.zeros(40)}), "float64", starts="keys of a: got")
    refused(lambda: make({"a": np.arange(39), "b": np.arange(40)}), "(39,)", "(40,)", starts="keys of a: got")
    numbers = pd.factorize(pd.concat([pd.Series(names), pd.Series(names[::-1])]))[0]  # as the message says
    assert torch.equal(make({"a": numbers[:40], "b": numbers[40:]}).batch(0, 8)["a"], known.batch(0, 8)["a"])


# ---- what was accepted, and refused only by the first loss

def test_fractions_are_no_counts_from_the_start():
    counts = np.full((9000, 3), 2., dtype="float32")
    assert TensorData({"a": counts}, kinds={"a": "counts"}).modalities["a"].kind == "counts"
    counts[8999, 1] = 2.5                                       # beyond the first part that is looked at
    refused(lambda: TensorData({"a": counts}, kinds={"a": "counts"}), "2.5", "whole number", starts="counts of a")

def test_a_likelihood_of_other_things_is_refused_by_a_model_of_one_modality_too():
    from mmvae_nb.vae import VAE
    specs = default_specs(quiet(lambda: TensorData({"a": A})).modalities)
    refused(lambda: VAE(replace(specs["a"], likelihood=Categorical()), "a"), "Categorical", "vector",
            starts="likelihood of a")

@pytest.mark.parametrize("batch", [3, None, {}, [A]])
def test_items_are_inferred_from_batches_only(batch):
    from mmvae_nb.missing import infer_each
    refused(lambda: infer_each(model(), batch), starts="batch: got")


# ---- groups, keys and indices

PAIR = {"a": torch.tensor(A), "b": torch.tensor(B)}

@pytest.mark.parametrize("index, word", [
    ({"c": torch.arange(2)}, "index: got 'c'"), ({"a": torch.tensor([len(A)])}, "index: got"),
    ({"a": 1.5}, "index: got"), (3, "index: got 3")], ids=["name", "number", "text", "no dict"])
@pytest.mark.parametrize("holes", [False, True])
def test_gather_says_what_it_can_index(index, word, holes):
    data = TensorData(PAIR, present=holed_mask() if holes else None)
    refused(lambda: data.gather(index), starts=word)

def holed_mask():
    there = torch.ones(len(A), 2).bool()
    there[0, 0] = False
    return there

@pytest.mark.parametrize("groups, word", [
    ({"c": np.arange(len(A))}, "groups: got 'c'"), ({"a": np.arange(3)}, "groups of a: got (3,)"),
    ({"a": ["x"]*len(A)}, "groups of a: got strings"), ({"a": np.arange(len(A))/2}, "groups of a: got")],
    ids=["name", "length", "strings", "fractions"])
def test_groups_are_one_whole_number_an_item(groups, word):
    refused(lambda: TensorData(PAIR, groups=groups), starts=word)

def test_groups_of_another_index_are_refused():
    frame = pd.DataFrame(A)
    twisted = pd.Series(np.arange(len(A)), index=frame.index[::-1])
    refused(lambda: TensorData({"a": frame}, groups={"a": twisted}), "another index")
    TensorData({"a": frame}, groups={"a": twisted[::-1]})

def test_a_masked_key_is_no_key():
    keys = np.ma.masked_array(np.arange(len(A)), mask=np.arange(len(A)) == 3)
    m = TensorData(PAIR).modalities
    refused(lambda: PairedByKey("x", "train", m, PAIR, keys={"a": keys, "b": np.arange(len(B))}),
            "mask would be lost", starts="keys of a: got a masked array")

def test_a_model_speaks_as_a_model_only():
    refused(lambda: model().speak_as(3), starts="other: got a int")

def test_a_module_that_takes_no_dict_is_named():
    refused(lambda: fit(torch.nn.Linear(3, 2), TensorData(PAIR), 1, 4, progress=False),
            starts="model: got a Linear that fails on a batch")
