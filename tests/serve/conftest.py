"""A live server of a shipped model, shared by all tests that ask one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stretto import zoo
from stretto.engine import Engine


@pytest.fixture(scope="session")
def live() -> Iterator[object]:
    """zoo/causal, bit for bit, with few rows."""
    pytest.importorskip("starlette", reason="pip install 'stretto[serve]'")
    pytest.importorskip("uvicorn", reason="pip install 'stretto[serve]'")
    from serve.serving import serving
    from stretto.serve.service import Limits, Service

    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    engine = Engine.load("zoo/causal", exact="bits", reproducible=True, rows=6)
    with serving(Service(engine, "zoo/causal", Limits(rows=6, waiting=100, new_tokens=40))) as server:
        yield server
