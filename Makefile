# kerasdl: train, export, serve. Needs Python 3.11 to 3.13, make and a package index; everything else goes into .venv.
PORT ?= 7860
OPEN ?= $(if $(DISPLAY)$(WAYLAND_DISPLAY)$(filter Darwin,$(shell uname)),1,0)
GPU ?= 0
PYTHON ?=
ARGS ?=
WORKERS ?= 2

# The CPU and the GPU wheels of onnxruntime overwrite each other, so that each has its own environment.
VENV := $(if $(filter 1,$(GPU)),.venv-gpu,.venv)
DEVICE := $(if $(filter 1,$(GPU)),gpu,cpu)
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip install --constraint constraints.txt --editable
PEER := .venv-peer
RUN := runs/digits-lenet5
BUNDLES := runs/bundles

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1
export TF_CPP_MIN_LOG_LEVEL ?= 2
export GRADIO_ANALYTICS_ENABLED := False
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help venv demo test peer screenshots check format clean
.DELETE_ON_ERROR:

help:
	@echo "make demo     train handwritten digits, export them, open the page   [PORT=7860] [OPEN=0] [GPU=1]"
	@echo "make test     the fast tests, two at a time                 [ARGS='-k boundaries'] [WORKERS=0]"
	@echo "make peer     equality with torchvision and timm, in an environment of its own"
	@echo "make screenshots   the pictures of the pages in docs/, taken anew"
	@echo "make check    ruff format --check, ruff check, pyright"
	@echo "make format   let ruff format and fix"
	@echo "make venv     only the environment that make demo uses"
	@echo "make clean    remove environments, caches and what the demo made; other runs stay"

# --- environments: each step is done once, and again when pyproject.toml or constraints.txt changes ---

$(BIN)/python:
	@python="$$(sh tools/find_python.sh $(PYTHON))" || exit 1; echo "Making $(VENV) with $$python"; "$$python" -m venv $(VENV)

$(VENV)/demo.done: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) ".[$(DEVICE),export,apps]"
	@touch $@

$(VENV)/test.done: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) ".[$(DEVICE),export,apps,test]"
	@touch $(VENV)/demo.done $@

$(VENV)/check.done: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) ".[$(DEVICE),export,apps,test,dev]"
	@touch $(VENV)/demo.done $(VENV)/test.done $@

venv: $(VENV)/demo.done

# --- the demo: runs/digits-lenet5, then runs/bundles/digits-lenet5, then the page with these and the bundles that came with git ---

SOURCES := $(shell find kerasdl -name '*.py' 2>/dev/null)
EXPORTER := $(shell find export -name '*.py' 2>/dev/null)

$(RUN)/model.keras: $(SOURCES) | $(VENV)/demo.done
	$(BIN)/kerasdl train digits-lenet5 --run-dir runs --overwrite
	@touch $@

$(BUNDLES)/digits-lenet5/card.json: $(RUN)/model.keras $(EXPORTER)
	$(BIN)/python -m export digits-lenet5 --run-dir runs --out $(BUNDLES)
	@touch $@

demo: $(VENV)/demo.done $(BUNDLES)/digits-lenet5/card.json
	@for card in saved_models/*/card.json; do \
	    bundle="$$(dirname "$$card")"; name="$$(basename "$$bundle")"; \
	    if [ -e "$$card" ] && [ "$$name" != digits-lenet5 ]; then rm -rf "$(BUNDLES)/$$name" && cp -R "$$bundle" $(BUNDLES)/; fi; \
	done
	$(BIN)/python -m apps --bundles $(BUNDLES) --port $(PORT) $(if $(filter 0,$(OPEN)),,--open)

# --- the tests ---

test: $(VENV)/test.done
	@sh tools/ensure_chromium.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not zoo_export" -rs --durations=15 $(ARGS)

# torchvision and timm come without their dependencies: torchvision's own wheel asks for one torch, while any will do here.
$(PEER)/done: pyproject.toml constraints.txt
	@python="$$(sh tools/find_python.sh $(PYTHON))" || exit 1; echo "Making $(PEER) with $$python"; "$$python" -m venv $(PEER)
	$(PEER)/bin/python -m pip install --constraint constraints.txt --editable ".[cpu,test,torch]"
	$(PEER)/bin/python -m pip install --constraint constraints.txt --no-deps timm torchvision
	@touch $@

peer: $(PEER)/done
	$(PEER)/bin/python -m pytest -m peer tests/peer $(ARGS)

screenshots: $(VENV)/test.done
	@sh tools/ensure_chromium.sh
	$(BIN)/python tools/screenshots.py $(ARGS)

check: $(VENV)/check.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/check.done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-gpu $(PEER) $(RUN) $(BUNDLES) build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
