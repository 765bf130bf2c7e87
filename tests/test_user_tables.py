"Plausible wrong numbers that a user of pandas, bytes, holes or little data got without a word."
import copy, io, warnings

import numpy as np, pandas as pd, pytest, torch

from mmvae_nb import MmvaeError, Modality, MoPoE, Standardize, Table, TensorData, default_specs
from mmvae_nb import evaluate, impute, log_likelihood
from mmvae_nb.data import PairedByKey
from mmvae_nb.metrics import extract_features, fid, frechet_distance
from mmvae_nb.missing import PRESENT
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher
from mmvae_nb.networks import ModalitySpec
from mmvae_nb.signatures import classes_of, index_of, warn_of_codes
from mmvae_nb.vae import VAE
from test_user_third_look import refused

G = np.random.default_rng(0)
V = G.normal(size=(40, 6)).astype("float32")
FRAME = pd.DataFrame({"age": G.normal(40, 9, 40), "city": G.choice(["Kobe", "Nara", "Otsu"], 40)},
                     index=range(100, 140))
TABLE, SCALE = Table(FRAME), Standardize(FRAME[["age"]])
SHUFFLED = FRAME.sample(frac=1, random_state=0)
DATA = TensorData({"v": V, "w": V[:, :3]})
SPECS = default_specs(DATA.modalities)
FEW = dict(samples=20, oracle_items=0)

def quiet(make):
    with warnings.catch_warnings(action="error"): return make()

def told(make, *words):
    with pytest.warns(UserWarning) as seen: made = make()
    text = " ".join(str(w.message) for w in seen)
    for w in words: assert w in text, text
    return made


# ---- rows of a table stay with their index

WORDS = Modality("word", "text", (8,), "abcdefghijklmnopqrstuvwxyzKNO ")
MADE = {"table": lambda f: TABLE(f), "scale": lambda f: SCALE(f[["age"]]), "encode": lambda f: WORDS.encode(f.city)}

@pytest.mark.parametrize("way", MADE)
def test_what_is_made_of_a_table_knows_its_rows(way):
    made, other = MADE[way](SHUFFLED), pd.DataFrame(V, index=FRAME.index)
    text = Modality("x", "text", (8,), WORDS.vocabulary)
    known = {"table": [TABLE.modality("x")], "encode": [text]}.get(way, [])
    take = lambda x: TensorData({"v": other, "x": x}, modalities=known)
    refused(lambda: take(made), "x.loc[other.index]", starts="x: got a table with another index")
    for right in (MADE[way](SHUFFLED.loc[FRAME.index]), made.clone()):               # a copy is a plain tensor
        assert len(take(right)) == 40

def test_labels_of_another_order_are_seen_beside_a_table():
    take = lambda labels: TensorData({"t": TABLE(FRAME), "v": V}, labels, modalities=[TABLE.modality("t")])
    codes = pd.Series(np.arange(40) % 3, index=FRAME.index)
    refused(lambda: take(codes.sample(frac=1, random_state=1)), "another index", starts="t: got")
    assert take(codes).labels["t"].tolist() == codes.tolist()

def test_a_table_comes_back_under_the_index_that_is_asked_for():
    back = TABLE.back(TABLE(SHUFFLED), index=SHUFFLED.index)
    assert (back.city == SHUFFLED.city).all() and np.allclose(back.age, SHUFFLED.age, atol=1e-4)
    assert list(TABLE.back(TABLE(SHUFFLED).clone(), index=range(40, 80)).index) == list(range(40, 80))
    refused(lambda: TABLE.back(TABLE(SHUFFLED), index=range(39)), "40", "(39,)", starts="index: got a range")


# ---- numbers that are stored as something else

@pytest.mark.parametrize("column", [pd.Series([1, 2, 3]*9, dtype=object), pd.Series(["1000", "1037", "9.5"]*9)],
                         ids=["objects", "text"])
def test_numbers_as_text_or_objects_are_no_classes(column):
    refused(lambda: Table(pd.DataFrame({"income": column})), "to_numeric", "category",
            starts="income: got numbers or dates as")
    assert classes_of("income", column.astype("category"))[0] == 3

