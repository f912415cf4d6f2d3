"""A sample report of a comparison with made-up figures and pictures."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lzu_benchmarks.harness.candidates import STAGES
from lzu_benchmarks.harness.flops import Flops
from lzu_benchmarks.harness.latency_results import EngineLatency, LatencyRun
from lzu_benchmarks.harness.summary import Percentiles, StageTime
from lzu_benchmarks.report.schema import (
    Ablation,
    BundleResult,
    Crop,
    Curve,
    EngineResult,
    Examples,
    ForwardError,
    Gain,
    Gallery,
    GalleryFrame,
    GridPoint,
    LatencyGroup,
    Report,
    Score,
    WarpPictures,
)
from lzu_export.manifest.resampled import Resampled
from lzu_export.manifest.schema import Agreement, Parity
from lzu_export.support.machine import Machine
from lzu_export.support.ratio import Ratio
from lzu_export.support.watch import Conditions

SCORES = {
    ("uniform", 0.25): 20.0,
    ("fixed", 0.25): 24.5,
    ("adaptive", 0.25): 24.0,
    ("fovea", 0.25): 22.0,
    ("uniform", 0.5): 36.7,
    ("fixed", 0.5): 41.11,
    ("adaptive", 0.5): 41.5,
    ("fovea", 0.5): 38.0,
}
EXTRA = {"uniform": 0.0, "fixed": 0.5, "adaptive": 2.0, "fovea": 1.0}


def parity(precision: str, variant: str) -> Parity:
    """Make a parity with a short chain of probe points; a uniform model has no unzoom."""
    names = ["zoomed", "level_0", "unzoomed_0", "bbox_0", "cls_0"]
    if variant == "uniform":
        names.remove("unzoomed_0")
    common: dict[str, Any] = {"target": "onnxruntime", "precision": precision, "status": "passed"}
    values = {name: 1e-7 * (i + 1) for i, name in enumerate(names)}
    if precision == "fp32":
        return Parity(**common, probes=values, outputs={"boxes": 2e-6, "labels": 0.0}, limit=1e-4)
    ratios = {name: 20.0 + i for i, name in enumerate(names)}
    return Parity(**common, probes=values, snr=ratios, limit=None, snr_limit=8.0)


AGREEMENT = Agreement(scores=0.997, matched=0.97, count=900, spread=(0.93, 1.05))


def resampled(score: float, spread: float = 0.5) -> Resampled:
    """Make a metric on resampled sets around a score."""
    drawn = np.random.default_rng(int(10 * score)).normal(score, spread, 400)
    return Resampled(unit="sequences", groups=64, values=tuple(drawn.round(3).tolist()))


def percentiles(middle: float) -> Percentiles:
    """Make percentiles around a median, in milliseconds."""
    return Percentiles(
        queries=64,
        mean=middle * 1.02,
        minimum=middle * 0.95,
        p50=middle,
        p90=middle * 1.05,
        p99=None,
        p90_estimate=middle * 1.1,
        p99_estimate=None,
    )


def bundle(variant: str, scale: float, task: str) -> BundleResult:
    """Make a bundle's result with two engines."""
    name = f"{variant}-{scale:g}x"
    score = SCORES[variant, scale]
    metrics = {
        "det": {"AP": score, "AP50": score + 30, "AP_large": float("nan")},
        "seg": {"mIoU": score, "boundary": score - 9, "IoU road": 90.0, "IoU <pole>": 20.0},
        "det3d": {"NDS*": score, "mAP": score - 10, "mATE": 0.9},
    }[task]
    engines = {
        f"onnxruntime/{precision}": EngineResult(
            target="onnxruntime",
            precision=precision,
            bytes=4_000_000,
            build_seconds=None,
            score=Score(
                metrics={k: v - less for k, v in metrics.items()},
                how="" if precision == "fp32" else "run rounded",
                agreement=AGREEMENT if precision == "int8" and task != "seg" else None,
                resampled=resampled(score) if precision == "fp32" else None,
            ),
            parity=parity(precision, variant),
        )
        for precision, less in (("fp32", 0.0), ("int8", 0.4))
    }
    return BundleResult(
        key="k",
        name=name,
        task=task,
        recipe=f"{task}-demo",
        variant=variant,
        scale=scale,
        sizes=f"360x640 -> {int(360 * scale)}x{int(640 * scale)}",
        network_input=(192, 320),
        dataset="demo",
        frames=512,
        metric=next(iter(metrics)),
        note="small below 16x16",
        pytorch=Score(metrics=metrics, how=""),
        engines=engines,
        flops=Flops(network=int(5e9 * scale**2), warps=int(5e7 * EXTRA[variant])),
        facts={"weights": f"file {variant}.pth", "revision": "abc <&>"},
    )


