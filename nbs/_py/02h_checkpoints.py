# %% [markdown]
# # Checkpoints and files
#
# > What survives a kill, what a cache may keep, and what a colleague can open.
#
# ::: {.callout-note}
# ## You will learn
#
# - what a checkpoint holds, and why its folder knows the model it belongs to;
# - how weights are kept as numbers and nothing else;
# - what must stand beside the numbers so that somebody without our code can use them;
# - how lessons share trained models through a cache.
#
# Runs in a few seconds on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: two lines of updates with circles where the state is saved; one is killed, goes back to its last circle and ends in the same state as the other.](drawings/checkpoints.svg)

# %%
#| default_exp checkpoints

# %%
#| export
import contextlib, functools, hashlib, importlib, inspect, json, os, re, shutil, sys, warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.data import Modality, MultimodalData
from mmvae_nb.networks import ModalitySpec
from mmvae_nb.states import *

# %%
import tempfile
from mmvae_nb.data import TensorData
from mmvae_nb.distillation import Students
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.training import fit

# %% [markdown]
# ## Checkpoints
#
# A checkpoint holds weights, optimiser, schedule, the states of all random generators and the history
# so far. It is written to a temporary folder which is then renamed, so there is never half a
# checkpoint; the one before it is deleted only afterwards. Beside it lie the settings, and a fingerprint of the model's
# class, options and frozen parts (a student's teacher, say). Resuming with
# others would silently mix two experiments, so that is refused. One setting may grow: with a constant rate, the number of updates.
#
# Some models carry something from one update to the next that is no weight, such as the unfinished refinements of lesson 08. Such a model has a method
# `checkpoint_state()` that returns objects with `reset()`, `state_dict()` and `load_state_dict()`: `fit` resets them at the start and keeps them in the checkpoint.
#
# Everything is kept as numbers and words, by `write_state` of [lesson 00a](00a_states.ipynb), because opening a pickle runs what its author wrote.

# %% [markdown]
# Which file is which, and whether a bit of it has changed, is said by `run.json`: it lists every file with its SHA-256, and carries a digest of itself. So a damaged
# file, one from another run, or an edited number is seen before anything of it is used. This is no signature: who wants to cheat can compute digests. It is for disks, copies and mistakes.

# %%
#| exports
CHECKPOINT = 2 # schema of a checkpoint; the first one was of pickles

def _number_of(path):
    "The updates that a checkpoint's folder is named after, or None for another name."
    return int(f[1]) if (f := re.fullmatch(r"update_(\d{7,})", path.name)) else None

def latest(folder # of checkpoints, or None
          ):
    "The newest complete checkpoint in `folder`, or None. Other names are not looked at."
    found = list(Path(folder).glob("update_*")) if folder else []
    return max((p for p in found if _number_of(p) is not None), key=_number_of, default=None)

def _options(owner):
    "The attributes that JSON can hold, as text."
    for k, v in sorted(getattr(owner, "__dict__", {}).items()):
        with contextlib.suppress(TypeError, ValueError):
            if k[0] != "_" and k not in ("training", "forward"): yield f"{k}={json.dumps(v)};"

def _specs_of(model):
    "The specs that decide; `{}` where there is one, as in the files of before it had a name."
    return {} if hasattr(model, "spec") else getattr(model, "specs", {})

def fingerprint(model # a module
               ) -> str: # 12 hexadecimal digits
    "Of the model that a checkpoint belongs to: class, options, shapes, and the frozen weights."
    h = hashlib.sha256(type(model).__name__.encode())
    for text in _options(model): h.update(text.encode())
    for n, spec in _specs_of(model).items():
        h.update(f"{n}:{type(spec.likelihood).__name__}:{spec.weight};".encode())
        for text in _options(spec.likelihood): h.update(text.encode())
    for n, v in model.state_dict().items(): h.update(f"{n}{tuple(v.shape)};".encode())
    frozen = [p.detach().cpu().reshape(-1) for p in model.parameters() if not p.requires_grad]
    for p in frozen: h.update(p.view(torch.uint8).numpy())
    return h.hexdigest()[:12]


# %%
#| exports
def _sha256(path):
    with open(path, "rb") as f: return hashlib.file_digest(f, "sha256").hexdigest()

def _this_machine():
    "What bits depend on, and a checkpoint may be continued without."
    return {"threads": torch.get_num_threads(), "torch": torch.__version__}

