"Lessons 02 to 10: the contract every model keeps."
import ast, inspect, math, warnings
from pathlib import Path

import pytest, torch
from torch import nn

import mmvae_nb
from mmvae_nb.core import MmvaeError
from mmvae_nb.data import Modality
from mmvae_nb.distillation import Students
from mmvae_nb.distributions import Categorical, DiagonalGaussian, Gaussian, Laplace, Posterior
from mmvae_nb.iterative_inference import Refiner, RefinerTraining, refine
from mmvae_nb.jmvae import JMVAE
from mmvae_nb.mopoe import MMVAE, MVAE, MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import StudentsOverT
from mmvae_nb.multimodal_iterative import IterativeTeacher
from mmvae_nb.networks import ModalitySpec, default_specs
from mmvae_nb.training import fit
from model_helpers import *


# ---- the three calls, for every subset

def right_items(made, to, n=BATCH):
    assert list(made) == to
    for name in to:
        x = made[name]
        assert tuple(x.shape) == (n, *SHAPES[name])
        if name == "text": assert x.dtype == torch.int64 and 0 <= x.min() and x.max() <= 70
        else: assert 0 <= x.min() and x.max() <= 1

def names_missing(error, names, kind):
    text = one_line(error)
    missing = [n for n in NAMES if n not in names]
    assert f"needs {', '.join(missing)} too" in text and f"got {', '.join(names)};" in text and kind in text

@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
@every_method
def test_infer_and_generate_for_every_subset(method, model, batch, names):
    given_part, kind = part(batch, names), type(model).__name__
    if method in TEACHERS and len(names) < 3:
        for call in (model.infer, model.generate):
            with pytest.raises(MmvaeError) as e: call(given_part)
            names_missing(e, names, kind)
        return
    right_posterior(model.infer(given_part))
    right_items(model.generate(given_part), NAMES)
    for to in ["svhn", ["text", "mnist"]]:
        for sample in (False, True):
            right_items(model.generate(given_part, to=to, sample=sample), [to] if isinstance(to, str) else to)

@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
@every_method
def test_loss_for_every_subset(method, model, batch, names):
    given_part = part(batch, names)
    if len(names) < 3 and method.startswith("jvae") and method != "jvae_with_students":   # a joint encoder
        with pytest.raises(MmvaeError) as e: model.loss(given_part)
        return names_missing(e, names, "JVAE")
    total, parts = model.loss(given_part)
    assert total.shape == () and total.isfinite() and parts and all(isinstance(k, str) for k in parts)
    for v in parts.values(): assert v.shape == () and v.isfinite() and not v.requires_grad
    assert model(given_part).total.shape == ()            # what `fit` calls

@every_method
def test_wrong_batches_get_one_line(method, model, batch):
    for bad, words in [({}, "got no modality"), ({"audio": batch["mnist"]}, "audio"),
                       ({**batch, "audio": batch["mnist"]}, "audio"),
                       ({**batch, "svhn": batch["svhn"][:3]}, f"[{BATCH}, 3, {BATCH}]")]:
        for call in (model.infer, model.generate, model.loss):
            with pytest.raises(MmvaeError) as e: call(bad)
            assert words in one_line(e)
    with pytest.raises(MmvaeError) as e: model.generate(torch.zeros(2, LATENT), to="audio")
    assert one_line(e) == "to: got 'audio', allowed: mnist, svhn, text"

@every_method
def test_the_order_of_keys_does_not_matter(method, model, batch, no_noise):
    turned = {n: batch[n] for n in reversed(NAMES)}
    a, b = model.infer(batch), model.infer(turned)
    assert torch.equal(a.mean, b.mean) and torch.equal(a.logvar, b.logvar)

@every_method
def test_generate_decodes_the_posterior_mean_or_a_seeded_sample(method, model, batch, request):
    refines = method in TEACHERS and method != "jvae"
    if refines: request.getfixturevalue("no_noise")           # refining draws noise of its own
    q = model.infer(batch)
    for n, x in model.generate(batch).items(): close(x, model.specs[n].likelihood.mean(model.decoders[n](q.mean)))
    if refines: return
    z = q.mean + q.std*torch.randn(q.mean.shape, generator=rng(7))
    for n, x in model.generate(batch, sample=True, generator=rng(7)).items():
        close(x, model.specs[n].likelihood.mean(model.decoders[n](z)))
    assert not torch.equal(model.generate(batch, "svhn", sample=True)["svhn"], model.generate(batch, "svhn")["svhn"])


