"""Measure which settings of SAHI suit a bundle.

`python -m lzu_benchmarks sahi_settings`; needs the extra `sahi`.

The uniform demonstration model finds boxes in 2x2 slices and in the whole frame. All settings see
the same slices, so that only the lowest score and the merging of boxes differ. Brackets are 95 %
intervals over sequences.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from lzu_benchmarks.commands import add_json, finish_study, study_parser
from lzu_benchmarks.demo.dataset import DemoDataset, open_demo
from lzu_benchmarks.rivals.slicing import DEFAULTS, SETTINGS, Settings, sliced
from lzu_benchmarks.train.figures import plain_gains
from lzu_benchmarks.train.windows import tiles
from lzu_export.cli import exits
from lzu_export.compiler.pipeline import export
from lzu_export.evaluation.metrics.coco import Evaluation, bootstrap_ap_differences
from lzu_export.recipes import load_recipe
from lzu_export.support.console import Terminal
from lzu_export.support.progress import Reporter
from lzu_export.targets.registry import DEFAULT_TARGET

NEEDS = "extras runtime, export, bench, sahi, demo"

COLUMNS = ("AP", "AP_small", "AP_large")


def to_coco(found: Sequence[Any], frame_id: int) -> list[dict[str, Any]]:
    """Return SAHI's object predictions as COCO results."""
    return [
        {
            "image_id": frame_id,
            "category_id": each.category.id + 1,
            "bbox": [float(value) for value in each.bbox.to_xywh()],
            "score": float(each.score.value),
        }
        for each in found
    ]


def measure(bundle: Path, dataset: DemoDataset, report: Reporter) -> dict[str, Any]:
    """Score every one of `SETTINGS`, and the differences to SAHI's defaults."""
    from lzu_benchmarks.rivals.sahi_model import BundleModel

    window = tiles(dataset.size, (2, 2))[0]
    models = {
        score: BundleModel(model_path=str(bundle), confidence_threshold=score)
        for score in {each.score for each in SETTINGS}
    }
    found: dict[Settings, list[dict[str, Any]]] = {each: [] for each in SETTINGS}
    with report.steps("slices", len(dataset)) as advance:
        for sample in dataset:
            image = sample.image[..., ::-1]
            for settings, boxes in found.items():
                model = models[settings.score]
                parts = sliced(model, image, settings, (window.height, window.width))
                boxes.extend(to_coco(parts, sample.frame_id))
            advance(1)
    truth = dataset.coco_ground_truth()
    scored = {each: Evaluation(truth, boxes) for each, boxes in found.items()}
    pairs = {str(each): [(DEFAULTS, each)] for each in SETTINGS if each != DEFAULTS}
    return {
        "frames": len(dataset),
        "accuracy": {str(each): one.summary() for each, one in scored.items()},
        "gain": plain_gains(bootstrap_ap_differences(truth, scored, pairs, sizes=False)),
    }


def show(result: Any, console: Terminal) -> None:
    """Print a row for each setting."""
    made = Table(title=f"COCO AP on {result['frames']} frames", title_justify="left")
    made.add_column("merging, lowest score", no_wrap=True)
    for name in COLUMNS:
        made.add_column(name.removeprefix("AP_"), justify="right")
    made.add_column("AP over defaults", justify="right", no_wrap=True)
    for name, summary in result["accuracy"].items():
        gain = result["gain"].get(name, {}).get("AP")
        over = (
            f"{gain['difference']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}]" if gain else ""
        )
        made.add_row(name, *(f"{summary[each]:.2f}" for each in COLUMNS), over)
    console.print(made)


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--bundle", type=Path, help="default: the uniform model, exported into OUT")
    parser.add_argument("--frames", type=int, help="largest number of frames; all by default")
    add_json(parser)
    given = parser.parse_args(arguments)
    report = Reporter(quiet=given.json)
    with exits.needing("sahi_settings"):
        import sahi  # noqa: F401  (before anything is exported)
    bundle = given.bundle
    if bundle is None:
        recipe = load_recipe(
            "det",
            {
                "variant": "uniform",
                "precision": ["fp32"],
                "targets": [DEFAULT_TARGET],
                "evaluation.dataset": None,
                "calibration.frames": None,
            },
        )
        bundle = export(recipe, given.out / "sahi", report=report).folder
    result = measure(bundle, open_demo("val", given.frames), report)
    finish_study(given, "sahi_settings", result, show)


if __name__ == "__main__":
    main()
