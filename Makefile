# Needs Python >= 3.10 and make. Everything is installed into VENV, with the
# versions of requirements/tested.txt:
#   make demo                              class-incremental run on shapes
#   make test                              the tests, in up to four processes
#   make test PYTEST_ARGS='-k losses' PYTEST_PROCESSES=
#                                          some of them, in one process
#   make lint                              flake8, isort and yapf
#   make test VENV=../other-venv           the same in another environment
PYTHON ?= python3
VENV ?= .venv
WORK_DIR ?= work_dirs/demo
PYTEST_ARGS ?=
# Tests of a file share what they build; each process takes up to 2 GB.
PYTEST_PROCESSES ?= -n auto --maxprocesses 4 --dist loadfile

BIN := $(abspath $(VENV))/bin
INSTALLED := $(VENV)/.mmseg_incremental-installed
PIP := $(BIN)/python -m pip install

.PHONY: install demo test lint

install: $(INSTALLED)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python >= 3.10 is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

# torch comes first, alone, so that no other package decides on its version.
$(INSTALLED): $(wildcard requirements/*.txt) setup.py pyproject.toml | $(BIN)/python
	$(PIP) "$$(grep '^torch==' requirements/tested.txt)"
	$(PIP) -r requirements/tested.txt
	$(PIP) --no-build-isolation --no-deps -e .
	touch $@

demo: $(INSTALLED)
	$(BIN)/python tools/train.py configs/incremental/shapes_10-1.py \
	    --work-dir $(WORK_DIR) $(if $(wildcard $(WORK_DIR)),--resume)

test: $(INSTALLED)
	$(BIN)/python -m pytest tests $(PYTEST_PROCESSES) $(PYTEST_ARGS)

lint: $(INSTALLED)
	PATH="$(BIN):$$PATH" $(BIN)/python -m pre_commit run --all-files