def test_identities_with_one_that_comes_twice_are_no_classes():
    nearly = pd.Series([f"p{i}" for i in range(59)] + ["p0"])
    refused(lambda: classes_of("id", nearly), "leave them out", starts="id: got 60")
    truths = pd.Series([True, False], dtype=object)
    assert classes_of("id", pd.Series(["a", "b"]*6))[0] == classes_of("b", truths)[0] == 2

def test_strings_as_labels_are_numbered_alike_in_all_splits():
    with pytest.raises(MmvaeError) as e: TensorData({"v": V}, labels=["a", "b"]*20)
    assert "categories=" in str(e.value) and "factorize" not in str(e.value)
    names = ["cat", "dog"]
    codes = [pd.Categorical(x, categories=names).codes for x in (["cat", "dog", "dog"], ["dog", "cat"])]
    assert [c.tolist() for c in codes] == [[0, 1, 1], [1, 0]]

@pytest.mark.parametrize("x", [V.astype(">f4"), V.astype(np.longdouble), pd.DataFrame(V).astype("Float32")],
                         ids=["big", "long", "own"])
def test_other_machines_and_pandas_own_numbers_are_read(x):
    assert torch.allclose(TensorData({"v": x}).pools["v"], torch.tensor(V))

def test_gaps_of_pandas_own_numbers_are_holes():
    frame = pd.DataFrame({"a": pd.array([1, None, 3], "Int64"), "b": [1., None, 2.]})
    made = TensorData({"v": frame, "w": V[:3]}, present="given")
    assert made.pools["v"].tolist() == [[1, 1], [3, 2]] and made._rows["v"].tolist() == [0, -1, 1]


# ---- bytes and brightness

def test_bytes_that_are_no_image_are_refused_without_a_modality():
    spec = lambda n: ModalitySpec(**{**vars(SPECS[n]), "modality": None})
    model, x = MoPoE({n: spec(n) for n in SPECS}, 2).eval(), torch.tensor(V)
    refused(lambda: model({"v": x.to(torch.uint8)}), "x.float()", starts="v: got bytes of shape (40, 6)")
    assert model({"v": x}).total.isfinite()

@pytest.mark.parametrize("dtype, value, dark", [("uint8", 1, True), ("float32", .004, True), ("uint8", 9, False),
                                                ("uint8", 0, False), ("float32", .5, False)])
def test_images_on_another_scale_are_noticed(dtype, value, dark):
    make = lambda: TensorData({"mask": torch.full((9, 1, 8, 8), value, dtype=getattr(torch, dtype))})
    told(make, "mask: got images", "nearly black") if dark else quiet(make)

def test_fid_sees_bytes_and_fractions_alike():
    x = torch.randint(0, 256, (60, 1, 2, 2), dtype=torch.uint8)
    flat = lambda i: i.flatten(1).float()
    assert fid(x, x/255., flat) < 1e-4 and fid(x, 255 - x, flat) > 1
    assert fid(x.numpy(), (x/255.).numpy(), flat) < 1e-4
    assert extract_features(x.numpy(), flat).shape == (60, 4) and frechet_distance(V, V) < 1e-5
    for wrong in (lambda: fid([1], x, flat), lambda: frechet_distance(3, V), lambda: extract_features("x", flat)):
        refused(wrong, "a tensor or an array")


# ---- holes

