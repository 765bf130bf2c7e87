# %% [markdown]
# # Training
#
# > One `fit` for every model: progress, checkpoints, resuming, mixed precision, several devices.
#
# ::: {.callout-note}
# ## You will learn
#
# - what a training loop must promise before its numbers can be trusted;
# - how to stop a run at any moment and continue it to the very same weights;
# - how the same call runs on a laptop, on an accelerator, and on several.
#
# Runs in about twenty seconds on a laptop CPU.
# :::

# %%
#| default_exp training

# %%
#| export
import contextlib, json, math, os, time
import pandas as pd
import torch
from mmvae_nb.core import *
from mmvae_nb.data import MultimodalData
from mmvae_nb.checkpoints import *

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
# The loop of the last lesson was five lines. A loop that others rely on owes them a little more:
#
# 1. *The same random seed gives the same model*, also if the run was killed halfway and resumed.
# 2. *You see what it does*: each part of the loss, not only their sum.
# 3. *It stops on nonsense*: a loss that is not a number raises an error that says when.
# 4. *It does not care where it runs.* Moving to devices, mixed precision and several processes are
#    not this course's subject; [accelerate](https://huggingface.co/docs/accelerate) does them.
#
# The first promise rests on the data contract: `data.batch(update, batch_size, seed)` is a pure
# function, so there is no iterator whose position could be lost.
#
# ## The learning rate
#
# A constant rate is the textbook choice. One cycle (a short warm-up, then a cosine down to zero)
# often reaches the same loss in fewer updates; where updates are scarce, as on two cores, we use it. With $U$ updates in
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
# ## Precision
#
# With `bf16` the matrix products are computed with 8 significant bits; weights, optimiser and loss stay in float32. Whether that is faster depends on the machine.
# A processor with tiles for it (Intel's AMX) needs 0.8 to 0.9 of the time of float32 in these models; one without has to emulate it, and then an update takes *fifteen times* as long. So `"auto"` asks
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
# ## `fit`
#
# It takes any module whose call gives a `Loss`, and any data that keep the contract. The loop itself is short, because everything that is about
# *where* it runs and *what is left behind* is in a context, `Run`: whatever happens inside, a loss that overflows or Ctrl-C, on the way out the bar is closed, accelerate's
# marks are taken off the model, the model is in evaluation mode and the global random generators go on where they were before.

# %%
#| exports
def fit(model, # a module: model(batch) -> Loss(total, parts)
        data, # a `MultimodalData`
        updates, # number of optimiser steps
        batch_size=128, # items per update and process
        lr=1e-3, # peak learning rate of Adam
        seed=0, # seeds weights' noise, pairing of items, everything drawn while training
        device="auto", # auto, cpu, cuda, cuda:N, mps
        precision="float32", # "float32", "bf16" (mixed), or "auto": whichever is fast here
        schedule="warmup_cosine", # "warmup_cosine" or "constant"
        clip=100.0, # largest norm of the gradient; None for no limit
        checkpoint=None, # folder for checkpoints; None for none
        every=200, # updates between checkpoints
        progress=True, # show a bar with the parts of the loss
        stop_after=None, # stop (with a checkpoint) after this many updates, as if interrupted
        callbacks=() # functions of the `Run`, called after each row of the history
       ) -> pd.DataFrame: # update, total and the parts of the loss, one row per 10 updates
    "Train `model` in place by Adam; resumes from `checkpoint` if there is one."
    how = _checked(model, data, updates=updates, batch_size=batch_size, lr=lr, seed=seed,
                   precision=resolve_precision(precision, device), schedule=schedule, clip=clip)
    with Run(model, data, how, device, checkpoint, every, progress, stop_after) as run:
        for update in run.left:
            row = run.step(update)
            if run.logs(update): run.log(row, callbacks)
            if run.saves(update): run.save(update + 1)
            if run.stopped: break
    return pd.DataFrame(run.history)


# %% [markdown]
# What is given is checked before anything is touched.

# %%
#| exports
def _checked(model, data, **how):
    "The settings of a training as numbers of Python's; one line for what can't be trained."
    for name in ("updates", "batch_size"): how[name] = in_range(name, how[name], low=1, whole=True)
    how["lr"] = in_range("lr", how["lr"], low=0)
    one_of("schedule", how["schedule"], ["warmup_cosine", "constant"])
    if how["clip"] is not None: in_range("clip", how["clip"], low=1e-9)
    if not isinstance(data, MultimodalData):
        raise MmvaeError(f"data: got {type(data).__name__}, allowed: a MultimodalData (TensorData)")
    if not any(p.requires_grad for p in model.parameters()):
        raise MmvaeError("model: got one without a parameter to train, allowed: one with some "
                         "(a model that teaches students is frozen)")
    return how

def _accelerator(device, precision):
    "An `Accelerator` on `device`; several fits in one process may differ in device and precision."
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    if PartialState._shared_state and PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
    launched = int(os.environ.get("WORLD_SIZE", 1)) > 1
    mixed = {"float32": "no", "bf16": "bf16"}[precision]
    if not launched:
        device = resolve_device(device)
        if device.type == "cuda": torch.cuda.set_device(device)
        return Accelerator(cpu=device.type == "cpu", mixed_precision=mixed)
    return Accelerator(cpu=str(device) == "cpu", mixed_precision=mixed)

