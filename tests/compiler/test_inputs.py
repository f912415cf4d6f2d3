"""Files of weights and knots beside the bundles: named by content, removed by what fails."""

from pathlib import Path

import pytest

from lzu_export.compiler.inputs import Inputs
from lzu_export.errors import LzuError


def written(inputs: Inputs, text: str, name: str = "weights.pth") -> Path:
    return inputs.write("net-fixed", name, lambda path: path.write_text(text))


def files(out: Path) -> list[str]:
    return sorted(each.name for each in out.rglob("*") if each.is_file())


def test_a_success_leaves_its_own_files_alone(tmp_path: Path) -> None:
    out = tmp_path / "new" / "build"
    with Inputs(out) as inputs:
        first = written(inputs, "one")
        knots = written(inputs, "knots", "knots.npz")
        assert (first.parent, first.suffix) == (out / "inputs/net-fixed", ".pth")
    with Inputs(out) as inputs:
        assert written(inputs, "one") == first
    assert (files(out), first.read_text()) == ([first.name], "one")
    with Inputs(out) as inputs:
        second = written(inputs, "two")
        assert first.read_text() == "one"
    assert files(out) == [second.name]
    assert not knots.exists()


def failing(out: Path, error: BaseException, *texts: str) -> None:
    """Write a file for each text, then fail with the error."""
    with Inputs(out) as inputs:
        for text in texts:
            written(inputs, text)
        raise error


@pytest.mark.parametrize("error", [LzuError("refused"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there_before(error: BaseException, tmp_path: Path) -> None:
    out = tmp_path / "build"
    with pytest.raises(type(error)):
        failing(out, error, "one")
    assert list(tmp_path.iterdir()) == []
    with Inputs(out) as inputs:
        first = written(inputs, "one")
    with pytest.raises(type(error)):
        failing(out, error, "one", "two")
    assert sorted(out.rglob("*")) == [out / "inputs", first.parent, first]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def half(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    def write() -> None:
        with Inputs(tmp_path) as inputs:
            inputs.write("net", "weights.pth", half)

    with pytest.raises(LzuError, match="the disk is full"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_stay_where_a_command_fails(tmp_path: Path) -> None:
    (tmp_path / "inputs/net-fixed").mkdir(parents=True)
    (tmp_path / "inputs/net-fixed/theirs").write_text("x")
    with pytest.raises(LzuError):
        failing(tmp_path, LzuError("refused"), "one")
    assert files(tmp_path) == ["theirs"]
