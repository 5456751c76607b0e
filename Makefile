# Every target sets up what it needs: python3 and make are enough on a fresh machine.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What the TypeScript examples of docs/clients.md need; tests alone want it.
CLIENTS := tests/clients/typescript
NODE_READY := $(CLIENTS)/node_modules/.ready
SOURCES := mesh services gateway sandbox cli tools tests benchmarks deploy

.DEFAULT_GOAL := help
.PHONY: help run demo test fuzz chaos lint format generate bench lock clean setup

help:  ## Show what can be done
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

run: $(READY)  ## Start everything on this machine and print where it listens
	@$(BIN)/vivesphere up

demo: $(READY)  ## Start a mesh of its own, publish posts through it, show the proof, stop
	@$(BIN)/vivesphere demo

test: $(NODE_READY)  ## Run every test, on the real engines
	@$(BIN)/python -m tools.run_tests

fuzz: $(NODE_READY)  ## Let property tests, races and timings try far more, for the better part of an hour
	@VIVESPHERE_TEST_PROFILE=long $(BIN)/pytest -m "hypothesis or long"

chaos: $(READY)  ## Kill processes at random for a quarter of an hour while thousands of posts go out; count what X holds
	@VIVESPHERE_TEST_PROFILE=long $(BIN)/pytest -s tests/chaos

lint: $(READY)  ## Check style, types, layers, contracts and generated code
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.contracts
	@$(BIN)/python -m tools.generate --check
	@$(BIN)/hadolint Dockerfile

format: $(READY)  ## Put code and contracts into their form
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/buf format -w proto

generate: $(READY)  ## Write generated/ from proto/
	@$(BIN)/python -m tools.generate

bench: $(READY)  ## Measure, and print figures with machine and command
	@$(BIN)/python -m benchmarks

lock: $(READY)  ## Pin the newest allowed versions with hashes
	@$(BIN)/python -m tools.lock
	@cd $(CLIENTS) && $(CURDIR)/$(BIN)/npm update --package-lock-only --silent

clean:  ## Remove the environment and caches; data in .vivesphere/ stays
	@rm -rf $(VENV) $(CLIENTS)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(NODE_READY)

# Installed only from the hashed locks; the editable install builds without fetching anything.
$(READY): requirements/uv.txt requirements/dev.txt pyproject.toml
	@echo "Preparing $(VENV) (first time: about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --require-hashes requirements/dev.txt requirements/uv.txt
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --no-index -e .
	@touch $(READY)

# From whatever registry npm is set up for: the lock holds hashes and no addresses, and no package runs a script of its own.
$(NODE_READY): $(READY) $(CLIENTS)/package.json $(CLIENTS)/package-lock.json $(CLIENTS)/.npmrc
	@cd $(CLIENTS) && $(CURDIR)/$(BIN)/npm ci --silent
	@touch $(NODE_READY)
