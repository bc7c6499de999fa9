"""Whether a checkpoint was tried here before: what was found to compute alike is not tried at each load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from . import machine
from .kernel_choice import Wish

PACKAGES = ("stretto", "libggml-python", "gguf")  # whose versions compute it, beside torch


class Record:
    """The word that these files, loaded as wished by these versions on this machine, were found to compute alike."""

    def __init__(self, files: Sequence[Path], wish: Wish, dtype: object, device: torch.device) -> None:
        known = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        versions = {name: _version(name) for name in PACKAGES}
        numbers = {"dtype": str(dtype), "device": str(device), "wish": asdict(wish)}
        self._question = {"files": known, "versions": versions, **numbers, **machine.facts(device)}
        self._path = machine.place("tried", json.dumps(self._question))

    @property
    def there(self) -> bool:
        """Whether it was given."""
        return bool(machine.recall(self._path) == self._question)

    def give(self) -> None:
        """Give it, for later loads."""
        machine.remember(self._path, self._question)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
