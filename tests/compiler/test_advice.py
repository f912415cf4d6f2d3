"""Layers that cure a refused engine are judged by the limits that refused it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from lzu_export.compiler import advice
from lzu_export.manifest.schema import Agreement
from lzu_export.support.progress import Reporter


@pytest.mark.parametrize(("share", "cured"), [(0.94, True), (0.92, False)])
def test_layers_that_pass_the_limits_of_the_export_are_named(
    share: float, cured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On sequences an adaptive detector may find less than its recipe's limit says."""
    recipe = SimpleNamespace(score_limit=lambda _: 0.03, matched_limit=lambda _: 0.98)
    trials: Any = SimpleNamespace(
        precision="fp16", key="fp16", warp=None, recipe=recipe, session=lambda *_: None,
        listed=list,
    )  # fmt: skip
    accuracy: Any = SimpleNamespace(
        frames=8, limits={"fp16": 0.5}, score_limits={"fp16": 0.03}, matched_limits={"fp16": 0.93}
    )
    few: Any = type("Few", (), {"name": "set", "metric": "AP", "__len__": lambda _: 8})()
    found = {
        "0 0": Agreement(scores=1.0, matched=0.5, count=400),
        "1 0": Agreement(scores=1.0, matched=share, count=400),
    }
    names = ("pytorch", *found)
    monkeypatch.setattr(advice, "rank", lambda *_: [("conv",)])
    monkeypatch.setattr(advice, "heads", lambda *_: [("conv",)])
    monkeypatch.setattr(advice, "make_predictor", lambda *_: None)
    monkeypatch.setattr(advice, "Agreements", lambda *_: SimpleNamespace(result=lambda: found))
    monkeypatch.setattr(advice, "evaluate", lambda *_, **__: {each: {"AP": 40.0} for each in names})
    row, pytorch = cast(Any, None), cast(Any, None)
    said = advice.accuracy_advice(trials, [row], few, pytorch, accuracy, Reporter(quiet=True))
    assert ("with higher_precision.fp16=[conv]" in said) is cured
