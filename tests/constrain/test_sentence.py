"""The tokens that a sentence may go on with, against reading each of them to its end."""

from __future__ import annotations

import itertools
import random

import pytest

from constrain.test_grammar import random_grammar, sentences
from stretto.constrain.encoded import as_characters, language_in_bytes
from stretto.constrain.languages import language
from stretto.constrain.lexicon import Language
from stretto.constrain.sentence import Lexer, Sentence, SentenceState
from stretto.constrain.tokens import Tokens
from stretto.errors import UnknownName

LETTERS = [bytes([byte]) for byte in range(256)]


def slowly(state: SentenceState) -> list[int]:
    """Each token read by itself."""
    found = []
    for token in range(len(state.lexer.tokens)):
        twin = state.matcher.fork()
        text = state.lexer.tokens.text_of(token)
        if text and twin.push(as_characters(text)):
            found.append(token)
    return found


def opened(language: Language, tokens: Tokens) -> SentenceState:
    lexer = Lexer(language_in_bytes(language), tokens)
    return SentenceState(lexer, lexer.matcher())


@pytest.mark.parametrize("seed", range(40))
def test_what_may_follow_in_a_random_grammar(seed: int) -> None:
    """With patterns that begin alike, that match each other's texts, and with gaps between them that are skipped."""
    chance = random.Random(seed)
    patterns = {"a": chance.choice(["x", "xy*", "[xy]{1,2}", "é"]), "b": chance.choice(["y", "x+", "yx?", "[xé]"])}
    skipped = {" ": chance.choice(["-+", "(--)+"])} if chance.random() < 0.5 else {}
    grammar = random_grammar(chance)
    used = {name: pattern for name, pattern in patterns.items() if name in grammar.terminals}
    spoken = Language.of(grammar, used | skipped, tuple(skipped))
    pieces = ["".join(chance.choices("xy-", k=chance.randint(1, 4))).encode() for _ in range(25)]
    tokens = Tokens([*pieces, b"x", b"y", b"-", "é".encode(), b"\xc3", b"\xa9", "yé-".encode(), None])
    for _ in range(6):
        state = opened(spoken, tokens)
        for _ in range(5):
            expected = slowly(state)
            assert state.allowed().nonzero()[0].tolist() == expected
            if not expected:
                break
            assert state.advance(chance.choice(expected))


def test_the_sentences_of_a_grammar_are_what_it_lets_end() -> None:
    for seed in range(8):
        grammar = random_grammar(random.Random(seed))
        words = sentences(grammar, 4)
        tokens = Tokens([b"a", b"b", b"ab"])
        for path in itertools.product(range(3), repeat=3):
            state = opened(Language.of(grammar), tokens)
            text = b"".join(tokens.pieces[token] or b"" for token in path).decode()
            taken = all(state.advance(token) for token in path)
            assert len(text) > 4 or (taken and state.complete) == (text in words)


JSON = ['{"a": [1, -2.5e3, "é\\n", {}], "b": null}', "[[[]]]", '"\\u00e9 \U0001f600"', " { } ", "-0.1E+7"]


@pytest.mark.parametrize("text", JSON)
def test_every_way_of_spelling_json_is_allowed_and_what_is_allowed_is_read(text: str) -> None:
    chance = random.Random(text)
    words = {text.encode()[at : at + size] for at in range(len(text)) for size in (1, 2, 3, 5)} - {b""}
    tokens = Tokens([*LETTERS, *sorted(words - {*LETTERS}), b'","', b'": "', b"}, {", b"nullx", b"]}", b"\n\n\t"])
    for _ in range(2):
        state, left = opened(language("json"), tokens), text.encode()
        while left:
            allowed = state.allowed().nonzero()[0].tolist()
            assert allowed == slowly(state)
            token = chance.choice([each for each in allowed if left.startswith(tokens.text_of(each))])
            left = left[len(tokens.text_of(token)) :]
            assert state.advance(token)
        assert state.complete


def test_what_is_forced_is_spelled() -> None:
    tokens = Tokens([*LETTERS, b"ull", b"true"])
    state = opened(language("json"), tokens)
    assert state.forced() == []
    assert state.advance(ord("n")) and state.forced() == [256] and state.allowed().nonzero()[0].tolist() == [117, 256]
    assert state.advance(256) and state.complete and state.forced() == []


def test_a_language_is_looked_for_at_once_and_read_again_where_its_file_has_changed(tmp_path) -> None:
    with pytest.raises(UnknownName):
        Sentence("jsn")
    file, tokens = tmp_path / "own.txt", Tokens([b"a", b"b"])
    file.write_text("S -> a")
    assert Sentence(str(file)).open(tokens).allowed().tolist() == [True, False]
    file.write_text("S -> b")
    assert Sentence(str(file)).open(tokens).allowed().tolist() == [False, True]
