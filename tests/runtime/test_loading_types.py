"""`load` with the class that is asked for: what type checkers and editors know of its results."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import get_type_hints

import pytest

from lzu_export.bundle.load import load
from lzu_export.errors import LzuError
from lzu_export.runtime import Detector, loading
from lzu_export.runtime.postprocessing.custom import Function

LATE = {"Function": Function}
"""Types in the signature whose modules a start does not import."""

RIGHT = """
import numpy as np

from lzu_export import load
from lzu_export.runtime import Detections, Detector, Detector3d, Segmenter
from lzu_export.runtime import load as from_runtime


def best(found: Detections) -> float:
    return float(found.scores.max(initial=0.0))


frame = np.zeros((360, 640, 3), np.uint8)
with load("build/det/fixed-0.5x", Detector, precision="int8", score_threshold=0.5) as detector:
    found = detector(frame)
    print(best(found), found.boxes.shape, found.draw(frame, lowest=0.5).shape, detector.classes)
segmenter = from_runtime("build/seg/fixed-0.25x", Segmenter)
print(segmenter(frame).labels.mean(), [each.classes for each in segmenter.batch([frame])])
with load("build/det3d/fixed-0.5x", Detector3d) as space:
    boxes = space(frame, np.eye(3))
    print(len(boxes), boxes.attributes, boxes.draw(frame, np.eye(3)).shape)
print(load("build/det/fixed-0.5x")(frame).whatever)  # without a class anything goes
"""
"""A user's program without a mistake."""
WRONG = (
    ('load("b", Detector)(frame).boxs', 'has no attribute "boxs"; maybe "boxes"?'),
    ('load("b", Segmenter)(frame).boxes', '"Segmentation" has no attribute "boxes"'),
    ('load("b", Detector3d)(frame, camera).score', 'has no attribute "score"; maybe "scores"?'),
    ('load("b", Detector3d)(frame)', 'Missing positional argument "cam2img"'),
    ('load("b", Detector, precison="int8")', 'Unexpected keyword argument "precison"'),
    ('load("b", Detector).look(frame)', '"Detector" has no attribute "look"'),
)
"""Lines with a mistake, and a part of what is said of each."""
REVEALED = (
    ('load("b", Detector)(frame)', "lzu_export.runtime.detector.Detections"),
    ('load("b", Detector).batch([frame])', "list[lzu_export.runtime.detector.Detections]"),
    ('load("b", Segmenter)(frame)', "lzu_export.runtime.segmenter.Segmentation"),
    ('load("b", Detector3d)(frame, camera)', "lzu_export.runtime.postprocess3d.Detections3d"),
    (
        'load("b", Detector3d).rig([frame], [camera], [pose])',
        "lzu_export.runtime.postprocess3d.RigDetections",
    ),
    ('load("b")(frame)', 'Revealed type is "Any"'),
)
"""Expressions and their types."""
HEAD = """import numpy as np
from lzu_export import load
from lzu_export.runtime import Detector, Detector3d, Segmenter
frame, camera, pose = np.zeros((360, 640, 3), np.uint8), np.eye(3), np.eye(4)
"""


@pytest.mark.slow  # a type checker reads the whole package: some 20 s
def test_a_type_checker_knows_what_a_bundle_s_predictor_returns(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="types are checked by mypy")
    lines = [line for line, _ in WRONG] + [f"reveal_type({each})" for each, _ in REVEALED]
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(HEAD + "\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary",
         "--cache-dir", ".mypy_cache", str(tmp_path / "right.py"), str(tmp_path / "wrong.py")],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "right.py" not in done.stdout, done.stdout
    said: dict[int, str] = {}
    for line in done.stdout.splitlines():
        place = re.search(r"wrong\.py:(\d+): ", line)  # a cached result names another folder
        assert place is not None, line
        said[int(place[1])] = said.get(int(place[1]), "") + line
    for number, (_, part) in enumerate((*WRONG, *REVEALED), start=len(HEAD.splitlines()) + 1):
        assert part in said[number], said[number]


def test_the_options_are_those_of_load() -> None:
    own = list(inspect.signature(load).parameters)[2:]
    assert own == list(loading.LoadOptions.__annotations__)
    asked = get_type_hints(load, localns=LATE)
    for name, kind in get_type_hints(loading.LoadOptions, localns=LATE).items():
        assert asked[name] == kind, name


def test_a_bundle_of_another_task_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    bundle = SimpleNamespace(folder=tmp_path, recipe=SimpleNamespace(task="seg"))
    monkeypatch.setattr("lzu_export.bundle.load.Bundle", lambda _: bundle)
    with pytest.raises(LzuError, match="is of task seg, which a Segmenter runs, and no Detector"):
        load(tmp_path, Detector)
