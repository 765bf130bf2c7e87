# %% [markdown]
# # Checkpoints and weights
#
# > What survives a kill, and what a colleague can open.
#
# ::: {.callout-note}
# ## You will learn
#
# - what a checkpoint holds, and why its folder knows the model it belongs to;
# - how weights are kept as numbers and nothing else;
# - how lessons share trained models through a cache.
#
# Runs in a few seconds on a laptop CPU.
# :::

# %%
#| default_exp checkpoints

# %%
#| export
import contextlib, hashlib, json, os, shutil
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from mmvae_nb.core import *

# %%
import tempfile


# %% [markdown]
# ## Checkpoints
#
# A checkpoint holds weights, optimiser, schedule, the states of all random generators and the history
# so far. It is written to a temporary folder which is then renamed, so there is never half a
# checkpoint; the one before it is deleted only afterwards. Beside it lie the settings, and a fingerprint of the model's
# class, options and frozen parts (a student's teacher, say). Resuming with
# others would silently mix two experiments, so that is refused.

# %%
#| exports
def _latest(folder):
    "The newest complete checkpoint in `folder`, or None."
    found = sorted(Path(folder).glob("update_*")) if folder else []
    return found[-1] if found else None

def _fingerprint(model):
    "Of the model that a checkpoint belongs to: class, options, shapes, and the frozen weights."
    h = hashlib.sha256()
    def options(o):
        "The attributes that JSON can hold."
        for k, v in sorted(getattr(o, "__dict__", {}).items()):
            with contextlib.suppress(TypeError, ValueError):
                if k[0] == "_" or k in ("training", "forward"): continue
                h.update(f"{k}={json.dumps(v)};".encode())
    h.update(type(model).__name__.encode()); options(model)
    for n, spec in getattr(model, "specs", {}).items():
        h.update(f"{n}:{type(spec.likelihood).__name__}:{spec.weight};".encode())
        options(spec.likelihood)
    for n, v in model.state_dict().items(): h.update(f"{n}{tuple(v.shape)};".encode())
    frozen = [p.detach().cpu().reshape(-1) for p in model.parameters() if not p.requires_grad]
    for p in frozen: h.update(p.view(torch.uint8).numpy())
    return h.hexdigest()[:12]

def _save_checkpoint(accelerator, folder, update, settings, history):
    "Write the state after `update` updates, whole or not at all; then drop older ones."
    folder = Path(folder)
    final, tmp = folder/f"update_{update:07d}", folder/f".partial_{update:07d}"
    if accelerator.is_main_process: shutil.rmtree(tmp, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(tmp))
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process: return
    write_json(tmp/"run.json", {"settings": settings, "update": update, "history": history})
    if not final.exists(): os.replace(tmp, final)
    for old in folder.glob("update_*"):
        if old != final: shutil.rmtree(old, ignore_errors=True)


# %%
#| exports
def _writable(folder):
    "Make the checkpoint folder now, rather than fail after hours of training."
    try:
        mine = Path(folder)/f".try_{os.getpid()}"      # several processes may look at once
        with atomic_path(mine): pass
        mine.unlink()
    except OSError as e:
        raise MmvaeError(f"checkpoint: {folder} can't be written to ({e.strerror})") from e

def _load_checkpoint(accelerator, path, settings):
    "Load the checkpoint at `path`; refuse other settings. Returns (update, history)."
    run = read_json(path/"run.json")
    another = MmvaeError(f"checkpoint: {path} holds another model (class, options, shapes or "
                         "frozen weights differ), allowed: one of the model given")
    if run["settings"].get("model") != settings["model"]: raise another
    for name, value in settings.items():
        if run["settings"].get(name) != value:
            raise MmvaeError(f"{name}: got {value!r}, allowed: {run['settings'].get(name)!r}, "
                             f"which the checkpoint in {path.parent} was made with")
    try: accelerator.load_state(str(path))
    except RuntimeError as e: raise another from e
    return run["update"], run["history"]


# %% [markdown]
# ## Weights on disk
#
# Weights are kept as safetensors: a file of numbers and nothing else, which cannot run code when it
# is opened.

# %%
#| exports
def save_weights(model, path):
    "Write the model's weights to `path` (safetensors), whole or not at all."
    state = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    with atomic_path(path) as tmp: save_file(state, tmp)

def load_weights(model, path):
    "Load weights written by `save_weights` into `model`; returns it in evaluation mode."
    try: state = load_file(path)
    except FileNotFoundError as e: raise MmvaeError(f"{path}: no such file") from e
    except Exception as e: raise MmvaeError(f"{path}: not a weight file ({e})") from e
    shapes = lambda s: {k: v.shape for k, v in s.items()}
    if shapes(state) != shapes(model.state_dict()):        # before anything is overwritten
        raise MmvaeError(f"{path}: weights of another model ({type(model).__name__} wanted)")
    model.load_state_dict(state)
    return model.eval()


# %%
with tempfile.TemporaryDirectory() as folder:
    save_weights(vae, f"{folder}/vae.safetensors")
    again = load_weights(new_vae(), f"{folder}/vae.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(vae.parameters(), again.parameters()))
    cut = Path(f"{folder}/vae.safetensors").read_bytes()[:1000]
    Path(f"{folder}/half.safetensors").write_bytes(cut)
    try: load_weights(new_vae(), f"{folder}/half.safetensors")
    except MmvaeError as e: assert "half.safetensors: not a weight file" in str(e)


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
           modules=() # modules of this package whose source the result depends on
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
    quick = lambda m: (calls.append(1), fit(m, train, **{**short, "updates": 2}))
    one, two, other = [cached("vae", new_vae, quick, {"n": n}, ["vae"]) for n in (2, 2, 3)]
    os.environ.pop("MMVAE_CACHE") if before is None else os.environ.update(MMVAE_CACHE=before)
assert len(calls) == 2 and torch.equal(next(one.parameters()), next(two.parameters()))
