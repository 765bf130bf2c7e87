"The peer of `make bench`: multivae's objectives and trainer, on our networks."
import contextlib, copy, functools, importlib.util, io, logging
from functools import partial
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from mmvae_nb.core import MmvaeError, load_torchvision
from mmvae_nb.data import as_float
from mmvae_nb.distributions import Categorical, Gaussian, Laplace

OBJECTIVES = { # our method -> (its class, its settings): the same objective as ours
    "jmvae": ("JMVAE", dict(alpha=0.1, beta=1., warmup=1)),
    "mopoe": ("MoPoE", dict(beta=1.)),
    "mvtcae": ("MVTCAE", dict(alpha=5/6, beta=1.)),
}
NAMES = {Laplace: "laplace", Gaussian: "normal", Categorical: "categorical"}

@functools.lru_cache(maxsize=None)
def library():
    "The parts of multivae that are used here; None where it can't be imported."
    if importlib.util.find_spec("multivae") is None: return None
    try:
        load_torchvision()                  # it imports torchvision, with what operators it has
        part = lambda name: importlib.import_module(f"multivae.{name}")
        return SimpleNamespace(models=part("models"), trainers=part("trainers"),
                               data=part("data.datasets.base"), wraps=_wraps())
    except (ImportError, MmvaeError): return None

def _wraps():
    "Our networks as what the peer takes: its classes exist only where it does."
    from multivae.models.nn.base_architectures import BaseJointEncoder
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn.base_architectures import BaseDecoder, BaseEncoder

    class Wrap:
        "A network of ours, and what it makes of its input."
        def __init__(self, net, latent, call):
            super().__init__(); self.net, self.latent_dim, self.call = net, latent, call
        def forward(self, x): return ModelOutput(**self.call(self.net, x))

    of = lambda base: type(f"Our{base.__name__}", (Wrap, base), {})
    return SimpleNamespace(encoder=of(BaseEncoder), joint=of(BaseJointEncoder),
                           decoder=of(BaseDecoder))

# What a wrapped network is called with: text comes one-hot, as the peer's likelihood wants it
def _posterior(q): return {"embedding": q.mean, "log_covariance": q.logvar}
def _of_image(net, x): return _posterior(net(x))
def _of_text(net, x): return _posterior(net(x.argmax(-1)))
def _of_all(texts, net, x):
    return _posterior(net({n: v.argmax(-1) if n in texts else v for n, v in x.items()}))
def _decoded(net, z): return {"reconstruction": net(z)}

def is_text(spec): return isinstance(spec.likelihood, Categorical)

def peer_model(method, # a key of OBJECTIVES
               ours # our model of that method: its networks are copied, weights and all
              ):
    "The peer's model with our networks, likelihoods and weights of modalities."
    lib, specs, latent = library(), ours.specs, ours.latent
    name, options = OBJECTIVES[method]
    net = copy.deepcopy(ours)
    texts = [n for n, s in specs.items() if is_text(s)]
    scale = {n: {"scale": s.likelihood.scale} for n, s in specs.items() if not is_text(s)}
    config = getattr(lib.models, f"{name}Config")(
        n_modalities=len(specs), latent_dim=latent, uses_likelihood_rescaling=True,
        rescale_factors={n: s.weight for n, s in specs.items()}, decoder_dist_params=scale,
        decoders_dist={n: NAMES[type(s.likelihood)] for n, s in specs.items()}, **options)
    wrap, more = lib.wraps, {}
    encoders = {n: wrap.encoder(e, latent, _of_text if n in texts else _of_image)
                for n, e in net.encoders.items()}
    decoders = {n: wrap.decoder(d, latent, _decoded) for n, d in net.decoders.items()}
    if name == "JMVAE":
        more["joint_encoder"] = wrap.joint(net.encoder, latent, partial(_of_all, texts))
    return getattr(lib.models, name)(config, encoders, decoders, **more).train()

def peer_items(batch, # dict: name -> tensor, as our models take it
               specs, device="cpu"):
    "The same items as the peer takes them: images as floats, text one-hot."
    def one(n, x):
        tokens = specs[n].modality.num_tokens if is_text(specs[n]) else 0
        return (F.one_hot(x, tokens).float() if tokens else as_float(x)).to(device)
    return {n: one(n, x) for n, x in batch.items()}

def peer_step(method, ours, batch, precision="float32", device="cpu"):
    "The peer's training step as its trainer does it, on a batch that is ready; plain Adam."
    model = peer_model(method, ours).to(device)
    items = library().data.MultimodalBaseDataset(peer_items(batch, ours.specs, device))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    kind = torch.device(device).type
    def step(update):
        with torch.autocast(kind, torch.bfloat16, enabled=precision != "float32"):
            loss = model(items, epoch=1).loss
        optimiser.zero_grad(); loss.backward(); optimiser.step()
    return step

@contextlib.contextmanager
def quiet():
    "Within: progress bars and messages are made, as they cost time, and go nowhere."
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally: logging.disable(logging.NOTSET)

def peer_train(model, # of `peer_model`
               items, # dict: name -> tensor, of `peer_items`
               batch, epochs, folder, device="cpu"):
    "The peer's trainer from start to end."
    lib = library()
    config = lib.trainers.BaseTrainerConfig(
        output_dir=str(folder), per_device_train_batch_size=batch, num_epochs=epochs,
        learning_rate=1e-3, drop_last=True, no_cuda=device == "cpu")
    with quiet():
        data = lib.data.MultimodalBaseDataset(items)
        lib.trainers.BaseTrainer(model, data, training_config=config).train()
