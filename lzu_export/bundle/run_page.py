"""The page of a run's folder: its pictures or an animated preview of its video, and its results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np

from lzu_export.inputs.frame import Frame
from lzu_export.inputs.images import encode_image
from lzu_export.support.look.page import (
    BESIDE,
    Section,
    data_uri,
    document,
    facts,
    figure,
    link,
    text,
)

PAGE_FILE = "run.html"
MOST_PICTURES = 60
"""Largest number of pictures on the page; the folder has all."""
SCENES = 16
"""Largest number of pictures in the preview of a video."""
SCENE_WIDTH = 320
"""Width of these pictures in pixels."""
SECONDS = 6
"""Length of the preview, which repeats."""


class Film:
    """Some pictures of a video, evenly spread however long it is."""

    def __init__(self) -> None:
        """Start without pictures."""
        self._scenes: list[Frame] = []
        self._step = 1
        self._seen = 0

    def __len__(self) -> int:
        """Number of pictures that are kept."""
        return len(self._scenes)

    def add(self, picture: Frame) -> None:
        """Take the next picture, (H, W, 3) uint8 BGR; every picture of a video has one size."""
        if self._seen % self._step == 0:
            if len(self._scenes) == SCENES:  # half of them from now on
                self._scenes = self._scenes[::2]
                self._step *= 2
            height = max(1, round(picture.shape[0] * SCENE_WIDTH / picture.shape[1]))
            size = (SCENE_WIDTH, height)
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            if self._seen % self._step == 0:
                self._scenes.append(np.asarray(small, np.uint8))
        self._seen += 1

    def markup(self, description: str) -> str:
        """Return the pictures as one strip, which the style sheet moves along."""
        strip = np.hstack(self._scenes)
        address = data_uri(encode_image(strip, Path("strip.jpg")), "image/jpeg")
        height, count = self._scenes[0].shape[0], len(self._scenes)
        style = (
            f"--scenes: {count}; --steps: {max(count, 2)}; --seconds: {SECONDS}s; "
            f"aspect-ratio: {SCENE_WIDTH} / {height}; background-image: url({address})"
        )
        return (
            f'<figure><div class="film" role="img" aria-label="{text(description)}" '
            f'style="{style}"></div><figcaption>{text(description)}</figcaption></figure>'
        )


def run_page(
    *,
    bundle: str,
    source: str,
    counts: dict[str, Any],
    names: Sequence[str],
    video: str | None,
    film: Film,
    results: Sequence[str],
) -> str:
    """Return the page of a run.

    Args:
        bundle: name of the bundle.
        source: name of the source.
        counts: values by key, see `run.apply`.
        names: names of the pictures' files in the folder; empty for a video.
        video: name of the video's file in the folder.
        film: pictures of the video.
        results: names of the files of results in the folder.
    """
    numbers = [f"{n} {what}" for what, n in counts.items() if isinstance(n, int)]
    lead = [f"{', '.join(numbers)}, {counts['milliseconds']:.1f} ms a frame."]
    lead += [counts["incomplete"]] if "incomplete" in counts else []
    sections = []
    if video is not None:
        body = film.markup(f"{len(film)} of {counts['frames']} frames") if len(film) else ""
        body += f'<p class="note">The whole video: {link(video)}</p>'
        sections.append(Section("Preview", body))
    if names:
        shown = names[:MOST_PICTURES]
        body = "".join(figure(quote(each), each) for each in shown)
        body = f'<div class="grid">{body}</div>'
        if len(names) > len(shown):
            body += f'<p class="note">{len(names) - len(shown)} more are in the folder.</p>'
        sections.append(Section("Pictures", body))
    links = "".join(f"<li>{link(each)}</li>" for each in results)
    about = facts([("bundle", bundle), ("source", source)])
    sections.append(Section("Results", f"<ul>{links}</ul>{about}"))
    return document(
        Path(source).name or source,
        kind="LZU run",
        meta=f"bundle {bundle}",
        lead=lead,
        sections=sections,
        pictures=BESIDE,
    )