def gallery(names: list[str], folder: Path) -> Gallery:
    """Make a gallery of two frames with its pictures in a folder."""
    picture = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)

    def write(name: str) -> str:
        cv2.imwrite(str(folder / f"{name}.jpg"), picture)
        return f"{name}.jpg"

    frames = tuple(
        GalleryFrame(
            name=f"<{i}>.png",
            truth=write(f"truth-{i}"),
            found={name: write(f"{name}-{i}") for name in names},
        )
        for i in (3, 7)
    )
    warps = {
        name: WarpPictures(
            **{kind: write(f"{name}-{kind}") for kind in ("grid", "zoomed", "magnification")},
            smallest=0.5,
            largest=2.5,
            end=2.5,
        )
        for name in names
        if not name.startswith("uniform")
    }
    crop = Crop(file=write("crop"), text="car, 9x9 pixels, frame <3>")
    groups = {
        "fixed finds, uniform misses: 1 of 9 small objects": (crop,),
        "uniform finds, fixed misses: 0 of 9 small objects": (),
    }
    examples = Examples(rule="Small: below 16x16.", groups=groups)
    return Gallery(key="k", frames=frames, what="two frames", warps=warps, examples=examples)


def group(scale: float, precision: str, variants: tuple[str, ...]) -> LatencyGroup:
    """Make a latency group of all variants at a scale."""
    engines = {}
    for variant in variants:
        middle = 60 * scale + EXTRA[variant]
        ratio = Ratio(value=middle / (60 * scale), low=1.0, high=1.1, rounds=8)
        name = f"{variant}-{scale:g}x"
        engines[f"{name} onnxruntime {precision}"] = EngineLatency(
            bundle=name,
            target="onnxruntime",
            precision=precision,
            provider="CPUExecutionProvider",
            cuda_graph=None,
            frames_per_query=1,
            end_to_end=percentiles(middle),
            engine=percentiles(middle * 0.9),
            stages={
                stage: StageTime(p50=middle * part, p90=middle * part)
                for stage, part in zip(STAGES, (0.05, 0.85, 0.06, 0.04), strict=True)
            },
            ratio=None if variant == "uniform" else ratio,
            engine_ratio=None,
            base=f"uniform-{scale:g}x onnxruntime {precision}",
            drift=0.0,
            power=None,
        )
    run = LatencyRun(
        created="2026-01-01T00:00:00+00:00",
        machine=Machine(
            processor="A processor, 2 threads",
            threads=2,
            device=None,
            kernel="6.1",
            memory=2**34,
            power_mode=None,
            governor="performance",
            largest_cpu_mhz=3000.0,
            cards=(),
            versions={"numpy": "2.0"},
            environment={"OMP_NUM_THREADS": "2"},
        ),
        conditions=Conditions(
            seconds=10.0,
            readings=4,
            cpu_mhz=(2900.0, 3000.0),
            gpu_mhz=None,
            celsius={"cpu-thermal (0)": (50.0, 60.0)},
            load=0.1,
            others=0.5,
            throttled=(),
            doubts=("other processes kept 0.5 processors busy",),
        ),
        plan={"queries": 64.0, "seconds": 0.0, "block": 8.0},
        engines=engines,
        overhead_nanoseconds=500.0,
        overhead_share=2e-5,
        peak_memory=3 * 10**8,
        frames="8 batches of frames in turn",
        notes=("single stream, but short",),
    )
    return LatencyGroup(key="k", target="onnxruntime", precision=precision, scale=scale, run=run)


def sample_report(
    task: str = "det",
    folder: Path | None = None,
    *,
    variants: tuple[str, ...] = ("uniform", "fixed", "adaptive", "fovea"),
    ablation: bool = False,
) -> Report:
    """Make a whole report; pictures go into `folder` if it is given."""
    scales = (0.25, 0.5)
    grid = tuple(
        GridPoint(
            key="k",
            scale=0.5,
            amplitude=amplitude,
            fwhm=fwhm,
            magnification=(2.0, 1.1),
            shrinkage=(0.5, 0.9),
            box_magnification=1 + amplitude / fwhm,
            score=30.0 + amplitude,
            gain=Gain(difference=amplitude - 1, low=amplitude - 2, high=amplitude),
            trained=(amplitude, fwhm) == (1.0, 10.0),
        )
        for amplitude in (0.5, 1.0, 2.0)
        for fwhm in (4.0, 10.0)
    )
    curve = Curve(
        stride=16, size=(23, 40), mean=0.001, maximum=0.01, mean_half_pixel=0.2,
        maximum_half_pixel=0.5,
    )  # fmt: skip
    forward = ForwardError(scale=0.5, x_mean=0.01, x_maximum=0.1, y_mean=0.3, y_maximum=1.2)
    found = Ablation(
        recipe=f"{task}-demo",
        fwhm=10.0,
        lattice=(31, 51),
        inverse={"0.5x": (curve,)},
        forward=(forward,),
        grid=grid,
        metric="AP",
        frames=64,
        uniform={"0.5x": 31.0},
        notes=("Nothing was trained again.",),
    )
    bundles = tuple(bundle(v, s, task) for s in scales for v in variants)
    return Report(
        title=f"{task}-demo: uniform and others",
        created="2026-01-01 00:00 UTC",
        task=task,
        recipe=f"{task}-demo",
        bundles=bundles,
        latency=tuple(group(s, p, variants) for s in scales for p in ("fp32", "int8")),
        gallery=None if folder is None else gallery([each.name for each in bundles], folder),
        ablation=found if ablation else None,
    )
