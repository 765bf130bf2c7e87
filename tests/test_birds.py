"""Birds and captions: the drawn truth, the official files in small, tokens, text likelihood, judges."""
import gzip, io, json, math, zipfile
from collections import Counter
from itertools import combinations
import numpy as np, pytest, torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from PIL import Image
from mmvae_nb.core import MmvaeError, generator
from mmvae_nb.data import Modality, as_float, splits
from mmvae_nb.datasets.birds import _cub_split, _stretched, caption_tokens, caption_vocabulary, cub, real_birds
from mmvae_nb.datasets.drawn_birds import (bird_attributes, bird_captions, bird_colours, bird_masks, draw_birds,
                                           measure_birds, read_captions)
from mmvae_nb.judges.birds import BirdJudge, CaptionFeatures, Trigrams, caption_colours, colour_counts, main_colour
from mmvae_nb.text import CaptionDecoder, CaptionEncoder, CaptionLikelihood, Plan, cub_specs

def some(n, *names):
    return {a: torch.randint(len(v), (n,), generator=generator(a, *names)) for a, v in bird_attributes.items()}

# ---- drawing and measuring

def test_a_drawing_is_repeatable_and_its_nuisance_depends_on_the_seed():
    a = some(20)
    x = draw_birds(a, "s")
    assert x.dtype == torch.uint8 and x.shape == (20, 3, 64, 64) and torch.equal(x, draw_birds(a, "s"))
    assert (x != draw_birds(a, "t")).float().mean() > 0.5

@pytest.mark.parametrize("how, least", [("plain", 0.99), ("blurred", 0.95), ("noisy", 0.97),
                                        ("half as contrasty", 0.80)])
def test_attributes_are_measured_back(how, least):
    a = some(500, "measure")
    x = as_float(draw_birds(a, "measure"))
    if how == "blurred": x = F.avg_pool2d(F.pad(x, (2,)*4, mode="replicate"), 5, 1)
    if how == "noisy": x = (x + 0.08*torch.randn(x.shape, generator=generator("noise"))).clamp(0, 1)
    if how == "half as contrasty": x = 0.8*(x - 0.5) + 0.5
    found = measure_birds(x)
    for name, v in a.items(): assert (found[name] == v).float().mean() >= least, name

def test_measuring_is_at_chance_on_shuffled_pairs():
    a = some(1500, "shuffled")
    found = measure_birds(draw_birds(a, "shuffled").roll(1, 0))
    for name, v in a.items():
        chance = 1/len(bird_attributes[name])
        assert abs((found[name] == v).float().mean().item() - chance) < 4*math.sqrt(chance*(1 - chance)/1500), name

def test_a_measured_colour_is_the_nearest_to_the_mean_of_the_part():
    "Against a brute-force mean over the part's own pixels, where the bird's place is known."
    a = {k: torch.tensor([0]) for k in bird_attributes} | {"belly": torch.tensor([3])}
    masks = bird_masks(torch.tensor([3.]), torch.tensor([0.]), a["size"], a["bill"])
    front = sum(masks[p] for p in ("wing", "head", "bill", "legs"))
    x = as_float(draw_birds(a, "one"))[0]
    mean = x[:, (masks["belly"][0] > .95) & (front[0] < .05)].mean(1)
    colours = torch.tensor(list(bird_colours.values()))/255
    assert int((colours - mean).square().sum(1).argmin()) == 3 == int(measure_birds(x[None])["belly"])

# ---- captions

def test_captions_say_nothing_false_and_always_name_the_belly():
    a = some(200, "captions")
    said = read_captions(bird_captions(a, 3, 0))
    for name, v in said.items():
        told, true = v >= 0, a[name].repeat_interleave(3)
        assert torch.equal(v[told], true[told]) and told.float().mean() > 0.3, name
    assert (said["belly"] >= 0).all()

def test_reading_the_first_of_contradicting_mentions():
    said = read_captions(["a red belly and a blue belly", "nothing of the kind", "wings that are white , black wings"])
    names = list(bird_colours)
    assert said["belly"].tolist() == [names.index("red"), -1, -1]
    assert said["wing"].tolist() == [-1, -1, names.index("white")]

