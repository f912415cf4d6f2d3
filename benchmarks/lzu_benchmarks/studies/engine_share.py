"""Measure the share of an evaluation that is spent in its engine.

`python -m lzu_benchmarks engine_share BUNDLE`.

The rest is reading and checking frames, preparing inputs, suppression and the metric, as far as
they do not run in parallel with the engine. All frames are read once before, which renders those
of the demonstration.
"""

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_export.cli import exits
from lzu_export.evaluation.datasets import EvaluationSet, open_dataset
from lzu_export.evaluation.evaluate import Timing, evaluate
from lzu_export.runtime import load
from lzu_export.runtime.predictor import Predictor
from lzu_export.support.progress import Reporter
from lzu_export.targets.registry import DEFAULT_TARGET

NEEDS = "a bundle; extras runtime, bench"

FRAMES = 500


def measure(predictor: Predictor, dataset: EvaluationSet, report: Reporter) -> Timing:
    """Read all frames of a set once, then time its evaluation."""
    with report.steps(f"reading {dataset.name}", len(dataset)) as advance:
        for _ in dataset.samples():
            advance()
    spent = Timing()
    with report.steps(f"evaluating on {dataset.name}", len(dataset)) as advance:
        evaluate({"": predictor}, dataset, advance, spent=spent)
    return spent


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command's options."""
    made = study_parser(__file__, __doc__)
    made.add_argument("bundle", type=Path)
    made.add_argument("--dataset", default="demo", help="demo, or a path")
    made.add_argument(
        "--frames", type=int, default=FRAMES, help="evaluate at most this many frames"
    )
    made.add_argument("--target", default=DEFAULT_TARGET)
    made.add_argument("--precision", default="fp32")
    add_json(made)
    return made


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = parser().parse_args(arguments)
    predictor = load(given.bundle, target=given.target, precision=given.precision)
    recipe = predictor.recipe
    dataset = open_dataset(given.dataset, given.frames, recipe.task, recipe)
    before = time.process_time()
    spent = measure(predictor, dataset, Reporter())
    processors = time.process_time() - before
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        **asdict(spent),
        "share": spent.share,
        "processor_seconds": processors,
        "peak_megabytes": megabytes,
    }
    print_result(
        given.json,
        result,
        f"{spent}: {1e3 * spent.engines / spent.frames:.1f} of "
        f"{1e3 * spent.seconds / spent.frames:.1f} ms a frame; "
        f"{processors:.1f} s of processors, reading twice; "
        f"at most {megabytes:.0f} MB",
    )


if __name__ == "__main__":
    main()