def _can_fuse(parameters):
    "Is Adam's one pass over all parameters there for them?"
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)

@contextlib.contextmanager
def _coarse_products(how):
    "Within: where bf16 was asked for, a card may round what stays in float32 as well (TF32)."
    before = torch.get_float32_matmul_precision()
    if how["precision"] == "bf16": torch.set_float32_matmul_precision("high")
    try: yield
    finally: torch.set_float32_matmul_precision(before)

def _marks(model):
    "A function that takes away what accelerate is about to hang on `model`, its bf16 above all."
    names = ["forward", "_original_forward", "_is_accelerate_prepared"]
    before = {k: v for k, v in vars(model).items() if k in names}
    def release():                 # `unwrap_model(keep_fp32_wrapper=False)` would leave `forward`
        for k in names: vars(model).pop(k, None)
        vars(model).update(before)
    return release


# %% [markdown]
# `Run` is what `fit` and its callbacks hold in their hands. Setting up happens in order, and each step that leaves a trace first says how the trace
# is removed: that is what `ExitStack` is for. Two lines are there for speed alone, and change no result but by rounding: *fused* Adam updates all parameters in one pass over
# memory, and weights of convolutions lie with their channels side by side (`channels_last`).

# %%
#| exports
class Run:
    "A training under way. A callback reads `model`, `update`, `row`, `history`, and may `stop()`."
    def __init__(self, model, # the model in training
                 data, # a `MultimodalData`
                 how, # settings, as `fit` checks them
                 device="auto", checkpoint=None, every=200, progress=True, stop_after=None):
        count = lambda name, value: in_range(name, value, low=1, whole=True)
        self.model, self.data, self.how = model, data, how
        self.checkpoint, self.every, self.progress = checkpoint, count("every", every), progress
        self.end = how["updates"]
        if stop_after is not None: self.end = min(self.end, count("stop_after", stop_after))
        self.accelerator = _accelerator(device, how["precision"])
        self.settings = dict(how, processes=self.accelerator.num_processes, data=data.checksum,
                             model=fingerprint(model))
        self.settings = json.loads(json.dumps(self.settings, default=float))   # as a file gives it
        self.history, self.row, self.update, self.stopped = [], {}, 0, False

    def __enter__(self):
        with contextlib.ExitStack() as undo:
            if self.checkpoint: check_writable(self.checkpoint)
            undo.enter_context(keeping_random_state())
            seed_everything(self.how["seed"], "fit", self.accelerator.process_index)
            undo.callback(self.model.eval); self.model.train()
            undo.callback(_marks(self.model)); undo.enter_context(_coarse_products(self.how))
            self._prepare()
            start = self._resume()
            show = self.progress and self.accelerator.is_main_process
            self.bar = _Bar(start, self.how["updates"], show); undo.callback(self.bar.close)
            self.left, self.undo = range(start, self.end), undo.pop_all()
        return self

    def __exit__(self, *error): return self.undo.__exit__(*error)

    def _prepare(self):
        "Model, data and optimiser to where they work, and what a checkpoint holds beside them."
        accelerator, how = self.accelerator, self.how
        self.data = self.data.to(accelerator.device)
        self.model.to(memory_format=torch.channels_last)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        optimiser = torch.optim.Adam(trained, how["lr"], fused=_can_fuse(trained))
        factor = lambda update: lr_factor(update, how["updates"], how["schedule"])
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        self.wrapped, self.optimiser = accelerator.prepare(self.model, optimiser)
        accelerator.register_for_checkpointing(self.scheduler)
        for more in getattr(self.model, "checkpoint_state", list)():
            more.reset(); accelerator.register_for_checkpointing(more)

    def _resume(self):
        "The update to begin with: that after the newest checkpoint, or the first."
        if not (path := latest(self.checkpoint)): return 0
        start, self.history = load_checkpoint(self.accelerator, path, self.settings)
        return start

    def step(self, update) -> dict: # the row of the history
        "One update: loss, gradient, Adam. `MmvaeError` if a number is not finite."
        accelerator, how = self.accelerator, self.how
        number = update*accelerator.num_processes + accelerator.process_index
        total, parts = self.wrapped(self.data.batch(number, how["batch_size"], how["seed"]))
        self._finite("loss: got", total, update)
        accelerator.backward(total)
        limit = math.inf if how["clip"] is None else how["clip"]
        norm = accelerator.clip_grad_norm_(self.model.parameters(), limit)
        self._finite("gradient: got norm", norm, update)
        self.optimiser.step(); self.scheduler.step(); self.optimiser.zero_grad()
        self.update = update
        return {"update": update, "total": total.detach(), **parts}

    def _finite(self, what, value, update):
        "On a card, which looking would wait for, a look with each row and checkpoint is enough."
        if value.device.type == "cuda" and not (self.logs(update) or self.saves(update)): return
        if torch.isfinite(value): return
        raise MmvaeError(f"{what} {value.item()} at update {update}, allowed: finite numbers; "
                         f"a smaller lr than {self.how['lr']} may help")

    def logs(self, update): return update % 10 == 0 or update == self.how["updates"] - 1

    def log(self, row, callbacks=()):
        "Keep a row of the history, call the callbacks, show both."
        self.row = {k: v if k == "update" else float(v) for k, v in row.items()}
        self.history.append(self.row)
        if callbacks:
            with keeping_random_state():                     # a callback changes no weight
                for call in callbacks: call(self)
            self.model.train()
        self.bar.show(self.update + 1, self.row)

    def stop(self):
        "End after this update, with a checkpoint if there is a folder for it."
        self.stopped = True

    def saves(self, update):
        due = (update + 1) % self.every == 0 or update + 1 == self.end or self.stopped
        return bool(self.checkpoint) and due

    def save(self, done): # updates done
        save_checkpoint(self.accelerator, self.checkpoint, done, self.settings, self.history)


