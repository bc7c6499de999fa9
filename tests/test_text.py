from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.text import Text

PIECES = [b"a", b"b", b"ab", b" ", b"st", b"op", b"\xc3", b"\xa9", b"\xe2\x82", b"\xac", b"STOP", b"ST"]


def decode(tokens):
    return b"".join(PIECES[token] for token in tokens).decode("utf-8", errors="replace")


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=40), st.lists(st.integers(1, 5), max_size=40))
def test_pieces_add_up_to_the_whole(tokens, sizes):
    """However the tokens arrive, the released pieces are the text of all of them."""
    text, shown, at = Text(decode), "", 0
    for size in [*sizes, len(tokens)]:
        text.extend(tokens[at : at + size])
        at = min(len(tokens), at + size)
        shown += text.release()
    text.extend([], last=True)
    shown += text.release(last=True)
    assert shown == text.text == decode(tokens)


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=40), st.sampled_from([("STOP",), ("op", "b a"), ("é",)]))
def test_stop_strings_are_cut_exactly_whatever_the_token_borders(tokens, stop):
    text, shown = Text(decode, stop=stop), ""
    for token in tokens:
        stopped = text.push(token)
        shown += text.release()
        if stopped:
            break
    text.extend([], last=True)
    shown += text.release(last=True)
    whole = decode(tokens)
    ends = [(whole.find(s) + len(s), whole.find(s)) for s in stop if s in whole]
    assert shown == text.text == (whole[: min(ends)[1]] if ends else whole)
    assert text.stopped == bool(ends)


def test_nothing_is_shown_that_may_begin_a_stop_string():
    text = Text(decode, stop=["STOP"])
    text.push(0)
    text.push(11)  # "ST"
    assert text.release() == "a"
    text.push(1)
    assert text.release() == "STb"


def test_an_unfinished_character_waits():
    text = Text(decode)
    text.push(6)
    assert text.release() == ""
    text.push(7)
    assert text.release() == "é"


@pytest.mark.parametrize("count", [1, 3, 9])
def test_context_of_the_prompt_is_used(count):
    """Decoders that drop the first token's space (SentencePiece) keep it after a prompt."""

    def spaced(tokens):
        return " ".join(str(token) for token in tokens)

    text = Text(spaced, prompt=[7] * count)
    text.push(8)
    text.push(9)
    assert text.text == " 8 9"
