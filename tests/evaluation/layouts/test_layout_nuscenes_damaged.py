"""A nuScenes data set that is damaged or contradicts itself is named with the table and the row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import open_dataset
from nuscenes_tables import VERSION, change_table, nuscenes_set, recipe

Damage = Callable[[Path], object]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of three scenes of three samples."""
    return nuscenes_set(tmp_path)


BROKEN: list[tuple[Damage, str]] = [
    (
        lambda root: next(root.glob("samples/CAM_BACK/scene-0103-1*")).unlink(),
        r"has no samples/CAM_BACK/scene-0103-1-.*, which v1\.0-mini names; unpack",
    ),
    (
        lambda root: (root / VERSION / "ego_pose.json").unlink(),
        r"ego_pose\.json cannot be read .No such file",
    ),
    (
        lambda root: (root / VERSION / "sample_annotation.json").write_text('[{"token": 3}'),
        r"sample_annotation\.json has a row without the field instance_token; unpack",
    ),
    (
        lambda root: (root / VERSION / "scene.json").write_text('{"a": 1}'),
        r"scene\.json is damaged .it is no list of rows",
    ),
    (
        lambda root: (root / VERSION / "scene.json").write_text("[1]"),
        r"scene\.json is damaged .1 is no row",
    ),
    (
        lambda root: (root / VERSION / "category.json").write_text("[]"),
        r"v1\.0-mini names the token c-movable_object\.barrier in a table but does not explain",
    ),
    (
        lambda root: change_table(root, "ego_pose", list.clear),
        r"ego_pose\.json has no row of token p-scene-0103-0-CAM_BACK-True; unpack",
    ),
    (
        lambda root: change_table(
            root,
            "sample_data",
            lambda rows: [row.update(is_key_frame=False) for row in rows[:1]],
        ),
        r"sample_data\.json has no key frame of CAM_FRONT for sample scene-0916-0; unpack",
    ),
    (
        lambda root: next(root.glob("samples/CAM_FRONT/scene-0103-0*")).write_text("x"),
        r"CAM_FRONT/scene-0103-0.*\.jpg cannot be read as an image",
    ),
]


def first(name: str, **changes: Any) -> Damage:
    """Damage the first row of a table that the evaluation uses."""
    scene = "" if name == "calibrated_sensor" else "scene-0103"
    return lambda root: change_table(
        root, name, lambda rows: next(row for row in rows if scene in row["token"]).update(changes)
    )


NAN = float("nan")


CONTRADICTORY: list[tuple[Damage, str]] = [
    (first("ego_pose", translation=[1, NAN, 0]), r"ego_pose\.json is damaged .row p-.*finite"),
    (first("ego_pose", rotation=[0, 0, 0, 0]), r"has the rotation \[0, 0, 0, 0\], which is"),
    (first("ego_pose", rotation=[1, 0, 0]), "which is not 4 finite numbers"),
    (
        first("calibrated_sensor", rotation=[NAN, 0, 0, 1]),
        r"sensor\.json is damaged",
    ),
    (
        first("calibrated_sensor", camera_intrinsic=[[40, 0, 3], [80, 0, 6], [0, 0, 1]]),
        "camera_intrinsic of nuScenes' calibrated_sensor k-CAM_FRONT is singular",
    ),
    (
        first("calibrated_sensor", camera_intrinsic=[[40, 0, NAN], [0, 40, 6], [0, 0, 1]]),
        "has an entry that is not finite",
    ),
    (first("sample_annotation", translation=[0, 0, NAN]), "sample_annotation.json is damaged"),
    (first("sample_annotation", size=[0, 1, 2]), r"has the size \[0, 1, 2\], not positive"),
    (first("sample_annotation", num_lidar_pts=NAN), "has the num_lidar_pts nan, which is no"),
    (first("sample_annotation", sample_token="gone"), "refers to the sample gone, but"),
    (first("sample_annotation", next="gone"), "refers to the sample_annotation gone, but"),
    (first("sample_annotation", instance_token="gone"), "names the token gone in a table but"),
    (first("sample", scene_token="gone"), r"refers to the scene gone, but scene\.json has no"),
    (first("sample", timestamp="soon"), r"sample\.json is damaged .row .* timestamp 'soon'"),
    (first("sample_data", sample_token="gone"), "refers to the sample gone, but sample.json"),
    (
        lambda root: change_table(root, "sample_data", lambda rows: rows.extend(rows)),
        "has two key frames of CAM_FRONT for sample scene-0916-0",
    ),
    (
        lambda root: change_table(root, "sample", lambda rows: rows.append(rows[0])),
        "sample.json has two rows of token scene-0916-0",
    ),
    (
        lambda root: change_table(
            root, "sample_data", lambda rows: [row.update(height=900) for row in rows]
        ),
        r"is 64 wide and 32 high, but .*sample_data\.json has 64 and 900",
    ),
    (
        lambda root: (root / VERSION / "ego_pose.json").write_text(
            (root / VERSION / "ego_pose.json").read_text()[:-400]
        ),
        r"ego_pose\.json is damaged",
    ),
]
"""A position that is not a number, or a lost truth, would lower a metric without an error."""


@pytest.mark.parametrize(("damage", "words"), [*BROKEN, *CONTRADICTORY])
def test_a_damaged_data_set_is_named(root: Path, damage: Damage, words: str) -> None:
    damage(root)
    with pytest.raises(LzuError, match=words):
        list(open_dataset(str(root), None, "det3d", recipe()).samples())
