"""The VAE of lesson 02, trained ten times as long as there: weights/vae.safetensors and its card.

    python tools/first_vae.py          about a minute on one core
"""
from dataclasses import replace

import torch

from notebooks import ROOT

from mmvae_nb.core import seed_everything
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.distributions import Bernoulli
from mmvae_nb.networks import default_specs
from mmvae_nb.pretrained_models import ship
from mmvae_nb.training import fit
from mmvae_nb.vae import VAE

UPDATES, SEED = 4000, 0


def main():
    "Train it, measure it on validation digits, ship it."
    train, validation = (mnist_svhn_text(s, "rendered") for s in ("train", "validation"))
    digits = default_specs(train.modalities, weights={"mnist": 1.})["mnist"]
    seed_everything(SEED, "first VAE")
    model = VAE(replace(digits, likelihood=Bernoulli()), "mnist")
    fit(model, train, updates=UPDATES, batch_size=128, lr=2e-3, seed=SEED, device="cpu")
    with torch.no_grad(): total, parts = model.eval().loss(validation.take(300)[0])
    scores = {"validation_loss": total.item(), **{k: v.item() for k, v in parts.items()}}
    about = {"data_name": {"mnist": train.provenance["mnist"]},
             "terms": {"mnist": train.terms["mnist"]}, "source": "rendered"}
    card = ship(model, ROOT/"weights", "vae", method="vae", updates=UPDATES, seed=SEED,
                metrics={k: round(v, 1) for k, v in scores.items()},
                made_by="python tools/first_vae.py", **about)
    print(card["metrics"], card["bytes"])


if __name__ == "__main__": main()
