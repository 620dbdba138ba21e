# make figures   set up, run the smoke-scale experiment, draw every figure that has results
# make test      set up, lint, run the tests
# make test-adapters   install the echoing package by itself, with PyTorch and Grain, and run its tests there
PYTHON ?= python3
BIN := .venv/bin

.PHONY: figures test lint setup test-adapters
figures: setup
	$(BIN)/python -m experiments.figure3 --scale=smoke --panel=a
	$(BIN)/python -m experiments.collect --scale=smoke
	$(BIN)/python -m analysis.all

test: lint
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: .venv/installed

.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else "error: Python 3.11, 3.12 or 3.13 is needed, e.g. make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@

# TORCH says which build of PyTorch, e.g. TORCH=torch==2.13.0+cpu. Tests that need TensorFlow are skipped there.
TORCH ?= torch
test-adapters:
	$(PYTHON) -m venv .venv-adapters
	.venv-adapters/bin/python -m pip install --quiet --disable-pip-version-check \
		$(TORCH) '.[torch,grain]' torchdata pytest
	.venv-adapters/bin/python -m pytest --confcutdir=tests/echoing tests/echoing
