"""Through Ray: two replicas answer as one engine does, also where one dies; who begins alike goes to the same."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest

pytest.importorskip("starlette", reason="pip install 'stretto[serve]'")
if find_spec("ray") is None:  # it is not imported before it is told how to begin
    pytest.skip("pip install 'stretto[ray]'", allow_module_level=True)

from serve.serving import Live
from serve.test_batch import answers, request, run, told, written
from stretto.cli.serve import listen
from stretto.engine import Engine
from stretto.errors import ModelError
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.serve import spread
from stretto.serve.affinity import TEXT, beginning
from stretto.serve.batch import Batch, journal
from stretto.serve.cluster import Replicas, cluster
from stretto.serve.replicas import deployed
from stretto.serve.service import Limits, Service

TWO = Replicas(2, 2, cpus=0.25)
SOME = Replicas(1, 2, cpus=0.25)
LIMITS = Limits(rows=4, waiting=8, new_tokens=99, method="plain")


def making(dying: Path | None = None) -> Callable[[], Service]:
    """How a replica makes its service; the first that finds no file `dying` writes it, and is killed in an answer."""

    def make() -> Service:
        class Dying(TableModel):
            def evaluate(self, *given: Any, **more: Any) -> Any:
                if dying is not None and not dying.exists():
                    dying.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().evaluate(*given, **more)

        model = Dying(6, TableModel.random(6, seed=4).rule)
        model.max_positions = 1000
        return Service(Engine(model, clock=SimulatedClock(), rows=4), "table", LIMITS)

    return make


@pytest.fixture(scope="module", autouse=True)
def started() -> Iterator[None]:
    """Ray; afterwards nothing of it is left, neither files nor processes."""
    others = set(Path(gettempdir()).glob("stretto-ray-*"))
    with cluster(TWO):
        (mine,) = set(Path(gettempdir()).glob("stretto-ray-*")) - others
        assert any(map(mentions(mine), Path("/proc").glob("[0-9]*/cmdline")))
        yield
    late = time.monotonic() + 20
    while any(map(mentions(mine), Path("/proc").glob("[0-9]*/cmdline"))):
        assert time.monotonic() < late, "a process is left"
        time.sleep(0.05)
    assert not mine.exists()


def mentions(folder: Path) -> Callable[[Path], bool]:
    """Whether the command line of a process names a folder."""

    def told(file: Path) -> bool:
        try:
            return str(folder).encode() in file.read_bytes()
        except OSError:  # it has ended meanwhile
            return False

    return told


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    listening.close()
    making_service = making()

    def make() -> Any:
        from stretto.serve.app import application

        return application(making_service())

    with deployed(make, LIMITS, TWO, host="127.0.0.1", port=port, grace=5, access_log=False):
        yield Live(None, None, port)  # type: ignore[arg-type]


def test_a_batch_is_that_of_one_engine_though_a_replica_is_killed(tmp_path: Path) -> None:
    lines = [request(str(at), prompt=[at % 6], seed=at, n=1 + at % 3, max_tokens=3 + at % 7) for at in range(40)]
    source = written(tmp_path / "in", *lines, "no JSON", request("x", max_tokns=3), request("3"))
    whole = run(source, tmp_path / "whole", to=making()())
    begun = (tmp_path / "whole").read_text().splitlines(keepends=True)[:9]
    (tmp_path / "out").write_text("".join(begun) + begun[0][:40])  # as a kill leaves it
    heard: list[int] = []
    with journal(tmp_path / "out") as out:
        spread.run(Batch(source, out), making(tmp_path / "killed"), TWO, LIMITS.rows, heard.append)
    assert (tmp_path / "killed").exists() and sum(heard) == len(whole) - len(begun)
    assert sorted(map(told, answers(out.path)), key=str) == sorted(map(told, whole), key=str)


def test_replicas_answer_as_the_engine_alone(live: Live) -> None:
    alone = making()().engine
    for seed in range(6):
        asked = {"prompt": [seed, 1], "max_tokens": 12, "seed": seed, "temperature": 1.0, "end_tokens": []}
        expected = alone.generate([seed, 1], max_new_tokens=12, seed=seed, temperature=1.0, end_tokens=[]).text
        status, _, said = live.ask("/v1/completions", asked)
        assert status == 200 and said["choices"][0]["text"] == expected
        events = live.events("/v1/completions", asked)
        assert "".join(event["choices"][0]["text"] for event in events) == expected and len(events) > 3
    assert live.ask("/v1/completions", {"prompt": [7]})[2]["error"]["param"] == "prompt"


def test_who_begins_alike_goes_to_the_same_replica(live: Live) -> None:
    def served(session: str) -> int:
        """Completions that the replica of a session has answered."""
        lines = live.ask("/metrics", headers={"x-session-id": session})[2].splitlines()
        found = [line for line in lines if 'path="/v1/completions",status="200"' in line]
        return int(found[0].rpartition(" ")[2]) if found else 0

    for token in range(5):
        bodies = [{"prompt": [token] * TEXT + [more], "max_tokens": 1} for more in range(3)]
        (session,) = {beginning(json.dumps(body).encode()).decode() for body in bodies}
        before = served(session)
        assert [live.ask("/v1/completions", body)[0] for body in bodies] == [200] * 3
        assert served(session) == before + 3


def test_when_a_replica_is_killed_the_other_answers(live: Live) -> None:
    import ray

    named = ray.util.list_named_actors(all_namespaces=True)
    replicas = [each["name"] for each in named if each["name"].startswith("SERVE_REPLICA::")]
    assert len(replicas) == 2
    ray.kill(ray.get_actor(replicas[0], namespace="serve"))
    for token in range(6):
        status, _, said = live.ask("/v1/completions", {"prompt": [token], "max_tokens": 3})
        assert status == 200, said


def test_a_replica_that_cannot_begin_is_told() -> None:
    def make() -> Any:
        raise OSError("the model is gone")

    where = {"host": "127.0.0.1", "port": 0, "grace": 0, "access_log": False}
    with pytest.raises(ModelError, match="the model is gone"), deployed(make, LIMITS, SOME, **where):
        pass
