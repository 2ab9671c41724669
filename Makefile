# Everything from a fresh clone: `make run`, `make test`. Nothing has to be installed by hand but Python 3.10 to 3.14.

PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8000
STAGE ?= production
STORE ?= redis
LOG_DAYS ?= 30
OUT ?= build/package
FORMAT ?= cloudformation
ARCHITECTURE ?= x86_64

.PHONY: help run test coverage lint check pythons package wheel layer bench token clean
.PHONY: stage infrastructure monitoring preflight deploy webhook record undeploy
.PHONY: status refresh flags explain logs rotate-sdk-key rotate-webhook-secret

# What is said on the command line reaches programs as it is, whatever signs are in it: it is not expanded, and recipes
# take it from the environment, where `make` puts it, because a line of a recipe is a shell's.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),\
  $(eval override $(name) := $$(value $(name)))$(eval export $(name))))
GIVEN = $(if $(filter file,$(origin $(1))),$($(1)),"$$$(1)")
# The same as an option, if it was said there; a shell may have variables of these names for something else.
SAID = $(if $(filter override,$(origin $(1))),$(2)="$$$(1)")

# A usable .venv is left alone, whichever Python it has, unless somebody names one: `make run PYTHON=python3.12`.
MAKE_VENV = $(PYTHON) tools/make_venv.py $(if $(filter file,$(origin PYTHON)),,--with-this-python)
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off
NAMED_STAGE = test "$(origin STAGE)" != file || { echo "Which stage? For example: STAGE=dev"; exit 1; }

THIS_STAGE = $(call GIVEN,STAGE)
# Where a stage has two APIs, because it was once deployed from two clones: API=abc123 says which one is meant.
THIS_API = $(if $(value API),--rest-api="$$API")

## help: this list
help:
	@awk '/^## / { target = $$2; sub(/:$$/, "", target); sub(/^## [^ ]+ /, ""); printf "make %-21s %s\n", target, $$0 }' Makefile

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
	@exec $(BIN)/python -m tools.run_local --port $(call GIVEN,PORT)

# Bytecode is kept whatever the shell says, or each of the processes would compile every test again.

## test: the whole suite, real servers included
test: .venv/emulators-installed .venv/client-sdks-installed
	@echo "About 5,300 tests with real servers, in several processes. On 2 cores this takes about 4 minutes."
	PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

## coverage: branch coverage by the tests that are cheap to measure, which has a floor
coverage: .venv/emulators-installed .venv/client-sdks-installed
	PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder --cov

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

