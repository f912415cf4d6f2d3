"""Every target has its passes and, where it cannot be measured, its documented defaults."""

import pytest

from lzu_export.graph.derivation import target_passes
from lzu_export.graph.lowering.resample import KINDS
from lzu_export.graph.passes import run_passes
from lzu_export.targets.registry import find, names
from samples import dialect, random_tables, warp_model


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt", "tensorrt-rtx"])
def test_a_target_s_graph_is_lowered_then_folded(target: str) -> None:
    passes = target_passes(dialect(target), {"warped": "banded"})
    assert [each.name for each in passes] == ["lower-resample", "fold-constants"]
    rows, cols = random_tables(0, (30, 40), (12, 20))
    lowered, _ = run_passes(warp_model((1, 3, 30, 40), rows, cols), passes)
    assert all(node.domain == "" for node in lowered.graph.node)


def test_targets_that_are_not_here_have_defaults_with_reasons() -> None:
    for name in [each for each in names() if find(each).timer is None]:
        defaults = find(name).dialect.lowerings
        assert set(defaults) == {"zoom", "unzoom"}
        for kind, reason in defaults.values():
            assert kind in KINDS
            assert reason.startswith("default: ")


def test_tensorrt_samples_no_separable_warp_by_default() -> None:
    """Some of its releases are reported to sample wrongly inside an FP16 network."""
    assert {place: kind for place, (kind, _) in dialect("tensorrt").lowerings.items()} == {
        "zoom": "banded",
        "unzoom": "matmul",
    }
