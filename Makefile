# make demo   set-up, then train, evaluate and save a text classifier on built-in text
# make test   set-up, then lint, types and the tests
#
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu   a small torch for a machine without a GPU
#   make demo PYTHON=/path/to/python3.12                         another interpreter than the first that works
#   make demo VENV=/path/to/venv                                 an environment of your own; a torch in it is kept

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := $(VENV)/constraints.txt
OUTPUT ?= runs/demo
TORCH_INDEX ?=

# An interpreter counts only if it runs and can make an environment: what is on the PATH may be a shim that does neither.
PROBE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$candidate" -c '$(PROBE)' >/dev/null 2>&1 && { echo "$$candidate"; break; }; done)

SAY := printf '\n\033[1m==> %s\033[0m\n'

.PHONY: help setup setup-dev demo test test-slow lint types format docs clean

help:
	@sed -n '1,6s/^# \{0,1\}//p' Makefile
	@echo '  also: setup, lint, types, format, test-slow, docs, clean'

# --- set-up: one environment, made once ---------------------------------------------------------------------------------

setup: $(VENV)/.core
setup-dev: $(VENV)/.dev

$(BIN)/python:
	@if [ -z '$(PYTHON)' ]; then \
		echo 'No Python from 3.11 to 3.14 that can make a virtual environment was found on the PATH.'; \
		echo 'Install one (Debian, Ubuntu: apt install python3 python3-venv), or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12'; \
		exit 1; fi >&2
	@$(SAY) "set-up 1 of 3: an environment in $(VENV), from $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# torch comes first and alone: it is most of the download. One that is there already is kept, and the rest fits itself to it.
$(CONSTRAINTS): constraints.txt | $(BIN)/python
	@if ! $(BIN)/python -c 'import torch' 2>/dev/null; then \
		$(SAY) 'set-up 2 of 3: torch'; \
		$(PIP) install --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch; fi
	@grep -v '^torch==' constraints.txt > $@.new
	@$(BIN)/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >> $@.new
	@mv $@.new $@

$(VENV)/.core: pyproject.toml $(CONSTRAINTS)
	@$(SAY) 'set-up 3 of 3: lt_trainer and what it needs'
	@$(PIP) install --constraint $(CONSTRAINTS) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@$(SAY) 'set-up of the tests: transformers, ruff, mypy, pytest and others'
	@$(PIP) install --constraint $(CONSTRAINTS) --editable '.[dev,transformers]'
	@touch $@

# DeepSpeed takes a minute to install and compiles nothing on a CPU: only the slow tests need it.
$(VENV)/.slow: $(VENV)/.dev
	@$(SAY) 'set-up of the slow tests: deepspeed'
	@$(PIP) install --constraint $(CONSTRAINTS) --editable '.[dev,transformers,deepspeed]'
	@touch $@

# --- the main job -------------------------------------------------------------------------------------------------------

demo: $(VENV)/.core
	@$(BIN)/lt-trainer demo --output_dir $(OUTPUT)

# --- tests --------------------------------------------------------------------------------------------------------------

test: lint types
	@$(SAY) 'tests'
	@$(BIN)/python -m pytest -m 'not slow'

# pytest answers 5 where no test was chosen.
test-slow: $(VENV)/.slow
	@$(SAY) 'slow tests'
	@$(BIN)/python -m pytest -m slow || { status=$$?; [ $$status -eq 5 ]; }

lint: $(VENV)/.dev
	@$(SAY) 'lint: ruff, import-linter'
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev
	@$(SAY) 'types: mypy'
	@$(BIN)/mypy

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

# --- documentation ------------------------------------------------------------------------------------------------------

$(VENV)/.docs: $(VENV)/.core
	@$(SAY) 'set-up of the documentation: sphinx, furo, myst-parser'
	@$(PIP) install --constraint $(CONSTRAINTS) --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	@$(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build/html
	@echo 'docs/_build/html/index.html'

clean:
	rm -rf $(VENV) runs docs/_build .pytest_cache .mypy_cache .ruff_cache
