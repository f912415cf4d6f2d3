"""The share of an evaluation's time in which the engine runs."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="exporting needs torch")

import json

import cv2

from lzu_benchmarks.engine_share import main
from lzu_export.tasks.pytorch import noise_frame


def test_the_command_tells_where_the_time_goes(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), noise_frame((96, 160), i))
    data = {
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "sign"}],
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(4)],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [4, 4, 40, 40]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    main([str(tiny_bundle), "--dataset", str(tmp_path / "a.json"), "--frames", "3"])
    printed = capsys.readouterr().out
    assert printed.startswith("3 frames in ")
    assert "% of it in the engines: " in printed
    with pytest.raises(SystemExit, match="error: there is no evaluation set nothing"):
        main([str(tiny_bundle), "--dataset", "nothing"])
