"The clock of `make bench`: subjects in turn, A B B A, in processor time; and the machine by name."
import contextlib, ctypes, gc, platform, re, resource, statistics, sys, time
from pathlib import Path

import torch


# ---- the machine

def processor():
    "The model and the flags of the processor, as Linux tells them."
    try: lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError: return platform.processor() or platform.machine(), set()
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    said = {k.strip(): v.strip() for k, v in said.items()}
    return said.get("model name", platform.machine()), set(said.get("flags", "").split())

def machine(device): # "cpu" or "cuda"
    "What a number depends on beside the code: columns of every table."
    model, flags = processor()
    amx = " ".join(sorted(f for f in flags if f.startswith("amx"))) or "none"
    vectors = next((f for f in ("avx512f", "avx2", "avx") if f in flags), "none")
    return {"device": str(device), "cpu": model, "vectors": vectors, "amx": amx,
            "gpu": torch.cuda.get_device_name() if str(device).startswith("cuda") else "",
            "threads": torch.get_num_threads(), "torch": torch.__version__}


# ---- the clock

def seconds(call, # a function without arguments
            device="cpu"):
    "What a call takes: of the processor, or by the wall between two synchronisations of a GPU."
    if not str(device).startswith("cuda"):
        start = time.process_time(); call()
        return time.process_time() - start
    torch.cuda.synchronize(); start = time.perf_counter()
    call(); torch.cuda.synchronize()
    return time.perf_counter() - start

def rounds(most, # repetitions wished
           budget, # seconds for all of them
           one, # seconds that one round takes
           least=2):
    "How many repetitions: as wished, or fewer where they take long; even, for A B B A."
    return max(least, min(most, int(budget/max(one, 1e-9)))//2*2)

def alternate(subjects, # dict: who -> function of the number of the update
              most=12, budget=15., device="cpu",
              warm=True # a first round that is not counted? It also says how many there will be
             ): # -> dict: who -> seconds of each repetition
    "Time subjects in turn, every second round in reverse order, so that a drift hits all alike."
    order, took = list(subjects), {who: [] for who in subjects}
    at = lambda who, u: seconds(lambda: subjects[who](u), device)
    n = rounds(most, budget, sum(at(who, 0) for who in order)) if warm else most
    for u in range(n):
        for who in order[::-1 if u % 2 else 1]: took[who].append(at(who, u + 1))
    return took

def forget_peak(device="cpu"):
    "`most_memory` begins anew: what reading the data took is given back, where Linux lets us."
    gc.collect()
    with contextlib.suppress(OSError, AttributeError): ctypes.CDLL(None).malloc_trim(0)
    if str(device).startswith("cuda"): torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError): Path("/proc/self/clear_refs").write_text("5")

def most_memory(device="cpu"): # -> MB
    "The most memory that was held: by this process, or in tensors on the GPU."
    if str(device).startswith("cuda"): return torch.cuda.max_memory_allocated()/1e6
    # Linux's ru_maxrss begins with that of the process that started this one; VmHWM does not
    with contextlib.suppress(OSError):
        said = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s*(\d+) kB", said)[1])*1024/1e6
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most/1e6 if sys.platform == "darwin" else most*1024/1e6

def summary(took): # seconds
    "The columns of a timing."
    return {"min_ms": round(1e3*min(took), 3), "median_ms": round(1e3*statistics.median(took), 3),
            "repetitions": len(took)}
