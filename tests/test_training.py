"""Lesson 02g, training: what its own asserts can't hold - killed processes, two processes, damaged files."""
import contextlib, errno, inspect, json, os, random, signal, socket, subprocess, sys, textwrap
from pathlib import Path

import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import load_file
from torch import nn

import mmvae_nb.checkpoints as checkpoints
import mmvae_nb.training as training
from mmvae_nb.checkpoints import cached, load_weights, save_weights
from mmvae_nb.core import MmvaeError, digest
from mmvae_nb.data import TensorData
from mmvae_nb.distillation import Students
from mmvae_nb.jmvae import JMVAE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.training import Run, fit, lr_factor
from mmvae_nb.vae import Loss

ROOT = Path(__file__).resolve().parent.parent

# What both this file and the processes it starts need
SETUP = """
import torch
from torch import nn
from mmvae_nb.data import TensorData
from mmvae_nb.vae import Loss

def tensors(n=64):
    g = torch.Generator().manual_seed(0)
    return TensorData({"a": torch.randn(n, 3, generator=g), "b": torch.randn(n, 2, generator=g)})

class Line(nn.Module):
    "b from a by one linear map, without any noise."
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Linear(3, 2)
    def forward(self, batch):
        loss = ((self.map(batch["a"]) - batch["b"])**2).mean()
        return Loss(loss, {"square": loss.detach()})
"""
exec(SETUP)
QUIET = dict(device="cpu", progress=False)

def models(kind):
    torch.manual_seed(0)
    specs = default_specs(tensors().modalities)
    return {"jmvae": lambda: JMVAE(specs, 4, warm_up=9), "students": lambda: Students(JVAE(specs, 4)),
            "line": Line}[kind]()

def bits(model): return {k: v.clone() for k, v in model.state_dict().items()}

def same(a, b):
    assert list(a) == list(b)
    return all(torch.equal(a[k], b[k]) for k in a)

def one_line(error):
    text = str(error.value)
    assert text and "\n" not in text and len(text) < 400
    return text

def python(code, *args, env=None, launch=()):
    return subprocess.run([sys.executable, *launch, str(code), *map(str, args)], cwd=ROOT, text=True,
                          capture_output=True, timeout=3000, env={**os.environ, **(env or {})})

def script(folder, text):
    path = folder/"script.py"
    path.write_text(SETUP + textwrap.dedent(text))
    return path


# ---- killed, and continued

KILLED = """
import os, signal, sys
from mmvae_nb.jmvae import JMVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.checkpoints import save_weights
from mmvae_nb.training import fit

folder, out, die_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
data = tensors()
torch.manual_seed(0)
model = JMVAE(default_specs(data.modalities), 4, warm_up=9)
calls, loss = [0], model.loss
def counted(batch):
    calls[0] += 1
    if calls[0] == die_at: os.kill(os.getpid(), signal.SIGKILL)
    return loss(batch)
model.loss = counted
history = fit(model, data, 14, 8, lr=0.01, device="cpu", progress=False, checkpoint=folder or None, every=4)
save_weights(model, out)
print("calls", calls[0], "rows", history["update"].tolist(), history.total.tolist())
"""

def test_a_killed_process_continues_to_the_same_bits(tmp_path):
    "SIGKILL at the eleventh update; checkpoints every four. Noise, warm-up, optimiser and pairing all continue."
    run, folder = script(tmp_path, KILLED), tmp_path/"checkpoint"
    died = python(run, folder, tmp_path/"a.safetensors", 11)
    assert died.returncode == -signal.SIGKILL and not (tmp_path/"a.safetensors").exists()
    assert [p.name for p in folder.iterdir()] == ["update_0000008"]
    again = python(run, folder, tmp_path/"a.safetensors", 0)
    assert again.returncode == 0, again.stderr[-2000:]
    straight = python(run, "", tmp_path/"b.safetensors", 0)
    assert straight.returncode == 0, straight.stderr[-2000:]
    # the continued run did updates 8 to 13 only, and its history is that of the whole
    assert again.stdout.split()[1] == "6" and straight.stdout.split()[1] == "14"
    assert again.stdout.split(" ", 2)[2] == straight.stdout.split(" ", 2)[2] and "[0, 10, 13]" in again.stdout
    a, b = load_file(tmp_path/"a.safetensors"), load_file(tmp_path/"b.safetensors")
    assert same(a, b) and a["updates_seen"].item() == 14
    assert [p.name for p in folder.iterdir()] == ["update_0000014"]

