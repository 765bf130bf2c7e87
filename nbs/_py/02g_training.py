# %% [markdown]
# # Training
#
# > From a loop of five lines to one `fit` for every model: checkpoints, resuming, mixed precision, several devices.
#
# ::: {.callout-note}
# ## You will learn
#
# - what a training loop must promise before its numbers can be trusted;
# - how `fit` grows out of the loop of [lesson 02](02_vae.ipynb), in three steps that are compared;
# - how to stop a run at any moment and continue it to the very same weights;
# - how the same call runs on a laptop, on an accelerator, and on several.
#
# Runs in about twenty seconds on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: batch, loss, gradient and step in a ring; beside it a falling loss with three circles where the state is saved.](drawings/training.svg)

# %%
#| default_exp training

# %%
#| export
import contextlib, functools, json, math, os, re, warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
import pandas as pd
import torch
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.data import MultimodalData
from mmvae_nb.kinds import given_to
from mmvae_nb.missing import blame
from mmvae_nb.checkpoints import *
from mmvae_nb.recording import *
from mmvae_nb.vae import loss_of, take_over
from mmvae_nb.watching import *

# %%
import tempfile
from dataclasses import replace
from pathlib import Path
import matplotlib.pyplot as plt
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.distributions import Bernoulli
from mmvae_nb.networks import *
from mmvae_nb.vae import *

# %% [markdown]
# ## What a loop must promise
#
# The loop of [lesson 02](02_vae.ipynb) was five lines. A loop that others rely on owes them a little more:
#
# 1. *The same random seed gives the same model*, also if the run was killed halfway and resumed.
# 2. *You see what it does*: each part of the loss, not only their sum.
# 3. *It stops on nonsense*: a loss that is not a number raises an error that says when.
# 4. *It does not care where it runs.* Moving to devices, mixed precision and several processes are
#    not this course's subject; [accelerate](https://huggingface.co/docs/accelerate) does them.
#
# We go there in three steps: five lines; the same with chance under control, a schedule and a limit; and `fit`. All three train the VAE of lesson 02 on digits, from the same first weights, and are judged by the same held-out digits with the same noise.

# %%
train, validation = (mnist_svhn_text(s, "rendered") for s in ["train", "validation"])
spec = default_specs(train.modalities, weights={"mnist": 1.})["mnist"]
spec = replace(spec, likelihood=Bernoulli())
def new_vae(): seed_everything(0, "weights"); return VAE(spec, "mnist", latent=20)


# %%
held_out, _ = validation.take(200)
@torch.no_grad()
def judged(model):
    "The negative ELBO of the held-out digits, with the same noise each time."
    with keeping_random_state():
        seed_everything(0, "judge"); return round(model.eval()(held_out).total.item(), 1)

def same(a, b): return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters()))


# %% [markdown]
# ## Step one: five lines

# %%
digits = train.pools["mnist"]
def step_one(model, updates, lr=2e-3):
    optimiser = torch.optim.Adam(model.parameters(), lr)
    for update in range(updates):
        rows = torch.randint(len(digits), (32,))                # 32 digits, whichever come
        model({"mnist": digits[rows]}).total.backward()
        optimiser.step(); optimiser.zero_grad()
    return model


# %%
one = step_one(new_vae(), 300)
disturbed = new_vae(); torch.rand(1); step_one(disturbed, 300)
assert not same(one, disturbed)
print(f"held out: {judged(one)}, and {judged(disturbed)} after one stray draw")


# %% [markdown]
# It trains. But the batches and the noise of the samples come from torch's one global generator, which anybody may use. A single number drawn by somebody else, to show a picture, say, and all that follows is another training. When two methods differ a little, nobody can tell whether it is the method or such a draw.
#
# ## The learning rate
#
# A second thing. A constant rate is the textbook choice. One cycle (a short warm-up, then a cosine down to zero) begins gently and ends with small steps, in which
# the noise of single batches averages out. It is the default here. Whether it pays depends on the length of the training, as step two will show. With $U$ updates in
# all, the first $U_0 = U/10$ for the warm-up, and a peak rate $\eta$, update $u$ has the rate
#
# $$
# \begin{aligned}
# \eta_u = \eta \cdot \begin{cases} (u+1)/U_0 & u < U_0, \\
#   \tfrac12 \big(1 + \cos \pi \tfrac{u - U_0}{U - U_0}\big) & \text{else.} \end{cases}
# \end{aligned}\tag{1}
# $$

# %%
#| exports
def lr_factor(update, # number of the update, from 0
                  updates, # U, how many there will be
                  schedule="warmup_cosine" # "warmup_cosine" or "constant"
                 ) -> float:
    "The factor on the learning rate at `update`; eq. (1)."
    if one_of("schedule", schedule, ["warmup_cosine", "constant"]) == "constant": return 1.0
    warm = max(1, round(0.1*updates))
    if update < warm: return (update + 1)/warm
    return 0.5*(1 + math.cos(math.pi*(update - warm)/max(1, updates - warm)))


# %%
rates = [lr_factor(u, 100) for u in range(101)]
assert rates[0] == .1 and max(rates) == rates[9] == 1 and rates[100] == 0
assert abs(rates[55] - .5) < 1e-9 and lr_factor(7, 100, "constant") == 1

# %%
#| fig-cap: "The factor on the learning rate over 300 updates. One cycle: ten per cent of warm-up, then half a cosine down to zero."
#| fig-alt: "A curve that rises steeply to one and falls smoothly to zero, beside a flat line."
fig, ax = plt.subplots(figsize=(5, 2.2))
for schedule in ("warmup_cosine", "constant"):
    ax.plot([lr_factor(u, 300, schedule) for u in range(301)], label=schedule)
