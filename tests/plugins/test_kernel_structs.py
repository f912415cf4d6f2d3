"""The structs of Python callers are those of lzu_kernels.h."""

import ctypes as c

import pytest
from host_kernels import structure

from lzu_benchmarks.studies.adaptive_speed import InvertWarp
from lzu_export.runtime.kernels import FeedBoxes, Suppress, ZoomCamera


@pytest.mark.parametrize(
    ("struct", "name"),
    [
        (Suppress, "LzuSuppress"),
        (FeedBoxes, "LzuFeedBoxes"),
        (ZoomCamera, "LzuCamera"),
        (InvertWarp, "LzuInvertWarp"),
    ],
)
def test_every_member_is_the_header_s(struct: type[c.Structure], name: str) -> None:
    assert list(struct._fields_) == structure(name)._fields_
