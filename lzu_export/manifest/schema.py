"""The manifest of a bundle: its contents, their origin, and their deviation from PyTorch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field

from lzu_export.errors import LzuError
from lzu_export.manifest.comparison import Agreement, Parity
from lzu_export.manifest.fields import Digest, FileName, Number
from lzu_export.manifest.resampled import Resampled
from lzu_export.manifest.seal import SEAL, manifest_text, seal
from lzu_export.recipes.any_recipe import AnyRecipe
from lzu_export.recipes.sections import FolderName
from lzu_export.support.files import check_graph, parse_json, read_bytes, write_text
from lzu_export.support.files.hashes import sha256
from lzu_export.support.limits import EMULATED
from lzu_export.support.ratio import Ratio
from lzu_export.support.section import Section

FILE = "manifest.json"
FORMAT = 6
FORMATS = (5, 6)
"""Manifest formats that are read. Format 5 says `drift` for `parity`, and `arrows` for `probes`."""
LIMIT = 16 << 20
"""Largest size of a manifest in bytes; those of the demonstrations have some 100 kB."""
LARGE = (".onnx", ".engine", "reference.npz", "warp.safetensors")
"""Name endings of files whose hashes are checked at opening, not with the manifest."""
ALWAYS = ("recipe.yaml", "labels.txt", "warp.npz", "reference.npz")
"""Files that every bundle has."""
LARGEST = {".onnx": 2 << 30, ".engine": 16 << 30, "": 1 << 30}
"""Largest size of a bundle's files in bytes, by ending; ONNX itself allows no more than 2 GiB."""
AGAIN = "export or copy the bundle again"

GRAPH_NOTE = (
    "the ONNX graph matches PyTorch when run in ONNX Runtime, and the parsed network matches the "
    "graph; the engine itself has not been run, which needs an RTX card"
)
SHIPPED_NOTE = "the bundle's own file, in the session that load() opens"
ROUNDING_NOTE = "run with every half-precision tensor rounded as a device would"
ROUNDED_GRAPH_NOTE = (
    "the ONNX graph was run in ONNX Runtime, half-precision tensors rounded as on a device, and "
    "the parsed network matches the graph; the engine itself has not been run, which needs an RTX "
    "card"
)
PLUGINS_NOTE = (
    "the graph was run in ONNX Runtime with the operators' functions instead of the plugins; the "
    "engine has not been built or run, which needs TensorRT"
)
RTX_PLUGINS_NOTE = (
    "not run: needs an RTX card; the graph was run in ONNX Runtime with the operators' functions "
    "instead of the plugins"
)
"""Note on a comparison with PyTorch, like the notes above."""


class Tensor(Section):
    """An input or output of an engine."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Lowering(Section):
    """The lowering of one warp into standard operators."""

    place: str
    kind: str
    reason: str
    step: str = ""
    """Key of the measured step, equal in all variants that share it; empty without measurement."""
    measured_on: str = ""
    """Machine and software of the measurement."""


class Graph(Section):
    """A canonical graph: the network in one precision."""

    file: FileName
    opset: int
    kept: dict[str, tuple[str, ...]] = Field({})
    """Names of nodes and layers that stay in a higher precision, by reason."""
    int8_layers: tuple[str, ...] = ()


class OnDevice(Section):
    """Result of running an engine on the reference frames, on the device that built it."""

    provider: str
    """Provider that ran the engine, and how it ran."""
    outputs: dict[str, Number]
    """Differences max|a - b| / max|b| by output; empty in lower precisions, which reorder
    candidates."""
    limit: float | None
    """Largest allowed difference of `outputs`."""

    @property
    def passed(self) -> bool:
        """Whether every output is within the limit."""
        return self.limit is None or all(each <= self.limit for each in self.outputs.values())


class Made(Section):
    """A file of a bundle for one target in one precision."""

    target: str
    precision: str
    file: FileName

    @property
    def name(self) -> str:
        """Name in results: `target/precision`."""
        return f"{self.target}/{self.precision}"

    @property
    def emulated_name(self) -> str:
        """Name, in results, of the graph run with the rounding of a device."""
        return f"{EMULATED}/{self.precision}"


class Engine(Made):
    """One engine and the ONNX file it was made from."""

    onnx: FileName
    version: str
    compute_capabilities: tuple[str, ...] = ()
    device: str = ""
    """Model of the device that built a TensorRT engine, see `cuda.interface.Device.model`."""
    portability: tuple[str, ...] = ()
    """Ways in which a TensorRT engine runs beyond its own device and release: `version`, `ampere+`
    or `same-capability`."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    lowerings: tuple[Lowering, ...]
    passes: tuple[dict[str, Any], ...]
    build_seconds: float
    bytes: int
    """Size of the engine's file in bytes."""
    on_device: OnDevice | None = None


