# Every target sets itself up: a bare machine needs make, a shell and Python 3.11 or newer, nothing else.
# Variables: PYTHON (the interpreter to build with), STEPS (training steps), TORCH_INDEX (where the CPU build of torch is),
# GPU_PYTHON (an interpreter with torch for CUDA, Triton and what pyproject.toml asks for; .venv has torch for the CPU).

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
STEPS ?= 300
GPU_PYTHON ?= python3
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := .venv/bin
# Python compiles what is imported when it is imported; compiling all of torch beforehand takes longer than that.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt
# Without compiled files every process would compile torch again.
unexport PYTHONDONTWRITEBYTECODE
READY := .venv/.ready
BENCH := .venv/.bench

# Prints pip's option for the index of CPU builds, or nothing when no answer comes within 5 s: pip's own configuration
# then decides, and pip does not spend its retries on a host that is out of reach.
TORCH_OPTION = $$($(BIN)/python -c 'import sys, urllib.request as web; index = sys.argv[1]; \
	web.urlopen(index + "/torch/", timeout=5).close(); print("--index-url", index)' "$(TORCH_INDEX)" 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help setup kernels train grok test exhaustive lint types suite ci gpu bench bench-gpu clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## Make .venv with the pinned packages (the other targets do this by themselves)

kernels: $(READY)  ## Compile the fast form of the memory for this CPU (g++ or clang++, once)
	$(BIN)/atlas kernels build

train: $(READY)  ## Train the tiny preset on the shipped text (STEPS=300)
	$(BIN)/atlas train --max-steps $(STEPS)

grok: $(READY)  ## Train a network that memorises addition first and understands it later
	$(BIN)/atlas train --config grok-square

test: $(READY)  ## Run the specification's tests
	OMP_NUM_THREADS=1 $(BIN)/pytest spec_tests -n auto

exhaustive: $(READY)  ## Run them with the exhaustive ones, which try each property on more values
	OMP_NUM_THREADS=1 $(BIN)/pytest spec_tests -n auto --exhaustive

lint: $(READY)  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## Check types, strictly
	$(BIN)/mypy

suite: $(READY)  ## Check that the stored cases are what both oracles say today
	OMP_NUM_THREADS=1 $(BIN)/atlas vectors fill --check

ci: lint types suite exhaustive  ## Everything a change must pass

gpu:  ## Put the fast kernels to the suite on a GPU (GPU_PYTHON)
	@for port in TritonPort TritonMlpPort TritonOrthogonalPort; do for numerics in f32 bf16_io; do \
	$(GPU_PYTHON) -m cli.main conform --port spec_tests.ports.kernels:$$port --level L3 --numerics $$numerics || exit; done; done
	$(GPU_PYTHON) -m cli.main conform --port spec_tests.ports.kernels:TritonAttentionPort --level L0

bench: $(BENCH) kernels  ## Time one memory layer beside titans-pytorch, and measure how peak memory grows
	$(BIN)/python -m benchmarks.memory_layer
	$(BIN)/python -m benchmarks.scaling

bench-gpu:  ## Time kernels, training steps and decoding on a GPU (GPU_PYTHON)
	$(GPU_PYTHON) -m benchmarks.kernels
	$(GPU_PYTHON) -m benchmarks.recorded_steps
	$(GPU_PYTHON) -m benchmarks.decoding

clean:  ## Remove the environment, caches and build results (runs/ stays)
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found: name one with make PYTHON=/path/to/python"; exit 1; }
	@echo "Setting up .venv (once; a minute or two, most of it torch)"
	@$(PYTHON) -m venv .venv
	@$(PIP) --no-deps $(TORCH_OPTION) torch
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

$(BENCH): $(READY)
	@$(PIP) --no-build-isolation --editable '.[bench]'
	@touch $@
