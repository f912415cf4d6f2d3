"""A task that this package does not have: one class and its registration, and every room takes it.

It tells how bright a frame is.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import Sample, open_dataset
from lzu_export.evaluation.layouts.find import Layout
from lzu_export.inputs.frame import Frame
from lzu_export.recipes import Recipe, load_recipe
from lzu_export.recipes.load import validate
from lzu_export.recipes.schema import AnyRecipe, Section
from lzu_export.recipes.tasks import TASKS
from lzu_export.runtime.cameras import Camera
from lzu_export.runtime.choice import Choice, make_choice
from lzu_export.runtime.compare import relative_difference
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.support import registry
from lzu_export.tasks.agreement import Tally
from lzu_export.tasks.base import Outputs, Sums, Task
from lzu_export.tasks.outputs import compare_outputs
from lzu_export.tasks.pytorch import (
    make_reference,
    model_inputs,
    noise_camera_frame,
    torch_predictor,
)
from lzu_export.tasks.registry import all_tasks, find_task, forget_task, register_task
from lzu_export.tasks.training import training_record
from lzu_export.tasks.warps import make_warp
from samples import saliency_file

SETTINGS: dict[str, Any] = {
    "name": "own",
    "task": "brightness",
    "source": [64, 96],
    "model": {"num_classes": 1},
    "postprocess": {"unit": "percent"},
    "warp": {"saliency": "saliency.npy", "lattice": [7, 11], "fwhm": 4},
    "classes": ["bright"],
    "random_weights": 0,
    "precision": ["fp32"],
    "targets": ["onnxruntime"],
}


class Network(BaseModel):
    """One convolution."""

    num_classes: int
    strides: tuple[int, ...] = (8,)


class Unit(Section):
    unit: Literal["percent", "share"] = "share"


class BrightnessRecipe(Recipe):
    task: Literal["brightness"]
    model: Network
    postprocess: Unit = Unit()


class Brightness(NamedTuple):
    value: float


class Mean(Predictor):
    def to_prediction(self, kept: dict[str, NDArray[Any]], size: tuple[int, ...]) -> Brightness:
        factor = {"percent": 100.0, "share": 1.0}[self.recipe.postprocess.unit]  # type: ignore[attr-defined]
        return Brightness(factor * float(kept["brightness"].squeeze()))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=8, padding=1)
        self.out = nn.Conv2d(4, 1, 1)

    def extract(self, image: Tensor) -> list[Tensor]:
        return [self.stem(image)]

    def head(self, levels: Sequence[Tensor]) -> list[list[Tensor]]:
        return [[self.out(levels[0])]]


class Lines:
    what: ClassVar[str] = "values"

    def __init__(self) -> None:
        self._values: list[float] = []

    @property
    def count(self) -> int:
        return len(self._values)

    def add(self, number: int, name: str, prediction: Any, camera: Camera | None) -> None:
        self._values.append(prediction.value)

    def picture(self, frame: Frame, prediction: Any, camera: Camera | None) -> Frame:
        return frame

    def results(self) -> Any:
        return self._values


class BrightSet:
    name, note, classes, metric = "bright", "", ("bright",), "error"

    def __init__(self, path: Path, frames: int | None, recipe: Any) -> None:
        values = (path / "bright.txt").read_text().split()
        self._values = [float(each) for each in values[:frames]]

    def __len__(self) -> int:
        return len(self._values)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        frame = np.zeros((64, 96, 3), np.uint8)
        for number, value in enumerate(self._values[start:], start=start):
            yield Sample(number, CameraFrame(frame), value)

    def scorer(self) -> Any:
        return None


BRIGHT_FOLDER = Layout(
    "a list of brightness is", lambda path: (path / "bright.txt").is_file(), BrightSet
)


class BrightnessTask(Task):
    name: ClassVar[str] = "brightness"
    title: ClassVar[str] = "How bright it is"
    recipe: ClassVar[type[Recipe]] = BrightnessRecipe
    default_recipe: ClassVar[str | Path] = "none"
    layouts: ClassVar[tuple[str, ...]] = (f"{__name__}:BRIGHT_FOLDER",)

    def parts(self, recipe: Any) -> Any:
        from lzu_export.tasks.assemble import Parts

        def decode(groups: Sequence[Sequence[Tensor]]) -> tuple[Tensor]:
            return (groups[0][0].mean(dim=(2, 3)),)

        return Parts(model=Net(), decode=decode, groups=("map",), outputs=("brightness",))

    @property
    def predictor(self) -> type[Predictor]:
        return Mean

    def deviation(self, recipe: Any, value: Outputs, reference: Outputs) -> dict[str, float]:
        name = "brightness"
        return {name: relative_difference(value[name], reference[name])}

    def agreement(self, mine: Any, theirs: Any) -> Sums:
        return Sums(mine.value, theirs.value, theirs.value, 1)

    def presenter(self, recipe: Any, folder: Path, lowest: float) -> Lines:
        return Lines()


@pytest.fixture
def brightness(tmp_path: Path) -> Iterator[Path]:
    """Registered, with a recipe of its own; gone afterwards. Gives the recipe's path."""
    saliency_file(tmp_path)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))

    class Own(BrightnessTask):
        default_recipe: ClassVar[str | Path] = path

    register_task(Own())
    yield path
    forget_task("brightness")


