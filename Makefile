# Everything this project does, by name. `make` alone lists it.
#
# Needed: make, and Python 3.11 or newer as python3 (or name one: make test PYTHON=python3.13). All else is installed into
# .venv, once, with its hashes; pip takes its settings from the environment as always.

VENV   ?= .venv
PYTHON ?=
JOBS   ?= 3
ARGS   ?=

BIN     := $(VENV)/bin
# Tests at once: more than two processors have, since tests wait for servers and browsers more than they work. Files are begun in
# the order of their names: with those of most tests first, the long ones with few tests would all come last.
PYTEST  := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
RUNTIME := $(VENV)/.stamp-runtime
DEV     := $(VENV)/.stamp-dev

.DEFAULT_GOAL := help
.PHONY: help demo play test quick check bench campaign coverage lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
	    printf '  make %-10s %s\n' "$$name" "$$text"; \
	done
	@echo '  ARGS="..." is passed on: make test ARGS="-k turn -x"'

demo: $(RUNTIME) ## see everything Sojourn does, in a throw-away store
	@$(BIN)/sojourn demo $(ARGS)

play: $(RUNTIME) ## the same, live: a console, a game to join, and five kinds of sessions, until Ctrl-C
	@$(BIN)/sojourn demo --play $(ARGS)

test: $(DEV) ## run all tests, with real servers and a real browser (minutes)
	@tools/packages.sh
	@status=0; \
	$(PYTEST) $(ARGS) || status=$$?; \
	$(BIN)/python -m sojourn.testing; \
	exit $$status

quick: $(DEV) ## run the tests that take no time (under a minute)
	@$(PYTEST) -m "not slow and not campaign" $(ARGS)

check: $(DEV) ## style, types, floors, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src tests $(wildcard tools/*.py) $(wildcard bench) $(wildcard docs/examples)
	PATH="$(abspath $(BIN)):$$PATH" pyright
	@if [ -d docs/examples ]; then set -x; PATH="$(abspath $(BIN)):$$PATH" pyright docs/examples; fi
	PATH="$(abspath $(BIN)):$$PATH" pyright --verifytypes sojourn --ignoreexternal
	$(BIN)/lint-imports --no-cache
	@if [ -f tools/facade.py ]; then set -x; $(BIN)/python tools/facade.py --check; fi
	@if [ -f tools/reference.py ]; then set -x; $(BIN)/python tools/reference.py --check; fi

bench: $(DEV) ## measure, beside the libraries we compare with (ARGS=--servers, --growth: on servers)
	@$(BIN)/python -m bench $(ARGS)

campaign: $(DEV) ## kill, cut and fill disks for a long time
	@$(BIN)/python -m pytest -m campaign --timeout 0 $(ARGS)

coverage: $(DEV) ## branches of core and kinds that the tests take
	@$(BIN)/python -m coverage erase
	@$(PYTEST) -q --cov --cov-branch --cov-report=term tests/core tests/conversations tests/contexts tests/store $(ARGS)

lock: ## write requirements/*.txt anew (ARGS=--upgrade: with the newest versions)
	@PYTHON="$(PYTHON)" tools/lock.sh $(ARGS)

clean: ## remove .venv and whatever tools have left
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist htmlcov
	rm -f .coverage .coverage.*
	find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# A stamp says that a step was finished; an interrupted one is done again from its beginning.

$(VENV)/.stamp-venv:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	    if "$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        echo "Making $(VENV) with $$("$$python" --version)"; \
	        "$$python" -m venv --clear $(VENV) && touch $@ && exit 0; \
	    fi; \
	done; \
	echo "There is no Python 3.11 or newer here that can make a virtual environment." >&2; \
	echo "Install one (on Debian and Ubuntu: python3 and python3-venv), or name it: make PYTHON=/its/path" >&2; \
	exit 1

$(RUNTIME): $(VENV)/.stamp-venv requirements/runtime.txt pyproject.toml
	@echo "Installing what Sojourn needs"
	@$(INSTALL) --require-hashes --requirement requirements/runtime.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(VENV)/.stamp-venv requirements/dev.txt pyproject.toml
	@echo "Installing what the tests need (once; servers included)"
	@$(INSTALL) --require-hashes --requirement requirements/dev.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
