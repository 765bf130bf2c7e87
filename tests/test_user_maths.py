"""What a stranger hands to the mathematics: one Gaussian for a list of experts, one posterior for all items, a shape
that is none. Nothing is stretched, and nothing is kept by a call that fails."""
import numpy as np, pytest, torch
from torch.distributions import MultivariateNormal, Normal

from mmvae_nb import JVAE, MVAE, MoPoE, data
from mmvae_nb import amortization_gap as A
from mmvae_nb.core import MmvaeError
from mmvae_nb.distributions import DiagonalGaussian, Mixture, product_of_experts
from mmvae_nb.kinds import (NegativeBinomial, StudentT, binary_spec, category_spec, count_spec, register_kind,
                            sequence_spec, table_spec)
from mmvae_nb.linear_gaussian import LinearGaussian, best_diagonal, gaps
from mmvae_nb.networks import (SPECS, ConvText, DeconvText, ModalitySpec, image_spec, mlp_decoder, mlp_encoder,
                               text_spec, vector_spec)
from mmvae_nb.using import LogLikelihood, log_joint, proposal

g = torch.Generator().manual_seed(0)
rand = lambda *shape: torch.randn(*shape, generator=g)
Q, P = (DiagonalGaussian(rand(5, 3), rand(5, 3)) for _ in "qp")
MOPOE, PRODUCT, JOINT = (cls({n: vector_spec((4,)) for n in "ab"}, 3).eval() for cls in (MoPoE, MVAE, JVAE))
BELLS = LinearGaussian({"a": (rand(2, 2), rand(2), .5), "b": (rand(3, 2), rand(3), .5)})
SIX = BELLS.sample(6, g)[1]
NAN = float("nan")
W, B = rand(2, 2), rand(2)
def elbo(q, generator=None): return -q.kl()
def joint(z): return -z.square().sum(1)
def gap(best=P, log_px=None, elbo=elbo):
    return A.gap_decomposition(elbo, Q, best, torch.zeros(5) if log_px is None else log_px, samples=2)
def climb(*given, elbo=elbo, start=Q, **more): return A.gradient_ascent(elbo, start, *given, **more)
def ladder(log_joint=joint, start=Q, **more): return A.annealed_importance_sampling(log_joint, start, 2, 2, **more)
def one(n=1, latent=2): return DiagonalGaussian.standard(n, latent)
def spec_of(law): return ModalitySpec(lambda: 0, 3, lambda z: 0, law)

SILENT = {                                                                        # the old answer was a wrong one
    "one Gaussian for a list, MoPoE": (lambda: MOPOE.product(Q), "posteriors: got a DiagonalGaussian(5, 3)"),
    "one Gaussian for a list, MVAE": (lambda: PRODUCT.product(Q), "posteriors: got a DiagonalGaussian(5, 3)"),
    "one Gaussian for a list, JVAE": (lambda: JOINT.product(Q), "posteriors: got a DiagonalGaussian(5, 3)"),
    "an expert for the prior": (lambda: product_of_experts([Q], P), "prior: got DiagonalGaussian(5, 3)"),
    "a word for the prior": (lambda: product_of_experts([Q], "no"), "prior: got 'no'"),
    "a word for a division": (lambda: product_of_experts([Q], divide_prior="no"), "divide_prior: got 'no'"),
    "log p(x) as a column": (lambda: gap(log_px=torch.zeros(5, 1)), "log_px: got shape (5, 1), allowed: (5,)"),
    "the best of one item": (lambda: gap(P[:1]), "best: got 1 items, allowed: 5"),
    "an ELBO as a column": (lambda: gap(elbo=lambda q, g: -q.kl()[:, None]), "elbo: got shape (5, 1) back"),
    "an ELBO of the whole batch": (lambda: climb(2, elbo=lambda q: -q.kl().sum()), "elbo: got shape () back"),
    "one posterior for six": (lambda: BELLS.elbo(SIX, one()), "q: got means of shape (1, 2)"),
    "one posterior for six, gaps": (lambda: gaps(BELLS, SIX, one()), "q: got means of shape (1, 2)"),
    "ten letters": (lambda: DeconvText(3, 10, 10), "text length: got 10"),
    "six letters": (lambda: DeconvText(3, 10, 6), "text length: got 6"),
    "twelve letters for eight": (lambda: ConvText(10, 8)(torch.zeros(2, 12).long()), "tokens: got shape (2, 12)"),
    "six columns, counts": (lambda: NegativeBinomial(5).mean(rand(2, 6)), "params: got 6 columns, allowed: 5"),
    "six columns, numbers": (lambda: StudentT(5).mean(rand(2, 6)), "params: got 6 columns, allowed: 5"),
    "counts of two axes": (lambda: count_spec((5, 2)), "shape: got (5, 2)"),
    "no classes": (lambda: category_spec((3,), 0), "classes: got 0"),
    "no tokens": (lambda: text_spec(0, 8), "num_tokens: got 0"),
    "a number for a shape": (lambda: vector_spec(5), "shape: got 5"),
    "a text for a shape": (lambda: vector_spec("5"), "shape: got '5'"),
    "torch's law": (lambda: spec_of(Normal(0., 1.)), "likelihood: got a Normal")}

