"""Turn a CSV table into Markdown or JSON lines."""

from __future__ import annotations

import json
import random

from stretto.gym.contract import Question
from stretto.gym.words import CITIES, COLORS, COMMON, JOBS, NAMES

COLUMNS = {"name": NAMES, "city": CITIES, "job": JOBS, "color": COLORS, "item": COMMON, "friend": NAMES}


class Reformat:
    """The same table in another notation; right when it is the same table."""

    name = "reformat"
    share = 1.2

    def make(self, rng: random.Random) -> Question:
        """Two to four rows of two to four columns of words and numbers."""
        head = rng.sample([*COLUMNS, "age", "count"], rng.randint(2, 4))
        rows = [
            [rng.choice(COLUMNS[key]) if key in COLUMNS else str(rng.randint(1, 99)) for key in head]
            for _ in range(rng.randint(2, 4))
        ]
        table = "\n".join(",".join(row) for row in [head, *rows])
        if rng.random() < 0.5:
            lines = [head, ["---"] * len(head), *rows]
            answer, ask = "\n".join("| " + " | ".join(line) + " |" for line in lines), "a Markdown table"
        else:
            answer = "\n".join(json.dumps(dict(zip(head, row, strict=True))) for row in rows)
            ask = "JSON lines"
        return Question(self.name, f"Write the table as {ask}.\n{table}", answer, {"lines": answer.split("\n")})

    def check(self, question: Question, reply: str) -> bool:
        """Line by line; spaces don't matter."""
        return [_bare(line) for line in reply.strip().split("\n")] == [_bare(line) for line in question.facts["lines"]]


def _bare(line: str) -> str:
    return "".join(line.split())


TASK = Reformat()