def test_a_batch_with_holes_is_imputed_as_it_is():
    "Bytes have no nan: what lacks is black, and only `present` says so."
    images = torch.randint(1, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    holes = TensorData({"v": V, "im": images}, present={"im": torch.arange(40) % 3 > 0})
    batch, _ = holes.take(40)
    there, model = batch[PRESENT][:, 1], MoPoE(default_specs(holes.modalities), 2).eval()
    made = impute(model, batch)
    assert set(made) == {"v", "im"} and not (batch["im"][~there]).any() and 0 < there.sum() < 40
    assert torch.equal(made["im"][there], batch["im"][there]) and made["im"][~there].flatten(1).any(1).all()
    refused(lambda: impute(model, batch, there={"im": there}), starts="there: got it beside")
    refused(lambda: impute(model, {**batch, PRESENT: batch[PRESENT][:, :1]}), "(items, 2)",
            starts="present: got shape (40, 1)")

def test_items_of_another_shape_are_not_passed_through():
    refused(lambda: impute(MoPoE(SPECS, 2), {"v": V[:, None], "w": V[:, :3]}), "(6,)",
            starts="v: got items of shape (1, 6)")

def test_who_needs_all_says_who_does_not():
    with pytest.raises(MmvaeError, match="allowed: all of v, w .*distill.*complete"):
        JVAE(SPECS, 2).infer({"v": torch.tensor(V)})


# ---- what is drawn

def test_a_teacher_searches_with_the_generator_that_is_given():
    teacher, batch = IterativeTeacher(SPECS, 2).eval(), {"v": torch.tensor(V), "w": torch.tensor(V[:, :3])}
    said = [teacher.generate(batch, generator=torch.Generator().manual_seed(s))["v"] for s in (0, 0, 1)]
    assert torch.equal(said[0], said[1]) and not torch.equal(said[0], said[2])


# ---- little data, other data

def data_of(names=None, labels=True, n=60, only=("v", "w")):
    x = np.tile(V, (2, 1))[:n]
    return TensorData({k: {"v": x, "w": x[:, :3]}[k] for k in only}, (x[:, 0] > 0).astype(int) if labels else None,
                      class_names=names)

def test_the_probe_sees_each_item_once():
    rows = quiet(lambda: evaluate(MoPoE(SPECS, 2).eval(), data_of(), data_of(), **FEW)).frame
    assert set(rows.n[rows.metric == "linear_accuracy"]) == {60}

def test_without_labels_to_learn_from_there_is_no_probe():
    rows = evaluate(MoPoE(SPECS, 2).eval(), data_of(labels=False), data_of(), **FEW).frame
    assert not rows.metric.str.startswith("linear_accuracy").any() and (rows.metric == "negative_elbo").any()

@pytest.mark.parametrize("names", [(["no", "yes"], ["yes", "no"]), (["no", "yes"], None)], ids=str)
def test_classes_of_other_names_are_noticed(names):
    ask = lambda: evaluate(MoPoE(SPECS, 2).eval(), data_of(names[0]), data_of(names[1]), **FEW)
    assert not told(ask, "class_names: those of train").frame.metric.str.startswith("linear_accuracy").any()

def test_evaluation_asks_for_every_modality_and_a_multimodal_model():
    refused(lambda: evaluate(MoPoE(SPECS, 2), data_of(only=["v"]), data_of(), **FEW), "w", starts="train")
    refused(lambda: evaluate(VAE(SPECS["v"], "v", 2), data_of(), data_of(), **FEW), "MultimodalVAE",
            starts="model: got a VAE")

def test_few_effective_samples_are_said():
    model, x = MoPoE(SPECS, 2).eval(), {"v": torch.tensor(20*V[:8])}
    told(lambda: log_likelihood(model, x, samples=2, climb=0), "fewer than 2 of 2 samples")

def test_class_names_are_a_list():
    refused(lambda: TensorData({"v": V}, class_names=3), "a list of texts", starts="class_names: got 3")


# ---- gaps in a table, and codes for them

def test_what_a_row_of_a_table_lacks_is_filled_in():
    frame = pd.DataFrame({"city": ["Kobe", "Nara"]*20, "open": [True, False]*20, "visits": range(40),
                          "v": V[:, 0]})
    table = Table(frame, counts=["visits"])
    gaps = frame.astype(object).iloc[:3].copy()
    gaps.iloc[0, 0], gaps.iloc[1, 1], gaps.iloc[2, 2] = None, None, np.nan
    rows = table(gaps)
    assert rows.isnan().nonzero().tolist() == [[0, 0], [1, 1], [2, 2]]
    whole = table(frame.iloc[:3])
    assert torch.equal(rows[~rows.isnan()], whole[~rows.isnan()])
    data = TensorData({"t": table(frame), "v": V}, modalities=[table.modality("t")])
    model = MoPoE(default_specs(data.modalities), 2).eval()
    filled = impute(model, {"t": rows, "v": torch.tensor(V[:3])})["t"]
    assert filled.isfinite().all() and torch.equal(filled[~rows.isnan()], rows[~rows.isnan()])
    refused(lambda: table(gaps.fillna("Rome")), "Kobe, Nara", starts="class in city: got 'Rome'")

def test_a_code_for_what_is_missing_is_noticed_among_classes():
    make = lambda most: TensorData({"k": np.array([[0], [1], [most]]*9)}, kinds={"k": "categories"})
    told(lambda: make(9999), "k: got 3 classes with numbers up to 9999")
    quiet(lambda: make(2)); quiet(lambda: make(99))


# ---- parts of a table, files and copies of it

PARTS = {"slice": (slice(10, 30), None), "step": (slice(None, None, 2), None), "mask": (np.arange(40) % 3 > 0, None),
         "numbers": (torch.arange(39, -1, -1), None), "columns": ((slice(5, 25), slice(0, 1)), slice(5, 25))}

@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("way", ["table", "scale"])
def test_a_part_of_the_rows_knows_which_rows_they_are(part, way):
    key, rows = PARTS[part]
    made, wanted = MADE[way](SHUFFLED)[key], SHUFFLED.index[np.asarray(key) if rows is None and not
                                                            isinstance(key, slice) else rows or key]
    assert list(index_of(made)) == list(wanted) and len(made) == len(wanted)
    assert torch.equal(made.plain(), MADE[way](SHUFFLED).plain()[key])

def test_one_row_and_what_is_computed_are_plain():
    made = TABLE(SHUFFLED)
    for plain in (made[3], made + 1, made.clone(), made.T, torch.cat([made, made]), copy.deepcopy(made)):
        assert type(plain) is torch.Tensor and index_of(plain) is None
    for same in (made.double(), made.half(), made.detach()): assert index_of(same) is made.index_of_rows
    data = TensorData({"t": made, "v": V}, modalities=[TABLE.modality("t")])
    assert type(data.pools["t"]) is torch.Tensor and repr(made) == repr(made.plain())

def test_a_slice_of_another_order_is_seen():
    items = {"v": pd.DataFrame(V, index=FRAME.index), "t": TABLE(SHUFFLED)}
    make = lambda items: TensorData({n: x[:30] for n, x in items.items()}, modalities=[TABLE.modality("t")])
    refused(lambda: make(items), "another index", starts="t: got")
    assert len(make({**items, "t": TABLE(FRAME)})) == 30

def test_a_file_of_rows_is_a_file_of_a_tensor():
    file, made = io.BytesIO(), TABLE(FRAME)
    torch.save({"x": made, "y": SCALE(FRAME[["age"]])}, file); file.seek(0)
    again = torch.load(file, weights_only=True)
    assert type(again["x"]) is torch.Tensor and torch.equal(again["x"], made.plain())

def test_rows_come_back_under_the_index_that_they_know():
    assert list(TABLE.back(TABLE(SHUFFLED)).index) == list(SHUFFLED.index)
    assert list(TABLE.back(TABLE(SHUFFLED).clone()).index) == list(range(40))
    for index in (FRAME, 3, True, {1}, SHUFFLED.index):
        refused(lambda i=index: TABLE.back(TABLE(FRAME), index=i), starts="index: got")
    assert list(TABLE.back(TABLE(SHUFFLED), index=SHUFFLED.index).index) == list(SHUFFLED.index)


# ---- codes, units, names

@pytest.mark.parametrize("cells", [["7%", "12 %"], ["3,5", "4"], ["4 €", "10 €"], ["2024-01-16", "16.1.2024"]], ids=str)
def test_percentages_prices_and_dates_as_text_are_no_classes(cells):
    refused(lambda: classes_of("c", pd.Series(cells*9)), "numbers or dates as str", starts="c: got")
    assert classes_of("c", pd.Series(["1.0.2", "1.1.0", "2023/24"]*9))[0] == 3                        # versions

def counted(value, times=5, scale=1.):
    x = scale*torch.poisson(torch.full((60, 3), 9.), generator=torch.Generator().manual_seed(0))
    x[:times, 1] = value
    return x

@pytest.mark.parametrize("value", [99., 999, 9999, -999])
def test_a_usual_code_for_a_gap_is_noticed_in_the_units_of_the_measurement(value):
    said = f"5 of 60 items have {value:g} in column", "a code for what is missing?"
    told(lambda: TensorData({"x": counted(value)}), "x: ", *said)
    if value > 0: told(lambda: TensorData({"x": counted(value)}, kinds={"x": "counts"}), "x: ", *said)
    frame = pd.DataFrame(counted(value).numpy(), columns=["a", "age", "c"])
    told(lambda: Table(frame), f"age: 5 of 60 items have {value:g} in column 'age'")
    told(lambda: Standardize(frame), f"train: 5 of 60 items have {value:g} in column 'age'")
    told(lambda: Table(pd.DataFrame({"income": counted(-999, scale=1e4)[:, 1].numpy()})), "income: 5 of 60")

def test_a_look_for_codes_copies_little(monkeypatch):
    "What is larger than memory is looked at in part; a code that comes often is found all the same."
    copied, double = [], torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "double", lambda x: copied.append(x.numel()) or double(x))
    x = counted(9).repeat(20_000, 1); x[::7, 1] = 999
    told(lambda: warn_of_codes("x", x), "have 999 in column 1")
    assert copied and max(copied) <= 10**6 < x.numel()

