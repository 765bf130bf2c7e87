# %% [markdown]
# # On a graphics card
#
# > An update is hundreds of small kernels. Record them once, and launch them with one call.
#
# ::: {.callout-note}
# ## You will learn
#
# - why a fast card waits for Python most of the time, and how to count what it waits for;
# - what a recording of an update is, by one that runs on the processor;
# - what has to stay the same from one update to the next, and how it is checked that it does;
# - what `fit(..., record=True)` saves.
#
# A workshop page: skip it at first. Runs in about twenty seconds on a laptop CPU; no card is needed.
# :::

# %% [markdown]
# ![Drawing: above, Python launches kernels one by one and the card waits between them; below, one launch starts all of them and the card works without a gap.](drawings/recording.svg)

# %%
#| default_exp recording

# %%
#| export
import torch
from mmvae_nb.data import MultimodalData

# %%
import contextlib, random
from types import SimpleNamespace
from unittest.mock import patch
import numpy as np
import pandas as pd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from mmvae_nb.core import *
from mmvae_nb.data import Modality, TensorData
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.experiments.runs import make_model
from mmvae_nb.experiments.table import METHODS
from mmvae_nb.iterative_inference import Replay
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.plotting import method_name
from mmvae_nb.training import fit

# %% [markdown]
# ## Why a card waits
#
# Python tells the card what to do, one operation after the other: a convolution, a sum, a logarithm. It does not wait for the answer, so in a large network it is soon far ahead, and the card is always busy. In a small network
# each kernel is done before Python has got to the next one. Then the card waits, and the update takes as long as Python takes:
#
# $$
# \text{time of an update} \approx \max(\text{launches} \times \text{Python's time for one},\ \text{the card's work}). \tag{1}
# $$
#
# How many launches are there? Torch can put a counter between Python and its operations. Those that only look at a tensor in another way launch nothing and are left out. The loss and its gradient are counted; the limit and Adam add a few.
# The tensors here are on the device `meta`, which knows shapes and holds no numbers, so nothing is computed.

# %%
views = set("""view _unsafe_view t transpose permute expand detach alias unsqueeze squeeze slice select
    split split_with_sizes unbind as_strided empty empty_like empty_strided lift_fresh""".split())

class Count(TorchDispatchMode):
    "Operations that launch a kernel, more or less."
    launches = 0
    def __torch_dispatch__(self, op, types, args=(), named=None):
        self.launches += op._schema.name.split("::")[1] not in views
        return op(*args, **(named or {}))

modalities = [Modality("mnist", "image", (1, 28, 28)), Modality("svhn", "image", (3, 32, 32)),
              Modality("text", "text", (8,), "abcdefghijklmnopqrstuvwxyz ")]
specs = default_specs({m.name: m for m in modalities})
kinds = {"image": torch.uint8, "text": torch.long}
batch = {m.name: torch.zeros(16, *m.shape, dtype=kinds[m.kind], device="meta") for m in modalities}

def fresh(method):
    "A model with its teacher, both untrained."
    return method and make_model(method, specs, 20, 1., 4, fresh(METHODS[method].teacher))

def on_meta(model, batch):
    "Loss and gradient of a model without numbers; `meta` knows no mixed precision."
    unmixed = lambda *_, **__: contextlib.nullcontext()
    with patch("torch.autocast", unmixed): model(batch).total.backward()

launches = {}
for method in ["jvae", "mopoe", "mvtcae", "iterative", "iterative_student", "refined"]:
    seed_everything(0, method); model = fresh(method).to("meta").train()
    with Count() as count: on_meta(model, batch)
    launches[method] = count.launches
launches


# %% [markdown]
# ## A recording
#
# A recording is the list of these launches, with the very places in memory that each reads and writes. To do the update again, somebody walks through the list. On a card the driver does it (a *CUDA graph*), and Python makes one call. Here is
# a recording for the processor, in full: Python walks, so it saves nothing, but it does what the card does, and it shows what can go wrong.

# %%
class Tape(TorchDispatchMode):
    "Operations, with the very tensors they read and wrote."
    def __enter__(self): self.calls = []; return super().__enter__()

    def __torch_dispatch__(self, op, types, args=(), named=None):
        if op is torch.ops.aten._local_scalar_dense.default:
            raise MmvaeError("recording: a number is read back")
        made = op(*args, **(named or {}))
        self.calls.append((op, args, named or {}, made))
        return made

    def replay(self):
        over = lambda old, new: old.copy_(new) if isinstance(old, torch.Tensor) else old
        with torch.no_grad():
            for op, args, named, made in self.calls: tree_map(over, made, op(*args, **named))

