"""Thousands of damaged files: one line or the same content, no other exception, no hang, no memory, nothing run."""
import json, pickle, resource, shutil, signal, struct, warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np, pytest, torch
from checkpoint_helpers import FILES, copied, jvae, mutated, newest, replaying, restamp, train
from reader_helpers import READERS, choice, fresh, hurt, seeded

from mmvae_nb.checkpoints import describe, load, load_weights, save, save_weights
from mmvae_nb.core import MmvaeError, cached_arrays, digest, read_json

@contextmanager
def within(seconds):
    "Fails what takes longer, in seconds of the processor: the machine may be busy."
    def late(*_): raise TimeoutError(f"more than {seconds} s")
    before = signal.signal(signal.SIGPROF, late); signal.setitimer(signal.ITIMER_PROF, seconds)
    try: yield
    finally: signal.setitimer(signal.ITIMER_PROF, 0); signal.signal(signal.SIGPROF, before)

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024          # MB

def told(error):
    assert "\n" not in str(error) and len(str(error)) < 700, error
    return True

@pytest.mark.parametrize("reader", READERS)
def test_three_thousand_damaged_files(reader, empty, monkeypatch, tmp_path, count):
    rng, before, outcomes = seeded(reader), peak(), {True: 0, False: 0}
    files = fresh(reader, empty)
    for i in range(3000):
        path = choice(files, rng)
        whole, cache = path.read_bytes(), tmp_path/f"cache{i}"
        path.write_bytes(hurt(path, rng))
        monkeypatch.setenv("MMVAE_CACHE", str(cache))
        try:
            with within(10), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                shares = list(READERS[reader][1]())
            assert min(shares) > .7, (i, path.name, shares)               # no label is shifted
            outcomes[False] += 1
        except MmvaeError as e: outcomes[told(e)] += 1
        except Exception as e: raise AssertionError(f"{reader}, case {i}, {path.name}") from e
        path.write_bytes(whole); shutil.rmtree(cache, ignore_errors=True)
    print(reader, "refused, read:", outcomes[True], outcomes[False], f"peak +{peak() - before:.0f} MB")
    assert outcomes[True] > 500 and peak() - before < 1000
    count("files mutated", 3000)

@pytest.mark.parametrize("model", [jvae, replaying])
def test_damaged_checkpoints(model, tmp_path, count):
    "Each is refused before anything of it is used."
    train(tmp_path/"c", model, stop_after=4)
    here, rng, n = newest(tmp_path/"c"), seeded("checkpoint", model.__name__), 0
    whole = {f: (here/f).read_bytes() for f in FILES}
    for i in range(500):
        name = FILES[i % 4]
        bad = mutated(whole[name], rng)
        if bad == whole[name]: continue
        (here/name).write_bytes(bad)
        with within(10), pytest.raises(MmvaeError) as e: train(tmp_path/"c", model)
        told(e.value); (here/name).write_bytes(whole[name]); n += 1
    assert train(tmp_path/"c", model) == train(None, model)
    count("files mutated", n)

@pytest.mark.parametrize("write, read", [(save_weights, lambda p: load_weights(jvae(), p)), (save, load)],
                         ids=["weights", "model"])
def test_damaged_weights(write, read, tmp_path, count):
    path, rng, n = tmp_path/"w.safetensors", seeded("weights", write.__name__), 0
    write(jvae(), path)
    whole, right = path.read_bytes(), digest(jvae().state_dict())
    for i in range(1500):
        bad = mutated(whole, rng)
        if i % 2:                                                        # in the numbers, where no parser looks
            at = rng.randrange(8 + struct.unpack("<Q", whole[:8])[0], len(whole))
            bad = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1:]
        path.write_bytes(bad)
        try:
            with within(10): assert digest(read(path).state_dict()) == right, i
        except MmvaeError as e: told(e)
        n += 1
    count("files mutated", n)

