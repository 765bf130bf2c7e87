"Lesson 02d: Gaussians and their combinations, by their properties."
import math

import pytest, torch
from hypothesis import given, settings, strategies as st

from mmvae_nb.core import MmvaeError
from mmvae_nb.distributions import DiagonalGaussian, Mixture, product_of_experts
from mmvae_nb.mopoe import subsets_of
from mmvae_nb.multimodal_elbo import MultimodalVAE
from model_helpers import *


# ---- Gaussians and their combinations

numbers = st.floats(-4, 4, width=32)

def gaussians(k, latent):
    row = st.lists(numbers, min_size=latent, max_size=latent)
    return st.lists(st.tuples(row, row), min_size=k, max_size=k)

experts_of = st.integers(1, 4).flatmap(lambda k: st.integers(1, 4).flatmap(lambda d: gaussians(k, d)))

def as_gaussians(raw): return [DiagonalGaussian(torch.tensor([m]).double(), torch.tensor([v]).double()) for m, v in raw]

common = settings(max_examples=60, deadline=None, derandomize=True)

@common
@given(experts_of, st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_products_do_not_depend_on_order(raw, prior, divide, random):
    experts = as_gaussians(raw)
    turned = random.sample(experts, len(experts))
    a, b = (product_of_experts(e, prior, divide) for e in (experts, turned))
    close(a.mean, b.mean, 1e-9, 1e-9); close(a.logvar, b.logvar, 1e-9, 1e-9)

@common
@given(experts_of, st.booleans())
def test_precisions_add_up(raw, prior):
    experts = as_gaussians(raw)
    q = product_of_experts(experts, prior)
    precision = sum(1/e.var for e in experts) + prior
    close(1/q.var, precision, 1e-9, 1e-9)
    close(q.mean*precision, sum(e.mean/e.var for e in experts), 1e-9, 1e-9)

@common
@given(experts_of, st.booleans(), st.lists(numbers, min_size=4, max_size=4), st.lists(numbers, min_size=4, max_size=4))
def test_a_product_of_densities_is_proportional_to_their_product(raw, prior, a, b):
    experts = as_gaussians(raw)
    q = product_of_experts(experts, prior)
    d = q.mean.shape[1]
    z, w = (torch.tensor([v[:d]]).double() for v in (a, b))
    factors = experts + ([DiagonalGaussian(torch.zeros(1, d).double(), torch.zeros(1, d).double())] if prior else [])
    close(q.log_prob(z) - q.log_prob(w), sum(e.log_prob(z) - e.log_prob(w) for e in factors), 1e-7, 1e-6)

def precisions_of(experts): return torch.stack([torch.exp(-e.logvar) for e in experts])

@common
@given(experts_of)
def test_dividing_out_the_prior_is_exact_where_proper_and_else_stays_between_the_experts(raw):
    experts = as_gaussians(raw)
    q, tau = product_of_experts(experts, divide_prior=True), precisions_of(experts)
    means = torch.stack([e.mean for e in experts])
    exact = tau.sum(0) - (len(experts) - 1)
    proper = exact >= tau.amax(0)
    close((1/q.var)[proper], exact[proper], 1e-9, 1e-9)
    close((q.mean*exact)[proper], (tau*means).sum(0)[proper], 1e-8, 1e-8)
    close((1/q.var)[~proper], tau.amax(0)[~proper], 1e-9, 1e-9)      # the loudest expert's, no more
    inside = (q.mean >= means.amin(0) - 1e-9) & (q.mean <= means.amax(0) + 1e-9)
    assert inside[~proper].all()
    assert (1/q.var <= tau.sum(0)*(1 + 1e-9)).all()                  # never surer than the plain product

@common
@given(experts_of)
def test_experts_as_narrow_as_the_prior_are_divided_by_the_formula_bit_for_bit(raw):
    narrow = [DiagonalGaussian(e.mean.float(), -e.logvar.abs().float()) for e in as_gaussians(raw)]
    q, tau = product_of_experts(narrow, divide_prior=True), precisions_of(narrow)
    precision = torch.maximum(tau.sum(0) - (len(narrow) - 1), tau.amax(0))      # up to rounding the first
    weighted = (tau*torch.stack([e.mean for e in narrow])).sum(0)
    assert torch.equal(q.mean, weighted/precision)
    assert torch.equal(q.logvar, (-precision.log()).clamp(-12, 6))
    close(1/q.var, sum(1/e.var for e in narrow) - len(narrow) + 1, 1e-4, 1e-4)

@common
@given(experts_of)
def test_the_divided_product_of_proper_experts_is_a_mean_of_the_prior_and_of_likelihoods(raw):
    "q_m/p is a likelihood of precision 1/var - 1; the product averages their means and the prior's 0."
    narrow = [DiagonalGaussian(e.mean, -e.logvar.abs() - 0.1) for e in as_gaussians(raw)]
    q, tau = product_of_experts(narrow, divide_prior=True), precisions_of(narrow)
    centres = tau*torch.stack([e.mean for e in narrow])/(tau - 1)
    centres = torch.cat([centres, torch.zeros_like(centres[:1])])
    size = centres.abs().amax(0)*1e-9
    assert (q.mean >= centres.amin(0) - size).all() and (q.mean <= centres.amax(0) + size).all()

@pytest.mark.parametrize("count", [2, 3, 5])
def test_wide_experts_that_agree_are_not_pushed_away_from_what_they_say(count):
    wide = DiagonalGaussian(torch.full((1, 1), 1.), torch.full((1, 1), 2.).log())
    q = product_of_experts([wide]*count, divide_prior=True)
    close(q.mean.item(), 1.); close(q.var.item(), 2.)

@common
@given(experts_of, st.lists(numbers, min_size=4, max_size=4))
def test_a_mixture_lies_between_its_best_component_and_a_kth_of_it(raw, z):
    experts = as_gaussians(raw)
    z = torch.tensor([z[:experts[0].mean.shape[1]]]).double()
    logs = torch.stack([e.log_prob(z) for e in experts])
    value = Mixture(experts).log_prob(z)
    assert (value <= logs.amax(0) + 1e-9).all() and (value >= logs.amax(0) - math.log(len(experts)) - 1e-9).all()
    close(Mixture(experts*3).log_prob(z), value, 1e-9, 1e-9)                    # copies change nothing
    close(Mixture(experts[::-1]).log_prob(z), value, 1e-9, 1e-9)

@common
@given(gaussians(2, 3), st.lists(numbers, min_size=3, max_size=3))
def test_density_and_divergence_are_those_of_torch(raw, z):
    q, p = as_gaussians(raw)
    z = torch.tensor([z]).double()
    close(q.log_prob(z), normal(q).log_prob(z).sum(1), 1e-9, 1e-9)
    close(q.kl(p), pair_kl(q, p), 1e-9, 1e-9); close(q.kl(), prior_kl(q), 1e-9, 1e-9)
    assert (q.kl(p) >= -1e-9).all() and q.kl(q).abs().max() < 1e-9

def test_a_mixture_is_a_density():
    parts = as_gaussians([([-1.0], [0.5]), ([2.0], [-1.0]), ([0.3], [1.5])])
    z = torch.linspace(-20, 20, 40001).double()[:, None]
    logs = Mixture([DiagonalGaussian(p.mean.expand(len(z), 1), p.logvar.expand(len(z), 1)) for p in parts]).log_prob(z)
    assert abs(torch.trapezoid(logs.exp(), z[:, 0]).item() - 1) < 1e-6

@pytest.mark.parametrize("call", [lambda: product_of_experts([]), lambda: Mixture([]), lambda: MultimodalVAE({}),
                                  lambda: DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 4))])
def test_nothing_to_combine_is_an_error(call):
    with pytest.raises(MmvaeError) as e: call()
    one_line(e)

@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_subsets(count):
    names = "abcd"[:count]
    bits = {tuple(n for i, n in enumerate(names) if k >> i & 1) for k in range(1, 2**count)}
    assert set(subsets_of(names)) == bits and len(subsets_of(names)) == 2**count - 1
    assert subsets_of(names, "full") == [tuple(names)] and subsets_of(names, "singletons") == [(n,) for n in names]
