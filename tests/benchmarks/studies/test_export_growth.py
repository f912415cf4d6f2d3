"""How an export's time and memory grow: exponents, refusals and the printed table."""

import json
from collections.abc import Sequence

import pytest

from lzu_benchmarks.studies import export_growth
from lzu_benchmarks.studies.export_growth import AXES, main


@pytest.fixture
def _quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports whose time is the square of the scale, and whose memory is the scale."""

    def export(options: Sequence[str]) -> tuple[float, float]:
        size = float(options[options.index("--scale") + 1])
        return size**2, 100 * size

    monkeypatch.setattr(export_growth, "_export", export)


@pytest.mark.usefixtures("_quadratic")
def test_exponents_are_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    """Time is in proportion to the pixels, memory to their square root."""
    main(["--axes", "scale", "--runs", "2", "--json"])
    found = json.loads(capsys.readouterr().out)["axes"]["scale"]
    assert [row["size"] for row in found] == [0.25, 0.5, 1, 2]
    assert [row["work"] for row in found] == [1, 4, 16, 64]
    assert found[0]["time_exponent"] is None
    assert [row["time_exponent"] for row in found[1:]] == pytest.approx([1, 1, 1])
    assert [row["memory_exponent"] for row in found[1:]] == pytest.approx([0.5, 0.5, 0.5])


@pytest.mark.usefixtures("_quadratic")
def test_the_table_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--axes", "scale", "--sizes", "2", "0.5", "--runs", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert any("Export over scale" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)
    last = next(line for line in lines if "16.00" in line)
    assert "1.00" in last
    assert "0.50" in last


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "1", "2"], "--sizes belongs to a single axis; name it with --axes"),
        (["--axes", "scale", "--sizes", "-1"], "are positive numbers"),
        (["--runs", "0"], "are positive numbers"),
        (["--axes", "scale", "--sizes", "1", "1"], "names a size twice"),
    ],
)
def test_unfit_options_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    assert message in capsys.readouterr().err


def test_every_axis_sets_its_size() -> None:
    assert AXES["batch"].options(2)[:2] == ["--set", "batch=2"]
    assert AXES["levels"].options(5)[:2] == ["--set", "model.num_outs=5"]
    assert AXES["frames"].options(64) == ["--set", "evaluation.frames=64"]