def save_checkpoint(accelerator, # accelerate's, which knows the processes
                    folder, # of this training's checkpoints
                    update, # how many updates are done
                    settings, # what `load_checkpoint` must be asked with
                    history, # list of rows
                    parts # dict: what has a state: "model", "optimiser", ..., and a list, "own"
                   ):
    "Write the state after `update` updates, whole or not at all; then drop older ones."
    final = Path(folder)/f"update_{update:07d}"
    tmp, main = final.with_name(f".partial_{update:07d}"), accelerator.is_main_process
    try:
        if main: shutil.rmtree(tmp, ignore_errors=True); tmp.mkdir(parents=True)
        accelerator.wait_for_everyone()
        _write_parts(accelerator, tmp, parts)
        accelerator.wait_for_everyone()
        if main: _seal(tmp, final, dict(update=update, settings=settings, history=history))
        accelerator.wait_for_everyone()     # else one could begin anew before it is there
    except OSError as e: raise unwritable(final, e) from e
    finally:
        if main: shutil.rmtree(tmp, ignore_errors=True)

def _seal(tmp, final, run):
    "Digests of all that was written; then the checkpoint gets its name, and older ones go."
    files = {p.name: _sha256(p) for p in sorted(tmp.iterdir())}
    run = {"schema": CHECKPOINT, **run, "machine": _this_machine(), "files": files}
    write_json(tmp/"run.json", {**run, "digest": digest(run)})
    if final.exists(): shutil.rmtree(final)
    os.replace(tmp, final)
    for old in [p for p in final.parent.glob("update_*") if p != final and _number_of(p)]:
        half = old.with_name(f".partial_{old.name}")         # killed here, the next start sweeps it
        with contextlib.suppress(OSError): os.replace(old, half)
        shutil.rmtree(half, ignore_errors=True)

def _write_parts(accelerator, folder, parts):
    "The weights, what belongs to them, and what each process has for itself."
    if accelerator.is_main_process:
        write_state(folder/"model.safetensors", each_tensor_once(parts["model"].state_dict()))
        rest = {n: p.state_dict() for n, p in parts.items() if n not in ("model", "own")}
        write_state(folder/"optimiser.safetensors", rest)
    own = {"random": random_state(), "own": [p.state_dict() for p in parts["own"]]}
    write_state(folder/f"process_{accelerator.process_index}.safetensors", own)


# %%
#| exports
def check_writable(folder):
    "Make the checkpoint folder now, rather than fail after hours of training; tidy what is left."
    folder = Path(folder)
    mine = folder/f".try-{os.getpid()}-writable"       # a name that `sweep` knows, if we are killed
    with atomic_path(mine): pass
    with contextlib.suppress(OSError): mine.unlink()
    for half in folder.glob(".partial_*"): shutil.rmtree(half, ignore_errors=True)
    sweep(folder)

def load_checkpoint(accelerator, # accelerate's, which knows the processes
                    path, # one checkpoint, from `latest`
                    settings, # of this training
                    parts # as `save_checkpoint` got them
                   ) -> tuple: # (updates done, history)
    "Load a checkpoint; `MmvaeError` if it is damaged, or of other settings or another model."
    run = _checked_run(path, accelerator)
    another = MmvaeError(f"checkpoint: {path} holds another model (class, options, shapes or "
                         "frozen weights differ), allowed: one of the model given, or a new folder")
    if run["settings"].get("model") != settings["model"]: raise another
    if name := _differs(settings, run):
        raise disagreement(name, settings.get(name), run["settings"].get(name), path.parent)
    states = _read_parts(path, accelerator)
    try: _put_back(states, parts)
    except (RuntimeError, LookupError, TypeError, ValueError) as e: raise another from e
    _tell_of_other_bits(path, run["machine"])
    return run["update"], run["history"]

def _differs(settings, run):
    "The first setting that a checkpoint does not agree on. A constant rate can go on for longer."
    for name in {**settings, **run["settings"]}:
        if as_far_as_known(settings.get(name), run["settings"].get(name)): continue
        constant = name == "updates" and settings["schedule"] == "constant"
        if not (constant and settings["updates"] >= run["update"]): return name


# %% [markdown]
# Everything is looked at before anything is used, so a refused checkpoint leaves the model as it was.

