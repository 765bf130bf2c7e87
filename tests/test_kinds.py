"Lesson 02f: likelihoods against SciPy, draws by their moments, tables, kinds in data, training and files."
import math

import numpy as np, pandas as pd, pytest, torch
from scipy import stats
from torch import nn

from mmvae_nb.checkpoints import load, save
from mmvae_nb.core import MmvaeError
from mmvae_nb.data import Modality, TensorData
from mmvae_nb.kinds import (Mixed, NegativeBinomial, Poisson, StudentT, Table, TableEncoder, category_spec,
                            register_kind, sequence_spec)
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.networks import ModalitySpec, UnimodalEncoder, default_specs
from mmvae_nb.training import fit
from model_helpers import *

R, DF, S = np.array([.3, 2., 50.]), np.array([1.5, 4., 30.]), np.array([.2, 1., 3.])

def laws():
    nb, t = NegativeBinomial(3), StudentT(3)
    nb.log_r.data, t.log_df.data, t.log_scale.data = (torch.tensor(v).float().log() for v in (R, DF, S))
    return {"Poisson": (Poisson(), lambda a: stats.poisson(np.exp(a))),
            "NegativeBinomial": (nb, lambda a: stats.nbinom(R, R/(R + np.exp(a)))),
            "StudentT": (t, lambda a: stats.t(DF, a, S))}

@pytest.mark.parametrize("name", ["Poisson", "NegativeBinomial", "StudentT"])
def test_log_densities_are_those_of_scipy(name):
    likelihood, law = laws()[name]
    a = torch.randn(6, 3, generator=rng(1))
    x = torch.randint(0, 40, (6, 3), generator=rng(2)).float()
    known = law(a.numpy().astype(float))
    log_p = known.logpdf(x) if name == "StudentT" else known.logpmf(x)
    close(likelihood.log_prob(x, a).detach(), torch.tensor(log_p).sum(1).float(), 1e-4, 1e-3)
    wide = likelihood.log_prob(x.view(2, 3, 3), a.view(2, 3, 3))              # another axis: summed too
    close(wide.detach(), torch.tensor(log_p).view(2, 3, 3).sum((1, 2)).float(), 1e-4, 1e-3)
    with pytest.raises(MmvaeError, match="^params: got shape"): likelihood.log_prob(x, a[:, :1])

@pytest.mark.parametrize("name", ["Poisson", "NegativeBinomial", "StudentT"])
@torch.no_grad()
def test_draws_have_the_law_s_moments_and_quantiles(name):
    likelihood, law = laws()[name]
    a = torch.tensor([[.5, 1., 2.]])
    drawn, known = likelihood.sample(a.expand(40_000, 3), rng(3)), law(a.numpy().astype(float))
    assert torch.equal(drawn[:5], likelihood.sample(a.expand(40_000, 3), rng(3))[:5])        # seeded
    for q in (.2, .5, .9):
        below = (drawn <= torch.tensor(known.ppf(q)).float() + 1e-6).float().mean(0)
        close(below, torch.tensor(known.cdf(known.ppf(q) + 1e-6)).float()[0], 0, .012)
    finite = [1, 2] if name == "StudentT" else [0, 1, 2]
    close(drawn.mean(0)[finite], torch.tensor(known.mean()).float()[0][finite], .05, .03)
    close(drawn.var(0)[finite], torch.tensor(known.var()).float()[0][finite], .12, 0)
    close(likelihood.mean(a)[0, finite], torch.tensor(known.mean()).float()[0][finite], 1e-4, 1e-4)

def test_a_fit_finds_scale_df_and_dispersion():
    g = np.random.default_rng(0)
    x = torch.tensor(.7*g.standard_t(4, size=(20_000, 1)) + 1).float()
    n = torch.tensor(g.negative_binomial(3, 3/(3 + 5.), size=(20_000, 1))).float()
    for likelihood, data, wanted in [(StudentT(1), x, {"log_scale": .7, "log_df": 4}),
                                     (NegativeBinomial(1), n, {"log_r": 3})]:
        centre = nn.Parameter(torch.zeros(1, 1))
        optimiser = torch.optim.LBFGS([centre, *likelihood.parameters()], max_iter=60, line_search_fn="strong_wolfe")
        def loss(data=data, likelihood=likelihood, centre=centre, optimiser=optimiser):
            optimiser.zero_grad(); v = -likelihood.log_prob(data, centre.expand_as(data)).mean(); v.backward(); return v
        optimiser.step(loss)
        for name, value in wanted.items(): assert abs(getattr(likelihood, name).exp().item()/value - 1) < .12, name
        assert abs(likelihood.mean(centre).item() - (1 if data is x else 5)) < .1

