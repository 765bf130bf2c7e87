# %% [markdown]
# # Plumbing
#
# > One short room for what every other lesson needs and none is about.
#
# ::: {.callout-note}
# ## You will learn
#
# - how this package says no: one line that names the argument, what was given and what is allowed;
# - how a file is written so that an interrupted run leaves either the old file or the new one;
# - how one seed becomes many independent streams of random numbers;
# - where data and trained weights are looked for.
#
# Runs in a few seconds on a laptop CPU. You can skip this lesson on a first reading.
# :::

# %% [markdown]
# ![Drawing: a seed and three names are hashed to three streams of random numbers; below, streams that are counted and not named collide between two runs.](drawings/streams.svg)

# %%
#| default_exp core

# %%
#| exports
import ast, contextlib, difflib, errno, functools, hashlib, importlib.util, inspect, io, json
import numbers, os, random, re, signal, symtable, sys, tempfile, time
from pathlib import Path


# %% [markdown]
# ## Errors a reader can act on
#
# A typo in an option name should cost a second, not an afternoon. (One well-known research code
# ignores an unknown option silently; its users train the wrong model.) So everything that comes
# from outside is checked at the door, and the refusal has a fixed form: *which argument, what was
# given, what is allowed*. Errors of this kind are `MmvaeError`; the command line prints them as
# one line, without a traceback.

# %%
#| exports
class MmvaeError(ValueError):
    "An error the user can put right; its message is one line."
    def __init__(self, text=""): super().__init__(re.sub(r"\s*\n\s*", " ", str(text)))

def one_of(name, # what the argument is called
           value, # what was given
           allowed # the values it may take
          ):
    "Return `value` if it is one of `allowed`; raise `MmvaeError` otherwise."
    allowed = list(allowed)
    if not getattr(value, "ndim", 0) and value in allowed: return value
    near = names = [f"{a}"[:70] for a in allowed]
    if len(", ".join(names)) > 280:                      # of many, those that look like `value`
        near = difflib.get_close_matches(f"{value}"[:70], names, 4) or names[:4]
        near = [*near, f"... ({len(names)} in all)"]
    raise MmvaeError(f"{name}: got {value!r:.80}, allowed: {', '.join(near)}")


# %%
one_of("scale", "quick", ["smoke", "quick"])
try: one_of("scale", "qiuck", ["smoke", "quick"])
except MmvaeError as e: message = str(e)
assert message == "scale: got 'qiuck', allowed: smoke, quick"
message

# %% [markdown]
# Of a long list only the likeliest are shown, because a line of fifty names is not read.

# %%
try: one_of("method", "itertive", ["iterative", *(f"method_{i}" for i in range(40))])
except MmvaeError as e: message = str(e)
assert message == "method: got 'itertive', allowed: iterative, ... (41 in all)"
message

# %% [markdown]
# Numbers get the same treatment. `in_range` takes the bounds it should hold to, both included, and
# refuses "not a number" too, which every comparison would let through.

# %%
#| exports
MOST_STEPS = 10**6 # of a climb: more is a slip, and would never come to an end

def in_range(name, # what the argument is called
             value, # the number given, Python's or NumPy's
             low=None, # smallest value allowed, None for no bound
             high=None, # largest value allowed, None for no bound
             whole=False # must it be an integer?
            ):
    "Return `value` if it is a number with `low <= value <= high`; raise `MmvaeError` otherwise."
    kinds = numbers.Integral if whole else numbers.Real
    bad = isinstance(value, bool) or not isinstance(value, kinds) or value - value != 0  # nan, inf
    if not bad and (low is None or value >= low) and (high is None or value <= high):
        return value.item() if hasattr(value, "item") else value   # Python's number, not NumPy's
    bounds = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    raise MmvaeError(f"{name}: got {value!r:.80}, allowed: a {'whole ' * whole}number "
                     f"{' and '.join(bounds)}".rstrip())


# %%
import numpy as np

