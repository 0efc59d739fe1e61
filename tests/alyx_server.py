"""An Alyx on loopback: it knows some sessions and their files, as much as a ONE needs of one, and serves the files."""

import contextlib
import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from mesodask.simulate import SimulatedSubject

FILTERS = [{"name": name} for name in ("subject", "django", "limit", "offset")]
SCHEMA = {"paths": {"/sessions": {"get": {"parameters": FILTERS}}, "/sessions/{id}": {"get": {"parameters": []}}}}
UNKNOWN = {"detail": "not known here"}
PAGE = 250  # sessions


class Alyx:
    """What the server knows, and what it was asked for.

    Attributes
    ----------
    asked : list of str
        Paths of all requests, in their order.
    """

    def __init__(self, subject: SimulatedSubject, page: int) -> None:
        self.asked: list[str] = []
        self.address = ""
        self._root, self._page = subject.one_dir, page
        lab = subject.settings["lab"]
        self._sessions = [
            {
                "id": eid, "subject": subject.subject, "lab": lab, "number": 1, "projects": [],
                "start_time": f"{date.isoformat()}T12:00:00", "task_protocol": "", "url": f"/sessions/{eid}",
            }
            for eid, date in zip(subject.eids, subject.dates, strict=True)
        ]  # fmt: skip
        self._files: dict[str, Path] = {}

    def answer(self, target: str) -> object:
        """Give what JSON holds, bytes of a file, or None if there is no such thing."""
        path = unquote(urlsplit(target).path).rstrip("/")
        self.asked.append(path)
        if path in self._files:
            return self._files[path].read_bytes()
        if path == "/api/schema":
            return SCHEMA
        if path == "/sessions":
            return self._list({name: values[0] for name, values in parse_qs(urlsplit(target).query).items()})
        for session in self._sessions:
            if path == f"/sessions/{session['id']}":
                return {**session, "data_dataset_session_related": list(self._datasets(session))}
        return None

    def _list(self, query: dict[str, str]) -> object:
        found = [
            session
            for session in self._sessions
            if query.get("subject", "").lower() in str(session["subject"]).lower()
            and query.get("django", f"pk,{session['id']}") == f"pk,{session['id']}"
        ]
        start = int(query.get("offset", 0))
        part = found[start : start + self._page]
        if len(part) == len(found):
            return found
        more = f"http://{self.address}/sessions?{urlencode(query | {'offset': start + self._page})}"
        rest = start + self._page < len(found)
        return {"count": len(found), "next": more if rest else None, "previous": None, "results": part}

    def _datasets(self, session: dict) -> Iterator[dict]:
        where = f"{session['lab']}/Subjects/{session['subject']}/{session['start_time'][:10]}/001"
        files = [file for file in sorted((self._root / where).rglob("alf/**/*.*")) if file.is_file()]
        newest = {_plain(file): file for file in sorted(files, key=_revision)}
        for file in files:
            key = str(uuid.uuid3(uuid.NAMESPACE_URL, str(file.relative_to(self._root))))
            stem, ending = file.name.rsplit(".", 1)
            path = f"/{file.parent.relative_to(self._root).as_posix()}/{stem}.{key}.{ending}"
            self._files[path] = file
            yield {
                "id": key, "data_url": f"http://{self.address}{path}", "file_size": file.stat().st_size, "hash": None,
                "default_revision": str(newest[_plain(file)] == file), "qc": "NOT_SET",
            }  # fmt: skip

    @property
    def files_asked(self) -> list[str]:
        """Names of the files that were downloaded, with their folders, without the ids in them."""
        parts = [path.rsplit(".", 2) for path in self.asked if path in self._files]
        return [f"{stem.split('/Subjects/')[1]}.{ending}" for stem, _, ending in parts]


def _revision(file: Path) -> str:
    return file.parent.name if file.parent.name.startswith("#") else ""


def _plain(file: Path) -> Path:
    return file.parent.parent / file.name if _revision(file) else file


@contextlib.contextmanager
def alyx(subject: SimulatedSubject, page: int = PAGE) -> Iterator[Alyx]:
    """Serve what is in the folder of a simulated subject."""
    known = Alyx(subject, page)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = known.answer(self.path)
            body = found if isinstance(found, bytes) else json.dumps(UNKNOWN if found is None else found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def alyx_server(subject: SimulatedSubject) -> Iterator[str]:
    """Serve, and give the address alone."""
    with alyx(subject) as known:
        yield known.address


def set_up_one(home: Path, address: str, one_dir: Path) -> None:
    """What ``ONE.setup()`` leaves in a home: a server's address, a token for it, and the folder of the data."""
    key = address.replace(":", "_")
    settings = {"ALYX_URL": f"http://{address}", "ALYX_LOGIN": "user", "HTTP_DATA_SERVER": f"http://{address}"}
    settings |= {"HTTP_DATA_SERVER_LOGIN": None, "HTTP_DATA_SERVER_PWD": None, "TOKEN": {"user": {"token": "-"}}}
    (home / ".one").mkdir()
    (home / ".one" / f".{key}").write_text(json.dumps(settings))
    caches = {"DEFAULT": key, "CLIENT_MAP": {key: str(one_dir)}}
    (home / ".one" / ".caches").write_text(json.dumps(caches))
