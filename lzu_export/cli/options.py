"""Options and arguments that several commands share, and functions that read their values."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lzu_export.errors import LzuError
from lzu_export.support.device import check_device, using_device
from lzu_export.support.terminal import note

if TYPE_CHECKING:
    from lzu_export.cluster.connection import Certificates
    from lzu_export.quantization.overrides import CalibrationOverrides


def complete_recipe(incomplete: str) -> list[str]:
    """Return the tasks and shipped recipes that begin with what the shell has of a word."""
    from lzu_export.recipes import list_recipes
    from lzu_export.recipes.tasks import TASKS

    return [each for each in (*TASKS.names(), *list_recipes()) if each.startswith(incomplete)]


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Bundle = Annotated[Path, typer.Argument(help="Bundle: a folder that export wrote.")]
Scale = Annotated[float | None, typer.Option(help="Canvas size over source size.")]
Checkpoint = Annotated[
    Path | None, typer.Option(help="OpenMMLab checkpoint of the exported variant.")
]
Saliency = Annotated[
    Path | None, typer.Option(help="Map (.npy, .pkl), COCO boxes (.json), label folder.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any recipe key, such as lowering.zoom=banded; repeatable."),
]
Precision = Annotated[
    str | None, typer.Option(help="fp32, fp16, bf16 or int8; default: the highest in the bundle.")
]
Plugins = Annotated[
    Path | None, typer.Option(help="TensorRT: plugin library; default: the one that is found.")
]
Cameras = Annotated[
    Path | None,
    typer.Option(help="Camera calibration for 3-D detection: JSON with cam2img, or a .npy."),
]
Fit = Annotated[
    str | None,
    typer.Option(help="Frames of another size: exact (refused), stretch, or pad with bars."),
]
Resize = Annotated[bool, typer.Option("--resize", help="The same as --fit stretch.")]
Provider = Annotated[
    str | None,
    typer.Option(help="ONNX Runtime: cpu, cuda, tensorrt, nv-tensorrt-rtx; default: cpu."),
]


def _use_device(context: typer.Context, number: int | None) -> int | None:
    """Run the command on the GPU of this number, which must be there."""
    if number is not None and not context.resilient_parsing:
        check_device(number)
        context.with_resource(using_device(number))
    return number


Device = Annotated[
    int | None,
    typer.Option(
        "--device",
        min=0,
        callback=_use_device,
        help="Number of the GPU, as CUDA counts them; default: LZU_DEVICE, else 0.",
    ),
]
Junit = Annotated[
    Path | None, typer.Option(help="File for every check as JUnit XML, for CI systems.")
]
Dataset = Annotated[
    str | None, typer.Option(help="demo, COCO annotations, a data set's folder, or none.")
]
Frames = Annotated[int | None, typer.Option(help="Evaluate at most this many frames.")]
Ranges = Annotated[
    Path | None, typer.Option(help="INT8 ranges measured before (calibration.json).")
]
BesideBundle = Annotated[
    Path | None, typer.Option(help="File to write; default: beside the bundle.")
]
HIDDEN: Any = typer.Option(hidden=True)
"""Option that has moved to another command and still works."""

TrainingFrames = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        help="Training frames: folder, video, COCO, Cityscapes or nuScenes, or demo. Default: "
        "the recipe's.",
    ),
]


@dataclass(frozen=True)
class RangeSettings:
    """How INT8 ranges are measured."""

    count: Annotated[int | None, typer.Option(help="Number of frames to calibrate on.")] = None
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed for choosing frames.")] = None
    method: Annotated[str | None, typer.Option(help="max, entropy, percentile or mse.")] = None
    percentile: Annotated[
        float | None, typer.Option(help="Percentile (for --method percentile).")
    ] = None

    def of(self, frames: str | None) -> "CalibrationOverrides":
        """Return the overrides of a bundle's recipe with these settings and training frames."""
        from lzu_export.quantization.overrides import CalibrationOverrides

        source = frames_name(frames) if frames else None
        return CalibrationOverrides(source, **vars(self))


Scheduler = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler: tcp://HOST:8786 or tls://...")
]


@dataclass(frozen=True)
class TlsFiles:
    """Certificates for a scheduler at tls://; without them Dask's own configuration decides."""

    tls_ca: Annotated[Path | None, typer.Option(help="Certificate of the authority (PEM).")] = None
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate of this client (PEM).")] = None
    tls_key: Annotated[
        Path | None, typer.Option(help="Key of this client; default: in --tls-cert.")
    ] = None

    def certificates(self) -> "Certificates | None":
        """Return the files, or None if none is given."""
        from lzu_export.cluster.connection import Certificates

        if not any((self.tls_ca, self.tls_cert, self.tls_key)):
            return None
        return Certificates(self.tls_ca, self.tls_cert, self.tls_key)


def renamed(old: str, new: str) -> Any:
    """Return a hidden option that refuses the former name of an option and gives the new one."""

    def refuse(value: str | None) -> None:
        if value is not None:
            raise LzuError(f"{old} is called {new} now; give {new} {value}")

    return typer.Option(old, hidden=True, callback=refuse)


def note_moved(old: str, new: str) -> None:
    """Print on stderr that an option has become its own command."""
    note(f"{old} is {new} now; the old way still works")


def dataset_name(name: str) -> str | None:
    """Return an evaluation set's path made absolute, or its name unchanged; None for `none`."""
    if name == "none":
        return None
    from lzu_export.evaluation.datasets import named_sets

    is_path = name.endswith(".json") or Path(name).is_dir()
    return str(Path(name).resolve()) if is_path and name not in named_sets() else name


def frames_name(name: str) -> str:
    """Return the path of training frames made absolute, or the name of a source unchanged."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def absolute(path: Path | None) -> str | None:
    """Return an absolute path as text, as a recipe stores it; None for None."""
    return str(path.resolve()) if path is not None else None


def key_values(pairs: list[str]) -> dict[str, Any]:
    """Return recipe keys and their values from `--set key=value`.

    Raises:
        LzuError: a pair has no `=`, or its value is not YAML.
    """
    import yaml

    from lzu_export.support.files.yaml_text import parse_yaml

    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise LzuError(f"--set {pair} is not key=value; write it so")
        try:
            values[key.strip()] = parse_yaml(text)
        except yaml.YAMLError as error:
            raise LzuError(f"--set {pair} has a value that is not YAML; quote it") from error
    return values
