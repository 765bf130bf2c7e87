"""Bad values for each argument: one line that names it, or a value that is allowed; nothing else."""
import math, os, warnings

import numpy as np, pytest, torch
from checkpoint_helpers import HOW, data, jvae

from mmvae_nb.checkpoints import describe, load, load_weights, save_weights
from mmvae_nb.core import MmvaeError, digest, in_range, one_of, read_json, resolve_device
from mmvae_nb.datasets.birds import cub
from mmvae_nb.datasets.digits import mnist_svhn_text, real_mnist, real_svhn, small_mnist
from mmvae_nb.datasets.faces import celeba
from mmvae_nb.training import fit, lr_factor, resolve_precision

BAD = [None, True, -1, 0, 2.5, math.nan, math.inf, -math.inf, "x", "", b"x", [], [1], {}, {"a": 1}, object(), 2**70, 1j,
       np.nan, np.array([1., 2.]), torch.tensor([1, 2]), len]

CACHE = os.environ["MMVAE_CACHE"]

def fit_with(**changed):
    model = jvae(); before = digest(model.state_dict())
    how = {**HOW, "updates": None if "epochs" in changed else 9, "stop_after": 2}
    try: fit(model, data(), **{**how, **changed})
    except MmvaeError as e:
        assert digest(model.state_dict()) == before or "smaller lr" in str(e)      # refused before it is touched
        raise

CALLS = {f"fit({n}=)": lambda v, n=n: fit_with(**{n: v}) for n in
         ("updates", "batch_size", "lr", "seed", "device", "precision", "schedule", "clip", "every", "stop_after",
          "epochs")}
CALLS |= {"fit(model=)": lambda v: fit(v, data(), **HOW), "fit(data=)": lambda v: fit(jvae(), v, **HOW),
          "resolve_device": resolve_device, "resolve_precision": resolve_precision,
          "lr_factor(schedule=)": lambda v: lr_factor(1, 2, v),
          "in_range": lambda v: in_range("n", v, low=1, high=9, whole=True),
          "one_of": lambda v: one_of("n", str(v), ["a", "b"])}
CALLS |= {f"{f.__name__}({n}=)": lambda v, f=f, n=n: f(**{n: v}) for f in (cub, celeba, mnist_svhn_text)
          for n in ("split", "source", "device", "items")}
CALLS |= {f.__name__: lambda v, f=f: f(v) for f in (small_mnist, real_mnist, real_svhn)}
NAMES = ("missing", "missing/deep", "a folder", "text", "\x7f", "very " * 60)
PATHS = {"load": load, "describe": describe, "load_weights": lambda p: load_weights(jvae(), p), "read_json": read_json,
         "save_weights": lambda p: save_weights(jvae(), p)}

@pytest.mark.parametrize("name", CALLS)
def test_bad_values(name, count, empty, monkeypatch):
    monkeypatch.setenv("MMVAE_CACHE", CACHE)                             # what is drawn is drawn once
    wrong = []
    for v in BAD:
        try:
            with warnings.catch_warnings(): warnings.simplefilter("ignore"); CALLS[name](v)
        except MmvaeError as e:
            if "\n" in str(e) or len(str(e)) > 400: wrong.append((v, "no line", e))
        except Exception as e: wrong.append((v, type(e).__name__, str(e)[:80]))
    assert not wrong
    count("bad calls", len(BAD))

@pytest.mark.parametrize("name", PATHS)
def test_bad_paths(name, count, tmp_path):
    (tmp_path/"a folder").mkdir(); (tmp_path/"text").write_text("no numbers")
    for n in NAMES:
        try: PATHS[name](tmp_path/n)
        except MmvaeError as e: assert "\n" not in str(e)
    count("bad calls", len(NAMES))
