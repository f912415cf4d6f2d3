"""The page of the results, in Markdown."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np

from lzu_benchmarks.train.camvid.detection import COLUMNS as DETECTION_COLUMNS
from lzu_benchmarks.train.camvid.figures import Run, Scored, gains, paired, score
from lzu_benchmarks.train.camvid.frames import CLASSES
from lzu_benchmarks.train.camvid.results import Results
from lzu_benchmarks.train.camvid.tasks import PRECISIONS, Detection, Segmentation
from lzu_benchmarks.train.figures import mean_text, rows_spent
from lzu_export.evaluation.metrics.bootstrap import Interval
from lzu_export.evaluation.metrics.segmentation import REGIONS

SEGMENTATION_COLUMNS = ("mIoU", *REGIONS, *CLASSES)
PLANNED = {Segmentation.name: 5, Detection.name: Detection.most_seeds}
"""Number of seeds that a comparison needs to be complete."""
WIDTH = 100
"""Largest number of characters of a line of text."""
LEAST = 3
"""Number of seeds from which on a difference is judged by its interval."""

INTRODUCTION = """\
# CamVid: real frames

The other figures of this project are of rendered streets. Here networks learn from CamVid: frames
of real streets, seen from a car, in 360x480 pixels and 11 classes. Within a table all variants
share network, network input, frames, schedule, order, flips and seeds. Only the warp differs:

- `uniform`: no warp;
- `fixed`: the warp of the training labels' boundaries, or, for detection, of the training boxes'
  density;
- `learned`: one warp for all frames, whose saliency is the softmax of logits that are learned with
  the weights. They begin equal, at the identity.

```sh
python -m lzu_benchmarks.train.camvid --data DIR
```

trains what [camvid.json](camvid.json) does not have yet, adds each finished run to it, and writes
this page. `DIR` holds `train` and `val`, each with `images` and `labels`. With `--report` the page
is written from the file alone, without the frames.

## How it is measured

- **Splits.** CamVid's `val` is reported and decides nothing. `check`, the last eighth of each
  training video, is neither trained on nor used for a decision. `--choosing` compares settings on
  the eighth before it, which reported runs train on.
- **Networks.** The segmenter is an encoder and decoder of 0.64 million weights, whose map of stride
  2 is unzoomed to the canvas's resolution. The demonstration's PSPNet, of stride 4, was tried on
  that eighth, where it found no pole. The detector is the RetinaNet of the recipe `det-demo`. All
  variants are sampled antialiased.
- **Settings.** Rates, losses and warps are those of the recipes `seg-demo` and `det-demo`, which
  were chosen on rendered streets. The lattice has the frames' proportions. The number of epochs is
  what two cores do in hours. A longer training is better: `--choosing --tasks segmentation --sizes
  45x60 --seeds 1` gives `uniform` 39.2 mIoU, and with `--epochs 66` and another `--work` 41.1.
- **Intervals.** Brackets hold the 95 % interval of a mean difference, paired by seed. Seeds and
  stretches of consecutive frames are drawn with replacement, 1000 times for segmentation and 500
  times for detection. The interval of one seed holds the choice of frames alone, and that of a few
  seeds is somewhat too narrow. Where so many figures are compared, a few are beyond theirs by luck.
  +- is the standard deviation over seeds.
- **What no interval holds.** `val` is seven seconds of one drive, ten seconds after the last frame
  of it that is trained on. Its 101 frames are drawn as ten stretches. Other streets may differ by
  more.
- **Engines.** FP32, FP16 and INT8 run in ONNX Runtime on the CPU, which computes FP16 in FP32. INT8
  ranges are measured on training frames. The detectors keep two layers in FP16, which the export
  named when it refused one of them in INT8.
"""

LICENCE = """\
## Licence

