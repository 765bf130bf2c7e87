"""What a researcher calls directly for an own model or number: distributions, likelihoods, metrics and figures. What
does not fit is one line that names argument, value and what is allowed; nothing is stretched to a wrong answer."""
import math, warnings

import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
from matplotlib.axes import Axes

from bad_values import BAD, COUNT, NONE, NOTHING, SHARE, wrong_with
from mmvae_nb import metrics as M, plotting as P
from mmvae_nb.core import MmvaeError
from mmvae_nb.distributions import (Bernoulli, Categorical, DiagonalGaussian, Gaussian, Laplace, Mixture,
                                    product_of_experts)
from mmvae_nb.kinds import Mixed, NegativeBinomial, Poisson, StudentT

g = torch.Generator().manual_seed(0)
rand = lambda *shape: torch.randn(*shape, generator=g)
def gauss(*shape): return DiagonalGaussian(rand(*shape), rand(*shape))
Q, P5 = gauss(5, 3), gauss(5, 3)
X, A = rand(5, 3), rand(5, 3)
COUNTS, TOKENS, LOGITS = torch.arange(15.).view(5, 3), torch.arange(20).view(5, 4) % 7, rand(5, 4, 7)
ROWS, OTHER, Y = rand(30, 4), rand(30, 4), torch.arange(30) % 3
IMAGES = torch.rand(30, 1, 8, 8, generator=g)
MIX = Mixed(["number", 3, "binary"])
MIXED = torch.stack([rand(5), torch.arange(5.) % 3, torch.ones(5)], 1), rand(5, 5)
flat = lambda x: x.flatten(1)[:, :4]

class Judge:
    def __init__(self, shape=(30,)): self.shape = shape
    def predict(self, x): return torch.zeros(self.shape, dtype=torch.int64)

def table():
    return pd.DataFrame(dict(slide=1, dataset="d", metric="m", condition="c", method=["a", "b"], value=[1., 2.]))
LAWS = {"Laplace": (Laplace(), X, A), "Gaussian": (Gaussian(), X, A), "Bernoulli": (Bernoulli(), X.sigmoid(), A),
        "Categorical": (Categorical(), TOKENS, LOGITS), "Poisson": (Poisson(), COUNTS, A),
        "NegativeBinomial": (NegativeBinomial(3), COUNTS, A), "StudentT": (StudentT(3), X, A),
        "Mixed": (MIX, *MIXED)}

# of two that don't go together, which one is named
INNER = {"x": "params|lines", "generated": "labels|words", "blocks": "rows", "rows": "images"}

# (call, argument) -> (function of the value, which of BAD are fine)
CALLS = {}
def told(call, make, **kinds):
    for argument, fine in kinds.items():
        CALLS[call, argument] = (lambda v, a=argument, make=make: make(**{a: v})), fine

told("DiagonalGaussian", lambda **c: DiagonalGaussian(**{"mean": X, "logvar": A, **c}), mean=NOTHING, logvar=NOTHING)
told("kl", lambda other: Q.kl(other), other=NONE)
told("log_prob", lambda z: Q.log_prob(z), z=NOTHING)
told("rsample", lambda **c: Q.rsample(**c), n=NONE | {"0"}, generator=NONE)
told("index", lambda index: Q[index], index={"None", "True", "-1", "0", "[]", "[1]", "array", "tensor"})
told("standard", lambda **c: DiagonalGaussian.standard(**{"n": 2, "latent": 2, **c}), n={"0"}, latent=NOTHING,
     device=NONE)
told("cat", lambda parts: DiagonalGaussian.cat(parts), parts=NOTHING)
told("product_of_experts", lambda experts: product_of_experts(experts), experts=NOTHING)
told("Mixture", lambda components: Mixture(components), components=NOTHING)
told("Mixture.log_prob", lambda z: Mixture([Q, P5]).log_prob(z), z=NOTHING)
told("Mixture.pick", lambda generator: Mixture([Q, P5]).pick(generator), generator=NONE)
told("Mixture.rsample", lambda generator: Mixture([Q, P5]).rsample(generator), generator=NONE)
for name, (law, x, a) in LAWS.items():
    told(f"{name}.log_prob", lambda law=law, x=x, a=a, **c: law.log_prob(**{"x": x, "params": a, **c}), x=NOTHING,
         params=NOTHING)
    told(f"{name}.mean", lambda params, law=law: law.mean(params), params=NOTHING)
    told(f"{name}.sample", lambda law=law, a=a, **c: law.sample(**{"params": a, **c}), params=NOTHING, generator=NONE)

