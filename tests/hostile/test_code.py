"""Nothing of a file from elsewhere is ever executed: libraries, modules, pickles, tags, names."""

import itertools
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lzu_calibration
import lzu_export
from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.load import load
from lzu_export.compiler.derive import derive
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import Operator, Plugins, read_manifest, write_manifest
from lzu_export.recipes import load_recipe
from lzu_export.runtime import plugin_library
from lzu_export.runtime.plugin_library import NAME, find_library
from lzu_export.support.files import check_graph
from lzu_export.support.files.hashes import sha256
from lzu_export.support.files.places import record_built, user_folder
from lzu_export.support.interpreter import run_module, run_program
from lzu_export.tasks.custom import find_builder
from samples import graph_model, sentence

PACKAGES = [
    Path(lzu_export.__file__).parent,
    Path(lzu_calibration.__file__).parent,
    Path(__file__).parents[2] / "benchmarks" / "lzu_benchmarks",
]


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that whatever is executed would leave."""
    return tmp_path / "executed"


@pytest.fixture
def trap(mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugin library that leaves the mark as soon as it is loaded."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    source, path = tmp_path / "trap.c", tmp_path / "trap.so"
    source.write_text(
        "#include <fcntl.h>\n"
        f'__attribute__((constructor)) void go(void) {{ creat("{mark}", 0600); }}\n'
        "int lzu_plugins_version(void) { return 1; } int lzu_cuda_major(void) { return 12; }\n"
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
    monkeypatch.delenv("LZU_PLUGINS", raising=False)
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)  # takes no plugins beside it
    monkeypatch.setattr(
        plugin_library, "__file__", str(tmp_path / "package/lzu_export/runtime/x.py")
    )
    monkeypatch.setattr(plugin_library, "find_driver", lambda: None)
    return path


def plant(trap: Path, bundle: Path) -> None:
    """Where a bundle may have one."""
    for place in (bundle, bundle / "build/plugins", bundle.parent / "build/plugins"):
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(trap, place / NAME)


@pytest.mark.parametrize("where", ["elsewhere", "bundle", "beside"])
def test_a_library_in_a_bundle_is_not_loaded(
    where: str, bundle: Path, trap: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By no command and from no working directory, whatever the manifest says of its hash."""
    plant(trap, bundle)
    places = {"elsewhere": trap.parent / "package", "bundle": bundle, "beside": bundle.parent}
    places[where].mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(places[where])
    library = plugin_library.PluginLibrary(file=NAME, sha256=sha256(trap), version=1, cuda_major=12)
    operators = (Operator(name="BoxKnots", version="1", namespace="lzu"),)
    manifest = read_manifest(bundle)
    device = manifest.engines[0].model_copy(update={"target": "tensorrt", "device": "any"})
    wanted = {"plugins": Plugins(operators=operators, library=library)}
    write_manifest(bundle, manifest.model_copy(update=wanted))
    derive(bundle)
    assert "no plugin library" in str(sentence(lambda: find_library(bundle=bundle)))
    changed = manifest.model_copy(update={**wanted, "engines": (device,)})
    monkeypatch.setattr("lzu_export.targets.tensorrt.open.refuse_elsewhere", lambda *_: None)
    monkeypatch.setattr("lzu_export.targets.cuda.interface.open_cuda", lambda *_: None)
    found, reasons = Bundle(bundle, changed).here()
    assert found == []
    assert "there is no plugin library" in reasons["tensorrt/fp32"]
    assert not mark.exists()
    with pytest.raises(LzuError, match="only here to be refused"):
        derive(bundle, plugins=trap, precision="only here to be refused")
    assert not mark.exists()  # a command that refuses has loaded nothing
    derive(bundle, plugins=trap)  # who names it means it
    assert mark.exists()


MODULES = ("cv2", "numpy", "json", "runpy", "sitecustomize", "lzu_export", "onnxruntime", "base64")
IN_WORKERS = ("cv2", "numpy", "json", "pickle", "socket", "tempfile", "multiprocessing", "yaml")


