"""Made-up results behind the pages of sensitivity and regressions."""

from pathlib import Path

import numpy as np

from lzu_calibration.cache import CachedFrames, make_cache
from lzu_calibration.sensitivity import search
from lzu_export.evaluation.content import Content
from lzu_export.manifest.resampled import Resampled
from lzu_export.quantization.sensitivity import Outcome
from lzu_export.recipes import load_recipe
from lzu_export.support.ratio import Ratio
from lzu_export.verification.pace import LatencyState
from lzu_export.verification.regression import AccuracyState, State, compare_states
from lzu_export.verification.regression_page import Comparison

LAYERS = tuple(f"backbone.layer{i // 6}.{i % 6}.conv" for i in range(30))
COSTLY = {
    "backbone.layer0.0.conv": 1.4,
    "backbone.layer4.5.conv": 0.6,
    "backbone.layer2.1.conv": 0.3,
}


def sample_outcome(folder: Path, name: str = "fixed-0.5x") -> Outcome:
    """Make the result of a search in which three of 30 layers cost points."""

    def metric(int8: frozenset[str]) -> float:
        return 40 - sum(COSTLY.get(layer, 0.01) for layer in int8)

    frames = CachedFrames(name="train.json", count=64, seed=0, digest="d" * 64)
    return Outcome(
        found=search({each: (each,) for each in LAYERS}, metric, baseline=40.0, limit=0.5),
        bundle=name,
        by="layer",
        layers=LAYERS,
        metric="AP",
        dataset="demo",
        note="small below 16x16",
        frames=64,
        model="a" * 64,
        ranges=make_cache(
            model="a" * 64, frames=frames, method="entropy", percentile=None, ranges={"x": 1.0},
            version="1",
        ),
        evaluations=42,
        resumed=0,
        file=folder / f"{name}.int8.sensitivity.json",
    )  # fmt: skip


def surely(value: float, width: float = 0.01) -> Ratio:
    """Make a ratio with an interval."""
    return Ratio(value=value, low=value * (1 - width), high=value * (1 + width), rounds=16)


def sample_state(*, ap: float, slower: float, numpy: str, lowering: str) -> State:
    """Make the state of a bundle with two engines."""
    drawn = np.random.default_rng(int(10 * ap)).normal(ap, 0.4, 400).round(3)
    resampled = Resampled(unit="sequences", groups=64, values=tuple(drawn.tolist()))
    probes = ("zoomed", "level_0", "unzoomed_0", "cls_0", "boxes")
    return State(
        bundle="det-demo fixed 0.5x, 360x640 -> 180x320, batch 1",
        fingerprint="f" * 64,
        created="2026-01-01T00:00:00+00:00",
        source_revision="abc",
        versions={"numpy": numpy, "onnxruntime": "1.23.2"},
        parity={
            "onnxruntime/fp32": {name: 1e-7 * (i + 1) for i, name in enumerate(probes)},
            "emulated/int8": {name: 20.0 + i for i, name in enumerate(probes)},
        },
        accuracy=AccuracyState(
            dataset="demo",
            frames=512,
            content=Content(truth="t", frames="f", mean=100.0, deviation=50.0),
            metric="AP",
            engines={"onnxruntime/fp32": {"AP": ap}, "emulated/int8": {"AP": ap - 0.4}},
            resampled={"onnxruntime/fp32": resampled},
        ),
        latency=LatencyState(
            machine="a processor",
            key="k",
            milliseconds={"onnxruntime/fp32": surely(30.0 * slower)},
            ratios={"onnxruntime/fp32 over uniform 0.5x": surely(1.05 * slower)},
            silent={"emulated/int8": "a processor's time says nothing of a device's"},
        ),
        lowerings={"onnxruntime/fp32": {"zoom": lowering, "unzoom_0": "matmul"}},
    )


def sample_comparison(*, lost: bool = True) -> Comparison:
    """Make a comparison in which accuracy and speed are lost, or nothing is."""
    recipe = load_recipe("det-demo", {"precision": ["fp32", "int8"]})
    then = sample_state(ap=41.1, slower=1.0, numpy="2.2.0", lowering="banded")
    now = sample_state(
        ap=39.2 if lost else 41.1, slower=1.2 if lost else 1.0, numpy="2.3.0", lowering="gather"
    )
    return Comparison(now, then, compare_states(now, then, recipe))
