"""Jobs on a scheduler and workers of Dask, and every fault of the connection as a sentence."""

import logging
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lzu_export.cluster import connection, dask_workers
from lzu_export.cluster.cluster import Certificates, Cluster, open_cluster
from lzu_export.cluster.jobs import LARGE, Command, Job
from lzu_export.errors import LzuError

distributed = pytest.importorskip("distributed", reason="jobs on a cluster need the extra cluster")


def job(program: str, name: str = "job", **more: Any) -> Job:
    """Return a job that runs a statement once in the standard library's `timeit`."""
    command = Command(("-n", "1", "-r", "1", program), module="timeit", returns=("*.bin",))
    return Job(name, {"program": program}, command, **more)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A scheduler with two workers in threads of this process."""
    with (
        connection.quiet(),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            resources={"orin": 1},
        ) as cluster,
    ):
        yield cluster.scheduler_address


def test_jobs_run_on_workers_and_share_large_files(scheduler: str) -> None:
    """The content of two jobs with one large file travels once; nothing is printed."""
    content = b"z" * LARGE
    program = "import shutil; shutil.copy('big', 'out.bin')"
    with open_cluster(scheduler) as cluster:
        names = [each.name for each in cluster.workers()]
        assert len(names) == 2
        jobs = [
            job(program, "first", files={"big": content}),
            job(program + ";", "second", files={"big": content}, resources={"orin": 1}),
            job("print(5)", "bound", worker=names[1]),
            job("", "lost", worker="ghost"),
        ]
        found = {each.name: each for each in cluster.run(jobs, patience=0)}
    assert {name: each.status for name, each in found.items()} == {
        "first": "done", "second": "done", "bound": "done", "lost": "lost",
    }  # fmt: skip
    assert found["second"].files == {"out.bin": content}
    assert found["bound"].answer["stdout"].startswith("5\n")
    assert found["bound"].worker == names[1]
    assert found["first"].worker in names


def test_a_run_that_is_left_kills_its_commands(scheduler: str, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    slow = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with open_cluster(scheduler) as cluster:
        steps = cluster.run([job("pass", "quick"), job(slow, "slow")])
        assert next(steps).name == "quick"
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.01)
        steps.close()  # type: ignore[attr-defined]
    stat = Path(f"/proc/{pid.read_text()}/stat")
    for _ in range(500):
        if not stat.exists():
            break
        time.sleep(0.01)
    assert not stat.exists()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_an_absent_scheduler_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dask_workers, "connect", lambda *given: connection.connect(*given, 0.3))
    address = f"tcp://127.0.0.1:{unused_port()}"
    with pytest.raises(LzuError, match=f"no scheduler answers at {address} within 0.3 s; check"):
        open_cluster(address).__enter__()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "address",
    ["nonsense", "ftp://127.0.0.1:1", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "tcp://:1", ""],
)
def test_a_wrong_address_is_a_sentence(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask is not asked: its client would wait for 20 s at the end, and print a trace."""
    monkeypatch.setattr(connection, "_client", None)
    with pytest.raises(LzuError, match=f"^'{address}' is no address of a scheduler; give one such"):
        open_cluster(address).__enter__()


def test_tls_without_certificates_and_certificates_without_tls_are_sentences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "_client", None)
    with pytest.raises(LzuError, match=r"^tls://h:1 needs certificates; give --tls-ca and"):
        open_cluster("tls://h:1").__enter__()
    with pytest.raises(LzuError, match=r"^tcp://h:1 has no TLS, but certificates are given; write"):
        connection.connect("tcp://h:1", distributed.Security(), 0.3)


