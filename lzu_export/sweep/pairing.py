"""Time a bundle in turns with another one: `python -m lzu_export.sweep.pairing BASE BUNDLE`.

It runs on the worker that holds the bundles, and prints one line of JSON.
"""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from lzu_export.bundle.bundle import Bundle
from lzu_export.compiler.comparison import UNSTEADY, plan_for, subject_of
from lzu_export.errors import LzuError
from lzu_export.support import hardware
from lzu_export.support.escaping import visible
from lzu_export.support.interleave import drift, take_turns
from lzu_export.support.ratio import ratio_of
from lzu_export.sweep.results import engine_of


def pair(base: Path, bundle: Path) -> dict[str, Any]:
    """Time two bundles' engines in turns, from camera bytes to predictions.

    The engines are those of `results.engine_of`; each runs on the frames of its own reference.

    Args:
        base: the bundle that is compared with.
        bundle: the bundle to time.

    Returns:
        `milliseconds` (median per frame) of the bundle and `base_milliseconds`, `ratio` as
        `interleave.Ratio`, `doubt` (empty if the time was steady), and `machine`.

    Raises:
        LzuError: a folder is no bundle, or its engine does not run here.
    """
    opened = {"base": Bundle(base), "mine": Bundle(bundle)}
    with ExitStack() as stack:
        subjects = {}
        for name, each in opened.items():
            session = each.session(*engine_of(each.manifest).split("/"))
            predictor = stack.enter_context(each.predictor(session))
            subjects[name] = subject_of(predictor, each.batches())
        timings = take_turns(subjects, plan_for(subjects))
    turns = {
        name: [median(turn) / 1e6 / opened[name].recipe.batch for turn in each.turns]
        for name, each in timings.items()
    }
    changed = max(abs(drift(each)) for each in timings.values())
    return {
        "milliseconds": median(turns["mine"]),
        "base_milliseconds": median(turns["base"]),
        "ratio": ratio_of(turns["mine"], turns["base"]).model_dump(),
        "doubt": f"the time changed by {changed:.0%} meanwhile" if changed > UNSTEADY else "",
        "machine": hardware.processor(),
    }


UNFIT = 2
"""Exit status of a command whose input is unfit."""


def main() -> None:
    """Run the command line of two folders."""
    try:
        base, bundle = map(Path, sys.argv[1:])
        print(json.dumps(pair(base, bundle)))
    except LzuError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        sys.exit(UNFIT)


if __name__ == "__main__":
    main()
