"""A stand-in for the modules `tensorrt` and `tensorrt_rtx`: names and parameters from a table."""

import json
from enum import IntEnum
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import onnx

from fakes.fake_cuda import TEXTS
from fakes.machine import IllegalAccessError, RefusedError
from fakes.world import World, check_call, table

RELEASES = {
    "10.3.0": ("tensorrt", "tensorrt-10.3.0"),
    "11.4.0": ("tensorrt", "tensorrt-11.4.0"),
    "1.7.1": ("tensorrt_rtx", "tensorrt_rtx-1.7.1"),
}
"""Name of the module and name of the table of each version."""

_NUMPY = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
    "UINT8": np.uint8,
}


class _Native:
    """An object of a class in the table; it rejects attributes and arguments not listed there."""

    class_name: ClassVar[str]
    members: ClassVar[dict[str, Any]]
    world: ClassVar[World]
    module: ClassVar[Any]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if self.members.get("__init__"):
            check_call(self.class_name, self.members["__init__"], arguments, named)
        elif "made_here" not in named:
            raise TypeError(f"{self.class_name}: No constructor defined!")
        self.__dict__["made_of"] = (*arguments, *(v for k, v in named.items() if k != "made_here"))
        self.world.record(self.class_name)
        getattr(self, "on_init", lambda *_: None)(*self.made_of)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self.members:
            raise AttributeError(f"'{self.class_name}' object has no attribute '{name}'")
        kind = self.members[name]
        if isinstance(kind, str):
            return self.__dict__.get(f"={name}")

        def method(*arguments: Any, **named: Any) -> Any:
            check_call(f"{self.class_name}.{name}", kind, arguments, named)
            self.world.record(f"{self.class_name}.{name}", *arguments, *named.values())
            does = getattr(type(self), f"on_{name}", None)
            return does(self, *arguments, *named.values()) if does else None

        return method

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ or name.startswith("_"):
            self.__dict__[name] = value
            return
        if self.members.get(name) != "property":
            raise AttributeError(f"can't set attribute '{name}' of {self.class_name}")
        self.world.record(f"{self.class_name}.{name}=", value)
        self.__dict__[f"={name}"] = value


class _Memory(bytes):
    """An IHostMemory: bytes with the attribute `nbytes`."""

    @property
    def nbytes(self) -> int:
        return len(self)

    def __enter__(self) -> "_Memory":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Builder(_Native):
    def on_init(self, logger: Any) -> None:
        self.__dict__["_logger"] = logger

    def on_create_network(self, flags: int = 0) -> Any:
        strongly = 1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        assert flags & strongly, "the network must be strongly typed"
        return self.module.INetworkDefinition(made_here=True)

    def on_create_builder_config(self) -> Any:
        return self.module.IBuilderConfig(made_here=True)

    def on_create_optimization_profile(self) -> Any:
        return self.module.IOptimizationProfile(made_here=True)

    def on_build_serialized_network(self, network: Any, config: Any) -> Any:
        failure = self.world.__dict__.get("build_error")
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("Building Engine", None, 2)
            monitor.phase_start("Tactics", "Building Engine", 3)
            goes_on = all([monitor.step_complete("Tactics", step) for step in range(3)])
            monitor.phase_finish("Tactics")
            monitor.phase_finish("Building Engine")
            failure = failure or (None if goes_on else "cancelled")
        if failure:
            self._logger.log(self.module.ILogger.Severity.ERROR, failure)
            return None
        return _Memory(network.plan(self.module.__version__))


class _Config(_Native):
    def on_init(self) -> None:
        self.__dict__.update({"=DLA_core": -1, "=num_optimization_profiles": 1})

    def on_create_timing_cache(self, serialised: Any) -> Any:
        cache = self.module.ITimingCache(made_here=True)
        cache.__dict__["_bytes"] = bytes(serialised)
        return cache

    def on_set_timing_cache(self, cache: Any, _: bool) -> bool:
        self.__dict__["_timing"] = cache
        return True

    def on_get_timing_cache(self) -> Any:
        return self.__dict__["_timing"]

    def on_get_flag(self, _: Any) -> bool:
        return False

    def on_get_tactic_sources(self) -> int:
        return 0

    def on_get_memory_pool_limit(self, _: Any) -> int:
        return 1 << 30

    def on_add_optimization_profile(self, _: Any) -> int:
        return 0


