"""Errors a user can cause, each with a hint that says how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StrettoError(Exception):
    """Base of all typed errors: a one-line message and a one-line hint.

    The command line prints `str(error)` as one line and exits with status 2.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = " ".join(message.splitlines())  # one line, whatever a name in it holds
        self.hint = " ".join(hint.splitlines())
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message


class InvalidRequest(StrettoError):
    """The request itself is wrong: empty prompt, setting out of range, prompt too long."""


class UnknownName(StrettoError):
    """No method, part, model or task bears this name."""


class Unsupported(StrettoError):
    """The parts, the model and the request do not fit together exactly."""


class ModelError(StrettoError):
    """A checkpoint cannot be read, or has a shape that cannot be driven."""


class NothingAllowed(StrettoError):
    """A constraint and the other settings leave no token that may follow."""


class OutOfMemory(StrettoError):
    """The cache asked for does not fit into memory."""


ALIKE = 0.65  # of two names; "serve" and "store" are .6, "top" and "top_p" are .75


class NotTaken(UserWarning):
    """A checkpoint asks for something that a request does without. Said once by an engine."""


def closest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint that names what was probably meant, or else what there is; `otherwise` where that is a long list."""
    known = sorted(set(known))
    bare = {each.lstrip("-"): each for each in known}  # the dashes of options would make all of them alike
    near = difflib.get_close_matches(name.lstrip("-"), bare, n=1, cutoff=ALIKE)
    return f"did you mean {bare[near[0]]!r}?" if near else otherwise or "known: " + ", ".join(known)