# ---- no item depends on its neighbours

def subsets_that_work(method): return [tuple(NAMES)] if method in TEACHERS else SUBSETS

@every_method
def test_an_item_alone_is_the_item_in_a_batch(method, model, batch, no_noise):
    for names in subsets_that_work(method):
        q, made = model.infer(part(batch, names)), model.generate(part(batch, names))
        assert q.mean.std(0).max() > 0.01                     # items do differ, so a mix-up would show
        for i in (0, 3, BATCH - 1):
            alone = part(batch, names, slice(i, i + 1))
            p = model.infer(alone)
            close(p.mean, q.mean[i:i + 1], 1e-4, 1e-4); close(p.logvar, q.logvar[i:i + 1], 1e-4, 1e-4)
            for n, x in model.generate(alone, ["mnist", "svhn"]).items(): close(x, made[n][i:i + 1], 1e-4, 1e-4)

@every_method
def test_a_permuted_batch_gives_permuted_results(method, model, batch, no_noise):
    order = torch.randperm(BATCH, generator=rng(1))
    assert not torch.equal(order, torch.arange(BATCH))
    for names in subsets_that_work(method):
        q, p = model.infer(part(batch, names)), model.infer(part(batch, names, order))
        close(p.mean, q.mean[order], 1e-4, 1e-4); close(p.logvar, q.logvar[order], 1e-4, 1e-4)
        a, b = model.generate(part(batch, names)), model.generate(part(batch, names, order))
        for n in ("mnist", "svhn"): close(b[n], a[n][order], 1e-4, 1e-4)
        assert (b["text"] == a["text"][order]).float().mean() > 0.98    # a tie of two tokens may fall either way

@every_method
def test_training_mode_changes_no_result(method, specs, batch, no_noise):
    "No batch statistics, no dropout: the same posterior while training."
    model = fresh(method, specs)
    a, b = model.train().infer(batch), model.eval().infer(batch)
    assert torch.equal(a.mean, b.mean) and torch.equal(a.logvar, b.logvar)

@pytest.mark.parametrize("method", [
    "jvae", "jmvae", "mvae", "mopoe_exact", "crmvae", "jvae_students", "iterative_students"])
def test_the_loss_is_the_mean_of_the_items_losses(method, model, batch, no_noise):
    alone = torch.stack([model.loss(part(batch, NAMES, slice(i, i + 1))).total for i in range(BATCH)])
    assert alone.std() > 1e-3*alone.mean().abs()
    close(model.loss(batch).total, alone.mean(), 1e-4, 1e-4)

@every_method
def test_repeating_items_repeats_results(method, model, batch, no_noise):
    twice = {n: x[:2].repeat_interleave(2, 0) for n, x in batch.items()}
    q = model.infer(twice)
    close(q.mean[0], q.mean[1], 1e-4, 1e-4); close(q.mean[2], q.mean[3], 1e-4, 1e-4)
    assert (q.mean[0] - q.mean[2]).abs().max() > 1e-3


# ---- what learns and what does not

def learns(model, batch):
    "Names of parameters with a gradient that is not all zero."
    model.train(); model.zero_grad(set_to_none=True)
    torch.manual_seed(0); model.loss(batch).total.backward()
    return {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}

def belongs(names, *parts): return {n for n in names if n.split(".")[0] in parts}

@pytest.mark.parametrize("method, parts", [
    ("jvae", ("encoder", "decoders")), ("jmvae", ("encoder", "encoders", "decoders")),
    ("mopoe", ("encoders", "decoders")), ("mvae", ("encoders", "decoders")), ("mmvae", ("encoders", "decoders")),
    ("iterative", ("encoders", "decoders", "refiner")), ("iterative_marino", ("encoders", "decoders", "refiner")),
    ("iterative_last", ("encoders", "decoders", "refiner")), ("iterative_frozen", ("encoders", "refiner")),
    ("mvtcae", ("encoders", "decoders")), ("mvtcae_students", ("encoders",)), ("crmvae", ("encoders", "decoders")),
    ("jvae_with_students", ("encoder", "encoders", "decoders")),
    ("iterative_on_decoders", ("encoders", "refiner")),
    ("jvae_students", ("encoders",)), ("iterative_students", ("encoders",)),
    ("iterative_students_warm", ("encoders",))])
