"""A live server: who may ask, how much, what becomes of those who go away, and how what fails is told."""

from __future__ import annotations

import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("starlette", reason="pip install 'stretto[serve]'")
pytest.importorskip("uvicorn", reason="pip install 'stretto[serve]'")

from serve.serving import Live, serving
from stretto import cli
from stretto.engine import Engine
from stretto.errors import InvalidRequest, ModelError, OutOfMemory, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.serve import app
from stretto.serve import service as serving_module
from stretto.serve.errors import Refused
from stretto.serve.fields import read
from stretto.serve.service import Limits, Service

LONG = {"prompt": [1, 2], "max_tokens": 100_000, "end_tokens": []}
SHORT = {"prompt": [1, 2, 3], "max_tokens": 4, "seed": 1, "end_tokens": []}


class Failing(TableModel):
    """Fails at each 40th window, and says what it read."""

    def evaluate(self, window: Any, *rest: Any, **more: Any) -> Any:
        self.__dict__["seen"] = seen = self.__dict__.get("seen", 0) + 1
        if seen % 40 == 0:
            raise RuntimeError("the words of a prompt")
        return super().evaluate(window, *rest, **more)


def service(kind: type[TableModel] = TableModel, **limits: int) -> Service:
    model = kind(6, TableModel.random(6, seed=4).rule)
    model.max_positions = 10**6
    engine = Engine(model, clock=SimulatedClock(), rows=2)
    return Service(engine, "table", Limits(rows=2, new_tokens=200_000, **limits))


def head(live: Live, body: bytes) -> bytes:
    lines = ["POST /v1/completions HTTP/1.1", f"Host: localhost:{live.port}", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()


def begun(live: Live, **more: Any) -> socket.socket:
    """A client in the middle of a stream."""
    body = json.dumps({**LONG, "stream": True, **more}).encode()
    client = socket.create_connection(("127.0.0.1", live.port), timeout=60)
    client.sendall(head(live, body) + body)
    seen = b""
    while b"data: " not in seen:
        seen += (piece := client.recv(4096))
        assert piece, f"the answer broke off after {seen!r}"
    return client


def test_who_goes_away_frees_the_row_and_who_is_too_many_is_told_so() -> None:
    with serving(service(waiting=1)) as live:
        client = begun(live, n=2)
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
        assert live.ask("/v1/models")[1]["www-authenticate"] == "Bearer"
        assert live.ask("/v1/models")[0] == 401 == live.ask("/v1/models", headers={"Authorization": "Bearer x"})[0]
        assert live.ask("/")[0] == 200 and "connect-src 'self'" in live.ask("/")[1]["content-security-policy"]
        assert live.ask("/health")[0] == 200 == live.ask("/v1/models", headers=key)[0]
        for path, body, more, status in (
            ("/v1/models", None, {"Host": "elsewhere.org"}, 403),
            ("/v1/completions", "{}", {"Content-Type": "text/plain"}, 415),
            ("/v1/completions", "[" * 100, {}, 413),
            ("/v1/completions", "{", {}, 400),
            ("/v1/models", None, {"Authorization": "Basic secret"}, 401),
            ("/v1/models/x", None, {}, 404),
            ("/v1/completions", {"prompt": [7]}, {}, 400),
            ("/v1/completions", {"prompt": [1], "model": "x"}, {}, 404),
            ("/v1/embeddings", {}, {}, 400),
            ("/v1/nothing", {}, {}, 404),
        ):
            found, _, said = live.ask(path, body, headers={**key, **more})
            assert found == status and said["error"]["message"], (path, body)
        said = live.ask("/v1/completions", '{"prompt": [1], "temperature": NaN}', headers=key)[2]
        assert said["error"]["code"] == "invalid_json"
        assert 'path="/v1/completions",status="413"} 1' in live.ask("/metrics", headers=key)[2]


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SLOWEST_BODY", 0.02)
    with serving(service()) as live:
        client = socket.create_connection(("127.0.0.1", live.port), timeout=60)
        client.sendall(head(live, b"{}") + b"{")
        assert client.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_usage_comes_last_and_only_when_asked() -> None:
    with serving(service()) as live:
        events = live.events("/v1/completions", {**SHORT, "stream_options": {"include_usage": True}})
        assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)
        assert events[-1]["choices"] == [] and events[-1]["usage"] == {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
        }
        assert all("usage" not in event for event in live.events("/v1/completions", SHORT))


