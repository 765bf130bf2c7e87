"Small trainings with a checkpoint, and the ways a file can be hurt."
import json, random, shutil
from functools import partial
from pathlib import Path

import torch

from mmvae_nb.core import digest
from mmvae_nb.data import TensorData
from mmvae_nb.iterative_inference import Refiner, RefinerTraining
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.training import fit

FILES = ("model.safetensors", "optimiser.safetensors", "process_0.safetensors", "run.json")
HOW = dict(updates=8, batch_size=8, lr=0.01, device="cpu", progress=False)

def data():
    g = torch.Generator().manual_seed(3)
    return TensorData({"a": torch.randn(64, 4, generator=g), "b": torch.randn(64, 2, generator=g)})

def jvae():
    torch.manual_seed(0)
    return JVAE(default_specs(data().modalities), 2)

def replaying():
    torch.manual_seed(0)
    return RefinerTraining(JVAE(default_specs(data().modalities), 2), Refiner(2, 8), steps=2, replay=0.6)

def train(folder, model=jvae, **how):
    "The final weights, as bytes that can be compared."
    new = model()
    fit(new, data(), **{**HOW, "checkpoint": folder, **how})
    return digest(new.state_dict())

def newest(folder): return sorted(Path(folder).glob("update_*"))[-1]

def restamp(path):
    "Give run.json the digests of the files beside it, as one who wants to cheat would."
    run = json.loads((path/"run.json").read_text())
    run.pop("digest", None)
    import hashlib
    run["files"] = {n: hashlib.sha256((path/n).read_bytes()).hexdigest() for n in run["files"] if (path/n).is_file()}
    (path/"run.json").write_text(json.dumps({**run, "digest": digest(run)}))

def mutated(whole, rng: random.Random, most=64):
    "Bytes with one thing wrong, in at most so many of them (or two such runs in each other's place)."
    raw = bytearray(whole)
    kind = rng.choice(("flip", "byte", "cut", "zeros", "insert", "drop", "tail", "swap", "empty"))
    at, n = rng.randrange(len(raw)), rng.randint(1, most)
    if kind == "flip": raw[at] ^= 1 << rng.randrange(8)
    elif kind == "byte": raw[at] = rng.randrange(256)
    elif kind == "cut": del raw[at:]
    elif kind == "zeros": raw[at:at + n] = bytes(len(raw[at:at + n]))
    elif kind == "insert": raw[at:at] = rng.randbytes(n)
    elif kind == "drop": del raw[at:at + n]
    elif kind == "tail": raw += rng.randbytes(n)
    elif kind == "swap":
        b = rng.randrange(len(raw)); n = min(n, len(raw) - max(at, b))          # so that nothing between them moves
        raw[at:at + n], raw[b:b + n] = raw[b:b + n], raw[at:at + n]
    else: raw.clear()
    return bytes(raw)

copied = partial(shutil.copytree, dirs_exist_ok=True)