def test_gradients_reach_what_they_should_and_nothing_else(method, parts, specs, data):
    model = fresh(method, specs)
    batch = data.batch(0, 32)
    everything = {n for n, _ in model.named_parameters()}
    got = learns(model, batch)
    assert got == belongs(got, *parts), "something learns that should not"
    # a bias before a normalisation, or a dead unit, may have an exactly zero gradient: allow a few
    silent = belongs(everything, *parts) - got
    assert len(silent) <= 2, silent
    for p in parts:                                            # every modality's own network learns
        if p in ("encoders", "decoders"): assert {n.split(".")[1] for n in got if n.startswith(p + ".")} == set(NAMES)

@pytest.mark.parametrize("method", ["jvae_students", "iterative_students", "iterative_students_warm"])
def test_an_optimiser_step_of_students_leaves_the_teacher_as_it_was(method, specs, batch):
    model = fresh(method, specs).train()
    assert not model.teacher.training and model.training      # the teacher stays in evaluation mode
    before = state(model)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.01)
    for _ in range(2):
        optimiser.zero_grad(); model.loss(batch).total.backward(); optimiser.step()
    after = model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed and all(k.startswith("encoders.") for k in changed)
    assert {k.split(".")[1] for k in changed} == set(NAMES)
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith(("teacher.", "decoders.")))
    assert model.decoders is model.teacher.decoders           # students draw with their teacher's decoders

def test_fit_trains_frozen_models_only_where_it_may(specs, data):
    model = fresh("iterative_frozen", specs)
    before = state(model)
    fit(model, data, 2, 8, device="cpu", progress=False)
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"encoders", "refiner"}

def test_a_students_warm_start_is_a_copy(specs):
    teacher = fresh("iterative", specs)
    model = Students(teacher, warm_start=True)
    for a, b in zip(teacher.encoders.parameters(), model.encoders.parameters()):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr() and b.requires_grad and not a.requires_grad
    cold = Students(teacher)
    assert any(not torch.equal(a, b) for a, b in zip(teacher.encoders.parameters(), cold.encoders.parameters()))

@pytest.mark.parametrize("decoders, frozen", [
    ("mean", False), ("mean", True), ("last", False), ("frozen", False), ("frozen", True),
    ("last", True)])
def test_a_loss_leaves_the_flags_of_parameters_as_they_were(decoders, frozen, specs, batch):
    model = fresh("iterative", specs) if decoders == "mean" else fresh(f"iterative_{decoders}", specs)
    if frozen: Students(model)                                # freezes its teacher
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    if frozen: assert not any(flags.values())
    with torch.set_grad_enabled(not frozen): model.loss(batch)
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags

def test_without_a_pull_jmvaes_unimodal_encoders_learn_nothing(specs, batch):
    model = JMVAE(specs, LATENT, alpha=0.)
    assert not belongs(learns(model, batch), "encoders") and belongs(learns(model, batch), "encoder", "decoders")


# ---- mixed precision

@every_method
def test_bfloat16_is_close_to_float32(method, specs, batch):
    model = fresh(method, specs).train()
    torch.manual_seed(9); full = model.loss(batch).total
    torch.manual_seed(9)
    with torch.autocast("cpu", torch.bfloat16): half = model.loss(batch).total
    assert half.dtype == torch.float32 and half.item() != full.item()
    assert abs(half.item() - full.item()) < 0.03*abs(full.item()) + 0.05

@every_method
def test_bfloat16_gradients_reach_the_same_parameters(method, specs, batch):
    model = fresh(method, specs)
    full = learns(model, batch)
    with torch.autocast("cpu", torch.bfloat16): half = learns(model, batch)
    assert len(full ^ half) <= 2, full ^ half

@pytest.mark.parametrize("earlier", [0, 2])
def test_a_refiner_learns_in_bfloat16_also_from_continued_items(earlier):
    torch.manual_seed(0)
    training = RefinerTraining(JVAE(vector_specs(), 4), Refiner(4, 16), steps=2)
    for _ in range(earlier): training(vectors())
    grads = {}
    for name, context in [("float32", torch.autocast("cpu", enabled=False)),
                          ("bf16", torch.autocast("cpu", torch.bfloat16))]:
        training.zero_grad(set_to_none=True)
        torch.manual_seed(1)
        with context: total = training(vectors()).total
        total.backward()
        grads[name] = {n for n, p in training.refiner.named_parameters()
                       if p.grad is not None and p.grad.abs().sum() > 0}
    assert grads["float32"] == grads["bf16"] == {n for n, _ in training.refiner.named_parameters()}


