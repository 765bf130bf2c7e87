"Lessons 13 to 13b, faces: what their own asserts can't hold. Nothing here needs real data."
import io, json, zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import balanced_accuracy_score

import notebooks as nbs
from data_helpers import one_line, same_weights
from mmvae_nb.core import MmvaeError
from mmvae_nb.data import splits
from mmvae_nb.datasets import drawn_faces as D, faces as F
from mmvae_nb.judges import faces as J

A = D.drawn_attributes
HAIR = [A.index(a) for a in D.hair_states]


@pytest.fixture(scope="module")
def drawn():
    y = D.sample_attributes(1000, "tests")
    return D.draw_faces(y, "tests"), y


# ---- drawing and measuring

def test_every_attribute_is_measured_right(drawn):
    x, y = drawn
    assert ((D.measure_faces(x) == y).double().mean(0) > .99).all()
    assert torch.equal(D.measure_faces(x), D.measure_faces(x / 255))

@pytest.mark.parametrize("blur, noise, least", [(1, 0, .98), (1, .05, .95), (1.5, 0, .9)])
def test_measuring_survives_blur_and_noise(drawn, blur, noise, least):
    x, y = drawn
    z = gaussian_filter(x.numpy() / 255, (0, 0, blur, blur))
    z = np.clip(z + np.random.default_rng(0).normal(0, noise, z.shape), 0, 1)
    right = (D.measure_faces(torch.from_numpy(z).float()) == y).double().mean(0)
    assert (right > least).all(), dict(zip(A, right.tolist()))

def test_measuring_is_at_chance_on_shuffled_pairs(drawn):
    x, y = drawn
    p, other = y.double().mean(0), torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    right = (D.measure_faces(x) == y[other]).double().mean(0)
    assert ((right - p**2 - (1 - p)**2).abs() < .06).all()
    balanced = J.balanced_agreement(D.measure_faces(x), y[other], p.float()).mean()
    assert abs(balanced - .5) < .03

@pytest.mark.parametrize("a", [a for a in A if a not in D.hair_states])
def test_an_attribute_changes_its_own_measurement_and_no_other(drawn, a):
    y = drawn[1][~drawn[1][:, A.index("Bald")]][:200].clone()
    i = A.index(a)
    y[:, i] = False
    with_it = y.clone(); with_it[:, i] = True
    found = [D.measure_faces(D.draw_faces(v, "one attribute")) for v in (y, with_it)]
    changed = (found[0] != found[1]).double().mean(0)
    assert changed[i] > .98
    changed[i] = 0
    assert changed.max() < .02, dict(zip(A, changed.tolist()))

def test_what_no_attribute_names_varies(drawn):
    y = drawn[1][:1].expand(50, -1)
    x = D.draw_faces(y, "nuisances").float()
    assert (x.std(0) > 1).double().mean() > .95          # every place of the picture
    assert (D.measure_faces(x / 255) == y).all()

def test_shares_rules_and_company():
    y = D.sample_attributes(20_000, "shares")
    share = y.double().mean(0)
    assert share.min() > .1 and share.max() < .52
    assert (y[:, HAIR].sum(1) == 1).all()
    bald = y[:, A.index("Bald")]
    assert not y[bald][:, [A.index("Bangs"), A.index("Wearing_Hat")]].any()
    assert torch.corrcoef(y.double().T)[A.index("Mustache"), A.index("Wearing_Lipstick")] < -.3

def test_drawing_is_repeatable_and_leaves_the_global_streams_alone():
    torch.manual_seed(3); np.random.seed(3)
    y = D.sample_attributes(70, "same")
    first = D.draw_faces(y, "same")
    after = torch.rand(1), np.random.rand()
    torch.manual_seed(3); np.random.seed(3)
    assert (torch.rand(1), np.random.rand()) == after
    assert torch.equal(first, D.draw_faces(y, "same")) and torch.equal(y, D.sample_attributes(70, "same"))
    assert not torch.equal(y, D.sample_attributes(70, "other"))

@pytest.mark.parametrize("images", [torch.zeros(2, 1, 64, 64), torch.zeros(3, 64, 64), torch.zeros(2, 3, 32, 32)])
def test_only_faces_are_measured(images):
    with pytest.raises(MmvaeError) as e: D.measure_faces(images)
    assert one_line(e).startswith("images: got shape")