told("coherence", lambda **c: M.coherence(**{"generated": IMAGES, "labels": Y, "classifier": Judge(), **c}),
     generated=NOTHING, labels=NOTHING, classifier=NOTHING)
told("text_scores", lambda **c: M.text_scores(**{"generated": ["ab"], "words": ["ab"], **c}), generated=NOTHING,
     words=NOTHING)
told("frechet_distance", lambda **c: M.frechet_distance(**{"a": ROWS, "b": OTHER, **c}), a=NOTHING, b=NOTHING)
told("extract_features", lambda **c: M.extract_features(**{"images": IMAGES, "features": flat, **c}), images=NOTHING,
     features=NOTHING, batch_size=COUNT)
told("fid", lambda **c: M.fid(**{"real": IMAGES, "generated": IMAGES, "features": flat, **c}), real=NOTHING,
     generated=NOTHING, features=NOTHING, batch_size=COUNT)
told("fid_floor", lambda **c: M.fid_floor(**{"real_a": IMAGES, "real_b": IMAGES, "features": flat, **c}),
     real_a=NOTHING, real_b=NOTHING)
told("imagenet_features", lambda side: M.imagenet_features(side=side), side=NOTHING)
told("inception_features", lambda weights: M.inception_features(weights), weights={"None", "word", "''"})
def probe(**c):
    return M.linear_probe(**{"train_z": ROWS, "train_labels": Y, "test_z": OTHER, "test_labels": Y, "points": 20, **c})
told("linear_probe", probe, train_z=NOTHING, train_labels=NOTHING, test_z=NOTHING, test_labels=NOTHING, points=NONE,
     seed={"-1", "0", "2**70"}, predictions={"True"})
told("seed_interval", lambda **c: M.seed_interval(**{"differences": [1., 2.], **c}),
     differences={"[1]", "array", "tensor"}, share=SHARE)
told("CanonicalCorrelation", lambda **c: M.CanonicalCorrelation(**{"a": ROWS, "b": OTHER, "components": 2, **c}),
     a=NOTHING, b=NOTHING, components=COUNT, reduced=COUNT)
told("cosine", lambda **c: M.CanonicalCorrelation(ROWS, OTHER, 2).cosine(**{"a": ROWS, "b": OTHER, **c}), a=NOTHING,
     b=NOTHING)
told("teacher_student_kl", lambda **c: M.teacher_student_kl(**{"teacher": Q, "student": P5, **c}), teacher=NOTHING,
     student=NOTHING)
told("importance_log_likelihood", lambda **c: M.importance_log_likelihood(**{
    "log_joint": lambda z: z.sum(1), "posterior": Q, "samples": 3, **c}), log_joint=NOTHING, posterior=NOTHING,
    samples=COUNT, chunk=COUNT, generator=NONE)

told("mosaic", lambda **c: P.mosaic(**{"images": IMAGES[:2], **c}), images=NOTHING, columns=NONE | COUNT, gap={"0"})
told("image_grid", lambda **c: P.image_grid(**{"images": IMAGES[:2], **c}), images=NOTHING, columns=NONE | COUNT,
     ax=NONE)
told("side_by_side", lambda **c: P.side_by_side(**{"blocks": {"a": {"b": ["c"]}}, **c}), blocks=NOTHING, cell=NONE |
     {"2.5"}, columns=COUNT)
told("side_by_side, block", lambda rows: P.side_by_side({"a": rows}), rows=NOTHING)
told("generation_grid", lambda **c: P.generation_grid(**{"rows": {"b": ["c"]}, **c}), rows=NOTHING,
     cell=NONE | {"2.5"})
told("generation_grid, row", lambda rows: P.generation_grid({"a": rows}), rows=NOTHING)
told("line_chart", lambda **c: P.line_chart(**{"x": [0, 1], "lines": {"a": ([1, 2], None)}, "xlabel": "", "ylabel": "",
     **c}), x={"array", "tensor"}, lines={"{}"}, ax=NONE)