def test_clients_that_go_away_leave_nothing() -> None:
    with serving(service(waiting=100)) as live:
        clients = [begun(live) for _ in range(2)]
        body = json.dumps({**LONG, "n": 2}).encode()
        for _ in range(16):  # these wait: they go before their first token
            clients.append(socket.create_connection(("127.0.0.1", live.port)))
            clients[-1].sendall(head(live, body) + body)
        live.until(lambda: live.service._rows == 34)
        for client in clients:
            client.close()
        live.until_idle()
        assert live.service.metrics.gone == 18 and not live.service.handles and not live.service._rows
        assert not live.server.server_state.tasks and not live.service.engine._scheduler._loops


def test_answers_on_their_way_end_when_the_server_stops() -> None:
    with serving(service(), grace=30) as live, ThreadPoolExecutor(1) as other:
        answer = other.submit(live.events, "/v1/completions", {**SHORT, "max_tokens": 400})
        live.until(lambda: live.service.handles)
        live.stop()
        (finish,) = {event["choices"][0]["finish_reason"] for event in answer.result()} - {None}
        assert finish == "length"
    with pytest.raises(ConnectionRefusedError):
        live.ask("/health")


def test_after_the_grace_those_that_have_not_ended_are_told_so() -> None:
    with serving(service(), grace=0) as live, ThreadPoolExecutor(1) as other:
        client = begun(live)
        whole = other.submit(live.ask, "/v1/completions", LONG)
        live.until(lambda: len(live.service.handles) == 2)
        live.stop()
        status, _, said = whole.result()
        assert status == 503 and "called off" in said["error"]["message"]
        rest = b"".join(iter(lambda: client.recv(1 << 16), b""))
        assert b'data: {"error":{"message":"the answer was called off' in rest and b"[DONE]" not in rest
        assert not live.service.handles


def test_what_fails_on_the_way_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    with serving(service(Failing)) as live, caplog.at_level(logging.ERROR, "stretto.serve"):
        status, _, said = live.ask("/v1/completions", {**LONG, "max_tokens": 100})
        assert status == 500 and said["error"] == {
            "message": "the server failed (RuntimeError) (hint: its log names the place)",
            "type": "server_error",
            "param": None,
            "code": None,
        }
        _, _, text = live.ask("/v1/completions", {**LONG, "max_tokens": 100, "stream": True})
        *events, last, end = text.split("\n\n")
        assert len(events) > 5 and json.loads(last.removeprefix("data: ")) == said and not end
        assert live.ask("/v1/completions", SHORT)[0] == 200
    assert "RuntimeError" in caplog.text and "test_server.py" in caplog.text and "the words" not in caplog.text


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"temperature": -1, "top_p": 0.5}, "temperature"),
        ({"top_p": 3}, "top_p"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"seed": 1.5}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"logit_bias": {"7": 1}}, "logit_bias"),
        ({"banned_tokens": [7]}, "banned_tokens"),
        ({"end_tokens": "x"}, "end_tokens"),
        ({"steers": ["dry(-3)"]}, "steers"),
        ({"regex": "("}, "regex"),
        ({"regex": "(", "choices": []}, None),  # it is that there are both
        ({"method": "nosuch"}, "method"),
        ({"method": "lookup(-3)"}, "method"),
        ({"method": "beam(3)"}, "method"),  # more rows than there are
        ({"prompt": [1, 7]}, "prompt"),
        ({"prompt": [[1], [7]]}, "prompt"),
        ({"method": "beam(2)", "temperature": 1}, None),  # either would do by itself
    ],
    ids=str,
)
def test_what_the_engine_refuses_names_the_field(fields: dict[str, Any], named: str | None) -> None:
    with pytest.raises(Refused) as caught:
        ours = service()
        ours.submit(read({"prompt": [1, 2], **fields}, "completions", ours.limits))
    assert (caught.value.status, caught.value.param) == (400, named)


