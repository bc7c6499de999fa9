"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models of the tests are tiny: a second thread only waits

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real benchmarks and small checkpoints; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("STRETTO_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "SOURCES.md").exists():
        pytest.skip(f"no shared data in {folder} (set STRETTO_DATA)")
    return folder
