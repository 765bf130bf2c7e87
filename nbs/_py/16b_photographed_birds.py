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
# Runs in a few seconds on a laptop CPU. This is workshop: [lesson 16](16_birds.ipynb) only needs its last function.
# :::

# %%
#| default_exp datasets.birds

# %%
#| export
import gzip, io, json, re, zipfile, zlib
from collections import Counter
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
# What makes a pair is not a class but the bird itself: photograph and caption share the number of the photograph (`keys` of [lesson 02](02_data.ipynb#pairs-by-class)), and each epoch draws
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
            with gzip.open(path, "rt", encoding="utf-8") as f: rows = [json.loads(l) for l in f]
            return [(r["file"], r["file"].split("/")[0], r["class_disjoint_split"] == "test",
                     r["captions"]) for r in rows]
        except (OSError, EOFError, zlib.error, ValueError, KeyError) as e:
            raise damaged(path, type(e).__name__) from e
    folder, tests = find_data("text_c10"), find_data("testclasses.txt")
    if not (folder and tests): raise absent("cub", [_cub_json, "text_c10 with testclasses.txt"])
    unseen = set(tests.read_text(encoding="utf-8").split())
    lines = lambda p: p.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return [(f"{p.parent.name}/{p.stem}.jpg", p.parent.name, p.parent.name in unseen, lines(p))
            for p in sorted(folder.glob("*/*.txt"))]


# %%
#| exports
def _cub_boxes(root):
    "Where each bird is: file -> (x, y, width, height)."
    def rows(name): return map(str.split, (root/name).read_text(encoding="utf-8").splitlines())
    try:
        names = dict(rows("images.txt"))
        return {names[n]: tuple(map(float, box)) for n, *box in rows("bounding_boxes.txt")}
    except (OSError, ValueError, KeyError) as e: raise damaged(root, type(e).__name__) from e

def _cub_images():
    "A function file -> bytes or None, a dict file -> box to cut out, and where the images are."
    path, folder = find_data(_cub_zip), find_data(f"{_cub}/images")
    if folder:
        read = lambda f: (folder/f).read_bytes() if (folder/f).exists() else None
        return read, _cub_boxes(folder.parent), folder
    if path is None: raise absent("cub", [f"{_cub}/images", _cub_zip])
    try: archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as e: raise damaged(path, type(e).__name__) from e
    inside = {n.split("images/")[1]: n for n in archive.namelist() if n.endswith(".jpg")}
    return (lambda f: archive.read(inside[f]) if f in inside else None), {}, path


# %%
#| exports
def _stretched(data, box=None, side=64):
    "An image file's bytes, the box cut out and stretched to a square: uint8 (3, side, side)."
    from PIL import Image
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if box: image = image.crop((box[0], box[1], box[0] + box[2], box[1] + box[3]))
    return np.asarray(image.resize((side, side), Image.LANCZOS)).transpose(2, 0, 1)

def _cub_split(classes, unseen):
    "The split of each class folder: published test classes; every 11th of the others validates."
    others = [c for c in sorted(classes) if c not in unseen]
    return {**dict.fromkeys(others, "train"), **dict.fromkeys(others[5::11], "validation"),
            **dict.fromkeys(unseen, "test")}


# %%
#| exports
def _decoded(files, read, boxes, where):
    "The images that are there, and which of `files` they are."
    at, found = [], []
    for i, file in enumerate(files):
        try:
            if (data := read(file)) is None: continue
            found.append(_stretched(data, boxes.get(file))); at.append(i)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as e:
            raise damaged(f"{where}: {file}") from e
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
                         lambda: _decoded(files, read, boxes, where), ("x", "at"))
    x, at = kept["x"], kept["at"].tolist()
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
