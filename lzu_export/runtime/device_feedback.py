"""Suppress and feed back boxes on the device, so that an adaptive warp's state stays there.

Two launchers of the plugin library follow the engine on its stream. `lzu_suppress` reduces the
candidates to detections. `lzu_feed_boxes` writes the detections to `prev_boxes` and `prev_valid`,
which the engine reads in the next frame. Both give the same bits as `postprocess.suppress` and
`PreviousBoxes.feed`. The host gets the detections in place of the candidates. It sends boxes only
at the start of a sequence, or when a caller sets them.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.recipes.det import DetRecipe
from lzu_export.runtime.feedback import BOX_INPUTS
from lzu_export.runtime.kernels import FeedBoxes, Suppress, launch, require
from lzu_export.support.limits import MOST_BOXES, MOST_CANDIDATES
from lzu_export.support.session import TensorSpec

CANDIDATES = ("boxes", "scores", "labels")
"""Names of the engine's outputs that suppression takes."""
LAUNCHERS = ("lzu_suppress", "lzu_suppress_workspace", "lzu_feed_boxes")


@dataclass(frozen=True)
class DeviceFeedback:
    """Kernels that run after an adaptive engine; see `targets.tensorrt.stages.Epilogue`."""

    library: Any
    """The plugin library."""
    recipe: DetRecipe
    candidates: int
    """Number of candidates per frame."""
    label_bytes: int
    """Size in bytes of one of the engine's labels."""
    others: tuple[TensorSpec, ...]
    """Outputs of the engine that are passed on unchanged."""
    state: tuple[str, ...] = BOX_INPUTS
    """Names of the engine's inputs that stay on the device."""

    @property
    def detections(self) -> int:
        """Largest number of detections kept per frame."""
        return min(self.recipe.postprocess.max_detections, self.candidates)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the detections, best first, and of their number; later entries are undefined."""
        batch, most = self.recipe.batch, self.detections
        return (
            TensorSpec("kept_boxes", "float32", (batch, most, 4)),
            TensorSpec("kept_scores", "float32", (batch, most)),
            TensorSpec("kept_labels", "int32", (batch, most)),
            TensorSpec("kept_count", "int32", (batch,)),
            *self.others,
        )

    @property
    def workspace(self) -> int:
        """Bytes of device memory that suppression works in."""
        size: int = self.library.lzu_suppress_workspace(self.recipe.batch, self.candidates)
        return size

    def enqueue(self, addresses: Mapping[str, int], workspace: int, stream: int) -> None:
        """Launch both kernels.

        Args:
            addresses: device addresses of the engine's tensors and of `outputs`, by name.
            workspace: device address of `self.workspace` bytes.
            stream: the engine's cudaStream_t.

        Raises:
            LzuError: a launcher fails.
        """
        settings, warp = self.recipe.postprocess, self.recipe.warp
        kept = [addresses[each.name] for each in self.outputs[:4]]
        launch(
            self.library,
            "lzu_suppress",
            Suppress(
                *(addresses[name] for name in CANDIDATES), self.label_bytes, self.recipe.batch,
                self.candidates, self.detections, settings.score_threshold, settings.iou_threshold,
                workspace, *kept,
            ),
            stream,
        )  # fmt: skip
        boxes, scores, _, count = kept
        (top, left), (height, width) = self.recipe.corner, self.recipe.view
        launch(
            self.library,
            "lzu_feed_boxes",
            FeedBoxes(
                boxes, scores, count, self.recipe.batch, self.detections, warp.boxes,
                warp.most_fed, warp.feedback.score_threshold,
                left, top, left + width, top + height,
                *(addresses[name] for name in BOX_INPUTS),
            ),
            stream,
        )  # fmt: skip


def make_feedback(
    library: ctypes.CDLL, recipe: DetRecipe, outputs: Sequence[TensorSpec]
) -> DeviceFeedback:
    """Make the kernels that run after an adaptive engine.

    Args:
        library: the plugin library.
        recipe: a recipe whose warp follows boxes.
        outputs: specs of the engine's outputs.

    Raises:
        LzuError: the library is too old, or the engine has more candidates or boxes than its
            kernels take.
    """
    require(library, *LAUNCHERS)
    library.lzu_suppress_workspace.restype = ctypes.c_size_t
    by_name = {each.name: each for each in outputs}
    candidates = by_name["boxes"].shape[1]
    if candidates > MOST_CANDIDATES or recipe.warp.boxes > MOST_BOXES:
        raise LzuError(
            f"the kernels take {MOST_CANDIDATES} candidates and {MOST_BOXES} boxes at most, not "
            f"{candidates} and {recipe.warp.boxes}"
        )
    others = tuple(each for each in outputs if each.name not in CANDIDATES)
    label_bytes = {"int32": 4, "int64": 8}[by_name["labels"].dtype]
    return DeviceFeedback(library, recipe, candidates, label_bytes, others)