# %%
for ten in [10, np.int64(10), np.uint8(10)]:
    n = in_range("updates", ten, low=1, whole=True)
    assert n == 10 and type(n) is int
assert type(in_range("lr", np.float32(0.5), low=0)) is float
for bad in [0, 2.5, True, "10", float("nan"), np.float64(2), np.True_]:
    try: in_range("updates", bad, low=1, whole=True)
    except MmvaeError as e: assert str(e).endswith("allowed: a whole number at least 1"), e
    else: raise AssertionError(f"{bad!r} was let through")

# %% [markdown]
# ## Files that are whole or absent
#
# A run can be stopped at any moment: by a lecturer closing the lid, by a cluster's clock. If it is
# stopped halfway through writing a result, the next reader must not take the half for the whole.
# The remedy is old: write to a temporary name in the same folder, then rename. On one file system
# renaming is atomic, so at any instant the name shows either the old content or the new.
#
# A disk that is full or may not be written to is an error the user can put right, so it is one line that names the file meant (not
# the temporary one). A cluster whose clock has run out sends SIGTERM, which by default ends a process on the spot; `ending_when_terminated` makes of it what Ctrl-C is. Only a process that is killed outright can't tidy up. What it left carries its number, and `sweep` removes it at the next start.

# %%
#| exports
_no_room = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

def unwritable(path, why # an `OSError`, or words
              ):
    "The error for a file or folder that can't be written."
    return MmvaeError(f"{path}: can't be written to ({getattr(why, 'strerror', None) or why})")

@contextlib.contextmanager
def atomic_path(path # the file's final path; its folder is made if need be
               ):
    "Give a temporary path beside `path`; move it to `path` on success, delete it on failure."
    given, path = path, Path(path)
    if not path.name or os.path.exists(path) and not os.path.isfile(path):   # /dev/null stays one
        raise MmvaeError(f"path: got {str(given)!r}, allowed: the name of a file (no folder, "
                         "device or pipe)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, tmp = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:20]}-{os.getpid()}-",
                                       suffix=path.suffix[:20])
    except OSError as e: raise unwritable(path.parent, e) from e
    try:
        os.close(handle); yield Path(tmp)
        os.chmod(tmp, 0o644); os.replace(tmp, path)
    except OSError as e:                       # others, of files that are read, are not ours
        if e.errno in _no_room or e.filename == tmp: raise unwritable(path, e) from e
        raise
    finally: Path(tmp).unlink(missing_ok=True)

def sweep(folder):
    "Remove what processes that are no more have left half-written in `folder` and below."
    for path in Path(folder).rglob(".*"):
        found = re.fullmatch(r"\..*-(\d+)-[a-z0-9_]{8}(\.\w+)?", path.name)
        if found and not _runs(int(found[1])):
            with contextlib.suppress(OSError): path.unlink()

def _runs(number):
    "Is there a process of this number on this machine?"
    if os.name == "nt": return True                     # where looking would be killing
    try: os.kill(number, 0)
    except (ProcessLookupError, OverflowError): return False
    except PermissionError: pass
    return True

class Terminated(KeyboardInterrupt): "What SIGTERM raises within `ending_when_terminated`."

@contextlib.contextmanager
def ending_when_terminated():
    "Within: SIGTERM ends the process as Ctrl-C does, so that what is half-done is undone."
    def end(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)      # a second one must not stop the tidying
        raise Terminated
    try: before = signal.signal(signal.SIGTERM, end)
    except ValueError: before = None                       # only the main thread is told of signals
    try: yield
    finally:
        if before is not None: signal.signal(signal.SIGTERM, before)

def write_json(path, value):
    "Write `value` as JSON to `path`, whole or not at all."
    text = json.dumps(value, indent=1, default=lambda v: v.item()) + "\n"   # NumPy's numbers too
    with atomic_path(path) as tmp: tmp.write_text(text, encoding="utf-8")

