# Every target installs what it needs into .venv; only Python >= 3.10 has to be installed by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVICES := $(VENV)/.services
# Three workers of one thread on two cores: a quarter of the tests' time is waiting for other processes.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --durations 20

.PHONY: demo test test-all fault lint bench gazelle-tiny gazelle-tiny-eval docs clean help

help:
	@echo "make demo      the whole pipeline on synthetic scenes, offline"
	@echo "make test      lint, types and the tests of every commit"
	@echo "make test-all  also the slow tests, with the extras that they need; GAZETOOLS_PARITY and GAZETOOLS_DATA may point to the full sets"
	@echo "make fault     kills extraction at random 50 times or more; the store must come out the same"
	@echo "make lint      ruff and mypy"
	@echo "make docs      builds the documentation site into build/site; broken links and missing docstrings end it"
	@echo "make bench     the benchmarks; figures belong into docs/benchmarks.md"
	@echo "make gazelle-tiny       trains gazelle_tiny from nothing; started again it goes on (docs/gazelle-tiny.md)"
	@echo "make gazelle-tiny-eval  scores the shipped gazelle_tiny on held-out scenes"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "gazetools needs Python 3.10 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

$(SERVICES): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[wandb,tensorboard,onnx,openvino,table,webdataset,hub,zarr,pdf,browser,notebook]'
	touch $(SERVICES)

demo: $(READY)
	$(BIN)/gazetools demo -o demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(PYTEST) -m "not slow"

test-all: lint $(SERVICES)
	$(PYTEST)

fault: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s tests/extraction/test_faults.py

docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(READY)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

gazelle-tiny: $(READY)
	$(BIN)/gazetools finetune --config recipes/gazelle_tiny.yaml
	$(BIN)/python -m gazetools.trainer.finetune.tiny.scoring --model gazelle_tiny_run/gazelle_tiny.safetensors \
		-o gazelle_tiny_run/scores.json

gazelle-tiny-eval: $(READY)
	$(BIN)/python -m gazetools.trainer.finetune.tiny.scoring -o gazelle_tiny_scores.json

clean:
	rm -rf $(VENV) build dist *.egg-info demo demo_full
