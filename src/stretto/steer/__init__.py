"""Steers: pure reshapings of next-token logits, in one pipeline, under one rule of choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .contract import Steer


def steers() -> dict[str, type[Steer]]:
    """Every steer that stands in a file of this package, by name."""
    import pkgutil
    from importlib import import_module
    from inspect import isabstract, isclass

    from .contract import Steer

    found: dict[str, type[Steer]] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        for part in vars(import_module(module.name)).values():
            if isclass(part) and issubclass(part, Steer) and not isabstract(part):
                found[part.name] = part
    return dict(sorted(found.items()))
