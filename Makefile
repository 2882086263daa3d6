# Each target installs what it needs. Requirements: Python >= 3.11, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# More workers than two cores, because tests often wait. No worker gets tests in advance: those that it
# has not begun would wait for a long one while other workers have nothing left.
WORKERS := -n 6 --maxschedchunk 1

.PHONY: demo demo-picture test coverage test-pythons test-dropin test-distributed soak mutants random-mutants audit check docs docs-serve bench bench-full bench-report fix clean
.DELETE_ON_ERROR:

# Tests start many processes. If Python kept no compiled modules, each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

demo: $(VENV)/.ready-cli
	@$(BIN)/prefactor-http demo

# Runs the demo and draws it into docs/images/demo.svg.
demo-picture: $(VENV)/.ready-cli
	$(BIN)/python docs/tools/demo_picture.py

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest $(WORKERS) $(ARGS)

# Measures branch coverage, which takes half as long again.
coverage: $(VENV)/.ready-test
	$(BIN)/python -m pytest $(WORKERS) --cov --cov-report=term-missing:skip-covered $(ARGS)

# Runs the tests on each of Python 3.11, 3.12 and 3.13 found on PATH or in pyenv, in separate environments.
# To leave out a version: make test-pythons EXCEPT=3.11
test-pythons:
	.ci/test-pythons $(EXCEPT)

check: $(VENV)/.ready-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m pytest -q -m "" -p no:randomly tests/test_house.py tests/test_typing.py

# Builds the documentation in site/ and checks it: links, sections, and in Chromium if it is installed.
docs: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python -m pytest -m site -p no:randomly tests/docs $(ARGS)

docs-serve: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# Installs packages built on release 0.4.3 into a separate environment. Takes minutes and needs network.
test-dropin: $(VENV)/.ready-test
	$(BIN)/python -m pytest -m dropin -p no:randomly --timeout 900 tests/dropin $(ARGS)

# Runs a Dask cluster of two worker processes and kills one of them.
test-distributed: $(VENV)/.ready-distributed
	$(BIN)/python -m pytest -m distributed -p no:randomly tests/distributed $(ARGS)

# Runs 100,000 lifecycles under faults with each way to write and compares the outcomes with the
# server's ledger. Takes half an hour. For a shorter run: make soak ARGS='--lifecycles 5000 --seeds 4'
soak: $(VENV)/.ready-test
	$(BIN)/python tests/resilience/soak.py $(ARGS)

# Applies mistakes to a copy of the client, each of which a named test must detect. Takes minutes.
mutants: $(VENV)/.ready-test
	$(BIN)/python tests/mutation/seeded_mutants.py $(ARGS)

# Applies random changes to the modules without I/O for ten minutes, and lists those that no test
# notices. For other changes: make random-mutants ARGS='--seed 2 --minutes 30'
random-mutants: $(VENV)/.ready-test
	$(BIN)/python tests/mutation/random_mutants.py $(ARGS)

# Looks up known vulnerabilities of the installed packages. Needs network, so `make check` does not.
audit: $(VENV)/.ready-audit
	$(BIN)/python -m pip freeze --exclude-editable | $(BIN)/pip-audit --strict --no-deps --disable-pip -r /dev/stdin

# Compares with release 0.4.3, aiohttp and httpx. The first run creates environments and needs network.
bench: $(VENV)/.ready-bench
	$(BIN)/python -m benchmarks quick $(ARGS)

# Takes a quarter of an hour. Commit its results, and the tables and plots that it draws from them.
bench-full: $(VENV)/.ready-bench
	$(BIN)/python -m benchmarks full $(ARGS)
	$(BIN)/python -m benchmarks report

bench-report: $(VENV)/.ready-bench
	$(BIN)/python -m benchmarks report

fix: $(VENV)/.ready-check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-3.* .venv-dropin benchmarks/.venv* dist build site .coverage .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.ready:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required, for example: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	touch $@

$(VENV)/.ready-cli: $(VENV)/.ready pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli]'
	touch $@

$(VENV)/.ready-test: $(VENV)/.ready-cli pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group test
	touch $@

$(VENV)/.ready-distributed: $(VENV)/.ready-test pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli,distributed]'
	touch $@

$(VENV)/.ready-check: $(VENV)/.ready-test pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group check
	touch $@

$(VENV)/.ready-audit: $(VENV)/.ready-cli pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group audit
	touch $@

$(VENV)/.ready-docs: $(VENV)/.ready-test pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	touch $@

$(VENV)/.ready-bench: $(VENV)/.ready-cli pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli,bench]'
	touch $@
