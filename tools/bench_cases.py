"What `make bench` measures: data, models, our training step, and the floor under it."
import functools
from functools import partial

import torch
from mmvae_nb.core import generator
from mmvae_nb.data import TensorData, as_float
from mmvae_nb.datasets.birds import cub
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.distillation import Students
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.jmvae import JMVAE
from mmvae_nb.mopoe import MMVAE, MVAE, MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher
from mmvae_nb.mvtcae import MVTCAE
from mmvae_nb.networks import default_specs
from mmvae_nb.training import Run, _checked

STEPS = (1, 2, 4, 8)   # values of T
METHODS = { # name -> function of (specs, latent)
    "jvae": JVAE, "jmvae": JMVAE, "mopoe": MoPoE, "mvae": MVAE, "mmvae": MMVAE, "mvtcae": MVTCAE,
    **{f"iterative_t{t}": partial(IterativeTeacher, steps=t) for t in STEPS},
    "jvae_student": lambda s, z: Students(JVAE(s, z)),
    "iterative_student": lambda s, z: Students(IterativeTeacher(s, z, steps=4)),
}


# ---- data and models

def made_up(count, # how many modalities
            split="train", items=2048):
    "Modalities of noise, all of one kind (3 x 16 x 16 bytes), so that only their number grows."
    noise = lambda m: torch.randint(0, 256, (items, 3, 16, 16), dtype=torch.uint8,
                                    generator=generator("bench", m))
    pools = {f"m{m}": noise(m) for m in range(count)}
    return TensorData(pools, name=f"made_up_{count}", split=split)

DATA = {"digits": mnist_svhn_text, "birds": cub, # drawn: what every machine has
        **{f"made_up_{n}": partial(made_up, n) for n in range(2, 7)}}

@functools.lru_cache(maxsize=1)
def data_of(name): # a key of DATA
    "The training data called `name`."
    return DATA[name]("train")

def model_of(method, data, latent=20, seed=0):
    "A new model on lesson 02e's networks; its weights depend on the names alone."
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return METHODS[method](default_specs(data.modalities), latent)

def trained(model): return [p for p in model.parameters() if p.requires_grad]


# ---- our step

def settings(model, data, batch, precision, updates=1000):
    "The settings of a training, as `fit` checks them."
    return _checked(model, data, updates=updates, epochs=None, batch_size=batch, accumulate=1,
                    lr=1e-3, seed=0, precision=precision, schedule="warmup_cosine", clip=100.)

def our_step(stack, # an `ExitStack`: the run ends with it
             model, data, batch, # items per update
             precision="float32", device="cpu"):
    "A training step exactly as `fit` does it, its batch included: a function of the update."
    how = settings(model, data, batch, precision)
    return stack.enter_context(Run(model, data, how, device, progress=False)).step


# ---- the floor

def ready(batch, # dict: name -> tensor
          device="cpu"):
    "A batch as networks like it best: images as floats, channels last; made before the clock runs."
    def one(x):
        x = as_float(x) if x.dtype == torch.uint8 else x
        x = x.to(device)
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
    return {n: one(x) for n, x in batch.items()}

def _leaf(*shape, device="cpu"): return torch.randn(shape, device=device, requires_grad=True)

def networks(model, batch): # -> list of functions, each: () -> tensors to be trained on
    """The calls of networks that the objective asks for, each once.

    A refined posterior asks for the decoders at t = 0..T and for the refiner T times. A student
    asks for its teacher's encoder too, without a gradient.
    """
    size, device = len(next(iter(batch.values()))), next(model.parameters()).device
    leaf = partial(_leaf, size, model.latent, device=device)
    of = lambda q: [q.mean, q.logvar]
    calls, steps = [], model.steps if model.refines else 0
    if hasattr(model, "encoder"): calls.append(lambda: of(model.encoder(batch)))
    encoders = getattr(model, "encoders", {}).items()
    calls += [lambda n=n, e=e: of(e(batch[n])) for n, e in encoders]
    if model.teacher is not None: return [partial(_taught, model.teacher, batch), *calls]
    z, q = leaf(), DiagonalGaussian(leaf().detach(), leaf().detach())
    calls += [lambda d=d: [d(z)] for d in model.decoders.values()]*(steps + 1)
    return calls + [lambda: of(model.refiner(q, q.mean, q.logvar)[0])]*steps

def _taught(teacher, batch):
    "A joint encoder's targets; nothing to be trained on."
    with torch.no_grad(): teacher.encoder(batch)
    return []

def has_floor(method):
    "A refining teacher's targets are gradients of the whole model: no one count of networks."
    return method != "iterative_student"

def floor_step(model, # changed in place: channels last
               batch, # dict: name -> tensor
               device="cpu"):
    "Every network once forward and backward with given gradients, and plain Adam; nothing else."
    model = model.to(device).to(memory_format=torch.channels_last)
    calls, given = networks(model, ready(batch, device)), []
    optimiser = torch.optim.Adam(trained(model), 1e-3)
    def step(update):
        made = [x for call in calls for x in call()]
        if not given: given.extend(1e-3*torch.randn_like(x) for x in made)
        torch.autograd.backward(made, given)
        optimiser.step(); optimiser.zero_grad()
    return step