def read_json(path):
    "Read the JSON file at `path`; `MmvaeError` if it is missing or broken."
    try: return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as e: raise MmvaeError(f"{path}: no such file") from e
    except OSError as e: raise MmvaeError(f"{path}: can't be read ({e.strerror})") from e
    except ValueError as e: raise MmvaeError(f"{path}: not valid JSON ({e})") from e


# %% [markdown]
# Let us interrupt a write on purpose. The old file must survive and no debris may be left. Then a disk is full, and a process that no longer is has left something.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder)/"a"/"result.json"
    write_json(path, {"elbo": -600})
    try:
        with atomic_path(path) as tmp:
            tmp.write_text('{"elbo": ')
            raise KeyboardInterrupt
    except KeyboardInterrupt: pass
    assert read_json(path) == {"elbo": -600}
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]
    try:
        with atomic_path(path): raise OSError(errno.ENOSPC, "No space left on device")
    except MmvaeError as e: assert str(e) == f"{path}: can't be written to (No space left on device)"
    for number in (os.getpid(), 2**22 + 1): (path.parent/f".result-{number}-abcdefgh.json").touch()
    sweep(folder)
    assert len(list(path.parent.iterdir())) == 2       # the result, and what this process may be writing


# %% [markdown]
# ## Seeds
#
# One number per run is all a person should have to remember, yet a run needs many independent
# streams: one for the pairs of training items, one for the noise in $z$, one for the test set.
# Using seed 0, 1, 2 ... for them invites collisions (run 0's second stream is run 1's first). We
# hash the *names* of a stream into its seed instead.

