PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest -n 2 --durations=5
# One boot of the lab keeps one core busy; a scenario that takes long starts early.
LAB := $(PYTHON) -m pytest -n 2 --dist worksteal --durations=0 -p no:cacheprovider
# Nothing of one machine gets into the locks: no index, no paths.
LOCK := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate $(if $(UPGRADE),--upgrade) pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick machines check schemas manual mutants fuzz bench rollout coverage lab lab-full campaign fresh fmt lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: Debian packages, .venv, the demo's kernel
	@.ci/setup

demo: setup ## Show upgrades, a fallback and a rollback on a virtual host
	@$(PYTHON) -m tests.demo

test: check ## Run everything: check, the quick tests, then the slow ones
	$(PYTEST) -m "not slow and not machine"
	$(PYTEST) -m "slow and not machine"

quick: setup ## Run the quick tests only
	$(PYTEST) -m "not slow and not machine"

machines: setup ## Run the tests that start guests, by QEMU and a real libvirtd (two minutes)
	$(PYTEST) -m machine

check: setup ## Check format, lint, types, GRUB scripts, import rules, schemas and man pages
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	for script in grub/*.cfg; do grub-script-check "$$script" || { echo "in $$script" >&2; exit 1; }; done
	.venv/bin/lint-imports --no-logo
	$(PYTHON) -m tests.schemas --check
	$(PYTHON) -m tests.manual --check

schemas: setup ## Write schemas/ anew from the models
	$(PYTHON) -m tests.schemas

manual: setup ## Write the man pages anew from the help
	$(PYTHON) -m tests.manual

mutants: setup ## Break the code on purpose and see that the tests notice
	$(PYTHON) -m tests.mutants

fuzz: setup ## Fuzz every parser for ten minutes (FUZZ_SECONDS=60: for one)
	$(PYTHON) -m tests.fuzz --seconds $(or $(FUZZ_SECONDS),600)

bench: setup ## Measure against RAUC, SWUpdate, bmaptool, casync and pipelines, for docs/performance.md
	@tests/bench/setup
	$(PYTHON) -m tests.bench

rollout: setup ## Simulate rollouts to a million hosts, for docs/rollout.md (two minutes)
	$(PYTHON) -m tests.rollout

coverage: setup ## Count the boot states and cuts that the tests cover, for docs/
	$(PYTHON) -m tests.boot_coverage

fresh: ## Run the README's two commands in a clean Debian 12 tree (needs root)
	@tests/fresh

lab: setup ## Boot real systems in QEMU and break them: the short set, in 15 minutes (docs/lab.md)
	$(PYTHON) -m tests.lab prepare short
	$(LAB) tests/lab/test_short.py

lab-full: setup ## All scenarios of the lab, in about two hours
	$(PYTHON) -m tests.lab prepare
	$(LAB) tests/lab

campaign: setup ## Cut the power of upgrading hosts at random (N=300) and count what comes back; hours
	$(PYTHON) -m tests.lab.campaign --cuts $(or $(N),300) $(if $(NEW),--anew)

fmt: setup ## Format the code and fix what ruff can fix
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

lock: setup ## Lock the requirements anew (UPGRADE=1: to the newest versions)
	$(LOCK) --output-file requirements.txt
	$(LOCK) --extra dev --constraints requirements.txt --output-file requirements-dev.txt

clean: ## Remove all that make made, .venv and the kernel included
	rm -rf .venv .cache .*_cache .hypothesis build dist demo-out *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
