"""Lesson 03c: what is measured of a model follows from what it can, on anybody's data."""
import random

import numpy as np, pytest, torch

from mmvae_nb import core
from mmvae_nb.core import MmvaeError
from mmvae_nb.data import TensorData
from mmvae_nb.distillation import Students
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.evaluation import Rows, evaluate
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_elbo import JVAE, MultimodalVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher, on_decoders
from mmvae_nb.mvtcae import MVTCAE
from mmvae_nb.networks import default_specs
from model_helpers import *

SMALL = dict(samples=20, probe_points=30, oracle_items=6)

def toy(split="train", n=60, labels=True, sizes=SIZES, seed=0):
    g = rng(seed)
    z = torch.randn(n, 2, generator=g)
    tensors = {m: z@torch.randn(2, d, generator=rng(d)) for m, d in sizes.items()}
    return TensorData(tensors, (z[:, 0] > 0).long() if labels else None, split=split)

def seeded(make, seed=0): torch.manual_seed(seed); return make()

def value(rows, metric, condition):
    found = [r for r in rows.rows if (r["metric"], r["condition"]) == (metric, condition)]
    assert len(found) == 1, (metric, condition, found)
    return found[0]["value"]

class Sum(MultimodalVAE):
    "A method nobody has heard of: a fixed posterior from the sum of all modalities, none may be missing."
    needs_all = True
    def infer(self, batch):
        self.check(batch, all=True)
        mean = sum(x[:, :2] for x in batch.values())
        return DiagonalGaussian(mean, torch.full_like(mean, -2.))

class Sign:
    "A judge: does the first number of each item have the sign its class says?"
    by_chance = ("agrees",)
    def scores(self, to, made, batch, labels=None):
        return {"right": ((made[:, 0] > 0).long() == labels).float(),
                "agrees": ((made[:, 0] > 0) == (batch[to][:, 0] > 0)).float()}


def test_an_unknown_model_that_needs_everything_is_asked_only_what_it_can_answer():
    model, train, test = seeded(lambda: Sum(vector_specs(), 2)), toy(), toy("test", seed=1)
    rows = evaluate(model, train, test, Sign(), **SMALL)
    assert {r["condition"] for r in rows.rows} == {"all", "oracle", "all, the oracle's items", "all->a", "all->b"}
    batch, _ = test.take(20)
    with torch.no_grad():
        q = model.infer(batch)
        made = model.generate(q.rsample(generator=core.generator(0, "generate", "all")))
        g = core.generator(0, "elbo")
        nelbo = -torch.stack([model.elbo(batch, q, g) for _ in range(4)]).mean().item()
    assert value(rows, "negative_elbo", "all") == pytest.approx(nelbo, rel=1e-6)
    assert value(rows, "kl_to_prior", "all") == pytest.approx(q.kl().mean().item(), rel=1e-6)
    assert value(rows, "teacher_log_variance", "all") == -2
    agrees = ((made["a"][:, 0] > 0) == (batch["a"][:, 0] > 0)).float()
    assert value(rows, "agrees", "all->a") == pytest.approx(agrees.mean().item())
    floors = {r["condition"]: r["floor"] for r in rows.rows if r["metric"] == "agrees"}
    mixed = ((made["a"].roll(1, 0)[:, 0] > 0) == (batch["a"][:, 0] > 0)).float()
    assert floors["all->a"] == pytest.approx(mixed.mean().item())
    first = slice(0, 6)                                  # the oracle climbs from the joint posterior
    g = core.generator(0, "elbo")
    few = {n: x[first] for n, x in batch.items()}
    with torch.no_grad(): start = -torch.stack([model.elbo(few, q[first], g) for _ in range(4)]).mean().item()
    assert value(rows, "negative_elbo", "oracle") < start

@pytest.mark.parametrize("sizes", [{"a": 3}, SIZES, dict(zip("abcd", [3, 5, 2, 4]))], ids=len)
def test_any_number_of_modalities_without_labels_and_without_a_judge(sizes):
    specs = vector_specs([1.]*4, [1.]*4, sizes)
    rows = evaluate(seeded(lambda: MVTCAE(specs, 2)), toy(labels=False, sizes=sizes),
                    toy("test", labels=False, sizes=sizes, seed=1), **SMALL)
    assert {r["metric"] for r in rows.rows} == {"negative_elbo", "teacher_student_kl"}
    conditions = {r["condition"] for r in rows.rows if r["metric"] == "negative_elbo"}
    pairs = {f"{a}+{b}" for a, b in zip("abcd", "bcda")} if len(sizes) == 4 else set()
    assert conditions == {*sizes, "all", *pairs, *[f"{p}, prior divided" for p in pairs]}

