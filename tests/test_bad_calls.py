"""Bad values for each argument of the public face and of the command line: one line that names argument, value and
what is allowed. Nothing is taken silently, and nothing ends in another exception.

Every argument is tried with every value of BAD that its kind does not allow."""
import math, re, warnings
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np, pytest, torch

import mmvae_nb as m
from checkpoint_helpers import HOW
from mmvae_nb.core import MmvaeError
from mmvae_nb.experiments import cli
from mmvae_nb.kinds import Mixed, Table
from mmvae_nb.data import Standardize
from mmvae_nb.using import refined

@dataclass(frozen=True)
class Thing:
    "What belongs nowhere."
    def __repr__(self): return "<a Thing>"

BAD = {"None": None, "True": True, "-1": -1, "0": 0, "2.5": 2.5, "nan": math.nan, "inf": math.inf,
       "-inf": -math.inf, "word": "nobody", "''": "", "bytes": b"x", "[]": [], "[1]": [1], "{}": {},
            "dict": {"nobody": 1}, "thing": Thing(),
       "2**70": 2**70, "complex": 1j, "array": np.array([1., 2.]), "tensor": torch.tensor([1, 2]), "function": len}

# what of it is a fine value for an argument of this kind
COUNT, SIZE, NUMBER = {"2**70"}, {"0", "2**70"}, {"0", "2.5", "2**70"}
SHARE, FLAG, SEED = {"0"}, {"True"}, {"-1", "0", "2**70"}
NONE = {"None"}
NOTHING = set()

g = torch.Generator().manual_seed(0)
A, B = torch.randn(32, 4, generator=g), torch.randn(32, 2, generator=g)

@cache
def data(): return m.TensorData({"a": A, "b": B})
@cache
def specs(): return m.default_specs(data().modalities)
def new(cls, **options): torch.manual_seed(0); return cls(**{"specs": specs(), "latent": 2, **options})
@cache
def mopoe(): return new(m.MoPoE).eval()
@cache
def students(): return m.Students(new(m.JVAE)).eval()
@cache
def refining(): return new(m.IterativeTeacher, steps=1, hidden=8)
def batch(n=4): return {"a": A[:n], "b": B[:n]}
def spec(**changed): return replace(specs()["a"], **changed)
def fitted(**changed):
    how = {**HOW, "updates": None if "epochs" in changed else 3, "stop_after": 1}
    return m.fit(new(m.JVAE), data(), **{**how, **changed})

CALLS = {}                                                    # (call, argument) -> (function of the value, fine values)
def told(call, make, **kinds):
    for argument, fine in kinds.items(): CALLS[call, argument] = (lambda v, a=argument: make(**{a: v})), fine

for cls, own in {m.JVAE: {}, m.MoPoE: dict(subsets=NOTHING, exact=FLAG), m.MVAE: {}, m.MMVAE: dict(exact=FLAG),
                 m.JMVAE: dict(alpha=NUMBER, warm_up=SIZE), m.MVTCAE: dict(alpha=SHARE), m.CRMVAE: {},
                 m.IterativeTeacher: dict(steps=COUNT, refiner=NOTHING, decoders=NOTHING, hidden=NOTHING, replay=SHARE,
                                          without={"[]", "''", "{}"})}.items():
    told(cls.__name__, partial(new, cls), specs=NOTHING, latent=NOTHING, beta=NUMBER, **own)
told("VAE", lambda **c: m.VAE(**{"spec": specs()["a"], "name": "a", "latent": 2, **c}), spec=NOTHING, name={"word"},
     latent=NOTHING, beta=NUMBER)
told("Students", lambda **c: m.Students(**{"teacher": new(m.JVAE), **c}), teacher=NOTHING, direction=NOTHING,
     divide_prior=FLAG, warm_start={"True"}, steps=NONE, starts=NOTHING)
told("on_decoders", lambda **c: m.on_decoders(**{"model": mopoe(), "hidden": 8, **c}), model=NOTHING, steps=COUNT,
     replay=SHARE)
told("ModalitySpec", spec, encoder={"function"}, features=COUNT, decoder={"function"}, likelihood=NOTHING,
     weight=NUMBER,
     hidden=SIZE, modality=NONE, name={"word", "''"})
