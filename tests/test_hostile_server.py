"""A mirror of a server whose every answer may be anything: a right tree or an error, and nothing outside the folder.

What single faults do to single files, and with which words, is held in test_mirror.py; here they come at random, on
pages and files alike, and several at a time.
"""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from roicat_server import PASSWORD, USER, Handler, Site, apache

from mesodask import simulate_subject
from mesodask.errors import MesodaskError
from mesodask.io import mirror, web
from mesodask.io.mirror import mirror_cluster_uids
from mesodask.simulate import SimulatedSubject

Rng = np.random.Generator
Fault = Callable[[Handler, Rng], None]
LIMIT = 200_000  # bytes of a page or file, here
STATUSES = (
    100,
    101,
    199,
    201,
    202,
    203,
    204,
    205,
    206,
    300,
    304,
    305,
    306,
    400,
    402,
    405,
    410,
    418,
    451,
    500,
    502,
    599,
    999,
)
HEADERS = (
    b"Content-Length: -1", b"Content-Length: x", b"Content-Length: 99999999999999999999", b"Content-Length: 3",
    b"Content-Length: 7\r\nContent-Length: 9", b"Transfer-Encoding: chunked", b"Transfer-Encoding: nonsense",
    b"Content-Encoding: gzip", b"Content-Encoding: br", b"Content-Encoding: deflate, gzip",
    b"Last-Modified: never",
    b"Content-Type: text/html; charset=nonsense", b"no colon at all", b"X: " + b"x" * 70_000, b"X: y\r\n" * 200,
    b"Last-Modified: Mon, 99 Foo 99999 99:99:99 GMT", b"Retry-After: -5", b"\xff\xfe: \x00",
)  # fmt: skip
LOCATIONS = (
    b"", b"/", b".", b"..", b"%00", b"/ROICaT/SP072/%2e%2e/%2e%2e/etc/", b"//", b"http://", b"file:///etc/passwd",
    b"\xff\xfe", b"http://127.0.0.1:1/", b"ROICaT/../..", b"/ROICaT/SP072/", b"?x", b"http://[::1", b" /x y", b"ftp://a/b",
)  # fmt: skip
NAMES = (
    "../", "..%2f..%2foutside", "%2e%2e/", "%00", "%ff%fe", "a%0ab", "2025-01-15%00/", "2025-01-15/../../../outside",
    "FOV_00%2f..%2f..%2foutside", "x" * 5000, "\udcff", "2025-01-15/", "2025-01-13%2f001", "alf", "FOV_99/", "\\..\\x",
    "mpciROIs.clusterUIDs.csv/../../x", "http://elsewhere.invalid/2025-01-14/", "javascript:alert(1)", "&#46;&#46;/",
)  # fmt: skip


def raw(handler: Handler, content: bytes) -> None:
    """Send what is no proper answer, and hang up."""
    handler.wfile.write(content)
    handler.close_connection = True


def of_status(handler: Handler, rng: Rng) -> None:
    handler.send(int(rng.choice(STATUSES)), b"<html>something</html>")


def with_header(handler: Handler, rng: Rng) -> None:
    header = HEADERS[rng.integers(len(HEADERS))]
    raw(handler, b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n" + rng.bytes(50))


def elsewhere(handler: Handler, rng: Rng) -> None:
    location = LOCATIONS[rng.integers(len(LOCATIONS))]
    raw(handler, b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n")


def listing(handler: Handler, rng: Rng) -> None:
    names = [NAMES[i] for i in rng.integers(len(NAMES), size=8)] * int(rng.choice([1, 2000]))
    links = "".join(f'<a href="{name}">x</a>' for name in names)
    handler.send(200, f'<a href="../">up</a>{links}'.encode("utf-8", "surrogateescape"), {"Content-Type": "text/html"})


def bomb(handler: Handler, rng: Rng) -> None:
    handler.send(200, gzip.compress(b"\n" * 20 * LIMIT), {"Content-Encoding": "gzip"})


def cut(handler: Handler, rng: Rng) -> None:
    body = rng.bytes(100)
    handler.send(200, body[: rng.integers(100)], length=len(body))


def noise(handler: Handler, rng: Rng) -> None:
    raw(handler, rng.bytes(int(rng.integers(1, 300))))


def nothing(handler: Handler, rng: Rng) -> None:
    handler.close_connection = True


def text_of_another_kind(handler: Handler, rng: Rng) -> None:
    bodies = (b"", b"\xff\xfe\n", b"<html>", b"uuids\n", b"a,b\n", "ü\n".encode("latin-1"), b"\0" * 40)
    handler.send(200, bodies[rng.integers(len(bodies))], {"Content-Type": "text/csv"})


FAULTS: tuple[Fault, ...] = (
    of_status, with_header, elsewhere, listing, bomb, cut, noise, nothing, text_of_another_kind,
)  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials of the user's, and limits that a test reaches."""
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(mirror, "MAX_FILE", LIMIT)
    monkeypatch.setattr(web, "LONGEST_WAIT", 0.01)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSubject:
    folder = tmp_path_factory.mktemp("small")
    return simulate_subject(folder, n_days=2, n_trials=10, rois_per_fov=(5, 5), seed=3)


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if not p.is_dir()}


def copy(site: Site, to: Path) -> mirror.MirrorSummary:
    return mirror_cluster_uids(
        "SP072", site.url, to, auth=(USER, PASSWORD), backoff=0.0, retries=1, timeout=(0.5, 0.3), n_workers=2
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", range(60))
def test_a_server_may_answer_anything(small: SimulatedSubject, tmp_path: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    original = files(small.roicat_root)
    # a page that is faulty hides all that is below it
    of_pages, of_files = rng.choice([(0.0, 0.8), (0.1, 0.5), (0.4, 0.2)])
    faults = {
        name: FAULTS[rng.integers(len(FAULTS))]
        for name in _places(small)
        if rng.random() < (of_pages if name.endswith("/") else of_files)
    }
    with Site(small.roicat_root, apache) as site:
        for name, fault in faults.items():
            site.faults[name] = lambda handler, fault=fault: fault(handler, rng)
        try:
            summary = copy(site, tmp_path / "here" / "to")
        except MesodaskError as error:
            assert PASSWORD not in str(error)  # noqa: PT017 - either end will do
        else:
            assert (
                len(summary.failed) + len(summary.missing) + len(summary.empty)
                or files(tmp_path / "here/to") == original
            )
        got = files(tmp_path)
        assert {f"here/to/{name}" for name in original} >= got.keys()
        assert all(content == original[name.removeprefix("here/to/")] for name, content in got.items())
        site.faults.clear()
        copy(site, tmp_path / "here" / "to")
    assert files(tmp_path / "here" / "to") == original


def _places(subject: SimulatedSubject) -> list[str]:
    """Ends of the addresses of every page and file."""
    tree = subject.roicat_root / "ROICaT"
    paths = [path for path in sorted(tree.rglob("*")) if path != tree]
    return [f"/{path.relative_to(tree).as_posix()}" + ("/" if path.is_dir() else "") for path in paths]
