"""Score or calibrate a part of an export's frames: `python -m lzu_export.compiler.part REQUEST`.

It runs in a process of its own, on any machine that sees the same files, see `split`. The
environment of the exporting process is restored before any library is loaded that reads it, since
the number of threads decides on the last bits of what PyTorch and ONNX Runtime compute.
"""

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lzu_export.evaluation.datasets import State
    from lzu_export.recipes import Recipe

RESULT = "states.npz"
"""Name of the file that a part's results are written to, in the working directory."""
UNFIT = 2


def main(request: Mapping[str, Any]) -> int:
    """Do what a request asks, write `RESULT` and return the exit status."""
    for name, value in request["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    import numpy as np

    from lzu_export.errors import LzuError, readable_os_errors

    result = Path(RESULT).resolve()
    try:
        _check_here(request)
        if os.path.isdir(request["directory"]):
            os.chdir(request["directory"])  # to which a recipe's paths may be relative
        states: dict[str, Any] = STAGES[request["stage"]](request)
        with readable_os_errors(str(result)):
            np.savez_compressed(result, **states)
    except LzuError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNFIT
    return 0


def _check_here(request: Mapping[str, Any]) -> None:
    """Refuse a machine that does not see the bundle, or has other software.

    Raises:
        LzuError: naming what is missing or differs.
    """
    from lzu_export.errors import LzuError
    from lzu_export.support.provenance import PACKAGES, source_digest, versions

    host, folder = socket.gethostname(), Path(request["folder"])
    if not folder.is_dir():
        raise LzuError(
            f"the folder {folder} is not on {host}; export into one that all workers share (--out)"
        )
    mine, theirs = versions(PACKAGES), request["versions"]
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            raise LzuError(
                f"{host} has {name} {mine.get(name, 'not')} where the export has "
                f"{theirs.get(name, 'none')}; install the same on all workers"
            )
    if source_digest() != request["source"]:
        raise LzuError(
            f"{host} has another lzu-export than the export, of the same version; install the same"
        )


def _recipe(request: Mapping[str, Any]) -> "Recipe":
    from lzu_export.recipes.schema import recipe_class

    return recipe_class(request["recipe"]).model_validate(request["recipe"])


def _score(request: Mapping[str, Any]) -> "State":
    """Count the predictions of PyTorch and all engines in the part's frames."""
    from lzu_export.compiler.scoring import PYTORCH, make_watch, open_scored
    from lzu_export.errors import LzuError
    from lzu_export.evaluation.datasets import open_dataset
    from lzu_export.evaluation.evaluate import count_part
    from lzu_export.evaluation.resume import packed
    from lzu_export.manifest.schema import Engine
    from lzu_export.tasks.agreement import Agreements
    from lzu_export.tasks.pytorch import torch_predictor
    from lzu_export.tasks.warps import make_warp

    recipe = _recipe(request)
    name = recipe.evaluation.dataset
    assert name is not None, "it is scored on one"
    dataset = open_dataset(name, recipe.scored_frames, recipe.scored_as, recipe)
    if len(dataset) != request["frames"]:
        raise LzuError(
            f"{name} has {len(dataset)} frames on {socket.gethostname()} but {request['frames']} "
            "where the export runs; give all workers the same files"
        )
    warp = make_warp(recipe)
    arrays, pytorch = warp.arrays(), torch_predictor(recipe, warp)
    engines = [Engine.model_validate(each) for each in request["engines"]]
    predictors = open_scored(recipe, engines, Path(request["folder"]), pytorch, arrays)
    states = count_part(
        predictors,
        dataset,
        range(*request["positions"]),
        make_watch(recipe, predictors, arrays),
        agreements=Agreements(recipe, PYTORCH, list(predictors)),
    )
    return packed(states)


def _calibrate(request: Mapping[str, Any]) -> "State":
    """Count the tensors' values in the part's calibration frames."""
    import onnx

    from lzu_export.manifest.schema import canonical_file
    from lzu_export.quantization.ranges import collect_histograms, packed_histograms, recipe_frames
    from lzu_export.tasks.warps import make_warp

    recipe = _recipe(request)
    histograms = collect_histograms(
        recipe,
        onnx.load(Path(request["folder"]) / canonical_file("fp32")),
        request["lowerings"],
        make_warp(recipe).arrays(),
        recipe_frames(recipe),
        range(*request["positions"]),
    )
    return packed_histograms(histograms)


STAGES: dict[str, Callable[[Mapping[str, Any]], "State"]] = {
    "accuracy": _score,
    "calibrate": _calibrate,
}
"""Functions that do a request, by its `stage`."""

if __name__ == "__main__":
    status = main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    sys.exit(status)
