"""Draw a frame, its sampling grid and its zoomed image.

`python -m lzu_benchmarks warp_picture build/det/fixed-0.5x` draws frame 110 of the
demonstration scenes; `--frame` chooses another frame, `--out` the file.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_export.cli import exits
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.evaluation.datasets import open_dataset
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.images import encode_image
from lzu_export.runtime import load
from lzu_export.runtime.draw import show_warp
from lzu_export.runtime.predictor import Predictor
from lzu_export.runtime.text import caption, unit_of
from lzu_export.support.files import replacing

NEEDS = "a bundle; extras runtime"

FRAME = 110
"""Index of the README's frame among the demonstration frames."""
QUALITY = 85
"""JPEG quality, 0 to 100."""


def three_panels(predictor: Predictor, frame: Frame) -> Frame:
    """Draw the frame, the frame under its sampling grid, and the zoomed image side by side.

    Args:
        predictor: predictor of a bundle, as `load` returns it.
        frame: (H, W, 3) uint8, BGR, of the bundle's source size.

    Returns:
        (H, about 3 W, 3) uint8, BGR.
    """
    left, unit = frame.copy(), unit_of(frame)
    caption(left, f"frame {frame.shape[0]}x{frame.shape[1]}", unit)
    gap = np.full((frame.shape[0], 4 * unit, 3), 255, np.uint8)
    return np.hstack([left, gap, show_warp(predictor, frame, frame)])


def draw(bundle: Path, number: int, out: Path, width: int) -> Path:
    """Write the three panels of one demonstration frame as JPEG, and return the path.

    Raises:
        LzuError: there is no such frame, the bundle does not open, or the file cannot be written.
    """
    predictor = load(bundle)
    samples = open_dataset("demo", None, predictor.recipe.task).samples()
    sample = next((each for i, each in enumerate(samples) if i == number), None)
    if sample is None:
        raise LzuError(f"there is no demonstration frame {number}; give a lower --frame")
    picture = three_panels(predictor, sample.camera_frame.frame)
    size = (width, round(picture.shape[0] * width / picture.shape[1]))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    with readable_os_errors(f"the picture {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as new:
            new.write_bytes(encode_image(small, out, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]))
    return out


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the frame that the command line selects."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("bundle", type=Path, help="folder that export made")
    parser.add_argument("--frame", type=int, default=FRAME, help="index of the demonstration frame")
    parser.add_argument("--out", type=Path, default=Path("zoom.jpg"), help="JPEG file to write")
    parser.add_argument("--width", type=int, default=1280, help="width of the picture in pixels")
    add_json(parser)
    options = parser.parse_args(arguments)
    out = draw(options.bundle, options.frame, options.out, options.width)
    print_result(options.json, {"picture": str(out)}, f"picture in {out}")


if __name__ == "__main__":
    main()
