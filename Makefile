# Every target does its own set-up. `make demo` is the main job on real input; `make test` is what must pass.
SHELL := /bin/bash
.PHONY: setup engines services rivals demo demo-batch test test-fast lint bench docs clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# target: //p' Makefile

# target: make demo       build for two platforms, train, score, release to a device, retrain, update; ends with a table
demo: engines
	.venv/bin/python -m tools.demo

# target: make demo-batch  a sweep of trainings on this machine, with an embedded store; says how to do it on a cluster
demo-batch: setup
	.venv/bin/python -m tools.demo_batch

# target: make test       all tests, with real engines (they are installed when you are root)
test: services
	.venv/bin/python -m pytest -n 2 --dist loadgroup tests

# target: make test-fast  the tests without engines or network
test-fast: setup
	.venv/bin/python -m pytest -q -n 2 -m "not engine and not network" tests

# target: make lint       ruff, mypy --strict, import contracts
lint: setup
	.venv/bin/ruff check src tests tools bench examples
	.venv/bin/ruff format --check src tests tools bench examples
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

# target: make bench      all benchmarks, or ONLY=build, ONLY=deliver; prints tables, appends to .bench/results.jsonl
bench: rivals
	.venv/bin/python -m bench $(if $(ONLY),--only $(ONLY))

# target: make docs       writes docs/reference from the commands
docs: setup
	.venv/bin/python tools/reference.py

setup:
	@tools/setup.sh

engines:
	@tools/setup.sh engines

services:
	@tools/setup.sh services

rivals:
	@tools/setup.sh rivals

clean:
	rm -rf .venv .node .demo .demo-batch .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
