"""Laws of every kind of question: right answers pass, wrong ones don't, train and test never meet."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto import gym
from stretto.errors import UnknownName
from stretto.gym import Question

KINDS = list(gym.tasks())
RUNS_CODE = "python_function"  # starts a process for each check: fewer examples


def some(kind: str, count: int = 40) -> list[Question]:
    return list(gym.questions(kind, "test", 4 if kind == RUNS_CODE else count, seed=7))


def test_there_are_enough_kinds() -> None:
    assert len(KINDS) >= 12


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_answer_is_right(kind: str) -> None:
    for question in some(kind):
        assert question.kind == kind
        assert gym.task(kind).check(question, question.answer), question


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_answers_are_wrong(kind: str) -> None:
    task = gym.task(kind)
    for question in some(kind, 20):
        cut = question.answer[: len(question.answer) // 3]
        for reply in ("", "I don't know.", cut, question.answer[:-4] + "zq 7"):
            assert not task.check(question, reply), (question, reply)


@pytest.mark.parametrize("kind", KINDS)
def test_another_questions_answer_is_wrong(kind: str) -> None:
    task = gym.task(kind)
    for one, other in itertools.pairwise(some(kind, 20)):
        if one.answer != other.answer and kind != "sudoku":
            assert not task.check(one, other.answer)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != RUNS_CODE])
@settings(max_examples=30)
@given(reply=st.text(alphabet=st.characters() | st.sampled_from(list('0123456789 \n,:=#*()[]{}"|')), max_size=60))
def test_no_reply_makes_a_checker_fail(kind: str, reply: str) -> None:
    gym.task(kind).check(next(gym.questions(kind, "test", 1)), reply)


@pytest.mark.parametrize("kind", KINDS)
def test_questions_are_data_and_repeatable(kind: str) -> None:
    questions = some(kind)
    assert questions == some(kind)
    assert len({question.prompt for question in questions}) == len(questions)
    for question in questions:
        assert json.loads(json.dumps(dict(question.facts))) == question.facts


@pytest.mark.parametrize("kind", KINDS)
def test_train_and_test_never_meet(kind: str) -> None:
    train = {question.prompt for question in gym.questions(kind, "train", 300)}
    assert not train & {question.prompt for question in gym.questions(kind, "test", 60)}
    assert all(gym.split_of(question) == "test" for question in some(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_makes_the_same_question(kind: str) -> None:
    assert gym.task(kind).make(random.Random(3)) == gym.task(kind).make(random.Random(3))


def test_small_answer_spaces_end() -> None:
    assert len(list(gym.questions("arithmetic", "test", 2000))) == 2000


def test_unknown_kind_names_the_others() -> None:
    with pytest.raises(UnknownName, match="arithmetic"):
        gym.task("arithmetics")
