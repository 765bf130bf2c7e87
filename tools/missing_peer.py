"""MoPoE with modalities missing: our objective and the peer's, all else equal.

    .venv-bench/bin/python tools/missing_peer.py [--seeds 3] [--updates 600 3000]
        [--missing 0 40/40/70] [--who ours peer ..] [--out results/missing/peer.csv]

Items, holes, batches, networks, first weights, optimiser, schedule and judges are those of
nbs/experiments/missing_data.ipynb; `fit` trains both. The peer is multivae, in the environment that
`make bench` makes. What differs is the loss: the peer runs all encoders on all items and masks what
is missing; ours takes the items pattern by pattern. "peer's trainer" is the peer's own loop about
as long, in whole epochs: its order of items, a constant rate, no limit on the gradient. What is in
the table already is not trained again.
"""
import argparse, contextlib, csv, itertools, tempfile, time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from mmvae_nb.core import MmvaeError, atomic_path, generator, seed_everything
from mmvae_nb.data import TensorData
from mmvae_nb.distributions import Gaussian
from mmvae_nb.missing import PRESENT
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.networks import default_specs
from mmvae_nb.training import fit
from mmvae_nb.vae import Loss

import bench_peer as peer
from notebooks import ROOT

CUT, LATENT, BATCH, LR = 1400, 8, 64, 2e-3     # as in the report
OURS = {"ours": {}, "ours, all subsets": {"exact": True}}
WHO = [*OURS, "peer", "peer's trainer"]
KEY = ("missing", "updates", "who", "seed", "data")         # of a training, in the table


# ---- the report's items, holes and judges

def digits_halves():
    "Training and test items, their labels, specifications, and who reads the class."
    digits = load_digits()
    x, y = digits.images.astype("float32")/16, digits.target
    x = {"left": x[:, :, :4].reshape(-1, 32), "right": x[:, :, 4:].reshape(-1, 32),
         "label": np.eye(10, dtype="float32")[y]}
    reads = {n: LogisticRegression(max_iter=1000).fit(v[:CUT], y[:CUT]).predict
             for n, v in x.items()}
    x, y = {n: torch.tensor(v) for n, v in x.items()}, torch.tensor(y)
    specs = {n: s if n == "label" else replace(s, likelihood=Gaussian(.2))
             for n, s in default_specs(TensorData(x).modalities).items()}
    cut = lambda part: ({n: v[part] for n, v in x.items()}, y[part])
    return SimpleNamespace(train=cut(slice(CUT)), test=cut(slice(CUT, None)), specs=specs,
                           reads=reads)

def holes(percent, seed, items, modalities):
    "(items, modalities) bool, what is there; every item keeps something."
    share = torch.tensor([float(p)/100 for p in percent.split("/")]).expand(modalities)
    noise = torch.rand(items, modalities, generator=generator(seed, "holes"))
    there = noise >= share
    there[torch.arange(items), (noise - share).argmax(1)] = True   # the one nearest to stay
    return there

def with_holes(task, percent, seed):
    "The training items, of which these parts are missing."
    x, y = task.train
    return TensorData(x, modalities={n: s.modality for n, s in task.specs.items()}, labels=y,
                      present=holes(percent, seed, len(y), len(x)))

def shares(model, task):
    "(given, made) -> the share of made test items that the judge reads rightly."
    (x, y), names = task.test, list(task.specs)
    found = {}
    for k in range(1, len(names)):
        for given in itertools.combinations(names, k):
            made = model.generate({n: x[n] for n in given})
            for to in set(names) - set(given):
                right = task.reads[to](made[to].numpy()) == y.numpy()
                found["+".join(given), to] = float(right.mean())
    return found


# ---- the peer, as `fit` takes a model

def masked(batch, specs):
    "(items, masks or None) as the peer takes them: zeros stand where a part is missing."
    there = batch.get(PRESENT)
    x = peer.peer_items({n: v for n, v in batch.items() if n != PRESENT}, specs)
    if there is None: return x, None
    masks = dict(zip(specs, there.unbind(1)))
    fill = lambda v, m: v.masked_fill(~m.view(-1, *[1]*(v.ndim - 1)), 0.)
    return {n: fill(v, masks[n]) for n, v in x.items()}, masks

