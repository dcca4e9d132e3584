# Everything here runs on a machine with Python 3.10 or newer, make and a package registry. `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
# Tests wait for servers and disks about as long as they compute: four share two cores well.
TEST_JOBS ?= 4
PYTEST_ARGS ?=
# What `make check test` has run already need not run again.
CHECKED := $(if $(filter check,$(MAKECMDGOALS)),--ignore=tests/check)

# Installing again costs a second's fraction, because a stamp is newer than all that decides what is installed.
RUNTIME := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
RELEASE := $(VENV)/.installed-release

UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

FAULT_ARGS ?=
FUZZ_EXAMPLES ?= 20000
FUZZ_S ?= 60
FAULT_TOOLS := strace faketime openssl util-linux e2fsprogs

.DEFAULT_GOAL := help
.PHONY: help install dev demo test faults fault-tools fuzz check release-check format bench docs lock clean

help: ## list the targets
	@echo "qdrant-backup: backup, restore and time-travel for Qdrant"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Python is '$(PYTHON)'; another one: make install PYTHON=python3.12"

install: $(RUNTIME) ## make .venv (or complete one that is there), with .venv/bin/qdrant-backup
	@echo "Installed: $(BIN)/qdrant-backup ($$($(BIN)/qdrant-backup --version))"

dev: $(DEV) # what test, check and bench need

demo: $(RUNTIME) ## back up, lose and restore a small AI memory, on the embedded server
	@echo "Running the demo: an embedded Qdrant, a backup, a loss, a restore; all in a temporary directory."
	@$(BIN)/qdrant-backup demo

test: $(DEV) ## run every test (TEST_JOBS=4, PYTEST_ARGS=...), on a real Qdrant too where `qdrant` is on PATH
	@echo "Running the tests in $(TEST_JOBS) processes."
	@$(PY) -m pytest -n $(TEST_JOBS) --dist worksteal $(CHECKED) $(PYTEST_ARGS)

faults: $(DEV) ## every case of the fault matrix, in full (FAULT_ARGS=..., needs `make fault-tools` for some)
	@echo "Running the fault matrix in $(TEST_JOBS) processes."
	@$(PY) -m pytest -n $(TEST_JOBS) --dist worksteal --quiet -m "fault or load" --faults full $(FAULT_ARGS)

fault-tools: ## install what some faults are made with (Debian packages; needs root)
	@echo "Installing $(FAULT_TOOLS)"
	@apt-get install --yes --no-install-recommends $(FAULT_TOOLS)

fuzz: $(DEV) ## damage archives, manifests, digests and journals for long (FUZZ_EXAMPLES=20000, FUZZ_S=60 for each)
	@echo "Trying $(FUZZ_EXAMPLES) examples of each target."
	@FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PY) -m pytest -n $(TEST_JOBS) --quiet --timeout 0 tests/fuzz
	@$(PIP) install --require-hashes --only-binary :all: -r requirements-fuzz.lock 2>/dev/null || true
	@$(PY) tests/fuzz/guided.py $(FUZZ_S)

check: $(DEV) ## lint, format, types, layers, architecture, start-up time, documentation
	@echo "Checking style (ruff)"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@echo "Checking types (pyright)"
	@$(BIN)/pyright
	@echo "Checking layers (import-linter)"
	@$(BIN)/lint-imports --no-cache --no-logo
	@echo "Checking the house rules (tests/check)"
	@$(PY) -m pytest --quiet tests/check

release-check: $(RELEASE) ## what must hold before a release: audit, bill of materials, a wheel that installs; into dist/
	@echo "Checking what would be released; this asks an advisory database."
	@rm -rf dist
	@$(PY) scripts/check_release.py dist

format: $(DEV) ## format the code, and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

bench: $(DEV) ## measure what design has budgets for, as ratios in one run (BENCH_ARGS=name ...)
	@echo "Measuring; this takes some minutes."
	@$(PY) bench/run.py $(BENCH_ARGS)

docs: $(RUNTIME) ## write docs/commands.md from the commands themselves
	@$(PY) scripts/write_docs.py

lock: $(RUNTIME) ## resolve the dependencies anew into requirements.lock and the three others
	@echo "Resolving; afterwards look at the difference, and run make check test."
	@$(PIP) install uv
	@$(UV_COMPILE) --upgrade --group build pyproject.toml -o requirements.lock
	@$(UV_COMPILE) --upgrade --group check -c requirements.lock -o requirements-dev.lock
	@$(UV_COMPILE) --upgrade --group release -c requirements.lock -c requirements-dev.lock -o requirements-release.lock
	@$(UV_COMPILE) --upgrade --group fuzz -o requirements-fuzz.lock

clean: ## remove the environment and what tools left behind; never a backup
	@echo "Removing $(VENV) and caches"
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .fuzz .import_linter_cache build dist

# A .venv that somebody made before us (the guide's Step 2) is completed, not replaced.
$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo "Python 3.10 or newer is needed, and '$(PYTHON)' is not that; try: make install PYTHON=python3.12" >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# The build tool comes from the lock too, hence no build isolation (and PATH, where it looks for its own
# program): nothing is installed here that has no hash.
$(RUNTIME): requirements.lock pyproject.toml | $(PY)
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "$(VENV) has a Python older than 3.10; remove it, then: make install PYTHON=python3.12" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null
	@echo "Installing qdrant-backup and what it needs into $(VENV)"
	@$(PIP) install --require-hashes -r requirements.lock
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "Installing what tests and checks need into $(VENV)"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

$(RELEASE): requirements-release.lock $(DEV)
	@echo "Installing what a release is checked with into $(VENV)"
	@$(PIP) install --require-hashes -r requirements-release.lock
	@touch $@
