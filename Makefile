# Everything that the project does with itself. Each target makes the environment that it needs, once.
#
#   make run     the quickstart pipeline on SQLite, with no key
#   make test    all tests, with the coverage gates
#   make help    the rest

VENV := .venv
BIN  := $(VENV)/bin
# Stamps: an environment is made again only when pyproject.toml has changed since.
RUNTIME := $(VENV)/.runtime
DEV     := $(VENV)/.dev

TESTS ?= tests
PYTEST_ARGS ?=
# Crashes that each database sees in `make crash`; empty: a seeded sample.
POINTS ?=
# Not empty: `make bench` installs other engines into .bench/, and measures them too.
PEERS ?=
# These packages decide what a run is and what it may repeat: no branch of them goes untested.
GATED := orchestrator/expr/*,orchestrator/spec/*,orchestrator/graph/*,orchestrator/compiler/*,orchestrator/journal/*,orchestrator/engine/decide.py

.PHONY: help run test coverage lint types imports crash prove bench docs format services clean
.DEFAULT_GOAL := help

help: ## what each target does
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@py=; for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	    if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then py=$$p; break; fi; done; \
	  test -n "$$py" || { echo 'Python 3.11 or later is needed, as python3 or python3.11 and later.' >&2; exit 2; }; \
	  $$py -m venv $(VENV) || { rm -rf $(VENV); echo "No venv with $$py: install python3-venv (Debian) or its like." >&2; exit 2; }

$(RUNTIME): pyproject.toml | $(VENV)/bin/python
	@echo 'Installing the runtime dependencies into $(VENV) (once).' >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEV): pyproject.toml | $(VENV)/bin/python
	@echo 'Installing the development dependencies into $(VENV) (once).' >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(RUNTIME)

run: $(RUNTIME) ## the quickstart pipeline on SQLite, with no key
	@$(BIN)/orch run specs/quickstart.yaml --store sqlite:///.orch/runs.db

test: $(DEV) ## all tests but the crash suite, with the coverage gates
	$(BIN)/python -m coverage run -m pytest $(TESTS) --ignore=tests/crash -m 'not prove' $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory coverage

coverage: $(DEV) ## the gates on the last `make test`: every branch of the packages that decide
	$(BIN)/python -m coverage report --include='$(GATED)' --fail-under=100 --show-missing --skip-covered

lint: $(DEV) ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(DEV) ## put into format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(DEV) ## basedpyright, strict
	$(BIN)/basedpyright

imports: $(DEV) ## the layers: imports point down
	$(BIN)/lint-imports

crash: $(DEV) ## kill runs at every boundary, resume, check what is promised; POINTS=1000: so many crashes on each database
	POINTS=$(POINTS) $(BIN)/python -m pytest tests/crash -m 'not prove' $(PYTEST_ARGS)

prove: $(DEV) ## every proof at its full count (long)
	ORCH_PROVE=1 $(BIN)/python -m pytest $(TESTS) -m 'prove or not prove' --timeout=3600 $(PYTEST_ARGS)

bench: $(DEV) ## the workloads of benchmarks/ against the floor; PEERS=1: and against other engines, in full (long)
	$(BIN)/python -m benchmarks $(if $(PEERS),--peers)

services: $(DEV) ## which databases the tests would use
	@$(BIN)/python -m tests.services

docs: $(DEV) ## write the generated parts of the documentation
	$(BIN)/orch schema > schemas/pipeline.v1.schema.json.new
	mv schemas/pipeline.v1.schema.json.new schemas/pipeline.v1.schema.json
	$(BIN)/python -m pytest tests/acceptance/test_docs.py -q

clean: ## remove what can be made again
	rm -rf $(VENV) .orch .coverage .coverage.* htmlcov .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info report.md
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
