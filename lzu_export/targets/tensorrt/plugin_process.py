"""Build TensorRT-RTX engines whose graph calls plugins, in a child process.

At the first plugin of a graph the ONNX parser of TensorRT-RTX opens `libtensorrt_rtx.so` by that
name, and ends the process where the loader does not find it. The Python package holds only
`libtensorrt_rtx.so.1`. The loader reads its search path when a process starts, so the child's path
begins with a folder that has a link of the name. If the child ends all the same, this process
goes on. Running an engine needs no parser, and no child.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lzu_export.errors import LzuError
from lzu_export.manifest.schema import Plugins
from lzu_export.ops.contract import DOMAIN
from lzu_export.runtime.plugin_library import check_library, load_library
from lzu_export.support.interpreter import run_module
from lzu_export.support.session import TensorSpec
from lzu_export.targets.tensorrt import rtx

if TYPE_CHECKING:
    from lzu_export.targets.tensorrt.plan import BuiltEngine

log = logging.getLogger(__name__)

LIBRARY = "libtensorrt_rtx.so"
"""Name by which the parser opens the library that it belongs to."""
PACKAGE = "tensorrt_rtx_libs"
"""Python package that holds the library."""
SEARCH_PATH = "LD_LIBRARY_PATH"
"""Environment variable with the loader's search path."""


class NoPluginsError(LzuError):
    """The installed TensorRT-RTX ended the child process instead of taking plugins."""


def build(
    model: Path,
    engine: Path,
    library: Path,
    wanted: Plugins,
    *,
    compute_capabilities: Sequence[str] = (),
) -> "BuiltEngine":
    """Build a strongly typed engine file from an ONNX file that calls plugins.

    Args:
        model: ONNX of standard operators and `lzu` calls, linted for this target.
        engine: file to write.
        library: plugin library.
        wanted: plugins that the graph calls, and the library that they need.
        compute_capabilities: compute capabilities such as `8.9`; empty for the portable default.

    Raises:
        NoPluginsError: this TensorRT-RTX takes no plugins.
        LzuError: the library does not fit, or see `rtx.build`.
    """
    rtx.import_module()  # its sentence where it is missing
    check_library(library, wanted)
    with tempfile.TemporaryDirectory(prefix="lzu-rtx-") as folder:
        answer = Path(folder, "answer.json")
        request = {
            "model": str(model.absolute()),
            "engine": str(engine.absolute()),
            "library": str(library.absolute()),
            "wanted": wanted.model_dump(mode="json"),
            "compute_capabilities": list(compute_capabilities),
            "answer": str(answer),
        }
        done = subprocess.run(
            run_module(__name__),
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
            env=environment(Path(folder)),
        )
        for line in done.stderr.splitlines():
            log.info("%s", line)
        if done.returncode != 0:
            raise _ended(done)
        return _built(json.loads(answer.read_text()), done.stderr)


def environment(folder: Path) -> dict[str, str]:
    """Return this process's environment, with a search path that has the library's plain name.

    Args:
        folder: empty folder, which gets a link to the library of the Python package. Without the
            package, as with NVIDIA's archive, the system has to find the name.
    """
    found = find_spec(PACKAGE)
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        for file in sorted(Path(place).glob(f"{LIBRARY}.*"))[:1]:
            (folder / LIBRARY).symlink_to(file.resolve())
    before = os.environ.get(SEARCH_PATH)
    places = os.pathsep.join([str(folder), *([before] if before else [])])
    return {**os.environ, SEARCH_PATH: places}


def _ended(done: subprocess.CompletedProcess[str]) -> LzuError:
    last = next(iter(done.stderr.strip().splitlines()[-1:]), "no message")
    release = rtx.version()
    if done.returncode < 0:
        return NoPluginsError(
            f"TensorRT-RTX {release} takes no plugins here: its process ended with signal "
            f"{-done.returncode} ({last})"
        )
    return LzuError(f"TensorRT-RTX {release} could not be started in a child process: {last}")


def _built(answer: dict[str, Any], said: str) -> "BuiltEngine":
    """Return the child's result, or raise its error with what a plugin `said` on stderr.

    TensorRT-RTX 1.7 gives a library's plugins no logger, so that they write to stderr.
    """
    from lzu_export.targets.tensorrt.plan import BuiltEngine

    if "error" in answer:
        reason = next((line for line in said.splitlines() if line.startswith(f"{DOMAIN}::")), "")
        raise LzuError(f"{answer['error']}: {reason}" if reason else answer["error"])
    for name in ("inputs", "outputs"):
        answer[name] = tuple(
            TensorSpec(each["name"], each["dtype"], tuple(each["shape"])) for each in answer[name]
        )
    capabilities = tuple(answer.pop("compute_capabilities"))
    return BuiltEngine(**{**answer, "compute_capabilities": capabilities, "notes": ()})


def main() -> None:
    """Build as the request on stdin says, and write the result or the error to its `answer`."""
    request = json.load(sys.stdin)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    load = partial(
        load_library, Path(request["library"]), Plugins.model_validate(request["wanted"])
    )
    answer: dict[str, Any]
    try:
        built = rtx.build(
            Path(request["model"]),
            Path(request["engine"]),
            compute_capabilities=request["compute_capabilities"],
            plugins=load,
        )
        answer = asdict(built)
    except LzuError as error:
        answer = {"error": str(error)}
    Path(request["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