ax.set(xlabel="update u", ylabel="rate / peak rate", ylim=(0, 1.1)); ax.legend();


# %% [markdown]
# ## Step two: a seed, a schedule, a limit
#
# Three lines more. The batch becomes a function of the update's number and a seed: `data.batch(update, batch_size, seed)`, the contract of [lesson 02a](02a_data.ipynb#a-data-set-as-a-function-of-the-update-number), so there is no iterator whose position could be lost. The
# noise is seeded at the beginning. The rate follows (1). And the gradient, all parameters together, is cut to a length of 100 at most, so that one odd batch can't throw the model away.

# %%
def step_two(model, data, updates, lr=2e-3, seed=0, limit=100., schedule="warmup_cosine"):
    seed_everything(seed, "fit", 0)                              # the noise of the samples
    trained = [p for p in model.train().parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr, fused=True)
    rate = lambda update: lr_factor(update, updates, schedule)
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    for update in range(updates):                                # or: for batch in loader
        total, parts = model(data.batch(update, 32, seed))
        total.backward()
        torch.nn.utils.clip_grad_norm_(trained, limit)
        optimiser.step(); rates.step(); optimiser.zero_grad()
    return model


# %%
two = step_two(new_vae(), train, 300)
disturbed = new_vae(); torch.rand(1); step_two(disturbed, train, 300)
assert same(two, disturbed)
print(f"held out: {judged(one)} after step one, {judged(two)} after step two")

# %% [markdown]
# Whatever was drawn before, the weights are the same to the last bit. But the loss is *behind* that of step one. Which of the three lines is it?

# %%
level = step_two(new_vae(), train, 300, schedule="constant")
print(f"held out: {judged(level)} with the same seed and limit and a constant rate")


# %% [markdown]
# The schedule, then. After 300 updates this model is far from done, and a cycle of the same peak goes half as far, because its mean rate is half of the peak (exercise 3). Its small steps are meant for the end of a training that is long enough. A schedule is a bet on the length, so `fit` has both.
#
# What is still missing: a draw *during* the training would change it, a kill would lose it, nobody sees the parts of the loss, and a number that is not finite goes on for hours. That is step three.

# %% [markdown]
# ## Precision
#
# With `bf16` the matrix products are computed with 8 significant bits; weights, optimiser and loss stay in float32. Whether that is faster depends on the machine.
# A processor with tiles for it (Intel's AMX) gains; one without has to emulate it, and then an update takes *many times* as long (`make bench ARGS="--only steps --precisions float32,bf16"` measures it). So `"auto"` asks
# the machine, and a run records what the answer was. The default is float32, which is the same everywhere.

# %%
#| exports
def resolve_precision(precision="auto", # "float32", "bf16" (mixed), or "auto"
                      device="auto" # as in `resolve_device`
                     ) -> str:
    "The precision itself; for `auto` bf16 where the device multiplies it fast, else float32."
    if one_of("precision", precision, ["float32", "bf16", "auto"]) != "auto": return precision
    device = resolve_device(device)
    if device.type == "cuda": fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else: fast = device.type == "cpu" and torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bf16" if fast else "float32"


# %%
assert resolve_precision("bf16") == "bf16" and resolve_precision("float32") == "float32"
assert resolve_precision("auto", "cpu") in ("bf16", "float32")


# %% [markdown]
# ## Step three: `fit`
#
# It takes any module whose call gives a `Loss`, and any data that keep the contract. The loop itself is short, because everything that is about
# *where* it runs and *what is left behind* is in a context, `Run`: whatever happens inside, a loss that overflows or Ctrl-C, on the way out the bar is closed, accelerate's
# marks are taken off the model, the model is in evaluation mode and the global random generators go on where they were before. An error, Ctrl-C too, carries the rows so
# far as its `history`. It is not swallowed, because what comes after `fit` in a script would take the half for a whole; with a `checkpoint` the same call goes on.

# %%
#| exports
@checked
def fit(model: torch.nn.Module, # a module: model(batch) -> Loss(total, parts)
        data, # a `MultimodalData`, or an iterable of dict batches such as a `DataLoader` (`Stream`)
        updates: int | None = None, # number of optimiser steps; or say `epochs`
        batch_size: int = 128, # items per batch and process; an iterable brings its own
        lr: float = 1e-3, # peak learning rate
        seed: int = 0, # of batches and all else that is drawn; not of the first weights
        device="auto", # auto, cpu, cuda, cuda:N, mps
        precision: str = "float32", # "float32", "bf16" (mixed), or "auto": whichever is fast here
        schedule: str = "warmup_cosine", # "warmup_cosine" or "constant"
        clip: float | None = 100.0, # largest norm of the gradient; None for no limit
        checkpoint=None, # folder for checkpoints, of one model and data set; None for none
        every: int = 200, # updates between checkpoints
        progress: bool = True, # show a bar with the parts of the loss
        stop_after: int | None = None, # stop (with a checkpoint), as if interrupted
        callbacks: tuple[Callable, ...] | list[Callable] = (), # of the `Run`, after each row
        epochs: int | None = None, # passes over the data, in place of `updates`
        accumulate: int = 1, # batches per update and process, whose gradients are averaged
        optimiser: Callable | None = None, # (parameters, lr) -> `torch.optim.Optimizer`; Adam
        validation=None, # held-out items: `MultimodalData`, a dict batch, or an iterable of them
        every_validation: int | None = None, # updates between looks, in tens; None: about 40 looks
        patience: int | None = None, # looks without a new best that end it; None: never
        keep: str | None = None, # "best" or "last" weights; None: "best" with `patience`
        record: bool = False # on CUDA: record an update once, and launch it whole (lesson 02k)?
       ) -> pd.DataFrame: # update, total and the parts of the loss, one row per 10 updates
    """Train `model` in place; resumes from `checkpoint` if there is one. If items of a loader lack
    modalities, its batches say so by `present`: a column for each other key, in their order."""
    needs_gradients("fit", own=False)
    data, checkpoint = _numbered(data, model), _folder(checkpoint)
    how = _checked(model, data, updates, epochs, batch_size=batch_size, lr=lr, seed=seed,
                   precision=resolve_precision(precision, device), schedule=schedule, clip=clip,
                   accumulate=accumulate)
    watch = validation_of(validation, every_validation, patience, keep, how, model)
    if watch: callbacks = [watch, *callbacks]
    with Run(model, data, how, device, checkpoint, every, progress, stop_after,
             optimiser, watch, record) as run:
        for update in run.left:
            row = run.step(update)
            if run.logs(update): run.log(row, callbacks)
            if run.saves(update): run.save(update + 1)
            if run.stopped: break
    run.look_back()
    return pd.DataFrame(run.history)