told("line_chart, line", lambda lines: P.line_chart([0, 1], {"a": lines}, "", ""), lines=NOTHING)
told("gap_chart", lambda **c: P.gap_chart(**{"values": {"a": 1., "b": 2.}, **c}), values={"dict"}, gaps=NONE | {"[]"},
     ax=NONE)
told("gap_chart, value", lambda values: P.gap_chart({"a": values}), values={"-1", "0", "2.5", "2**70"})
told("talk_table", lambda **c: P.talk_table(**{"frame": table(), **c}), frame=NOTHING, slide=NONE | {"True"},
     dataset=NONE, metric=NONE)
told("table_text", lambda frame: P.table_text(frame), frame=NOTHING)
told("save_figure", lambda **c: P.save_figure(**{"fig": plt.figure(), "path": "x.png", **c}), fig=NOTHING,
     path=NOTHING, dpi=NOTHING)
told("set_style", lambda dpi: P.set_style(dpi), dpi=NOTHING)
told("name_method", lambda **c: P.name_method(**{"key": "of-a-test", **c}), key={"word", "''"}, label={"word", "''"},
     colour={"None", "''"})
told("method_colour", lambda method: P.method_colour(method), method=NOTHING)
told("Instrument", lambda **c: P.Instrument(**{"name": "elbo-hill", **c}), name=NOTHING)
told("Instrument of a file", lambda records: P.Instrument("talk-line", records), records={"word", "''"})

@pytest.fixture(autouse=True)
def no_figures_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    plt.close("all")

def bad_for(call, argument): return {k: v for k, v in BAD.items() if k not in CALLS[call, argument][1]}

@pytest.mark.parametrize("call, argument", [pytest.param(*k, id=f"{k[0]}({k[1]}=)") for k in CALLS])
def test_a_bad_value_is_one_line(call, argument):
    make = CALLS[call, argument][0]
    found = {k: w for k, v in bad_for(call, argument).items()
             if (w := wrong_with(argument, v, make, INNER.get(argument, "nobody")))}
    assert not found, "\n".join(f"{k}: {w}" for k, w in found.items())

def test_there_are_enough_of_them(): assert sum(len(bad_for(*k)) for k in CALLS) > 1500


# ---- taken silently, or raised by somebody else, until it was looked at

NAN, INF = math.nan, math.inf
ONE = gauss(1, 3)
def elsewhere(q): return DiagonalGaussian(q.mean.to("meta"), q.logvar.to("meta"))
def mixed(change):
    x = MIXED[0].clone(); x[2, 1] = change
    return lambda: Mixed(["number", 3, "binary"]).log_prob(x, MIXED[1])
def stretched_labels(labels): return lambda: M.coherence(IMAGES, labels, Judge())