def test_a_recipe_of_it_is_read_by_the_task_s_name_and_by_its_path(brightness: Path) -> None:
    recipe = load_recipe("brightness", {"scale": 0.25})
    assert type(recipe) is BrightnessRecipe
    assert recipe == load_recipe(str(brightness), {"scale": 0.25})
    assert recipe.canvas == (16, 24)
    assert recipe.postprocess == Unit(unit="percent")
    data = TypeAdapter(AnyRecipe).dump_python(recipe, mode="json")
    assert data["postprocess"] == {"unit": "percent"}
    assert data["model"] == {"num_classes": 1, "strides": [8]}
    assert TypeAdapter(AnyRecipe).validate_python(data) == recipe


def test_its_own_keys_are_checked(brightness: Path) -> None:
    for key, said in (
        ("postprocess.unti", "unknown key postprocess.unti; did you mean unit?"),
        ("variant", "variant adaptive by boxes needs task det, not brightness"),
    ):
        with pytest.raises(LzuError, match=said):
            load_recipe("brightness", {key: "adaptive"})


def test_it_is_no_task_before_it_is_registered(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"task is 'brightness' but must be one of det, seg, det"):
        validate(SETTINGS, "own.yaml")
    with pytest.raises(LzuError, match=r"there is no task brightness; choose one of det, seg, det"):
        find_task("brightness")


def test_an_installed_package_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    task = BrightnessTask()
    entry = SimpleNamespace(name="brightness", value="own:TASK", load=lambda: task)
    announced = {"lzu_export.tasks": [entry]}
    monkeypatch.setattr(registry, "entry_points", lambda group: announced.get(group, []))
    monkeypatch.setattr(TASKS, "_loaded", {})  # nothing of it stays
    assert [each.name for each in all_tasks()][-1] == "brightness"
    assert type(validate(SETTINGS, "own.yaml")) is BrightnessRecipe


def test_pytorch_predicts_by_its_parts_and_predictor(brightness: Path) -> None:
    recipe = load_recipe("brightness")
    predictor = torch_predictor(recipe, make_warp(recipe))
    assert type(predictor) is Mean
    assert [spec.name for spec in model_inputs(recipe, from_source=True)] == ["frame"]
    camera_frames = [noise_camera_frame(recipe, 3)]
    (found,) = predictor.run(camera_frames)
    assert isinstance(found, Brightness)
    reference = make_reference(predictor, camera_frames)
    assert found.value == pytest.approx(100 * float(reference.outputs["brightness"].squeeze()))
    assert compare_outputs(recipe, reference.outputs, reference.outputs) == {"brightness": 0.0}
    doubled = {name: 2 * value for name, value in reference.outputs.items()}
    assert compare_outputs(recipe, doubled, reference.outputs) == {"brightness": pytest.approx(1.0)}


def test_its_predictions_are_compared_and_kept(brightness: Path, tmp_path: Path) -> None:
    tally = Tally("brightness")
    tally.add(Brightness(0.4), Brightness(0.5))
    agreement = tally.result()
    assert (agreement.scores, agreement.count) == (pytest.approx(0.8), 1)
    presenter = find_task("brightness").presenter(load_recipe("brightness"), tmp_path, 0.3)
    presenter.add(1, "a.png", Brightness(0.4), None)
    assert (presenter.count, presenter.results()) == (1, [0.4])


def test_its_sets_are_found_by_their_layout(brightness: Path, tmp_path: Path) -> None:
    (tmp_path / "bright.txt").write_text("0.1 0.2 0.3")
    recipe = load_recipe("brightness")
    found = open_dataset(str(tmp_path), 2, "brightness", recipe)
    assert [each.truth for each in found.samples()] == [0.1, 0.2]
    with pytest.raises(
        LzuError, match=r"to task brightness, as a list of brightness is, but the recipe to det;"
    ):
        open_dataset(str(tmp_path), None, "det")
    with pytest.raises(LzuError, match="the demonstration has no truth for task brightness"):
        open_dataset("demo", 2, "brightness", recipe)


def test_what_it_has_not_is_refused_in_its_name(brightness: Path) -> None:
    recipe = load_recipe("brightness")
    with pytest.raises(
        LzuError, match="does not apply to task brightness, whose engine returns no"
    ):
        make_choice(recipe, Choice(score_threshold=0.4))
    predictor = torch_predictor(recipe, make_warp(recipe))
    camera_frame = CameraFrame(np.zeros((64, 96, 3), np.uint8), np.eye(3))
    with pytest.raises(LzuError, match="task brightness takes no camera matrix"):
        predictor.run([camera_frame])
    with pytest.raises(LzuError, match=r"to a \.npy map, or warp\.logits"):
        make_warp(load_recipe("brightness", {"warp.saliency": None}))


def test_a_checkpoint_remembers_it(brightness: Path) -> None:
    recipe = load_recipe("brightness")
    record = training_record(recipe, make_warp(recipe).saliency)
    assert (record["task"], record["scale"]) == ("brightness", "0.5")
    assert "upsampling" not in record
    assert isinstance(Net().head(Net().extract(torch.zeros(1, 3, 64, 96)))[0][0], Tensor)


def test_tasks_are_listed_on_a_device_without_what_makes_or_draws_models() -> None:
    code = (
        "import sys; from lzu_export.tasks.registry import all_tasks; "
        "print([task.name for task in all_tasks()], "
        "[name for name in ('torch', 'onnx', 'onnxruntime', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['det', 'seg', 'det3d', 'generic'] []"