# %% [markdown]
# The pieces come below, from the inside out. First, settings are checked. Then come two classes, each with one thing to see to: `_Updater` does one update of step two, and `_Checkpoints` knows when to save and what. `Run` holds one of each, and the history.
# Whoever only wants to use `fit` can go on with [its first training](#what-it-gives).
#
# ### What is asked for
#
# What is given is checked before anything is touched. Then accelerate is told where to work, and the optimiser is made: *fused* Adam by default, which updates all parameters in one pass over memory. That is for speed alone, and changes no result but by rounding.

# %%
#| exports
_MOST = 10**6 # batches of an update: more is a slip, and would never come to an end
_MOST_UPDATES = 10**9

def _checked(model, data, updates, epochs, **how):
    "The settings of a training as numbers of Python's; one line for what can't be trained."
    for name in ("batch_size", "accumulate"):
        how[name] = in_range(name, how[name], low=1, high=_MOST, whole=True)
    how["lr"] = in_range("lr", how["lr"], low=1e-12)           # of 0 nothing would be learnt
    how["seed"] = in_range("seed", how["seed"], 0, whole=True)
    one_of("schedule", how["schedule"], ["warmup_cosine", "constant"])
    if how["clip"] is not None: in_range("clip", how["clip"], low=1e-9)
    if not isinstance(model, torch.nn.Module):
        raise MmvaeError(f"model: got a {type(model).__name__}, allowed: a torch.nn.Module")
    if any(p.is_inference() for p in model.parameters()):
        raise MmvaeError("model: got one made under torch.inference_mode, whose parameters have no "
                         "gradients for good, allowed: one made outside of it")
    if not any(p.requires_grad for p in model.parameters()):
        raise MmvaeError("model: got one without a parameter to train, allowed: one with some "
                         "(a model that teaches students is frozen)")
    if isinstance(data, Stream): data.shown = must_show(model, data.batches)
    else: must_show(model, data); take_over(model, data.modalities)
    return {"updates": _updates(data, updates, epochs, how), **how}


# %%
#| exports
#| code-fold: true
#| code-summary: "Folder, updates, processes"
def _folder(checkpoint):
    "The folder of checkpoints as it was given, if it can be one."
    if checkpoint is None or isinstance(checkpoint, os.PathLike): return checkpoint
    if isinstance(checkpoint, str) and checkpoint and "\0" not in checkpoint: return checkpoint
    raise MmvaeError(f"checkpoint: got {checkpoint!r}, allowed: a folder's path, or None")

def _updates(data, updates, epochs, how):
    "The number of updates, or how many the passes over the data take."
    if (updates is None) == (epochs is None):
        raise MmvaeError(f"updates: got {updates}, and epochs {epochs}, allowed: one of the two")
    if epochs is None: return in_range("updates", updates, 1, _MOST_UPDATES, whole=True)
    batches = in_range("epochs", epochs, 1, _MOST_UPDATES, whole=True)
    batches *= data.batches_per_epoch(how["batch_size"])
    return math.ceil(batches/(how["accumulate"]*_processes()))

def _processes(): return int(os.environ.get("WORLD_SIZE", 1))


# %%
#| exports
#| code-fold: true
#| code-summary: "Accelerator and optimiser"
def _accelerator(device, precision):
    "An `Accelerator` on `device`; several fits in one process may differ in device and precision."
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    if PartialState._shared_state and PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
    mixed = {"float32": "no", "bf16": "bf16"}[precision]
    if _processes() > 1: return Accelerator(cpu=str(device) == "cpu", mixed_precision=mixed)
    device = resolve_device(device)
    if device.type == "cuda": torch.cuda.set_device(device)
    return Accelerator(cpu=device.type == "cpu", mixed_precision=mixed)

def _adam(parameters, lr):
    "Adam, in one pass over all parameters where that is there for them."
    can = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.Adam(parameters, lr, fused=can)

def _name(optimiser):
    "An optimiser and its options as text, for a checkpoint to compare."
    options = {k: v for k, v in optimiser.defaults.items() if k != "lr" and v}
    return f"{type(optimiser).__name__}({', '.join(f'{k}={v}' for k, v in options.items())})"


# %% [markdown]
# A training must not leave traces, so the way in and the way out stand in one function: what is seeded and set here is put back, whatever happens between.

