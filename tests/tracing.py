"""How much work a piece of code is, counted so that no clock is needed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import ModuleType


def lines_run(module: ModuleType, work: Callable[[], object]) -> int:
    """How many lines of the module are executed by `work`."""
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        if frame.f_code.co_filename != module.__file__:
            return None
        lines += event == "line"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return lines


def killed_at(step: int, action: Callable[[], object]) -> bool:
    """Run it in a copy of this process that is killed before its `step`th touch of the disk: open, rename, remove …

    False where it ended before that.
    """
    child = os.fork()
    if child == 0:
        left = step

        def hook(event: str, _: object) -> None:
            nonlocal left
            if event == "open" or event.startswith("os."):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), "the action failed"
    return status == -signal.SIGKILL
