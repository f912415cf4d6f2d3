"""Learning to Zoom and learned saliencies: their knots, their scores, and their programs."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lzu_benchmarks.scenes import Sequence, render
from lzu_benchmarks.scenes.camera import SOURCE_SIZE
from lzu_export.manifest.schema import read_manifest
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.fixed_warp import FWHM, LATTICE
from lzu_export.warp.knots import nonseparable_knots
from lzu_export.warp.saliency import mirrored, softmax_saliency
from lzu_export.warp.warp import saliency_knots

EXAMPLES = Path(__file__).resolve().parents[3] / "benchmarks/examples"


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import an example as its program does."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return import_module(name)


def test_the_saliency_attracts_by_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    zoom = example("learning_to_zoom", monkeypatch)
    torch.manual_seed(0)
    module = zoom.Saliency().eval()
    torch.nn.init.normal_(module.layers[-1].weight, std=3.0)
    images = torch.randn(2, 3, zoom.SIDE, zoom.SIDE)
    with torch.no_grad():
        saliency, knots = module.saliency(images), module(images)
    torch.testing.assert_close(saliency.sum((1, 2)), torch.ones(2))
    for mine, found in zip(saliency.double().numpy(), knots.numpy(), strict=True):
        wanted = nonseparable_knots(mine, zoom.FWHM)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
        assert np.ptp(mine) > 0.5 / mine.size


def test_logits_give_the_warp_of_their_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    saliencies = example("learned_saliency", monkeypatch)
    module = saliencies.Logits()
    torch.manual_seed(0)
    torch.nn.init.normal_(module.logits, std=0.3)
    logits = saliencies.GAIN * module.logits.detach().double().numpy()
    wanted = mirrored(softmax_saliency(logits, LATTICE))
    check_constant(saliencies.learned(module), wanted)


@pytest.mark.parametrize(("amplitude", "bandwidth"), [(1.0, 32.0), (0.3, 90.0)])
def test_amplitude_and_bandwidth_give_the_density_of_boxes(
    amplitude: float, bandwidth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    saliencies = example("learned_saliency", monkeypatch)
    boxes = np.array([[300.0, 150, 330, 170], [100, 160, 220, 260], [500, 140, 506, 152]])
    module = saliencies.Density(boxes)
    assert float(module.density.amplitude.detach()) == pytest.approx(1.0)
    assert float(module.density.bandwidth.detach()) == pytest.approx(saliencies.BANDWIDTH)
    module.density.amplitude = torch.tensor(amplitude)
    module.density.bandwidth = torch.tensor(bandwidth)
    wanted = box_saliency(boxes, SOURCE_SIZE, LATTICE, amplitude=amplitude, bandwidth=bandwidth)
    check_constant(saliencies.learned(module), mirrored(wanted))


def check_constant(warp: Any, saliency: np.ndarray) -> None:
    """Compare a warp that is the same for all frames with that of a saliency; both parts learn."""
    wanted = saliency_knots(saliency, FWHM, separable=True)
    for name, found in warp.as_fixed().knots.items():
        np.testing.assert_allclose(found, wanted[name], rtol=0, atol=1e-5)
    for each in warp.module(torch.zeros(2, 3, 4, 4)):
        each[1].square().sum().backward(retain_graph=True)
    for name, parameter in warp.module.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_windows_hold_the_object_that_they_are_drawn_around(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zoom = example("learning_to_zoom", monkeypatch)
    frame = render(Sequence(10_000), 0)
    windows = list(zoom.windows_of(frame, 3))
    assert len(windows) == zoom.WINDOWS
    boxes = frame.boxes[~frame.ignore]
    for window, again in zip(windows, zoom.windows_of(frame, 3), strict=True):
        np.testing.assert_array_equal(window.image, again.image)
        assert window.image.shape == (zoom.SIDE, zoom.SIDE, 3)
        assert any(window.present)
        centres = (window.boxes[:, :2] + window.boxes[:, 2:]) / 2
        assert len(centres)
        assert ((centres > 0) & (centres < zoom.SIDE)).all()
        corner = next(  # all boxes are moved by it
            box[:2] - window.boxes[0, :2]
            for box in boxes
            if np.allclose(box[2:] - box[:2], window.boxes[0, 2:] - window.boxes[0, :2])
            and np.allclose((box[:2] - window.boxes[0, :2]) % 1, 0)
        )
        left, top = np.rint(corner).astype(int)
        part = frame.image[top : top + zoom.SIDE, left : left + zoom.SIDE]
        np.testing.assert_array_equal(part, window.image)


def test_areas_count_pairs_of_drawn_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    zoom = example("learning_to_zoom", monkeypatch)
    random = np.random.default_rng(0)
    sequences = np.repeat(np.arange(5), 4)
    truth = random.random((20, 4)) < 0.5
    logits = random.integers(0, 6, (20, 4)).astype(float)  # with ties
    data = {"sequences": sequences.tolist(), "truth": truth.tolist(), "logits": logits.tolist()}
    times = np.array([2, 0, 1, 1, 1])
    drawn = np.repeat(np.arange(20), times[sequences])
    found = zoom.values(data)(times)
    areas = []
    for kind in range(4):
        yes, no = (logits[drawn][truth[drawn, kind] == each, kind] for each in (True, False))
        pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in yes for b in no]
        areas.append(100 * np.mean(pairs))
    assert list(found.values()) == pytest.approx([np.mean(areas), *areas])


@pytest.mark.slow  # two exports each
@pytest.mark.parametrize(
    ("name", "variants"),
    [("learning_to_zoom", ["uniform", "learned"]), ("learned_saliency", ["uniform", "logits"])],
)
def test_the_program_trains_exports_and_scores(
    name: str, variants: list[str], tmp_path: Path
) -> None:
    """Two steps of training; a second run reads what the first one wrote.

    FP32 alone: other precisions change the classes that an untrained network holds for all but
    equally likely, so their export is refused.
    """
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--out", str(tmp_path), "--json"]
    command += ["--steps", "2", "--sequences", "4", "--frames", "16", "--seeds", "0"]
    command += ["--variants", *variants, "--precision", "fp32"]
    runs = [
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        for _ in range(2)
    ]
    assert [each.returncode for each in runs] == [0, 0], runs[0].stderr
    assert runs[0].stdout == runs[1].stdout
    first = json.loads(runs[0].stdout)
    assert set(first["accuracy"]) == {"fp32"}
    assert set(first["gains"][variants[1]]) == {"uniform"}
    for figures in first["accuracy"]["fp32"].values():
        main = next(iter(figures["0"].values()))
        assert 0 <= main <= 100
    for each in first["runs"]:
        parity = read_manifest(Path(each["bundle"])).parity
        assert [(entry.engine, entry.status) for entry in parity] == [
            ("onnxruntime/fp32", "passed")
        ]
