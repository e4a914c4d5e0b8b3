# `make demo` and `make test` do all the set-up themselves. Needs Python 3.11+ with venv, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where pip finds torch. Empty: the default index, whose Linux build carries CUDA (several GB).
# For a CPU build: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
MODEL ?= models:/breast-cancer@champion
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo demo-images monitoring-demo monitoring-pictures system test serve lint bench clean install constraints

demo: install ## fit, register, batch-score, serve and monitor a detector of real anomalies
	$(BIN)/python examples/demo.py

demo-images: install ## the same with pictures: handwritten digits, heatmaps, latent space
	$(BIN)/python examples/demo_images.py

monitoring-demo: install ## traffic that drifts, and the alerts that say so; needs `make system`
	PYTHONPATH=. $(BIN)/python examples/monitoring_demo.py

monitoring-pictures: install ## the same, and the pictures of docs/monitoring.md; needs Chromium, too
	PYTHONPATH=. $(BIN)/python examples/monitoring_demo.py --pictures docs/figures

system: ## Debian packages beside which some tests and monitoring-demo run; as root
	apt-get update -qq
	xargs apt-get install -y -qq --no-install-recommends < .ci/packages

test: install ## every test, with branch coverage
	$(BIN)/python -m pytest -n auto --dist loadscope --cov --cov-report=term:skip-covered

serve: install ## serve a registered model: make serve MODEL=models:/NAME@champion
	$(BIN)/anomaly serve $(MODEL)

lint: install ## style, types and floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install ## every figure of benchmarks/RESULTS.md; takes an hour and more
	$(MAKE) -C benchmarks BIN=$(CURDIR)/$(BIN) PYTHON=$(PYTHON)

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	touch $@

constraints: ## pin what is installed now
	$(PIP) freeze --exclude-editable | sed 's/+cpu//' > constraints.txt

clean: ## remove everything that make and the demo made
	rm -rf $(VENV) .venv-bench .venv-serving demo demo-images demo-monitoring mlflow.db mlruns build dist \
	  *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