x = torch.tensor([1., 2.])
with Tape() as tape: y = (3*x).sum()
x.copy_(torch.tensor([10., 20.])); tape.replay()        # new numbers in the old place
assert y == 3*(10 + 20)

# %% [markdown]
# A whole update fits on it: loss, gradient, limit, Adam. Before each replay the batch is copied into the place that was recorded. The losses are those of the training as written, but for rounding: the rate is in single precision now.

# %%
z = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
data = TensorData({"sound": z*torch.ones(3), "motion": -z*torch.ones(2)})

def trained(updates, recorded_from=None):
    "Losses of a small JVAE; all updates as written, or replayed after the one that is recorded."
    seed_everything(0, "weights"); model, losses = JVAE(default_specs(data.modalities), 2).train(), []
    optimiser = torch.optim.Adam(model.parameters(), 2e-3, fused=True)
    def update(batch):
        total, _ = model(batch); total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.); optimiser.step()
        return total.detach()
    place, tape = data.batch(0, 32), Tape()
    for u in range(updates):
        if u == recorded_from: as_recordable(optimiser)
        for n, x in data.batch(u, 32).items(): place[n].copy_(x)
        with tape if u == recorded_from else contextlib.nullcontext():
            if recorded_from is None or u <= recorded_from: total = update(place)
            else: tape.replay()
        losses.append(total.item())
        if recorded_from is None or u < recorded_from: optimiser.zero_grad()
    return np.array(losses)


# %% [markdown]
# ## The rate is a number on the device
#
# The learning rate changes with every update. As a number of Python's it would be written into the recording and stay what it was. So it becomes a tensor, whose number the scheduler fills in, and Adam's kernel looks there each time.
# A checkpoint keeps it as it is; a training that goes on takes it as a number again, until it records.

# %%
#| exports
def as_recordable(optimiser # whose states lie on the device
                 ):
    "The rate as a number on the device, which a recorded update reads there each time."
    for g in optimiser.param_groups:
        device = g["params"][0].device
        if device.type == "cuda": g["capturable"] = True
        g["lr"] = torch.tensor(float(g["lr"]), dtype=torch.float32, device=device)

def as_unrecorded(optimiser # such as one from a checkpoint
                 ):
    "The rate as a number of Python's."
    for g in optimiser.param_groups:
        if isinstance(g["lr"], torch.Tensor): g["lr"], g["capturable"] = g["lr"].item(), False


# %%
optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))], 1.)
halved = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda u: .5**u)
as_recordable(optimiser); place = optimiser.param_groups[0]["lr"]
optimiser.step(); halved.step()
assert optimiser.param_groups[0]["lr"] is place and place == .5
as_unrecorded(optimiser)
assert optimiser.param_groups[0]["lr"] == .5 and isinstance(optimiser.param_groups[0]["lr"], float)

written, replayed = trained(60), trained(60, recorded_from=3)
assert np.abs(written - replayed).max() < 1e-3 < written[0] - written[-10:].mean()
print(f"loss {written[0]:.2f} at first, {written[-1]:.4f} as written, {replayed[-1]:.4f} replayed")


# %% [markdown]
# ## What must be alike
#
# A recording can't branch, so every update has to be the same list of launches:
#
# - *The same shapes*: complete batches of one size. Items that lack modalities come in groups of other sizes each time, so such data is not recorded.
# - *The same places*: what an update leaves for the next one is written over the old, not put beside it.
# - *No number read back.* An `if` on a number of the card needs the number, and the number needs an end of all work. So JMVAE phases $\alpha$ in by a tensor, and a loss that is not finite is found at the rows of the history only.
# - *Nothing counted or drawn in Python.* What Python did while it recorded is not done again. Students that learn from a start drawn at random (`starts="any"`, lesson 10) draw in Python and say so by `draws_in_python`, so they are trained as written.
# - One process and no accumulation: what is sent to other processes is not in the recording.
#
# `can_record` looks at the training. What a model does inside, nobody can see from outside. So a model of your own is recorded only if you say `record=True`, at your own risk, and the experiments record the package's models only.

# %%
#| exports
def can_record(accelerator, # accelerate's, which knows device and processes
               data, # what batches come from
               how, # settings of a training: a dict with `accumulate`
               model=None # one that draws in Python says so: `draws_in_python`
              ) -> bool:
    "Are all updates of this training alike: one process, one CUDA device, complete batches?"
    alike = isinstance(data, MultimodalData) and not data.partial
    alike = alike and not getattr(model, "draws_in_python", False)
    alone = accelerator.num_processes == 1 and how["accumulate"] == 1
    return alike and alone and accelerator.device.type == "cuda"


