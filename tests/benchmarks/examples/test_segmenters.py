"""Examples of learned downsampling for segmentation: edge loss, sampling places, zoomed labels."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_benchmarks.scenes import LABELS
from lzu_export.manifest.schema import read_manifest
from lzu_export.warp.forward import nonseparable_forward_grid, pixel_centres

EXAMPLES = Path(__file__).resolve().parents[3] / "benchmarks/examples"


@pytest.fixture(scope="module")
def examples() -> Any:
    """Return the modules of the examples by name."""
    before = sys.path.copy()
    sys.path.insert(0, str(EXAMPLES))
    try:
        import es_segmenter
        import lds_segmenter
        import zoomed_segmenters
    finally:
        sys.path[:] = before
    return {"es": es_segmenter, "lds": lds_segmenter, "shared": zoomed_segmenters}


def scene(seed: int, size: tuple[int, int] = (36, 64)) -> Any:
    """Draw a label map (H, W) uint8 of rectangles."""
    random = np.random.default_rng(seed)
    labels = np.zeros(size, np.uint8)
    for label in range(1, random.integers(2, 6)):
        y, x = (int(random.integers(0, count)) for count in size)
        height, width = (int(random.integers(2, count)) for count in size)
        labels[y : y + height, x : x + width] = label
    return labels


def test_the_edge_target_is_the_filtered_blur_of_each_class(examples: Any) -> None:
    """The formula by OpenCV, class by class, on a map of several pixels per cell."""
    lds = examples["lds"]
    labels = scene(1, (4 * 31, 4 * 51))
    responses = []
    for each in range(len(LABELS)):
        mask = (labels == each).astype(np.float64).reshape(31, 4, 51, 4).mean(axis=(1, 3))
        smooth = cv2.GaussianBlur(mask, (5, 5), 1.0, borderType=cv2.BORDER_REPLICATE)
        around = cv2.boxFilter(smooth, -1, (3, 3), normalize=False, borderType=cv2.BORDER_REPLICATE)
        responses.append(np.maximum(9 * smooth - around, 0))
    wanted = np.max(responses, axis=0)
    wanted = (wanted - wanted.min()) / (wanted.max() - wanted.min())
    found = lds.edge_target(torch.from_numpy(labels)[None])[0]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-5)
    assert found[:, 0].max() < 1  # the frame's border is no edge


def test_the_edge_loss_is_zero_at_its_target(examples: Any) -> None:
    """It ignores the density's offset and scale, and trains the module."""
    lds = examples["lds"]
    labels = torch.from_numpy(scene(2, (2 * 62, 2 * 102)))[None]
    torch.manual_seed(0)
    module = lds.Density()
    images = torch.rand(1, 3, 124, 204)
    loss = lds.edge_loss(module, images, labels)
    density, target = module.density(images), lds.edge_target(labels[:, ::2, ::2])
    scaled = (density - density.min()) / (density.max() - density.min())
    torch.testing.assert_close(loss, 100 * (scaled - target).square().mean())
    loss.backward()
    assert all(float(each.grad.abs().sum()) > 0 for each in module.parameters())
    module.density = lambda _images: 3 + 0.5 * target
    assert float(lds.edge_loss(module, images, labels)) < 1e-6


def energy(places: torch.Tensor, nearest: torch.Tensor, smoothness: float) -> torch.Tensor:
    """Compute the energy of sampling places (h, w, 2), term by term."""
    rows, columns = places.shape[:2]
    total = torch.zeros((), dtype=places.dtype)
    for i in range(rows):
        for j in range(columns):
            total = total + (places[i, j] - nearest[i, j]).square().sum()
            for k, m in ((i + 1, j), (i, j + 1)):
                if k < rows and m < columns:
                    total = total + smoothness * (places[i, j] - places[k, m]).square().sum()
    return total