# ---- options with typing errors

def tiny(cls, **options): return lambda: cls(vector_specs(), 4, **options)

@pytest.mark.parametrize("call, name, wrong, allowed", [
    (tiny(IterativeTeacher, refiner="our"), "refiner", "'our'", ["ours", "marino"]),
    (tiny(IterativeTeacher, decoders="all"), "decoders", "'all'", ["mean", "last", "frozen"]),
    (tiny(IterativeTeacher, steps=0), "steps", "0", ["at least 1"]),
    (tiny(IterativeTeacher, steps=1.5), "steps", "1.5", ["whole"]),
    (tiny(MoPoE, subsets="singleton"), "subsets", "'singleton'", ["powerset", "full", "singletons"]),
    (tiny(JMVAE, alpha=-1), "alpha", "-1", ["at least 0"]),
    (tiny(JMVAE, warm_up=1.5), "warm_up", "1.5", ["whole"]),
    (tiny(JVAE, beta=float("nan")), "beta", "nan", ["at least 0"]),
    (lambda: JVAE(vector_specs(), 0), "latent", "0", ["at least 1"]),
    (lambda: Students(JVAE(vector_specs(), 4), direction="backward"),
     "direction", "'backward'", ["forward", "reverse"]),
    (lambda: Students(JVAE(vector_specs(), 4), warm_start=True), "warm_start", "True", ["False"]),
    (lambda: default_specs({"m": Modality("m", "vector", (3,))}, weights={"n": 1}), "weights", "'n'", ["m"]),
    (lambda: Laplace(0), "scale", "0", ["at least"]),
    (lambda: ModalitySpec(nn.Identity, 3, nn.Identity, Gaussian(), weight=-1), "weight", "-1", ["at least 0"]),
    (lambda: fresh("iterative", vector_specs(), 4).trajectory(vectors(), "c"), "start", "'c'", ["a", "b"]),
    (lambda: refine(None, None, None, -1), "steps", "-1", ["at least 0"]),
])
def test_wrong_options_get_one_line(call, name, wrong, allowed):
    with pytest.raises(MmvaeError) as e: call()
    text = one_line(e)
    assert text.startswith(f"{name}: got {wrong}, allowed: ") and all(a in text.split("allowed:")[1] for a in allowed)

def test_no_method_swallows_unknown_options():
    for cls in (JVAE, JMVAE, MoPoE, IterativeTeacher, Students):
        assert not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())

def test_default_specs_make_models_that_train_without_a_norm_over_the_batch(data):
    specs = default_specs(data.modalities)
    model = JVAE(specs, LATENT)
    norms = [m for m in model.modules() if "Norm" in type(m).__name__]
    assert {type(m).__name__ for m in norms} == {"GroupNorm", "Normalize"}
    assert not any(isinstance(m, nn.GroupNorm) for m in model.decoders["svhn"].modules())
    assert fit(model, data, 1, 8, device="cpu", progress=False).total.map(math.isfinite).all()
    assert isinstance(specs["text"].likelihood, Categorical)


# ---- a posterior is what has its answers, not what is Gaussian

class Stretched:
    "A Gaussian pushed through z = sinh(u), coordinate by coordinate; its KL by samples."
    def __init__(self, base): self.base = base
    mean = property(lambda self: torch.sinh(self.base.mean))       # the median stands for the whole
    def __len__(self): return len(self.base)
    def __getitem__(self, i): return Stretched(self.base[i])
    def detach(self): return Stretched(self.base.detach())
    def rsample(self, n=None, generator=None): return torch.sinh(self.base.rsample(n, generator))
    def log_prob(self, z):
        u = torch.asinh(z)
        return self.base.log_prob(u) - torch.log(torch.cosh(u)).sum(-1)
    def kl(self, other=None):
        z = self.rsample(64, rng(0))
        other = DiagonalGaussian.standard(len(self), z.shape[-1]) if other is None else other
        return (self.log_prob(z) - other.log_prob(z)).mean(0)
    @classmethod
    def cat(cls, parts): return cls(DiagonalGaussian.cat([p.base for p in parts]))

class Flow(JVAE):
    def infer(self, batch): return Stretched(super().infer(batch))

