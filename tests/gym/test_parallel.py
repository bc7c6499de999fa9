"""ParallelBench's questions: what is written down as right is what a judge of another making finds right."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter

import pytest

from stretto.errors import InvalidRequest, UnknownName
from stretto.gym.contract import Question
from stretto.gym.kinds.sudoku import TASK as SUDOKU
from stretto.gym.parallel import KINDS, LINES, PAIRS, SENTENCES, Asked, squares, sudokus, write
from stretto.gym.words import ADJECTIVES, ANIMALS, VERBS


def asked(kind: str, seed: int = 0, length: int = 4) -> Asked:
    return write(kind, random.Random(seed), length)


def read(question: Asked) -> tuple[list[str], str, str]:
    """The list, the word that is pointed at and the new word, out of the prompt alone."""
    (line,) = re.findall(r"(?m)^.*, .*$", question.prompt)
    order = question.prompt.replace(line, "")
    here = re.search(r"(?:before|Remove|Replace) (?!any)(.*?)(?: with .*)?\.$", order)
    new = re.search(r"Insert (.*?) (?:before|anywhere)|with (.*?)\.$", order)
    items = line.rpartition(": ")[2].split(", ")
    return items, here[1] if here else "", (new[1] or new[2]) if new else ""


def judged(kind: str, question: Asked, answer: tuple[str, ...]) -> bool:
    """Whether an answer to a question about a list is right."""
    items, here, new = read(question)
    found, same = list(answer), Counter(answer) == Counter(items)
    differ = [at for at, pair in enumerate(zip(items, found, strict=False)) if pair[0] != pair[1]]
    match kind.removesuffix(PAIRS):
        case "copy":
            return found == items
        case "reverse":
            return found[::-1] == items
        case "sort":
            return same and all(a < b for a, b in itertools.pairwise(found))
        case "shuffle":
            return same and found != items
        case "insert-index":
            return [x for x in found if x != new] == items and f"{new}, {here}" in ", ".join(found)
        case "insert-random":
            return found.count(new) == 1 and [x for x in found if x != new] == items
        case "remove-index":
            return found == [x for x in items if x != here]
        case "remove-random":
            return len(found) == len(items) - 1 and found == [x for x in items if x in found]
        case "replace-index":
            return len(found) == len(items) and [found[at] for at in differ] == [new] and items[differ[0]] == here
        case _:
            return len(found) == len(items) and [found[at] for at in differ] == [new]


@pytest.mark.parametrize("kind", [*LINES, *(kind + PAIRS for kind in LINES)])
def test_all_right_answers_are_there_and_no_others(kind: str) -> None:
    for seed in range(3):
        question = asked(kind, seed, length=3)
        items, _, new = read(question)
        words = [*items, *([new] if new else [])]
        tried = (x for n in (2, 3, 4) for x in itertools.product(words, repeat=n))
        right = {answer for answer in tried if judged(kind, question, answer)}
        assert right == question.answers and right
        assert all(question.solved(" ,".join(answer) + "\n") for answer in right)


@pytest.mark.parametrize("kind", SENTENCES)
def test_all_sentences_are_there_and_no_others(kind: str) -> None:
    question = asked(kind, seed=5)
    words = question.prompt.rpartition(": ")[2].split(", ")
    noun, verb, adjective = ("|".join(each) for each in (ANIMALS, VERBS, ADJECTIVES))
    part = rf"the (?:(?:{adjective}) )*(?:{noun})"
    form = re.compile(rf"{part} (?:{verb}) {part}")
    right = {order for order in itertools.permutations(words) if form.fullmatch(" ".join(order))}
    assert right == question.answers and len(right) == {5: 2, 6: 4, 7: 12}[len(words)]
    assert question.solved(question.answer) and question.answer.startswith("The ") and question.answer.endswith(".")
    assert question.solved(question.answer.lower().removesuffix("."))
    assert not question.solved(question.answer + " Yes.")


def test_squares_are_all_there() -> None:
    for size in (2, 3):
        flat = itertools.product(range(size), repeat=size * size)
        tables = [[cells[at : at + size] for at in range(0, size * size, size)] for cells in flat]
        right = {sum(t, ()) for t in tables if all(len(set(unit)) == size for unit in (*t, *zip(*t, strict=True)))}
        assert right == set(squares(size)) and len(right) == len(squares(size))
    question = asked("latin-square")
    digits = question.prompt.partition(" of ")[2].partition(":")[0].split(", ")
    assert len(question.answers) == 576
    for answer in question.answers:
        rows = [line.split() for line in question.form.join(answer).split("\n")]
        assert all(sorted(unit) == sorted(digits) for unit in (*rows, *zip(*rows, strict=True)))
    assert question.solved(question.answer) and not question.solved(question.answer.replace("\n", " "))


def test_sudokus_are_judged_as_the_gym_does() -> None:
    empty = Question("sudoku", "", "", {"puzzle": "\n".join(["_ _ _ _"] * 4)})
    grids = [tuple(str(1 + cell) for cell in square) for square in squares(4)]
    right = {grid for grid in grids if SUDOKU.check(empty, asked("sudoku").form.join(grid))}
    assert right == set(sudokus()) and len(right) == len(sudokus()) == 288
    several = 0
    for seed in range(400):
        question = asked("sudoku", seed)
        puzzle = question.prompt.partition("\n")[2]
        assert puzzle.count("_") == 4
        several += len(question.answers) > 1
        for answer in question.answers:
            assert SUDOKU.check(Question("sudoku", "", "", {"puzzle": puzzle}), question.form.join(answer))
        if seed < 20:  # no other filling is right
            fillings = itertools.product("1234", repeat=4)
            texts = {re.sub("_", lambda _, x=iter(filling): next(x), puzzle) for filling in fillings}
            right = {text for text in texts if SUDOKU.check(Question("sudoku", "", "", {"puzzle": puzzle}), text)}
            assert right == {text for text in texts if question.solved(text)}
            assert len(right) == len(question.answers)
    assert 0 < several < 10


@pytest.mark.parametrize("kind", KINDS)
def test_questions_repeat_by_their_seed_and_nonsense_is_wrong(kind: str) -> None:
    first = asked(kind, 1)
    assert first == asked(kind, 1) and first.prompt != asked(kind, 2).prompt
    assert first.solved(first.answer)
    for reply in ("", "\n", ",,,,", "the", "1 2\n3", "\0", first.prompt, first.answer + ", lamp", first.answer[1:]):
        assert not first.solved(reply)


def test_names_of_two_words_share_none() -> None:
    for seed in range(20):
        (line,) = re.findall(r"List: (.*)", asked("replace-index" + PAIRS, seed).prompt)
        words = line.replace(",", "").split()
        assert len(set(words)) == len(words) == 8


def test_mistakes_are_named() -> None:
    with pytest.raises(UnknownName, match="'shufle'") as caught:
        asked("shufle")
    assert "shuffle" in caught.value.hint
    for length in (2, 9):
        with pytest.raises(InvalidRequest, match=f"list of {length}") as refused:
            asked("copy", length=length)
        assert refused.value.hint
