from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from stretto.bench.answers import answers, write, write_answers
from stretto.bench.columns import Measured
from stretto.bench.contestants import Answer, Case
from stretto.bench.harness import Prepared, Run
from stretto.bench.results import Column, summarise
from stretto.bench.rounds import Round
from stretto.generation import Counters


def run(contestant: str, repeat: int, group: int, committed: list[int], seconds: float) -> Run:
    rounds = [Round(1, size - 1, False, size, 0.1) for size in committed]
    return Run(contestant, repeat, group, seconds, Answer([[7] * sum(committed)], Counters(), lambda: [rounds]))


GROUPS = [
    [Case([1], [7] * 5, False, 82, "writing", 0)],
    [Case([1, 7, 7, 2], [7] * 3, False, 82, "writing", 1)],
    [Case([3], [7] * 2, False, 81, "writing", 0)],
]
RUNS = [
    run("x", repeat, group, committed, 10.0 * repeat + group)
    for group, committed in enumerate(([1, 4], [3], [1, 1]))
    for repeat in (1, 0)
]


def decode(tokens) -> str:
    return f" {len(tokens)} sevens "


def test_one_line_by_hand():
    first, second = answers("tiny-x", GROUPS, RUNS, decode)
    assert first["question_id"] == 81 and second["question_id"] == 82
    assert set(second) == {"question_id", "category", "answer_id", "model_id", "choices", "tstamp"}
    assert (second["category"], second["model_id"]) == ("writing", "tiny-x")
    assert second["choices"] == [
        {
            "index": repeat,
            "turns": ["5 sevens", "3 sevens"],
            "decoding_steps": [2, 1],
            "new_tokens": [5, 3],
            "wall_time": [10.0 * repeat, 10.0 * repeat + 1],
            "accept_lengths": [1, 4, 3],
        }
        for repeat in (0, 1)
    ]
    assert sum(second["choices"][0]["accept_lengths"]) == sum(second["choices"][0]["new_tokens"])


def test_files_grow_by_question(tmp_path: Path):
    file = tmp_path / "deep" / "a.jsonl"
    write(file, [{"question_id": 9, "x": "é\u2028"}, {"question_id": 11, "x": 1}])
    write(file, [{"question_id": 9, "x": 2}, {"question_id": 10, "x": 3}])
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines == [{"question_id": 9, "x": 2}, {"question_id": 10, "x": 3}, {"question_id": 11, "x": 1}]


class Contestant:
    name, ours = "fuse(a,b)+fixed(4)", True

    def bound(self, case, draw):
        return False


def measured(groups, column: Column) -> Measured:
    runs = [run(Contestant.name, 0, at, [len(group[0].expected)], 1.0) for at, group in enumerate(groups)]
    return Measured(summarise(Prepared("spec:writing"), groups, [Contestant()], runs, column=column), groups, runs)


class World:
    class engine:
        decode = staticmethod(decode)


def test_a_file_for_each_contestant_of_numbered_questions_row_by_row(tmp_path: Path):
    for column in (Column(1, 0.0), Column(1, 1.0), Column(4, 0.0)):
        write_answers(tmp_path, "models/tiny", "float32", World, measured(GROUPS, column))
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == [f"tiny-fuse-a-b-fixed-4-float32-temp-{temperature}.jsonl" for temperature in (0, 1)]
    assert len((tmp_path / names[0]).read_text().splitlines()) == 2
    write_answers(tmp_path / "no", "tiny", "float32", World, measured([[Case([1], [2, 3], True)]], Column()))
    assert not (tmp_path / "no").exists()


def test_each_contestant_has_its_own_answers(tmp_path: Path):
    mine = measured(GROUPS, Column())
    others = [run("y", 0, at, [1] * len(group[0].expected), 2.0) for at, group in enumerate(GROUPS)]
    write_answers(tmp_path, "tiny", "float32", World, replace(mine, runs=[*mine.runs, *others]))
    (file,) = tmp_path.glob("tiny-y-*")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["model_id"] for line in lines] == ["tiny-y"] * 2
    assert [line["choices"][0]["accept_lengths"] for line in lines] == [[1, 1], [1] * 8]
    (file,) = tmp_path.glob("tiny-fuse-*")
    assert [json.loads(line)["choices"][0]["accept_lengths"] for line in file.read_text().splitlines()] == [[2], [5, 3]]