@pytest.mark.parametrize("x", [
    torch.tensor([0., 1, 2, 100]).repeat(15)[:, None], torch.tensor([0., 1, 10, 1000]).repeat(15)[:, None],
    torch.tensor([9.99, 19.99, 49.99, 999.]).repeat(9)[:, None] + torch.tensor([[1.]]), counted(22), counted(999, 1),
    torch.tensor([1., 2, 3, 4, 5]).repeat(12)[:, None], torch.eye(4).repeat(9, 1), counted(360), counted(-1),
    counted(-9),
    torch.tensor([0.]*50 + [3., 99, 99, 120])[:, None]], ids=range(11))
def test_levels_prices_and_outliers_are_no_codes(x):
    with warnings.catch_warnings(record=True) as seen: TensorData({"x": x})
    assert not any("a code for" in str(w.message) for w in seen)

def test_bytes_and_fractions_on_another_scale_are_noticed_in_use():
    masks = (torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > .5)
    data = TensorData({"mask": masks.float(), "v": V[:20]})
    model = MoPoE(default_specs(data.modalities), 2).eval()
    for x in (masks.to(torch.uint8), masks.float()/255): told(lambda x=x: model.generate({"mask": x}), "nearly black")
    quiet(lambda: model.generate({"mask": 255*masks.to(torch.uint8)}))
    quiet(lambda: model.generate({"mask": 3*masks[:1].to(torch.uint8)}))                 # an item may be dark

