"Lessons 08 and 09: refinement."

import pytest, torch

from mmvae_nb.core import MmvaeError
from mmvae_nb.data import TensorData
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.iterative_inference import MarinoRefiner, Refiner, RefinerTraining, elbo_gradient, refine
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher, StudentsOverT, nelbo_over_t
from mmvae_nb.training import fit
from model_helpers import *


# ---- refinement

@pytest.mark.parametrize("method", ["iterative", "iterative_marino"])
def test_refining_leaves_no_gradients_and_has_the_right_length(method, specs, batch):
    model = fresh(method, specs).eval()
    for steps in (0, 1, 3):
        for name in NAMES:
            qs = model.trajectory(batch, name, steps)
            assert len(qs) == steps + 1
            start = model.encoders[name](batch[name])
            assert torch.equal(qs[0].mean, start.mean) and torch.equal(qs[0].logvar, start.logvar)
            for q in qs: right_posterior(q); assert not q.mean.requires_grad and not q.logvar.requires_grad
    assert len(model.trajectory(batch, "svhn")) == model.steps + 1
    zero = model.infer(batch, "text", steps=0)
    assert torch.equal(zero.mean, model.encoders["text"](batch["text"]).mean)
    model.targets(batch); nelbo_over_t(model, batch, "mnist", 2)
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()

def test_refining_works_where_gradients_are_off_and_gives_the_same(specs, batch, no_noise):
    model = fresh("iterative", specs).eval()
    a = model.infer(batch, "svhn")
    with torch.no_grad(): b = model.infer(batch, "svhn")
    model.requires_grad_(False)
    c = model.infer(batch, "svhn")
    for q in (b, c): assert torch.equal(a.mean, q.mean) and torch.equal(a.logvar, q.logvar)

@pytest.mark.parametrize("method", ["iterative", "iterative_marino"])
@pytest.mark.parametrize("steps", [None, 0, 3])
def test_targets_are_the_refinement_from_each_start(method, steps, model, batch, no_noise):
    targets = model.targets(batch, steps)
    assert list(targets) == NAMES
    for n in NAMES:
        q = model.trajectory(batch, n, steps)[-1]
        close(targets[n].mean, q.mean, 1e-4, 1e-4); close(targets[n].logvar, q.logvar, 1e-4, 1e-4)
    assert (targets["mnist"].mean - targets["svhn"].mean).abs().max() > 1e-3

def test_a_remembered_gradient_is_the_weighted_mean_of_all_so_far():
    refiner, gs = Refiner(3, 8, momentum=0.7), torch.randn(6, 4, 6, generator=rng(3))
    memory = None
    for k, g in enumerate(gs, 1):
        memory = refiner.remember(g[:, :3], g[:, 3:], memory)
        weights = torch.tensor([0.7**(k - 1 - i) for i in range(k)])
        close(memory[:, :-1]/(1 - 0.7**k), (weights[:, None, None]*gs[:k]).sum(0)/weights.sum())
        assert (memory[:, -1] == k).all()

def test_a_refinement_can_be_continued(no_noise):
    "2 steps and 3 more are 5 steps, if the memory is handed on; and not if it is lost."
    torch.manual_seed(0)
    model, batch = spread(IterativeTeacher(vector_specs(), 4, hidden=8)), vectors()
    elbo, start = lambda q: model.elbo(batch, q, path=True), model.encoders["a"](batch["a"]).detach()
    whole = refine(elbo, start, model.refiner, 5)[-1]
    first = refine(elbo, start, model.refiner, 2, keep=True)
    close(refine(elbo, first.trajectory[-1].detach(), model.refiner, 3, memory=first.memory)[-1].mean, whole.mean)
    assert (refine(elbo, first.trajectory[-1].detach(), model.refiner, 3)[-1].mean - whole.mean).abs().max() > 1e-6

def test_replay_continues_most_items_and_ages_them():
    torch.manual_seed(0)
    model = RefinerTraining(JVAE(vector_specs(), 4), Refiner(4, 8), steps=3, replay=0.6)
    for _ in range(40): model(vectors(50))
    ages = model.replay.stored[2][:, -1]
    assert set((ages % 3).tolist()) == {0.} and (ages == 3).sum() == 20           # 40 % are fresh
    assert 3 < ages.mean() < 15 and ages.max() > 9
    assert RefinerTraining(JVAE(vector_specs(), 4), Refiner(4, 8), replay=0.).replay.mix(vectors(), None)[2] is None

def test_the_estimate_at_the_sample_is_unbiased_and_still_at_the_optimum():
    "Linear decoders: the path gradient has the mean of the usual one, and no noise where q is the true posterior."
    torch.manual_seed(0)
    model, batch = JVAE(vector_specs(), 3), vectors(1)
    q = DiagonalGaussian(torch.full((1, 3), .3), torch.full((1, 3), -1.))
    many = {n: x.expand(4000, *x.shape[1:]) for n, x in batch.items()}
    def draws(path):
        wide = DiagonalGaussian(q.mean.expand(4000, 3), q.logvar.expand(4000, 3))
        return torch.cat(elbo_gradient(lambda p: model.elbo(many, p, path=path), wide)[1:], 1)
    a, b = draws(False), draws(True)
    error = (a.var(0)/4000 + b.var(0)/4000)**.5
    assert ((a.mean(0) - b.mean(0)).abs() < 4*error).all() and not torch.allclose(a, b)

