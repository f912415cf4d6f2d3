"""The manifest of a bundle: what it holds, where it came from, how far it deviates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from lzu_export.errors import LzuError
from lzu_export.manifest.comparison import Agreement, Parity
from lzu_export.manifest.fields import Digest, FileName, Number, Section
from lzu_export.manifest.seal import SEAL, manifest_text, seal
from lzu_export.recipes.schema import AnyRecipe, FolderName
from lzu_export.support.files import check_graph, parse_json, read_bytes, write_text
from lzu_export.support.files.hashes import sha256
from lzu_export.support.former_keys import with_todays_keys
from lzu_export.support.interleave import Ratio
from lzu_export.support.limits import EMULATED

FILE = "manifest.json"
FORMAT = 6
FORMATS = (5, 6)
"""Formats that are read. In 5 `parity` was `drift`, and its `probes` were `arrows`."""
LIMIT = 16 << 20
"""Most bytes of a manifest; those of the demonstrations have some 100 kB."""
LARGE = (".onnx", ".engine", "reference.npz")
"""Endings of the files whose hashes are checked when they are opened, not with the manifest."""
ALWAYS = ("recipe.yaml", "labels.txt", "warp.npz", "reference.npz")
"""Files that every bundle has."""
LARGEST = {".onnx": 2 << 30, ".engine": 16 << 30, "": 1 << 30}
"""Most bytes of a bundle's files by their ending; an ONNX file holds no more."""
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
"""Notes beside a comparison with PyTorch."""


class Tensor(Section):
    """An input or output of an engine."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Lowering(Section):
    """How one warp became standard operators."""

    place: str
    kind: str
    reason: str
    step: str = ""
    """What was measured: the same in all variants that share it. Empty where nothing was."""
    measured_on: str = ""
    """Machine and software of the measurement."""


class Graph(Section):
    """A canonical graph: the network in one precision."""

    file: FileName
    opset: int
    kept: dict[str, tuple[str, ...]] = Field({})
    """By reason, nodes and layers that stay in a higher precision."""
    int8_layers: tuple[str, ...] = ()


class OnDevice(Section):
    """What an engine gave for the reference frames on the device that built it."""

    provider: str
    """What executed it, and how."""
    outputs: dict[str, Number]
    """max|a - b| / max|b|; empty in lower precisions, whose candidates change places."""
    limit: float | None
    """Of `outputs`."""

    @property
    def passed(self) -> bool:
        """Whether no output is beyond the limit."""
        return self.limit is None or all(each <= self.limit for each in self.outputs.values())


class Made(Section):
    """What a bundle has for one target in one precision."""

    target: str
    precision: str
    file: FileName

    @property
    def name(self) -> str:
        """Its name in results: `target/precision`."""
        return f"{self.target}/{self.precision}"

    @property
    def emulated_name(self) -> str:
        """The name in results of its graph with the rounding of a device."""
        return f"{EMULATED}/{self.precision}"


class Engine(Made):
    """One engine and the ONNX file it was made from."""

    onnx: FileName
    version: str
    compute_capabilities: tuple[str, ...] = ()
    device: str = ""
    """Device model that built a TensorRT engine; see `targets.cuda.interface.Device.model`."""
    portability: tuple[str, ...] = ()
    """How far beyond its device and release a TensorRT engine runs: `version`, `ampere+` or
    `same-capability`."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    lowerings: tuple[Lowering, ...]
    passes: tuple[dict[str, Any], ...]
    build_seconds: float
    bytes: int
    """Size of the file."""
    on_device: OnDevice | None = None


class Derived(Made):
    """An ONNX file for a target whose engine is built elsewhere, on the device."""

    lowerings: tuple[Lowering, ...]
    passes: tuple[dict[str, Any], ...]

    @property
    def onnx(self) -> str:
        """The file itself, as `Engine.onnx` is the file that an engine was made from."""
        return self.file


class Operator(Section):
    """A plugin that a graph calls."""

    name: str
    version: str
    namespace: str


class PluginLibrary(Section):
    """The library that a device is to load."""

    file: FileName
    """Name, without a folder: every machine has it elsewhere."""
    sha256: Digest
    version: int | None
    """Of its plugins; None where the library is of another kind of machine."""
    cuda_major: int | None
    """Of the CUDA runtime inside; likewise."""


class Plugins(Section):
    """What graphs with plugins need."""

    operators: tuple[Operator, ...]
    library: PluginLibrary | None = None
    """Where one was at hand: another one is refused."""


class Stream(Section):
    """An adaptive engine and PyTorch on the same frames, in the order of the evaluation.

    Frames are counted from 1.
    """

    engine: str
    """`target/precision`."""
    frames: int
    boxes: Number
    """Largest difference of equal detections in pixels, both zoomed by PyTorch's boxes."""
    scores: Number
    unequal: tuple[int, ...]
    """Frames whose detections then differ."""
    parted: tuple[int, ...]
    """Frames whose detections differ where each is zoomed by its own boxes."""


class Accuracy(Section):
    """The task's metric, in points, of PyTorch and of each engine that runs here."""

    dataset: str
    note: str
    """How the metrics are meant, such as the limits of object sizes."""
    metric: str
    """The one that limits and tables speak of."""
    frames: int
    sequences: int | None = None
    """Of a model that goes by the frame before: how many sequences the frames are of."""
    pytorch: dict[str, Number]
    engines: dict[str, dict[str, Number]]
    """By `target/precision`: the file itself as `load` opens it; by `emulated/precision` the graph
    with the rounding of a device."""
    limits: dict[str, float]
    """Of the difference from PyTorch, by precision."""
    agreement: dict[str, Agreement] = Field({})
    """With PyTorch, as `engines`."""
    score_limits: dict[str, float] = Field({})
    """How far `scores` of `agreement` may be from 1, by precision."""
    matched_limits: dict[str, float] = Field({})
    """Lowest share of PyTorch's detections to be found, by precision."""
    stream: Stream | None = None
    """Of adaptive warps."""


