"""Pictures of a report as parts of its page."""

from pathlib import Path
from typing import Any

from lzu_benchmarks.report.schema import Report
from lzu_export.support.look.page import data_uri

KINDS = {".png": "image/png", ".jpg": "image/jpeg"}


def embedded(folder: Path, file: str | None) -> str | None:
    """Return a picture as an address within the page, None if the file is missing."""
    if file is None or not (folder / file).is_file():
        return None
    return data_uri((folder / file).read_bytes(), KINDS[(folder / file).suffix])


def pictures_of(report: Report, folder: Path) -> dict[str, Any]:
    """Return the templates' variables that hold pictures."""
    warps = []
    for bundle in report.bundles:
        uri = embedded(folder, bundle.pictures.warp)
        if uri is not None:
            told = "the frame under the lines along which it is sampled, and the zoomed image"
            warps.append(
                {"bundle": bundle, "span": "", "ticks": (), "pictures": [(uri, told, told)]}
            )
    count = max((len(bundle.pictures.found) for bundle in report.bundles), default=0)
    viewer = []
    for i in range(count):
        shots = [
            (f"{bundle.variant} {bundle.scale:g}x", bundle.variant, uri)
            for bundle in report.bundles
            if i < len(bundle.pictures.found)
            and (uri := embedded(folder, bundle.pictures.found[i])) is not None
        ]
        if shots:
            viewer.append((str(i + 1), shots))
    return {"warps": warps, "viewer": viewer, "viewer_note": "", "examples": None}