class _Timing(_Native):
    def on_serialize(self) -> Any:
        return _Memory(self._bytes + b"timed;")

    def on_combine(self, *_: Any) -> bool:
        return True


class _Tensor:
    def __init__(self, name: str, dtype: Any, shape: tuple[int, ...]) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape
        self.is_shape_tensor = False


class _Layer:
    """A layer of the base class, as the bindings return; users cast it to its real class."""

    def __init__(self, kind: Any, **values: Any) -> None:
        self.type = kind
        self.num_outputs = 0
        self.__dict__.update({f"={name}": value for name, value in values.items()})


class _Plugin(_Layer):
    """A plugin's layer, which makes tensors."""

    def __init__(self, kind: Any, outputs: list[_Tensor]) -> None:
        super().__init__(kind)
        self._outputs, self.num_outputs = outputs, len(outputs)

    def get_output(self, index: int) -> _Tensor:
        return self._outputs[index]


class _Network(_Native):
    """Inputs, outputs, sampling layers and plugins of the parsed file."""

    def _layers(self, model: onnx.ModelProto) -> list[_Layer]:
        trt = self.module
        values = {each.name: each for each in (*model.graph.value_info, *model.graph.output)}
        plugins: list[_Layer] = [
            _Plugin(trt.LayerType.PLUGIN_V3, self._tensors(values[name] for name in node.output))
            for node in model.graph.node
            if node.domain == "lzu"
        ]
        return plugins + [
            self._resize(node)
            if node.op_type == "Resize"
            else _Layer(
                trt.LayerType.GRID_SAMPLE,
                interpolation_mode=trt.InterpolationMode.LINEAR,
                sample_mode=trt.SampleMode.FILL,
                align_corners=True,
            )
            for node in model.graph.node
            if node.op_type in ("GridSample", "Resize")
        ]

    def _resize(self, node: onnx.NodeProto) -> _Layer:
        trt = self.module
        said = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        words = {name: value.decode().upper() for name, value in said.items() if "mode" in name}
        return _Layer(
            trt.LayerType.RESIZE,
            resize_mode=trt.InterpolationMode[words["mode"]],
            coordinate_transformation=trt.ResizeCoordinateTransformation[
                words["coordinate_transformation_mode"]
            ],
            nearest_rounding=trt.ResizeRoundMode[words.get("nearest_mode", "FLOOR")],
        )

    def _tensors(self, values: Any) -> list[_Tensor]:
        by_type = {np.dtype(v).name: self.module.DataType[k] for k, v in _NUMPY.items()}
        tensors = []
        for value in values:
            tensor = value.type.tensor_type
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
            shape = tuple(d.dim_value for d in tensor.shape.dim)
            tensors.append(_Tensor(value.name, by_type[dtype], shape))
        return tensors

    def fill(self, model: onnx.ModelProto) -> None:
        """Take inputs, outputs and layers of a model, as the parser does."""
        self.__dict__["_ins"] = self._tensors(model.graph.input)
        self.__dict__["_outs"] = self._tensors(model.graph.output)
        self.__dict__["=num_inputs"] = len(self._ins)
        self.__dict__["=num_outputs"] = len(self._outs)
        self.__dict__["_made"] = self._layers(model)
        self.__dict__["=num_layers"] = len(self._made)

    def on_get_layer(self, index: int) -> Any:
        return self._made[index]

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Any:
        return iter(())

    def on_get_input(self, index: int) -> Any:
        return self._ins[index]

    def on_get_output(self, index: int) -> Any:
        return self._outs[index]

    def plan(self, version: str) -> bytes:
        """Return a plan of the network for a version of TensorRT."""
        groups = (("INPUT", self._ins), ("OUTPUT", self._outs))
        tensors = [[t.name, mode, t.dtype.name, t.shape] for mode, ts in groups for t in ts]
        return json.dumps({"version": version, "tensors": tensors}).encode()


class _ParserError:
    def __init__(self, node: onnx.NodeProto) -> None:
        self._node = node

    def desc(self) -> str:
        return "Plugin not found, are the plugin name, version, and namespace correct?\nmore"

    def node_name(self) -> str:
        return self._node.name

    def node_operator(self) -> str:
        return self._node.op_type