def test_modules_of_the_working_directory_are_not_run(tmp_path: Path, mark: Path) -> None:
    """By the workers that render frames, by exports of `bench`, by `doctor`'s looks."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n")
    worker = run_module("lzu_benchmarks.demo.frame_cache")
    done = subprocess.run(
        worker, cwd=tmp_path, input="[]", text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        run_module("lzu_export", "--version"), cwd=tmp_path, capture_output=True, check=True
    )
    assert lzu_export.__version__ in done.stdout.decode()
    look = run_program("import importlib, sys\nprint(importlib.import_module(sys.argv[1]))", "cv2")
    done = subprocess.run(look, cwd=tmp_path, capture_output=True, check=True)
    assert str(tmp_path) not in done.stdout.decode()
    assert not mark.exists()


POOL = """
from lzu_benchmarks.harness.workers import workers
from lzu_benchmarks.train.cache3d import learnt_boxes
import itertools
import os
with workers(2) as pool:
    print(set(pool.map(os.path.abspath, ["", ""])) == {os.getcwd()})
print(learnt_boxes([(7, 0)], 1).shape[1])
"""


def test_pools_do_not_run_modules_of_the_working_directory(tmp_path: Path, mark: Path) -> None:
    """Neither while a worker starts nor when it imports; yet it works in that folder."""
    for name in IN_WORKERS:
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n")
    done = subprocess.run(
        run_program(POOL), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n4\n"), done.stderr
    assert not mark.exists()


@pytest.mark.parametrize(
    "words",
    [["-m", "lzu_benchmarks.train.seg"], ["-m", "lzu_export"], ["-mlzu_benchmarks.studies.speed"]],
)
def test_modules_that_a_user_runs_leave_the_working_directory_out(
    words: list[str], tmp_path: Path, mark: Path
) -> None:
    """As far as it is not where the package itself is."""
    for name in IN_WORKERS:
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n")
    command = [sys.executable, *words, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage" in done.stdout.lower()
    assert not mark.exists()


def test_python_is_started_in_two_places_alone() -> None:
    """Which leave the working directory out of the search path."""
    pattern = re.compile(r"\[sys\.executable|get_context|import multiprocessing|ProcessPool")
    files = [path for folder in PACKAGES for path in folder.rglob("*.py")]
    found = {path.name for path in files if pattern.search(path.read_text())}
    assert found == {"interpreter.py", "workers.py"}


def test_what_unpickles_runs_or_builds_objects_is_not_in_the_source() -> None:
    """Save where it is named here, with what guards it."""
    pattern = re.compile(
        r"\bpickle\.loads?\(|\bnp\.load\(|allow_pickle=True|yaml\.(?:unsafe_|full_)?load\(|"
        r"\btorch\.load\(|\bexec\(|\beval\(\w|register_custom_ops|weights_only=False\)|os\.system"
    )
    allowed = {
        "yaml_text.py",  # of a safe loader
        "checkpoint.py",  # torch's own reader of weights alone
    }
    files = [path for folder in PACKAGES for path in folder.rglob("*.py")]
    found = {path.name for path in files if pattern.search(path.read_text())}
    in_training = {"cache.py", "cache3d.py", "film.py", "label_cache.py", "det.py"}
    assert found - {"unfinished.py", "frame_cache.py"} - in_training <= allowed


def external(location: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "weights")
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    return tensor


def model_with(tensor: TensorProto, where: str) -> onnx.ModelProto:
    """A model that has the tensor in one of the places that ONNX has for tensors."""
    relu = helper.make_node("Relu", ["x"], ["y"])
    model = graph_model([relu], {"x": (4,)}, {"y": (4,)})
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    inner = helper.make_graph([constant], "inner", [], [])
    if where == "initializer":
        model.graph.initializer.append(tensor)
    elif where == "attribute":
        model.graph.node.append(constant)
    elif where == "tensors":
        model.graph.node.append(helper.make_node("Odd", [], ["c"], values=[tensor]))
    elif where == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif where == "subgraph":
        model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner))
    elif where == "function":
        imports = [helper.make_opsetid("", 18)]
        model.functions.append(helper.make_function("d", "f", [], ["c"], [constant], imports))
    else:
        model.training_info.add().algorithm.CopyFrom(inner)
    return model


PLACES = ["initializer", "attribute", "tensors", "sparse", "subgraph", "function", "training"]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "weights.bin"])
def test_values_in_other_files_are_refused(where: str, location: str, tmp_path: Path) -> None:
    """Wherever in a model they are, and wherever they point."""
    path = tmp_path / "a.onnx"
    path.write_bytes(model_with(external(location), where).SerializeToString())
    message = str(sentence(lambda: check_graph(path)))
    assert "keeps values of tensor weights in another file, which is not opened" in message
    inside = model_with(numpy_helper.from_array(np.ones(4, np.float32), "weights"), where)
    path.write_bytes(inside.SerializeToString())
    assert check_graph(path) == path


@pytest.mark.parametrize("operator", ["EPContext", "PythonOp"])
def test_operators_that_open_files_are_refused(operator: str, tmp_path: Path) -> None:
    node = helper.make_node(operator, ["x"], ["y"], domain="com.microsoft")
    path = tmp_path / "a.onnx"
    path.write_bytes(graph_model([node], {"x": (4,)}, {"y": (4,)}).SerializeToString())
    message = str(sentence(lambda: check_graph(path)))
    assert f"has an operator {operator}, which opens files or runs code" in message


@pytest.mark.parametrize("operator", ["Loop", "Scan", "SequenceMap"])
@pytest.mark.parametrize("where", ["graph", "branch", "function"])
def test_operators_that_may_not_end_are_refused(operator: str, where: str, tmp_path: Path) -> None:
    """A graph with one runs for ever, or longer than anyone waits."""
    body = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "body", [], [])
    node = helper.make_node(operator, ["x"], ["y"], body=body)
    model = graph_model([node], {"x": (4,)}, {"y": (4,)})
    if where == "branch":
        branch = helper.make_graph([node], "branch", [], [])
        del model.graph.node[:]
        model.graph.node.append(helper.make_node("If", ["x"], ["y"], else_branch=branch))
    elif where == "function":
        imports = [helper.make_opsetid("", 18)]
        model.functions.append(helper.make_function("d", "f", ["x"], ["y"], [node], imports))
        model.graph.node[0].CopyFrom(helper.make_node("f", ["x"], ["y"], domain="d"))
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    message = str(sentence(lambda: check_graph(path)))
    assert f"has an operator {operator}, which may repeat without end" in message


def test_a_bundle_with_a_loop_is_refused_by_what_opens_it(bundle: Path) -> None:
    """Before ONNX Runtime runs it, though all hashes are right."""
    file = "model.fp32.onnxruntime.onnx"
    model = onnx.load(bundle / file)
    body = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["endless"], body=body))
    (bundle / file).write_bytes(model.SerializeToString())
    read_manifest_of(bundle, file)
    assert "has an operator Loop, which may repeat" in str(sentence(lambda: load(bundle)))


@pytest.mark.parametrize("inner", [False, True])
def test_functions_that_call_functions_are_refused(inner: bool, tmp_path: Path) -> None:
    """Twelve of ten calls each would be put in each other's place a million million times."""
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("d", 1)]
    functions = []
    for i in range(12):
        below, domain = (f"f{i - 1}", "d") if i else ("Relu", "")
        names = ["x", *(f"t{k}" for k in range(9)), "y"]
        nodes = [
            helper.make_node(below, [a], [b], domain=domain) for a, b in itertools.pairwise(names)
        ]
        if inner:
            branch = helper.make_graph(nodes, "branch", [], [])
            nodes = [helper.make_node("If", ["x"], ["y"], then_branch=branch)]
        functions.append(helper.make_function("d", f"f{i}", ["x"], ["y"], nodes, imports))
    call = helper.make_node("f11", ["x"], ["y"], domain="d")
    model = graph_model([call], {"x": (4,)}, {"y": (4,)})
    model.functions.extend(functions)
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    assert "has a function that calls the function f0" in str(sentence(lambda: check_graph(path)))
    del model.functions[1:]
    model.functions[0].name = "Relu"  # of another domain than the operator that it calls
    path.write_bytes(model.SerializeToString())
    assert check_graph(path) == path


