# `make demo` and `make test` set up what they need. Nothing but Python, make, g++ and the package index is used.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := build/demo
WORKERS ?= 2
# One thread per worker; neighbouring tests stay together, so that fixtures of a module are made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal
# Every annotation is checked at every call; making the checks takes each worker 12 seconds.
CHECK_TYPES := --jaxtyping-packages=lyrics_asr,beartype.beartype

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-fast test-wheel lint format

help:
	@echo "make setup      environment in $(VENV), again only when pyproject.toml or constraints.txt changed"
	@echo "make demo       transcribe and align the songs of data/demo with the embedded model"
	@echo "make serve      the web application with the embedded model and the demo songs, at http://127.0.0.1:8000"
	@echo "make test       all tests that need neither a GPU nor the network, in $(WORKERS) processes (WORKERS=4 for more)"
	@echo "make test-fast  those of them that take no more than a few seconds, without checks of types and shapes"
	@echo "make test-wheel the wheel alone, in an environment of its own: its extras, doctor, transcribe and align"
	@echo "make lint       ruff and mypy"
	@echo "make format     ruff's fixes and formatting"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; ok = (3, 10) <= v < (3, 13); ok or sys.exit(f"Python {v.major}.{v.minor} does not fit: Python 3.10, 3.11 or 3.12 is needed. Name one with: make PYTHON=python3.11")'
	@command -v g++ >/dev/null || { echo "g++ is needed to compile kenlm: install a C++ compiler, then run make again" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: setup
	$(BIN)/lyrics-asr transcribe data/demo --output $(DEMO)/transcribed --format json,lrc,txt
	$(BIN)/lyrics-asr align data/demo --output $(DEMO)/aligned --format json,lrc,txt
	$(BIN)/lyrics-asr separate data/demo --output $(DEMO)/vocals --format flac
	$(BIN)/lyrics-asr render $(DEMO)/aligned --output $(DEMO)/pages --format html --vocals $(DEMO)/vocals
	@echo
	@echo "Heard: $(DEMO)/transcribed    Aligned with the given lyrics: $(DEMO)/aligned    To sing along: $(DEMO)/pages"
	@song=$$(ls $(DEMO)/aligned/*.lrc | head -n 1); echo "$$song begins:"; head -n 12 "$$song"

serve: setup
	$(BIN)/lyrics-asr serve --data build/library --songs data/demo

test: setup
	$(PYTEST) $(CHECK_TYPES) -m "not gpu and not network"

test-fast: setup
	$(PYTEST) -m "not slow and not gpu and not network"

# The sdist, and the wheel from it, without constraints and source tree, from another folder, as a user installs it.
test-wheel: setup
	rm -rf build/wheel
	$(BIN)/python -m build --outdir build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install --disable-pip-version-check --quiet build/wheel/*.whl
	for extra in eval japanese phonemes pyctcdecode s3 synth train ray dev; do \
	  build/wheel/venv/bin/python -m pip install --disable-pip-version-check --quiet --dry-run \
	    "$$(echo build/wheel/*.whl)[$$extra]" || exit 1; \
	done
	cd build/wheel && venv/bin/lyrics-asr doctor
	cd build/wheel && venv/bin/lyrics-asr transcribe ../../data/demo --output transcribed
	cd build/wheel && venv/bin/lyrics-asr align ../../data/demo --output aligned --format lrc

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
