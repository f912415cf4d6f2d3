"""TensorRT and TensorRT-RTX: building, opening and checking engines."""

NAME = "tensorrt"
RTX = "tensorrt-rtx"
RTX_PLUGINS = "tensorrt-rtx-plugins"