def test_students_over_t_are_taught_by_one_trajectory(no_noise):
    torch.manual_seed(0)
    teacher, batch = spread(IterativeTeacher(vector_specs(), 4, steps=2, hidden=8)), vectors(40)
    several = StudentsOverT(teacher, over=(0, 1, 3)).train()
    learning = {p.split(".")[0] for p, v in several.named_parameters() if v.requires_grad}
    assert not teacher.training and learning == {"encoders"}
    before = several.at(3).infer(batch).mean
    draws = [several.loss(batch).parts for _ in range(150)]
    for t in (0, 1, 3):            # on average over who teaches whom: the sum of all students' KL
        values = torch.stack([d[f"T={t}"] for d in draws])
        wanted = sum(v.mean() for v in several.at(t).divergences(batch).values()).detach()
        assert abs(values.mean() - wanted) < 4*values.std()/150**.5
    fit(several, TensorData({n: x for n, x in batch.items()}), 3, 8, device="cpu", progress=False)
    assert (several.at(3).infer(batch).mean - before).abs().max() > 0
    with pytest.raises(MmvaeError, match="T: got 2"): several.at(2)

def test_a_start_may_be_any_posterior():
    torch.manual_seed(0)
    model, batch = IterativeTeacher(vector_specs(), 4, hidden=8), vectors()
    q = DiagonalGaussian(torch.ones(11, 4), torch.zeros(11, 4))
    qs = model.trajectory(batch, q, 2)
    assert len(qs) == 3 and torch.equal(qs[0].mean, q.mean)

@torch.no_grad()
def test_the_gradient_is_that_of_the_elbo_by_finite_differences(no_noise):
    torch.manual_seed(4)
    model, batch = JVAE(vector_specs(), 3).double(), {n: x.double() for n, x in vectors(4).items()}
    mean, logvar = torch.randn(4, 3, generator=rng(1)).double(), torch.randn(4, 3, generator=rng(2)).double()
    z = torch.randn(4, 3, generator=rng(6)).double()              # fixed noise, reparameterised by hand
    def elbo(q): return log_p(model, batch, q.mean + torch.exp(q.logvar/2)*z) - prior_kl(q)
    value, g_mean, g_logvar = elbo_gradient(elbo, DiagonalGaussian(mean, logvar))
    close(value, elbo(DiagonalGaussian(mean, logvar)))
    for k, got in enumerate((g_mean, g_logvar)):
        for d in range(3):
            step = torch.zeros(4, 3).double(); step[:, d] = 1e-5
            up, down = ([mean + s*step, logvar] if k == 0 else [mean, logvar + s*step] for s in (1, -1))
            close(got[:, d], (elbo(DiagonalGaussian(*up)) - elbo(DiagonalGaussian(*down)))/2e-5, 1e-5, 1e-6)

@pytest.mark.parametrize("make", [Refiner, MarinoRefiner])
def test_refiners_keep_items_apart_and_finite(make):
    torch.manual_seed(0)
    refiner = make(5, 16)
    q = DiagonalGaussian(torch.randn(9, 5, generator=rng(0)), torch.randn(9, 5, generator=rng(1)))
    g = torch.randn(2, 9, 5, generator=rng(2))*torch.tensor([1., 1e4, 1e8]).repeat(3)[:, None]
    out, memory = refiner(q, *g)
    alone, _ = refiner(q[4:5], g[0][4:5], g[1][4:5])
    close(out.mean[4:5], alone.mean); close(out.logvar[4:5], alone.logvar)
    again, _ = refiner(out, *g, memory)                         # with a memory of its own, too
    alone, _ = refiner(out[4:5], g[0][4:5], g[1][4:5], memory if memory is None else memory[4:5])
    close(again.mean[4:5], alone.mean)
    assert out.mean.isfinite().all() and out.logvar.isfinite().all()
    if make is Refiner:                                         # a step has a bound, a proposal moves little at first
        assert ((out.mean - q.mean).abs() <= 3*q.std + 0.3*(1 + q.mean.abs())).all()

def test_nelbo_over_t_uses_the_same_noise_for_every_t():
    torch.manual_seed(0)
    model, batch = IterativeTeacher(vector_specs(), 4, hidden=8), vectors()
    stays = lambda q, g_mean, g_logvar, memory=None: (q, memory)
    model.refiner.forward = stays
    values = nelbo_over_t(model, batch, "a", 5)
    assert len(values) == 6 and len(set(values)) == 1
    assert nelbo_over_t(model, batch, "a", 5) == values and nelbo_over_t(model, batch, "a", 0, seed=1) != values[:1]
