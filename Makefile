# Two commands for a newcomer: `make demo` and `make test`. `make env` alone prepares .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test env lint docs browser clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   install, then watch a classifier learn new classes (a minute or two, after installing)"
	@echo "make test   run ruff, mypy, the documentation build and all tests"
	@echo "make docs   build the documentation into site/"
	@echo "make env    install the development environment in .venv"

demo: .venv/installed
	$(BIN)/cl-suite run omniglot teen --out runs/demo --overwrite
	@echo "           (in .venv/bin; then open http://localhost:6006)"

test: env browser lint docs
	$(BIN)/pytest -n 2 --dist worksteal

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html (its search needs a server: $(BIN)/mkdocs serve)"

env: .venv/installed-dev

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cl-suite needs Python 3.11 or newer; set PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing into .venv (torch is large: some minutes)"
	$(INSTALL) --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) --editable '.[dev]'
	@touch $@

.venv/installed-docs: .venv/installed
	$(INSTALL) --editable '.[docs]'
	@touch $@

# CI installs a browser for the dashboard's tests; elsewhere they are skipped if there is none
browser:
	@if [ -n "$$CI" ] && [ "$$(id -u)" = 0 ] && ! command -v chromium >/dev/null \
	    && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	fi

clean:
	rm -rf .venv build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