# %%
#| exports
@contextlib.contextmanager
def _in_training(model, how, process, watch):
    "Within: seeded, in training mode. Afterwards, however it ended: no trace but the weights."
    marks = ["forward", "_original_forward", "_is_accelerate_prepared"]   # accelerate hangs them on
    before = {k: v for k, v in vars(model).items() if k in marks}
    products = torch.get_float32_matmul_precision()
    with keeping_random_state():
        try:
            seed_everything(how["seed"], "fit", process); model.train()
            # where bf16 was asked for, a card may round what stays in float32 as well (TF32)
            if how["precision"] == "bf16": torch.set_float32_matmul_precision("high")
            yield
        finally:               # `unwrap_model(keep_fp32_wrapper=False)` would leave `forward`
            for k in marks: vars(model).pop(k, None)
            vars(model).update(before)
            torch.set_float32_matmul_precision(products); model.eval()
            if watch: watch.restore(model)


# %% [markdown]
# ### An update
#
# `_Updater` holds what step two had as variables: the model, its optimiser, the schedule. Its `step` is the body of that loop, for one batch or for several whose gradients are averaged (with several processes each has batches of its own). One more line is there
# for speed alone: weights of convolutions lie with their channels side by side (`channels_last`). With `record=True` on a CUDA card three updates are done as written, the next one is recorded,
# and from then on each is launched whole from that recording, because a small update on a card is mostly waiting for Python ([lesson 02k](02k_recording.ipynb)).

# %%
#| exports
#| code-fold: true
#| code-summary: "Class: model, optimiser and schedule, and an update of them"
class _Updater:
    "A model with its data, optimiser and schedule, where they work."
    def __init__(self, model, data, how, accelerator, optimiser=None, folder=None, record=False):
        self.model, self.data, self.batch = model, data, None
        self.how, self.accelerator, self.folder = how, accelerator, folder
        model.to(memory_format=torch.channels_last)
        trained = [p for p in model.parameters() if p.requires_grad]
        made = optimiser_of(optimiser or _adam, trained, how["lr"])
        self.name = _name(made) if optimiser else None
        factor = lambda update: lr_factor(update, how["updates"], how["schedule"])
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(made, factor)
        self.wrapped, self.optimiser = accelerator.prepare(model, made)
        record = record and not optimiser and can_record(accelerator, data, how, model)
        self.recorded = Recorded(self._one, self.optimiser) if record else None

    def _one(self, batch):
        "An update on one batch, without a look at its numbers: (row, norm of the gradient)."
        total, parts = loss_of(self.wrapped, batch)
        self.accelerator.backward(total)
        norm = self._limited()
        self.optimiser.step()
        return {"total": total.detach(), **parts}, norm

    def _limited(self):
        limit = math.inf if self.how["clip"] is None else self.how["clip"]
        return self.accelerator.clip_grad_norm_(self.model.parameters(), limit)

    def step(self, update, due) -> dict: # update, total and the parts of the loss
        "Loss, gradient, limit, step. `due`: will a row or a checkpoint follow?"
        accelerator, how, k, rows = self.accelerator, self.how, self.how["accumulate"], []
        check = functools.partial(_check_finite, self, update, due)
        if self.recorded: return self._replayed(update, check)
        for i in range(update*k, (update + 1)*k):
            number = i*accelerator.num_processes + accelerator.process_index
            self.batch = self.data.batch(number, how["batch_size"], how["seed"])
            last = i == (update + 1)*k - 1         # processes exchange their gradients only then
            with contextlib.nullcontext() if last else accelerator.no_sync(self.wrapped):
                total, parts = loss_of(self.wrapped, self.batch)
                if accelerator.num_processes == 1: check("loss: got", total)
                accelerator.backward(total/k if k > 1 else total)
            rows.append({"total": total.detach(), **parts})
        norm = self._limited()
        for row in rows if accelerator.num_processes > 1 else ():
            check("loss: got", row["total"])
        check("gradient: got norm", norm)
        self.optimiser.step(); self.scheduler.step(); self.optimiser.zero_grad()
        return {"update": update, **_mean_of_batches(rows)}

    def _replayed(self, update, check):
        self.batch = self.data.batch(update, self.how["batch_size"], self.how["seed"])
        row, norm = self.recorded(self.batch)
        check("loss: got", row["total"]); check("gradient: got norm", norm)
        self.scheduler.step()
        return {"update": update, **row}


# %%
#| exports
def _mean_of_batches(rows):
    "Each part over the batches that have it: not all do where items lack modalities."
    if len(rows) == 1: return rows[0]
    found = {n: [r[n] for r in rows if n in r] for row in rows for n in row}
    return {n: sum(v)/len(v) for n, v in found.items()}

def _mean_of_processes(row, accelerator):
    "A row of all processes: the mean of theirs."
    if accelerator.num_processes == 1: return row
    names = [k for k in row if k != "update"]
    here = torch.stack([torch.as_tensor(row[k], device=accelerator.device).float() for k in names])
    return {"update": row["update"], **dict(zip(names, accelerator.reduce(here, "mean")))}


# %% [markdown]
# A number that is not finite ends the training. A part of the loss that is none although the total is one would be overlooked, so it gets one line ([lesson 02i](02i_watching.ipynb)).

# %%
#| exports
def _check_finite(updater, update, due, what, value):
    "`MmvaeError` for a number that is none: when it was, and what may help."
    if value.device.type == "cuda" and not due: return       # a look would have to wait for it
    if torch.isfinite(value): return
    blame(updater.batch, f" of the batch of update {update}")
    accelerator, folder, lr = updater.accelerator, updater.folder, updater.how["lr"]
    many, rank = accelerator.num_processes > 1, accelerator.process_index
    then = f", in another folder than {folder} or after deleting it," if latest(folder) else ""
    raise MmvaeError(f"{what} {value.item()} at update {update}{f' of process {rank}'*many}, "
                     f"allowed: finite numbers; a smaller lr than {lr}{then} may help")