class Derived(Made):
    """An ONNX file for a target whose engine is built elsewhere, on the device."""

    lowerings: tuple[Lowering, ...]
    passes: tuple[dict[str, Any], ...]

    @property
    def onnx(self) -> str:
        """Name of the file itself, the counterpart of `Engine.onnx`."""
        return self.file


class Operator(Section):
    """A plugin that a graph calls."""

    name: str
    version: str
    namespace: str


class PluginLibrary(Section):
    """The plugin library that a device is to load."""

    file: FileName
    """Name of the library without a folder, since every machine has it elsewhere."""
    sha256: Digest
    version: int | None
    """Version of the plugins; None where the library is for another kind of machine."""
    cuda_major: int | None
    """Major version of the CUDA runtime inside; None where it is for another kind of machine."""


class Plugins(Section):
    """Operators and library that graphs with plugins need."""

    operators: tuple[Operator, ...]
    library: PluginLibrary | None = None
    """Library that devices must load, any other being refused; None where none was available."""


class Stream(Section):
    """Comparison of an adaptive engine with PyTorch on the same frames, in evaluation order.

    Frames are counted from 1.
    """

    engine: str
    """Name of the engine: `target/precision`."""
    frames: int
    boxes: Number
    """Largest difference of equal detections' boxes in pixels, both zoomed by PyTorch's boxes."""
    scores: Number
    unequal: tuple[int, ...]
    """Frames whose detections differ where both are zoomed by PyTorch's boxes."""
    parted: tuple[int, ...]
    """Frames whose detections differ where each is zoomed by its own boxes."""


class Accuracy(Section):
    """The task's metric, in points, of PyTorch and of each engine that runs on this machine."""

    dataset: str
    note: str
    """Definition of the metrics, such as the limits of object sizes."""
    metric: str
    """Name of the metric that limits and tables refer to."""
    frames: int
    sequences: int | None = None
    """Number of sequences the frames belong to, for a model zoomed by the previous frame's boxes;
    else None."""
    pytorch: dict[str, Number]
    engines: dict[str, dict[str, Number]]
    """Metrics of each engine: `target/precision` names the file itself as `load` opens it,
    `emulated/precision` the graph with the rounding of a device."""
    limits: dict[str, float]
    """Largest difference of the metric from PyTorch's, by precision."""
    agreement: dict[str, Agreement] = Field({})
    """Agreement of each engine's predictions with PyTorch's, by the names of `engines`."""
    score_limits: dict[str, float] = Field({})
    """Largest distance of `scores` in `agreement` from 1, by precision."""
    matched_limits: dict[str, float] = Field({})
    """Lowest share of PyTorch's detections that must be found, by precision."""
    resampled: dict[str, Resampled] = Field({})
    """The metric of the first engine on resampled sets, by the names of `engines`."""
    stream: Stream | None = None
    """Comparison frame by frame with PyTorch, for adaptive warps."""


class Latency(Section):
    """Milliseconds per frame, from the camera's bytes to predictions, on the exporting machine."""

    machine: str
    threads: int
    runs: int
    pytorch: float
    engines: dict[str, float]
    note: str = ""
    """Significance of the figures of lower precisions."""


