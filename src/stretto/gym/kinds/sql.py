"""Text to SQL on one small table."""

from __future__ import annotations

import random
import re
import sqlite3
from typing import Any

from stretto.gym.contract import Question
from stretto.gym.words import CITIES, COLORS, JOBS, NAMES, THINGS

TABLES = {
    "people": {"name": NAMES, "city": CITIES, "job": JOBS, "age": None},
    "orders": {"customer": NAMES, "item": THINGS, "color": COLORS, "price": None},
    "rooms": {"name": THINGS, "color": COLORS, "city": CITIES, "size": None},
    "staff": {"name": NAMES, "job": JOBS, "city": CITIES, "salary": None},
}
READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
STEPS_ALLOWED = 100_000


class Sql:
    """One SELECT; right when it gives the same rows as the model answer on a filled table."""

    name = "sql"
    share = 1.3

    def make(self, rng: random.Random) -> Question:
        """A question about a table of three word columns and a number column, with up to two conditions."""
        table = rng.choice(list(TABLES))
        columns = TABLES[table]
        *words, number = columns
        ask, select, grouped = _wish(rng, words, number)
        conditions = rng.sample((_equal(rng, columns, words), _compared(rng, number)), rng.choice((0, 1, 1, 2)))
        told = "".join(f" {'where' if i == 0 else 'and'} {text}" for i, (text, _, _) in enumerate(conditions))
        code = " AND ".join(sql for _, sql, _ in conditions)
        answer = f"SELECT {select} FROM {table}" + (f" WHERE {code}" if code else "") + grouped
        order = ""
        if not grouped and rng.random() < 0.3:
            order, down = f" ORDER BY {number}", rng.random() < 0.5
            told += f" sorted by {number}" + (" from high to low" if down else "")
            order += " DESC" if down else ""
        prompt = f"Table {table}({', '.join(columns)})\nWrite SQL: {ask}{told}."
        rows = _filled(rng, columns, {column: value for _, _, fixed in conditions for column, value in fixed.items()})
        facts = {"table": table, "columns": list(columns), "rows": rows, "answer": answer + order + ";"}
        return Question(self.name, prompt, answer + order + ";", facts)

    def check(self, question: Question, reply: str) -> bool:
        """Both queries run on the same small database; conditions must also name the same constants."""
        facts = question.facts
        wanted, got = (_rows(facts, query) for query in (facts["answer"], reply))
        return wanted is not None and wanted == got and _constants(reply) == _constants(facts["answer"])


def _wish(rng: random.Random, words: list[str], number: str) -> tuple[str, str, str]:
    """What is asked, the selected expression, and the GROUP BY clause."""
    word = rng.choice(words)
    return rng.choice(
        (
            (f"the {word} of all rows", word, ""),
            ("all columns of the rows", "*", ""),
            (f"the {word} and {number} of the rows", f"{word}, {number}", ""),
            ("the number of rows", "COUNT(*)", ""),
            (f"the highest {number}", f"MAX({number})", ""),
            (f"the average {number}", f"AVG({number})", ""),
            (f"the total {number} for each {word}", f"{word}, SUM({number})", f" GROUP BY {word}"),
            (f"the number of rows for each {word}", f"{word}, COUNT(*)", f" GROUP BY {word}"),
        )
    )


def _filled(rng: random.Random, columns: dict[str, Any], fixed: dict[str, str]) -> list[list[str | int]]:
    """Forty rows; every other one has the `fixed` words, so that a condition on them selects something."""
    rows = []
    for index in range(40):
        row = {name: rng.choice(words) if words else rng.randint(1, 99) for name, words in columns.items()}
        rows.append(list((row | fixed if index % 2 else row).values()))
    return rows


def _equal(rng: random.Random, columns: dict[str, Any], words: list[str]) -> tuple[str, str, dict[str, str]]:
    """A condition in words and in SQL, and the cell it asks for."""
    word = rng.choice(words)
    value = rng.choice(columns[word])
    return f"{word} is {value}", f"{word} = '{value}'", {word: value}


def _compared(rng: random.Random, number: str) -> tuple[str, str, dict[str, str]]:
    value = rng.randint(5, 90)
    sign, text = rng.choice(((">", "over"), ("<", "under")))
    return f"{number} is {text} {value}", f"{number} {sign} {value}", {}


def _constants(query: str) -> list[str]:
    return sorted(re.findall(r"'[^']*'|\d+", query))


def _rows(facts: Any, query: str) -> list[Any] | None:
    """What a query gives on the question's table; None where it fails, writes, or takes too long."""
    base = sqlite3.connect(":memory:")
    try:
        base.execute(f"CREATE TABLE {facts['table']} ({', '.join(facts['columns'])})")
        base.executemany(f"INSERT INTO {facts['table']} VALUES (?, ?, ?, ?)", facts["rows"])
        base.commit()
        base.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in READING else sqlite3.SQLITE_DENY)
        base.set_progress_handler(lambda: 1, STEPS_ALLOWED)  # called once the steps are used up: stop
        return base.execute(query).fetchmany(1000)
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        return None
    finally:
        base.close()


TASK = Sql()
