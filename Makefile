# Every target makes its environment first: Python 3.11+, make and PyPI are all it needs.

PYTHON ?= python3
# Processes that run tests.
WORKERS ?= 2
# Random histories of `make fuzz`, with about twenty segments each.
FUZZ_HISTORIES ?= 20000
# Lives of the server in `make crash`.
CRASH_ROUNDS ?= 200
# How long `make load` calls the server.
LOAD_SECONDS ?= 300
BIN := .venv/bin

.PHONY: run test quick fuzz crash check fix proto proto-landed bench bench-demo load clean

run: .venv/ready
	$(BIN)/bitseg demo

test: .venv/ready
	$(BIN)/pytest tests -n $(WORKERS)

# All but the tests that take seconds or start processes; under a minute.
quick: .venv/ready
	$(BIN)/pytest tests -n $(WORKERS) -m "not slow and not network"

fuzz: .venv/ready
	BITSEG_FUZZ_HISTORIES=$(FUZZ_HISTORIES) $(BIN)/pytest tests/test_differential.py tests/query/test_explain.py

# A server killed at random moments, over and over.
crash: .venv/ready
	BITSEG_CRASH_ROUNDS=$(CRASH_ROUNDS) $(BIN)/pytest tests/test_crash.py -s

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd proto && ../$(BIN)/buf lint && ../$(BIN)/buf breaking --against landed.binpb
	$(BIN)/python proto/generate.py --check

fix: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: .venv/ready
	$(BIN)/python proto/generate.py

# After a release: from then on, what callers of this protocol rely on must stay.
proto-landed: .venv/ready
	cd proto && ../$(BIN)/buf build --output landed.binpb

# Ten million users, about ten minutes and 10 GiB; BENCH_USERS scales it. Needs redis-server on the path.
bench: .venv/bench-ready
	cd bench && ../$(BIN)/python run.py

# A million users, up to 64 clients that count, stream and ingest for five minutes.
load: .venv/ready
	$(BIN)/python bench/load.py --seconds $(LOAD_SECONDS)

# The segments of the demo store, at 100,000 users.
bench-demo: .venv/ready
	$(BIN)/pytest bench --benchmark-only --benchmark-columns=median,mean,max,rounds

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .import_linter_cache

.venv/bench-ready: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("bitseg needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
