# %% [markdown]
# # States as numbers and words
#
# > What a training must remember, in a file that can't do anything but be read.
#
# ::: {.callout-note}
# ## You will learn
#
# - why the usual file of a state is a program;
# - how any state is taken apart into tensors and JSON, and put together again;
# - what survives exactly, and what is refused.
#
# Runs in a few seconds on a laptop CPU. You can skip this lesson on a first reading.
# :::

# %% [markdown]
# ![Drawing: a nested state is taken apart; its tensors go to a file of numbers, how they were nested goes as JSON into its header; a pickle is crossed out.](drawings/state.svg)

# %%
#| default_exp states

# %%
#| export
import contextlib, json, os
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from mmvae_nb.core import *

# %%
import pickle, random, tempfile
from pathlib import Path


# %% [markdown]
# ## A pickle is a program
#
# The usual way to keep the state of an optimiser is `torch.save`, which pickles. A pickle says how to *make* an object: call this function with
# these arguments. Which function is up to who wrote the file.

# %%
class Greeting:
    def __reduce__(self): return print, ("this line was printed by reading a file",)
pickle.loads(pickle.dumps(Greeting()))


# %% [markdown]
# It could have been any command. So our files hold numbers and words only. A state is nested: dicts and lists, with tensors, numbers and strings in them. The tensors go to a
# [safetensors](https://huggingface.co/docs/safetensors) file under the name of their place; how they were nested is JSON in that file's header. Then
# nothing that is read can run, and what is neither number nor word is refused when it is *written*.
#
# Three things must come back exactly, or a resumed training is another one: keys that are numbers (an optimiser counts its parameters), tuples (the state of Python's
# generator), and the order in memory of convolution weights (`channels_last`; a fused Adam walks through memory and not through indices).

# %%
#| exports
def packed(value, # a state
           tensors, # dict: filled with its tensors and arrays, by their place
           at="" # the place
          ): # -> what JSON can hold
    "A state without its tensors: how they were nested."
    if value is None or isinstance(value, (bool, int, float, str)): return value
    below = lambda k, v: packed(v, tensors, f"{at}.{k}".lstrip("."))
    if isinstance(value, dict): return {"dict": [[k, below(k, v)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [below(i, v) for i, v in enumerate(value)]}
    kind = "array" if isinstance(value, np.ndarray) else "tensor"
    if kind == "array": value = torch.from_numpy(value.copy())
    if not isinstance(value, torch.Tensor):
        raise MmvaeError(f"checkpoint: got a {type(value).__name__} at {at or 'the top'} of a "
                         "state, allowed: tensors, arrays, numbers, strings, dicts and lists")
    while at in tensors: at += "_"
    tensors[at] = value = value.detach().cpu()
    beside = value.dim() == 4 and not value.is_contiguous() and value.is_contiguous(
        memory_format=torch.channels_last)
    return {"channels_last" if beside else kind: at}

def unpacked(value, # what `packed` gave
             tensors # and filled
            ):
    "The state that `packed` took apart."
    if not isinstance(value, dict): return value
    (kind, v), = value.items()
    if kind == "dict": return {k: unpacked(x, tensors) for k, x in v}
    if kind == "list": return [unpacked(x, tensors) for x in v]
    if kind == "tuple": return tuple(unpacked(x, tensors) for x in v)
    if kind == "array": return tensors[v].numpy()
    if kind == "channels_last": return tensors[v].contiguous(memory_format=torch.channels_last)
    return tensors[v]


# %%
tensors = {}
about = packed({"step": 3, "moments": {0: torch.ones(2)}, "betas": (0.9, 0.999)}, tensors)
print(json.dumps(about), tensors, sep="\n")
assert str(unpacked(json.loads(json.dumps(about)), tensors)) == "{'step': 3, 'moments': {0: tensor([1., 1.])}, 'betas': (0.9, 0.999)}"


# %% [markdown]
# ## To a file and back

# %%
#| exports
@contextlib.contextmanager
def numbers_to(path):
    "As `atomic_path`; an error of safetensors, such as a full disk, is one line too."
    if "\0" in str(path): raise MmvaeError(f"path: got {str(path)!r}, allowed: one without \\0")
    try:
        with atomic_path(path) as tmp: yield tmp
    except SafetensorError as e: raise unwritable(path, str(e)[:80]) from e

def check_file(path, # anything
               allowed # what an error says it should be
              ):
    "Refuse what is no file: nothing, a folder, or a pipe, whose reader would wait forever."
    if not isinstance(path, (str, os.PathLike)):
        raise MmvaeError(f"path: got {path!r:.60}, allowed: {allowed}")
    if os.path.isfile(path): return
    what = "a folder" if os.path.isdir(path) else "a device or pipe" if os.path.exists(path) else \
           "no such file"
    raise MmvaeError(f"path: got {str(path)!r} ({what}), allowed: {allowed}")

def each_tensor_once(state # dict: name -> tensor
                    ) -> dict:
    "Without the further names of a tensor: students and their teacher share decoders."
    seen, out = set(), {}
    for name, v in state.items():
        place = v.untyped_storage().data_ptr(), v.storage_offset(), v.numel()
        if not v.numel() or place not in seen: out[name] = v
        seen.add(place)
    return out

def check_weights(what, # how an error calls them
                  model, # whose parameters must be finite; a buffer may hold infinity
                  state # dict: name -> tensor
                 ):
    "Refuse weights that are not finite: a model of them computes nothing."
    for n, _ in model.named_parameters(remove_duplicate=False):
        if n in state and not state[n].isfinite().all():
            raise MmvaeError(f"{what}: got {n} with numbers that are not finite, allowed: finite "
                             "weights (a training that failed leaves others)")

def halved(state # dict: name -> tensor
          ) -> dict:
    "The same in half precision; `MmvaeError` for what it can't hold."
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    for n, v in state.items():
        if v.is_floating_point() and (lost := half[n].isinf() & v.isfinite()).any():
            raise MmvaeError(f"half: got True with {v[lost][0].item():g} in {n}, allowed: False, "
                             "as half precision holds numbers up to 65504 only")
    return half

def _apart(tensors):
    "As safetensors can write them: contiguous, and no two in the same memory."
    seen, out = set(), {}
    for name, v in tensors.items():
        v = v.contiguous()
        place = v.untyped_storage().data_ptr()
        out[name] = v.clone() if place in seen else v
        seen.add(place)
    return out

def write_state(path, state):
    "Write a state to `path`, whole or not at all."
    tensors = {}
    text = json.dumps(packed(state, tensors))
    with numbers_to(path) as tmp: save_file(_apart(tensors), tmp, {"state": text})

def read_state(path):
    "The state that `write_state` wrote; tensors are on the CPU."
    try:
        with safe_open(path, "pt") as f:
            about = json.loads(f.metadata()["state"])
            return unpacked(about, {k: f.get_tensor(k) for k in f.keys()})
    except Exception as e:               # safetensors, JSON and we have half a dozen kinds
        raise damaged(path, type(e).__name__) from e


# %%
def equal(a, b):
    if isinstance(a, dict): return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, (torch.Tensor, np.ndarray)):
        strides = isinstance(a, np.ndarray) or a.stride() == b.stride()
        return strides and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    return a == b and type(a) is type(b)

net, x = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), torch.randn(2, 3, 5, 5)
adam = torch.optim.Adam(net.parameters())
net(x).sum().backward(); adam.step()
states = [adam.state_dict(), random_state(), {"one": x, "same": x, "part": x[0]}, {}, [float("inf"), None, True]]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder)/"state.safetensors"
    for state in states:
        write_state(path, state)
        assert equal(read_state(path), state), state
    try: write_state(path, {"call": [print]})
    except MmvaeError as e: print(e)
    path.write_bytes(pickle.dumps(Greeting()))
    try: read_state(path)
    except MmvaeError as e: print(str(e).replace(folder, "..."))    # and it printed no greeting


