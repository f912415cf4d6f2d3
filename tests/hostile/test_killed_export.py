"""An export that is killed at any moment goes on with the same command, to the same bundle."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.bundle.bundle import Bundle
from lzu_export.manifest.schema import FILE
from samples import tiny_settings

MOMENTS = 20
TIMES = {"created", "stages", "latency", "comparison", "sha256"}
"""Keys of a manifest that differ from one export to the next."""


def content(bundle: Path) -> dict[str, Any]:
    """What an export came to, without its times."""
    data = json.loads((bundle / FILE).read_text())
    for engine in data["engines"]:
        engine["build_seconds"] = 0
    return {key: value for key, value in data.items() if key not in TIMES}


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Twenty moments spread over the time that an export takes; each then goes on to its end."""
    recipe = tmp_path / "tiny.yaml"
    settings = tiny_settings(tmp_path, lowering={"zoom": "banded", "unzoom": "banded"})
    recipe.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "lzu_export", "export", str(recipe), "--variant", "fixed"]

    def start(out: Path) -> subprocess.Popen[bytes]:
        whole = [*command, "--out", str(out)]
        return subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    begun = time.monotonic()
    first = start(tmp_path / "clean")
    assert first.wait() == 0, first.communicate()[1]
    took = time.monotonic() - begun
    (clean,) = (tmp_path / "clean/det").iterdir()
    out = tmp_path / "killed"
    for moment in range(MOMENTS):
        killed = start(out / str(moment % 4))  # some are killed again where they were killed before
        try:
            killed.wait(took * (moment + 1) / MOMENTS)
        except subprocess.TimeoutExpired:
            killed.send_signal(signal.SIGKILL)
            killed.wait()
        for bundle in (out / str(moment % 4)).glob(f"det/{clean.name}"):
            Bundle(bundle).check()  # whole, or not there
    for folder in sorted(out.iterdir()):
        again = start(folder)
        assert again.wait() == 0, again.communicate()[1]
        assert [path.name for path in (folder / "det").iterdir()] == [clean.name]
        bundle = folder / "det" / clean.name
        assert Bundle(bundle).check() == ()
        assert content(bundle) == content(clean)