class Latency(Section):
    """Milliseconds a frame, from the camera's bytes to the predictions, where it was exported."""

    machine: str
    threads: int
    runs: int
    pytorch: float
    engines: dict[str, float]
    note: str = ""
    """What the figures of lower precisions are worth."""


class Comparison(Section):
    """Times of engines that took turns with those of other bundles, milliseconds a frame."""

    created: str
    machine: str
    bundles: tuple[str, ...]
    """Names of all that took turns, this one too."""
    rounds: int
    milliseconds: dict[str, float]
    """By `target/precision`, the median, from the camera's bytes to the predictions."""
    base: str | None
    """Name of the uniform bundle that the ratios are over."""
    ratios: dict[str, Ratio]
    """By `target/precision`, times over the base's engine of that precision."""
    unsteady: tuple[str, ...] = ()
    """Engines whose time changed while it was measured: doubtful."""


UNTRAINED_MARK = "*"
"""Behind the name of a bundle that is not what its checkpoint was trained as."""


class Untrained(Section):
    """A way in which an export differs, by consent, from its checkpoint's training."""

    key: str
    trained: str
    exported: str

    def __str__(self) -> str:
        """Such as `scale 1, trained with 0.5`."""
        return f"{self.key} {self.exported}, trained with {self.trained}"


class Manifest(Section):
    """Everything about a bundle."""

    format: int = FORMAT
    name: FolderName
    task: str
    variant: str
    precision: tuple[str, ...]
    recipe: AnyRecipe
    graphs: dict[str, Graph]
    """By precision, the canonical graph."""
    fingerprint: str
    checkpoint: dict[str, str]
    untrained: tuple[Untrained, ...] = ()
    """In what the bundle is not what the checkpoint was trained as, by the recipe's consent."""
    warp: dict[str, str]
    calibration: dict[str, str | int | float | None] | None = None
    """What the INT8 ranges were measured on, and how."""
    plugins: Plugins | None = None
    engines: tuple[Engine, ...]
    derived: tuple[Derived, ...] = ()
    parity: tuple[Parity, ...]
    accuracy: Accuracy | None
    latency: Latency | None
    comparison: Comparison | None = None
    """With the bundles that were exported by the same command."""
    versions: dict[str, str]
    source_revision: str
    created: str
    stages: dict[str, float]
    """Seconds each stage of the export took."""
    files: dict[FileName, Digest]
    """sha256 of every other file of the bundle."""

    @model_validator(mode="before")
    @classmethod
    def _todays_keys(cls, data: Any) -> Any:
        return with_todays_keys(data, {"drift": "parity"})

    @property
    def made(self) -> tuple[Engine | Derived, ...]:
        """All engines, then the files for targets whose engines are built on the device."""
        return (*self.engines, *self.derived)


def untrained_note(manifest: Manifest) -> str:
    """In what a bundle differs from its checkpoint's training; empty where in nothing."""
    if not manifest.untrained:
        return ""
    return f"not as it was trained: {'; '.join(map(str, manifest.untrained))}"


def canonical_file(precision: str) -> str:
    """Name of a bundle's canonical graph of a precision."""
    return f"model.{precision}.onnx"


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest, and check it and the small files beside it against their hashes.

    Graphs, engines and the reference are checked by `check_file` when they are opened, so that a
    start on a device stays short; `check_bundle` checks all files.

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
        if not name.endswith(LARGE):
            check_file(folder, name, manifest)
    return manifest


def _contradiction(manifest: Manifest) -> str | None:
    """What a manifest says in two places, and not the same."""
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
    if manifest.warp.get("sha256") != manifest.files["warp.npz"]:
        return "the warp's hash is not that of warp.npz"
    return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a bundle's manifest with its seal, in one rename.

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
        manifest: what it says so far.
        files: names of those that are new or other ones; their hashes are taken.
        changes: new values of fields, by name.

    Raises:
        OSError: it cannot be written.
    """
    hashes = {name: sha256(folder / name) for name in files}
    known = dict(sorted({**manifest.files, **hashes}.items()))
    write_manifest(folder, manifest.model_copy(update={**changes, "files": known}))


def check_file(folder: Path, name: str, manifest: Manifest) -> Path:
    """The path of a bundle's file, after its hash was held against the manifest.

    Raises:
        LzuError: the file is missing or was changed after the export, or is a graph that needs
            files beside the bundle's own, see `files.check_graph`.
    """
    path = folder / name
    if not path.exists():
        raise LzuError(f"{path} is missing from the bundle; export or copy it again")
    most = LARGEST.get(Path(name).suffix, LARGEST[""])
    if path.is_file() and (size := path.stat().st_size) > most:  # hashing it might take hours
        raise LzuError(f"{path} has {size} bytes, more than any file of a bundle; {AGAIN}")
    if sha256(path) != manifest.files.get(name):
        raise LzuError(
            f"{path} was changed after the export: its hash differs from {FILE}; {AGAIN}"
        )
    return check_graph(path, remedy=AGAIN) if name.endswith(".onnx") else path


def check_bundle(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """Check every file of a bundle against its hash.

    Returns:
        Names in the folder that the manifest does not have. Nothing ever opens them.

    Raises:
        LzuError: a file is missing or was changed after the export.
    """
    for name in manifest.files:
        check_file(folder, name, manifest)
    return tuple(sorted({each.name for each in folder.iterdir()} - {FILE, *manifest.files}))
