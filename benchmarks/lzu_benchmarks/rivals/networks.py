"""The networks of the comparison: what each one sees, its weights and its recipe. No torch."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from lzu_benchmarks.train.setup import Setup
from lzu_benchmarks.train.views import Views, views_of
from lzu_benchmarks.train.windows import parse_tiles
from lzu_export.errors import LzuError
from lzu_export.recipes import load_recipe
from lzu_export.recipes.sections import Window
from lzu_export.support.files import read_json


@dataclass(frozen=True)
class Network:
    """What a network of the comparison sees of a frame.

    Attributes:
        name: name of the network.
        scale: canvas size over the size of its view.
        variant: variant of its recipe.
        band: whether the view is the band of the frame that `best_band` chooses.
        tiles: rows and columns of tiles, each of which is a view, such as `2x2`.
    """

    name: str
    scale: float
    variant: str = "uniform"
    band: bool = False
    tiles: str | None = None

    @property
    def passes(self) -> int:
        """Number of views of a frame, each of which is a pass."""
        rows, columns = parse_tiles(self.tiles or "1x1")
        return rows * columns

    def views(self, band: Window | None = None) -> Views:
        """Return a detector's setup and windows.

        `band` is the chosen one, for a network that needs it.
        """
        window = None
        if self.band:
            assert band is not None, "chosen before its network is used"
            window = (band.x, band.y, band.width, band.height)
        return views_of(replace(Setup(), scale=self.scale), window, self.tiles)


class Budget(NamedTuple):
    """Length of a training, the same for all networks that are compared."""

    epochs: float
    sequences: int

    def __str__(self) -> str:
        return f"{self.epochs:g} epochs of {self.sequences} sequences"


@dataclass(frozen=True)
class RivalTask:
    """The networks of one task's comparison.

    Attributes:
        name: name of the task, and of its demonstration's recipe.
        folder: name of the folder of the weights.
        full: budget of the shipped weights.
        networks: networks by name, cheap ones first.
        shipped: names of the networks whose weights of seed 0 ship with the task's recipe.
        merging: sentence on how results of several views become those of the frame.
    """

    name: str
    folder: str
    full: Budget
    networks: Mapping[str, Network]
    shipped: tuple[str, ...]
    merging: str

    @property
    def scale(self) -> float:
        """Scale of the uniform network that all others are compared with."""
        return self.networks["uniform"].scale

    @property
    def zoom(self) -> float:
        """Scale of the band over that of the uniform canvas."""
        return self.networks["crop"].scale / self.scale


def _by_name(*networks: Network) -> dict[str, Network]:
    return {each.name: each for each in networks}


DET = RivalTask(
    "det",
    "rivals",
    Budget(9.0, 1000),
    _by_name(
        Network("uniform", 0.5),
        Network("fixed", 0.5, "fixed"),
        Network("fovea", 0.5, "fovea"),
        Network("crop", 0.75, band=True),
        Network("tiles", 0.5, tiles="2x2"),
        Network("uniform-0.75x", 0.75),
        Network("uniform-1x", 1.0),
    ),
    ("uniform", "fixed", "fovea"),
    "Boxes of several views are suppressed together, after those that an inner edge of a view cuts",
)
SEG = RivalTask(
    "seg",
    "rivals-seg",
    Budget(4.0, 1000),
    _by_name(
        Network("uniform", 0.25),
        Network("fixed", 0.25, "fixed"),
        Network("crop", 0.35, band=True),
        Network("uniform-0.375x", 0.375),
        Network("uniform-0.5x", 0.5),
        Network("uniform-0.75x", 0.75),
        Network("uniform-1x", 1.0),
    ),
    ("uniform", "fixed"),
    "Beside another network, the crop gives the labels inside its window, the other all others",
)
TASKS: Mapping[str, RivalTask] = {each.name: each for each in (DET, SEG)}


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


def weights_in(folder: Path, task: RivalTask) -> list[Weights]:
    """Return the weights that were trained into a folder, and shipped ones of the same budget.

    Raises:
        LzuError: the folder holds weights for another task, or of different budgets, so that they
            cannot be compared.
    """
    found = []
    for name in task.networks:
        for path in sorted(folder.glob(f"{name}-*.json")):
            record = read_json(path)
            if record.get("network") == name:
                _check_task(path, record, task)
                budget = Budget(record["epochs"], record["sequences"])
                found.append(Weights(name, record["seed"], path.with_suffix(".pth"), budget))
    budgets = {each.budget for each in found} or {task.full}
    if len(budgets) > 1:
        raise LzuError(
            f"{folder} holds weights of {' and of '.join(sorted(map(str, budgets)))}, which are "
            "not comparable; train each budget into a folder of its own"
        )
    if budgets == {task.full}:
        known = {(each.network, each.seed) for each in found}
        found += [each for each in shipped(task) if (each.network, 0) not in known]
    return found


def _check_task(path: Path, record: Mapping[str, Any], task: RivalTask) -> None:
    """Refuse weights of another task; the first records were of `det` and did not say so."""
    trained = record.get("task", DET.name)
    if trained != task.name:
        raise LzuError(
            f"{path} records weights of task {trained}, not {task.name}; give each task a folder "
            "of its own"
        )


def shipped(task: RivalTask) -> list[Weights]:
    """Return the shipped weights of seed 0."""
    paths: dict[Any, Path] = dict(load_recipe(task.name).checkpoint)
    return [
        Weights(name, 0, paths[task.networks[name].variant], task.full) for name in task.shipped
    ]


def chosen_band(folder: Path) -> Window | None:
    """Return the band that the training chose and stored in a folder; None if there is none."""
    record = band_record(folder)
    return None if record is None else Window(**record["window"])


def band_record(folder: Path) -> dict[str, Any] | None:
    """Return the chosen band with the rule that chose it; None if the folder has none."""
    path = folder / "band.json"
    return dict(read_json(path)) if path.is_file() else None


def write_band(folder: Path, window: Window, share: float, zoom: float) -> dict[str, Any]:
    """Store the chosen band with the rule that chose it; return the record.

    Args:
        folder: folder of the weights.
        window: the band.
        share: share of the training boxes that it holds whole.
        zoom: its scale over the uniform one.
    """
    record = {
        "window": window.model_dump(),
        "rule": f"the band of the frame's width at {zoom:g} times the uniform scale, as high as "
        "costs no more than the uniform input, at the rows that hold most training boxes whole",
        "share": share,
    }
    (folder / "band.json").write_text(json.dumps(record, indent=1) + "\n")
    return record


def overrides(network: Network, band: Window | None) -> dict[str, Any]:
    """Return the settings of its task's recipe that describe a network.

    Args:
        network: the network.
        band: the chosen band, for a network that needs it.
    """
    changes: dict[str, Any] = {"variant": network.variant, "scale": network.scale}
    if network.band:
        assert band is not None, "chosen before its network is used"
        changes["crop"] = band.model_dump()
    if network.tiles is not None:
        setup = network.views().setup
        changes |= {"source": list(setup.source), "scale": setup.scale}
    return changes


def missing(wanted: Iterable[str], found: Iterable[Weights]) -> list[str]:
    """Return the networks of `wanted` that have no weights."""
    there = {each.network for each in found}
    return [name for name in wanted if name not in there]