# %%
#| exports
def seed_of(*names # anything printable: a run's seed, then what the stream is for
           ) -> int: # a seed in [0, 2**63)
    "Hash `names` to a seed: the same names give the same seed on every machine."
    text = "\x1f".join(map(str, names)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1

def generator(*names, # names of the stream
              device="cpu" # device the random numbers are wanted on
             ):
    "A `torch.Generator` for the stream called `names`."
    import torch
    return torch.Generator(device=device).manual_seed(seed_of(*names))

def seed_everything(*names):
    "Seed Python, NumPy and torch (all devices) for the stream called `names`."
    import numpy, torch
    s = seed_of(*names)
    random.seed(s); numpy.random.seed(s % 2**32); torch.manual_seed(s)


# %%
import torch

# %%
streams = [(0, "pairs"), (1, "pairs"), (0, "pairs")]
a, b, again = (torch.randn(4, generator=generator(*names)) for names in streams)
assert torch.equal(a, again) and not torch.equal(a, b)
assert seed_of(1, 23) != seed_of(12, 3)   # names are kept apart
seed_everything(0, "z"); x = torch.randn(3)
seed_everything(0, "z"); assert torch.equal(x, torch.randn(3))


# %% [markdown]
# The generators that `seed_everything` seeds belong to the whole process, and so to whoever called us. A function that
# seeds them for its own use gives them back as it found them, also if it fails: else `fit` would make everything
# that is drawn after it the same, run after run, without a word.

# %%
#| exports
def random_state() -> dict: # generator -> state
    "The states of the generators that `seed_everything` seeds, of devices where they are in use."
    import numpy, torch
    states = {"python": random.getstate(), "numpy": numpy.random.get_state(),
              "torch": torch.get_rng_state()}
    if torch.cuda.is_initialized(): states["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available(): states["mps"] = torch.mps.get_rng_state()
    return states

def set_random_state(states # as `random_state` gives them
                    ):
    "Let the generators go on from `states`."
    import numpy, torch
    random.setstate(states["python"]); numpy.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states: torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states: torch.mps.set_rng_state(states["mps"])

@contextlib.contextmanager
def keeping_random_state():
    "Within: seed and draw. After: Python, NumPy and torch (all devices) go on as before."
    import torch
    states, seed = random_state(), torch.initial_seed()
    try: yield
    finally:
        set_random_state(states)
        if "cuda" not in states: torch.cuda.manual_seed_all(seed)   # nothing was drawn since then


# %%
seed_everything(0, "z"); x = torch.randn(3), np.random.rand(), random.random()
seed_everything(0, "z")
with keeping_random_state():
    seed_everything(5); torch.randn(7), np.random.rand(), random.random()
y = torch.randn(3), np.random.rand(), random.random()
assert torch.equal(x[0], y[0]) and x[1:] == y[1:]


# %% [markdown]
# ## Where things live
#
# Real data is looked for in the folder named by the environment variable `MMVAE_DATA`, then in
# `data/` below the current folder. What the lessons train is kept in a cache, so that a class can
# enter at any lesson: `MMVAE_CACHE`, or `~/.cache/mmvae_nb`.

# %%
#| exports
def data_dirs() -> list:
    "Folders searched for data files, in order: `MMVAE_DATA`, then `data/`."
    return [Path(d).expanduser() for d in (os.environ.get("MMVAE_DATA"), "data") if d]

def find_data(relative # path inside a data folder, such as "MNIST/raw"
             ):
    "The first existing `folder/relative` over `data_dirs()`, or None."
    return next((d/relative for d in data_dirs() if (d/relative).exists()), None)

def cache_dir(*names # sub-folders
             ) -> Path:
    "The cache folder (`MMVAE_CACHE`, or `~/.cache/mmvae_nb`), made if need be."
    path = Path(os.environ.get("MMVAE_CACHE") or Path.home()/".cache"/"mmvae_nb", *map(str, names))
    try: path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise MmvaeError(f"MMVAE_CACHE: {path} can't be made ({e.strerror})") from e
    return path


# %% [markdown]
# Arrays that take long to make, such as decoded photographs, are kept in a file. Whoever asks for them gets what the
# file holds, or, if it is not there or damaged, has them made and kept. And data files that are absent or damaged are named by one line each. A few
# bytes of a damaged (or ill-meant) file can unpack to gigabytes; so readers say first how much there can be.

# %%
#| exports
def cached_arrays(path, # an .npz file
                  make, # () -> dict: name -> array, in the order of `names`
                  names=("x",) # which arrays the file must hold
                 ) -> dict: # name -> array
    "The arrays kept at `path`, or made now and kept there; a damaged file is made anew."
    import numpy as np
    try:
        with np.load(path) as f: return {n: f[n] for n in names}
    except Exception:                # missing, or damaged: NumPy and zipfile raise a dozen kinds
        arrays = make()
        with atomic_path(path) as tmp, open(tmp, "wb") as f: np.savez(f, **arrays)
        return arrays

def damaged(path, why=""):
    "The error for a data file that can't be read."
    why = f" ({' '.join(str(why).split())[:80]})" if why else ""
    return MmvaeError(f"{path}: damaged or incomplete{why}; delete it and fetch it again")

def read_at_most(f, # open for reading
                 most, # bytes
                 path # how an error calls it
                ) -> bytes:
    "What is left in `f`; a file that is much larger than it can be is refused before it is read."
    data = f.read(most + 1)
    if len(data) > most: raise damaged(path, f"more than {most} bytes")
    return data

def decoded_image(data, # bytes of a JPEG or PNG file
                  path, # how an error calls it
                  most=2**24 # pixels
                 ): # a PIL image, RGB
    "The image in `data`; one with far too many pixels is refused before it is unpacked."
    from PIL import Image
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        if (n := image.width*image.height) > most: raise ValueError(f"{n} pixels")
        return image.convert("RGB")
    except Exception as e:                                   # PIL raises a dozen kinds
        raise damaged(path, f"{type(e).__name__}: {e}") from e

def absent(what, # name of the data set
           paths, # what was looked for
           remedy="run `mmvae data --download`, or set MMVAE_DATA to the folder that has it"):
    "The error for real data that was asked for and is not there."
    return MmvaeError(f"{what}: real data asked for, but {' or '.join(paths)} was not found in "
                      f"{', '.join(map(str, data_dirs()))}; {remedy}")


# %%
import numpy as np

with tempfile.TemporaryDirectory() as folder:
    path, calls = Path(folder)/"squares.npz", []
    def squares(): calls.append(1); return {"x": np.arange(4)**2}
    first, second = cached_arrays(path, squares), cached_arrays(path, squares)
    assert len(calls) == 1 and (first["x"] == second["x"]).all()      # made once
    path.write_bytes(path.read_bytes()[:60])                           # half a file
    assert (cached_arrays(path, squares)["x"] == first["x"]).all() and len(calls) == 2
try: decoded_image(b"no image", "face.jpg")
except MmvaeError as e: print(e)
print(damaged("digits.gz", "3 bytes"))
print(str(absent("mnist", ["MNIST/raw"])).split(" in ")[0], "in ...")


# %% [markdown]
# ## Which code a result rests on
#
# A cached weight file must not outlive the code that made it. Which code is that? A list typed by hand
# forgets, so it is read off the modules: a module rests on those whose names it uses, on those that *they* use,
# and so on. An import line alone does not count, because one that nothing uses changes no result. The files are
# parsed and never run, so the question costs some milliseconds and no `import torch`. Python's own
# `symtable` tells a name that comes from an import from a local variable that is called the same.

# %%
#| exports
def _file_of(name):
    "The source file of the module called `name` (absolute), found without importing it; or None."
    top, *below = parts = name.split(".")
    if not all(parts): return None
    try: spec = importlib.util.find_spec(top)
    except (ImportError, ValueError): return None
    if spec is None: return None
    if not spec.submodule_search_locations:            # a module, no package
        return Path(spec.origin) if not below and str(spec.origin).endswith(".py") else None
    stems = [Path(folder, *below) for folder in spec.submodule_search_locations]
    found = [p for s in stems for p in (s.with_name(s.name + ".py"), s/"__init__.py")]
    return next((p for p in found[0 if below else 1:] if p.is_file()), None)

def _parsed(path):
    "Text, syntax tree and symbol table of a source file."
    stat = path.stat()
    return _parsed_version(path, stat.st_mtime_ns, stat.st_size)

@functools.lru_cache(maxsize=None)
def _parsed_version(path, *version):
    text = path.read_text(encoding="utf-8")
    return text, ast.parse(text), symtable.symtable(text, str(path), "exec")

def _offers(path):
    "The names in a module's `__all__`; None if it has none."
    for node in _parsed(path)[1].body:
        names = [getattr(t, "id", "") for t in getattr(node, "targets", [])]
        if "__all__" in names:
            with contextlib.suppress(ValueError): return set(ast.literal_eval(node.value))
    return None

def _used(table, imported=frozenset()):
    "The names in a scope and in those within it that may come from an import."
    names, here = set(), imported | {s.get_name() for s in table.get_symbols() if s.is_imported()}
    for s in table.get_symbols():
        outer = s.is_global() or s.is_imported() or s.is_free() and s.get_name() in imported
        if s.is_referenced() and outer: names.add(s.get_name())
    return names.union(*(_used(t, here) for t in table.get_children()))


# %%
#| exports
def _base(name, path, node):
    "The module that an import line `from ... import` in module `name` means, absolute."
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    up = package[:len(package) - node.level + 1] if node.level else []
    return ".".join([*up, *filter(None, [node.module])])

def _imported(name, # a module, absolute
              path # its file
             ): # -> pairs: a module (absolute), and the name taken from it, or ""
    "What a module imports and uses."
    _, tree, table = _parsed(path)
    used = _used(table) | (_offers(path) or set())
    own = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_namespace()}
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)): continue
        base = _base(name, path, node) if isinstance(node, ast.ImportFrom) else None
        for a in node.names:
            if a.name == "*": counts = _of_star(base, used - own)
            else: counts = (a.asname or a.name.split(".")[0]) in used
            if counts: yield (base, a.name.strip("*")) if base else (a.name, "")