SILENT = {                                             # name -> (call, what it says); the old answer was a wrong number
    "a log-variance on another device": (lambda: DiagonalGaussian(X, A.to("meta")), "logvar: got"),
    "a posterior of no items": (lambda: M.teacher_student_kl(Q[:0], P5[:0]), "teacher: got"),
    "KL of five and one": (lambda: Q.kl(ONE), "other: got shape (1, 3)"),
    "KL of one and five": (lambda: ONE.kl(Q), "other: got shape (5, 3)"),
    "KL of three coordinates and one": (lambda: Q.kl(gauss(5, 1)), "other: got shape (5, 1)"),
    "KL of one without batch": (lambda: Q.kl(Q[0]), "other: got shape (3,)"),
    "KL of draws": (lambda: Q.kl(gauss(2, 5, 3)), "other: got shape (2, 5, 3)"),
    "z of one coordinate": (lambda: Q.log_prob(rand(5, 1)), "z: got shape (5, 1)"),
    "z of a Gaussian of one coordinate": (lambda: gauss(5, 1).log_prob(rand(5, 3)), "z: got shape (5, 3)"),
    "z without coordinates": (lambda: gauss(5, 1).log_prob(rand(5)), "z: got shape (5,)"),
    "z without batch": (lambda: Q.log_prob(rand(3)), "z: got shape (3,)"),
    "z is a number": (lambda: Q.log_prob(torch.tensor(0.)), "z: got shape ()"),
    "z is a number of Python's": (lambda: Q.log_prob(0.), "z: got a float"),
    "z of one coordinate, of a mixture": (lambda: Mixture([Q, P5]).log_prob(rand(7, 5, 1)), "z: got shape (7, 5, 1)"),
    "a mixture of five and one, its density": (lambda: Mixture([Q, ONE]).log_prob(rand(5, 3)),
                                               "components: got shape (1, 3)"),
    "a batch for a list of experts": (lambda: product_of_experts(Q), "experts: got a DiagonalGaussian(5, 3)"),
    "a batch for a list of components": (lambda: Mixture(Q), "components: got a DiagonalGaussian(5, 3)"),
    "a pick by coordinates": (lambda: Mixture([Q[0], P5[0]]).pick(), "components: got shape (3,)"),
    "a pick by draws": (lambda: Mixture([gauss(2, 5, 3), gauss(2, 5, 3)]).pick(), "components: got shape (2, 5, 3)"),
    "whole numbers for a mean": (lambda: DiagonalGaussian(X.long(), A.long()), "mean: got shape (5, 3) of torch.int64"),
    "whole numbers for a log-variance": (lambda: DiagonalGaussian(X, A.long()),
                                         "logvar: got shape (5, 3) of torch.int64"),
    "no axis": (lambda: DiagonalGaussian(torch.tensor(0.), torch.tensor(0.)), "mean: got shape ()"),
    "tokens of two axes, shown": (lambda: Categorical().mean(rand(2, 4, 3, 4)), "params: got shape (2, 4, 3, 4)"),
    "whole numbers for rates": (lambda: Poisson().log_prob(COUNTS, torch.ones(5, 3).long()),
                                "params: got shape (5, 3) of torch.int64"),
    "rates too large to count to": (lambda: Poisson().sample(torch.full((2, 2), 60.)), "params: got a rate of 1.14"),
    "rates too large, negative binomial": (lambda: NegativeBinomial().sample(torch.full((20, 2), 60.)),
                                           "params: got a rate"),
    "endless counts": (lambda: Poisson().log_prob(torch.full((2, 2), INF), torch.zeros(2, 2)), "x: got inf"),
    "more columns than laws": (lambda: MIX.log_prob(torch.cat([MIXED[0], rand(5, 1)], 1), MIXED[1]),
                               "x: got shape (5, 4)"),
    "half a class": (mixed(1.5), "x: got 1.5"),
    "imaginary counts": (lambda: Poisson().log_prob(COUNTS*1j, A), "x: got shape (5, 3) of torch.complex64"),
    "labels of another axis": (stretched_labels(Y[:, None]), "labels: got (30, 1) for 30 items"),
    "a judge's classes of another axis": (lambda: M.coherence(IMAGES, Y, Judge((30, 1))), "classifier: got (30, 1)"),
    "halves for labels": (stretched_labels(Y + .5), "labels: got numbers that are not whole"),
    "texts that are one text": (lambda: M.text_scores("ab", "ab"), "generated: got 'ab'"),
    "more labels than points": (lambda: probe(train_labels=torch.arange(60) % 3), "train_labels: got 60 for 30 items"),
    "test labels of another axis": (lambda: probe(test_labels=Y[:, None]), "test_labels: got (30, 1) for 30 items"),
    "one test label for all": (lambda: probe(test_labels=Y[:1]), "test_labels: got 1 for 30 items"),
    "bytes as floats": (lambda: M.fid(IMAGES*255, IMAGES*255, flat), "real: got images of floats from"),
    "bytes as whole numbers": (lambda: M.extract_features((IMAGES*255).long(), lambda x: flat(x).double()),
                               "images: got torch.int64"),
    "a row for all images": (lambda: M.extract_features(IMAGES, lambda x: torch.ones(1, 3), 10),
                             "features: got a Tensor of shape (1, 3)"),
    "one row with all": (lambda: M.CanonicalCorrelation(ROWS, OTHER, 2).cosine(ROWS, OTHER[:1]), "b: got 1 items"),
    "letters for seeds": (lambda: M.seed_interval(b"abc"), "differences: got b'abc'"),
    "bytes as floats, drawn": (lambda: P.mosaic(IMAGES*255), "images: got images of floats from"),
    "bytes as whole numbers, drawn": (lambda: P.mosaic((IMAGES*255).long()), "images: got torch.int64"),
    "images over one another": (lambda: P.mosaic(IMAGES, gap=-1), "gap: got -1"),
    "no columns": (lambda: P.mosaic(IMAGES, 0), "columns: got 0"),
    "a table of means": (lambda: P.line_chart([0, 1], {"a": (rand(2, 3), None)}, "", ""), "lines: got (2, 3) values"),
    "one deviation in a list": (lambda: P.line_chart([0, 1], {"a": ([1, 2], [.1])}, "", ""),
                                "lines: got deviations of shape (1,)"),
    "a deviation below zero": (lambda: P.line_chart([0, 1], {"a": ([1, 2], [.1, -.1])}, "", ""),
                               "lines: got deviations"),
    "values without order": (lambda: P.gap_chart({"a": 1., "b": NAN, "c": 0.}), "values of 'b': got nan")}

