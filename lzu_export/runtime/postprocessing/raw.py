"""Post-processing `raw`: the outputs by name, unchanged."""

from typing import Any

from numpy.typing import NDArray

from lzu_export.runtime.postprocessing.context import Context, Outputs


class Raw:
    """Returns one frame's outputs."""

    def __init__(self, context: Context) -> None:
        """Take nothing from the context."""

    def __call__(self, outputs: Outputs) -> dict[str, NDArray[Any]]:
        """Return the outputs of one frame by name."""
        return dict(outputs)
