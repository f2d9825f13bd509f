# `make` lists the targets. What they do is in scripts/.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
DISTRO ?= 13
TOPOLOGY ?= single
NAME ?= default
DO ?= test

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## A real site on https://localhost:8443, in a container (DISTRO=12 for Debian 12; TOPOLOGY=fleet for four)
	@scripts/demo up $(DISTRO) $(TOPOLOGY)

.PHONY: demo-down
demo-down: ## Remove the demo's containers
	@scripts/demo down

.PHONY: test
test: venv ## The gate: lint, sanity, unit, all scenarios, short benchmarks; ends with "N passed, N failed"
	@scripts/test

.PHONY: prove
prove: venv ## The evidence: full counts, full benchmarks, all versions; goes on where it was broken off (STEP="scenario release")
	@.venv/bin/python scripts/prove $(if $(STEP),"$(STEP)") $(if $(AGAIN),--again)

.PHONY: lint
lint: venv ## Check style, documentation and good practice
	@scripts/lint

.PHONY: unit
unit: venv ## Tests that need no container
	@scripts/unit

.PHONY: sanity
sanity: venv ## All tests of ansible-test sanity, on the collection as it is built
	@scripts/sanity

.PHONY: versions
versions: venv ## Syntax, unit tests and a run of site.yml with each ansible-core that is supported
	@scripts/versions

.PHONY: scenario
scenario: venv ## A Molecule scenario (NAME=default; DO=converge, verify, login, destroy for a part of it)
	@scripts/scenario $(NAME) $(DO)

.PHONY: bench-converge
bench-converge: venv ## What a first and an unchanged run of site.yml cost (SHORT=1 to see that it runs)
	@scripts/engine
	@scripts/image $(DISTRO)
	@bench/converge $(if $(SHORT),--short)

.PHONY: bench-release
bench-release: venv ## What a release costs: its visitors while it goes live, and its time (SHORT=1 as above)
	@scripts/engine
	@scripts/image $(sort $(DISTRO) 13)
	@bench/release $(if $(SHORT),--short)

.PHONY: bench-pool
bench-pool: venv ## What pgbouncer and Django's own pool change for an app on PostgreSQL (SHORT=1 as above)
	@scripts/engine
	@scripts/image $(DISTRO)
	@bench/pool $(if $(SHORT),--short)

.PHONY: bench-serve
bench-serve: venv ## How fast pages and files are served, beside peers (SIZING=1: numbers of workers; SHORT=1 as above)
	@scripts/engine
	@scripts/image $(DISTRO)
	@bench/serve $(if $(SHORT),--short) $(if $(SIZING),--sizing) $(DISTRO)

.PHONY: docs
docs: venv ## Write the tables in the roles' README files from their argument specs
	@scripts/docs

.PHONY: build
build: venv ## Build the collection into build/
	@.venv/bin/ansible-galaxy collection build --force --output-path build

.PHONY: venv
venv: ## Install the controller's tools into .venv
	@scripts/venv

.PHONY: lock
lock: venv ## Write requirements.lock from pyproject.toml (UPGRADE=1 for the newest versions)
	@scripts/lock $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## Remove what the other targets have left in this directory
	@rm -rf .venv .ansible .ruff_cache build