def test_a_port_of_something_else_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts connections and says nothing, or something else."""
    monkeypatch.setattr(dask_workers, "connect", lambda *given: connection.connect(*given, 0.3))
    monkeypatch.setattr(connection, "GRACE", 0.2)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(LzuError, match="no scheduler answers at"):
            open_cluster(address).__enter__()

        def chat() -> None:
            while True:
                try:
                    talk, _ = server.accept()
                except OSError:
                    return
                talk.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)
                talk.close()

        threading.Thread(target=chat, daemon=True).start()
        with pytest.raises(LzuError, match=r"no scheduler answers at|cannot be used"):
            open_cluster(address).__enter__()
        server.shutdown(socket.SHUT_RDWR)


def test_a_scheduler_that_is_too_old_is_a_sentence(
    scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LOWEST", (2999, 1))
    with pytest.raises(LzuError, match=r"has distributed .*, which is too old; install 2999\.1"):
        open_cluster(scheduler).__enter__()


def test_the_lowest_release_is_that_of_the_extra() -> None:
    project = Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8")
    year, month = connection.LOWEST
    assert f'cluster = ["distributed>={year}.{month},' in project


def test_workers_of_this_machine_are_not_counted_with_a_scheduler() -> None:
    with pytest.raises(LzuError, match="leave it out with --scheduler"):
        open_cluster("tcp://127.0.0.1:1", workers=2).__enter__()


def test_logs_of_dask_are_passed_on_at_our_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lzu_export")
    with connection.quiet():
        logging.getLogger("distributed.scheduler").error("a fault\nand its trace")
        logging.getLogger("tornado.application").error("another")
    found = [(each.name, each.levelname, each.getMessage()) for each in caplog.records]
    assert ("lzu_export.cluster.connection", "INFO", "distributed.scheduler: a fault") in found
    assert ("lzu_export.cluster.connection", "INFO", "tornado.application: another") in found


def certificates(folder: Path) -> Certificates:
    """Make an authority, and a certificate with its key, by openssl."""
    made = subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority "
        "-keyout ca-key.pem -out ca.pem && "
        "openssl req -newkey rsa:2048 -nodes -subj /CN=lab -keyout key.pem -out request.pem && "
        "openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -days 2 -out cert.pem",
        shell=True, cwd=folder, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("openssl is not installed, which makes certificates")
    return Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")


@pytest.mark.slow
def test_tls_lets_in_those_with_a_certificate_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow: it makes keys, and waits for connections that are refused."""
    mine = certificates(tmp_path)
    monkeypatch.setattr(dask_workers, "connect", lambda *given: connection.connect(*given, 3.0))
    security = distributed.Security(
        require_encryption=True,
        tls_ca_file=str(mine.authority),
        **{
            f"tls_{role}_{kind}": str(path)
            for role in ("scheduler", "worker", "client")
            for kind, path in (("cert", mine.certificate), ("key", mine.key))
        },
    )
    with (
        connection.quiet(),
        distributed.LocalCluster(
            n_workers=1, processes=False, protocol="tls", host="127.0.0.1",
            dashboard_address="127.0.0.1:0", security=security,
        ) as cluster,
    ):  # fmt: skip
        address = cluster.scheduler_address
        assert address.startswith("tls://")
        with open_cluster(address, certificates=mine) as opened:
            (found,) = opened.run([job("print(7)")])
        assert found.answer["stdout"].startswith("7\n")
        with pytest.raises(LzuError, match=r"needs certificates; give --tls-ca and --tls-cert"):
            open_cluster(address).__enter__()
        with pytest.raises(LzuError, match=r"no scheduler answers at|cannot be used as"):
            open_cluster(address.replace("tls", "tcp")).__enter__()
        other = tmp_path / "other"
        other.mkdir()
        with pytest.raises(LzuError, match="no scheduler answers at"):
            open_cluster(address, certificates=certificates(other)).__enter__()
    mixed = Certificates(mine.authority, mine.certificate, other / "key.pem")
    for wrong_files, why in (
        (mixed, "are no certificates and key in PEM format that belong together"),
        (Certificates(mine.authority), "needs --tls-ca and --tls-cert together"),
        (Certificates(tmp_path / "ghost", mine.certificate), "ghost is no file; give a cert"),
    ):
        with pytest.raises(LzuError, match=why):
            open_cluster(address, certificates=wrong_files).__enter__()


def test_a_cluster_is_what_its_workers_are() -> None:
    with open_cluster(workers=3) as cluster:
        assert isinstance(cluster, Cluster)
        assert cluster.place == "this machine"
        assert [each.threads for each in cluster.workers()] == [3]
