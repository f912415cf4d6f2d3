"""The networks of the comparison: what each one sees, its weights and its recipe. No torch."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from lzu_benchmarks.train.setup import Setup
from lzu_benchmarks.train.views import Views, views_of
from lzu_export.errors import LzuError
from lzu_export.recipes import load_recipe
from lzu_export.recipes.sections import Window
from lzu_export.support.files import read_json


@dataclass(frozen=True)
class Network:
    """What a network of the comparison sees of a frame.

    Attributes:
        variant: variant of its recipe.
        scale: canvas size over the size of its view.
        band: whether the view is the band of the frame that `best_band` chooses.
        tiles: rows and columns of tiles, each of which is a view, such as `2x2`.
    """

    variant: str = "uniform"
    scale: float = Setup.scale
    band: bool = False
    tiles: str | None = None

    def views(self, band: Window | None = None) -> Views:
        """Return the setup and windows; `band` is the chosen one, for a network that needs it."""
        window = None
        if self.band:
            assert band is not None, "chosen before its network is used"
            window = (band.x, band.y, band.width, band.height)
        return views_of(replace(Setup(), scale=self.scale), window, self.tiles)


ZOOM = 1.5
"""Scale of the band over that of the uniform canvas."""
NETWORKS: Mapping[str, Network] = {
    "uniform": Network(),
    "fixed": Network("fixed"),
    "fovea": Network("fovea"),
    "crop": Network(scale=ZOOM * Setup.scale, band=True),
    "tiles": Network(tiles="2x2"),
    "uniform-0.75x": Network(scale=0.75),
    "uniform-1x": Network(scale=1.0),
}
"""Networks by name, cheap ones first."""
SHIPPED = ("uniform", "fixed", "fovea")
"""Networks whose weights of seed 0 ship with the task's recipe."""


class Budget(NamedTuple):
    """Length of a training, the same for all networks that are compared."""

    epochs: float
    sequences: int

    def __str__(self) -> str:
        return f"{self.epochs:g} epochs of {self.sequences} sequences"


FULL = Budget(9.0, 1000)
"""Budget of the shipped weights."""


class Weights(NamedTuple):
    """Trained weights of one network and seed.

    Attributes:
        network: name of the network.
        seed: random seed of the training.
        path: checkpoint.
        budget: length of the training.
    """

    network: str
    seed: int
    path: Path
    budget: Budget

    @property
    def name(self) -> str:
        """Name of the weights, such as `crop-0`."""
        return f"{self.network}-{self.seed}"


def weights_in(folder: Path) -> list[Weights]:
    """Return the weights that were trained into a folder, and shipped ones of the same budget.

    Raises:
        LzuError: the folder's weights had different budgets, so that they cannot be compared.
    """
    found = []
    for name in NETWORKS:
        for path in sorted(folder.glob(f"{name}-*.json")):
            record = read_json(path)
            if record.get("network") == name:
                budget = Budget(record["epochs"], record["sequences"])
                found.append(Weights(name, record["seed"], path.with_suffix(".pth"), budget))
    budgets = {each.budget for each in found} or {FULL}
    if len(budgets) > 1:
        raise LzuError(
            f"{folder} holds weights of {' and of '.join(sorted(map(str, budgets)))}, which are "
            "not comparable; train each budget into a folder of its own"
        )
    if budgets == {FULL}:
        known = {(each.network, each.seed) for each in found}
        found += [each for each in shipped() if (each.network, 0) not in known]
    return found


def shipped() -> list[Weights]:
    """Return the shipped weights of seed 0."""
    paths = load_recipe("det").checkpoint
    return [Weights(name, 0, paths[NETWORKS[name].variant], FULL) for name in SHIPPED]  # type: ignore[index]


def chosen_band(folder: Path) -> Window | None:
    """Return the band that the training chose and stored in a folder; None if there is none."""
    record = band_record(folder)
    return None if record is None else Window(**record["window"])


def band_record(folder: Path) -> dict[str, Any] | None:
    """Return the chosen band with the rule that chose it; None if the folder has none."""
    path = folder / "band.json"
    return dict(read_json(path)) if path.is_file() else None


def write_band(folder: Path, window: Window, share: float) -> dict[str, Any]:
    """Store the chosen band with the rule that chose it; return the record."""
    record = {
        "window": window.model_dump(),
        "rule": f"the band of the frame's width at {ZOOM:g} times the uniform scale, as high as "
        "costs no more than the uniform input, at the rows that hold most training boxes whole",
        "share": share,
    }
    (folder / "band.json").write_text(json.dumps(record, indent=1) + "\n")
    return record


def overrides(network: Network, views: Views) -> dict[str, Any]:
    """Return the settings of the recipe `det` that describe a network."""
    setup = views.setup
    changes: dict[str, Any] = {"variant": network.variant, "scale": setup.scale}
    if setup.window is not None:
        changes["crop"] = setup.window.model_dump()
    if views.windows is not None:
        changes["source"] = list(setup.source)
    return changes


def missing(wanted: Iterable[str], found: Iterable[Weights]) -> list[str]:
    """Return the networks of `wanted` that have no weights."""
    there = {each.network for each in found}
    return [name for name in wanted if name not in there]
