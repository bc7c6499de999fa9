"""Training: one loop (`trainer`), one file per recipe (`zoo`)."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Run `stretto train …`; returns the exit status."""
    from stretto.train.command import main as run  # torch is loaded only when training is asked for

    return run(argv)
