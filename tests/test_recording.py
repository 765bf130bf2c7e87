"Lesson 02k: an update may be recorded, because nothing is read back, nothing is replaced, nothing counted in Python."
import contextlib, random
from types import SimpleNamespace

import numpy as np, pytest, torch

from mmvae_nb.checkpoints import latest
from mmvae_nb.data import Modality, TensorData
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.experiments.runs import make_model
from mmvae_nb.experiments.table import METHODS
from mmvae_nb.iterative_inference import Replay
from mmvae_nb.jmvae import JMVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.recording import as_recordable, as_unrecorded, can_record
from mmvae_nb.training import Run, fit
from model_helpers import rng, spread, vector_specs, vectors

MODALITIES = [Modality("mnist", "image", (1, 28, 28)), Modality("svhn", "image", (3, 32, 32)),
              Modality("text", "text", (8,), "abcdefghijklmnopqrstuvwxyz ")]
SPECS = default_specs({m.name: m for m in MODALITIES})

def fresh(method): return method and make_model(method, SPECS, 20, 1., 2, fresh(METHODS[method].teacher))

def digits(n=256):
    "Noise in the digits' shapes."
    made = {m.name: torch.randint(0, 27 if m.kind == "text" else 256, (n, *m.shape), generator=rng(i))
            for i, m in enumerate(MODALITIES)}
    return {n: x if n == "text" else x.to(torch.uint8) for n, x in made.items()}

META = {n: x.to("meta") for n, x in digits(8).items()}

def generators(): return random.getstate(), tuple(np.random.get_state()[1]), tuple(torch.get_rng_state().tolist())

@pytest.fixture
def unmixed(monkeypatch):
    "There is no mixed precision on `meta`."
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


# ---- no number read back, none drawn by the processor

def updates_on_meta(model, count=2):
    "Losses and gradients without numbers; the generators of the processor stay where they are."
    for _ in range(count):                                     # the second has a replay's memory, if there is one
        before = generators()
        model(META).total.backward()
        assert generators() == before

@pytest.mark.parametrize("method", METHODS)
def test_an_update_of_a_method_reads_no_number_and_draws_none_in_python_or_says_so(method, unmixed):
    model = fresh(method).to("meta").train()
    says_so = getattr(model, "draws_in_python", False)          # then it is never recorded, and the draw is seen
    with pytest.raises(AssertionError) if says_so else contextlib.nullcontext(): updates_on_meta(model)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

def reads(loss): return loss if loss.total.item() else loss
def branches(loss): return loss if loss.total > 0 else loss
def draws(loss): return loss if random.random() < 2 else loss
def draws_on_the_processor(loss): return loss if torch.rand(3).sum() < 9 else loss

@pytest.mark.parametrize("mistake", [reads, branches, draws, draws_on_the_processor])
def test_what_must_not_be_is_seen(mistake, unmixed):
    model = fresh("jvae").to("meta").train()
    forward = model.forward
    model.forward = lambda batch: mistake(forward(batch))
    with pytest.raises((RuntimeError, AssertionError)): updates_on_meta(model)


# ---- what goes from one update to the next

def item(n, value, memory=None):
    q = DiagonalGaussian(torch.full((n, 2), value), torch.full((n, 2), -value))
    return {"x": torch.full((n, 3), value)}, q, memory

def parts_of(replay):
    batch, q, memory = replay.stored
    return [batch["x"], q.mean, q.logvar, *([] if memory is None else [memory])]

def test_a_replay_keeps_its_places_and_leaves_what_it_was_given_alone():
    replay = Replay(.5)
    first, second = item(4, 1., torch.ones(4, 5)), item(4, 2., torch.full((4, 5), 2.))
    replay.store(*first)
    places = parts_of(replay)
    replay.store(*second)
    assert all(a is b for a, b in zip(places, parts_of(replay)))
    assert [x.unique().tolist() for x in places] == [[2.], [2.], [-2.], [2.]]
    for (batch, q, memory), v in ((first, 1.), (second, 2.)):          # the caller's tensors are no places of ours
        assert (batch["x"] == v).all() and (q.mean == v).all() and (q.logvar == -v).all() and (memory == v).all()
        assert not {x.data_ptr() for x in places} & {x.data_ptr() for x in (batch["x"], q.mean, q.logvar, memory)}
    for x in places: x.zero_()
    assert (second[0]["x"] == 2).all() and (first[1].mean == 1).all()

@pytest.mark.parametrize("other", [
    item(3, 2.), item(4, 2., torch.ones(4, 5)), ({"y": torch.ones(4, 3)}, *item(4, 2.)[1:]),
    ({"x": torch.ones(4, 3).double()}, *item(4, 2.)[1:])])
def test_a_replay_takes_what_looks_otherwise(other):
    replay = Replay(.5)
    replay.store(*item(4, 1.)); before = replay.stored
    replay.store(*other)
    assert replay.stored is not before and replay.stored[0].keys() == other[0].keys()
    for n, x in other[0].items(): assert replay.stored[0][n].dtype == x.dtype and torch.equal(replay.stored[0][n], x)
    assert (before[1].mean == 1).all()