def test_the_vocabulary_is_that_of_words_seen_often_enough():
    lines = ["Red red, RED", "red blue", "blue. blue; blue", "grey"]
    assert caption_vocabulary(lines, more_than=3) == ("<pad>", "<unk>", "<end>", "blue", "red")
    assert caption_vocabulary(lines, more_than=4) == ("<pad>", "<unk>", "<end>")

@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("a bird red blue with and unseen".split()), max_size=45))
def test_tokens_come_back_as_words(words):
    m = Modality("text", "text", (32,), ("<pad>", "<unk>", "<end>", "a", "bird", "red", "blue", "with", "and"))
    row = caption_tokens(m, [" ".join(words)])[0].tolist()
    kept = words[:31]
    assert len(row) == 32 and row[len(kept)] == 2 and set(row[len(kept) + 1:]) <= {0}
    assert m.decode(torch.tensor([row])) == [" ".join(w if w != "unseen" else "<unk>" for w in kept)]

# ---- the data set

@pytest.mark.parametrize("split", splits)
def test_a_drawn_split(split):
    data = cub(split, items=60)
    images, labels = data.items("image")
    assert len(data) == 60 and images.shape == (60, 3, 64, 64) and len(data.items("text")[0]) == 300 and not data.real
    batch, y = data.take(60)
    found, said = measure_birds(batch["image"]), read_captions(data.modalities["text"].decode(batch["text"]))
    for a, v in said.items(): assert (found[a] == v)[v >= 0].float().mean() > 0.95, a     # of its own bird
    colour = lambda part, i: bird_attributes[part][found[part][i]]
    name = lambda i: f"{colour('belly', i)}-bellied {colour('wing', i)}-wing"
    assert sum(data.class_names[int(y[i])] == name(i) for i in range(60)) >= 57

def test_no_species_is_in_two_splits_and_colours_are_in_all():
    species = {s: {d.class_names[i] for i in d.labels["image"].tolist()} for s in splits for d in [cub(s)]}
    for a, b in combinations(splits, 2): assert not species[a] & species[b], (a, b)
    for s in splits:
        for part in (0, 1): assert {name.split()[part].split("-")[0] for name in species[s]} == set(bird_colours)

def test_epochs_draw_other_captions_of_the_same_bird():
    data = cub("validation", items=40)
    drawn = [data.pairs(e) for e in range(12)]
    owner = data.keys["text"]
    assert all(torch.equal(owner[i["text"]], i["image"]) for i in drawn)
    assert len({t for i in drawn for t in i["text"].tolist()}) > 150                  # of 200

def jpeg(seed, size=(128, 128)):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(out, "JPEG")
    return out.getvalue()

CLASSES = [f"{i:03d}.Class_{i}" for i in range(1, 16)]

@pytest.fixture
def files(tmp_path, monkeypatch):
    "The subset in small: 15 classes, 3 for the test, 2 photographs each; a third has captions only."
    root = tmp_path/"data"/"CUB_200_2011"
    root.mkdir(parents=True)
    rows = [dict(file=f"{c}/{c}_{k}.jpg", class_disjoint_split="test" if i >= 12 else "trainval",
                 captions=[f"A red bird number{'abc'[k]}, seen"]*4)
            for i, c in enumerate(CLASSES) for k in range(3)]
    with gzip.open(root/"captions_text_c10.jsonl.gz", "wt", encoding="utf-8") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    with zipfile.ZipFile(root/"images_100classes_bboxcrop_128.zip", "w") as z:
        for i, r in enumerate(rows):
            if not r["file"].endswith("_2.jpg"): z.writestr(f"CUB_200_2011/images/{r['file']}", jpeg(i))
    monkeypatch.setenv("MMVAE_DATA", str(tmp_path/"data")); monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path/"data"

