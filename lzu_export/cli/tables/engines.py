"""Rows of a bundle's engines: accuracy, latency, size, deviation and status."""

from collections.abc import Iterator, Sequence

from lzu_export.manifest.comparison import Parity
from lzu_export.manifest.schema import Engine, Manifest
from lzu_export.support.limits import EMULATED
from lzu_export.support.tables import Cell, Column, coloured

GRAPH_OK = {"graph passed": "graph ok"}
STATUS = {"passed": "verified", **GRAPH_OK}
"""Words for a comparison's status in the table."""
NOTHING = "-"


def engine_columns(metric: str, together: bool) -> list[Column]:
    """Return the columns of `engine_rows`.

    Args:
        metric: name of the accuracy metric; empty where no accuracy was measured.
        together: whether there is a column of time ratios, see `engine_rows`.
    """
    figures = [*([metric] if metric else []), "ms", *(["ratio"] if together else [])]
    figures += ["MB", "build s", "dev/SNR"]
    return [Column("engine"), *map(Column, figures), Column("status", left=True)]


def engine_rows(manifest: Manifest, metric: str, together: bool) -> Iterator[Sequence[Cell]]:
    """Yield the rows of PyTorch, of the engines, and of those with the rounding of a device.

    Args:
        manifest: manifest of the bundle.
        metric: name of the accuracy metric; empty where no accuracy was measured.
        together: show the times measured interleaved with other bundles, and their ratios.
    """
    accuracy, latency = manifest.accuracy, manifest.latency
    comparison = manifest.comparison if together else None
    parities = {(parity.target, parity.precision): parity for parity in manifest.parity}

    def score(values: dict[str, float] | None) -> list[Cell]:
        return [_number(values[metric] if values else None, 2)] if metric else []

    alone = [NOTHING, ""] if together else [_number(latency.pytorch if latency else None, 1)]
    yield ["  PyTorch", *score(accuracy.pytorch if accuracy else None), *alone]
    taken = comparison.milliseconds if comparison else latency.engines if latency else {}
    ratios = comparison.ratios if comparison else {}
    engines = {each.name: each for each in manifest.engines}
    made: dict[str, Engine | None] = {**engines}
    made |= {f"{EMULATED}/{precision}": None for precision in emulated(manifest)}
    for key, engine in made.items():
        target, _, precision = key.partition("/")
        parity = parities.get((target, precision))
        ratio = [_number(ratios[key].value if key in ratios else None, 2)] if together else []
        yield [
            f"  {target} {precision}",
            *score(accuracy.engines.get(key) if accuracy else None),
            _number(taken.get(key), 1),
            *ratio,
            _number(engine.bytes / 1e6 if engine else None, 1),
            _number(engine.build_seconds or None if engine else None, 1),
            _worst(parity),
            coloured(STATUS.get(parity.status, parity.status)) if parity else "",
        ]


def emulated(manifest: Manifest) -> list[str]:
    """Return the precisions that were also run with the rounding of a device."""
    held = [parity.precision for parity in manifest.parity if parity.target == EMULATED]
    engines = manifest.accuracy.engines if manifest.accuracy else {}
    scored = [name.partition("/")[2] for name in engines if name.startswith(f"{EMULATED}/")]
    return list(dict.fromkeys([*held, *scored]))


def _worst(parity: Parity | None) -> str:
    """Return an FP32 engine's largest deviation, or the worst signal-to-noise ratio of another."""
    worst = parity.worst if parity is not None else None
    if worst is None:
        return NOTHING
    return f"{worst.value:.0f} dB" if worst.figure == "snr" else f"{worst.value:.1e}"


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"