class _Parser(_Native):
    """A parser of standard operators, and of `lzu`'s if a plugin library is registered."""

    def on_parse(self, data: bytes, _: str | None = None) -> bool:
        network, _ = self.made_of
        model = onnx.load_from_string(data)
        unknown = [n for n in model.graph.node if n.domain == "lzu" and not self.world.plugins]
        self.__dict__["_errors"] = [_ParserError(node) for node in unknown]
        self.__dict__["=num_errors"] = len(unknown)
        network.fill(model)
        return not unknown

    def on_get_error(self, index: int) -> Any:
        return self._errors[index]


class _Registry(_Native):
    """A registry of the process; like NVIDIA's, it rejects a library that is already loaded."""

    def on_init(self) -> None:
        self.__dict__["_loaded"] = set()

    def on_load_library(self, path: str) -> Any:
        if path in self._loaded:
            return None
        self._loaded.add(path)
        self.world.plugins.append(path)
        return object()

    def on_get_creator(self, name: str, version: str, namespace: str = "") -> Any:
        return (name, version, namespace) if self.world.plugins else None


class _Runtime(_Native):
    def on_deserialize_cuda_engine(self, data: bytes) -> Any:
        (logger,) = self.made_of
        severity = self.module.ILogger.Severity
        if failure := vars(self.world).get("load_error"):
            logger.log(severity.ERROR, failure)
            return None
        try:
            plan = json.loads(data)
        except ValueError:
            logger.log(severity.ERROR, "IRuntime::deserializeCudaEngine: bad magic\nmore")
            return None
        if plan.get("plugins") and not self.world.plugins:
            logger.log(severity.ERROR, "getPluginCreator could not find plugin")
            return None
        engine = self.module.ICudaEngine(made_here=True)
        engine.__dict__.update(_tensors=plan["tensors"], _logger=logger, _cuda=self.world.current())
        engine.__dict__["=num_io_tensors"] = len(plan["tensors"])
        return engine

    def on_get_engine_validity(self, data: bytes) -> Any:
        fits = not json.loads(data).get("other card")
        return (self.module.EngineValidity.VALID if fits else self.module.EngineValidity.INVALID, 0)


class _Engine(_Native):
    def __del__(self) -> None:
        self.world.unloaded.extend(self.world.thread.stack[-1:] or [None])

    def _tensor(self, name: str) -> Any:
        return next(each for each in self._tensors if each[0] == name)

    def on_get_tensor_name(self, index: int) -> str:
        return str(self._tensors[index][0])

    def on_get_tensor_mode(self, name: str) -> Any:
        return self.module.TensorIOMode[self._tensor(name)[1]]

    def on_get_tensor_dtype(self, name: str) -> Any:
        return self.module.DataType[self._tensor(name)[2]]

    def on_get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensor(name)[3])

    def on_create_execution_context(self, config: Any = None) -> Any:
        context = self.module.IExecutionContext(made_here=True)
        context.__dict__.update(_engine=self, _addresses={}, _config=config, _is_ready=False)
        return context

    def on_create_runtime_config(self) -> Any:
        return self.module.IRuntimeConfig(made_here=True)


class _RuntimeConfig(_Native):
    def on_create_runtime_cache(self) -> Any:
        return self.module.IRuntimeCache(made_here=True)

    def on_set_runtime_cache(self, _: Any) -> bool:
        return True


class _RuntimeCache(_Native):
    def on_deserialize(self, data: bytes) -> bool:
        return bytes(data) == b"kernels"

    def on_serialize(self) -> Any:
        return _Memory(b"kernels")


