# Everything from a fresh clone: `make run`, `make test`. Nothing has to be installed by hand but Python 3.10 to 3.14.

PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8000
STAGE ?= production
STORE ?= redis
LOG_DAYS ?= 30
OUT ?= build/package
ARCHITECTURE ?= x86_64

.PHONY: help run test lint check pythons package wheel layer bench token clean preflight deploy webhook undeploy

# A usable .venv is left alone, whichever Python it has, unless somebody names one: `make run PYTHON=python3.12`.
MAKE_VENV = $(PYTHON) tools/make_venv.py $(if $(filter file,$(origin PYTHON)),,--with-this-python)
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off
NAMED_STAGE = test "$(origin STAGE)" != file || { echo "Which stage? For example: STAGE=dev"; exit 1; }

## help: this list
help:
	@awk '/^## / { target = $$2; sub(/:$$/, "", target); sub(/^## [^ ]+ /, ""); printf "make %-10s %s\n", target, $$0 }' Makefile

.venv/python: FORCE
	@$(MAKE_VENV)

FORCE:

.venv/run-installed: .venv/python requirements.txt requirements-run.txt
	@echo "Installing what the app needs to run into .venv. This takes about half a minute."
	@touch .venv/unfinished
	$(PIP_INSTALL) --require-hashes -r requirements.txt
	$(PIP_INSTALL) -r requirements-run.txt
	$(BIN)/python -m compileall -q app.py chalicelib  # or `chalice local` restarts for the bytecode that it writes
	@rm .venv/unfinished
	@touch $@

.venv/installed: .venv/run-installed requirements-dev.txt
	@echo "Installing what the tests and checks need into .venv. This takes about a minute."
	@touch .venv/unfinished
	$(PIP_INSTALL) --no-compile -r requirements-dev.txt
	@echo "Compiling it."  # pip would do so too, without a word for half of the minute
	@$(BIN)/python -m compileall -j 0 .venv/lib | awk '/^Compiling/ && ++n % 1000 == 0 { print n " files"; fflush() }'
	@rm .venv/unfinished
	@touch $@

.venv/emulators-installed: .venv/installed tests/emulators/package-lock.json
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/npm ci --prefix tests/emulators --ignore-scripts --no-audit --no-fund
	@touch $@

.venv/client-sdks-installed: .venv/installed tests/client_sdks/package-lock.json
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/npm ci --prefix tests/client_sdks --ignore-scripts --no-audit --no-fund
	@touch $@

## run: the app on http://127.0.0.1:8000 (or PORT=), with an embedded Valkey that is filled from examples/flags.json
run: .venv/run-installed
	@exec $(BIN)/python -m tools.run_local --port $(PORT)

## test: the whole suite, real servers included
test: .venv/emulators-installed .venv/client-sdks-installed
	@echo "About 2,700 tests with real servers, in several processes. On 2 cores this takes about 5 minutes."
	PYTHONUNBUFFERED=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --cov

## lint: lint, format and types
lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

## check: the same, and the quick tests
check: lint
	$(BIN)/python -m pytest -q tests/unit

## pythons: make check with each supported Python that there is, in copies of the last commit below build/
pythons:
	@for minor in 10 11 12 13 14; do \
	  python=python3.$$minor; copy=build/$$python; \
	  $$python -c pass 2>/dev/null || { echo "$$python is not installed."; continue; }; \
	  echo "$$python:"; rm -rf $$copy; mkdir -p $$copy; git archive HEAD | tar -x -C $$copy; \
	  $(MAKE) -C $$copy check PYTHON=$$python || exit 1; \
	done

## package: the deployment package of STAGE with compiled bytecode, in OUT
package: .venv/installed
	$(BIN)/python tools/build_bytecode.py
	AWS_DEFAULT_REGION=$${AWS_DEFAULT_REGION:-us-east-1} $(BIN)/chalice package --stage $(STAGE) $(OUT)
	$(BIN)/python tools/normalize_package.py .chalice/deployments/*.zip $(OUT)/deployment.zip

## wheel: the package serverless_flags, with which functions of other repositories read flags, in dist/
wheel: .venv/installed
	$(BIN)/python -m tools.build_wheel dist

## layer: the same as a Lambda layer, in dist/, for PYTHON_VERSION=3.12 and ARCHITECTURE=x86_64 or arm64
layer: .venv/installed
	$(BIN)/python -m tools.build_layer dist --architecture $(ARCHITECTURE) $(addprefix --python-version ,$(PYTHON_VERSION))

## bench: measure everything side by side, STORE=redis or dynamodb; writes docs/benchmarks*.md and the chart
bench: .venv/emulators-installed
	$(BIN)/python -m benchmarks --store $(STORE) --write

## preflight: whether STAGE can be deployed; changes nothing
preflight: .venv/installed
	@$(NAMED_STAGE)
	$(BIN)/python -m tools.preflight $(STAGE)

## deploy: check STAGE, deploy its package with `chalice deploy`, fill its store; FRONT=url adds a function URL
deploy: preflight package
	$(BIN)/chalice deploy --stage $(STAGE)
	$(BIN)/python -m tools.after_deploy $(STAGE) --log-days $(LOG_DAYS)
	$(BIN)/python -m tools.function_url $(STAGE) $(if $(FRONT),--front $(FRONT))

## webhook: have LaunchDarkly announce changes to the deployed STAGE (needs LAUNCHDARKLY_ACCESS_TOKEN)
webhook: .venv/installed
	@$(NAMED_STAGE)
	$(BIN)/python -m tools.register_webhook $(STAGE) $(OPTIONS)

## undeploy: delete what deploy created of STAGE, but its logs
undeploy: .venv/installed
	@$(NAMED_STAGE)
	@$(BIN)/python -m tools.stages $(STAGE)
	$(BIN)/chalice delete --stage $(STAGE)
	@echo "The table, the SSM parameters, the logs and LaunchDarkly's webhook are still there."

## token: a new token for the evaluation API, and its digest for the configuration
token:
	@$(PYTHON) tools/new_token.py

## clean: remove .venv and all that was built
clean:
	rm -rf .venv build dist vendor .chalice/deployments
