"""Training of the 3-D demonstration models: targets, losses and a few steps."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lzu_benchmarks.scenes import CLASSES  # noqa: E402
from lzu_benchmarks.train import det3d  # noqa: E402
from lzu_benchmarks.train.cache3d import FrameCache  # noqa: E402
from lzu_benchmarks.train.figures3d import BAND_COLUMNS, COLUMNS, compare, readme  # noqa: E402
from lzu_benchmarks.train.loss3d import WEIGHTS, collate, loss_3d  # noqa: E402
from lzu_benchmarks.train.schedule import Schedule  # noqa: E402
from lzu_benchmarks.train.series import recipes_in, train  # noqa: E402
from lzu_benchmarks.train.targets3d import (  # noqa: E402
    LEARNT_DEPTH,
    RADIUS,
    Targets,
    Truth,
    make_points,
    make_targets,
    mirror,
    project,
)
from lzu_export.evaluation.metrics.nuscenes import NuScenesEvaluation  # noqa: E402
from lzu_export.evaluation.metrics.nuscenes_objects import DEMO, camera_objects  # noqa: E402
from lzu_export.inputs.camera_matrix import camera_matrices  # noqa: E402
from lzu_export.models.decode3d import decode_3d, level_points  # noqa: E402
from lzu_export.recipes.schema import Det3dRecipe  # noqa: E402
from lzu_export.warp.box_saliency import box_saliency  # noqa: E402

KEYS = [(seed, index) for seed in (10_000, 10_003) for index in (0, 20)]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Det3dRecipe]:
    folder = tmp_path_factory.mktemp("out")
    boxes = np.array([[x, 150.0, x + 30, 190] for x in range(100, 540, 40)])
    saliency = box_saliency(boxes, (360, 640), (31, 51), bandwidth=32)
    np.save(folder / "saliency.npy", (saliency + saliency[:, ::-1]) / 2)
    return recipes_in(folder, det3d.SERIES.recipe)


@pytest.fixture(scope="module")
def cache(recipes: dict[str, Det3dRecipe], tmp_path_factory: pytest.TempPathFactory) -> FrameCache:
    return FrameCache(tmp_path_factory.mktemp("frames"), recipes, KEYS, processes=1)


def targets_of(truth: Truth, recipe: Det3dRecipe) -> Targets:
    return make_targets(make_points(recipe.levels), truth, recipe.model.direction_offset)


def as_outputs(
    targets: Targets, recipe: Det3dRecipe, *, training: bool
) -> tuple[list[torch.Tensor], ...]:
    """What a head that is always right answers; its rotation is off by whole half turns."""
    points = make_points(recipe.levels)
    table = np.zeros((len(points.xy), 6 + 9 + 2 + 1 + 1), np.float32)
    table[:, :6] = -20
    rows = targets.positive
    table[rows, targets.labels] = 20
    table[rows, 6:13] = targets.boxes
    if not training:
        table[rows, 6:8] *= points.stride[rows, None]
    table[rows, 12] += np.pi * (rows % 3 - 1)
    table[rows, 15 + targets.direction] = 30
    table[rows, -1] = np.log(targets.centerness / (1 - targets.centerness + 1e-6))
    groups: tuple[list[torch.Tensor], ...] = ([], [], [], [], [])
    start = 0
    for level in recipe.levels:
        height, width = level.size
        part = torch.from_numpy(table[start : start + height * width])
        maps = part.reshape(1, height, width, -1).permute(0, 3, 1, 2)
        for group, values in zip(groups, maps.split([6, 9, 2, 1, 1], dim=1), strict=True):
            group.append(values)
        start += height * width
    return groups


def test_points_are_the_decodes(recipes: dict[str, Det3dRecipe]) -> None:
    levels = recipes["fixed"].levels
    mine = make_points(levels)
    theirs = level_points([level.size for level in levels], [level.stride for level in levels])
    np.testing.assert_array_equal(mine.xy, torch.cat(theirs).numpy())


@pytest.mark.parametrize("flipped", [False, True])
def test_encoded_truth_decodes_to_the_truth(
    recipes: dict[str, Det3dRecipe], cache: FrameCache, flipped: bool
) -> None:
    recipe = recipes["fixed"]
    points = level_points([level.size for level in recipe.levels], recipe.model.strides)
    for place in range(len(cache)):
        truth = cache.truth(place)
        truth = mirror(truth, recipe.canvas[1]) if flipped else truth
        targets = targets_of(truth, recipe)
        matrices = map(torch.from_numpy, camera_matrices(truth.cam2img, 1))
        boxes, scores, _ = decode_3d(
            as_outputs(targets, recipe, training=False), points, *matrices, 10_000
        )
        found, score = boxes[0].numpy(), scores[0].numpy()
        learnt = set()
        for row, label in zip(targets.positive, targets.labels, strict=True):
            assert score[row].argmax() == label
            away = np.linalg.norm(truth.boxes3d[:, :6] - found[row, :6], axis=1)
            owner = int(away.argmin())
            assert away[owner] < 1e-3
            turn = found[row, 6] - truth.boxes3d[owner, 6]
            assert abs((turn + np.pi) % (2 * np.pi) - np.pi) < 1e-4  # the heading, not the axis
            learnt.add(owner)
        wanted = np.flatnonzero(~truth.ignore & (truth.boxes3d[:, 2] <= LEARNT_DEPTH))
        assert len(learnt) >= 0.8 * len(wanted)
        assert learnt <= set(wanted.tolist())


def test_a_mirrored_canvas_shows_the_mirrored_truth(cache: FrameCache) -> None:
    truth = cache.truth(0)
    turned = mirror(truth, cache.canvas[1])
    centres, mirrored = (project(t.boxes3d, t.cam2img) for t in (truth, turned))
    np.testing.assert_allclose(mirrored[:, 0], cache.canvas[1] - 1 - centres[:, 0])
    np.testing.assert_allclose(mirrored[:, 1], centres[:, 1])
    yaw, other = truth.boxes3d[:, 6], turned.boxes3d[:, 6]
    np.testing.assert_allclose(np.cos(other), -np.cos(yaw), atol=1e-12)
    np.testing.assert_allclose(np.sin(other), np.sin(yaw), atol=1e-12)
    np.testing.assert_allclose(turned.boxes[:, 2] - turned.boxes[:, 0],
                               truth.boxes[:, 2] - truth.boxes[:, 0])  # fmt: skip


def test_projected_centres_lie_in_the_boxes(cache: FrameCache) -> None:
    height, width = cache.canvas
    for place in range(len(cache)):
        truth = cache.truth(place)
        x, y = project(truth.boxes3d, truth.cam2img).T
        whole = (truth.boxes[:, 0] > 0) & (truth.boxes[:, 2] < width - 2)
        whole &= (truth.boxes[:, 1] > 0) & (truth.boxes[:, 3] < height - 2)
        x1, y1, x2, y2 = truth.boxes.T
        inside = (x > x1 - 0.5) & (x < x2 + 0.5) & (y > y1 - 0.5) & (y < y2 + 0.5)
        assert inside[whole].all()
        assert whole.any()


def test_a_cell_learns_the_nearest_of_its_levels_objects(recipes: dict[str, Det3dRecipe]) -> None:
    recipe = recipes["fixed"]
    cam2img = np.array([[260.0, 0, 160], [0, 260, 84], [0, 0, 1]])
    depth = np.array([20.0, 21.0, 30.0, 70.0, 8.0])
    pixels = np.array([[100.0, 90], [112, 90], [200, 90], [260, 90], [50, 100]])
    half = np.array([6.0, 6, 5, 4, 60])
    rays = (pixels - cam2img[:2, 2]) / 260
    boxes3d = np.zeros((5, 7))
    boxes3d[:, :3] = np.concatenate([rays, np.ones((5, 1))], axis=1) * depth[:, None]
    boxes3d[:, 3:6] = 2
    truth = Truth(
        np.concatenate([pixels - half[:, None], pixels + half[:, None]], axis=1),
        boxes3d,
        np.arange(5),
        np.array([False, False, True, False, False]),
        cam2img,
    )
    points, targets = make_points(recipe.levels), targets_of(truth, recipe)
    assert set(targets.labels.tolist()) == {0, 1, 4}  # the third is ignored, the fourth too far
    for row, label in zip(targets.positive, targets.labels, strict=True):
        away = np.abs(points.xy[row] - pixels[label])
        assert (away <= RADIUS * points.stride[row]).all()
        others = np.hypot(*(points.xy[row] - pixels[[0, 1, 4]]).T)
        if label != 4:
            assert points.stride[row] == 8
            assert others.min() == np.hypot(*away)
    assert (points.stride[targets.positive[targets.labels == 4]] > 8).all()
    near = np.abs(points.xy[targets.ignored, None] - pixels[[2, 3]]).max(axis=-1).min(axis=1)
    assert len(targets.ignored)
    assert (near <= RADIUS * points.stride[targets.ignored]).all()


def test_frames_without_objects_teach_nothing(recipes: dict[str, Det3dRecipe]) -> None:
    none = np.zeros(0, np.int64)
    truth = Truth(np.zeros((0, 4)), np.zeros((0, 7)), none, none.astype(bool), np.eye(3))
    targets = targets_of(truth, recipes["fixed"])
    outputs = as_outputs(targets, recipes["fixed"], training=True)
    losses = loss_3d(outputs, collate([targets]))
    np.testing.assert_allclose(losses.numpy(), 0, atol=1e-5)


def test_loss_is_least_for_right_answers(
    recipes: dict[str, Det3dRecipe], cache: FrameCache
) -> None:
    targets = targets_of(cache.truth(0), recipes["fixed"])
    batch = collate([targets])
    outputs = as_outputs(targets, recipes["fixed"], training=True)
    classes, boxes, direction, centerness = loss_3d(outputs, batch).tolist()
    assert classes < 1e-6
    assert boxes < 1e-5
    assert direction < 1e-6
    p = targets.centerness.astype(float)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p + 1e-12)).mean()
    assert centerness == pytest.approx(entropy, rel=1e-3)
    for level in outputs[1]:
        level[:, 2] *= 1.2  # too far by a fifth, everywhere
    linear = WEIGHTS[2] * np.log(1.2) - 1 / 18
    assert float(loss_3d(outputs, batch)[1]) == pytest.approx(linear, rel=1e-3)


@pytest.mark.parametrize("variant", ["uniform", "fixed"])
def test_loss_decreases_in_a_few_steps(
    recipes: dict[str, Det3dRecipe], cache: FrameCache, variant: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    schedule = Schedule(epochs=16, batch=4, log=log)
    detector, losses = train(det3d.SERIES, recipes[variant], cache, schedule)
    assert len(losses) == 16
    assert np.isfinite(losses).all()
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert log.read_text().startswith("step 0/16")
    assert isinstance(detector, det3d.Detector)
    assert (detector.unzoom is None) == (variant == "uniform")
    evaluation = det3d.evaluate(detector, recipes[variant], cache)
    assert 0 <= evaluation.summary()["NDS*"] <= 100


def test_readme_says_what_is_not_beyond_the_interval(cache: FrameCache) -> None:
    perfect, poor = NuScenesEvaluation(DEMO), NuScenesEvaluation(DEMO)
    for place, key in enumerate(cache.keys):
        truth = cache.truth(place)
        objects = camera_objects(truth.boxes3d, truth.classes)
        for evaluation, kept in ((perfect, 1), (poor, 2)):
            part = camera_objects(truth.boxes3d[::kept], truth.classes[::kept])
            scores = np.linspace(1, 0.5, len(part.labels))
            evaluation.add(key, key[0], objects, part, scores, truth.ignore)
    runs = [
        {"variant": v, "seed": s, "steps": 5, "cpu_seconds": 1.0, "summary": e.summary()}
        for s in (0, 1)
        for v, e in (("uniform", poor), ("fixed", perfect))
    ]
    record = {"command": "c", "machine": "m", "frames": 4, "runs": runs, "rows": [0.3] * 3}
    record |= {"seconds": 60.0, "cpu_seconds": 120.0}

    def told(uniform: NuScenesEvaluation, fixed: NuScenesEvaluation) -> str:
        two_seeds = {"uniform": [uniform] * 2, "fixed": [fixed] * 2}
        return readme({**record, **compare(two_seeds, resamples=20)})

    text = told(poor, perfect)
    assert "NDS* = (5 mAP" in text
    assert all(f"| {name} |" in text for name in (*COLUMNS, *BAND_COLUMNS, *CLASSES))
    assert "fixed is better in: NDS* over all distances, mAP over all distances" in text
    assert "not shown either way, is the difference in: NDS* over all" in told(poor, poor)
    assert "fixed is worse in: NDS* over all" in told(perfect, poor)
