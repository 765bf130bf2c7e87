"A user's own modalities, networks and likelihoods."

import numpy as np, pytest, torch
from torch import nn

from mmvae_nb.core import MmvaeError
from mmvae_nb.data import TensorData
from mmvae_nb.distillation import Students, distill
from mmvae_nb.distributions import Bernoulli, DiagonalGaussian, Gaussian, Laplace
from mmvae_nb.iterative_inference import Refiner, RefinerTraining, Replay
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import StudentsOverT
from mmvae_nb.networks import default_specs
from mmvae_nb.training import fit
from model_helpers import *


# ---- a user's own modalities

def own_data(kind):
    g = rng(5)
    z = torch.randn(48, 2, generator=g)
    if kind == "vectors":
        return TensorData({"a": z@torch.randn(2, 3, generator=g), "b": (z@torch.randn(2, 5, generator=g)).numpy()})
    if kind == "text and image":
        return TensorData({"word": torch.randint(0, 5, (48, 4), generator=g),
                           "picture": torch.rand(48, 2, 8, 8, generator=g)}, kinds={"word": "text"})
    return TensorData({"odd": torch.randint(0, 256, (48, 1, 7, 9), generator=g, dtype=torch.uint8),
                       "sentence": torch.randint(0, 9, (48, 16), generator=g), "v": z, "w": -z},
                      kinds={"sentence": "text"})

def trains(method, specs, data, latent=4):
    model = fresh(method, specs, latent)
    before = state(model)
    history = fit(model, data, 2, 8, device="cpu", progress=False)
    assert np.isfinite(history.total).all() and len(history) == 2
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    own = set(specs) if hasattr(model, "encoders") else set()
    assert {k.split(".")[1] for k in changed if k.startswith("encoders.")} == own
    assert changed and not model.training
    return model

@every_method
def test_hand_written_specs_train(method):
    data = own_data("vectors")
    model = trains(method, vector_specs(), data)
    batch = data.batch(0, 8)
    made = model.generate(batch if method in TEACHERS else {"b": batch["b"]}, to="a")
    assert tuple(made["a"].shape) == (8, 3) and made["a"].isfinite().all()

@pytest.mark.parametrize("kind", ["vectors", "three kinds"])
@pytest.mark.parametrize("method", ["jvae", "jmvae", "mopoe", "iterative", "jvae_students", "iterative_students"])
def test_own_tensors_train_with_default_specs(method, kind):
    data = own_data(kind)
    model = trains(method, default_specs(data.modalities), data)
    made = model.generate(torch.zeros(3, 4))
    assert {n: tuple(x.shape[1:]) for n, x in made.items()} == {n: tuple(m.shape) for n, m in data.modalities.items()}

@pytest.mark.parametrize("length", [8, 12, 16, 32, 4])
def test_texts_of_every_allowed_length(length):
    data = TensorData({"word": torch.randint(0, 5, (20, length), generator=rng(0)),
                       "v": torch.randn(20, 3, generator=rng(1))}, kinds={"word": "text"})
    model = JVAE(default_specs(data.modalities), 4)
    total, _ = model.loss(data.batch(0, 8))
    assert total.isfinite() and model.generate(torch.zeros(2, 4), "word")["word"].shape == (2, length)

def test_distill_makes_students_that_come_closer():
    data = own_data("vectors")
    teacher = fresh("jvae", vector_specs(), 4)
    before = state(teacher)
    torch.manual_seed(0)
    far = Students(teacher).loss(data.pools).total
    students = distill(teacher, data, 40, batch_size=16, lr=0.01, device="cpu", progress=False)
    near = students.loss(data.pools).total
    assert near < 0.7*far
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())

@pytest.mark.parametrize("method", ["mopoe", "jmvae", "jvae_students"])
def test_whatever_infers_from_everything_can_teach(method):
    "Also students can: they are imitated themselves, not their own teacher."
    model, batch = Students(fresh(method, vector_specs(), 4)), vectors()
    wanted = model.teacher.infer(batch)
    targets = model.targets(batch)
    assert list(targets) == list(SIZES)
    for q in targets.values(): assert torch.equal(q.mean, wanted.mean) and not q.mean.requires_grad


