"""The work of a board, step by step, with made-up answers of its commands."""

import json
import tarfile
from pathlib import Path

import pytest

from lzu_export.errors import LzuError
from lzu_export.fleet import board
from lzu_export.fleet.board import look, read_request, work
from lzu_export.fleet.board_cache import BoardCache
from lzu_export.fleet.messages import Request, Sent
from lzu_export.support.files.hashes import sha256

NAMES = ("uniform", "fixed")


class Commands:
    """Answers a board's commands: what each prints, by the step's words."""

    def __init__(self) -> None:
        """All succeed."""
        self.given: list[list[str]] = []
        self.failing: dict[str, tuple[int, str]] = {}
        self.mute = ""

    def __call__(self, request: str, files: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
        """Stand for `cluster.worker.run`."""
        asked = json.loads(request)
        words = [asked["module"], *asked["arguments"]]
        assert asked["returns"] == []
        assert files == {}
        self.given.append(words)
        line = " ".join(words)
        found = next((said for part, said in self.failing.items() if part in line), (0, ""))
        printed = "" if found[0] == 2 or (self.mute and self.mute in line) else self._printed(words)
        answer = {"status": found[0], "stdout": printed, "error": found[1], "log": ""}
        return json.dumps({**answer, "seconds": 1.5}), {}

    def _printed(self, words: list[str]) -> str:
        if words[1] == "doctor":
            finding = {"name": "jetpack", "found": True, "detail": "6.2, Jetson Linux 36.4.3"}
            return json.dumps({"findings": [finding], "abilities": []})
        if words[1] == "build":
            precision = words[words.index("--precision") + 1]
            engine = Path(words[2]) / f"model.{precision}.engine"
            engine.write_text(f"{words[2]} {precision}")
            entry = {"file": engine.name, "precision": precision, "build_seconds": 4.0}
            return json.dumps({"engine": entry, "notes": []})
        return json.dumps([{"status": "ran"}] if words[1] == "verify" else {"engines": {}})

    def lines(self) -> list[str]:
        """Return the commands with folders shortened to their names."""
        return [" ".join(Path(word).name if "/" in word else word for word in words)
                for words in self.given]  # fmt: skip


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    found = Commands()
    monkeypatch.setattr(board, "run", found)
    return found


@pytest.fixture
def cache(tmp_path: Path) -> BoardCache:
    return BoardCache(tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the command, in which archives of both bundles arrived."""
    made = tmp_path / "job"
    made.mkdir()
    for name in NAMES:
        (tmp_path / "manifest.json").write_text(name)
        with tarfile.open(tmp_path / "new.tar", "w") as archive:
            archive.add(tmp_path / "manifest.json", f"{name}/manifest.json")
        (tmp_path / "new.tar").rename(made / f"{sha256(tmp_path / 'new.tar')}.tar")
    return made


@pytest.fixture
def request_(folder: Path) -> Request:
    sent = []
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as archive:
            name = archive.getnames()[0].partition("/")[0]
        sent.append(Sent(name=name, sha256=path.stem, bytes=path.stat().st_size))
    sent.sort(key=lambda each: NAMES.index(each.name))
    return Request(
        bundles=tuple(sent),
        target="tensorrt",
        precisions=("fp32", "fp16"),
        build=("--level", "2"),
        timing=("--min-seconds", "5"),
    )


Ready = tuple[Request, BoardCache, Path]


@pytest.fixture
def ready(request_: Request, cache: BoardCache, folder: Path) -> Ready:
    return request_, cache, folder


def test_each_step_is_a_command_of_the_board(commands: Commands, ready: Ready) -> None:
    """All bundles are timed by one command; the engines are sent back with their hashes."""
    done = work(*ready)
    built = "--target tensorrt --precision {} --level 2 --json"
    assert commands.lines() == [
        f"lzu_export build uniform {built.format('fp32')}",
        f"lzu_export build uniform {built.format('fp16')}",
        f"lzu_export build fixed {built.format('fp32')}",
        f"lzu_export build fixed {built.format('fp16')}",
        "lzu_export verify uniform --json",
        "lzu_export verify fixed --json",
        "lzu_benchmarks.harness.latency uniform fixed --target tensorrt --precision fp32 fp16 "
        "--min-seconds 5 --json",
    ]
    assert not done.failed
    assert set(done.parity) == set(NAMES)
    assert done.latency == {"engines": {}}
    assert "load" in done.before
    assert "load" in done.after
    assert len(done.engines) == 4
    for each in done.engines:
        path = ready[2] / "engines" / each.bundle / each.file
        assert (sha256(path), path.stat().st_size) == (each.sha256, each.bytes)


def test_archives_stay_on_the_board(commands: Commands, ready: Ready) -> None:
    request, cache, folder = ready
    digests = [each.sha256 for each in request.bundles]
    assert look(request, cache).held == ()
    work(*ready)
    assert look(request, cache).held == tuple(digests)
    assert not list(folder.glob("*.tar"))
    assert not work(*ready).failed  # nothing arrived, and nothing was needed
    (cache.folder / f"{digests[0]}.tar").unlink()
    with pytest.raises(LzuError, match="has lost the archive"):
        work(*ready)


def test_engines_of_the_bundle_are_not_built(commands: Commands, ready: Ready) -> None:
    request, *rest = ready
    done = work(request.model_copy(update={"build": None}), *rest)
    assert not any(" build " in line for line in commands.lines())
    assert (done.engines, len(done.steps)) == ((), 3)


@pytest.mark.parametrize(
    ("failing", "said", "left_out"),
    [
        ({"build": (2, "TensorRT is too old")}, "TensorRT is too old", ("verify", "latency")),
        ({"fp16": (2, "out of memory")}, "out of memory", ("verify", "latency")),
        ({"verify": (1, "scores deviate")}, "scores deviate", ()),
        ({"latency": (2, "no frames")}, "no frames", ()),
    ],
)
def test_what_depends_on_a_failed_step_is_left_out(
    failing: dict[str, tuple[int, str]],
    said: str,
    left_out: tuple[str, ...],
    commands: Commands,
    ready: Ready,
) -> None:
    commands.failing = failing
    done = work(*ready)
    assert done.failed
    assert {each.sentence for each in done.failed} == {said}
    for part in left_out:
        assert not any(part in line for line in commands.lines())


def test_the_other_bundle_goes_on(commands: Commands, ready: Ready) -> None:
    commands.failing = {"work/fixed --target": (2, "no")}
    done = work(*ready)
    assert commands.lines()[-2:] == [
        "lzu_export verify uniform --json",
        "lzu_benchmarks.harness.latency uniform --target tensorrt --precision fp32 fp16 "
        "--min-seconds 5 --json",
    ]
    assert {each.bundle for each in done.engines} == {"uniform"}
    assert set(done.parity) == {"uniform"}


def test_a_command_that_prints_nothing_has_failed(commands: Commands, ready: Ready) -> None:
    commands.mute = "verify"
    done = work(*ready)
    assert [(each.status, each.sentence) for each in done.failed] == [
        (70, "verify uniform printed no result"),
        (70, "verify fixed printed no result"),
    ]


def test_a_look_says_what_the_board_is(
    commands: Commands, ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, cache, _ = ready
    monkeypatch.setattr("lzu_export.targets.tensorrt.target.TARGET.version", lambda: "10.3.0")
    found = look(request, cache)
    assert (found.version, found.unfit) == ("10.3.0", "")
    assert found.jetpack == "6.2, Jetson Linux 36.4.3"
    assert found.doctor["abilities"] == []
    monkeypatch.setattr("lzu_export.targets.tensorrt.target.TARGET.version", lambda: None)
    commands.failing = {"doctor": (2, "no home")}
    found = look(request, cache)
    assert "TensorRT" in found.unfit
    assert (found.jetpack, found.doctor) == ("", {"error": "no home"})


@pytest.mark.parametrize("text", ["{", "[]", '{"bundles": []}', '{"target": 3, "bundles": []}'])
def test_a_request_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(text)
    with pytest.raises(LzuError, match=r"request\.json is n"):
        read_request(tmp_path / "request.json")


def test_a_request_of_a_later_release_is_read(request_: Request, tmp_path: Path) -> None:
    later = {**request_.model_dump(mode="json"), "more": 1}
    (tmp_path / "request.json").write_text(json.dumps(later))
    assert read_request(tmp_path / "request.json") == request_
