"""Result files of a run: the task's own JSON, a COCO data set, and a table."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.support.files import read_json
from lzu_export.tasks.present import InCoco, Presenter, Tabular

FILES: Mapping[str, str] = {"json": "results.json", "coco": "coco.json", "csv": "results.csv"}
"""Name of the file of each format."""
IMAGES_FILE = "images.json"


def check_formats(formats: Sequence[str], presenter: Presenter, task: str) -> None:
    """Refuse formats that a task's results do not have.

    Raises:
        LzuError: a format is unknown, or the results have no such form.
    """
    for each in formats:
        if each not in FILES:
            raise LzuError(f"there is no format {each} of results; give {', '.join(FILES)}")
        if each == "coco" and not isinstance(presenter, InCoco):
            raise LzuError(
                f"{presenter.what} of task {task} are no boxes in the frame, which COCO's format "
                "holds; give --format csv or json"
            )
        if each == "csv" and not isinstance(presenter, Tabular):
            raise LzuError(f"{presenter.what} of task {task} are no table; give --format json")


def write_results(
    folder: Path,
    presenter: Presenter,
    about: Mapping[str, Any],
    formats: Sequence[str],
) -> None:
    """Write the results in every format, and images.json.

    Args:
        folder: folder to write into.
        presenter: the results.
        about: content of images.json: `images`, `categories` and `source`.
        formats: formats that `check_formats` accepts.
    """
    for each in formats:
        if each == "json":
            write_json(folder / FILES["json"], presenter.results())
        elif each == "coco":
            assert isinstance(presenter, InCoco), "checked before the first frame"
            write_json(folder / FILES["coco"], coco_data_set(presenter.coco(), about))
        else:
            assert isinstance(presenter, Tabular), "checked before the first frame"
            write_bytes(folder / FILES["csv"], table(presenter, about["images"]).encode())
    write_json(folder / IMAGES_FILE, {**about, "results": [FILES[each] for each in formats]})


def written_before(folder: Path) -> list[str]:
    """Return the names of the result files that an earlier run wrote into a folder."""
    try:
        names = read_json(folder / IMAGES_FILE)["results"]
        return [name for name in FILES.values() if name in names]
    except (LzuError, LookupError, TypeError):
        return []  # no results of ours, or of a release that wrote results.json alone


def remove_stale(folder: Path, names: Sequence[str], formats: Sequence[str]) -> None:
    """Remove an earlier run's result files that this run, in other formats, did not replace."""
    for name in set(names) - {FILES[each] for each in formats}:
        with readable_os_errors(name):
            (folder / name).unlink(missing_ok=True)


def coco_data_set(results: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return a COCO data set whose annotations are detections with a score.

    Args:
        results: COCO results.
        about: `images` and `categories`, as COCO has them, and `source`.
    """
    annotations = [
        {"id": i, **each, "area": each["bbox"][2] * each["bbox"][3], "iscrowd": 0}
        for i, each in enumerate(results, start=1)
    ]
    return {
        "info": {"description": f"detections in {about['source']}"},
        "images": about["images"],
        "categories": about["categories"],
        "annotations": annotations,
    }


def table(presenter: Tabular, images: Sequence[Mapping[str, Any]]) -> str:
    """Return the results as CSV (RFC 4180): the frame's number, name and time, then the columns."""
    frames = {each["id"]: [each["id"], each["file_name"], each.get("time")] for each in images}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["image_id", "file_name", "time", *presenter.columns])
    for number, values in presenter.rows():
        writer.writerow([*frames[number], *values])
    return text.getvalue()


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file; an error names it and its cause."""
    with readable_os_errors(path.name):
        path.write_bytes(content)
