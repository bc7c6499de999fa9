"""The JSON Schema of a type, as pydantic describes it."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidRequest
from ..values import shown


def described(given: Any) -> Any:
    """The JSON Schema of a Pydantic model, a dataclass, a TypedDict, or another annotation. Raises InvalidRequest."""
    try:
        from pydantic import TypeAdapter
    except ImportError as error:
        raise InvalidRequest("a schema by its type needs pydantic", hint="pip install 'stretto[structured]'") from error
    try:
        return _closed(TypeAdapter(given).json_schema())
    except Exception as error:  # it runs hooks of the types it is given
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise InvalidRequest(
            f"{shown(given)} has no schema: {said}", hint="give a type of plain fields, or a schema"
        ) from error


def _closed(found: Any) -> Any:
    """The schema of a type, whose objects have the fields of the type and no others."""
    if isinstance(found, list):
        return [_closed(each) for each in found]
    if not isinstance(found, dict):
        return found
    inner = {name: value if name in ("const", "enum", "default") else _closed(value) for name, value in found.items()}
    if found.get("type") == "object" and "properties" in found:
        inner.setdefault("additionalProperties", False)
    return inner
