# %% [markdown]
# # Training with modalities missing
#
# > Items that lack a part of their modalities are most of the data in practice; they train, too.
#
# ::: {.callout-note}
# ## You will learn
#
# - how data say which item has what, and how a batch carries it;
# - why a loss is taken pattern by pattern, and what that costs;
# - what each method makes of an item that has only a part;
# - why zeros in place of what is missing are worse than leaving the items out.
#
# Runs in about a minute on a laptop CPU. Later lessons explain the methods that are named here; read this page when your own data have holes.
# :::

# %% [markdown]
# ![Drawing: four items in three groups by what they have; beside each the posterior that sees what is there, what it has to explain, and the group's share of the loss.](drawings/holes.svg)

# %%
#| default_exp missing

# %%
#| export
import copy, math, sys, warnings
from collections.abc import Mapping
import numpy as np
import torch
from mmvae_nb.core import *

# %%
from dataclasses import replace
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from mmvae_nb.data import TensorData
from mmvae_nb.distributions import Gaussian
from mmvae_nb.mopoe import MoPoE, MVAE
from mmvae_nb.mvtcae import MVTCAE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.training import fit
from mmvae_nb.vae import Loss

# %% [markdown]
# ## An item with a hole
#
# A patient has a scan but no blood test, a film has no caption. If each of three modalities is missing in half of the items, one item in eight has all three. A training that needs
# all of them throws seven eighths away. None of the bounds of this course needs that. What is there, $x_A$ for a subset $A$ of the modalities, has a likelihood of its own,
#
# $$
# \log p(x_A) \ge \mathbb E_{q(z \mid x_A)} \Big[ \sum_{m \in A} \log p(x_m \mid z) \Big] - \mathrm{KL}(q(z \mid x_A) \,\|\, p(z)),
# \tag{1}
# $$
#
# because a modality that nobody has seen integrates to one and drops out of the sum. That it is missing must not depend on what it would have been: if dark photographs are the
# ones that get lost, the model learns that photographs are bright. Within that condition (*missing at random*) the bounds of all items can simply be added up.
#
# ## A batch says who has what
#
# If the whole batch lacks a modality, the key is absent, as always. If its items lack *different* ones, the batch gets one key more, `"present"`: a row for each item, a column for each
# modality. It is a tensor with the items in front like any other, so all that cuts, stacks or moves batches takes it along.
#
# Something has to stand where a value is missing. We take what no network mistakes for data: NaN, and token $-1$. So code that has never heard of holes does not train on them quietly;
# it fails. (Images of bytes have no such value; there it is black, and the mask alone speaks.)

# %%
#| exports
PRESENT = "present"   # key of the mask in a batch, so no name for a modality
RESERVED = (PRESENT, "update", "total", "kl", "validation")  # nor are columns of each history

def with_present(pools, # dict: name -> (n_m, ...) the items there are
                 index # dict: name -> (batch,) indices into them; -1: this item has none
                ) -> dict: # name -> (batch, ...), and `PRESENT` -> (batch, modalities) bool
    "The batch of these items. What is missing is nan, token -1 or black, and `PRESENT` says so."
    fill = lambda x: float("nan") if x.is_floating_point() else -1 if x.dtype.is_signed else 0
    def rows(x, i):
        lacks = (i < 0).view(-1, *[1]*(x.ndim - 1))
        return x[i.clamp(min=0)].masked_fill(lacks, fill(x))
    batch = {m: rows(pools[one_of("index", m, pools)], i) for m, i in index.items()}
    return {**batch, PRESENT: torch.stack([i >= 0 for i in index.values()], 1)}


# %%
#| exports
#| code-fold: true
#| code-summary: "Helpers: names, indices and tensors that are refused"
def check_name(name):
    "Refuse a modality's name that a batch or a history has for something else."
    if name not in RESERVED: return
    raise MmvaeError(f"{name}: got it as the name of a modality, allowed: any but "
                     f"{', '.join(RESERVED)}, which batches and histories have for something else")

def check_index(index, # dict: name -> (batch,) indices
                pools, # dict: name -> (n_m, ...)
                least # -1 where an item may lack a modality, or 0
               ):
    "Refuse another name, unequal lengths and, on the CPU, negative numbers that would count back."
    for m, i in index.items():
        one_of("index", m, pools)
        if i.device.type == "cpu" and i.numel(): in_range(f"index of {m}", int(i.min()), least)
    sizes = {m: len(i) for m, i in index.items()}
    if len({*sizes.values()}) > 1:
        raise MmvaeError(f"index: got {sizes} items, allowed: the same number for all")

def dense(name, # for messages
          x, # anything
          hole="nan in place of what is masked (`x.astype(float).filled(np.nan)`)" # advice
         ):
    "The same; `MmvaeError` for a mask that would be lost, a sparse, nested or quantized tensor."
    if isinstance(x, np.ma.MaskedArray) and np.ma.getmaskarray(x).any():
        raise MmvaeError(f"{name}: got a masked array, whose mask would be lost, allowed: {hole}")
    if not isinstance(x, torch.Tensor): return x
    odd, way = (("nested", "to_padded_tensor(0)") if x.is_nested else
                ("quantized", "dequantize()") if x.is_quantized else ("sparse", "to_dense()"))
    if x.layout == torch.strided and odd == "sparse":
        return x.plain() if hasattr(x, "index_of_rows") else x               # lesson 00c
    raise MmvaeError(f"{name}: got a {odd} tensor, allowed: a dense one (`x.{way}`)")