@pytest.mark.parametrize("warm_up", [0, 1, 4])
def test_alpha_is_phased_in_as_it_was_when_python_counted(warm_up):
    torch.manual_seed(0)
    model, batch = spread(JMVAE(vector_specs(), 6, alpha=.3, warm_up=warm_up)).train(), vectors(5)
    for k in range(7):
        wanted = .3*(min(1., (k + 1)/warm_up) if warm_up else 1.)
        state = torch.get_rng_state()
        total, parts = model(batch)
        assert int(model.updates_seen) == k + 1
        torch.set_rng_state(state)
        without = model.eval()(batch).total - .3*parts["pull"]; model.train()     # evaluation: alpha whole
        assert ((total - without)/parts["pull"]).item() == pytest.approx(wanted, abs=1e-4)


# ---- the rate

def stepped(optimiser, schedule, updates):
    for _ in range(updates):
        for g in optimiser.param_groups:
            for p in g["params"]: p.grad = torch.ones_like(p)
        optimiser.step(); schedule.step()

def adam():
    p = torch.nn.Parameter(torch.zeros(3))
    optimiser = torch.optim.Adam([p], .5, fused=True)
    return p, optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, lambda u: .5**u)

def test_a_rate_on_the_device_is_filled_in_and_steps_the_same():
    p, plain, schedule = adam()
    stepped(plain, schedule, 4)
    other, optimiser, schedule = adam()
    stepped(optimiser, schedule, 2)
    as_recordable(optimiser)
    place = optimiser.param_groups[0]["lr"]
    assert place.dtype == torch.float32 and place.item() == .125
    stepped(optimiser, schedule, 2)
    assert optimiser.param_groups[0]["lr"] is place and place.item() == .5**5
    torch.testing.assert_close(other, p)
    as_unrecorded(optimiser)
    group = optimiser.param_groups[0]
    assert type(group["lr"]) is float and group["lr"] == .5**5 and group["capturable"] is False

def test_a_rate_that_is_a_number_stays_as_it_is():
    _, optimiser, _ = adam()
    optimiser.param_groups[0]["capturable"] = "untouched"
    as_unrecorded(optimiser)
    assert optimiser.param_groups[0]["lr"] == .5 and optimiser.param_groups[0]["capturable"] == "untouched"


# ---- which trainings are recorded

where = lambda device, processes=1: SimpleNamespace(num_processes=processes, device=torch.device(device))

def test_only_updates_that_are_alike_are_recorded():
    whole = TensorData({"a": torch.randn(9, 3), "b": torch.randn(9, 2)})
    part = TensorData({"a": torch.randn(9, 3), "b": torch.randn(9, 2)}, present={"b": torch.arange(9) % 3 > 0})
    assert part.partial and not whole.partial
    one = {"accumulate": 1}
    assert can_record(where("cuda"), whole, one) is True
    for place, data, how in [(where("cpu"), whole, one), (where("mps"), whole, one), (where("cuda", 2), whole, one),
                             (where("cuda"), part, one), (where("cuda"), whole, {"accumulate": 2}),
                             (where("cuda"), [{"a": torch.ones(2, 3)}], one)]:
        assert can_record(place, data, how) is False

QUIET = dict(device="cpu", progress=False, schedule="constant")

def small():
    torch.manual_seed(0)
    return JMVAE(vector_specs(), 6, warm_up=4), TensorData(vectors(64))

def test_on_the_processor_nothing_is_recorded_and_nothing_changes():
    losses = [fit(*small(), 12, 8, record=record, **QUIET).total.tolist() for record in (False, True)]
    assert losses[0] == losses[1]

def test_a_checkpoint_of_a_recorded_training_goes_on_where_there_is_no_card(tmp_path):
    "The rate lies in it as a tensor; it is taken as a number again, and the training ends as it would have."
    class Stops(Exception): "In place of a kill."
    def as_on_a_card(run):
        if run.update == 0: as_recordable(run.optimiser)
        if run.update == 10: raise Stops
    how = dict(QUIET, every=5, checkpoint=tmp_path)
    with pytest.raises(Stops): fit(*small(), 20, 8, callbacks=[as_on_a_card], **how)
    assert latest(tmp_path).name == "update_0000010"
    model, data = small()
    seen = []
    def look(run): seen.append((run.update, type(run.optimiser.param_groups[0]["lr"])))
    history = fit(model, data, 20, 8, callbacks=[look], **how)
    straight, _ = small()
    wanted = fit(straight, data, 20, 8, **QUIET)
    assert seen and {kind for _, kind in seen} == {float}
    assert history.total.tolist() == pytest.approx(wanted.total.tolist(), abs=1e-5)
    for a, b in zip(model.parameters(), straight.parameters()): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


# ---- on a card

@pytest.mark.cuda
@pytest.mark.parametrize("method", ["jvae", "iterative", "refined"])
def test_a_recorded_training_is_the_one_as_written(method):
    "30 updates: the losses to a thousandth. `refined` continues old refinements from its memory."
    data, found = TensorData(digits(), kinds={"text": "text"}), {}
    for record in (False, True):
        torch.manual_seed(0)
        how = dict(updates=30, batch_size=64, lr=1e-3, seed=0, precision="float32", schedule="constant", clip=100.,
                   accumulate=1)
        losses, model = [], fresh(method)
        with Run(model, data, how, "cuda", progress=False, record=record) as run:
            for update in run.left: losses.append(float(run.step(update)["total"]))
            assert (run.updater.recorded is not None) == record
            if record: assert run.updater.recorded.graph is not None
        if method == "refined": assert model.replay.stored[2] is not None
        found[record] = losses
    assert found[True] == pytest.approx(found[False], rel=1e-3) and found[True][-1] < found[True][0]
