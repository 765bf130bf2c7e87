"""Multimodal VAEs: infer one hidden description from any views of a thing, and generate any view.

    from mmvae_nb import *

    train, test = mnist_svhn_text("train", "rendered"), mnist_svhn_text("test", "rendered")
    specs = default_specs(train.modalities)               # networks and likelihood of each modality
    teacher = JVAE(specs, latent=20)                      # or MoPoE, MVTCAE, IterativeTeacher, ...
    fit(teacher, train, updates=1000)
    students = distill(teacher, train, updates=500)       # one encoder for each modality
    batch, labels = test.take(8)
    pictures = students.generate({"text": batch["text"]}, to="svhn")["svhn"]
    save(students, "students.safetensors")                # load(path) needs nothing but the file

What this module offers is loaded when it is first used. The rest of the house, by storey:

    core  states  plotting  signatures        errors, files, seeds; numbers in files; pictures;
                                              what a call must fit
    data  missing  datasets.*                 batches, pairing, holes in them; digits, birds, faces
    linear_gaussian                           the story in closed form: exact posteriors and gaps
    distributions  networks  kinds  text      posteriors, likelihoods; encoders and decoders
    vae  training  recording  watching        one modality; fit, on a card too; what it watches
    checkpoints                               save and load
    using  pretrained_models                  fill holes, likelihoods; models that are trained
    multimodal_elbo  jmvae  mopoe  mvtcae     the methods, a file each
    distillation  multimodal_iterative        students; the refined teacher of the talk
    amortization_gap  iterative_inference     what an encoder loses, and how it is won back
    metrics  judges.*  evaluation             numbers, who judges them, evaluate any model
    experiments.*                             the talk's tables and figures, and more

Each module is exported from the lesson of the same name, which explains it.
"""
__version__ = "0.1.0"

import ast, dataclasses, importlib, inspect, re, textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:                                         # for editors and type checkers
    from .checkpoints import load, save
    from .core import MmvaeError
    from .data import Modality, PairedByKey, Standardize, TensorData
    from .datasets.digits import mnist_svhn_text
    from .distillation import Students, distill
    from .distributions import Bernoulli, Categorical, Gaussian, Laplace
    from .evaluation import evaluate
    from .jmvae import JMVAE
    from .kinds import NegativeBinomial, Poisson, StudentT, Table
    from .mopoe import MMVAE, MVAE, MoPoE
    from .multimodal_elbo import JVAE
    from .multimodal_iterative import IterativeTeacher, on_decoders
    from .mvtcae import CRMVAE, MVTCAE
    from .networks import ModalitySpec, default_specs
    from .pretrained_models import pretrained
    from .training import fit
    from .using import impute, log_likelihood
    from .vae import VAE

__all__ = ["Bernoulli", "CRMVAE", "Categorical", "Gaussian", "IterativeTeacher", "JMVAE", "JVAE",
           "Laplace", "MMVAE", "MVAE", "MVTCAE", "MmvaeError", "MoPoE", "Modality", "ModalitySpec",
           "NegativeBinomial", "PairedByKey", "Poisson", "Standardize", "StudentT", "Students",
           "Table", "TensorData", "VAE", "default_specs", "distill", "evaluate", "fit", "impute",
           "load", "log_likelihood", "mnist_svhn_text", "on_decoders", "pretrained", "save"]

_face = {"checkpoints": "load save", "core": "MmvaeError",
         "data": "Modality PairedByKey Standardize TensorData",
         "datasets.digits": "mnist_svhn_text", "distillation": "Students distill",
         "distributions": "Bernoulli Categorical Gaussian Laplace", "evaluation": "evaluate",
         "jmvae": "JMVAE", "kinds": "NegativeBinomial Poisson StudentT Table",
         "mopoe": "MMVAE MVAE MoPoE", "multimodal_elbo": "JVAE",
         "multimodal_iterative": "IterativeTeacher on_decoders", "mvtcae": "CRMVAE MVTCAE",
         "networks": "ModalitySpec default_specs", "pretrained_models": "pretrained",
         "training": "fit", "using": "impute log_likelihood", "vae": "VAE"}
_where = {name: module for module, names in _face.items() for name in names.split()}


def __getattr__(name):
    "Load what the face offers when it is first asked for."
    if name not in _where: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f".{_where[name]}", __name__), name)
    globals()[name] = found
    for f in [found] if inspect.isfunction(found) else [found, *_methods(found)]: _explain(f)
    return found


def _methods(cls):
    "The functions of a class of ours, its own and those it inherits, but nobody else's."
    homes = [c for c in cls.__mro__ if c.__module__.startswith(f"{__name__}.")]
    return [f for c in homes for n, f in vars(c).items()
            if inspect.isfunction(f) and (n == "__init__" or not n.startswith("_"))]


def _explain(thing):
    "Put the comments beside a signature's arguments into the docstring, where `help` shows them."
    doc, head = thing.__doc__ or "", "Arguments\n---------\n"
    if head in doc or inspect.isclass(thing) and not dataclasses.is_dataclass(thing): return
    try: lines = inspect.getsource(thing).splitlines()         # of what it wraps, if it does
    except OSError: return                                     # without its source: as it is
    body = ast.parse(textwrap.dedent("\n".join(lines))).body[0].body
    if inspect.isclass(thing): body = [b for b in body if isinstance(b, ast.FunctionDef)] or body
    named = "|".join(inspect.signature(thing).parameters) or "self"
    said = rf"(?m)^[^#\n]*?\b({named})\b(?:: [^=#\n]+?)?(?: ?= ?[^#\n]+?)?(?:,|\):)? # (.+)$"
    found = re.findall(said, "\n".join(lines[:max(1, body[0].lineno - 1)]))
    if found: thing.__doc__ = f"{doc}\n\n{head}".lstrip() + "\n".join(
        f"{n}: {text}" for n, text in found)


def __dir__(): return sorted([*__all__, "__doc__", "__version__"])    # not what it is made with