def _of_star(module, used):
    "Does `from module import *` bring a name that is used? It does if nothing says what it brings."
    offered = _offers(path) if (path := _file_of(module)) else None
    return offered is None or bool(offered & used)

def _home_of(module, # absolute
             name # what is taken from it, or ""
            ):
    "The module that `name` lives in: one below a package, or that which the package takes it from."
    below = f"{module}.{name}"
    if not name or (path := _file_of(module)) is None: return module
    if path.name != "__init__.py": return module
    if _file_of(below): return below
    for node in ast.walk(_parsed(path)[1]):               # `from mmvae_nb import JVAE`: by its face
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            if name in [a.asname or a.name for a in node.names]: return f"{module}.{node.module}"
    return module

def source_closure(*modules, # names in this package ("mopoe", "datasets.birds"), or absolute ones
                   without=(), # modules (or sub-packages) left out, with what only they bring
                   package="mmvae_nb" # the package meant
                  ) -> tuple: # of names as above, sorted; those outside the package are absolute
    "The modules that `modules` use, directly or through others, and they themselves."
    found, todo = set(), [(m, True) for m in modules]
    while todo:
        m, named = todo.pop()
        m = m.removeprefix(f"{package}.")
        if m in found or any(f"{m}.".startswith(f"{w}.") for w in without): continue
        if not (at := _place(m, package, named)): continue
        found.add(m)
        todo += [(h, False) for h in _needed(*at) if h.startswith(f"{package}.")]
    return tuple(sorted(found))

