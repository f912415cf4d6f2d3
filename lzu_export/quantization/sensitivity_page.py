"""The page of a search for sensitive layers: verdict, curve, ranking, and lines for the recipe."""

from collections.abc import Sequence

from lzu_export.quantization.sensitivity import Outcome
from lzu_export.quantization.sensitivity_curve import curve_figures
from lzu_export.support.look.page import (
    Section,
    both,
    document,
    facts,
    lines,
    links,
    note,
    table,
    text,
)
from lzu_export.support.version import VERSION


def sensitivity_page(outcome: Outcome, recipe_lines: str, notes: Sequence[str]) -> str:
    """Return the page of a search.

    Args:
        outcome: result of the search.
        recipe_lines: lines for the recipe.
        notes: sentences that explain the figures.
    """
    return document(
        f"INT8 of {outcome.bundle}",
        kind="LZU sensitivity",
        meta=f"{outcome.metric} on {outcome.frames} frames of {outcome.dataset}",
        lead=verdict(outcome),
        sections=[
            Section("Lines for the recipe", lines(recipe_lines, "Lines for the recipe")),
            Section("Accuracy by layers", _curve(outcome)),
            Section(f"Each {outcome.by} alone in INT8", _ranking(outcome)),
            Section("Where it comes from", _origin(outcome, notes)),
        ],
    )


def verdict(outcome: Outcome) -> list[str]:
    """Return what the search found, in sentences."""
    found, layers = outcome.found, len(outcome.layers)
    higher = outcome.higher_layers(found.chosen)
    if higher == 0:
        first = f"All {layers} layers may be INT8."
    elif higher == layers:
        first = "No layer may be INT8 within the limit."
    else:
        first = f"{higher} of {layers} layers stay in higher precision, the others may be INT8."
    second = (
        f"{outcome.metric} is then {found.chosen.metric:.2f}, where float32 has "
        f"{found.baseline:.2f}; {found.limit:g} may be lost."
    )
    if higher:
        lost = found.baseline - found.steps[0].metric
        second += f" With all layers in INT8, {lost:.2f} are lost."
    return [first, second]


def signed(points: float) -> str:
    """Format a cost with its sign; a cost that rounds to nothing has none below zero."""
    return f"{round(points, 2) + 0:+.2f}"  # + 0 avoids -0.00


def _curve(outcome: Outcome) -> str:
    found = outcome.found
    rows = [
        (
            outcome.higher_layers(step),
            step.int8_layers,
            f"{step.metric:.2f}",
            signed(found.baseline - step.metric),
            "yes" if step.meets else "no",
        )
        for step in found.steps
    ]
    chosen = next(i for i, step in enumerate(found.steps) if step.kept == found.kept)
    columns = ["kept higher", "in INT8", outcome.metric, "cost", "within"]
    caption = (
        "The costliest layers stay in higher precision, the others are in INT8. The ring is the "
        "shortest list within the limit."
    )
    drawn = both(curve_figures(outcome)) + f"<figcaption>{text(caption)}</figcaption>"
    tried = table(columns, rows, name="Lists that were tried", kinds={chosen: "best"})
    tried += note("Numbers of layers. Within: within the limit.")
    return f'<div class="beside"><figure>{drawn}</figure><div>{tried}</div></div>'


def _ranking(outcome: Outcome) -> str:
    found, grouped = outcome.found, outcome.by == "group"
    rows = [
        (
            each.name,
            signed(each.cost),
            f"{each.metric:.2f}",
            i,
            *([len(each.layers)] if grouped else []),
            "yes" if i <= found.kept else "no",
        )
        for i, each in enumerate(found.ranking, start=1)
    ]
    columns = [outcome.by, "cost", outcome.metric, "rank", *(["layers"] if grouped else [])]
    marked = dict.fromkeys(range(found.kept), "best")
    ranked = table([*columns, "kept higher"], rows, name=f"Cost of each {outcome.by}", kinds=marked)
    return ranked + note("Cost: points below float32. Bold: kept in higher precision.")


def _origin(outcome: Outcome, notes: Sequence[str]) -> str:
    found, ranges = outcome.found, outcome.ranges
    evaluated = f"{outcome.frames} frames of {outcome.dataset}"
    resumed = f", {outcome.resumed} from an earlier run" if outcome.resumed else ""
    about = facts(
        [
            ("bundle", outcome.bundle),
            ("float32 graph", outcome.model),
            ("evaluation", "; ".join(filter(None, [evaluated, outcome.note]))),
            ("float32", f"{outcome.metric} {found.baseline:.2f}"),
            ("limit", f"{found.limit:g} points"),
            ("ranges", f"{ranges.method} of {ranges.frames.count} frames of {ranges.frames.name}"),
            ("evaluations", f"{outcome.evaluations}{resumed}"),
            ("lzu_export", VERSION),
        ]
    )
    files = links([(outcome.file.name, "the result"), (outcome.picture.name, "the curve")])
    return about + files + note(*(f"{each[0].upper()}{each[1:]}." for each in notes))
