"""What is handed in as a checkpoint and is none, by its first bytes."""

import gzip
import io
import os
import pickle
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lzu_export.errors import LzuError
from lzu_export.models.checkpoint import load_state
from lzu_export.models.file_kinds import MOST_BYTES, check_checkpoint

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f"
    b"32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def refusal(path: Path) -> str:
    begin = time.monotonic()
    with pytest.raises(LzuError) as caught:
        check_checkpoint(path)
    with pytest.raises(LzuError) as again:
        load_state(path)
    assert str(again.value) == str(caught.value)
    assert time.monotonic() - begin < 5
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"checkpoint {path} is ")


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("weights.pth"))
    else:
        np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty; copy or download it again"),
        (bytes(5000), "full of zeros, as an interrupted copy leaves it; copy"),
        (gzip.compress(b"weights" * 100, mtime=0), "compressed with gzip; unpack it first: gunzip"),
        (b"BZh91AY&SY" + bytes(90), "compressed with bzip2; unpack it first"),
        (b"\xfd7zXZ\x00" + bytes(90), "compressed with xz; unpack it first"),
        (POINTER, "a pointer of Git LFS, not the file itself; fetch it where it was cloned: git"),
        (b"<!DOCTYPE html>\n<html><body>Sign in", "a web page, not a PyTorch checkpoint; the down"),
        (b"\n  <html lang=en>" + b" " * 600, "a web page, not a PyTorch checkpoint"),
        (b'{"error": "not found"}', "JSON, not a PyTorch checkpoint; it may be an error of the s"),
        (b"Not Found, sorry about that.", "a text file, not a PyTorch checkpoint"),
        (pickle.dumps({"a": np.zeros(100)}), "a plain pickle, not a PyTorch checkpoint; such a"),
        (archive("tar"), "a tar archive; unpack it first: tar -xf"),
        (archive("npy"), "an array of NumPy; give a checkpoint of PyTorch"),
        (b"\x9c" + b"\xfe" * 40, "truncated or not a PyTorch checkpoint; copy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_files_are_named_for_what_they_are(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert refusal(path).startswith(words)


def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    """Tried are a pipe without a writer, a folder, a dangling link and a link to itself."""
    pipe, loop, broken = (tmp_path / name for name in ("pipe", "loop", "broken"))
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    broken.symlink_to(tmp_path / "nothing")
    assert refusal(pipe).startswith("not a file but a named pipe; give the path")
    assert refusal(tmp_path).startswith("not a file but a folder; give the path")
    assert "broken does not exist; give a path that does" in refusal(broken)
    assert "cannot be read" in refusal(loop)
    assert "not a file but no regular file" in refusal(Path("/dev/zero"))


def test_a_size_beyond_every_network_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(MOST_BYTES + 1)
    assert "has 69 GB, more than any network here" in refusal(path)


def test_zip_archives_that_are_no_checkpoints_say_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "weights.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("model/weights.pth", b"x")
        made.writestr("model/readme.txt", b"x")
    with pytest.raises(
        LzuError, match=r"not a PyTorch checkpoint \(it holds model/weights\.pth, mod"
    ):
        load_state(path)
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    with pytest.raises(LzuError, match=r"not a PyTorch checkpoint \(it holds a\.npy\)"):
        load_state(tmp_path / "a.npz")


def test_torchscript_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "a.pt")
    with pytest.raises(LzuError, match="is a TorchScript archive; give the state dict"):
        load_state(tmp_path / "a.pt")
