"""Chats are rendered as transformers renders them, and what a template may not do it does not do here either."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from jinja2.exceptions import SecurityError, TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from stretto.models.chat_template import render

ANSWER = {"thinking": "hm", "role": "assistant", "content": "Yes. ", "reasoning_content": "hm"}
TURNS = [{"role": "user", "content": "Ä <b>?\n"}, ANSWER]
PLAIN = "{% for message in messages %}\n  {{ message.role }}: {{ message['content'] | trim }}|\n{% endfor %}"
SOURCES = [
    PLAIN,
    "{%- for m in messages -%}{% if loop.index == 2 %}{% break %}{% endif %}{{ m | tojson }}{% endfor %}",
    "{{ messages | tojson(indent=2) }}{{ tools }}{{ bos_token }}{{ flag }}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "{{ dict(a=1) }}{{ messages[1].reasoning_content }}{{ messages[0].tool_calls is defined }}",
    "{% if add_generation_prompt %}go{% endif %}{% for m in messages %}{{ m['content'] }}{% endfor %}",
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"add_generation_prompt": True, "tools": [{"name": "ä", "n": 1.5}], "bos_token": "<s>", "flag": np.bool_(False)},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_it_renders_alike(source: str, options: dict[str, Any]) -> None:
    theirs, _ = render_jinja_template([TURNS], chat_template=source, **options)
    assert render(source, TURNS, **options) == theirs[0]


@pytest.mark.parametrize("name", ["thinking", "reasoning", "reasoning_content"])
def test_what_was_thought_has_the_names_that_templates_use(name: str) -> None:
    """As in transformers 5.24; 5.17 hands on the name that was given alone."""
    turns = [{"role": "assistant", "content": "Yes.", name: "hm"}]
    assert render("{{ messages[0].thinking }} {{ messages[0].reasoning_content }}", turns) == "hm hm"


@pytest.mark.parametrize("content", ["Yes. ", "Yes.", [{"type": "text", "text": "Yes. "}]])
@pytest.mark.parametrize("source", [PLAIN, "{% for m in messages %}{{ m['content'] }}<end>{% endfor %}"])
def test_the_last_message_is_gone_on_with_alike(source: str, content: Any) -> None:
    turns = [TURNS[0], {"role": "assistant", "content": content}]
    if isinstance(content, list):
        source = "{{ messages[1]['content'][0].text }}<end>"
    theirs, _ = render_jinja_template([turns], chat_template=source, continue_final_message=True)
    assert render(source, turns, continue_final_message=True) == theirs[0]
    assert turns[1]["content"] == content


def test_what_is_refused() -> None:
    for source, error, told in (
        ("{{ raise_exception('no system') }}", TemplateError, "no system"),
        ("{% set ns = namespace(_a=1) %}", SecurityError, "_a"),
        ("{% set ns = namespace() %}{% set ns._a = 1 %}", SecurityError, "_a"),
        ("{{ messages.append(1) }}", SecurityError, "append"),
        ("{{ ''.__class__.__mro__ }}", SecurityError, "__class__|__mro__|unsafe"),
    ):
        with pytest.raises(error, match=told):
            render(source, TURNS)
    with pytest.raises(ValueError, match="not both"):
        render(PLAIN, TURNS, add_generation_prompt=True, continue_final_message=True)
    with pytest.raises(ValueError, match="none to go on with"):
        render("{{ messages[0].role }}", TURNS, continue_final_message=True)
    with pytest.raises(ValueError, match="changes the last message"):
        render("{{ messages[0]['content'] }}", TURNS, continue_final_message=True)


def test_templates_see_plain_data_only() -> None:
    @dataclasses.dataclass
    class Part:
        text: str

    class Odd:
        def write(self) -> str:
            return "written"

    said = [{"role": "user", "content": "a", "part": Part("b"), "odd": Odd(), "number": np.float32(0.5)}]
    source = "{{ messages[0].part.text }} {{ messages[0].odd }} {{ messages[0].number }}"
    assert render(source, said) == "b <Odd> 0.5"
    with pytest.raises(TemplateError):
        render("{{ messages[0].odd.write() }}", said)
