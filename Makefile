# `make run` and `make test` are the whole set-up; everything else is here because those two use it.
# Needs Python 3.11 or newer, nothing else. PYTHON=python3.12 chooses another one.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FUZZ_CASES ?= 5000
FUZZ_SECONDS ?= 600
PIP := $(BIN)/pip --disable-pip-version-check --no-input

.PHONY: help setup run test check style types imports fast fast-inner fast-outer full inner outer guard history mutants fuzz soak chaos screenshots report docs lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(VENV)/.ready  ## the virtual environment with the pinned packages

run: $(VENV)/.ready  ## the whole product on this machine: database, emulator, gateway, page
	@exec $(BIN)/utter dev

test: $(VENV)/.ready-test style types imports full guard  ## everything CI runs

check: $(VENV)/.ready-test style types imports fast  ## the fast inner loop, under a minute

style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

# Two halves at a time here too, for two cores. The ignored are only slow ones, slow to collect.
QUICK := not slow and not integration and not browser
FAST := protocol bench deploy gateway/modal gateway/providers gateway/studio schema storage
TWO_AT_A_TIME := $(MAKE) -j 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

fast:
	$(TWO_AT_A_TIME) fast-inner fast-outer

fast-inner:
	$(BIN)/pytest -q -m "$(QUICK)" $(patsubst %,tests/%,$(FAST))

fast-outer:
	$(BIN)/pytest -q -m "$(QUICK)" $(patsubst %,--ignore=tests/%,$(FAST) acceptance browser contract)

# Two halves at a time, for most of a test's time is waiting; each printed as a whole where this make can do that.
INNER := protocol acceptance/test_workers.py bench contract deploy fuzz gateway/history gateway/modal gateway/providers \
    gateway/studio mutants schema site storage

full:
	$(TWO_AT_A_TIME) inner outer

inner:
	$(BIN)/pytest tests/protocol --cov=protocol --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100
	$(BIN)/pytest $(patsubst %,tests/%,$(filter-out protocol,$(INNER)))

outer:
	$(BIN)/pytest $(patsubst %,--ignore=tests/%,$(INNER))

guard:  ## whether the gateway has become slower, against a peer in the same run (bench/guard.json)
	$(BIN)/python -m bench guard

mutants: $(VENV)/.ready-test  ## break protocol/ in 1600 ways and see that the tests notice; over an hour
	$(BIN)/python -m tests.mutants

history: $(VENV)/.ready-test  ## made-up histories of tasks at two gateways; UTTER_HISTORY_EXAMPLES=150 for a long run
	$(BIN)/pytest -q tests/gateway/history

soak: $(VENV)/.ready-test  ## ten thousand generations, and whether anything grows (10 minutes)
	$(BIN)/python -m bench soak --plot docs/soak.svg

chaos: $(VENV)/.ready-test  ## kill -9, outages and rollouts under load, then an audit; half an hour, see docs/reliability.md
	$(BIN)/python -m tests.chaos

fuzz: $(VENV)/.ready-test  ## made-up messages, FUZZ_SECONDS=600; made-up requests, FUZZ_CASES=5000 in each mode
	$(BIN)/python -m tests.fuzz $(FUZZ_SECONDS)
	UTTER_FUZZ_CASES=$(FUZZ_CASES) $(BIN)/pytest -q -s tests/contract/test_fuzz.py

screenshots: $(VENV)/.ready-test  ## the pictures of docs/page.md, by a real Chromium
	$(BIN)/python -m tests.browser.screenshots docs/screens

report: $(VENV)/.ready-test  ## docs/session-machine.md and docs/fault-matrix.md; tests fail when they are stale
	$(BIN)/python -m protocol.report > docs/session-machine.md
	UTTER_WRITE_REPORTS=1 $(BIN)/pytest -q tests/acceptance/test_fault_matrix.py

docs: $(VENV)/.ready-test  ## the documentation site, into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lock: $(VENV)/.ready-test  ## pin what pyproject.toml asks for (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    pyproject.toml build.in -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --extra test --extra docs -c requirements.lock pyproject.toml build.in -o requirements-test.lock

clean:  ## forget the environment and the local data
	rm -rf $(VENV) .utter

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Utter needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install -q --require-hashes -r requirements.lock
	$(PIP) install -q --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.ready-test: requirements-test.lock pyproject.toml | $(BIN)/python
	$(PIP) install -q --require-hashes -r requirements-test.lock
	$(PIP) install -q --no-build-isolation --no-deps -e .
	@touch $@ $(VENV)/.ready
