# Everything a newcomer or a contributor runs. Each target does its own set-up; `make` alone lists them.
# VENV=path takes another environment, PYTHON=python3.12 another interpreter, REFIT_NO_SETUP=1 no set-up at all.

VENV ?= .venv
PYTHON ?=
export VENV PYTHON

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test coverage lint bench results docs pictures setup-all setup-dev system system-if-possible

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: system-if-possible setup-all ## the sample volume, live in napari; without a display, files in demo-output/
	@scripts/demo.sh

test: system setup-dev ## style, types, doctests, unit and GUI tests
	@scripts/test.sh

coverage: system setup-dev ## which lines and branches the tests run; takes half as long again
	@scripts/test.sh --cov --cov-report=term

lint: setup-dev ## style and types only
	@scripts/lint.sh

bench: system setup-dev ## speed against peers, in the same run, into docs/benchmarks.md
	@mkdir -p .benchmarks
	@scripts/with_display.sh $(VENV)/bin/python -m pytest benchmarks -o addopts= --import-mode=importlib -p no:napari \
		--benchmark-only --benchmark-quiet --benchmark-max-time=2 --benchmark-min-rounds=2 \
		--benchmark-json=.benchmarks/latest.json
	@$(VENV)/bin/python docs/gen_benchmarks.py .benchmarks/latest.json

results: setup-dev ## all methods on the evaluation data beside the checkout, into docs/results.md (hours on a processor)
	@scripts/results.sh

docs: setup-dev ## the documentation, into site/
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

pictures: system setup-dev ## the documentation's pictures, from the running program
	@scripts/with_display.sh $(VENV)/bin/python docs/make_pictures.py
	@scripts/with_display.sh $(VENV)/bin/python docs/make_tour.py
	@scripts/with_display.sh $(VENV)/bin/python docs/make_report_picture.py

system:
	@scripts/system_packages.sh browser

system-if-possible:
	@scripts/system_packages.sh || echo "demo: going on without them"

setup-all:
	@scripts/setup.sh all

setup-dev:
	@scripts/setup.sh dev
