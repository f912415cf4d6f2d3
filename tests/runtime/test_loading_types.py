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

PROGRAM = """
from lzu_export import load
from lzu_export.runtime import Detector, Segmenter
from lzu_export.runtime import load as from_runtime
import numpy as np

frame = np.zeros((360, 640, 3), np.uint8)
with load("build/det/fixed-0.5x", Detector, precision="int8") as detector:
    reveal_type(detector(frame))
    reveal_type(detector(frame).boxes)
    reveal_type(detector(frame).draw(frame, lowest=0.5))
reveal_type(from_runtime("build/seg/fixed-0.25x", Segmenter)(frame).labels)
detector(frame).boxs
load("build/det/fixed-0.5x", Detector, precison="int8")
load("build/det/fixed-0.5x")(frame).anything
"""


@pytest.mark.slow  # a type checker reads the whole package: some 20 s
def test_a_type_checker_knows_what_a_bundle_s_predictor_returns(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="types are checked by mypy")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--no-error-summary",
         "--cache-dir", ".mypy_cache", str(program)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    said: dict[int, str] = {}
    for line in done.stdout.splitlines():
        place = re.search(rf"{program.name}:(\d+): ", line)  # a cached result names another folder
        if place is not None:
            said[int(place[1])] = said.get(int(place[1]), "") + line
    assert 'is "lzu_export.runtime.detector.Detections"' in said[9], done.stdout + done.stderr
    assert "ndarray" in said[10]
    assert "floating" in said[10]
    assert "ndarray" in said[11]
    assert "ndarray" in said[12]
    assert 'has no attribute "boxs"; maybe "boxes"?' in said[13]
    assert "precison" in said[14]
    assert 15 not in said  # the default is Any


def test_the_options_are_those_of_load() -> None:
    own = list(inspect.signature(load).parameters)[2:]
    assert own == list(loading.LoadOptions.__annotations__)
    asked = get_type_hints(load)
    for name, kind in get_type_hints(loading.LoadOptions).items():
        assert asked[name] == kind, name


def test_a_bundle_of_another_task_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    bundle = SimpleNamespace(folder=tmp_path, recipe=SimpleNamespace(task="seg"))
    monkeypatch.setattr("lzu_export.bundle.load.Bundle", lambda _: bundle)
    with pytest.raises(LzuError, match="is of task seg, which a Segmenter runs, and no Detector"):
        load(tmp_path, Detector)
