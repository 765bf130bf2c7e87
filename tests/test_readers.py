"""Readers of data files: what is wrong with a file costs one line, no memory, and is never read as something else."""
import gzip, io, json, os, resource, shutil, warnings, zipfile

import numpy as np, pytest
from PIL import Image
from reader_helpers import FILES, READERS, choice, fresh, hurt, jpeg, mat, seeded
from scipy.io import savemat

from mmvae_nb.core import MmvaeError, decoded_image, read_at_most
from mmvae_nb.datasets import digits

@pytest.fixture
def put(empty):
    "put(reader): its small files, whole, in an empty data folder; gives the folder."
    def put(reader): fresh(reader, empty); return empty
    return put

def refused(reader, *words):
    with pytest.raises(MmvaeError) as e: list(READERS[reader][1]())
    text = str(e.value)
    assert "\n" not in text and len(text) < 500 and all(w in text for w in words), text
    return text

def rewritten(path, change):
    "Change the rows of a file of captions."
    rows = [json.loads(l) for l in gzip.open(path, "rt")]
    change(rows)
    with gzip.open(path, "wt") as f: f.writelines(json.dumps(r) + "\n" for r in rows)

@pytest.mark.parametrize("reader", READERS)
def test_whole_files_are_read_and_labels_fit_their_images(reader, put):
    put(reader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert min(READERS[reader][1]()) == 1

@pytest.mark.parametrize("reader", READERS)
def test_a_hundred_hurt_files(reader, put, monkeypatch, tmp_path):
    "A sample of what `make test-slow` does 3,000 times."
    rng, folder = seeded(reader, "few"), put(reader)
    files = [p for p in folder.rglob("*") if p.is_file()]
    outcomes = {"refused": 0, "read": 0}
    for i in range(100):
        path = choice(files, rng)
        whole = path.read_bytes()
        path.write_bytes(hurt(path, rng))
        monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/f"cache{i}"))
        try:
            with warnings.catch_warnings(): warnings.simplefilter("ignore"); shares = list(READERS[reader][1]())
            assert min(shares) > .7, (i, path, shares)
            outcomes["read"] += 1
        except MmvaeError as e:
            assert "\n" not in str(e) and len(str(e)) < 700, e
            outcomes["refused"] += 1
        path.write_bytes(whole); shutil.rmtree(tmp_path/f"cache{i}", ignore_errors=True)
    assert outcomes["refused"] > 25, outcomes


# ---- captions

@pytest.mark.parametrize("field, value, words", [
    ("captions", "abc", "captions of 001.Class_1/001.Class_1_0.jpg are no list"), ("captions", [], "are no list"),
    ("captions", ["a", 3], "a caption of"), ("captions", [" "], "a caption of"), ("captions", {"a": 1}, "are no list"),
    ("file", "../../../secret.jpg", "file is"), ("file", "/etc/x.jpg", "file is"),
    ("file", "a/..jpg/../b.jpg", "file is"),
    ("file", 3, "file is"), ("file", None, "file is"), ("file", "a/b.png", "file is"),
    ("class_id", 2, "class_id of"), ("class_disjoint_split", 7, "split of"),
    ("class_disjoint_split", "trainval", None)])
def test_a_wrong_field_of_a_bird_is_named(field, value, words, put):
    path = put("cub archive")/"CUB_200_2011"/"captions_text_c10.jsonl.gz"
    rewritten(path, lambda rows: rows[0].update({field: value}))
    if words is None: assert min(READERS["cub archive"][1]()) == 1
    else: refused("cub archive", "captions_text_c10.jsonl.gz", words)

@pytest.mark.parametrize("text", ["3", "null", "[]", '"x"', "{}", "[" * 100_000])
def test_a_row_of_another_form_is_one_line(text, put):
    path = put("cub archive")/"CUB_200_2011"/"captions_text_c10.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode()))
    refused("cub archive", "captions_text_c10.jsonl.gz")

