"""The page of a warp: its picture, its magnification, and the sizes of boxes."""

import math
from collections.abc import Sequence

from lzu_export.preview.measure import AXES, Measured, warnings
from lzu_export.preview.propose import Proposal
from lzu_export.preview.subject import Subject
from lzu_export.support.look.page import Section, data_uri, document, figure, table


def warp_page(
    subject: Subject, measured: Measured, proposals: Sequence[Proposal], picture: bytes
) -> str:
    """Return the page of a warp.

    Args:
        subject: the warp.
        measured: its figures.
        proposals: settings that reach a wanted magnification.
        picture: the warp's picture as PNG.
    """
    sizes = subject.sizes
    view, canvas = ("x".join(map(str, each)) for each in (sizes.view, sizes.canvas))
    rows = [
        (axis, f"{each.smallest:.2f}", f"{each.largest:.2f}")
        for axis, each in zip(AXES, measured.extremes, strict=True)
    ]
    drawn = figure(data_uri(picture, "image/png"), f"Warp of {subject.name}", "The warp.")
    sections = [
        Section("The warp", drawn),
        Section(
            "Magnification", table(["axis", "smallest", "largest"], rows, name="Magnification")
        ),
    ]
    if measured.boxes is not None:
        sections.append(Section("Boxes", _boxes(measured)))
    if proposals:
        columns = list(proposals[0]._asdict())
        cells = [[_cell(each) for each in proposal] for proposal in proposals]
        heads = [each.replace("_", " ") for each in columns]
        sections.append(Section("Proposals", table(heads, cells, name="Proposals")))
    return document(
        subject.name,
        kind="LZU warp",
        meta=f"{view} to {canvas}",
        lead=warnings(subject, measured),
        sections=sections,
    )


def _boxes(measured: Measured) -> str:
    boxes = measured.boxes
    assert boxes is not None, "asked for only where there are some"
    rows = [
        (
            f"{each.least:g} to {each.below:g}" if math.isfinite(each.below)
            else f"from {each.least:g}",
            each.boxes,
            f"{each.uniform:.1f}",
            f"{each.zoomed:.1f}",
        )
        for each in boxes.classes()
    ]  # fmt: skip
    before, after = boxes.small_shares
    columns = ["pixels of the uniform canvas", "boxes", "median, uniform", "median, zoomed"]
    return table(columns, rows, name="Sizes of boxes") + (
        f'<p class="note">Below {boxes.small:g} pixels: {100 * before:.0f} % on the uniform '
        f"canvas, {100 * after:.0f} % on the zoomed one.</p>"
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(each)}" for key, each in value.items())
    return str(value)
