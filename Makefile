# Two commands for a newcomer: `make demo` and `make test`. `make env` alone prepares .venv.
PYTHON ?= python3
# without a GPU: the address that pytorch.org/get-started names for "CPU"; see `make help`
TORCH_INDEX ?=
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
DEMO := $(BIN)/cl-suite run omniglot

.PHONY: demo test env lint docs browser clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   install, then watch two classifiers learn new classes (some minutes after installing),"
	@echo "            and teach one of them a class more"
	@echo "make test   run ruff, mypy, the documentation build and all tests"
	@echo "make docs   build the documentation into site/"
	@echo "make env    install the development environment in .venv"
	@echo
	@echo "With CUDA's libraries .venv takes 6.4 GB. Without a GPU, pass the address that"
	@echo "pytorch.org/get-started names for the compute platform CPU: make demo TORCH_INDEX=ADDRESS"

demo: .venv/installed
	@echo "The data: 242 handwritten characters of 8 alphabets, which come with the package. Session 0"
	@echo "teaches 122 of them from ten drawings each. Then each of 12 sessions brings 10 new ones from"
	@echo "five drawings each, without the old drawings. The test asks for one of all characters so far:"
	@echo "guessing is right in 0.8 % of the cases at first, and in 0.4 % at the end."
	@echo
	@echo "1. teen: the network learns in session 0; a new character is the mean of its drawings."
	$(DEMO) teen --out runs/demo --overwrite
	@echo
	@echo "2. finetune: the network from there goes on training, and forgets."
	$(DEMO) finetune --start-from runs/demo/omniglot/teen/seed0 --out runs/demo --overwrite
	@echo
	@echo "Both, side by side:"
	$(BIN)/cl-suite show runs/demo
	@echo
	@echo "3. The classifier of teen's run learns one more character: a house, which no alphabet has."
	@echo "It sees five drawings (by a program, for this demo), then names a sixth."
	$(BIN)/cl-suite learn runs/demo/characters.clm house examples/new_character/house \
	    --from-run runs/demo/omniglot/teen/seed0 --overwrite
	$(BIN)/cl-suite predict runs/demo/characters.clm examples/new_character/which_one.png --top 3
	@echo
	@echo "Next:"
	@echo "  the dashboard      $(BIN)/tensorboard --logdir runs/demo"
	@echo "                     then open http://localhost:6006/?smoothing=0#timeseries"
	@echo "  another strategy   $(BIN)/cl-suite list"
	@echo "  your own photos    docs/guides/learner.md (a classifier), own_data.md (a benchmark)"
	@echo "  your own method    docs/guides/own_method.md"

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
	@echo "installing into .venv (torch is large: some minutes; 'make help' names a smaller install)"
	@if [ -n "$(TORCH_INDEX)" ]; then $(INSTALL) torch torchvision --extra-index-url "$(TORCH_INDEX)"; fi
	$(INSTALL) --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) --editable '.[dev,export,serve,sweep]'
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