@pytest.mark.parametrize("kind", ["jmvae", "students", "line"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_stopping_and_continuing_changes_no_bit(kind, precision, tmp_path):
    how = dict(batch_size=8, lr=0.01, every=4, precision=precision, **QUIET)
    straight, parts = models(kind), models(kind)
    whole = fit(straight, tensors(), 11, **how)
    for stop in (2, 5, None):
        parts = models(kind)                                   # as a new process would
        history = fit(parts, tensors(), 11, checkpoint=tmp_path/"c", stop_after=stop, **how)
    assert same(bits(straight), bits(parts)) and not same(bits(parts), bits(models(kind)))
    assert history.equals(whole) and history["update"].tolist() == [0, 10]

def test_a_finished_run_is_not_trained_again(tmp_path):
    how = dict(batch_size=8, checkpoint=tmp_path, every=2, **QUIET)
    first, second = Line(), Line()
    a = fit(first, tensors(), 5, **how)
    second.forward = None                                      # a single update would fail
    b = fit(second, tensors(), 5, **how)
    assert a.equals(b) and same(bits(first), bits(second))

def test_a_half_written_checkpoint_is_ignored(tmp_path, monkeypatch):
    "Killed while writing: the older checkpoint is the one that counts."
    how = dict(batch_size=8, lr=0.01, checkpoint=tmp_path, every=3, **QUIET)
    write = checkpoints.write_json
    def fails(path, value):
        if value.get("update") == 6: raise KeyboardInterrupt    # weights are written, their record is not
        write(path, value)
    monkeypatch.setattr(checkpoints, "write_json", fails)
    with pytest.raises(KeyboardInterrupt): fit(Line(), tensors(), 8, **how)
    monkeypatch.undo()
    left = sorted(p.name for p in tmp_path.iterdir())
    assert "update_0000003" in left and "update_0000006" not in left
    assert left == ["update_0000003"]                           # an interrupted one tidies up, a killed one can't
    (tmp_path/".partial_0000006").mkdir(); (tmp_path/".partial_0000099").mkdir()
    (tmp_path/".partial_0000006"/"model.safetensors").write_bytes(b"half")
    resumed, straight = Line(), Line()
    fit(resumed, tensors(), 8, **how)
    fit(straight, tensors(), 8, **{**how, "checkpoint": None})
    assert same(bits(resumed), bits(straight))
    assert [p.name for p in tmp_path.iterdir()] == ["update_0000008"]

@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    fit(Line(), tensors(), 6, 8, lr=0.01, checkpoint=folder, every=2, stop_after=2, **QUIET)
    return folder

@pytest.mark.parametrize("other, wanted", [
    (dict(updates=7), "updates: got 7, allowed: 6"), (dict(batch_size=4), "batch_size: got 4, allowed: 8"),
    (dict(lr=0.02), "lr: got 0.02, allowed: 0.01"), (dict(seed=1), "seed: got 1, allowed: 0"),
    (dict(precision="bf16"), "precision: got 'bf16', allowed: 'float32'"),
    (dict(schedule="constant"), "schedule: got 'constant', allowed: 'warmup_cosine'"),
    (dict(data=tensors(63)), "data: got "), (dict(clip=0.1), "clip: got 0.1")])
def test_a_checkpoint_of_other_settings_is_refused(other, wanted, checkpoint):
    before = sorted(p.name for p in checkpoint.rglob("*"))
    model = Line()
    start = bits(model)
    how = {"data": tensors(), "updates": 6, "batch_size": 8, "lr": 0.01, "checkpoint": checkpoint, "every": 2,
           "stop_after": 2, **QUIET, **other}
    with pytest.raises(MmvaeError) as e: fit(model, **how)
    assert one_line(e).startswith(wanted) and str(checkpoint) in str(e.value)
    assert same(bits(model), start) and sorted(p.name for p in checkpoint.rglob("*")) == before

def test_a_checkpoint_of_another_model_is_refused_in_one_line(checkpoint):
    with pytest.raises(MmvaeError) as e:
        fit(JVAE(default_specs(tensors().modalities), 4), tensors(), 6, 8,
            lr=0.01, checkpoint=checkpoint, every=2, **QUIET)
    one_line(e)

@pytest.mark.parametrize("place", ["a file", "below a file", "/proc/nothing"])
def test_a_checkpoint_folder_that_cannot_be_written_is_one_line(place, tmp_path):
    (tmp_path/"file").write_text("x")
    folder = {"a file": tmp_path/"file", "below a file": tmp_path/"file"/"c"}.get(place, place)
    with pytest.raises(MmvaeError) as e: fit(Line(), tensors(), 2, 8, checkpoint=folder, **QUIET)
    assert str(folder) in one_line(e)

def test_only_the_newest_checkpoint_is_kept_and_the_pace_is_kept(tmp_path, monkeypatch):
    seen, save = [], training.save_checkpoint
    monkeypatch.setattr(training, "save_checkpoint",
                        lambda a, f, update, *rest: (seen.append(update), save(a, f, update, *rest))[1])
    fit(Line(), tensors(), 7, 8, checkpoint=tmp_path, every=3, **QUIET)
    assert seen == [3, 6, 7] and [p.name for p in tmp_path.iterdir()] == ["update_0000007"]
    run = json.loads((tmp_path/"update_0000007"/"run.json").read_text())
    assert run["update"] == 7 and run["settings"]["batch_size"] == 8 and run["settings"]["data"] == tensors().checksum


# ---- the steps themselves

def adam_by_hand(model, batches, rates, clip=None):
    "Adam (0.9, 0.999, 1e-8) written out; one list of batches an update, whose gradients are averaged."
    params = list(model.parameters())
    m, v = [torch.zeros_like(p) for p in params], [torch.zeros_like(p) for p in params]
    for t, (group, rate) in enumerate(zip(batches, rates), 1):
        grads = [torch.autograd.grad(model(b).total, params) for b in group]
        grads = [torch.stack(g).mean(0) for g in zip(*grads)]
        if clip is not None:
            length = torch.sqrt(sum((g**2).sum() for g in grads))
            grads = [g*min(1., clip/(length.item() + 1e-6)) for g in grads]
        with torch.no_grad():
            for i, g in enumerate(grads):
                m[i], v[i] = 0.9*m[i] + 0.1*g, 0.999*v[i] + 0.001*g**2
                params[i] -= rate*(m[i]/(1 - 0.9**t))/(torch.sqrt(v[i]/(1 - 0.999**t)) + 1e-8)
    return model

def near(a, b, tolerance=2e-6):
    for k in a: torch.testing.assert_close(a[k], b[k], rtol=1e-4, atol=tolerance)

@pytest.mark.parametrize("schedule", ["warmup_cosine", "constant"])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_fit_is_adam_with_this_schedule(schedule, clip):
    U, data, model = 10, tensors(), Line()
    fit(model, data, U, 8, lr=0.03, seed=4, schedule=schedule, clip=clip, **QUIET)
    rates = [0.03*lr_factor(u, U, schedule) for u in range(U)]
    by_hand = adam_by_hand(Line(), [[data.batch(u, 8, 4)] for u in range(U)], rates, clip)
    near(bits(model), bits(by_hand))
    assert not same(bits(model), bits(Line()))

def test_seeds_and_nothing_else_decide():
    def trained(seed, disturb):
        torch.manual_seed(disturb); np.random.seed(disturb)
        model = models("jmvae")
        torch.manual_seed(disturb)
        return bits(fit(model, tensors(), 3, 8, seed=seed, **QUIET) is not None and model)
    assert same(trained(0, 1), trained(0, 2)) and not same(trained(0, 1), trained(1, 1))

def test_history_and_modes():
    model = Line().train()
    history = fit(model, tensors(), 23, 8, **QUIET)
    assert history["update"].tolist() == [0, 10, 20, 22] and list(history) == ["update", "total", "square"]
    assert (history.total == history.square).all() and not model.training
    first = ((Line().map(tensors().batch(0, 8)["a"]) - tensors().batch(0, 8)["b"])**2).mean().item()
    assert abs(history.total[0] - first) < 1e-6
    assert all(p.grad is None for p in model.parameters())     # nothing left behind

class Breaks(Line):
    "Loss that stops being a finite number at one update."
    def __init__(self, at, value): super().__init__(); self.at, self.value, self.calls = at, value, 0
    def forward(self, batch):
        self.calls += 1
        total, parts = super().forward(batch)
        return Loss(total*self.value if self.calls > self.at else total, parts)

@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [0, 3])
def test_a_loss_that_is_no_number_stops_the_run(value, at, tmp_path):
    model, good = Breaks(at, value), Line()
    with pytest.raises(MmvaeError) as e: fit(model, tensors(), 6, 8, lr=0.01, checkpoint=tmp_path, every=2, **QUIET)
    assert f"at update {at}," in one_line(e) and "lr" in str(e.value) and model.calls == at + 1
    assert [p.name for p in tmp_path.iterdir()] == (["update_0000002"] if at else [])
    if at: fit(good, tensors(), 6, 8, lr=0.01, stop_after=at, **QUIET)
    assert same(bits(model), bits(good)) and torch.isfinite(model.map.weight).all()    # weights before the damage

class Root(nn.Module):
    "A finite loss whose gradient is infinite."
    def __init__(self): super().__init__(); self.w = nn.Parameter(torch.zeros(1))
    def forward(self, batch): return Loss((self.w**2).sqrt().sum() + 0*batch["a"].sum(), {})

def test_a_gradient_that_is_no_number_stops_the_run():
    model = Root()
    with pytest.raises(MmvaeError): fit(model, tensors(), 1, 8, **QUIET)

@pytest.mark.parametrize("bad, words", [
    (dict(updates=0), "updates: got 0"), (dict(updates=2.0), "updates: got 2.0"),
    (dict(batch_size=0), "batch_size: got 0"), (dict(batch_size=65), "batch_size: got 65"),
    (dict(lr=-1), "lr: got -1"), (dict(lr=float("nan")), "lr: got nan"),
    (dict(every=0), "every: got 0"), (dict(precision="fp16"), "allowed: float32, bf16"),
    (dict(schedule="cosine"), "allowed: warmup_cosine, constant"), (dict(device="cuda:99"), "device: got 'cuda:99'"),
    (dict(device="tpu"), "device: got 'tpu', allowed: auto, cpu")])
def test_wrong_arguments_get_one_line_and_change_nothing(bad, words, tmp_path):
    model = Line()
    with pytest.raises(MmvaeError) as e:
        fit(model, tensors(), **{"updates": 2, "batch_size": 8, "checkpoint": tmp_path/"c", **QUIET, **bad})
    assert words in one_line(e) and same(bits(model), bits(Line()))
    assert not any(p.is_file() for p in tmp_path.rglob("*"))


# ---- the schedule

ups = st.integers(1, 100_000)

@settings(max_examples=200, deadline=None, derandomize=True)
@given(ups, st.floats(0, 1))
def test_the_schedule_rises_and_falls_without_a_jump(updates, where):
    u = min(int(where*updates), updates - 1)
    f = lr_factor(u, updates)
    warm = max(1, round(0.1*updates))
    assert 0 < f <= 1 and lr_factor(u, updates, "constant") == 1.0
    assert lr_factor(warm - 1, updates) == 1.0                         # the peak is reached
    if u + 1 < updates:                                                    # up, then down, without a jump
        g = lr_factor(u + 1, updates)
        assert (g > f or f == 1) if u + 1 < warm else g <= f
        assert abs(g - f) <= max(1/warm, np.pi/2/max(1, updates - warm)) + 1e-12
    if updates > warm: assert abs(lr_factor(updates, updates)) < 1e-9  # zero once all is done

@pytest.mark.parametrize("updates", [1, 2, 3, 10, 11, 200])
def test_the_schedule_sums_to_about_half(updates):
    total = sum(lr_factor(u, updates) for u in range(updates))
    warm = max(1, round(0.1*updates))
    rise, fall = (warm + 1)/2, (updates - warm + 1)/2         # arithmetic series; cosine: pairs add up to one
    assert abs(total - (rise + (fall if updates > warm else 0))) < 1e-9


# ---- two processes

def launch(path, *args):
    "Two processes on CPU. `accelerate launch --cpu` would start one, without a word, where MPI is not set up."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
    return python(path, *args, launch=["-m", "torch.distributed.run", "--nproc_per_node", "2",
                                       "--master_addr", "127.0.0.1", "--master_port", str(port)])

TWO = """
import os, sys
from mmvae_nb.checkpoints import save_weights
from mmvae_nb.training import fit
folder, rank = sys.argv[1], os.environ["RANK"]
how = dict(batch_size=8, lr=0.03, seed=4, device="cpu", progress=False)
line = Line()
with torch.no_grad(): line.map.weight += int(rank)           # ranks start apart: one of them must give way
history = fit(line, tensors(), 6, **how)
save_weights(line, f"{folder}/line-{rank}.safetensors")
fours, listed, look = Line(), Line(), dict(validation=tensors(20), every_validation=10, patience=1)
fit(fours, tensors(), 6, **how, accumulate=2)
history = fit(listed, [tensors().batch(u, 8, 4) for u in range(8)], 6, **how, **look)
assert history.validation.notna().sum() == 2
save_weights(fours, f"{folder}/fours-{rank}.safetensors"); save_weights(listed, f"{folder}/listed-{rank}.safetensors")

from mmvae_nb.distillation import Students
from mmvae_nb.jmvae import JMVAE
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher
from mmvae_nb.networks import default_specs
torch.manual_seed(0)
specs, kinds = default_specs(tensors().modalities), {}
kinds["jvae"], kinds["jmvae"], kinds["mopoe"] = JVAE(specs, 4), JMVAE(specs, 4), MoPoE(specs, 4)
for decoders in ("mean", "last", "frozen"):
    kinds[f"iterative_{decoders}"] = IterativeTeacher(specs, 4, steps=2, hidden=8, decoders=decoders)
kinds["students"] = Students(IterativeTeacher(specs, 4, steps=2, hidden=8))
for name, model in kinds.items():
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    fit(model, tensors(), 2, **how)
    assert not torch.equal(before, torch.cat([p.detach().flatten() for p in model.parameters()])), name
    save_weights(model, f"{folder}/{name}-{rank}.safetensors")

how.update(checkpoint=f"{folder}/c", every=2)
straight, parts = JMVAE(specs, 4), JMVAE(specs, 4)
parts.load_state_dict(straight.state_dict())
start = {k: v.clone() for k, v in straight.state_dict().items()}
fit(straight, tensors(), 5, **{**how, "checkpoint": None})
fit(parts, tensors(), 5, stop_after=3, **how)
parts.load_state_dict(start)
fit(parts, tensors(), 5, **how)
assert all(torch.equal(a, b) for a, b in zip(straight.state_dict().values(), parts.state_dict().values())), "resumed"
try: fit(JMVAE(specs, 4), tensors(), 5, **{**how, "lr": 0.01})
except ValueError as e: print(f"refused on {rank}: {e}")
"""

@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    run = launch(script(tmp_path, TWO), tmp_path)
    assert run.returncode == 0, run.stderr[-9000:]
    weights = {p.stem: load_file(p) for p in tmp_path.glob("*.safetensors")}
    names = {n.rsplit("-", 1)[0] for n in weights}
    assert len(names) == 10
    for n in names: assert same(weights[f"{n}-0"], weights[f"{n}-1"]), n
    # two processes of batch 8: the mean of two gradients, on batches 2u and 2u + 1; rank 0's first weights
    data, rates = tensors(), [0.03*lr_factor(u, 6) for u in range(6)]
    by_hand = adam_by_hand(Line(), [[data.batch(2*u, 8, 4), data.batch(2*u + 1, 8, 4)] for u in range(6)], rates)
    near(weights["line-0"], bits(by_hand))
    wrapped = [[data.batch((2*u + i) % 8, 8, 4) for i in range(2)] for u in range(6)]  # epoch by epoch
    near(weights["listed-0"], bits(adam_by_hand(Line(), wrapped, rates)))
    fours = [[data.batch(4*u + i, 8, 4) for i in range(4)] for u in range(6)]
    near(weights["fours-0"], bits(adam_by_hand(Line(), fours, rates)))
    alone = Line()
    fit(alone, data, 6, 8, lr=0.03, seed=4, **QUIET)
    assert (alone.map.weight - weights["line-0"]["map.weight"]).abs().max() > 1e-3
    assert run.stdout.count("refused on") == 2 and [p.name for p in (tmp_path/"c").iterdir()] == ["update_0000005"]


# ---- weights on disk

@pytest.mark.parametrize("kind", ["jmvae", "students", "line"])
def test_weights_come_back_bit_by_bit(kind, tmp_path):
    model, other = models(kind), models(kind)
    with torch.no_grad():
        for p in other.parameters(): p.add_(1.)
    save_weights(model, tmp_path/"deep"/"w.safetensors")
    assert [p.name for p in (tmp_path/"deep").iterdir()] == ["w.safetensors"]
    loaded = load_weights(other.train(), tmp_path/"deep"/"w.safetensors")
    assert loaded is other and not other.training and same(bits(model), bits(other))
    on_disk = load_file(tmp_path/"deep"/"w.safetensors")
    assert same(dict(sorted(on_disk.items())), dict(sorted(bits(model).items())))

@pytest.mark.parametrize("damage, words", [
    ("missing", "no such file"), ("empty", "not a weight file"), ("half", "not a weight file"),
    ("text", "not a weight file"), ("folder", "a folder"),
    ("other model", "weights of another model (Line wanted)"),
    ("other shape", "weights of another model (Line wanted)")])
def test_files_that_are_no_weights_get_one_line(damage, words, tmp_path):
    path = tmp_path/"w.safetensors"
    save_weights(Line(), path)
    whole = path.read_bytes()
    if damage == "missing": path.unlink()
    elif damage == "folder": path.unlink(); path.mkdir()
    elif damage == "other model": save_weights(models("jmvae"), path)
    elif damage == "other shape": save_weights(nn.ModuleDict({"map": nn.Linear(4, 2)}), path)
    else: path.write_bytes({"empty": b"", "half": whole[:len(whole)//2], "text": b"not weights at all"}[damage])
    with pytest.raises(MmvaeError) as e: load_weights(Line(), path)
    starts = f"path: got {str(path)!r}" if damage in ("missing", "folder") else str(path)
    assert one_line(e).startswith(starts) and words in str(e.value)

def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path/"w.safetensors"
    save_weights(Line(), path)
    before = path.read_bytes()
    def fails(state, tmp, about): Path(tmp).write_bytes(b"half"); raise OSError(errno.ENOSPC, "disk full")
    monkeypatch.setattr(checkpoints, "save_file", fails)
    with pytest.raises(MmvaeError, match="w.safetensors: can't be written to .disk full"):
        save_weights(models("jmvae"), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(MmvaeError) as e: save_weights(Line(), path/"below.safetensors")
    one_line(e)


# ---- the cache of trained models

@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"/"lessons"

def test_cached_trains_once_for_each_name_and_settings(cache):
    trained = []
    def train(model):
        trained.append(1)
        with torch.no_grad(): model.map.bias.fill_(float(len(trained)))
    get = lambda name="m", settings={"updates": 3}, modules=(): cached(
        name, lambda: Line().train(), train, settings, modules)
    first, second = get(), get()
    assert len(trained) == 1 and same(bits(first), bits(second)) and first is not second
    assert second.map.bias[0] == 1 and not first.training and not second.training
    assert get(settings={"updates": 4}).map.bias[0] == 2 and get(name="n").map.bias[0] == 3
    assert get(modules=("vae",)).map.bias[0] == 4 and get(modules=("mopoe",)).map.bias[0] == 5
    assert get(modules=("core", "vae")).map.bias[0] == 4 and get().map.bias[0] == 1 and len(trained) == 5
    assert len(list(cache.iterdir())) == 5

def test_numpys_whole_numbers_are_numbers_also_in_a_checkpoint(tmp_path):
    def go(updates, batch_size, **stop):
        model = Line()
        fit(model, tensors(), updates, batch_size, **QUIET, **stop)
        return bits(model)
    theirs, folder = (np.int64(5), np.int32(8)), tmp_path/"checkpoint"
    go(*theirs, checkpoint=folder, every=np.int64(2), stop_after=3)
    assert same(go(*theirs, checkpoint=folder), go(5, 8))

@pytest.mark.parametrize("of", [
    np.asarray, torch.tensor, lambda v: torch.tensor(v, dtype=torch.bfloat16, requires_grad=True),
    lambda v: np.array([None, *v], dtype=object)])
def test_settings_that_differ_in_the_middle_of_an_array_are_other_settings(of, cache):
    "Printed as text, the two arrays are the same."
    zeros, middle = np.zeros(5000), np.zeros(5000)
    middle[2500] = 1
    get = lambda values: cached("m", Line, lambda m: None, {"x": [of(values)]}) and len(list(cache.iterdir()))
    assert [get(zeros), get(zeros.copy()), get(middle)] == [1, 1, 2]

def test_digests_of_plain_settings_stay_what_they_were():
    "Names of files in people's caches. Shape and type of an array count, too."
    assert digest({}) == "44136fa355b3"
    assert digest({"a": 1, "b": [1, 2.5, "x", None, True], "p": Path("/tmp/x")}) == "fcce98f16436"
    assert digest({"s": torch.Size([1, 2]), "d": torch.device("cpu"), "t": torch.float32,
                   "n": np.int64(5), "f": np.float32(.1), "g": np.float64(.1)}) == "e8e337c2d112"
    x = np.zeros((2, 3))
    assert len({digest(v) for v in [x, x.T, x.astype(np.int64), torch.from_numpy(x)]}) == 4

def test_a_training_that_fails_caches_nothing(cache):
    def train(model): raise RuntimeError("no")
    with pytest.raises(RuntimeError): cached("m", Line, train, {})
    assert not cache.exists() or not list(cache.iterdir())
    assert cached("m", Line, lambda m: None, {}) is not None

def test_a_cached_file_that_was_cut_names_itself(cache):
    cached("m", Line, lambda m: None, {})
    path, = cache.iterdir()
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(MmvaeError) as e: cached("m", Line, lambda m: None, {})
    assert str(path) in one_line(e)

def test_fits_options_are_documented():
    "Each argument has its comment beside it."
    source = inspect.getsource(fit).split('"Train')[0]
    for name in inspect.signature(fit).parameters:
        line = next(l for l in source.splitlines()
                    if l.strip().removeprefix("def fit(").startswith((f"{name},", f"{name}=", f"{name}:")))
        assert "#" in line, name


# ---- what is left behind

def random_state(): return random.getstate()[1], tuple(np.random.get_state()[1]), tuple(torch.get_rng_state().tolist())

def interrupts(run): raise KeyboardInterrupt
def breaks(run): raise RuntimeError("mine")

@pytest.mark.parametrize("ending", ["well", "no number", "callback", "ctrl-c", "refused", "data"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_however_a_training_ends_nothing_is_left_behind(ending, precision, tmp_path, monkeypatch):
    "The bar is closed, the model in evaluation mode and free of accelerate's marks, the generators where they were."
    closed, close = [], training.ProgressBar.close
    monkeypatch.setattr(training.ProgressBar, "close", lambda self: (closed.append(self.bar), close(self)))
    how = dict(updates=12, batch_size=8, lr=0.01, precision=precision, checkpoint=tmp_path, every=4, **QUIET)
    model = Breaks(5, float("nan")) if ending == "no number" else Line()
    if ending == "refused": fit(Line(), tensors(), **how)
    if ending == "refused": how["lr"] = 0.5
    if ending == "data": how["batch_size"] = 65
    how["callbacks"] = {"callback": [breaks], "ctrl-c": [interrupts]}.get(ending, ())
    random.seed(7); np.random.seed(7); torch.manual_seed(7)
    before, marks = random_state(), set(vars(model))
    error = {"callback": RuntimeError, "ctrl-c": KeyboardInterrupt}.get(ending, MmvaeError)
    closed.clear()
    with contextlib.nullcontext() if ending == "well" else pytest.raises(error): fit(model, tensors(), **how)
    assert random_state() == before and not model.training and set(vars(model)) == marks
    assert len(closed) == (ending != "refused")              # there was none yet
    assert not torch.is_autocast_enabled("cpu")

def test_distilling_gives_the_generators_back_too():
    from mmvae_nb.distillation import distill
    teacher = JVAE(default_specs(tensors().modalities), 4)
    torch.manual_seed(3)
    before = random_state()
    first = distill(teacher, tensors(), 2, batch_size=8, **QUIET)
    assert random_state() == before
    torch.manual_seed(4)
    assert same(bits(first), bits(distill(teacher, tensors(), 2, batch_size=8, **QUIET)))


# ---- callbacks

def test_callbacks_see_each_row_and_may_add_to_it(tmp_path):
    seen = []
    def measure(run):
        assert isinstance(run, Run) and run.model is model
        assert run.row is run.history[-1] and run.row["update"] == run.update
        seen.append(run.update); run.row["measured"] = 2.*run.update
    model = Line()
    history = fit(model, tensors(), 23, 8, callbacks=[measure], checkpoint=tmp_path, **QUIET)
    assert seen == [0, 10, 20, 22] and history.measured.tolist() == [0, 20, 40, 44]
    kept = json.loads((tmp_path/"update_0000023"/"run.json").read_text())["history"]
    assert [row["measured"] for row in kept] == [0, 20, 40, 44]

def test_a_validation_loss_and_an_early_stop_change_no_weight(tmp_path):
    held_out = tensors(70).batch(0, 70)
    def validate(run):
        torch.manual_seed(0); run.model.eval()
        with torch.no_grad(): run.row["validation"] = run.model(held_out).total.item()
    def impatient(run):
        if len(run.history) == 3: run.stop()
    how = dict(batch_size=8, lr=0.01, every=50, **QUIET)
    model, plain = models("jmvae"), models("jmvae")
    history = fit(model, tensors(), 60, checkpoint=tmp_path, callbacks=[validate, impatient], **how)
    assert history["update"].tolist() == [0, 10, 20] and history.validation.notna().all()
    assert [p.name for p in tmp_path.iterdir()] == ["update_0000021"]             # with a checkpoint
    fit(plain, tensors(), 60, stop_after=21, **how)
    assert same(bits(model), bits(plain)) and model.updates_seen == 21            # in training mode all the time
    again = fit(models("jmvae"), tensors(), 60, checkpoint=tmp_path, **how)        # and it can go on
    assert again["update"].tolist() == [0, 10, 20, 30, 40, 50, 59]

def test_a_model_says_what_else_a_checkpoint_holds(tmp_path):
    class Memory:
        def reset(self): self.sum = torch.zeros(2)
        def state_dict(self): return {"sum": self.sum}
        def load_state_dict(self, state): self.sum = state["sum"]
    class Recalls(Line):
        def __init__(self): super().__init__(); self.memory = Memory()
        def checkpoint_state(self): return [self.memory]
        def forward(self, batch):
            loss = super().forward(batch)
            self.memory.sum = self.memory.sum + self.map(batch["a"]).detach().mean(0)
            return Loss(loss.total + 0.1*(self.map.bias*self.memory.sum).sum(), {})
    how = dict(QUIET, updates=9, batch_size=8, lr=0.01)
    whole, again = Recalls(), Recalls()
    fit(whole, tensors(), **how)
    fit(Recalls(), tensors(), stop_after=5, checkpoint=tmp_path, **how)
    fit(again, tensors(), checkpoint=tmp_path, **how)
    assert same(bits(whole), bits(again)) and torch.equal(whole.memory.sum, again.memory.sum)


# ---- what must not pass in silence

def test_a_checkpoint_belongs_to_options_and_teacher_too(tmp_path):
    specs = default_specs(tensors().modalities)
    how = dict(QUIET, updates=4, batch_size=16, checkpoint=tmp_path/"a")
    fit(JVAE(specs, 4, beta=1.), tensors(), **how)
    with pytest.raises(MmvaeError, match="holds another model"): fit(JVAE(specs, 4, beta=5.), tensors(), **how)
    first, second = (JVAE(specs, 4) for _ in range(2))
    how["checkpoint"] = tmp_path/"b"
    fit(Students(first), tensors(), stop_after=2, **how)
    before = bits(second)
    with pytest.raises(MmvaeError, match="holds another model"): fit(Students(second), tensors(), **how)
    assert same(before, bits(second))
    refused = Students(second)
    with pytest.raises(MmvaeError, match="holds another model"): fit(refused, tensors(), **how)
    assert not {"forward", "_is_accelerate_prepared"} & set(vars(refused))    # it can be trained otherwise
    assert len(fit(Students(first), tensors(), **how)) == 2      # updates 0 and 3

def test_what_is_continued_comes_back_with_a_checkpoint(tmp_path):
    from mmvae_nb.iterative_inference import Refiner, RefinerTraining
    def new():
        torch.manual_seed(0)
        return RefinerTraining(JVAE(default_specs(tensors().modalities), 4), Refiner(4, 16), steps=2, replay=0.6)
    how = dict(QUIET, updates=8, batch_size=16)
    whole, other = new(), TensorData({k: v + 5 for k, v in tensors().pools.items()})
    fit(whole, tensors(), **how)
    fit(new(), tensors(), stop_after=4, checkpoint=tmp_path, **how)
    again = new(); fit(again, tensors(), checkpoint=tmp_path, **how)
    assert same(bits(whole), bits(again))
    fit(whole, other, **dict(how, updates=1))                    # nothing of an earlier training
    assert (whole.replay.stored[0]["a"] > 0.5).all()

def test_bf16_leaves_no_trace():
    model, seen = Line(), []
    fit(model, tensors(), 2, 16, precision="bf16", **QUIET)
    model.map.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    fit(model, tensors(), 2, 16, precision="bf16", **QUIET)
    fit(model, tensors(), 2, 16, **QUIET)
    model(tensors().batch(0, 4))
    assert seen == [True]*2 + [False]*3

@pytest.mark.parametrize("bad, words", [
    (dict(clip=-1.), "clip"), (dict(clip=0.), "clip"), (dict(stop_after=0), "stop_after"),
    (dict(data={"a": torch.zeros(9, 3)}), "data: got dict")])
def test_arguments_that_would_train_nothing(bad, words):
    model = Line(); before = bits(model)
    with pytest.raises(MmvaeError, match=f"^{words}"):
        fit(model, **{"data": tensors(), "updates": 2, "batch_size": 4, **QUIET, **bad})
    assert same(before, bits(model))

def test_a_frozen_model_says_so():
    with pytest.raises(MmvaeError, match="^model: .*frozen"):
        fit(Line().requires_grad_(False), tensors(), 2, 4, **QUIET)

def test_numbers_of_numpy_are_seeds_too(tmp_path):
    how = dict(QUIET, updates=3, batch_size=8, checkpoint=tmp_path)
    fit(Line(), tensors(), seed=np.int64(3), stop_after=2, **how)
    assert fit(Line(), tensors(), seed=3, **how)["update"].tolist() == [0, 2]

def test_refused_weights_change_nothing(tmp_path):
    specs = default_specs(tensors().modalities)
    save_weights(JVAE(specs, 3), tmp_path/"w")
    model = JVAE(specs, 4); before = bits(model)
    with pytest.raises(MmvaeError, match="weights of another model"): load_weights(model, tmp_path/"w")
    assert same(before, bits(model))
