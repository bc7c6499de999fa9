from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pytest

from stretto.bench.repetition import LIMIT, repeated_share
from stretto.bench.tasks import select
from stretto.bench.tasks.questions import CATEGORIES
from stretto.bench.tasks.replay import EVIDENCE, SOURCES
from stretto.errors import InvalidRequest, UnknownName
from stretto.gym import tasks


def names(*chosen: str) -> list[str]:
    return [task.name for task in select(chosen, None)]


def test_by_family_by_name_and_all():
    gym = [f"gym:{kind}" for kind in tasks()]
    replay = [f"replay:{source}" for source in SOURCES]
    assert names("gym") == gym
    assert names("replay") == replay
    assert names("all") == gym + replay  # question sets only where they are named
    assert len(names("spec")) == 13 and len(names("mt")) == 8
    assert names("spec:rag", "mt:coding") == ["spec:rag", "mt:coding"]
    assert names("replay:gsm8k", gym[1], "replay:gsm8k") == ["replay:gsm8k", gym[1]]


def test_unknown_task_names_the_closest():
    with pytest.raises(UnknownName, match="replay:gsm8k"):
        select(["replay:gsm8"], None)


def test_absent_data_is_said(tmp_path: Path):
    for task in select(["replay", "spec", "mt"], tmp_path):
        assert (str(tmp_path) in task.absent) == (task.name != "replay:qa")
    assert "no references" in select(["replay:qa"], tmp_path)[0].absent
    assert all(task.absent for task in select(["replay", "spec", "mt"], None))


def test_gym_exercises_check_their_answers():
    for task in select(["gym"], None):
        first = next(iter(task.exercises(0)))
        assert first.prompt and first.reference is None
        assert not first.solved("no answer at all to this")
        assert first.prompt == next(iter(task.exercises(0))).prompt


def test_a_replay_source_from_a_file(tmp_path: Path):
    file = tmp_path / SOURCES["gsm8k"].files[0]
    file.parent.mkdir(parents=True)
    lines = '{"question": "Two\u2028and two?", "answer": "2 + 2 = <<2+2=4>>4\\n#### 4"}\n' * 2
    file.write_bytes(gzip.compress(lines.encode()))
    (task,) = select(["replay:gsm8k"], tmp_path)
    assert not task.absent
    found = list(task.exercises(0))
    assert [exercise.reference for exercise in found] == ["2 + 2 = 4\n#### 4"] * 2
    assert found[0].prompt == "Two\u2028and two?"


def write(folder: Path, source: str, *contents: object) -> None:
    """Files of a source: a list is written as JSON lines."""
    for name, content in zip(SOURCES[source].files, contents, strict=True):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = "\n".join(map(json.dumps, content)) if isinstance(content, list) else json.dumps(content)
        file.write_bytes(gzip.compress(lines.encode()))


def read(folder: Path, source: str) -> list:
    (task,) = select([f"replay:{source}"], folder)
    return list(task.exercises(0))


def test_at_least_six_kinds_of_text():
    kinds = {source.kind for source in SOURCES.values() if source.files}
    assert kinds >= {"mathematics", "code", "translation", "summarisation", "retrieval", "correction", "text to SQL"}
    assert kinds >= {"stories", "encyclopedia"}


def test_queries_stand_under_their_tables(tmp_path: Path):
    columns = [[-1, "*"], [0, "Name"], [0, "Age"], [1, "Title"]]
    schemas = [{"db_id": "zoo", "table_names_original": ["keeper", "show"], "column_names_original": columns}]
    question = {"db_id": "zoo", "question": "How old?", "query": "SELECT Age FROM keeper"}
    write(tmp_path, "sql", [question], {"unused": 0})
    (tmp_path / SOURCES["sql"].files[1]).write_bytes(gzip.compress(json.dumps(schemas).encode()))
    (found,) = read(tmp_path, "sql")
    assert found.prompt == "Write a query in SQL.\nkeeper(Name, Age)\nshow(Title)\nHow old?"
    assert found.reference == "SELECT Age FROM keeper"


def test_one_missing_file_of_two_is_said(tmp_path: Path):
    write(tmp_path, "sql", [{}], {})
    (tmp_path / SOURCES["sql"].files[1]).unlink()
    (task,) = select(["replay:sql"], tmp_path)
    assert "tables.json.gz" in task.absent