# %%
#| exports
class _Bar:
    "A progress bar with the parts of the loss, and the status file of `write_status`."
    def __init__(self, start, total, show):
        from tqdm.auto import tqdm
        self.bar = tqdm(total=total, initial=start, disable=not show)
        self.shown, self.main = 0.0, show
    def show(self, update, row):
        text = " ".join(f"{k} {v:.4g}" for k, v in row.items() if k != "update")
        self.bar.set_postfix_str(text, refresh=False); self.bar.update(update - self.bar.n)
        if time.time() - self.shown > 1:
            self.shown = time.time(); write_status(step=update, total=self.bar.total, text=text)
    def close(self): self.bar.close()


# %% [markdown]
# It trains the VAE of the last lesson:

# %%
train = mnist_svhn_text("train", "rendered")
spec = replace(default_specs(train.modalities, weights={"mnist": 1.})["mnist"],
               likelihood=Bernoulli(),
               decoder=lambda latent: mlp_decoder(latent, (1, 28, 28), squash=False))
def new_vae(): seed_everything(0, "weights"); return VAE(spec, "mnist", latent=20)
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
for a, b in zip(whole.parameters(), second.parameters()): assert torch.equal(a, b)
assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))
assert resumed["update"].tolist() == [0, 10, 20, 30, 39] and "0.0005" in refusal

# %% [markdown]
# ## Callbacks
#
# What one wants beside the training loss differs from project to project: the loss on validation items, a picture, an entry in a log, an early end. A *callback* is
# a function of the `Run`, called after each row of the history (every ten updates). It may look at `run.model`, add to `run.row`, and call `run.stop()`. It draws from random generators of
# its own, so a training with callbacks ends in the same weights as one without.
#
# Two of them: the validation loss, and a stop when it has not improved for three rows. Both are written so that a resumed run behaves like an uninterrupted
# one: they remember nothing that is not in `run.history`.

# %%
held_out, _ = mnist_svhn_text("validation", "rendered").take(200)

def validation(run):
    "Adds the loss on held-out items to each row."
    seed_everything(0, "validation")                                # the same noise each time
    with torch.no_grad(): run.row["validation"] = run.model.eval().loss(held_out).total.item()

def patience(run):
    "Ends the training after three rows without a new best validation loss."
    losses = [row["validation"] for row in run.history]
    if losses.index(min(losses)) < len(losses) - 3: run.stop()


# %% [markdown]
# With a rate that is far too large the validation loss soon gets no better, and the training ends. Its weights are those of a training that was
# stopped at the same place without any callback.

# %%
rough = dict(updates=200, batch_size=32, lr=0.1, schedule="constant", progress=False, device="cpu")
watched, alone = new_vae(), new_vae()
history = fit(watched, train, **rough, callbacks=[validation, patience])
ended = history["update"].iloc[-1] + 1
fit(alone, train, **rough, stop_after=ended)
for a, b in zip(watched.parameters(), alone.parameters()): assert torch.equal(a, b)
assert 30 < ended < 200
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
# `accelerate.notebook_launcher`. Each process draws its own batches, so `batch_size` is per process.
#
# ## What goes wrong, and how you would notice
#
# - *The total falls, one part does not move.* In a sum of several likelihoods one modality can be forgotten in silence. Plot every part.
# - *The KL is zero for a long time.* The posterior may have collapsed (lesson 05). Look at reconstructions of different items: are they alike?
# - *A resumed run is not the same run.* Compare a killed and resumed run with an uninterrupted one, bit by bit, as above. A loader with a
#   hidden position, or a noise generator that was not saved, shows at once.
# - *The gradient is clipped at every update.* Then the clipping sets the step, not the learning rate, and the loss hardly falls. Our limit of 100 is
#   there for the rare spike.
#
# ## Recap
#
# - `fit` is seeded, resumable to the same bits, stops on nonsense, and says where it is; it leaves nothing behind but a trained model.
# - Callbacks see the `Run`: they add to its history and may end it, and change no weight.
# - [Lesson 06a](06a_checkpoints.ipynb): checkpoints, and `save` and `load` for what was trained.
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
