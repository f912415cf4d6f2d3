"""PyTorch as the reference: a recipe's model, and its values at every arrow.

Importing this module imports no torch; calling what needs it does.
"""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from lzu_export.engines.base import TensorSpec
from lzu_export.recipes import Recipe
from lzu_export.runtime.detector import INPUT_NAMES
from lzu_export.runtime.preprocess import Frame, ZoomedInput
from lzu_export.runtime.reference import Reference, subsample
from lzu_export.tasks.warps import Warp

if TYPE_CHECKING:
    from lzu_export.models.session import TorchSession
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


def torch_session(recipe: Recipe, warp: Warp) -> "TorchSession":
    """PyTorch from the frame on; imports torch.

    OpenCV's resize has no twin in PyTorch: such recipes begin at the network's input.
    """
    from lzu_export.models.session import TorchSession

    from_source = recipe.sampler != "opencv"
    model = assemble(recipe, warp, from_source=from_source)
    return TorchSession(model, (image_input(recipe, from_source=from_source),))


def make_reference(
    session: "TorchSession", prepare: ZoomedInput | None, frames: list[Frame]
) -> Reference:
    """PyTorch's values at every arrow for one batch of frames."""
    batch = np.stack(frames)
    (spec,) = session.inputs
    values = session.all_values({spec.name: prepare(frames) if prepare else batch})
    outputs = {name: values[name] for name in session.model.outputs}
    arrows = {name: subsample(v) for name, v in values.items() if name not in outputs}
    return Reference(batch, arrows, outputs)


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