class Comparison(Section):
    """Times of engines measured interleaved with those of other bundles."""

    created: str
    machine: str
    bundles: tuple[str, ...]
    """Names of all bundles that were timed interleaved, this one included."""
    rounds: int
    milliseconds: dict[str, float]
    """Median milliseconds per frame by `target/precision`, from camera bytes to predictions."""
    base: str | None
    """Name of the uniform bundle whose times the ratios are relative to."""
    ratios: dict[str, Ratio]
    """Time divided by that of the base's engine of the same name, by `target/precision`."""
    unsteady: tuple[str, ...] = ()
    """Engines whose time changed during the measurement, which makes it doubtful."""


UNTRAINED_MARK = "*"
"""Suffix of the name of a bundle that differs from its checkpoint's training."""


class Untrained(Section):
    """A permitted difference between an export and its checkpoint's training."""

    key: str
    trained: str
    exported: str

    def __str__(self) -> str:
        """Return the difference in words, such as `scale 1, trained with 0.5`."""
        return f"{self.key} {self.exported}, trained with {self.trained}"


class WarpRecord(Section):
    """Origin of a bundle's warp."""

    sha256: Digest
    """Hash of warp.npz."""
    geometry: str
    source: str = "not recorded"
    """What the warp was made from, in words."""


class Calibration(Section):
    """Measurement of a bundle's INT8 ranges."""

    file: FileName
    frames: str
    """Name of the frames."""
    count: int
    """Number of frames."""
    seed: int
    method: str
    percentile: float | None = None
    """Percentile of the method `percentile`."""


class Manifest(Section):
    """The whole manifest of a bundle."""

    format: int = FORMAT
    name: FolderName
    task: str
    variant: str
    precision: tuple[str, ...]
    recipe: AnyRecipe
    graphs: dict[str, Graph]
    """Canonical graphs by precision."""
    fingerprint: str
    checkpoint: dict[str, str]
    untrained: tuple[Untrained, ...] = ()
    """Differences from the checkpoint's training that the recipe permits."""
    warp: WarpRecord
    calibration: Calibration | None = None
    """Frames that the INT8 ranges were measured on, and the method."""
    plugins: Plugins | None = None
    engines: tuple[Engine, ...]
    derived: tuple[Derived, ...] = ()
    parity: tuple[Parity, ...] = Field(validation_alias=AliasChoices("parity", "drift"))
    accuracy: Accuracy | None
    latency: Latency | None
    comparison: Comparison | None = None
    """Times relative to the bundles that were exported by the same command."""
    versions: dict[str, str]
    source_revision: str
    created: str
    stages: dict[str, float]
    """Seconds that each stage of the export took."""
    files: dict[FileName, Digest]
    """SHA-256 of every file of the bundle except the manifest."""
    left_out: tuple[FileName, ...] = ()
    """Names in `files` that `lzu-export pack` left out of this copy of the bundle."""

    @property
    def made(self) -> tuple[Engine | Derived, ...]:
        """All engines, then the files for targets whose engines are built on the device."""
        return (*self.engines, *self.derived)


def untrained_note(manifest: Manifest) -> str:
    """Return a bundle's differences from its checkpoint's training in words; empty without any."""
    if not manifest.untrained:
        return ""
    return f"not as it was trained: {'; '.join(map(str, manifest.untrained))}"


