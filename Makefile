# Everything that one does with this repository. `make` alone lists the targets.
#
# PY=3.13      work with this CPython only (several: PY="3.12 3.13")
# ARGS="..."   handed on to the program that a target runs
#
# Needs Rust (rustup.rs), one or more CPython 3.10 to 3.14 with pip, and make.
# All else is installed below .venv/, and nothing outside this folder changes.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test check bench conformance suites fmt lint types build docs clean pythons lock print-python

# Any Python from 3.10 on runs the tools; each target finds its own interpreters.
PYTHON3 := $(shell for p in python3 python3.13 python3.14 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)
ifeq ($(PYTHON3),)
$(error No Python 3.10 or newer found. Install CPython 3.10 to 3.14 with pip, and try again)
endif
export PYTHONDONTWRITEBYTECODE := 1
PY ?=
ARGS ?=
export ARGS

help:  ## List the targets
	@echo "make TARGET [PY=3.13] [ARGS=...]"; echo
	@sed -n 's/^\([a-z]*\):.*  ## /\1|/p' Makefile | awk -F'|' '{printf "  %-12s %s\n", $$1, $$2}'

demo:  ## Fetch thousands of files over HTTP, on asyncio and on tonnage (release build)
	@$(PYTHON3) tools/run_release.py --py "$(PY)" examples/fetch_all.py --compare $(ARGS)

test:  ## Run all tests on every CPython found (ARGS: for pytest)
	@$(PYTHON3) tools/run_tests.py --py "$(PY)" --pytest-args="$$ARGS"

check:  ## What must pass before a commit: fmt, lint, types, test
	@$(PYTHON3) tools/run_lint.py && $(PYTHON3) tools/run_types.py $(PY) && $(PYTHON3) tools/run_tests.py --py "$(PY)"

bench:  ## Measure against asyncio, uvloop and other loops (release build)
	@$(PYTHON3) tools/run_release.py --py "$(PY)" benchmarks/run.py $(ARGS)

conformance:  ## Run CPython's own test_asyncio on tonnage, on every CPython found
	@$(PYTHON3) tools/run_conformance.py --py "$(PY)" $(ARGS)

suites:  ## Run the tests of anyio, aiohttp and others on tonnage (PY: one; takes an hour)
	@$(PYTHON3) tools/run_suites.py --py "$(PY)" $(ARGS)

fmt:  ## Format Rust and Python in place
	@$(PYTHON3) tools/run_lint.py --fix

lint:  ## Check formatting, clippy, ruff, and the rules of the house
	@$(PYTHON3) tools/run_lint.py

types:  ## Check types: mypy strict, stubtest, basedpyright
	@$(PYTHON3) tools/run_types.py $(PY)

build:  ## Build the extension for every CPython found (RELEASE=1: wheels in dist/)
	@$(PYTHON3) tools/build.py $(if $(RELEASE),--release) $(PY)

docs:  ## Build the documentation into docs/_build/html
	@$(PYTHON3) tools/build_docs.py

pythons:  ## List the CPythons found, and those that are absent
	@$(PYTHON3) tools/pythons.py $(PY)

print-python:
	@echo $(PYTHON3)

lock:  ## Choose the newest versions for requirements/*.txt
	@$(PYTHON3) tools/lock.py

clean:  ## Remove everything that was built, and the environments
	@echo "== removing target, .venv, .build, dist, docs/_build and the built extensions"
	@rm -rf target .venv .build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@rm -f python/tonnage/_tonnage.*.so
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
