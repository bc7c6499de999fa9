"""Another engine in a process of its own: lines of JSON over pipes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import ModelError, Unsupported

SCRIPT = Path(__file__).with_name("serve.py")
PATIENCE = 10.0  # seconds to end by itself


class Worker:
    """A process that holds a model. Raises Unsupported where it cannot be begun, ModelError for what fails in it."""

    def __init__(self, command: Sequence[str], **asked: Any) -> None:
        """Begin the process and load, as `serve.py` says; `versions` and `seconds` are what it told of that."""
        self.name = " ".join(command)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the process
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
            )
        except OSError as error:
            self._errors.close()
            raise Unsupported(f"{command[0]} cannot be run: {error}", hint="name a python interpreter") from error
        try:
            loaded = self.ask(**asked)
        except ModelError:
            self.close()
            raise
        self.versions: dict[str, str] = loaded["versions"]
        self.seconds: float = loaded["seconds"]

    def ask(self, **message: Any) -> dict[str, Any]:
        """What it answers to a message. Raises ModelError where that is an error, or where the process has ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        found: dict[str, Any] = json.loads(line) if line else {"error": f"it ended{self._said()}"}
        if "error" in found:
            raise ModelError(f"{self.name}: {found['error']}", hint="see what its wheel says of this file")
        return found

    def _said(self) -> str:
        """The last line that the process wrote on standard error."""
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        """End the process, however it takes that."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
