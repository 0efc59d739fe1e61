"""A web server on loopback that shows a folder as index pages, behind basic authentication, with faults on demand."""

import base64
import datetime
import ipaddress
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

USER, PASSWORD = "reader", "säll: Geheim%1"
TOKEN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

Page = Callable[[str, list[str]], str]


def apache(path: str, names: list[str]) -> str:
    """Links to sort by, the parent as an absolute path, then relative links."""
    parent = path.rstrip("/").rpartition("/")[0] + "/"
    return (
        f'<html><head><title>Index of {path}</title></head><body><table><tr><th><a href="?C=N;O=D">Name</a></th>'
        f'<th><a href="?C=M&amp;O=A">Modified</a></th></tr><tr><td><a href="{parent}">Parent Directory</a></td></tr>'
        + "".join(f'<tr><td><a href="{quote(n)}">{n}</a></td><td align="right">  - </td></tr>' for n in names)
        + "</table></body></html>"
    )


def nginx(path: str, names: list[str]) -> str:
    links = "".join(f'<a href="{quote(n)}">{n}</a>   13-Jan-2025 10:00    -\r\n' for n in names)
    return f'<html><body><h1>Index of {path}</h1><hr><pre><a href="../">../</a>\r\n{links}</pre></body></html>'


def python(path: str, names: list[str]) -> str:
    links = "".join(f'<li><a href="{quote(n)}">{n}</a></li>\n' for n in names)
    return f"<!DOCTYPE HTML><html><body><h1>Directory listing for {path}</h1><ul>{links}</ul></body></html>"


def shouting(path: str, names: list[str]) -> str:
    """Upper case tags, absolute paths without slashes at their ends, every character percent-encoded."""
    links = "".join(f"<LI><A CLASS=x HREF='{path}{encoded(n.rstrip('/'))}'>{n}</A>" for n in names)
    return f"<HTML><BODY><UL>{links}</UL></BODY></HTML>"


def encoded(name: str) -> str:
    return "".join(f"%{byte:02x}" for byte in name.encode())


def self_signed(folder: Path) -> ssl.SSLContext:
    """Write ``folder/certificate.pem`` for 127.0.0.1, and give what a server with it needs."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*key_form))
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


class Site(ThreadingHTTPServer):
    """Serves ``root``; use it as a context manager.

    Attributes
    ----------
    faults : dict of str to callable(handler)
        What is done in place of an answer, by the end of the path.
    log : list of (method, path)
        Every request, also those that were refused.
    most : int
        Most requests that were under way at a time.
    delay : float
        Seconds that every answer takes.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, root: Path, page: Page = apache, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.root = root
        self.page = page
        self.faults: dict[str, Callable[[Handler], None]] = {}
        self.log: list[tuple[str, str]] = []
        self.delay = 0.0
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def downloads(self) -> list[str]:
        """Paths of the files whose bodies were asked for."""
        return [path for method, path in self.log if method == "GET" and path.endswith(".csv")]

    def __enter__(self) -> "Site":
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.released.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no event here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Site

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.server
        with site.lock:
            site.log.append((self.command, self.path))
            site.now += 1
            site.most = max(site.most, site.now)
        try:
            with suppress(ConnectionError):
                self.respond(site)
        finally:
            with site.lock:
                site.now -= 1

    do_HEAD = do_GET  # noqa: N815

    def respond(self, site: Site) -> None:
        time.sleep(site.delay)
        path = unquote(self.path)
        if self.headers.get("Authorization") != f"Basic {TOKEN}":
            self.send(401, b"<html>no</html>", {"WWW-Authenticate": 'Basic realm="data"'})
            return
        for end, fault in site.faults.items():
            if path.endswith(end):
                fault(self)
                return
        local = site.root / path.strip("/")
        if local.is_dir():
            names = sorted(f"{p.name}/" if p.is_dir() else p.name for p in local.iterdir())
            self.send(200, site.page(self.path, names).encode(), {"Content-Type": "text/html;charset=utf-8"})
        elif local.is_file():
            modified = formatdate(local.stat().st_mtime, usegmt=True)
            self.send(200, local.read_bytes(), {"Content-Type": "text/csv", "Last-Modified": modified})
        else:
            self.send(404, b"<html>not found</html>", {"Content-Type": "text/html"})

    def send(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, *, length: int | None = None
    ) -> None:
        """Send an answer; one whose told length is another than the body's ends the connection."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        self.close_connection = length is not None

    def original(self) -> bytes:
        """The file that is asked for, as it should be sent."""
        return (self.server.root / unquote(self.path).strip("/")).read_bytes()