# %% [markdown]
# ### Checkpoints
#
# [Lesson 02h](02h_checkpoints.ipynb) explains what is in the files. Here is when one is due, whose state it holds, and on which settings a training has to agree with the file that it continues.

# %%
#| exports
def _settings(model, data, how, watch, processes):
    "What a checkpoint has to agree on, as its file gives it."
    settings = dict(how, processes=processes, data=data.checksum, model=fingerprint(model),
                    **(watch.settings() if watch else {}))
    if how["accumulate"] == 1: del settings["accumulate"]        # as in older checkpoints
    return json.loads(json.dumps(settings, default=float))


# %%
#| exports
class _Checkpoints:
    "The checkpoints of one training in their folder, if it has one."
    def __init__(self, folder, every, settings, accelerator):
        self.folder, self.every, self.settings = folder, every, settings
        self.accelerator, self.parts = accelerator, {}

    def due(self, update, last):
        return bool(self.folder) and ((update + 1) % self.every == 0 or last)

    def resume(self, updater, states): # -> (updates done, history)
        "Model, optimiser and what else has a state: as in the newest checkpoint, or as new."
        if updater.name: self.settings["optimiser"] = updater.name
        own = [s for s in states if hasattr(s, "load_state_dict")]
        for s in own: s.reset()
        self.parts = {"model": updater.model, "optimiser": updater.optimiser,
                      "schedule": updater.scheduler, "own": own}
        if not (path := latest(self.folder)): return 0, []
        done = load_checkpoint(self.accelerator, path, self.settings, self.parts)
        if not updater.name: as_unrecorded(updater.optimiser)
        return done

    def save(self, done, history):
        save_checkpoint(self.accelerator, self.folder, done, self.settings, history, self.parts)


# %% [markdown]
# ### `Run`
#
# `Run` is what `fit` and its callbacks hold in their hands. Its own state is the history and how far the training is; the rest it leaves to the pieces above. Going in, each step that leaves a trace first says how the trace is removed: that is what `ExitStack` is for.

# %%
#| exports
#| code-fold: true
#| code-summary: "Class: Run"
class Run:
    "A training under way. A callback reads `model`, `update`, `row`, `history`, and may `stop()`."
    def __init__(self, model, # the model in training
                 data, # a `MultimodalData`
                 how, # settings, as `fit` checks them
                 device="auto", checkpoint=None, every=200, progress=True, stop_after=None,
                 optimiser=None, # as `fit` takes it
                 watch=None, # a `Validation`
                 record=False): # as `fit` takes it
        count = lambda name, value: in_range(name, value, low=1, whole=True)
        every, self.end = count("every", every), how["updates"]
        if stop_after is not None: self.end = min(self.end, count("stop_after", stop_after))
        self.model, self.data, self.batch, self.how = model, data, None, how
        self.checkpoint, self.progress, self.watch = checkpoint, progress, watch
        self.new_optimiser, self.record = optimiser, record
        self.accelerator = _accelerator(device, how["precision"])
        n = self.accelerator.num_processes
        settings = _settings(model, data, how, watch, n) if checkpoint else {}
        self.checkpoints = _Checkpoints(checkpoint, every, settings, self.accelerator)
        self.history, self.row, self.update, self.stopped = [], {}, 0, False

    def __enter__(self):
        if self.checkpoint: check_writable(self.checkpoint)
        model, how, here, watch = self.model, self.how, self.accelerator, self.watch
        with contextlib.ExitStack() as undo:
            undo.enter_context(_in_training(model, how, here.process_index, watch))
            self.data = self.data.to(here.device)
            self.updater = _Updater(model, self.data, how, here, self.new_optimiser,
                                    self.checkpoint, self.record)
            self.optimiser, self.scheduler = self.updater.optimiser, self.updater.scheduler
            states = [*getattr(model, "checkpoint_state", list)(), watch, self.data]
            start, self.history = self.checkpoints.resume(self.updater, states)
            if watch and watch.over(self.history): self.end = start
            self.bar = ProgressBar(start, how["updates"], self.progress and here.is_main_process)
            undo.callback(self.bar.close)
            self.left, self.undo = range(start, self.end), undo.pop_all()
        return self

    def __exit__(self, kind, error, trace):
        if error is not None: error.history = pd.DataFrame(self.history)
        self.undo.__exit__(kind, error, trace)
        if isinstance(error, RuntimeError) and self.accelerator.num_processes > 1:
            if re.search("(?i)gloo|nccl|connection (closed|reset)|unhandled system", str(error)):
                raise MmvaeError(f"process {self.accelerator.process_index}: another process has "
                                 "ended, and says why; this one can't go on without it") from error

    def step(self, update) -> dict: # the row of the history
        "One update: loss, gradient, optimiser. `MmvaeError` if a number is not finite."
        row = self.updater.step(update, due=self.logs(update) or self.saves(update))
        self.update, self.batch = update, self.updater.batch
        return row

    def log(self, row, callbacks=()):
        "Keep a row of the history, call the callbacks, show both."
        row = _mean_of_processes(row, self.accelerator)
        self.row = {k: v if k == "update" else float(v) for k, v in row.items()}
        warn_of_parts(self.row, self.history)
        self.history.append(self.row)
        if callbacks:
            with keeping_random_state():                     # a callback changes no weight
                for call in callbacks: call(self)
            self.model.train()
        self.bar.show(self.update + 1, self.row)

    def logs(self, update): return update % 10 == 0 or update == self.how["updates"] - 1
    def saves(self, update):
        return self.checkpoints.due(update, last=self.stopped or update + 1 == self.end)
    def save(self, done): self.checkpoints.save(done, self.history) # updates done

    def stop(self):
        "End after this update, with a checkpoint if there is a folder for it."
        self.stopped = True

    def look_back(self):
        "One line if the model makes the same of all items."
        if self.update < 99 or self.batch is None or not self.accelerator.is_main_process: return
        if same := [n for n, v in spread(self.model, self.batch).items() if v < ALIKE]:
            warnings.warn(f"{', '.join(same)}: after {self.update + 1} updates reconstructions of "
                          f"different items are alike (they vary by less than {ALIKE:.0%} of what "
                          "the data do); a plateau, or a collapsed posterior", stacklevel=4)