RAISED = {                                                                        # it was an error of somebody else's
    "three posteriors for six": (lambda: gaps(BELLS, SIX, one(3)), "q: got means of shape (3, 2)"),
    "another latent size": (lambda: BELLS.elbo(SIX, one(6, 3)), "q: got means of shape (6, 3)"),
    "a tensor for a posterior": (lambda: BELLS.elbo(SIX, torch.zeros(6, 2)), "q: got a Tensor"),
    "no posterior": (lambda: gaps(BELLS, SIX, None), "q: got a NoneType"),
    "a view without noise": (lambda: LinearGaussian({"a": (W, B)}), "views: got {'a'"),
    "a matrix for a view": (lambda: LinearGaussian({"a": W}), "views: got {'a'"),
    "views in a list": (lambda: LinearGaussian([(W, B, 1.)]), "views: got [("),
    "a text for views": (lambda: LinearGaussian("abc"), "views: got 'abc'"),
    "texts in a view": (lambda: LinearGaussian({"a": "xyz"}), "views: got {'a'"),
    "texts for numbers": (lambda: LinearGaussian({"a": ("x", "y", "z")}), "views, 'a': got a str"),
    "less than no items": (lambda: BELLS.sample(-1), "n: got -1"),
    "a text for items": (lambda: BELLS.sample("3"), "n: got '3'"),
    "half an item": (lambda: BELLS.sample(2.5), "n: got 2.5"),
    "a seed for a stream": (lambda: BELLS.sample(2, 0), "generator: got a int"),
    "nan, posterior": (lambda: BELLS.posterior({"a": torch.full((2, 2), NAN)}), "a: got nan"),
    "nan, density": (lambda: BELLS.log_prob({"a": torch.full((2, 2), NAN)}), "a: got nan"),
    "a number for data": (lambda: BELLS.posterior({"a": 3.}), "a: got shape ()"),
    "None for data": (lambda: BELLS.posterior({"a": None}), "a: got a NoneType"),
    "a text for data": (lambda: BELLS.posterior({"a": "x"}), "a: got a str"),
    "weights as an array": (lambda: A.importance_estimate(np.zeros((3, 4))), "log_w: got a ndarray"),
    "weights as a list": (lambda: A.importance_estimate([[1.]]), "log_w: got a list"),
    "no weights": (lambda: A.importance_estimate(torch.zeros(0, 4)), "log_w: got shape (0, 4)"),
    "a single weight": (lambda: A.importance_estimate(torch.tensor(1.)), "log_w: got shape ()"),
    "ELBO and start swapped": (lambda: climb(elbo=Q, start=elbo), "elbo: got DiagonalGaussian(5, 3)"),
    "a tensor to start from": (lambda: climb(start=Q.mean), "start: got tensor("),
    "a rate below zero": (lambda: climb(2, -1), "lr: got -1"),
    "a text for a rate": (lambda: climb(2, "a"), "lr: got 'a'"),
    "a rate of nan": (lambda: climb(2, NAN), "lr: got nan"),
    "a text for a tolerance": (lambda: climb(100, tolerance="a"), "tolerance: got 'a'"),
    "a constant ELBO": (lambda: climb(2, elbo=lambda q: torch.zeros(5)), "elbo: got values back"),
    "a number for an ELBO": (lambda: climb(2, elbo=lambda q: 0.), "elbo: got a float back"),
    "log p(x), a number": (lambda: gap(log_px=3.), "log_px: got 3.0"),
    "log p(x), an array": (lambda: gap(log_px=np.zeros(5)), "log_px: got array("),
    "log p(x) of four items": (lambda: gap(log_px=torch.zeros(4)), "log_px: got shape (4,)"),
    "chains from a tensor": (lambda: ladder(start=Q.mean), "start: got tensor("),
    "chains from a mixture": (lambda: ladder(start=Mixture([Q])), "start: got <"),
    "a seed for the chains": (lambda: ladder(generator=4), "generator: got 4"),
    "an array from the joint": (lambda: ladder(lambda z: joint(z).numpy()), "log_joint: got a ndarray back"),
    "mlp_encoder": (lambda: mlp_encoder(10), "shape: got 10"),
    "mlp_decoder": (lambda: mlp_decoder(3, 10), "shape: got 10"),
    "counts": (lambda: count_spec(5), "shape: got 5"), "binary": (lambda: binary_spec(5), "shape: got 5"),
    "categories": (lambda: category_spec(3, 4), "shape: got 3"), "images": (lambda: image_spec(28), "shape: got 28"),
    "sequences": (lambda: sequence_spec((10,)), "shape: got (10,)"),
    "tables": (lambda: table_spec(5), "columns: got 5"),
    "texts": (lambda: text_spec("abc", 8), "num_tokens: got 'abc'"),
    "twelve channels": (lambda: ConvText(10, 8, features=12), "channels: got 12"),
    "a latent size below one": (lambda: vector_spec((3,)).make_decoder(-1), "latent: got -1"),
    "no modality, proposal": (lambda: proposal(MOPOE, {}), "batch: got no modality"),
    "no modality, joint": (lambda: log_joint(MOPOE, {}), "batch: got no modality"),
    "a tensor, proposal": (lambda: proposal(MOPOE, rand(2, 4)), "batch: got tensor("),
    "a tensor, joint": (lambda: log_joint(MOPOE, rand(2, 4)), "batch: got tensor("),
    "a mean of no items": (lambda: LogLikelihood(*torch.zeros(3, 0)).mean(), "nats: got no items")}

