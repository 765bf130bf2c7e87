"""Lessons 02g and 02i: `fit` with data, optimiser, validation and an end of one's own, against values by hand."""
import functools, json, math, signal, time, warnings

import numpy as np, pandas as pd, pytest, torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from mmvae_nb.checkpoints import latest
from mmvae_nb.core import MmvaeError
from mmvae_nb.data import TensorData
from mmvae_nb.iterative_inference import refine
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher, on_decoders
from mmvae_nb.networks import default_specs
from mmvae_nb.training import Stream, fit, lr_factor
from mmvae_nb.vae import Loss
from mmvae_nb.watching import ALIKE, Validation, spread, validation_of

from model_helpers import MAKE, fresh, log_p, no_noise, prior_kl, vector_specs, vectors
from test_training import (QUIET, Line, adam_by_hand, bits, models, near, one_line, python, random_state, same, script,
                           tensors)

__all__ = ["no_noise"]

def held_out(n=20):
    g = torch.Generator().manual_seed(9)
    return {"a": torch.randn(n, 3, generator=g), "b": torch.randn(n, 2, generator=g)}

def square(model, batch):
    "Line's loss by hand."
    w, b = model.map.weight.detach(), model.map.bias.detach()
    return ((batch["a"] @ w.T + b - batch["b"])**2).mean().item()


# ---- validation

@pytest.mark.parametrize("kind", ["dict", "data", "list", "loader"])
def test_the_validation_loss_is_that_of_all_items(kind):
    "20 items in slices of 8, the last of 4: each item counts the same. Row 10 is after 11 updates, the last after 15."
    items = held_out()
    slices = [{n: x[i:i + 8] for n, x in items.items()} for i in (0, 8, 16)]
    given = {"dict": items, "data": TensorData(items), "list": slices, "loader": DataLoader(slices, batch_size=None)}
    history = fit(Line(), tensors(), 15, 8, lr=0.03, validation=given[kind], every_validation=10, **QUIET)
    rates = [0.03*lr_factor(u, 15) for u in range(15)]
    for row, done in enumerate([1, 11, 15]):
        by_hand = adam_by_hand(Line(), [[tensors().batch(u, 8)] for u in range(done)], rates)
        assert history.validation[row] == pytest.approx(square(by_hand, items), rel=1e-4)

class Notes(nn.Module):
    "Writes down how it is looked at: mode, gradient, noise."
    def __init__(self): super().__init__(); self.w, self.seen = nn.Parameter(torch.zeros(1)), []
    def forward(self, batch):
        noise = torch.rand(1).item()
        self.seen.append((self.training, torch.is_grad_enabled(), noise, len(batch["a"])))
        return Loss((self.w - batch["a"].mean())**2 + 0*self.w.sum(), {})

def test_a_look_is_in_evaluation_mode_without_gradient_and_with_the_same_noise():
    model = Notes()
    fit(model, tensors(), 21, 8, validation=held_out(), every_validation=10, **QUIET)
    looks = [s for s in model.seen if not s[0]]
    assert [s[3] for s in looks] == [8, 8, 4]*3 and not any(s[1] for s in looks)
    noise = [s[2] for s in looks]
    assert noise[:3] == noise[3:6] == noise[6:] and len(set(noise)) == 3
    training = [s for s in model.seen if s[0]]
    assert len(training) == 21 and all(s[1] for s in training) and len({s[2] for s in training}) == 21

@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("kind", ["jmvae", "students"])
def test_a_look_changes_no_weight(kind, precision):
    how = dict(batch_size=8, lr=0.01, precision=precision, **QUIET)
    plain, watched = models(kind), models(kind)
    a = fit(plain, tensors(), 25, **how)
    b = fit(watched, tensors(), 25, validation=held_out(), every_validation=10, **how)
    assert same(bits(plain), bits(watched)) and a.equals(b.drop(columns="validation"))

@pytest.mark.parametrize("method", MAKE)
def test_every_method_can_be_watched(method):
    "Also teachers that need a gradient to infer. The look repeats itself to the bit."
    model = fresh(method, vector_specs(), 3)
    items, look = vectors(9), Validation(vectors(9), slices=4)
    before = bits(model)
    first = look.loss(model, "cpu")
    assert look.loss(model, "cpu") == first and math.isfinite(first) and same(before, bits(model)) and len(items) == 2
    assert all(p.grad is None for p in model.parameters())

