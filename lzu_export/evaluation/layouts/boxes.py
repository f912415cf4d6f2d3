"""Evaluation sets of COCO annotations, with the sequences of Argoverse-HD and of video sets."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.layouts.choose import evenly, lengths, whole_sequences
from lzu_export.evaluation.layouts.find import Layout
from lzu_export.evaluation.metrics.coco import COCO_AREAS
from lzu_export.evaluation.metrics.scorers import BoxScorer, BoxTruth
from lzu_export.inputs.coco import ARGOVERSE, check_frame_size, in_time, read_coco
from lzu_export.inputs.coco_boxes import CocoImage, CocoObject
from lzu_export.inputs.frame_sources.candidates import ImageFile
from lzu_export.inputs.images import read_image
from lzu_export.recipes import Recipe
from lzu_export.runtime.predictor import CameraFrame

ARGOVERSE_VAL = f"{ARGOVERSE}/val.json"
"""Path of the annotations of Argoverse-HD's validation split, below its unpacked folder."""
MOST_EXACT = 1 << 53
"""Limit of kept image ids; from it on, some JSON readers lose digits, so positions replace ids."""


class CocoSet:
    """A data set of COCO annotations, its frames in the order of sequence and time, see `in_time`.

    COCO's evaluation honours only the mark `iscrowd` on objects: such objects neither reward nor
    penalise. It overwrites the mark `ignore`, which is therefore not read here.
    """

    note = "small below 32x32, medium below 96x96 pixels"
    metric = "AP"

    def __init__(
        self,
        annotations: Path,
        frames: int | None,
        classes: Sequence[str] | None = None,
        *,
        whole: bool = False,
    ) -> None:
        """Read the annotations of at most `frames` images, evenly spread.

        Args:
            annotations: path of the file.
            frames: largest number of images; all if None.
            classes: the recipe's classes, in its order; by default the file's, ordered by id.
            whole: take whole sequences, as far as `frames` allows.

        Raises:
            LzuError: the file is not a COCO data set or contradicts itself, has other classes, no
                images or no objects, or an image is missing.
        """
        self.name, self._path = annotations.name, annotations
        data = read_coco(annotations, classes)
        self.classes = data.classes
        images = in_time(data)
        self._images = (
            whole_sequences(images, frames, lambda each: each[1])
            if whole
            else evenly(images, frames)
        )
        self._objects: dict[Any, list[CocoObject]] = {image.id: [] for image, _ in self._images}
        for each in data.objects:
            if each.image in self._objects:
                self._objects[each.image].append(each)
        if not self._images:
            raise LzuError(f"{annotations} holds no images to measure on; give another set")
        if not any(not each.crowd for found in self._objects.values() for each in found):
            raise LzuError(f"{annotations} holds no annotations to measure on; give another set")
        by_id = all(type(each) is int and 0 <= each < MOST_EXACT for each in self._objects)
        self._numbers: dict[Any, int] = {
            image.id: image.id if by_id and type(image.id) is int else place
            for place, (image, _) in enumerate(self._images, start=1)
        }
        self._files = [ImageFile(image.key, image.places) for image, _ in self._images]
        for file in self._files:
            _ = file.path  # a missing file is reported before any work

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._images)

    @property
    def sequences(self) -> int:
        """Number of sequences that the images belong to."""
        return len({sequence for _, sequence in self._images})

    @property
    def sequence_lengths(self) -> list[int]:
        """Number of images of each sequence, in order."""
        return lengths(sequence for _, sequence in self._images)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Yield images with their annotations, from position `start` on."""
        for (image, sequence), file in zip(self._images[start:], self._files[start:], strict=True):
            frame = read_image(file.path)
            objects = self._objects[image.id]
            check_frame_size(self._path, image, objects, (frame.shape[0], frame.shape[1]))
            number = self._numbers[image.id]
            yield Sample(
                number, CameraFrame(frame), _truth(number, image, objects), str(file.path), sequence
            )

    def scorer(self) -> BoxScorer:
        """Return a scorer of COCO's metrics with nothing counted."""
        return BoxScorer(self.classes, COCO_AREAS)


def _truth(number: int, image: CocoImage, objects: Sequence[CocoObject]) -> BoxTruth:
    """Return an image's entries for the metric, without outlines, which would fill the memory.

    Classes are numbered from 1 in their order, since COCO's own ids may have gaps. Annotations are
    numbered from 1 too, since in COCO's matching an id of 0 means unmatched.
    """
    size = {} if image.size is None else dict(zip(("height", "width"), image.size, strict=True))
    return BoxTruth(
        {"id": number, **size},
        [
            {
                "id": place,
                "image_id": number,
                "category_id": each.label + 1,
                "bbox": list(each.box),
                "area": each.area,
                "iscrowd": int(each.crowd),
            }
            for place, each in enumerate(objects, start=1)
        ],
    )


def _follows(recipe: Recipe | None) -> bool:
    """Return whether a recipe's model uses the previous frame and so needs whole sequences."""
    return recipe is not None and recipe.follows_boxes


def _open_coco(path: Path, frames: int | None, recipe: Recipe | None) -> CocoSet:
    return CocoSet(path, frames, recipe.classes if recipe else None, whole=_follows(recipe))


def _refuse_folder(path: Path, frames: int | None, recipe: Recipe | None) -> CocoSet:
    """Refuse a folder of annotations, since the file to use must be named.

    Raises:
        LzuError: always.
    """
    raise LzuError(
        f"the evaluation set {path} is a folder; give its COCO annotations, such as "
        f"{min(path.glob('*.json'))}"
    )


COCO_FILE = Layout("COCO boxes are", lambda path: path.name.endswith(".json"), _open_coco)
"""Layout of a file of COCO annotations."""
ARGOVERSE_HD = Layout(
    "Argoverse-HD is",
    lambda path: (path / ARGOVERSE_VAL).is_file(),
    lambda path, frames, recipe: _open_coco(path / ARGOVERSE_VAL, frames, recipe),
)
"""Layout of the folder that Argoverse-HD is unpacked into."""
COCO_FOLDER = Layout(
    "COCO boxes are", lambda path: any(path.glob("*.json")), _refuse_folder, last=True, private=True
)
"""Layout of a folder with COCO annotations in its root, which is refused: no file is named."""
