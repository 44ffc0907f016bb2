# Everything works on a fresh machine: each target makes the environment it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-generation model test families damage cluster integrations lint docs bench wheel clean

$(BIN)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	touch $@

$(BIN)/.dev: $(BIN)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	touch $@

$(BIN)/.integrations: $(BIN)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[integrations]'
	touch $@

demo: $(BIN)/.demo  ## the whole experiment on a real model; ends with a report
	$(BIN)/ensemw2s fetch smollm2-135m
	$(BIN)/ensemw2s fetch all-minilm-l6-v2
	$(BIN)/ensemw2s fetch sentiment
	$(BIN)/ensemw2s run configs/demo/demo.yaml --run-dir runs/demo

demo-generation: $(BIN)/.demo  ## the same for answers in words
	$(BIN)/ensemw2s fetch smollm2-135m
	$(BIN)/ensemw2s run configs/demo/demo-generation.yaml --run-dir runs/demo-generation

model: $(BIN)/.demo  ## the real model of the demos, against which `make test` also checks the decoding
	$(BIN)/ensemw2s fetch smollm2-135m

test: $(BIN)/.dev  ## lint, types, layers and the whole suite
	$(MAKE) --no-print-directory lint
	# A process per core with one thread each: two that share their threads slow each other many times.
	# Files in the order of tests/conftest.py, the slowest first, and not those with the most tests.
	# Compiled modules are kept: the many processes that the tests start would each compile the package anew.
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

families: $(BIN)/.dev  ## every model family with every adapter against the library's own models; the papers' configurations
	OMP_NUM_THREADS=1 $(BIN)/pytest -m families -n auto --maxprocesses 4

damage: $(BIN)/.dev  ## every file with every damage, and ten processes on one store
	OMP_NUM_THREADS=1 $(BIN)/pytest -m damage -n auto --maxprocesses 4

cluster: $(BIN)/.dev  ## Ray's clusters, launches by torchrun, and runs that are killed again and again
	OMP_NUM_THREADS=1 $(BIN)/pytest -m cluster -n auto --maxprocesses 4 --dist loadfile

integrations: $(BIN)/.integrations  ## other packages' own clients and commands; tutorials, notebooks and pages, followed to the letter
	OMP_NUM_THREADS=1 $(BIN)/pytest -m integration -n auto --maxprocesses 4 --dist loadfile

lint: $(BIN)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright

docs: $(BIN)/.dev
	$(BIN)/mkdocs build --strict

bench: $(BIN)/.dev  ## every claim about speed, side by side
	$(BIN)/python benchmarks/labelling.py
	$(BIN)/python benchmarks/rounds.py
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/adapters.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/plan.py

wheel: $(BIN)/.dev  ## the wheel in an empty environment
	.ci/wheel

clean:
	rm -rf $(VENV) dist site