def test_the_subset_is_read_and_split_by_class(files):
    sets = {s: cub(s, "real") for s in splits}
    assert {s: len(d) for s, d in sets.items()} == {"train": 22, "validation": 2, "test": 6}
    assert sets["test"].class_names == CLASSES[12:] and sets["validation"].class_names == [CLASSES[5]]
    assert sets["train"].real
    words = sets["test"].modalities["text"].vocabulary
    assert words == sets["train"].modalities["text"].vocabulary
    assert "numberc" not in words and "red" in words                     # _2 has no photograph
    x = sets["train"].items("image")[0]
    want = np.asarray(Image.open(io.BytesIO(jpeg(0))).convert("RGB").resize((64, 64), Image.LANCZOS)).transpose(2, 0, 1)
    assert np.array_equal(x[0].numpy(), want)
    assert torch.equal(cub("train", "real").items("image")[0], x)        # again, from the cache

def test_the_official_layout_is_read_and_cut_to_the_box(files):
    root = files/"CUB_200_2011"
    (root/"captions_text_c10.jsonl.gz").unlink(); (root/"images_100classes_bboxcrop_128.zip").unlink()
    lines, boxes = [], []
    for i, c in enumerate(CLASSES):
        (root/"images"/c).mkdir(parents=True); (files/"text_c10"/c).mkdir(parents=True)
        (root/"images"/c/"a.jpg").write_bytes(jpeg(i, (90, 70)))
        (files/"text_c10"/c/"a.txt").write_text("a red bird\na blue bird\n")
        lines.append(f"{i + 1} {c}/a.jpg"); boxes.append(f"{i + 1} 10.0 5.0 40.0 60.0")
    (root/"images.txt").write_text("\n".join(lines) + "\n")
    (root/"bounding_boxes.txt").write_text("\n".join(boxes) + "\n")
    (files/"testclasses.txt").write_text("\n".join(CLASSES[12:]) + "\n")
    test = cub("test", "real")
    assert len(test) == 3 and test.class_names == CLASSES[12:]
    whole = Image.open(io.BytesIO(jpeg(12, (90, 70)))).convert("RGB")
    cut = whole.crop((10, 5, 50, 65)).resize((64, 64), Image.LANCZOS)
    assert np.array_equal(test.items("image")[0][0].numpy(), np.asarray(cut).transpose(2, 0, 1))

@pytest.mark.parametrize("damage, words", [
    ("no captions", ["cub: real data asked for", "captions_text_c10.jsonl.gz"]),
    ("no images", ["cub: real data asked for", "images_100classes"]),
    ("captions cut", ["captions_text_c10.jsonl.gz", "damaged"]), ("zip cut", ["images_100classes", "damaged"]),
    ("jpeg cut", ["001.Class_1", "damaged"]),
    ("one byte", ["images_100classes", "001.Class_1/001.Class_1_1.jpg", "damaged"]),
    ("one byte, packed", ["images_100classes", "001.Class_1/001.Class_1_1.jpg", "damaged"])])
def test_absent_or_damaged_files_are_one_line(damage, words, files):
    root = files/"CUB_200_2011"
    captions, images = root/"captions_text_c10.jsonl.gz", root/"images_100classes_bboxcrop_128.zip"
    if damage == "no captions": captions.unlink()
    if damage == "no images": images.unlink()
    if damage == "captions cut": captions.write_bytes(captions.read_bytes()[:200])
    if damage == "zip cut": images.write_bytes(images.read_bytes()[:2000])
    if damage == "jpeg cut":
        with zipfile.ZipFile(images, "w") as z:
            for c in CLASSES: z.writestr(f"CUB_200_2011/images/{c}/{c}_0.jpg", jpeg(0)[:500])
    if "one byte" in damage:                                               # of the second image's data
        with zipfile.ZipFile(images, "w", zipfile.ZIP_DEFLATED if "packed" in damage else zipfile.ZIP_STORED) as z:
            for c in CLASSES:
                for k in "01": z.writestr(f"CUB_200_2011/images/{c}/{c}_{k}.jpg", jpeg(0))
            at = z.infolist()[2].header_offset - 2000
        whole = bytearray(images.read_bytes()); whole[at] ^= 0xff
        images.write_bytes(whole)
    with pytest.raises(MmvaeError) as e: cub("train", "real")
    assert all(w in str(e.value) for w in words) and "\n" not in str(e.value)

