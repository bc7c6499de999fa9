"""`/v1/responses`: the answer of a chat, told as items and as events in their order."""

from __future__ import annotations

import doctest
import json
from typing import Any

import pytest

pytest.importorskip("starlette", reason="pip install 'stretto[serve]'")
pytest.importorskip("uvicorn", reason="pip install 'stretto[serve]'")

from serve.serving import Live
from stretto.serve import inputs
from stretto.serve.errors import Refused
from stretto.serve.inputs import as_chat

PATH = "/v1/responses"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ADD = {"type": "function", "name": "add", "parameters": SCHEMA, "strict": True}
TEXT = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done"]
TEXT += ["content_part.done", "output_item.done"]
CALL = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]


def events(live: Live, body: dict[str, Any]) -> list[dict[str, Any]]:
    status, headers, text = live.ask(PATH, {**body, "stream": True})
    assert status == 200 and headers["content-type"].startswith("text/event-stream"), text
    *found, rest = text.split("\n\n")
    assert rest == ""
    made = []
    for event in found:
        name, data = event.split("\n")
        made.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {made[-1]['type']}"
    assert [event["sequence_number"] for event in made] == list(range(len(made)))
    return made


def order(found: list[dict[str, Any]]) -> list[str]:
    """The names of events, runs of one name once."""
    names = [event["type"].removeprefix("response.") for event in found]
    return [name for name, before in zip(names, [None, *names], strict=False) if name != before]


def bare(response: dict[str, Any]) -> dict[str, Any]:
    """Without what is made anew each time."""
    output = [{**item, "id": "", "call_id": ""} for item in response["output"]]
    return {**response, "id": "", "created_at": 0, "completed_at": 0, "stretto": "", "output": output}


@pytest.mark.parametrize(
    ("body", "names", "end"),
    [
        ({"input": "Spell owl.", "max_output_tokens": 9}, TEXT, "completed"),
        ({"input": "Spell owl.", "max_output_tokens": 2, "top_logprobs": 2}, TEXT, "incomplete"),
        ({"input": "3 and 4?", "tools": [ADD], "tool_choice": {"type": "function", "name": "add"}}, CALL, "completed"),
    ],
    ids=["text", "incomplete", "call"],
)
def test_events_come_in_their_order_and_add_up_to_the_answer(
    live: Live, body: dict[str, Any], names: list[str], end: str
) -> None:
    body = {**body, "temperature": 0, "seed": 3}
    found = events(live, body)
    assert order(found) == ["created", "in_progress", *names, end]
    status, _, whole = live.ask(PATH, body)
    assert status == 200 and whole["status"] == end and bare(found[-1]["response"]) == bare(whole)
    (item,) = whole["output"]
    texts = "".join(event["delta"] for event in found if event["type"].endswith(".delta"))
    part = item["content"][0] if item["type"] == "message" else item
    assert texts == (part["text"] if item["type"] == "message" else part["arguments"]) != ""
    if "top_logprobs" in body:
        told = [entry for event in found if event["type"].endswith("text.delta") for entry in event["logprobs"]]
        assert part["logprobs"] == told and [len(entry["top_logprobs"]) for entry in told] == [2, 2]
        assert whole["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_response_says_what_a_chat_says(live: Live) -> None:
    messages = [{"role": "user", "content": "Spell owl."}]
    form = {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}
    same = {"seed": 5, "temperature": 0.7}
    chat = {"messages": [{"role": "system", "content": "Be brief."}, *messages], "max_tokens": 30, **same}
    chat["response_format"] = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    asked = {"input": messages, "instructions": "Be brief.", "max_output_tokens": 30, "text": {"format": form}, **same}
    (choice,) = live.ask("/v1/chat/completions", chat)[2]["choices"]
    response = live.ask(PATH, asked)[2]
    assert response["output"][0]["content"][0]["text"] == choice["message"]["content"]
    assert response["text"] == {"format": form} and response["usage"]["output_tokens"] > 3
    assert response["store"] is False and response["stretto"]["seed"] == 5


def test_items_are_messages() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"}
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "So: "}]}
    output = {"type": "function_call_output", "call_id": "c1", "output": "7"}
    items = [{"role": "user", "content": "3 and 4?"}, thought, said, call, {**call, "call_id": "c2"}, output]
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "add", "arguments": "{}"}} for n in (1, 2)]
    assert as_chat({"input": items})["messages"] == [
        {"role": "user", "content": "3 and 4?"},
        {"role": "assistant", "content": "So: ", "reasoning_content": "Hm.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
    ]
    (alone,) = as_chat({"input": [call]})["messages"]
    assert alone == {"role": "assistant", "content": None, "tool_calls": calls[:1]}
    assert as_chat({"input": "a", "tools": [ADD]})["tools"] == [
        {"type": "function", "function": {"name": "add", "parameters": SCHEMA, "strict": True}}
    ]
    assert doctest.testmod(inputs).attempted


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input"),
        ({"input": [{"type": "function_call", "name": "add", "arguments": "{}"}]}, "input"),
        ({"input": [3]}, "input"),
        ({"instructions": []}, "instructions"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"text": {"form": {}}}, "text"),
        ({"text": {"verbosity": "low"}}, "text"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
    ],
    ids=str,
)
def test_what_is_not_read_is_refused_by_its_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused) as caught:
        as_chat({"input": "a", **fields})
    assert (caught.value.status, caught.value.param) == (400, named)


def test_a_response_that_breaks_off_says_so(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> None:
        raise RuntimeError("the words of a prompt")

    monkeypatch.setattr(type(live.service.engine.model), "evaluate", fail)
    found = events(live, {"input": "Spell lamp and brush.", "temperature": 0})
    assert order(found) == ["created", "in_progress", "error", "failed"]
    assert "RuntimeError" in found[-2]["message"] and "the words" not in json.dumps(found)
    assert found[-1]["response"]["status"] == "failed"