# %%
pools = {"a": torch.tensor([[1.], [2.]]), "b": torch.tensor([[10.], [30.], [40.]])}
batch = with_present(pools, {"a": torch.tensor([0, 1, -1, -1]), "b": torch.tensor([0, -1, 1, 2])})
assert batch["a"][:, 0].isnan().tolist() == [False, False, True, True]
assert batch[PRESENT].tolist() == [[True, True], [True, False], [False, True], [False, True]]
batch


# %% [markdown]
# ## Pattern by pattern
#
# There are two ways to go on. One is to put the mask into every sum and product inside each model: one pass, but each formula must be written a second time, and an encoder must run on
# values that are not there. The other is to sort the items of a batch by what they have. Each group is an ordinary batch with absent keys, its loss is the loss that we have, and the
# groups' means are weighted by their sizes,
#
# $$
# L = \sum_A \frac{n_A}{n} L_A(x_A).\tag{2}
# $$
#
# We take the second. It is exact, no network ever sees a hole, it works for any model whose loss takes a part of the modalities, yours included, and there is nothing to get wrong in
# five places. The price is a pass per pattern that occurs, at most $2^M - 1$ of them, each over its own items only, so that no item is computed twice.

# %%
#| exports
def patterns(batch # dict: name -> (batch, ...), perhaps with `PRESENT`
            ) -> list: # of (rows, their batch without what they lack), a pair for each pattern
    "Split a batch into parts whose items have the same modalities, as ordinary batches."
    if not isinstance(batch, Mapping) or not batch:
        raise MmvaeError(f"batch: got {batch!r:.40}, allowed: a dict, name -> tensor (batch, ...)")
    for n, x in batch.items(): dense(n, x)
    if PRESENT not in batch:
        first = next(iter(batch.values()))
        return [(torch.arange(len(first), device=first.device), batch)]
    names = [n for n in batch if n != PRESENT]
    present = _checked(batch[PRESENT], names, [len(batch[n]) for n in names])
    _, which = (present.long() << torch.arange(len(names), device=present.device)).sum(1).unique(
        return_inverse=True)
    found = [(which == k).nonzero()[:, 0] for k in range(int(which.max()) + 1)]
    return [(rows, {n: batch[n][rows] for n, there in zip(names, present[rows[0]].tolist())
                    if there}) for rows in found]

def _checked(present, names, sizes):
    "Refuse a mask that does not go with its batch."
    allowed = (max(sizes, default=0), len(names))
    if present.dtype != torch.bool or present.shape != allowed or len({*sizes}) > 1:
        raise MmvaeError(f"{PRESENT}: got {tuple(present.shape)} of {present.dtype}, allowed: "
                         f"{allowed} of torch.bool, a column for each of {', '.join(names)}")
    return _something(present)

def _something(present):
    "Refuse items that have nothing."
    if present.any(1).all(): return present
    raise MmvaeError(f"{PRESENT}: got nothing at all of item {int(present.any(1).int().argmin())}, "
                     "allowed: at least one modality of each item")


# %%
for rows, some in patterns(batch):
    print(rows.tolist(), {n: x[:, 0].tolist() for n, x in some.items()})


# %% [markdown]
# `MultimodalVAE.forward`, which `fit` calls, does this; `loss` sees one pattern at a time. The parts of the loss that the history shows are means over the items that have
# them. For the posterior of each item from whatever it has there is `infer_each`.

# %%
#| exports
def by_pattern(loss, # function: batch without `PRESENT` -> (scalar, dict of parts), means of items
               batch # dict: name -> (batch, ...), with `PRESENT`
              ) -> tuple: # (scalar, dict): means over all items, a part's over those that have it
    "A loss of items that lack different modalities: the losses of each pattern, by its items."
    done = [(len(rows), *loss(some)) for rows, some in patterns(batch)]
    mean = lambda values: sum(n*v for n, v in values)/sum(n for n, _ in values)
    names = dict.fromkeys(n for _, _, parts in done for n in parts)
    return mean([(n, total) for n, total, _ in done]), {
        k: mean([(n, parts[k]) for n, _, parts in done if k in parts]) for k in names}

def infer_each(model, # has `infer`, for any modalities
               batch # dict: name -> (batch, ...), perhaps with `PRESENT`
              ): # the posteriors, in the order of the batch
    "What `model` infers of each item from what that item has."
    parts = patterns(batch)
    q = [model.infer(some) for _, some in parts]
    return type(q[0]).cat(q)[torch.cat([rows for rows, _ in parts]).argsort()]


# %% [markdown]
# A check against the slow way, one item after another:

# %%
def squares(batch): # a loss that likes everything to be zero
    total = sum((x**2).sum(1) for x in batch.values()).mean()
    return total, {n: x.mean() for n, x in batch.items()}

total, parts = by_pattern(squares, batch)
item = lambda i: {n: x[i:i + 1] for n, x in batch.items() if n != PRESENT and not x[i].isnan()}
alone = [squares(item(i))[0] for i in range(4)]
assert total == sum(alone)/4 == (1 + 100 + 4 + 900 + 1600)/4
assert parts["a"] == 1.5 and parts["b"] == 80/3
total


