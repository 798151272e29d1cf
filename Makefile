# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
RESULTS ?= results
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export MLFLOW_DISABLE_TELEMETRY := true
# Library threads beyond the cores slow everything down; the harness sets its workers' own.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM := false

.PHONY: run numbers test torture lint fix ui bench wheel docs install clean

run: install  ## the laptop profile of the main suite
	$(BIN)/benchmark run suites/penha2024.yaml --results $(RESULTS)

SUITES := penha2024 tiger2023 gensar2025
numbers: install  ## every number of the tables in the README and docs/: the laptop profile of all suites, about half an hour on 2 cores
	for suite in $(SUITES); do $(BIN)/benchmark run suites/$$suite.yaml --results $(RESULTS) || exit 1; done
	$(BIN)/python tests/write_readme.py $(foreach suite,$(SUITES),$(RESULTS)/$(suite)/leaderboard.json)

test: install  ## all tests
	$(BIN)/pytest -n 2 --dist loadfile

KILLS := 100
torture: install  ## runs that are killed at random, and a longer fuzz of suites and data: about half an hour on 2 cores
	$(BIN)/python tests/torture.py --kills $(KILLS)
	FUZZ_EXAMPLES=1000 $(BIN)/pytest tests/attacks/test_fuzz_suites.py tests/attacks/test_fuzz_files.py

lint: install  ## what .ci/run checks before the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: install  ## repair what ruff can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: install  ## MLflow's pages on the results
	$(BIN)/benchmark ui --results $(RESULTS)

bench: install  ## speed against named peers, one thread; all run, then an error that names those below their goals
	$(BIN)/python tests/benchmarks/run_all.py

DIST := dist
SBOM := .venv/sbom/bin/cyclonedx-py
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' benchmark/__init__.py)
wheel: install $(SBOM)  ## the wheel, and a CycloneDX list of the packages that it was built and tested with
	$(BIN)/python -m build --wheel --no-isolation --outdir $(DIST)
	sed 's/^dynamic = .*/version = "$(VERSION)"/' pyproject.toml > $(DIST)/pyproject.toml
	$(SBOM) environment --pyproject $(DIST)/pyproject.toml --mc-type library --output-reproducible \
		--output-file $(DIST)/genrec_benchmark-$(VERSION).cdx.json $(BIN)/python
	rm $(DIST)/pyproject.toml

# In an environment of its own: the list names what the wheel was tested with, not the tool that writes it.
$(SBOM): constraints.txt
	$(PYTHON) -m venv --clear .venv/sbom
	.venv/sbom/bin/pip install --quiet -c constraints.txt cyclonedx-bom

MKDOCS := .venv/docs/bin/mkdocs
docs: $(MKDOCS)  ## the pages of docs/ as a site, in dist/site
	$(MKDOCS) build --strict --quiet

$(MKDOCS): constraints.txt
	$(PYTHON) -m venv --clear .venv/docs
	.venv/docs/bin/pip install --quiet -c constraints.txt mkdocs

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[all,dev]'
	touch $@

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache
