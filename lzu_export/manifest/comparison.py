"""Results of a comparison with a reference, with their limits and verdicts."""

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import AliasChoices, Field

from lzu_export.manifest.fields import Number
from lzu_export.support.section import Section

AGREEMENTS = {"scores": "matched scores", "pixels": "share of pixels that keep their class"}
"""Name of an engine's agreement with PyTorch in checks and messages, by `Agreement.compared`."""
FOUND = "share of detections found"
"""Name, in checks and messages, of the share of PyTorch's detections that an engine finds."""
FEW = 50
"""Fewest detections for which the share found is judged."""
ON_DEVICE = " on device"
"""Suffix of an engine's name where the engine itself ran rather than its graph."""
SNR_AT_MOST = 2000.0
"""Largest distinguished deviation beyond a limit in dB; the power of ten of more can overflow."""
LEAST_SHARE = 1e-6
"""Smallest allowed share of missing detections that losses are divided by."""

Figure = Literal["difference", "snr", "scores", "pixels", "found"]
"""Kind of a compared figure: `difference` is max|a - b| / max|b|, `snr` a signal-to-noise ratio in
dB; the others are figures of an `Agreement`."""


@dataclass(frozen=True)
class Deviation:
    """One figure of a comparison, with its limit."""

    name: str
    """Name of a probe point or an output; for predictions a value of `AGREEMENTS`, or `FOUND`."""
    figure: Figure
    value: float
    limit: float | None
    """Largest difference, lowest ratio or share, or largest distance of `scores` from 1; None where
    the figure is not judged."""
    few: bool = False
    """Whether there were too few detections to judge the figure."""
    reference: str = "PyTorch"
    """Name of the reference that the engine was compared with."""

    @property
    def passed(self) -> bool:
        """Whether the figure is within its limit or has no limit; NaN is within no limit."""
        if self.limit is None or self.few:
            return True
        if self.figure == "difference":
            return self.value <= self.limit
        if self.figure in ("scores", "pixels"):
            return abs(self.value - 1) <= self.limit
        return self.value >= self.limit

    @property
    def excess(self) -> float:
        """Deviation divided by its limit: above 1 it is beyond the limit; infinite for NaN."""
        limit = self.limit or 0.0
        if self.figure == "snr":
            found = 10 ** (min(limit - self.value, SNR_AT_MOST) / 20)
        elif self.figure == "found":
            found = (1 - self.value) / max(1 - limit, LEAST_SHARE)
        else:
            off = self.value if self.figure == "difference" else abs(self.value - 1)
            found = off / limit if limit else off
        return found if math.isfinite(found) else math.inf

    def sentence(self) -> str:
        """Return figure and limit in words, as a predicate to the name."""
        if self.figure == "difference":
            told = f"differs from {self.reference} by {self.value:.2g}"
            return told if self.limit is None else f"{told} where {self.limit:.2g} is allowed"
        if self.figure == "snr":
            told = f"has a signal-to-noise ratio of {self.value:.1f} dB"
            if self.limit is None:
                return told
            return f"{told} where at least {self.limit:g} dB are asked for"
        if self.figure == "scores":
            allowed = f"1 \N{PLUS-MINUS SIGN} {self.limit:g}"
            return f"are {self.value:.3f} times {self.reference}'s where {allowed} is allowed"
        least, whose = self.limit or 0.0, f" of {self.reference}'s"
        if self.figure == "pixels":
            least, whose = 1 - least, ""
        return f"is {self.value:.3f}{whose} where at least {least:g} is asked for"


class Agreement(Section):
    """An engine's confidence in its reference's predictions, see `tasks.agreement`."""

    scores: Number
    """Mean ratio, engine over reference, of the scores of detections that both find, each weighted
    by the reference's score; for segmentation the share of pixels that get the reference's
    class."""
    matched: Number
    """Share of the reference's detections that the engine finds, weighted by their scores."""
    count: int
    """Number of the reference's detections, or of pixels."""
    compared: Literal["scores", "pixels"] = "scores"
    """Meaning of `scores`: `pixels` for segmentation, `scores` for the other tasks."""
    spread: tuple[Number, Number] | None = None
    """Ratios between which 90 % of the matched scores are, weighted as in `scores`, to 0.001: a
    mean of 1 may hide scores that rise and fall. None where no scores are compared."""

    def __str__(self) -> str:
        """Return `scores`, with `spread` if there is one."""
        if self.spread is None:
            return f"{self.scores:.3f}"
        return f"{self.scores:.3f} [{self.spread[0]:.2f}, {self.spread[1]:.2f}]"

    @property
    def called(self) -> str:
        """Name of the figure `scores` in `AGREEMENTS`."""
        return AGREEMENTS[self.compared]

    def deviations(
        self, scores: float | None, matched: float | None = None, reference: str = "PyTorch"
    ) -> tuple[Deviation, ...]:
        """Return the agreement's figures with their limits.

        Args:
            scores: largest distance of `scores` from 1; None leaves it unjudged.
            matched: lowest share of the reference's detections that the engine must find.
            reference: name of the reference that the engine was compared with.
        """
        mine = Deviation(self.called, self.compared, self.scores, scores, reference=reference)
        if self.compared == "pixels":
            return (mine,)
        few = 0 <= self.count < FEW
        return mine, Deviation(FOUND, "found", self.matched, matched or 0.0, few, reference)

    def first(self, scores: float | None, matched: float | None = None) -> Deviation | None:
        """Return the first figure beyond its limit; None where there is none."""
        return next((each for each in self.deviations(scores, matched) if not each.passed), None)


