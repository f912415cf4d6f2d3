"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real frames and golden vectors that are not part of the repository."""
    folder = Path(os.environ.get("LZU_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("golden vectors and real frames are absent; point LZU_SHARED at them")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Vectors computed with the published code."""
    folder = shared / "golden"
    if not folder.is_dir():
        pytest.skip(f"golden vectors are absent from LZU_SHARED ({shared})")
    return folder
