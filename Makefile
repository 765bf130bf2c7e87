# `make` prints the targets. Each makes .venv first when it is missing or the lock has changed.
PYTHON ?= python3
SCALE  ?= quick
JOBS   ?= 2
export MMVAE_CACHE ?= $(CURDIR)/_cache
export MMVAE_DATA  ?= $(CURDIR)/data
export JUPYTER_PREFER_ENV_PATH = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

BIN   := .venv/bin
# The stamp's name holds a checksum of what is installed, so a changed lock asks for a new stamp.
STAMP := .venv/.installed-$(shell cat requirements.txt pyproject.toml | cksum | tr ' ' '-')
# The peer's: what it pins, and .venv, whose packages (torch above all) it sees through a path file.
BENCH := .venv-bench/.installed-$(shell cat tools/bench-requirements.txt requirements.txt 2>/dev/null | cksum | tr ' ' '-')
# What the page's graphs are made with: onnx and its kin, installed the same way.
GRAPHS := .venv-playground/.installed-$(shell cat tools/playground-requirements.txt requirements.txt 2>/dev/null | cksum | tr ' ' '-')
FAST  := -m "not slow and not cuda"

.DEFAULT_GOAL := help
.PHONY: help venv run reproduce tuning data table test test-slow test-all export execute checks docs lab cache handouts slides bench playground clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

venv: $(STAMP) ## make .venv from the lock (every other target does this itself)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1). Name another with PYTHON=..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "Installing the packages of requirements.txt into .venv (about 2 GB; some minutes the first time)"
	$(BIN)/python -m pip install -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@rm -f .venv/.installed-*
	@touch $@

run: $(STAMP) ## the headline comparison on two CPU cores, then its table
	@$(BIN)/mmvae reproduce --scale quick --part headline

reproduce: $(STAMP) ## any part of the experiments: SCALE=smoke|quick|real|paper [DATASET=..] [PART=..] [SEEDS=..]
	@$(BIN)/mmvae reproduce --scale $(SCALE) $(if $(DATASET),--dataset $(DATASET)) $(if $(PART),--part $(PART)) $(if $(SEEDS),--seeds $(SEEDS))

tuning: $(STAMP) ## the search for settings on validation items (real digits; hours)
	@MMVAE_PLUGINS=mmvae_nb.experiments.tuning $(BIN)/mmvae reproduce --scale tuning --part tuning

data: $(STAMP) ## list the data that was found: counts, shapes, provenance, terms
	@$(BIN)/mmvae data

table: $(STAMP) ## the numbers of SCALE=.. beside the talk's: [DATASET=..]
	@$(BIN)/mmvae table --scale $(SCALE) $(if $(DATASET),--dataset $(DATASET))

test: $(STAMP) ## the tests: every lesson in a fresh process, the smoke experiments, the house (JOBS=2)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(FAST)

test-slow: $(STAMP) ## thousands of damaged files and bad calls, a hundred kills (long)
	@$(BIN)/python -m pytest -n 0 -q tests/stress

test-all: $(STAMP) ## the same with the slow tests, and those for CUDA where there is a device
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

export: $(STAMP) ## after an edit: mirrors and notebooks in step (the newer wins), modules exported
	@$(BIN)/python tools/notebooks.py sync

execute: $(STAMP) ## run every lesson top to bottom and save its outputs (NB=.. for some)
	@$(BIN)/python tools/notebooks.py execute --jobs $(JOBS) $(NB)

checks: $(STAMP) ## what must hold before a commit: mirrors, saved outputs, exported modules, ruff, bandit, packages
# Known holes in what the lock pins are a question to the network, so not of these checks: `pipx run pip-audit -r requirements.txt`
	@$(BIN)/python tools/notebooks.py check
	@$(BIN)/ruff check mmvae_nb tools tests
	@$(BIN)/bandit --quiet --recursive --configfile pyproject.toml mmvae_nb tools
	@$(BIN)/python -m pip check

docs: $(STAMP) ## build the site into _docs/ (Quarto where installed, else smalldocs)
	@$(BIN)/python tools/site_build.py

lab: $(STAMP) ## JupyterLab on the lessons, with a kernel that has the package (ARGS=.. for jupyter)
	@$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name "Python 3 (mmvae_nb)" >/dev/null
	@$(BIN)/jupyter lab nbs $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

cache: $(STAMP) ## run the lessons once, so that a class can enter at any of them (NB=.. for some)
	@$(BIN)/python tools/times.py cache $(NB)

handouts: $(STAMP) ## the lessons without their solutions, with cells that check the answers, into _handouts/
	@$(BIN)/python tools/handouts.py $(NB)

slides: $(STAMP) ## the lessons as slides that need no network, into _slides/
	@$(BIN)/python tools/slides.py $(NB)

bench: $(BENCH) ## time and memory beside multivae and a floor, into results/bench (ARGS=--quick for a short look)
	@.venv-bench/bin/python tools/bench.py $(ARGS)
	@$(BIN)/python tools/notebooks.py execute --jobs 1 nbs/bench.ipynb

playground: $(GRAPHS) ## the page's models, anew from weights/ into site/playground (ARGS=.. for some methods)
	@.venv-playground/bin/python tools/playground.py build $(ARGS)

$(GRAPHS): $(STAMP)
	@$(BIN)/python -m venv --clear .venv-playground
	@$(BIN)/python -c 'import os, sysconfig; print(sysconfig.get_path("purelib"), os.getcwd(), sep="\n")' > \
	  "$$(.venv-playground/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/venv.pth"
	@.venv-playground/bin/python -m pip install --quiet --no-deps -r tools/playground-requirements.txt
	@touch $@

$(BENCH): $(STAMP)
	@$(BIN)/python -m venv --clear .venv-bench
	@$(BIN)/python -c 'import os, sysconfig; print(sysconfig.get_path("purelib"), os.getcwd(), sep="\n")' > \
	  "$$(.venv-bench/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/venv.pth"
	@.venv-bench/bin/python -m pip install --quiet --no-deps -r tools/bench-requirements.txt && touch $@ || \
	  echo "The peer could not be installed: ours and the floor are measured without it" >&2

clean: ## remove what can be made again: .venv, the site, caches (results stay)
	rm -rf .venv .venv-bench .venv-playground _bench _docs _proc _handouts _slides _cache .snakemake .pytest_cache .hypothesis build dist *.egg-info
