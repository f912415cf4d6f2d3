"""Open the sessions in which an engine's graph is compared with PyTorch. No torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from lzu_export.bundle.bundle import Bundle
from lzu_export.graph.emulate.plugins import emulated as without_plugins
from lzu_export.graph.lowering.choose import lowerings_by_place
from lzu_export.graph.passes import Pass, import_graph, keep_outputs, run_passes
from lzu_export.graph.read import load_graph
from lzu_export.graph.selection import give_selections, selections_of
from lzu_export.manifest.schema import Derived, Engine
from lzu_export.support.session import Session
from lzu_export.targets.precision import emulated, emulated_lowered, marked
from lzu_export.targets.registry import find
from lzu_export.verification.selections import GivenSelections


def runs_here(engine: Engine | Derived) -> bool:
    """Whether an engine's own file runs here: it needs no device, and the library is installed."""
    target = find(engine.target)
    return not target.on_device and target.version() is not None


def is_emulated(engine: Engine | Derived) -> bool:
    """Whether an engine has a separate row for the rounding of a device."""
    return find(engine.target).rounds_on_export and engine.precision != "fp32"


def emulated_plugins(
    engine: Engine | Derived, canonical: Path, executable: Path, before: Sequence[Pass] = ()
) -> onnx.ModelProto | None:
    """Return a graph whose plugins are standard operators; None for targets without plugins."""
    if not find(engine.target).dialect.plugins:
        return None
    return without_plugins(load_graph(executable), load_graph(canonical), before)


def open_at_probes(
    engine: Engine | Derived,
    canonical: Path,
    executable: Path,
    names: Sequence[str],
    *,
    emulate: bool,
    provider: str,
) -> tuple[Session, list[Session]]:
    """Open the session for an engine's outputs, and those for these probe points of its graph.

    A graph that does not run as its file does both in one session, which is then in both places.
    INT8 needs two: a warp whose result is an output would keep its Q/DQ pair.
    """
    lowerings, apart = lowerings_by_place(engine.lowerings), engine.precision == "int8"
    if emulate:
        model = load_graph(canonical)
        if not apart:
            return _in_one(emulated(model, lowerings, _with_outputs(model, names)))
        return emulated(model, lowerings), [emulated(model, lowerings, names)]
    plugins = emulated_plugins(engine, canonical, executable)
    if plugins is not None:
        probes = emulated_plugins(engine, canonical, executable, [keep_outputs(names)])
        assert probes is not None, "of the same engine"
        return emulated_lowered(plugins), [emulated_lowered(probes)]
    model, target = load_graph(executable), find(engine.target)
    runs = isinstance(engine, Engine) and runs_here(engine)
    together = not runs and not apart
    wanted = _with_outputs(model, names) if together else list(names)
    graphs = marked(target.dialect, model, load_graph(canonical), lowerings, wanted)
    if runs:
        assert isinstance(engine, Engine), "see above"
        # Idle threads do not wait actively: nothing is timed, and the next engine is being built.
        options: dict[str, Any] = {"provider": provider, "spin": False}
        opened = target.open_file(engine, executable, **options)
        return opened, [target.session(each.SerializeToString(), **options) for each in graphs]
    if together and len(graphs) == 1:
        return _in_one(emulated_lowered(graphs[0]))
    return emulated_lowered(model), [emulated_lowered(each) for each in graphs]


def _in_one(session: Session) -> tuple[Session, list[Session]]:
    return session, [session]


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*(value.name for value in model.graph.output), *names]))


def open_given(
    engine: Engine | Derived,
    canonical: Path,
    executable: Path,
    selections: Sequence[str],
    *,
    emulate: bool,
    provider: str,
) -> GivenSelections | None:
    """Open an engine's graph so that it takes PyTorch's selections; None if it selects nothing."""
    if not selections:
        return None
    graph = load_graph(canonical)
    names = selections_of(import_graph(graph), selections)
    if not names:
        return None
    give = [give_selections(names)]
    if emulate:
        lowerings = lowerings_by_place(engine.lowerings)
        return GivenSelections(emulated(run_passes(graph, give)[0], lowerings), names)
    lowered = emulated_plugins(engine, canonical, executable)
    model = run_passes(load_graph(executable) if lowered is None else lowered, give)[0]
    if not runs_here(engine):
        return GivenSelections(emulated_lowered(model), names)
    session = find(engine.target).session(model.SerializeToString(), provider=provider)
    return GivenSelections(session, names)


def open_emulated(bundle: Bundle, engine: Engine, session: Session) -> Session | None:
    """Open an engine's graph with the rounding of a device, to be scored beside the engine.

    Return None if the engine computes in its own precision: in FP32, or not on a processor.

    Raises:
        LzuError: the graph's file was changed.
    """
    if not is_emulated(engine) or session.provider != "CPUExecutionProvider":
        return None
    return emulated(
        load_graph(bundle.canonical(engine.precision)), lowerings_by_place(engine.lowerings)
    )
