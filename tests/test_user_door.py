"What a user's data are to a model: rows by their index, tokens by its vocabulary, columns by their kinds."
import warnings
from dataclasses import replace

import numpy as np, pandas as pd, pytest, torch

from mmvae_nb.data import Modality, PairedByKey, Standardize, TensorData
from mmvae_nb.kinds import Table
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.networks import default_specs
from test_user_border import A, B, FRAME, WORD, model, quiet, refused


# ---- tables of pandas, wherever a model is used

FA, FB = pd.DataFrame(A), pd.DataFrame(B)
MIXED = FB.sample(frac=1, random_state=0)

def train(data, **more):
    from mmvae_nb.training import fit
    return fit(model(), data, updates=2, batch_size=10, progress=False, device="cpu", **more)

def test_a_model_refuses_tables_of_two_indexes():
    from mmvae_nb.using import impute, log_likelihood, refined
    m, pair = model(), {"a": FA, "b": MIXED}
    for call in (lambda: m.generate(pair), lambda: impute(m, pair), lambda: refined(m, pair, steps=0),
                 lambda: log_likelihood(m, pair, samples=2, climb=0),
                 lambda: log_likelihood(m, {"a": FA}, {"b": MIXED}, samples=2, climb=0),
                 lambda: train(TensorData({"a": A, "b": B}), validation=pair)):
        refused(call, "index", "to_numpy", starts="b: got a table with another index than that of a")
    refused(lambda: train([pair]), "index", starts="b of a batch of the data: got a table")
    refused(lambda: train([{"a": A, "b": B}], validation=[pair]), "index", starts="b of validation: got a table")
    there = pd.Series(True, MIXED.index)
    refused(lambda: impute(m, {"a": FA}, there={"a": there}), "index", starts="there, a: got a table")
    same = {"a": FA, "b": MIXED.loc[FA.index]}
    np.testing.assert_array_equal(m.generate(same)["a"], m.generate({"a": A, "b": B})["a"])
    assert len(m.generate({"a": FA, "b": MIXED.to_numpy()})["a"]) == 40
    assert len(impute(m, {"a": FA}, {"a": there.loc[FA.index]})["a"]) == 40

def test_a_mask_goes_by_its_index_too():
    mask = pd.Series(np.arange(40) > 5)
    refused(lambda: TensorData({"a": FA, "b": FB}, present={"b": mask[::-1]}), "index", "present, b")
    refused(lambda: TensorData({"a": FA, "b": FB}, present=pd.DataFrame({"a": mask, "b": mask})[::-1]), "index")
    backwards = mask.to_numpy()[::-1]; backwards.setflags(write=False)
    for way in (lambda x: x, pd.Series, list, torch.tensor):
        x = backwards.copy() if way is torch.tensor else backwards
        data = quiet(lambda x=x, way=way: TensorData({"a": A, "b": B}, present={"b": way(x)}))
        assert torch.equal(data.pools["b"], torch.tensor(B[:34]))
    data = quiet(lambda: TensorData({"a": A[::-1], "b": B}))
    assert torch.equal(data.pools["a"], torch.tensor(A).flip(0))


# ---- the vocabulary of data and of the model

def answers(*words, names=None, n=24):
    w = Modality("w", "categories", (1,), words) if words else None
    y = torch.arange(n) % 2
    x = {"a": torch.tensor(A[:n]), "w": y[:, None]}
    return TensorData(x, y, [w] if w else None, kinds=None if w else {"w": "categories"}, name="answers")

def of(data): return MoPoE(default_specs(data.modalities), 2).eval()

