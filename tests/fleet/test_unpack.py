"""An archive is unpacked into one folder, or refused."""

import io
import tarfile
from pathlib import Path

import pytest

from lzu_export.errors import LzuError
from lzu_export.fleet import unpack as module
from lzu_export.fleet.unpack import unpack


def archive(path: Path, *members: tarfile.TarInfo) -> Path:
    """Write a tar of members, regular ones with the content `x`."""
    with tarfile.open(path, "w") as made:
        for each in members:
            each.size = 1 if each.isreg() else 0
            made.addfile(each, io.BytesIO(b"x") if each.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode = kind, link, 0o7777
    return found


def test_a_bundle_is_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", member("b/manifest.json"), member("b/model.onnx"))
    folder = unpack(path, "b", tmp_path / "into")
    assert folder == tmp_path / "into" / "b"
    assert {each.name: each.read_text() for each in folder.iterdir()} == {
        "manifest.json": "x",
        "model.onnx": "x",
    }
    assert all(each.stat().st_mode & 0o7111 == 0 for each in folder.iterdir())


@pytest.mark.parametrize(
    "bad",
    [
        member("../b/x"),
        member("/b/x"),
        member("b/.."),
        member("b/../x"),
        member("b/deeper/x"),
        member("c/x"),
        member("x"),
        member("b/x", tarfile.SYMTYPE, "/etc/passwd"),
        member("b/x", tarfile.LNKTYPE, "b/manifest.json"),
        member("b/x", tarfile.FIFOTYPE),
        member("b/x", tarfile.CHRTYPE),
        member("b/x", tarfile.DIRTYPE),
        member("b/x", tarfile.GNUTYPE_SPARSE),
    ],
    ids=lambda each: f"{each.name} {each.type!r}",
)
def test_anything_else_is_refused(bad: tarfile.TarInfo, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", member("b/manifest.json"), bad)
    with pytest.raises(LzuError, match=r"the archive of b (holds|is damaged)"):
        unpack(path, "b", tmp_path / "into")
    assert {each.name for each in tmp_path.rglob("*")} <= {"a.tar", "into", "b", "manifest.json"}


def test_damaged_and_doubled_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = archive(tmp_path / "twice.tar", member("b/x"), member("b/x"))
    with pytest.raises(LzuError, match="holds a file twice"):
        unpack(twice, "b", tmp_path / "1")
    (tmp_path / "cut.tar").write_bytes(
        archive(tmp_path / "a.tar", member("b/x")).read_bytes()[:512]
    )
    with pytest.raises(LzuError, match="is damaged"):
        unpack(tmp_path / "cut.tar", "b", tmp_path / "2")
    (tmp_path / "no.tar").write_bytes(b"x" * 2000)
    with pytest.raises(LzuError, match="is damaged"):
        unpack(tmp_path / "no.tar", "b", tmp_path / "3")
    monkeypatch.setattr(module, "MEMBERS", 1)
    with pytest.raises(LzuError, match="is no file of a bundle"):
        unpack(archive(tmp_path / "m.tar", member("b/x"), member("b/y")), "b", tmp_path / "4")
