# %% [markdown]
# # Watching a training
#
# > The loss on held-out items, an early end, the best weights, and a line if everything the model makes looks alike.
#
# ::: {.callout-note}
# ## You will learn
#
# - how to measure a model while it is trained without changing what it becomes;
# - what an early end may depend on, so that a killed run ends where it would have ended;
# - how a plateau shows that no loss shows.
#
# Runs in about ten seconds on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: the loss of held-out items falls, turns and rises; circles are looks, the lowest is marked as the best weights, and three looks later the training stops and goes back to it.](drawings/watching.svg)

# %%
#| default_exp watching

# %%
#| export
import contextlib, inspect, math, time, warnings
from collections.abc import Iterable, Iterator, Mapping
import numpy as np
import torch
from mmvae_nb.core import *
from mmvae_nb.data import MultimodalData, as_float
from mmvae_nb.kinds import given_to
from mmvae_nb.missing import PRESENT, as_tensor, patterns
from mmvae_nb.signatures import one_index, same_modalities

# %%
import os, tempfile
from mmvae_nb.data import TensorData
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.training import fit
from mmvae_nb.vae import Loss


# %% [markdown]
# ## While it runs
#
# What a person at the screen sees comes first: a bar with the parts of the loss. A scheduler has no screen, so the bar also writes the status file that lesson 14d reads, at most once a second because a write costs more than a small update.

# %%
#| exports
class ProgressBar:
    "A progress bar with the parts of the loss, and the status file of `write_status`."
    def __init__(self, start, # updates done before this training, by the one it goes on from
                 total, # updates there will be
                 show # draw it? The status file is written either way
                ):
        from tqdm.auto import tqdm
        self.bar = tqdm(total=total, initial=start, disable=not show)
        self.shown, self.main = 0.0, show
    def show(self, update, row):
        text = " ".join(f"{k} {v:.4g}" for k, v in row.items() if k != "update")
        self.bar.set_postfix_str(text, refresh=False); self.bar.update(update - self.bar.n)
        if time.time() - self.shown > 1:
            self.shown = time.time(); write_status(step=update, total=self.bar.total, text=text)
    def close(self): self.bar.close()


# %%
with tempfile.TemporaryDirectory() as folder:
    before = os.environ.get("MMVAE_STATUS"); os.environ["MMVAE_STATUS"] = path = f"{folder}/status.json"
    bar = ProgressBar(2, 10, show=False)
    bar.show(3, {"update": 2, "total": 1.5}); first = read_json(path); bar.shown += 60
    bar.show(4, {"update": 3, "total": 1.2}); bar.close()
    assert (first["step"], first["total"], first["text"]) == (3, 10, "total 1.5") and read_json(path) == first
    os.environ.pop("MMVAE_STATUS") if before is None else os.environ.update(MMVAE_STATUS=before)


# %% [markdown]
# A part of the loss can be infinite while the total is a number, because some parts are shown only and not added. The training goes on, and nobody looks at a column of a table that is still growing. So the first such row is told of in one line.

# %%
#| exports
def warn_of_parts(row, # of the history: update, total and the parts of the loss
                  history # the rows before it
                 ):
    "One line, the first time, for parts that are no numbers although the total is one."
    wild = [k for k, v in row.items() if not math.isfinite(v)]
    if wild and all(math.isfinite(r.get(k, 0.)) for k in wild for r in history):
        warnings.warn(f"loss: its part {wild[0]} is {row[wild[0]]} at update {row['update']}, "
                      "while the total is finite", stacklevel=5)


# %%
rows = [{"update": i, "total": 1., "kl": kl} for i, kl in enumerate([.5, math.inf, math.nan])]
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for i, row in enumerate(rows): warn_of_parts(row, rows[:i])
assert [str(w.message) for w in said] == ["loss: its part kl is inf at update 1, while the total is finite"]