@pytest.mark.parametrize("change", ["order", "names"])
def test_the_cache_does_not_give_an_image_to_another_caption(change, files):
    "The same archive, as many captions: in another order, or of other birds."
    cub("train", "real")
    path = files/"CUB_200_2011"/"captions_text_c10.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as f: rows = [json.loads(l) for l in f]
    if change == "order": rows.reverse()
    else: rows[0]["file"], rows[1]["file"] = rows[1]["file"], rows[0]["file"]
    for i, r in enumerate(rows): r["captions"] = [f"{'red blue green'.split()[i % 3]} bird"]*4
    with gzip.open(path, "wt", encoding="utf-8") as f: f.writelines(json.dumps(r) + "\n" for r in rows)
    x, _, captions = real_birds("train")
    said = {r["file"]: r["captions"] for r in rows}
    def of(i, k): return _stretched(jpeg(3*i + k)), said[f"{CLASSES[i]}/{CLASSES[i]}_{k}.jpg"]
    for image, words in [of(0, 0), of(0, 1), of(3, 1)]:
        [at] = [n for n in range(len(x)) if np.array_equal(x[n].numpy(), image)]
        assert captions[at] == words

def test_a_split_of_classes_is_disjoint_and_keeps_the_published_test_classes():
    part = _cub_split({f"{i:03d}" for i in range(200)}, {f"{i:03d}" for i in range(0, 200, 4)})
    assert Counter(part.values()) == {"train": 136, "validation": 14, "test": 50}
    assert all(part[f"{i:03d}"] == "test" for i in range(0, 200, 4))

# ---- the text likelihood

@pytest.fixture
def writer():
    torch.manual_seed(0)
    return CaptionDecoder(6, 9, 16, features=16, window=3).eval()

def test_text_probabilities_sum_to_one_over_all_texts():
    "Brute force: all texts of two places over three tokens, scored by chaining; a plan cut to two places."
    torch.manual_seed(0)
    d = CaptionDecoder(4, 3, 16, features=8, window=2).eval()
    plan = Plan(d, d.plan(torch.randn(1, 4)).transpose(1, 2)[:, :2])
    texts = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    many = Plan(d, plan.vectors.expand(9, -1, -1))
    assert abs(CaptionLikelihood().log_prob(texts, many).exp().sum().item() - 1) < 1e-5

def test_padding_does_not_count_and_later_words_do_not_leak(writer):
    z, x = torch.randn(5, 6), torch.randint(3, 9, (5, 16))
    x[:, 9], x[:, 10:] = 2, 0
    lk, plan = CaptionLikelihood(0, (0, 1), 2), writer(z)
    each = plan.logits(x).log_softmax(-1)
    by_hand = torch.stack([each[:, l].gather(1, x[:, l:l + 1])[:, 0] for l in range(10)]).sum(0)
    torch.testing.assert_close(lk.log_prob(x, plan), by_hand)
    y = x.clone(); y[:, 7] = (y[:, 7] - 2) % 6 + 3
    a, b = plan.logits(x), plan.logits(y)
    assert torch.equal(a[:, :8], b[:, :8]) and not torch.allclose(a[:, 8:11], b[:, 8:11])
    torch.testing.assert_close(a[:, 11:], b[:, 11:])                     # three places on, the window has passed
    lonely = torch.stack([lk.log_prob(x[i:i + 1], writer(z[i:i + 1]))[0] for i in range(5)])
    torch.testing.assert_close(lonely, lk.log_prob(x, plan))             # no item depends on its neighbours

def test_written_text_ends_and_holds_no_banned_token(writer):
    lk, plan = CaptionLikelihood(0, (0, 1), 2), writer(torch.randn(300, 6))
    for text in (lk.mean(plan), lk.sample(plan, torch.Generator().manual_seed(0))):
        for row in text.tolist():
            inner = row[:row.index(2)] if 2 in row else row
            assert not {0, 1, 2} & set(inner) and set(row[len(inner) + 1:]) <= {0}

