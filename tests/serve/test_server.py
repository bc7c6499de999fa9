"""A live server: who may ask, how much, what becomes of those who go away, and how what fails is told."""

from __future__ import annotations

import json
import socket

import pytest

pytest.importorskip("starlette", reason="pip install 'stretto[serve]'")
pytest.importorskip("uvicorn", reason="pip install 'stretto[serve]'")

from serve.serving import serving
from stretto.engine import Engine
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.serve.service import Limits, Service

LONG = {"prompt": [1, 2], "max_tokens": 100_000, "end_tokens": []}


def service(**limits: int) -> Service:
    model = TableModel.random(6, seed=4)
    model.max_positions = 10**6
    engine = Engine(model, clock=SimulatedClock(), rows=2)
    return Service(engine, "table", Limits(rows=2, new_tokens=200_000, **limits))


def test_who_goes_away_frees_the_row_and_who_is_too_many_is_told_so() -> None:
    with serving(service(waiting=1)) as live:
        body = json.dumps({**LONG, "stream": True, "n": 2}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost:{live.port}\r\nContent-Type: application/json\r\n"
        client = socket.create_connection(("127.0.0.1", live.port))
        client.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert b"data: " in client.recv(65536) + client.recv(65536)
        status, headers, said = live.ask("/v1/completions", {**LONG, "n": 2})
        assert (status, headers["retry-after"], said["error"]["code"]) == (429, "1", "rate_limit_exceeded")
        handles = list(live.service.handles)
        client.close()
        live.until_idle()
        assert [handle.generation.finish for handle in handles] == ["interrupt"] * 2
        assert live.service.metrics.gone == 1 and not live.service.handles
        assert live.ask("/v1/completions", {"prompt": [1, 2], "max_tokens": 3})[0] == 200


def test_keys_hosts_kinds_and_sizes() -> None:
    key = {"Authorization": "Bearer secret"}
    with serving(service(body=99), keys=("secret",)) as live:
        assert live.ask("/v1/models")[0] == 401 == live.ask("/v1/models", headers={"Authorization": "Bearer x"})[0]
        assert live.ask("/health")[0] == 200 == live.ask("/v1/models", headers=key)[0]
        for path, body, more, status in (
            ("/v1/models", None, {"Host": "elsewhere.org"}, 403),
            ("/v1/completions", "{}", {"Content-Type": "text/plain"}, 415),
            ("/v1/completions", "[" * 100, {}, 413),
            ("/v1/completions", "{", {}, 400),
            ("/v1/completions", '{"prompt": [NaN]}', {}, 400),
            ("/v1/completions", {"prompt": [7]}, {}, 400),
            ("/v1/completions", {"prompt": [1], "model": "x"}, {}, 404),
            ("/v1/embeddings", {}, {}, 400),
            ("/v1/nothing", {}, {}, 404),
        ):
            found, _, said = live.ask(path, body, headers={**key, **more})
            assert found == status and said["error"]["message"], (path, body)
        assert 'path="/v1/completions",status="413"} 1' in live.ask("/metrics", headers=key)[2]


def test_usage_comes_last_and_only_when_asked() -> None:
    with serving(service()) as live:
        asked = {"prompt": [1, 2, 3], "max_tokens": 4, "seed": 1, "end_tokens": []}
        events = live.events("/v1/completions", {**asked, "stream_options": {"include_usage": True}})
        assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)
        assert events[-1]["choices"] == [] and events[-1]["usage"] == {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
        }
        assert all("usage" not in event for event in live.events("/v1/completions", asked))
