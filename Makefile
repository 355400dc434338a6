# `make demo` and `make test` do all the set-up themselves; `make help` lists the rest.
HOST_CHECK := ensemble/trident/server/host.py
# The first Python that can run the server; `make PYTHON=...` takes another.
PYTHON ?= $(shell for name in python3 python3.12 python3.11 python3.10; do $$name $(HOST_CHECK) >/dev/null 2>&1 && echo $$name && break; done)
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: help demo test check bench bench-backend bench-client bench-files bench-gateway bench-overload bench-healing bench-peers bench-request bench-scaling soak fuzz lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

demo: $(INSTALLED) ## train `spam`, build the model repository, start Triton, infer, stop
	@$(BIN)/trident demo

test: $(INSTALLED) ## run the whole suite in two processes
	$(BIN)/python -m pytest -n 2

check: $(INSTALLED) ## lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(INSTALLED) ## report figures: start-up, training, overhead
	$(BIN)/python benchmarks/report.py

bench-backend: $(INSTALLED) ## report figures of the tensorflow backend: overhead, ragged, OpenVINO, memory
	$(BIN)/python benchmarks/backend.py

bench-client: $(INSTALLED) ## report what the client costs beside tritonclient and PyTriton's client
	$(BIN)/python benchmarks/client.py

bench-files: $(INSTALLED) ## report how fast a file is scored, beside perf_analyzer
	$(BIN)/python benchmarks/files.py

bench-gateway: $(INSTALLED) ## report what `trident gateway` costs
	$(BIN)/python benchmarks/gateway.py

bench-overload: $(INSTALLED) ## report what a service does at twice its capacity
	$(BIN)/python benchmarks/overload.py

bench-healing: $(INSTALLED) ## kill processes of a service under load, and report what callers notice
	$(BIN)/python benchmarks/healing.py

bench-peers: $(INSTALLED) ## compare `spam` with eight other ways to serve it
	$(BIN)/python benchmarks/peers.py

soak: $(INSTALLED) ## serve for an hour under load, kills, releases and bad requests, and compare its end with its beginning
	$(BIN)/python benchmarks/soak.py

bench-request: $(INSTALLED) ## report where a request's time goes
	$(BIN)/python benchmarks/request.py

bench-scaling: $(INSTALLED) ## report the cost as work grows: callers, tokens, services, rows of files
	$(BIN)/python benchmarks/scaling.py

fuzz: $(INSTALLED) ## send ten thousand malformed requests to a server of its own
	$(BIN)/python benchmarks/fuzz.py

lock: ## resolve requirements.lock anew for all supported Pythons
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --generate-hashes --no-header --no-annotate --quiet --upgrade -o requirements.lock

clean: ## remove what was installed, trained and built (not the cache of downloads)
	rm -rf .venv services
	git clean -fdXq model_repository

# A marker file, so that an interrupted installation is begun again.
$(INSTALLED): requirements.lock
	@command -v $(or $(PYTHON),python3) >/dev/null || { echo "Trident cannot be set up: no $(or $(PYTHON),python3) found; on Debian: apt-get install python3 python3-venv"; exit 1; }
	@$(or $(PYTHON),python3) $(HOST_CHECK)
	$(PYTHON) -m venv --clear .venv
	@echo "Installing the locked packages (about 1.2 GB, one to three minutes) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