# %% [markdown]
# Poke it: three updates without `fit`, a row after each, and the weights of step two.

# %%
how = dict(updates=3, batch_size=32, lr=2e-3, seed=0, precision="float32", schedule="constant",
           clip=100., accumulate=1)
by_hand = new_vae()
with Run(by_hand, train, how, "cpu", progress=False) as run:
    for update in run.left: run.log(run.step(update))
assert same(by_hand, step_two(new_vae(), train, 3, schedule="constant")) and not by_hand.training
pd.DataFrame(run.history).round(1)


# %% [markdown]
# ## Data larger than memory
#
# A file of numbers that memory can't hold, photos in a folder, pictures that are drawn anew each time: for these there is torch's `DataLoader`. `fit` takes one
# (or any other iterable) in place of our data, if its batches are dicts: name to tensor. What is lost is the batch as a function of its number, because a loader knows only
# *next*. So its order is made a function of the seed: before each batch the global generators are seeded by the run's seed, the epoch and the place in it, and so is
# a generator of the loader's own. To resume is to begin the epoch again and to skip what was seen. That reads up to one epoch for nothing,
# and gives the same bits if all chance in the loader comes from those generators (torch's, NumPy's, Python's; workers start anew each epoch).
# With several processes each reads all and keeps its share.

# %%
#| exports
#| code-fold: true
#| code-summary: "Class: Stream"
class Stream:
    "Dict batches, asked by number; `present` has a column for each other key, in their order."
    def __init__(self, batches, # such as a `DataLoader`: each `iter` of it is one epoch
                 model=None): # whose modalities they have: their kinds say what numbers mean
        self.batches, self.model, self.device = batches, model, "cpu"
        self.seen, self.shown = False, Shown()
        self.reset()

    @property
    def checksum(self):
        "Class, length, first and last item: of a loader with workers or without numbers no item."
        return identity_of(self.batches)

    def batches_per_epoch(self, batch_size=None):
        "What the iterable says of itself."
        if (length := length_of(self.batches)) is not None: return length
        raise MmvaeError("epochs: got data without a length, allowed: updates in place of epochs")

    def batch(self, number, batch_size=None, seed=0): # the size is the iterable's own
        "The batch of this number; numbers must rise."
        while self.number <= number: batch = self._next(seed)
        seen, self.seen = self.seen, True
        return given_to(self.model, batch, not seen, " of a batch of the data", self.device)

    def _next(self, seed):
        with keeping_random_state():
            seed_everything(seed, "stream", self.epoch, self.number - self.first)
            if self.left is None: self.left = _one_pass(self.batches, self.epoch)
            batch = next(self.left, None)
        if batch is not None: self.number += 1; self.shown(batch); return batch
        if self.number == self.first: raise MmvaeError("data: got no batch, allowed: one or more")
        self.shown.over()
        self.load_state_dict({"epoch": self.epoch + 1, "first": self.number})
        return self._next(seed)

    def to(self, device): self.device = device; return self
    def reset(self): self.load_state_dict({"epoch": 0, "first": 0})
    def state_dict(self): return {"epoch": self.epoch, "first": self.first}

    def load_state_dict(self, state):
        "To the first batch of an epoch: those before the one that is asked for are skipped."
        self.epoch, self.first = state["epoch"], state["first"]
        self.number, self.left = self.first, None              # of the next batch


# %%
#| exports
#| code-fold: true
#| code-summary: "What is asked of an iterable, and of its batches"
def _one_pass(batches, epoch):
    "An epoch of an iterable; chance of its own is seeded as the global one is."
    for part in (batches, getattr(batches, "sampler", None)):
        own = getattr(part, "generator", None)
        if isinstance(own, torch.Generator): own.manual_seed(torch.initial_seed())
        if hasattr(part, "set_epoch"): part.set_epoch(epoch)
    return iter(batches)

def _numbered(data, model=None):
    "Data that are asked for batches by number: as they are, or an iterable made such."
    if isinstance(data, Stream): data.model = model
    if isinstance(data, (MultimodalData, Stream)): return data
    if isinstance(data, Iterable) and not isinstance(data, (Iterator, Mapping, str)):
        return Stream(data, model)
    raise MmvaeError(f"data: got {type(data).__name__}, allowed: a MultimodalData (TensorData), or "
                     "what can be iterated again and again and gives dicts (DataLoader, list)")


