PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest -n 2 --durations=5
# One boot of the lab keeps one core busy; a scenario that takes long starts early.
LAB := $(PYTHON) -m pytest -n 2 --dist worksteal --durations=0 -p no:cacheprovider
# Nothing of one machine gets into the locks: no index, no paths.
LOCK := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate $(if $(UPGRADE),--upgrade) pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick machines check schemas manual tutorial pages pictures docs mutants fuzz bench rollout coverage cover mutation sbom lab lab-full campaign deb wheel package-test fresh fmt lock clean

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

machines: setup ## Run the tests that start guests, by QEMU and a real libvirtd (three minutes)
	$(PYTEST) -m machine

check: setup ## Check format, lint, types, GRUB scripts, import rules, generated files, links and licences
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	for script in grub/*.cfg; do grub-script-check "$$script" || { echo "in $$script" >&2; exit 1; }; done
	.venv/bin/lint-imports --no-logo
	$(PYTHON) -m tests.schemas --check
	$(PYTHON) -m tests.manual --check
	$(PYTHON) -m tests.pages --check
	$(PYTHON) -m tests.links
	$(PYTHON) -m tests.sbom --check

schemas: setup ## Write schemas/ anew from the models
	$(PYTHON) -m tests.schemas

manual: setup ## Write the man pages anew from the help
	$(PYTHON) -m tests.manual

sbom: setup ## Write anew what an installed abctl contains, with licences, for docs/
	$(PYTHON) -m tests.sbom

pages: setup ## Write the pages and drawings of docs/ anew that come from the code
	$(PYTHON) -m tests.pages

pictures: setup ## Take the pictures of the terminal anew, of real commands on a virtual host
	$(PYTHON) -m tests.pages.pictures

docs: setup ## Make the documentation as a site in build/site; a link that leads nowhere is an error
	.venv/bin/mkdocs build

tutorial: setup ## Run the tutorial's commands, and write what they print into docs/tutorial.md
	$(PYTHON) -m tests.tutorial

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

deb: setup ## Make Debian packages of abctl in dist/ (docs/packaging.md)
	@$(PYTHON) -m package.deb

wheel: setup ## Make a wheel of abctl in dist/, and the lists by which pip installs it
	@$(PYTHON) -m package.wheel

package-test: setup ## Install, use and remove packages and wheel in a clean Debian 12 tree (needs root; a quarter of an hour)
	@tests/package-test

cover: setup ## Measure which lines and branches the tests go through, for docs/coverage.md
	$(PYTHON) -m tests.cover

mutation: setup ## Try small changes to the core (SECONDS=3600), and go on the next time, for docs/mutation.md
	$(PYTHON) -m tests.mutation --seconds $(or $(SECONDS),3600) $(MODULES)

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
