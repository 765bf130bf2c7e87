"""Bad values, and each argument of the public face that they are tried at. The calls that take long are tried by
tests/stress, the others by test_bad_calls."""
import math, re, warnings
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np, torch

import mmvae_nb as m
from checkpoint_helpers import HOW
from mmvae_nb.core import MmvaeError, digest
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
    model = new(m.JVAE); before = digest(model.state_dict())
    try: return m.fit(model, data(), **{**how, **changed})
    except MmvaeError as e:
        assert digest(model.state_dict()) == before or "smaller lr" in str(e), "touched before it was refused"
        raise

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
     weights={"None", "{}"})
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
     precision=NOTHING, schedule=NOTHING, clip={"None", "2.5", "2**70"}, checkpoint={"None", "word"}, every=COUNT,
          stop_after=NONE | COUNT,
     epochs=NOTHING, accumulate=NOTHING, optimiser=NONE, patience=NONE, keep=NONE, callbacks={"[]"})
told("fit", lambda **c: m.fit(**{"model": new(m.JVAE), "data": data(), **HOW, "updates": 1, **c}), model=NOTHING,
     data=NOTHING)
told("distill", lambda **c: m.distill(**{"teacher": new(m.JVAE), "data": data(), **HOW, "updates": 1, **c}),
     teacher=NOTHING, data=NOTHING, updates=NOTHING,
     students={"None", "{}", "dict"})                             # a keyword that is not there is Python's to refuse
told("evaluate", lambda **c: m.evaluate(**{"model": mopoe(), "train": data(), "test": data(), "samples": 4,
                                           "probe_points": 4, "oracle_items": 0, **c}), model=NOTHING, train=NOTHING,
     test=NOTHING, judge=NONE, validation=NONE, samples=COUNT, probe_points=COUNT, oracle_items=SIZE, seed=SEED)
told("save", lambda **c: m.save(**{"model": mopoe(), "path": "m.safetensors", **c}), model=NOTHING, path={"word"},
     data=NONE, half=FLAG)
def opened(**c):
    m.save(mopoe(), "opened.safetensors")
    return m.load(**{"path": "opened.safetensors", **c})
told("load", opened, path=NOTHING, specs={"None", "{}"}, trusted={"[]"}, device=NOTHING)
told("mnist_svhn_text", lambda **c: m.mnist_svhn_text(**{"items": 100, **c}), split=NOTHING, source=NOTHING,
     items={"None", "2**70"}, device=NOTHING)
told("pretrained", m.pretrained, name=NOTHING)

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
def heavy(call, argument): return call in HEAVY and argument not in ("lr", "accumulate")

def bad_values(call, argument):
    "The values of BAD that are bad for this argument."
    return {k: v for k, v in BAD.items() if k not in CALLS[call, argument][1]}

def found_wrong(call, argument):
    "What is wrong with the answers to them: value -> words."
    make = CALLS[call, argument][0]
    return {k: w for k, v in bad_values(call, argument).items() if (w := wrong_with(argument, v, make))}
