"""What an object holds, as a value that can be compared: has it changed?"""

from __future__ import annotations

import random
import types
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

DEEPEST = 6  # objects in objects that are followed; what lies deeper is told by its type


def state_of(value: Any) -> Any:
    """All that a callable may have kept of its calls: its attributes, what its closure and globals hold, and chance.

    Networks are told by their type.
    """
    return _held(value, DEEPEST, {}), torch.get_rng_state().numpy().tobytes(), random.getstate()


def _held(value: Any, depth: int, seen: dict[int, Any]) -> Any:
    if value is None or isinstance(value, bool | int | str | bytes):
        return value
    if isinstance(value, float | complex):
        return repr(value)  # NaN is like itself
    if isinstance(value, type | types.ModuleType):
        return id(value)
    if id(value) in seen or depth == 0 or isinstance(value, torch.nn.Module):
        return type(value)
    seen[id(value)] = value  # held, so that no other object gets its number
    if isinstance(value, torch.Tensor):
        data = value.detach().cpu().contiguous().reshape(-1)
        return str(value.dtype), tuple(value.shape), data.view(torch.uint8).numpy().tobytes() if len(data) else b""
    if hasattr(value, "tobytes") and hasattr(value, "dtype"):  # of numpy
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, random.Random):
        return value.getstate()
    return _parts(value, depth - 1, seen)


def _parts(value: Any, depth: int, seen: dict[int, Any]) -> Any:
    """The same of what is made of others."""
    if isinstance(value, Mapping):
        return tuple((_held(key, depth, seen), _held(each, depth, seen)) for key, each in value.items())
    if isinstance(value, list | tuple | deque):
        return tuple(_held(each, depth, seen) for each in value)
    if isinstance(value, set | frozenset):
        return frozenset(_held(each, depth, seen) for each in value)
    if isinstance(value, types.MethodType | types.BuiltinMethodType):  # of the latter also functions, of their module
        return _held(value.__self__, depth, seen)
    if isinstance(value, partial):
        return _held((value.func, value.args, value.keywords), depth, seen)
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        outside = [value.__globals__[name] for name in value.__code__.co_names if name in value.__globals__]
        return _held((cells, outside, value.__defaults__, value.__kwdefaults__, vars(value)), depth, seen)
    slots = (name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()))
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
    return type(value), _held(held, depth, seen)


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