def test_passages_are_cut_around_the_answer(tmp_path: Path):
    before, after = "early words " * 400, "late words " * 400
    short = {"category": "rag", "turns": ["A short passage.\nWho?"], "reference": ["a name"]}
    long = {"category": "rag", "turns": [f"{before}the NEEDLE {after}\nWhat?"], "reference": [["hay", "NEEDLE"]]}
    other = {"category": "qa", "turns": ["Why?"]}
    write(tmp_path, "retrieval", [short, long, other])
    found = {exercise.reference: exercise.prompt for exercise in read(tmp_path, "retrieval")}
    assert found["a name"] == "A short passage.\nWho?"
    passage, _, question = found["hay; NEEDLE"].rpartition("\n")
    assert question == "What?" and "NEEDLE" in passage
    assert len(passage) == EVIDENCE and passage.startswith(("early", "words"))


def test_categories_of_spec_bench_with_references(tmp_path: Path):
    lines = [
        {"category": "summarization", "turns": ["Summarize: much"], "reference": ["little"]},
        {"category": "translation", "turns": ["Translate: ja"], "reference": ["yes", "aye"]},
    ]
    write(tmp_path, "summaries", lines)
    assert [(x.prompt, x.reference) for x in read(tmp_path, "summaries")] == [("Summarize: much", "little")]
    assert [(x.prompt, x.reference) for x in read(tmp_path, "news")] == [("Translate: ja", "yes")]


def test_a_damaged_file_is_one_typed_error(tmp_path: Path):
    write(tmp_path, "gsm8k", [{"question": "a", "answer": "b"}])
    file = tmp_path / SOURCES["gsm8k"].files[0]
    file.write_bytes(gzip.compress(b'{"question": '))
    with pytest.raises(InvalidRequest, match="line 1"):
        read(tmp_path, "gsm8k")
    file.write_bytes(b"no archive")
    with pytest.raises(InvalidRequest, match="cannot read"):
        read(tmp_path, "gsm8k")


@pytest.mark.parametrize("place", ["bench/spec_bench/question.jsonl.gz", "spec_bench/question.jsonl"])
def test_questions_turn_by_turn(tmp_path: Path, place: str):
    lines = [
        {"question_id": 81, "category": "writing", "turns": ["Write.", "Rewrite."]},
        {"question_id": 400, "category": "qa", "turns": ["Why?"]},
    ]
    text = "\n".join(map(json.dumps, lines)).encode()
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_bytes(gzip.compress(text) if place.endswith(".gz") else text)
    tasks = {task.name: task for task in select(["spec"], tmp_path)}
    assert not tasks["spec:qa"].absent
    (written,) = tasks["spec:writing"].exercises(0)
    assert (written.prompt, written.later, written.question, written.category) == (
        "Write.",
        ("Rewrite.",),
        81,
        "writing",
    )
    assert written.reference is None and written.solved is None
    assert [exercise.question for exercise in tasks["spec:qa"].exercises(0)] == [400]
    assert list(tasks["spec:rag"].exercises(0)) == []


@pytest.mark.parametrize("family", CATEGORIES)
def test_real_questions(shared_data: Path, family: str):
    found = {task.category: list(task.exercises(0)) for task in select([family], shared_data)}
    assert sum(map(len, found.values())) == {"spec": 480, "mt": 80}[family]
    assert all(len(each) in (10, 80) for each in found.values())
    assert all(len(exercise.later) == 1 for category in CATEGORIES["mt"] for exercise in found[category])


@pytest.mark.parametrize("source", [name for name, source in SOURCES.items() if source.files])
def test_real_sources(shared_data: Path, source: str):
    (task,) = select([f"replay:{source}"], shared_data)
    assert not task.absent
    found = list(itertools.islice(task.exercises(0), 30))
    assert len(found) == 30
    assert len({exercise.prompt for exercise in found}) >= 29
    assert all(exercise.prompt.strip() and exercise.reference.strip() for exercise in found)
    assert [exercise.prompt for exercise in itertools.islice(task.exercises(0), 5)] == [x.prompt for x in found[:5]]
    looping = [exercise for exercise in found if repeated_share(list(exercise.reference.encode()), 40) > LIMIT]
    assert len(looping) < 10
