"""Batches: each line fails alone, and a kill at any point loses and doubles nothing; answers: test_exactness.py."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from stretto import cli, zoo
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.files import locked
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.serve.batch import PATHS, Batch, journal
from stretto.serve.cluster import Replicas, require_room
from stretto.serve.replies import REPLIES
from stretto.serve.service import Limits, Service


def service(**limits: Any) -> Service:
    model = TableModel.random(6, seed=4)
    model.max_positions = 1000
    return Service(Engine(model, clock=SimulatedClock(), rows=4), "table", Limits(rows=4, new_tokens=99, **limits))


def request(name: Any, url: str = "/v1/completions", **body: Any) -> dict[str, Any]:
    asked = {"prompt": [1, 2], "max_tokens": 5, "seed": 3, "end_tokens": [], **body}
    return {"custom_id": name, "method": "POST", "url": url, "body": asked}


def written(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def run(source: Path, out: Path, about: str = "", to: Service | None = None) -> list[dict[str, Any]]:
    with journal(out) as made:
        asyncio.run(Batch(source, made, about=about).run(to or service()))
    return answers(out)


def answers(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def told(answer: dict[str, Any]) -> tuple[Any, ...]:
    """What of an answer is the same each time."""
    response = answer["response"] or {"status_code": 0, "body": {}}
    return answer["id"], answer["custom_id"], response["status_code"], response["body"].get("choices")


def test_every_endpoint_has_its_path() -> None:
    assert sorted(PATHS.values()) == sorted(REPLIES)


def test_one_bad_line_does_not_stop_the_rest(tmp_path: Path) -> None:
    wrong = [
        ("not JSON", "invalid_json", "line 3 is no JSON"),
        ("[" * 10_000, "invalid_json", "nested"),
        ([1], "invalid_request", "custom_id"),
        (request(7), "invalid_request", "custom_id"),
        ({**request("x"), "priority": 1}, "invalid_request", "'priority'"),
        (request("y", "/v1/embeddings"), "invalid_request", "'/v1/embeddings'"),
        (request("a"), "duplicate_custom_id", "line 1"),
    ]
    refused = [request("s", stream=True), request("t", max_tokns=3), request("m", model="other"), request("n", n=5)]
    lines = [request("a"), "", *(line for line, _, _ in wrong), *refused, request("\ud800", prompt=[[1], [2]])]
    found = run(written(tmp_path / "in", *lines), tmp_path / "out")
    faults = [answer["error"] for answer in found if answer["error"]]
    for _, code, words in wrong:
        assert any(fault["code"] == code and words in fault["message"] for fault in faults), (code, words)
    assert len(faults) == len(wrong)
    by_name = {answer["custom_id"]: answer["response"] for answer in found if not answer["error"]}
    assert {name: response["status_code"] for name, response in by_name.items()} == {
        **dict.fromkeys("a\ud800", 200),
        **dict.fromkeys("stn", 400),
        "m": 404,
    }
    assert by_name["t"]["body"]["error"]["param"] == "max_tokns"
    assert len(by_name["\ud800"]["body"]["choices"]) == 2


def test_a_kill_at_any_point_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(6)
    lines = [request(str(at), prompt=[at % 6], seed=at, n=1 + at % 3, max_tokens=3 + at % 7) for at in range(12)]
    source = written(tmp_path / "in", *lines, "no JSON")
    whole = sorted(map(told, run(source, tmp_path / "whole", to=service(method="plain"))), key=str)
    kills = 0
    for number in range(2):
        out = tmp_path / f"out{number}"
        while (child := os.fork()) == 0 or os.waitpid(child, 0)[1]:
            if child == 0:  # a write is cut at a byte, or the clock strikes
                size = out.stat().st_size if out.exists() else 0
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                if chance.random() < 0.7:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (size + chance.randrange(4000),) * 2)
                else:
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, 0.03))
                run(source, out, to=service(method="plain"))
                os._exit(0)
            kills += 1
            chance.random()
            names = [answer["id"] for answer in map(json.loads, out.read_text().split("\n")[:-1])]
            assert len(names) == len(set(names))
        assert sorted(map(told, answers(out)), key=str) == whole
    assert kills > 4


def test_what_is_no_output_of_this_batch_stays_as_it_is(tmp_path: Path) -> None:
    source, out = written(tmp_path / "in", request("a"), request("b")), tmp_path / "out"
    run(source, out, "plain")
    kept = out.read_bytes()
    with pytest.raises(InvalidRequest, match="2 answers to other lines"):
        run(source, out, "another model")
    with locked(out), pytest.raises(InvalidRequest, match="another batch"):
        run(source, out, "plain")
    assert [told(answer) for answer in run(source, out, "plain")] == [*map(told, map(json.loads, kept.splitlines()))]
    assert out.read_bytes() == kept
    for text in ("a letter", "a letter\n", '{"id": 1}\n', "[]\n", '{"id": "x", "error": null, "response": null}\n'):
        with pytest.raises(InvalidRequest, match=r"line 1 of .* is no answer"):
            out.write_text(text)
            run(source, out)
        assert out.read_text() == text
    with pytest.raises(InvalidRequest, match="is no file"):
        run(source, tmp_path)


def test_the_command_tells_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = written(tmp_path / "in", request("a")), tmp_path / "out"
    for words, told in (
        (f"{source} -o {source} zoo/causal", "one file"),
        (f"{tmp_path}/nil -o {out} zoo/causal", "no file"),
        (f"{source} -o {out} zoo/causal --max-rows 0", "--max-rows is 0"),
        (f"{source} zoo/causal", "-o"),
    ):
        assert cli.main(["batch", *words.split()]) == 2
        assert told in capsys.readouterr().err
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    call = ["batch", str(source), "-o", str(out), "zoo/causal", "--method", "plain"]
    assert cli.main(call) == 0
    assert capsys.readouterr().err.endswith("out: 1 answered\n")
    written(source, request("a"), request("b", n=0))
    assert cli.main(call) == 1
    assert capsys.readouterr().err.endswith("out: 1 answered, 1 failed\n") and len(answers(out)) == 2


def test_a_folder_and_tables_are_read_as_lines(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(InvalidRequest, match="holds no requests"):
        run(folder, tmp_path / "none")
    written(folder / "b.jsonl", request("b0"), "", "no JSON", request("a1"))
    written(folder / "a.jsonl", request("a0"), request("a1", prompt=[4]))
    (folder / "notes.txt").write_text("no request")
    found = {answer["custom_id"]: answer for answer in run(folder, tmp_path / "out")}
    assert found.keys() == {"a0", "a1", "b0", None}
    alone = run(folder / "a.jsonl", tmp_path / "alone")
    assert [found[each["custom_id"]]["response"]["body"]["choices"] for each in alone] == [
        each["response"]["body"]["choices"] for each in alone
    ]
    faults = [answer["error"]["message"] for answer in answers(tmp_path / "out") if answer["error"]]
    assert len(faults) == 2 and "line 3 of b.jsonl is no JSON" in faults[0] + faults[1]
    assert "line 4 of b.jsonl has the custom_id of line 2 of a.jsonl" in faults[0] + faults[1]


def test_the_rows_of_a_table_are_requests(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pip install 'stretto[ray]'")
    from pyarrow import ipc, parquet

    lines = [request(str(at), prompt=[at], seed=at) for at in range(5)]
    table = arrow.Table.from_pylist([{**line, "body": json.dumps(line["body"])} for line in lines])
    parquet.write_table(table, tmp_path / "in.parquet")
    for name, writer in (("in.arrow", ipc.new_file), ("in.feather", ipc.new_stream)):
        with writer(tmp_path / name, table.schema) as opened:
            opened.write_table(table)
    expected = [told(answer)[1:] for answer in run(written(tmp_path / "lines", *lines), tmp_path / "out")]
    for name in ("in.parquet", "in.arrow", "in.feather"):
        assert sorted(told(each)[1:] for each in run(tmp_path / name, tmp_path / f"{name}.out")) == sorted(expected)
    parquet.write_table(arrow.Table.from_pylist(lines), tmp_path / "in.parquet")  # a body that is no text
    with pytest.raises(InvalidRequest, match="a body is its JSON"):
        run(tmp_path / "in.parquet", tmp_path / "none")
    (tmp_path / "in.parquet").write_bytes(b"none")
    with pytest.raises(InvalidRequest, match="is no table"):
        run(tmp_path / "in.parquet", tmp_path / "none")


def test_without_what_is_needed_the_extra_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ray", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    source = written(tmp_path / "in.parquet", "none")
    with pytest.raises(InvalidRequest, match=r"pyarrow is not there \(hint: pip install 'stretto\[ray\]'"):
        run(source, tmp_path / "out")
    out = f"-o {tmp_path / 'out'}"
    for words, said in (
        (f"batch {source} {out} zoo/causal --ray", "Ray is not there (hint: pip install 'stretto[ray]')"),
        ("serve --port 0 --ray", "Ray is not there"),
        ("serve --replicas 2", "--replicas is of replicas, which run through Ray (hint: --ray)"),
        ("serve --ray --replicas 3-2", "--replicas is '3-2' (hint: a number, such as 2, or a range"),
        (f"batch {source} {out} zoo/causal --ray --cpus -1", "-1 cores"),
    ):
        assert cli.main(words.split()) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(InvalidRequest, match=r"4 replicas take 8 CPUs, and there are 2 .hint: fewer --replicas"):
        require_room(Replicas(1, 4, cpus=2), {"CPU": 2.0})
