from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stretto import zoo
from stretto.bench.real.worker import Worker
from stretto.engine import Engine
from stretto.errors import ModelError, Unsupported

SCRIPT = Path(__file__).with_name("other_engine.py")
COMMAND = [sys.executable, str(SCRIPT)]
LOADED = {"way": "", "threads": 1, "rows": 2, "context": 256}


@pytest.fixture(scope="module")
def checkpoint() -> str:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    return str(zoo.path("causal"))


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process finds this package where this one did."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def test_another_process_answers_the_same_token_ids(checkpoint: str) -> None:
    engine = Engine.load("zoo/causal", reproducible=True)
    prompts = [engine.encode("Sort these numbers: 41 7 23"), engine.encode("red blue green red")]
    worker = Worker(COMMAND, model=checkpoint, **LOADED)
    try:
        assert worker.seconds > 0 and "torch" in worker.versions  # whatever the library printed meanwhile
        found = worker.ask(prompts=prompts, limit=12, temperature=0.0, seed=0)
        ours = engine.generate(prompts, "plain", max_new_tokens=12)
        assert found["tokens"] == [answer.tokens for answer in ours]
        assert 0 < found["first_seconds"] < found["seconds"]
        with pytest.raises(ModelError, match="outside of the vocabulary"):  # what fails is told, and it goes on
            worker.ask(prompts=[[10**6]], limit=2, temperature=0.0, seed=0)
        row = worker.ask(after=prompts[0])["log_probabilities"]
        assert len(row) == engine.model.vocabulary and max(range(len(row)), key=row.__getitem__) == ours[0].tokens[0]
        assert worker.ask(prompts=prompts[:1], limit=3, temperature=0.0, seed=0)["tokens"] == [ours[0].tokens[:3]]
    finally:
        worker.close()


def test_what_cannot_be_begun_is_refused_with_what_it_said(checkpoint: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="cannot be run"):
        Worker([str(tmp_path / "python")], model=checkpoint, **LOADED)
    with pytest.raises(ModelError, match="it ended: no such wheel"):
        Worker([*COMMAND, "broken"], model=checkpoint, **LOADED)
    with pytest.raises(ModelError, match="nowhere"):
        Worker(COMMAND, model=str(tmp_path / "nowhere"), **LOADED)
