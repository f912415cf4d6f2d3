"""How far an engine may differ from PyTorch, and a bundle from an earlier state of itself."""

from pydantic import Field

from lzu_export.recipes.sections import Section


class MetricLimits(Section):
    """Points of the task's metric (AP x 100) that a precision may differ by."""

    fp32: float = Field(0.1, gt=0)
    fp16: float = Field(0.2, gt=0)
    bf16: float = Field(0.5, gt=0)
    int8: float = Field(1.0, gt=0)
    feedback: float = Field(0.3, ge=0)
    """More for the lower ones of a detector that looks at its own boxes: rounding moves boxes, and
    these the warp of all frames that follow. The FP16 demonstration of FOVEA loses 0.24 so, and
    nothing where it is looked at by the boxes of FP32."""


class SignalLimits(Section):
    """Lowest signal-to-noise ratio of an arrow in dB: what is below is broken, not rounded."""

    fp16: float = 40.0
    bf16: float = 25.0
    int8: float = 8.0


class ScoreLimits(Section):
    """How far the mean ratio of matched scores, engine over PyTorch, may be from 1.

    Of segmentation: the share of pixels that may get another class. See `tasks.agreement`.
    """

    fp32: float = Field(0.005, gt=0)
    fp16: float = Field(0.01, gt=0)
    bf16: float = Field(0.02, gt=0)
    int8: float = Field(0.03, gt=0)


class MatchLimits(Section):
    """Lowest share of PyTorch's detections, weighted by score, that a lower precision must find.

    The metric and the ratio of scores do not see what is lost of detections that have no truth, or
    where no evaluation set is given. It is not asked of fewer than `tasks.agreement.FEW`.
    """

    fp16: float = Field(0.98, ge=0, le=1)
    bf16: float = Field(0.95, ge=0, le=1)
    int8: float = Field(0.9, ge=0, le=1)


class RegressionLimits(Section):
    """What a bundle may lose against an earlier state of itself (`verify --reference`).

    For the task's metric it is `tolerances.metric`.
    """

    drift: float = Field(10.0, ge=1)
    """Factor by which an arrow's drift may grow, in FP32; what is below a hundredth of
    `tolerances.arrow` is rounding and may be anything."""
    snr: float = Field(3.0, ge=0)
    """Decibels by which an arrow's signal-to-noise ratio may fall, in lower precisions."""
    latency: float = Field(1.05, ge=1)
    """Factor by which a latency, or a ratio of two, may grow on the machine of the reference."""
    latency_elsewhere: float = Field(1.2, ge=1)
    """Factor by which a ratio of latencies may grow on another one."""


class Tolerances(Section):
    """Drift limits against PyTorch, and what may be lost from one release to the next."""

    arrow: float = Field(1e-4, gt=0)
    """max|a - b| / max|b| at each arrow and output, in FP32."""
    snr: SignalLimits = SignalLimits()
    metric: MetricLimits = MetricLimits()
    scores: ScoreLimits = ScoreLimits()
    matched: MatchLimits = MatchLimits()
    regression: RegressionLimits = RegressionLimits()
