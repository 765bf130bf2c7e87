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
import json, math, os, time
import pandas as pd
import torch
from mmvae_nb.core import *
from mmvae_nb.data import MultimodalData
from mmvae_nb.checkpoints import _fingerprint, _latest, _load_checkpoint, _save_checkpoint, _writable

# %%
import tempfile
from dataclasses import replace
from pathlib import Path
import matplotlib.pyplot as plt
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.distributions import Bernoulli
from mmvae_nb.networks import *
from mmvae_nb.vae import *
from mmvae_nb.checkpoints import *


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
# ## `fit`
#
# It takes any module whose call gives a `Loss`, and any data that keep the contract.

# %%
#| exports
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

def _marks(model):
    "A function that takes away what accelerate is about to hang on `model`, its bf16 above all."
    names = ["forward", "_original_forward", "_is_accelerate_prepared"]
    before = {k: v for k, v in vars(model).items() if k in names}
    def release():
        for k in names: vars(model).pop(k, None)
        vars(model).update(before)
    return release


# %%
#| exports
def fit(model, # a module: model(batch) -> Loss(total, parts)
        data, # a `MultimodalData`
        updates, # number of optimiser steps
        batch_size=128, # items per update and process
        lr=1e-3, # peak learning rate of Adam
        seed=0, # seeds weights' noise, pairing of items, everything drawn while training
        device="auto", # auto, cpu, cuda, cuda:N, mps
        precision="float32", # "float32" or "bf16" (mixed)
        schedule="warmup_cosine", # "warmup_cosine" or "constant"
        clip=100.0, # largest norm of the gradient; None for no limit
        checkpoint=None, # folder for checkpoints; None for none
        every=200, # updates between checkpoints
        progress=True, # show a bar with the parts of the loss
        stop_after=None # stop (with a checkpoint) after this many updates, as if interrupted
       ) -> pd.DataFrame: # update, total and the parts of the loss, one row per 10 updates
    "Train `model` in place by Adam; resumes from `checkpoint` if there is one."
    count = lambda name, value: in_range(name, value, low=1, whole=True)
    updates, batch_size = count("updates", updates), count("batch_size", batch_size)
    every, lr = count("every", every), in_range("lr", lr, low=0)     # numbers of Python's, too
    one_of("precision", precision, ["float32", "bf16"])
    one_of("schedule", schedule, ["warmup_cosine", "constant"])
    if clip is not None: in_range("clip", clip, low=1e-9)
    if stop_after is not None: in_range("stop_after", stop_after, low=1, whole=True)
    if not isinstance(data, MultimodalData):
        raise MmvaeError(f"data: got {type(data).__name__}, allowed: a MultimodalData (TensorData)")
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise MmvaeError("model: got one without a parameter to train, allowed: one with some "
                         "(a model that teaches students is frozen)")
    accelerator = _accelerator(device, precision)
    settings = dict(updates=updates, batch_size=batch_size, lr=lr, seed=seed, precision=precision,
                    schedule=schedule, clip=clip, processes=accelerator.num_processes,
                    data=data.checksum, model=_fingerprint(model))
    settings = json.loads(json.dumps(settings, default=float))     # as a checkpoint gives them back
    if checkpoint: _writable(checkpoint)
    seed_everything(seed, "fit", accelerator.process_index)
    data = data.to(accelerator.device)
    optimiser = torch.optim.Adam(trained, lr)
    factor = lambda u: lr_factor(u, updates, schedule)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    model.train()
    release = _marks(model)
    try:
        wrapped, optimiser = accelerator.prepare(model, optimiser)
        accelerator.register_for_checkpointing(scheduler)
        replay = getattr(model, "replay", None)       # lesson 09: what later updates continue
        if hasattr(replay, "stored"):
            replay.stored = None; accelerator.register_for_checkpointing(replay)
        start, history = 0, []
        if _latest(checkpoint):
            start, history = _load_checkpoint(accelerator, _latest(checkpoint), settings)
        stop = updates if stop_after is None else min(updates, stop_after)
        limit = math.inf if clip is None else clip
        bar = _Bar(start, updates, progress and accelerator.is_main_process)
        for update in range(start, stop):
            number = update*accelerator.num_processes + accelerator.process_index
            total, parts = wrapped(data.batch(number, batch_size, seed))
            if not torch.isfinite(total):
                raise MmvaeError(f"loss: got {total.item()} at update {update}, "
                                 f"allowed: finite numbers; a smaller lr than {lr} may help")
            accelerator.backward(total)
            norm = accelerator.clip_grad_norm_(model.parameters(), limit)
            if not torch.isfinite(norm):
                raise MmvaeError(f"gradient: got norm {norm.item()} at update {update}, "
                                 f"allowed: finite numbers; a smaller lr than {lr} may help")
            optimiser.step(); scheduler.step(); optimiser.zero_grad()
            if update % 10 == 0 or update == updates - 1:
                row = {"update": update, "total": total.item()}
                row |= {k: float(v) for k, v in parts.items()}
                history.append(row); bar.show(update + 1, row)
            if checkpoint and ((update + 1) % every == 0 or update + 1 == stop):
                _save_checkpoint(accelerator, checkpoint, update + 1, settings, history)
    finally: release()
    bar.close(); model.eval()
    return pd.DataFrame(history)


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
# - `fit` is seeded, resumable to the same bits, stops on nonsense, and says where it is.
# - `save_weights`, `load_weights` and `cached` keep what it made.
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