def test_a_class_in_two_splits_and_a_bird_that_comes_twice(put):
    path = put("cub archive")/"CUB_200_2011"/"captions_text_c10.jsonl.gz"
    rewritten(path, lambda rows: rows[0].update(class_disjoint_split="test"))
    refused("cub archive", "a class is in two splits")
    put("cub archive")
    rewritten(path, lambda rows: rows.append(rows[3]))
    refused("cub archive", "1 birds come twice")

def test_missing_birds_are_counted(put):
    root = put("cub archive")/"CUB_200_2011"
    archive = root/"images_100classes_bboxcrop_128.zip"
    with zipfile.ZipFile(archive, "w") as z:
        for f, i, k in FILES[3:]: z.writestr(f"CUB_200_2011/images/{f}", jpeg(8*(2*i + k), (40, 40)))
    refused("cub archive", "3 images are missing, such as 001.Class_1/001.Class_1_0.jpg")
    rewritten(root/"captions_text_c10.jsonl.gz", lambda rows: [r.pop("has_image") for r in rows])
    with pytest.warns(UserWarning, match="3 of 30 birds that have captions have no image"):
        assert min(READERS["cub archive"][1]()) == 1

def test_an_image_outside_the_folder_is_not_read(put):
    "The layout of folders, with the file of captions: its names lead nowhere else."
    root = put("cub folder")
    (root/"secret.jpg").write_bytes(jpeg(7))
    rows = [dict(file="../../secret.jpg", class_disjoint_split="test", captions=["x"])]
    with gzip.open(root/"CUB_200_2011"/"captions_text_c10.jsonl.gz", "wt") as f: f.write(json.dumps(rows[0]) + "\n")
    refused("cub folder", "file is '../../secret.jpg'")

@pytest.mark.parametrize("where", ["images/x.jpg", "x.jpg", "a/x.jpg"])
def test_strange_members_of_an_archive_hurt_nobody(where, put):
    with zipfile.ZipFile(put("cub archive")/"CUB_200_2011"/"images_100classes_bboxcrop_128.zip", "a") as z:
        z.writestr(where, jpeg(3))
    assert min(READERS["cub archive"][1]()) == 1

@pytest.mark.parametrize("box", ["nan 5 40 40", "10 5 1e9 1e9", "-10 5 40 40", "10 5 0 0", "inf 0 1 1", "10 5 40",
                                 "x 1 2 3"])
def test_a_box_outside_its_image_is_named(box, put):
    path = put("cub folder")/"CUB_200_2011"/"bounding_boxes.txt"
    path.write_text(path.read_text().replace("1 10.0 5.0 40.0 40.0", f"1 {box}", 1))
    refused("cub folder", "box")

@pytest.mark.parametrize("name", ["images.txt", "bounding_boxes.txt"])
def test_lists_of_birds_that_are_shifted_are_seen(name, put):
    path = put("cub folder")/"CUB_200_2011"/name
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:3] + lines[4:]) + "\n")
    refused("cub folder", "other birds")


# ---- street numbers

@pytest.mark.parametrize("change, words", [
    (dict(photo=lambda v: np.where(v == 3, np.nan, v.astype(float))), "photo holds what is no whole number"),
    (dict(photo=lambda v: v.astype(np.int16)*-1), "photo holds"), (dict(photo=lambda v: v*0 + 1), "too few photos"),
    (dict(photo=lambda v: v + .5), "photo holds"), (dict(photo=lambda v: np.array(["a", "b"])), "photo is"),
    (dict(photo=lambda v: v[:0]), "photo is"), (dict(y=lambda v: np.array(["a", "b"])), "y is"),
    (dict(y=lambda v: v.astype(float)*np.inf), "y holds"), (dict(y=lambda v: v*0), "y holds"),
    (dict(y=lambda v: v.astype(int) + 1), "labels 2 to 11"), (dict(X=lambda v: v.astype(float)), "float64"),
    (dict(X=lambda v: v[..., :-1]), "60 labels")])
def test_wrong_arrays_of_the_subset_are_named(change, words, put):
    folder, arrays = put("svhn subset"), mat()
    for k, f in change.items(): arrays[k] = f(arrays[k])
    savemat(folder/"svhn"/"test_32x32_first10000.mat", arrays, do_compression=True)
    refused("svhn subset", "test_32x32_first10000.mat", words)

