# %% [markdown]
# # Photographed birds
#
# > `cub` gives birds and captions, drawn or real: tokens, files, a split by class.
#
# ::: {.callout-note}
# ## You will learn
#
# - how captions are cut into words, and which words are known;
# - how the files of Caltech-UCSD Birds are read, cropped and split by class;
# - how `cub` gives either source in the same form.
#
# Runs in a few seconds on a laptop CPU. This is workshop: [lesson 12](12_birds.ipynb) only needs its last function.
# :::

# %% [markdown]
# ![Drawing: a grid of six belly colours by six wing colours; 24 pairs are for training, six for the test, six for validation, none in two splits.](drawings/species.svg)

# %%
#| default_exp datasets.birds

# %%
#| export
import gzip, json, re, warnings, zipfile, zlib
from collections import Counter
from functools import partial
import numpy as np
import torch
from mmvae_nb.core import *
from mmvae_nb.data import *
from mmvae_nb.datasets.drawn_birds import bird_attributes, drawn_birds

# %%
from mmvae_nb.plotting import generation_grid, set_style

set_style()

# %% [markdown]
# ## Words to tokens
#
# Captions become rows of 32 numbers. Three decisions hide in that, and each can go wrong:
#
# - *The vocabulary* holds the words seen more than three times in the captions of the **training** split. Others become the mark `<unk>`.
# - *The end* has a mark of its own, `<end>`, and is learnt like any word.
# - *Padding* fills the row after the end. It says nothing about the bird, so it must not count in the likelihood. Nearly half of a row is padding (a caption has
#   17 words on average); a model that is scored on it learns padding first, and may write it in the middle of a caption.

# %%
#| exports
CAPTION_LENGTH = 32                                  # tokens, the end mark included
_special = ("<pad>", "<unk>", "<end>")

def caption_words(caption # a string, as somebody wrote it
                 ) -> list: # of strings
    "Lower-case words and commas."
    return re.findall(r"[a-z]+|,", caption.lower().replace("�", " "))

def caption_vocabulary(captions, # strings, of the training split only
                       more_than=3 # how often a word must be seen
                      ) -> tuple: # words, the commonest first, after the marks
    "The words that captions are written with."
    counts = Counter(w for c in captions for w in caption_words(c))
    kept = [w for w, n in counts.items() if n > more_than]
    return _special + tuple(sorted(kept, key=lambda w: (-counts[w], w)))

def caption_tokens(modality, # the `Modality` of the captions
                   captions # strings
                  ) -> torch.Tensor: # int64 (n, CAPTION_LENGTH)
    "Tokens of captions; what is too long is cut, the end mark stays."
    return modality.encode([" ".join(caption_words(c)[:CAPTION_LENGTH - 1]) for c in captions])


# %%
words = caption_vocabulary(["A red bird.", "a red Bird, small", "red red"], more_than=1)
m = Modality("text", "text", (CAPTION_LENGTH,), words)
row = caption_tokens(m, ["A red, red parrot"])[0]
assert words == ("<pad>", "<unk>", "<end>", "red", "a", "bird")
assert m.decode(row[None]) == ["a red <unk> red <unk>"]      # the comma and the parrot are unknown
assert row[:7].tolist() == [4, 3, 1, 3, 1, 2, 0]
[words[t] for t in row[:8]]

# %% [markdown]
# ## One data set, two sources
#
# A *species* of drawn bird is a pair of belly and wing colour. Test species are never seen in training: each of their two colours is,
# but not together. So a model that has learnt a list of birds by heart fails, and one that has learnt what "belly" and "wing" mean does not.
# Real birds are split likewise, by the published list of test classes; every eleventh of the other classes is kept for validation.
#
# What makes a pair is not a class but the bird itself: photograph and caption share the number of the photograph (`keys` of [lesson 02a](02a_data.ipynb#pairs-by-class)), and each epoch draws
# one of the captions anew. `real_birds` reads the official archive (photographs cut to their bounding box and stretched to a square, as is
# customary) or a subset of it; it decodes once and keeps the result in the cache.

# %%
#| exports
_cub = "CUB_200_2011"
_cub_zip = f"{_cub}/images_100classes_bboxcrop_128.zip"
_cub_json = f"{_cub}/captions_text_c10.jsonl.gz"

