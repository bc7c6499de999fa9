"""Text and calls of functions, told apart: in whichever pieces an answer comes, the same as at once."""

from __future__ import annotations

import doctest
import random

import pytest

from stretto.serve import calls, methods
from stretto.serve.calls import Telling

CALL = '{"name": "add", "arguments": {"a": 1}}'
ANSWERS = {  # recorded forms -> the text, and how many calls
    "No call at all.": ("No call at all.", 0),
    "": ("", 0),
    "  \n": ("  \n", 0),
    "a < b <tool": ("a < b <tool", 0),
    CALL: ("", 1),
    f"[{CALL}, {CALL}]": ("", 2),
    '{"name": "add", "parameters": {"a": 1}}': ("", 1),
    f"<tool_call>\n{CALL}\n</tool_call>": ("", 1),
    f"\n<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>": ("", 2),
    f"I add. <tool_call>\n{CALL}\n</tool_call>": ("I add. ", 1),
    '{"a": 1}': ('{"a": 1}', 0),
    '[1, 2] is a list <tool_call>{"name"': ('[1, 2] is a list <tool_call>{"name"', 0),
    f"<tool_call>{CALL[:20]}": (f"<tool_call>{CALL[:20]}", 0),
}


def told(telling: Telling, pieces: list[str]) -> tuple[str, list[dict[str, str]]]:
    text = "".join(map(telling.feed, pieces))
    rest, found = telling.end()
    assert all(each["type"] == "function" and each["id"].startswith("call_") for each in found)
    return text + rest, [each["function"] for each in found]


@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_the_pieces_the_answer_is_the_same(answer: str) -> None:
    text, count = ANSWERS[answer]
    whole = told(Telling(tools=True), [answer])
    assert whole == (text, [{"name": "add", "arguments": '{"a": 1}'}] * count)
    rng = random.Random(1)
    for _ in range(20):
        cuts = sorted(rng.choices(range(len(answer) + 1), k=rng.randint(0, 8)))
        pieces = [answer[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
        assert told(Telling(tools=True), pieces) == whole
    assert told(Telling(tools=False), [answer]) == (answer, [])


def test_text_is_let_go_of_as_soon_as_it_is_no_call() -> None:
    telling = Telling(tools=True)
    assert [telling.feed(piece) for piece in ("So", " <b", ">, ", "<tool_c", "all>")] == ["So", " <b", ">, ", "", ""]


@pytest.mark.parametrize("module", [calls, methods])
def test_what_the_docstrings_show_is_so(module: object) -> None:
    shown = doctest.testmod(module)
    assert shown.attempted and not shown.failed
