# People use make; scripts and CI call .venv/bin/stormproof, whose exit codes make would turn into 2.
PYTHON ?= python3
RUN := .venv/bin/stormproof
# Two at a time: files are kept together, for the tests of a file share what they started.
TESTS := .venv/bin/python -m pytest -n 2 --dist loadfile
SEED ?=

.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

setup: .venv/.ready  ## create .venv from the lock file (uv when it is there, pip otherwise)

.venv/.ready: requirements.lock pyproject.toml tools/setup.sh
	@PYTHON="$(PYTHON)" tools/setup.sh

chaos: .venv/.ready  ## the main job: break the service on the embedded stack, and judge (profile smoke)
	@$(RUN) run --profile smoke $(if $(SEED),--seed $(SEED))

test: .venv/.ready  ## style, import rules and every test that needs no container engine
	.venv/bin/ruff check .
	.venv/bin/lint-imports
	$(TESTS) -m "not containers and not nightly and not long"

test-long: .venv/.ready  ## the tests that take longer, and need no container engine either
	$(TESTS) -m "long and not containers"

test-containers: .venv/.ready  ## the tests that need a container engine
	.venv/bin/python -m pytest -m containers

nightly: .venv/.ready  ## all tests that take long, and every scenario of the families
	$(TESTS) -m "(long or nightly) and not containers"
	$(RUN) run --profile families

bench: .venv/.ready  ## measure, and write runs/bench-*.json
	.venv/bin/python tools/bench.py

lock:  ## resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -o requirements.lock

clean:  ## remove what was made here: .venv, runs, caches
	rm -rf .venv runs .cache .hypothesis .ruff_cache .mypy_cache

.PHONY: help setup chaos test test-long test-containers nightly bench lock clean
