"""The table of computed floors in the kernels' README is what the command prints."""

from pathlib import Path

from lzu_benchmarks.studies.traffic import table

README = Path(__file__).parents[2] / "plugins/kernels/README.md"


def test_the_readme_shows_what_the_command_prints():
    assert table() in README.read_text()


def test_the_unzoom_s_floor_is_that_of_reading_and_writing_every_value_once():
    (row,) = [line for line in table().splitlines() if "unzoom P3 to P7, FP16" in line]
    assert float(row.split("|")[2]) == 12.5
