"""A Dask cluster on loopback, as an admin would start one: a scheduler and workers that speak TLS."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def make_certificates(folder: Path) -> None:
    """Write ca.pem, and cert.pem with key.pem, which the CA has signed."""
    now = datetime.datetime.now(datetime.UTC)

    def sign(name: str, issuer: str, public: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        builder = x509.CertificateBuilder(named(issuer), named(name), public, x509.random_serial_number())
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        return builder.sign(ca_key, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    folder.mkdir()
    (folder / "ca.pem").write_bytes(sign("ca", "ca", ca_key.public_key(), ca=True).public_bytes(Encoding.PEM))
    (folder / "cert.pem").write_bytes(sign("dask", "ca", key.public_key(), ca=False).public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@dataclass
class Cluster:
    """A running cluster."""

    folder: Path
    address: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def tls(self) -> tuple[Path, Path, Path]:
        """CA, certificate and key."""
        return self.folder / "tls/ca.pem", self.folder / "tls/cert.pem", self.folder / "tls/key.pem"

    @property
    def scheduler(self) -> subprocess.Popen[bytes]:
        return self.processes[0]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a part of the cluster; its output goes into a log."""
        ca, cert, key = (str(path) for path in self.tls)
        command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
        command += ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key, "--no-dashboard"]
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "DASK_TEMPORARY_DIRECTORY": str(self.folder)},
            )
        self.processes.append(process)
        return process

    def start_scheduler(self) -> None:
        self.start("scheduler", "--host", "tls://127.0.0.1", "--port", "0")
        self.address = "tls://" + self.wait_for(0, r"Scheduler at:\s+tls://([\d.:]+)")

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self.start("worker", self.address, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1")

    def wait_for(self, number: int, pattern: str) -> str:
        """Wait until a process's log matches, and return the group."""
        until = time.monotonic() + 30
        log = self.folder / f"{number}.log"
        while time.monotonic() < until:
            if match := re.search(pattern, log.read_text()):
                return match.group(match.lastindex or 0)
            time.sleep(0.05)
        raise AssertionError(f"{pattern} is not in:\n{log.read_text()}")


@contextlib.contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """Run a cluster while the block runs."""
    folder.mkdir()
    make_certificates(folder / "tls")
    cluster = Cluster(folder)
    try:
        cluster.start_scheduler()
        for _ in range(workers):
            cluster.start_worker()
        for number in range(1, workers + 1):
            cluster.wait_for(number, "Starting established connection|Registered to")
        yield cluster
    finally:
        for process in cluster.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()
