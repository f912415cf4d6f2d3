"""The plugins, created through the library's entry points on a machine without TensorRT.

The kernels inside are the host build, so that layers are executed as well.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from host_kernels import compiler, kept, sources_in
from toolchain import (
    INTERFACES,
    PLUGIN_FLAGS,
    PLUGINS,
    build,
    cuda_headers,
    host_plugins,
    include_flags,
    tensorrt_headers,
)

from lzu_export.graph.contracts import VERSION
from lzu_export.runtime.plugin_library import describe_library

# What TensorRT 10.3 declares and these sources may use; all else of the namespace is refused.
API_10_3 = {
    *("AsciiChar", "DataType", "DimensionOperation", "Dims", "DimsExprs"),
    *("DynamicPluginTensorDesc", "IDimensionExpr", "IExprBuilder", "ILogger", "ILoggerFinder"),
    *("IPluginCapability", "IPluginCreatorInterface", "IPluginCreatorV3One"),
    *("IPluginResourceContext", "IPluginV3", "IPluginV3OneBuild", "IPluginV3OneCore"),
    *("IPluginV3OneRuntime", "PluginCapabilityType", "PluginField", "PluginFieldCollection"),
    *("PluginFieldType", "PluginTensorDesc", "TensorFormat", "TensorRTPhase"),
}
ENUMERATORS_10_3 = {
    "DataType": {"kFLOAT", "kHALF", "kINT8"},
    "DimensionOperation": {"kPROD"},
    "PluginCapabilityType": {"kCORE", "kBUILD", "kRUNTIME"},
    "PluginFieldType": {"kFLOAT32", "kFLOAT64", "kINT32", "kINT64"},
    "Severity": {"kERROR"},
    "TensorFormat": {"kLINEAR", "kHWC8", "kCHW4", "kCHW32"},
    "TensorRTPhase": {"kBUILD"},
}
# Members of the interfaces in 10.3's reference that these sources override or call.
METHODS_10_3 = {
    *("getCapabilityInterface", "clone", "getPluginName", "getPluginVersion", "getPluginNamespace"),
    *("getNbTactics", "getValidTactics", "setTactic", "onShapeChange", "attachToContext"),
    *("getFieldsToSerialize", "createPlugin", "getFieldNames", "getNbOutputs", "getOutputShapes"),
    *("getOutputDataTypes", "supportsFormatCombination", "configurePlugin", "getTimingCacheID"),
    "enqueue",
}
# The virtual functions by which Plugin asks each plugin, none of them TensorRT's.
OWN_METHODS = {"setOutputTypes", "setOutputShapes", "supports", "checkShapes", "launchKernel"}
# And what they call of its objects. The last ones are the standard library's, too.
CALLED_10_3 = {
    *("constant", "operation", "isConstant", "getConstantValue", "findLogger", "log"),
    *("clear", "data", "size"),
}
NESTED_10_3 = {"Severity"}


@pytest.fixture(scope="module")
def library() -> Path:
    """The plugin library with kernels for the host."""
    return host_plugins()


@pytest.fixture(scope="module")
def report(library: Path) -> dict[str, Any]:
    """What the C++ test program found; it fails by itself where a plugin misbehaves."""
    source = Path(__file__).with_name("plugin_objects.cpp")
    flags = [*PLUGIN_FLAGS, *include_flags()]
    program = kept(
        "plugin_objects",
        [compiler(), *flags],
        sources_in(PLUGINS, source.parent),
        lambda target: build(target, [source], *flags),
    )
    done = subprocess.run(
        [program, library, "--run"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def contracts() -> dict[str, Any]:
    loaded = (yaml.safe_load(p.read_text()) for p in PLUGINS.glob("*/*_PluginConfig.yaml"))
    return {contract["name"]: contract for contract in loaded}


@pytest.mark.parametrize("name", ["SeparableUnzoom", "SeparableZoom", "BoxKnots", "InvertWarp"])
def test_the_library_keeps_its_contracts(report, name):
    contract, said = contracts()[name], report[name]
    assert (contract["namespace"], contract["version"]) == ("lzu", "1")
    assert {k: v["type"] for k, v in contract["attributes"].items()} == said["attributes"]
    fixed = [tensor.get("type") for tensor in (*contract["inputs"], *contract["outputs"])]
    for combination in said["combinations"]:
        first = combination[0]
        assert first in contract["combinations"]
        # The test's unzoom has two levels where the contract has one line for n.
        wanted = []
        for tensor in fixed:
            copies = 2 if name == "SeparableUnzoom" and tensor is None else 1
            wanted += [tensor or first] * copies
        assert combination == wanted
    assert sorted(c[0] for c in said["combinations"]) == sorted(contract["combinations"])


def test_undefined_symbols(library):
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm")
    symbols = [nm, "-D", "--demangle", str(library)]
    lines = subprocess.run(symbols, capture_output=True, text=True, check=True).stdout.splitlines()
    undefined = [line for line in lines if " U " in line]
    assert undefined
    assert not [line for line in undefined if "nvinfer" in line or "PluginRegistry" in line]
    exported = {line.split()[-1] for line in lines if " T " in line}
    assert {"getCreators", "setLoggerFinder", "lzu_unzoom", "lzu_zoom_camera"} <= exported
    assert not [name for name in exported if not name.startswith(("get", "set", "lzu_"))]


def test_the_library_tells_its_version(library):
    """By ctypes, as a device does; a host build is of no CUDA."""
    found = describe_library(library)
    assert str(found.version) == VERSION
    assert found.cuda_major == 0
    versions = {contract["version"] for contract in contracts().values()}
    assert versions == {VERSION}


def sources() -> str:
    """Return the plugins' sources without comments and texts."""
    text = "\n".join(p.read_text() for p in (*INTERFACES, *PLUGINS.glob("*/*plugin*.h")))
    text += "\n".join(p.read_text() for p in PLUGINS.glob("common/*.h"))
    return re.sub(r'//[^\n]*|"(?:[^"\\\n]|\\.)*"', "", text)