def _cub_captions():
    "For each bird: (file, class folder, is its class one of the test classes?, captions)."
    path = find_data(_cub_json)
    if path:
        try:
            with gzip.open(path, "rb") as f: lines = read_at_most(f, 2**28, path).splitlines()
            return _consistent(path, [_cub_row(json.loads(l)) for l in lines])
        except MmvaeError: raise
        except (OSError, EOFError, zlib.error, ValueError, KeyError, RecursionError) as e:
            raise damaged(path, f"{type(e).__name__}: {e}") from e
    folder, tests = find_data("text_c10"), find_data("testclasses.txt")
    if not (folder and tests): raise absent("cub", [_cub_json, "text_c10 with testclasses.txt"])
    try: unseen, files = set(tests.read_text(encoding="utf-8").split()), folder.glob("*/*.txt")
    except (OSError, ValueError) as e: raise damaged(tests, type(e).__name__) from e
    files = sorted(files)
    if strange := unseen - {p.parent.name for p in files}:
        raise damaged(tests, f"{min(strange)[:40]} is no class of {folder.name}")
    return _consistent(folder, [
        (f"{p.parent.name}/{p.stem}.jpg", p.parent.name, p.parent.name in unseen, _lines(p), None)
        for p in files])

def _lines(path):
    "The captions in a file of the official archive; some bytes in them are no text."
    with open(path, "rb") as f: text = read_at_most(f, 2**20, path).decode(errors="replace")
    if not (lines := [l for l in text.splitlines() if l.strip()]): raise damaged(path, "no caption")
    return lines

def _cub_row(r):
    "One line of the file of captions, checked: what `_cub_captions` says; is there an image?"
    if not isinstance(r, dict): raise ValueError(f"a row is a {type(r).__name__}")
    file, captions = r["file"], r["captions"]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+\.jpg", str(file)) or ".." in file:
        raise ValueError(f"file is {file!r}"[:60])
    if not (isinstance(captions, list) and captions):
        raise ValueError(f"captions of {file} are no list")
    if not all(isinstance(c, str) and c.strip() for c in captions):
        raise ValueError(f"a caption of {file} is no text")
    if r["class_disjoint_split"] not in ("test", "trainval", "train", "validation"):
        raise ValueError(f"split of {file} is {str(r['class_disjoint_split'])[:20]}")
    folder = file.split("/")[0]
    if "class_id" in r and folder.split(".")[0] != str(r["class_id"]).zfill(3):
        raise ValueError(f"class_id of {file} is {str(r['class_id'])[:20]}")
    return file, folder, r["class_disjoint_split"] == "test", captions, r.get("has_image")

def _consistent(path, rows):
    "The rows, if no bird comes twice and no class is in two splits."
    files, kinds = {r[0] for r in rows}, {(r[1], r[2]) for r in rows}
    if not rows: raise damaged(path, "no bird")
    if len(files) < len(rows): raise damaged(path, f"{len(rows) - len(files)} birds come twice")
    if len({c for c, _ in kinds}) < len(kinds): raise damaged(path, "a class is in two splits")
    return rows


# %%
#| exports
def _cub_boxes(root):
    "Where each bird is: file -> (x, y, width, height)."
    def rows(name):
        with open(root/name, "rb") as f: text = read_at_most(f, 2**24, root/name).decode()
        return [l.split() for l in text.splitlines()]
    try:
        names, boxes = rows("images.txt"), rows("bounding_boxes.txt")
        if [r[0] for r in names] != [r[0] for r in boxes]: raise ValueError("other birds")
        if len({f for _, f in names}) < len(names): raise ValueError("a bird comes twice")
        found = {f: tuple(map(float, box)) for (_, f), (_, *box) in zip(names, boxes)}
        if any(len(b) != 4 for b in found.values()): raise ValueError("not four numbers a box")
        return found
    except (OSError, ValueError, IndexError) as e:
        raise damaged(root/"bounding_boxes.txt", f"with images.txt: {e}") from e