class _Context(_Native):
    """A context, which belongs to the CUDA context in which its engine was loaded."""

    def __del__(self) -> None:
        self.world.unloaded.extend(self.world.thread.stack[-1:] or [None])

    def on_set_tensor_address(self, name: str, address: int) -> bool:
        if address % 256:
            self._refuse(f"{name}: the address is not a multiple of 256")
            return False
        self.__dict__["_is_ready"] = False
        self._addresses[name] = address
        return True

    def on_is_stream_capturable(self, _: int) -> bool:
        return not vars(self.world).get("not_capturable")

    def on_execute_async_v3(self, stream: int) -> bool:
        world = self.world
        try:
            context = world.launchable(stream)
            strange = self._engine._cuda is not context
        except RefusedError:
            strange = True
        if world.failed or strange:
            self._refuse(f"Cuda failure: {TEXTS[world.failed] if world.failed else 'context'}")
            return False
        if world.__dict__.get("run_error"):
            return False
        if stream in world.captures and not self._is_ready:
            world.captures[stream].broken = True  # it allocates in the first run
        self.__dict__["_is_ready"] = True
        world.enqueue(stream, lambda: self._work(context))
        return True

    def _refuse(self, why: str) -> None:
        self._engine._logger.log(self.module.ILogger.Severity.ERROR, why)

    def _work(self, context: Any) -> None:
        if vars(self.world).pop("illegal_access", None):
            raise IllegalAccessError("a kernel of the engine")
        values = {}
        for name, _, dtype, shape in self._engine._tensors:
            kind = np.dtype(_NUMPY[dtype])
            size = int(np.prod(shape)) * kind.itemsize
            bytes_ = self.world.device_bytes(self._addresses[name], size, context)
            values[name] = bytes_.view(kind).reshape(shape)
        modes = {name: mode for name, mode, *_ in self._engine._tensors}
        inputs = {name: value.copy() for name, value in values.items() if modes[name] == "INPUT"}
        for name, value in self.world.compute(inputs).items():
            values[name][...] = value


_BEHAVIOUR: dict[str, type[_Native]] = {
    "Builder": _Builder,
    "IBuilderConfig": _Config,
    "ICudaEngine": _Engine,
    "IExecutionContext": _Context,
    "INetworkDefinition": _Network,
    "IPluginRegistry": _Registry,
    "IRuntimeCache": _RuntimeCache,
    "IRuntimeConfig": _RuntimeConfig,
    "ITimingCache": _Timing,
    "OnnxParser": _Parser,
    "Runtime": _Runtime,
}


def _overridable(name: str, members: dict[str, Any]) -> type:
    """Make a class that users derive from and whose constructor they have to call."""

    def unset(*_: Any) -> None:
        raise RuntimeError(f"Tried to call pure virtual function of {name}")

    methods = {each: unset for each in members if each != "__init__"}
    return type(name, (), {**methods, "__init__": lambda _: None})


def make_tensorrt(world: World, version: str) -> Any:
    """Make the module of a release."""
    name, source = RELEASES[version]
    module = ModuleType(name)
    vars(module)["__version__"] = version
    names = table(source)
    for key in names:
        kind = names[key]
        if key.endswith("Layer"):
            kind = {**names["ILayer"], **kind}
        if isinstance(kind, list) and key[0].isupper():
            made: Any = IntEnum(key, kind, start=0)  # type: ignore[misc]
        elif key in ("ILogger", "IProgressMonitor"):
            made = _overridable(key, kind)
        elif isinstance(kind, dict):
            fields = {"class_name": key, "members": kind, "world": world, "module": module}
            fields["__module__"] = f"{name}_bindings"
            made = type(key, (_BEHAVIOUR.get(key, _Native),), fields)
        else:
            continue
        setattr(module, key, made)
    severities = ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"]
    module.ILogger.Severity = IntEnum("Severity", severities, start=0)  # type: ignore[attr-defined]
    for severity in module.ILogger.Severity:  # type: ignore[attr-defined]
        setattr(module.Logger, severity.name, severity)  # type: ignore[attr-defined]
    module.nptype = lambda dtype: _NUMPY[dtype.name]  # type: ignore[attr-defined]
    registry = module.IPluginRegistry(made_here=True)  # type: ignore[attr-defined]

    def init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
        world.record("init_libnvinfer_plugins", namespace)
        return True

    module.init_libnvinfer_plugins = init_libnvinfer_plugins  # type: ignore[attr-defined]
    module.get_plugin_registry = lambda: registry  # type: ignore[attr-defined]
    world.calls.clear()
    return module


def plan(*tensors: tuple[str, str, str, tuple[int, ...]], **more: Any) -> bytes:
    """Return a plan of tensors, each given as name, INPUT or OUTPUT, DataType and shape."""
    return json.dumps({"version": "", "tensors": tensors, **more}).encode()


PLAN = plan(("x", "INPUT", "FLOAT", (2, 3)), ("y", "OUTPUT", "FLOAT", (2, 3)))
"""Plan of an engine that computes `World.compute`, by default `twice`."""
X = np.arange(6, dtype=np.float32).reshape(2, 3)
"""Input of that engine."""
