"""One finding about a machine: something that it has or lacks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that a machine has, or has not."""

    name: str
    found: bool
    detail: str
    """Version, place, or why it is not usable."""
    install: str = ""
    """The command that gets it on this machine, where it is missing."""
    looked: tuple[str, ...] = ()
    """Places that were searched."""
    notes: tuple[str, ...] = ()
    """Known faults of the version that is there."""