class Parity(Section):
    """Deviation of an engine from PyTorch at each probe point, and in FP32 at each output."""

    target: str
    """Target of the engine."""
    precision: str
    """Precision of the engine."""
    status: str
    """One of `passed`; `graph passed` where only the engine's ONNX graph could be run here, with
    the reason in `note`; `ran` where there is no limit; `failed`."""
    on_device: bool = False
    """Whether the engine itself ran on its device; then it was compared at its outputs alone."""
    note: str = ""
    """Reason why only the graph ran; empty if the engine did."""
    probes: dict[str, Number] = Field({}, validation_alias=AliasChoices("probes", "arrows"))
    """Differences max|a - b| / max|b| by probe point."""
    outputs: dict[str, Number] = Field({})
    """Differences max|a - b| / max|b| by output."""
    snr: dict[str, Number] = Field({})
    """Signal-to-noise ratios in dB of the probe points, or of the outputs (`verify.ranked`) where
    the engine ran on its device."""
    limit: float | None
    """Limit of `probes` and `outputs`, in FP32."""
    snr_limit: float | None = None
    """Lowest ratio in `snr` in dB, in lower precisions."""
    agreement: Agreement | None = None
    """Agreement of the predictions with PyTorch's, in lower precisions."""
    score_limit: float | None = None
    """Largest distance of `agreement.scores` from 1, see `recipes.schema.ScoreLimits`."""
    matched_limit: float | None = None
    """Lowest share of PyTorch's detections that must be found, see `recipes.schema.MatchLimits`."""

    @property
    def engine(self) -> str:
        """Name `target/precision` of the engine, with a suffix where it ran on its device."""
        return f"{self.target}/{self.precision}{ON_DEVICE if self.on_device else ''}"

    @property
    def chain(self) -> tuple[Deviation, ...]:
        """Figures of probe points and outputs, in graph order: differences in FP32, else SNRs."""
        if self.limit is None:
            return tuple(Deviation(n, "snr", v, self.snr_limit) for n, v in self.snr.items())
        found = {**self.probes, **self.outputs}
        return tuple(Deviation(n, "difference", v, self.limit) for n, v in found.items())

    @property
    def predictions(self) -> tuple[Deviation, ...]:
        """Deviations of matched scores and of the share found; empty in FP32."""
        if self.agreement is None:
            return ()
        return self.agreement.deviations(self.score_limit, self.matched_limit)

    @property
    def deviations(self) -> tuple[Deviation, ...]:
        """All figures: those of `chain`, then those of `predictions`."""
        return self.chain + (self.predictions if self.score_limit is not None else ())

    @property
    def passed(self) -> bool:
        """Whether every figure is within its limit."""
        return self.first is None

    @property
    def first(self) -> Deviation | None:
        """First figure beyond its limit; None where there is none."""
        return next((each for each in self.deviations if not each.passed), None)

    @property
    def worst(self) -> Deviation | None:
        """Figure of the probe point or output that deviates most; None where none was compared."""
        return max(self.chain, key=lambda each: each.excess, default=None)

    def excess(self, name: str | None = None) -> float:
        """Return the deviation divided by its limit: above 1 it is beyond the limit.

        Args:
            name: name of a probe point, an output or another figure; by default the largest of all.
        """
        found = {each.name: each.excess for each in self.deviations}
        return found[name] if name in found else max(found.values(), default=0.0)

    def judged(self) -> "Parity":
        """Return this result, with the status `failed` where a figure is beyond its limit."""
        return self if self.passed else self.model_copy(update={"status": "failed"})

    def sentence(self) -> str:
        """Return the verdict: where the engine first differs from PyTorch, or that it matches."""
        where = f"the {self.target} engine in {self.precision}"
        where += ON_DEVICE if self.on_device else ""
        first = self.first
        if first is None:
            return f"{where} matches PyTorch"
        return (
            f"{where} deviates from PyTorch: the first difference is at {first.name}, which "
            f"{first.sentence()}"
        )