# %%
#| exports
def _hurt(path, why):
    "The error for a checkpoint that is not what was written."
    older = [p for p in path.parent.glob("update_*") if p != path and _number_of(p) is not None]
    return MmvaeError(f"checkpoint: {path} is damaged ({why}); copy it anew, or delete it: "
                      f"training goes on from {older[-1].name if older else 'the beginning'}")

def _checked_run(path, accelerator):
    "What run.json says, if it and all files it names are those that were written."
    try: run = read_json(path/"run.json")
    except MmvaeError as e: raise _hurt(path, str(e).removeprefix(f"{path}/")) from e
    schema = run.get("schema", 1) if isinstance(run, dict) else None
    if schema != CHECKPOINT:
        what = "an older mmvae_nb wrote it, with pickles" if schema == 1 else \
               "a newer mmvae_nb wrote it, which can read it" if schema in range(3, 1000) else \
               "run.json is damaged"
        raise MmvaeError(f"checkpoint: {path} has schema {schema!r}, allowed: {CHECKPOINT} "
                         f"({what}); delete {path.parent} to begin anew")
    said = run.pop("digest", None)
    if digest(run) != said: raise _hurt(path, "run.json was changed")
    if run["update"] != _number_of(path): raise _hurt(path, f"it is of update {run['update']}")
    n = accelerator.num_processes
    wanted = ["model", "optimiser", *(f"process_{i}" for i in range(n))]
    for name in sorted({*run["files"], *(f"{w}.safetensors" for w in wanted)}):
        try: same = _sha256(path/name) == run["files"].get(name)
        except OSError as e: raise _hurt(path, f"{name}: {e.strerror}") from e
        if not same: raise _hurt(path, f"{name} is not the file that was written")
    return run

def _read_parts(path, accelerator):
    "The states in the files: of the model, of what belongs to it, and of this process."
    names, states = ["model", "optimiser", f"process_{accelerator.process_index}"], []
    for name in names:
        try: states.append(read_state(path/f"{name}.safetensors"))
        except MmvaeError as e: raise _hurt(path, f"{name}.safetensors can't be read") from e
    return states

def _put_back(states, parts):
    "Give the states to what they are of; random generators last, for the others may draw."
    (model, rest, own), now = states, each_tensor_once(parts["model"].state_dict())
    looks = lambda state: {k: (v.shape, v.dtype) for k, v in state.items()}
    if looks(model) != looks(now) or len(own["own"]) != len(parts["own"]): raise ValueError
    parts["model"].load_state_dict(model, strict=False)
    for n, state in rest.items(): parts[n].load_state_dict(state)
    for part, state in zip(parts["own"], own["own"]): part.load_state_dict(state)
    here = random_state()
    set_random_state({k: v for k, v in own["random"].items() if k in here})

def _tell_of_other_bits(path, machine):
    "A warning where the same training ends in other bits from here on."
    here = _this_machine()
    if differ := [k for k in here if here[k] != machine.get(k)]:
        warnings.warn(f"checkpoint: {path} was made with " + ", ".join(
            f"{machine.get(k)} {k} (now {here[k]})" for k in differ) + "; the training goes on, "
            "but its last bits are not those of an uninterrupted one", stacklevel=2)


# %%
g = torch.Generator().manual_seed(0)
data = TensorData({"sound": torch.randn(200, 6, generator=g), "motion": torch.randn(200, 3, generator=g)})
specs = default_specs(data.modalities)
def new_model(): seed_everything(0, "weights"); return JVAE(specs, latent=4)
how = dict(updates=20, batch_size=16, device="cpu", progress=False)

model = new_model()
with tempfile.TemporaryDirectory() as folder:
    fit(model, data, **how, checkpoint=folder, stop_after=7)
    assert latest(folder).name == "update_0000007" and latest(Path(folder)/"none") is None
assert fingerprint(model) == fingerprint(new_model()) != fingerprint(JVAE(specs, latent=4, beta=2.))


# %% [markdown]
# ## Weights on disk
#
# Weights are kept as safetensors: a file of numbers and nothing else, which cannot run code when it
# is opened.
#
# Numbers of the right shapes can still be the wrong ones. So the header holds a digest of them, and what they mean nothing without: class and beta of the model, for each
# modality its likelihood and weight, and the activations. Files of other origin have no such header; their types and values are checked all the same.