# %%
lots = [{"x": torch.full((2, 1), float(i))} for i in range(5)]
loader = torch.utils.data.DataLoader(lots, batch_size=None, shuffle=True)
seen = Stream(loader); order = [int(seen.batch(i)["x"][0]) for i in range(12)]
again = Stream(loader); again.load_state_dict({"epoch": 1, "first": 5})        # as a checkpoint says
assert [int(again.batch(i)["x"][0]) for i in (7, 8)] == order[7:9]
assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5)) and order[:5] != order[5:10]
for bad in [iter(lots), {"x": torch.zeros(3, 1)}, 7]:
    try: _numbered(bad)
    except MmvaeError as e: print(e)
    else: raise AssertionError("let through")

# %% [markdown]
# ## What it gives
#
# Compared with step two: the same weights, bit by bit. Everything that was added leaves the training itself alone.

# %%
three = new_vae()
fit(three, train, updates=300, batch_size=32, lr=2e-3, progress=False, device="cpu")
assert same(two, three)
pd.Series({"step one": judged(one), "step two": judged(two), "step three": judged(three)},
          name="held-out negative ELBO")

# %% [markdown]
# And it has seen the parts of the loss (here with batches of 128):

# %%
vae = new_vae()
history = fit(vae, train, updates=300, progress=False, device="cpu")
assert list(history) == ["update", "total", "nll", "kl"] and len(history) == 31
assert history.total.iloc[-3:].mean() < history.total.iloc[:3].mean() - 50

# %%
#| fig-cap: "The parts of the loss while training. The KL starts at zero, jumps, falls again, and then rises slowly while the latent code is put to use."
#| fig-alt: "Two panels of curves over updates, negative log-likelihood and KL."
fig, axes = plt.subplots(1, 2, figsize=(8, 2.6))
for ax, part in zip(axes, ["nll", "kl"]):
    ax.plot(history["update"], history[part])
    ax.set(xlabel="update", ylabel=f"{part} (nats per item)")
fig.tight_layout()

# %% [markdown]
# ## Kill and resume
#
# Train for 40 updates in one go; train again but stop after 23; resume. The weights must be *equal*,
# not similar: noise, pairing, optimiser and schedule all have to be where they were.

# %%
short = dict(updates=40, batch_size=32, progress=False, device="cpu", every=10)
whole = new_vae(); fit(whole, train, **short)
with tempfile.TemporaryDirectory() as folder:
    first = new_vae(); fit(first, train, **short, checkpoint=folder, stop_after=23)
    second = new_vae(); resumed = fit(second, train, **short, checkpoint=folder)
    try: fit(new_vae(), train, **{**short, "lr": 5e-4}, checkpoint=folder)
    except MmvaeError as e: refusal = str(e)
assert same(whole, second) and not same(first, second)
assert resumed["update"].tolist() == [0, 10, 20, 30, 39] and "0.0005" in refusal

# %% [markdown]
# A run that has come to its end can go on for longer if its rate is constant: `updates` is then no more than the place where one stops looking. One cycle is over when it is over. With
# another $U$ in equation (1) every rate would have been another, so a longer run is another run, and is refused. Calling `fit` once more without the checkpoint
# begins a second cycle from the weights reached.

# %%
steady = {**short, "schedule": "constant"}
at_once, bit_by_bit = new_vae(), new_vae(); fit(at_once, train, **steady)
with tempfile.TemporaryDirectory() as folder:
    for updates in (15, 40):
        fit(bit_by_bit, train, **{**steady, "updates": updates}, checkpoint=folder)
assert same(at_once, bit_by_bit)

# %% [markdown]
# ## Another loop
#
# Whoever needs another loop writes it: models are modules, and their call gives a loss. Step two is a good beginning, since it ends in the weights of `fit`; from there it is your own:
# other schedules, several optimisers, a logger.
#
# Other arguments of `fit` change single lines of it. `optimiser` is a function of parameters and rate: a class of torch's, or a `partial` of one. With `accumulate=k` the
# gradients of $k$ batches are averaged before an update, for batches that memory can't hold at once. What a model counts itself (the warm-up of lesson 04) counts batches.

# %%
adamw = functools.partial(torch.optim.AdamW, weight_decay=.1)
once = {**short, "updates": None, "batch_size": 250}
history = fit(new_vae(), train, **once, epochs=1, accumulate=2, optimiser=adamw)
assert history["update"].iloc[-1] + 1 == math.ceil(train.batches_per_epoch(250)/2)


# %% [markdown]
# ## Callbacks
#
# What one wants beside the training loss differs from project to project: a picture, an entry in a log, a number. A *callback* is
# a function of the `Run`, called after each row of the history (every ten updates). It may look at `run.model`, add to `run.row`, and call `run.stop()`. It draws from random generators of
# its own, so a training with callbacks ends in the same weights as one without. And it should remember nothing that is not in `run.history`, so that a resumed run
# behaves like an uninterrupted one.

# %%
def length(run):
    "The length of all weights, taken as one vector."
    run.row["length"] = sum((p.detach()**2).sum() for p in run.model.parameters()).sqrt().item()
print(fit(new_vae(), train, **short, callbacks=[length])[["update", "total", "length"]].round(1))

# %% [markdown]
# The total rises from 235 to 253 in the last line, and nothing is wrong: each row is the loss of *one* batch of 32 digits, and some digits are harder than others. A trend needs many rows, or held-out items that are the same each time.
#
# ## Validation, and an early end
#
# `validation` adds the loss of held-out items to the history, as a callback that [lesson 02i](02i_watching.ipynb) explains. The items may be a `MultimodalData`, one batch, or a loader.
#
# With a rate that is far too large the validation loss soon gets no better (it jumps up and down from update 20 on, as every step overshoots), and after three looks without a new best the training ends. The last weights are then by
# construction worse than some before, so with `patience` the model holds the *best* ones. Without it the last are kept, because a look should change nothing, and because at the end of a cycle
# the rate is zero and the last weights are as a rule the best. For the same reason `patience` goes with a constant rate: who leaves a cycle early never gets its small steps.

