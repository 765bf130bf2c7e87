# %% [markdown]
# # Training with modalities missing
#
# > Items that lack a part of their modalities are most of the data in practice; they train, too.

# %%
#| default_exp missing

# %%
#| export
import copy
import numpy as np
import torch
from mmvae_nb.core import *

# %%
#| exports
PRESENT = "present"   # key of the mask in a batch, so no name for a modality

def with_present(pools, # dict: name -> (n_m, ...) the items there are
                 index # dict: name -> (batch,) indices into them; -1: this item has none
                ) -> dict: # name -> (batch, ...), and `PRESENT` -> (batch, modalities) bool
    "The batch of these items. What is missing is nan, token -1 or black, and `PRESENT` says so."
    fill = lambda x: float("nan") if x.is_floating_point() else -1 if x.dtype.is_signed else 0
    def rows(x, i):
        lacks = (i < 0).view(-1, *[1]*(x.ndim - 1))
        return x[i.clamp(min=0)].masked_fill(lacks, fill(x))
    batch = {m: rows(pools[m], i) for m, i in index.items()}
    return {**batch, PRESENT: torch.stack([i >= 0 for i in index.values()], 1)}


# %%
#| exports
def patterns(batch # dict: name -> (batch, ...), perhaps with `PRESENT`
            ) -> list: # of (rows, their batch without what they lack), a pair for each pattern
    "Split a batch into parts whose items have the same modalities, as ordinary batches."
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


# %%
#| exports
def with_holes(tensors, # dict: name -> tensor, array, table, or list with None for what is missing
               present, # as `TensorData` takes it
               as_tensor # function: (name, rows) -> tensor
              ) -> tuple: # (dict of the rows that are there, dict of indices; None: nothing lacks)
    "Items that may lack modalities: those there are, and where each item is among them, or -1."
    for name, x in tensors.items():
        if not hasattr(x, "__len__"): as_tensor(name, x)               # says what is wrong with it
    sizes = {k: len(x) for k, x in tensors.items()}
    if len({*sizes.values()}) != 1:
        raise MmvaeError(f"tensors: got {sizes} items, allowed: the same number for all")
    said = _masks(present, list(tensors), max(sizes.values()))
    found = {k: _there(k, x, said.get(k), as_tensor) for k, x in tensors.items()}
    there = torch.stack([mask for _, mask in found.values()], 1)
    pools = {k: x for k, (x, _) in found.items()}
    if _something(there).all(): return pools, None
    return pools, {k: torch.where(m, m.cumsum(0) - 1, -1) for k, (_, m) in found.items()}

def _masks(present, names, n):
    "name -> (n,) bool for what `present` speaks of; nothing if the data are to say it."
    if isinstance(present, str):
        one_of(PRESENT, present, ["given"])
        return {}
    if not hasattr(present, "keys"):
        columns = _bool(PRESENT, present, (n, len(names)))
        return dict(zip(names, columns.unbind(1)))
    for k in present.keys(): one_of(PRESENT, k, names)
    all_there = torch.ones(n, dtype=torch.bool)
    return {k: _bool(f"{PRESENT}, {k}", present[k], (n,)) if k in present.keys() else all_there
            for k in names}

def _bool(name, x, shape):
    "A bool tensor of this shape."
    try: x = torch.as_tensor(x.to_numpy() if hasattr(x, "to_numpy") else x).cpu()
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
            raise MmvaeError(f"{what} of {m}: got {len(x)}, allowed: {len(rows[m])}, one of each "
                             "item")
    return {m: x[(rows[m] >= 0).to(getattr(x, "device", "cpu"))] for m, x in values.items()}


# %%
#| exports
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