def _needed(name, path):
    "The homes of what a module imports and uses; known as long as no file concerned changes."
    files = [path, *_import_files(name, path, path.stat().st_mtime_ns)]
    return _needed_version(name, path, *((s.st_mtime_ns, s.st_size) for s in map(os.stat, files)))

@functools.lru_cache(maxsize=None)
def _needed_version(name, path, *versions):
    return {_home_of(*i) for i in _imported(name, path)}

@functools.lru_cache(maxsize=None)
def _import_files(name, path, version):
    "The source files of the modules that import lines name."
    nodes = [n for n in ast.walk(_parsed(path)[1]) if isinstance(n, ast.ImportFrom)]
    return [f for b in {_base(name, path, n) for n in nodes} if (f := _file_of(b))]

def _place(module, package, named):
    "Absolute name and file of a module; None for one that was not named and is not there."
    if path := _file_of(f"{package}.{module}"): return f"{package}.{module}", path
    if not named: return None
    if path := _file_of(module): return module, path
    raise MmvaeError(f"modules: got {module!r}, allowed: those of {package}, or with a source")


# %% [markdown]
# `core` uses no other module, `distillation` trains and so uses `training`, and no model uses what only measures:

# %%
assert source_closure("core") == ("core",)
taught = source_closure("distillation")
assert {"training", "checkpoints", "distributions", "core"} < set(taught)
assert not {"metrics", "plotting", "mopoe", "judges.classes"} & set(taught)
print(*taught)


# %% [markdown]
# The name of a file in the cache carries a digest of the settings *and* of this code: change either, and the old file is
# simply not found. An array counts with all its bytes: printed as text it would be abbreviated, and
# a change in its middle would go unseen.

# %%
#| exports
def _code(module):
    "The source text of a module, without nbdev's comments on where cells come from."
    text = _parsed(_file_of(f"mmvae_nb.{module}") or _file_of(module))[0]
    return "\n".join(l for l in text.splitlines() if not l.startswith("# %%"))


# %%
#| exports
def _plain(value):
    "What `digest` makes of a value that JSON can't hold."
    import numpy, torch
    if isinstance(value, torch.Tensor):
        data = value.detach().cpu().reshape(-1).view(torch.uint8).numpy()
    elif not isinstance(value, numpy.ndarray): return str(value)
    elif value.dtype.hasobject: return value.tolist()
    else: data = value
    return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(data.tobytes()).hexdigest()}"

