"""What goes wrong, as the API tells it: a status, and an object with message, type, param and code."""

from __future__ import annotations

import traceback
from typing import Any

from ..errors import InvalidRequest, ModelError, OutOfMemory, StrettoError

KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refused(Exception):
    """A request that gets no answer; `status` is HTTP's."""

    def __init__(
        self,
        status: int,
        message: str,
        hint: str = "",
        *,
        param: str | None = None,
        code: str | None = None,
        wait: int | None = None,
    ) -> None:
        """`param` is the field that is wrong, `wait` after how many seconds it may be otherwise."""
        self.status, self.param, self.code, self.wait = status, param, code, wait
        self.message = f"{message} (hint: {hint})" if hint else message
        super().__init__(self.message)

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the status."""
        made = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        return made if self.wait is None else {**made, "Retry-After": str(self.wait)}

    @property
    def object(self) -> dict[str, Any]:
        """The documented error object."""
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def refusal(error: BaseException, param: str | None = None) -> Refused:
    """What to say of an error, and of the field that is wrong.

    The words of an error that is not typed may hold a prompt: they are not told.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, RecursionError):
        return Refused(400, "the body is nested too deep", code="invalid_json")
    if isinstance(error, OutOfMemory):
        return Refused(503, str(error), code="out_of_memory")
    if isinstance(error, StrettoError) and not isinstance(error, ModelError):
        long = isinstance(error, InvalidRequest) and error.message.startswith("the prompt has ")
        return Refused(400, str(error), param=param, code="context_length_exceeded" if long else None)
    return Refused(500, f"the server failed ({type(error).__name__})", "its log names the place")


def place_of(error: BaseException) -> str:
    """Where an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join(f"{frame.filename}:{frame.lineno}" for frame in frames[-6:])