# %% [markdown]
# ## What data say
#
# `TensorData(..., present=)` takes a mask for each modality (`{"left": mask}`), one array of them, or `"given"`: then an item lacks what is `None` or a row of nothing but NaN. Without
# the argument NaN is refused as before, since it is usually a mistake. The pools keep what there is. Items that share an id instead of a row number go into `PairedByKey(..., keys=ids,
# partial=True)`. What is wrong is refused: an item with nothing at all, a mask of another shape, a NaN where the mask says that there is a value.
#
# What is handed over may be tensors, arrays, lists or tables. All of it becomes tensors by these, which `TensorData` uses for complete data, too:

# %%
#| exports
#| code-fold: true
#| code-summary: "What is refused at the border"
def as_said(name, # of the modality, for messages
            x, # tensor, array, list or table
            kind # what it is said to be, or None
           ) -> torch.Tensor:
    "A tensor; whole numbers and truth values as floats, if they are said to be counts or binary."
    x = as_tensor(name, x)
    if kind == "categories" and not x.is_floating_point(): return x.long()
    return x.float() if kind in ("counts", "binary") and not x.is_floating_point() else x

def as_tensor(name, # for messages
              x # tensor, array, list or table
             ) -> torch.Tensor:
    "A tensor of an array, a list or a table of numbers; double precision becomes single."
    if isinstance(x := dense(name, x), torch.Tensor):
        if x.is_complex():
            raise MmvaeError(f"{name}: got complex numbers ({x.dtype}), allowed: real ones "
                             "(`torch.view_as_real(x).flatten(1)`)")
        if x.ndim: return x.float() if x.dtype == torch.float64 else x
        raise MmvaeError(f"{name}: got {x.item()}, allowed: an array, items along its first axis")
    try:
        given = _numbers(x) if hasattr(x, "to_numpy") else x                    # a table's: a copy
        given = _shared(given)
    except (TypeError, ValueError, RuntimeError) as e:
        raise MmvaeError(f"{name}: got a {type(x).__name__} that is no array of numbers "
                         f"({str(e).splitlines()[0][:60]}), allowed: a tensor, array or table of "
                         "numbers; strings become numbers by `Modality.encode` (of kind 'text', "
                         "or 'categories' with the classes as vocabulary)") from e
    return as_tensor(name, given)

def _numbers(x):
    "A table as an array; where pandas has types of its own for numbers, its gaps become nan."
    types = getattr(x, "dtypes", None)
    types = list(types) if getattr(x, "ndim", 1) > 1 else [types]
    own = any(hasattr(t, "na_value") and t.kind in "iuf" for t in types)
    return x.to_numpy(float, na_value=np.nan) if own else np.array(x.to_numpy())

def _shared(x):
    "A tensor that shares the memory of an array, which may be read-only: nobody writes to it."
    if isinstance(x, np.ndarray) and min(x.strides, default=0) < 0: x = x.copy()     # `x[::-1]`
    if isinstance(x, np.ndarray) and (x.dtype == np.longdouble or not x.dtype.isnative):
        x = x.astype(x.dtype.newbyteorder("=") if x.dtype != np.longdouble else float)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.as_tensor(x)

def as_double(name, # for messages
              x # tensor, array, list or table
             ) -> torch.Tensor:
    "In double precision, on the CPU: in single, a large offset would swallow the digits."
    as_tensor(name, x)                                                # says what is wrong with it
    if isinstance(x, torch.Tensor): return x.detach().cpu().double()
    return torch.as_tensor(np.array(x, dtype=float))

def column_floats(name, # for messages
                  x # a column of a table
                 ): # -> array
    "A column as an array of floats, with nan where nothing is."
    truths = x.dtype == object and any(isinstance(v, (bool, np.bool_)) for v in x)
    if truths or x.dtype.kind in "mMbc":                      # times, truth values, complex numbers
        raise MmvaeError(f"{name}: got {'bool' if truths else x.dtype}, allowed: numbers")
    try: x = x.to_numpy(float, na_value=np.nan)
    except (TypeError, ValueError) as e:
        raise MmvaeError(f"{name}: got {' '.join(str(e).split()):.80}, allowed: numbers") from e
    if not np.isinf(x).any(): return x
    raise MmvaeError(f"{name}: got infinite values, allowed: finite numbers")

def column_counts(name, # for messages
                  x # a column of a table
                 ): # -> array
    "A column of counts as an array of floats."
    x = column_floats(name, x)
    in_range(f"counts of {name}", x.min(initial=0).item(), low=0)
    for v in x[x % 1 > 0].tolist(): in_range(f"counts of {name}", v, whole=True)
    return x

def column_truths(name, # for messages
                  x # a column of a table
                 ): # -> array
    "A column of True and False as an array of floats; 0 and 1 are the same."
    for v in x.unique():
        if not isinstance(v, (bool, np.bool_, int, float, np.number)) or v not in (0, 1):
            raise MmvaeError(f"{name}: got {v!r:.40}, allowed: True or False")
    return x.to_numpy(float)

def column_numbers(name, # for messages
                   x, # a column of a table
                   kind, # "number", "count", "binary", or how many classes it has
                   known # mean and deviation of a column of numbers, else its classes
                  ): # -> array
    "A column as floats: numbers standardised, classes by their number, nan where nothing is."
    if kind == "number": return (column_floats(name, x) - known[0])/known[1]
    there, made = x.notna().to_numpy(), np.full(len(x), np.nan)
    x = x[there].infer_objects()
    if kind == "count": made[there] = column_counts(name, x)
    elif kind == "binary": made[there] = column_truths(name, x)
    else:
        for v in x.unique(): one_of(f"class in {name}", v, known)
        made[there] = x.map({v: i for i, v in enumerate(known)}).to_numpy(float)
    return made