# %% [markdown]
# ## What differs, in words
#
# A state belongs to one training, so beside it stand the settings of that training. Where they differ, a user wants to know *what* does. Of a learning rate its two values say it. Of a data set two
# checksums say nothing, so there the words come first.

# %%
#| exports
def as_far_as_known(mine, theirs # settings of one name
                   ) -> bool:
    "Do they agree? A loader of which no item is known agrees with one of its kind and length."
    if mine == theirs: return True
    if not (isinstance(mine, str) and isinstance(theirs, str)): return False
    few, much = sorted((mine, theirs), key=len)
    return much.startswith(f"{few}, items ")

def disagreement(name, # of a setting
                 got, kept, # its value now, and in the checkpoint
                 folder # of the checkpoint
                ) -> MmvaeError:
    "The error for a setting that a checkpoint does not agree on."
    what = {"data": "data set", "validation": "held-out set"}.get(name)
    if what and got and kept:
        return MmvaeError(f"{name}: got another {what} than the checkpoint's (checksum {got}, it "
                          f"has {kept}), allowed: the same {what}, or another folder than {folder}")
    if what: got, kept = ("one" if v else "none" for v in (got, kept))
    elif name == "optimiser": got, kept = (v or "the default" for v in (got, kept))
    else: got, kept = repr(got), repr(kept)
    hint = " (more of them with schedule='constant')" if name == "updates" else ""
    return MmvaeError(f"{name}: got {got}, allowed: {kept}, which the checkpoint in {folder} was "
                      f"made with{hint}; or another folder")


# %%
for line in [("lr", .01, .001), ("data", "75ddafc36ced", "93aa7e3f6f79"), ("validation", None, "93aa7e3f6f79"),
             ("updates", 10, 20)]: print(disagreement(*line, "runs/a"))
assert as_far_as_known("DataLoader 13", "DataLoader 13, items 75ddafc36ced")
assert not as_far_as_known("DataLoader 1", "DataLoader 13") and not as_far_as_known(None, "x")

# %% [markdown]
# ## Recap
#
# - `write_state` and `read_state` keep any nesting of tensors, arrays, numbers and words, to the bit, and nothing else.
# - Reading runs nothing. [Lesson 02h](02h_checkpoints.ipynb) makes checkpoints of it.
#
# ## Exercises
#
# 1. `json.loads(json.dumps({0: "a"}))` is not `{0: "a"}`. What would an optimiser do with what it is?
# 2. Why is `weights_only=True` of `torch.load` not the answer everywhere?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Its keys are strings. Adam's `load_state_dict` looks for parameter 0, finds none, and begins with moments of zero, without a word.
# 2. It is a pickle reader with a list of what may be called. That list is long and grows with users' needs (accelerate's own loader turns it off for what one registers), while a format
#    that can't say "call" needs no list.
# :::
#
# ## References
#
# - Hugging Face, [safetensors](https://huggingface.co/docs/safetensors): the format, and why not pickle.
# - Python, [pickle](https://docs.python.org/3/library/pickle.html): its first warning.