# ---- what a researcher's own networks bring along

@pytest.mark.parametrize("likelihood", [Gaussian(), Laplace(), Bernoulli()], ids=lambda l: type(l).__name__)
@pytest.mark.parametrize("x, params", [((4, 1), (4,)), ((4, 1, 2, 2), (4, 2, 2)), ((4, 3), (4, 1))])
def test_likelihoods_do_not_broadcast(likelihood, x, params):
    with pytest.raises(MmvaeError, match="^params: got shape"): likelihood.log_prob(torch.zeros(x), torch.zeros(params))
    assert likelihood.log_prob(torch.zeros(x), torch.zeros(x)).shape == (4,)

class LearntScale(nn.Module):
    "A Gaussian whose deviation is learnt."
    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))
    def log_prob(self, x, params):
        return torch.distributions.Normal(params, self.log_scale.exp()).log_prob(x).sum(1)
    def mean(self, params): return params

def test_a_likelihood_with_parameters_is_trained_and_saved():
    x = .02*torch.randn(64, 3, generator=rng())
    model = JVAE({"a": vector_spec(3, LearntScale())}, 2)
    fit(model, TensorData({"a": x}), 60, 32, lr=.05, device="cpu", progress=False)
    assert model.specs["a"].likelihood.log_scale < -1 and "likelihoods.a.log_scale" in model.state_dict()

@pytest.mark.parametrize("name", ["values", "train", "a.b", ""])
def test_names_that_torch_can_not_hold(name):
    with pytest.raises(MmvaeError, match="^specs: got a modality called"): JVAE({name: vector_spec(3)}, 2)

@pytest.mark.parametrize("kind", ["refiner", "on_decoders"])
def test_what_is_frozen_stays_as_it_is(kind):
    torch.manual_seed(0)
    part, trained = frozen(kind)
    before = {k: v.clone() for k, v in part.state_dict().items()}
    data = TensorData({n: torch.randn(32, 3, generator=rng(i)) for i, n in enumerate("ab")})
    fit(trained, data, 3, 16, device="cpu", progress=False)
    assert all(torch.equal(v, before[k]) for k, v in part.state_dict().items())
    trained.train()
    decoders = part.decoders if kind == "refiner" else part
    z = torch.randn(5, 2, generator=rng())
    assert torch.equal(decoders["a"](z), decoders["a"](z))                  # no dropout

@pytest.mark.parametrize("size, share", [(1, .6), (2, .8), (8, .95)])
def test_replay_lets_new_items_in(size, share):
    replay, seen = Replay(share), set()
    for k in range(20):
        batch, q, _ = replay.mix({"a": torch.full((size, 1), float(k))}, DiagonalGaussian.standard(size, 3))
        seen |= set(batch["a"].flatten().tolist()); replay.store(batch, q, None)
    assert len(seen) == 20

def test_a_refiner_is_validated_on_what_it_is_given():
    torch.manual_seed(0)
    model = RefinerTraining(JVAE(vector_specs(), 4), Refiner(4, 8), steps=1)
    model.train()(vectors()); stored = model.replay.stored
    model.eval()(vectors())
    assert model.replay.stored is stored

def test_t_is_for_teachers_that_refine():
    for teacher in (JVAE(vector_specs(), 4), Students(iterative(vector_specs(), 4))):
        with pytest.raises(MmvaeError, match="^steps: got 3"): Students(teacher, steps=3)

def test_students_over_t_infer_and_refuse():
    torch.manual_seed(0)
    students = StudentsOverT(iterative(vector_specs(), 4), over=(0, 2)).eval()
    with torch.no_grad():
        assert torch.equal(students.infer(vectors()).mean, students.at(2).infer(vectors()).mean)
    students.train(); students.infer(vectors())
    assert students.encoders["T=2"].training and students.encoders["T=0"].training
    for over in ((), (-1, 2), (1.5,)):
        with pytest.raises(MmvaeError, match="^over: "): StudentsOverT(iterative(vector_specs(), 4), over)