def _cub_images():
    "A function file -> bytes or None, a dict file -> box to cut out, and where the images are."
    path, folder = find_data(_cub_zip), find_data(f"{_cub}/images")
    if folder:
        return partial(_read_file, folder), _cub_boxes(folder.parent), folder
    if path is None: raise absent("cub", [f"{_cub}/images", _cub_zip])
    try: archive = zipfile.ZipFile(path)
    except Exception as e: raise damaged(path, type(e).__name__) from e     # zipfile has many kinds
    members = [n for n in archive.namelist() if "images/" in n and n.endswith(".jpg")]
    inside = {n.split("images/", 1)[1]: n for n in members}
    if len(inside) < len(members): raise damaged(path, "an image comes twice")
    return partial(_read_member, archive, inside), {}, path

_most = 2**23   # bytes in the file of an image

def _read_file(folder, file):
    "The bytes of an image in a folder, or None."
    if not (folder/file).exists(): return None
    with open(folder/file, "rb") as f: return read_at_most(f, _most, folder/file)

def _read_member(archive, inside, file):
    "The bytes of an image in an archive, or None."
    if file not in inside: return None
    with archive.open(inside[file]) as f:
        return read_at_most(f, _most, f"{archive.filename}: {file}")


# %%
#| exports
def _stretched(data, box=None, side=64, path="image"):
    "An image file's bytes, the box cut out and stretched to a square: uint8 (3, side, side)."
    from PIL import Image
    image = decoded_image(data, path)
    if box:
        x, y, w, h = box
        within = 0 <= x and 0 <= y and x + w <= image.width + 1 and y + h <= image.height + 1
        if not (within and w >= 1 and h >= 1): raise damaged(path, f"its box {box} is outside")
        image = image.crop((x, y, x + w, y + h))
    return np.asarray(image.resize((side, side), Image.LANCZOS)).transpose(2, 0, 1)

def _cub_split(classes, unseen):
    "The split of each class folder: published test classes; every 11th of the others validates."
    others = [c for c in sorted(classes) if c not in unseen]
    return {**dict.fromkeys(others, "train"), **dict.fromkeys(others[5::11], "validation"),
            **dict.fromkeys(unseen, "test")}


# %%
#| exports
def _decoded(rows, read, boxes, where):
    "The images that are there, and of which of `rows` they are."
    at, found, lost = [], [], []
    for i, (file, *_, has_image) in enumerate(rows):
        try:
            if (data := read(file)) is None: lost += [file] if has_image else []; continue
            if boxes and file not in boxes: raise damaged(f"{where}: {file}", "it has no box")
            found.append(_stretched(data, boxes.get(file), path=f"{where}: {file}")); at.append(i)
        except MmvaeError: raise
        except Exception as e:                       # zipfile has many kinds
            raise damaged(f"{where}: {file}", type(e).__name__) from e
    if lost: raise damaged(where, f"{len(lost)} images are missing, such as {lost[0]}")
    if not at: raise damaged(where, "none of the images that the captions are about")
    return {"x": np.stack(found), "at": np.array(at)}

def real_birds(split # train, validation or test
              ): # images (n, 3, 64, 64) uint8, class names, list of lists of captions
    "The photographs and captions found, split by class; decoded once, then from the cache."
    rows, (read, boxes, where) = _cub_captions(), _cub_images()
    stat, files = where.stat(), [r[0] for r in rows]   # the cache knows images by their rows
    stamp = digest([str(where.resolve()), stat.st_size, stat.st_mtime_ns, files, boxes],
                   ["datasets.birds"])
    kept = cached_arrays(cache_dir("data")/f"cub-{stamp}.npz",
                         lambda: _decoded(rows, read, boxes, where), ("x", "at"))
    x, at = kept["x"], kept["at"].tolist()
    if rows[0][4] is None and len(at) < len(rows):
        warnings.warn(f"cub: {len(rows) - len(at)} of {len(rows)} birds that have captions have no "
                      f"image in {where}", stacklevel=2)
    part = _cub_split({rows[i][1] for i in at}, {rows[i][1] for i in at if rows[i][2]})
    mine = [k for k, i in enumerate(at) if part[rows[i][1]] == one_of("split", split, splits)]
    return torch.from_numpy(x[mine]), [rows[at[k]][1] for k in mine], [rows[at[k]][3] for k in mine]