@pytest.mark.parametrize("updates", [5, 100, 399, 400, 1234, 4000, 40_000])
def test_there_are_about_forty_looks(updates):
    every = validation_of(held_out(), None, None, None, {"updates": updates, "batch_size": 8}).every
    looks = len({*range(0, updates, every), updates - 1})
    assert every % 10 == 0 and (38 <= looks <= 81 if updates >= 400 else looks <= 41)

@pytest.mark.parametrize("asked, got", [(1, 10), (10, 10), (11, 20), (250, 250)])
def test_looks_come_with_rows_of_the_history(asked, got):
    assert validation_of(held_out(), asked, None, None, {"updates": 1000, "batch_size": 8}).every == got


# ---- an early end, and the best weights

LOSSES = [float("nan"), 5., 4., 4., 6., 3., 7., 3., 8., 2., 1.]

def ends(losses, patience):
    "(rows until the end, place of the best row), by brute force."
    for end in range(1, len(losses) + 1):
        seen = [math.inf if v != v else v for v in losses[:end]]
        best = min(range(end), key=lambda i: seen[i])
        if patience and end - 1 - best >= patience: break
    return end, best

class Scripted(Line):
    "Its loss on held-out items is written down beforehand, by the number of updates it has had."
    def __init__(self): super().__init__(); self.register_buffer("done", torch.tensor(0))
    def forward(self, batch):
        if not self.training: return Loss(torch.tensor(LOSSES[(self.done.item() - 1)//10]), {})
        self.done += 1
        return super().forward(batch)

SCRIPTED = dict(updates=101, batch_size=8, lr=0.01, schedule="constant", every=7, **QUIET)

@pytest.mark.parametrize("patience", [1, 2, 3, 4, 5, None])
@pytest.mark.parametrize("keep", ["best", "last", None])
def test_patience_ends_and_the_best_weights_are_kept(patience, keep):
    model, plain = Scripted(), Scripted()
    look = dict(validation=held_out(), every_validation=10, patience=patience, keep=keep)
    history = fit(model, tensors(), **look, **SCRIPTED)
    end, best = ends(LOSSES, patience)
    assert history.validation.equals(pd.Series(LOSSES[:end], name="validation")) and not model.training
    row = best if keep == "best" or keep is None and patience else end - 1
    fit(plain, tensors(), stop_after=10*row + 1, **SCRIPTED)
    assert same(bits(model), bits(plain)) and model.done == 10*row + 1

@pytest.mark.parametrize("patience", [3, None])
def test_stopped_and_continued_it_ends_in_the_same_bits(patience, tmp_path):
    "Stops before, at and after a best look, and after the end."
    how = dict(SCRIPTED, validation=held_out(), every_validation=10, patience=patience, keep="best")
    whole = Scripted()
    history = fit(whole, tensors(), **how)
    for stop in (3, 11, 12, 41, 45, 60, None, None):
        part = Scripted()
        rows = fit(part, tensors(), checkpoint=tmp_path, stop_after=stop, **how)
        _, best = ends(list(rows.validation), None)
        assert part.done == 10*best + 1                         # of those seen, the best
    assert rows.equals(history) and same(bits(part), bits(whole))

WATCHED = """
import os, signal, sys
from mmvae_nb.jmvae import JMVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.checkpoints import save_weights
from mmvae_nb.training import fit

folder, out, die_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
data, items = tensors(), {k: v + 1 for k, v in tensors(20).pools.items()}
torch.manual_seed(0)
model = JMVAE(default_specs(data.modalities), 4, warm_up=9)
calls, loss = [0], model.loss
def counted(batch):
    calls[0] += model.training
    if calls[0] == die_at: os.kill(os.getpid(), signal.SIGKILL)
    return loss(batch)
model.loss = counted
history = fit(model, data, 300, 8, lr=0.02, schedule="constant", device="cpu", progress=False, every=25,
              checkpoint=folder or None, validation=items, every_validation=10, patience=3)
save_weights(model, out)
print("calls", calls[0], "seen", model.updates_seen.item(), "rows", history.validation.tolist(), history.total.tolist())
"""

def test_killed_between_the_best_look_and_the_end(tmp_path):
    run, folder = script(tmp_path, WATCHED), tmp_path/"checkpoint"
    straight = python(run, "", tmp_path/"a.safetensors", 0)
    assert straight.returncode == 0, straight.stderr[-2000:]
    end, best = int(straight.stdout.split()[1]), int(straight.stdout.split()[3])
    assert 30 < end < 300 and best == end - 30                  # it ended early, with the weights of the best look
    died = python(run, folder, tmp_path/"b.safetensors", end - 3)
    assert died.returncode == -signal.SIGKILL and latest(folder)
    again = python(run, folder, tmp_path/"b.safetensors", 0)
    assert again.returncode == 0, again.stderr[-2000:]
    assert int(again.stdout.split()[1]) < end and again.stdout.split(" ", 2)[2] == straight.stdout.split(" ", 2)[2]
    assert (tmp_path/"a.safetensors").read_bytes() == (tmp_path/"b.safetensors").read_bytes()

def test_who_has_more_patience_may_go_on(tmp_path):
    how = dict(SCRIPTED, validation=held_out(), every_validation=10, checkpoint=tmp_path, keep="best")
    first, second, whole = Scripted(), Scripted(), Scripted()
    assert len(fit(first, tensors(), patience=2, **how)) == ends(LOSSES, 2)[0] == 5
    assert fit(second, tensors(), patience=99, **how).validation.tolist()[-1] == 1.
    fit(whole, tensors(), **{**how, "checkpoint": None})
    assert same(bits(second), bits(whole))

def test_other_held_out_items_are_another_history(tmp_path):
    how = dict(QUIET, updates=20, batch_size=8, checkpoint=tmp_path)
    fit(Line(), tensors(), validation=held_out(), stop_after=5, **how)
    for other in (dict(validation=held_out(19)), {}, dict(validation=held_out(), keep="best")):
        model = Line()
        with pytest.raises(MmvaeError, match="^(validation|keep): got") as e: fit(model, tensors(), **other, **how)
        assert str(tmp_path) in one_line(e) and same(bits(model), bits(Line()))
    fit(Line(), tensors(), validation=held_out(), **how)

@pytest.mark.parametrize("given, words", [
    ([], "validation: got no batch"), ([3], "validation: got a batch that is a int"),
    ([torch.ones(4, 4)], "validation: got a batch that is a Tensor"),
    ({"a": ["x", "y"], "b": torch.ones(2, 2)}, "a of validation: got a list that is no array of numbers")])
def test_held_out_items_of_another_form_are_one_line_at_the_first_look(given, words):
    with pytest.raises(MmvaeError) as e: fit(Line(), tensors(), 2, 8, validation=given, **QUIET)
    assert one_line(e).startswith(words)

def test_held_out_arrays_count_as_tensors_do():
    losses = [fit(Line(), tensors(), 2, 8, validation=v, **QUIET).validation.tolist() for v in
              (held_out(), {n: x.double().numpy() for n, x in held_out().items()})]
    assert losses[0] == losses[1]

@pytest.mark.parametrize("bad, words", [
    (dict(patience=0), "patience: got 0"), (dict(patience=1.5), "patience: got 1.5"), (dict(keep="first"), "keep: got"),
    (dict(every_validation=0), "every_validation: got 0"), (dict(validation=3), "validation: got int"),
    (dict(validation=iter([])), "validation: got list_iterator"),
    (dict(validation=None, patience=2), "patience: got 2, allowed: None without validation"),
    (dict(validation=None, keep="best"), "keep: got 'best', allowed: None without"),
    (dict(validation=None, keep=np.array(["last", "x"])), "keep: got array"),
    (dict(keep=np.array([1, 2])), "keep: got"), (dict(keep=""), "keep: got"),
    (dict(validation=None, every_validation=np.array([1, 2])), "every_validation: got array"),
    (dict(patience=np.array([1, 2])), "patience: got array"),
    (dict(every_validation=torch.ones(2)), "every_validation: got tensor"),
    (dict(validation=np.ones((4, 4))), "validation: got ndarray"),
    (dict(validation=torch.ones(4, 4)), "validation: got Tensor"),
    (dict(validation={}), "validation: got {} items"), (dict(validation=b"ab"), "validation: got bytes"),
    (dict(validation={"a": torch.ones(3, 4), "b": torch.ones(2, 2)}), "validation: got {'a': 3, 'b': 2}"),
    (dict(validation={"a": torch.ones(0, 4)}), "validation: got {'a': 0} items"),
    (dict(validation={"a": torch.tensor(1.)}), "validation: got {'a': 0} items"),
    (dict(updates=None), "updates: got None"), (dict(epochs=2), "updates: got 2, and epochs 2"),
    (dict(updates=None, epochs=0), "epochs: got 0"), (dict(accumulate=0), "accumulate: got 0"),
    (dict(optimiser=lambda p, lr: lr), "optimiser: got a function that gives a float")])
def test_wrong_arguments_get_one_line(bad, words):
    model = Line()
    with pytest.raises(MmvaeError) as e:
        fit(model, tensors(), **{"updates": 2, "batch_size": 8, "validation": held_out(), **QUIET, **bad})
    assert one_line(e).startswith(words) and same(bits(model), bits(Line()))


# ---- optimiser, epochs, accumulation, and on for longer

@pytest.mark.parametrize("momentum", [0, 0.9])
def test_an_optimiser_of_ones_own(momentum, tmp_path):
    "Steepest descent written out, with the schedule."
    model, data, U = Line(), tensors(), 9
    make = functools.partial(torch.optim.SGD, momentum=momentum)
    fit(model, data, U, 8, lr=0.1, optimiser=make, checkpoint=tmp_path, **QUIET)
    by_hand = Line()
    params = list(by_hand.parameters()); speed = [torch.zeros_like(p) for p in params]
    for u in range(U):
        grads = torch.autograd.grad(by_hand(data.batch(u, 8)).total, params)
        with torch.no_grad():
            for i, g in enumerate(grads):
                speed[i] = momentum*speed[i] + g
                params[i] -= 0.1*lr_factor(u, U)*speed[i]
    near(bits(model), bits(by_hand))
    kept = json.loads((tmp_path/"update_0000009"/"run.json").read_text())["settings"]
    assert kept["optimiser"] == ("SGD(momentum=0.9)" if momentum else "SGD()")

def test_a_checkpoint_is_for_the_optimiser_it_was_made_with(tmp_path):
    how = dict(QUIET, updates=8, batch_size=8, checkpoint=tmp_path)
    adamw = lambda decay: functools.partial(torch.optim.AdamW, weight_decay=decay)
    fit(Line(), tensors(), stop_after=3, optimiser=adamw(0.1), **how)
    for other in (adamw(0.2), torch.optim.SGD, None):
        with pytest.raises(MmvaeError, match="^optimiser: got .*AdamW.*weight_decay=0.1") as e:
            fit(Line(), tensors(), optimiser=other, **how)
        one_line(e)
    resumed, whole = Line(), Line()
    fit(resumed, tensors(), optimiser=adamw(0.1), **how)
    fit(whole, tensors(), optimiser=adamw(0.1), **{**how, "checkpoint": None})
    assert same(bits(resumed), bits(whole))

@pytest.mark.parametrize("n, batch, k, epochs, updates", [
    (64, 8, 1, 1, 8), (64, 8, 1, 3, 24), (64, 10, 1, 2, 12), (64, 8, 4, 1, 2), (64, 8, 3, 1, 3), (64, 64, 1, 5, 5)])
def test_epochs_are_passes_over_the_data(n, batch, k, epochs, updates):
    history = fit(Line(), tensors(n), batch_size=batch, epochs=epochs, accumulate=k, **QUIET)
    assert history["update"].iloc[-1] + 1 == updates
    loader = [tensors(n).batch(u, batch) for u in range(n//batch)]
    assert fit(Line(), loader, epochs=epochs, accumulate=k, **QUIET)["update"].iloc[-1] + 1 == updates

@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("optimiser", [None, torch.optim.SGD])
def test_accumulated_batches_are_one_large_batch(optimiser, clip):
    "Without noise, to rounding: 4 batches of 8 are the rows of one of 32. SGD sees a factor that Adam does not."
    how = dict(lr=0.03, clip=clip, optimiser=optimiser, **QUIET)
    small, large, data = Line(), Line(), tensors()
    a, b = fit(small, data, 12, 8, accumulate=4, **how), fit(large, data, 12, 32, **how)
    near(bits(small), bits(large))
    torch.testing.assert_close(torch.tensor(a.to_numpy()), torch.tensor(b.to_numpy()), rtol=1e-4, atol=1e-6)
    rates = [0.03*lr_factor(u, 12) for u in range(12)]
    fours = [[data.batch(4*u + i, 8) for i in range(4)] for u in range(12)]
    if not optimiser: near(bits(small), bits(adam_by_hand(Line(), fours, rates, clip)))
    other = Line(); fit(other, data, 12, 8, **how)
    assert not torch.allclose(other.map.weight, small.map.weight, rtol=0, atol=1e-4)

def test_accumulation_continues_where_it_stopped(tmp_path):
    how = dict(batch_size=8, accumulate=3, lr=0.01, **QUIET)
    whole, part = models("jmvae"), models("jmvae")
    fit(whole, tensors(), 11, **how)
    fit(models("jmvae"), tensors(), 11, checkpoint=tmp_path, stop_after=4, **how)
    with pytest.raises(MmvaeError, match="accumulate: got None, allowed: 3"):
        fit(models("jmvae"), tensors(), 11, checkpoint=tmp_path, **{**how, "accumulate": 1})
    fit(part, tensors(), 11, checkpoint=tmp_path, **how)
    assert same(bits(whole), bits(part)) and whole.updates_seen == 33

@pytest.mark.parametrize("kind", ["jmvae", "students"])
@pytest.mark.parametrize("stop", [None, 5])
def test_with_a_constant_rate_a_run_goes_on_for_longer(kind, stop, tmp_path):
    how = dict(batch_size=8, lr=0.01, schedule="constant", **QUIET)
    whole, part = models(kind), models(kind)
    history = fit(whole, tensors(), 31, **how)
    fit(models(kind), tensors(), 8, checkpoint=tmp_path, stop_after=stop, **how)
    rows = fit(part, tensors(), 31, checkpoint=tmp_path, **how)
    assert same(bits(whole), bits(part))
    assert rows[rows["update"] % 10 == 0].reset_index(drop=True).equals(history)       # and the row of the first end
    assert (7 in rows["update"].tolist()) == (stop is None)
    with pytest.raises(MmvaeError, match="^updates: got 30, allowed: 31") as e:
        fit(models(kind), tensors(), 30, checkpoint=tmp_path, **how)
    one_line(e)

def test_a_cycle_is_over_when_it_is_over(tmp_path):
    how = dict(batch_size=8, checkpoint=tmp_path, **QUIET)
    fit(Line(), tensors(), 8, **how)
    with pytest.raises(MmvaeError, match=r"^updates: got 9, allowed: 8,.*schedule='constant'") as e:
        fit(Line(), tensors(), 9, **how)
    one_line(e)


# ---- data that come one batch after the other

class Rows(torch.utils.data.Dataset):
    "Items of `tensors`, with or without noise of torch's or NumPy's drawn while reading."
    def __init__(self, noise=0.): self.pools, self.noise = tensors().pools, noise
    def __len__(self): return 64
    def __getitem__(self, i):
        import numpy
        return {n: x[i] + self.noise*(torch.randn(x.shape[1:]) + numpy.random.randn()) for n, x in self.pools.items()}

class Endless(IterableDataset):
    "No length, a number of batches that differs from epoch to epoch."
    def __iter__(self):
        for _ in range(int(torch.randint(2, 6, ()))): yield {"a": torch.randn(8, 3), "b": torch.randn(8, 2)}

def someones(): return torch.Generator().manual_seed(time.time_ns())

LOADERS = {
    "shuffled": lambda: DataLoader(Rows(), 8, shuffle=True),
    "noisy": lambda: DataLoader(Rows(noise=1.), 10, shuffle=True),
    "own generator": lambda: DataLoader(Rows(), 8, shuffle=True, generator=someones()),
    "workers": lambda: DataLoader(Rows(noise=1.), 16, shuffle=True, num_workers=1),
    "no length": lambda: DataLoader(Endless(), batch_size=None)}

@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_stopped_within_an_epoch_goes_on_to_the_same_bits(name, tmp_path):
    how = dict(lr=0.01, every=5, **QUIET)
    whole = models("jmvae")
    history = fit(whole, LOADERS[name](), 19, **how)
    torch.manual_seed(77)                                       # what goes on outside does not count
    for stop in (3, 10, None):
        part = models("jmvae")
        rows = fit(part, LOADERS[name](), 19, checkpoint=tmp_path, stop_after=stop, **how)
    assert same(bits(whole), bits(part)) and rows.equals(history)
    other = models("jmvae")
    fit(other, LOADERS[name](), 19, **how, seed=1)
    assert not same(bits(whole), bits(other))

KILLED = """
import os, signal, sys
from torch.utils.data import DataLoader
from mmvae_nb.jmvae import JMVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.checkpoints import save_weights
from mmvae_nb.training import fit

folder, out, die_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
data = tensors()
rows = [{n: x[i] for n, x in data.pools.items()} for i in range(64)]
torch.manual_seed(0)
model, read = JMVAE(default_specs(data.modalities), 4, warm_up=9), [0]
def collate(items):
    read[0] += 1
    if read[0] == die_at: os.kill(os.getpid(), signal.SIGKILL)
    return torch.utils.data.default_collate(items)
fit(model, DataLoader(rows, 8, shuffle=True, collate_fn=collate), 14, lr=0.01, device="cpu", progress=False,
    checkpoint=folder or None, every=4)
save_weights(model, out)
print(read[0])
"""

def test_a_killed_loader_reads_its_epoch_again(tmp_path):
    "Eight batches an epoch; killed at the 15th, after update 12: 4 batches of the second epoch are read for nothing."
    run, folder = script(tmp_path, KILLED), tmp_path/"checkpoint"
    assert python(run, folder, tmp_path/"a.safetensors", 14).returncode == -signal.SIGKILL
    assert latest(folder).name == "update_0000012"
    again, straight = python(run, folder, tmp_path/"a.safetensors", 0), python(run, "", tmp_path/"b.safetensors", 0)
    assert again.returncode == straight.returncode == 0, again.stderr[-2000:]
    assert again.stdout.split() == ["6"] and straight.stdout.split() == ["14"]
    assert (tmp_path/"a.safetensors").read_bytes() == (tmp_path/"b.safetensors").read_bytes()

def test_batches_in_a_list_train_as_the_data_they_are_of():
    "Reading a stream draws nothing that the model's noise would miss."
    data, how = tensors(), dict(lr=0.01, **QUIET)
    a, b = models("jmvae"), models("jmvae")
    before = random_state()
    fit(a, data, 8, 8, **how)
    fit(b, [data.batch(u, 8) for u in range(8)], 8, **how)
    assert same(bits(a), bits(b)) and random_state() == before

def test_each_epoch_sees_each_item_once_in_another_order():
    stream = Stream(DataLoader(Rows(), 8, shuffle=True))
    rows = [tuple(r.tolist()) for u in range(16) for r in stream.batch(u)["a"]]
    all_rows = sorted(tuple(r.tolist()) for r in tensors().pools["a"])
    assert sorted(rows[:64]) == sorted(rows[64:]) == all_rows and rows[:64] != rows[64:]
    two = [Stream(DataLoader(Rows(), 8, shuffle=True)) for _ in range(2)]          # two processes share an epoch
    shared = [two[u % 2].batch(u)["a"] for u in range(8)]
    assert [tuple(r.tolist()) for b in shared for r in b] == rows[:64]

@pytest.mark.parametrize("data, words", [
    ([], "data: got no batch"), ([torch.zeros(2, 3)], "data: got a batch that is a Tensor, allowed: a dict"),
    ([{}], "data: got a batch that is a dict"), (iter([{"a": 1}]), "data: got list_iterator"), ("abc", "data: got str"),
    ({"a": torch.zeros(9, 3)}, "data: got dict"), (None, "data: got NoneType")])
def test_what_is_no_stream_of_dicts_gets_one_line(data, words):
    with pytest.raises(MmvaeError) as e: fit(Line(), data, 2, **QUIET)
    assert one_line(e).startswith(words)

def test_epochs_need_a_length():
    with pytest.raises(MmvaeError, match="^epochs: got data without a length, allowed: updates"):
        fit(Line(), DataLoader(Endless(), batch_size=None), epochs=2, **QUIET)

LARGE = """
import gc, resource, sys
import numpy as np
from mmvae_nb.data import TensorData
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.data import Modality
from mmvae_nb.training import fit
from torch.utils.data import DataLoader

rows, width, MB = 2**19, 1024, 2**20
file = np.memmap(sys.argv[1], np.float32, "w+", shape=(rows, width))        # 2 GB, of which no byte is written
assert file.nbytes == 2048*MB
class Rows(torch.utils.data.Dataset):
    def __len__(self): return rows
    def __getitem__(self, i): return {"a": file[i, :1000] + 1., "b": file[i, 1000:] + 2.}
specs = default_specs({"a": Modality("a", "vector", (1000,)), "b": Modality("b", "vector", (24,))})
model, how = JVAE(specs, 4), dict(updates=12, lr=0.01, device="cpu", progress=False)
fit(model, [{"a": torch.zeros(64, 1000), "b": torch.zeros(64, 24)}], **how)     # what any training needs
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
"""

def test_two_gigabytes_train_in_little_memory(tmp_path):
    run = script(tmp_path, LARGE + """
before = peak()
history = fit(model, DataLoader(Rows(), 64, shuffle=True), **how)
assert history.total.iloc[-1] < history.total.iloc[0]
print(peak() - before)
""")
    r = python(run, tmp_path/"large")
    (tmp_path/"large").unlink()
    assert r.returncode == 0, r.stderr[-2000:]
    assert float(r.stdout) < 500, r.stdout

@pytest.mark.slow
def test_a_mapped_file_is_data_without_a_copy(tmp_path):
    "Where the system refuses the process 500 MB more of its own memory, 2 GB of a file are checked, and trained on."
    run = script(tmp_path, LARGE + """
own = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmData"))*1024
resource.setrlimit(resource.RLIMIT_DATA, (own + 500*MB, -1))
try: file.copy(); raise SystemExit("the limit does not hold")
except MemoryError: pass
data = TensorData({"a": file, "b": file[:, 1000:]})
fit(JVAE(default_specs(data.modalities), 4), data, batch_size=64, **how)
print("done")
""")
    r = python(run, tmp_path/"large")
    (tmp_path/"large").unlink()
    assert r.returncode == 0 and r.stdout.strip() == "done", r.stdout + r.stderr[-2000:]


# ---- Ctrl-C

@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_training_keeps_its_history(error, tmp_path):
    def press(run):
        if run.update == 30: raise error
    how = dict(QUIET, updates=60, batch_size=8, lr=0.01, every=20, checkpoint=tmp_path)
    model, resumed, whole = models("jmvae"), models("jmvae"), models("jmvae")
    with pytest.raises(error) as e: fit(model, tensors(), callbacks=[press], **how)
    full = fit(whole, tensors(), **{**how, "checkpoint": None})
    assert isinstance(e.value.history, pd.DataFrame) and e.value.history.equals(full[:4])
    assert not model.training and model.updates_seen == 31 and latest(tmp_path).name == "update_0000020"
    assert fit(resumed, tensors(), **how).equals(full) and same(bits(resumed), bits(whole))

def test_an_interrupted_training_leaves_the_best_weights():
    def press(run):
        if run.update == 70: raise KeyboardInterrupt
    model = Scripted()
    with pytest.raises(KeyboardInterrupt) as e:
        fit(model, tensors(), validation=held_out(), every_validation=10, keep="best", callbacks=[press], **SCRIPTED)
    assert e.value.history.validation.tolist()[1:] == LOSSES[1:8] and model.done == 51


# ---- all alike

class Fixed(nn.Module):
    "Decodes what it is told to."
    def __init__(self, made):
        super().__init__()
        spec = type("Spec", (), {"likelihood": type("L", (), {"mean": staticmethod(lambda x: x)})})
        self.made, self.specs = made, dict.fromkeys(made, spec)
    def infer(self, batch): return type("Q", (), {"mean": torch.zeros(4, 1)})
    def decode(self, z, n): return self.made[n]

def test_the_spread_is_a_share_of_the_variance():
    x = torch.tensor([[0., 0.], [1., 2.], [2., 4.], [3., 6.]])              # variances 5/3 and 20/3
    words = torch.tensor([[0, 1], [1, 1], [0, 1], [1, 1]])                  # one place changes between two tokens
    pixels = torch.tensor([0, 255, 0, 255], dtype=torch.uint8).view(4, 1, 1, 1)
    batch = {"copy": x, "half": x, "one": x, "same": x, "words": words, "words alike": words, "pixels": pixels,
             "constant": torch.ones(4, 2), "other shape": x}
    made = {"copy": x + 7, "half": x/2, "one": x*torch.tensor([1., 0.]), "same": torch.ones(4, 2), "words": 1 - words,
            "words alike": torch.ones_like(words), "pixels": torch.tensor([.2, .6, .2, .6]).view(4, 1, 1, 1),
            "constant": torch.ones(4, 2), "other shape": x[:, :1]}
    made["words"][:, 1] = 0
    assert {n: round(v, 5) for n, v in spread(Fixed(made), batch).items()} == {
        "copy": 1, "half": .25, "one": .2, "same": 0, "words": 1, "words alike": 0, "pixels": .16}
    counts = {"counts": torch.tensor([[10**6], [0], [10**6], [0]])}         # whole numbers whose mean is none
    assert spread(Fixed({"counts": counts["counts"]/2}), counts) == {"counts": pytest.approx(.25)}
    assert spread(Line(), batch) == {} == spread(JVAE(vector_specs(), 2), {"no": x})

def linear(n=512):
    "Two views of one number; in units of the noise the variance of their common direction is 6."
    g = torch.Generator().manual_seed(0)
    z = torch.randn(n, 1, generator=g)
    return TensorData({"a": torch.cat([z, -z, z], 1) + 1, "b": torch.cat([z, z, z], 1) - 1})

def alike(message): return "are alike" in str(message.message)

@pytest.mark.parametrize("beta, healthy", [(1., True), (3., True), (30., False)])
def test_a_collapsed_model_is_told_and_a_healthy_one_is_not(beta, healthy):
    torch.manual_seed(0)
    model = JVAE(default_specs(linear().modalities), 2, beta=beta)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(model, linear(), 200, 64, **QUIET)
    told = [str(m.message) for m in said if alike(m)]
    assert len(told) == (not healthy) and all(t.startswith("a, b: after 200 updates") and "\n" not in t for t in told)
    expected = max(0, 1 - beta/6)**2                            # probabilistic PCA
    for v in spread(model, linear().pools).values(): assert v == pytest.approx(expected, abs=0.08)
    assert max(0, 1 - 3/6)**2 > 10*ALIKE

@pytest.mark.parametrize("method", MAKE)
def test_looking_for_the_spread_changes_nothing(method):
    model, batch = fresh(method, vector_specs(), 3).eval(), vectors(9)
    before, state = bits(model), random_state()
    found = spread(model, batch)
    assert set(found) == set(batch) and all(math.isfinite(v) for v in found.values())
    assert same(before, bits(model)) and random_state() == state and not model.training
    assert all(p.grad is None for p in model.parameters())

@pytest.mark.parametrize("updates, told", [(99, 0), (100, 1)])
def test_nobody_is_warned_of_a_training_that_has_hardly_begun(updates, told):
    torch.manual_seed(0)
    model = JVAE(default_specs(linear().modalities), 2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(model, linear(), updates, 16, lr=1e-12, **QUIET)
    assert sum(map(alike, said)) == told

def test_a_model_that_cannot_be_asked_costs_no_training():
    class Odd(JVAE):
        def infer(self, batch):
            if not self.training: raise RuntimeError("not now")
            return super().infer(batch)
    model = Odd(default_specs(linear().modalities), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(fit(model, linear(), 100, 16, lr=1e-12, **QUIET)) == 11


# ---- the parts of the refined teacher's loss

@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_the_refined_teacher_names_its_parts(beta, no_noise):
    "KL and each modality, those of q_T, by torch's distributions."
    torch.manual_seed(0)
    model = IterativeTeacher(vector_specs(), 3, beta=beta, steps=2, hidden=8).eval()
    batch = vectors(9)
    seen, climb = [], model._climbed
    model._climbed = lambda *a: (seen.append(climb(*a)), seen[-1])[1]
    parts = model.loss(batch).parts
    assert list(parts) == ["t=0", "t=2", "kl", "a", "b"] and not any(v.requires_grad for v in parts.values())
    q = seen[0].trajectory[-1]
    assert parts["kl"].item() == pytest.approx(prior_kl(q).mean().item(), rel=1e-5)
    total = sum(s.weight*parts[n] for n, s in model.specs.items())
    assert total.item() == pytest.approx(-log_p(model, batch, q.mean).mean().item(), rel=1e-5)

@pytest.mark.parametrize("make", ["mean", "last", "on_decoders"])
def test_naming_the_parts_changes_no_bit_of_loss_and_gradient(make):
    "Against the refinement of `elbo` itself, with the same noise."
    torch.manual_seed(0)
    options = dict(steps=2, hidden=8)
    model = on_decoders(JVAE(vector_specs(), 3), replay=0., **options) if make == "on_decoders" else \
        IterativeTeacher(vector_specs(), 3, decoders=make, **options)
    batch, q = vectors(9), model.starts(vectors(9))["a"]
    own = [p for p in model.decoders.parameters() if p.requires_grad and make != "last"]
    plain = lambda: refine(lambda q: model.elbo(batch, q, path=True), q, model.refiner, 2, keep=True, parameters=own)
    found = []
    for climb in (plain, lambda: model._climbed(batch, q)):
        torch.manual_seed(5)
        elbos = climb().elbos
        model.zero_grad()
        torch.stack(elbos).mean().backward(retain_graph=True)
        found.append([*elbos, *(p.grad.clone() for p in model.parameters() if p.grad is not None), torch.rand(1)])
    assert len(found[0]) == len(found[1]) > 5 and all(torch.equal(a, b) for a, b in zip(*found))

def test_the_history_of_a_refined_teacher_shows_them():
    torch.manual_seed(0)
    model = IterativeTeacher(default_specs(tensors().modalities), 4, steps=2, hidden=8, replay=0.5)
    history = fit(model, tensors(), 12, 8, **QUIET)
    assert list(history) == ["update", "total", "t=0", "t=2", "kl", "a", "b"] and history.notna().all(axis=None)
