# %% [markdown]
# # Trained models to begin with
#
# > One line gives a trained model, from a folder of files that say what they are: no download, no recipe, no surprise.
#
# ::: {.callout-note}
# ## You will learn
#
# - how to use a model that somebody else has trained, offline and checked;
# - what a card must say so that its weights can be trusted;
# - what half precision costs.
#
# Runs in a few seconds on a laptop CPU.
# :::

# %% [markdown]
# ![Drawing: a folder with a file of weights and a card beside it; if the checksum on the card is that of the file, there is a model that infers and generates.](drawings/shipped.svg)

# %%
#| default_exp pretrained_models

# %%
#| export
import hashlib, json, os, tempfile
from pathlib import Path
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from mmvae_nb.core import *
from mmvae_nb.checkpoints import load, save
from mmvae_nb.states import halved, numbers_to

# %%
from mmvae_nb.data import TensorData
from mmvae_nb.distillation import Students
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.networks import default_specs
from mmvae_nb.training import fit


# %% [markdown]
# ## A folder of models
#
# Training takes minutes to hours, and a lesson, a class or a first look should not have to wait. So trained models lie in a folder `weights/`, each as one file as lesson 02h's `save` writes it
# and a *card* beside it: what it was trained on and under which terms, for how long, what it scores, and a checksum of the file. The folder of a checkout is found from
# where the package lies; anywhere else, name it in `MMVAE_WEIGHTS`.

# %%
#| export
def weight_dirs() -> list:
    "Folders searched for trained models, in order: `MMVAE_WEIGHTS`, `weights/`, the checkout's."
    named = os.environ.get("MMVAE_WEIGHTS")
    own = Path(__file__).resolve().parent.parent/"weights" if "__file__" in globals() else None
    found = [Path(named).expanduser()] if named else []
    return [*found, Path("weights"), *([own] if own else [])]

def _sha256(path): return hashlib.sha256(Path(path).read_bytes()).hexdigest()


# %%
#| exports
CARD = "name file sha256 data terms method updates seed metrics made_by".split()

def cards() -> dict: # name -> card, a dict with the path of its file under "path"
    "The trained models that are at hand. Of two with one name the folder searched first counts."
    found = {}
    for folder in weight_dirs():
        for name, card in _in(folder).items(): found.setdefault(name, card)
    return found

def _in(folder):
    "The cards of one folder."
    found = {}
    for card in sorted(Path(folder).glob("*.json")):
        said = read_json(card)
        if lacking := [k for k in CARD if not isinstance(said, dict) or k not in said]:
            raise MmvaeError(f"{card}: the card lacks {', '.join(lacking)}")
        if bad := next((k for k in CARD[:3] if not isinstance(said[k], str)), None):
            raise MmvaeError(f"{card}: {bad}: got {said[bad]!r:.40}, allowed: a string")
        found.setdefault(said["name"], {**said, "path": card.with_name(Path(said["file"]).name)})
    return found

def pretrained(name: str, # of a card, such as "iterative_student"
               device="cpu" # where the model goes
              ):
    "A trained model, checked against its card and ready to use; its card is `model.card`."
    known = cards()
    if not known:
        raise MmvaeError(f"name: got {name!r}, but no trained model is in "
                         f"{', '.join(map(str, weight_dirs()))}, allowed: a folder of them, named "
                         "by MMVAE_WEIGHTS (a checkout has one: weights/)")
    card = known[one_of("name", name, known)]
    path = _as_described(card)
    if not card.get("shares"): model = load(path, device=device)
    else:
        with tempfile.TemporaryDirectory() as tmp:
            whole = _joined(path, _as_described(_lender(card)), Path(tmp)/path.name)
            model = load(whole, device=device)
    model.card = card
    return model

def _as_described(card):
    "The path of a model's file; `MmvaeError` if it is not the one its card was written for."
    try: same = _sha256(card["path"]) == card["sha256"]
    except OSError as e: raise MmvaeError(f"{card['path']}: {e.strerror}") from e
    if not same: raise MmvaeError(f"{card['path']}: not the file its card describes; fetch it anew")
    return card["path"]


# %% [markdown]
# A teacher and its students have the same decoders, number for number (lesson 10), and the decoders are half of a file. So the students' file has them, and the teacher's *shares* them: it leaves them out, its card
# says whose they are, and `pretrained` puts the two together again.

# %%
#| exports
def _lender(card):
    "The card of the model whose decoders this one shares, in the same folder."
    lender = _in(card["path"].parent).get(card["shares"])
    if lender and not lender.get("shares"): return lender
    raise MmvaeError(f"{card['path']}: shares its decoders with {card['shares']!r}, allowed: a "
                     "model with decoders of its own, in the same folder")

def _tensors(path):
    "The tensors of a file, and what its header says."
    with safe_open(path, "pt") as f:
        return {k: f.get_tensor(k) for k in f.keys()}, f.metadata() or {}

def _decoders(tensors): return {k: v for k, v in tensors.items() if k.startswith("decoders.")}