# %%
card, cpu = (SimpleNamespace(num_processes=1, device=torch.device(d)) for d in ("cuda", "cpu"))
assert can_record(card, data, {"accumulate": 1})
assert not can_record(cpu, data, {"accumulate": 1}) and not can_record(card, data, {"accumulate": 2})
assert not can_record(card, data, {"accumulate": 1}, SimpleNamespace(draws_in_python=True))


# %% [markdown]
# The third and the fourth rule broken, on the tape. The first mistake is refused, on a card as well. The second is not, and that is the dangerous one: the replay goes on with what it counted when it was recorded.

# %%
class Counts:
    "A model that counts its updates in Python, or in a tensor."
    def __init__(self, seen): self.seen = seen
    def __call__(self, x): self.seen += 1; return x*self.seen

def three(model):
    with Tape() as tape: y = model(torch.ones(1))
    made = [y.item()]
    for _ in range(2): tape.replay(); made.append(y.item())
    return made

try: three(lambda x: x if x.sum() > 0 else -x)
except MmvaeError as e: print(e)
print("in Python:", three(Counts(0)), "in a tensor:", three(Counts(torch.zeros(1))))
assert three(Counts(0)) == [1, 1, 1] and three(Counts(torch.zeros(1))) == [1, 2, 3]


# %% [markdown]
# Do our methods keep the rules? The device `meta` has no number to give, so a model that reads one back fails there. And the generators of Python and of the processor must be where they were: what they give is a number of Python's, which a recording would repeat.
# A test does this for every method of the table; here are the six from above.

# %%
def keeps_the_rules(model, batch):
    "Reads no number, and draws none from a generator that a recording would not know."
    before = torch.get_rng_state(), random.getstate()
    on_meta(model, batch)
    return torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()

for method in launches:
    model = fresh(method).to("meta").train()
    assert all(keeps_the_rules(model, batch) for _ in range(2)), method
class Branches(JVAE):
    def loss(self, batch):
        loss = super().loss(batch)
        return loss if loss.total > 0 else self.loss(batch)
try: keeps_the_rules(Branches(specs, 2).to("meta"), batch)
except RuntimeError as e: print(f"{type(e).__name__}: {str(e).splitlines()[0][:70]}")

# %% [markdown]
# ## Chance in a recording
#
# Noise has to be new in each replay. The processor's generator takes steps, so where it stands is a state that only it knows. A card's is a *function* (Philox): of a seed and of a number, the offset, it makes random bits, any part of the sequence without those before it. The offset
# lies in memory, each replay moves it on by as many numbers as it drew, and so a replayed update draws what the same update would have drawn as written.

# %%
every = np.random.Generator(np.random.Philox(key=7)).random(12)
later = np.random.Philox(key=7); later.advance(2)                 # two blocks of four numbers
assert (np.random.Generator(later).random(4) == every[8:]).all()

# %% [markdown]
# ## Memories stay in place
#
# The refiner's training goes on with unfinished refinements of earlier updates ([lesson 08](08_iterative_inference.ipynb)). `Replay.store` copies them over the old ones. If it kept the new tensors instead, a replay would read the old place for ever.

# %%
replay, q = Replay(.5), lambda v: DiagonalGaussian(torch.full((4, 2), v), torch.zeros(4, 2))
replay.store({"x": torch.ones(4, 3)}, q(1.), None); place = replay.stored[1].mean
replay.store({"x": torch.ones(4, 3)}, q(2.), None)
assert replay.stored[1].mean is place and (place == 2).all()


# %% [markdown]
# ## The exported version
#
# The first updates are done as written, because libraries choose their algorithms and allocate memory then. While CUDA records, nothing is computed, so the update that is recorded is replayed at once. Gradients are given up before, and so get their place inside.

# %%
#| exports
class Recorded:
    "An update that is done as written a few times, then recorded, then launched as recorded."
    def __init__(self, work, # batch -> (dict of tensors, tensor); with the optimiser's step
                 optimiser, # whose step it is
                 plain=3 # updates before the recording: libraries choose and allocate meanwhile
                ):
        self.work, self.optimiser, self.plain = work, optimiser, plain
        self.stream, self.graph, self.batch, self.made = torch.cuda.Stream(), None, None, None

    def __call__(self, batch # dict: name -> tensor, always of the same shapes
                ): # what `work` gives; tensors that the next call overwrites
        "One update on this batch."
        if self.plain: self.plain -= 1; return self._as_written(batch)
        if self.graph is None: self._record(batch)
        for n, x in batch.items(): self.batch[n].copy_(x)
        self.graph.replay()
        return self.made

    def _as_written(self, batch):
        now = torch.cuda.current_stream()
        self.stream.wait_stream(now)
        with torch.cuda.stream(self.stream):
            made = self.work(batch)
            self.optimiser.zero_grad()
        now.wait_stream(self.stream)
        return made

    def _record(self, batch):
        "Nothing is computed meanwhile; gradients get their place in the recording."
        self.batch, self.graph = {n: x.clone() for n, x in batch.items()}, torch.cuda.CUDAGraph()
        as_recordable(self.optimiser)
        with torch.cuda.graph(self.graph, stream=self.stream): self.made = self.work(self.batch)