# %% [markdown]
# And where a batch meets a model that is used, or a loss is no number ([lesson 02f](02f_kinds.ipynb) has the rest):

# %%
#| exports
#| code-fold: true
#| code-summary: "What a batch is looked at for"
def fractions_of(x # (n, ...), perhaps larger than memory
                ) -> list: # of the first, or empty
    "What is no whole number."
    parts = (p[p != p.round()] for p in x.split(4096)) if x.is_floating_point() else ()
    return next((p[:1].tolist() for p in parts if len(p)), [])

def plain_tensor(name, # for messages
                 x # tensor, array, list or table
                ) -> torch.Tensor:
    "The same numbers in their own type, as a tensor."
    if isinstance(x := dense(name, x), torch.Tensor) and x.ndim: return x
    try: own = torch.as_tensor(np.array(x))                  # a copy, as torch warns of some arrays
    except (TypeError, ValueError, RuntimeError): own = None
    return as_tensor(name, x) if own is None or not own.ndim else own   # says what is wrong

def is_traced() -> bool:
    "Is a graph being recorded (exported, compiled), in which no number can be looked at?"
    fx = sys.modules.get("torch.fx.experimental.proxy_tensor")      # `make_fx`, if anybody uses it
    return torch.compiler.is_compiling() or fx is not None and fx.get_proxy_mode() is not None

def check_finite(name, # of what, for messages
                 x # tensor (items, ...)
                ):
    "Refuse nan and infinity."
    if is_traced() or x.isfinite().all(): return
    holes = int((~x.isfinite()).flatten(1).any(1).sum()) if x.ndim > 1 else 1
    raise MmvaeError(f"{name}: got nan or infinite values in {holes} of {len(x)} items, allowed: "
                     "finite numbers (`mmvae_nb.using.impute` fills holes)")

def check_scale(name, x, strict=False):
    "Refuse images of floats beyond 0 and 1; if not strict, of another scale: samples may stray."
    low, high = x.min().item(), x.max().item()
    fair = 0 <= low <= high <= 1 or not strict and -50 <= low <= high <= 50 and (
        low > -.5 or high > 1.05) and -.5 <= x.mean(dtype=torch.float).item() <= 1.5
    if not fair: raise MmvaeError(
        f"{name}: got images of floats from {low:g} to {high:g}, allowed: uint8 from 0 to 255 or "
        "floats from 0 to 1; what is no image is flattened to (n, D)")

def check_range(modality, # a `Modality`
                pool # tensor of its items
               ):
    "Refuse numbers to train on that are none of this kind's."
    name, kind = modality.name, modality.kind
    low, high = (v.item() for v in pool.aminmax())
    if not math.isfinite(high - low):
        raise MmvaeError(f"{name}: got nan or infinite values, allowed: finite numbers (items that "
                         "lack all of it: `present`)")
    if kind in ("text", "categories"):
        in_range(f"tokens of {name}", high, 0, modality.num_tokens - 1)
        in_range(f"tokens of {name}", low, 0)
    if kind == "counts":
        in_range(f"counts of {name}", low, 0)
        for v in fractions_of(pool): in_range(f"counts of {name}", v, whole=True)
    for v in (low, high)*(kind == "binary"): in_range(f"values of {name}", v, 0, 1)
    if kind == "image" and pool.dtype != torch.uint8: check_scale(name, pool, strict=True)
    if kind == "table": check_table(modality, pool, name)

def check_table(modality, # a `Modality` of kind 'table'
                x, # tensor (items, columns)
                name, # its key in the batch, for messages
                there=None # bool tensor (items, columns): what is no hole
               ):
    "Refuse values of a column that are none of its kind's."
    if x.shape[1:] != (len(modality.vocabulary),): return          # its shape is refused elsewhere
    for i, c in enumerate(modality.vocabulary):
        v = x[:, i] if there is None else x[:, i][there[:, i]]
        if c == "number" or not len(v): continue
        what, most = {"count": ("counts", None), "binary": ("values", 1)}.get(c) or ("class", c - 1)
        what += f" in column {i} of {name}"
        for value in v.detach().aminmax(): in_range(what, value.item(), 0, most)
        for value in fractions_of(v) if c != "binary" else (): in_range(what, value, 0, most, True)

def blame(batch, # dict: name -> tensor, on which a loss was no number
          of # where it comes from, for messages
         ):
    "Refuse a batch whose own numbers are to blame."
    for _, part in patterns(batch):
        for n, x in part.items(): check_finite(f"{n}{of}", x)

def as_labels(labels # (items,) tensor, array or list
             ) -> torch.Tensor:
    "Labels as an int64 tensor; a fraction is no class."
    dense("labels", labels, "a class for every item")
    try: x = _shared(labels.to_numpy() if hasattr(labels, "to_numpy") else labels)
    except (TypeError, ValueError, RuntimeError) as e:
        got = " ".join(repr(labels).split())
        raise MmvaeError(f"labels: got {got:.40}, allowed: one array for all modalities, the "
                         "number of its class for each item (`pandas.Categorical(x, "
                         "categories=names).codes`, with one list of names for all splits)"
                        ) from e
    if (x.double() == x.long()).all(): return x.long()
    raise MmvaeError("labels: got numbers that are not whole, allowed: the number of each class")