def test_numbers_are_those_of_their_definitions():
    train, test = toy(), toy("test", seed=1)
    model = seeded(lambda: Students(seeded(lambda: JVAE(vector_specs(), 2))))
    rows = evaluate(model, train, test, Sign(), **SMALL)
    batch, labels = test.take(20)
    with torch.no_grad():
        q, joint = model.infer({"a": batch["a"]}), model.teacher.infer(batch)
        made = model.generate(q.mean, to="b")["b"]
    kl = joint.kl(q)
    assert value(rows, "teacher_student_kl", "a") == pytest.approx(kl.mean().item(), rel=1e-5)
    np.testing.assert_allclose(rows.items["teacher_student_kl|a"], kl, rtol=1e-5)
    right = ((made[:, 0] > 0).long() == labels).float().mean().item()
    assert value(rows, "right", "a->b, mean of z") == pytest.approx(right)
    assert rows.frame.shape == (len(rows.rows), 6) and isinstance(rows, Rows)
    for r in rows.rows:
        if f"{r['metric']}|{r['condition']}" in rows.items:
            assert rows.items[f"{r['metric']}|{r['condition']}"].mean() == pytest.approx(r["value"], rel=1e-5, abs=1e-7)

def test_what_an_untrained_model_draws_is_right_as_often_as_chance():
    train, test = toy(n=800), toy("test", n=800, seed=1)
    rows = evaluate(seeded(lambda: MoPoE(vector_specs(), 2)), train, test, Sign(), samples=800, probe_points=30)
    for direction in ("a->b", "b->a"): assert abs(value(rows, "right", direction) - .5) < .1

def test_a_model_that_refines_is_followed_along_t_and_compared_with_plain_ascent_on_borrowed_decoders():
    train, test = toy(), toy("test", seed=1)
    own = seeded(lambda: IterativeTeacher(vector_specs(), 2, steps=2, hidden=8))
    borrowed = seeded(lambda: on_decoders(own, steps=2, hidden=8))
    seen = {}
    for name, model in dict(own=own, borrowed=borrowed).items():
        for along_t in (True, False):
            rows = evaluate(model, train, test, Sign(), train, along_t=along_t, **SMALL)
            seen[name, along_t] = {r["condition"] for r in rows.rows}
    shared = seen["own", False]
    assert shared == seen["borrowed", False] and {"a, t=0", "a, t=16", "all, from b->a"} <= shared
    assert seen["own", True] - shared == {c for t in (0, 1, 2, 4, 8, 16) for d in ("a->b", "b->a", "a", "b")
                                          for c in [f"{d}, t={t}, teacher"]}
    assert seen["borrowed", True] - shared == {f"{n}, ascent={s}" for n in "ab" for s in (1, 2)}

def test_the_model_and_the_global_random_state_stay_as_they_are():
    train, test = toy(), toy("test", seed=1)
    model = seeded(lambda: MVTCAE(vector_specs(), 2)).train()
    model.encoders["a"].eval(); next(model.parameters()).requires_grad_(False)
    modes = [m.training for m in model.modules()]; learns = [p.requires_grad for p in model.parameters()]
    draws = []
    for run in (False, True):
        core.seed_everything(5)
        if run: first = evaluate(model, train, test, **SMALL).rows
        draws.append((torch.randn(3).tolist(), np.random.rand(), random.random()))
    assert draws[0] == draws[1]
    assert modes == [m.training for m in model.modules()] and learns == [p.requires_grad for p in model.parameters()]
    assert first == evaluate(model, train, test, **SMALL).rows != evaluate(model, train, test, seed=1, **SMALL).rows

def test_bad_arguments_are_refused_and_each_number_is_told():
    train, test, model = toy(), toy("test"), seeded(lambda: MVTCAE(vector_specs(), 2))
    for bad in (dict(samples=1), dict(probe_points=0), dict(oracle_items=-1)):
        with pytest.raises(MmvaeError, match=next(iter(bad))): evaluate(model, train, test, **{**SMALL, **bad})
    told = []
    rows = evaluate(model, train, test, tell=lambda **k: told.append(k), **SMALL)
    assert [k["step"] for k in told] == list(range(1, len(rows.rows) + 1))
    assert told[0]["text"].startswith("linear_accuracy a")

def test_students_from_a_file_are_measured_without_the_kl_to_the_teacher_they_left(tmp_path):
    from mmvae_nb.checkpoints import load, save
    train, test = toy(), toy("test", seed=1)
    students = seeded(lambda: Students(JVAE(default_specs(train.modalities), 2)))
    save(students, tmp_path/"students.safetensors")
    lone = load(tmp_path/"students.safetensors")
    numbers = lambda m: {(r["metric"], r["condition"]): r["value"] for r in evaluate(m, train, test, **SMALL).rows}
    whole, left = numbers(students), numbers(lone)
    gone = {k for k in whole if k[0] == "teacher_student_kl"}
    assert gone and not gone & set(left)
    shared = set(whole) & set(left)
    assert {m for m, _ in shared} >= {"negative_elbo", "linear_accuracy"} and set(whole) - gone <= set(left)
    for k in shared: assert left[k] == pytest.approx(whole[k], rel=1e-5), k
