"""Images with label maps as an evaluation set, in any layout."""

from collections.abc import Callable, Iterator
from pathlib import Path

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.layouts.choose import evenly
from lzu_export.evaluation.layouts.find import Layout
from lzu_export.evaluation.metrics.scorers import LabelScorer
from lzu_export.inputs.camvid import camvid, is_camvid
from lzu_export.inputs.cityscapes import cityscapes, is_cityscapes
from lzu_export.inputs.images import read_image
from lzu_export.inputs.label_sets import (
    CLASSES_FILE,
    LabelFiles,
    check_information,
    check_pairs,
    label_folder,
)
from lzu_export.recipes import Recipe
from lzu_export.runtime.predictor import CameraFrame


class LabelSet:
    """Images and label maps, which the layout's own function reads."""

    note = "boundary: within 3 pixels of one; upper, middle, lower: thirds of the image"
    metric = "mIoU"

    def __init__(self, files: LabelFiles, frames: int | None) -> None:
        """Take at most `frames` pairs, evenly spread.

        Raises:
            LzuError: a label map is missing, or all of them together hold at most one class.
        """
        self.name, self.classes = files.name, files.classes
        self._pairs, self._read = evenly(files.pairs, frames), files.read
        check_pairs(self._pairs)
        maps = [each.labels for each in self._pairs]
        check_information(f"the evaluation set {self.name}", maps, self._read, self.classes)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._pairs)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Yield images with their label maps, from position `start` on."""
        for number, each in enumerate(self._pairs[start:], start=start + 1):
            frame, labels = read_image(each.image), self._read(each.labels)
            if frame.shape[:2] != labels.shape:
                sizes = ["x".join(map(str, shape[:2])) for shape in (labels.shape, frame.shape)]
                raise LzuError(
                    f"label map {each.labels} has {sizes[0]} pixels but {each.image.name} "
                    f"{sizes[1]}; give them one size"
                )
            yield Sample(number, CameraFrame(frame), labels, str(each.image), each.sequence)

    def scorer(self) -> LabelScorer:
        """Return a scorer of Cityscapes' metrics with nothing counted."""
        return LabelScorer(self.classes)


def _layout(
    what: str,
    is_here: Callable[[Path], bool],
    files: Callable[[Path, tuple[str, ...] | None], LabelFiles],
    *,
    last: bool = False,
) -> Layout:
    def open_set(path: Path, frames: int | None, recipe: Recipe | None) -> LabelSet:
        return LabelSet(files(path, recipe.classes if recipe else None), frames)

    return Layout(what, is_here, open_set, last)


CITYSCAPES = _layout("Cityscapes is here", is_cityscapes, cityscapes)
"""Layout of Cityscapes as it is distributed."""
CAMVID = _layout(
    "CamVid is", lambda path: not (path / CLASSES_FILE).is_file() and is_camvid(path), camvid
)
"""Layout of CamVid in one of its two forms."""
LABEL_FOLDER = _layout("a folder of label maps is", lambda _: True, label_folder, last=True)
"""Layout of images and label maps that are paired by file name."""
