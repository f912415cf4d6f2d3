"""Read files from untrusted sources safely, and write files completely or not at all.

Every other module reads JSON and NumPy archives through this one, so that one set of bounds and
refusals applies everywhere. It imports nothing of the package but its errors.
"""

from lzu_export.support.files.arrays import read_npy, read_npz
from lzu_export.support.files.graphs import check_graph
from lzu_export.support.files.reading import (
    open_regular,
    parse_json,
    read_bytes,
    read_json,
    read_text,
)
from lzu_export.support.files.tensors import write_tensors
from lzu_export.support.files.writing import clear, make_folder, replacing, write_text

__all__ = [
    "check_graph",
    "clear",
    "make_folder",
    "open_regular",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_npy",
    "read_npz",
    "read_text",
    "replacing",
    "write_tensors",
    "write_text",
]