RAISED = {                                # the old answer was an error of somebody else's, or of another argument
    "True draws": (lambda: Q.rsample(True), "n: got True"),
    "tokens of two axes": (lambda: Categorical().log_prob(torch.zeros(2, 4, 3).long(), rand(2, 4, 3, 4)),
                           "params: got shape (2, 4, 3, 4)"),
    "True points at once": (lambda: M.extract_features(IMAGES, flat, True), "batch_size: got True"),
    "a function for a posterior": (lambda: M.importance_log_likelihood(lambda z: z.sum(1), elsewhere, 3),
                                   "posterior: got a function"),
    "a text that is no list": (lambda: P.generation_grid({"a": "abc"}), "rows: got a str"),
    "experts of five and one": (lambda: product_of_experts([Q, ONE]), "experts: got shape (1, 3)"),
    "experts of three and four": (lambda: product_of_experts([Q, gauss(5, 4)]), "experts: got shape (5, 4)"),
    "experts by name": (lambda: product_of_experts({"a": Q}), "experts: got a str"),
    "components of five and four": (lambda: Mixture([Q, gauss(4, 3)]).pick(), "components: got shape (4, 3)"),
    "no parts": (lambda: DiagonalGaussian.cat([]), "parts: got none"),
    "parts of three and four": (lambda: DiagonalGaussian.cat([Q, gauss(5, 4)]), "parts: got shape (5, 4)"),
    "arrays": (lambda: DiagonalGaussian(X.numpy(), A.numpy()), "mean: got a ndarray"),
    "an array for z": (lambda: Q.log_prob(X.numpy()), "z: got a ndarray"),
    "z of other items": (lambda: Q.log_prob(rand(4, 3)), "z: got shape (4, 3)"),
    "another device": (lambda: Q.kl(elsewhere(P5)), "other: got shape (5, 3) of torch.float32 on meta"),
    "z on another device": (lambda: Q.log_prob(X.to("meta")), "z: got shape (5, 3) of torch.float32 on meta"),
    "parts on two devices": (lambda: DiagonalGaussian.cat([Q, elsewhere(Q)]), "parts: got"),
    "params on another device": (lambda: Laplace().log_prob(X, A.to("meta")), "params: got"),
    "logits on another device": (lambda: Categorical().log_prob(TOKENS, LOGITS.to("meta")), "x: got"),
    "a negative number of draws": (lambda: Q.rsample(-1), "n: got -1"),
    "a list of numbers of draws": (lambda: Q.rsample([2, 3]), "n: got [2, 3]"),
    "a seed for a stream": (lambda: Q.rsample(generator=0), "generator: got a int"),
    "NumPy's stream": (lambda: Gaussian().sample(A, np.random.default_rng(0)), "generator: got a Generator"),
    "an item that is not there": (lambda: Q[5], "index: got 5"),
    "a mask of four": (lambda: Q[torch.ones(4).bool()], "index: got tensor"),
    "an unknown device": (lambda: DiagonalGaussian.standard(2, 2, "gpu"), "device: got 'gpu'"),
    "items without axes": (lambda: Laplace().log_prob(rand(5), rand(5)), "x: got shape (5,)"),
    "tokens without length": (lambda: Categorical().log_prob(TOKENS[:, 0], LOGITS[:, 0]), "params: got shape (5, 7)"),
    "logits without length": (lambda: Categorical().sample(LOGITS[:, 0]), "params: got shape (5, 7)"),
    "logits of nan": (lambda: Categorical().sample(LOGITS*NAN), "params: got nan or infinite"),
    "a probability of nan": (lambda: Bernoulli().sample(A*NAN), "params: got nan or infinite"),
    "a rate of nan": (lambda: Poisson().sample(A*NAN), "params: got nan or infinite"),
    "too few parameters": (lambda: MIX.log_prob(MIXED[0], MIXED[1][:, :4]), "params: got shape (5, 4)"),
    "too few columns": (lambda: MIX.log_prob(MIXED[0][:, :2], MIXED[1]), "x: got shape (5, 2)"),
    "truth values for pixels": (lambda: Laplace().log_prob(X > 0, A), "x: got shape (5, 3) of torch.bool"),
    "labels as names": (lambda: probe(train_labels=list("abc")*10), "train_labels: got ['a'"),
    "halves for training labels": (lambda: probe(train_labels=Y + .5), "train_labels: got numbers that are not whole"),
    "other columns to test on": (lambda: probe(test_z=rand(30, 3)), "test_z: got (30, 3), allowed: (1 or more, 4)"),
    "fewer test labels": (lambda: probe(test_labels=Y[:10]), "test_labels: got 10 for 30 items"),
    "one row of features": (lambda: probe(train_z=rand(30)), "train_z: got (30,)"),
    "no labels": (lambda: probe(train_labels=None), "train_labels: got None"),
    "no images at once": (lambda: M.extract_features(IMAGES, flat, 0), "batch_size: got 0"),
    "features of no tensor": (lambda: M.extract_features(IMAGES, len), "features: got a int"),
    "features of an image": (lambda: M.fid(IMAGES, IMAGES, lambda x: x), "features: got"),
    "nan among features": (lambda: M.CanonicalCorrelation(ROWS*NAN, OTHER), "a: got nan or infinite"),
    "a list of no numbers": (lambda: M.seed_interval(["a"]), "differences: got none"),
    "a log joint of no tensor": (lambda: M.importance_log_likelihood(lambda z: 0., Q, 3), "log_joint: got shape ()"),
    "a dict is no figure": (lambda: P.save_figure({}, "x.png"), "fig: got a dict"),
    "a line of numbers": (lambda: P.line_chart([0, 1], {"a": [1, 2, 3]}, "", ""), "lines: got a list"),
    "gaps of three": (lambda: P.gap_chart({"a": 1., "b": 2.}, [("a", "b", "a")]), "labels of gaps: got 3"),
    "a table without methods": (lambda: P.table_text(table().drop(columns="method")), "frame: got no column method")}

