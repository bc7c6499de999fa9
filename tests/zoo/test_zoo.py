"""What ships is found, is small, and belongs together."""

from __future__ import annotations

import json

import pytest
from safetensors import safe_open

from stretto import zoo
from stretto.errors import UnknownName


def test_unknown_models_are_refused_with_a_hint() -> None:
    with pytest.raises(UnknownName, match="hint"):
        zoo.path("casual")


def test_shipped_models_are_complete_small_and_of_one_vocabulary() -> None:
    names = zoo.names()
    if not names:
        pytest.skip("no models have been trained yet")
    folders = [zoo.path(name) for name in names]
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) < 40 * 2**20
    tokenizers = set()
    for folder in folders:
        assert "Apache-2.0" in (folder / "README.md").read_text()
        assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
        with safe_open(folder / "model.safetensors", "pt") as weights:
            assert {weights.get_slice(key).get_dtype() for key in weights.keys()} == {"F16"}  # noqa: SIM118
        tokenizers.add((folder / "tokenizer.json").read_text())
    assert len(tokenizers) == 1
