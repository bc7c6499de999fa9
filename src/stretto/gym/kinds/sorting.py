"""Sort words by the alphabet or numbers by size."""

from __future__ import annotations

import random

from stretto.gym.contract import Question
from stretto.gym.words import COMMON


class Sorting:
    """Sort a short list; right when the sorted list is."""

    name = "sorting"
    share = 1.2

    def make(self, rng: random.Random) -> Question:
        """Four to nine different words or numbers up to 999."""
        count = rng.randint(4, 9)
        if rng.random() < 0.5:
            words = rng.sample(COMMON, count)
            prompt, items = f"Sort the words from A to Z: {', '.join(words)}", sorted(words)
        else:
            numbers = rng.sample(range(1, rng.choice((100, 1000))), count)
            down = rng.random() < 0.4
            way = "largest to smallest" if down else "smallest to largest"
            prompt = f"Sort the numbers from {way}: {', '.join(map(str, numbers))}"
            items = [str(number) for number in sorted(numbers, reverse=down)]
        return Question(self.name, prompt, ", ".join(items), {"items": items})

    def check(self, question: Question, reply: str) -> bool:
        """Compare item by item."""
        return [item.strip() for item in reply.strip().split(",")] == list(question.facts["items"])


TASK = Sorting()
