"The story's model against answers that are worked out otherwise: dense Gaussians, samples, autograd."
import math, re
from pathlib import Path

import numpy as np, pytest, torch
from scipy.stats import multivariate_normal

from mmvae_nb.core import MmvaeError
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.linear_gaussian import LinearGaussian, best_diagonal, floors, gaps
from mmvae_nb.plotting import ROLE_COLOURS

MIRROR = Path(__file__).parent.parent/"nbs/_py/01_story.py"
SUBSETS = ["a", "b", "c", "ab", "ac", "bc", "abc"]

def rng(seed=0): return torch.Generator().manual_seed(seed)

@pytest.fixture(scope="module")
def model():
    "Three views of 2, 3 and 1 numbers of a latent of 2; the noise of one differs by coordinate."
    g = rng(1)
    draw = lambda *s: torch.randn(*s, generator=g, dtype=torch.double)
    return LinearGaussian({"a": (draw(2, 2), draw(2), .7), "b": (draw(3, 2), draw(3), [.5, 1.2, .9]),
                           "c": (draw(1, 2), draw(1), .6)})

@pytest.fixture(scope="module")
def batch(model): return model.sample(4, rng(2))[1]

def part(batch, names): return {n: batch[n] for n in names}

def dense(model, names):
    "Mean and covariance of (z, x of `names`), put together block by block."
    L, W, b, var = model.latent, *(np.concatenate([np.asarray(model.views[n][i]) for n in names]) for i in range(3))
    cov = np.block([[np.eye(L), W.T], [W, W @ W.T + np.diag(var)]])
    return np.concatenate([np.zeros(L), b]), cov

def conditioned(model, batch, names):
    "p(z | x) by the textbook's formula for conditioning a dense Gaussian."
    (m, S), L = dense(model, names), model.latent
    x = np.concatenate([np.asarray(batch[n]) for n in names], 1)
    gain = S[:L, L:] @ np.linalg.inv(S[L:, L:])
    return (x - m[L:]) @ gain.T, S[:L, :L] - gain @ S[L:, :L]

@pytest.mark.parametrize("names", SUBSETS)
def test_posterior_of_every_subset(model, batch, names):
    p, (mean, cov) = model.posterior(part(batch, names)), conditioned(model, batch, names)
    assert np.allclose(p.mean, mean, atol=1e-10) and np.allclose(p.covariance_matrix, cov, atol=1e-10)

@pytest.mark.parametrize("names", SUBSETS)
def test_log_prob_of_every_subset(model, batch, names):
    m, S = dense(model, names)
    x = np.concatenate([np.asarray(batch[n]) for n in names], 1)
    there = multivariate_normal(m[2:], S[2:, 2:]).logpdf(x)
    assert np.allclose(model.log_prob(part(batch, names)), there, atol=1e-9)

def test_log_prob_given_other_views_is_a_mean_over_their_posterior(model, batch):
    z = model.posterior(part(batch, "ab")).sample((200_000,))[:, 0]
    W, b, var = model.views["c"]
    log = torch.distributions.Normal(z @ W.T + b, var.sqrt()).log_prob(batch["c"][0]).sum(1)
    by_samples = torch.logsumexp(log, 0) - math.log(len(log))
    assert abs(model.log_prob(part(batch, "c"), given=part(batch, "ab"))[0] - by_samples) < .01

@pytest.mark.parametrize("names", ["a", "bc", "abc"])
@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_elbo_is_the_mean_of_samples(model, batch, names, kind):
    torch.manual_seed(3)
    if kind == "diagonal": q = DiagonalGaussian(torch.randn(4, 2).double(), torch.randn(4, 2).double() - 1)
    else: q = model.posterior(part(batch, "c"))
    z = q.rsample(60_000) if kind == "diagonal" else q.sample((60_000,))
    log = torch.distributions.Normal(0., 1.).log_prob(z).sum(-1) - q.log_prob(z)
    for n in names:
        W, b, var = model.views[n]
        log = log + torch.distributions.Normal(z @ W.T + b, var.sqrt()).log_prob(batch[n]).sum(-1)
    off = (model.elbo(part(batch, names), q) - log.mean(0)).abs()
    assert (off < 5*log.std(0)/len(z)**.5).all() and (log.std(0) > .1).any()

def test_the_posterior_reaches_log_p_and_no_other_gaussian_does(model, batch):
    p, log_p = model.posterior(batch), model.log_prob(batch)
    assert torch.allclose(model.elbo(batch, p), log_p, atol=1e-9)
    other = model.posterior({**batch, "a": batch["a"] + .3})
    assert (model.elbo(batch, other) < log_p - 1e-3).all()

def test_what_the_elbo_lacks_is_the_kl_to_the_posterior(model, batch):
    q = DiagonalGaussian(torch.zeros(4, 2).double(), torch.zeros(4, 2).double())
    p = model.posterior(batch)
    full = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.var))
    assert torch.allclose(model.log_prob(batch) - model.elbo(batch, q), torch.distributions.kl_divergence(full, p))

def test_no_diagonal_gaussian_is_better_than_the_best(model, batch):
    best = best_diagonal(model, batch)
    mean, logvar = (t.clone().requires_grad_() for t in (best.mean, best.logvar))
    for slope in torch.autograd.grad(model.elbo(batch, DiagonalGaussian(mean, logvar)).sum(), [mean, logvar]):
        assert slope.abs().max() < 1e-9
    for seed in range(20):
        near = DiagonalGaussian(best.mean + .1*torch.randn(4, 2, generator=rng(seed)),
                                best.logvar + .1*torch.randn(4, 2, generator=rng(seed + 50)))
        assert (model.elbo(batch, near) < model.elbo(batch, best)).all()

