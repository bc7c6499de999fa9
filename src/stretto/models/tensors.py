"""The tensors of safetensors files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import ModelError


def tensors_of(files: Iterable[Path]) -> dict[str, Tensor]:
    """All tensors by name. They stay in the mapped files until they are used. Raises ModelError."""
    found: dict[str, Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118  # it is no mapping
                    found[name] = opened.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} is not readable: {error}", hint="copy it again") from error
    return found
