# Four verbs, the same in CI: run, test, lint, bench. Each does its own set-up.
PYTHON ?= python3
BIN := .venv/bin
PAGE := api/portal_page

.PHONY: help install run demo kafka portal test chaos attack lint audit bench lock clean

help:  ## Show what each target does
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/.installed  ## Make the virtual environment from the hashed lock

.venv/.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: install  ## Serve on 127.0.0.1:8888, everything in one process, data in ./data
	$(BIN)/meterport serve

demo: install  ## Meter 336,776 flights and print each carrier's usage per month
	$(BIN)/python examples/flights.py

kafka: install  ## Run one Kafka broker on loopback until Ctrl-C, data in a temporary directory
	$(BIN)/python -m tests.harness.broker

portal: $(PAGE)/node_modules/.package-lock.json  ## Build the customer's usage page (needs Node); commit what changes
	cd $(PAGE) && npm run --silent lint && npm run --silent build

$(PAGE)/node_modules/.package-lock.json: $(PAGE)/package-lock.json
	cd $(PAGE) && npm ci --silent
	@touch $@

test: install  ## Run the tests, three at a time: most of those with a broker wait
	$(BIN)/python -m pytest -n 3 --dist worksteal

chaos: install  ## Kill processes, brokers and the store for an hour over millions of events, and print the table
	$(BIN)/python -m tests.chaos

attack: install  ## Attack one server in 1 GiB for ten minutes while others use it, and print what they saw
	$(BIN)/python -m tests.attack

lint: install  ## ruff, mypy (strict), the import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: .venv-audit/.installed install  ## Look for known advisories against the lock files; says SKIPPED where none can be asked
	$(BIN)/python -m tests.audit.scan

.venv-audit/.installed: tests/audit/requirements.lock
	@test -x .venv-audit/bin/python || $(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

bench: install  ## Run the benchmarks
	$(BIN)/python -m benchmarks

lock:  ## Resolve the dependencies anew into the lock files (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --prerelease=if-necessary-or-explicit \
	  --python-version 3.11 --extra demo --group dev pyproject.toml -o requirements.lock
	for folder in tests/audit tests/clients/generated_python tests/clients/older_python tests/clients/cloudevents/python; do \
	  (cd $$folder && uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	    requirements.in -o requirements.lock) || exit; done

clean:  ## Remove what install and run made
	rm -rf .venv .venv-audit data dist
