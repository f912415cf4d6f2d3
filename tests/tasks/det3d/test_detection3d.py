"""3-D detection's parts: from raw outputs to boxes of the camera, and how sure its choices are."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.models.margins import magnitude
from lzu_export.runtime import CameraFrame, Detector3d
from lzu_export.tasks.det3d.parts import Decode, parts
from lzu_export.tasks.pytorch import assemble, noise_frame
from lzu_export.tasks.warps import make_warp
from samples import tiny_recipe

K = np.array([[120.0, 0, 79.5], [0, 110, 47.5], [0, 0, 1]])
CLASS, BOX, WAY, ATTRIBUTE, CENTERNESS = range(5)
ROTATION = 6
WIDTHS = (2, 9, 2, 3, 1)
"""Channels of a tiny model's groups."""

Groups = list[list[torch.Tensor]]


def raw_outputs(recipe: Any, seed: int | None = None) -> Groups:
    """A head's five groups: zeros, or random of a seed."""
    generator = torch.Generator().manual_seed(seed or 0)
    shapes = [[(recipe.batch, width, *level.size) for level in recipe.levels] for width in WIDTHS]
    if seed is None:
        return [[torch.zeros(shape) for shape in group] for group in shapes]
    return [[torch.randn(shape, generator=generator) * 3 for shape in group] for group in shapes]


