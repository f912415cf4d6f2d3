"""Results of a comparison with a reference, which judge themselves."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from lzu_export.manifest.fields import Number, Section
from lzu_export.support.former_keys import with_todays_keys

AGREEMENTS = {"scores": "matched scores", "pixels": "share of pixels that keep their class"}
"""What checks and messages call an engine's agreement with PyTorch, by `Agreement.compared`."""
FOUND = "share of detections found"
"""What they call the share of PyTorch's detections that an engine finds."""
FEW = 50
"""Fewest detections that say something about the share found."""
ON_DEVICE = " on device"
"""Suffix of an engine's name where the engine itself ran, not its graph."""
SNR_AT_MOST = 2000.0
"""Decibels beyond a limit that are told apart; a power of ten of more would overflow."""
LEAST_SHARE = 1e-6
"""Share of detections that may be missing, at least, to compare losses by."""

Figure = Literal["difference", "snr", "scores", "pixels", "found"]
"""`difference` is max|a - b| / max|b|, `snr` a signal-to-noise ratio in dB; the others are those of
an `Agreement`."""


@dataclass(frozen=True)
class Deviation:
    """One figure of a comparison beside its limit."""

    name: str
    """A probe point or an output; of predictions a name of `AGREEMENTS`, or `FOUND`."""
    figure: Figure
    value: float
    limit: float | None
    """Largest difference, lowest ratio or share, or how far `scores` may be from 1; None where the
    figure is not judged."""
    few: bool = False
    """There were too few detections to judge by."""
    reference: str = "PyTorch"
    """What the engine was compared with."""

    @property
    def passed(self) -> bool:
        """Whether the figure keeps its limit, or has none; NaN keeps none."""
        if self.limit is None or self.few:
            return True
        if self.figure == "difference":
            return self.value <= self.limit
        if self.figure in ("scores", "pixels"):
            return abs(self.value - 1) <= self.limit
        return self.value >= self.limit

    @property
    def excess(self) -> float:
        """The deviation over what is allowed: more than 1 is beyond; infinite for NaN."""
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
        """Figure and limit in words, to follow the name."""
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
    """How sure an engine is of what its reference finds, see `tasks.agreement`."""

    scores: Number
    """Mean ratio of the scores of what both find, engine over reference, each weighted by the
    reference's; of segmentation the share of pixels that get the reference's class."""
    matched: Number
    """Share of the reference's detections that the engine finds, likewise weighted."""
    count: int
    """Detections of the reference, or pixels."""
    compared: Literal["scores", "pixels"] = "scores"
    """What `scores` is about: `pixels` of segmentation."""

    @property
    def called(self) -> str:
        """The name of the figure `scores`, of `AGREEMENTS`."""
        return AGREEMENTS[self.compared]

    def deviations(
        self, scores: float | None, matched: float | None = None, reference: str = "PyTorch"
    ) -> tuple[Deviation, ...]:
        """The agreement's figures beside their limits.

        Args:
            scores: how far `scores` may be from 1.
            matched: lowest share of the reference's detections to be found.
            reference: what the engine was compared with.
        """
        mine = Deviation(self.called, self.compared, self.scores, scores, reference=reference)
        if self.compared == "pixels":
            return (mine,)
        few = 0 <= self.count < FEW
        return mine, Deviation(FOUND, "found", self.matched, matched or 0.0, few, reference)

    def first(self, scores: float | None, matched: float | None = None) -> Deviation | None:
        """The first figure beyond its limit."""
        return next((each for each in self.deviations(scores, matched) if not each.passed), None)


class Parity(Section):
    """How far an engine is from PyTorch at each probe point, and in FP32 at each output."""

    target: str
    precision: str
    status: str
    """`passed`; `graph passed` where only the engine's ONNX graph could be run here, with the
    reason in `note`; `ran` where there is no limit; or `failed`."""
    on_device: bool = False
    """The engine itself ran on its device; it was compared at its outputs alone."""
    note: str = ""
    probes: dict[str, Number] = Field({})
    """max|a - b| / max|b|."""
    outputs: dict[str, Number] = Field({})
    snr: dict[str, Number] = Field({})
    """Signal-to-noise ratios in dB of the probe points, or of the outputs (`verify.ranked`) where
    the engine ran on its device."""
    limit: float | None
    """Of `probes` and `outputs`, in FP32."""
    snr_limit: float | None = None
    """Of `snr`, in lower precisions."""
    agreement: Agreement | None = None
    """Of the predictions, in lower precisions."""
    score_limit: float | None = None
    """How far `agreement.scores` may be from 1, see `recipes.schema.ScoreLimits`."""
    matched_limit: float | None = None
    """Lowest share of PyTorch's detections to be found, see `recipes.schema.MatchLimits`."""

    @model_validator(mode="before")
    @classmethod
    def _todays_keys(cls, data: Any) -> Any:
        return with_todays_keys(data, {"arrows": "probes"})

    @property
    def engine(self) -> str:
        """`target/precision`, and whether it was on its device."""
        return f"{self.target}/{self.precision}{ON_DEVICE if self.on_device else ''}"

    @property
    def chain(self) -> tuple[Deviation, ...]:
        """Probe points and outputs in the order of the chain: differences in FP32, else ratios."""
        if self.limit is None:
            return tuple(Deviation(n, "snr", v, self.snr_limit) for n, v in self.snr.items())
        found = {**self.probes, **self.outputs}
        return tuple(Deviation(n, "difference", v, self.limit) for n, v in found.items())

    @property
    def predictions(self) -> tuple[Deviation, ...]:
        """Scores of what both find, and how much is found; nothing in FP32."""
        if self.agreement is None:
            return ()
        return self.agreement.deviations(self.score_limit, self.matched_limit)

    @property
    def deviations(self) -> tuple[Deviation, ...]:
        """All figures: of the chain, then of the predictions."""
        return self.chain + (self.predictions if self.score_limit is not None else ())

    @property
    def passed(self) -> bool:
        """Whether every figure keeps its limit."""
        return self.first is None

    @property
    def first(self) -> Deviation | None:
        """The first figure beyond its limit."""
        return next((each for each in self.deviations if not each.passed), None)

    @property
    def worst(self) -> Deviation | None:
        """The probe point or output that deviates most; None where none was compared."""
        return max(self.chain, key=lambda each: each.excess, default=None)

    def excess(self, name: str | None = None) -> float:
        """`Deviation.excess` of one figure, or the largest of all."""
        found = {each.name: each.excess for each in self.deviations}
        return found[name] if name in found else max(found.values(), default=0.0)

    def judged(self) -> "Parity":
        """The same with the status `failed` where a figure is beyond its limit."""
        return self if self.passed else self.model_copy(update={"status": "failed"})

    def sentence(self) -> str:
        """The verdict: where the engine first differs from PyTorch, or that it does not."""
        where = f"the {self.target} engine in {self.precision}"
        where += ON_DEVICE if self.on_device else ""
        first = self.first
        if first is None:
            return f"{where} matches PyTorch"
        return (
            f"{where} deviates from PyTorch: the first difference is at {first.name}, which "
            f"{first.sentence()}"
        )
