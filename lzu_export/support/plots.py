"""Matplotlib, as every figure of this project uses it."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.support.look.colours import LIGHT

STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["faint"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.titlecolor": LIGHT["ink"],
    "xtick.color": LIGHT["faint"],
    "ytick.color": LIGHT["faint"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
    "grid.color": LIGHT["rule"],
    "grid.linewidth": 0.8,
    "text.parse_math": False,  # a name may have dollar signs
}


@contextmanager
def plotting(style: Any = None) -> Iterator[Any]:
    """Give pyplot without a display; settings hold in the block, and its figures are closed.

    Args:
        style: settings on top of `STYLE`, a dictionary.

    Raises:
        LzuError: matplotlib is not installed.
    """
    check_matplotlib()
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    settings: Any = {**STYLE, **(style or {})}
    with mpl.rc_context(settings):
        try:
            yield plt
        finally:
            plt.close("all")


def check_matplotlib() -> None:
    """Check, before any work, that figures can be drawn.

    Raises:
        LzuError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise LzuError("figures are drawn by matplotlib; pip install 'lzu-export[bench]'")
