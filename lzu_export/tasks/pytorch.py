"""Run PyTorch as the reference: a recipe's model, and its values at every probe point.

Importing this module does not import torch; functions that need torch import it when called.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lzu_export.inputs.frame import Frame
from lzu_export.recipes import Recipe
from lzu_export.recipes.recipe import INPUT_NAMES
from lzu_export.recipes.schema import BoxWarpSettings
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.runtime.reference import Reference, subsample
from lzu_export.support.session import TensorSpec
from lzu_export.tasks.predictors import make_predictor
from lzu_export.tasks.registry import find_task
from lzu_export.tasks.warps import Warp
from lzu_export.warp.families import gaze_knots, radial_knots
from lzu_export.warp.saliency import BOX_INPUTS
from lzu_export.warp.warp import Knots

if TYPE_CHECKING:
    from lzu_export.models.traced_model import TracedModel


def assemble(recipe: Recipe, warp: Warp, *, from_source: bool) -> "TracedModel":
    """Assemble the model of the recipe's task with its weights; imports torch.

    It begins at the frame if `from_source`, else at the network's input.

    Raises:
        LzuError: the checkpoint is missing, unreadable or belongs to another architecture or warp,
            or the recipe's custom model is unknown.
    """
    return find_task(recipe.task).assemble(recipe, warp, from_source=from_source)


def torch_predictor(recipe: Recipe, warp: Warp) -> Predictor:
    """Make a predictor that runs PyTorch from the frame on; imports torch.

    It zooms by itself, even if the engines do not. Only OpenCV's resize has no equivalent in
    PyTorch: with it the model begins at the network's input.
    """
    from lzu_export.models.session import TorchSession

    from_source = recipe.sampler != "opencv"
    whole = recipe.model_copy(update={"input": "source"}) if from_source else recipe
    model = assemble(recipe, warp, from_source=from_source)
    session = TorchSession(model, model_inputs(recipe, from_source=from_source))
    return make_predictor(whole, session, warp.arrays())


def make_reference(predictor: Predictor, camera_frames: Sequence[CameraFrame]) -> Reference:
    """Record a `torch_predictor`'s values at every probe point for one batch.

    A stateful predictor also feeds its detections back.
    """
    from lzu_export.models.session import TorchSession
    from lzu_export.models.zoom import MARGINS

    session = predictor.session
    assert isinstance(session, TorchSession), "references are PyTorch's"
    inputs = predictor.preprocess(camera_frames)
    values = session.all_values(inputs)
    predictor.postprocess(
        {name: values[name] for name in session.model.engine_outputs}, camera_frames
    )
    kept = (*session.model.outputs, MARGINS)
    outputs = {name: values[name] for name in kept if name in values}
    selections = {name: values[name] for name in session.model.selected}
    probes = {
        name: subsample(v)
        for name, v in values.items()
        if name not in outputs and name not in selections
    }
    image = INPUT_NAMES[predictor.recipe.input]
    others = {name: value for name, value in inputs.items() if name != image}
    frames = np.stack([camera_frame.frame for camera_frame in camera_frames])
    return Reference(frames, others, probes, outputs, selections=selections)


def make_references(
    predictor: Predictor, batches: Sequence[Sequence[CameraFrame]]
) -> list[Reference]:
    """Record a `torch_predictor`'s values for each batch, see `make_reference`.

    If the host gives the knots, the first batch has the constant ones and each other batch has
    knots of its own, so that engines are compared at several warps.
    """
    references = []
    for i, batch in enumerate(batches):
        if predictor.recipe.takes_knots and i:
            predictor.set_knots(example_knots(predictor.recipe, seed=i))
        references.append(make_reference(predictor, batch))
    if predictor.recipe.takes_knots:
        predictor.reset()
    return references


def example_knots(recipe: Recipe, seed: int) -> Knots:
    """Make knots that fit a recipe of the variant `external`, denser at a random place."""
    last = np.array(recipe.view[::-1]) - 1
    place = np.random.default_rng(seed).uniform(0.3, 0.7, 2) * last
    family = gaze_knots if recipe.separable else radial_knots
    return family(place, recipe.view, lattice=recipe.warp.lattice)


def whole_batches(camera_frames: list[CameraFrame], size: int) -> list[list[CameraFrame]]:
    """Group camera frames into batches; the last frame is repeated to fill the last batch."""
    filled = camera_frames + camera_frames[-1:] * (-len(camera_frames) % size)
    return [filled[i : i + size] for i in range(0, len(filled), size)]


def noise_frame(source: tuple[int, int], seed: int) -> Frame:
    """Make a smooth random picture, for recipes without an evaluation set."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (source[0] // 8 + 2, source[1] // 8 + 2, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (source[1], source[0])), np.uint8)


def noise_camera_frame(recipe: Recipe, seed: int) -> CameraFrame:
    """Make a random picture with an invented camera, for recipes without an evaluation set."""
    camera = find_task(recipe.task).made_up_camera(recipe.source, focal=0.8)
    return CameraFrame(noise_frame(recipe.source, seed), camera)


def model_inputs(recipe: Recipe, *, from_source: bool) -> tuple[TensorSpec, ...]:
    """Return the input specs of a model that begins at the frame, or at the network's input."""
    frame, zoomed = INPUT_NAMES["source"], INPUT_NAMES["zoomed"]
    if from_source:
        image = TensorSpec(frame, "uint8", recipe.image_shapes[frame])
    else:
        image = TensorSpec(zoomed, "float32", recipe.image_shapes[zoomed])
    others = find_task(recipe.task).other_inputs(recipe)
    if recipe.takes_knots:
        height, width = recipe.warp.lattice
        knots: dict[str, tuple[int, ...]] = {"knots_x": (width,), "knots_y": (height,)}
        if not recipe.separable:
            knots = {"knots": (height, width, 2)}
        given = (TensorSpec(n, "float32", (recipe.batch, *s)) for n, s in knots.items())
        return (image, *given, *others)
    if recipe.follows_boxes:
        assert isinstance(recipe.warp, BoxWarpSettings), "warps by boxes are of detection"
        count = (recipe.batch, recipe.warp.boxes)
        shapes = ((*count, 4), count)
        boxes = (TensorSpec(n, "float32", s) for n, s in zip(BOX_INPUTS, shapes, strict=True))
        return (image, *boxes, *others)
    return (image, *others)
