"""Predictions of a bundle's engines through `load`, in whichever environment runs this file.

    python predict_by_load.py BUNDLE FRAMES.npz OUT.pickle PRECISION...

FRAMES.npz has `frames` (n, H, W, 3) and, for boxes in space, `cameras` (n, 3, 3). OUT.pickle gets
the release of ONNX Runtime and, by precision, what was predicted in each frame.
"""

import pickle
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from lzu_export.runtime import load


def main(bundle: str, frames: str, out: str, *precisions: str) -> None:
    """Predict in every frame and write what was found."""
    with np.load(frames) as stored:
        images, cameras = stored["frames"], stored.get("cameras")
    found = {}
    for precision in precisions:
        with load(bundle, precision=precision, threads=1) as predictor:
            found[precision] = [
                predictor(image, *([] if cameras is None else [cameras[i]]))
                for i, image in enumerate(images)
            ]
    Path(out).write_bytes(pickle.dumps((onnxruntime.__version__, found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
