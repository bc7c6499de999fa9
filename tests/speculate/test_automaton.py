from __future__ import annotations

import itertools
import random

import pytest

from stretto.speculate import automaton as module
from stretto.speculate.automaton import Automaton
from tracing import lines_run


def occurrences(text, part):
    """Tokens of the text up to the end of each occurrence."""
    return [end for end in range(len(part), len(text) + 1) if text[end - len(part) : end] == part]


def longest_earlier(text):
    """Length of the longest end of the text that occurs earlier too, by trying."""
    return max((size for size in range(1, len(text)) if len(occurrences(text, text[-size:])) > 1), default=0)


def accepts(automaton, part):
    state = 0
    for token in part:
        if token not in automaton.nexts[state]:
            return None
        state = automaton.nexts[state][token]
    return state


@pytest.mark.parametrize("seed", range(4))
def test_it_accepts_exactly_the_substrings_and_knows_their_first_end(seed):
    text = random.Random(seed).choices("abc", k=50)
    automaton = Automaton(text)
    substrings = {tuple(text[a:b]) for a in range(50) for b in range(a, 51)}
    for size in range(1, 6):
        for part in itertools.product("abc", repeat=size):
            assert (accepts(automaton, part) is not None) == (part in substrings)
    for part in substrings - {()}:
        state = accepts(automaton, part)
        ends = occurrences(text, list(part))
        assert automaton.first_ends[state] == ends[0]
        assert automaton.lengths[automaton.links[state]] < len(part) <= automaton.lengths[state]
        assert automaton.late_ends[state] in ends


@pytest.mark.parametrize(("letters", "seed"), [("ab", 0), ("abc", 1), ("abc", 2), ("a", 3), ("abcdefgh", 4)])
def test_the_longest_repeated_end_equals_brute_force_at_every_step(letters, seed):
    text, automaton = [], Automaton()
    assert automaton.lengths[automaton.repeated()] == 0
    for token in random.Random(seed).choices(letters, k=60):
        text.append(token)
        automaton.extend(token)
        state = automaton.repeated()
        size = automaton.lengths[state]
        assert size == longest_earlier(text)
        if size:
            ends = occurrences(text, text[-size:])
            assert automaton.first_ends[state] == ends[0] < len(text)
            assert automaton.late_ends[state] in ends[:-1]


@pytest.mark.parametrize("seed", range(3))
def test_reading_another_text_finds_the_longest_match_also_while_it_grows(seed):
    chance = random.Random(seed)
    text = chance.choices("abc", k=20)
    automaton = Automaton(text)
    other, state, matched = [], 0, 0
    for token in chance.choices("abcd", k=80, cum_weights=[3, 6, 9, 10]):
        if chance.random() < 0.3:
            text.append(chance.choice("abc"))
            automaton.extend(text[-1])
            # what grew may hold a longer match of what was read before; only what is read from now on is promised
            state, matched = 0, 0
            for again in other:
                state, matched = automaton.step(state, matched, again)
        other.append(token)
        state, matched = automaton.step(state, matched, token)
        longest = max(size for size in range(len(other) + 1) if not size or occurrences(text, other[-size:]))
        assert matched == longest
        if matched:
            assert automaton.first_ends[state] == occurrences(text, other[-matched:])[0]


def test_a_match_stays_true_when_the_text_grows_under_it():
    """Extending splits states; a reader that stands in one goes on from the right part of it."""
    for seed in range(60):
        chance = random.Random(seed)
        text, other, state, matched = [], [], 0, 0
        automaton = Automaton()
        for _ in range(80):
            for _ in range(chance.randrange(3)):
                text.append(chance.choice("abc"))
                automaton.extend(text[-1])
            other.append(chance.choice("abc"))
            known = matched + 1  # tokens that may match: those that did, and the new one
            state, matched = automaton.step(state, matched, other[-1])
            assert matched == max(n for n in range(known + 1) if not n or occurrences(text, other[-n:]))


def test_a_copy_grows_by_itself():
    automaton = Automaton("abab")
    twin = automaton.copy()
    twin.extend("c")
    assert accepts(automaton, "c") is None and accepts(twin, "abc") is not None
    automaton.extend("a")
    assert automaton.lengths[automaton.repeated()] == 3 and automaton.size == twin.size == 5


@pytest.mark.parametrize("letters", ["a", "ab", "abcdefghijklmnop"])
def test_a_token_costs_the_same_however_long_the_text(letters):
    """Counted in executed lines, not in seconds: 500 tokens after 500 and after 8,000."""
    text = random.Random(0).choices(letters, k=8500)
    automaton = Automaton(text[:500])
    early = lines_run(module, lambda: [automaton.extend(token) for token in text[500:1000]])
    for token in text[1000:8000]:
        automaton.extend(token)
    late = lines_run(module, lambda: [automaton.extend(token) for token in text[8000:]])
    assert late < 1.3 * early and late < 500 * 40
    assert len(automaton.lengths) <= 2 * len(text)