# %% [markdown]
# On a card a training with and without it agree, but for rounding:

# %%
#| cuda
shapes = {"mnist": (256, 1, 28, 28), "svhn": (256, 3, 32, 32)}
noise, losses = TensorData({m: torch.randint(0, 255, s, dtype=torch.uint8) for m, s in shapes.items()}), []
for record in (False, True):
    seed_everything(0, "weights"); model = JVAE(default_specs(noise.modalities), 20)
    history = fit(model, noise, 30, 64, device="cuda", progress=False, record=record)
    losses.append(history.total)
assert ((losses[0] - losses[1]).abs() < 1e-3*losses[0].abs()).all()

# %% [markdown]
# ## What it saves
#
# Milliseconds an update on one card, measured by one process; `python tools/bench.py --only cuda` measures them anew, and [Time and memory](bench.ipynb) shows all. Next to them is the count from above, and what one launch took as written: by (1), Python's time.

# %%
measured = pd.read_csv("../results/bench/cuda.csv")
keys = ["batch", "precision", "method"]
wide = measured.pivot_table(index=keys, columns="recorded", values="ms", sort=False)
wide.columns = ["as written, ms", "recorded, ms"]
table = wide.reset_index()
table["minutes for 40,000"] = (table["recorded, ms"]*40_000/60_000).round(1)
table["launches"] = table["method"].map(launches)
table["microseconds each"] = (1000*table["as written, ms"]/table["launches"]).round()
label = lambda m: METHODS[m].label or method_name(m)
table["method"] = table["method"].map(label)
print("; ".join(sorted(set(measured["gpu"] + ", torch " + measured["torch"].astype(str)))))
table.fillna("")

# %%
once = wide.dropna()
gain = once["as written, ms"]/once["recorded, ms"]
print("; ".join(f"{label(m)}: {v:.1f} times as fast" for (*_, m), v in gain.items()))
assert (gain > 5).all()

# %% [markdown]
# Four times the batch costs less than half as much again, so even recorded the card is not full with 64 items. What is left can be shared: with NVIDIA's multi-process service, sixteen processes on this card did 81 trainings, most of 5,000 or 10,000 updates, and 80 evaluations (their records are in `results/long`, `long_bf16` and `twice`)
# in 572 seconds ([lesson 14h](14h_in_process.ipynb) starts several).
#
# ## What goes wrong
#
# - *"operation not permitted when stream is capturing"*: something reads a number back, often in a check. Move it out of the update, or leave `record` off.
# - *The loss is another one, and no error.* Something counts in Python, or a tensor was replaced where it had to be overwritten. Compare thirty updates with those as written.
# - *A row of the history changes afterwards.* What a replay gives are places, and the next replay overwrites them; `fit` reads the numbers before.
# - *Out of memory beside a second model.* A recording keeps its memory as long as it lives, because its places must stay free.
#
# ## Recap
#
# - A small update is launches, not work. So by (1) it takes, as written, as long on a fast card as on a slow one.
# - A recording is a list of launches with their places in memory; one call replays it, so Python's time is paid once.
# - Shapes, places and the order of launches must be alike; no number goes back to Python, and none is counted there.
# - Chance, the rate and a memory are in a recording as places, so they go on.
#
# ## Exercises
#
# 1. By (1), what does a network of twice the width cost as written, while Python is the slower one?
# 2. `Counts(0)` multiplies by 1 in each replay. What would it do if it were recorded after three updates as written?
# 3. Why does dropout need no care in a recording, and a `random.random() < 0.5` in a model does?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Nothing: the launches are the same in number. So on a card that waits, wider is free until its work is as long as the launches.
# 2. Multiply by 4 for ever: the recording is of the fourth call.
# 3. Dropout draws from the card's generator, whose offset moves on. The other is Python's: it is asked once, while recording, and its branch is all there is.
# :::
#
# ## References
#
# - V. Nguyen, M. Carilli et al., [Accelerating PyTorch with CUDA Graphs](https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/), 2021: the idea, and what large trainings gained.
# - PyTorch, [CUDA semantics: CUDA Graphs](https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs): the list of what a recording forbids, which ours is made after.
# - J. K. Salmon et al., [Parallel random numbers: as easy as 1, 2, 3](https://doi.org/10.1145/2063384.2063405), 2011: Philox, a generator that is a function of a counter.