def test_samples_have_the_frequencies_of_the_scores(writer):
    plan = writer(torch.randn(1, 6).expand(4000, -1))
    text = CaptionLikelihood(0, (0, 1), None).sample(plan, torch.Generator().manual_seed(1))
    p = plan.logits(text)[0, 0].detach()
    p[:2] = -torch.inf
    counts = text[:, 0].bincount(minlength=9)/4000
    assert (counts - p.softmax(0)).abs().max() < 0.03

def test_words_are_hidden_while_training_only(writer):
    z, x = torch.randn(4, 6), torch.randint(9, (4, 16))
    assert torch.equal(writer(z).logits(x), writer(z).logits(x))
    writer.train(); writer.drop = 0.9
    assert not torch.equal(writer(z).logits(x), writer(z).logits(x))

def test_an_end_mark_wants_padding_to_follow_it():
    with pytest.raises(MmvaeError, match=r"pad: got None, allowed: .*end mark \(2\)"): CaptionLikelihood(end=2)

def test_two_texts_keep_their_own_vocabularies_and_lengths():
    "Networks are made after the loop over the modalities has ended."
    words = lambda n: ("<pad>", "<unk>", "<end>", *map(str, range(n)))
    sizes = {"short": (16, 2), "long": (64, 9)}
    modalities = {n: Modality(n, "text", (length,), words(k)) for n, (length, k) in sizes.items()}
    specs = cub_specs(modalities)
    for name, m in modalities.items():
        x, spec = torch.randint(m.num_tokens, (3, *m.shape)), specs[name]
        encoder, decoder = spec.encoder(), spec.decoder(4)
        assert encoder.embedding.num_embeddings == decoder.out.out_features == m.num_tokens
        assert encoder(x).shape == (3, spec.features)
        assert decoder(torch.randn(3, 4)).logits(x).shape == (3, *m.shape, m.num_tokens)

@pytest.mark.parametrize("length", [8, 20, 40])
def test_other_text_lengths_are_refused(length):
    with pytest.raises(MmvaeError, match="text length: got"): CaptionEncoder(9, length)

# ---- judging

def test_colours_named_and_the_main_one():
    m = Modality("text", "text", (32,), ("<pad>", "<unk>", "<end>", "red", "blue", "gray", "grey", "bird", "and"))
    x = caption_tokens(m, ["red and blue and blue bird", "gray and grey and red", "bird", "blue and red"])
    counts = colour_counts(x, m)
    named = lambda row: {caption_colours[i]: int(c) for i, c in enumerate(row) if c}
    assert [named(r) for r in counts] == [{"red": 1, "blue": 2}, {"grey": 2, "red": 1}, {}, {"blue": 1, "red": 1}]
    main = [caption_colours[i] if i >= 0 else None for i in main_colour(x, m).tolist()]
    assert main == ["blue", "grey", None, "blue"]

def test_trigrams_against_counts_by_hand():
    end = 2
    train = torch.tensor([[3, 4, end, 0], [3, 5, end, 0], [3, 4, end, 0]])
    language = Trigrams(train, 6, shares=(.6, .25, .1))
    rest = .05/6
    p3 = .6*1 + .25*1 + .1*(3/9) + rest             # the first word is always 3
    p4 = .6*(2/3) + .25*(2/3) + .1*(2/9) + rest     # 4 after 3
    p_end = .6*1 + .25*1 + .1*(3/9) + rest
    want = math.exp(-(math.log(p3) + math.log(p4) + math.log(p_end))/3)
    assert abs(language.perplexity(torch.tensor([[3, 4, end, 0]])) - want) < 1e-9
    assert language.perplexity(torch.tensor([[4, 3, end, 0]])) > 3*want