@pytest.mark.parametrize("name", [*SILENT, *RAISED])
def test_what_does_not_fit_is_one_line(name):
    call, said = {**SILENT, **RAISED}[name]
    with pytest.raises(MmvaeError) as e, warnings.catch_warnings():
        warnings.simplefilter("ignore"); call()
    text = str(e.value)
    assert said in text and "allowed" in text and "\n" not in text and len(text) < 400


# ---- what must go on working

def close(a, b): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
def normal(q): return torch.distributions.Independent(torch.distributions.Normal(q.mean, q.std), 1)

@pytest.mark.parametrize("shape", [(5, 3), (7, 5, 3), (2, 7, 5, 3), (0, 5, 3), (1, 3), (4, 1, 3)])
def test_axes_before_the_batch_and_one_point_for_all_are_fine(shape):
    z = rand(*shape)
    assert not len(z) or torch.allclose(Q.log_prob(z), normal(Q).log_prob(z), rtol=1e-4)
    assert Q.log_prob(z).shape == (*shape[:-2], 5)
    assert Mixture([Q, P5]).log_prob(z).shape == Q.log_prob(z).shape

def test_one_gaussian_takes_many_points():
    z = rand(7, 3)
    close(DiagonalGaussian.standard(1, 3).log_prob(z), DiagonalGaussian.standard(7, 3).log_prob(z))
    close(Q[0].log_prob(z), normal(Q[0]).log_prob(z))                            # without a batch

@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions_are_fine(kind):
    q, p = (DiagonalGaussian(v.mean.to(kind), v.logvar.to(kind)) for v in (Q, P5))
    assert q.kl(p).dtype == q.log_prob(q.rsample(2)).dtype == product_of_experts([q, p]).mean.dtype == kind
    assert q.kl(P5).isfinite().all() and Mixture([q, P5]).pick().mean.isfinite().all()
    for law, x, a in LAWS.values():
        made = law.log_prob(x, a.to(kind))
        assert made.shape == (5,) and made.isfinite().all()
        assert law.mean(a.to(kind)).shape == law.sample(a.to(kind)).shape == x.shape