def refused(make, starts):
    with pytest.raises(MmvaeError) as e: make()
    said = str(e.value)
    assert said.startswith(starts) and "\n" not in said and "allowed" in said and len(said) < 400, said

@pytest.mark.parametrize("name", [*SILENT, *RAISED])
def test_what_does_not_fit_is_one_line(name): refused(*{**SILENT, **RAISED}[name])

@pytest.mark.parametrize("given, said", [
    (dict(types=torch.int64), "types: got torch.int64"), (dict(types=["int64"]), "types: got ['int64']"),
    (dict(spec=None), "spec: got None"), (dict(kind=5), "kind: got 5"),
    (dict(vocabulary="no"), "vocabulary: got 'no'")])
def test_a_kind_that_is_refused_is_not_registered(given, said):
    known = lambda: ({**data._kinds}, {**data._types}, {**SPECS}, data._with_vocabulary)
    before = known()
    try:
        refused(lambda: register_kind(**{"kind": "spin", "spec": lambda m, w: vector_spec(m.shape, w), **given}), said)
        assert known() == before
    finally:                                                     # of a call that kept something, for the other tests
        for kept in (data._kinds, data._types, SPECS):
            for kind in ("spin", 5): kept.pop(kind, None)
        data._with_vocabulary = before[3]


# ---- what must go on working

def test_lists_of_experts_may_be_of_any_make():
    for model in (MOPOE, PRODUCT, JOINT):
        many = model.product([Q, P]).mean
        assert torch.equal(model.product(q for q in (Q, P)).mean, many)
        assert torch.equal(model.product({"a": Q, "b": P}.values()).mean, many)
    assert JOINT.product([Q]) is Q
    assert torch.equal(product_of_experts([Q, P], np.True_).mean, product_of_experts([Q, P], True).mean)

def test_ordinary_use_is_as_it_was():
    assert [tuple(v.shape) for v in gap().values()] == [(5,)]*5 and ladder().shape == (2, 5)
    assert A.importance_estimate(torch.zeros(3)).log_px == 0                              # of a single item
    full = BELLS.posterior(SIX)
    assert torch.allclose(BELLS.elbo(SIX, MultivariateNormal(full.mean, full.covariance_matrix)), BELLS.log_prob(SIX))
    arrays = {n: x.numpy() for n, x in SIX.items()}
    assert (gaps(BELLS, arrays, best_diagonal(BELLS, SIX))["amortization"].abs() < 1e-9).all()
    assert BELLS.sample(0)[0].shape == (0, 2) and BELLS.sample(np.int64(2))[0].shape == (2, 2)
    assert log_joint(MOPOE, {"a": rand(0, 4)})(rand(0, 3)).shape == (0,)
    assert image_spec((1, 6, 10)).make_encoder()(rand(2, 1, 6, 10)).shape == (2, 400)
    assert mlp_decoder(3, [2, 5])(rand(4, 3)).shape == (4, 2, 5)

@pytest.mark.parametrize("types", [[torch.int64], (torch.int64, torch.uint8), None])
def test_a_kind_of_several_types_is_registered(types):
    try:
        register_kind("spin", lambda m, w: vector_spec(m.shape, w), types=types)
        assert "spin" in SPECS and data._types.get("spin") == (types and list(types))
    finally:
        for kept in (data._kinds, data._types, SPECS): kept.pop("spin", None)
