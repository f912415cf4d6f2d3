"""Architecture descriptions."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from lzu_export.models.config import RetinaNetConfig


def test_configuration_and_anchors_import_no_torch() -> None:
    code = (
        "import sys, lzu_export.models.config, lzu_export.models.anchors, "
        "lzu_export.runtime.postprocess; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_strides_follow_from_the_levels() -> None:
    assert RetinaNetConfig(num_classes=8).strides == (8, 16, 32, 64, 128)
    assert RetinaNetConfig(num_classes=8, start_level=0, num_outs=4).strides == (4, 8, 16, 32)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_outs": 2}, "at least 3"),
        ({"start_level": 0, "num_outs": 3}, "at least 4"),
        ({"strides": (4, 8, 16, 32, 64)}, "leave strides out"),
        ({"depth": 152}, "depth"),
        ({"ratios": ()}, "ratios"),
        ({"width": 3}, "width"),
    ],
)
def test_impossible_architectures_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RetinaNetConfig.model_validate({"num_classes": 8, **fields})


def test_configuration_survives_a_round_trip() -> None:
    config = RetinaNetConfig(num_classes=3, start_level=0, num_outs=5, ratios=(1.0,))
    assert RetinaNetConfig.model_validate_json(config.model_dump_json()) == config
