"""The playground of the site: trained models as scripts that its page loads, offline.

    python tools/playground.py ship RESULTS METHOD ..     trained runs -> weights/, with cards
                                    [--dataset DATASET]   (students first: a teacher shares theirs)
    python tools/playground.py build [METHOD ..]          weights/ -> site/playground/
    python tools/playground.py runtime                    onnxruntime-web -> site/playground/

All that the page shows follows from the models, their cards and the data they were trained on:
methods, modalities, words, examples. The last two need npm, onnx and onnxscript (`make playground`
installs the latter apart); what they write is committed, so the site needs none of them.
"""
import argparse, base64, gzip, hashlib, subprocess, sys, tarfile, tempfile
from pathlib import Path

import torch

from notebooks import ROOT
from playground_graphs import Imagine, Starts, Step, subsets, to_onnx
from playground_pack import Packs, rounded, script

from mmvae_nb.core import MmvaeError, generator, read_json
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.experiments.runs import load_data, load_run
from mmvae_nb.experiments.table import METHODS as KNOWN, may_publish, run_paths
from mmvae_nb.plotting import method_colour, method_name
from mmvae_nb.pretrained_models import cards, pretrained, ship

PAGE = ROOT/"site"/"playground"
DATA = "mnist_svhn_text"
METHODS = ("mopoe", "mvtcae_student", "jmvae_student", "iterative_student") # in the page's order
TEACHER = "iterative" # whose refinement is shown
TITLES = {"mnist": "digit", "svhn": "street number", "text": "word"} # in the reader's words
STEPS, LOOKS, VIEWS = 8, 4, 16 # of refinement; samples of z for an ELBO; samples to look at

RUNTIME = "onnxruntime-web-1.30.0"
# What npm calls its integrity: `npm view onnxruntime-web@1.30.0 dist.integrity` prints it.
INTEGRITY = ("sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJm"
             "g8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==")
PARTS = 2 # scripts that the runtime is split into: no file of a commit is longer than 3 MB


# ---- trained runs to weights/

ON_CARDS = ("linear_accuracy", "coherence", "fid", "negative_elbo", # and of birds and faces:
            "belly_right", "attributes_right", "attribute_measured", "attribute_match")

def metrics_of(run, path):
    "What a card says of a run: its validation loss, and where it was evaluated what was measured."
    rows = read_json(path)["rows"] if path.exists() else []
    wanted = [r for r in rows if r["metric"] in ON_CARDS and "," not in r["condition"]]
    measured = {f"{r['metric']}, {r['condition']}": round(r["value"], 2) for r in wanted}
    return {"validation_loss": round(run["validation_loss"], 1), **measured}

def named(method, source, dataset=DATA):
    "What a shipped model is called: those trained on real street numbers say so."
    if dataset != DATA: return f"{dataset}_{method}"
    return f"real_{method}" if source == "real" else method

def ship_runs(results, methods, dataset=DATA, seed=0):
    "Write the trained models of a results folder to weights/, with cards."
    for method in methods:
        paths = run_paths(results, dataset, method, seed)
        model, run = load_run(results, dataset, method, seed)
        source, name = run["data"], named(method, run["data"], dataset)
        if not may_publish(dataset, source):
            raise MmvaeError(f"dataset: got {dataset}, whose real items may not be shown, "
                             "allowed: runs on rendered ones")
        data = load_data(dataset, "test", source)
        students = [named(m, source, dataset) for m, s in KNOWN.items() if s.teacher == method]
        shares = next((n for n in students if n in cards() and not KNOWN[method].teacher), None)
        ship(model, ROOT/"weights", name, data, shares,
             data_name=data.provenance, terms=data.terms, method=method, seed=seed,
             source=source, updates=run["updates"], checksum=run["checksum"],
             metrics=metrics_of(run, paths["metrics"]),
             made_by=made_by(Path(results).name, dataset, method))
        print(f"weights/{name}.safetensors")

