"""Reference values computed now, from the user's own frames."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.inputs.frame import check_frame
from lzu_export.manifest.schema import Manifest
from lzu_export.models.file_kinds import check_checkpoint
from lzu_export.recipes import Recipe, load_recipe
from lzu_export.runtime.cameras import Cameras, check_cameras
from lzu_export.runtime.fitting import fitted, fitting
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.runtime.reference import Reference, usual_scales
from lzu_export.runtime.sources import frames
from lzu_export.tasks.pytorch import make_references, torch_predictor, whole_batches
from lzu_export.tasks.warps import stored_warp
from lzu_export.tasks.weights import checkpoint_identity


def live_references(
    bundle: Bundle,
    source: Path,
    checkpoint: Path | None,
    limit: int,
    *,
    fit: str = "exact",
    cameras: Cameras | None = None,
) -> list[Reference]:
    """Compute PyTorch's values at every probe point for up to `limit` batches of frames of
    `source`.

    The warp is the bundle's own. The weights come from `checkpoint`, or from the shipped recipe of
    the bundle's name. `fit` is for frames of another size, see `load`; `cameras` are those of the
    original frames. If a frame has almost no signal, as from a covered lens, differences are
    relative to the probe point's values on the bundle's own frames.

    Raises:
        LzuError: the checkpoint is not the one the bundle was made from, or a frame does not fit.
    """
    recipe = _with_checkpoint(bundle.manifest, checkpoint)
    warp = stored_warp(bundle.warp)
    predictor = torch_predictor(recipe, warp)
    check_cameras(predictor, cameras)
    taken = []
    for name, frame in islice(frames(source), limit * recipe.batch):
        if fit == "exact":
            check_frame(frame, recipe.source, name)
        camera = None
        if cameras is not None:
            place = fitting(frame.shape, recipe.source, fit)
            camera = cameras.checked(name, frame.shape, source).in_source(place).cam2img
        taken.append(CameraFrame(fitted(frame, recipe, fit), camera))
    usual = usual_scales(bundle.references)
    return [
        replace(each, usual=usual)
        for each in make_references(predictor, whole_batches(taken, recipe.batch))
    ]


def _with_checkpoint(manifest: Manifest, checkpoint: Path | None) -> Recipe:
    variant = manifest.variant
    if checkpoint is None and "sha256" in manifest.checkpoint:
        try:
            shipped = load_recipe(manifest.name).checkpoint.get(manifest.recipe.variant)
        except LzuError:
            shipped = None
        if shipped is None:
            raise LzuError(
                "--live needs the weights: give --checkpoint "
                f"{manifest.checkpoint.get('file', 'FILE')}, the file the bundle was made from"
            )
        checkpoint = shipped
    update = {"checkpoint": {variant: checkpoint} if checkpoint else {}}
    recipe = manifest.recipe.model_copy(update=update)
    if checkpoint is not None:
        check_checkpoint(checkpoint)
        identity = checkpoint_identity(recipe)
        if identity.get("sha256") != manifest.checkpoint.get("sha256"):
            raise LzuError(
                f"checkpoint {checkpoint} is not the one this bundle was made from; give "
                f"{manifest.checkpoint.get('file', 'none, it has untrained weights')}"
            )
    return recipe
