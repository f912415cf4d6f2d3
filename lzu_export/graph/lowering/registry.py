"""Lowerings of each `lzu` operator. Every module of lowerings registers its own here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx_graphsurgeon as gs

from lzu_export.errors import LzuError
from lzu_export.ops.contract import DOMAIN
from lzu_export.ops.registry import OPERATORS


@dataclass(frozen=True)
class Lowerings:
    """The lowerings of one operator."""

    operator: str
    names: tuple[Any, ...]
    lower: Callable[[gs.Graph, gs.Node, Any], None]
    """Replaces a call by the nodes of one kind; the call's output tensors keep their names."""
    possible: Callable[[gs.Node], list[Any]]
    """Returns the names of the lowerings that express a call exactly."""


LOWERINGS: dict[str, Lowerings] = {}
"""Lowerings by the operator's name; filled by `register`."""


def register(
    operator: str,
    names: tuple[Any, ...],
    lower: Callable[[gs.Graph, gs.Node, Any], None],
    possible: Callable[[gs.Node], list[Any]] | None = None,
) -> None:
    """Give an operator its lowerings.

    Args:
        operator: name of a registered operator.
        names: names of the lowerings.
        lower: replaces a call by the nodes of one kind.
        possible: returns the names of those that express a call exactly; all of them by default.

    Raises:
        LzuError: there is no such operator.
    """
    if operator not in OPERATORS:
        raise LzuError(
            f"there is no operator lzu::{operator} to lower; add it to lzu_export.ops.registry"
        )
    LOWERINGS[operator] = Lowerings(operator, names, lower, possible or (lambda _: list(names)))


def lowerings_of(node: gs.Node) -> Lowerings:
    """Return the lowerings of the operator that a node calls.

    Raises:
        LzuError: the node calls no operator with lowerings.
    """
    if node.domain != DOMAIN or node.op not in LOWERINGS:
        raise LzuError(f"the node {node.name} calls {node.op}, which has no lowerings")
    return LOWERINGS[node.op]
