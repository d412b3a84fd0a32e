# Two commands on a machine with only Python and make: `make run` and `make test`. Each sets up .venv when it is
# missing or older than what it was made from.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
.PHONY: run test gpu faults lint bench hub screenshot clean
.DEFAULT_GOAL := run

run: $(VENV)/ready  ## the course on embedded data, this machine's cores, SQLite
	$(BIN)/labs pipeline run

test: $(VENV)/ready  ## all tests
	$(BIN)/pytest

gpu: $(VENV)/ready  ## the tests that need a GPU; without one they are skipped
	$(BIN)/pytest tests/gpu -n 0

faults: $(VENV)/ready  ## ten random faults of each kind, inputs mutated thousands of times, twenty rounds in one process
	FAULT_SEEDS=10 HYPOTHESIS_PROFILE=faults $(BIN)/pytest tests/faults $(wildcard tests/*/test_fuzz_*.py)

lint: $(VENV)/ready  ## formatter, linter, type checker
	$(BIN)/ruff format
	$(BIN)/ruff check
	$(BIN)/mypy

bench: $(VENV)/ready  ## what this program costs, beside a reference in the same run; ONLY=name: that benchmark
	$(BIN)/python -m tests.benchmarks $(ONLY)

hub: $(VENV)/ready  ## the tables of results in the READMEs, from labs/results.csv
	$(BIN)/python -m tests.benchmarks.hub

screenshot: $(VENV)/ready  ## the picture in the READMEs, from a run of four nodes of the course
	$(BIN)/python -m tests.benchmarks.screenshot --only explain

clean:  ## remove the environment and caches; runs and data in .labs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info build dist

$(VENV)/ready: pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v < (3, 14) or sys.exit("error: Python %d.%d found: 3.11, 3.12 or 3.13 is needed (make PYTHON=/path/to/python)" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e ".[data,dev]"
	touch $@