# %%
rough = dict(updates=200, batch_size=32, lr=0.1, schedule="constant", progress=False, device="cpu")
watched, alone = new_vae(), new_vae()
look = dict(validation=held_out, every_validation=10)
history = fit(watched, train, **rough, **look, patience=3)
ended, best = history["update"].iloc[-1] + 1, history["update"][history.validation.idxmin()] + 1
fit(alone, train, **rough, stop_after=int(best))                # without any validation
assert same(watched, alone)
assert 30 < ended < 200 and best == ended - 30
print(history[["update", "total", "validation"]].round(1).to_string(index=False))

# %% [markdown]
# ## Mixed precision and bad input
#
# With `precision="bf16"` the matrix products are computed with 8 significant bits; weights and optimiser stay in float32. After 40
# updates the loss must be within 5 % of that in full precision. Then four settings that are refused by name, and a learning rate
# with which the loss overflows.

# %%
half = new_vae()
bf16 = fit(half, train, **{**short, "precision": "bf16"})
assert abs(bf16.total.iloc[-1]/fit(new_vae(), train, **short).total.iloc[-1] - 1) < .05
assert next(half.parameters()).dtype == torch.float32
for bad in [dict(precision="float16"), dict(updates=0), dict(schedule="cosine"),
            dict(device="cuda:99")]:
    try: fit(new_vae(), train, **{**short, **bad})
    except MmvaeError as e: assert str(e).startswith(*bad)
    else: raise AssertionError(bad)
try: fit(new_vae(), train, **{**short, "lr": 1e6})
except MmvaeError as e: assert "smaller lr" in str(e)


# %% [markdown]
# ## Several devices
#
# A script that calls `fit` runs on several devices with `accelerate launch script.py`, from a notebook with
# `accelerate.notebook_launcher`. Each process draws its own batches, so `batch_size` is per process; the history holds the mean of their losses.
# A number that is not finite reaches all of them through the averaged gradient, so all of them stop, each with its message; if one process ends, the others say so in one line.
#
# How many *threads* a process computes with changes the order of sums, and with it the last bits. A checkpoint remembers the number, and warns if it is continued with another.
#
# ## What goes wrong, and how you would notice
#
# - *The total falls, one part does not move.* In a sum of several likelihoods one modality can be forgotten in silence. Plot every part.
# - *The KL is zero for a long time.* The posterior may have collapsed (lesson 02). Look at reconstructions of different items: are they alike? `fit` warns if they are.
# - *A resumed run is not the same run.* Compare a killed and resumed run with an uninterrupted one, bit by bit, as above. A loader with a
#   hidden position, or a noise generator that was not saved, shows at once.
# - *The gradient is clipped at every update.* Then the clipping sets the step, not the learning rate, and the loss hardly falls. Our limit of 100 is
#   there for the rare spike.
#
# ## Recap
#
# - Five lines train. A seed, a schedule and a limit make the training repeatable; `fit` adds what is around it and changes no weight.
# - `fit` is seeded, resumable to the same bits, stops on nonsense, and says where it is; it leaves nothing behind but a trained model.
# - Callbacks see the `Run`: they add to its history and may end it, and change no weight. The validation loss is one of them.
# - Data in memory are a function of the update's number; a `DataLoader` is made one by seeding it and skipping.
# - [Lesson 02h](02h_checkpoints.ipynb): checkpoints, and `save` and `load` for what was trained. [Lesson 02i](02i_watching.ipynb): held-out items, early ends, plateaus.
#
# ## Exercises
#
# 1. Why does a checkpoint need the state of the random generators, when every batch is a pure function of its number?
# 2. With two processes, is the result the same as with one process and twice the batch size?
# 3. By equation (1), what is the mean of the rate over a long run, in units of its peak?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The noise $\epsilon$ of the reparameterised samples is drawn from the global generator.
# 2. The gradient is an average over the same number of items, but they are other items and other noise, so: in
#    distribution yes, in bits no.
# 3. One half: the warm-up runs evenly from 0 to 1, and half a cosine lies as much above one half as below it.
# :::
#
# ### In code: clipping
#
# `fit` limits the norm of the gradient. Fill in `clipped`: the gradients of all parameters, scaled by one common
# factor so that the norm of all of them together is at most `limit`, and left alone if it is that already.

# %%
#| code-fold: true
#| code-summary: "Solution"
def clipped(gradients, limit):
    "The list of gradients, scaled so that their common norm is at most `limit`."
    ### BEGIN SOLUTION
    norm = sum((g**2).sum() for g in gradients)**0.5
    return [g*min(1., float(limit/norm)) for g in gradients]
    ### END SOLUTION


# %%
for limit in (0.5, 5., 500.):
    weights = [torch.zeros(shape, requires_grad=True) for shape in [(3, 4), (5,)]]
    for w in weights: w.grad = torch.randn(w.shape, generator=generator("clip", w.dim()))
    mine = clipped([w.grad.clone() for w in weights], limit)
    torch.nn.utils.clip_grad_norm_(weights, limit)                      # what fit calls
    for w, g in zip(weights, mine): torch.testing.assert_close(g, w.grad, rtol=1e-4, atol=1e-6)

# %% [markdown]
# ## References
#
# - L. Smith, N. Topin, [Super-Convergence](https://arxiv.org/abs/1708.07120), 2017 (one cycle).
# - Hugging Face, [accelerate](https://huggingface.co/docs/accelerate).