@pytest.mark.parametrize("edit", ["cut", "flip", "empty", "text"])
def test_what_is_no_onnx_is_refused(edit: str, tmp_path: Path, tiny_bundle: Path) -> None:
    """In a sentence; the values of weights are not looked at."""
    whole = (tiny_bundle / "model.fp32.onnx").read_bytes()
    content = {"cut": whole[:-9], "flip": b"\x0b" + whole[1:], "empty": b"", "text": b"hello"}[edit]
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    assert "is damaged or no ONNX file" in str(sentence(lambda: check_graph(path)))


@pytest.mark.parametrize("file", ["model.fp32.onnx", "model.fp32.onnxruntime.onnx"])
def test_a_bundle_reads_no_file_beside_its_own(bundle: Path, file: str) -> None:
    """Not through a graph, though all hashes are right: neither ONNX nor ONNX Runtime sees it."""
    from lzu_export.quantization.recalibrate import Float32Bundle

    model = onnx.load(bundle / file)
    (bundle.parent / "secret").write_bytes(bytes(16))
    model.graph.initializer.append(external("../secret"))
    (bundle / file).write_bytes(model.SerializeToString())
    manifest = read_manifest(bundle)
    files = {**manifest.files, file: sha256(bundle / file)}
    write_manifest(bundle, manifest.model_copy(update={"files": files}))
    opens = {"model.fp32.onnx": [lambda: Float32Bundle(bundle).model, lambda: derive(bundle)]}
    for call in opens.get(file, [lambda: load(bundle)]):
        assert "keeps values of tensor weights in another file" in str(sentence(call))


