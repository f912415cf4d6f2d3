"""Pictures of a report as parts of its page, up to a budget of bytes."""

from pathlib import Path
from typing import Any

from lzu_benchmarks.report.schema import BundleResult, Gallery, Report
from lzu_export.preview.magnification_map import STOPS
from lzu_export.support.look.page import data_uri

KINDS = {".png": "image/png", ".jpg": "image/jpeg"}
BUDGET = 3_000_000
"""Largest number of bytes of all pictures; within the page they take a third more."""


class Embedder:
    """Reads pictures while they fit into the budget."""

    def __init__(self, folder: Path, budget: int = BUDGET) -> None:
        """Take the folder of the pictures and the number of bytes that they may have."""
        self._folder, self._left = folder, budget
        self.left_out = 0
        """Number of pictures that did not fit."""

    def __call__(self, file: str | None) -> str | None:
        """Return a picture as an address within the page; None if it is missing or too large."""
        if file is None or not (self._folder / file).is_file():
            return None
        content = (self._folder / file).read_bytes()
        if len(content) > self._left:
            self.left_out += 1
            return None
        self._left -= len(content)
        return data_uri(content, KINDS[(self._folder / file).suffix])


def pictures_of(report: Report, folder: Path) -> dict[str, Any]:
    """Return the templates' variables that hold pictures; the warps and examples come first."""
    gallery = report.gallery or Gallery(key="")
    embed = Embedder(folder)
    bundles = {each.name: each for each in report.bundles}
    warps = _warps(gallery, bundles, embed)
    examples = []
    if gallery.examples is not None:
        for heading, crops in gallery.examples.groups.items():
            found = [(crop, uri) for crop in crops if (uri := embed(crop.file)) is not None]
            examples.append((heading, found))
    viewer = _viewer(gallery, bundles, embed)
    said = [f"Frames: {gallery.what}." if gallery.what else ""]
    said.append("Predictions of the first engine that runs here")
    said[-1] += "." if report.task == "seg" else ", scores of at least 0.3."
    if embed.left_out:
        said.append(f"{embed.left_out} pictures are left out to keep the page small.")
    return {
        "warps": warps,
        "viewer": viewer,
        "viewer_note": " ".join(filter(None, said)),
        "examples": gallery.examples,
        "example_groups": examples,
    }


def _warps(
    gallery: Gallery, bundles: dict[str, BundleResult], embed: Embedder
) -> list[dict[str, Any]]:
    found = []
    for name, warp in gallery.warps.items():
        texts = {
            warp.grid: "The frame, with lines that are evenly spaced on the canvas.",
            warp.zoomed: "The zoomed image that the network sees.",
            warp.magnification: "Magnification; 1 is as on the uniform canvas of the same size.",
        }
        pictures = [
            (uri, f"{name}: {text}", text)
            for file, text in texts.items()
            if (uri := embed(file)) is not None
        ]
        if name in bundles and pictures:
            ends = (1 / warp.end, warp.end**-0.5, 1.0, warp.end**0.5, warp.end)
            found.append(
                {
                    "bundle": bundles[name],
                    "span": f"magnification {warp.smallest:.2f} to {warp.largest:.2f}",
                    "pictures": pictures,
                    "ticks": [f"{each:.2g}" for each in ends],
                    "gradient": ", ".join(STOPS),
                }
            )
    return found


def _viewer(
    gallery: Gallery, bundles: dict[str, BundleResult], embed: Embedder
) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return the pictures of each frame: label, variant and address."""
    found = []
    for frame in gallery.frames:
        shots = [("ground truth", "", embed(frame.truth))]
        for name, file in frame.found.items():
            if name in bundles:
                each = bundles[name]
                shots.append((f"{each.variant} {each.scale:g}x", each.variant, embed(file)))
        there = [(label, variant, uri) for label, variant, uri in shots if uri is not None]
        if there:
            found.append((frame.name, there))
    return found
