"""Tests of the options of `lzu-export bench`."""

from pathlib import Path

import pytest

from lzu_benchmarks.bench.options import CudaGraph, Options, parse, repeated
from lzu_benchmarks.harness.candidates import GRAPHS
from lzu_export.support.interleave import Plan


def test_without_options_the_demonstration_is_exported() -> None:
    given = parse([])
    assert (given.recipe, given.bundles, given.out) == ("det", None, Path("build"))
    assert given.plan == Plan(seconds=2.0)
    assert given.graphs == GRAPHS["both"]
    assert (given.settings, given.ablation_frames, given.as_json) == (None, 64, False)


def test_every_option_is_taken() -> None:
    words = "mine.yaml --out o --provider cuda --min-queries 7 --min-seconds 0.5 --threads 3"
    words += " --warmup-seconds 0.25 --cuda-graph off --set a=1 --set b.c=2 --again --json"
    given = parse([*words.split(), "--variant", "uniform fixed", "--random-weights", "4"])
    assert (given.recipe, given.out, given.provider) == ("mine.yaml", Path("o"), "cuda")
    assert given.plan == Plan(queries=7, seconds=0.5, warmup_seconds=0.25)
    assert (given.threads, given.graphs) == (3, (False,))
    assert given.settings == ["a=1", "b.c=2"]
    assert (given.variant, given.random_weights) == ("uniform fixed", 4)
    assert given.again
    assert given.as_json


@pytest.mark.parametrize(
    "words",
    [
        "det --bundles a b c --out o",
        "det --out o --bundles a b c",
        "det --bundles a --bundles b c --out o",
        "det --bundles=a --bundles b --bundles c --out o",
    ],
)
def test_bundles_are_any_number_of_folders(words: str) -> None:
    given = parse(words.split())
    assert given.bundles == [Path("a"), Path("b"), Path("c")]
    assert (given.recipe, given.out) == ("det", Path("o"))


def test_other_options_keep_their_one_value() -> None:
    words = ["--out", "o", "det", "--bundles", "a", "b"]
    assert repeated(words) == ["--out", "o", "det", "--bundles", "a", "--bundles", "b"]
    assert repeated(["--bundles"]) == ["--bundles"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--min-queries", "many"], "'--min-queries'"),
        (["--cuda-graph", "maybe"], "'maybe' is not one of"),
        (["--colour"], "No such option"),
        (["--bundles"], "requires an argument"),
    ],
)
def test_what_is_no_option_is_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words)
    assert ended.value.code == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_the_help_names_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["-h"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    renamed = {"settings": "set", "as_json": "json"}
    for field in set(Options.__dataclass_fields__) - {"recipe"}:
        name = renamed.get(field, field.replace("_", "-"))
        assert f"--{name}" in shown, field


def test_the_graphs_have_the_names_of_the_harness() -> None:
    assert {each.value for each in CudaGraph} == set(GRAPHS)
