"""What is read of the files of parts without importing them is what importing them tells."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

from stretto import catalogue
from stretto.catalogue import Declared, entries_of, parts_of


def modules():
    for folder in catalogue.FOLDERS:
        package = importlib.import_module(f"stretto.{folder}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def test_parts_and_entries_are_those_that_importing_tells() -> None:
    own, every = Declared(catalogue.FOLDERS), list(modules())
    every_part = [part for module in every for part in parts_of(module) if hasattr(part, "kind")]
    assert dict(own) == {part.name: part for part in every_part}
    assert len(own) > 100 and all(name in own for name in own)
    assert own.entries == {entry.name: entry for module in every for entry in entries_of(module)}


def loaded_by(script: str) -> set[str]:
    told = subprocess.run(
        [sys.executable, "-c", f"import sys\n{script}\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(told.stdout.split())


def test_listing_the_methods_imports_none_of_them() -> None:
    loaded = loaded_by("from stretto.cli import main; main(['methods'])")
    assert not {"torch", "numpy"} & loaded
    assert not any(name.startswith(("stretto.speculate", "stretto.diffuse", "stretto.steer")) for name in loaded)


def test_a_part_is_imported_when_it_is_looked_up() -> None:
    loaded = loaded_by("from stretto import catalogue; catalogue.part('lookup')")
    assert "stretto.speculate.drafters.lookup" in loaded
    assert not {"stretto.speculate.drafters.recycle", "stretto.diffuse.orders.runs"} & loaded
