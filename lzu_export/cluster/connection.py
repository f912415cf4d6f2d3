"""Connect to Dask's scheduler, with every fault as one sentence and none on the terminal."""

import asyncio
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lzu_export.errors import LzuError

if TYPE_CHECKING:
    from distributed import Client, Security

log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds within which a scheduler must answer."""
LOWEST = (2025, 4)
"""Lowest release of scheduler and workers; from there on any works with any other."""
GRACE = 2.0
"""Further seconds for what Dask does before and after it connects."""
NOISY = ("distributed", "dask", "tornado", "bokeh", "asyncio")
"""Loggers and modules of Dask and of what it is made of."""


@dataclass(frozen=True)
class Certificates:
    """Files for TLS, in PEM format; without them Dask's own configuration decides."""

    authority: Path | None = None
    """Certificate of the authority that signed those of scheduler, workers and client."""
    certificate: Path | None = None
    """Certificate of this client."""
    key: Path | None = None
    """Key of this client; None: the certificate's file holds it."""

    def security(self) -> "Security | None":
        """Return Dask's object of these files; None without any.

        Raises:
            LzuError: a file is missing, is no certificate, or does not belong to the others.
        """
        from distributed import Security

        given = [each for each in (self.authority, self.certificate, self.key) if each is not None]
        if not given:
            return None
        if self.authority is None or self.certificate is None:
            raise LzuError("TLS needs --tls-ca and --tls-cert together; give both")
        for path in given:
            if not path.is_file():
                raise LzuError(f"{path} is no file; give a certificate or key in PEM format")
        found = Security(
            tls_ca_file=str(self.authority),
            tls_client_cert=str(self.certificate),
            tls_client_key=str(self.key) if self.key else None,
            require_encryption=True,
        )
        try:
            found.get_connection_args("client")
        except OSError as error:  # as are all of ssl
            names = ", ".join(str(each) for each in given)
            raise LzuError(
                f"{names} are no certificates and key in PEM format that belong together "
                f"({error.strerror or error}); see docs/scale.md for how to make them"
            ) from error
        return found


def connect(scheduler: str, security: "Security | None", timeout: float = TIMEOUT) -> "Client":
    """Return a client of the scheduler at an address.

    Raises:
        LzuError: the address is none, nobody answers there, or its release of Dask is too old.
    """
    _check_address(scheduler, security)
    try:
        client = _in_time(lambda: _client(scheduler, security, timeout), timeout + GRACE)
    except (OSError, asyncio.TimeoutError) as error:
        raise LzuError(
            f"no scheduler answers at {scheduler} within {timeout:g} s; check the address, that "
            "`dask scheduler` runs there, and that both use TLS (tls://) or neither does"
        ) from error
    except Exception as error:  # of an odd address, or of what something else answers there
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LzuError(
            f"{scheduler} cannot be used as a scheduler ({reason}); give an address such as "
            "tcp://HOST:8786 or, with certificates, tls://HOST:8786"
        ) from error
    try:
        _check_release(client, scheduler)
    except BaseException:
        client.close()
        raise
    return client


def _check_address(scheduler: str, security: "Security | None") -> None:
    """Refuse what Dask would refuse after it has begun to connect: its client then waits to close.

    Raises:
        LzuError: it is no address, or it and the certificates contradict each other.
    """
    found = re.fullmatch(r"(tcp|tls)://(?:\[[^\]]+\]|[^\s:/]+):(\d{1,5})/?", scheduler)
    if found is None or not 0 < int(found[2]) < 65536:
        raise LzuError(
            f"{scheduler!r} is no address of a scheduler; give one such as tcp://HOST:8786 or, "
            "with certificates, tls://HOST:8786"
        )
    if found[1] == "tcp" and security is not None:
        raise LzuError(
            f"{scheduler} has no TLS, but certificates are given; write tls:// for tcp://, or "
            "leave them out"
        )
    if found[1] == "tls" and not _has_certificates(security):
        raise LzuError(f"{scheduler} needs certificates; give --tls-ca and --tls-cert")


def _has_certificates(security: "Security | None") -> bool:
    """Whether there are certificates, given ones or those of Dask's own configuration."""
    from distributed import Security

    arguments = (security or Security()).get_connection_args("client")
    return arguments.get("ssl_context") is not None


def _client(scheduler: str, security: "Security | None", timeout: float) -> "Client":
    from distributed import Client

    return Client(
        scheduler,
        timeout=timeout,
        security=security,
        set_as_default=False,
        direct_to_workers=False,
        name="lzu-export",
    )


def _in_time(make: "Callable[[], Client]", seconds: float) -> "Client":
    """Return what a function makes; Dask itself waits for ever on a port that never speaks.

    Raises:
        TimeoutError: it takes longer; its thread is left to itself.
    """
    made: Future[Client] = Future()

    def run() -> None:
        try:
            made.set_result(make())
        except BaseException as error:
            made.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return made.result(seconds)
    except FutureTimeout as error:
        raise TimeoutError from error


def _check_release(client: "Client", scheduler: str) -> None:
    """Refuse a scheduler whose tasks have another form."""
    scheduler_rpc: Any = client.scheduler
    versions: Any = client.sync(scheduler_rpc.versions)
    if predicate := too_old(versions["packages"]["distributed"]):
        raise LzuError(f"the scheduler at {scheduler} {predicate}")


def too_old(theirs: str) -> str:
    """Return, as a predicate, that a release of Dask is too old; empty if it is not.

    Tasks have another form there, and Dask's protocol has no version by which it would say so.
    """
    if _release(theirs) >= LOWEST:
        return ""
    return (
        f"has distributed {theirs}, which is too old; install {LOWEST[0]}.{LOWEST[1]} or later "
        "there: pip install -U distributed"
    )


def _release(version: str | None) -> tuple[int, ...]:
    """Return year and month of a release."""
    return tuple(int(part) for part in re.findall(r"\d+", version or "")[:2])


@contextmanager
def quiet() -> Iterator[None]:
    """Pass log lines and warnings of Dask on at our level INFO while the block runs."""
    import distributed  # noqa: F401 - its import installs handlers that write to stderr

    handler = _PassOn()
    names = [
        name
        for name in (*NOISY, *logging.root.manager.loggerDict)
        if name in NOISY or (name.startswith(NOISY) and logging.getLogger(name).handlers)
    ]
    loggers = [logging.getLogger(name) for name in names]
    before = [(each, each.handlers, each.propagate) for each in loggers]
    for each in loggers:
        each.handlers, each.propagate = [handler], False
    try:
        with warnings.catch_warnings():
            for name in NOISY:
                warnings.filterwarnings("ignore", module=name)
            yield
    finally:
        for each, handlers, propagate in before:
            each.handlers, each.propagate = handlers, propagate


class _PassOn(logging.Handler):
    """Logs what it gets at level INFO, in one line."""

    def emit(self, record: logging.LogRecord) -> None:
        lines = record.getMessage().strip().splitlines()
        log.info("%s: %s", record.name, lines[0] if lines else "")