def test_no_items_are_fine():
    none = Q[:0]
    assert none.kl(P5[:0]).shape == none.log_prob(none.rsample()).shape == (0,) and Q.rsample(0).shape == (0, 5, 3)
    assert len(DiagonalGaussian.cat([none, Q])) == 5 and len(product_of_experts([none, none])) == 0
    assert len(DiagonalGaussian.standard(0, 3)) == 0 and len(Mixture([none, none]).pick()) == 0
    for law, x, a in LAWS.values():
        assert law.log_prob(x[:0], a[:0]).shape == (0,) and law.sample(a[:0]).shape == x[:0].shape

def test_a_loop_over_items_ends(): assert [q.mean.shape for q in Q] == [(3,)]*5

def test_lists_may_be_of_any_make():
    for many in (iter([Q, P5]), {"a": Q, "b": P5}.values(), (q for q in (Q, P5))):
        made = list(many)
        close(product_of_experts(iter(made)).mean, product_of_experts([Q, P5]).mean)
        assert len(DiagonalGaussian.cat(iter(made))) == 10 and len(Mixture(iter(made)).components) == 2

def test_bytes_are_fine():
    whole = torch.randint(0, 256, (5, 3), dtype=torch.uint8, generator=g)
    for law in (Laplace(), Gaussian(), Bernoulli()): close(law.log_prob(whole, A), law.log_prob(whole/255, A))
    close(Categorical().log_prob(TOKENS.to(torch.uint8), LOGITS), Categorical().log_prob(TOKENS, LOGITS))
    close(Poisson().log_prob(COUNTS.to(torch.uint8), A), Poisson().log_prob(COUNTS, A))

def test_under_vmap_grad_and_a_traced_graph():
    def kl(m, v): return DiagonalGaussian(m, v).kl(DiagonalGaussian(v, m))
    close(torch.func.vmap(kl)(X, A), kl(X, A))
    each = torch.func.vmap(lambda x, a: Laplace().log_prob(x, a))(X[:, None], A[:, None])
    close(each[:, 0], Laplace().log_prob(X, A))
    assert torch.func.grad(lambda m: kl(m, A).sum())(X).isfinite().all()
    class Made(torch.nn.Module):
        def forward(self, m, v):
            q = product_of_experts([DiagonalGaussian(m, v), DiagonalGaussian(v, m)])
            return q.kl(DiagonalGaussian(m, v)) + q.log_prob(q.mean[None].expand(2, -1, -1)) + Laplace().log_prob(m, v)
    batch = {0: torch.export.Dim("batch", min=2)}
    made = torch.export.export(Made(), (X, A), dynamic_shapes=(batch, batch)).module()
    x, a = rand(9, 3), rand(9, 3)
    close(made(x, a), Made()(x, a))

def test_lists_and_arrays_are_fine_for_numbers():
    wanted = probe()
    assert probe(train_z=ROWS.numpy(), test_z=OTHER.tolist(), train_labels=Y.numpy(), test_labels=Y.tolist()) == wanted
    assert M.coherence(IMAGES, (Y*0).tolist(), Judge()) == 1 and M.frechet_distance(ROWS.numpy(), ROWS) < 1e-6
    a = M.CanonicalCorrelation(ROWS.clone().requires_grad_(), OTHER, 2).cosine(ROWS, OTHER)
    assert np.allclose(a, M.CanonicalCorrelation(ROWS.numpy(), OTHER.numpy(), 2).cosine(ROWS.numpy(), OTHER.numpy()))

def test_arrays_are_fine_for_images():
    fig = P.generation_grid({"a": IMAGES[:3].numpy(), "b": ("x", "y", "z")})
    assert len(fig.subfigs[0].axes) == 2
    assert np.array_equal(P.mosaic(IMAGES.numpy()), P.mosaic(IMAGES)) and P.mosaic(IMAGES > .5).max() == 255
    assert isinstance(P.image_grid(IMAGES, None), Axes)
    assert isinstance(P.gap_chart({"a": torch.tensor(1.), "b": np.float32(2)}), Axes)
    assert isinstance(P.line_chart([0, 1], {"a": ([1, 2], .1)}, "", ""), Axes)
