"""CamVid's frames and label maps, in splits of consecutive frames.

CamVid's own split is kept: `train` to learn from, `val` to report. Frames of one video resemble
their neighbours, so parts of `train` are cut off as whole stretches at the end of each video.
The last eighth (`check`) is never trained on and decides nothing. The eighth before it (`choice`)
is the part on which settings may be chosen; a training that is reported learns from it.
"""

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.camvid import GROUPS, camvid, is_camvid
from lzu_export.inputs.images import read_image
from lzu_export.inputs.label_sets import LabelFiles, Pair, check_pairs

CLASSES = tuple(GROUPS)
SOURCE = (360, 480)
"""Size (height, width) in pixels of the frames."""
HELD_BACK = 8
"""One of so many frames of each training video is in `check`, and one in `choice`."""
STRETCH = {"val": 10, "check": 5, "choice": 5}
"""Number of consecutive frames that an interval draws together: frames of `val` are 1/15 s apart,
those of the others 1 s."""


class Split:
    """Frames with their label maps, read on first use."""

    def __init__(self, files: LabelFiles, pairs: Sequence[Pair], stretch: int = 1) -> None:
        """Take pairs of the files, in time order.

        Args:
            files: files of the set, with the reader of its label maps.
            pairs: pairs of this split.
            stretch: number of consecutive frames in a stretch, about.
        """
        self.pairs = list(pairs)
        self._files = files
        self.stretches = stretches([str(each.sequence) for each in pairs], stretch)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.pairs)

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """(N, 360, 480, 3) frames, BGR.

        Raises:
            LzuError: a frame has another size.
        """
        return self._stack([read_image(each.image) for each in self.pairs], "image")

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """(N, 360, 480) indices of `CLASSES`, or 255 where nothing is labelled.

        Raises:
            LzuError: a label map has another size.
        """
        return self._stack([self._files.read(each.labels) for each in self.pairs], "labels")

    def _stack(self, maps: Sequence[NDArray[np.uint8]], kind: str) -> NDArray[np.uint8]:
        for each, pair in zip(maps, self.pairs, strict=True):
            if each.shape[:2] != SOURCE:
                raise LzuError(
                    f"{getattr(pair, kind)} has {each.shape[0]}x{each.shape[1]} pixels; give "
                    f"CamVid's frames of {SOURCE[0]}x{SOURCE[1]}"
                )
        return np.stack(maps)


class Splits(NamedTuple):
    """Splits of one training."""

    train: Split
    """Frames to learn from."""
    scored: dict[str, Split]
    """Splits to score, by name."""


def read_splits(data: Path, *, choosing: bool = False) -> Splits:
    """List the splits of a folder with `train` and `val`; frames are read when they are used.

    Args:
        data: folder of CamVid.
        choosing: leave `choice` out of the training, and score it in place of `val` and `check`.

    Raises:
        LzuError: a folder or a label map is missing, or a video is too short to be split.
    """
    train = _files(data, "train")
    kept: dict[str, list[Pair]] = {"train": [], "choice": [], "check": []}
    for name, found in groupby(train.pairs, key=lambda each: each.sequence):
        video = list(found)
        part = len(video) // HELD_BACK
        if not part:
            raise LzuError(
                f"video {name} has {len(video)} frames in {data / 'train'}; give at least "
                f"{HELD_BACK}, since an eighth is held back"
            )
        end = len(video) - part
        kept["train"] += video[: end - part]
        kept["choice"] += video[end - part : end]
        kept["check"] += video[end:]
    if choosing:
        choice = Split(train, kept["choice"], STRETCH["choice"])
        return Splits(Split(train, kept["train"]), {"choice": choice})
    learnt = sorted(kept["train"] + kept["choice"], key=train.pairs.index)
    val = _files(data, "val")
    scored = {
        "val": Split(val, val.pairs, STRETCH["val"]),
        "check": Split(train, kept["check"], STRETCH["check"]),
    }
    for name, split in scored.items():
        if split.stretches.max(initial=0) < 1:
            raise LzuError(
                f"{name} has {len(split)} frames of one stretch, of which no interval can be "
                f"computed; give at least {2 * STRETCH[name]}"
            )
    return Splits(Split(train, learnt), scored)


def describe(splits: Splits) -> dict[str, Any]:
    """Return numbers of frames, and the digest of all files, as plain data."""
    digest = sha256()
    for split in (splits.train, *splits.scored.values()):
        for pair in split.pairs:
            digest.update(pair.image.read_bytes() + pair.labels.read_bytes())
    frames = {name: len(split) for name, split in splits.scored.items()}
    return {"frames": {"train": len(splits.train), **frames}, "sha256": digest.hexdigest()[:16]}


def stretches(sequences: Sequence[str], length: int) -> NDArray[np.int64]:
    """Number the stretch (n,) of each frame: about `length` consecutive frames of one sequence."""
    numbers: list[NDArray[np.int64]] = []
    first = 0
    for _, found in groupby(sequences):
        count = len(list(found))
        parts = max(1, round(count / length))
        numbers.append(first + np.arange(count) * parts // count)
        first += parts
    return np.concatenate(numbers) if numbers else np.zeros(0, np.int64)


def _files(data: Path, split: str) -> LabelFiles:
    """List the files of a split.

    Raises:
        LzuError: the folder is missing or is no CamVid's, or a label map is missing.
    """
    folder = data / split
    if not folder.is_dir() or not is_camvid(folder):
        raise LzuError(
            f"{folder} holds no frames of CamVid; give --data the folder that has train/images, "
            "train/labels, val/images and val/labels"
        )
    files = camvid(folder)
    check_pairs(files.pairs)
    return files
