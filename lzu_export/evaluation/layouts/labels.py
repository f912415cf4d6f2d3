"""Images with label maps as an evaluation set, in any layout."""

from collections.abc import Iterator

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.layouts.choose import evenly
from lzu_export.evaluation.metrics.scorers import LabelScorer
from lzu_export.inputs.images import read_image
from lzu_export.inputs.label_sets import LabelFiles, check_information, check_pairs
from lzu_export.runtime.predictor import Shot


class LabelSet:
    """Images and label maps, read in the layout's own way."""

    note = "boundary: within 3 pixels of one; upper, middle, lower: thirds of the image"
    metric = "mIoU"

    def __init__(self, files: LabelFiles, frames: int | None) -> None:
        """Take at most `frames` pairs, evenly.

        Raises:
            LzuError: a label map is missing, or all of them hold one class at most.
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
        """Images with their label maps, from the one of place `start` on."""
        for number, each in enumerate(self._pairs[start:], start=start + 1):
            frame, labels = read_image(each.image), self._read(each.labels)
            if frame.shape[:2] != labels.shape:
                sizes = ["x".join(map(str, shape[:2])) for shape in (labels.shape, frame.shape)]
                raise LzuError(
                    f"label map {each.labels} has {sizes[0]} pixels but {each.image.name} "
                    f"{sizes[1]}; give them one size"
                )
            yield Sample(number, Shot(frame), labels, str(each.image), each.sequence)

    def scorer(self) -> LabelScorer:
        """Cityscapes' metrics, with nothing counted."""
        return LabelScorer(self.classes)