# %% [markdown]
# ## An optimiser of one's own
#
# `fit` takes a function that makes an optimiser. Nothing in torch says whether that optimiser moves what is to be trained: over other parameters its steps are
# silent, and the loss of a model that stands still looks like one that learns slowly. So the parameters in its groups are compared with those to be trained. A part of them is a legitimate
# wish, and then the rest says so itself, by `requires_grad`. An optimiser whose step asks for the loss again, as LBFGS does, has no place in a loop that computes it once.

# %%
#| exports
def optimiser_of(make, # function: (parameters, lr) -> optimiser
                 parameters, # list of those to be trained
                 lr # peak learning rate
                ) -> torch.optim.Optimizer:
    "What a function of parameters and rate gives, if it is an optimiser of these."
    try: made = make(parameters, lr)
    except (TypeError, ValueError) as e:
        why = " ".join(str(e).split()) or type(e).__name__
        raise MmvaeError(f"optimiser: got {make!r:.60} ({why:.60}), allowed: a function of the "
                         "parameters and lr") from e
    if not isinstance(made, torch.optim.Optimizer):
        raise MmvaeError(f"optimiser: got a function that gives a {type(made).__name__}, "
                         "allowed: one that gives a torch.optim.Optimizer")
    _check_step(made)
    own, named = {id(p) for p in parameters}, [p for g in made.param_groups for p in g["params"]]
    others = sum(p.requires_grad and id(p) not in own for p in named)
    lacks = {id(p) for p in parameters if p.requires_grad} - {id(p) for p in named}
    if not others and not lacks: return made
    got = f"{others} tensors that are not trained" if others else \
        f"{len(parameters) - len(lacks)} of {len(parameters)} tensors to be trained"
    raise MmvaeError(f"optimiser: got one over {got}, allowed: one over all {len(parameters)} "
                     "that it is given (what is to stay as it is: `p.requires_grad_(False)`, "
                     "before `fit`)")

def _check_step(optimiser):
    "Refuse a step that needs the loss as a function, or gradients of another kind."
    name, step = type(optimiser).__name__, inspect.signature(optimiser.step).parameters.values()
    needs = [p.name for p in step if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if not needs and not isinstance(optimiser, torch.optim.SparseAdam): return
    raise MmvaeError(f"optimiser: got {name}, whose step needs {needs[0] if needs else 'sparse'}"
                     f"{'' if needs else ' gradients'}, allowed: one with a plain `step()` "
                     "(AdamW, SGD, ...)")


# %%
weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(3)]
part, adam = lambda p, lr: torch.optim.SGD(p[:1], lr), torch.optim.Adam
for make in (adam, part, torch.optim.LBFGS, lambda p, lr: adam([torch.nn.Parameter(torch.ones(1))], lr)):
    try: print(type(optimiser_of(make, weights, .1)).__name__)
    except MmvaeError as e: print(e)


# %% [markdown]
# ## What never comes
#
# `TensorData` knows what its items have. A loader knows only its next batch: if none of them has sounds, the decoder of sounds stays at its random start, and no loss says so. `Shown` looks at what comes, and
# refuses after a whole pass without a modality, or after 100 batches, because a pass may take a day.

# %%
#| exports
class Shown:
    "Which modalities the batches have had so far; `MmvaeError` for one that never comes."
    def __init__(self, names=(), # of the model's modalities
                 what="data", # how an error calls the batches
                 most=100 # batches among which each must be
                ): self.lack, self.what, self.most = list(names), what, most

    def __call__(self, batch):
        "Count one more batch."
        if not self.lack or not isinstance(batch, Mapping): return
        self.lack, self.most = [n for n in self.lack if not _has(batch, n)], self.most - 1
        if not self.most: self.over()

    def over(self):
        "Nothing else will come."
        if self.lack:
            raise MmvaeError(f"{self.what}: got no item with {', '.join(self.lack)}, allowed: all "
                             "modalities of the model, each in some items at least")

