"""What a comparison comes to: sentences, cards, and the notes below the tables.

The page, the Markdown and the terminal take the same texts, so that none leaves a warning out. A
difference that its interval does not tell from 0 is never told as a gain.
"""

from collections.abc import Sequence
from typing import NamedTuple

from lzu_benchmarks.report.rows import Row, number, ratio_text, signed
from lzu_benchmarks.report.schema import Gain, Report
from lzu_export.evaluation.metrics.bootstrap import Interval
from lzu_export.evaluation.resampling import certain

UNSURE = "no certain"


def uniform_there(report: Report, name: str) -> str:
    """Return uniform's score on the frames of a grid's diagram, as a clause; empty without it."""
    scale = f"{name.rpartition('-')[2]}x"
    found = report.ablation.uniform.get(scale) if report.ablation is not None else None
    return "" if found is None else f" (uniform: {number(found)})"


def difference_text(found: Interval | Gain) -> str:
    """Format a difference with its interval."""
    return f"{signed(found.difference)} {interval_text(found)}"


def interval_text(found: Interval | Gain) -> str:
    """Format a difference's interval, `[low, high]`."""
    return f"[{signed(found.low)}, {signed(found.high)}]"


def gain_text(row: Row) -> str:
    """Format the gain over uniform with its interval; empty without an interval."""
    return "" if row.gain is None else difference_text(row.gain)


def kept_text(row: Row) -> str:
    """Format how far an engine's scores are those of its reference; empty if not compared."""
    score = row.engine.score
    return "" if score is None or score.agreement is None else str(score.agreement)


def _first(rows: Sequence[Row]) -> list[Row]:
    """Return the warped rows of the first engine that have a uniform one to be compared with."""
    return [row for row in rows if row.key == rows[0].key and row.base is not None]


def sentences(rows: Sequence[Row]) -> list[str]:
    """Summarise the comparison in one sentence per warp and scale, for the first engine."""
    found = []
    for row in _first(rows):
        if row.score is None or row.base is None or row.base.score is None:
            continue
        value, gain, metric = row.score - row.base.score, row.gain, row.bundle.metric
        text = f"At {row.bundle.scale:g}x {row.bundle.variant} scores {number(row.score)} {metric}"
        more = "more" if value >= 0 else "less"
        if gain is None:
            text += f", {number(abs(value))} {more} than uniform (no interval is known)"
        elif certain(gain):
            text += f", {number(abs(value))} {more} than uniform {interval_text(gain)}"
        else:
            text += f", {UNSURE} difference from uniform ({gain_text(row)})"
        if row.latency is not None and row.latency.ratio is not None:
            text += f", in {ratio_text(row.latency.ratio)} times its time"
        found.append(f"{text}.")
    return found


class Card(NamedTuple):
    """The verdict on one warp: what it gains and what it costs, as text."""

    variant: str
    title: str
    metric: str
    gain: str
    gain_note: str
    ratio: str
    ratio_note: str


def cards(rows: Sequence[Row]) -> list[Card]:
    """Return a card of each warp and scale that is compared with uniform, for the first engine."""
    found = []
    for row in _first(rows):
        gain = gain_note = ratio = ratio_note = ""
        if row.score is not None and row.base is not None and row.base.score is not None:
            scores = f"{number(row.score)} against {number(row.base.score)}"
            gain = signed(row.score - row.base.score)
            gain_note = scores
            if row.gain is not None and certain(row.gain):
                gain_note = f"{interval_text(row.gain)}, {scores}"
            elif row.gain is not None:
                gain, gain_note = "not certain", f"{gain_text(row)}, {scores}"
        if row.latency is not None and row.latency.ratio is not None:
            ratio = number(row.latency.ratio.value, 3)
            ratio_note = ratio_text(row.latency.ratio).removeprefix(ratio).strip()
        if gain or ratio:
            metric = (row.bundle.metric or "").replace("_", " ")
            found.append(
                Card(row.bundle.variant, row.label, metric, gain, gain_note, ratio, ratio_note)
            )
    return found


def captions(report: Report, rows: Sequence[Row]) -> list[str]:
    """Return what the columns of the tables mean, as far as they have figures."""
    found = []
    compared = any(row.base is not None for row in rows)
    scored = next((row.bundle for row in rows if row.bundle.dataset), None)
    if scored is not None:
        note = f" ({scored.note})" if scored.note else ""
        found.append(f"Accuracy: points on {scored.frames} frames of {scored.dataset}{note}.")
        if compared:
            found.append(_gain_caption(rows))
    if compared and any(row.latency is not None for row in rows):
        found.append(
            "Ratio: time over that of uniform, timed interleaved, median over rounds with the "
            "bootstrap's 95 % interval."
        )
    if any(row.latency is not None for row in rows):
        found.append(
            "ms: a frame from camera bytes to predictions. Uniform's is a median; the others' and "
            "extra ms are uniform's times the ratio, so they agree with it."
        )
    found.append("GFLOP: operations of a frame, computed from the graph.")
    scores = [row.engine.score for row in rows if row.engine.score is not None]
    agreements = [score.agreement for score in scores if score.agreement is not None]
    if agreements:
        pixels = agreements[0].compared == "pixels"
        found.append(
            "Scores kept: share of pixels that keep the reference's class."
            if pixels
            else "Scores kept: mean ratio of matched scores, engine over reference, and the ratios "
            "between which 90 % of them are."
        )
    hows = dict.fromkeys(score.how for score in scores)
    found += [
        f"Emulated: {how}; every other row is of the file itself, as load() opens it."
        for how in hows
        if how
    ]
    return found


def _gain_caption(rows: Sequence[Row]) -> str:
    known = next((row for row in rows if row.gain is not None), None)
    if known is None or known.gain is None or known.engine.score is None:
        return (
            "No difference of accuracy has an interval: that takes at least 8 images or sequences, "
            "a set of at most 2048 frames for detection, and bundles of this release."
        )
    resampled = known.engine.score.resampled
    assert resampled is not None, "it has an interval"
    return (
        f"Over uniform: the difference with its 95 % interval, by {known.gain.resamples} "
        f"resamples of the {known.gain.groups} {resampled.unit}, the same for both models. It "
        "covers the choice of frames, not the luck of a training."
    )


def doubts_of(report: Report) -> list[str]:
    """Return the reasons to doubt the times."""
    return list(dict.fromkeys(doubt for group in report.latency for doubt in group.run.doubts))
