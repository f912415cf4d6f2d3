"""Suppress and feed back boxes on the device, so that an adaptive warp's state stays there.

Two launchers of the plugin library follow the engine on its stream: `lzu_suppress` keeps detections
of its candidates, `lzu_feed_boxes` writes of these `prev_boxes` and `prev_valid`, which the engine
reads in the next frame. They do to the bit what `postprocess.suppress` and `PreviousBoxes.feed` do.
The host gets the detections in the place of the candidates; it sends boxes only where a sequence
begins or somebody else says where to look.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.recipes.schema import DetRecipe
from lzu_export.runtime.feedback import BOX_INPUTS
from lzu_export.runtime.kernels import (
    MOST_BOXES,
    MOST_CANDIDATES,
    FeedBoxes,
    Suppress,
    launch,
    require,
)
from lzu_export.support.session import TensorSpec

CANDIDATES = ("boxes", "scores", "labels")
"""Outputs of an engine that are suppressed."""
LAUNCHERS = ("lzu_suppress", "lzu_suppress_workspace", "lzu_feed_boxes")


@dataclass(frozen=True)
class DeviceFeedback:
    """Kernels that run behind an adaptive engine; see `targets.tensorrt.session.Epilogue`."""

    library: Any
    """The plugin library."""
    recipe: DetRecipe
    candidates: int
    """Of each frame."""
    label_bytes: int
    others: tuple[TensorSpec, ...]
    """Outputs of the engine that are passed on."""
    state: tuple[str, ...] = BOX_INPUTS

    @property
    def detections(self) -> int:
        """Most that are kept of a frame."""
        return min(self.recipe.postprocess.max_detections, self.candidates)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The detections, best first, and their number; what lies behind is no detection."""
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
        """Bytes that suppression takes."""
        size: int = self.library.lzu_suppress_workspace(self.recipe.batch, self.candidates)
        return size

    def enqueue(self, addresses: Mapping[str, int], workspace: int, stream: int) -> None:
        """Launch both kernels.

        Args:
            addresses: on the device, of the engine's tensors and of `outputs`, by name.
            workspace: address of so many bytes.
            stream: of the engine.

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
    """Make the kernels that run behind an adaptive engine.

    Args:
        library: of plugins.
        recipe: one that follows boxes.
        outputs: of the engine.

    Raises:
        LzuError: the library is an older one, or the engine has more candidates or boxes than its
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
