"""Systems whose heads are trained here and do not ship: `stretto train head KIND`, then `model=FOLDER` in a drafter."""

from __future__ import annotations

from ..entry import Entry, Guarantee

ENTRIES = (
    Entry(
        name="eagle3",
        family="heads",
        source="arXiv 2503.01840; github.com/SafeAILab/EAGLE",
        parts="",
        guarantee=Guarantee.EXACT,
        needs=("trained head",),
        summary="EAGLE's layer over rows of three layers, led on by its own rows in training",
        command="stretto train head eagle3",
    ),
    Entry(
        name="griffin",
        family="heads",
        source="arXiv 2502.11018; github.com/hsj576/GRIFFIN",
        parts="",
        guarantee=Guarantee.EXACT,
        number=103,
        needs=("trained head",),
        summary="EAGLE's layer leaves a row to read and one to go on from; it is led on only where it was nearly right",
        command="stretto train head griffin",
    ),
    Entry(
        name="jakiro",
        family="heads",
        source="arXiv 2502.06282; github.com/haiduo/Jakiro (two experts; not its sampling from each)",
        parts="",
        guarantee=Guarantee.EXACT,
        number=124,
        needs=("trained head",),
        summary="two experts in EAGLE's layer: mixed for the next token, set against each other for the one after it",
        command="stretto train head jakiro",
    ),
    Entry(
        name="mtp",
        family="heads",
        source="arXiv 2404.19737, arXiv 2412.19437 (the sequential form, behind a trunk that stays as it is)",
        parts="",
        guarantee=Guarantee.EXACT,
        needs=("trained head",),
        summary="a layer behind norms of the last row and the next token, led on by its own rows",
        command="stretto train head mtp",
    ),
    Entry(
        name="kangaroo",
        family="heads",
        source="arXiv 2404.18911; github.com/Equationliu/Kangaroo (its stop: confidence-stop)",
        parts="",
        guarantee=Guarantee.EXACT,
        number=120,
        needs=("trained head",),
        summary="the target's first layers and attention behind them guess; all layers verify",
        command="stretto train head kangaroo",
    ),
    Entry(
        name="eesd",
        family="heads",
        source="arXiv 2406.03853 (its control of the length: thompson; the target's own head reads out)",
        parts="",
        guarantee=Guarantee.EXACT,
        number=89,
        needs=("trained head",),
        summary="the target's first layers and a whole layer behind them guess; all layers verify",
        command="stretto train head eesd",
        confirmed=False,
    ),
)
