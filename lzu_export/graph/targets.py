"""Which passes make a target's file of the canonical one, and the targets' defaults."""

from collections.abc import Mapping

from lzu_export.graph.lower_resample import Kind, lower_resample
from lzu_export.graph.passes import Pass, fold_constants

DEFAULTS: dict[str, dict[str, tuple[Kind, str]]] = {
    "tensorrt-rtx": {
        "zoom": (
            "gridsample",
            "default: few channels and no reuse, a gather reads each pixel once; not measured here",
        ),
        "unzoom": (
            "matmul",
            "default: two dense products, exact and without a grid to read; not measured here",
        ),
    },
}
"""What `auto` picks where the target cannot be measured, and why."""


def target_passes(target: str, choices: Mapping[str, Kind]) -> list[Pass]:
    """Passes from the canonical graph to the target's, in order."""
    return [lower_resample(choices), fold_constants()]
