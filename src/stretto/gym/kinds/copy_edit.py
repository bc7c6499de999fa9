"""Copy a text, once with one word replaced, once as it stands."""

from __future__ import annotations

import random
import re

from stretto.gym.contract import Question
from stretto.gym.words import ADJECTIVES, THINGS, passage


class CopyEdit:
    """“Copy the text and replace X by Y”; right when every X and nothing else has changed."""

    name = "copy_edit"
    share = 2.0

    def make(self, rng: random.Random) -> Question:
        """One to five sentences, a quarter of them to be copied unchanged."""
        text = passage(rng, 1, 5)
        if rng.random() < 0.25:
            return Question(self.name, f"Copy the text.\n{text}", text, {"text": text})
        inside = [word for word in re.findall(r"[a-z]+", text) if word in THINGS or word in ADJECTIVES]
        old = rng.choice(inside)
        new = rng.choice([word for word in (THINGS if old in THINGS else ADJECTIVES) if word != old])
        prompt = f'Copy the text and replace "{old}" with "{new}".\n{text}'
        facts = {"text": text, "old": old, "new": new}
        return Question(self.name, prompt, _replaced(text, old, new), facts)

    def check(self, question: Question, reply: str) -> bool:
        """Compare with the edit done here, word by word."""
        facts = question.facts
        wanted = _replaced(facts["text"], facts["old"], facts["new"]) if "old" in facts else facts["text"]
        return reply.strip() == wanted


def _replaced(text: str, old: str, new: str) -> str:
    return re.sub(rf"\b{re.escape(old)}\b", new, text)


TASK = CopyEdit()
