"""Annotations that the tests of warp previews measure."""

import json
from pathlib import Path


def coco(folder: Path, boxes: list[list[float]], name: str = "a.png") -> Path:
    """COCO annotations of corner boxes in one 96x160 image, beside an image without boxes."""
    rows = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes]
    data = {
        "images": [
            {"id": 1, "file_name": f"images/{name}", "height": 96, "width": 160},
            {"id": 2, "file_name": "b.png", "height": 96, "width": 160},
        ],
        "categories": [{"id": 1, "name": "near"}, {"id": 2, "name": "far"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1, "bbox": row} for i, row in enumerate(rows, 1)
        ],
    }
    path = folder / "boxes.json"
    path.write_text(json.dumps(data))
    return path
