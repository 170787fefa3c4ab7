# hatfleet: what a newcomer types. Two commands matter: make demo, make test.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python

.PHONY: help setup lock demo test unit system lint clean bench models

help: ## Show what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.done ## Install the host packages and the virtual environment (needs root or sudo)

$(VENV)/.done: requirements.lock pyproject.toml packages.txt setup.sh
	./setup.sh $(VENV)
	@touch $@

lock: ## Resolve pyproject.toml into requirements*.lock (hashes, all platforms)
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev --extra dask \
	  --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra bench \
	  --constraint requirements.lock --custom-compile-command "make lock" pyproject.toml \
	  --output-file requirements-bench.lock

models: setup ## Fetch and convert the models and photographs that tests use (docs/reference/models.md)
	$(PY) -m tests.models.make

demo: setup ## Build an image, boot two virtual devices, provision and check them
	$(PY) -m bench.demo

# The cache of stages grows with every change of a role, and a full disk fails the tests of images.
test: export HATFLEET_CACHE_LIMIT ?= 20G
test: lint unit system ## Run the whole test suite
	$(PY) -m pytest --durations=60 --durations-min=10 --numprocesses auto --dist loadscope --no-loadscope-reorder \
	  tests/fleet tests/device tests/image

unit: setup ## Run the fast tests (under a minute)
	$(PY) -m pytest -q --numprocesses auto tests/unit

system: setup ## Run the tests of whole programs on this machine
	$(PY) -m pytest -q --numprocesses auto tests/system

lint: setup ## Check format, style, types, import contracts, shell and YAML
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck
	$(VENV)/bin/yamllint --strict .

bench: setup ## Measure, as root, about an hour; the results stand in docs/benchmarks.md
	./setup.sh $(VENV) bench/packages.txt
	kept=0; for part in image engine checks scale faults measure; do $(PY) -m bench.$$part || kept=1; done; exit $$kept

clean: ## Stop lab devices; remove the virtual environment and build output (caches stay)
	if [ -x $(VENV)/bin/provision ]; then $(VENV)/bin/provision lab down --all; fi
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