# %%
#| exports
#| code-fold: true
#| code-summary: "Helpers: what may stand for a hole, and what is refused"
def with_holes(tensors, # dict: name -> tensor, array, table, or list with None for what is missing
               present, # as `TensorData` takes it
               read # function: (name, rows) -> tensor
              ) -> tuple: # (dict of the rows that are there, dict of indices; None: nothing lacks)
    "Items that may lack modalities: those there are, and where each item is among them, or -1."
    for name, x in tensors.items():
        if not hasattr(x, "__len__"): read(name, x)               # says what is wrong with it
    sizes = {k: len(x) for k, x in tensors.items()}
    if len({*sizes.values()}) != 1:
        raise MmvaeError(f"tensors: got {sizes} items, allowed: the same number for all")
    said = _masks(present, list(tensors), max(sizes.values()))
    found = {k: _there(k, x, said.get(k), read) for k, x in tensors.items()}
    there = torch.stack([mask for _, mask in found.values()], 1)
    pools = {k: x for k, (x, _) in found.items()}
    if _something(there).all(): return pools, None
    return pools, {k: torch.where(m, m.cumsum(0) - 1, -1) for k, (_, m) in found.items()}

def _masks(present, names, n):
    "name -> (n,) bool for what `present` speaks of; nothing if the data are to say it."
    if isinstance(present, str):
        one_of(PRESENT, present, ["given"]); return {}
    if not hasattr(present, "keys"):
        return dict(zip(names, _bool(PRESENT, present, (n, len(names))).unbind(1)))
    for k in present.keys(): one_of(PRESENT, k, names)
    all_there = torch.ones(n, dtype=torch.bool)
    return {k: _bool(f"{PRESENT}, {k}", present[k], (n,)) if k in present.keys() else all_there
            for k in names}

def _bool(name, x, shape):
    "A bool tensor of this shape."
    dense(name, x)
    try: x = x.cpu() if isinstance(x, torch.Tensor) else torch.as_tensor(np.array(x))
    except (TypeError, ValueError, RuntimeError) as e:
        raise MmvaeError(f"{name}: got a {type(x).__name__}, allowed: {shape} of torch.bool") from e
    if x.dtype == torch.bool and x.shape == shape: return x
    raise MmvaeError(f"{name}: got {tuple(x.shape)} of {x.dtype}, allowed: {shape} of torch.bool")

def _there(name, x, said, as_tensor):
    "The rows of one modality that are there, and which are."
    plain = isinstance(x, (list, tuple)) or getattr(x, "dtype", None) == np.dtype(object)
    there = torch.tensor([r is not None for r in x]) if plain else torch.ones(len(x)).bool()
    if said is not None and (bad := said & ~there).any():
        raise MmvaeError(f"{name}: got None for item {int(bad.int().argmax())}, of which "
                         f"`{PRESENT}` says that it is there; allowed: its values")
    if not there.all(): x = _stacked(name, [r for r in x if r is not None])
    x = as_tensor(name, x)
    if said is not None: return x[said[there].to(x.device)], said
    if not x.is_floating_point(): return x, there
    keep = ~x.isnan().flatten(1).all(1) if x.ndim > 1 else ~x.isnan()
    return x[keep], there.masked_scatter(there, keep.cpu())

def _stacked(name, rows):
    try: return np.stack([np.asarray(r) for r in rows])
    except ValueError as e:
        raise MmvaeError(f"{name}: got {e}, allowed: items of one shape, or None") from e

def having(values, # dict: name -> (n, ...) something of each item; or None
           rows, # as `with_holes` gives them
           what # is given, for a message
          ):
    "The same for the items that are there."
    if not values or rows is None: return values
    for m, x in values.items():
        if len(x) != len(rows[m]):
            raise MmvaeError(f"{what} of {m}: got {len(x)}, allowed: {len(rows[m])}, one an item")
    return {m: x[(rows[m] >= 0).to(getattr(x, "device", "cpu"))] for m, x in values.items()}


# %%
#| exports
#| code-fold: true
#| code-summary: "Helpers: classes, and a copy without holes"
def labels_of(labels, # dict: name -> (n_m,) classes
              index # dict: name -> (batch,) indices, -1: nowhere
             ): # (batch,)
    "The class of each item: that of the first modality that it has."
    first, *others = index
    y, lacks = labels[first][index[first]], index[first] < 0
    for m in others:
        y = torch.where(lacks, labels[m][index[m]], y)
        lacks = lacks & (index[m] < 0)
    return y

def moved(data, # a `MultimodalData`
          device # where its tensors are wanted
         ):
    "A copy of `data` with its tensors on `device`."
    out = copy.copy(data)
    move = lambda d: d and {k: v.to(device) for k, v in d.items()}
    out.pools, out.labels, out._epoch = move(data.pools), move(data.labels), (None, None)
    return out

def subset_of(data, # a `MultimodalData`
              index # dict: name -> (batch,) indices, none of them -1
             ):
    "A copy of `data` that has these rows of each pool and lacks nothing."
    if not len(next(iter(index.values()))):
        raise MmvaeError("complete: got no item that lacks nothing, allowed: one at least")
    out = copy.copy(data)
    of = lambda d: d and {m: x[index[m].to(x.device)] for m, x in d.items()}
    out.pools, out.labels, out.groups = of(data.pools), of(data.labels), of(data.groups)
    out._own_keys, out._rows, out._epoch = of(data._own_keys), None, (None, None)
    out.__dict__.pop("checksum", None)
    return out


