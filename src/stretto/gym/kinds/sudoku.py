"""Sudoku on a 4 by 4 grid."""

from __future__ import annotations

import random

from stretto.gym.contract import Question

SIZE = 4
FULL = {"1", "2", "3", "4"}


class Sudoku:
    """Fill the blanks (`_`); right when rows, columns and boxes are complete and the given digits stay."""

    name = "sudoku"
    share = 1.0

    def make(self, rng: random.Random) -> Question:
        """Three to eight blanks in a shuffled grid."""
        rows = _grid(rng)
        cells = [list(row) for row in rows]
        for place in rng.sample(range(SIZE * SIZE), rng.randint(3, 8)):
            cells[place // SIZE][place % SIZE] = "_"
        puzzle = _text(cells)
        return Question(self.name, f"Solve the sudoku.\n{puzzle}", _text(rows), {"puzzle": puzzle})

    def check(self, question: Question, reply: str) -> bool:
        """Any valid filling of the given grid is right."""
        given = [line.split() for line in question.facts["puzzle"].split("\n")]
        rows = [line.split() for line in reply.strip().split("\n")]
        if [len(row) for row in rows] != [SIZE] * SIZE:
            return False
        kept = all(g in ("_", r) for line, row in zip(given, rows, strict=True) for g, r in zip(line, row, strict=True))
        columns = [list(column) for column in zip(*rows, strict=True)]
        boxes = [[rows[y + dy][x + dx] for dy in (0, 1) for dx in (0, 1)] for y in (0, 2) for x in (0, 2)]
        return kept and all(set(unit) == FULL for unit in rows + columns + boxes)


def _text(rows: list[list[str]]) -> str:
    return "\n".join(" ".join(row) for row in rows)


def _grid(rng: random.Random) -> list[list[str]]:
    """A valid grid: a base pattern with digits, bands, rows and columns shuffled."""
    digits = rng.sample(sorted(FULL), SIZE)
    order = [[2 * band + row for band in rng.sample((0, 1), 2) for row in rng.sample((0, 1), 2)] for _ in range(2)]
    base = ("0123", "2301", "1032", "3210")
    rows = [[digits[int(base[y][x])] for x in order[1]] for y in order[0]]
    return rows


TASK = Sudoku()