def made_by(scale, dataset, method):
    "The command that trains a shipped model again."
    what = "--part headline" if dataset == DATA else f"--dataset {dataset} --part {dataset}"
    return f"mmvae reproduce --scale {scale} {what}"


# ---- weights/ to the page

def examples(data, per_class=1):
    "Of each modality the first items of each class: bytes or tokens, and the names of the classes."
    found = {}
    for n in data.modalities:
        x, y = data.pools[n], data.labels[n].tolist()
        rows = [i for c in range(len(data.class_names))
                for i in [j for j, own in enumerate(y) if own == c][:per_class]]
        found[n] = (x[rows], [data.class_names[y[i]] for i in rows])
    return found

def given(data):
    "One item of each modality, as a graph takes it: images as floats."
    return [x[:1].float()/255 if x.dtype == torch.uint8 else x[:1]
            for x, _ in examples(data).values()]

def way_in(modality):
    "How a reader hands in an item: by drawing, typing or choosing."
    if modality.kind == "text": return "type"
    return "draw" if modality.shape[0] == 1 else "choose"

def described(data):
    "The modalities as the page needs them."
    def one(n, m, x, names):
        about = {"name": n, "kind": m.kind, "shape": list(m.shape), "way": way_in(m),
                 "title": TITLES.get(n, n), "names": names}
        if m.kind == "text": return {**about, "vocabulary": m.vocabulary, "items": m.decode(x)}
        return {**about, "items": base64.b64encode(x.numpy().tobytes()).decode()}
    return [one(n, data.modalities[n], *v) for n, v in examples(data).items()]

def noise(*shape, called):
    "Standard normal numbers of the stream `called`, in nested lists, the same at each build."
    x = torch.randn(shape, generator=generator("playground", called))
    return [[round(v, 4) for v in row] for row in x.tolist()]

@torch.no_grad()
def cost_of_rounding(model, data, items=200):
    "What rounding moves: the mean of q given each modality, in its deviations; a quantile of it."
    batch = {n: v for n, v in data.take(items)[0].items()}
    before = [model.infer({n: x}) for n, x in batch.items()]
    rounded(model)
    after = [model.infer({n: x}) for n, x in batch.items()]
    moved = [(a.mean - b.mean).abs()/b.std for a, b in zip(after, before)]
    return round(torch.cat(moved).median().item(), 3)

def of_method(name, model, data):
    "What the page says of a method."
    card = model.card
    return {"name": name, "card": card["name"], "label": method_name(name),
            "colour": method_colour(name), "updates": card["updates"],
            "metrics": card["metrics"], "sha256": card["sha256"],
            "rounding": cost_of_rounding(model, data)}

def imagined(model, data):
    "The graph of a method."
    latent = torch.zeros(1, model.latent)
    module = Imagine(model.eval().requires_grad_(False))
    return to_onnx(module, (torch.tensor([0]), latent, *given(data)))

def refined(teacher, data):
    "The graphs of the iterative teacher: where it starts, and one step."
    rounded(teacher).eval().requires_grad_(False)
    xs, m, latent = given(data), len(data.modalities), teacher.latent
    shapes = [(m, latent), (m, latent), (m, 2*latent + 1), (m, latent), (LOOKS, latent),
              (1, latent), (m,)]
    args = (*map(torch.zeros, shapes), *xs)      # a tensor each: one given twice is traced as one
    return {"starts": to_onnx(Starts(teacher), tuple(xs)), "step": to_onnx(Step(teacher), args)}

def available(wanted):
    "Method -> the name of its card, those on real street numbers if any is there; their test data."
    known = cards()
    for source in ("real", "rendered"):
        found = {m: n for m in wanted if (n := named(m, source)) in known}
        if found: return found, mnist_svhn_text("test", source)
    raise MmvaeError(f"weights: got none of {', '.join(wanted)}, allowed: one")

