"""Write training records into shipped checkpoints: `python -m lzu_benchmarks.train.record`.

Earlier demonstration models were trained by their recipes, but their checkpoints recorded only the
warp. Their weights stay the same, bit for bit. Newer trainings write the record themselves.
"""

import argparse
from pathlib import Path

from lzu_benchmarks.commands import add_json, print_result
from lzu_export.models.checkpoint import load_checkpoint, save_checkpoint
from lzu_export.recipes import Recipe, load_recipe
from lzu_export.tasks.training import training_record
from lzu_export.tasks.warps import make_warp

TASKS = ("det", "seg", "det3d")


def add_record(path: Path, recipe: Recipe) -> None:
    """Save a checkpoint again with the record of the recipe that it was trained by.

    Args:
        path: checkpoint made by `save_checkpoint`, with half precision weights.
        recipe: recipe of the checkpoint's variant.

    Raises:
        LzuError: the file is no checkpoint, or cannot be written.
    """
    loaded = load_checkpoint(path)
    texts = {key: value for key, value in loaded.meta.items() if isinstance(value, str)}
    record = training_record(recipe, make_warp(recipe).saliency)
    # Converting float16 to float32 and back does not change the weights.
    save_checkpoint(path, loaded.state, meta={**texts, **record})


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=TASKS, help="of the shipped recipes")
    add_json(parser)
    asked = parser.parse_args()
    written = []
    for task in asked.tasks:
        for variant, path in load_recipe(task).checkpoint.items():
            add_record(path, load_recipe(task, {"variant": variant}))
            written.append(str(path))
    print_result(asked.json, {"files": written}, *written)


if __name__ == "__main__":
    main()
