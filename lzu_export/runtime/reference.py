"""Read and write `reference.npz`: frames and PyTorch's values at every probe point.

They serve to verify a bundle on a device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.manifest.schema import AGAIN
from lzu_export.runtime.compare import Scale
from lzu_export.support.files import read_npz

FILE = "reference.npz"
FORMER = {"arrow": "probe"}
"""Current name of a kind of values by its former name."""
KINDS = ("frames", "input", "probe", "output", "selection")
"""Kinds of values in the file."""
SAMPLES = 8192
"""Largest number of values kept per probe point, evenly spread; outputs are kept whole."""

Values = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Reference:
    """PyTorch's values for one batch of frames."""

    frames: NDArray[np.uint8]
    """Frames B x H x W x 3, BGR."""
    inputs: Values
    """Inputs of the engine other than the image."""
    probes: Values
    """Samples that `subsample` takes, by probe point."""
    outputs: Values
    """Final outputs, whole, and the margins of their choices."""
    usual: Mapping[str, Scale] = field(default_factory=dict)
    """Scales of probe points and outputs on the bundle's own frames, if `frames` are others."""
    selections: Values = field(default_factory=dict)
    """Indices that the network selects by rank, whole, by probe point: integers, at least 1-D."""

    def strength(self) -> float:
        """Return the ratio of these frames' scores or margins to the usual ones, from 0 to 1.

        On a nearly empty frame, as from a covered lens, classes are ties that rounding decides, so
        a difference there is weighted by this ratio. It is 1 if `usual` has no scale.
        """
        for name in ("scores", "margins"):
            if name in self.outputs and name in self.usual:
                own = Scale.over([self.outputs[name]]).root_mean_square
                usual = self.usual[name].root_mean_square
                return min(1.0, own / usual) if usual else 1.0
        return 1.0


def subsample(values: NDArray[Any]) -> NDArray[Any]:
    """Return at most SAMPLES values of an array, evenly spread over it in memory order.

    The step shares no factor with any axis, so that samples do not fall into a few columns or rows.
    """
    step = -(-values.size // SAMPLES)
    while any(gcd(step, length) > 1 for length in values.shape):
        step += 1
    return np.ascontiguousarray(values.reshape(-1)[::step])


def usual_scales(references: Sequence[Reference]) -> dict[str, Scale]:
    """Compute the scales of probe points and outputs on these frames, by name."""
    found: dict[str, list[NDArray[Any]]] = {}
    for reference in references:
        for name, values in {**reference.probes, **reference.outputs}.items():
            found.setdefault(name, []).append(values)
    return {name: Scale.over(arrays) for name, arrays in found.items()}


def write_reference(path: Path, references: Sequence[Reference]) -> None:
    """Write references to a compressed file."""
    arrays: dict[str, Any] = {}
    for i, reference in enumerate(references):
        arrays[f"{i}/frames"] = reference.frames
        arrays.update({f"{i}/input/{name}": v for name, v in reference.inputs.items()})
        arrays.update({f"{i}/probe/{name}": v for name, v in reference.probes.items()})
        arrays.update({f"{i}/output/{name}": v for name, v in reference.outputs.items()})
        arrays.update({f"{i}/selection/{name}": v for name, v in reference.selections.items()})
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_reference(path: Path) -> list[Reference]:
    """Read the references that `write_reference` stored.

    Raises:
        LzuError: the file is damaged.
    """
    arrays = read_npz(path, remedy=AGAIN)
    try:
        batches: dict[int, dict[str, Values]] = {}
        for key, value in arrays.items():
            number, kind, *name = key.split("/")
            batch = batches.setdefault(int(number), {kind: {} for kind in KINDS})
            batch[FORMER.get(kind, kind)][name[0] if name else ""] = value
        found = [
            Reference(
                batch["frames"][""],
                batch["input"],
                batch["probe"],
                batch["output"],
                selections=batch["selection"],
            )
            for _, batch in sorted(batches.items())
        ]
        _check(found)
        return found
    except (ValueError, KeyError) as error:
        raise LzuError(f"{path} is damaged; {AGAIN}") from error


def _check(references: Sequence[Reference]) -> None:
    """Refuse references that `write_reference` does not write.

    Raises:
        ValueError: there is no batch, batches differ in probe points or outputs or have none, or
            an array has an unexpected type or shape.
    """
    if not references:
        raise ValueError("no batch")
    first = references[0]
    for each in references:
        frames = each.frames
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError("no frames")
        if not each.probes or set(each.probes) != set(first.probes) or not each.outputs:
            raise ValueError("other probe points in one batch than in another")
        if set(each.outputs) != set(first.outputs):
            raise ValueError("other outputs in one batch than in another")
        if set(each.selections) != set(first.selections):
            raise ValueError("other selections in one batch than in another")
        for values in each.probes.values():
            if values.dtype.kind not in "fiub" or values.ndim != 1 or not values.size:
                raise ValueError("a probe point's samples are not a list of numbers")
        for values in each.selections.values():
            if values.dtype.kind != "i" or not values.ndim:
                raise ValueError("a selection is no list of indices")
        for values in each.outputs.values():
            if values.dtype.kind not in "fiub" or not values.ndim:
                raise ValueError("an output is not a batch of numbers")