def build(methods=METHODS, out=PAGE):
    "Write the scripts of graphs and weights, and `data.js`, which says what they are."
    out.mkdir(parents=True, exist_ok=True)
    found, data = available(methods)
    packs, said, written = Packs(), [], {}
    for n, card in found.items():
        model = pretrained(card)
        said.append(of_method(n, model, data))
        written[n] = packs.script(n, {"imagine": imagined(model, data)})
        print(f"{n}: {len(written[n])/1e6:.2f} MB")
    about = {"methods": said, "teacher": None}
    card = named(TEACHER, "real" if data.real else "rendered")
    if card in cards():
        teacher = pretrained(card)
        written[TEACHER] = packs.script(TEACHER, refined(teacher, data))
        print(f"{TEACHER}: {len(written[TEACHER])/1e6:.2f} MB")
        about["teacher"] = {"name": TEACHER, "card": card, "label": method_name(TEACHER),
                            "colour": method_colour(TEACHER),
                            "steps": STEPS, "trained": teacher.steps,
                            "updates": teacher.card["updates"], "sha256": teacher.card["sha256"]}
    written["data"] = script("data", {**about, **common(model, data), "uses": packs.uses})
    for n, text in written.items(): (out/f"{n}.js").write_text(text, encoding="utf-8")

def common(model, data):
    "What all methods share."
    m, latent = len(data.modalities), model.latent
    return {"modalities": described(data), "latent": latent, "source": data.provenance,
            "real": data.real, "sets": subsets(list(data.modalities)),
            "views": [[0.]*latent, *noise(VIEWS, latent, called="views")],
            "looks": noise(LOOKS, latent, called="looks"),
            "steps": noise(STEPS*m, latent, called="steps")}


# ---- the runtime

def fetched(folder):
    "The archive that npm gives, refused if it is not, byte by byte, the one this was written for."
    package = RUNTIME[::-1].replace("-", "@", 1)[::-1]
    try: subprocess.run(["npm", "pack", package, "--silent"], cwd=folder, check=True,
                        capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as e:
        raise MmvaeError(f"npm can't fetch {package}; what is committed stays as it is") from e
    tgz = Path(folder)/f"{RUNTIME}.tgz"
    found = base64.b64encode(hashlib.sha512(tgz.read_bytes()).digest()).decode()
    if f"sha512-{found}" != INTEGRITY:
        raise MmvaeError(f"{tgz.name}: not {package} as published (its SHA-512 differs)")
    return tgz

def runtime(out=PAGE):
    "Write onnxruntime-web, its script and its WebAssembly, as scripts of text."
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp, tarfile.open(fetched(tmp)) as tar:
        read = lambda name: tar.extractfile(f"package/dist/{name}").read()
        made = {"code": read("ort.wasm.bundle.min.mjs"),
                "wasm": read("ort-wasm-simd-threaded.wasm")}
    text = {n: base64.b64encode(gzip.compress(x, 9, mtime=0)).decode() for n, x in made.items()}
    size = -(-len(text["wasm"])//PARTS)
    for i in range(PARTS):
        part = {"wasm": text["wasm"][i*size:(i + 1)*size], "version": RUNTIME}
        if i == 0: part["code"] = text["code"]
        (out/f"runtime-{i + 1}.js").write_text(script(f"runtime-{i + 1}", part), encoding="utf-8")
    print(f"{RUNTIME}: {sum(map(len, text.values()))/1e6:.2f} MB in {PARTS} scripts")


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    does = p.add_subparsers(dest="does", required=True)
    s = does.add_parser("ship", help="trained runs to weights/")
    s.add_argument("results", type=Path, help="results folder of a scale, such as results/quick")
    s.add_argument("methods", nargs="+")
    s.add_argument("--dataset", default=DATA)
    b = does.add_parser("build", help="weights/ to site/playground/")
    b.add_argument("methods", nargs="*", help=f"by default those there are of {', '.join(METHODS)}")
    does.add_parser("runtime", help="onnxruntime-web to site/playground/")
    a = p.parse_args(argv)
    try:
        if a.does == "ship": ship_runs(a.results, a.methods, a.dataset)
        elif a.does == "build": build(a.methods or METHODS)
        else: runtime()
    except MmvaeError as e: sys.exit(f"playground: {e}")


if __name__ == "__main__": main()