## package: the deployment package of STAGE with compiled bytecode and a template, in OUT; FORMAT=terraform for that
package: .venv/run-installed
	$(BIN)/python tools/build_bytecode.py
	AWS_DEFAULT_REGION=$${AWS_DEFAULT_REGION:-us-east-1} $(BIN)/chalice package --stage $(THIS_STAGE) \
	  --pkg-format $(call GIVEN,FORMAT) $(call GIVEN,OUT)
	$(BIN)/python -m tools.mend_package $(THIS_STAGE) $(call GIVEN,OUT)
	$(BIN)/python tools/normalize_package.py .chalice/deployments/*.zip $(call GIVEN,OUT)/deployment.zip

## wheel: the package serverless_flags, with which functions of other repositories read flags, in dist/
wheel: .venv/installed
	$(BIN)/python -m tools.build_wheel dist

## layer: the same as a Lambda layer, in dist/, for PYTHON_VERSION=3.12 and ARCHITECTURE=x86_64 or arm64
layer: .venv/installed
	$(BIN)/python -m tools.build_layer dist --architecture $(call GIVEN,ARCHITECTURE) \
	  $(call SAID,PYTHON_VERSION,--python-version)

## bench: measure everything side by side, STORE=redis or dynamodb; writes docs/benchmarks*.md and the chart
bench: .venv/emulators-installed
	$(BIN)/python -m benchmarks --store $(call GIVEN,STORE) --write

## stage: write STAGE, for ENVIRONMENT=proj/default:env/production, with STORE=dynamodb or redis
stage: .venv/run-installed
	@$(NAMED_STAGE)
	@$(BIN)/python -m tools.new_stage $(THIS_STAGE) $(call SAID,STORE,--store) $(call SAID,ENVIRONMENT,--environment) \
	  $(call SAID,REDIS_URL,--redis-url) $(call SAID,PREFIX,--prefix) $(call SAID,SUBNETS,--subnets) \
	  $(call SAID,SECURITY_GROUPS,--security-groups) $(if $(value OVERWRITE),--overwrite)

## infrastructure: deploy the table that STAGE needs, or the cache, in VPC= and SUBNETS=; IAM_USER= logs in by IAM
infrastructure: .venv/run-installed
	@$(NAMED_STAGE)
	@$(BIN)/python -m tools.infrastructure $(THIS_STAGE) $(call SAID,STORE,--store) $(call SAID,VPC,--vpc) \
	  $(call SAID,SUBNETS,--subnets) $(call SAID,IAM_USER,--iam-user)

## monitoring: deploy the alarms and the dashboard of STAGE; ALARM_EMAIL= is told
monitoring: .venv/run-installed
	@$(NAMED_STAGE)
	@$(BIN)/python -m tools.infrastructure $(THIS_STAGE) --monitoring $(call SAID,ALARM_EMAIL,--alarm-email)

## preflight: whether STAGE can be deployed; changes nothing. RUNTIME=python3.12 says that another Python is meant
preflight: .venv/run-installed
	@$(NAMED_STAGE)
	$(BIN)/python -m tools.preflight $(THIS_STAGE) $(call SAID,RUNTIME,--runtime) $(call SAID,FRONT,--front) \
	  --log-days=$(call GIVEN,LOG_DAYS)

## deploy: check STAGE, deploy its package with `chalice deploy`, fill its store; FRONT=url adds a function URL
deploy: preflight package
	$(BIN)/python -m tools.deployment $(THIS_STAGE) $(THIS_API)
	$(BIN)/chalice deploy --stage $(THIS_STAGE)
	$(BIN)/python -m tools.after_deploy $(THIS_STAGE) --log-days=$(call GIVEN,LOG_DAYS) $(THIS_API)
	$(BIN)/python -m tools.function_url $(THIS_STAGE) $(call SAID,FRONT,--front)

## webhook: have LaunchDarkly announce changes to the deployed STAGE (needs LAUNCHDARKLY_ACCESS_TOKEN)
webhook: .venv/run-installed
	@$(NAMED_STAGE)
	$(BIN)/python -m tools.register_webhook $(THIS_STAGE) $(THIS_API) $(OPTIONS)

OPERATE = $(NAMED_STAGE); $(BIN)/python -m tools.operate --port $(call GIVEN,PORT)

## status: what is deployed of STAGE, and whether it can answer; STAGE=local asks the app of `make run`
status: .venv/run-installed
	@$(OPERATE) status $(THIS_STAGE)

## refresh: have STAGE fetch from LaunchDarkly now; FORCE=1 also on the word of an empty data set
refresh: .venv/run-installed
	@$(OPERATE) refresh $(THIS_STAGE) $(if $(value FORCE),--force)

## flags: what is in the store of STAGE, one line a flag; FLAG=x shows it whole
flags: .venv/run-installed
	@$(OPERATE) flags $(THIS_STAGE) $(call SAID,FLAG,--flag) $(call SAID,REDIS_URL,--redis-url)

## explain: why CONTEXT='{"key": "anna"}' gets its variation of FLAG=x in STAGE, rule by rule
explain: .venv/run-installed
	@$(OPERATE) explain $(THIS_STAGE) --flag="$$FLAG" --context="$$CONTEXT" $(call SAID,REDIS_URL,--redis-url)

## logs: what the functions of STAGE have logged in the last MINUTES=10; FILTER= is CloudWatch's pattern
logs: .venv/run-installed
	@$(OPERATE) logs $(THIS_STAGE) $(call SAID,MINUTES,--minutes) $(call SAID,FILTER,--filter)

## rotate-sdk-key: a new SDK key for STAGE; the old one goes on for GRACE_MINUTES=60 (needs LAUNCHDARKLY_ACCESS_TOKEN)
rotate-sdk-key: .venv/run-installed
	@$(NAMED_STAGE)
	@$(BIN)/python -m tools.rotate sdk-key $(THIS_STAGE) $(call SAID,GRACE_MINUTES,--grace-minutes) $(OPTIONS)

## rotate-webhook-secret: a new secret for the webhook of STAGE (needs LAUNCHDARKLY_ACCESS_TOKEN)
rotate-webhook-secret: .venv/run-installed
	@$(NAMED_STAGE)
	@$(BIN)/python -m tools.rotate webhook-secret $(THIS_STAGE) $(OPTIONS)

## record: write Chalice's record of the deployed STAGE, for `chalice invoke`, `chalice logs` and `chalice url`
record: .venv/run-installed
	@$(NAMED_STAGE)
	@$(BIN)/python -m tools.deployment $(THIS_STAGE) $(THIS_API)

## undeploy: delete what deploy created of STAGE, but its logs
undeploy: .venv/run-installed
	@$(NAMED_STAGE)
	@$(BIN)/python -m tools.deployment $(THIS_STAGE) --to-delete $(THIS_API)
	$(BIN)/chalice delete --stage $(THIS_STAGE)
	@echo "The table, the SSM parameters, the logs and LaunchDarkly's webhook are still there."

## token: a new token for the evaluation API, and its digest for the configuration
token:
	@$(PYTHON) tools/new_token.py

## clean: remove .venv and all that was built
clean:
	rm -rf .venv build dist vendor .chalice/deployments
