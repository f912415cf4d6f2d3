"""Knots that the host gives to an engine of the variant `external`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.warp.grids import AXIS_KNOTS, PLANE_KNOTS
from lzu_export.warp.warp import check_named_knots


class HostKnots:
    """Knots for every stream of a batch: the bundle's constant ones until others are set."""

    def __init__(self, recipe: Recipe, constant: Mapping[str, NDArray[Any]]) -> None:
        """Start with the constant knots.

        Args:
            recipe: recipe of the variant `external`.
            constant: arrays by name that hold the constant knots, such as those of `warp.npz`.
        """
        self.names = AXIS_KNOTS if recipe.separable else PLANE_KNOTS
        self._constant = {name: np.asarray(constant[name], np.float32) for name in self.names}
        self._streams = [self._constant] * recipe.batch

    def reset(self) -> None:
        """Return to the constant knots."""
        self._streams = [self._constant] * len(self._streams)

    def set_knots(self, knots: Mapping[str, ArrayLike], stream: int | None = None) -> None:
        """Zoom all following frames at these knots.

        Args:
            knots: `knots_x` (w,) and `knots_y` (h,), or `knots` (h, w, 2), in [-1, 1] over the
                view, with the numbers of knots that the engine takes.
            stream: index of the stream in the batch; by default all streams.

        Raises:
            LzuError: the knots have other names, shapes or types, are not finite, decrease, or lie
                beyond the view; or there is no such stream. The former knots are then kept.
        """
        checked = self._checked(knots)
        count = len(self._streams)
        if stream is None:
            self._streams = [checked] * count
        elif 0 <= stream < count:
            self._streams = [*self._streams[:stream], checked, *self._streams[stream + 1 :]]
        else:
            raise LzuError(f"stream is {stream} but the batch has {count}; count from 0")

    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """Return the engine's inputs by name, float32 with the streams as first axis."""
        return {name: np.stack([each[name] for each in self._streams]) for name in self.names}

    def _checked(self, knots: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float32]]:
        kind = "knots_x and knots_y" if self.names == AXIS_KNOTS else "knots of a plane"
        if set(knots) != set(self.names):
            raise LzuError(
                f"knots are named {', '.join(knots) or 'nothing'} but the engine takes {kind}; "
                f"give {' and '.join(self.names)} by name"
            )
        try:
            found = check_named_knots(knots)
        except (TypeError, ValueError) as error:
            raise LzuError("knots are no arrays of numbers; give floats in [-1, 1]") from error
        for name, values in found.items():
            wanted = self._constant[name].shape
            if values.shape != wanted:
                raise LzuError(
                    f"{name} have shape {values.shape} but the engine takes {wanted}; compute them "
                    "on its lattice, or export with another warp.lattice"
                )
        return {name: values.clip(-1, 1).astype(np.float32) for name, values in found.items()}
