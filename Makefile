# The verbs of this project; "make help" lists them.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUNS := $(VENV)/.runs

.DEFAULT_GOAL := help
.PHONY: help dev hooks consul run test unit real chaos bench same docs site check lint types format clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Compat mode puts the project's folder on the path; the usual import hook would hide the plugin from twist.
define install
@test -x $(BIN)/pip || $(or $(PYTHON),$$(.ci/python)) -m venv $(VENV)
@echo "Installing into $(VENV) ..."
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable '.[$(1)]'
endef

$(STAMP): setup.cfg pyproject.toml
	$(call install,dev)
	@touch $(RUNS) $@

# A newcomer does not wait for the tools of developers.
$(RUNS): setup.cfg pyproject.toml
	$(call install,embedded)
	@touch $@

dev: $(STAMP) ## A virtual environment with everything, the project in it editable

hooks: dev ## Let git run lint and types before each commit
	@$(BIN)/pre-commit install

consul: ## Consul: the one on PATH or in ~/.cache/tile38cm; else built there from its Go module
	@.ci/consul

run: $(RUNS) ## Three nodes on this machine; Ctrl-C stops all; EMBEDDED=1 NODES=5 FLEET=20 to choose
	@$(BIN)/python -m tile38cm.dev.run $(if $(EMBEDDED),--embedded) \
		$(if $(NODES),--nodes $(NODES)) $(if $(FLEET),--fleet $(FLEET))

test: dev ## Unit tests, then those on servers: real ones, or where there are none (or EMBEDDED=1) embedded ones
	@.ci/consul --optional
	@$(if $(EMBEDDED),TILE38CM_EMBEDDED=1) $(BIN)/python -m tests.run

unit: dev ## Unit tests only
	@$(BIN)/python -m tests.run unit

real: dev consul ## Tests on real servers, which must be there
	@TILE38CM_REQUIRE_REAL=1 $(BIN)/python -m tests.run integration

chaos: dev consul ## A cluster under random faults; MINUTES=10 SEED=1 to choose
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),2) $(if $(SEED),--seed $(SEED))

same: dev ## Random requests directly and through W and R, compared; SEQUENCES=10000 SEED=1 to choose
	@TILE38CM_SEQUENCES=$(or $(SEQUENCES),10000) $(if $(SEED),TILE38CM_SEED=$(SEED)) \
		$(BIN)/python -m tests.run tests.integration.test_differential

bench: dev consul ## What W and R cost, beside Tile38 alone and HAProxy; on a machine at rest; ROUNDS=5
	@$(BIN)/python -m benchmarks.proxies --rounds $(or $(ROUNDS),5)

docs: dev ## Write the tables of README from the code
	@$(BIN)/python -m tests.readme

site: dev ## The pages of docs/ as HTML in docs/_build; a warning is an error
	@$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build

check: lint types unit ## What to run before each commit

lint: dev ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: dev ## mypy, strict
	@$(BIN)/mypy

format: dev ## Let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## Remove everything that was made here, the virtual environment too
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis .coverage* htmlcov .run docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache
