"""Translate a sentence word by word with the made-up dictionary in the prompt."""

from __future__ import annotations

import random

from stretto.gym.contract import Question
from stretto.gym.words import ADJECTIVES, COMMON, VERBS

SYLLABLES = (
    "ba",
    "be",
    "bo",
    "da",
    "de",
    "do",
    "fa",
    "ka",
    "ke",
    "ko",
    "la",
    "li",
    "lo",
    "ma",
    "mi",
    "mo",
    "na",
    "ne",
    "no",
    "pa",
    "po",
    "ra",
    "ri",
    "ro",
    "sa",
    "se",
    "so",
    "ta",
    "te",
    "to",
    "va",
    "vi",
    "za",
)


class Glossary:
    """Each word has one translation; right when every word is translated in place."""

    name = "glossary"
    share = 1.0

    def make(self, rng: random.Random) -> Question:
        """Five to nine dictionary entries and a text of eight to sixteen words made of them."""
        words = rng.sample(COMMON + ADJECTIVES + VERBS, rng.randint(5, 9))
        book = {word: "".join(rng.choices(SYLLABLES, k=2)) for word in words}
        text = rng.choices(words, k=rng.randint(8, 16))
        entries = ", ".join(f"{word} = {other}" for word, other in book.items())
        prompt = f"Dictionary: {entries}\nTranslate: {' '.join(text)}"
        return Question(self.name, prompt, " ".join(book[word] for word in text), {"book": book, "text": text})

    def check(self, question: Question, reply: str) -> bool:
        """Word by word."""
        return reply.split() == [question.facts["book"][word] for word in question.facts["text"]]


TASK = Glossary()
