"""One finding about a machine: something that it has or lacks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that a machine has or lacks."""

    name: str
    found: bool
    detail: str
    """Version or path of the thing, or why it is not usable."""
    install: str = ""
    """Command that installs the missing thing on this machine."""
    looked: tuple[str, ...] = ()
    """Paths that were searched."""
    notes: tuple[str, ...] = ()
    """Known faults of the installed version."""