def camera_of(recipe: Any, matrix: np.ndarray = K) -> tuple[torch.Tensor, ...]:
    """What the engine is given for frames of this camera."""
    session: Any = SimpleNamespace(inputs=())
    made = Detector3d(recipe, session, make_warp(recipe).arrays())
    given_ = made.other_inputs([CameraFrame(noise_frame(recipe.source, 0), matrix)] * recipe.batch)
    return tuple(torch.from_numpy(given_[name]) for name in ("cam2img", "img2cam"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crop": [64, 128]},
        {"reduce": 2, "scale": 0.7},
        {"crop": [64, 128], "reduce": 2, "batch": 2},
        {"source_multiple": 64, "warp": {"geometry": "published", "unfilled": ["bottom"]}},
        {"variant": "uniform", "sampler": "opencv", "input": "zoomed"},
    ],
)
def test_an_object_is_found_where_it_stands(changes: dict[str, Any], tmp_path: Path) -> None:
    """An object seen at a canvas pixel comes back at its place in space."""
    recipe: Any = tiny_recipe(tmp_path, "det3d", **changes)
    position, size, alpha, velocity = (1.5, -0.4, 12.0), (4.0, 1.5, 1.8), 1.1, (2.0, -3.0)
    x, y, depth = K @ position
    (top, left), (step_y, step_x) = recipe.corner, recipe.canvas_step
    pixel = ((x / depth - left) / step_x, (y / depth - top) / step_y)
    groups = raw_outputs(recipe)
    row, column = (int(place // 16) for place in (pixel[1], pixel[0]))
    offset = [16 * cell + 8 - place for cell, place in zip((column, row), pixel, strict=True)]
    values = {
        CLASS: [-9.0, 9.0],
        BOX: [*offset, depth, *size, alpha, *velocity],
        WAY: [1.0, -1.0],
        ATTRIBUTE: [-1.0, -1.0, 2.0],
        CENTERNESS: [9.0],
    }
    for group, each in values.items():
        groups[group][1][-1, :, row, column] = torch.tensor(each)
    boxes, scores, attributes = Decode(recipe)(groups, *camera_of(recipe))
    best = int(scores[-1].amax(dim=1).argmax())
    assert scores[-1, best, 1] > 0.999
    assert scores[-1, best, 0] < 0.001
    assert attributes[-1, best] == 2
    yaw = alpha + math.atan2(position[0], position[2])
    np.testing.assert_allclose(boxes[-1, best], [*position, *size, yaw, *velocity], atol=1e-4)


def test_candidates_of_all_levels_are_the_outputs(tmp_path: Path) -> None:
    recipe: Any = tiny_recipe(tmp_path, "det3d", batch=2)
    made = parts(recipe)
    assert made.outputs == ("boxes", "scores", "attributes")
    assert made.decoded == ()
    model = assemble(recipe, make_warp(recipe), from_source=True)
    frames = torch.zeros(2, 96, 160, 3, dtype=torch.uint8)
    with torch.no_grad():
        values = model(frames, *camera_of(recipe))
    shapes = dict(zip(model.output_names, (tuple(v.shape) for v in values), strict=True))
    assert recipe.candidates == [30, 24, 6]
    assert [shapes[name] for name in made.outputs] == [(2, 60, 9), (2, 60, 2), (2, 60)]
    for width, group in zip(WIDTHS, made.groups, strict=True):
        assert [shapes[f"{group}_{i}"] for i in range(3)] == [
            (2, width, 8, 12),
            (2, width, 4, 6),
            (2, width, 2, 3),
        ]
    assert values[-1].dtype == torch.int32
    margins = model.margins(dict(zip(model.output_names, values, strict=True)), *camera_of(recipe))[
        "margins"
    ]
    assert margins.shape == (2, 60, 2)
    assert (margins >= 0).all()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A recipe that keeps every cell, so that candidates keep their places."""
    folder = tmp_path_factory.mktemp("whole")
    recipe: Any = tiny_recipe(folder, "det3d", postprocess={"candidates_per_level": 1000})
    assert recipe.candidates == recipe.entries == [96, 24, 6]
    return recipe


def choices(recipe: Any, groups: Groups) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attributes, headings and rotations (K,) that raw outputs decode to."""
    boxes, _, attributes = Decode(recipe)(groups, *camera_of(recipe))
    flat = [level[0, ROTATION].reshape(-1) for level in groups[BOX]]
    return attributes[0].numpy(), boxes[0, :, ROTATION].numpy(), torch.cat(flat).numpy()


def turned(before: tuple[np.ndarray, ...], after: tuple[np.ndarray, ...]) -> np.ndarray:
    """Whether headings changed by half a turn besides what the rotation did."""
    halves = (after[1] - before[1] - (after[2] - before[2])) / np.pi
    np.testing.assert_allclose(halves, halves.round(), atol=1e-4)
    return np.asarray(halves.round() % 2 != 0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(1, 10_000), parity=st.sampled_from([1e-4, 1e-3, 1e-2, 0.1]))
def test_a_deviation_changes_no_choice_of_a_larger_margin(
    whole: Any, seed: int, parity: float
) -> None:
    """Deviations below the margin leave attribute and heading unchanged."""
    groups = raw_outputs(whole, seed)
    margins = Decode(whole).margins(groups)[0].numpy()
    noise = np.random.default_rng(seed)
    moved = []
    for group in groups:
        largest = float(magnitude(group))
        shifts = [parity * largest * noise.choice([-1, 1], level.shape) for level in group]
        moved.append([a + torch.from_numpy(b).float() for a, b in zip(group, shifts, strict=True)])
    for level, kept in zip(moved[BOX], groups[BOX], strict=True):
        level[:, :2] = kept[:, :2]  # with its place a box's bearing would turn, which is no choice
    before, after = choices(whole, groups), choices(whole, moved)
    assert (margins[before[0] != after[0], 0] <= parity * 1.001).all()
    assert (margins[turned(before, after), 1] <= parity * 1.001).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(1, 10_000))
def test_a_deviation_over_the_margin_can_change_the_choice(whole: Any, seed: int) -> None:
    """Logits move to the second-best attribute; directions or rotations to the other heading."""
    groups = raw_outputs(whole, seed)
    margins = Decode(whole).margins(groups)[0]
    before = choices(whole, groups)
    way, box, attribute = (float(magnitude(groups[i])) for i in (WAY, BOX, ATTRIBUTE))
    sure = margins.numpy() * min(way, box, attribute) > 1e-3  # rounding decides the others
    assert sure.mean() > 0.9
    for factor, changes in ((0.99, False), (1.01, True)):
        attributes, ways, rotations = (copy(groups) for _ in range(3))
        start = 0
        for level in range(3):
            cells = groups[WAY][level][0, 0].numel()
            size = groups[WAY][level].shape[2:]
            parity = factor * margins[start : start + cells].reshape(*size, 2)
            start += cells
            lean(attributes[ATTRIBUTE][level][0], parity[..., 0] * attribute)
            lean(ways[WAY][level][0], parity[..., 1] * way)
            rotation = rotations[BOX][level][0, ROTATION]
            turns = (rotation - whole.model.direction_offset) / math.pi
            # Past the nearest end of its period of pi.
            rotation += (turns.round() - turns).sign() * parity[..., 1] * box
        other = choices(whole, attributes)[0] != before[0]
        assert (other == changes)[sure[:, 0]].all()
        either = turned(before, choices(whole, ways)) | turned(before, choices(whole, rotations))
        assert (either == changes)[sure[:, 1]].all()


def copy(groups: Groups) -> Groups:
    return [[level.clone() for level in group] for group in groups]


def lean(logits: torch.Tensor, parity: torch.Tensor) -> None:
    """Move the best of the logits (options, H, W) down and the second up, in place."""
    best, second = logits.topk(2, dim=0).indices.unbind(0)
    logits.scatter_add_(0, best[None], -parity[None])
    logits.scatter_add_(0, second[None], parity[None])
