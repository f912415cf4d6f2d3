"""Options of the commands that run jobs, on this machine or on a cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lzu_export.cluster.cluster import Cluster


@dataclass(frozen=True)
class ClusterOptions:
    """Where jobs run."""

    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Dask scheduler, such as tls://10.0.0.1:8786; default: this machine alone."
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Jobs at a time on this machine; default: its processors."),
    ] = None
    tls_ca: Annotated[
        Path | None, typer.Option("--tls-ca", help="TLS: certificate of the authority (PEM).")
    ] = None
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="TLS: certificate of this client (PEM).")
    ] = None
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", help="TLS: key of this client, unless --tls-cert holds it."),
    ] = None

    @contextmanager
    def open(self) -> Iterator["Cluster"]:
        """Open the cluster for the time of a block.

        Raises:
            LzuError: see `lzu_export.cluster.cluster.open_cluster`.
        """
        from lzu_export.cluster.cluster import Certificates, open_cluster

        certificates = Certificates(self.tls_ca, self.tls_cert, self.tls_key)
        with open_cluster(
            self.scheduler, workers=self.workers, certificates=certificates
        ) as cluster:
            yield cluster


@dataclass(frozen=True)
class SplitOptions(ClusterOptions):
    """Where the parts of one command's heavy stages run."""

    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes among which accuracy and INT8 ranges are split; default: 1."
        ),
    ] = None

    @contextmanager
    def open_if_asked(self) -> Iterator["Cluster | None"]:
        """Open the cluster if an option asks for one; else yield None.

        Raises:
            LzuError: see `open`.
        """
        if self.scheduler is None and self.workers in (None, 1):
            yield None
            return
        with self.open() as cluster:
            yield cluster