# %%
#| exports
#| code-fold: true
#| code-summary: "Helpers: items with a key"
def rows_of(keys):
    "For each key, in ascending order: the rows that have it."
    found, counts = keys.unique(return_counts=True)
    return dict(zip(found.tolist(), keys.argsort(stable=True).split(counts.tolist())))

def visits(keys, # dict: name -> (n_m,) int64, on the CPU
           anchor, # modality whose items an epoch visits once each
           partial, # visit those too that the anchor lacks?
           what="key" # what the keys are, for a message
          ) -> tuple: # (rows of each key, by modality; the key of each visit; its row, or -1)
    "Whom an epoch visits: the anchor's items, and of a key that it lacks the longest list."
    members = {m: rows_of(k) for m, k in keys.items()}
    for m, own in members.items():
        empty = set(members[anchor]) - set(own)
        if empty and not partial:
            raise MmvaeError(f"{m}: got no item of {what} {min(empty)}, allowed: one at least, as "
                             f"{anchor} has some, or `partial=True`")
    found = [(anchor, torch.arange(len(keys[anchor])))]
    others = set.union(*map(set, members.values())) - set(members[anchor]) if partial else ()
    for c in sorted(others):
        m = max(members, key=lambda m: len(members[m].get(c, ())))
        found.append((m, members[m][c]))
    rows = lambda m: torch.cat([i if n == m else torch.full_like(i, -1) for n, i in found])
    return members, torch.cat([keys[m][i] for m, i in found]), {m: rows(m) for m in keys}


# %% [markdown]
# The helpers above are for [`TensorData` and `PairedByKey`](02a_data.ipynb). Here are the small digits of scikit-learn, as left half, right half and label, with half of each missing at random:

# %%
digits = load_digits()
images, y = digits.images.astype("float32")/16, digits.target
items = {"left": images[:, :, :4].reshape(-1, 32), "right": images[:, :, 4:].reshape(-1, 32),
         "label": np.eye(10, dtype="float32")[y]}
first, last = slice(1400), slice(1400, None)
train, test = ({n: x[part] for n, x in items.items()} for part in (first, last))
there = torch.rand(1400, 3, generator=generator("holes")) < .5
there[~there.any(1), 0] = True                                       # something must be there
data = TensorData(train, present=there, labels=y[:1400], name="digits")
assert len(data.complete()) == there.all(1).sum() and data.checksum != TensorData(train).checksum
data

# %%
for bad in [lambda: TensorData(train, present=there[:9]),
            lambda: TensorData(train, present=there & False),
            lambda: TensorData({"a": [[1., 2.], [np.nan, 2.]]}, present="given")]:
    try: bad()
    except MmvaeError as e: print(e)
    else: raise AssertionError("let through")

# %% [markdown]
# ## What each method makes of it
#
# | method | an item with the modalities $A$ | from |
# |---|---|---|
# | MVAE | the product of the experts in $A$ and the prior, and (1) | Wu and Goodman, 2018 |
# | MMVAE | the mixture of the experts in $A$; reconstruct $A$ | Shi et al., 2019 |
# | MoPoE | the products over all non-empty subsets *of $A$* | Sutter et al., 2021 |
# | MVTCAE | its formula with $\lvert A \rvert$ in place of $M$; of one modality, $(1 - \alpha)$ times (1): there is no total correlation of one thing | lesson 06 |
# | CRMVAE | its sums over $A$; of one modality, (1) | lesson 06 |
# | JMVAE-kl | with all: as always. Else (1) with the product of its unimodal encoders, which is what it infers with then | ours |
# | `JVAEWithStudents` | the same as JMVAE-kl | ours |
# | iterative teacher | starts from a modality in $A$, refined by the gradient of (1), $T$ times; continued refinements are kept for each pattern | ours |
# | its students, and others' | the students in $A$ imitate what the teacher infers from $A$ | ours |
# | JVAE | can't: its one encoder has no input for what is missing. Train it, and distil it, on `data.complete()` | |
#
# The prior joins MoPoE's product of *all* modalities only, so that $q_A$ is the same function of $x_A$ whether the item has more or not. In training, JMVAE's warm-up counts updates with complete items.
# What the refined teacher `infer`s is still from all modalities; a part is for its students.

# %%
gaussian = lambda s: replace(s, likelihood=Gaussian(.2))
specs = {n: s if n == "label" else gaussian(s) for n, s in default_specs(data.modalities).items()}
batch, _ = data.take(64)
for kind in (MoPoE, MVAE, MVTCAE):
    seed_everything(0, "lesson"); model = kind(specs, 8)
    total, parts = model(batch)                                      # any pattern
    assert isinstance(model(batch), Loss) and total.isfinite()
    assert {"left", "right", "label"} <= set(parts)
    assert len(infer_each(model, batch)) == 64
try: JVAE(specs, 8)(batch)
except MmvaeError as e: print(e)

# %% [markdown]
# ## Is it worth it?
#
# Three trainings of a MoPoE of the same size: on the complete items, on all items with zeros for what is missing, and on all items as they are. A classifier of real right halves reads the digit from
# right halves that were made from left ones.

# %%
judge = LogisticRegression(max_iter=500).fit(train["right"], y[:1400])
filled = {n: x*m[:, None].numpy() for (n, x), m in zip(train.items(), there.T)}
def read(data, updates=600):
    "The share of digits read rightly from made right halves."
    seed_everything(0, "lesson"); model = MoPoE(specs, 8)
    fit(model, data, updates, batch_size=64, lr=2e-3, progress=False, device="cpu")
    given = {"left": torch.tensor(test["left"])}
    with torch.no_grad(): right = model.generate(given, "right")["right"]
    return judge.score(right, y[1400:])

