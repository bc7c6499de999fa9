from __future__ import annotations

import random

import numpy as np
import pytest

from stretto.search.grams import Grams

WEIGHTS = (0.01, 0.04, 0.15, 0.18, 0.12)


def by_counting(documents, context, token, weights):
    """The slow reference: look through the texts for every length of context."""
    total = 0.0
    for m in range(1, len(weights) + 1):
        run = tuple(context[-m:])
        if len(run) < m or -1 in run:
            continue
        followers = [
            document[at + m]
            for document in documents
            for at in range(len(document) - m)
            if tuple(document[at : at + m]) == run
        ]
        if followers:
            total += weights[m - 1] * followers.count(token) / len(followers)
    return total


@pytest.mark.parametrize("weights", [WEIGHTS, (0.5,), (0.1, 0.2, 0.3)])
def test_against_counting(weights):
    chance = random.Random(1)
    documents = [[chance.randrange(4) for _ in range(size)] for size in (60, 1, 0, 7, 40)]
    grams = Grams(documents, vocabulary=5)
    contexts = [[chance.randrange(5) for _ in range(5)] for _ in range(30)]
    contexts += [document[at : at + 5] for document in documents for at in range(0, len(document) - 5, 7)]
    contexts += [[-1, -1, -1, -1, 2], [-1, -1, 0, 1, 2], [-1] * 5]
    tokens = [chance.sample(range(5), 3) for _ in contexts]
    found = grams.following(np.array(contexts), np.array(tokens), weights)
    expected = [
        [by_counting(documents, context, token, weights) for token in line]
        for context, line in zip(contexts, tokens, strict=True)
    ]
    assert found == pytest.approx(np.array(expected), abs=1e-12)
    assert 0 < (found > 0).sum() < found.size and found.max() <= sum(weights) + 1e-12


def test_runs_do_not_cross_documents():
    grams = Grams([[0, 1], [2, 3]], vocabulary=4)
    found = grams.following(np.array([[1], [0], [2]]), np.array([[2], [1], [3]]), (1.0,))
    assert found.ravel().tolist() == [0.0, 1.0, 1.0]


def test_of_nothing_and_of_wrong_ids():
    assert Grams([], 4).following(np.array([[1, 2]]), np.array([[0, 1]]), (0.5, 0.5)).tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match="4 tokens"):
        Grams([[1, 4]], 4)
