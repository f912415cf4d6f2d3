"""Compare latency with a stored state: timed interleaved, compared by intervals.

The ratio of engines that took turns hardly depends on a machine's other load, but a time does. So
times are compared only on one machine, and only if nothing made them doubtful. No torch.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from pydantic import Field

from lzu_export.recipes.schema import RegressionLimits
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.support import hardware
from lzu_export.support.interleave import Plan, Timings, ratio, subject, take_turns
from lzu_export.support.provenance import low_precision_note
from lzu_export.support.ratio import Ratio
from lzu_export.support.section import Section
from lzu_export.support.watch import Conditions, Watch
from lzu_export.targets.registry import runs_anywhere
from lzu_export.verification.checks import Check, change_of

BLOCK = 4
"""Number of timed queries per turn."""
ROUNDS = 16
"""Number of turns of every engine in a stretch: 64 queries, as in `bench`."""
STRETCHES, SECONDS = 24, 240.0
"""Largest number of stretches, and the seconds after which none begins, until figures are sure."""
ALARMS = 3
"""Number of consecutive stretches that have to show a regression before it counts."""
PRECISE = 0.015
"""Largest relative half width of the intervals of a state that is to be stored."""
SURE = 1.5
"""Distance of a sure figure from its limit, in half widths of its interval; it is above 1 because
the figure is checked repeatedly."""
BASELINE = "baseline "
"""Prefix of the names of the baseline's engines."""
MILLISECOND = 1e6
"""One millisecond in nanoseconds."""


class LatencyState(Section):
    """End-to-end latency of whole frames; all engines took turns."""

    machine: str
    """Identity of the machine: processor, board, power mode and card, see `hardware.identity`."""
    key: str | None
    """Hash that identifies the machine itself; None if it cannot be identified again."""
    milliseconds: dict[str, Ratio]
    """Milliseconds per frame by `target/precision`."""
    ratios: dict[str, Ratio]
    """Ratios of latencies by `target/precision over X`; X is another engine or the baseline
    bundle."""
    doubts: tuple[str, ...] = ()
    """Sentences on what makes the milliseconds doubtful."""
    silent: dict[str, str] = Field(default_factory=dict)
    """Reason, by engine, why its times mean nothing and were not measured."""


@dataclass
class Turns:
    """Engines that take turns, and their times so far."""

    predictors: Mapping[str, Predictor]
    camera_frames: list[CameraFrame]
    """Camera frames of one batch."""
    timings: dict[str, Timings] = field(default_factory=dict)
    stretches: int = 0
    """Number of stretches that were timed."""

    def stretch(self, between: Callable[[], None] = lambda: None) -> None:
        """Time ROUNDS more turns of each engine."""
        subjects = {
            name: subject(partial(each.run, self.camera_frames))
            for name, each in self.predictors.items()
        }
        plan = Plan(
            queries=ROUNDS * BLOCK,
            block=BLOCK,
            warmup_queries=2,
            warmup_seconds=0.0 if self.stretches else 0.3,
            seed=self.stretches,
        )
        for name, more in take_turns(subjects, plan, between).items():
            self.timings.setdefault(name, Timings(block=BLOCK)).totals.extend(more.totals)
        self.stretches += 1

    def over(self, name: str, base: str) -> Ratio:
        """Return the ratio of an engine's time per frame to that of `base`."""
        return ratio(self._quickest(name), self._quickest(base))

    def milliseconds(self, name: str) -> Ratio:
        """Return an engine's milliseconds per frame."""
        mine = self._quickest(name)
        return ratio(
            mine, Timings([round(MILLISECOND * len(self.camera_frames))] * len(mine.totals))
        )

    def _quickest(self, name: str) -> Timings:
        """Return the quickest query of every turn, which other processes interrupted least."""
        return Timings([min(turn) for turn in self.timings[name].turns])


def measure_latency(
    engines: Mapping[str, Predictor],
    camera_frames: list[CameraFrame],
    *,
    provider: str = "cpu",
    baseline: tuple[str, Mapping[str, Predictor]] | None = None,
    then: LatencyState | None = None,
    limits: RegressionLimits | None = None,
) -> LatencyState | None:
    """Time engines in turns until the result is sure.

    Args:
        engines: predictors by `target/precision`.
        camera_frames: camera frames of one batch.
        provider: ONNX Runtime's provider.
        baseline: name and predictors of a bundle for further ratios.
        then: state that this one is compared with; without it, engines are timed until the
            intervals are narrow.
        limits: limits of the comparison with `then`.

    Returns:
        The measured state; None if no engine's time means anything.
    """
    silent = {name: low_precision_note() for name in engines if not _tells(name, provider)}
    mine = [name for name in engines if name not in silent]
    if not mine:
        return None
    against, others = baseline if baseline is not None else ("", {})
    timed = {name: engines[name] for name in mine}
    timed |= {f"{BASELINE}{name}": others[name] for name in mine if name in others}
    for predictor in timed.values():
        predictor.reset()  # forget the frames that were scored
    watch, turns = Watch(), Turns(timed, camera_frames)
    pairs = {f"{name} over {mine[0]}": (name, mine[0]) for name in mine[1:]}
    pairs |= {
        f"{name} over {against}": (name, f"{BASELINE}{name}") for name in mine if name in others
    }

    machine, key = hardware.identity(), hardware.key()

    def state() -> LatencyState:
        return LatencyState(
            machine=machine,
            key=key,
            milliseconds={name: turns.milliseconds(name) for name in mine},
            ratios={label: turns.over(*pair) for label, pair in pairs.items()},
            doubts=_doubts(watch.finish()),
            silent=silent,
        )

    start, alarms = time.monotonic(), 0
    while True:
        turns.stretch(watch)
        found = state()
        if then is None or limits is None:
            known = all(_width(each) <= PRECISE for each in found.ratios.values())
        else:
            verdicts = judge(found, then, limits)
            alarms = 0 if all(each.held for each in verdicts) else alarms + 1
            known = all(each.sure for each in verdicts) and (alarms == 0 or alarms >= ALARMS)
        if known or turns.stretches >= STRETCHES or time.monotonic() - start > SECONDS:
            return found