def test_black_and_white_pictures_are_measured_without_fuss():
    for v in (0., 1.): assert D.measure_faces(torch.full((2, 3, 64, 64), v)).shape == (2, 14)


# ---- text

def test_text_names_what_is_present_and_nothing_else():
    [s] = F.attribute_text([[True, False, True]], ["Big_Nose", "Bald", "5_o_Clock_Shadow"], start=3)
    assert s == "***big nose,5 o clock shadow" + "*" * (256 - 28)
    every = F.attribute_text(torch.eye(40).bool(), F.celeba_attributes)
    assert torch.equal(F.read_attributes(every, F.celeba_attributes), torch.eye(40).bool())
    assert set("".join(every)) <= set(F.text_alphabet) and len(set(F.text_alphabet)) == len(F.text_alphabet) == 30

def test_starts_are_spread_over_all_places():
    says = F.attribute_text(torch.ones(4000, 1).bool(), ["Bald"], length=8)     # five places
    starts = np.bincount([s.index("bald") for s in says], minlength=5)
    assert len(starts) == 5 and starts.min() > 700
    assert says == F.attribute_text(torch.ones(4000, 1).bool(), ["Bald"], length=8)
    assert says != F.attribute_text(torch.ones(4000, 1).bool(), ["Bald"], length=8, seed=1)

def test_a_name_without_room_is_left_out():
    [s] = F.attribute_text(torch.ones(1, 40).bool(), F.celeba_attributes)
    found = F.read_attributes([s], F.celeba_attributes)[0]
    n = int(found.sum())
    assert found[:n].all() and 15 < n < 40 and len(s) == 256

@pytest.mark.parametrize("text, found", [("bald,smiling", [1, 1]), ("  bald  ", [1, 0]), ("ba*ld", [0, 0]),
                                         ("bald smiling", [0, 0]), ("", [0, 0]), (",,*,smiling,", [0, 1]),
                                         ("smiling,smiling", [0, 1])])
def test_reading_is_a_string_match(text, found):
    assert F.read_attributes([text], ["Bald", "Smiling"]).tolist() == [found]


# ---- the data set

def test_texts_belong_to_their_faces():
    data = F.celeba("test", items=150)
    assert list(data.modalities) == ["image", "text"] and data.labels is None and not data.real
    batch, labels = data.take(150)
    said = F.read_attributes(data.modalities["text"].decode(batch["text"]), A)
    assert labels is None and ((D.measure_faces(batch["image"]) == said).double().mean() > .998)
    x, y = D.rendered_faces("test")
    where = {v.numpy().tobytes(): i for i, v in enumerate(x)}
    assert torch.equal(said, y[[where[v.numpy().tobytes()] for v in batch["image"]]])

