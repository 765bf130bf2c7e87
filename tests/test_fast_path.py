"""The fast path of training against the plain one: the same losses and gradients, to rounding."""
import pytest, torch

from mmvae_nb.distributions import Mixture
from mmvae_nb.iterative_inference import _normalised_backward, elbo_gradient
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_iterative import IterativeTeacher, on_decoders
from mmvae_nb.distillation import Students
from mmvae_nb.networks import image_spec, text_spec

SPECS = {"photo": image_spec((3, 16, 16)), "digit": image_spec((1, 28, 28), 3.), "word": text_spec(9, 8, 20.)}

def items(n=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    images = {k: torch.randint(0, 256, (n, *s), generator=g, dtype=torch.uint8)
              for k, s in (("photo", (3, 16, 16)), ("digit", (1, 28, 28)))}
    return {**images, "word": torch.randint(0, 9, (n, 8), generator=g)}

def made(kind):
    torch.manual_seed(0)
    return {"jvae": lambda: JVAE(SPECS, 6), "mopoe": lambda: MoPoE(SPECS, 6),
            "iterative": lambda: IterativeTeacher(SPECS, 6, steps=2, hidden=16),
            "students": lambda: Students(IterativeTeacher(SPECS, 6, steps=2, hidden=16), starts="all")}[kind]()

def learnt(model, bf16=False):
    "The loss on fixed items with fixed noise, and its gradients."
    torch.manual_seed(1); model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16): total = model.train()(items()).total
    total.backward()
    return total.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

def apart(a, b):
    "The distance of two sets of gradients, relative to their length."
    assert a.keys() == b.keys() and len(a) > 10
    length = lambda g: torch.cat([v.flatten() for v in g.values()]).norm()
    return length({n: a[n] - b[n] for n in a})/length(a)

@pytest.mark.parametrize("kind", ["jvae", "mopoe", "iterative", "students"])
def test_the_layout_of_weights_changes_nothing(kind):
    (loss, plain), (fast_loss, fast) = learnt(made(kind)), learnt(made(kind).to(memory_format=torch.channels_last))
    assert abs(loss/fast_loss - 1) < 1e-5 and apart(plain, fast) < 1e-5

@pytest.mark.parametrize("kind", ["jvae", "mopoe", "iterative"])
def test_bf16_is_near_float32(kind):
    (loss, plain), (half_loss, half) = learnt(made(kind)), learnt(made(kind), bf16=True)
    assert 0 < abs(loss/half_loss - 1) < 1e-3
    assert apart(plain, half) < 0.1        # a Laplace pixel's gradient is a sign: near zero it flips

def test_one_pass_of_adam_is_adam():
    a, b = made("jvae"), made("jvae")
    steps = [torch.optim.Adam(m.parameters(), 1e-3, fused=f) for m, f in ((a, False), (b, True))]
    for model, optimiser in zip((a, b), steps):
        for _ in range(3): learnt(model); optimiser.step()
    for p, q in zip(a.parameters(), b.parameters()): torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)

def by_all_graphs(model, batch, q):
    "The loss of the iterative teacher with every graph kept, and one backward pass through all of them."
    elbo = lambda q: model.elbo(batch, q, path=True)
    last = model.train_decoders == "last"
    elbos, at, memory = [], q, None
    for t in range(model.steps + 1):
        for p in model.decoders.parameters(): p.requires_grad_(model.own_decoders and (not last or t == model.steps))
        with torch.random.fork_rng(): value = elbo(q)
        elbos.append(value.mean())
        if t == model.steps: break
        _, *g = elbo_gradient(elbo, at)                         # the same noise once more
        new, memory = model.refiner(at.detach(), *g, memory)
        at, q = new, _normalised_backward(new, g[0])
    return -torch.stack(elbos).mean()

@pytest.mark.parametrize("decoders", ["mean", "last", "frozen"])
@pytest.mark.parametrize("kind", ["ours", "marino"])
def test_one_backward_pass_for_each_t_gives_the_gradients_of_all_graphs(decoders, kind):
    def fresh():
        torch.manual_seed(0)
        return IterativeTeacher(SPECS, 6, steps=3, hidden=16, refiner=kind, decoders=decoders).train()
    fast, plain, batch = fresh(), fresh(), items()
    torch.manual_seed(2); total = fast.loss(batch).total; total.backward()
    torch.manual_seed(2)
    wanted = by_all_graphs(plain, batch, Mixture(plain.starts(batch).values()).pick()); wanted.backward()
    assert abs(total/wanted - 1) < 1e-6
    named = lambda m: {n: p.grad for n, p in m.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert apart(named(plain), named(fast)) < 1e-5
    assert any(n.startswith("decoders") for n in named(fast)) == (decoders != "frozen")

def test_a_replayed_item_goes_on_with_the_same_gradients():
    "Two fits of the same replaying teacher, one of whose refinements carry the decoders' parameters by name."
    torch.manual_seed(0)
    model = on_decoders(JVAE(SPECS, 6), steps=2, replay=.5, hidden=16).train()
    before = [p.clone() for p in model.decoders.parameters()]
    for _ in range(3): model.zero_grad(); model.loss(items()).total.backward()
    assert model.replay.stored[2][:, -1].max() > 2
    assert all(p.grad is None and torch.equal(p, b) for p, b in zip(model.decoders.parameters(), before))
    moved = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any(n.startswith("refiner") for n in moved) and any(n.startswith("encoders") for n in moved)

def test_sharing_out_the_items_keeps_the_expected_loss():
    torch.manual_seed(0)
    teacher = IterativeTeacher(SPECS, 6, steps=2, hidden=16)
    batch, shared = items(30), Students(teacher, starts="one")
    everything = [shared.divergences(batch) for _ in range(20)]
    wanted = torch.stack([sum(v.mean() for v in d.values()) for d in everything]).detach()
    draws = torch.stack([shared.loss(batch).total.detach() for _ in range(60)])
    error = (draws.var()/60 + wanted.var()/20)**.5
    assert abs(draws.mean() - wanted.mean()) < 4*error and draws.std() > wanted.std()

def test_students_of_any_start_imitate_a_start_drawn_at_random():
    "Brute force over both draws: the mean of the KLs of all pairs of a student and a start, at T = 0 without noise."
    torch.manual_seed(0)
    teacher = IterativeTeacher(SPECS, 6, steps=2, hidden=16)
    batch, mixed = items(30), Students(teacher, starts="any", steps=0)
    own = Students(teacher, starts="one", steps=0, warm_start=True)
    assert own.loss(batch).total.abs() < 1e-5                  # with q_0 of its own a student has nothing to learn
    start, student = ({n: m.encoders[n](batch[n]) for n in SPECS} for m in (teacher, mixed))
    wanted = sum(start[a].kl(student[b]).mean() for a in SPECS for b in SPECS)/3
    draws = torch.stack([mixed.loss(batch).total.detach() for _ in range(300)])
    assert abs(draws.mean() - wanted) < 4*draws.std()/300**.5 and draws.std() > 0