def test_data_with_another_vocabulary_than_the_model_s_are_refused(tmp_path):
    from mmvae_nb.checkpoints import describe, load, save
    from mmvae_nb.distillation import distill
    from mmvae_nb.evaluation import evaluate
    from mmvae_nb.training import fit
    from mmvae_nb.vae import VAE
    right, wrong = answers("no", "yes"), answers("yes", "no")
    m, how = of(right), dict(updates=1, batch_size=8, progress=False, device="cpu")
    few = dict(samples=20, probe_points=20, oracle_items=0)
    for call in (lambda: fit(m, wrong, **how), lambda: distill(m, wrong, **how), lambda: save(m, tmp_path/"m", wrong),
                 lambda: evaluate(m, wrong, right, **few), lambda: evaluate(m, right, wrong, **few),
                 lambda: evaluate(m, right, right, validation=wrong, **few),
                 lambda: fit(VAE(default_specs(right.modalities)["w"], "w"), wrong, **how)):
        refused(call, "'yes', 'no'", "'no', 'yes'", "that of the model", starts="vocabulary of w")
    assert all(p.requires_grad for p in m.parameters())                              # no teacher was frozen
    refused(lambda: fit(m, right, validation=wrong, **how), starts="vocabulary of w of validation: got")
    refused(lambda: fit(m, answers("no", "yes", "maybe"), **how), "'maybe' as number 2", starts="vocabulary of w")
    other = quiet(lambda: TensorData({"a": A[:24, :5], "w": right.pools["w"]}, modalities=[right.modalities["w"]]))
    refused(lambda: save(m, tmp_path/"m", other), "(5,)", "(6,)", starts="shape of a: got")
    assert not (tmp_path/"m").exists()
    fit(m, right, validation=answers(), **how)                      # numbers without names go with any names
    fit(m, answers("no", "yes"), **how)
    evaluate(m, right, right, **few)
    save(m, tmp_path/"m", answers())
    assert load(tmp_path/"m").specs["w"].modality.vocabulary == ("no", "yes")
    save(of(answers()), tmp_path/"m", right)                                     # the file has the names that there are
    assert describe(tmp_path/"m")["specs"]["w"]["modality"]["vocabulary"] == ["no", "yes"]

def test_held_out_items_may_lack_the_last_class():
    held = TensorData({"a": A[:4], "w": torch.zeros(4, 1, dtype=torch.int64)}, kinds={"w": "categories"})
    from mmvae_nb.training import fit
    history = fit(of(answers()), answers(), 1, 8, progress=False, device="cpu", validation=held)
    assert history.validation.notna().all()
    refused(lambda: fit(of(held), answers(), 1, 8, progress=False, device="cpu"), "'1' as number 1",
            starts="vocabulary of w")


# ---- tables of mixed columns, by column

MIX = Modality("t", "table", (4,), ("number", "count", "binary", 3))
ROWS = np.stack([A[:, 0], np.arange(40) % 5, np.arange(40) % 2, np.arange(40) % 3], 1).astype("float32")
BAD = [(1, -1, "counts in column 1 of t"), (1, .5, "counts in column 1 of t"), (2, 2, "values in column 2 of t"),
       (2, -.5, "values in column 2 of t"), (3, 3, "class in column 3 of t"), (3, .5, "class in column 3 of t")]

def table_model():
    data = TensorData({"a": A, "t": ROWS}, modalities=[MIX])
    return MoPoE(default_specs(data.modalities), 2).eval()

@pytest.mark.parametrize("column, value, where", BAD)
def test_a_table_is_looked_at_column_by_column(column, value, where):
    from mmvae_nb.training import fit
    from mmvae_nb.using import impute, log_likelihood
    rows, m, how = ROWS.copy(), table_model(), dict(updates=1, batch_size=8, progress=False, device="cpu")
    rows[3, column] = value
    got, good = (f"got {value}", "allowed"), TensorData({"a": A, "t": ROWS}, modalities=[MIX])
    for call in (lambda: TensorData({"a": A, "t": rows}, modalities=[MIX]), lambda: m.generate({"t": rows}),
                 lambda: impute(m, {"t": rows}), lambda: log_likelihood(m, {"t": rows}, samples=2, climb=0)):
        refused(call, *got, starts=where)
    refused(lambda: fit(table_model(), good, validation={"a": A, "t": rows}, **how), *got,
            starts=f"{where} of validation")
    rows[3, column] = np.nan                                                          # a hole is no bad number
    filled = impute(m, {"a": A, "t": rows})["t"]
    assert np.isfinite(filled).all() and np.array_equal(filled[:3], ROWS[:3])
    assert m.generate({"t": m.generate({"a": A}, sample="x")["t"]})["t"].shape == (40, 4)

