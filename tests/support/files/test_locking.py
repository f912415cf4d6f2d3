"""One holder of a folder at a time, and no file behind a link."""

from pathlib import Path

import pytest

from lzu_export.errors import LzuError
from lzu_export.support.files.locking import holding


def test_a_second_holder_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    lock = tmp_path / "made" / ".lock"
    with (
        holding(lock, "the folder", "first refusal"),
        pytest.raises(LzuError, match=r"^second refusal$"),
        holding(lock, "the folder", "second refusal"),
    ):
        pytest.fail("two hold it")
    with holding(lock, "the folder", "third refusal"):
        assert lock.is_file()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / ".lock").symlink_to(target)
    with (
        pytest.raises(LzuError, match=r"^the folder cannot be written"),
        holding(tmp_path / ".lock", "the folder", "refusal"),
    ):
        pytest.fail("it is a link")
    assert not target.exists()
