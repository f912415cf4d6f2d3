"""Time small models in ONNX Runtime, as the choice of a lowering needs it."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from lzu_export.support.interleave import Plan, Subject, subject, take_turns
from lzu_export.targets.onnxruntime import OnnxRuntimeSession

BLOCK = 3
"""Number of runs of a model in a round, of which the fastest counts."""
LEAST_ROUNDS, MOST_ROUNDS, SECONDS = 9, 31, 1.5
"""Bounds of the number of rounds in a comparison of models, and the seconds that rounds may take
between these bounds."""
FIRST_ROUNDS, HOPELESS = 3, 3.0
"""Number of rounds of single runs in which a comparison begins, and how many times as long as the
fastest model another one takes in each of them to run in no further round."""


def time_models(models: Sequence[bytes], *, rounds: int = 9) -> list[float]:
    """Time each small model on random input; return the least seconds of `rounds`, after a warmup.

    The models take turns, so that a busy machine slows all alike. The minimum is taken because
    other load on the machine can only add time.
    """
    plan = Plan(queries=rounds, block=1, settle=0, warmup_queries=1, warmup_seconds=0.0)
    timings = take_turns(_subjects(models), plan)
    return [min(each.totals) / 1e9 for each in timings.values()]


def compare_models(models: Sequence[bytes]) -> list[list[float]]:
    """Time each small model on random input; return the seconds of its fastest run per round.

    The models take turns in every round, in changing order. The first rounds are short. A model
    that is hopelessly slow in them runs in these only, since more would take most of the time.
    """
    subjects = _subjects(models)
    spent = {name: _seconds_of(each) for name, each in subjects.items()}
    plan = Plan(queries=FIRST_ROUNDS, block=1, warmup_queries=0, warmup_seconds=0.0)
    found = _rounds(subjects, plan)
    fastest = [min(seconds) for seconds in zip(*found.values(), strict=True)]
    kept = {
        name: subjects[name]
        for name, mine in found.items()
        if any(a < HOPELESS * b for a, b in zip(mine, fastest, strict=True))
    }
    if len(kept) > 1:
        total = sum(spent[name] for name in kept) * (BLOCK + 1)
        rounds = round(min(max(SECONDS / total, LEAST_ROUNDS), MOST_ROUNDS))
        plan = Plan(queries=BLOCK * rounds, block=BLOCK, warmup_queries=0, warmup_seconds=0.0)
        for name, more in _rounds(kept, plan).items():
            found[name] += more
    return list(found.values())


def _rounds(subjects: Mapping[str, Subject], plan: Plan) -> dict[str, list[float]]:
    """Return the seconds of each model's fastest run per round."""
    timings = take_turns(subjects, plan)
    return {name: [min(turn) / 1e9 for turn in each.turns] for name, each in timings.items()}


def _subjects(models: Sequence[bytes]) -> dict[str, Subject]:
    generator = np.random.default_rng(0)
    subjects = {}
    for i, model in enumerate(models):
        session = OnnxRuntimeSession(model)
        feeds = {s.name: generator.standard_normal(s.shape).astype(s.dtype) for s in session.inputs}
        subjects[str(i)] = subject(partial(session.run, feeds))
    return subjects


def _seconds_of(model: Subject) -> float:
    """Measure the seconds of a model's second run."""
    plan = Plan(queries=1, block=1, warmup_queries=0, warmup_seconds=0.0)
    return take_turns({"": model}, plan)[""].totals[0] / 1e9
