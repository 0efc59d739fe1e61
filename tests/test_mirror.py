"""The mirror against a real server on loopback: what arrives is whole, and nothing else does."""

import contextlib
import gzip
import itertools
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from roicat_server import (
    PASSWORD,
    TOKEN,
    USER,
    Handler,
    Page,
    Site,
    apache,
    encoded,
    nginx,
    python,
    self_signed,
    shouting,
)

from mesodask import simulate_subject, track_neurons
from mesodask.cli import main
from mesodask.errors import AccessError, SessionNotFoundError, SettingsError, StoreError
from mesodask.io import mirror, partials, web
from mesodask.io.mirror import MirrorSummary, mirror_cluster_uids
from mesodask.io.roicat import CLUSTER_FILE, read_uids
from mesodask.io.web_addresses import Place, child_names
from mesodask.simulate import SimulatedSubject

N_FILES = 4  # two days of two fields of view
VICTIM = f"2025-01-14/001/alf/FOV_01/{CLUSTER_FILE}"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the user's credentials nor a proxy take part."""
    for name in (web.USER_VARIABLE, web.PASSWORD_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSubject:
    folder = tmp_path_factory.mktemp("small")
    return simulate_subject(folder, n_days=2, n_trials=10, rois_per_fov=(5, 5), start_date="2025-01-13", seed=3)


@pytest.fixture
def site(small: SimulatedSubject, tmp_path: Path) -> Iterator[Site]:
    """Serves a copy of the subject's tree, with things in it that are no part of it."""
    root = tmp_path / "served"
    shutil.copytree(small.roicat_root, root)
    subject = root / "ROICaT" / "SP072"
    for stray in ("notes.txt", "2025-13-01/x", "2025-01-13/1/x", "2025-01-13/001/alf/FOV_0x/x", "2025-01-13/001/raw/x"):
        (subject / stray).parent.mkdir(parents=True, exist_ok=True)
        (subject / stray).write_text("no part of the tree")
    (root / "ROICaT" / "SP073").mkdir()
    with Site(root) as site:
        yield site


def copy(site: Site, to: Path, **settings: object) -> MirrorSummary:
    given = {"auth": (USER, PASSWORD), "backoff": 0.01, "retries": 2, "timeout": (1.0, 1.0)} | settings
    return mirror_cluster_uids("SP072", site.url, to, **given)  # type: ignore[arg-type]


def files(root: Path) -> dict[str, bytes]:
    """Everything below a folder but folders, hidden files too."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if not p.is_dir()}


@pytest.mark.parametrize("page", [apache, nginx, python, shouting])
def test_equals_the_original(small: SimulatedSubject, site: Site, tmp_path: Path, page: Page) -> None:
    site.page = page
    told: list[tuple[str, int, int]] = []
    summary = copy(site, tmp_path / "to", progress=lambda *step: told.append(step))
    original = files(small.roicat_root)
    assert files(tmp_path / "to") == original
    assert len(original) == N_FILES
    assert summary == MirrorSummary(
        "SP072", tmp_path / "to/ROICaT/SP072", N_FILES, N_FILES, 0, sum(map(len, original.values())), (), (), ()
    )
    assert [step for step in told if step[0] == "folders"][-1] == ("folders", 6, 6)
    assert told[-1] == ("files", N_FILES, N_FILES)
    mirrored = track_neurons(small.eids, one=small.one_dir, roicat_root=tmp_path / "to")
    xr.testing.assert_identical(mirrored, track_neurons(small.eids, one=small.one_dir, roicat_root=small.roicat_root))
    assert mirrored.sizes["neuron"] > 0
    assert not [path for _, path in site.log if "notes" in path or "raw" in path or "0x" in path or "-13-01" in path]


@pytest.mark.parametrize("end", ["", "/", "/ROICaT", "/ROICaT/"])
def test_the_address_may_end_in_the_tree(site: Site, tmp_path: Path, end: str) -> None:
    summary = mirror_cluster_uids("SP072", site.url + end, tmp_path / "to", auth=(USER, PASSWORD))
    assert summary.copied == N_FILES


def test_the_folder_may_be_in_the_home(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    summary = copy(site, Path("~/uids"))
    assert summary.folder == tmp_path / "home/uids/ROICaT/SP072"
    assert len(files(summary.folder)) == N_FILES


def test_second_call_downloads_nothing(site: Site, tmp_path: Path) -> None:
    copy(site, tmp_path / "to")
    assert len(site.downloads()) == N_FILES
    summary = copy(site, tmp_path / "to")
    assert (summary.found, summary.copied, summary.kept, summary.n_bytes) == (N_FILES, 0, N_FILES, 0)
    assert len(site.downloads()) == N_FILES
    assert copy(site, tmp_path / "to", refresh=True).copied == N_FILES
    assert len(site.downloads()) == 2 * N_FILES


def grown_there(there: Path, here: Path) -> None:
    """As old as it was: its size alone tells."""
    modified = there.stat().st_mtime
    there.write_text(there.read_text() + "\n")
    os.utime(there, (modified, modified))


def newer_there(there: Path, here: Path) -> None:
    """Of the same size: the order of its rows is another."""
    there.write_text("".join(sorted(there.read_text().splitlines(keepends=True), reverse=True)))
    os.utime(there, (time.time() + 3600,) * 2)


def damaged_here(there: Path, here: Path) -> None:
    here.write_text("x" * len(here.read_text()))


@pytest.mark.parametrize("change", [grown_there, newer_there, damaged_here])
def test_what_has_changed_is_copied_again_once(
    site: Site, tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    copy(site, tmp_path / "to")
    there, here = (root / "ROICaT/SP072" / VICTIM for root in (site.root, tmp_path / "to"))
    change(there, here)
    summary = copy(site, tmp_path / "to")
    assert (summary.copied, summary.kept) == (1, N_FILES - 1)
    assert here.read_bytes() == there.read_bytes()
    assert copy(site, tmp_path / "to").kept == N_FILES


def test_a_server_that_tells_nothing_is_trusted(site: Site, tmp_path: Path) -> None:
    copy(site, tmp_path / "to")
    site.faults[".csv"] = lambda handler: handler.send(405)
    assert copy(site, tmp_path / "to").kept == N_FILES


def test_fields_of_view_without_a_file_are_missing(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy(site, tmp_path / "to")
    (site.root / "ROICaT/SP072" / VICTIM).unlink()
    shutil.rmtree(site.root / "ROICaT/SP072/2025-01-13/001/alf")
    summary = copy(site, tmp_path / "new")
    assert summary.missing == ("2025-01-14/001/alf/FOV_01",)
    assert summary.empty == ("2025-01-13/001",)
    assert (summary.found, summary.copied, summary.failed) == (2, 1, ())
    assert not caplog.records
    copy(site, tmp_path / "to")
    assert "no longer on the server" in caplog.text
    assert (tmp_path / "to/ROICaT/SP072" / VICTIM).exists()


# -- bodies and answers that are refused: each of them ends one file, and nothing of it is kept


def cut_by_length(handler: Handler) -> None:
    body = handler.original()
    handler.send(200, body[:-40], {"Content-Type": "text/csv"}, length=len(body))


def cut_in_chunks(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"25\r\n" + handler.original()[:37] + b"\r\n")  # whole rows, but no last chunk
    handler.close_connection = True


def no_header(handler: Handler) -> None:
    handler.close_connection = True


def silent(handler: Handler) -> None:
    handler.server.released.wait(30)


def silent_within(handler: Handler) -> None:
    body = handler.original()
    handler.send(200, body[:40], length=len(body))
    handler.wfile.flush()
    handler.server.released.wait(30)


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    for _ in range(10_000):
        handler.wfile.write(b"\n" * 10_000)


def answer(status: int, body: bytes = b"", length: int | None = None, **headers: str) -> Callable[[Handler], None]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send(status, body, fields, length=length)


PAGE = b"<!DOCTYPE html><html>Please log in</html>"
FAULTS = [
    (answer(500), "answers 500 (tries: 3)", 3),
    (answer(503), "answers 503 (tries: 3)", 3),
    (answer(429), "answers 429 (tries: 3)", 3),
    (answer(501), "answers 501", 1),
    (answer(410), "answers 410", 1),
    (answer(204), "answers 204", 1),
    (cut_by_length, "cut short after", 3),
    (cut_in_chunks, "cut short after", 3),
    (no_header, "connection failed", 3),
    (silent, "no answer within 0.3 s", 3),
    (silent_within, "no answer within 0.3 s", 3),
    (answer(200, PAGE, Content_Type="text/html"), "a web page in place", 1),
    (answer(200, b"\n\n" + PAGE, Content_Type="text/csv"), "a web page in place", 1),
    (answer(200, b"\n" * 10, Content_Type="text/html"), "a web page in place", 1),
    (answer(200, b"uuids\n\n"), "row 1 is 'uuids'", 1),
    (answer(200, b"\n\n2f1c3f6e-5d0e-4f0b-9a53-0b2f0f3d5b6\n"), "row 3 is '2f1c3f6e", 1),
    (answer(200, b"\n\xff\xfe\n"), "byte 1 is no UTF-8", 1),
    (answer(200, b""), "an empty body", 1),
    (answer(200, b"", length=10**12), "has 1000000000000 bytes", 1),
    (endless, "more than 1000000 bytes", 1),
    (answer(302, b"", Location="https://127.0.0.1/x"), "to https; give the url as https://127.0.0.1/", 1),
    (answer(302, b"", Location="http://elsewhere.invalid/x"), "another server, http://elsewhere.invalid", 1),
    (answer(302, b"", Location="//elsewhere.invalid/x"), "another server, http://elsewhere.invalid", 1),
    (answer(302, b"", Location="/ROICaT/SP073/"), "a redirect out of", 1),
    (answer(302, b"", Location="/ROICaT/SP0721/x"), "a redirect out of", 1),
    (answer(302, b"", Location="../../../../../SP073"), "a redirect out of", 1),
    (answer(302, b"", Location="/ROICaT/SP072/%2e%2e/SP073/x"), "malformed, or a way out", 1),
    (answer(302, b"", Location="/ROICaT/SP072/..%2fSP073/x"), "malformed, or a way out", 1),
    (answer(302, b"", Location="http://me:pw@elsewhere.invalid/"), "malformed, or a way out", 1),
    (answer(302, b"", Location="http://[elsewhere/"), "malformed, or a way out", 1),
    (answer(302), "more than 5 redirects", 6),
    (answer(307, b"", Location=CLUSTER_FILE), "more than 5 redirects", 6),
]


@pytest.mark.parametrize(("fault", "words", "n_requests"), FAULTS)
def test_a_fault_ends_one_file_and_nothing_of_it_is_kept(
    small: SimulatedSubject, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, fault: Callable[[Handler], None], words: str, n_requests: int,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(mirror, "MAX_FILE", 1_000_000)
    site.faults[VICTIM] = fault
    summary = copy(site, tmp_path / "to", timeout=(1.0, 0.3))
    assert [url for url, _ in summary.failed] == [f"{site.url}/ROICaT/SP072/{VICTIM}"]
    assert words in summary.failed[0].reason
    assert (summary.found, summary.copied) == (N_FILES, N_FILES - 1)
    original = files(small.roicat_root)
    del original[f"ROICaT/SP072/{VICTIM}"]
    assert files(tmp_path / "to") == original
    assert sum(path.endswith(VICTIM) for path in site.downloads()) == n_requests
    assert caplog.text.count("127.0.0.1") > 4
    for text in (caplog.text, repr(summary)):
        assert PASSWORD not in text
        assert TOKEN not in text
    # the same call completes what is left
    site.faults.clear()
    again = copy(site, tmp_path / "to")
    assert (again.copied, again.kept, again.failed) == (1, N_FILES - 1, ())
    assert files(tmp_path / "to") == files(small.roicat_root)


def test_a_refused_body_leaves_the_file_that_was_there(site: Site, tmp_path: Path) -> None:
    copy(site, tmp_path / "to")
    before = files(tmp_path / "to")
    site.faults[VICTIM] = answer(200, PAGE, Content_Type="text/html")
    for refresh in (False, True):
        assert len(copy(site, tmp_path / "to", refresh=refresh).failed) == 1
        assert files(tmp_path / "to") == before


def test_bodies_that_come_compressed_unasked_are_read(small: SimulatedSubject, site: Site, tmp_path: Path) -> None:
    accepted: list[str] = []

    def compressed(handler: Handler) -> None:
        accepted.append(handler.headers["Accept-Encoding"])
        handler.send(200, gzip.compress(handler.original()), {"Content-Encoding": "gzip"})

    site.faults[VICTIM] = compressed
    assert copy(site, tmp_path / "to").failed == ()
    assert files(tmp_path / "to") == files(small.roicat_root)
    assert copy(site, tmp_path / "to").kept == N_FILES
    assert set(accepted) == {"identity"}
    whole = len(gzip.compress(b"x" * 100))
    site.faults[VICTIM] = answer(200, gzip.compress(b"x" * 100)[:-9], length=whole, Content_Encoding="gzip")
    assert "cut short" in copy(site, tmp_path / "to", refresh=True).failed[0].reason


UIDS = ["2F1C3F6E-5D0E-4F0B-9A53-0B2F0F3D5B6C", "", "00000000-0000-0000-0000-000000000000"]


@pytest.mark.parametrize(
    "body", ["\n".join(UIDS), "\r\n".join(UIDS) + "\r\n", "\ufeff" + "\n".join(f' "{u}"\t' for u in UIDS) + "\n"]
)
def test_what_the_reader_reads_is_no_flaw(tmp_path: Path, body: str) -> None:
    path = tmp_path / "uids.csv"
    path.write_bytes(body.encode())
    assert mirror.find_flaw(path.read_bytes()) == ""
    assert read_uids(path, 3) == [uid.lower() for uid in UIDS]


@pytest.mark.parametrize("page", [b"<html>Down for <a href='/'>maintenance</a></html>", b"", b"<![what[ <a href='x'>"])
def test_another_page_in_place_of_an_index_is_a_failure(site: Site, tmp_path: Path, page: bytes) -> None:
    site.faults["/2025-01-14/"] = answer(200, page, Content_Type="text/html")
    summary = copy(site, tmp_path / "to")
    assert [url for url, _ in summary.failed] == [f"{site.url}/ROICaT/SP072/2025-01-14/"]
    assert summary.copied == 2


def test_in_tree_redirects_are_followed(small: SimulatedSubject, site: Site, tmp_path: Path) -> None:
    shutil.move(site.root / "ROICaT/SP072/2025-01-14", site.root / "ROICaT/SP072/moved")
    site.page = lambda path, names: apache(path, [name.replace("moved", "2025-01-14") for name in names])
    site.faults["/SP072/2025-01-14/"] = answer(301, b"", Location="/ROICaT/SP072/moved/")
    for end in ("001/", "001/alf/", f"001/alf/FOV_00/{CLUSTER_FILE}", f"001/alf/FOV_01/{CLUSTER_FILE}"):
        site.faults[f"/2025-01-14/{end}"] = answer(308, b"", Location=f"/ROICaT/SP072/moved/{end}")
    assert copy(site, tmp_path / "to").failed == ()
    assert files(tmp_path / "to") == files(small.roicat_root)


# -- patience


def passing(n_faults: int, fault: Callable[[Handler], None]) -> Callable[[Handler], None]:
    """Fail some times, then send the file."""
    left = [n_faults]

    def respond(handler: Handler) -> None:
        left[0] -= 1
        fault(handler) if left[0] >= 0 else handler.send(200, handler.original())

    return respond


@pytest.mark.parametrize("fault", [answer(500), answer(429), cut_by_length, cut_in_chunks, no_header, silent_within])
def test_what_passes_is_tried_again(
    small: SimulatedSubject, site: Site, tmp_path: Path, fault: Callable[[Handler], None]
) -> None:
    site.faults[VICTIM] = passing(2, fault)
    assert copy(site, tmp_path / "to", timeout=(1.0, 0.2)).failed == ()
    assert files(tmp_path / "to") == files(small.roicat_root)


@pytest.mark.parametrize("asked", ["1", "date"])
def test_retry_after_is_honoured(site: Site, tmp_path: Path, asked: str) -> None:
    # a date has whole seconds, so one that is two ahead is between one and two from now
    value = formatdate(time.time() + 2, usegmt=True) if asked == "date" else asked
    site.faults[VICTIM] = passing(1, answer(429, b"", Retry_After=value))
    started = time.monotonic()
    assert copy(site, tmp_path / "to").copied == N_FILES
    assert time.monotonic() - started > 0.9


def test_retry_after_has_a_limit(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LONGEST_WAIT", 0.1)
    site.faults[VICTIM] = passing(2, answer(503, b"", Retry_After="86400"))
    assert copy(site, tmp_path / "to").copied == N_FILES


def test_waits_double(site: Site, tmp_path: Path) -> None:
    times: list[float] = []

    def note(handler: Handler) -> None:
        times.append(time.monotonic())
        handler.send(500)

    site.faults[VICTIM] = note
    copy(site, tmp_path / "to", retries=3, backoff=0.1)
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(least < wait < 2 * least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True)), waits


def test_no_server(tmp_path: Path, small: SimulatedSubject) -> None:
    with Site(small.roicat_root) as gone:
        pass
    told: list[object] = []
    summary = copy(gone, tmp_path / "to", retries=1, progress=lambda *step: told.append(step))
    assert [reason for _, reason in summary.failed] == ["the connection failed: Connection refused (tries: 2)"]
    assert not told
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("n_workers", [1, 3])
def test_never_more_requests_than_asked_for(site: Site, tmp_path: Path, n_workers: int) -> None:
    day = site.root / "ROICaT/SP072/2025-01-13/001/alf"
    for fov in range(2, 20):
        shutil.copytree(day / "FOV_00", day / f"FOV_{fov:02d}")
    site.delay = 0.01
    assert copy(site, tmp_path / "to", n_workers=n_workers).copied == N_FILES + 18
    assert site.most == n_workers


# -- credentials


def test_without_credentials_it_ends_at_once(site: Site, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"401 .* no credentials were found.*MESODASK_MIRROR_USER.*netrc") as error:
        copy(site, tmp_path / "to", auth=None)
    assert error.value.exit_status == 2
    assert len(site.log) == 1
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_on_the_way_ends_all(site: Site, tmp_path: Path, status: int) -> None:
    site.faults["FOV_00/" + CLUSTER_FILE] = answer(status)
    site.delay = 0.05
    with pytest.raises(AccessError, match=f"answers {status}") as error:
        copy(site, tmp_path / "to", n_workers=1)
    assert error.value.status == status
    assert PASSWORD not in str(error.value)
    assert len(site.downloads()) == 1


def test_credentials_of_the_environment(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(web.USER_VARIABLE, USER)
    with pytest.raises(SettingsError, match="MESODASK_MIRROR_PASSWORD is not"):
        copy(site, tmp_path / "to", auth=None)
    monkeypatch.setenv(web.PASSWORD_VARIABLE, PASSWORD)
    assert copy(site, tmp_path / "to", auth=None).copied == N_FILES
    monkeypatch.setenv(web.PASSWORD_VARIABLE, "wröng")
    with pytest.raises(AccessError, match="those of MESODASK_MIRROR_USER") as error:
        copy(site, tmp_path / "to", auth=None)
    assert "wröng" not in str(error.value)


def test_credentials_of_netrc(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    netrc.write_text(f'machine 127.0.0.1 login {USER} password "{PASSWORD}"\n')
    netrc.chmod(stat.S_IRUSR)
    assert copy(site, tmp_path / "to", auth=None).copied == N_FILES
    netrc.chmod(stat.S_IRUSR | stat.S_IWUSR)
    netrc.write_text(f"machine elsewhere.invalid login {USER} password secret\n")
    with pytest.raises(AccessError, match="no credentials were found"):
        copy(site, tmp_path / "to", auth=None)
    netrc.write_text("this is no netrc file with secret\n")
    with pytest.raises(AccessError, match="no credentials were found") as error:
        copy(site, tmp_path / "to", auth=None)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("at", ["/SP072/", VICTIM])
def test_another_server_is_never_asked(
    small: SimulatedSubject, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, at: str
) -> None:
    """Not even one that netrc knows."""
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text(f'machine 127.0.0.1 login {USER} password "{PASSWORD}"\n')
    with Site(small.roicat_root) as other:
        site.faults[at] = lambda h: h.send(status, b"", {"Location": other.url + h.path})
        summary = copy(site, tmp_path / "to", auth=None)
        assert [reason for _, reason in summary.failed] == [f"a redirect to another server, {other.url}"]
        assert other.log == []


def test_encrypted(small: SimulatedSubject, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Site(small.roicat_root, tls=self_signed(tmp_path)) as safe:
        summary = copy(safe, tmp_path / "to")
        assert "certificate verify failed" in summary.failed[0].reason
        assert "tries" not in summary.failed[0].reason  # it will not pass
        assert safe.log == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        safe.faults[VICTIM] = lambda h: h.send(301, b"", {"Location": site.url + h.path})
        summary = copy(safe, tmp_path / "to")
        assert [reason for _, reason in summary.failed] == [
            "a redirect from https to http, which would send the password in the clear"
        ]
        assert site.log == []
        safe.faults.clear()
        assert copy(safe, tmp_path / "to").copied == 1
        assert files(tmp_path / "to") == files(small.roicat_root)


def test_in_the_clear_is_said(caplog: pytest.LogCaptureFixture, site: Site, tmp_path: Path) -> None:
    copy(site, tmp_path)
    assert "in the clear" not in caplog.text  # nobody listens on the loopback
    url = "http://127.0.0.2:9"  # where no server is
    mirror_cluster_uids("SP072", url, tmp_path, auth=(USER, PASSWORD), retries=0, timeout=(0.2, 0.2))
    assert f"{url}: user name and password go to the server in the clear" in caplog.text
    assert PASSWORD not in caplog.text


# -- ways out of the tree


WAYS_OUT = [
    "../SP073/", "..", "../../", "/", "/ROICaT/SP073/", "%2e%2e/", "%2E%2E/SP073/", "..%2fSP073/",
    "2025-01-15%2f..%2f..", "//127.0.0.2/ROICaT/SP072/2025-01-16/",
    "http://elsewhere.invalid/ROICaT/SP072/2025-01-16/", "https:/2025-01-16/",
    "ftp://127.0.0.1/ROICaT/SP072/2025-01-16/", "file:///etc/", "javascript:alert(1)", "x/2025-01-16/", "http://[/",
    "2025-01-17/?x=1", "%252e%252e/", "..\\SP073\\", "2025-01-18%00/", "2025-01-1٣/", "./", "#x", "",
]  # fmt: skip


def test_links_out_of_the_tree_are_not_followed(small: SimulatedSubject, site: Site, tmp_path: Path) -> None:
    way_out = "".join(f'<a href="{link}">2025-01-16</a>' for link in WAYS_OUT)
    site.page = lambda path, names: way_out + apache(path, names).replace("</body>", way_out)
    assert copy(site, tmp_path / "to").failed == ()
    assert files(tmp_path / "to") == files(small.roicat_root)
    allowed = {"", *(f"{p.relative_to(small.roicat_root / 'ROICaT/SP072').as_posix()}" for p in
                     (small.roicat_root / "ROICaT/SP072").rglob("*"))}  # fmt: skip
    asked = {path.removeprefix("/ROICaT/SP072/").rstrip("/") for _, path in site.log}
    assert asked <= allowed


@given(st.lists(st.text("ab./\\%2eEfF:@?#; \t[]x", max_size=12) | st.text(max_size=6)))
def test_names_on_a_page_are_plain(links: list[str]) -> None:
    """Whatever a link says, its name is one part of a path and cannot climb."""
    page = "".join(f"<a href='{link}'>" for link in links) + '<a href="../">'
    for name in child_names("https://lab.example/tree/", page.encode("utf-8", errors="replace")):
        assert name not in ("", ".", "..")
        assert not set(name) & set("/\\%\0\n")
        assert (Place.of("https://lab.example/tree/") / name).url() == f"https://lab.example/tree/{web_quoted(name)}"


def web_quoted(name: str) -> str:
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~"
    return "".join(c if c in plain else encoded(c).upper() for c in name)


@pytest.mark.parametrize("depth", ["", "SP072", "SP072/2025-01-14", "SP072/2025-01-14/001/alf/FOV_01"])
def test_local_links_out_of_the_folder_are_not_written_through(site: Site, tmp_path: Path, depth: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = tmp_path / "to/ROICaT" / depth
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    summary = copy(site, tmp_path / "to")
    assert list(outside.iterdir()) == []
    assert len(summary.failed) == {"": 4, "SP072": 4, "SP072/2025-01-14": 2}.get(depth, 1)
    assert all("a link out of" in reason for _, reason in summary.failed)
    assert summary.copied == N_FILES - len(summary.failed)


def test_local_links_in_place_of_files_are_replaced(site: Site, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    link = tmp_path / "to/ROICaT/SP072" / VICTIM
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    assert copy(site, tmp_path / "to").copied == N_FILES
    assert precious.read_text() == "precious"
    assert not link.is_symlink()


def test_links_in_a_circle(site: Site, tmp_path: Path) -> None:
    alf = tmp_path / "to/ROICaT/SP072/2025-01-14/001/alf"
    alf.mkdir(parents=True)
    (alf / "FOV_01").symlink_to("FOV_01")
    summary = copy(site, tmp_path / "to")
    assert (summary.copied, len(summary.failed)) == (N_FILES - 1, 1)


# -- ends


@pytest.mark.parametrize(
    "subject", ["", "..", ".", "a/b", "../SP072", "SP072/", "a\\b", "a b", "%2e%2e", "-x", ".x", "x\n"]
)
def test_subjects_are_plain_names(site: Site, tmp_path: Path, subject: str) -> None:
    with pytest.raises(SettingsError, match="no plain name"):
        mirror_cluster_uids(subject, site.url, tmp_path, auth=(USER, PASSWORD))
    assert site.log == []


@pytest.mark.parametrize("url", [
    "https://me:hunter2@lab.example/data", "https://hunter2@lab.example", "http://me:hunter2@[x/",
    "lab.example/hunter2", "me:hunter2@lab.example", "http://lab.example:hunter2/", "ftp://lab.example/hunter2",
    "https://lab.example/?p=hunter2", "https:///hunter2", "https://lab.example/%2e%2e/hunter2", "",
])  # fmt: skip
def test_addresses_that_cannot_be_used(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match=r"^url: ") as error:
        mirror_cluster_uids("SP072", url, tmp_path)
    assert "me:" not in str(error.value)
    if "2e" not in url:  # there it is no password
        assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None


def test_unknown_subject(site: Site, tmp_path: Path) -> None:
    for number in range(80, 100):
        (site.root / f"ROICaT/SP0{number}").mkdir()
    with pytest.raises(SessionNotFoundError, match=r"no subject 'SP1'.* SP072, SP073, SP080, .*\(22 in all\)") as error:
        mirror_cluster_uids("SP1", site.url, tmp_path / "to", auth=(USER, PASSWORD))
    assert len(str(error.value)) < 200
    with pytest.raises(SessionNotFoundError, match="no session in this folder"):
        mirror_cluster_uids("SP073", site.url, tmp_path / "to", auth=(USER, PASSWORD))
    with pytest.raises(SessionNotFoundError, match="no such folder on the server; the url is of the folder that holds"):
        mirror_cluster_uids("SP072", site.url + "/nowhere", tmp_path / "to", auth=(USER, PASSWORD))
    assert not (tmp_path / "to").exists()


def test_settings_that_make_no_sense(tmp_path: Path, site: Site) -> None:
    for settings in ({"n_workers": 0}, {"retries": -1}):
        with pytest.raises(SettingsError, match="at least"):
            copy(site, tmp_path, **settings)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="is a file"):
        copy(site, tmp_path / "file")


def test_an_error_of_the_local_disk_ends_all(site: Site, tmp_path: Path) -> None:
    """Here, a file is where a folder should be."""
    (tmp_path / "to/ROICaT/SP072").mkdir(parents=True)
    (tmp_path / "to/ROICaT/SP072/2025-01-14").touch()
    with pytest.raises(StoreError, match=r"2025-01-14.*: cannot be written \(Not a directory\)"):
        copy(site, tmp_path / "to")


def test_a_full_disk_ends_all_and_names_the_file(site: Site, tmp_path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StoreError, match=rf"{CLUSTER_FILE}: cannot be written"):
            copy(site, tmp_path / "to")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert files(tmp_path / "to") == {}


def command(site: Site, to: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "mesodask", "mirror", "SP072", "--url", site.url, "--to", str(to), *more]


ENVIRONMENT = partial(dict, **{web.USER_VARIABLE: USER, web.PASSWORD_VARIABLE: PASSWORD})


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_kill_leaves_whole_files_only(
    small: SimulatedSubject, site: Site, tmp_path: Path, sent: signal.Signals, status: int
) -> None:
    site.faults[VICTIM] = silent_within
    to = tmp_path / "to"
    running = subprocess.Popen(command(site, to), env=ENVIRONMENT(os.environ), stderr=subprocess.PIPE, text=True)
    original = files(small.roicat_root)
    deadline = time.monotonic() + 30
    while len(list(to.rglob(CLUSTER_FILE))) < N_FILES - 1 or not any(
        path.endswith(VICTIM) for path in site.downloads()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(sent)
    started = time.monotonic()
    _, err = running.communicate(timeout=20)
    assert running.returncode == status
    assert time.monotonic() - started < 10  # far less than the server's silence
    if sent == signal.SIGINT:
        assert "goes on from there" in err
        assert "Traceback" not in err
    assert len(files(to)) == N_FILES - 1
    assert files(to).items() < original.items()
    # what a kill in the middle of writing would have left
    folder = (to / "ROICaT/SP072" / VICTIM).parent
    folder.mkdir(exist_ok=True)
    ours = partials.partial_of(folder / CLUSTER_FILE)
    ours.with_name(ours.name.replace(f"-{os.getpid()}-", f"-{running.pid}-")).write_text("half")
    site.faults.clear()
    summary = copy(site, to)
    assert (summary.copied, summary.kept) == (1, N_FILES - 1)
    assert files(to) == original


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert PASSWORD not in captured.out + captured.err
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def test_command(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("mirror", "SP072", "--url", site.url, "--to", tmp_path / "to", "--retries", 0)
    status, out, err = run(capsys, *call)
    assert (status, out) == (2, "")
    assert "answers 401" in err
    monkeypatch.setenv(web.USER_VARIABLE, USER)
    monkeypatch.setenv(web.PASSWORD_VARIABLE, PASSWORD)
    site.faults[VICTIM] = answer(500)
    site.faults["FOV_00/" + CLUSTER_FILE] = answer(404)
    status, out, err = run(capsys, *call)
    assert status == 1
    for line in ("found    4 fields of view", "copied   1 (0.0 MB)", "kept     0", "missing  2", "failed   1"):
        assert line in out.splitlines()
    assert f"{VICTIM}: the server answers 500" in out
    assert "2025-01-13/001/alf/FOV_00: no file" in out
    assert "failed: 1." in err
    site.faults.clear()
    status, out, _ = run(capsys, *call, "--json")
    assert status == 0
    summary = json.loads(out)
    assert {name: summary[name] for name in ("found", "copied", "kept", "missing", "empty", "failed")} == {
        "found": 4, "copied": 3, "kept": 1, "missing": [], "empty": [], "failed": [],
    }  # fmt: skip
    assert summary["folder"] == str(tmp_path / "to/ROICaT/SP072")
    site.faults[VICTIM] = answer(500)
    status, out, _ = run(capsys, *call, "--json", "--again")
    assert status == 1
    assert json.loads(out)["failed"] == [
        {"url": f"{site.url}/ROICaT/SP072/{VICTIM}", "reason": "the server answers 500 (tries: 1)"}
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["../x", "--url", "http://127.0.0.1"], "no plain name"),
        (["SP072", "--url", "http://a:hunter2@127.0.0.1"], "holds a user name or a password"),
        (["SP1", "--url", "{url}"], "subjects there: SP072, SP073"),
        (["SP072"], "Missing option '--url'"),
        (["SP072", "--url", "{url}", "--password", "x"], "No such option"),
        (["SP072", "--url", "{url}", "--workers", "0"], "at least 1"),
    ],
)
def test_wrong_usage_is_words_and_status_2(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(web.USER_VARIABLE, USER)
    monkeypatch.setenv(web.PASSWORD_VARIABLE, PASSWORD)
    filled = [argument.format(url=site.url) for argument in arguments]
    status, _, err = run(capsys, "mirror", *filled, "--to", tmp_path / "to")
    assert status == 2
    assert words in err
    assert "hunter2" not in err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "mirror", "--help")
    assert status == 0
    assert "Example: mesodask mirror" in out
    assert "password" not in {word.strip("-") for word in out.split() if word.startswith("--")}


@pytest.mark.parametrize(("typed", "status"), [(PASSWORD, 0), ("wrong-one", 2)])
def test_prompt_on_a_terminal(small: SimulatedSubject, site: Site, tmp_path: Path, typed: str, status: int) -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command(site, tmp_path / "to"), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as running:
        os.close(theirs)
        shown = ""
        answers = {"User name: ": USER, "Password: ": typed}  # what comes before the space may be flushed
        with contextlib.suppress(OSError):  # the terminal's other end is closed
            while True:
                shown += os.read(ours, 4096).decode(errors="replace")
                for question in [question for question in answers if question in shown]:
                    os.write(ours, f"{answers.pop(question)}\n".encode())
        os.close(ours)
    assert running.returncode == status, shown
    assert not answers
    assert typed not in shown
    if status == 0:
        assert files(tmp_path / "to") == files(small.roicat_root)
    else:
        assert "those that were given" in shown
        assert len(site.log) == 2
    assert not any(PASSWORD.encode() in body or TOKEN.encode() in body for body in files(tmp_path).values())