def test_a_method_that_needs_more_rows_is_told_how_to_have_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refused, match=r"takes 3 rows \(hint: there are 2: --max-rows 3 where this was started"):
        ours = service()
        ours.submit(read({"prompt": [1, 2], "method": "beam(3)"}, "completions", ours.limits))
    for options in (["--method", "a-star"], ["--allow-method", "a-star"]):
        assert cli.main(["serve", "no such model", *options]) == 2
        assert "'a-star' takes 50 rows, and there are 32 (hint: --max-rows 50)" in capsys.readouterr().err


def test_who_is_refused_is_told_when_a_place_gets_free(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, now = service(waiting=3), [0.0]
    monkeypatch.setattr(serving_module, "perf_counter", lambda: now[0])
    for seconds, told in ((0.0, "1"), (20.0, "8"), (40.0, "9"), (10_000.0, "60")):
        with ours.admitted(3):
            now[0] += seconds
        with ours.admitted(5), pytest.raises(Refused) as caught, ours.admitted(2):
            pass
        assert caught.value.headers == {"Retry-After": told}


def test_what_is_counted() -> None:
    with serving(service()) as live:
        live.ask("/v1/completions", {**SHORT, "method": "lookup", "max_tokens": 60, "temperature": 0})
        live.events("/v1/completions", SHORT)
        live.ask("/v1/completions", {**SHORT, "max_tokens": 1})
        text = live.ask("/metrics")[2]
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    told = {name.removeprefix("stretto_"): float(value) for name, value in lines.items()}
    assert (told["prompt_tokens_total"], told["new_tokens_total"]) == (9, 65)
    assert 0 < told["accepted_tokens_total"] <= told["drafted_tokens_total"]
    assert told["rounds_total"] == 65 - told["accepted_tokens_total"]
    assert (told["first_token_seconds_count"], told["token_seconds_count"]) == (3, 2)
    assert told['first_token_seconds_bucket{le="+Inf"}'] == 3 and told["first_token_seconds_sum"] > 0
    assert told["rows_admitted"] == 0 == told['rows{status="running"}']


@pytest.mark.parametrize(
    ("error", "status", "code", "words"),
    [
        (RecursionError("deep"), 400, "invalid_json", "nested too deep"),
        (OutOfMemory("no memory for it"), 503, "out_of_memory", "no memory for it"),
        (ModelError("the file is torn"), 500, None, "the server failed (ModelError)"),
        (ValueError("the words of a prompt"), 500, None, "the server failed (ValueError)"),
        (InvalidRequest("the prompt has 9 tokens, the model 4 positions"), 400, "context_length_exceeded", "9 tokens"),
        (Unsupported("table cannot"), 400, None, "its name cannot"),
    ],
    ids=repr,
)
def test_what_is_said_of_errors(error: Exception, status: int, code: str | None, words: str) -> None:
    ours = service()
    ours.name = "its name"  # that of the model may be where it lies
    ours.engine.model.name = "table"
    said = ours.refusal(error)
    assert (said.status, said.code) == (status, code) and words in said.message
    assert ("prompt" in said.message) == (code == "context_length_exceeded")


def test_messages_are_as_templates_have_them() -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    calls = [
        {"id": "c", "type": "function", "function": {"name": "add", "arguments": text}} for text in ('{"a": 1}', "{")
    ]
    said = [
        {"role": "developer", "content": "Be brief.", "name": None},
        {"role": "assistant", "content": None, "tool_calls": calls, "refusal": None},
        {"role": "user", "content": "a"},
    ]
    asked = read({"messages": said, "tools": [tool], "chat_template_kwargs": {"x": 1}}, "chat", Limits())
    made = Service.conversation(asked)
    first, second, third = made.messages
    assert first == {"role": "system", "content": "Be brief."} and third == said[2]
    assert [call["function"]["arguments"] for call in second.pop("tool_calls")] == [{"a": 1}, "{"]
    assert second == {"role": "assistant", "content": None}
    assert made.tools == [tool] and made.template_options == {"x": 1}


def test_prompts_are_tokenized_as_they_are_answered() -> None:
    with serving(service()) as live:
        assert live.ask("/v1/tokenize", {"prompt": [1, 2]})[2] == {"tokens": [1, 2], "count": 2, "max_model_len": 10**6}
        for wrong in ({}, [], {"prompt": [1], "messages": []}, {"prompt": [[1], [2]]}, {"messages": [3]}):
            assert live.ask("/v1/tokenize", wrong)[0] == 400