def _tells(engine: str, provider: str) -> bool:
    """Whether an engine's time means anything, unlike that of lower precisions on a processor."""
    target, _, precision = engine.partition("/")
    return precision == "fp32" or not runs_anywhere(target) or provider != "cpu"


def _doubts(conditions: Conditions) -> tuple[str, ...]:
    return (*conditions.throttled, *conditions.doubts)


def _width(figure: Ratio) -> float:
    """Return the relative half width of a figure's interval."""
    return math.log(figure.high / figure.low) / 2


@dataclass(frozen=True)
class Verdict:
    """Comparison of one figure with the reference's."""

    what: str
    """Engine or label of the ratio."""
    now: Ratio
    then: Ratio
    limit: float
    """Largest `factor` that is allowed."""
    form: str
    """Format of the figures in the message."""

    @property
    def factor(self) -> float:
        """Ratio of the figure to the reference's."""
        return self.now.value / self.then.value

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `factor`, from the intervals of both figures."""
        half = math.hypot(_width(self.now), _width(self.then))
        return self.factor * math.exp(-half), self.factor * math.exp(half)

    @property
    def held(self) -> bool:
        """Whether the figure is not slower by more than the limit, or not surely slower at all."""
        return self.factor <= self.limit or self.interval[0] <= 1

    @property
    def sure(self) -> bool:
        """Whether more timing could hardly change `held`: three standard errors."""
        half = SURE * math.hypot(_width(self.now), _width(self.then))
        return abs(math.log(self.factor / self.limit)) >= half

    @property
    def message(self) -> str:
        """Sentence with the figures."""
        low, high = self.interval
        now, then = self.form.format(self.now.value), self.form.format(self.then.value)
        return (
            f"{now} where the reference has {then}: {self.factor:.3f} times that "
            f"({low:.3f} to {high:.3f}); {self.limit:g} times is allowed"
        )


def same_machine(now: LatencyState, then: LatencyState) -> bool:
    """Whether two states are known to come from one machine in one state."""
    return now.key is not None and now.key == then.key and now.machine == then.machine


def judge(now: LatencyState, then: LatencyState, limits: RegressionLimits) -> list[Verdict]:
    """Compare all figures that can be compared.

    Ratios have the limit `latency` on the same machine, and `latency_elsewhere` on another, since
    the parts of a frame take different shares of the time on different processors.
    """
    here = same_machine(now, then)
    limit = limits.latency if here else limits.latency_elsewhere
    found = [
        Verdict(label, now.ratios[label], before, limit, "{:.3f}")
        for label, before in then.ratios.items()
        if label in now.ratios
    ]
    if here and not now.doubts and not then.doubts:
        found += [
            Verdict(name, now.milliseconds[name], before, limit, "{:.2f} ms")
            for name, before in then.milliseconds.items()
            if name in now.milliseconds
        ]
    return found


def compare_latency(
    now: LatencyState | None,
    then: LatencyState | None,
    limits: RegressionLimits,
    elsewhere: Mapping[str, str],
) -> list[Check]:
    """Check latencies against the reference's; `elsewhere` has why engines do not run here."""
    if then is None:
        return []
    if now is None:
        return [
            Check(name, "latency", "skipped", elsewhere.get(name, low_precision_note()))
            for name in then.milliseconds
        ]
    verdicts = {each.what: each for each in judge(now, then, limits)}
    doubt = f"; doubtful: {'; '.join(now.doubts)}" if now.doubts else ""
    checks = []
    for label in then.ratios:
        engine, _, over = label.partition(" over ")
        name = f"latency over {over}"
        if label in verdicts:
            checks.append(_check(engine, name, verdicts[label], doubt))
        else:
            checks.append(Check(engine, name, "skipped", _missing(engine, now, elsewhere)))
    for engine in then.milliseconds:
        if engine in verdicts:
            checks.append(_check(engine, "latency on one machine", verdicts[engine], ""))
            continue
        why = _missing(engine, now, elsewhere)
        if engine in now.milliseconds:
            why = _incomparable(now, then)
        checks.append(Check(engine, "latency on one machine", "skipped", why))
    checks += [Check(name, "latency", "skipped", why) for name, why in now.silent.items()]
    return checks


def _check(engine: str, name: str, verdict: Verdict, doubt: str) -> Check:
    status: Literal["passed", "failed"] = "passed" if verdict.held else "failed"
    now, then = verdict.now.value, verdict.then.value
    change = change_of(now, then, verdict.form, relative=True, span=verdict.interval)
    return Check(engine, name, status, verdict.message + doubt, change)


def _missing(engine: str, now: LatencyState, elsewhere: Mapping[str, str]) -> str:
    return elsewhere.get(engine) or now.silent.get(engine) or "was not measured"


def _incomparable(now: LatencyState, then: LatencyState) -> str:
    """Return why times are not compared."""
    if now.machine != then.machine:
        return f"the reference was recorded on another machine ({then.machine})"
    if now.key is None or then.key is None:
        return (
            "this machine cannot be known again, so that times of one cannot be told from another's"
        )
    if now.key != then.key:
        return "the reference was recorded on another machine of this kind"
    doubts: Sequence[str] = now.doubts or then.doubts
    return f"times are doubtful {'now' if now.doubts else 'in the reference'}: {'; '.join(doubts)}"
