# make run         set up .venv, train Keras and Lightning on the tutorial's network, compare them
# make test        set up .venv, lint, type-check, run the tests; as many files at a time as there are
#                  3 GB of free memory, from two to four (JOBS=2 sets it)
# make acceptance  the tests marked `long`, and the long checks (about an hour); writes
#                  docs/acceptance.md
# make faults      every port of the fault table through check, pairs and scripts, honest pairs through
#                  compare (75 minutes beside other programs, less without them); writes
#                  docs/faults.md and docs/false-alarms.md
# make cases       pairs of originals and ports through check (about 12 minutes); writes docs/cases.md
# make torture     stops, broken files, odd models, bad networks (30 to 45 minutes on two cores);
#                  writes docs/torture.md. One kind alone: python tests/torture folders
# make mutation    mutants of the pure modules against their tests (about half an hour);
#                  writes docs/mutation.md
# make gpu         everything that needs a GPU (10 minutes); writes docs/gpu.md. Without make:
#                  python tests/gpu_check; for two environments GPU="--keras-python ..."
# make report-check  the report in the system's Chromium; with RENEW=--renew docs/screenshots anew
# make wheel-check   the wheel, in an environment of its own without frameworks (part of make test)
#
# PYTHON=... chooses the interpreter; any of 3.11, 3.12 and 3.13 will do.

PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3 python, \
    $(shell command -v $(name) >/dev/null 2>&1 && \
    $(name) -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
    2>/dev/null && echo $(name))))
BIN := .venv/bin
# Three files at a time kept two cores busy for two thirds of the time: many tests wait.
JOBS ?= $(shell awk '/MemAvailable/ {n = int($$2 / 3e6); print (n < 2 ? 2 : n > 4 ? 4 : n)}' \
    /proc/meminfo 2>/dev/null || echo 2)

.PHONY: run test acceptance faults cases torture mutation gpu report-check wheel-check clean

run: .venv/installed
	$(BIN)/python -m mnist_mlp compare keras torch --out runs/tutorial --overwrite

test: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not long"

acceptance: .venv/installed-dev
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m long
	$(BIN)/python tests/acceptance.py

faults: .venv/installed-dev
	$(BIN)/python tests/fault_table.py
	$(BIN)/python tests/pair_table.py
	$(BIN)/python tests/script_table.py
	$(BIN)/python tests/clean_pairs.py

cases: .venv/installed-dev
	$(BIN)/python tests/cases_table.py

torture: .venv/installed-dev
	$(BIN)/python tests/torture

mutation: .venv/installed-mutation
	$(BIN)/python tests/mutation.py --jobs $(JOBS)

gpu: .venv/installed-dev
	$(BIN)/python tests/gpu_check $(GPU)

report-check: .venv/installed-report-check
	$(BIN)/python tests/report_check $(RENEW)

wheel-check: .venv/installed-dev
	$(BIN)/pytest tests/test_wheel.py

.venv/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "make: needs Python 3.11, 3.12 or 3.13 with its venv module (on Debian: python3-venv);"; \
	  echo "      none was found on PATH. Install one, or name it: make PYTHON=/path/to/python3.12"; \
	  exit 3; \
	fi
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[all,dev]'
	touch $@ .venv/installed

.venv/installed-mutation: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[all,mutation]'
	touch $@

.venv/installed-report-check: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[all,report-check]'
	touch $@

clean:
	rm -rf .venv runs build *.egg-info