def test_an_epoch_shows_each_face_once_with_one_of_its_texts():
    data = F.celeba("validation", items=40)
    index = data.pairs(0)
    assert sorted(index["image"].tolist()) == list(range(40))
    assert torch.equal(index["text"] // 3, index["image"])
    seen = {(i, t) for e in range(20) for i, t in zip(*(data.pairs(e)[m].tolist() for m in ["image", "text"]))}
    assert len(seen) > 115                               # nearly all 120 pairs in twenty epochs

def test_items_are_the_first_and_splits_differ():
    few, more = F.celeba("train", items=20), F.celeba("train", items=30)
    for m in ["image", "text"]: assert torch.equal(few.pools[m], more.pools[m][:len(few.pools[m])])
    first = {s: F.celeba(s, items=1).pools["image"] for s in splits}
    assert not torch.equal(first["train"], first["test"]) and not torch.equal(first["train"], first["validation"])
    for bad in [0, 2.5, "all"]:
        with pytest.raises(MmvaeError, match="^items: got"): F.celeba(items=bad)
    with pytest.raises(MmvaeError, match="^source: got"): F.celeba(source="drawn")
    with pytest.raises(MmvaeError, match="^split: got"): F.celeba("all")

def test_a_damaged_cache_is_drawn_anew(empty, monkeypatch):
    monkeypatch.setattr(D, "face_counts", dict.fromkeys(splits, 70))
    first = D.rendered_faces("test")[0]
    [path] = (empty.parent/"cache"/"data").glob("faces-test-*.npz")
    path.write_bytes(path.read_bytes()[:500])
    assert torch.equal(D.rendered_faces("test")[0], first)
    with np.load(path) as f: assert np.array_equal(f["x"], first.numpy())

def test_a_change_of_the_drawing_is_noticed(empty, monkeypatch):
    monkeypatch.setattr(D, "face_counts", dict.fromkeys(splits, 70))
    first = D.rendered_faces("test")[0]
    monkeypatch.setattr(D, "_worn", lambda *a: None)     # no glasses, no hats
    assert not torch.equal(D.rendered_faces("test")[0], first)


# ---- real files, made up

def jpeg(colour, size=(89, 109)):
    f = io.BytesIO()
    Image.new("RGB", size, tuple(colour)).save(f, "JPEG", quality=95)
    return f.getvalue()

def put_celeba(folder, n=120, layout="subset", parts=(0,)):
    "Small files in the true formats; the grey of an image is its number, persons have three images."
    folder = folder/"celeba"
    folder.mkdir(exist_ok=True)
    names = [f"{i + 1:06}.jpg" for i in range(n)]
    y = np.random.default_rng(0).random((n, 40)) < .3
    rows = [f"{name} " + " ".join("1" if v else "-1" for v in r) for name, r in zip(names, y)]
    (folder/"list_attr_celeba.txt").write_text("\n".join([str(n), " ".join(F.celeba_attributes), *rows, ""]))
    part, person = np.arange(n) * len(parts) // n, np.arange(n) // 3 + 7
    (folder/"list_eval_partition.txt").write_text("".join(f"{a} {parts[p]}\n" for a, p in zip(names, part)))
    (folder/"identity_CelebA.txt").write_text("".join(f"{a} {p}\n" for a, p in zip(names, person)))
    size = (89, 109) if layout == "subset" else (178, 218)
    images = {name: jpeg([2 * i % 256] * 3, size) for i, name in enumerate(names)}
    if layout == "folder":
        (folder/"img_align_celeba").mkdir()
        for name, b in images.items(): (folder/"img_align_celeba"/name).write_bytes(b)
    else:
        archive = "img_align_celeba_first10000_89x109.zip" if layout == "subset" else "img_align_celeba.zip"
        with zipfile.ZipFile(folder/archive, "w") as z:
            for name, b in images.items(): z.writestr(f"img_align_celeba/{name}", b)
    return folder, torch.from_numpy(y), torch.from_numpy(person)

def numbers(x): return (x.float().mean((1, 2, 3)) / 2).round().long()

@pytest.mark.parametrize("layout", ["subset", "folder", "zip"])
def test_real_faces_keep_their_rows_together(empty, layout):
    _, y, person = put_celeba(empty, layout=layout)
    seen = []
    for s in splits:
        x, attributes, who, rule = F.real_faces(s)
        i = numbers(x)
        assert torch.equal(attributes, y[i]) and torch.equal(who, person[i]) and "by person" in rule
        seen.append((set(i.tolist()), set(who.tolist())))
    assert set.union(*(i for i, _ in seen)) == set(range(120))
    for a in (0, 1): assert sum(len(v[a]) for v in seen) == len(set.union(*(v[a] for v in seen)))

def test_the_official_partition_is_used_where_all_of_it_is_there(empty):
    put_celeba(empty, layout="zip", parts=(0, 0, 1, 2))
    got = {s: numbers(F.real_faces(s)[0]).tolist() for s in splits}
    assert got == {"train": list(range(60)), "validation": list(range(60, 90)), "test": list(range(90, 120))}
    assert "official" in F.real_faces("test")[3]

def test_real_data_set(empty):
    _, y, person = put_celeba(empty)
    data = F.celeba("train", "real", items=50)
    assert data.real and len(data) == 50 and len(data.pools["text"]) == 150
    assert F.attribute_names(data) == F.celeba_attributes
    index = data.pairs(0)
    i = numbers(data.pools["image"])
    said = F.read_attributes(data.modalities["text"].decode(data.pools["text"]), F.celeba_attributes)
    assert torch.equal(said[index["text"]], y[i][index["image"]])
    for m in ["image", "text"]: assert len(data.groups[m]) == len(data.pools[m])
    assert torch.equal(data.groups["image"], person[i]) and torch.equal(data.groups["text"][::3], person[i])
    said = repr(data)
    assert "real" in said and "non-commercial" in data.terms["image"] and "by person" in data.split_rule

def test_images_are_decoded_once(empty, monkeypatch):
    put_celeba(empty)
    first = F.real_faces("test")[0]
    monkeypatch.setattr(F, "_read_images", lambda *a: pytest.fail("decoded again"))
    assert torch.equal(F.real_faces("test")[0], first)

@pytest.mark.parametrize("size", [(178, 218), (89, 109)])
def test_the_crop_is_the_middle_148_of_178(size):
    w, h = size
    x = np.zeros((h, w, 3), np.uint8)
    k = w / 178
    x[round(35 * k):round(183 * k), round(15 * k):round(163 * k)] = 255
    f = io.BytesIO(); Image.fromarray(x).save(f, "PNG")
    small = F._decode(f)
    assert small.shape == (3, 64, 64) and small[:, 2:-2, 2:-2].min() == 255
    f = io.BytesIO(); Image.fromarray(255 - x).save(f, "PNG")
    assert F._decode(f)[:, 2:-2, 2:-2].max() == 0

def test_absent_files_cost_one_line(empty):
    with pytest.raises(MmvaeError) as e: F.celeba(source="real")
    assert "img_align_celeba" in one_line(e) and "rendered" in one_line(e)
    folder, *_ = put_celeba(empty)
    (folder/"identity_CelebA.txt").unlink()
    with pytest.raises(MmvaeError) as e: F.celeba(source="real")
    assert "celeba/identity_CelebA.txt was not found" in one_line(e)

def cut(path): path.write_bytes(path.read_bytes()[:len(path.read_bytes()) // 2])
def edit(old, new): return lambda path: path.write_text(path.read_text().replace(old, new))

@pytest.mark.parametrize("name, spoil, why", [
    ("img_align_celeba_first10000_89x109.zip", cut, "damaged"),
    ("list_attr_celeba.txt", cut, "damaged"),
    ("list_attr_celeba.txt", edit("Bald", "Hairless"), "forty names"),
    ("list_attr_celeba.txt", edit("120\n", "121\n"), "120 rows, the first line says 121"),
    ("list_attr_celeba.txt", edit("-1", "no"), "whole numbers"),
    ("identity_CelebA.txt", edit("000007.jpg", "000777.jpg"), "not the rows of list_attr_celeba.txt"),
    ("list_eval_partition.txt", cut, "damaged")])
def test_damaged_files_are_named(empty, name, spoil, why):
    folder, *_ = put_celeba(empty)
    spoil(folder/name)
    with pytest.raises(MmvaeError) as e: F.real_faces("train")
    assert name in one_line(e) and why in one_line(e)
    assert not list((empty.parent/"cache").rglob("celeba-*"))

def test_an_image_that_is_missing_is_named(empty):
    folder, *_ = put_celeba(empty, layout="folder")
    (folder/"img_align_celeba"/"000010.jpg").unlink()
    with pytest.raises(MmvaeError) as e: [F.real_faces(s) for s in splits]
    assert "000010.jpg" in one_line(e)


# ---- judging

def test_balanced_agreement_is_balanced_accuracy():
    rng = np.random.default_rng(0)
    y, found = (torch.from_numpy(rng.random((400, 5)) < p) for p in (np.linspace(.05, .6, 5), .5))
    want = np.mean([balanced_accuracy_score(y[:, a], found[:, a]) for a in range(5)])
    per_item = J.balanced_agreement(found, y, y.float().mean(0))
    assert per_item.shape == (400,) and abs(per_item.mean() - want) < 1e-5
    assert torch.equal(per_item[:3], J.balanced_agreement(found[:3], y[:3], y.float().mean(0)))
    assert (J.balanced_agreement(y, y, y.float().mean(0)) == 1).all()

@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    with pytest.MonkeyPatch.context() as m:
        m.setenv("MMVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        m.setattr(D, "face_counts", dict(train=300, validation=80, test=80))
        yield J.FaceJudge(F.celeba("train"), F.celeba("validation"), updates=15, width=8), F.celeba("test")

def test_scores_of_images(judge):
    judge, test = judge
    batch, _ = test.take(60)
    scores = judge.scores("image", batch["image"] / 255, batch)
    assert set(scores) == {"attribute_agreement", "attribute_measured"}
    for v in scores.values(): assert v.shape == (60,) and v.dtype == torch.float32
    assert scores["attribute_measured"].mean() > .99
    wrong = judge.scores("image", batch["image"].roll(1, 0) / 255, batch)
    assert wrong["attribute_measured"].mean() < .65
    some = {m: v[:7] for m, v in batch.items()}         # no item's score depends on its neighbours
    alone = judge.scores("image", some["image"] / 255, some)
    for k in scores: torch.testing.assert_close(alone[k], scores[k][:7])
    with pytest.raises(MmvaeError, match="^to: got"): judge.scores("sound", batch["image"], batch)

def test_scores_of_texts(judge):
    judge, _ = judge
    say = lambda *strings: judge.text.encode([s.ljust(256, "*") for s in strings])
    true = say("bald,smiling", "bald,smiling", "bald,smiling", "bald,smiling")
    scores = judge.scores("text", say("**smiling,bald", "bald", "bald,smiling,happy", ""), {"text": true})
    assert set(scores) == {"attribute_match", "attribute_exact", "text_valid"}
    p = judge.shares[[A.index("Bald"), A.index("Smiling")]]
    cost = .5 / p / 14                                   # of missing the one and the other
    torch.testing.assert_close(scores["attribute_match"], torch.stack(
        [torch.tensor(1.), 1 - cost[1], torch.tensor(1.), 1 - cost.sum()]))
    assert scores["attribute_exact"].tolist() == [1, 0, 1, 0]
    torch.testing.assert_close(scores["text_valid"], torch.tensor([1, 1, 2 / 3, 0]))

def test_the_judge_learns_and_says_how_good_it_is(judge):
    judge, _ = judge
    facts = json.loads(json.dumps(judge.facts()))
    for a in ["mean", *A]: assert {f"{k}, {a}" for k in ["accuracy", "majority", "balanced accuracy"]} <= set(facts)
    assert all(isinstance(v, (int, float)) for v in facts.values()) and facts["validation images"] == 80
    assert facts["balanced accuracy, mean"] > .58        # after fifteen updates, where a guess has a half
    x, y = J._true_attributes(judge.validation)
    want = np.mean([balanced_accuracy_score(y[:, i], judge.verdict(x)[:, i]) for i in range(14)])
    assert abs(facts["balanced accuracy, mean"] - want) < 1e-6
    f = judge.features["image"]
    assert f.features(x).shape == (80, 64) and "attribute" in f.name

def test_a_judge_comes_from_the_cache(judge, monkeypatch):
    judge, _ = judge
    train = F.celeba("train")
    monkeypatch.setattr(J, "fit_judge", lambda *a, **k: pytest.fail("trained again"))
    assert same_weights(judge.net, J.attribute_classifier(train, updates=15, width=8))
    with pytest.raises(pytest.fail.Exception): J.attribute_classifier(train, updates=15, width=8, seed=1)

def test_a_judge_without_validation_has_no_facts(judge):
    train = F.celeba("train")
    with pytest.raises(MmvaeError, match="^validation: got None"):
        J.FaceJudge(train, updates=15, width=8).facts()


# ---- no real face is shown

@pytest.mark.parametrize("lesson", ["13_faces", "13a_drawn_faces", "13b_photographed_faces"])
def test_a_lesson_opens_no_real_image(lesson):
    cells = nbs.read(nbs.ROOT/"nbs"/f"{lesson}.ipynb")["cells"]
    code = [nbs.source(c) for c in cells if c["cell_type"] == "code"]
    own = "\n".join(c for c in code if "#| export" not in c)
    assert "celeba(" in own or "draw_faces(" in own
    for word in ["real_faces", "_read_images", "_decode", "'real'", '"real"']: assert word not in own, word