def _joined(path, lender, whole):
    "A whole model at `whole`, from a file without decoders and from the one that has them."
    own, about = _tensors(path)
    save_file({**own, **_decoders(_tensors(lender)[0])}, whole, {"mmvae_nb": about["without"]})
    return whole

def _leave_out_decoders(path):
    "Rewrite a model's file without its decoders."
    own, about = _tensors(path)
    rest = {k: v for k, v in own.items() if k not in _decoders(own)}
    with numbers_to(path) as tmp: save_file(rest, tmp, {"without": about["mmvae_nb"]})

def _check_json(name, value):
    "`MmvaeError` for what a card can't hold."
    try: json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as e:
        raise MmvaeError(f"{name}: got {value!r:.40} ({e}), allowed: finite numbers, strings, and "
                         "lists and dicts of them") from e

def _check_shared(model, card):
    "`MmvaeError` if the decoders of a model are not those of the one that the card says."
    if card["shares"] == card["path"].stem:
        raise MmvaeError(f"shares: got {card['shares']!r}, allowed: another model's name")
    lent = _decoders(_tensors(_as_described(_lender(card)))[0])
    own = _decoders(halved({k: v.cpu() for k, v in model.state_dict().items()}))
    if own.keys() != lent.keys() or any(not torch.equal(v, lent[k]) for k, v in own.items()):
        raise MmvaeError(f"shares: got {card['shares']!r}, allowed: a model with the same decoders")


# %%
#| exports
def ship(model, # a trained model that `save` can write
         folder, # such as "weights"
         name, # what `pretrained` will call it: letters, digits, underscores
         data=None, # `MultimodalData`: its modalities and class names go with the model
         shares=None, # name of a model in the folder with the same decoders; they are left out
         **about # the rest of the card: data and terms, method, updates, seed, metrics, made_by
        ) -> dict: # the card
    "Write a model in half precision, and its card."
    if not str(name).isidentifier():
        raise MmvaeError(f"name: got {name!r}, allowed: letters, digits, underscores")
    said = ("terms", "method", "updates", "seed", "metrics", "made_by")
    if lacking := [k for k in ("data_name", *said) if k not in about]:
        raise MmvaeError(f"about: got no {', '.join(lacking)}, allowed: a card that says all of it")
    for k, v in about.items(): _check_json(k, v)               # before anything is written
    path = Path(folder)/f"{name}.safetensors"
    if shares: _check_shared(model, {"shares": shares, "path": path})
    save(model, path, data, half=True)
    if shares: _leave_out_decoders(path)
    card = {"name": name, "file": path.name, "sha256": _sha256(path),
            "data": about.pop("data_name"), **about, "bytes": path.stat().st_size}
    if shares: card["shares"] = shares
    write_json(path.with_suffix(".json"), card)
    return card


# %% [markdown]
# An example: a small model of two noisy views of one hidden number, shipped, found, and opened.

# %%
g = torch.Generator().manual_seed(0)
z = torch.randn(400, 1, generator=g)
data = TensorData({n: z @ torch.randn(1, 4, generator=g) + .1*torch.randn(400, 4, generator=g) for n in ("left", "right")})
seed_everything(0)
model = JVAE(default_specs(data.modalities), latent=2)
history = fit(model, data, 60, 64, device="cpu", progress=False)

# %%
folder = tempfile.TemporaryDirectory()
os.environ["MMVAE_WEIGHTS"] = folder.name
ship(model, folder.name, "two_views", data_name="made up in lesson 02j", terms="none", method="JVAE", updates=60, seed=0,
     metrics={"negative_elbo": round(history.total.iloc[-1], 2)}, made_by="lesson 02j")
again = pretrained("two_views")
type(again).__name__, again.card["metrics"], again.card["bytes"]

# %% [markdown]
# Half precision keeps 11 bits of a number, so a weight moves by at most a 2,000th of itself and the file is half as long. What the model infers moves by as little:

# %%
batch, _ = data.take(100)
before, after = model.infer(batch), again.infer(batch)
moved = ((after.mean - before.mean).abs()/before.std).max()
assert moved < .05
f"{moved:.4f} standard deviations, at most"

# %% [markdown]
# Students of the same model, and the model once more, with their decoders:

# %%
about = {k: again.card[k] for k in ("terms", "method", "updates", "seed", "metrics", "made_by")} | {"data_name": "made up in lesson 02j"}
ship(Students(model), folder.name, "students", **about)
ship(model, folder.name, "teacher", shares="students", **about)
teacher = pretrained("teacher")
assert all(torch.equal(a, b) for a, b in zip(teacher.state_dict().values(), again.state_dict().values(), strict=True))
again.card["bytes"], teacher.card["bytes"]

# %% [markdown]
# Little is left out here, as the decoders of two short vectors are small. Of the models below it is nearly half of a file.
#
# A damaged file, or another one under its name, is refused in one line:

# %%
path = again.card["path"]
path.write_bytes(path.read_bytes()[:-1] + b"\0" if path.read_bytes()[-1] else path.read_bytes()[:-1] + b"\1")
try: pretrained("two_views")
except MmvaeError as e: print(str(e).replace(folder.name, "weights"))
del os.environ["MMVAE_WEIGHTS"]
folder.cleanup()

