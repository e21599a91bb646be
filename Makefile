# `make test` on a fresh clone is all that is needed; everything lives in .venv.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two processes of one thread each: torch's own threads collapse when cores are shared.
export OMP_NUM_THREADS := 1
JOBS ?= 2
RECORDS := bench/records/bench.jsonl
STUDY := $(BIN)/python -m lrpilot_bench.studies.

.DEFAULT_GOAL := help
.PHONY: help install demo test pytest check format bench docs data clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 18

install: $(STAMP) ## make the environment (.venv), pinned by constraints.txt

# torch goes first and alone, so that pip takes the CPU build where it is offered one and later steps keep it.
$(STAMP): pyproject.toml bench/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' --editable './bench[peers,ray]'
	touch $@

demo: $(STAMP) ## find an lr on real data and train with it, under a minute
	$(BIN)/lrpilot demo

test: $(STAMP) ## the checks and every test, side by side: mypy keeps one core busy
	$(MAKE) --no-print-directory -j2 check pytest

pytest: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS)

check: $(STAMP) ## lint, format, types, and what is longest
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python tests/longest.py

format: $(STAMP) ## write the format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: data ## measure what docs/ states (hours; stop it at any time, it goes on where it ended)
	$(BIN)/lrpilot bench run --suite all --suite readouts --processes $(JOBS) --records $(RECORDS)
	$(BIN)/lrpilot bench run --suite autopilot --suite autopilot_ablations --suite autopilot_robust \
		--processes $(JOBS) --records $(RECORDS)
	$(BIN)/lrpilot bench run --suite lr_tuner --large --processes $(JOBS) --records bench/records/lr_tuner.jsonl
	$(BIN)/lrpilot bench run --suite weighted_factors --processes $(JOBS) --records bench/records/weighted_factors.jsonl
	$(BIN)/lrpilot bench run --suite autolrs --processes $(JOBS) --records bench/records/autolrs.jsonl
	$(STUDY)invariances
	$(STUDY)probe_cost
	$(STUDY)autopilot_price
	$(STUDY)peak_prior
	$(STUDY)line_cost
	$(STUDY)line_noise
	$(STUDY)forecast_error
	$(STUDY)forecast_soundness
	$(STUDY)surrogate_minima
	$(STUDY)search_cost
	$(STUDY)trial_lengths
	$(STUDY)continued_trials
	$(MAKE) docs

docs: $(STAMP) ## write the tables of docs/ from the committed records
	$(STUDY)evidence_page
	$(STUDY)forecast_page
	$(STUDY)line_experiments
	$(STUDY)trial_experiments
	$(BIN)/lrpilot bench report --records $(RECORDS) --out runs/benchmark.html --markdown docs

data: $(STAMP) ## fetch the benchmark's data into the data folder (LRPILOT_DATA names it)
	$(BIN)/lrpilot bench data

clean: ## remove caches and builds; the environment and your runs stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