@pytest.mark.parametrize("names", [np.array(["a", "b"]), pd.Index(["a", "b"]), pd.Categorical(["a", "b"]).categories],
                         ids=["array", "index", "categories"])
def test_names_of_classes_may_be_an_array(names):
    data = TensorData({"v": V}, labels=np.arange(40) % 2, class_names=names)
    assert data.class_names == ["a", "b"]

@pytest.mark.parametrize("names", [3, {"a", "b"}, {"a": 1}, "ab"], ids=["number", "set", "dict", "text"])
def test_names_of_classes_have_an_order(names):
    refused(lambda: TensorData({"v": V}, labels=np.arange(40) % 2, class_names=names), starts="class_names: got")

def test_images_of_16_bits_are_told_how():
    deep = torch.zeros(9, 1, 8, 8).to(torch.uint16)
    refused(lambda: TensorData({"x": deep}), "x/65535", starts="x: got torch.uint16")

@pytest.mark.parametrize("what", ["labels", "keys"])
def test_pairs_by_key_look_at_the_order_of_labels_too(what):
    codes = pd.Series(np.arange(40) % 3, index=FRAME.index)
    pools = {"a": SCALE(SHUFFLED[["age"]]), "b": torch.tensor(V)}
    kinds = {"a": Modality("a", "vector", (1,)), "b": Modality("b", "vector", (6,))}
    make = lambda a: PairedByKey("p", "train", kinds, pools, **{what: {"a": a, "b": codes}})
    refused(lambda: make(codes), "another index", starts=f"{what} of a: got")
    assert len(make(codes.loc[SHUFFLED.index])) > 0

@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "bool"])
def test_categories_come_in_any_whole_type(dtype):
    k = (np.arange(40) % 2)[:, None].astype(dtype)
    assert TensorData({"k": k}, kinds={"k": "categories"}).pools["k"].dtype == torch.int64
