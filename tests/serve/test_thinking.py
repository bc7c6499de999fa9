"""What is thought before an answer, told apart: in whichever pieces it comes, the same as at once."""

from __future__ import annotations

import doctest
import random
from typing import Any

import pytest

from stretto.serve import thinking
from stretto.serve.thinking import Thinking

ANSWERS = {  # -> what is thought, and the answer
    "<think>So it is.</think>Owl.": ("So it is.", "Owl."),
    " <think>\nSo  it\n\nis.\n</think>\n\nOwl. \n": ("So  it\n\nis.", "Owl. \n"),
    "<think>\n\n</think>\n\nOwl.": ("", "Owl."),
    "<think>So </thin it": ("So </thin it", ""),
    "<think>So it is. \n": ("So it is.", ""),
    "Owl <think>so</think>.": ("", "Owl <think>so</think>."),
    " Owl.": ("", " Owl."),
    "<thin": ("", "<thin"),
    "": ("", ""),
    "<think>a</think>b</think><think>": ("a", "b</think><think>"),
}
OPENED = {"\nSo.\n</think>\n\nOwl.": ("So.", "Owl."), "So": ("So", ""), "<think></think>": ("<think>", "")}


def told(thinking: Thinking, pieces: list[str]) -> tuple[str, str]:
    parts = [*map(thinking.feed, pieces), thinking.end()]
    return "".join(thought for thought, _ in parts), "".join(text for _, text in parts)


@pytest.mark.parametrize(
    ("answer", "opened"), [*((each, False) for each in ANSWERS), *((each, True) for each in OPENED)]
)
def test_whatever_the_pieces_the_parts_are_the_same(answer: str, opened: bool) -> None:
    expected = (OPENED if opened else ANSWERS)[answer]
    assert told(Thinking(opened=opened), [answer]) == expected
    assert told(Thinking(opened=opened), list(answer)) == expected
    rng = random.Random(1)
    for _ in range(20):
        cuts = sorted(rng.choices(range(len(answer) + 1), k=rng.randint(0, 8)))
        pieces = [answer[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
        assert told(Thinking(opened=opened), pieces) == expected


def test_what_is_sure_is_let_go_of_at_once() -> None:
    pieces = ["<think>", "So ", "it", " is.", "</think>", "Owl", "."]
    assert [*map(Thinking().feed, pieces)] == [
        ("", ""), ("So", ""), (" it", ""), (" is.", ""), ("", ""), ("", "Owl"), ("", "."),
    ]  # fmt: skip
    assert doctest.testmod(thinking).attempted


@pytest.mark.parametrize("opened", [False, True])
def test_a_template_that_has_it_makes_chats_and_responses_tell_it(
    live: Any, monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    mark = "<think>"
    template = "{{ messages[-1]['content'] }}" + (mark if opened else "{# </think> #}")
    monkeypatch.setattr(type(live.service.engine.codec.chats), "template", lambda *_: template + "{# </think> #}")
    written = ("" if opened else mark) + "So.</think>Owl."
    same = {"temperature": 0, "choices": [written]}  # the answer is this text
    chat = {"messages": [{"role": "user", "content": "Hm"}], **same}
    (choice,) = live.ask("/v1/chat/completions", chat)[2]["choices"]
    assert choice["message"]["reasoning_content"] == "So." and choice["message"]["content"] == "Owl."
    chunks = live.events("/v1/chat/completions", chat)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "So."
    assert "".join(delta.get("content", "") for delta in deltas) == "Owl."
    thought, message = live.ask("/v1/responses", {"input": "Hm", **same})[2]["output"]
    assert (thought["type"], thought["content"][0]["text"]) == ("reasoning", "So.")
    assert message["content"][0]["text"] == "Owl."
