# Everything a developer runs. Needs Python >= 3.11 and make; sets up the rest by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What tests/compat runs for real, each in an environment of its own: their dependencies would contradict ours.
PEERS := $(VENV)/taskhawk/.ready $(VENV)/oldest_boto3/.ready
COMPILE := $(VENV)/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-header
.DEFAULT_GOAL := help

.PHONY: help setup demo test lint types synth bench lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Create .venv with the locked dependencies and this project
demo: $(VENV)/.ready ## Deploy sample_app to a local cloud and run it on a file of orders
	@$(BIN)/tasks demo
test: $(VENV)/.ready $(PEERS) ## Run every test
	@$(BIN)/python -m pytest -n 2 --dist loadgroup
lint: $(VENV)/.ready ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
types: $(VENV)/.ready ## Check types with mypy --strict and pyright
	$(BIN)/mypy
	$(BIN)/pyright
synth: $(VENV)/.ready ## Synthesize sample_app with CloudFormation's own template validation on
	$(BIN)/tasks synth --validate
bench: $(VENV)/.ready ## measure imports, messages and answers beside their floor
	$(BIN)/python -m benchmarks
lock: ## Choose newer dependencies and write the lock files
	$(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv
	$(COMPILE) --extra dev pyproject.toml -o requirements.lock
	$(COMPILE) tests/compat/taskhawk.in -o tests/compat/taskhawk.lock
	$(COMPILE) tests/compat/oldest_boto3.in -o tests/compat/oldest_boto3.lock
clean: ## End the local cloud of this folder, then remove the environment and everything generated
	-@! [ -x $(BIN)/tasks ] || $(BIN)/tasks local down
	rm -rf $(VENV) cdk.out .tasks .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python >= 3.11 is needed, $$($(PYTHON) --version) was found: run 'make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)'" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked dependencies into $(VENV) (once, 2 to 4 minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/%/.ready: tests/compat/%.lock | $(BIN)/python
	@echo "Installing $* into $(VENV)/$* for tests/compat (once) ..."
	@$(BIN)/python -m venv $(VENV)/$*
	@$(VENV)/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
