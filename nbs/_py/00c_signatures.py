# %% [markdown]
# # What a signature says
#
# > Annotations that editors show, and that a call is held to.
#
# ::: {.callout-note}
# ## You will learn
#
# - how a wrong argument ends up far from the call that it belongs to;
# - how annotations refuse it at the door, in one line.
#
# Runs in a second on a laptop CPU. You can skip this lesson on a first reading.
# :::

# %% [markdown]
# ![Drawing: a call with a list where a dict belongs; unchecked it passes three functions and fails far inside, checked it is refused at once in one line that names the argument.](drawings/door.svg)

# %%
#| default_exp signatures

# %%
#| export
import dataclasses, difflib, functools, inspect, math, numbers, re, types, typing, warnings
import torch
from collections.abc import Callable, Mapping
import numpy as np
from mmvae_nb.core import *
from mmvae_nb.missing import dense

# %% [markdown]
# ## Far from home
#
# `JVAE([encoder, decoder])` gives a list where a dict belongs. Python does not mind; some function below asks the list for its `items`, and the message is about an attribute of a list, in a file that the user never
# opened. Each public function could begin with a line for each argument. But the line is there already: the annotation, which editors and type checkers read. So we let the call read it, too.
#
# What fits: a whole number fits `float`, `True` fits neither `int` nor `float`, NumPy's numbers count as Python's, and the names and values of a `dict[str, ModalitySpec]`, or the items of a `list[str]`, are looked at one by one. An annotation that
# is no class (a string of a protocol, `Any`) is for people, and is left alone.

# %%
#| exports
_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text",
          type(None): "None", typing.Any: "anything", Callable: "a function"}

def _fits(value, kind):
    "Is `value` what an annotation says?"
    origin, inside = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (types.UnionType, typing.Union): return any(_fits(value, k) for k in inside)
    if kind in (int, float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, (bool, np.bool_))
    if kind is bool: return isinstance(value, (bool, np.bool_))
    if kind is typing.Any or not isinstance(origin, type): return True
    if getattr(origin, "_is_protocol", False): return True
    if not isinstance(value, origin): return False
    if inside and issubclass(origin, Mapping):
        return all(_fits(n, inside[0]) and _fits(v, inside[1]) for n, v in value.items())
    many = inside and issubclass(origin, (list, tuple))          # tuple[str, ...]: texts only
    return not many or all(_fits(v, inside[0]) for v in value)

def _in_words(kind):
    "An annotation as a person would say it."
    origin, inside = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (types.UnionType, typing.Union): return " or ".join(map(_in_words, inside))
    if kind in _WORDS: return _WORDS[kind]
    name = f"a {getattr(origin, '__name__', origin)}"
    if not inside or not isinstance(origin, type): return name
    what = _in_words(inside[-1 if issubclass(origin, Mapping) else 0]).removeprefix("a ")
    if issubclass(origin, Mapping): return f"{name}: name -> {what}"
    return f"{name} of {what}s" if issubclass(origin, (list, tuple)) else name

def _check(hints, given):
    "Refuse the first value that is not what its annotation says."
    for name, value in given.items():
        if name in hints and not _fits(value, hints[name]):
            shown = " ".join(repr(value).split())
            raise MmvaeError(f"{name}: got {shown[:60]}{'...'*(len(shown) > 60)}, allowed: "
                             f"{_in_words(hints[name])}")


# %%
class Spec: pass

hint = dict[str, Spec] | None
assert _fits(None, hint) and _fits({"a": Spec()}, hint) and not _fits({"a": 3}, hint) and not _fits([Spec()], hint)
assert _fits(3, float) and _fits(np.float32(3), float) and _fits(np.int64(3), int) and not _fits(3., int)
assert not _fits(True, int) and _fits(np.True_, bool) and not _fits(1, bool) and _fits("x", typing.Any)
assert _fits(("x",), tuple[str, ...]) and not _fits(["x", 1], list[str])
_in_words(hint), _in_words(int | None), _in_words(tuple[str, ...] | list[int])


# %% [markdown]
# `checked` wraps a function. The names in the line are those of the signature, so who reads it knows where to look. A call that lacks an argument is Python's to explain. A keyword that is none of its own is not: where a function
# hands keywords on (`TensorData` to `MultimodalData`), Python's message names the inner one, which nobody called. So `checked` names the outer one, and the word that was probably meant. For
# a dataclass, `check_fields` does the same with its fields.