def _has(batch, name):
    "Has an item of the batch this modality?"
    if name not in batch: return False
    there, names = batch.get(PRESENT), [n for n in batch if n != PRESENT]
    if getattr(there, "shape", ())[1:] != (len(names),): return True       # no mask of these
    return bool(there[:, names.index(name)].any())

def must_show(model, # its `names` are its modalities, if it has some
              data, # `MultimodalData`, a dict batch, or an iterable of them
              what="data" # how an error calls it
             ) -> Shown:
    "Refuse data that lack a modality of the model, now if they say what they have; else by this."
    names = list(getattr(model, "names", ()))
    if isinstance(data, MultimodalData): Shown(names, what, 1)(data.modalities)
    if isinstance(data, Mapping): Shown(names, what, 1)(data)
    same_modalities(model, data, "" if what == "data" else f" of {what}")
    return Shown(names, what, min(100, length_of(data) or 100))

def length_of(batches):
    "Of an iterable that knows it; else None."
    with contextlib.suppress(TypeError, AttributeError): return len(batches)


# %%
from types import SimpleNamespace

two, seen = SimpleNamespace(names=["sight", "sound"]), {"sight": torch.zeros(4, 2)}
both, mute = {**seen, "sound": torch.zeros(4, 1)}, torch.tensor([[True, False]]*4)
for batches in ([seen]*3 + [both], [seen]*4, [{**both, "present": mute}]):
    shown = must_show(two, batches)
    try:
        for batch in batches: shown(batch)
        print("all came")
    except MmvaeError as e: print(e)


# %% [markdown]
# Whether a loader is the one that a checkpoint was made with can't be said for sure without reading it all. Two items cost nothing, where a loader has a `dataset` that is asked by number: the first and the last.
# Their shapes, types and means go into its identity. It asks twice with the same seed, because an item that is drawn anew each time has no mean to compare. A loader
# with workers is not asked: its data set may open files, which each worker has to do for itself.

# %%
#| exports
def identity_of(batches # such as a `DataLoader`
               ) -> str:
    "Class, length, and a digest of the first and last item where they can be had by number."
    length, items = length_of(batches), _ends(batches)
    said = type(batches).__name__ + (f" {length}" if length is not None else "")
    return said + (f", items {items}" if items else "")

def _ends(batches):
    "A digest of the first and the last item; none of what is drawn anew, or has workers."
    data = getattr(batches, "dataset", batches)
    if getattr(batches, "num_workers", 0) or not hasattr(data, "__getitem__"): return None
    with keeping_random_state(), contextlib.suppress(Exception):    # whatever a data set may raise
        def looks(): seed_everything(0, "identity"); return [_look(data[i])
                                                             for i in (0, len(data) - 1)]
        return digest(first) if (first := looks()) == looks() else None

def _look(item):
    "Shapes, types and means of what an item holds."
    if isinstance(item, Mapping): return {str(n): _look(x) for n, x in item.items()}
    if isinstance(item, (list, tuple)): return [_look(x) for x in item]
    if item is None or isinstance(item, str): return item
    x = torch.as_tensor(item if isinstance(item, torch.Tensor) else np.asarray(item))
    return [str(x.dtype), list(x.shape), f"{x.double().mean().item():.4g}"]


# %%
loader = lambda x, **how: torch.utils.data.DataLoader([{"x": row} for row in x], 4, **how)
one, other = torch.arange(12.).view(6, 2), torch.arange(12.).view(6, 2) + 1
assert identity_of(loader(one)) == identity_of(loader(one.clone(), shuffle=True)) != identity_of(loader(other))
identity_of(loader(one)), identity_of(loader(one, num_workers=1)), identity_of(iter([]))


# %% [markdown]
# ## Held-out items
#
# What the model has learnt by heart shows on items it has not been trained on. `Validation` is a callback that adds their loss to the history: in evaluation mode, without
# a gradient, with the same noise each time, in slices as large as a batch of the training. So two of its values differ because the weights do. It can end the training
# after `patience` looks without a new best, and remember the best weights. Its decisions rest on the history alone, and the best weights lie in the
# checkpoint, so a run that was killed ends where it would have ended anyway.