def test_a_density_pushed_through_a_map_integrates_to_one():
    q = Stretched(DiagonalGaussian(torch.tensor([[0.7]]), torch.tensor([[-1.]])))
    z = torch.linspace(-30, 60, 90_001)
    assert abs(torch.trapezoid(q.log_prob(z[:, None, None])[:, 0].exp(), z) - 1) < 1e-3
    assert isinstance(q, Posterior) and not isinstance(z, Posterior)

def test_a_posterior_that_is_no_gaussian_has_an_elbo_generates_and_teaches_students():
    torch.manual_seed(0)
    model, batch = Flow(vector_specs(), 4), vectors(20)
    q, z = model.infer(batch), model.infer(batch).rsample(generator=rng(1))
    close(model.elbo(batch, q, rng(1)), log_p(model, batch, z) - model.beta*q.kl())
    ratio = q.log_prob(z) - DiagonalGaussian.standard(20, 4).log_prob(z)
    close(model.elbo(batch, q, rng(1), path=True), log_p(model, batch, z) - model.beta*ratio)
    total = model.loss(batch).total
    total.backward()
    assert total.isfinite() and all(p.grad is not None for p in model.encoder.parameters())
    assert set(model.generate(batch)) == set(SIZES) == set(model.generate(batch, sample=True))
    students = Students(model)
    before = students.loss(batch).total.item()
    optimiser = torch.optim.Adam(students.encoders.parameters(), 1e-2)
    for _ in range(30): optimiser.zero_grad(); students.loss(batch).total.backward(); optimiser.step()
    assert students.loss(batch).total < before

# ---- what a model says of itself

def test_a_model_says_what_it_can(specs):
    says = {m: (model.needs_all, model.refines, model.own_decoders, model.teacher is not None)
            for m in MAKE for model in [fresh(m, specs)]}
    assert {m for m, (needs, *_) in says.items() if needs} == set(TEACHERS)
    assert {m for m, (_, refines, *_) in says.items() if refines} == set(TEACHERS) - {"jvae"}
    assert {m for m, (_, _, own, _) in says.items() if not own} == {"iterative_frozen", "iterative_on_decoders"}
    students = {m for m in MAKE if "students" in m} - {"jvae_with_students"}
    assert {m for m, (*_, taught) in says.items() if taught} == students

def test_a_model_is_its_only_variant_and_students_over_t_are_one_each(specs):
    model = fresh("mopoe", specs)
    assert model.variants() == {"": model}
    several = StudentsOverT(fresh("iterative", specs), over=(0, 2))
    assert list(several.variants()) == [", T=0", ", T=2"]
    assert several.variants()[", T=2"].encoders is several.encoders["T=2"]

def test_mvae_and_mmvae_are_corners_of_mopoe_with_the_same_weights(specs, batch):
    for cls, kind in [(MVAE, "full"), (MMVAE, "singletons")]:
        torch.manual_seed(3); a = cls(specs, LATENT)
        torch.manual_seed(3); b = MoPoE(specs, LATENT, subsets=kind)
        assert isinstance(a, MoPoE) and a.subsets == b.subsets and list(a.state_dict()) == list(b.state_dict())
        torch.manual_seed(4); x = a.loss(batch).total
        torch.manual_seed(4); assert torch.equal(x, b.loss(batch).total)

def test_a_modality_can_have_latents_of_its_own_by_replacing_decode():
    class Private(MoPoE):
        "The last two coordinates speak to modality b only."
        def decode(self, z, modality):
            if modality != "b": z = torch.cat([z[:, :-2], torch.zeros_like(z[:, -2:])], 1)
            return super().decode(z, modality)
    torch.manual_seed(0); model, batch, z = Private(vector_specs(), 4), vectors(), torch.randn(11, 4)
    moved = z + torch.tensor([0, 0, 1., 1.])
    for call in (lambda z: model.generate(z), lambda z: model.log_likelihoods(batch, z)):
        before, after = call(z), call(moved)
        assert torch.equal(before["a"], after["a"]) and not torch.equal(before["b"], after["b"])
    assert model.loss(batch).total.isfinite()

def test_every_module_of_the_package_compiles_without_a_warning():
    files = sorted(Path(mmvae_nb.__file__).parent.rglob("*.py"))
    assert len(files) > 20
    for path in files:
        with warnings.catch_warnings():
            warnings.simplefilter("error")                        # an escape such as \\l in a docstring
            compile(path.read_text(), str(path), "exec")
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert not doc.rstrip().endswith(","), f"{path.name}: half a subtitle"
