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

# %%
#| default_exp signatures

# %%
#| export
import difflib, functools, inspect, numbers, types, typing
import torch
from collections.abc import Callable, Mapping
import numpy as np
from mmvae_nb.core import *

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
# Refinement differentiates inside, also when the caller asks for no gradient. Under `torch.inference_mode` that is impossible, so it is said before anything else.

# %%
#| exports
def needs_gradients(what):
    "Refuse to begin under `torch.inference_mode`, where nothing can be differentiated."
    if torch.is_inference_mode_enabled():
        raise MmvaeError(f"{what}: got called under torch.inference_mode, allowed: torch.no_grad, "
                         "or neither, as it takes gradients of its own")


# %%
needs_gradients("refine")
try:
    with torch.inference_mode(): needs_gradients("refine")
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
