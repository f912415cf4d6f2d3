"""Choose the next points of a sweep with Optuna, by the results of those before."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.support.extras import needs
from lzu_export.sweep.results import Row
from lzu_export.sweep.schema import Range, Rank, Settings, Sweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

DIGITS = 4
"""Number of significant digits of a chosen number, so that recipes stay legible."""
TRIES, DRAWS = 5, 1000
"""Largest numbers of choices and of even draws for one point that exclusions may refuse."""


class Searcher:
    """Chooses points of a matrix. The same seed and results choose the same points.

    Nothing is stored: a search that goes on asks again, and gets the results of done points from
    the sweep's jobs.
    """

    def __init__(self, sweep: Sweep, rank: Rank) -> None:
        """Prepare the search.

        Args:
            sweep: the sweep; its matrix may have ranges.
            rank: order by which points are better.

        Raises:
            LzuError: Optuna is not installed.
        """
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise LzuError(needs("--search", error.name, "sweep")) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._sweep, self._rank = sweep, rank
        better = {
            "accuracy": "minimize" if rank.direction == "lowest" else "maximize",
            "time": "minimize",
        }
        kinds = [each for each in better if rank.by in (each, "pareto")]
        directions: Any = [better[each] for each in kinds]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of settings that Optuna calls experimental
            sampler = optuna.samplers.TPESampler(
                seed=sweep.search.seed,
                constant_liar=True,
                n_startup_trials=max(4, min(10, 2 * len(sweep.matrix))),
            )
            self._study = optuna.create_study(sampler=sampler, directions=directions)
        self._random = np.random.default_rng(sweep.search.seed)
        self._failed = optuna.trial.TrialState.FAIL
        self._space = {key: _distribution(values) for key, values in sweep.matrix.items()}

    def ask(
        self, count: int, excluded: Callable[[Settings], bool]
    ) -> list[tuple["Trial", Settings]]:
        """Choose points.

        Args:
            count: number of points.
            excluded: function from settings to whether the sweep leaves them out.

        Raises:
            LzuError: exclusions refuse nearly all that is chosen.
        """
        return [self._one(excluded) for _ in range(count)]

    def _one(self, excluded: Callable[[Settings], bool]) -> tuple["Trial", Settings]:
        """Choose a point. What exclusions refuse is asked for again, and after some tries drawn
        evenly: Optuna ignores failed trials, and would go on to choose what looks best.
        """
        for _ in range(TRIES):
            trial = self._study.ask(self._space)
            settings = self._settings(trial.params)
            if not excluded(settings):
                return trial, settings
            self._study.tell(trial, state=self._failed)
        for _ in range(DRAWS):
            drawn = {key: _draw(each, self._random) for key, each in self._sweep.matrix.items()}
            if not excluded(self._settings(drawn)):
                self._study.enqueue_trial(drawn)
                trial = self._study.ask(self._space)
                return trial, self._settings(trial.params)
        raise LzuError("exclude leaves too little of the matrix to search; remove some")

    def tell(self, trial: "Trial", row: Row) -> None:
        """Report the result of a chosen point."""
        figures = {
            "accuracy": [row.metric],
            "time": [row.ratio.value if row.ratio else None],
            "pareto": [row.metric, row.ratio.value if row.ratio else None],
        }[self._rank.by]
        values = [each for each in figures if each is not None and math.isfinite(each)]
        if len(values) < len(figures):
            self._study.tell(trial, state=self._failed)
        else:
            self._study.tell(trial, values)

    def _settings(self, chosen: dict[str, Any]) -> Settings:
        found: Settings = {}
        for key, values in self._sweep.matrix.items():
            if isinstance(values, Range):
                value = chosen[key]
                found[key] = value if values.integers else float(f"{value:.{DIGITS}g}")
            else:
                found[key] = values[chosen[key]]
        return found


def corners(sweep: Sweep) -> Iterator[Settings]:
    """Yield points that have every value of a list and both ends of every range once."""
    ends: dict[str, Sequence[Any]] = {
        key: (each.low, each.high) if isinstance(each, Range) else each
        for key, each in sweep.matrix.items()
    }
    first = {key: values[0] for key, values in ends.items()}
    yield first
    for key, values in ends.items():
        for value in values[1:]:
            yield {**first, key: value}


def _draw(values: tuple[Any, ...] | Range, generator: np.random.Generator) -> Any:
    """Draw a number of a range, or the index of a value of a list."""
    if not isinstance(values, Range):
        return int(generator.integers(len(values)))
    if values.integers:
        return int(generator.integers(int(values.low), int(values.high) + 1))
    if values.log:
        return float(np.exp(generator.uniform(np.log(values.low), np.log(values.high))))
    return float(generator.uniform(values.low, values.high))


def _distribution(values: tuple[Any, ...] | Range) -> "BaseDistribution":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(values, Range):
        return CategoricalDistribution(range(len(values)))
    if values.integers:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(float(values.low), float(values.high), log=values.log)
