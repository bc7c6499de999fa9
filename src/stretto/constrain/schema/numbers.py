"""Multiples of steps: exact, as decimals are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor, lcm

EXACT = 2**53  # whole numbers beyond it turn into their neighbours


def exact(number: float) -> Fraction:
    """A number as it is written.

    >>> exact(0.1)
    Fraction(1, 10)
    """
    return Fraction(Decimal(repr(number)))


def common(steps: Iterable[Fraction]) -> Fraction:
    """The least number of which all of these are divisors.

    >>> common([Fraction(5, 2), Fraction(2)])
    Fraction(10, 1)
    """
    steps = [*steps]
    whole = lcm(*(step.denominator for step in steps))
    return Fraction(lcm(*(int(step * whole) for step in steps)), whole)


def multiples(steps: Sequence[float], bounds: tuple[float, float], most: int) -> list[int | float] | None:
    """All numbers within bounds, these included, that are multiples of all steps.

    None where they are more than `most`, or floats may not hold them exactly.

    >>> multiples([2.5, 2], (-15, 20), most=4)
    [-10, 0, 10, 20]
    """
    low, high = bounds
    step = common(map(exact, steps)) if steps else Fraction(0)
    whole = step.denominator & (step.denominator - 1) == 0  # of halves of halves
    if not step or not whole or max(-low, high) > EXACT:
        return None
    first, last = ceil(exact(low) / step), floor(exact(high) / step)
    if last - first >= most:
        return None
    found = [step * at for at in range(first, last + 1)]
    return [int(each) if each.denominator == 1 else float(each) for each in found]
