"""The command line and the run it starts: bad input, absent data, a Snakemake that hangs."""
import fcntl, gzip, inspect, struct, subprocess, sys, time
from pathlib import Path
from types import SimpleNamespace

import numpy as np, pytest
from scipy.io import savemat

from helpers import DATA, ROOT, SMOKE, files, half_written, one_error, run
from mmvae_nb.experiments import cli, runs, watch
from mmvae_nb.experiments.cli import main
from mmvae_nb.experiments.graph import Options

# ---- bad input

BAD = {
    "scale": (["reproduce", "--scale", "big"],
              "scale: got 'big', allowed: smoke, quick, real, half, long, long_bf16, twice, equal_time, paper"),
    "scale of table": (["table", "--scale", "big"], "scale: got 'big'"),
    "scale of generate": (["generate", "mopoe", "--scale", "big", "--given", "mnist"], "scale: got 'big'"),
    "part": (["reproduce", *SMOKE, "--part", "slides"],
             "part: got 'slides', allowed: headline, mnist_svhn_text, products_of_students"),
    "dataset": (["reproduce", *SMOKE, "--dataset", "imagenet"], "dataset: got 'imagenet', allowed: mnist_svhn_text"),
    "dataset of table": (["table", *SMOKE, "--dataset", "imagenet"], "dataset: got 'imagenet'"),
    "dataset of generate": (["generate", "mopoe", *SMOKE, "--dataset", "imagenet", "--given", "mnist"],
                            "dataset: got 'imagenet'"),
    "method": (["reproduce", *SMOKE, "--methods", "jvae,mopo"], "methods: got 'mopo', allowed: mopoe, "),
    "method of generate": (["generate", "mopo", *SMOKE, "--given", "mnist"], "method: got 'mopo'"),
    "seeds 0": (["reproduce", *SMOKE, "--seeds", "0"], "seeds: got 0, allowed: a whole number at least 1"),
    "seeds -1": (["reproduce", *SMOKE, "--seeds", "-1"], "seeds: got -1"),
    "device": (["reproduce", *SMOKE, "--device", "cuda:99"], "device: got 'cuda:99', allowed: auto, cpu"),
    "results below a file": (["reproduce", *SMOKE, "--results", "file/x"], "file/x/smoke: can't be written to"),
    "results below a file, generate": (["generate", "mopoe", *SMOKE, "--results", "file/x", "--given", "mnist"],
                                       "file/x/smoke/runs"),
    "results below a file, job": (["job", f"{DATA}-judges", *SMOKE, "--results", "file/x"],
                                  "can't be written to"),
    "results below a file, table": (["table", *SMOKE, "--results", "file/x"], "results: got none in file/x/smoke"),
    "results in proc": (["reproduce", *SMOKE, "--results", "/proc/x"], "/proc/x/smoke: can't be written to"),
    "results that is a number": (["reproduce", *SMOKE, "--results", "2024", "--device", "cuda:99"],
                                 "device: got 'cuda:99'"),
    "no results": (["table", *SMOKE],
                   "results: got none in results/smoke, allowed: what `mmvae reproduce --scale smoke` makes"),
    "no run": (["generate", "mopoe", *SMOKE, "--given", "mnist"],
               "results/smoke/runs/mnist_svhn_text-mopoe-0.json: no such file"),
    "job": (["job", "nothing", *SMOKE], "job: got 'nothing', allowed: mnist_svhn_text-judges"),
    "argument": (["reproduce", *SMOKE, "--seeds", "two"], "seeds"),
    "command": (["reproduec"], "reproduec"),
}
KNOWN = {}

@pytest.mark.parametrize("argv, words", [
    pytest.param(*v, id=k, marks=[pytest.mark.xfail(strict=True, reason=KNOWN[k])] if k in KNOWN else [])
    for k, v in BAD.items()])
