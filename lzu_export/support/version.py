"""Release of this package."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("lzu-export")
except PackageNotFoundError:  # a source tree that was never installed
    VERSION = "0.0.0+source"
