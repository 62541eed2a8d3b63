# Everything a newcomer needs: `make demo` and `make test` set up their own environment.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# One OpenMP thread: on small systems and shared cores a second one costs more than it gives
# (`OMP_NUM_THREADS=2 make demo` to compare).
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test test-slow lint study benchmark clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# torch comes first and by its exact version: a range may bring gigabytes of CUDA packages.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mlpot needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

demo: $(VENV)/.ready  ## silicon to germanium in five minutes; report in runs/demo/report.html
	$(BIN)/mlpot demo --recipe recipes/demo.yaml --out runs/demo

test: $(VENV)/.ready  ## lint, types and the default tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/.ready  ## the long studies in small
	$(BIN)/python -m pytest -m slow

study: $(VENV)/.ready  ## the ab initio study (needs ../shared/data/mlearn)
	$(BIN)/mlpot study recipes/studies/mlearn_si_to_ge.yaml --out runs/mlearn_si_to_ge

benchmark: $(VENV)/.ready  ## speed beside mace-torch and nequip, each installed in an environment of its own
	$(BIN)/python benchmarks/force_call.py
	$(BIN)/python benchmarks/scaling.py

clean:  ## remove the environment and the runs
	rm -rf $(VENV) runs build *.egg-info
