"Lesson 07, the amortization gap: against models in which everything is known."
import math

import pytest, torch
from torch.distributions import MultivariateNormal, Normal

from mmvae_nb import amortization_gap as A
from mmvae_nb.core import MmvaeError
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.metrics import importance_log_likelihood

rng = lambda seed=0: torch.Generator().manual_seed(seed)


class Linear:
    "z ~ N(0, I), x ~ N(Wz, noise^2 I), in double precision; items differ in x."
    def __init__(self, seed=0, latent=3, size=5, items=4, noise=0.6):
        g = rng(seed)
        self.W, self.noise = torch.randn(size, latent, generator=g, dtype=torch.float64), noise
        z = torch.randn(items, latent, generator=g, dtype=torch.float64)
        self.x = z @ self.W.T + noise*torch.randn(items, size, generator=g, dtype=torch.float64)
        self.P = torch.eye(latent, dtype=torch.float64) + self.W.T @ self.W/noise**2
        self.m = torch.linalg.solve(self.P, self.W.T @ self.x.T/noise**2).T
        eye, zero = torch.eye(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
        self.log_px = MultivariateNormal(zero, self.W @ self.W.T + noise**2*eye).log_prob(self.x)
        self.gap = 0.5*(self.P.diagonal().log().sum() - torch.logdet(self.P)).item()
        self.prior = DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z))

    def log_joint(self, z):
        x = self.x.repeat(len(z)//len(self.x), 1)
        return Normal(z @ self.W.T, self.noise).log_prob(x).sum(-1) + Normal(0., 1.).log_prob(z).sum(-1)

    def elbo(self, q, generator=None):
        "One sample, the KL taken at it: noisy, as a real model's."
        z = q.rsample(generator=generator)
        return self.log_joint(z) - q.log_prob(z)

    def kl(self, q):
        "KL(q || posterior) by PyTorch."
        p = MultivariateNormal(self.m, precision_matrix=self.P)
        return torch.distributions.kl_divergence(MultivariateNormal(q.mean, torch.diag_embed(q.var)), p)


# ---- the best Gaussian

@pytest.mark.parametrize("seed", range(3))
def test_climbing_finds_the_best_diagonal_gaussian(seed):
    model = Linear(seed)
    torch.manual_seed(0)
    best = A.gradient_ascent(lambda q: -model.kl(q), model.prior, 2000)
    torch.testing.assert_close(best.mean, model.m, atol=2e-3, rtol=0)
    torch.testing.assert_close(best.var, (1/model.P.diagonal()).expand_as(best.var), atol=0, rtol=5e-3)
    torch.testing.assert_close(model.kl(best), torch.full((4,), model.gap, dtype=torch.float64), atol=1e-3, rtol=0)
    assert not best.mean.requires_grad and best.mean is not model.prior.mean and not model.prior.mean.any()

def test_climbing_on_samples_and_no_steps():
    model = Linear()
    torch.manual_seed(0)
    best = A.gradient_ascent(model.elbo, model.prior, 3000)
    assert ((model.kl(best) - model.gap) >= -1e-9).all() and (model.kl(best) - model.gap).max() < .05
    torch.testing.assert_close(A.gradient_ascent(model.elbo, best, 0).mean, best.mean)


# ---- weights

def test_importance_estimate():
    w = torch.tensor([[1., 2., 5.], [1., 0.1, 5.], [1., 7., 1e-9]], dtype=torch.float64)
    e = A.importance_estimate(w.log())
    torch.testing.assert_close(e.log_px, w.mean(0).log())
    torch.testing.assert_close(e.ess, w.sum(0)**2/(w**2).sum(0))
    far = A.importance_estimate(w.log() - 5000.)                     # weights that no float can hold
    torch.testing.assert_close(far.log_px, e.log_px - 5000.); torch.testing.assert_close(far.ess, e.ess)


# ---- the ladder

@pytest.mark.parametrize("size", [0.2, 0.85])
def test_a_move_leaves_its_target_alone(size):
    "Exact samples of a correlated Gaussian stay so, also with steps so long that many are refused."
    cov = torch.tensor([[1., .6], [.6, .8]], dtype=torch.float64)
    target = MultivariateNormal(torch.tensor([.5, -1.]).double(), cov)
    torch.manual_seed(0); u = target.sample((40_000,))
    new, accept = A._hamiltonian(target.log_prob, u, torch.full((len(u), 1), size).double(), 3, rng(1))
    assert (accept.mean() > .97) if size < .5 else (.3 < accept.mean() < .9)
    assert (new - u).abs().mean() > .2
    torch.testing.assert_close(new.mean(0), target.mean, atol=4/200, rtol=0)
    torch.testing.assert_close(torch.cov(new.T), cov, atol=8/200, rtol=0)
    assert ((new == u).all(1).double().mean() - (1 - accept).mean()).abs() < .02

def test_a_move_into_the_void_is_refused():
    u = torch.zeros(5, 2)
    broken = lambda u: torch.where(u.abs().sum(-1) > 0, torch.nan, 0.)*u.sum(-1)
    new, accept = A._hamiltonian(broken, u, torch.ones(5, 1), 2, rng())
    assert torch.equal(new, u) and not accept.any()

@pytest.mark.parametrize("start", ["prior", "off"])
@pytest.mark.parametrize("steps", [2, 8])
def test_the_mean_weight_is_the_likelihood(start, steps):
    "However coarse the ladder: eq. (8). In standard errors of the mean weight, for each item."
    model = Linear(latent=2, noise=1.)
    q = model.prior if start == "prior" else DiagonalGaussian(model.m + .4, torch.zeros_like(model.m) - .5)
    log_w = A.annealed_importance_sampling(model.log_joint, q, steps, 6000, 3, rng(steps))
    ratio = (log_w - model.log_px).exp()                                                # its mean is 1
    assert ((ratio.mean(0) - 1).abs() < 4*ratio.std(0)/len(ratio)**.5).all()
    assert ratio.std(0).max()/len(ratio)**.5 < .1 and (log_w.mean(0) < model.log_px).all()

def test_one_rung_is_importance_sampling():
    model = Linear()
    q = DiagonalGaussian(model.m, torch.zeros_like(model.m))
    ladder = A.importance_estimate(A.annealed_importance_sampling(model.log_joint, q, 1, 4000, generator=rng())).log_px
    g = rng(); torch.randn(2*len(q), 3, generator=g, dtype=torch.float64)               # the pilot's draws
    z = torch.randn(4000, *q.mean.shape, generator=g, dtype=torch.float64)*q.std + q.mean
    by_hand = [(model.log_joint(v) - q.log_prob(v)).exp() for v in z]
    torch.testing.assert_close(ladder, torch.stack(by_hand).mean(0).log())

def test_the_ladder_beats_the_leap_from_the_prior():
    model = Linear(latent=6, size=12, items=8, noise=.4)
    ladder = A.annealed_importance_sampling(model.log_joint, model.prior, 100, 8, generator=rng())
    leap = importance_log_likelihood(model.log_joint, model.prior, 8*100*7, rng(), chunk=100)
    lost = [(model.log_px - v).mean() for v in (A.importance_estimate(ladder).log_px, leap)]
    assert -.2 < lost[0] < 1 and lost[1] > 2*lost[0] + 1

def test_two_hills_are_both_found_from_the_prior():
    "A decoder that squares z: two modes, and p(x) by quadrature."
    x = torch.tensor([[2.], [.1]], dtype=torch.float64)
    def log_joint(z):
        return Normal(z**2, .3).log_prob(x.repeat(len(z)//2, 1)).sum(-1) + Normal(0., 1.).log_prob(z).sum(-1)
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    on_grid = lambda v: Normal(grid**2, .3).log_prob(v) + Normal(0., 1.).log_prob(grid)
    exact = torch.stack([on_grid(v).logsumexp(0) for v in x[:, 0]])
    exact = exact + math.log(12/20_000)
    prior = DiagonalGaussian(torch.zeros_like(x), torch.zeros_like(x))
    both = A.importance_estimate(A.annealed_importance_sampling(log_joint, prior, 50, 400, generator=rng())).log_px
    torch.testing.assert_close(both, exact, atol=.05, rtol=0)
    one = DiagonalGaussian(x.sqrt(), torch.full_like(x, -4.))    # starts on one hill: half is lost
    half = A.importance_estimate(A.annealed_importance_sampling(log_joint, one, 50, 400, generator=rng())).log_px
    assert abs(half[0] - (exact[0] - math.log(2))) < .1

def test_step_sizes_are_the_pilots():
    "The chains that count may not tune: what they use is what they are given."
    model = Linear()
    _, tuned = A._climb(model.log_joint, model.prior, 6, 2, 3, rng())
    assert len(tuned) == 5 and len({v.mean().item() for v in tuned}) == 5               # a pilot tunes
    _, used = A._climb(model.log_joint, model.prior, 6, 7, 3, rng(), tuned)
    assert all(a is b for a, b in zip(used, tuned))

def test_own_stream_only():
    model = Linear()
    state = torch.get_rng_state()
    a, b = (A.annealed_importance_sampling(model.log_joint, model.prior, 3, 2, 2, rng(5)) for _ in range(2))
    assert torch.equal(a, b) and torch.equal(state, torch.get_rng_state())

@pytest.mark.parametrize("bad, words", [
    (dict(steps=0), "steps: got 0"), (dict(chains=1.5), "chains: got 1.5"), (dict(leapfrog=0), "leapfrog: got 0"),
    (dict(log_joint=lambda z: z), r"log_joint: got shape \(4, 3\) back, allowed: \(4,\)")])
def test_refusals(bad, words):
    model = Linear()
    with pytest.raises(MmvaeError, match=words):
        A.annealed_importance_sampling(**{"log_joint": model.log_joint, "start": model.prior, **bad})


# ---- the split

def test_gaps_of_a_known_model():
    model = Linear()
    best = DiagonalGaussian(model.m, -model.P.diagonal().log().expand_as(model.m))
    ours = DiagonalGaussian(model.m + .2, best.logvar + .5)
    parts = A.gap_decomposition(model.elbo, ours, best, model.log_px, samples=4000)
    assert list(parts) == ["log_px", "best", "amortized", "approximation", "amortization"]
    gap = torch.full((4,), model.gap, dtype=torch.float64)
    torch.testing.assert_close(parts["approximation"], gap, atol=.05, rtol=0)
    torch.testing.assert_close(parts["amortization"], model.kl(ours) - model.kl(best), atol=.1, rtol=0)

def test_both_posteriors_meet_the_same_noise():
    def elbo(q, generator): return -q.kl() + 100*torch.randn(len(q), generator=generator)
    a, b = DiagonalGaussian(torch.ones(3, 2), torch.zeros(3, 2)), DiagonalGaussian.standard(3, 2)
    parts = A.gap_decomposition(elbo, a, b, torch.zeros(3), samples=3)
    torch.testing.assert_close(parts["amortization"], a.kl().double(), atol=1e-4, rtol=0)
    assert parts["best"].abs().max() > 1                                                # there was noise
    other = A.gap_decomposition(elbo, a, b, torch.zeros(3), samples=3, seed=1)
    assert (other["best"] - parts["best"]).abs().min() > 1e-3
    with pytest.raises(MmvaeError, match="samples: got 0"): A.gap_decomposition(elbo, a, b, torch.zeros(3), samples=0)
