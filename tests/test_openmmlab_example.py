"""The hook and the transform for OpenMMLab configs, on stand-ins for MMEngine's interfaces."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lzu_export as lzu
from lzu_export.errors import LzuError
from lzu_export.wrapping.hooks import wrapping_of

EXAMPLE = Path(__file__).resolve().parents[1] / "docs/examples/openmmlab_warp.py"
SOURCE = (96, 128)


class Registry(dict[str, Any]):
    """Registry of classes by name, as MMEngine's."""

    def register_module(self) -> Callable[[type], type]:
        def add(kind: type) -> type:
            self[kind.__name__] = kind
            return kind

        return add


class Detector(nn.Module):
    """Module with the `forward` of MMEngine's models."""

    def __init__(self) -> None:
        super().__init__()
        self.neck = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.bbox_head = nn.Conv2d(4, 2, 1)

    def forward(
        self, inputs: torch.Tensor, data_samples: Any = None, mode: str = "tensor"
    ) -> torch.Tensor:
        found: torch.Tensor = self.bbox_head(self.neck(inputs))
        return found


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the example; return its classes by name."""
    hooks, transforms = Registry(), Registry()
    stand_ins = {
        "mmcv": {},
        "mmcv.transforms": {"BaseTransform": object},
        "mmengine": {},
        "mmengine.hooks": {"Hook": object},
        "mmengine.model": {"is_model_wrapper": lambda model: hasattr(model, "module")},
        "mmengine.registry": {"HOOKS": hooks, "TRANSFORMS": transforms},
    }
    for name, attributes in stand_ins.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    runpy.run_path(str(EXAMPLE))
    return {**hooks, **transforms}


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Arguments of the warp in a config."""
    rows = np.exp(-(np.linspace(-2, 2, 31) ** 2))[:, None]
    np.save(tmp_path / "saliency.npy", np.repeat(rows, 51, axis=1) + 0.05)
    return {"saliency": str(tmp_path / "saliency.npy"), "source": list(SOURCE), "scale": 0.5}


@pytest.mark.parametrize("moment", ["before_train", "before_val", "before_test"])
def test_the_hook_wraps_once(
    registered: dict[str, Any], settings: dict[str, Any], moment: str
) -> None:
    model = Detector().eval()
    hook = registered["WarpHook"](unzoom=["neck"], **settings)
    runner = SimpleNamespace(model=SimpleNamespace(module=model))  # as if distributed
    getattr(hook, moment)(runner)
    first = wrapping_of(model)
    assert first is not None
    hook.before_val(runner)
    assert wrapping_of(model) is first
    warp = lzu.FixedWarp.from_saliency(settings["saliency"], SOURCE, scale=0.5)
    frame = torch.randn(1, 3, *SOURCE)
    expected = lzu.wrap(Detector(), warp, ["neck"])
    expected.load_state_dict(model.state_dict())
    torch.testing.assert_close(
        model(inputs=frame, data_samples=[None], mode="loss"), expected.eval()(frame)
    )
    with pytest.raises(LzuError, match="96x128"):
        model(inputs=frame[..., 1:], mode="loss")


class Boxes:
    """Boxes as mmdet passes them between transforms."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def numpy(self) -> Any:
        return self.tensor.numpy()


def test_the_transform_maps_targets(registered: dict[str, Any], settings: dict[str, Any]) -> None:
    transform = registered["TargetsToCanvas"](**settings)
    box, labels = [10.5, 20.5, 30.5, 60.5], np.arange(96 * 128).reshape(SOURCE)
    found = transform.transform(
        {"gt_bboxes": Boxes(torch.tensor([box])), "gt_seg_map": labels, "img": "whole"}
    )
    step_y, step_x = 95 / 47, 127 / 63
    expected = [10 / step_x + 0.5, 20 / step_y + 0.5, 30 / step_x + 0.5, 60 / step_y + 0.5]
    np.testing.assert_allclose(found["gt_bboxes"].tensor.numpy(), [expected], rtol=1e-6)
    assert found["gt_bboxes"].tensor.dtype == torch.float32
    assert found["gt_seg_map"].shape == found["img_shape"] == (48, 64)
    assert found["gt_seg_map"][47, 63] == labels[95, 127]
    assert found["scale_factor"] == pytest.approx((63 / 127, 47 / 95))
    assert found["img"] == "whole"


def test_the_baseline_needs_no_saliency(registered: dict[str, Any]) -> None:
    hook = registered["WarpHook"](unzoom=["neck"], saliency=None, source=list(SOURCE), scale=0.5)
    assert hook.warp.is_identity
