"""Post-processing `labels`: the class of every pixel, from one output of logits or of labels."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.recipes.postprocessing import LabelPostprocess
from lzu_export.runtime.postprocessing.context import Context, Outputs
from lzu_export.runtime.postprocessing.outputs import check_classes, numbers, take
from lzu_export.support.limits import IGNORED
from lzu_export.warp.tables import Table, TablePair, label_tables, table_pixels

REMEDY = "name as many classes as the network has, or another output in postprocess.output"

FARTHEST = np.float32(1e30)
"""Magnitude to which logits are clipped, since infinite ones have no mean."""

LabelMap = NDArray[np.uint8]


class Between(NamedTuple):
    """Cells of one axis between which output pixels lie."""

    first: NDArray[np.intp]
    last: NDArray[np.intp]
    share: NDArray[np.float32]
    """Share of the last cell."""


class Labels:
    """Makes label maps of one output, see `recipes.postprocessing.LabelPostprocess`."""

    def __init__(self, context: Context) -> None:
        """Take the settings and the geometry."""
        self._context = context
        self._settings: LabelPostprocess = context.settings
        self._tables: dict[tuple[int, int], TablePair] = {}  # by size of the map

    def __call__(self, outputs: Outputs) -> LabelMap:
        """Return the label map (height, width) of the view, uint8.

        Raises:
            LzuError: the output is missing, has another shape, has NaN, or has labels without a
                class.
        """
        name, values = take(outputs, self._settings.output, "output")
        if values.dtype.kind in "iu" and values.ndim == 3 and len(values) == 1:
            values = values[0]  # the axis that argmax keeps
        if values.dtype.kind in "iu" and values.ndim == 2:
            return self._nearest(name, values)
        logits = numbers(name, values, ("classes", "height", "width"))
        check_classes(name, len(logits), self._context.classes, REMEDY)
        if not 2 <= len(logits) <= IGNORED:
            raise LzuError(
                f"output {name} has {len(logits)} classes, but a label map has 2 to {IGNORED}; "
                "return labels instead of logits, or choose a post-processing of your own"
            )
        return self._most_likely(name, logits)

    def _most_likely(self, name: str, logits: NDArray[np.float32]) -> LabelMap:
        """Return the first class with the highest resized logit, for every pixel of the view.

        Logits are resized along rows first. Between two of these rows, a pixel whose class is the
        same in both has that class, because its logits are a weighted mean; only others are
        computed.
        """
        tables = self._places(name, logits.shape[1:])
        rows, columns = (_between(*each) for each in zip(tables, logits.shape[1:], strict=True))
        by_row = np.ascontiguousarray(logits.transpose(1, 0, 2)).clip(-FARTHEST, FARTHEST)
        wide = by_row.take(columns.first, axis=2)
        wide += (by_row.take(columns.last, axis=2) - wide) * columns.share
        classes = wide.argmax(axis=1).astype(np.uint8)
        labels = classes[rows.first]
        starts = np.flatnonzero(np.diff(rows.first, prepend=-1))
        for start, end in pairwise((*starts, len(labels))):
            upper, lower = rows.first[start], rows.last[start]
            mixed = np.flatnonzero(classes[upper] != classes[lower])
            step = wide[lower][:, mixed] - wide[upper][:, mixed]
            values = wide[upper][:, mixed] + step * rows.share[start:end, None, None]
            labels[start:end, mixed] = values.argmax(axis=1)
        return labels

    def _nearest(self, name: str, labels: NDArray[Any]) -> LabelMap:
        """Return the label of the cell nearest to every pixel of the view."""
        count = len(self._context.classes) or IGNORED
        unknown = labels[(labels != IGNORED) & ((labels < 0) | (labels >= count))]
        if unknown.size:
            raise LzuError(
                f"output {name} has the label {unknown[0]}, but labels are 0 to {count - 1}, or "
                f"{IGNORED} for none; name every class, or another output in postprocess.output"
            )
        tables = self._places(name, labels.shape)
        rows, cols = (
            np.floor(table_pixels(each) + 0.5).astype(np.intp).clip(0, n - 1)
            for each, n in zip(tables, labels.shape, strict=True)
        )
        return labels.astype(np.uint8)[rows[:, None], cols]

    def _places(self, name: str, cells: tuple[int, ...]) -> TablePair:
        """Return the tables that resize a map of (height, width) cells to the view."""
        size = (cells[0], cells[1])
        if size not in self._tables:
            geometry = self._context.geometry
            self._tables[size] = label_tables(
                size,
                self._stride(name, size),
                geometry.canvas,
                geometry.view,
                canvas_step=geometry.step,
                upsampling=self._settings.upsampling,
            )
        return self._tables[size]

    def _stride(self, name: str, size: tuple[int, int]) -> float:
        """Return the pixels of the canvas per cell of a map of (height, width) cells."""
        whole, levels = self._context.geometry.network_input, self._context.levels
        for level in levels:
            if level.size == size:
                return float(level.stride)
        strides = [pixels / max(count, 1) for pixels, count in zip(whole, size, strict=True)]
        if strides[0] == strides[1] and strides[0].is_integer():
            return strides[0]
        for level in levels:
            finer = [many / few for many, few in zip(size, level.size, strict=True)]
            if finer[0] == finer[1] and finer[0].is_integer() and finer[0] > 0:
                return level.stride / finer[0]
        raise LzuError(
            f"output {name} has {size[0]}x{size[1]} cells, which neither divide the network input "
            f"{whole[0]}x{whole[1]} evenly nor are a multiple of an unzoomed level; name another "
            "output in postprocess.output"
        )


def _between(table: Table, count: int) -> Between:
    """Return the cells, out of `count`, between which a table of `label_tables` places pixels."""
    first = table[0].astype(np.intp)
    return Between(first, np.minimum(first + 1, count - 1), table[1])