# %%
#| exports
class Validation:
    "What `fit(validation=...)` calls: held-out items' loss, an early end, the best weights."
    def __init__(self, data, # `MultimodalData`, a dict batch, or an iterable of them
                 every=10, # updates between two looks, a multiple of 10
                 patience=None, # looks without a new best that end the training; None: never
                 keep="last", # "best": the model ends with the weights of the best look
                 slices=128 # items looked at in one go
                ):
        self.data, self.every, self.slices = data, every, slices
        self.patience, self.keep = patience, one_of("keep", keep, ["best", "last"])
        self.seen = False
        self.reset()

    def __call__(self, run):
        if run.update % self.every and run.update != run.how["updates"] - 1: return
        run.row["validation"] = self.loss(run.model, run.accelerator.device)
        if self.keep == "best" and self.since_best(run.history) == 0:
            self.best = {n: v.detach().cpu().clone() for n, v in run.model.state_dict().items()}
        if self.over(run.history): run.stop()

    def loss(self, model, device) -> float:
        "The mean loss of all items, with the same noise each time."
        seed_everything(0, "validation"); model.eval()
        total = items = 0
        shown = Shown(getattr(model, "names", ()), "validation", math.inf)
        with torch.no_grad():
            for batch in self._slices():
                n = _items(batch); shown(batch)
                own = self._on(batch, model, device)
                total += n*float(model(own).total); items += n
        if items: shown.over()
        self.seen = True
        return total/items if items else _refuse("no batch")

    def _slices(self):
        "All items, a slice at a time, in the same order each time."
        if not isinstance(self.data, (MultimodalData, Mapping)):
            yield from _without_holes(self.data)
            return
        own = isinstance(self.data, MultimodalData)
        rows = self.data.pairs(0) if own else self.data
        for i in range(0, _items(rows), self.slices):
            here = {n: x[i:i + self.slices] for n, x in rows.items()}
            yield self.data.gather(here) if own else here

    def _on(self, batch, model, device):
        "On the device, and in the model's types; numbers are looked at once."
        if isinstance(self.data, MultimodalData): return {n: x.to(device) for n, x in batch.items()}
        return given_to(model, batch, not self.seen, " of validation")

    def since_best(self, history):
        "Looks since the best one; None before the first look."
        seen = [row["validation"] for row in history if "validation" in row]
        seen = [v if v == v else math.inf for v in seen]
        return len(seen) - 1 - seen.index(min(seen)) if seen else None

    def over(self, history):
        "Has patience run out?"
        return self.patience is not None and (self.since_best(history) or 0) >= self.patience

    def restore(self, model):
        "Give the model the best weights, if they were to be kept."
        if self.best: model.load_state_dict(self.best)

    def settings(self):
        "What a checkpoint has to agree on: how often one looks, and for how long, is free."
        if isinstance(self.data, MultimodalData): of = self.data.checksum
        elif isinstance(self.data, Mapping): of = digest(dict(self.data))
        else: of = identity_of(self.data)
        return {"validation": of, "keep": self.keep}

    def reset(self): self.best = {}
    def state_dict(self): return {"best": self.best}
    def load_state_dict(self, state): self.best = state["best"]

def _refuse(what):
    raise MmvaeError(f"validation: got {what}, allowed: a MultimodalData, a dict batch, or what "
                     "can be iterated again and again and gives dict batches (DataLoader, list)")

def _items(batch):
    "How many items a dict batch has; `MmvaeError` for what is none."
    if not isinstance(batch, Mapping): _refuse(f"a batch that is a {type(batch).__name__}")
    sizes = {n: len(x) if hasattr(x, "__len__") and getattr(x, "ndim", 1) else 0
             for n, x in batch.items()}
    if len(set(sizes.values())) != 1 or not min(sizes.values()): _refuse(f"{sizes} items")
    return min(sizes.values())

