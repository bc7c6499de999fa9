"""Where the requests of a batch stand: in the lines of a file, in the rows of a table, or in the files of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest

TABLES = (".parquet", ".arrow", ".feather")
COLUMNS = ("custom_id", "method", "url", "body")


def files_of(source: Path) -> list[Path]:
    """The files that hold requests: the file itself, or those of a folder by their names. Raises InvalidRequest."""
    if not source.is_dir():
        return [source]
    found = sorted(file for file in source.iterdir() if file.suffix in (".jsonl", *TABLES))
    if not found:
        raise InvalidRequest(f"{source} holds no requests", hint=f"files of the kind .jsonl, {', '.join(TABLES)}")
    return found


def texts_of(file: Path) -> Iterator[bytes]:
    """The lines of a file; the rows of a table as such lines. Raises InvalidRequest for one that is no such table."""
    if file.suffix not in TABLES:
        with file.open("rb") as lines:
            yield from lines
        return
    if find_spec("pyarrow") is None:
        raise InvalidRequest(f"{file} is a table, and pyarrow is not there", hint="pip install 'stretto[ray]'")
    from pyarrow import ArrowException

    try:
        for rows in _batches(file):
            strange = [name for name in rows.schema.names if name not in COLUMNS]
            if strange or not all(_is_text(each) for each in rows.schema.types):
                what = f"{file} has the columns {', '.join(map(str, rows.schema))}"
                raise InvalidRequest(what, hint=f"{', '.join(COLUMNS)}, all texts: a body is its JSON")
            yield from map(_line, rows.to_pylist())
    except ArrowException as error:
        raise InvalidRequest(f"{file} is no table: {error}", hint="write it anew") from error


def _batches(file: Path) -> Iterator[Any]:
    """The rows of a table, some at a time."""
    if file.suffix == ".parquet":
        from pyarrow.parquet import ParquetFile

        yield from ParquetFile(file).iter_batches()
        return
    from pyarrow import ArrowInvalid, ipc

    try:
        reader = ipc.open_file(file)
        batches: Iterator[Any] = (reader.get_batch(at) for at in range(reader.num_record_batches))
    except ArrowInvalid:  # the other of its two forms
        batches = iter(ipc.open_stream(file))
    yield from batches


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _line(row: dict[str, str | None]) -> bytes:
    said = [f"{json.dumps(name)}: {text if name == 'body' else json.dumps(text)}" for name, text in row.items()]
    return f"{{{', '.join(said)}}}".encode()