# %% [markdown]
# ## What comes with the course
#
# The VAE of lesson 02, of handwritten digits alone, and two sets of models of digits, street numbers and words: one of the rendered street numbers that every checkout can draw, trained for a few minutes each, and one of real street numbers (names with `real_`), trained as long as the
# longest runs of lesson 14. A student's file holds the decoders, so it also generates; its *updates* are its own, those of its teacher come before. And there are a JVAE's students of birds and of faces (`cub_`, `celeba_`), both trained on *drawn* ones, which lessons 12 and 13 look at.

# %%
import pandas as pd
from mmvae_nb import pretrained_models as package         # which knows the checkout that it lies in
SCORES = {"coherence, mnist->svhn": "digit to street number", "attributes_right, text->image": "caption to bird",
          "attribute_measured, text->image": "text to face"}
score = lambda c: next((f"{c['metrics'][k]:.2f} {said}" for k, said in SCORES.items() if k in c["metrics"]), None)
told = lambda c: {"of": ", ".join(c["data"]), "data": c["source"], "updates": c["updates"], "MB": round(c["bytes"]/1e6, 1),
                  "decoders of": c.get("shares"), "score": score(c)}
shipped = pd.DataFrame({n: told(c) for n, c in package.cards().items()}).T.fillna("–")
assert {"iterative_student", "real_iterative_student"} <= set(shipped.index)
shipped

# %% [markdown]
# *Score*, with $z$ sampled: how often a judge reads the right number in the street numbers that were drawn from digits (coherence, lesson 03a; chance is 0.1), or how much is right of what a caption or a text says (chance is 0.27 and 0.51; lessons 12 and 13). A dash: it can't be asked of this model, or no measurement stands on its card.
#
# What those of digits, street numbers and words can do, in one picture. Those that infer from a part of the modalities get a word and draw the rest, from one sample of $z$ each. The teachers need everything, so they get nothing: a $z$ from the prior becomes a digit, a street number and a word. ([Lesson 03](03_multimodal_elbo.ipynb) says what they are trained for, lessons [04](04_jmvae.ipynb) to [10](10_distillation.ipynb) how.)

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "All shipped models of digits, street numbers and words, one sample of z for each column. Above: a word was given. Below: nothing was, and the three rows of a model come from one z."
#| fig-alt: "Two blocks of ten columns. From the words zero to nine: rows of digits, most of them right, and of street numbers, grey by both MoPoEs, grey or bright figures by the rendered students, blurred photographs in colours by the real ones. From nothing: digits and street numbers, and words of which half are misspelt."
from mmvae_nb.core import generator
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.plotting import set_style, side_by_side
set_style()
data = mnist_svhn_text("validation", "rendered")
batch, labels = data.take(200)
words = batch["text"][[labels.tolist().index(c) for c in range(10)]]
say = lambda tokens: [w.strip() for w in data.modalities["text"].decode(tokens)]
blocks = {"a word is given": {"given": say(words)}, "nothing is given": {}}
for name in shipped.index[shipped["of"] == "mnist, svhn, text"]: # lessons 02, 12 and 13 show the others
    model, g = package.pretrained(name), generator(0, "shipped")
    prior = torch.randn(10, model.latent, generator=g) if model.needs_all else None
    made = model.generate(prior) if model.needs_all else \
        model.generate({"text": words}, sample=True, generator=g)
    rows = {f"{name}: digit": made["mnist"], f"{name}: number": made["svhn"]}
    if model.needs_all: blocks["nothing is given"] |= {**rows, f"{name}: word": say(made["text"])}
    else: blocks["a word is given"] |= rows
side_by_side(blocks, columns=1);

# %% [markdown]
# Above, the two MoPoEs draw digits and, to the eye, no street numbers; a judge needs less contrast than an eye and still reads some of them (those of the real MoPoE from digits in 0.77 of all cases, says the table). MVTCAE draws both, and with some of the words another digit; the students mostly draw both, and lesson 11 counts how often the right ones. Below, nothing was given, so digit, number and word of a column should at least agree with each other, and some do not; and many words are none: the prior has places to which training never led a posterior, and what a decoder says there nobody has corrected.
#
# ## Recap
#
# - `pretrained(name)` opens a trained model offline; `cards()` lists what is there; the card says what the numbers rest on.
# - A checksum catches damage and exchange; half precision costs nothing that shows.
#
# ## Exercises
#
# 1. What must a card say so that a reader could train the same model again?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The data with its version (the checksum of lesson 02a) and split, the code's version, method and options, updates, batch size, learning rate, seed, precision and number of threads: whatever
# the record of a run holds (lesson 14b). The command in `made_by` reads all of it from that record, so naming the command is enough as long as the code of that time is at hand.
# :::
#
# ## References
#
# - M. Mitchell et al., [*Model Cards for Model Reporting*](https://arxiv.org/abs/1810.03993), FAT* 2019: what should stand beside weights that others will use, and why.
# - [safetensors](https://huggingface.co/docs/safetensors): the format of the files, which holds numbers and a header and can't run code.
