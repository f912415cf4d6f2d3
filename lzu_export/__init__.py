"""lzu_export: edge-deployment compiler for Learning to Zoom and Unzoom (LZU) models."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lzu-export")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+source"

__all__ = ["__version__"]