# %%
#| exports
_about_birds = {
    "rendered": ("birds drawn by this package from fixed seeds, with captions from a grammar",
                 "drawn by this package (Apache-2.0)",
                 "by species (belly, wing): wing colours 3 after the belly's test, "
                 "5 after it validate"),
    "real": ("Caltech-UCSD Birds-200-2011 (Wah et al. 2011), cut to the bounding box and "
             "stretched to a square; captions of Reed et al. 2016",
             "non-commercial research and education; photographs belong to their photographers",
             "by class: the published 50 test classes, every 11th other class validates")}

def _found_birds(split, source):
    "Images, species of each, captions of each."
    if source == "real": return real_birds(split)
    a, x, captions = drawn_birds(split)
    pairs = zip(a["belly"].tolist(), a["wing"].tolist())
    species = [f"{bird_attributes['belly'][b]}-bellied {bird_attributes['wing'][w]}-wing"
               for b, w in pairs]
    return x, species, [captions[5*i:5*i + 5] for i in range(len(x))]


# %%
#| exports
def cub(split="train", # train, validation or test
        source="rendered", # rendered or real
        items=None, # at most so many birds
        device="cpu" # where the pools shall live
       ) -> PairedByKey:
    "Birds and captions: 64 x 64 images, 32 tokens; every epoch draws a caption of each bird anew."
    one_of("split", split, splits); one_of("source", source, _about_birds)
    device, (x, species, captions) = resolve_device(str(device)), _found_birds(split, source)
    if items is not None: items = in_range("items", items, 10, whole=True)
    x, species, captions = x[:items], species[:items], captions[:items]
    written = captions if split == "train" and items is None else _found_birds("train", source)[2]
    vocabulary = caption_vocabulary([c for row in written for c in row])
    return _birds_with_captions(split, source, x, species, captions, vocabulary).to(device)

def _birds_with_captions(split, source, x, species, captions, vocabulary):
    "The data set: what photograph and caption share is the number of the photograph."
    modalities = {"image": Modality("image", "image", tuple(x.shape[1:])),
                  "text": Modality("text", "text", (CAPTION_LENGTH,), vocabulary)}
    names = sorted(set(species))
    label = torch.tensor([names.index(s) for s in species])
    owner = torch.tensor([i for i, row in enumerate(captions) for _ in row])
    tokens = caption_tokens(modalities["text"], [c for row in captions for c in row])
    provenance, terms, rule = _about_birds[source]
    return PairedByKey("cub", split, modalities, {"image": x, "text": tokens},
                       {"image": label, "text": label[owner]}, anchor="image",
                       keys={"image": torch.arange(len(x)), "text": owner}, class_names=names,
                       real=source == "real", split_rule=rule,
                       provenance=dict.fromkeys(modalities, provenance),
                       terms=dict.fromkeys(modalities, terms))


# %%
train, validation, test = (cub(s) for s in splits)
seen, unseen = ({d.class_names[i] for i in d.labels["image"].tolist()} for d in (train, test))
assert not seen & unseen
assert train.modalities["text"].vocabulary == test.modalities["text"].vocabulary
train

# %%
#| fig-cap: "Birds of the test split with one of their captions, turned into tokens and back."
#| fig-alt: "Six drawn birds, and below each one of its captions."
batch, _ = test.take(6)
generation_grid({"bird": batch["image"], "caption": test.modalities["text"].decode(batch["text"])},
                note="rendered data");

# %% [markdown]
# ## Recap
#
# - Words of the training captions make the vocabulary; others become `<unk>`, the end has a mark, the rest of the row is padding.
# - Species are never in two splits: a test bird's colours were seen in training, but not together.
# - `cub(split, source, items)` gives drawn or real birds; the pairs share the number of the photograph, and each epoch draws one of the captions.
#
# ## Exercises
#
# 1. Why is the vocabulary not made from the captions of all splits? What would a test with such a vocabulary hide?
# 2. A caption has 40 words. Which of them does a model see, and where does the end mark go?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The words of test captions would all be known, with vectors of their own that were hardly trained. How a model does with words it has never met, as it will outside of the test, would not be measured.
# 2. The first 31; the end mark stands in the last place, as if the caption had ended there.
# :::
#
# ## References
#
# - Wah and others (2011), [The Caltech-UCSD Birds-200-2011 dataset](https://www.vision.caltech.edu/datasets/cub_200_2011/).
# - Reed and others (2016), [Learning deep representations of fine-grained visual descriptions](https://arxiv.org/abs/1605.05395): the captions.