def test_mnist_files_in_each_others_place_and_a_changed_official_label(put, monkeypatch):
    raw = put("mnist")/"MNIST"/"raw"
    a, b = raw/"train-images-idx3-ubyte.gz", raw/"train-labels-idx1-ubyte.gz"
    whole = b.read_bytes(); shutil.copy(a, b)
    refused("mnist", "train-labels-idx1-ubyte")
    b.write_bytes(whole)
    monkeypatch.setitem(digits._official_bytes, "train-labels-idx1-ubyte", (68, "0"*64))
    refused("mnist", "train-labels-idx1-ubyte", "as long as the official file, and not it")

def test_a_pack_that_grows_without_end_is_stopped_early(put, monkeypatch):
    raw = put("mnist")/"MNIST"/"raw"
    monkeypatch.setattr(digits, "_most", 100_000)
    (raw/"t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    refused("mnist", "t10k-images-idx3-ubyte.gz", "more than 100000 bytes")


# ---- faces

@pytest.mark.parametrize("name, old, new, words", [
    ("identity_CelebA.txt", "000002.jpg 2\n", "000002.jpg 99999999999999999999\n", "whole numbers"),
    ("identity_CelebA.txt", "000002.jpg 2\n", "000002.jpg -2\n", "at least 0"),
    ("list_eval_partition.txt", "000002.jpg 0\n", "000002.jpg 7\n", "not (0, 1, 2)"),
    ("list_attr_celeba.txt", "000002.jpg -1", "000002.jpg 5", "not (-1, 1)"),
    ("all", "000002.jpg", "000001.jpg", "ascending"), ("all", "000002.jpg", "../../etc.jpg", "ascending"),
    ("all", "000001.jpg", "../../etc.jpg", "no image's name")])
def test_wrong_rows_of_faces_are_named(name, old, new, words, put):
    folder = put("celeba folder")/"celeba"
    for path in folder.glob("*.txt"):
        if name in ("all", path.name): path.write_text(path.read_text().replace(old, new, 1))
    refused("celeba folder", words)


# ---- bombs

def bomb(megapixels):
    out = io.BytesIO()
    Image.new("L", (10_000, megapixels*100)).save(out, "PNG", compress_level=1)
    return out.getvalue()

@pytest.mark.parametrize("megapixels", [20, 100, 178, 400])
def test_a_bomb_is_refused_before_it_is_unpacked(megapixels, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    data, before = bomb(megapixels), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MmvaeError, match="x.jpg: damaged"): decoded_image(data, "x.jpg")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000            # kilobytes

@pytest.mark.parametrize("reader, file", [("cub archive", "CUB_200_2011/images_100classes_bboxcrop_128.zip"),
                                          ("celeba archive", "celeba/img_align_celeba_first10000_89x109.zip")])
def test_a_huge_member_is_refused_unread(reader, file, put):
    path = put(reader)/file
    with zipfile.ZipFile(path) as z: members = [(n, z.read(n)) for n in z.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z:
        for i, (n, d) in enumerate(members):
            if i: z.writestr(n, d)
        with z.open(members[0][0], "w", force_zip64=True) as f:
            for _ in range(60): f.write(bytes(2**20))
    refused(reader, os.path.basename(file), "damaged")

def test_no_more_is_read_than_asked():
    assert read_at_most(io.BytesIO(b"abc"), 3, "p") == b"abc"
    f = io.BytesIO(bytes(100))
    with pytest.raises(MmvaeError, match="p: damaged or incomplete .more than 3 bytes"): read_at_most(f, 3, "p")
    assert f.tell() == 4

@pytest.mark.parametrize("data", [b"", b"x", b"GIF89a" + bytes(50), jpeg(3)[:200], b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_what_is_no_image_is_one_line(data):
    with pytest.raises(MmvaeError, match="^x.jpg: damaged") as e: decoded_image(data, "x.jpg")
    assert "\n" not in str(e.value)
