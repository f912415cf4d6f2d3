"""A TensorRT-RTX engine in a bundle, built by the stand-in of TensorRT-RTX."""

from pathlib import Path

from lzu_export.manifest.schema import Tensor, read_manifest, write_manifest
from lzu_export.support.files.hashes import sha256
from lzu_export.targets.tensorrt import rtx


def add_rtx_engine(bundle: Path) -> Path:
    """Build an engine of a bundle's float32 graph for TensorRT and list it in the manifest.

    TensorRT-RTX's stand-in must be installed. Return the engine's path.
    """
    path = bundle / "model.fp32.rtx.engine"
    built = rtx.build(bundle / "model.fp32.tensorrt.onnx", path)
    manifest = read_manifest(bundle)
    entry = manifest.engines[0].model_copy(
        update={
            "target": "tensorrt-rtx",
            "file": path.name,
            "version": built.version,
            "compute_capabilities": built.compute_capabilities,
            "inputs": tuple(Tensor(**vars(each)) for each in built.inputs),
            "outputs": tuple(Tensor(**vars(each)) for each in built.outputs),
        }
    )
    files = {**manifest.files, path.name: sha256(path)}
    changed = manifest.model_copy(update={"engines": (*manifest.engines, entry), "files": files})
    write_manifest(bundle, changed)
    return path