def canonical_file(precision: str) -> str:
    """Return the file name of a bundle's canonical graph in a precision."""
    return f"model.{precision}.onnx"


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest, and check it and the small files beside it against their hashes.

    Graphs, engines and the reference are checked by `check_file` when they are opened, so that a
    start on a device stays short; `Bundle.check` checks all files.

    Raises:
        LzuError: the folder is no bundle, its manifest is damaged, changed or of another format, or
            a small file is missing or was changed after the export.
    """
    path = folder / FILE
    if not path.exists():
        raise LzuError(f"{folder} is no bundle: it has no {FILE}; give a folder that export made")
    content = read_bytes(path, limit=LIMIT, remedy=AGAIN)
    try:
        data = parse_json(content, unique=True, strict=True)
        found = data.get("format")
        if found not in FORMATS:
            raise LzuError(
                f"{path} has format {found} but this version reads "
                f"{' and '.join(map(str, FORMATS))}; export the bundle again, or use the version "
                "that made it"
            )
        sealed = data.pop(SEAL)
        if sealed != seal(data):
            raise LzuError(f"{path} was changed after the export: its own hash differs; {AGAIN}")
        manifest = Manifest.model_validate(data)
    except (ValueError, AttributeError, KeyError, RecursionError) as error:
        raise LzuError(f"{path} is damaged; {AGAIN}") from error
    if (wrong := _contradiction(manifest)) is not None:
        raise LzuError(f"{path} contradicts itself: {wrong}; {AGAIN}")
    for name in manifest.files:
        if not name.endswith(LARGE) and name not in manifest.left_out:
            check_file(folder, name, manifest)
    return manifest


def _contradiction(manifest: Manifest) -> str | None:
    """Return a contradiction between two places of a manifest in words; None without any."""
    recipe = manifest.recipe
    for name in ("name", "task", "variant"):
        if getattr(manifest, name) != getattr(recipe, name):
            return f"{name} is {getattr(manifest, name)}, and {getattr(recipe, name)} in the recipe"
    made = manifest.made
    wanted = [*ALWAYS, *(graph.file for graph in manifest.graphs.values())]
    wanted += [each.file for each in made] + [each.onnx for each in manifest.engines]
    for name in wanted:
        if name not in manifest.files:
            return f"it lists no hash of {name}"
    if manifest.warp.sha256 != manifest.files["warp.npz"]:
        return "the warp's hash is not that of warp.npz"
    shapes = recipe.image_shapes
    for engine in manifest.engines:
        for tensor in engine.inputs:
            expected = shapes.get(tensor.name, tensor.shape)
            if tensor.shape != expected:
                return (
                    f"{tensor.name} of {engine.name} has shape {list(tensor.shape)}, and "
                    f"{list(expected)} by the recipe's batch and sizes"
                )
    return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a bundle's manifest with its seal, atomically by a rename.

    Raises:
        OSError: it cannot be written.
    """
    todays = manifest.model_copy(update={"format": FORMAT})
    write_text(folder / FILE, manifest_text(todays.model_dump(mode="json")))


def rewrite_manifest(
    folder: Path, manifest: Manifest, files: Sequence[str], changes: Mapping[str, Any]
) -> None:
    """Write a bundle's manifest again after files were added to it.

    Args:
        folder: the bundle.
        manifest: the manifest before the change.
        files: names of the new and changed files, whose hashes are computed.
        changes: new values of fields, by name.

    Raises:
        OSError: it cannot be written.
    """
    hashes = {name: sha256(folder / name) for name in files}
    known = dict(sorted({**manifest.files, **hashes}.items()))
    missing = tuple(name for name in manifest.left_out if name not in hashes)
    update = {**changes, "files": known, "left_out": missing}
    write_manifest(folder, manifest.model_copy(update=update))


def check_file(folder: Path, name: str, manifest: Manifest) -> Path:
    """Return the path of a bundle's file after checking its hash against the manifest.

    Raises:
        LzuError: the file is missing or was changed after the export, or is a graph that needs
            files beside the bundle's own, see `files.check_graph`.
    """
    path = folder / name
    if not path.exists():
        if name in manifest.left_out:
            raise LzuError(
                f"{path} was left out when the bundle was packed; pack the whole bundle again with "
                "--verifiable, or copy the file from there"
            )
        raise LzuError(f"{path} is missing from the bundle; export or copy it again")
    most = LARGEST.get(Path(name).suffix, LARGEST[""])
    if path.is_file() and (size := path.stat().st_size) > most:  # hashing it might take hours
        raise LzuError(f"{path} has {size} bytes, more than any file of a bundle; {AGAIN}")
    if sha256(path) != manifest.files.get(name):
        raise LzuError(
            f"{path} was changed after the export: its hash differs from {FILE}; {AGAIN}"
        )
    return check_graph(path, remedy=AGAIN) if name.endswith(".onnx") else path