# %%
#| exports
def _meaning(model):
    "What weights of the right shapes were trained for: name -> value, as JSON gives it."
    said = {"class": type(model).__name__}
    numbers = {k: getattr(model, k, None) for k in ("beta", "alpha")}
    said |= {k: v for k, v in numbers.items() if isinstance(v, float | int)}
    for n, s in _specs_of(model).items():
        learnt = isinstance(s.likelihood, torch.nn.Module)
        options = "" if learnt else " ".join(_options(s.likelihood))
        said[f"likelihood of {n}"] = f"{type(s.likelihood).__name__} {options}".strip(" ;")
        said[f"weight of {n}"] = s.weight
    silent = [m for m in model.modules() if not any(True for _ in m.parameters())]
    said["activations"] = digest([f"{type(m).__name__}({m.extra_repr()})" for m in silent])
    return json.loads(json.dumps(said, default=float))

def save_weights(model, path):
    "Write the model's weights to `path` (safetensors), whole or not at all."
    state = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    about = {"weights": digest(state), "of": _meaning(model)}
    with numbers_to(path) as tmp: save_file(state, tmp, {"mmvae_nb_weights": json.dumps(about)})

def load_weights(model, path):
    "Load weights written by `save_weights` into `model`; returns it in evaluation mode."
    state, about = _read_weights(path)
    own, shapes = model.state_dict(), lambda s: {k: v.shape for k, v in s.items()}
    if shapes(state) != shapes(own):                       # before anything is overwritten
        raise MmvaeError(f"{path}: weights of another model ({type(model).__name__} wanted)")
    for k, v in state.items():
        if v.dtype != own[k].dtype:
            raise MmvaeError(f"{path}: {k} is {v.dtype}, allowed: {own[k].dtype}")
    for k, v in (_meaning(model) if (said := about.get("of")) else {}).items():
        if v != said.get(k):
            raise MmvaeError(f"{path}: {k}: the model has {v!r}, allowed: {said.get(k)!r}, which "
                             "the weights were trained with")
    check_weights(path, model, state)
    model.load_state_dict(state)
    return model.eval()

def _read_weights(path):
    "The tensors of a weight file, and what its header says of them."
    check_file(path, "a weight file, as `save_weights` writes it")
    try:
        with safe_open(path, "pt") as f:
            said = f.metadata() or {}
            about = json.loads(said.get("mmvae_nb_weights") or said.get("mmvae_nb") or "{}")
            state = {k: f.get_tensor(k) for k in f.keys()}
    except Exception as e: raise MmvaeError(f"{path}: not a weight file ({e})") from e
    if about and digest(state) != about.get("weights"):
        raise MmvaeError(f"{path}: damaged, the weights are not those that were saved")
    return state, about


