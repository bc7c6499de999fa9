"""Answers that are calls of functions: by their schemas, in the form that a chat template asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from constrain.test_close import complete
from constrain.test_guidance import WHOLE
from laws.test_constraints import WORLD, among, walked
from stretto import zoo
from stretto.calls import calls_in
from stretto.cli import main
from stretto.constrain.choices import Choices
from stretto.constrain.close import Close
from stretto.constrain.contract import Constraint
from stretto.constrain.framed import Framed
from stretto.constrain.tools import MARKED, PARAMETERS, PLAIN, Toolbox, functions, required, shape_of
from stretto.engine import Engine
from stretto.errors import InvalidRequest


def weather(place: str, unit: Literal["C", "F"] = "C", days: list[int] | None = None) -> str:
    """Tell the weather.

    More is not told.
    """
    return place + unit + str(days)


ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}},
            "required": ["a", "b"],
            "additionalProperties": False,
            "$defs": {"n": {"type": "integer"}},
        },
    },
}
SUM = '{"name":"add","arguments":{"a":1,"b":-20}}'


def reads(constraint: Constraint, text: str) -> bool:
    state = constraint.open(WHOLE)
    return all(map(state.advance, text.encode())) and state.complete


def test_a_call_names_one_of_the_functions_and_obeys_its_schema() -> None:
    asked = required([weather, ADD])
    for text in (SUM, '{"name":"weather","arguments":{"place":"Rom","unit":"F","days":[1]}}'):
        assert reads(asked, text)
        assert calls_in(text) == [json.loads(text)]
    for text in (
        '{"name":"sub","arguments":{}}',
        '{"name":"add","arguments":{"a":1}}',
        '{"name":"add","arguments":{"place":"Rom"}}',
        '{"name":"weather","arguments":{"place":"Rom","unit":"K"}}',
        "[" + SUM + "]",
    ):
        assert not reads(asked, text)
    assert not reads(Toolbox([weather, ADD], "weather").constraint(), SUM)


def test_calls_are_written_as_the_template_asks() -> None:
    assert shape_of('… within <tool_call></tool_call>: {"name": …, "arguments": …}') == MARKED
    assert shape_of('{"name": function name, "parameters": dictionary of argument name and its value}') == PARAMETERS
    assert shape_of("{{ messages }}") == shape_of("<tool_call><function=name> arguments") == PLAIN
    marked = f"<tool_call>\n{SUM}\n</tool_call>"
    assert reads(Toolbox([ADD], shape=MARKED).constraint(), marked)
    assert not reads(Toolbox([ADD], shape=MARKED).constraint(), SUM)
    assert reads(Toolbox([ADD], shape=PARAMETERS).constraint(), SUM.replace("arguments", "parameters"))
    call = json.loads(SUM)
    for text in (marked, f"I add.\n{marked}", SUM.replace("arguments", "parameters"), f"<tool_call>\n{SUM}"):
        assert calls_in(text) == [call]
    assert calls_in(f"{marked}\n{marked}") == calls_in(f"[{SUM},{SUM}]") == [call, call]
    assert calls_in("no call") == calls_in('{"name":"add"}') == calls_in("3") == []


def test_functions_are_described_by_their_annotations(tmp_path: Path) -> None:
    found = functions([weather])[0]
    assert found["name"] == "weather" and found["description"] == "Tell the weather."
    assert found["parameters"]["required"] == ["place"]
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([ADD]), encoding="utf-8")
    assert functions(file) == functions([ADD]) == functions(json.dumps([ADD["function"]]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no tool"),
        ({}, "list of functions"),
        (3, "list of functions"),
        ("[nope", "no JSON"),
        (["add"], "no function"),
        ([{"name": "a", "parameters": 3}], "no schema"),
        ([{"name": "a", "parameters": {"$defs": 3}}], "no schema"),
        ([{"name": "a", "parameters": {"definitions": ["b"]}}], "no schema"),
        ([ADD, ADD], "two tools"),
        ([lambda a: a], "no name"),
        ([print], "no name"),
        (Toolbox([ADD], "sub"), "no function 'sub'"),
    ],
)
def test_what_is_no_tool_is_refused_with_a_hint(given: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refusal:
        required(given)
    assert refusal.value.hint


def test_what_stands_between_two_texts_is_what_brute_force_finds() -> None:
    framed = {
        Framed(Choices(("", "c")), "b", "a"): among("ba", "bca"),
        Framed(Choices(("a", "abc")), "b", ""): among("ba", "babc"),
    }
    for constraint, valid in framed.items():
        whole = complete(WORLD, valid)
        begun = {path[:size] for path in whole for size in range(len(path) + 1)}
        left: list[tuple[int, ...]] = [()]
        while left:
            path = left.pop()
            state = walked(constraint.open(WORLD), path)
            able = {(*path, token) for token in state.allowed().nonzero()[0].tolist()}
            assert able <= begun and state.complete == (path in whole) and (able or state.complete)
            state.rollback(len(path))
            assert all(map(state.advance, path)) and state.fork().complete == state.complete
            left += able
        closed = Close(constraint, 5).open(WORLD)
        assert closed.allowed().tolist() == constraint.open(WORLD).allowed().tolist()


@pytest.fixture(scope="module")
def engine() -> Engine:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    return Engine.load("zoo/causal")


def test_models_call(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings: dict[str, Any] = {"close": True, "max_new_tokens": 60}
    answer = engine.generate("What is 3 and 4? ", tools=[ADD], **settings)
    assert [call["name"] for call in answer.calls] == ["add"] and answer.calls[0]["arguments"].keys() == {"a", "b"}
    marked = "{% for message in messages %}{{ message.content }}{% endfor %}<tool_call> arguments {{ tools }}"
    for chosen, template, begins in (("weather", marked, "<tool_call>"), ("required", "{{ messages }}", "{")):
        said = engine.chat("3 and 4?", tools=[ADD, weather], tool_choice=chosen, template=template, **settings)
        assert not isinstance(said, list) and said.text.startswith(begins) and said.finish == "end"
        assert len(said.calls) == 1 and chosen in ("required", said.calls[0]["name"])
    assert engine.chat("3 and 4?", tools=[ADD], template=marked, max_new_tokens=3).calls == []  # type: ignore[union-attr]
    with pytest.raises(InvalidRequest, match="not None"):
        engine.chat("3 and 4?", tool_choice="required", template=marked)
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([ADD]), encoding="utf-8")
    assert main(["generate", "--tools", str(file), "--close", "--max-new-tokens", "60", "What is 3 and 4? "]) == 0
    assert calls_in(capsys.readouterr().out) == answer.calls
