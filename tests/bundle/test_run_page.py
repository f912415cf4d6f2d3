"""The page of a run: its pictures or its preview, and links to files beside it."""

import base64
import re

import cv2
import numpy as np
import pytest

from lzu_export.bundle.run_page import MOST_PICTURES, SCENE_WIDTH, SCENES, Film, run_page

COUNTS = {"frames": 100, "detections": 7, "milliseconds": 12.34, "out": "run"}


def film(count: int) -> Film:
    made = Film()
    for i in range(count):
        made.add(np.full((90, 160, 3), 2 * i, np.uint8))
    return made


def scenes(made: Film) -> list[int]:
    """Grey of each picture of a film, which is twice its number."""
    found = re.search(r"base64,([^)]*)\)", made.markup("d"))
    assert found is not None
    strip = cv2.imdecode(np.frombuffer(base64.b64decode(found[1]), np.uint8), cv2.IMREAD_COLOR)
    assert strip.shape == (180, SCENE_WIDTH * len(made), 3)
    return [round(float(part.mean())) // 2 for part in np.hsplit(strip, len(made))]


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (1, [0]),
        (3, [0, 1, 2]),
        (SCENES, list(range(SCENES))),
        (SCENES + 1, list(range(0, SCENES + 1, 2))),
        (100, list(range(0, 100, 8))),
    ],
)
def test_scenes_are_spread_evenly_however_long_the_video_is(count: int, shown: list[int]) -> None:
    found = scenes(film(count))
    assert len(found) <= SCENES
    assert found == pytest.approx(shown, abs=1)


def page(**changes: object) -> str:
    given = {
        "bundle": "fixed-0.5x", "source": "/data/drive.mp4", "counts": COUNTS, "names": [],
        "video": "drive.mp4", "film": film(20), "results": ["images.json", "results.json"],
    }  # fmt: skip
    return run_page(**{**given, **changes})  # type: ignore[arg-type]


def test_a_video_has_a_preview_and_links() -> None:
    made = page()
    assert "100 frames, 7 detections, 12.3 ms a frame." in made
    assert 'class="film" role="img" aria-label="10 of 100 frames"' in made
    for each in ("drive.mp4", "images.json", "results.json"):
        assert f'<a href="{each}">{each}</a>' in made


def test_names_of_files_are_text_and_addresses() -> None:
    evil = '"><script>x</script> 100%.png'
    made = page(video=None, names=[evil], source=evil)
    assert made.count("<script") == 1
    assert 'src="%22%3E%3Cscript%3Ex%3C/script%3E%20100%25.png"' in made


def test_many_pictures_are_not_all_on_the_page_and_it_says_so() -> None:
    names = [f"{i}.png" for i in range(MOST_PICTURES + 5)]
    made = page(video=None, names=names, film=Film())
    assert made.count("<img") == MOST_PICTURES
    assert "5 more are in the folder." in made
    assert 'film"' not in made.split("</style>")[1]


def test_why_frames_are_missing_is_said() -> None:
    assert "the camera ended" in page(counts={**COUNTS, "incomplete": "the camera ended"})