class Peer(torch.nn.Module):
    "The peer's MoPoE with copies of our networks: batch -> `Loss`."
    def __init__(self, ours):
        super().__init__(); self.model, self.specs = peer.peer_model("mopoe", ours), ours.specs
    def forward(self, batch): return Loss(self.model(self.dataset(batch)).loss, {})
    def dataset(self, batch):
        "A batch of ours as a data set of the peer's."
        data, (x, masks) = peer.library().data, masked(batch, self.specs)
        return data.IncompleteDataset(x, masks) if masks else data.MultimodalBaseDataset(x)
    def into(self, ours):
        "Our model with the peer's weights, so that one code draws for both."
        for n in self.specs:
            ours.encoders[n].load_state_dict(self.model.encoders[n].net.state_dict())
            ours.decoders[n].load_state_dict(self.model.decoders[n].net.state_dict())
        return ours

def by_its_trainer(model, data, updates, seed):
    "A `Peer` trained by the peer's own trainer, the nearest number of whole epochs."
    trainers, items = peer.library().trainers, model.dataset(data.batch(0, len(data)))
    with tempfile.TemporaryDirectory() as folder, peer.quiet():
        config = trainers.BaseTrainerConfig(
            output_dir=folder, per_device_train_batch_size=BATCH, learning_rate=LR, seed=seed,
            num_epochs=max(1, round(updates/(len(data)//BATCH))), drop_last=True, no_cuda=True)
        trainers.BaseTrainer(model.model, items, training_config=config).train()


# ---- the comparison

def trained(who, task, data, updates, seed):
    "A model of ours, trained by our loss or by the peer's."
    seed_everything(seed, "missing")                       # the same first weights for all
    ours = MoPoE(task.specs, LATENT, **OURS.get(who, {}))
    model = ours if who in OURS else Peer(ours)
    if who == "peer's trainer": by_its_trainer(model, data, updates, seed)
    else: fit(model, data, updates, batch_size=BATCH, lr=LR, seed=seed, progress=False,
              device="cpu")
    return (ours if who in OURS else model.into(ours)).eval()

def rows(how, known):
    "For each training that is not `known`: a row for each direction."
    task = digits_halves()
    for seed, percent, updates in itertools.product(range(how.seeds), how.missing, how.updates):
        data = with_holes(task, percent, seed)
        for who in how.who:
            facts = dict(missing=percent, updates=updates, who=who, seed=seed, data=data.checksum)
            if tuple(str(facts[k]) for k in KEY) in known: continue
            began = time.process_time()
            found = shares(trained(who, task, data, updates, seed), task)
            facts["cpu_seconds"] = f"{time.process_time() - began:.1f}"
            yield [dict(facts, given=g, to=to, coherence=f"{v:.5g}")
                   for (g, to), v in sorted(found.items())]

def read(path):
    "The table so far, each value as it is written."
    if not path.exists(): return []
    with open(path, newline="") as f: return list(csv.DictReader(f))

def write(path, table):
    "The table so far: whole, or as it was."
    with atomic_path(path) as tmp, open(tmp, "w", newline="") as f:
        out = csv.DictWriter(f, list(table[0]), lineterminator="\n")
        out.writeheader(); out.writerows(table)

def options(arguments=None):
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--seeds", type=int, default=3, help="of weights, holes and batches")
    p.add_argument("--updates", type=int, nargs="+", default=[600, 3000])
    p.add_argument("--missing", nargs="+", default=["0", "40/40/70"],
                   help="percent, in all modalities or in left/right/label")
    p.add_argument("--who", nargs="+", choices=WHO, default=WHO)
    p.add_argument("--out", type=Path, default=ROOT/"results"/"missing"/"peer.csv")
    return p.parse_args(arguments)

def main(how):
    if peer.library() is None:
        raise MmvaeError("multivae: got none, allowed: 1.0.3, in the environment of `make bench`")
    table = read(how.out)
    for part in rows(how, {tuple(r[k] for k in KEY) for r in table}):
        table += part
        write(how.out, table)
        first, mean = part[0], np.mean([float(r["coherence"]) for r in part])
        print(*(first[k] for k in ("seed", "missing", "updates", "who", "cpu_seconds")),
              f"mean {mean:.3f}", flush=True)

if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt): main(options())
