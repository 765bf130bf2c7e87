"""Bad values for each argument: one line that names it, or a value that is allowed; nothing else."""
import os, warnings

import pytest
from bad_values import BAD, CALLS as FACE, bad_values, found_wrong, heavy
from checkpoint_helpers import jvae

from mmvae_nb.checkpoints import describe, load, load_weights, save_weights
from mmvae_nb.core import MmvaeError, in_range, one_of, read_json, resolve_device
from mmvae_nb.datasets.birds import cub
from mmvae_nb.datasets.digits import real_mnist, real_svhn, small_mnist
from mmvae_nb.datasets.faces import celeba
from mmvae_nb.training import lr_factor, resolve_precision

CACHE = os.environ["MMVAE_CACHE"]                                       # what is drawn is drawn once

CALLS = {"resolve_device": resolve_device, "resolve_precision": resolve_precision,
         "lr_factor(schedule=)": lambda v: lr_factor(1, 2, v),
         "in_range": lambda v: in_range("n", v, low=1, high=9, whole=True),
         "one_of": lambda v: one_of("n", str(v), ["a", "b"])}
CALLS |= {f"{f.__name__}({n}=)": lambda v, f=f, n=n: f(**{n: v}) for f in (cub, celeba)
          for n in ("split", "source", "device", "items")}
CALLS |= {f.__name__: lambda v, f=f: f(v) for f in (small_mnist, real_mnist, real_svhn)}
NAMES = ("missing", "missing/deep", "a folder", "text", "\x7f", "very " * 60)
PATHS = {"load": load, "describe": describe, "load_weights": lambda p: load_weights(jvae(), p), "read_json": read_json,
         "save_weights": lambda p: save_weights(jvae(), p)}

def wrong(call, values):
    "What values end in, where it is neither an answer nor one line."
    found = {}
    for name, v in values.items():
        try:
            with warnings.catch_warnings(): warnings.simplefilter("ignore"); call(v)
        except MmvaeError as e:
            if "\n" in str(e) or len(str(e)) > 400: found[name] = f"no line: {e}"
        except Exception as e: found[name] = f"{type(e).__name__}: {str(e)[:80]}"
    return found

@pytest.mark.parametrize("name", CALLS)
def test_bad_values(name, count, empty, monkeypatch):
    monkeypatch.setenv("MMVAE_CACHE", CACHE)
    assert not wrong(CALLS[name], BAD)
    count("bad calls", len(BAD))

@pytest.mark.parametrize("call, argument", [pytest.param(*k, id=f"{k[0]}({k[1]}=)") for k in FACE if heavy(*k)])
def test_bad_values_of_what_takes_long(call, argument, count, empty, monkeypatch):
    monkeypatch.setenv("MMVAE_CACHE", CACHE)
    found = found_wrong(call, argument)
    assert not found, "\n".join(f"{k}: {w}" for k, w in found.items())
    count("bad calls", len(bad_values(call, argument)))

@pytest.mark.parametrize("argument", [a for (call, a), (_, fine) in FACE.items() if call == "fit" and fine])
def test_what_fit_allows_is_an_answer_or_one_line(argument, empty):
    make, fine = FACE["fit", argument]
    assert not wrong(make, {k: BAD[k] for k in fine})

@pytest.mark.parametrize("name", PATHS)
def test_bad_paths(name, count, tmp_path):
    (tmp_path/"a folder").mkdir(); (tmp_path/"text").write_text("no numbers")
    for n in NAMES:
        try: PATHS[name](tmp_path/n)
        except MmvaeError as e: assert "\n" not in str(e)
    count("bad calls", len(NAMES))