def digest(settings, # anything JSON can hold; arrays, tensors and paths too
           modules=() # the modules called, e.g. ("mopoe",); what they use counts, too
          ) -> str: # 12 hexadecimal digits
    "A short fingerprint of settings and code."
    h = hashlib.sha256(json.dumps(settings, sort_keys=True, default=_plain).encode())
    for m in source_closure(*modules): h.update(_code(m).encode())
    return h.hexdigest()[:12]


# %%
assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
assert digest({}, ["core"]) != digest({})
long = torch.zeros(5000)
other = long.clone(); other[2500] = 1
assert str(long) == str(other) and digest({"x": long}) != digest({"x": other})
assert digest({"x": other}) == digest({"x": other.clone()}) != digest({"x": other.numpy()})


# %% [markdown]
# ## Devices
#
# `auto` takes the accelerator if there is one. Asking for a device that is not there is refused at
# once, before any data is read.

# %%
#| exports
def resolve_device(name="auto" # auto, cpu, cuda, cuda:N or mps, or a `torch.device`
                  ):
    "The `torch.device` called `name`; `MmvaeError` if this machine has none such."
    import torch
    name, have = str(name), ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available(): have.append("mps")
    if name == "cuda" and "cuda:0" in have: name = "cuda:0"
    if name == "cpu:0": name = "cpu"   # what accelerate calls a process's processor
    one_of("device", name, ["auto", *have])
    return torch.device((have*2)[1] if name == "auto" else name)


# %%
assert resolve_device("cpu") == resolve_device(resolve_device("cpu")) == torch.device("cpu")
try: resolve_device("cuda:99")
except MmvaeError as e: assert "cuda:99" in str(e) and "cpu" in str(e)
resolve_device("auto")


# %% [markdown]
# ## What only some need
#
# Lessons and models need torch and a handful of other packages. Running the experiments also takes a scheduler, a notebook runner, word vectors. They come by
# `pip install mmvae_nb[experiments]`, are imported where they are used, and their absence is one line.

# %%
#| exports
def from_extra(name, # of the module, such as "papermill"
               extra="experiments" # the extra of this package that brings it
              ):
    "Import and return a module that only an extra brings; `MmvaeError` if it is absent."
    try: return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if not f"{name}.".startswith(f"{e.name}."): raise             # one that it needs itself
        raise MmvaeError(f"{name}: not installed, allowed: after "
                         f"`pip install mmvae_nb[{extra}]`") from e


# %%
assert from_extra("json") is json
try: from_extra("nobody_has_this")
except MmvaeError as e: print(e)


# %% [markdown]
# ## torchvision beside a torch it was not built for
#
# We use torchvision for its readers of real data sets only. Its compiled operators load only beside the exact torch
# build they were made for; where they don't (a CPU-only torch with the stock torchvision wheel is
# the common case), even `import torchvision` fails, because Python code in it refers to the
# schema of an operator that was never registered. Declaring the two schemas is enough to make the
# import work; everything except the detection operators then functions. With a matching build the
# operators are there and this function does nothing.

# %%
#| exports
@functools.lru_cache(maxsize=None)
def load_torchvision(needed=True # must it be there? Otherwise None if it is absent
                    ):
    "Import and return torchvision, declaring the schemas of its missing operators if need be."
    import torch
    if not needed and importlib.util.find_spec("torchvision") is None: return None
    try: return from_extra("torchvision")
    except RuntimeError as e:
        if "torchvision::nms does not exist" not in str(e): raise
        for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        load_torchvision.library = library   # a Library undoes its definitions when collected
        return from_extra("torchvision")


# %%
torchvision = load_torchvision()
assert {"MNIST", "SVHN"} <= set(dir(torchvision.datasets))
assert load_torchvision() is torchvision