def test_weighted_caption_vectors_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("MMVAE_CACHE", str(tmp_path))
    data = cub("validation", items=30)
    f = CaptionFeatures(data, a=1e-2, size=12)
    tokens = data.items("text")[0][:7]
    words = data.items("text")[0].flatten()
    p = {int(t): float((words == t).sum()/(words > 2).sum()) for t in words.unique()}
    rows = []
    for row in tokens.tolist():
        inner = [t for t in row if t > 2]
        v = sum(1e-2/(1e-2 + p[t])*f.vectors[t] for t in inner)/len(inner)
        rows.append(v - f.first*(v@f.first))
    np.testing.assert_allclose(f(tokens), np.stack(rows), atol=1e-5)
    np.testing.assert_allclose(f(tokens)@f.first, 0, atol=1e-5)

@pytest.fixture(scope="module")
def judged():
    train, test = cub("train", items=400), cub("test", items=200)
    judge = BirdJudge(train, cub("validation", items=100), updates=30, width=8)
    return judge, test, test.take(200)[0]

def test_true_pairs_score_high_and_shuffled_pairs_do_not(judged):
    judge, test, batch = judged
    for to in ("image", "text"):
        real, mixed = judge.scores(to, batch[to], batch), judge.scores(to, batch[to].roll(1, 0), batch)
        assert real["attributes_right"].mean() > 0.95 and real["belly_right"].mean() > 0.95
        assert abs(mixed["belly_right"].mean() - 1/6) < 0.12 and mixed["attributes_right"].mean() < 0.5
        assert set(judge.by_chance) <= set(real)
    assert real["main_colour"].mean() == 1 and real["pad_runs"].sum() == 0

def test_runs_of_padding_are_counted(judged):
    judge, test, batch = judged
    broken = batch["text"].clone(); broken[:, 2:4] = 0
    assert judge.scores("text", broken, batch)["pad_runs"].mean() == 1

def test_what_a_caption_does_not_say_is_not_scored(judged):
    judge, test, batch = judged
    silent = caption_tokens(test.modalities["text"], ["this bird has a bird"]*200)
    assert judge.scores("text", silent, batch)["attributes_right"].sum() == 0

def test_facts_are_numbers(judged):
    facts = judged[0].facts()
    assert all(0 <= v <= 1 for v in facts.values()) and len(facts) == 4

@pytest.mark.cuda
def test_judges_take_data_on_an_accelerator(device="cuda"):
    train, validation, test = (cub(s, items=60, device=device) for s in ("train", "validation", "test"))
    judge, (batch, _) = BirdJudge(train, validation, updates=2, width=8, device=device), test.take(60)
    for to in batch: assert judge.scores(to, batch[to], batch)["attributes_right"].shape == (60,)
    assert len(judge.facts()) == 4


# ---- text that may start anywhere (lesson 13)

def test_an_encoder_of_text_that_starts_anywhere_does_not_see_where():
    torch.manual_seed(0)
    e = CaptionEncoder(6, 64, features=8, anywhere=True).eval()
    x = torch.zeros(1, 64, dtype=torch.long)
    x[0, 16:20] = torch.tensor([3, 4, 5, 3])
    assert e(x).shape == (1, e.features)
    first = e(x) - e(torch.zeros_like(x))
    assert first.abs().max() > 1e-3                              # what is said is seen
    far = e(x.roll(24, 1)) - e(x)              # a multiple of the three strides: only the borders can tell
    assert far.abs().max() < 0.2*first.abs().max()

def test_the_likeliest_start_is_found_as_by_brute_force():
    "Over all starts: the probability that nothing is written before, and something there."
    torch.manual_seed(1)
    d = CaptionDecoder(4, 5, 16, features=8, window=3, anywhere=True).eval()
    with torch.no_grad():
        d.out.weight.mul_(3); d.places.normal_()
        plan = d(torch.randn(20, 4))
        text = CaptionLikelihood(blank=0).mean(plan)
        p = plan.logits(torch.zeros(20, 16, dtype=torch.long)).softmax(-1)[:, :, 0].double()
    for i in range(20):
        chance = [math.prod(p[i, :l].tolist())*(1 - p[i, l].item()) for l in range(16)]
        start = int(np.argmax(chance))
        assert not text[i, :start].any() and text[i, start] != 0, i
