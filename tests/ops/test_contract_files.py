"""The contracts, written once: the plugins' YAML files, their C++ sources, and the other forms."""

import shutil
from pathlib import Path

import pytest
import yaml

from lzu_export.ops.contract import DOMAIN, VERSION, output_shapes
from lzu_export.ops.contracts import (
    PLUGIN_OPERATORS,
    config_path,
    config_text,
    differences,
    main,
    source_differences,
)
from lzu_export.ops.registry import OPERATORS

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the plugins' sources."""
    return Path(shutil.copytree(PLUGINS, tmp_path / "plugins"))


@pytest.mark.parametrize("name", PLUGIN_OPERATORS)
def test_the_file_beside_a_plugin_is_the_contract(name: str) -> None:
    operator = PLUGIN_OPERATORS[name]
    assert (PLUGINS / config_path(operator)).read_bytes() == config_text(operator).encode()


def test_every_plugin_has_a_contract() -> None:
    files = {str(path.relative_to(PLUGINS)) for path in PLUGINS.glob("*/*_PluginConfig.yaml")}
    assert files == {config_path(each) for each in PLUGIN_OPERATORS.values()}


def test_the_sources_have_the_contracts_names_and_limits() -> None:
    assert list(source_differences(PLUGINS)) == []


@pytest.mark.parametrize("name", PLUGIN_OPERATORS)
def test_the_file_is_yaml_with_the_contracts_values(name: str) -> None:
    said, contract = yaml.safe_load(config_text(PLUGIN_OPERATORS[name])), OPERATORS[name].contract
    assert (said["name"], said["namespace"], said["version"]) == (name, DOMAIN, str(VERSION))
    for key, tensors in (("inputs", contract.inputs), ("outputs", contract.outputs)):
        for entry, tensor in zip(said[key], tensors, strict=True):
            assert entry["name"].startswith(tensor.name)
            assert tuple(entry["shape"]) == tensor.shape
            assert entry.get("type", "").removesuffix(" linear") == tensor.type
    assert list(said["attributes"]) == list(contract.fields)
    for entry, field in zip(said["attributes"].values(), contract.fields.values(), strict=True):
        assert (entry["type"], entry["length"]) == (field.type, field.length)
        for bound in ("least", "most", "above", "default"):
            assert entry.get(bound) == getattr(field, bound)
        assert entry.get("required", False) == field.required
    assert tuple(said["combinations"]) == contract.formats
    assert said.get("limits", {}) == (contract.limits or {})


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("kernels/lzu_kernels.h", "LEVELS 8", "LEVELS 9", "LZU_MOST_LEVELS is 9, the contract has"),
        ("kernels/lzu_kernels.h", "BOXES 1024", "BOXES 512", "LZU_MOST_BOXES is 512"),
        ("common/plugin.h", 'kVERSION = "1"', 'kVERSION = "2"', "kVERSION is 2, the"),
        ("box_knots/box_knots_plugin.cpp", '"BoxKnots"', '"Boxes"', "kNAME is Boxes"),
        ("box_knots/box_knots_plugin.cpp", "{\"lattice\", nullptr, PluginFieldType::kINT32, 2}",
         "{\"lattice\", nullptr, PluginFieldType::kINT32, 3}", "names() is"),
        ("box_knots/box_knots_plugin.cpp", 'Only({"lattice", ', "Only({", "allowOnly() is"),
        ("invert_warp/invert_warp_plugin.cpp", "kMOST_GRID = 65535", "kMOST_GRID = 9",
         "kMOST_GRID is 9, the contract has 65535"),
        ("separable_zoom/SeparableZoom_PluginConfig.yaml", "65536", "7",
         "SeparableZoom_PluginConfig.yaml is out of date; run `make contracts`"),
    ],
)  # fmt: skip
def test_a_difference_is_found(copy: Path, file: str, old: str, new: str, expected: str) -> None:
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    assert expected in "\n".join(differences(copy))
    assert main([str(copy), "--check"]) == 1


def test_the_command_writes_what_it_checks(copy: Path) -> None:
    for path in copy.glob("*/*_PluginConfig.yaml"):
        path.unlink()
    assert main([str(copy), "--check"]) == 1
    assert main([str(copy)]) == 0
    assert main([str(copy), "--check"]) == 0
    with pytest.raises(SystemExit, match="2"):
        main([str(copy / "kernels")])


def test_shapes_follow_from_the_contract() -> None:
    zoom, unzoom = OPERATORS["SeparableZoom"].contract, OPERATORS["SeparableUnzoom"].contract
    inputs = [(2, 3, 20, 30), (2, 7), (1, 5)]
    assert output_shapes(zoom, inputs, {"canvas": [8, 12], "pad": [0, 4]}) == [(2, 3, 8, 16)]
    levels = [(1, 8, 6, 10), (1, 4, 3, 5), (1, 11), (1, 7)]
    assert output_shapes(unzoom, levels, {"upscale": 2}) == [(1, 8, 12, 20), (1, 4, 6, 10)]
    assert output_shapes(unzoom, levels, {}) == [(1, 8, 6, 10), (1, 4, 3, 5)]
    invert = OPERATORS["InvertWarp"].contract
    assert output_shapes(invert, [(2, 5, 7, 2)], {"size": [4, 6]}) == [(2, 4, 6, 2)]