# %% [markdown]
# ## How an object was made
#
# Weights are numbers; to use them one must first build the network that they belong to. An object that remembers its arguments can say how: lesson 02h
# writes them into the file. A class inherits from `Remembers` and does nothing else for it, unless it can be made from less than it was
# made with; then it says so by `arguments` and `from_arguments` of its own.

# %%
#| exports
class Remembers:
    "Remembers the arguments that it was made with, so that `save` can write them down."
    def __new__(cls, *args, **named):
        new = super().__new__(cls)
        object.__setattr__(new, "_made_with", (args, named))
        return new

    def arguments(self) -> dict: # name -> value
        "The arguments to make one like it by `from_arguments`."
        args, named = self._made_with
        bound = inspect.signature(type(self).__init__).bind(self, *args, **named).arguments
        bound.pop(next(iter(bound)))                          # self
        more = next((p.name for p in inspect.signature(type(self).__init__).parameters.values()
                     if p.kind is p.VAR_KEYWORD), None)
        return {**bound.pop(more, {}), **bound}

    @classmethod
    def from_arguments(cls, **arguments):
        "One made with what `arguments` says."
        return cls(**arguments)


# %%
class Cake(Remembers):
    def __init__(self, kind, eggs=2, **more): self.kind = kind
assert Cake("plum", more_sugar=True).arguments() == {"kind": "plum", "more_sugar": True}
assert Cake.from_arguments(**Cake("plum", 3).arguments()).arguments() == {"kind": "plum", "eggs": 3}


# %% [markdown]
# ## A line of progress
#
# Long runs happen in other processes (a notebook executed without a screen). They tell how far
# they are through a small file, if the variable `MMVAE_STATUS` names one.

# %%
#| exports
def write_status(**fields # e.g. step, total, text; must fit JSON
                ):
    "Write how far this process is to the file `MMVAE_STATUS` names, if it does and there is room."
    if path := os.environ.get("MMVAE_STATUS"):         # a full disk must not end what is told of
        with contextlib.suppress(MmvaeError, OSError):
            write_json(path, {**fields, "time": time.time()})


# %%
with tempfile.TemporaryDirectory() as folder:
    os.environ["MMVAE_STATUS"] = f"{folder}/status.json"
    write_status(step=3, total=10, text="training")
    del os.environ["MMVAE_STATUS"]
    status = read_json(f"{folder}/status.json")
assert (status["step"], status["total"], status["text"]) == (3, 10, "training")

# %% [markdown]
# ## Recap
#
# - Bad input is refused in one line at the door: `MmvaeError`, `one_of`, `in_range`.
# - `atomic_path` writes files whole or not at all; `seed_of` names streams of random numbers; who seeds the global ones works
#   inside `keeping_random_state`.
# - Data: `MMVAE_DATA`, then `data/`. Trained weights: `cache_dir()`, keyed by `digest`: settings, and the code of `source_closure`.
#
# ## Exercises
#
# 1. Why must the temporary file of `atomic_path` lie in the same folder as its target?
# 2. `seed_of(1, 23)` and `seed_of(12, 3)` differ. What would go wrong without the separator?
# 3. You edit a comment in a function of `core`. Does `digest({}, ["core"])` change, and should it?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Renaming is atomic only within one file system. Across two, "move" means copy and delete, and
#    a copy can be interrupted.
# 2. Both would hash the text `123`: run 1's stream 23 would equal run 12's stream 3, and two
#    quantities that should be independent would be perfectly correlated.
# 3. It does: all the text of the module counts, except the lines that say which cell it comes from. A change of a comment
#    costs a training that was not needed. To tell it from a change that matters would need a parser; a stale weight file would cost more.
# :::
#
# ## References
#
# - PyTorch, [Reproducibility](https://docs.pytorch.org/docs/stable/notes/randomness.html).
# - Python, [`os.replace`](https://docs.python.org/3/library/os.html#os.replace): when a renaming is atomic.