def test_nothing_newer_than_tensorrt_10_3():
    text = sources()
    assert set(re.findall(r"nvinfer1::(\w+)", text)) - {"v_1_0"} <= API_10_3
    capitalised = set(re.findall(r"\b(I[A-Z]\w+|Plugin[A-Z]\w+|Dims\w*|TensorRT\w+)\b", text))
    own = {"InvertWarp", "InvertWarpPlugin"}
    assert capitalised - own <= API_10_3
    for enumeration, names in ENUMERATORS_10_3.items():
        assert set(re.findall(rf"\b{enumeration}::(\w+)", text)) <= names
    overridden = set(re.findall(r"(\w+)\([^;{}()]*(?:\([^()]*\)[^;{}()]*)*\)[\w\s]*override", text))
    assert overridden - OWN_METHODS <= METHODS_10_3
    assert overridden >= {"enqueue", "getOutputShapes"}, "the pattern finds overrides"
    assert not re.search(r"REGISTER_TENSORRT_PLUGIN|getPluginRegistry|V2", text)


def not_of_10_3(text: str, headers: str) -> set[str]:
    """Types that a source names and methods that it calls, which 10.3 may not have.

    By name: `using namespace` hides where a name is from, so that all that any release's headers
    declare counts, unless it is known of 10.3.

    Args:
        text: the source.
        headers: of a release that is as new as possible.
    """
    headers = re.sub(r"//[^\n]*|/\*.*?\*/", "", headers, flags=re.DOTALL)
    declared = r"\b(?:class|struct|enum)\s+(?:class\s+)?(?:\w+\([^)]*\)\s*)?(\w+)"
    types = set(re.findall(declared, headers))
    types |= set(re.findall(r"\busing\s+(\w+)\s*=", headers))
    methods = set(re.findall(r"\b(\w+)\s*\(", headers))
    named = set(re.findall(r"\w+", text)) & types - API_10_3 - NESTED_10_3
    called = set(re.findall(r"(?:\.|->)\s*(?:template\s+)?(\w+)\s*(?:<[^<>()]*>)?\s*\(", text))
    return named | (called & methods - METHODS_10_3 - CALLED_10_3)


def test_no_type_or_method_is_newer_though_it_is_not_qualified():
    """Headers of 10.14 know more than 10.3: what they add is found, and not used."""
    headers = "\n".join(
        path.read_text(errors="replace") for path in sorted(tensorrt_headers().glob("NvInfer*.h"))
    )
    text = sources()
    assert not_of_10_3(text, headers) == set()
    if "getAliasedInput" not in headers:
        pytest.skip("the headers here are older than what is to be found")
    assert not_of_10_3(f"{text} TilingOptimizationLevel level;", headers) == {
        "TilingOptimizationLevel"
    }
    for call in ("context->getAliasedInput(0)", "builder . getAliasedInput (0)"):
        assert not_of_10_3(f"{text} {call};", headers) == {"getAliasedInput"}


@pytest.mark.slow
def test_other_releases_headers():
    """The same sources with every directory of headers in LZU_TENSORRT_INCLUDES, colons between."""
    places = [p for p in os.environ.get("LZU_TENSORRT_INCLUDES", "").split(":") if p]
    if not places:
        pytest.skip("name directories of NvInfer.h of other releases in LZU_TENSORRT_INCLUDES")
    program = Path(__file__).with_name("plugin_objects.cpp")
    for place in places:
        flags = [f"-I{PLUGINS}", "-isystem", place, "-isystem", str(cuda_headers())]
        command = [compiler(), "-std=c++17", "-fsyntax-only", "-Wno-deprecated-declarations"]
        for source in (*INTERFACES, program):
            done = subprocess.run(
                [*command, *flags, str(source)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{place}: {done.stderr}"


def test_every_plugin_has_a_readme_with_the_usual_headings():
    headings = ["Description", "Structure", "Parameters", "Additional resources", "License"]
    headings += ["Changelog", "Known issues"]
    for contract in PLUGINS.glob("*/*_PluginConfig.yaml"):
        text = (contract.parent / "README.md").read_text()
        assert re.findall(r"^## (.+)$", text, re.M) == headings
        attributes = yaml.safe_load(contract.read_text())["attributes"]
        assert all(f"`{name}`" in text for name in attributes)