def test_extreme_parameters_stay_finite():
    for likelihood in (Poisson(), NegativeBinomial(1), StudentT(1)):
        a = torch.full((2, 1), 20., requires_grad=True)
        log_p = likelihood.log_prob(torch.zeros(2, 1), a)
        log_p.sum().backward()
        assert log_p.isfinite().all() and a.grad.isfinite().all()


# ---- tables

FRAME = pd.DataFrame({"age": [20., 40., 60., 80.], "smoker": [True, False, False, True],
                      "ward": ["b", "a", "c", "a"], "visits": [0, 3, 1, 9]})

def test_a_table_goes_there_and_back():
    table = Table(FRAME, counts=["visits"])
    assert table.columns == ("number", "binary", 3, "count")
    x = table(FRAME)
    close(x[:, 0], torch.tensor(stats.zscore(FRAME.age.to_numpy())).float())
    assert x[:, 2].tolist() == [1, 0, 2, 0] and x.dtype == torch.float32
    pd.testing.assert_frame_equal(table.back(x), FRAME.astype({"visits": float}), rtol=1e-5)
    assert table.modality("row") == Modality("row", "table", (4,), ("number", "binary", 3, "count"))

def test_tables_refuse():
    table = Table(FRAME)
    for make, words in [(lambda: Table(FRAME.assign(age=[1., None, 2., 3.])), "^age: got 1 rows without"),
                        (lambda: Table(FRAME, counts=["visit"]), "^counts: got 'visit'"),
                        (lambda: Table(FRAME.assign(ward="a")), "^ward: got one class"),
                        (lambda: table(FRAME.assign(ward="z")), "^class in ward: got 'z'"),
                        (lambda: table(FRAME[["age"]]), "^columns: got a table that lacks 'smoker', 'ward'"),
                        (lambda: Mixed(("number", "numeral")), "^columns: got 'numeral'"),
                        (lambda: Mixed((1,)), "^classes in columns: got 1")]:
        with pytest.raises(MmvaeError, match=words): make()

def test_each_column_has_its_own_law():
    columns = ("number", "binary", 3, "count")
    law, x = Mixed(columns), Table(FRAME, counts=["visits"])(FRAME)
    a = torch.randn(4, 6, generator=rng(4))
    p = dict(t=a[:, 0], b=a[:, 1].sigmoid(), c=a[:, 2:5].softmax(1), n=a[:, 5].exp())
    p = {k: v.numpy().astype(float) for k, v in p.items()}
    known = stats.t(5, p["t"], .5).logpdf(x[:, 0]) + stats.bernoulli(p["b"]).logpmf(x[:, 1]) + \
        np.log(p["c"][range(4), x[:, 2].long()]) + stats.poisson(p["n"]).logpmf(x[:, 3])
    close(law.log_prob(x, a).detach(), torch.tensor(known).float(), 1e-4, 1e-4)
    mean = law.mean(a)
    close(mean, torch.stack([a[:, 0], a[:, 1].sigmoid(), a[:, 2:5].argmax(1).float(), a[:, 5].exp()], 1))
    with torch.no_grad(): drawn = law.sample(a[:1].expand(20_000, 6), rng(5))
    close(drawn[:, 1].mean(), torch.tensor(p["b"][0]).float(), 0, .02)
    close(drawn[:, 2].long().bincount(minlength=3)/20_000, torch.tensor(p["c"][0]).float(), 0, .02)
    close(drawn[:, 3].mean(), torch.tensor(p["n"][0]).float(), .05, .02)

def test_the_encoder_of_a_table_sees_every_class():
    seen = TableEncoder(("number", 3, "count"), 5)
    x = torch.tensor([[.5, 2., 9.]])
    by_hand = torch.tensor([[.5, 0, 0, 1, math.log(10)]])
    close(seen(x), seen.net(by_hand))


# ---- kinds in data, models and files

def mixed_data(n=60):
    g = np.random.default_rng(1)
    frame = pd.DataFrame({"a": g.normal(5, 2, n), "b": g.integers(0, 2, n) > 0, "c": g.choice(["x", "y", "z"], n)})
    table = Table(frame)
    arrays = {"cells": g.poisson(4, (n, 3)), "flags": g.integers(0, 2, (n, 4)) > 0, "group": g.integers(0, 5, (n, 1)),
              "pulse": g.normal(size=(n, 13, 2)).astype("float32")}
    kinds = dict(cells="counts", flags="binary", group="categories", pulse="sequence")
    known = TensorData(arrays, kinds=kinds)
    return TensorData({**known.pools, "row": table(frame)},
                      modalities={**known.modalities, "row": table.modality("row")})