@pytest.mark.parametrize("read, whole", [
    (read_json, b'{"a": [1, 2, {"b": null}]}'),
    (lambda p: cached_arrays(p, lambda: {"x": np.arange(3)})["x"], None)], ids=["json", "cache"])
def test_damaged_small_files(read, whole, tmp_path, count):
    path, rng = tmp_path/"f.npz", seeded("small")
    if whole is None: np.savez(path, x=np.arange(3)); whole = path.read_bytes()
    for _ in range(500):
        path.write_bytes(mutated(whole, rng))
        try:
            with within(10): x = read(path)
            assert not isinstance(x, np.ndarray) or x.shape == (3,)
        except MmvaeError as e: told(e)
    count("files mutated", 500)

class Evil:
    def __init__(self, place): self.place = str(place)
    def __reduce__(self): return Path.touch, (Path(self.place),)

def test_pickles_in_the_place_of_every_file(empty, tmp_path, monkeypatch, count):
    monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    sign, n = tmp_path/"sign", 0
    kinds = {"pickle": lambda p: p.write_bytes(pickle.dumps(Evil(sign))), "torch": lambda p: torch.save(Evil(sign), p),
             "numpy": lambda p: p.write_bytes(_npy(Evil(sign)))}
    for kind, plant in kinds.items():
        for model in (jvae, replaying):
            train(tmp_path/"c", model, stop_after=4)
            for f in FILES:
                for sealed in (False, True):
                    here = newest(copied(tmp_path/"c", tmp_path/f"{n}"))
                    plant(here/f)
                    if sealed and f != "run.json": restamp(here)
                    with pytest.raises(MmvaeError): train(here.parent, model)
                    n += 1
            shutil.rmtree(tmp_path/"c")
        for read in (load, describe, lambda p: load_weights(jvae(), p), read_json):
            plant(tmp_path/"w")
            with pytest.raises(MmvaeError): read(tmp_path/"w")
            n += 1
        plant(tmp_path/"x.npz")
        cached_arrays(tmp_path/"x.npz", lambda: {"x": np.arange(3)}); n += 1
        for reader in READERS:
            for path in fresh(reader, empty)[:6]:
                whole = path.read_bytes()
                plant(path)
                try: list(READERS[reader][1]())
                except MmvaeError as e: told(e)
                path.write_bytes(whole); n += 1
        assert not sign.exists(), kind
    torch.load(tmp_path/"w", weights_only=False) if zipped(tmp_path/"w") else np.load(tmp_path/"w", allow_pickle=True)
    assert sign.exists()                                                 # the last one planted does run, elsewhere
    count("pickles planted", n)

def _npy(obj):
    import io
    out = io.BytesIO(); np.save(out, np.array([obj], dtype=object), allow_pickle=True)
    return out.getvalue()

def zipped(path): return path.read_bytes()[:2] == b"PK"

def test_swapped_records(tmp_path, count):
    "Each file from a run with another seed, and each number of run.json."
    train(tmp_path/"a", stop_after=4); train(tmp_path/"b", seed=1, stop_after=4)
    n = 0
    for f in FILES:
        here = newest(copied(tmp_path/"a", tmp_path/f))
        shutil.copy(newest(tmp_path/"b")/f, here/f)
        with pytest.raises(MmvaeError): train(here.parent)
        n += 1
    run = json.loads((newest(tmp_path/"a")/"run.json").read_text())
    for key in [*run, *(("settings", k) for k in run["settings"]), *(("files", k) for k in run["files"])]:
        for value in (None, 0, 1e9, "x", [], {}):
            here = newest(copied(tmp_path/"a", tmp_path/f"n{n}"))
            other = json.loads(json.dumps(run))
            holder, name = (other, key) if isinstance(key, str) else (other[key[0]], key[1])
            if holder[name] == value: continue
            holder[name] = value
            (here/"run.json").write_text(json.dumps(other))
            with pytest.raises(MmvaeError): train(here.parent)
            n += 1
    count("files mutated", n)