def test_bad_input_is_one_line(argv, words, project, capsys):
    before = files(project)
    try: code = main(argv)
    except SystemExit as e: code = e.code
    out, err = capsys.readouterr()
    assert code not in (0, None) and out == ""
    one_error(err, words)
    new = set(files(project)) - set(before)
    assert {Path(f).name for f in new if ".snakemake" not in f} <= {"lock"} and not half_written(project/"results")

def test_outside_the_project_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *SMOKE]) == 2
    one_error(capsys.readouterr().err, "Snakefile: not in this folder")
    assert files(tmp_path) == []

def test_the_exit_code_of_a_real_process(project):
    r = run("reproduce", "--scale", "big", cwd=project)
    assert r.returncode == 2 and r.stdout == ""
    allowed = "smoke, quick, real, half, long, long_bf16, twice, equal_time, paper"
    assert r.stderr == f"mmvae: scale: got 'big', allowed: {allowed}\n"

def test_a_second_run_in_the_same_folder_is_refused(project, capsys):
    (project/"results"/"smoke"/"status").mkdir(parents=True)
    with open(project/"results"/"smoke"/"status"/"lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        assert main(["reproduce", *SMOKE]) == 2
    one_error(capsys.readouterr().err, "another run is writing to results/smoke")


# ---- Snakemake, watched

@pytest.mark.parametrize("line, steps", [
    ("12 of 40 steps (30%) done", (12, 40)), ("total                40", (None, 40)), ("rule all:", None),
    ("Finished jobid: 3 (Rule: cub-judges)", None), ("total time", None)])
def test_how_far_snakemake_is_is_read_from_its_lines(line, steps): assert watch._steps_in(line) == steps

def test_a_hanging_snakemake_is_killed_but_not_before_its_jobs_have_ended():
    deaf = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    job = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3)']).wait(); "
    process = subprocess.Popen([sys.executable, "-c", deaf + "print(1, flush=True); " + job + "time.sleep(600)"],
                               stdout=subprocess.PIPE)
    process.stdout.read(1)
    start = time.time(); watch._stop(process, patience=.5)
    assert process.returncode == -9 and time.time() - start > 2

def test_options_survive_the_way_to_snakemake_and_to_a_job():
    for o in (Options(), Options("smoke", "cub", "cub", 2, ("jvae", "mopoe"), "2024", "cuda:1")):
        assert Options.read(o.words()) == o
        asked = [x for k, v in o.words().items() for x in (f"--{k}", v)]
        assert Options.read(vars(cli._parser().parse_args(["job", "x", *asked]))) == o
    # as Snakemake reads numbers
    assert Options.read({"seeds": 3, "results": 2024, "other": 1}) == Options(seeds=3, results="2024")

def test_reproduce_does_all_parts_by_default_here_and_on_the_command_line():
    parameters = inspect.signature(watch.reproduce).parameters
    asked = vars(Options.read(vars(cli._parser().parse_args(["reproduce"]))))
    assert {k: p.default for k, p in parameters.items() if k != "cores"} == {**asked, "methods": None}
    assert asked["part"] == "all"

def test_make_table_hands_on_the_data_set():
    said = subprocess.run(["make", "-n", "table", "SCALE=smoke", "DATASET=cub"], cwd=ROOT, capture_output=True,
                          text=True).stdout
    assert "mmvae table --scale smoke --dataset cub" in said

def test_data_lists_a_set_without_images(capsys, monkeypatch):
    data = SimpleNamespace(modalities={"sound": SimpleNamespace(shape=(8,)), "text": SimpleNamespace(shape=(4,))},
                           provenance={"sound": "made up"}, terms={})
    data = type("Data", (SimpleNamespace,), {"__len__": lambda self: 3})(**vars(data))
    monkeypatch.setattr(runs, "load_data", lambda dataset, split, source: data)
    assert cli._found("own", "rendered") == ["own  rendered: 3/3/3  sound 8, text 4",
                                             " "*17 + "made up; terms: not said"]


