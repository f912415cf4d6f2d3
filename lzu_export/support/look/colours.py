"""Colours of pages and pictures, each for light and for dark paper."""

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#1a1e24",
    "faint": "#566070",
    "rule": "#dde1e6",
    "accent": "#0a5ca8",
    "uniform": "#6b7280",
    "fixed": "#0a66b7",
    "adaptive": "#b8540a",
    "fovea": "#7a3fb0",
    "external": "#12775a",
    "stage-0": "#88ccee",
    "stage-1": "#22347a",
    "stage-2": "#e3b23c",
    "stage-3": "#c2508c",
    "shrunk": "#2166ac",
    "enlarged": "#b2182b",
    "good": "#0f7a4d",
    "limit": "#b42318",
    "warn": "#fff4e2",
    "warn-edge": "#c97a1e",
}
"""Colours on light paper by CSS variable, as #rrggbb; pictures and print use them, too."""
DARK: Mapping[str, str] = {
    "paper": "#14171b",
    "panel": "#1c2026",
    "ink": "#e8eaed",
    "faint": "#a3adb9",
    "rule": "#333a43",
    "accent": "#6db6f2",
    "uniform": "#a7b0bb",
    "fixed": "#5fb0f2",
    "adaptive": "#f2a25c",
    "fovea": "#c7a0f2",
    "external": "#5fcca4",
    "stage-0": "#a5dcf5",
    "stage-1": "#5b7bd5",
    "stage-2": "#e8c465",
    "stage-3": "#d976ae",
    "shrunk": "#6fabdd",
    "enlarged": "#ef7d77",
    "good": "#63c997",
    "limit": "#f28b82",
    "warn": "#302510",
    "warn-edge": "#c97a1e",
}
"""The same colours on dark paper."""
STAGES = tuple(name for name in LIGHT if name.startswith("stage-"))
"""Names of the colours of a query's stages, told apart by colour-blind readers as well."""


def variables() -> str:
    """Return the colours as CSS: light, dark where the reader prefers it, and light in print."""
    light, dark = (
        " ".join(f"--{name}: {value};" for name, value in colours.items())
        for colours in (LIGHT, DARK)
    )
    return (
        f":root {{ {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    )