# %%
#| exports
class _Unknown(MmvaeError, TypeError): "A keyword that a call does not have; to Python a TypeError."

def _check_words(function, args, given, allowed):
    "Refuse the first keyword that is none of those allowed, in the name of what was called."
    wrong = next((n for n in given if n not in allowed), None)
    if wrong is None: return
    name = function.__name__ if function.__name__ != "__init__" else type(args[0]).__name__
    near = difflib.get_close_matches(wrong, allowed, 1)
    raise _Unknown(f"{name}: got {wrong}, allowed: {', '.join(allowed)}"
                   f"{f' (did you mean {near[0]}?)' if near else ''}")

def _words(function, passes_to):
    "The keywords of a function, and of what it hands others on to; None if it takes any."
    own, more = [list(inspect.signature(f).parameters.values()) if f else []
                 for f in (function, passes_to)]
    if any(p.kind is p.VAR_KEYWORD for p in own) and not passes_to: return None
    named = [p.name for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    further = [p.name for p in more if p.default is not p.empty]     # it gives the others itself
    return [n for n in dict.fromkeys(named + further) if n != "self"]

def checked(function=None, # with annotations
            passes_to=None # the function that gets its further keywords, if it takes some
           ) -> Callable:
    "The same function, which refuses what its annotations rule out before it does anything."
    if function is None: return functools.partial(checked, passes_to=passes_to)
    signature, known, words = inspect.signature(function), [], _words(function, passes_to)
    @functools.wraps(function)
    def asked(*args, **kwargs):
        if not known: known.append(typing.get_type_hints(function))       # all names exist by now
        if words is not None: _check_words(function, args, kwargs, words)
        try: given = signature.bind(*args, **kwargs).arguments
        except TypeError: given = {}                       # the call below says what is wrong
        _check(known[0], given)
        return function(*args, **kwargs)
    return asked

@functools.lru_cache(maxsize=None)
def _hints_of(cls): return typing.get_type_hints(cls)

def check_fields(made # a dataclass
                ):
    "Refuse a field that its annotation rules out."
    _check(_hints_of(type(made)), vars(made))


# %%
from dataclasses import dataclass

@checked
def model(specs: dict[str, Spec], # name -> spec
          latent: int = 20, # latent coordinates
          name: str | None = None): return latent

@dataclass(frozen=True)
class Item:
    name: str
    def __post_init__(self): check_fields(self)

assert model({"a": Spec()}, latent=np.int64(3)) == 3
for call in (lambda: model([Spec()]), lambda: model({"a": 3}), lambda: model({}, 2.5), lambda: model({}, name=b"x"),
             lambda: Item(3)):
    try: call()
    except MmvaeError as e: print(e)
    else: raise AssertionError("it was let through")
try: model()
except TypeError as e: print(e)

@checked(passes_to=model)
def outer(name: str, **kwargs): return model({}, name=name, **kwargs)

for call in (lambda: outer("x", latents=3), lambda: outer("x", specs={}), lambda: model({}, latnt=3)):
    try: call()
    except TypeError as e: print(e)                         # of both kinds: also a MmvaeError
    else: raise AssertionError("it was let through")
assert outer("x", latent=3) == 3


# %% [markdown]
# ## What some calls need
#
# Refinement differentiates inside, also when the caller asks for no gradient. Under `torch.inference_mode` that is impossible, so it is said before anything else. A training takes the gradients as they are switched, so `torch.no_grad` is refused there, too.

# %%
#| exports
def needs_gradients(what, # is called
                    own=True # does it switch gradients on itself, so that `torch.no_grad` may be?
                   ):
    "Refuse to begin under `torch.inference_mode`, where nothing can be differentiated."
    if torch.is_inference_mode_enabled():
        raise MmvaeError(f"{what}: got called under torch.inference_mode, allowed: "
                         f"{'torch.no_grad, or neither' if own else 'neither it nor torch.no_grad'}"
                         ", as it takes gradients of its own")
    if not own and not torch.is_grad_enabled():
        raise MmvaeError(f"{what}: got called under torch.no_grad, allowed: outside of it, as it "
                         "learns from gradients")


# %%
needs_gradients("refine")
try:
    with torch.inference_mode(): needs_gradients("refine")
except MmvaeError as e: print(e)
else: raise AssertionError


# %% [markdown]
# ## Tables, keys, names
#
# Some values need more than a type. Tables of pandas carry an index, and what is made of a table remembers it, so we can see whether row $i$ is the same item in all of them; a column of numbers that are stored as text is no column of classes; keys of partners may be NumPy's or a table's as long as they are whole numbers;
# a shape and a vocabulary have rules of their own; and numbers far from mean 0 and deviation 1 are let through, with a warning. Strings become the numbers of their tokens here, too.

# %%
#| exports
def index_of(x # data frame, series, or what is made of one; others have none
            ):
    "The index of its rows, or None."
    return x.index if hasattr(x, "iloc") else getattr(x, "index_of_rows", None)

class _Rows(torch.Tensor):
    "Rows that know their index, and so do their slices; files, copies and results are plain."
    __torch_function__ = torch._C._disabled_torch_function_impl          # as torch's own Parameter
    def plain(self): return self.as_subclass(torch.Tensor)
    def __getitem__(self, key):
        made, rows = super().__getitem__(key), key[0] if isinstance(key, tuple) and key else key
        if not isinstance(rows, slice):
            if isinstance(rows, torch.Tensor): rows = rows.cpu()
            rows = np.asarray(rows)
            if rows.ndim != 1 or rows.dtype.kind not in "biu": return made
        return with_index(made, self.index_of_rows[rows])
    def __reduce_ex__(self, protocol): return self.plain().__reduce_ex__(protocol)
    def __deepcopy__(self, memo): return self.plain().clone()
    def __repr__(self): return repr(self.plain())
    def double(self): return with_index(super().double(), self.index_of_rows)
    def half(self): return with_index(super().half(), self.index_of_rows)
    def detach(self): return with_index(super().detach(), self.index_of_rows)

def with_index(made, # a tensor, a row for each of
               table # a data frame, a series or their index; others have none
              ) -> torch.Tensor:
    "The same tensor, which remembers the index of its rows for `one_index`."
    index = table if hasattr(table, "get_indexer") else index_of(table)
    if index is None: return made
    made = made.as_subclass(_Rows); made.index_of_rows = index
    return made

def as_names(given # of classes: list, tuple, array or index of texts; or None
            ):
    "The same as a list."
    if given is None or isinstance(given, (list, tuple)): return given
    if isinstance(given, (str, set, Mapping)) or not np.iterable(given):
        raise MmvaeError(f"class_names: got {given!r:.60}, allowed: a list of texts, each once")
    return [n.item() if hasattr(n, "item") else n for n in given]

def one_index(tables # dict: name -> anything, or a dict; only what has an index is looked at
             ):
    "Refuse tables and series of pandas whose indexes differ: row i would be another item."
    flat = {}
    for n, x in tables.items():
        flat |= {f"{n}, {k}": v for k, v in x.items()} if isinstance(x, Mapping) else {n: x}
    known = {n: i for n, x in flat.items() if (i := index_of(x)) is not None}
    first = next(iter(known), None)
    for n, index in known.items():
        if len(index) == len(known[first]) and not index.equals(known[first]):
            raise MmvaeError(f"{n}: got a table with another index than that of {first}, allowed: "
                             "one index for all (`x.loc[other.index]` puts rows in its order, "
                             "`x.to_numpy()` says that row i is item i)")

def as_frame(name, # for messages
             x # a data frame
            ):
    "The same; `MmvaeError` for what is no data frame, or has two columns of one name."
    if not hasattr(x, "iloc") or x.ndim != 2:
        raise MmvaeError(f"{name}: got a {type(x).__name__}, allowed: a data frame")
    for n in x.columns[x.columns.duplicated()]:
        raise MmvaeError(f"columns of {name}: got {n!r} twice, allowed: each name once")
    return x

def classes_of(name, # for messages
               x # a column of a table
              ) -> tuple: # (how many, list)
    "How many classes a column has that holds no numbers, and which."
    refuse = lambda got, allowed: MmvaeError(f"{name}: got {got}, allowed: {allowed}")
    if getattr(x.dtype, "kind", "") in "mM":
        raise refuse(f"times ({x.dtype})", "numbers, such as the days since the first, or classes, "
                     "such as the weekday")
    try: classes = sorted(x.unique(), key=str)
    except TypeError: raise refuse(f"a {type(x.iloc[0]).__name__} in a column",
                                   "one number or one class in a row") from None
    if x.dtype.name != "category" and all(map(_looks_like_a_number, classes)):
        raise refuse(f"numbers or dates as {type(classes[0]).__name__} ({classes[0]!s:.20}) in a "
                     f"column of {x.dtype}", "numbers (`pandas.to_numeric`; of dates, days since "
                     "the first), or classes that are said to be such (`x.astype('category')`)")
    if len(classes) > max(10, len(x)//2):
        raise refuse(f"{len(x)} rows of {len(classes)} classes", "classes that come again (names "
                     "and numbers of items are no data: leave them out)")
    if len(classes) > 1: return len(classes), classes
    raise refuse("one class only", "a column that varies")

_DATE = (r"^(\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4}"
         r"|\d{1,2}[-/]\d{1,2}[-/]\d{1,2})$")                    # and 1.0.2 is a version

def _looks_like_a_number(v):
    if isinstance(v, (bool, np.bool_)): return False
    if isinstance(v, str):                                       # 7 %, 3,5 or 4 EUR; 2024-01-16
        v = re.sub(_DATE, "0", v.strip()).replace(",", ".")
        v = v.strip("%\u20ac$\u00a3\u00a5 ").removesuffix("EUR").removesuffix("USD")
    try: return math.isfinite(float(v))
    except (TypeError, ValueError): return False

def as_keys(what, # how an error calls them
            given, # dict: name -> tensor, array, list or series of whole numbers; or None
            names, # of the modalities
            pools=() # dict: name -> the items they are of, whose index must be theirs
           ) -> dict | None: # name -> tensor
    "Classes of items, or other keys of partners, as tensors."
    if not isinstance(given, Mapping | None):
        raise MmvaeError(f"{what}: got a {type(given).__name__}, allowed: a dict, "
                         "name -> one whole number for each item")
    for n in given or {}: one_of(what, n, names)
    for n in pools and given or {}: one_index({n: pools.get(n), f"{what} of {n}": given[n]})
    return given and {n: _key(f"{what} of {n}", x) for n, x in given.items()}

def _key(what, x):
    if isinstance(x, torch.Tensor): return x
    if np.ma.is_masked(x):
        raise MmvaeError(f"{what}: got a masked array, whose mask would be lost, allowed: whole "
                         "numbers, one for each item (leave out what has none)")
    x = np.asarray(x)
    if x.dtype.kind in "iu": return torch.as_tensor(x.astype(np.int64))
    got = "strings" if x.dtype.kind in "OSU" else f"an array of {x.dtype}"
    raise MmvaeError(f"{what}: got {got}, allowed: whole numbers, one for each item "
                     "(`pandas.Categorical(x, categories=names).codes`, with the same names for "
                     "all modalities and splits, makes them)")

def check_key(what, # how an error calls the dict
              key, # of the dict
              modality # what it holds: a `Modality`, or None
             ):
    "Refuse a modality under another name than its own."
    if (name := getattr(modality, "name", key)) == key: return
    raise MmvaeError(f"{what}: got {name!r} under the key {key!r}, allowed: {name!r}, its own name")

def check_column(c, of="columns"):
    "Refuse what is no kind of a column of a table."
    if isinstance(c, int) and not isinstance(c, bool): in_range(f"classes in {of}", c, low=2)
    else: one_of(of, c, ["number", "count", "binary"])

def check_item(modality # a `Modality`
              ):
    """Refuse a shape that no item has, a token that is no text, and one that is there twice: it
    would have two numbers. The shape becomes a tuple of Python's numbers."""
    shape = [in_range(f"shape of {modality.name}", n, 1, 10**7, True) for n in modality.shape]
    object.__setattr__(modality, "shape", tuple(shape))
    tokens, seen = modality.vocabulary if modality.kind in ("text", "categories") else (), set()
    for t in tokens:
        if not isinstance(t, str):
            raise MmvaeError(f"vocabulary of {modality.name}: got {t!r}, allowed: texts, such as "
                             f"{str(t)!r}")
        if t in seen:
            raise MmvaeError(f"vocabulary of {modality.name}: got {t!r} twice, allowed: once")
        seen.add(t)
    if modality.kind != "table": return
    for c in modality.vocabulary: check_column(c, f"vocabulary of {modality.name}")
    if len(modality.vocabulary) != modality.shape[0]:
        raise MmvaeError(f"vocabulary of {modality.name}: got the kinds of "
                         f"{len(modality.vocabulary)} columns, allowed: {modality.shape[0]}, one "
                         "for each of its shape")

def check_keys(name, labels, pool, what="labels"):
    "Refuse labels, or other keys of partners, that are not one whole number for each item."
    dense(f"{what} of {name}", labels)
    if labels.dtype != torch.int64 or labels.shape != (len(pool),):
        raise MmvaeError(f"{what} of {name}: got {tuple(labels.shape)} of {labels.dtype}, "
                         f"allowed: ({len(pool)},) of torch.int64")

def check_about(data # a `MultimodalData`
               ):
    "Refuse what is said of data in another form than pages and tables show it."
    refuse = lambda what, got, allowed: MmvaeError(f"{what}: got {got!r:.60}, allowed: {allowed}")
    names = data.class_names
    if names is not None and (isinstance(names, str) or not all(isinstance(n, str) for n in names)
                              or len({*names}) < len(names)):
        raise refuse("class_names", names, "a list of texts, each once")
    for what in ("provenance", "terms"):
        said = getattr(data, what)
        if not isinstance(said, Mapping) or not all(isinstance(v, str) for v in said.values()):
            raise refuse(what, said, "a dict, name of a modality -> text")
        for n in said: one_of(what, n, data.modalities)
    if not isinstance(data.real, bool | np.bool_): raise refuse("real", data.real, "True, False")
    if not isinstance(data.split_rule, str): raise refuse("split_rule", data.split_rule, "a text")

def warn_of_dark(name, # of a modality
                 x, # images
                 few=False # a batch in use, which may be a dark one?
                ):
    "Warn of images that are nearly black, by a mistake of scale: labels as bytes, or /255 twice."
    dark = (1 if few else 5) if x.dtype == torch.uint8 else .004 if few else .02
    if not x.numel() or not 0 < (most := x.max().item()) <= dark: return
    warnings.warn(f"{name}: got images of {x.dtype} up to {most:.2g}, which is nearly black: bytes "
                  "are white at 255 (0 and 1 are `x*255`), floats at 1", stacklevel=6)

_CODES = {s*float("9"*n) for s in (1, -1) for n in range(2, 8)} | {32767., 65535., -32768.}

def warn_of_codes(name, # of a modality, or of a column
                  x, # tensor (items, columns), in the units of whoever measured it
                  names=() # of the columns, where they have some
                 ):
    "Warn of a column's largest or smallest value if it comes again and is a usual code for a gap."
    if x.ndim != 2 or len(x) < 10: return
    x = x[::1 + x.numel()//10**6]                        # it may be larger than memory
    for sign in (1, -1):
        v = sign*x.double()
        most, low = v.amax(0), v.amin(0)
        at = v == most
        rest, times = v.masked_fill(at, -math.inf).amax(0), at.sum(0)
        alone = (rest <= 0) & (most > 0) & (sign < 0)      # the only one below zero
        far = (times > 1) & (2*times < len(v)) & (rest > low) & (alone | (most - rest > rest - low))
        for i in far.nonzero().flatten().tolist():
            if sign*most[i].item() not in _CODES: continue
            where = f"column {names[i]!r}" if len(names) else f"column {i}"
            warnings.warn(f"{name}: {int(times[i])} of {len(x)} items have {sign*most[i]:g} in "
                          f"{where}, far from all others: a code for what is missing? (nan and "
                          "`present`, or leave them out)", stacklevel=6)

def warn_of(name, kind, pool):
    "Warn of images of channels last or nearly black, and of numbers far from 0 and deviation 1."
    if kind == "image" and pool.shape[1] > 4 and pool.shape[3] in (1, 3, 4):
        warnings.warn(f"{name}: got items of shape {tuple(pool.shape[1:])}, which look like "
                      "(H, W, C), and (C, H, W) is expected: use `x.permute(0, 3, 1, 2)`",
                      stacklevel=6)
    if kind == "image": warn_of_dark(name, pool)
    if kind in ("vector", "counts"): warn_of_codes(name, pool)
    if kind == "categories" and (most := int(pool.max())) > 100 + 10*len(seen := pool.unique()):
        warnings.warn(f"{name}: got {len(seen)} classes with numbers up to {most}, and there will "
                      f"be {most + 1} of them: number them 0, 1, ... (a code such as 9999 is no "
                      "class: `present`)", stacklevel=6)
    if kind not in ("vector", "sequence"): return
    some = pool[::1 + pool.numel()//10**7].flatten(0, -2).double()
    spread, most = some.std(0, correction=0), some.mean(0).abs().max()
    wide = spread.max()                                  # narrow columns beside wide ones are usual
    far = most > 30*wide if wide > 0 else most > 30
    if far or wide > 0 and not .01 <= wide <= 100:
        warnings.warn(f"{name}: its columns have deviations from {spread.min():.2g} to {wide:.2g} "
                      f"and means up to {most:.2g}, and networks and likelihood expect a deviation "
                      "of about 1 around 0: use `Standardize`, or a likelihood with that scale",
                      stacklevel=6)


# %% [markdown]
# A token is a number only beside its vocabulary. So whoever hands data to a model that was made before has both compared: items of one shape, and the same tokens in the same order.
# A vocabulary that was guessed from numbers, ('0', '1', ...), has no names to compare, so it goes with any that is long enough.

# %%
#| exports
def same_modalities(model, # has `specs`, or is a `VAE`; others know nothing of modalities
                    data, # a `MultimodalData`; of others nothing is known
                    of="" # which data, for messages: " of validation"
                   ):
    "Refuse data of items of another shape than the model's, or of tokens that mean others."
    given = getattr(data, "modalities", None)
    for n, m in given.items() if isinstance(given, Mapping) else ():
        own = _modality_of(model, n)
        if own is None: continue
        if tuple(m.shape) != tuple(own.shape):
            raise MmvaeError(f"shape of {n}{of}: got {tuple(m.shape)}, allowed: that of the model, "
                             f"{tuple(own.shape)}")
        a, b = tuple(own.vocabulary or ()), tuple(m.vocabulary or ())
        nameless = len(b) <= len(a) and (_guessed(a) or _guessed(b))
        if a[:len(b)] == b or not a or nameless: continue
        i = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), len(a))
        raise MmvaeError(f"vocabulary of {n}{of}: got {_some(m.vocabulary)}, with {b[i]!r} as "
                         f"number {i}, allowed: that of the model, {_some(own.vocabulary)}, with "
                         f"{a[i] if i < len(a) else 'nothing'!r} there")

def _modality_of(model, name):
    "What a model says of a modality: None if it says nothing."
    specs = getattr(model, "specs", None) or {getattr(model, "name", ""): getattr(model, "spec", 0)}
    return getattr(specs.get(name), "modality", None) if isinstance(specs, Mapping) else None

def _guessed(vocabulary): return vocabulary == tuple(map(str, range(len(vocabulary))))

def _some(vocabulary):
    if isinstance(vocabulary, str): return f"{vocabulary[:40]!r}" + "..."*(len(vocabulary) > 40)
    return f"({', '.join(map(repr, vocabulary[:6]))}{', ...'*(len(vocabulary) > 6)})"

def better_known(model, # as `same_modalities` takes it, or one whose networks are its own
                 name, # of a modality
                 given # the same `Modality`, as data have it
                ):
    "The model's own, or the one given where the model's has no names of tokens."
    own = _modality_of(model, name)
    tokens = own and tuple(own.vocabulary or ())
    named = own and _guessed(tokens) and len(tokens) == len(given.vocabulary or ())
    return given if own is None or named else own

def same_specs(kept, # dict: name -> `Modality` or None, as a file says it
               given # dict: name -> `ModalitySpec`, to use in its place
              ) -> dict: # name -> `ModalitySpec`, with the file's names of tokens where it has none
    "Refuse specs of another shape, or of tokens that mean others, than a model was saved with."
    wrap = types.SimpleNamespace
    file = wrap(specs={n: wrap(modality=m) for n, m in kept.items()})
    mine = {n: m for n, s in given.items() if (m := getattr(s, "modality", None)) is not None}
    same_modalities(file, wrap(modalities=mine), " of specs")
    better = {n: better_known(wrap(specs=given), n, kept[n]) for n in given if kept[n] is not None}
    return given | {n: dataclasses.replace(given[n], modality=m) for n, m in better.items()}


# %%
#| exports
def tokens_of(modality, # a `Modality` of text or categories
              s # one string, or the classes of one item
             ) -> list: # of whole numbers
    "The token numbers of one string, filled up to the modality's length."
    number, length = _numbers(modality.vocabulary), modality.shape[0]
    parts, filler = _parts(modality, s, "<end>" in number)
    if len(parts) > length or filler is None and len(parts) < length:
        raise MmvaeError(f"{modality.name}: got {len(parts)} tokens in {s!r:.60}, allowed: "
                         f"{length}")
    parts += [filler] * (length - len(parts))
    for t in parts:
        if t not in number and "<unk>" not in number:
            some = ", ".join(map(repr, modality.vocabulary[:20])) + ", ..."*(len(number) > 20)
            raise MmvaeError(f"{modality.name}: got {t!r} in {s!r}, which is not in the "
                             f"vocabulary, allowed: {some}")
    return [number.get(t, number.get("<unk>")) for t in parts]

def _parts(modality, s, ends):
    "(Characters, words or classes of one item; what fills it up, or None)."
    one = isinstance(s, str) and modality.shape[0] > 1           # a class may have a blank in it
    if modality.kind == "categories" and not one:
        return (list(s) if isinstance(s, (list, tuple, np.ndarray)) else [s]), None
    if not isinstance(s, str):
        raise MmvaeError(f"{modality.name}: got {s!r:.40} in the list, allowed: strings")
    if modality.kind == "categories": return s.split(), None
    if isinstance(modality.vocabulary, str): return list(s), " "
    return s.split() + ["<end>"] * ends, "<pad>"

@functools.lru_cache(maxsize=None)
def _numbers(vocabulary): return {token: i for i, token in enumerate(vocabulary)}

def string_of(modality, # a `Modality` of text or categories
              row # the token numbers of one item
             ) -> str:
    "The string that they stand for."
    most = modality.num_tokens - 1
    parts = [modality.vocabulary[in_range(f"tokens of {modality.name}", i, 0, most, whole=True)]
             for i in row]
    if isinstance(modality.vocabulary, str): return "".join(parts)
    if "<end>" in parts: parts = parts[:parts.index("<end>")]
    return " ".join(t for t in parts if t != "<pad>")



# %%
import pandas as pd

a, b = pd.DataFrame({"x": [1., 2, 3]}), pd.DataFrame({"y": [4., 5, 6]}, index=[2, 0, 1])
one_index({"a": a, "b": b.loc[a.index], "an array": b.to_numpy()})
rows = with_index(torch.tensor(b.to_numpy()), b)             # as `Table` and `Standardize` give them
ids = as_keys("keys", {"photo": np.array([7, 8, 9], "int32")}, ["photo", "caption"])
assert ids["photo"].dtype == torch.int64
for refused in [lambda: one_index({"a": a, "b": b}), lambda: one_index({"a": a, "b": rows}),
                lambda: classes_of("income", pd.Series(["1000", "1037", "1000"])), lambda: as_keys("keys", {"photo": ["p7", "p8"]}, ["photo"]),
                lambda: check_item(types.SimpleNamespace(name="word", kind="text", shape=(8,), vocabulary="aab"))]:
    try: refused()
    except MmvaeError as e: print(e)
    else: raise AssertionError

# %% [markdown]
# ## Recap
#
# - Annotations say what a public function takes; `checked` holds the call to them, in one line that names the argument.
# - Bounds (at least 1, at most 0.99) are `in_range`'s, choices are `one_of`'s ([lesson 00](00_core.ipynb)).
#
# ## Exercises
#
# 1. Why are the annotations read at the first call and not where the function is defined?
# 2. `checked` costs some microseconds a call. Where must it not stand?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. An annotation may name a class that is defined further down; and reading none costs nothing at import.
# 2. In what is called for each batch: `infer`, `elbo`, a layer's `forward`. It would also hide them from `torch.export`, which follows the code.
# :::
#
# ## References
#
# - Python, [typing](https://docs.python.org/3/library/typing.html): `get_type_hints`, `get_origin`.