found = {"complete items": read(data.complete()), "zeros": read(TensorData(filled)),
         "all items": read(data)}
assert found["all items"] > found["zeros"]
{k: round(v, 3) for k, v in found.items()}

# %% [markdown]
# So much for one method and one seed. The report on missing data (`nbs/experiments/missing_data.ipynb`, which says how it is made) has every method, 0 to 75 % missing in each modality, and three seeds, on the same digits in halves and their label. Each model had 600 updates and its students 300, whatever it was trained on. How often the right digit is read from what was drawn, the mean over all directions:

# %%
import pandas as pd
from mmvae_nb.experiments.table import show_names
from mmvae_nb.plotting import method_name
show_names()
def read_csv(name):
    "One of the tables that were measured, with the methods' names."
    told = pd.read_csv(f"../results/missing/{name}.csv", dtype={"missing": str})
    named = lambda m: "JVAE's student" if m == "jvae_student" else method_name(m)
    return told.assign(method=told.method.map(named)).rename(columns={"trained_on": "trained on"})

def shown(table):
    "Three decimals; what is not there is the line above, or can't be done."
    absent = lambda key: "can't" if "all items" in key else "as above"
    cell = lambda key, v: absent(key) if pd.isna(v) else f"{v:.3f}"
    rows = [[cell(key, v) for v in row] for key, row in zip(table.index, table.values)]
    columns = ["/".join(f"{share} %" for share in c.split("/")) for c in table.columns]
    return pd.DataFrame(rows, table.index, pd.Index(columns, name=table.columns.name))

told, by = read_csv("missing_digits_halves"), ["method", "trained on", "missing"]
means = told.groupby([*by, "seed"]).coherence.mean().groupby(by).agg(["mean", "std"])
shown(means["mean"].unstack("missing")[["0", "25", "50", "75", "40/40/70"]])

# %% [markdown]
# (The columns say how much is missing of each modality. With nothing missing all items are complete, so there is one line for each method. "Can't": a JVAE has no loss for an item with a hole, so its student is trained on complete items only. The last column has 40 % of the halves missing and 70 % of the labels; chance is 0.1. The standard deviation over the seeds is printed below.) Read the two lines of each method. With this few updates the incomplete items mostly do *not* pay: up to half missing the lines differ by little, or the complete items are ahead, although there are few of them; JMVAE and CRMVAE lose a lot. An item with one modality teaches nothing about what goes with it, and it takes a place in the batch from one that would. Two lines gain for a reason. MVTCAE is ahead where little is complete (75 %), and MVAE, whose experts are otherwise never asked alone (lesson 05), gets from holes the practice that it lacks.
#
# Is it the length? A few complete items are soon known by heart, and then they have no more to give. MoPoE again, with 3,000 updates in place of 600:

# %%
longer = read_csv("missing_digits_halves_longer")
long_means = longer.groupby([*by[1:], "seed"]).coherence.mean().unstack("missing")
lead = (long_means.loc["all items"] - long_means.loc["complete items"])[["40/40/70", "75"]]
assert (lead > 0).all(axis=None)                         # with every seed
print("standard deviation over the seeds, mean over all lines:", round(means["std"].mean(), 3))
shown(long_means.groupby("trained on").mean()[["0", "75", "40/40/70"]])

# %% [markdown]
# Now all items are ahead, with each of three seeds, and more so where less is complete. So the verdict depends on the length: train both ways, for as long as you can afford, and compare.

# %% [markdown]
# The same on the triples of digit, street number and word (real data, 55,000 items, 600 updates of 64, three seeds). That is *less than one pass* over the items, so most models have learnt little yet, and chance is 0.1:

# %%
triples = read_csv("missing_mnist_svhn_text")
whole = triples[triples["trained on"] == "complete items"].groupby("missing")["items"].first()
print("complete items, by per cent missing:", whole.to_dict())
means = triples.groupby([*by, "seed"]).coherence.mean().groupby(by)
print("standard deviation over the seeds, mean over all lines:", round(means.std().mean(), 3))
ours = triples[triples.method == "Iterative student"].groupby(["missing", "seed", "trained on"])
ours = ours.coherence.mean().unstack().drop("0")                    # with every seed:
assert len(ours) == 9 and (ours["complete items"] > ours["all items"]).all()
shown(means.mean().unstack("missing"))

# %% [markdown]
# From half missing on nearly everybody is better off with the few complete items, the more so the fewer there are: they are met again and again while the others are met once at most. So this table is about learning speed, as the first one was, and not about what holes cost in the end. Only iterative students have learnt enough for a comparison, and for them the complete items are ahead at every share, with every seed, by little at 25 % and by much at 75 %.

# %% [markdown]
# ## Beside other code
#
# MultiVae trains its MoPoE on incomplete items, too. It goes the other way of the two above: all encoders run on all items, zeros included, and masks take out what is not there. Is one of the two ahead? To know that, everything but the code of the loss has to be equal: items, holes, batches, networks, first weights, optimiser, schedule, and who draws and who judges.
#
# ```
# .venv-bench/bin/python tools/missing_peer.py --seeds 3 --updates 600 3000 \
#     --missing 0 40/40/70 --who ours peer
# .venv-bench/bin/python tools/missing_peer.py --seeds 3 --updates 600 --missing 0 40/40/70
# ```
#
# "ours" draws one subset for each item, as `MoPoE` does by default; "ours, all subsets" is `exact=True`. "peer" is MultiVae's loss in our `fit`; "peer's trainer" is its own loop about as long, with a constant rate. The last columns are the mean over all nine directions, its lead over "peer" from seed to seed (mean and 95 % interval, `seed_interval` of lesson 03a), and the processor's seconds.

