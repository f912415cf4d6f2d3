"""Find the files of the demonstration models, which are a distribution of their own."""

from importlib.util import find_spec
from pathlib import Path

from lzu_export.support import checkout
from lzu_export.support.extras import install

MODULE = "lzu_export_demo"
"""Package of the distribution lzu-export-demo, which holds only files."""


def demonstration_file(name: str) -> Path:
    """Return the path of a file or folder of the demonstration models.

    In a checkout it is the checkout's own, else that of the installed distribution. Where there is
    neither, the path does not exist and `remedy_for` says how to get it.

    Args:
        name: path below the package's folder, such as `det/fixed.pth`.
    """
    own = checkout.CHECKOUT / "benchmarks" / "demo" / MODULE
    if own.is_dir():
        return own / name
    found = find_spec(MODULE)
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    return Path(folders[0] if folders else checkout.CHECKOUT / MODULE) / name


def remedy_for(path: Path, otherwise: str) -> str:
    """Return what to do about a missing file: install the demonstration, if it is one of its.

    Args:
        path: path of the missing file.
        otherwise: remedy for any other file.
    """
    return install(MODULE) if MODULE in path.parts else otherwise
