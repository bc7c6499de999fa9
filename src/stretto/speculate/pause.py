"""When to try again what does not pay."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 128  # rounds


@dataclass(slots=True)
class Pause:
    """What does not pay sits out; it is tried again after 2, 4, 8 … rounds."""

    length: int = 1  # rounds of the last pause
    left: int = 0  # of these, still to come

    def over(self) -> bool:
        """Whether it may be tried in this round; otherwise one round less is left."""
        if not self.left:
            return True
        self.left -= 1
        return False

    def begin(self, longest: int = LONGEST, least: int = 2) -> None:
        """It does not pay: twice as long a pause as the last one."""
        self.length = self.left = min(max(least, 2 * self.length), longest)

    def cut(self) -> None:
        """It seems to pay: try it at once, and pause twice as long if it does not."""
        self.left = 0

    def end(self) -> None:
        """It pays."""
        self.length, self.left = 1, 0
