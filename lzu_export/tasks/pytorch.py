"""PyTorch as the reference: a recipe's model, and its values at every arrow.

Importing this module imports no torch; calling what needs it does.
"""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from lzu_export.engines.base import TensorSpec
from lzu_export.recipes import Recipe
from lzu_export.runtime.detector import INPUT_NAMES, Detector
from lzu_export.runtime.preprocess import Frame
from lzu_export.runtime.reference import Reference, subsample
from lzu_export.tasks.warps import Warp

if TYPE_CHECKING:
    from lzu_export.models.zoom import ZoomedModel


def assemble(recipe: Recipe, warp: Warp, *, from_source: bool) -> "ZoomedModel":
    """The model of the recipe's task with its weights; imports torch.

    It begins at the frame, or where not `from_source` at the network's input.

    Raises:
        LzuError: the checkpoint is missing, unreadable or of another architecture or warp.
    """
    from lzu_export.tasks import detection

    tasks = {"det": detection.assemble}
    return tasks[recipe.task](recipe, warp, from_source=from_source)


def torch_detector(recipe: Recipe, warp: Warp) -> Detector:
    """PyTorch as a detector from the frame on; imports torch.

    It zooms by itself, whatever the engines do. Only OpenCV's resize has no twin in PyTorch: there
    it begins at the network's input.
    """
    from lzu_export.models.session import TorchSession

    from_source = recipe.sampler != "opencv"
    whole = recipe.model_copy(update={"input": "source"}) if from_source else recipe
    model = assemble(recipe, warp, from_source=from_source)
    session = TorchSession(model, (image_input(recipe, from_source=from_source),))
    return Detector(whole, session, warp.arrays())


def make_reference(detector: Detector, frames: list[Frame]) -> Reference:
    """A `torch_detector`'s values at every arrow for one batch of frames."""
    from lzu_export.models.session import TorchSession

    session = detector.session
    assert isinstance(session, TorchSession), "references are PyTorch's"
    values = session.all_values(detector.prepare(frames))
    outputs = {name: values[name] for name in session.model.outputs}
    arrows = {name: subsample(v) for name, v in values.items() if name not in outputs}
    return Reference(np.stack(frames), arrows, outputs)


def whole_batches(frames: list[Frame], size: int) -> list[list[Frame]]:
    """Group frames; the last one fills up a short end, since a static batch has none."""
    filled = frames + frames[-1:] * (-len(frames) % size)
    return [filled[i : i + size] for i in range(0, len(filled), size)]


def noise_frame(source: tuple[int, int], seed: int) -> Frame:
    """A smooth random picture, for recipes without an evaluation set."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (source[0] // 8 + 2, source[1] // 8 + 2, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (source[1], source[0])), np.uint8)


def image_input(recipe: Recipe, *, from_source: bool) -> TensorSpec:
    """The image input of a model that begins at the frame, or at the network's input."""
    if from_source:
        return TensorSpec(INPUT_NAMES["source"], "uint8", (recipe.batch, *recipe.source, 3))
    return TensorSpec(INPUT_NAMES["zoomed"], "float32", (recipe.batch, 3, *recipe.network_input))