# %%
with tempfile.TemporaryDirectory() as folder:
    save_weights(model, f"{folder}/jvae.safetensors")
    again = load_weights(new_model(), f"{folder}/jvae.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
    try: load_weights(JVAE(specs, latent=4, beta=2.), f"{folder}/jvae.safetensors")
    except MmvaeError as e: print(str(e).replace(folder, "..."))
    cut = Path(f"{folder}/jvae.safetensors").read_bytes()[:1000]
    Path(f"{folder}/half.safetensors").write_bytes(cut)
    try: load_weights(new_model(), f"{folder}/half.safetensors")
    except MmvaeError as e: assert "half.safetensors: not a weight file" in str(e)


# %% [markdown]
# ## A file for a colleague
#
# `load_weights` needs the model first, so it needs you to remember how it was made: specs, latent dimensions, options. A colleague can't. `save` therefore writes
# the recipe beside the numbers, in the header of the same safetensors file, as JSON: the class, its arguments, for each modality the networks and the
# likelihood with theirs, the vocabulary, the version of this package, and a digest of the weights. Students are saved without their
# teacher, because encoders and decoders are all that inference needs.
#
# Pickle would be shorter. But a pickle runs whatever its author wrote, so opening one is as trusting as running a stranger's program. Our header names functions and
# `load` decides: models, likelihoods, and the networks of lessons 02e and 12c, of this package only, or of modules that you name in `trusted`.
# That is why the specs of those lessons are made of `functools.partial`: it says which function it calls, with what. A lambda says
# neither. `save` warns about it, and such a file is opened with the specs beside it: `load(path, specs=...)`.

# %%
#| exports
def _name_of(obj):
    "Where a function or class is found again, as module:name; None if it has no such name."
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", "")
    found = getattr(sys.modules.get(module), name, None)
    return f"{module}:{name}" if found is obj and module != "__main__" else None

def _written(call):
    "A function or class, or a `partial` of one, as JSON can hold it; None for a lambda."
    call = call if isinstance(call, functools.partial) else functools.partial(call)
    name, what = _name_of(call.func), {"args": list(call.args), "named": call.keywords}
    try: return name and {"call": name, **json.loads(_json(what))}
    except TypeError: return None

def _json(value): return json.dumps(value, default=_number)

def _number(value):
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0: return value.item()   # NumPy's
    raise TypeError(f"{type(value).__name__} is no number")

def _written_spec(spec):
    "A `ModalitySpec` as JSON can hold it."
    kind = type(spec.likelihood)
    given = {n: getattr(spec.likelihood, n) for n in inspect.signature(kind).parameters
             if hasattr(spec.likelihood, n)}
    return {"encoder": _written(spec.encoder), "decoder": _written(spec.decoder),
            "likelihood": _written(functools.partial(kind, **given)), "weight": spec.weight,
            "features": spec.features, "hidden": spec.hidden,
            "modality": asdict(spec.modality) if spec.modality else None}

def _written_arguments(model):
    "The arguments of `model`, specs apart: (arguments, specs)."
    arguments = model.arguments()
    own = getattr(model, "specs", arguments.get("specs"))
    rest = {k: v for k, v in arguments.items() if k not in ("specs", "spec")}
    for k, v in rest.items():
        try: rest[k] = json.loads(_json(v))
        except TypeError as e:
            raise MmvaeError(f"model: its argument {k} is a {type(v).__name__}, "
                             "allowed: numbers, strings and lists of them") from e
    return rest, {n: _written_spec(s) for n, s in own.items()}


# %%
#| exports
SCHEMA = 1 # of the header
_CALLS = ("encoder", "decoder", "likelihood")

@checked
def save(model, # a `VAE` or `MultimodalVAE`
         path: str | os.PathLike, # of the file to write, such as "students.safetensors"
         data: MultimodalData | None = None, # its modalities and class names go with the model
         half: bool = False # weights as float16? Half the size, and 11 bits of each number
        ):
    "Write the model to one file that `load` opens by itself. Students leave their teacher."
    import mmvae_nb
    if not isinstance(model, Remembers) or not (kind := _name_of(type(model))):
        raise MmvaeError(f"model: got a {type(model).__name__}, allowed: a VAE or MultimodalVAE of "
                         "a module that can be imported (`save_weights` writes any numbers)")
    arguments, specs = _written_arguments(model)
    for n, m in _of_model(model, data, specs).items(): specs[n]["modality"] = asdict(m)
    check_weights("model", model, state := _weights(model))
    if half: state = halved(state)
    header = {"schema": SCHEMA, "mmvae_nb": mmvae_nb.__version__, "class": kind, "specs": specs,
              "arguments": arguments, "class_names": list(data.class_names or ()) if data else [],
              "weights": digest(state)}
    with numbers_to(path) as tmp: save_file(state, tmp, {"mmvae_nb": _json(header)})
    lost = {k: ", ".join(n for n, s in specs.items() if not s[k]) for k in _CALLS}
    if lost := "; ".join(f"{k} of {names}" for k, names in lost.items() if names):
        warnings.warn(f"{path}: a file can't name {lost} (lambdas, local functions, and "
                      "what `__main__` defines): open it by `load(path, specs=...)`", stacklevel=3)

def _of_model(model, data, specs):
    "The modalities of some data that are the model's; `MmvaeError` if one lacks, or differs."
    if not data: return {}
    if not set(specs) <= set(data.modalities):
        raise MmvaeError(f"data: got {', '.join(data.modalities)}, allowed: data with all "
                         f"modalities of the model, {', '.join(specs)}")
    same_modalities(model, data)
    return {n: better_known(model, n, data.modalities[n]) for n in specs}

def _weights(model):
    "The weights to save, without those of a `teacher`."
    return {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()
            if not k.startswith("teacher.")}

def describe(path # of a file that `save` wrote
            ) -> dict: # class, arguments, specs, class_names, version, digest of the weights
    "What a saved model is, without making it."
    return _opened(path)[0]

def _opened(path):
    "Header and weights of a saved model; `MmvaeError` if it is none, or damaged."
    check_file(path, "one that `save` wrote")
    try:
        with safe_open(path, "pt") as f:
            header = json.loads((f.metadata() or {}).get("mmvae_nb", "{}"))
            state = {k: f.get_tensor(k) for k in f.keys()}
    except (OSError, ValueError, SafetensorError) as e:
        raise MmvaeError(f"{path}: damaged, or no saved model ({str(e)[:80]})") from e
    if not header:
        raise MmvaeError(f"{path}: weights without a recipe, allowed: a file written by `save` "
                         "(`load_weights` takes these)")
    if header.get("schema") != SCHEMA:
        raise MmvaeError(f"{path}: got schema {header.get('schema')} (mmvae_nb "
                         f"{header.get('mmvae_nb')}), allowed: {SCHEMA}")
    if digest(state) != header.get("weights"):
        raise MmvaeError(f"{path}: damaged, the weights are not those that were saved")
    if lacks := [k for k in ("class", "arguments", "specs") if k not in header]:
        raise MmvaeError(f"{path}: got a header without {lacks[0]}, allowed: one that `save` wrote")
    return header, state


# %% [markdown]
# Reading is the careful half. A name in the file is looked up only if it is allowed: nothing of the package that writes files, fetches data or starts jobs can be
# reached from a header.

# %%
#| exports
_makers = ("mmvae_nb.networks", "mmvae_nb.kinds", "mmvae_nb.text")  # they build networks

def _is_ours(obj, module, what):
    "May a file name this object of our package, as `what`?"
    if what == "networks": return module in _makers
    if not isinstance(obj, type): return False
    return issubclass(obj, Remembers) if what == "class" else hasattr(obj, "log_prob")

def _found(path, name, what, trusted):
    "The function or class called `name`, if `load` may call it; `MmvaeError` otherwise."
    module, _, name = str(name).partition(":")
    ours = module.split(".")[0] == "mmvae_nb"
    if not ours and not any(f"{module}.".startswith(f"{t}.") for t in trusted):
        raise MmvaeError(f"{path}: it calls {module}, allowed: this package, and modules that you "
                         f"name: `load(path, trusted=({module!r},))`")
    try: obj = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as e:
        raise MmvaeError(f"{path}: it calls {module}.{name}, which is not there") from e
    if ours and (getattr(obj, "__module__", "") != module or not _is_ours(obj, module, what)):
        raise MmvaeError(f"{path}: it calls {module}.{name}, allowed: models, likelihoods and the "
                         "networks of lessons 02e and 12c")
    return obj

def _tuples(value):
    "JSON's lists as the tuples they were."
    if isinstance(value, dict): return {k: _tuples(v) for k, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value

def _read_spec(path, spec, trusted):
    "The `ModalitySpec` that `_written_spec` wrote."
    def call(key):
        w, what = spec[key], "likelihood" if key == "likelihood" else "networks"
        f = _found(path, w["call"], what, trusted)
        return functools.partial(f, *_tuples(w["args"]), **_tuples(w["named"]))
    return ModalitySpec(call("encoder"), spec["features"], call("decoder"), call("likelihood")(),
                        spec["weight"], spec["hidden"], _modality(spec))

def _modality(spec): return spec["modality"] and Modality(**_tuples(spec["modality"]))


# %%
#| exports
@checked
def load(path: str | os.PathLike, # of a file that `save` wrote
         specs: Mapping | None = None, # dict: name -> `ModalitySpec`, in place of those in the file
         trusted: tuple[str, ...] | list[str] = (), # others' modules it may call
         device="cpu" # where the model goes
        ):
    "The model that `save` wrote, in evaluation mode. Nothing of the file is run."
    header, state = _opened(path)
    cls = _found(path, header["class"], "class", trusted)
    with keeping_random_state():
        try: model = cls.from_arguments(**_arguments(path, header, specs or {}, trusted))
        except (KeyError, TypeError, AttributeError) as e:
            raise MmvaeError(f"{path}: {cls.__name__} can't be made from what it says ({e}); it "
                             f"is of mmvae_nb {header.get('mmvae_nb')}") from e
    shapes = lambda s: {k: v.shape for k, v in s.items()}
    if shapes(_weights(model)) != shapes(state):
        raise MmvaeError(f"{path}: weights of another model than the {cls.__name__} it names, "
                         "allowed: the specs it was saved with")
    check_weights(path, model, state)
    model.load_state_dict(state, strict=False)                 # all but a teacher's
    return model.to(resolve_device(device)).eval()

def _arguments(path, header, given, trusted):
    "The arguments for `from_arguments`, with the specs of the file or those given."
    arguments, specs = _tuples(header["arguments"]), header["specs"]
    for n in given: one_of("specs", n, specs)
    nameless = [n for n, s in specs.items() if None in [s[k] for k in _CALLS]]
    if lacking := [n for n in nameless if n not in given]:
        raise MmvaeError(f"specs: got none for {', '.join(lacking)}, whose networks or "
                         f"likelihood {path} can't name, allowed: `load(path, specs=...)` with "
                         "those it was made with")
    given = same_specs({n: _modality(s) for n, s in specs.items()}, given)
    specs = {n: given.get(n) or _read_spec(path, s, trusted) for n, s in specs.items()}
    one = "spec" in inspect.signature(_found(path, header["class"], "class", trusted)).parameters
    return {**arguments, "spec": specs[arguments["name"]]} if one else {**arguments, "specs": specs}


# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder)/"students.safetensors"
    students = Students(model)
    save(students, path, data)
    again, size = load(path), path.stat().st_size
    about = describe(path)
    batch = {"sound": data.pools["sound"][:3]}
    assert torch.equal(students.eval().generate(batch)["motion"], again.generate(batch)["motion"])
assert not any(k.startswith("teacher.encoder") for k in again.state_dict())
print(about["class"], about["arguments"], f"{size:,} bytes", about["specs"]["sound"]["encoder"], sep="\n")


# %% [markdown]
# ## A cache for lessons
#
# Later lessons begin with models of earlier ones. `cached` looks for the weights under a name made of
# the settings and the code; if they are not there it trains, and keeps the result.

# %%
#| exports
def cached(name, # what the model is called
           make, # () -> a fresh model
           train, # model -> None, trains it in place
           settings, # anything JSON can hold that the result depends on
           modules=() # the modules called, such as ("mopoe", "training"); what they use counts, too
          ):
    "The trained model called `name`, from the cache or trained now."
    path = cache_dir("lessons")/f"{name}-{digest(settings, modules)}.safetensors"
    model = make()
    if path.exists(): return load_weights(model, path)
    train(model); save_weights(model, path)
    return model.eval()


# %%
calls = []
with tempfile.TemporaryDirectory() as folder:
    before = os.environ.get("MMVAE_CACHE"); os.environ["MMVAE_CACHE"] = folder
    quick = lambda m: (calls.append(1), fit(m, data, **{**how, "updates": 2}))
    one, two, other = [cached("toy", new_model, quick, {"n": n}, ["multimodal_elbo", "training"])
                       for n in (2, 2, 3)]
    os.environ.pop("MMVAE_CACHE") if before is None else os.environ.update(MMVAE_CACHE=before)
assert len(calls) == 2 and torch.equal(next(one.parameters()), next(two.parameters()))

# %% [markdown]
# ## Recap
#
# - A checkpoint is for the same run to go on: everything that later updates depend on, and a fingerprint that refuses another model.
# - `save_weights` writes numbers for who has the model; `save` writes the model, for who has only this package.
# - A cache's name says what the result rests on: the settings given to `fit`, and the code of the modules called.
#
# ## Exercises
#
# 1. Why does `load` refuse `mmvae_nb.core:write_json` as an encoder, although it is of this package?
# 2. The digest of the weights stands in the file it protects. Against what does it help, and against what not?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Its arguments come from the file, too: it would write a file of the author's choice on your disk. Of the package only what builds networks may be called.
# 2. Against a copy that broke on the way. Not against somebody who changes weights on purpose, for he can write the digest anew; that takes a
#    digest or a signature that comes by another way.
# :::
#
# ## References
#
# - Hugging Face, [safetensors](https://huggingface.co/docs/safetensors): the format, and why not pickle.
# - Python, [pickle](https://docs.python.org/3/library/pickle.html): its first warning.