def test_a_table_has_a_kind_for_each_column():
    refused(lambda: Modality("r", "table", (4,), ("number", "number")), "2 columns", "allowed: 4",
            starts="vocabulary of r")
    refused(lambda: Modality("r", "table", (1,), ("word",)), "'word'", "count", starts="vocabulary of r: got")
    refused(lambda: Modality("r", "table", (1,), (1,)), "at least 2", starts="classes in vocabulary of r: got 1")

FLAGS = FRAME.assign(f=[True, False, True, True])

@pytest.mark.parametrize("rows, words", [
    (FLAGS.assign(f=[0, 1, 7, 1]), "f: got np.int64(7), allowed: True or False"),
    (FLAGS.assign(x=pd.Timestamp("2026-01-01")), "x: got datetime64"),
    (FLAGS.assign(x=True), "x: got bool, allowed: numbers"),
    (FLAGS.assign(x=pd.Series([1., True, 2, 3], dtype=object)), "x: got bool"),
    (FLAGS.assign(x=1j), "x: got complex128"),
    (FLAGS.assign(n=pd.Timestamp("2026-01-01")), "n: got datetime64")])
def test_a_table_refuses_new_rows_of_other_types(rows, words):
    table = Table(FLAGS, counts="n")
    refused(lambda: table(rows), starts=words)
    for same in ([1, 0, 1, 1], [1., 0, 1, 1]): assert torch.equal(table(FLAGS.assign(f=same)), table(FLAGS))

@pytest.mark.parametrize("gap", [[1, np.nan, 1, 1], pd.array([True, None, True, True], dtype="boolean")],
                         ids=["nan", "NA"])
def test_a_truth_value_that_is_not_there_is_a_hole(gap):
    rows, whole = (Table(FLAGS, counts="n")(f) for f in (FLAGS.assign(f=gap), FLAGS))
    assert rows.isnan().nonzero().tolist() == [[1, list(FLAGS).index("f")]]
    assert torch.equal(rows[~rows.isnan()], whole[~rows.isnan()])

@pytest.mark.parametrize("value", [np.nan, 7., -1.])
def test_no_truth_value_is_made_of_what_is_no_probability(value):
    table = Table(FLAGS, counts="n")
    refused(lambda: table.back([[0, 0, 1, value]]), "0", "1", starts="value of f: got")
    assert table.back([[0, 0, 1, .4], [0, 0, 1, .6]]).f.tolist() == [False, True]

def test_complex_columns_are_no_numbers():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(lambda: Table(pd.DataFrame({"z": [1j, 2., 3.]})), "complex128", starts="z: got")


# ---- masked arrays, sparse tensors

@pytest.mark.parametrize("x, words", [
    (np.ma.masked_array(A, mask=A > 1), ("masked array", ".filled(np.nan)")),
    (torch.tensor(A).to_sparse(), ("sparse tensor", "`x.to_dense()`"))])
def test_masks_that_would_be_lost_and_sparse_tensors_are_refused(x, words):
    from mmvae_nb.using import impute
    m = model()
    for call in (lambda: TensorData({"a": x, "b": B}), lambda: TensorData({"a": x, "b": B}, present="given"),
                 lambda: m.generate({"a": x}), lambda: impute(m, {"a": x}), lambda: Standardize(x)):
        refused(call, *words)
    if isinstance(x, torch.Tensor):
        a, y = Modality("a", "vector", (6,)), torch.arange(40)
        refused(lambda: PairedByKey("p", "train", {"a": a}, {"a": x}, {"a": y}), *words)
    else:
        y, mask = np.ma.masked_array(range(40), mask=range(40)), np.ma.masked_array([True]*40, mask=[1]*40)
        refused(lambda: TensorData({"a": A}, labels=y), starts="labels: got a masked array")
        refused(lambda: TensorData({"a": A, "b": B}, present={"b": mask}), "masked array")

