# Thin: every verb is one command of the virtual environment. `make` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: help run test test-fast lint audit format bench clean
.DEFAULT_GOAL := help

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

# uv installs the whole set in a minute; where it cannot be had, pip does the same, slower. Compiled here, so that the
# first notebook does not wait for it.
$(VENV)/.installed-%: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || echo "uv cannot be had: using pip"
	@if [ -x $(BIN)/uv ]; then \
	  $(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --constraints constraints.txt --editable '.[$*]'; \
	else \
	  $(BIN)/python -m pip install --constraint constraints.txt --editable '.[$*]'; \
	fi
	@touch $@

run: $(VENV)/.installed-notebooks  ## install what is needed, run the main job on the default data, make the report
	@$(BIN)/fairkd run $(ARGS)

# A file at a time on each core; threads that wait for others do not spin on a core that others need. What drives a
# browser, executes notebooks or starts several processes has the machine to itself.
ALONE := notebooks or browser or distributed
BESIDE := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m "not ($(ALONE))" --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed-test  ## install what tests need and run them all, notebooks included
	$(BESIDE)
	$(BIN)/python -m pytest -m "$(ALONE)"
	FAIRKD_HEADLESS=1 $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout 600 --timeout 900 -p no:cacheprovider notebooks docs/tutorial

test-fast: $(VENV)/.installed-test  ## the tests that need no notebook, no browser and no further processes
	$(BESIDE)

lint: $(VENV)/.installed-test  ## style, types and bandit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive fairkd

audit: $(VENV)/.installed-test  ## bandit over the library, known vulnerabilities of what it needs, real payloads
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive fairkd
	$(BIN)/python .ci/known_vulnerabilities.py
	$(BIN)/python -m pytest -q -m "not notebooks" tests/security

format: $(VENV)/.installed-test  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench  ## measure speed next to peers, an hour on an idle machine; writes docs/results
	$(BIN)/python benchmarks/performance.py
	$(BIN)/python benchmarks/fairness_table.py
	$(BIN)/python benchmarks/data_loading.py

clean:  ## remove the virtual environment and caches; outputs/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
