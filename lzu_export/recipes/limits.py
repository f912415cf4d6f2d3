"""Recipe keys that limit the deviation from PyTorch, and from a stored state."""

from pydantic import Field

from lzu_export.recipes.sections import Section


class MetricLimits(Section):
    """Largest difference of the task's metric from PyTorch's, in points (AP x 100)."""

    fp32: float = Field(0.1, gt=0)
    """Limit for FP32."""
    fp16: float = Field(0.2, gt=0)
    """Limit for FP16."""
    bf16: float = Field(0.5, gt=0)
    """Limit for BF16."""
    int8: float = Field(1.0, gt=0)
    """Limit for INT8."""
    feedback: float = Field(0.3, ge=0)
    """Added for lower precisions of a detector that is zoomed by its own boxes: rounding moves
    boxes, and these move the warp of the frames that follow. The FP16 demonstration of FOVEA loses
    0.24 points that way, and nothing when it is zoomed by the boxes of FP32."""


class SignalLimits(Section):
    """Lowest signal-to-noise ratio of a probe point in dB. Below it the engine is broken, not
    rounded.
    """

    fp16: float = 40.0
    """Limit for FP16, in dB."""
    bf16: float = 25.0
    """Limit for BF16, in dB."""
    int8: float = 8.0
    """Limit for INT8, in dB."""


class ScoreLimits(Section):
    """How far the mean ratio of matched scores, engine over PyTorch, may be from 1.

    Of segmentation: the share of pixels that may get another class. See `tasks.agreement`.
    """

    fp32: float = Field(0.005, gt=0)
    """Limit for FP32."""
    fp16: float = Field(0.01, gt=0)
    """Limit for FP16."""
    bf16: float = Field(0.02, gt=0)
    """Limit for BF16."""
    int8: float = Field(0.03, gt=0)
    """Limit for INT8."""


class MatchLimits(Section):
    """Lowest share of PyTorch's detections, weighted by score, that a lower precision must find.

    The metric and the ratio of scores do not see what is lost of detections that have no truth, or
    where no evaluation set is given. It is not asked of fewer than `manifest.comparison.FEW`.
    """

    fp16: float = Field(0.98, ge=0, le=1)
    """Limit for FP16."""
    bf16: float = Field(0.95, ge=0, le=1)
    """Limit for BF16."""
    int8: float = Field(0.9, ge=0, le=1)
    """Limit for INT8."""
    feedback: float = Field(0.05, ge=0, le=1)
    """Subtracted where a detector that is zoomed by its own boxes is scored on sequences: rounding
    moves boxes, and these move the warp of the frames that follow. The demonstration's
    shares are 0.97 for FP16 and 0.91 for INT8, and 0.999 and 0.96 when it is zoomed by the boxes of
    FP32."""


class RegressionLimits(Section):
    """What a bundle may lose against an earlier state of itself (`lzu-export regress`).

    For the task's metric it is `tolerances.metric`.
    """

    deviation: float = Field(10.0, ge=1)
    """Factor by which the deviation of a probe point may grow, in FP32. Deviations below a
    hundredth of `tolerances.probe` are rounding and not compared."""
    snr: float = Field(3.0, ge=0)
    """Decibels by which a probe point's signal-to-noise ratio may fall, in lower precisions."""
    latency: float = Field(1.05, ge=1)
    """Factor by which a latency, or a ratio of two, may grow on the machine of the reference."""
    latency_elsewhere: float = Field(1.2, ge=1)
    """Factor by which a ratio of latencies may grow on another machine."""


class Tolerances(Section):
    """Limits on the deviation from PyTorch, and on what may be lost against a stored state."""

    probe: float = Field(1e-4, gt=0)
    """Largest max|a - b| / max|b| at each probe point and output, in FP32."""
    snr: SignalLimits = Field(default_factory=SignalLimits)
    metric: MetricLimits = Field(default_factory=MetricLimits)
    scores: ScoreLimits = Field(default_factory=ScoreLimits)
    matched: MatchLimits = Field(default_factory=MatchLimits)
    regression: RegressionLimits = Field(default_factory=RegressionLimits)