told("default_specs", lambda **c: m.default_specs(**{"modalities": data().modalities, **c}), modalities=NOTHING,
     weights={"None", "{}", "[]", "''", "0"} - {"[]", "''", "0"})
for law in (m.Gaussian, m.Laplace): told(law.__name__, law, scale={"2.5", "2**70"})
told("StudentT", m.StudentT, columns=NOTHING, scale={"2.5", "2**70"}, df={"2.5", "2**70"})
told("NegativeBinomial", m.NegativeBinomial, columns=NOTHING, dispersion={"2.5", "2**70"})
told("Mixed", Mixed, columns=NOTHING)
told("Modality", lambda **c: m.Modality(**{"name": "a", "kind": "text", "shape": (4,), "vocabulary": "ab", **c}),
     name={"word", "''"}, kind=NOTHING, shape={"[1]"}, vocabulary={"word", "[1]"})
told("TensorData", lambda **c: m.TensorData(**{"tensors": batch(), **c}), tensors=NOTHING, labels=NONE,
     modalities={"None", "[]", "{}"}, name={"word", "''"}, split={"word", "''"}, kinds={"None", "{}"},
          present={"None", "{}"})
def paired(**c):
    same = {"a": torch.zeros(32, dtype=torch.int64), "b": torch.zeros(32, dtype=torch.int64)}
    return m.PairedByKey(**{"name": "p", "split": "train", "modalities": data().modalities, "pools": {"a": A, "b": B},
                            "labels": same, **c})
told("PairedByKey", paired, modalities=NOTHING, pools=NOTHING, anchor=NONE, keys=NONE, partial=FLAG)
told("Standardize", Standardize, train=NOTHING)
told("Table", Table, train=NOTHING)
told("data.batch", lambda **c: data().batch(**{"update": 0, "batch_size": 4, **c}), update={"0", "2**70"},
     batch_size=NOTHING, seed=SEED)
told("data.take", lambda **c: data().take(**{"n": 4, **c}), n=NOTHING, seed=SEED)
told("generate", lambda **c: mopoe().generate(**{"source": batch(), **c}), source=NOTHING, to={"None", "[]"},
     sample=FLAG, n=NONE, generator=NONE)
told("VAE.generate", lambda **c: m.VAE(specs()["a"], "a", 2).generate(**{"z": batch(), **c}), z=NOTHING, n=NONE)
told("infer", lambda **c: mopoe().infer(**{"batch": batch(), **c}), batch=NOTHING)
told("model", lambda **c: mopoe()(**{"batch": batch(), **c}), batch=NOTHING)
told("infer, item", lambda **c: mopoe().infer({"a": c["a"]}), a=NOTHING)
told("generate, item", lambda **c: mopoe().generate({"a": c["a"]}), a=NOTHING)
told("impute", lambda **c: m.impute(**{"model": mopoe(), "data": batch(), **c}), model=NOTHING, data=NOTHING,
     there={"None", "{}"}, n=NONE, batch_size=COUNT, sample=FLAG)
told("log_likelihood", lambda **c: m.log_likelihood(**{"model": mopoe(), "target": batch(), "samples": 3,
     "climb": 2, **c}),
     model=NOTHING, target=NOTHING, given={"None", "{}"}, method=NOTHING, climb={"0"}, seed=SEED, batch_size=COUNT)
told("log_likelihood", lambda **c: m.log_likelihood(mopoe(), batch(), climb=2, **c), samples=NONE)
told("refined", lambda **c: refined(**{"model": mopoe(), "batch": batch(), "steps": 2, **c}), model=NOTHING,
     batch=NOTHING, steps={"0"}, seed=SEED)
told("trajectory", lambda **c: refining().trajectory(**{"batch": batch(), "start": "a", **c}), start=NOTHING,
     steps={"None", "0"})
told("fit", lambda **c: fitted(**c), updates=NOTHING, batch_size=NOTHING, lr=NUMBER, seed=SEED, device=NOTHING,
     precision=NOTHING, schedule=NOTHING, clip={"None", "2.5", "2**70"}, checkpoint=NONE, every=COUNT,
          stop_after=NONE | COUNT,
     epochs=NOTHING, accumulate=NOTHING, optimiser=NONE, patience=NONE, keep=NONE, callbacks={"[]", "{}",
          "''"} - {"{}", "''"})
told("fit", lambda **c: m.fit(**{"model": new(m.JVAE), "data": data(), **HOW, "updates": 1, **c}), model=NOTHING,
     data=NOTHING)
