"""The training mixture holds no test question and only the sources it may."""

from __future__ import annotations

import itertools
from pathlib import Path

from stretto import gym
from stretto.gym.mixture import Mixture, load_mixture, standard_library


def test_chats_repeat_and_never_come_from_the_test_split() -> None:
    mixture = Mixture((), (), ("x = 1\n",))
    chats = list(itertools.islice(mixture.chats("a"), 400))
    assert chats == list(itertools.islice(mixture.chats("a"), 400))
    assert chats != list(itertools.islice(mixture.chats("b"), 400))
    assert {chat.kind for chat in chats} == set(gym.tasks())
    assert all(gym.split_of(gym.Question(chat.kind, chat.prompt, "")) == "train" for chat in chats)


def test_the_standard_library_comes_without_its_tests() -> None:
    first = list(itertools.islice(standard_library(), 30))
    assert all(isinstance(text, str) for text in first)
    assert not any("unittest.main()" in text for text in first)


def test_problems_lose_their_calculator_marks(shared_data: Path) -> None:
    mixture = load_mixture(shared_data)
    assert len(mixture.problems) == 7473
    assert not any("<<" in answer for _, answer in mixture.problems)
    assert len(mixture.prose) == 2
    assert any("def " in text for text in mixture.code)