def _without_holes(batches):
    "The batches, as long as their numbers are finite: after a loss of nan no look is a new best."
    first = 0
    for batch in batches:
        n = _items(batch)
        for column, name in enumerate(k for k in batch if k != PRESENT):
            x = as_tensor(f"{name} of validation", batch[name])
            bad = ~x.isfinite().reshape(n, -1).all(1)
            with contextlib.suppress(Exception):              # a mask that is none is refused later
                if PRESENT in batch: bad &= torch.as_tensor(batch[PRESENT])[:, column].to(x.device)
            if bad.any():
                raise MmvaeError(f"validation: got nan or infinite values in {name} of item "
                                 f"{first + int(bad.int().argmax())}, allowed: finite numbers")
        yield batch
        first += n

def validation_of(data, every, patience, keep, how, # as `fit` takes and checks them
                  model=None # that is watched
                 ): # a `Validation`, or None
    "What `fit` was asked to watch."
    if data is None:
        for name, value in dict(every_validation=every, patience=patience, keep=keep).items():
            if not (value is None or isinstance(value, str) and value == "last"):
                raise MmvaeError(f"{name}: got {value!r}, allowed: None without validation")
        return None
    if isinstance(data, (Iterator, str, bytes)) or hasattr(data, "ndim") \
            or not isinstance(data, (MultimodalData, Iterable)): _refuse(type(data).__name__)
    if isinstance(data, Mapping): one_index(data); list(_without_holes([data]))
    must_show(model, data, "validation")
    if patience is not None: in_range("patience", patience, low=1, whole=True)
    every = max(10, how["updates"]//400*10) if every is None else \
        10*math.ceil(in_range("every_validation", every, low=1, whole=True)/10)
    if keep is None: keep = "best" if patience else "last"
    return Validation(data, every, patience, keep, how["batch_size"])


# %% [markdown]
# By hand: five items in slices of two count alike, whichever slice they fall into, and the second look is as the first.

# %%
class Mean(torch.nn.Module):
    "A model whose loss on an item is its square."
    def forward(self, batch): return Loss((batch["x"]**2).mean(), {})
five = {"x": torch.arange(5.)[:, None]}
look = Validation(five, slices=2)
assert look.loss(Mean(), "cpu") == (0 + 1 + 4 + 9 + 16)/5 == Validation([five]).loss(Mean(), "cpu")
row = lambda *losses: [{"validation": v} for v in losses]
impatient = Validation(five, patience=2)
assert not impatient.over(row(3., 2., 2.5)) and impatient.over(row(3., 2., 2.5, 2.)) and not impatient.over([])

# %% [markdown]
# ## All alike
#
# A model can get better for hundreds of updates and still make the same of every item: it has learnt the mean of the data, and the posterior says nothing yet, or
# nothing any more. The sum of losses falls, so one does not see it there. It is seen at once where reconstructions of different items are compared. `spread` does: for each modality the variance
# between items of what is made from posterior means, as a share of the variance of the data. For tokens it is the share of pairs of items that differ, place by place. A constant gives 0; a perfect
# copy gives 1. `fit` looks at it once, at its end, and warns below one per cent.

# %%
#| exports
ALIKE = 0.01 # less of the data's variance than this: no difference between items is to be seen

@torch.no_grad()
def spread(model, # has `specs`, `infer` and `decode`, as a `MultimodalVAE`
           batch # dict: name -> (batch, ...)
          ) -> dict: # modality -> 0 (all reconstructions alike) to about 1
    "Variance between items of what posterior means are decoded to, as a share of the data's."
    if not all(hasattr(model, a) for a in ("specs", "infer", "decode")): return {}
    found = {}
    with keeping_random_state(), contextlib.suppress(Exception):   # a model of one's own may know
        batch = max(patterns(batch), key=lambda p: len(p[0]))[1]   # neither; that ends no training
        z = model.infer(batch).mean
        for n, spec in model.specs.items():
            made = spec.likelihood.mean(model.decode(z, n))
            if n not in batch or made.shape != batch[n].shape: continue
            tokens = made.dtype == batch[n].dtype == torch.int64
            share = (_variance(made, tokens)/_variance(batch[n], tokens)).item()
            if math.isfinite(share): found[n] = share
    return found

def _variance(x, tokens):
    "Between items, in the mean over values; of tokens, the share of pairs of items that differ."
    if tokens: return (x[:256, None] != x[None, :256]).float().mean()
    return (as_float(x) if x.dtype == torch.uint8 else x.float()).var(0).mean()


# %% [markdown]
# Where does one per cent lie? In a linear model with Gaussian noise of deviation 1 the answer is known (lesson 02: probabilistic PCA). One direction of the data with variance $\lambda$, counted in units of the noise and of
# the modalities' weights, is learnt if $\lambda > \beta$, and then
#
# $$
# \begin{aligned}
# \text{spread} = \Big(1 - \frac{\beta}{\lambda}\Big)^2, \qquad \mathrm{KL} = \tfrac12 \ln \frac{\lambda}{\beta}.
# \end{aligned}\tag{1}
# $$
#
# So a spread of 0.01 is a direction that is ten per cent above the border, and that the posterior knows 0.05 nats about. Two views of one number $z$ with a little noise show both sides: $\lambda$ is about 6, and $\beta$ grows past it.
# The loss falls with each of them, because the decoders learn the mean of the data.

# %%
g = torch.Generator().manual_seed(0)
z, noise = torch.randn(600, 1, generator=g), torch.randn(600, 5, generator=g)
views = 2 + torch.cat([z, -z, z, z, -z], 1) + .1*noise
data = TensorData({"sound": views[:, :3], "motion": views[:, 3:]})
specs = default_specs(data.modalities)
weights = torch.tensor([specs["sound"].weight]*3 + [specs["motion"].weight]*2)
variance = torch.linalg.eigvalsh(torch.cov((views*weights.sqrt()).T))[-1].item()
for beta in (1., 3., 10.):
    seed_everything(0, "weights"); model = JVAE(specs, 2, beta=beta)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        history = fit(model, data, 300, 64, device="cpu", progress=False)
    expected, shares = max(0, 1 - beta/variance)**2, spread(model, data.take(600)[0])
    assert all(abs(v - expected) < .06 for v in shares.values()) and len(said) == (beta > variance)
    assert history.total.iloc[-3:].mean() < history.total.iloc[0] - 5
    print(f"beta {beta:2.0f}, by (1) {expected:.3f}:", {n: round(v, 4) for n, v in shares.items()})
print(said[0].message)

# %% [markdown]
# What the number can't tell apart is a plateau that training will leave, a collapsed posterior, and a modality
# of pure noise, whose mean is the best that can be made of it. It says only what is to be seen: they are alike.
#
# ## Recap
#
# - A look at held-out items seeds its own noise and leaves the generators where they were: it changes no weight.
# - An early end depends on the history alone, and the best weights are in the checkpoint.
# - Compare what is made of different items; the loss does not.
#
# ## Exercises
#
# 1. Why the same noise at each look, and not fresh noise, which would be as right in the mean?
# 2. The best of 40 looks has a lower loss than the model deserves. Why, and what does one report instead?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The difference of two looks then has no noise of its own but what the weights make of it, so small gains are seen.
# 2. It was chosen *because* its loss on these items is low, luck included. Report the loss on a third set, the test items, that chose nothing.
# :::
#
# ## References
#
# - L. Prechelt, [Early Stopping - But When?](https://doi.org/10.1007/3-540-49430-8_3), 1998.
# - J. Lucas et al., [Don't Blame the ELBO!](https://arxiv.org/abs/1911.02469), 2019 (posterior collapse).
