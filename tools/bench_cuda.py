"A training on a card, update for update as written and recorded (lesson 02k)."
import time

import torch
from mmvae_nb.core import seed_everything
from mmvae_nb.experiments.runs import make_model
from mmvae_nb.experiments.table import METHODS
from mmvae_nb.networks import default_specs
from mmvae_nb.training import fit

import bench_cases as cases

BOTH, SHORT = ("float32", "bf16"), ("bf16",)
CASES = [*[(m, 64, "float32") for m in ("jvae", "iterative", "mopoe", "mvtcae", "iterative_student",
                                        "refined")],
         *[(m, 256, p) for m, ps in dict(jvae=BOTH, iterative=BOTH, iterative_student=SHORT,
                                         mopoe=SHORT).items() for p in ps]]
UPDATES = {False: 100, True: 400} # recorded or not -> how many are timed, and some before them
SKIPPED = 3                       # looks at the loss before the clock runs: as written, recording

def fresh(method, specs):
    "A model with its teacher, both untrained: a step takes as long."
    return method and make_model(method, specs, 20, 1., 4, fresh(METHODS[method].teacher, specs))

def speed(method, data, batch, precision, record, updates, device):
    "Milliseconds an update between two looks at the loss, and GB held at most."
    seed_everything(0, method)
    model, at = fresh(method, default_specs(data.modalities)).to(device), []
    look = lambda run: at.append((run.update, time.perf_counter()))   # after numbers were read
    on_card = str(device).startswith("cuda")
    if on_card: torch.cuda.reset_peak_memory_stats()
    fit(model, data, updates + 10*SKIPPED, batch, 2e-3, 0, device, precision, schedule="constant",
        progress=False, record=record, callbacks=[look])
    (first, start), (last, end) = at[SKIPPED], at[-1]
    most = round(torch.cuda.max_memory_allocated()/2**30, 2) if on_card else ""
    return {"ms": round(1e3*(end - start)/(last - first), 3), "gb": most}

def recorded(how):
    "The rows of the block; none where there is no card."
    if how.device == "cpu": return
    data = cases.data_of("digits")
    for method, batch, precision in CASES:
        if how.methods and method not in how.methods: continue
        if batch not in how.batches or precision not in how.precisions: continue
        for record in (False, True):
            updates = UPDATES[record]//(4 if how.quick else 1)
            row = {"method": method, "data": "drawn digits", "batch": batch,
                   "precision": precision, "recorded": record}
            row |= speed(method, data, batch, precision, record, updates, how.device)
            said = "recorded" if record else "as written"
            print(f"  {method}, batch {batch}, {precision}, {said}: {row['ms']} ms", flush=True)
            yield row
