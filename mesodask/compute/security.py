"""Who may talk to a cluster: only who can read the folder of its run, where a certificate made for it lies.

Dask runs whatever it is sent, and a port on loopback is open to every user of a login node. So every scheduler and
worker that we start speaks TLS and accepts none who cannot show the same certificate.
"""

import contextlib
import datetime
import json
import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import Security

logger = logging.getLogger(__name__)

CERTIFICATE, KEY, OWNER, SCHEDULER = "certificate.pem", "key.pem", "owner.json", "scheduler.json"
VALID = datetime.timedelta(days=365)
CLOCKS_DIFFER = datetime.timedelta(days=1)  # a node whose clock is slow must not find the certificate too young
QUIET = 120.0  # s without a sign of life until the owner's process is looked for
SILENT = 86400.0  # s without one until the owner counts as gone, wherever it was


def make_run_folder(parent: Path, job_name: str = "") -> Path:
    """Make a folder that this user alone may enter, with a new certificate and its key.

    Parameters
    ----------
    parent : pathlib.Path
        Where; on SLURM a folder that all nodes see.
    job_name : str
        What the run's batch jobs are called, followed by the folder's name.

    Returns
    -------
    pathlib.Path
        Of mode 700. :func:`sign_of_life` must be called now and then while it is in use.
    """
    token = secrets.token_hex(4)
    folder = parent / token
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    certificate, key = _certificate()
    _write(folder / CERTIFICATE, certificate)
    _write(folder / KEY, key)
    owner = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "job_name": f"{job_name}-{token}" if job_name else "",
    }
    _write(folder / OWNER, json.dumps(owner).encode())
    return folder


def job_name_of(folder: Path) -> str:
    """Give the name of all batch jobs of a run."""
    return json.loads((folder / OWNER).read_text())["job_name"]


def security_of(folder: Path) -> Security:
    """Give what Dask needs to take part in a run: as scheduler, worker or client."""
    certificate, key = str(folder / CERTIFICATE), str(folder / KEY)
    roles = ("client", "scheduler", "worker")
    return Security(
        require_encryption=True,
        tls_ca_file=certificate,
        **{f"tls_{role}_cert": certificate for role in roles},
        **{f"tls_{role}_key": key for role in roles},
    )


def has_certificate(folder: Path) -> bool:
    """Tell whether a folder is one of :func:`make_run_folder`'s."""
    return (folder / CERTIFICATE).exists() and (folder / KEY).exists()


def write_scheduler_file(folder: Path, address: str) -> Path:
    """Write where the run's scheduler listens, so that other processes of this user can find it."""
    path = folder / SCHEDULER
    _write(path, json.dumps({"address": address}).encode())
    return path


def sign_of_life(folder: Path) -> None:
    """Show that the run still uses its folder."""
    os.utime(folder / OWNER)


def remove(folder: Path) -> None:
    """Remove a run's folder; its certificate opens nothing from then on."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path, end_jobs: Callable[[str], None] | None = None) -> list[Path]:
    """Remove the folders of runs whose process is gone without having done so.

    Parameters
    ----------
    parent : pathlib.Path
        Where the folders lie.
    end_jobs : callable(job name), optional
        Called for each that had batch jobs; without it these folders stay.

    Returns
    -------
    list of pathlib.Path
        What was removed.
    """
    removed = []
    for folder in parent.glob("*"):
        if not has_certificate(folder):
            continue
        with contextlib.suppress(OSError, ValueError, KeyError):  # another process sweeps, or it is being made
            if not _is_orphan(folder):
                continue
            if name := job_name_of(folder):
                if end_jobs is None:  # what cannot end its jobs must not forget their name
                    continue
                end_jobs(name)
            remove(folder)
            removed.append(folder)
            logger.info("removed %s: the run that made it is gone", folder)
    return removed


def _is_orphan(folder: Path) -> bool:
    path = folder / OWNER
    silence = time.time() - path.stat().st_mtime
    if silence < QUIET:  # its process may be one that is not seen from here, as in another container
        return False
    owner = json.loads(path.read_text())
    if silence > SILENT or owner["host"] != socket.gethostname():
        return silence > SILENT
    try:
        return abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) > 1.0
    except psutil.NoSuchProcess:
        return True


def _certificate() -> tuple[bytes, bytes]:
    """Make a certificate that is its own authority: whoever holds its key is let in, whatever the host's name is."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mesodask")])
    now = datetime.datetime.now(tz=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
