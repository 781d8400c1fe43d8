# On a fresh machine, use `make demo` and `make test`. Both make .venv first if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-slow test-long test-browser lint format types contract bench docs notebook screenshots check clean

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[evaluate,figures,report,web]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[evaluate,figures,report,web]" --group test --group lint
	# Quantus asks for opencv-python, which would overwrite opencv-python-headless; the group test has its other needs.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps "quantus>=0.6"
	touch $@

install: $(VENV)/.installed  ## looktwice and what all of its commands need, in .venv

demo: $(VENV)/.installed  ## maps and boxes for the sample pictures, with the embedded network: pictures and JSON in out/
	$(BIN)/looktwice attend examples/images --output out

test: $(VENV)/.installed-dev  ## the default tests
	$(BIN)/python -m pytest -m "not slow and not long and not browser"

test-slow: $(VENV)/.installed-docs  ## the longer tests; they also build the site and run the notebook
	$(BIN)/python -m pytest -m "slow and not long and not browser"

test-long: $(VENV)/.installed-dev  ## a million broken files for every reader together, and a hundred kills; half an hour
	LOOKTWICE_CASES=1000000 LOOKTWICE_KILLS=100 $(BIN)/python -m pytest -s tests/long

$(VENV)/.installed-browser: $(VENV)/.installed-docs
	command -v chromedriver >/dev/null || { apt-get update && apt-get install -y chromium chromium-driver; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group browser
	touch $@

test-browser: $(VENV)/.installed-browser  ## page, report and site in a real browser; installs Debian's Chromium if it is missing
	$(BIN)/python -m pytest -m browser tests/browser

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

contract: $(VENV)/.installed-dev  ## imports go down only
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev  ## what feedback costs, as ratios, how it grows, and what the evaluation's overhead is
	$(BIN)/python benchmarks/speed.py --output out/speed.json
	$(BIN)/python benchmarks/growth.py --output out/growth.json
	$(BIN)/python benchmarks/overhead.py

$(VENV)/.installed-docs: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	touch $@

docs: $(VENV)/.installed-docs  ## the site, in site/; a warning counts as an error
	$(BIN)/mkdocs build --strict

notebook: $(VENV)/.installed-docs  ## run examples/tour.ipynb again, and keep what it shows
	$(BIN)/python examples/execute_tour.py

screenshots: $(VENV)/.installed-browser  ## the docs' pictures of page and report, in docs/images/screens
	$(BIN)/python docs/screenshots.py

check: lint types contract test

clean:
	rm -rf $(VENV) out build dist site
