"""Time and memory of every method: ours, the peer's, and the floor of the networks alone.

    python tools/bench.py [--quick] [--only BLOCK ..]

One table a block, results/bench/BLOCK.csv. All subjects of a case run in one process, in turn
(A B B A), on one thread, and only their ratios are to be trusted: in another process the same step
may take a fifth more or less. Processor time; on CUDA the wall between two synchronisations. The
peer is multivae, in the environment that `make bench` makes; without it the rest is measured.
The block `cuda` is for a card only: an update as written, and as launched from a recording.
"""
import argparse, contextlib, copy, csv, json, subprocess, sys, tempfile
from pathlib import Path

import torch
from mmvae_nb.core import atomic_path
from mmvae_nb.training import fit, resolve_precision

import bench_cases as cases
import bench_cuda
import bench_peer as peer
from bench_clock import alternate, forget_peak, machine, most_memory, summary
from notebooks import ROOT

QUICK = dict(batches=[64], repetitions=4, seconds=2.)
FULL = dict(batches=[64, 256, 1024], repetitions=12, seconds=8.)
QUICK_METHODS = {"fit": ["mopoe"], "modalities": ["mopoe"], "birds": ["jvae", "mopoe"],
                 "memory": ["mopoe"]}
FULL_METHODS = {"fit": ["mopoe", "jmvae"],
                "modalities": ["jvae", "mopoe", "mvtcae", "iterative_t4"],
                "birds": ["jvae", "jmvae", "mopoe", "mvtcae", "iterative_t4", "jvae_student"],
                "memory": ["jvae", "jmvae", "mopoe", "mvtcae", "iterative_t4", "iterative_t8",
                           "iterative_student"]}


# ---- one case: subjects that run in turn

def usable(precisions, device):
    "The precisions asked for, as `fit` understands them here; each once."
    return list(dict.fromkeys(resolve_precision(p, device) for p in precisions))

def has_peer(method): return peer.library() is not None and method in peer.OBJECTIVES

def subjects(stack, # an `ExitStack` that ends our runs
             method, data, batch, precisions, device):
    "(who, precision) -> step, all from the same weights."
    model, items = cases.model_of(method, data), data.batch(0, batch)
    mine = lambda p: cases.our_step(stack, copy.deepcopy(model), data, batch, p, device)
    found = {("ours", p): mine(p) for p in precisions}
    if cases.has_floor(method):
        found["floor", "float32"] = cases.floor_step(copy.deepcopy(model), items, device)
    if has_peer(method):
        for p in precisions:
            found["peer", p] = peer.peer_step(method, model, items, p, device)
    return found

def said(method, data, batch, rows):
    "One line on a case: medians, and what ours is of the others."
    ms = {(r["who"], r["precision"]): r["median_ms"] for r in rows}
    own = ms.get(("ours", "float32"))
    ratios = [f"ours/{who} {own/v:.2f}" for (who, p), v in ms.items()
              if own and who != "ours" and p == "float32"]
    times = [f"{who} {p} {v:.1f} ms" for (who, p), v in ms.items()]
    print(f"  {method}, {data}, batch {batch}: {', '.join(times + ratios)}", flush=True)

def case(method, name, batch, how):
    "The rows of one case."
    data, rows = cases.data_of(name), []
    with contextlib.ExitStack() as stack:
        found = subjects(stack, method, data, batch, how.precisions, how.device)
        took = alternate(found, how.repetitions, how.seconds, how.device)
    for (who, precision), t in took.items():
        rows.append({"method": method, "data": name, "batch": batch, "who": who,
                     "precision": precision, **summary(t)})
    said(method, name, batch, rows)
    return rows


# ---- the blocks

def steps(how):
    "A training step of every method, at every size of the batch."
    for batch in how.batches:
        for method in how.methods or cases.METHODS: yield from case(method, "digits", batch, how)

def modalities(how):
    "A step with two to six modalities of one kind."
    for count in [2, 6] if how.quick else range(2, 7):
        for method in chosen(how, "modalities"):
            yield from case(method, f"made_up_{count}", 64, how)

def birds(how):
    "A step on 64 x 64 images with a text of 32 tokens."
    for method in chosen(how, "birds"): yield from case(method, "birds", 64, how)

def chosen(how, block):
    return how.methods or (QUICK_METHODS if how.quick else FULL_METHODS)[block]

def whole(how):
    "`fit` against the peer's trainer, from start to end, over the same number of the same items."
    data, epochs = cases.data_of("digits"), 1 if how.quick else 3
    updates = epochs*data.batches_per_epoch(64)
    for method in chosen(how, "fit"):
        with tempfile.TemporaryDirectory() as folder:
            found = trainings(method, data, updates, epochs, Path(folder), how)
            took = alternate(found, 2, device=how.device, warm=False)
        rows = [{"method": method, "data": "digits", "batch": 64, "who": who, "precision": p,
                 "updates": updates, **summary([x/updates for x in t])}
                for (who, p), t in took.items()]
        said(f"{method} end to end", "digits", 64, rows)
        yield from rows

def trainings(method, data, updates, epochs, folder, how):
    "(who, precision) -> a whole training, with its progress bar and what it writes."
    model = cases.model_of(method, data)
    def ours(p, repetition):
        with peer.quiet():
            fit(copy.deepcopy(model), data, updates, batch_size=64, device=how.device, precision=p,
                checkpoint=folder/f"ours-{p}-{repetition}")
    found = {("ours", p): lambda r, p=p: ours(p, r) for p in how.precisions}
    if has_peer(method):
        order = data.pairs(0)
        items = {n: x[order[n][:updates//epochs*64]] for n, x in data.pools.items()}
        items = peer.peer_items(items, model.specs)          # the peer's loader wants them on CPU
        found["peer", "float32"] = lambda r: peer.peer_train(
            peer.peer_model(method, model), items, 64, epochs, folder/f"peer-{r}", how.device)
    return found

def memory(how):
    "Peak memory of a few steps, a process for each."
    who = [("ours", p) for p in how.precisions] + [("peer", "float32")]
    for method in chosen(how, "memory"):
        for batch in how.batches:
            for name, precision in who:
                if name == "peer" and not has_peer(method): continue
                row = apart(dict(method=method, data="digits", batch=batch, who=name,
                                 precision=precision), how.device)
                print(f"  {method}, batch {batch}, {name} {precision}: {row['peak_mb']} MB")
                yield row

def apart(row, device):
    "The row with its peak, measured in a process of its own."
    r = subprocess.run([sys.executable, __file__, "--peak", json.dumps(row), "--device", device],
                       capture_output=True, text=True)
    if r.returncode: raise SystemExit(f"bench: {row} fails:\n{r.stderr[-2000:]}")
    return {**row, **json.loads(r.stdout.splitlines()[-1])}

def peak(row, device):
    "Megabytes before the model is made, and at most: of the process, or on the GPU."
    method, batch = row["method"], row["batch"]
    data = cases.data_of(row["data"])
    if row["who"] == "peer": peer.library()
    forget_peak(device)
    before = most_memory(device)
    with contextlib.ExitStack() as stack:
        model = cases.model_of(method, data)
        if row["who"] == "ours":
            step = cases.our_step(stack, model, data, batch, row["precision"], device)
        else: step = peer.peer_step(method, model, data.batch(0, batch), "float32", device)
        for u in range(3): step(u)
    return {"before_mb": round(before), "peak_mb": round(most_memory(device))}

BLOCKS = {"steps": steps, "fit": whole, "modalities": modalities, "birds": birds, "memory": memory,
          "cuda": bench_cuda.recorded}


# ---- tables

def write(path, rows):
    "A table, whole or not at all."
    names = list(dict.fromkeys(k for r in rows for k in r))
    with atomic_path(path) as tmp, open(tmp, "w", newline="", encoding="utf-8") as f:
        table = csv.DictWriter(f, names, lineterminator="\n")
        table.writeheader(); table.writerows(rows)

def parser():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--quick", action="store_true",
                   help="batch 64, four repetitions, fewer methods, into _bench: under two minutes")
    p.add_argument("--only", nargs="+", choices=BLOCKS, default=list(BLOCKS), metavar="BLOCK",
                   help=f"blocks to measure anew: {', '.join(BLOCKS)}")
    p.add_argument("--methods", nargs="+", choices=cases.METHODS, metavar="METHOD",
                   help=f"methods: {', '.join(cases.METHODS)} (default: those of each block)")
    p.add_argument("--batches", nargs="+", type=int, help="items per update (default 64 256 1024)")
    p.add_argument("--precisions", type=lambda s: s.split(","), default=["float32", "auto"],
                   help="of our steps, comma-separated (default float32,auto)")
    p.add_argument("--repetitions", type=int, help="at most, of each step (default 12, quick 4)")
    p.add_argument("--seconds", type=float, help="at most for a case (default 8, quick 2)")
    p.add_argument("--device", choices=["cpu", "cuda"],
                   help="default: cpu, then cuda if there is one")
    p.add_argument("--out", type=Path, help="folder of the tables (default results/bench)")
    p.add_argument("--peak", type=json.loads, help=argparse.SUPPRESS)
    return p

def options(argv=None):
    "The command line, with what it leaves to the size."
    how = parser().parse_args(argv)
    for name, value in (QUICK if how.quick else FULL).items():
        if getattr(how, name) is None: setattr(how, name, value)
    how.out = how.out or ROOT/("_bench" if how.quick else "results/bench")
    how.devices = [how.device] if how.device else ["cpu", "cuda"][:1 + torch.cuda.is_available()]
    return how

def measure(block, how):
    "One block on every device, written when it is complete."
    rows = []
    for device in how.devices:
        print(f"{block}, {device}", flush=True)
        here = {"device": device, "precisions": usable(how.precisions, device)}
        found = BLOCKS[block](argparse.Namespace(**{**vars(how), **here}))
        rows += [{**r, **machine(device)} for r in found]
    if rows: write(how.out/f"{block}.csv", rows)
    else: print("  nothing of it can be measured here", flush=True)   # and what is there stays

def main(argv=None):
    how = options(argv)
    torch.set_num_threads(1)
    if how.peak:
        print(json.dumps(peak(how.peak, how.devices[0])))
        return 0
    if peer.library() is None:
        print("no peer: multivae can't be imported; `make bench` installs it into .venv-bench")
    for block in how.only: measure(block, how)
    return 0


if __name__ == "__main__": sys.exit(main())