told("distill", lambda **c: m.distill(**{"teacher": new(m.JVAE), "data": data(), **HOW, "updates": 1, **c}),
     teacher=NOTHING,
     data=NOTHING, updates=NOTHING, students={"None", "{}"})
told("evaluate", lambda **c: m.evaluate(**{"model": mopoe(), "train": data(), "test": data(), "samples": 4,
                                           "probe_points": 4, "oracle_items": 0, **c}), model=NOTHING, train=NOTHING,
     test=NOTHING, judge=NONE, validation=NONE, samples=COUNT, probe_points=COUNT, oracle_items=SIZE, seed=SEED)
told("save", lambda **c: m.save(**{"model": mopoe(), "path": "m.safetensors", **c}), model=NOTHING, path={"word"},
     data=NONE, half=FLAG)
def opened(**c):
    m.save(mopoe(), "opened.safetensors")
    return m.load(**{"path": "opened.safetensors", **c})
told("load", opened, path=NOTHING, specs={"None", "{}"}, trusted={"[]", "{}", "''"} - {"{}", "''"}, device=NOTHING)
told("mnist_svhn_text", lambda **c: m.mnist_svhn_text(**{"items": 100, **c}), split=NOTHING, source=NOTHING,
     items={"None", "2**70"}, device=NOTHING)
told("pretrained", m.pretrained, name=NOTHING)

COMMANDS = {"scale": ["table", "--scale"], "dataset": ["table", "--dataset"],
            **{n: ["reproduce", "--scale", "smoke", f"--{n}"] for n in ("seeds", "methods", "part", "device", "cores")},
            "minutes": ["reproduce", "--scale", "smoke", "--in-process", "--minutes"],
            "seed": ["generate", "mopoe", "--given", "mnist", "--seed"], "command": [], "job": ["job",
                 "--scale", "smoke"]}
WORDS = ["nobody", "-3", "2.5", "nan", "1e9", "a b", "\u2603", "0x"]
FINE = {"minutes": {"2.5", "1e9"}, "seed": {"-3"}}

def wrong_with(name, value, call, inner="nobody"):
    "What is wrong with the answer to a bad value; nothing if it is one line as it should be."
    try:
        with warnings.catch_warnings(): warnings.simplefilter("ignore"); call(value)
    except MmvaeError as e:
        text = str(e)
        if "\n" in text or len(text) > 400: return f"not one line: {text[:200]}"
        if not re.search(rf"\b({re.escape(name)}|{inner})\b", text): return f"does not name {name}: {text[:120]}"
        if not re.search(r"\bgot\b", text) or "allowed" not in text: return f"no 'got' or 'allowed': {text[:120]}"
    except Exception as e: return f"{type(e).__name__}: {str(e)[:120]}"
    else: return "taken silently"

HEAVY = {"fit", "distill", "evaluate", "mnist_svhn_text", "log_likelihood"}

@pytest.mark.parametrize("call, argument", [
    pytest.param(*k, id=f"{k[0]}({k[1]}=)",
                 marks=[pytest.mark.slow] if k[0] in HEAVY and k[1] not in ("lr", "accumulate") else [])
    for k in CALLS])
def test_a_bad_value_is_one_line(call, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, fine = CALLS[call, argument]
    found = {k: w for k, v in BAD.items() if k not in fine and (w := wrong_with(argument, v, make))}
    assert not found, "\n".join(f"{k}: {w}" for k, w in found.items())

@pytest.mark.parametrize("option", COMMANDS)
def test_a_bad_word_on_the_command_line_is_one_line(option, project, capsys):
    *before, last = COMMANDS[option] or [""]
    found = {}
    for word in set(WORDS) - FINE.get(option, set()):
        code = cli.main([*before, f"{last}={word}"] if last.startswith("--") and option != "job" else
                        [*before, last, word][-4:] if last != "" else [word])
        said = capsys.readouterr().err.strip()
        if code != 2 or "\n" in said or not re.search(rf"{option}: got .*allowed", said):
            found[word] = (code, said[:200])
    assert not found

def test_there_are_enough_of_them():
    tried = sum(len(BAD) - len(fine & set(BAD)) for _, fine in CALLS.values()) + len(COMMANDS)*(len(WORDS) - 2)
    assert tried > 400