def test_whole_numbers_become_what_they_are_said_to_be():
    data = mixed_data()
    assert {n: x.dtype for n, x in data.pools.items()} == dict(
        cells=torch.float32, flags=torch.float32, group=torch.int64, pulse=torch.float32, row=torch.float32)
    assert {n: type(s.likelihood).__name__ for n, s in default_specs(data.modalities).items()} == dict(
        cells="NegativeBinomial", flags="Bernoulli", group="Categorical", pulse="StudentT", row="Mixed")
    assert len(data.checksum) == 12                                          # of a column that lies askew, too

@pytest.mark.parametrize("x, kind, words", [
    (-torch.ones(4, 2), "counts", "^counts of x: got -1"), (2*torch.ones(4, 2), "binary", "^values of x: got 2"),
    (torch.ones(4, 2), "categories", "^x: got torch.float32"), (torch.ones(4, 2), "sequence", r"allowed .*\(T, C\)"),
    (torch.ones(4, 2, 3), None, "kinds={'x': 'sequence'}"), (torch.ones(4, 2), "table", "^x: got the vocabulary None")])
def test_kinds_are_checked(x, kind, words):
    with pytest.raises(MmvaeError, match=words): TensorData({"x": x}, kinds={"x": kind} if kind else None)

def test_every_kind_trains_generates_and_comes_back_from_a_file(tmp_path):
    data = mixed_data()
    torch.manual_seed(0)
    model = MoPoE(default_specs(data.modalities, {n: 1. for n in data.modalities}), 3)
    history = fit(model, data, 30, 20, lr=5e-3, device="cpu", progress=False)
    assert history.total.iloc[-1] < history.total.iloc[0]
    assert model.specs["cells"].likelihood.log_r.sub(math.log(2)).abs().min() > 0            # it has learnt
    made = model.generate({"pulse": data.pools["pulse"][:5]}, sample="x", n=2)
    assert {n: tuple(x.shape) for n, x in made.items()} == {n: (2, 5, *m.shape) for n, m in data.modalities.items()}
    assert made["group"].dtype == torch.int64 and (made["cells"] == made["cells"].round()).all()
    save(model, tmp_path/"m.safetensors")
    again, batch = load(tmp_path/"m.safetensors"), data.batch(0, 7)
    for a, b in zip(model.generate(batch).values(), again.generate(batch).values()): assert torch.equal(a, b)
    scale = lambda m: m.specs["row"].likelihood.learnt[0].log_scale
    assert torch.equal(scale(again), scale(model))
    z = torch.zeros(7, 3)
    for n, v in model.log_likelihoods(batch, z).items(): close(v, again.log_likelihoods(batch, z)[n])

@pytest.mark.parametrize("T", [1, 2, 5, 8, 31])
def test_series_of_any_length(T):
    spec = sequence_spec((T, 2))
    x = torch.randn(3, T, 2, generator=rng())
    assert UnimodalEncoder(spec, 4)(x).mean.shape == (3, 4)
    assert spec.log_prob(x, spec.decoder(4)(torch.randn(3, 4))).shape == (3,)

def test_a_category_that_training_never_saw_names_the_modality():
    spec = category_spec((1,), 3)
    with pytest.raises(MmvaeError, match="^a modality: got"): UnimodalEncoder(spec, 2)(torch.tensor([[7]]))

def test_a_kind_of_one_s_own(monkeypatch):
    from mmvae_nb import data, networks
    monkeypatch.setattr(data, "_kinds", dict(data._kinds))
    make = lambda m, w: ModalitySpec(lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 4)), 4,
                                     lambda z: nn.Sequential(nn.Linear(z, 6), nn.Unflatten(1, (2, 3))), Poisson(), w)
    register_kind("grid", make, axes=2)
    try:
        x = TensorData({"x": torch.ones(9, 2, 3)}, kinds={"x": "grid"})
        spec = default_specs(x.modalities, {"x": 3})["x"]
        assert spec.weight == 3 and spec.modality.kind == "grid"
        with pytest.raises(MmvaeError, match="^x: got items of shape"):
            TensorData({"x": torch.ones(9, 2)}, kinds={"x": "grid"})
    finally: networks.SPECS.pop("grid")

def test_specs_by_kind_need_no_import_of_this_lesson():
    "In a fresh process: `default_specs` finds the kinds of lesson 02f by itself."
    import subprocess, sys
    code = ("from mmvae_nb.networks import default_specs; from mmvae_nb.data import Modality\n"
            "print(type(default_specs({'x': Modality('x', 'counts', (3,))})['x'].likelihood).__name__)")
    r = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=3000)
    assert r.stdout.strip() == "NegativeBinomial", r.stderr