def test_gaps_add_up_and_each_is_a_kl(model, batch):
    q = DiagonalGaussian(torch.zeros(4, 2).double(), torch.full((4, 2), -1.).double())
    lost, p, best = gaps(model, batch, q), model.posterior(batch), best_diagonal(model, batch)
    assert torch.allclose(lost["log_prob"], lost["elbo"] + lost["approximation"] + lost["amortization"])
    full = torch.distributions.MultivariateNormal(best.mean, torch.diag_embed(best.var))
    assert torch.allclose(lost["approximation"], torch.distributions.kl_divergence(full, p))
    assert (lost["approximation"] > .01).all() and (lost["amortization"] > .01).all()

@pytest.mark.parametrize("given", ["a", "b", "ab"])
def test_floors_are_reached_by_the_two_best_readers(model, given):
    _, seen = model.sample(100_000, rng(4))
    p, some = model.posterior(seen), model.posterior(part(seen, given))
    kl, normal = torch.distributions.kl_divergence, torch.distributions.MultivariateNormal
    narrow = normal(some.mean, p.covariance_matrix)
    least = floors(model, given)
    assert abs(kl(p, some).mean() - least["student"]) < .02 and least["student"] > .05
    assert abs(kl(narrow, p).mean() - least["elbo"]) < .02*(1 + least["elbo"])
    for other in [narrow, normal(some.mean + .1, some.covariance_matrix)]:
        assert kl(p, other).mean() > least["student"] + .005
    for other in [some, normal(some.mean + .1, p.covariance_matrix)]:
        assert kl(other, p).mean() > least["elbo"] + .005

def test_nothing_is_lost_if_everything_is_seen(model):
    assert all(abs(v) < 1e-9 for v in floors(model, "abc").values())

def test_samples_have_the_models_moments(model):
    z, seen = model.sample(200_000, rng(5))
    m, S = dense(model, "abc")
    both = torch.cat([z, *seen.values()], 1)
    assert np.allclose(both.mean(0), m, atol=.03) and np.allclose(np.cov(both.T), S, atol=.1)

ok = ([[1., 2.]], [0.], 1.)
@pytest.mark.parametrize("views, words", [
    ({}, "got none"), ({"a": ([[1.]], [0., 1.], 1.)}, "allowed: W (D, L) and b (D,)"),
    ({"a": ([1.], [0.], 1.)}, "W (1,)"),
    ({"a": ([[1.]], [0.], 0.)}, "sd 0.0 for 'a'"), ({"a": ([[1.]], [0.], float("nan"))}, "sd nan"),
    ({"a": ([[1.]], [0.], [1., 2.])}, "one for each coordinate"),
    ({"a": ok, "b": ([[1.]], [0.], 1.)}, "[1, 2] columns")])
def test_bad_views_are_refused(views, words):
    with pytest.raises(MmvaeError, match=re.escape(words)): LinearGaussian(views)

@pytest.mark.parametrize("bad, words", [
    ({}, "no view"), ({"z": torch.zeros(1, 1)}, "'z'"), ({"a": torch.zeros(4, 3)}, "a: got shape (4, 3)"),
    ({"a": torch.zeros(4, 2), "c": torch.zeros(3, 1)}, "as many items as in a"),
    ({"c": torch.zeros(4)}, "c: got shape (4,)")])
def test_bad_batches_are_refused(model, bad, words):
    with pytest.raises(MmvaeError, match=re.escape(words)): model.posterior(bad)
    with pytest.raises(MmvaeError, match=re.escape(words)): model.log_prob(bad)

def test_a_view_is_not_given_twice(model, batch):
    with pytest.raises(MmvaeError, match="given: got a"): model.log_prob(batch, given=part(batch, "a"))
    with pytest.raises(MmvaeError, match="'z'"): floors(model, ["z"])


# ---- the page

def page_cells(kind):
    "The page's cells: prose, or code without directives."
    parts = re.split(r"(?m)^# %%( \[markdown\])?\n", MIRROR.read_text(encoding="utf-8"))
    wanted = [body for mark, body in zip(parts[1::2], parts[2::2]) if bool(mark) == (kind == "markdown")]
    clean = lambda body: re.sub(r"(?m)^# ?", "", body) if kind == "markdown" else re.sub(r"(?m)^#\|.*\n", "", body)
    return [clean(b) for b in wanted]

def test_the_first_elbo_comes_within_1500_words():
    words, prose = 0, page_cells("markdown")
    for cell in prose:
        words += len(re.sub(r"(?s)\$\$.*?\$\$", "", cell).split())
        if r"\tag{3}" in cell: break
    assert r"\mathcal L(x; q) &=" in cell and words <= 1500

def test_code_cells_are_short():
    sizes = sorted(len([line for line in c.splitlines() if line.strip()]) for c in page_cells("code"))
    assert sizes[-1] <= 25 and sizes[len(sizes)//2] <= 7

def test_its_colours_are_those_of_the_drawings():
    line = next(l for l in MIRROR.read_text(encoding="utf-8").splitlines() if l.startswith("DATA, TEACHER"))
    named, colours = line.split(" = ")
    assert colours == "ROLE_COLOURS.values()" and [n.lower() for n in named.split(", ")] == list(ROLE_COLOURS)
