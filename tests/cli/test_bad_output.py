"""Places that results cannot be written to: one clear sentence, and nothing half-written."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from command_errors import Refused, sentence

from lzu_export.manifest.schema import FILE


def test_output_in_a_files_place(
    export: Refused, refused: Refused, tiny_bundle: Path, image: Path, tmp_path: Path
) -> None:
    """Or below a file, or where nothing can be made."""
    (tmp_path / "build").write_text("mine")
    assert "cannot be written: part of the path is a file; choose another folder" in export()
    assert (tmp_path / "build").read_text() == "mine"
    for out in (tmp_path / "build", tmp_path / "build" / "x", Path("/proc/x")):
        text = refused("run", tiny_bundle, image, "--out", out)
        assert f"the folder {out} cannot be written: " in text


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits are set as on Linux")
def test_a_full_disk(recipe_file: Path, tmp_path: Path) -> None:
    """Simulated by a limit on the size of files: the graph does not fit."""
    program = "from lzu_export.cli.app import main; main()"
    out = tmp_path / "build"
    arguments = ["export", recipe_file, "--variant", "fixed", "--out", out]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert done.returncode == 2, done.stderr
    text = sentence(done.stderr)
    assert f"the bundle {out / 'det' / 'tiny-fixed-0.5x'} cannot be written: " in text
    assert "run again" in text
    assert list(out.rglob(FILE)) == []
    assert not (out / "det" / "tiny-fixed-0.5x").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits are set as on Linux")
def test_a_full_disk_while_pictures_are_written(
    tiny_bundle: Path, image: Path, tmp_path: Path
) -> None:
    """Nothing of them remains."""
    program = "from lzu_export.cli.app import main; main()"
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", program, "run", str(tiny_bundle), str(image), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000)),
    )
    assert done.returncode == 2, done.stderr
    assert "frame.png cannot be written: File too large" in sentence(done.stderr)
    assert not out.exists()