# %%
from mmvae_nb.metrics import seed_interval
beside = pd.read_csv("../results/missing/peer.csv", dtype={"missing": str})
beside["direction"] = beside.given + " → " + beside.to
by = ["missing", "updates", "who"]
def lead(rows):
    "Mean and interval of the lead over the peer, by (missing, updates, who)."
    seeds = rows.groupby([*by, "seed"]).coherence.mean()
    than = lambda key: seeds[key] - seeds[(*key[:2], "peer")]
    keys = [key for key in rows.groupby(by).groups if key[2] != "peer"]
    return {key: seed_interval(than(key))[:3] for key in keys}

leads = lead(beside)
ways = ["left → right", "right → left", "left+label → right", "right+label → left"]
table = beside.pivot_table("coherence", by, "direction")[ways]
table["all"] = beside.groupby(by).coherence.mean()
table = table.round(3)
said = lambda key: "{:+.3f} [{:+.3f}, {:+.3f}]".format(*leads[key])
table["lead"] = ["" if key[2] == "peer" else said(key) for key in table.index]
table.assign(seconds=beside.groupby(by).cpu_seconds.mean().round(1))

# %%
assert all(low < 0 < high for key, (_, low, high) in leads.items() if key[2] == "ours")
for direction, rows in beside[beside.who.isin(["ours", "peer"])].groupby("direction"):
    for (share, updates, _), (mean, low, high) in lead(rows).items():
        if low <= 0 <= high: continue
        print(f"{direction}, {share} missing, {updates} updates: "
              f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]")

# %% [markdown]
# Neither is ahead. Over all directions the interval of ours against the peer's loss holds zero in each of the four comparisons, with holes and without. That is to be expected: with the noise taken out, both losses of a batch with holes, averaged over the subsets, are the same number (`tests/test_missing_peer.py`), and only what is drawn differs. Printed above are the single directions, four of 36, whose interval leaves zero out, where chance would give one or two. Three of the four are for the peer, by 0.013 to 0.018, on complete items after 3,000 updates. With holes there is no such lead. What does make a difference after 600 updates? First the drawing: with all subsets in the loss MoPoE is ahead of "peer", which takes one an item, for 1.2 to 1.6 times the seconds of ours with one. And the loop: the peer's trainer is ahead of the peer's own loss in our `fit`. One thing it does otherwise is to keep the rate high to the end, which pays in a short training (lesson 02g). A pass with masks costs less than one for each pattern, as the seconds say: small networks on small batches are the case in which patterns are dear.

# %% [markdown]
# ## What goes wrong, and how you would notice
#
# - *Zeros for what is missing.* It trains without a word, and the model makes half of its pictures black. Compare with `data.complete()`.
# - *A test set with holes.* `evaluate` measures on complete items. Hide modalities yourself, as it does, so that there is something to compare with.
# - *Not missing at random.* No loss shows it. Ask how the holes came about.
# - *A mean that is not over all items.* `parts["left"]` is over items with a left half; `total` is over all.
# - *Several processes for one model.* A process whose batch lacks a modality altogether has no gradient for its networks, and others wait for it: take large batches, or one process.
#
# ## Recap
#
# - What is there has a bound of its own, and every item adds its own.
# - A batch carries a mask in `"present"`; `model(batch)` takes each pattern as an ordinary batch.
# - All methods but the JVAE and its students train on it; those two need `data.complete()`.
#
# ## Exercises
#
# 1. Five modalities, half of each missing at random, batches of 64: how many patterns are possible, and about how many occur in a batch?
# 2. Why is the weight in (2) $n_A/n$ and not one over the number of patterns?
# 3. For an item with one modality MVTCAE's loss is $(1 - \alpha)$ times a VAE's. What does that mean for data in which most items have just one?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. 31 and, since each of the 32 (with the empty one) has chance 1/32, about $31\,(1 - (31/32)^{64}) \approx 27$. Groups of two items each: a pass per pattern is slow there.
# 2. Otherwise an item of a rare pattern would count more than one of a frequent pattern.
# 3. With $\alpha = 5/6$ their gradient counts a sixth of what it does in a VAE, against $1 - \alpha/M$ for complete ones: they train little. Choose a smaller $\alpha$.
# :::
#
# ## References
#
# - M. Wu, N. Goodman, [Multimodal generative models for scalable weakly-supervised learning](https://arxiv.org/abs/1802.05335), NeurIPS 2018.
# - Y. Shi et al., [Variational mixture-of-experts autoencoders](https://arxiv.org/abs/1911.03393), NeurIPS 2019.
# - T. Sutter, I. Daunhawer, J. Vogt, [Generalized multimodal ELBO](https://arxiv.org/abs/2105.02470), ICLR 2021.
# - D. Rubin, [Inference and missing data](https://doi.org/10.1093/biomet/63.3.581), Biometrika 1976.
# - A. Senellart, C. Chadebec, S. Allassonnière, [MultiVae](https://github.com/AgatheSenellart/MultiVae): masks for incomplete data in several of these models.