def test_masked_arrays_that_mask_nothing_are_arrays():
    assert torch.equal(TensorData({"a": np.ma.masked_array(A)}).pools["a"], torch.tensor(A))


# ---- arguments that contradict one another

VECTOR = Modality("n", "vector", (6,))

def test_a_kind_is_said_once():
    refused(lambda: TensorData({"n": A}, modalities=[VECTOR], kinds={"n": "counts"}), "vector",
            starts="kind of n: got 'counts'")
    assert TensorData({"n": A}, modalities=[VECTOR], kinds={"n": "vector"}).modalities["n"].kind == "vector"
    twice = [VECTOR, Modality("n", "counts", (6,))]
    refused(lambda: TensorData({"n": A}, modalities=twice), starts="modalities: got 'n' twice")

def test_a_modality_goes_by_its_own_name():
    y = {"q": torch.arange(40)}
    for call in (lambda: TensorData({"n": A}, modalities={"q": VECTOR}), lambda: default_specs({"q": VECTOR}),
                 lambda: PairedByKey("p", "train", {"q": VECTOR}, {"n": torch.tensor(A)}, y)):
        refused(call, "'q'", starts="modalities: got 'n' under the key 'q'")
    spec = default_specs({"n": VECTOR})["n"]
    from mmvae_nb.vae import VAE
    for call in (lambda: MoPoE({"q": spec}, 2), lambda: VAE(spec, "q")):
        refused(call, "'q'", starts="specs: got 'n' under the key 'q'")
    assert MoPoE({"q": replace(spec, modality=replace(VECTOR, name="q"))}, 2).names == ["q"]


# ---- what ended in another exception

def test_shapes_are_numbers_of_python_s_within_reason():
    m = Modality("a", "vector", (np.int64(6),))
    assert m.shape == (6,) and type(m.shape[0]) is int and m == Modality("a", "vector", [6])
    assert MoPoE(default_specs({"a": m}), 2).names == ["a"]
    for n in (0, 10**10):
        refused(lambda n=n: Modality("a", "vector", (n,)), "at least 1", starts=f"shape of a: got {n}")
    refused(lambda: TensorData({"a": np.zeros((80, 0))}), "at least 1", starts="shape of a: got 0")
    six = Modality("a", "vector", (6,))
    refused(lambda: TensorData({"a": A[:, :0]}, modalities=[six]), "(0,)", "(6,)", starts="a: got items")
    refused(lambda: TensorData({"a": A[:0]}), starts="a: got no items")

def test_classes_are_texts_and_as_many_as_there_are():
    refused(lambda: Modality("k", "categories", (1,), (1, 2)), "'1'", "texts", starts="vocabulary of k: got 1")
    for bad in (torch.zeros(1, 2).long(), torch.zeros(2, 9).long()):
        refused(lambda bad=bad: WORD.decode(bad), "length 8", starts=f"word: got shape {tuple(bad.shape)}")
    two = Modality("two", "categories", (2,), ("red", "blue"))
    refused(lambda: two.encode(["red"]), "allowed: 2", starts="two: got 1 tokens in 'red'")
    assert two.encode(["red blue"]).tolist() == [[0, 1]]

def test_holes_among_classes_are_told_by_there():
    from mmvae_nb.using import impute
    m, x = of(answers("no", "yes")), np.array([[0.], [np.nan], [1.]])
    refused(lambda: impute(m, {"a": A[:3], "w": x}), "there={'w': ...}", starts="w: got nan among categories")
    filled = impute(m, {"a": A[:3], "w": np.array([[0], [0], [1]])}, {"w": np.array([True, False, True])})
    assert filled["w"][[0, 2]].tolist() == [[0], [1]]

def test_a_batch_of_no_items_is_no_training():
    empty = {"a": A[:0], "b": B[:0]}
    refused(lambda: train([empty]), "one item", starts="data: got a batch of the data of no items")
    refused(lambda: train([{"a": A, "b": B}, empty]), starts="data: got a batch of the data of no items")
    refused(lambda: train([{"a": A, "b": B}], validation=[empty]), starts="validation: got")