# ---- real data that is absent or damaged

def idx(array):
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())

def put_real(folder, n=240):
    "Small files in the true formats; images that are all alike."
    raw = folder/"MNIST"/"raw"
    raw.mkdir(parents=True); (folder/"svhn").mkdir()
    y = (np.arange(n) % 10).astype(np.uint8)
    for part in ("train", "t10k"):
        (raw/f"{part}-images-idx3-ubyte.gz").write_bytes(
            idx(np.random.default_rng(0).integers(0, 255, (n, 28, 28), dtype=np.uint8)))
        (raw/f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(y))
    savemat(folder/"svhn"/"test_32x32_first10000.mat", {"X": np.zeros((32, 32, 3, n), np.uint8), "y": (y + 1)[:, None],
            "photo": (np.arange(n) // 2 + 1).astype(np.uint16)[:, None]}, do_compression=True)

@pytest.mark.parametrize("damage, words", [
    ("absent", "svhn: real data asked for"), ("no mnist", "mnist: real data asked for"),
    ("half an archive", "train-images-idx3-ubyte.gz: damaged or incomplete"),
    ("half a matrix", "test_32x32_first10000.mat: damaged or incomplete"),
    ("empty labels", "t10k-labels-idx1-ubyte.gz: damaged or incomplete")])
def test_real_data_absent_or_damaged_is_one_line(damage, words, project, tmp_path, monkeypatch, capsys):
    folder = tmp_path/"real"
    folder.mkdir()
    monkeypatch.setenv("MMVAE_DATA", str(folder)); monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    monkeypatch.setattr(watch, "_outdated", lambda command: True)  # Snakemake's own look is tested elsewhere
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("jobs were started"))
    if damage != "absent": put_real(folder)
    for f, keep in {"no mnist": ("MNIST/raw/train-labels-idx1-ubyte.gz", None),
                    "half an archive": ("MNIST/raw/train-images-idx3-ubyte.gz", 0.5),
                    "half a matrix": ("svhn/test_32x32_first10000.mat", 0.5),
                    "empty labels": ("MNIST/raw/t10k-labels-idx1-ubyte.gz", 0.)}.items():
        if f != damage: continue
        path = folder/keep[0]
        if keep[1] is None: path.unlink()
        else: path.write_bytes(path.read_bytes()[:int(keep[1]*path.stat().st_size)])
    assert main(["reproduce", "--scale", "real"]) == 2
    line = one_error(capsys.readouterr().err, words)
    if damage == "absent": assert str(folder) in line and "MMVAE_DATA" in line
    assert files(project/"results"/"real") == ["status/lock"] and not half_written(tmp_path)
    unpacked = [p for p in (tmp_path/"cache").rglob("*-ubyte")]
    assert all(p.stat().st_size == {"images": 16 + 240*784, "labels": 8 + 240}[p.name.split("-")[1]] for p in unpacked)

def test_whole_small_real_files_are_accepted(project, tmp_path, monkeypatch, capsys):
    "The same files undamaged pass, so the lines above are about the damage."
    (tmp_path/"real").mkdir(); put_real(tmp_path/"real")
    monkeypatch.setenv("MMVAE_DATA", str(tmp_path/"real")); monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    watch._preflight("real", DATA, "cpu")
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path/"real") in out and "absent" not in out and "unusable" not in out

def test_absent_real_data_from_end_to_end(project, tmp_path):
    "With Snakemake's look at the graph, in a process of its own."
    r = run("reproduce", "--scale", "real", cwd=project,
            env={"MMVAE_DATA": str(tmp_path/"none"), "MMVAE_CACHE": str(tmp_path/"cache")})
    assert r.returncode == 2 and r.stdout == ""
    one_error(r.stderr, "real data asked for", "MMVAE_DATA")
    assert files(project/"results") == ["real/status/lock"]
