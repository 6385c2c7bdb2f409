# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,python3)
export OMP_NUM_THREADS ?= 1
# SGLang's seven thousand modules are compiled once, and not in every process that imports them.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-gpu check bench bench-capacity bench-policy bench-served bench-host bench-host-served bench-gpu stress clean

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	# Bytecode is made when a module is first imported: of all that SGLang brings, few are.
	$(BIN)/python -m pip install --quiet --no-compile -e ".[dev]"
	touch $@

setup: $(VENV)/.installed  ## the environment, with SGLang (several GB, some minutes)

demo: setup  ## a conversation with the real server, on a tiny hybrid model
	$(BIN)/python -m cachepawl_launch.demo

serve: setup  ## the demo's server, kept running
	$(BIN)/python -m cachepawl_launch.demo --serve

test: setup  ## all tests but the long ones
	$(BIN)/python -m pytest -m "not stress" -n $(WORKERS) --dist loadgroup

check: setup  ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## tree and allocator operations beside SGLang's own
	$(BIN)/python -m benchmarks.run

bench-capacity: setup  ## live bytes and moved bytes beside other ways to share memory
	$(BIN)/python -m benchmarks.capacity.run

bench-policy: setup  ## hit rates of policies and of SGLang's own tree on real traces (hours; see docs/benchmarks.md)
	$(BIN)/python -m benchmarks.policy.run

bench-served: setup  ## slices of the traces on real servers, stock SGLang and cachepawl
	$(BIN)/python -m benchmarks.served.run

bench-host: setup  ## the host tier beside SGLang's own, on the same requests and bytes
	$(BIN)/python -m benchmarks.host.run

bench-host-served: setup  ## the same on real servers, with conversations larger than the device
	$(BIN)/python -m benchmarks.host.served

# A machine with a GPU may have torch and Triton of its own: no environment is made for these two.
test-gpu:  ## the kernels' tests, compiled, on a GPU; then the real server, where SGLang is
	$(GPU_PYTHON) tests/kernels/on_gpu.py

bench-gpu:  ## the kernels on a GPU: bandwidth, launches, attention over the arena's views
	$(GPU_PYTHON) -m benchmarks.gpu.run

stress: setup  ## the full matrices and long random runs
	HYPOTHESIS_PROFILE=fresh $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --timeout 3000

clean:  ## remove the environment and everything built
	rm -rf $(VENV) build dist