def test_a_warp_of_objects_is_not_unpickled(bundle: Path, mark: Path) -> None:
    """Though the hashes are right."""
    for name in ("warp.npz", "reference.npz"):
        np.savez(bundle / name, zoom_rows=np.array([Bomb(mark)], object))
    manifest = read_manifest_of(bundle, "warp.npz", "reference.npz")
    assert "neither numbers nor text" in str(sentence(lambda: load(bundle)))
    (bundle / "warp.npz").write_bytes(pickle.dumps(Bomb(mark)))
    read_manifest_of(bundle, "warp.npz")
    assert "is damaged or no .npz file" in str(sentence(lambda: load(bundle)))
    assert "is damaged" in str(sentence(lambda: derive(bundle)))
    assert manifest.files
    assert not mark.exists()


def read_manifest_of(bundle: Path, *names: str) -> Any:
    """The manifest, after the hashes of changed files were written into it."""
    from lzu_export.manifest.schema import FILE, parse_json
    from lzu_export.manifest.seal import manifest_text

    data = parse_json((bundle / FILE).read_text())
    data["files"].update({name: sha256(bundle / name) for name in names})
    data["warp"]["sha256"] = data["files"]["warp.npz"]
    (bundle / FILE).write_text(manifest_text(data))
    return read_manifest(bundle)


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.mkdir [{mark}]",
        "name: !!python/object/new:os.mkdir [{mark}]",
        "name: !!python/name:os.mkdir",
        "name: !!python/module:antigravity",
        "name: !include {mark}",
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
        "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
        "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]",
        "a: &a\n  b: *a",
        "name: " + "[" * 2000,
        "name: 2020-99-99",
        "? [a, b]\n: c",
    ],
)
def test_yaml_makes_plain_data_alone(text: str, tmp_path: Path, mark: Path) -> None:
    """No tag calls, no alias bomb goes off, nothing nests without end."""
    path = tmp_path / "x.yaml"
    path.write_text(text.format(mark=mark))
    message = str(sentence(lambda: load_recipe(str(path))))
    assert str(path) in message
    assert not mark.exists()


@pytest.mark.parametrize("name", ["os:system", "os.system", "builtins:exec", "../x", "x.py"])
def test_a_recipe_names_no_code(name: str) -> None:
    """Only what an installed package announces, or the program itself registered."""
    assert f"custom_model {name} is not known here" in str(sentence(lambda: find_builder(name)))


def test_code_in_an_engine_is_trusted_by_name_or_by_who_built_it(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT's version-compatible plans bring a library that is loaded into the process."""
    from lzu_export.targets.tensorrt.build import VERSION_COMPATIBLE
    from lzu_export.targets.tensorrt.open import _host_code

    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LZU_HOST_CODE", raising=False)
    engine = read_manifest(bundle).engines[0]
    path = bundle / engine.file
    assert not _host_code(engine, path, allowed=True)  # it has none
    portable = engine.model_copy(update={"portability": (VERSION_COMPATIBLE,)})
    message = str(sentence(lambda: _host_code(portable, path, allowed=False)))
    assert "brings code for the processor" in message
    assert "LZU_HOST_CODE=1" in message
    assert _host_code(portable, path, allowed=True)
    record_built(sha256(path), path.name)
    assert _host_code(portable, path, allowed=False)
    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "another"))
    monkeypatch.setenv("LZU_HOST_CODE", "1")
    assert _host_code(portable, path, allowed=False)


def test_the_user_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None for a user without one; a record that cannot be written is no error."""
    for name in ("LZU_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert user_folder() is None
    record_built("0" * 64, "x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "lzu_export"
    (tmp_path / "file").touch()
    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "file"))
    record_built("0" * 64, "x")
    assert os.listdir(tmp_path) == ["file"]