CamVid is by Brostow, Fauqueur and Cipolla ("Semantic Object Classes in Video: A High-Definition
Ground Truth Database", Pattern Recognition Letters, 2009). Its own page asks for that citation and
names no licence. The version in 11 classes and 360x480 pixels was published with SegNet's tutorial,
under CC BY-NC 4.0, for personal and research use. This project's Apache licence allows commercial
use, too. So neither frames nor weights trained on them are part of it, only figures.
"""


def write_page(results: Results) -> str:
    """Return the page in Markdown."""
    return "\n".join([INTRODUCTION, write_tables(results), LICENCE])


def write_tables(results: Results) -> str:
    """Return the page's figures in Markdown, without introduction and licence."""
    segmentation = list(results.runs(Segmentation.name))
    detection = list(results.runs(Detection.name))
    split = scored_split(results)
    lines = [*_progress(results), ""]
    for size in Segmentation.scales:
        lines += _section(
            f"Segmentation, network input {size}",
            f"Intersection over union in points, of class maps in the frames' size, on `{split}`. "
            "`boundary`: within 3 pixels of one. `upper`, `middle`, `lower`: thirds of the rows.",
            Part(segmentation, size, split),
            ("uniform", "fixed", "learned"),
            SEGMENTATION_COLUMNS,
        )
    for size in dict.fromkeys(each["size"] for each in detection):
        lines += _section(
            f"Detection, network input {size}",
            f"COCO AP in points, on `{split}`. Objects are connected components of the label maps "
            "whose box has sides of at least 8 pixels; smaller ones are ignored. Small is below "
            "16x16, medium below 48x48 pixels.",
            Part(detection, size, split),
            ("uniform", "fixed"),
            DETECTION_COLUMNS,
        )
    return "\n".join(lines)


class Part(NamedTuple):
    """Runs of one task at one size, and the split that they are reported on."""

    runs: Sequence[Run]
    size: str
    split: str

    def score(self, variant: str, **where: str) -> Scored:
        """Collect the values of a variant, see `figures.score`."""
        return score(self.runs, self.size, variant, **{"split": self.split, **where})


def scored_split(results: Results) -> str:
    """Return the name of the split that is reported."""
    return next(name for name in results.settings["data"]["frames"] if name != "train")


def _progress(results: Results) -> list[str]:
    """Return lines on the numbers of frames and seeds, and on the time that was spent."""
    frames = results.settings["data"]["frames"]
    numbers = ", ".join(f"{count} in `{name}`" for name, count in frames.items())
    lines = [f"Frames: {numbers}."]
    for task, planned in PLANNED.items():
        runs = list(results.runs(task))
        if not runs:
            lines.append(
                f"{task.capitalize()} has no finished run yet; {planned} seeds are planned."
            )
            continue
        lines.append(
            f"{task.capitalize()}: {_count(len(runs), 'finished run')} of {runs[0]['steps']} steps "
            f"on one thread. CPU minutes of a run: {_costs(runs)}."
        )
    return [*wrap(" ".join(lines), WIDTH)]


def _costs(runs: Sequence[Run]) -> str:
    """Return the mean CPU minutes of the runs of each size and variant, by machine."""
    spent: dict[str, list[float]] = {}
    for each in sorted(runs, key=lambda run: (run["machine"], -len(run["size"]), run["variant"])):
        name = f"{each['size']} {each['variant']} ({each['machine']})"
        spent.setdefault(name, []).append(each["cpu_seconds"] / 60)
    return ", ".join(f"{name} {np.mean(cost):.1f}" for name, cost in spent.items())


def _section(
    title: str, note: str, part: Part, variants: Sequence[str], columns: Sequence[str]
) -> list[str]:
    """Return a section on one size: tables of values, of the check and of engines, and verdicts."""
    scored = {v: part.score(v) for v in variants}
    scored = {v: each for v, each in scored.items() if each.seeds}
    if not scored:
        return [f"## {title}", "", "No run is finished yet.", ""]
    lines = [f"## {title}", "", *wrap(note, WIDTH), ""]
    lines += [*_seeds(scored, variants, part.runs[0]["task"]), ""]
    lines += [*_table(scored, columns), ""]
    if notes := [*_verdicts(scored, columns[0]), *_rows(part)]:
        lines += [*notes, ""]
    check = {v: part.score(v, split="check") for v in scored}
    if any(each.seeds for each in check.values()):
        lines += [f"On `check`, {columns[0]} and its parts:", ""]
        lines += [*_table(check, columns[: len(columns) - len(_classes(columns))]), ""]
    return [*lines, *_engines(part, list(scored), columns), ""]


def _classes(columns: Sequence[str]) -> list[str]:
    return [each for each in columns if each in CLASSES]


def _seeds(scored: Mapping[str, Scored], variants: Sequence[str], task: str) -> list[str]:
    """Return a line with the number of finished seeds of each variant."""
    numbers = [f"{v} {len(scored[v].seeds) if v in scored else 0}" for v in variants]
    planned = PLANNED[task]
    done = all(v in scored and len(scored[v].seeds) >= planned for v in variants)
    rest = "" if done else f" of {planned} planned: this comparison is not finished"
    return [f"Seeds: {', '.join(numbers)}{rest}."]


def _table(scored: Mapping[str, Scored], columns: Sequence[str]) -> list[str]:
    """Return a row for each column: mean and deviation of each variant, and gains over uniform."""
    others = [v for v in scored if v != "uniform" and "uniform" in scored]
    gained = {v: gains(scored["uniform"], scored[v]) for v in others}
    heads = [
        *scored,
        *(f"{v} - uniform ({_count(paired(scored['uniform'], scored[v]))})" for v in others),
    ]
    rows = _head(heads)
    for column in columns:
        cells = [_mean(each, column) for each in scored.values()]
        cells += [_gain(gained[v].get(column)) for v in others]
        rows.append(f"| {column} | " + " | ".join(cells) + " |")
    return rows


def _count(number: int, what: str = "seed") -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _mean(scored: Scored, column: str) -> str:
    values = scored.whole(column)
    return "-" if not values or np.isnan(values).all() else mean_text(values)


def _gain(gain: Interval | None) -> str:
    return "-" if gain is None or np.isnan(gain.difference) else str(gain)


def _verdicts(scored: Mapping[str, Scored], headline: str) -> list[str]:
    """Return lines on what each warp gains or loses over uniform, beyond its interval or not."""
    lines = []
    for variant, each in scored.items():
        found = gains(scored["uniform"], each) if "uniform" in scored else {}
        if variant == "uniform" or not found:
            continue
        seeds = paired(scored["uniform"], each)
        if seeds < LEAST:
            lines.append(
                f"- {variant}: no verdict from {_count(seeds)}; their luck alone may be as large."
            )
            continue
        known = {name: gain for name, gain in found.items() if not np.isnan(gain.difference)}
        better = [name for name, gain in known.items() if gain.low > 0]
        worse = [name for name, gain in known.items() if gain.high < 0]
        rest = [name for name in known if name not in {*better, *worse}]
        lines.append(
            f"- {variant}, better than uniform beyond the interval: {_names(better)}; worse: "
            f"{_names(worse)}; not shown either way: {_names(rest)}."
        )
        gain = found[headline]
        if gain.low <= 0 <= gain.high:
            lines.append(f"- {_why(variant, headline, found, scored)}")
    return [part for line in lines for part in wrap(line, WIDTH, subsequent_indent="  ")]


def _rows(part: Part) -> list[str]:
    """Return a line for each warp on the rows that it gives the thirds, a mean over seeds."""
    found: dict[str, list[list[float]]] = {}
    for each in part.runs:
        if each["size"] == part.size and each["variant"] != "uniform" and "rows" in each:
            found.setdefault(each["variant"], []).append(each["rows"])
    lines = [
        rows_spent(np.mean(found[variant], axis=0).tolist()).replace(
            "The warp", f"The {variant} warp", 1
        )
        for variant in sorted(found)
    ]
    return [part for line in lines for part in wrap(line, WIDTH, subsequent_indent="  ")]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def _why(
    variant: str, headline: str, found: Mapping[str, Interval], scored: Mapping[str, Scored]
) -> str:
    """Return sentences on why a gain is not beyond its interval, from the figures alone."""
    gain = found[headline]
    seeds = paired(scored["uniform"], scored[variant])
    width = (gain.high - gain.low) / 2
    text = (
        f"The {headline} of {variant} is not beyond its interval: the difference is "
        f"{gain.difference:+.2f}, and {_count(seeds)} on {gain.groups} stretches of frames tell "
        f"differences of about {width:.1f} from luck."
    )
    first, second = (np.std(scored[v].whole(headline), ddof=1) for v in ("uniform", variant))
    text += f" Runs of one variant deviate by {first:.2f} (uniform) and {second:.2f} ({variant})."
    parts = {n: g for n, g in found.items() if n != headline and not np.isnan(g.difference)}
    spread = {
        n: max(np.std(scored[v].whole(n), ddof=1) for v in ("uniform", variant)) for n in parts
    }
    wild = max(spread, key=lambda n: spread[n])
    most = max(parts, key=lambda n: parts[n].difference)
    least = min(parts, key=lambda n: parts[n].difference)
    return (
        f"{text} What varies most is {wild}, whose runs deviate by up to {spread[wild]:.2f}. The "
        f"parts differ: {most} {parts[most].difference:+.2f}, {least} "
        f"{parts[least].difference:+.2f}."
    )


def _engines(part: Part, variants: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return tables of the values and gains by engine, of the runs that were exported."""
    engines = ("pytorch", *PRECISIONS)
    found = {e: {v: part.score(v, engine=e) for v in variants} for e in engines}
    exported = [v for v in variants if found["fp32"][v].seeds]
    if not exported:
        return ["No run of this size is exported yet."]
    for v in exported:  # of PyTorch, too, the exported seeds alone
        found["pytorch"][v] = found["pytorch"][v].of(found["fp32"][v].seeds)
    seeds = ", ".join(f"{v} {_count(len(found['fp32'][v].seeds))}" for v in exported)
    titles = ["PyTorch", *(name.upper() for name in PRECISIONS)]
    lines = [f"{columns[0]} after export, of the exported runs ({seeds}):", ""]
    lines += _head([*titles, "INT8 - PyTorch"])
    for v in exported:
        cells = [_mean(found[e][v], columns[0]) for e in engines]
        change = gains(found["pytorch"][v], found["int8"][v]).get(columns[0])
        lines.append(f"| {v} | " + " | ".join([*cells, _gain(change)]) + " |")
    for v in exported:
        if v != "uniform" and "uniform" in exported:
            gained = [gains(found[e]["uniform"], found[e][v]) for e in engines]
            lines += ["", f"{v} - uniform, by engine:", "", *_head(titles)]
            for c in columns:
                lines.append(f"| {c} | " + " | ".join(_gain(g.get(c)) for g in gained) + " |")
    return lines


def _head(titles: Sequence[str]) -> list[str]:
    return ["| | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]


def plain(results: Results) -> dict[str, Any]:
    """Return the settings and the means of every finished variant, as plain data."""
    found: dict[str, Any] = {}
    headlines = {Segmentation.name: SEGMENTATION_COLUMNS, Detection.name: DETECTION_COLUMNS}
    for task, columns in headlines.items():
        runs = list(results.runs(task))
        for size, variant in dict.fromkeys((each["size"], each["variant"]) for each in runs):
            values = Part(runs, size, scored_split(results)).score(variant)
            found[f"{task} {size} {variant}"] = {c: values.whole(c) for c in columns}
    return {"settings": results.settings, "values": found}
