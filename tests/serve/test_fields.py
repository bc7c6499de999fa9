"""What requests may say: every field is in the table of the page, and nothing is dropped in silence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stretto.serve.errors import Refused
from stretto.serve.fields import IGNORED_OF, ONLY_OF, known, read
from stretto.serve.methods import require_nameless
from stretto.serve.service import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
LIMITS = Limits(rows=4, new_tokens=100, methods=("draft(model=there)",))
BARE: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "a"}]},
    "completions": {"prompt": "a"},
    "responses": {"input": "a"},
}
TABLES = {
    "chat": ["Of all", "Of chats and completions", "Of chats and responses", "Of chats"],
    "completions": ["Of all", "Of chats and completions", "Of completions"],
    "responses": ["Of all", "Of chats and responses", "Of responses"],
}
ADD = {"type": "function", "function": {"name": "add", "parameters": {}}}


def rows(heading: str) -> dict[str, str]:
    """The table below a heading: what is said of each field."""
    table = PAGE.split(f"\n{heading}:\n\n")[1].split("\n\n")[0]
    cells = [line.split(" | ") for line in table.splitlines()[2:]]
    return {name: told for names, told in cells for name in re.findall(r"`(\w+)`", names)}


@pytest.mark.parametrize("endpoint", BARE)
def test_the_page_has_a_row_for_each_field_and_no_other(endpoint: str) -> None:
    told = {name: words for table in TABLES[endpoint] for name, words in rows(table).items()}
    assert sorted(told) == sorted(known(endpoint))
    assert {name for name in told if told[name].startswith("ignored")} == {*IGNORED_OF[endpoint]}
    assert {name for name in told if "refused" in told[name]} >= {*ONLY_OF[endpoint]}


def test_what_nothing_is_said_of_is_as_the_api_has_it() -> None:
    first, second = (read(BARE["completions"], "completions", LIMITS) for _ in range(2))
    assert first.settings.pop("seed") != second.settings.pop("seed")
    assert first.settings == {"defaults": "stretto", "temperature": 1.0, "max_new_tokens": 16, "samples": 1}
    chat = read({**BARE["chat"], "top_p": None, "user": "x"}, "chat", LIMITS)
    assert chat.settings["max_new_tokens"] == 100 and "top_p" not in chat.settings and not chat.stream
    model = read(BARE["chat"], "chat", Limits(defaults="model"))
    assert "temperature" not in model.settings and model.settings["defaults"] == "model"


WRONG: list[tuple[str, dict[str, Any], str]] = [  # endpoint, fields, the one that is named
    ("chat", {"temprature": 1}, "temprature"),
    ("chat", {"prompt": "a"}, "prompt"),
    ("chat", {"messages": []}, "messages"),
    ("chat", {"messages": ["a"]}, "messages"),
    ("chat", {"max_tokens": 3, "max_completion_tokens": 3}, "max_tokens"),
    ("chat", {"max_completion_tokens": 101}, "max_completion_tokens"),
    ("chat", {"n": 5}, "n"),
    ("chat", {"n": 0}, "n"),
    ("chat", {"n": 1.5}, "n"),
    ("chat", {"n": True}, "n"),
    ("chat", {"stop": ["a"] * 17}, "stop"),
    ("chat", {"stream": "yes"}, "stream"),
    ("chat", {"stream_options": {"include_usage": True}}, "stream_options"),
    ("chat", {"stream": True, "stream_options": {"usage": True}}, "stream_options"),
    ("chat", {"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options"),
    ("chat", {"logprobs": 1}, "logprobs"),
    ("chat", {"top_logprobs": 1}, "top_logprobs"),
    ("chat", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ("completions", {"logprobs": True}, "logprobs"),
    ("completions", {"logprobs": 21}, "logprobs"),
    ("chat", {"logit_bias": {"owl": 1}}, "logit_bias"),
    ("chat", {"response_format": {"type": "xml"}}, "response_format"),
    ("chat", {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "response_format"),
    ("chat", {"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "x": 1}}}, "response_format"),
    ("chat", {"tools": [{"type": "web"}]}, "tools"),
    ("chat", {"tool_choice": "required"}, "tool_choice"),
    ("chat", {"tools": [ADD], "tool_choice": "add"}, "tool_choice"),
    ("chat", {"tools": [ADD], "parallel_tool_calls": False}, "parallel_tool_calls"),
    ("chat", {"store": True}, "store"),
    ("chat", {"audio": {"voice": "x"}}, "audio"),
    ("chat", {"modalities": ["text", "audio"]}, "modalities"),
    ("chat", {"reasoning_effort": "high"}, "reasoning_effort"),
    ("chat", {"method": 3}, "method"),
    ("chat", {"method": "draft(model=elsewhere)"}, "method"),
    ("chat", {"steers": ['vector("x.gguf")']}, "steers"),
    ("chat", {"steers": "dry"}, "steers"),
    ("chat", {"grammar": "/etc/hostname"}, "grammar"),
    ("completions", {"prompt": []}, "prompt"),
    ("completions", {"prompt": ["a", [1]]}, "prompt"),
    ("completions", {"prompt": [1, True]}, "prompt"),
    ("completions", {"echo": 3}, "echo"),
    ("completions", {"best_of": 2}, "best_of"),
    ("completions", {"suffix": "x"}, "suffix"),
]


@pytest.mark.parametrize(("endpoint", "fields", "named"), WRONG, ids=str)
def test_what_is_not_served_is_refused_by_its_name(endpoint: str, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused) as caught:
        read({**BARE[endpoint], **fields}, endpoint, LIMITS)
    assert caught.value.param == named and caught.value.status == 400
    assert caught.value.object["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [None, [], "a", 3])
def test_a_body_is_an_object(body: Any) -> None:
    with pytest.raises(Refused, match="no JSON object"):
        read(body, "chat", LIMITS)


def test_forms_and_tools_are_the_engines() -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}
    asked = read({**BARE["chat"], "response_format": form, "logprobs": True, "logit_bias": {"5": -2}}, "chat", LIMITS)
    assert asked.settings["schema"] == schema and asked.settings["logit_bias"] == {5: -2}
    assert asked.settings["log_probabilities"] == 0 and asked.log_probabilities
    named = {"type": "function", "function": {"name": "add"}}
    for choice, expected in (("required", "required"), (named, "add"), ("auto", "auto"), (None, "auto")):
        asked = read({**BARE["chat"], "tools": [ADD], "tool_choice": choice}, "chat", LIMITS)
        assert (asked.tools, asked.tool_choice) == ([ADD], expected)
    assert read({**BARE["chat"], "tools": [ADD], "tool_choice": "none"}, "chat", LIMITS).tools == []


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "lookup+fixed(8, depth=3)",
        "fuse(lookup(5),recycle)+min_p(0.1)",
        "prompt-lookup",
        "ban(3,17)",
        "repetition(1.2,exempt=(2,3))",
        "auto",
        "beam(3)+lookup",
        "nosuch",
    ],
)
def test_a_method_of_numbers_and_parts_may_be_named(text: str) -> None:
    require_nameless(text, "method")


@pytest.mark.parametrize(
    "text",
    [
        "draft(model=zoo/draft)",
        "draft(zoo/draft)",
        "draft(model=lookup)",
        "draft(model=5)",
        "fuse(lookup,draft(model=x))",
        "lookup+store(path=x.store)",
        'lookup+regex("a")',
        "lookup+regex(a)",
        "lookup+schema(x.json)",
        "vector(x)",
        "lookup(longest=x)",
        "entropy(small=x)",
    ],
)
def test_a_method_that_names_a_text_may_not(text: str) -> None:
    with pytest.raises(Refused, match="which no request may"):
        require_nameless(text, "method")
    with pytest.raises(Refused):
        read({**BARE["chat"], "method": text}, "chat", LIMITS)


def test_who_starts_the_server_may_list_it() -> None:
    assert read({**BARE["chat"], "method": "draft(model=there)"}, "chat", LIMITS).method == "draft(model=there)"
    assert read(BARE["chat"], "chat", Limits(method="draft(model=here)")).method == "draft(model=here)"
