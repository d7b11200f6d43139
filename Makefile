# The main targets are run, test, lint and bench; CI uses the same ones. Each target sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PAGE := api/portal_page

.PHONY: help install run demo kafka portal page-packages test test-quick test-long chaos attack lint lint-page audit \
  bench chart chart-quick image cluster monitoring dist lock clean

help:  ## Show what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/.installed  ## Create the virtual environment from the lock file with hashes

# The first line installs a new pip: it takes half as long as the one that comes with Python 3.11.
.venv/.installed: requirements-pip.lock requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --no-compile --require-hashes -r requirements-pip.lock
	$(PIP) install --quiet --no-compile --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-compile --no-deps --no-build-isolation -e .
	@touch $@

run: install  ## Serve on 127.0.0.1:8888 in one process, with the data in ./data
	$(BIN)/meterport serve

demo: install  ## Meter 336,776 flights and print each carrier's usage per month
	$(BIN)/python examples/flights.py

kafka: install  ## Run one Kafka broker on loopback until Ctrl-C, with its data in a temporary directory
	$(BIN)/python -m tests.harness.broker

portal: lint-page  ## Check and build the customer's usage page (needs Node); commit the files that change
	cd $(PAGE) && npm run --silent build

lint-page: page-packages  ## Check the sources of the usage page: types and eslint (needs Node)
	cd $(PAGE) && npm run --silent lint

page-packages: $(PAGE)/node_modules/.package-lock.json

$(PAGE)/node_modules/.package-lock.json: $(PAGE)/package-lock.json
	cd $(PAGE) && npm ci --silent --no-audit --no-fund
	@touch $@

test: install  ## Run all tests, four at a time, because half of them only wait
	$(BIN)/python -m pytest -n 4 --dist worksteal

test-quick: install  ## Run the tests of engine and api that need no broker, no browser and no long search
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not thorough" tests/engine tests/api tests/oracle

test-long: install  ## Run all tests in their long form, for hours: hundreds of kills, thousands of generated cases
	METERPORT_TEST_LONG=1 $(BIN)/python -m pytest -n 4 --dist worksteal

chaos: install  ## Kill processes, brokers and the store for over an hour, and print the table of results
	$(BIN)/python -m tests.chaos

attack: install  ## Attack one server in 1 GiB of memory for ten minutes, and print what its other clients saw
	$(BIN)/python -m tests.attack

lint: install  ## Run ruff and mypy (strict), and check the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: .venv-audit/.installed  ## Compare the lock files with known advisories; prints SKIPPED where no service can be reached
	$(BIN)/python -m tests.audit.scan

.venv-audit/.installed: tests/audit/requirements.lock .venv/.installed
	@test -x .venv-audit/bin/python || $(PYTHON) -m venv --without-pip .venv-audit
	$(PIP) --python .venv-audit/bin/python install --quiet --no-compile --require-hashes -r $<
	@touch $@

chart: .venv-chart/.complete  ## Lint, render, validate and score the Helm chart with Helm 3 and Helm 4 (needs Go)
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/chart

chart-quick: .venv-chart/.installed  ## Check the Helm chart in 20 seconds, with Helm 4 for the most part (needs Go)
	$(BIN)/python -m pytest -n 0 --quiet -m "not thorough" tests/chart

.venv-chart/.installed: tests/chart/requirements.lock tests/chart/tools.py .venv/.installed
	@test -x .venv-chart/bin/python || $(BIN)/python -m venv --without-pip .venv-chart
	$(PIP) --python .venv-chart/bin/python install --quiet --no-compile --force-reinstall --no-deps --require-hashes -r $<
	$(BIN)/python -m tests.chart.tools
	@touch $@

.venv-chart/.complete: .venv-chart/.installed
	$(BIN)/python -m tests.chart.tools kube-score
	@touch $@

bench: install  ## Run the benchmarks
	$(BIN)/python -m benchmarks

image: install  ## Build both images with buildah and run them without privileges (root on Debian, no docker)
	$(BIN)/python -m tests.image

cluster: install .venv-chart/.installed  ## Run Kubernetes and the chart in it under load (root on Debian, no docker, Go)
	$(BIN)/python -m tests.cluster

monitoring: install  ## Build the alert rules and the dashboard in deploy/ from the names of the metrics
	$(BIN)/python -m deploy.monitoring

dist: install  ## Build the wheel and the source archive into dist/
	$(BIN)/python -m hatchling build

lock:  ## Resolve the dependencies again and write the lock files (needs uv)
	echo pip | uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 - -o requirements-pip.lock
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --prerelease=if-necessary-or-explicit \
	  --python-version 3.11 --extra embedded --extra otel --extra demo --group dev pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --constraint requirements.lock --extra otel pyproject.toml -o deploy/requirements.lock
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --constraint requirements.lock --extra embedded --extra otel pyproject.toml -o deploy/requirements-embedded.lock
	for folder in tests/audit tests/clients/generated_python tests/clients/older_python tests/clients/cloudevents/python; do \
	  (cd $$folder && uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	    requirements.in -o requirements.lock) || exit; done
	cd tests/chart && uv pip compile --quiet --no-deps --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 requirements.in -o requirements.lock

clean:  ## Remove what install, audit and run created
	rm -rf .venv .venv-audit .venv-chart data dist
