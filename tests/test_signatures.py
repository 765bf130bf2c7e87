"""What annotations say and calls are held to; what `help` shows; and small contracts of arguments."""
import inspect, typing, warnings

import pytest, torch

import mmvae_nb as m
from mmvae_nb.amortization_gap import gradient_ascent
from mmvae_nb.core import MmvaeError
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.signatures import checked
from model_helpers import iterative, one_line, rng, vector_spec

FUNCTIONS = [n for n in m.__all__ if inspect.isfunction(getattr(m, n))]

@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_says_what_every_argument_is_for(name):
    f = getattr(m, name)
    said = f.__doc__.split("Arguments\n---------\n")[1]
    for argument in inspect.signature(f).parameters: assert f"\n{argument}: " in f"\n{said}", argument

@pytest.mark.parametrize("name", [n for n in m.__all__ if inspect.isclass(getattr(m, n))])
def test_help_says_what_every_argument_of_a_class_is_for(name):
    cls = getattr(m, name)
    if issubclass(cls, (Exception, tuple)) or cls.__init__ is object.__init__: return
    said = f"{cls.__doc__}\n{cls.__init__.__doc__}"
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    asked = [n for n, p in inspect.signature(cls.__init__).parameters.items() if n != "self" and p.kind not in kinds]
    assert said.count("Arguments\n") <= 1, said
    for argument in asked: assert f"\n{argument}: " in said or f"`{argument}`: " in said, (argument, said)

def test_public_signatures_are_annotated():
    open_ones = {"data", "device", "checkpoint", "validation", "judge", "tell", "fit_options", "options", "labels",
                 "train", "present", "kwargs", "model", "counts"}
    for name in m.__all__:
        thing = getattr(m, name)
        if inspect.isclass(thing) and issubclass(thing, (Exception, tuple)) or thing in (m.Bernoulli,
             m.Categorical, m.Poisson):
            continue
        f = thing if inspect.isfunction(thing) else thing.__init__
        lacking = [n for n, p in inspect.signature(f).parameters.items() if p.annotation is p.empty and n != "self"]
        assert set(lacking) <= open_ones, (name, lacking)
        typing.get_type_hints(f)                                          # every name in them exists

def test_a_checked_function_keeps_its_face():
    @checked
    def f(a: int, *rest: str, b: float = 1.0): "What it does."; return a + b
    assert f(1, b=2) == 3 and f.__doc__ == "What it does." and list(inspect.signature(f).parameters) == ["a",
         "rest", "b"]
    with pytest.raises(MmvaeError, match="^b: got 'x', allowed: a number$"): f(1, b="x")
    with pytest.raises(TypeError, match="missing"): f()


# ---- an ascent that was too short; no gradients

def linear(q):
    W, x = torch.randn(12, 6, generator=rng(1)), torch.randn(16, 12, generator=rng(2))
    law = torch.distributions.Normal(q.mean @ W.T, .5)
    return law.log_prob(x).sum(-1) - 2*(q.var*(W.T @ W).diagonal()).sum(-1) - q.kl()

@pytest.mark.parametrize("steps, word", [(99, False), (200, True), (2500, False)])
def test_an_ascent_says_if_it_was_too_short(steps, word):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always"); gradient_ascent(linear, DiagonalGaussian.standard(16, 6), steps)
    assert len(told) == word and all(f"{steps} were too few" in str(w.message) for w in told)
    if word:
        with warnings.catch_warnings(): warnings.simplefilter("error"); gradient_ascent(
            linear, DiagonalGaussian.standard(16, 6), steps, tolerance=None)

def test_inference_mode_is_refused_where_gradients_are_taken():
    model, batch = iterative({"a": vector_spec(3), "b": vector_spec(3)}, 2), {n: torch.ones(2, 3) for n in "ab"}
    for call in (lambda: model(batch), lambda: model.infer(batch),
                 lambda: gradient_ascent(linear, DiagonalGaussian.standard(16, 6), 3)):
        with torch.inference_mode(), pytest.raises(MmvaeError,
             match="got called under torch.inference_mode") as e: call()
        one_line(e)
        with torch.no_grad(): call()


# ---- one modality; some modalities

def test_a_vae_draws_several_times():
    vae, x = m.VAE(vector_spec(3), "a", 2), {"a": torch.randn(5, 3, generator=rng(3))}
    made = vae.generate(x, n=7, generator=rng(4))["a"]
    z = vae.infer(x).rsample(7, rng(4))
    torch.testing.assert_close(made[2], vae.decoder(z[2]).detach())
    assert made.shape == (7, 5, 3) and not made.requires_grad and vae.generate(x)["a"].shape == (5, 3)
    for bad in (0, 2.5):
        with pytest.raises(MmvaeError, match="^n: got"): vae.generate(x, n=bad)
    with pytest.raises(MmvaeError, match="^n: got 3 for latents"): vae.generate(torch.zeros(1, 2), n=3)

def test_some_modalities_are_named_and_the_others_guessed():
    x = {"note": torch.zeros(4, 8, dtype=torch.int64), "size": torch.randn(4, 2, generator=rng())}
    data = m.TensorData(x, modalities=[m.Modality("note", "text", (8,), "ab")])
    assert data.modalities["note"].vocabulary == "ab" and data.modalities["size"].kind == "vector"

@pytest.mark.parametrize("how", [dict(lr=float("inf")), dict(accumulate=2**70), dict(lr=float("nan")),
     dict(accumulate=0)])
def test_a_training_without_end_or_bound_is_refused(how):
    data = m.TensorData({"a": torch.randn(32, 3, generator=rng())})
    name, = how
    with pytest.raises(MmvaeError, match=f"^{name}: got .*allowed: "):
        m.fit(m.JVAE(m.default_specs(data.modalities), 2), data, 3, 8, device="cpu", progress=False, **how)