@pytest.mark.parametrize("smoothness", [0.3, 1.0])
def test_target_places_minimise_the_energy(examples: Any, smoothness: float) -> None:
    """Its gradient vanishes inside, and points of the frame's edges stay on them."""
    nearest = np.random.default_rng(0).uniform(-1, 1, (4, 6, 2))
    places = torch.from_numpy(examples["es"].target_places(nearest, smoothness)).requires_grad_()
    (slope,) = torch.autograd.grad(energy(places, torch.from_numpy(nearest), smoothness), places)
    assert float(slope[:, 1:-1, 0].abs().max()) < 1e-9
    assert float(slope[1:-1, :, 1].abs().max()) < 1e-9
    for plane in (places[..., 0], places[..., 1].T):
        assert plane[:, 0].tolist() == [-1] * len(plane)
        assert plane[:, -1].tolist() == [1] * len(plane)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_target_places_keep_their_order(examples: Any, seed: int) -> None:
    """Nearest points are at the least distance, and places in the order that an inverse needs."""
    labels = scene(seed)
    nearest = examples["es"].nearest_boundary(labels, (5, 7))
    height, width = labels.shape
    boundary = [
        (x, y)
        for y in range(height)
        for x in range(width)
        if (labels[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] != labels[y, x]).any()
    ]
    extent = (np.array([width, height]) - 1) / 2
    for i, y in enumerate(pixel_centres(5)):
        for j, x in enumerate(pixel_centres(7)):
            here, found = (np.array([x, y]) + 1) * extent, (nearest[i, j] + 1) * extent
            gaps = [np.hypot(*(here - each)) for each in boundary]
            assert np.hypot(*(here - found)) == pytest.approx(min(gaps, default=0.0), abs=1e-9)
    places = examples["es"].target_places(nearest)
    assert np.diff(places[..., 0], axis=1).min() > 0
    assert np.diff(places[..., 1], axis=0).min() > 0


def test_predicted_places_increase_from_edge_to_edge(examples: Any) -> None:
    torch.manual_seed(0)
    module = examples["es"].Places()
    with torch.no_grad():
        module.mean.normal_(std=30)  # far from even
        places = module(torch.rand(2, 3, 64, 96))
    assert places.shape == (2, 8, 14, 2)
    for axis, count in ((0, 14), (1, 8)):
        gaps = torch.diff(places[..., axis], dim=2 - axis)
        assert float(gaps.min()) >= 0.99 * 0.1 * 2 / (count - 1)
        ends = places[..., axis].movedim(2 - axis, 0)
        torch.testing.assert_close(ends[0], -torch.ones_like(ends[0]))
        torch.testing.assert_close(ends[-1], torch.ones_like(ends[-1]))


def test_labels_are_zoomed_as_images_are(examples: Any) -> None:
    labels = scene(3)
    knots = examples["es"].target_places(examples["es"].nearest_boundary(labels))
    found = examples["shared"].zoomed_labels(
        torch.from_numpy(labels)[None], torch.from_numpy(knots).float()[None], (20, 30)
    )
    places = (nonseparable_forward_grid(knots, (20, 30)) + 1) / 2 * (63, 35)
    clear = np.abs(places % 1 - 0.5).min(axis=-1) > 1e-4  # rounding decides the others
    x, y = np.rint(places).astype(int).transpose(2, 0, 1)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found[0].numpy()[clear], labels[y, x][clear])


@pytest.mark.slow  # trains a few steps and exports: two minutes each
@pytest.mark.parametrize("name", ["lds", "es"])
def test_the_program_runs_and_resumes(name: str, tmp_path: Path) -> None:
    """Engines match PyTorch; a second run prints a table of what the first one left.

    INT8 is left out: an untrained network holds classes for equally likely, and loses some.
    """
    command = [sys.executable, str(EXAMPLES / f"{name}_segmenter.py"), "--out", str(tmp_path)]
    command += ["--seeds", "0", "--steps", "2", "--sequences", "4", "--frames", "8"]
    command += ["--variants", "uniform", name, "--precision", "fp32", "fp16"]
    done, again = (
        subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False)
        for more in (["--json"], [])
    )
    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    record = json.loads(done.stdout)
    assert set(record["gains"][name]["uniform"]) >= {"mIoU", "mIoU_boundary", "car"}
    for each in record["runs"]:
        parity = {
            entry.engine: entry.status for entry in read_manifest(Path(each["bundle"])).parity
        }
        shipped = {f"onnxruntime/{p}": "passed" for p in ("fp32", "fp16")}
        assert parity == {**shipped, "emulated/fp16": "graph passed"}
    for column in ("mIoU", "mIoU_boundary"):
        assert f"| {column} | mean over seeds | gain over |" in again.stdout
    assert max(map(len, again.stdout.splitlines())) <= 80
