"Set before anything imports torch or matplotlib: one thread a process, no window, a cache of our own."
import os, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("MMVAE_CACHE", str(ROOT/"_cache"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
sys.path.insert(0, str(ROOT/"tools"))


def pytest_collection_modifyitems(items):
    marked = [i for i in items if i.get_closest_marker("cuda")]
    if not marked: return
    import torch
    if torch.cuda.is_available(): return
    for i in marked: i.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def empty(tmp_path, monkeypatch):
    "An empty data folder and an empty cache; the current folder has no data either."
    folder, cwd = tmp_path/"data-folder", tmp_path/"cwd"
    folder.mkdir(); cwd.mkdir()
    monkeypatch.setenv("MMVAE_DATA", str(folder))
    monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    monkeypatch.chdir(cwd)
    return folder
