"""Names and patterns of layers, and the nearest one to a mistake."""

import pytest

from lzu_export.errors import LzuError
from lzu_export.graph.names import matching

NAMES = {
    "node_1": ("backbone.conv1", "node_1"),
    "node_2": ("backbone.layer1.0.conv1", "node_2"),
    "node_3": ("head.tower", "node_3"),
    "node_4": ("head.tower", "node_4"),
}


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ([], []),
        (["head.tower"], ["node_3", "node_4"]),
        (["node_4"], ["node_4"]),
        (["head.tower", "backbone.*"], ["node_1", "node_2", "node_3", "node_4"]),
        (["backbone.layer?.*"], ["node_2"]),
        (["*"], list(NAMES)),
    ],
)
def test_patterns_match_any_name_in_the_order_of_nodes(
    patterns: list[str], found: list[str]
) -> None:
    assert matching(patterns, NAMES, "keep") == found


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [("head.towr", "head.tower"), ("backbone.conv2", "backbone.conv1"), ("tower*", "head.tower")],
)
def test_a_mistake_is_told_the_nearest_name(pattern: str, nearest: str) -> None:
    with pytest.raises(LzuError) as caught:
        matching(["head.*", pattern], NAMES, "higher_precision.int8")
    wanted = (
        f"higher_precision.int8 names {pattern}, which matches no layer; did you mean {nearest}?"
    )
    assert str(caught.value) == wanted


def test_what_resembles_nothing_is_sent_to_the_list() -> None:
    with pytest.raises(LzuError, match="matches no layer; see `lzu-export inspect` for layers"):
        matching(["qqqq"], NAMES, "higher_precision.int8")
    with pytest.raises(LzuError, match="matches no layer; see"):
        matching(["anything"], {}, "higher_precision.int8")


def test_names_are_case_sensitive() -> None:
    with pytest.raises(LzuError, match=r"names HEAD\.TOWER, which matches no layer"):
        matching(["HEAD.TOWER"], NAMES, "higher_precision.fp16")
