"""Architecture descriptions."""

import pytest
from pydantic import BaseModel, ValidationError

from lzu_export.recipes.networks import Fcos3dConfig, PSPNetConfig, RetinaNetConfig
from samples import loaded_by


def test_configuration_and_anchors_import_no_torch() -> None:
    torch_free = ("recipes.networks", "warp.anchors", "runtime.postprocess")
    modules = ", ".join(f"lzu_export.{module}" for module in torch_free)
    assert loaded_by(modules, ["torch"]) == []


def test_strides_follow_from_the_levels() -> None:
    assert RetinaNetConfig(num_classes=8).strides == (8, 16, 32, 64, 128)
    assert RetinaNetConfig(num_classes=8, start_level=0, num_outs=4).strides == (4, 8, 16, 32)


IMPOSSIBLE: dict[type[BaseModel], list[tuple[dict[str, object], str]]] = {
    RetinaNetConfig: [
        ({"num_outs": 2}, "at least 3"),
        ({"start_level": 0, "num_outs": 3}, "at least 4"),
        ({"strides": (4, 8, 16, 32, 64)}, "leave strides out"),
        ({"depth": 152}, "depth"),
        ({"ratios": ()}, "ratios"),
        ({"width": 3}, "width"),
    ],
    PSPNetConfig: [
        ({"num_classes": 1}, "num_classes"),
        ({"depth": 152}, "depth"),
        ({"base_channels": 9}, "base_channels"),
        ({"output_stride": 4}, "output_stride"),
        ({"cut": "neck"}, "cut"),
        ({"fpn_stride": 16}, "fpn_stride"),
        ({"pool_scales": ()}, "pool_scales"),
        ({"pool_scales": (1, 0)}, "pool_scales"),
        ({"dropout": 1.0}, "dropout"),
        ({"strides": (8,)}, "strides"),
    ],
    Fcos3dConfig: [
        ({"depth": 18}, "stage_with_dcn asks for deformable convolutions, which depth 18 has not"),
        ({"num_outs": 2}, "set num_outs to at least as many"),
        ({"feat_channels": 48}, "feat_channels is 48, which norm_groups 32 does not divide"),
        ({"centerness_channels": 16}, "centerness_channels is 16"),
        ({"stage_with_dcn": (False, True)}, "stage_with_dcn"),
        ({"strides": (8,)}, "strides"),
    ],
}
"""Fields that do not go together, and words of the error, by architecture."""


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [(kind, *row) for kind, rows in IMPOSSIBLE.items() for row in rows],
)
def test_impossible_architectures_are_refused(
    kind: type[BaseModel], fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        kind.model_validate({"num_classes": 8, **fields})


def test_configuration_survives_a_round_trip() -> None:
    config = RetinaNetConfig(num_classes=3, start_level=0, num_outs=5, ratios=(1.0,))
    assert RetinaNetConfig.model_validate_json(config.model_dump_json()) == config


def test_the_unzoom_s_stride_is_that_of_the_cut() -> None:
    assert PSPNetConfig(num_classes=19).strides == (8,)
    assert PSPNetConfig(num_classes=19, output_stride=16, fpn_stride=8).strides == (16,)
    assert PSPNetConfig(num_classes=19, cut="fpn").strides == (4,)
    assert PSPNetConfig(num_classes=19, cut="fpn", fpn_stride=8).strides == (8,)


def test_a_segmenter_s_configuration_survives_a_round_trip() -> None:
    config = PSPNetConfig(num_classes=3, cut="fpn", pool_scales=(1, 4), channels=32)
    assert PSPNetConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError, match="frozen"):
        config.depth = 18


def test_the_monocular_detector_s_defaults_are_the_papers() -> None:
    config = Fcos3dConfig(num_classes=10)
    assert config.strides == (8, 16, 32, 64, 128)
    assert config.stage_with_dcn == (False, False, True, True)
    assert Fcos3dConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError, match="frozen"):
        config.depth = 18
