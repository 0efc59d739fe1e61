"""An Alyx on loopback that knows some sessions by name, as much as ``ONE().search()`` needs of one."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mesodask.simulate import SimulatedSubject

SCHEMA = {"paths": {"/sessions": {"get": {"parameters": []}}, "/sessions/{id}": {"get": {"parameters": []}}}}


@contextlib.contextmanager
def alyx_server(subject: SimulatedSubject) -> Iterator[str]:
    """Serve, and give the address; data are asked of no server: they lie on disk."""
    sessions = [
        {
            "id": eid, "subject": subject.subject, "lab": subject.settings["lab"], "number": 1, "projects": [],
            "start_time": f"{date.isoformat()}T12:00:00", "task_protocol": "", "url": f"/sessions/{eid}",
        }
        for eid, date in zip(subject.eids, subject.dates, strict=True)
    ]  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            known = {"/api/schema": SCHEMA, "/sessions": sessions}
            body = json.dumps(known.get(path, {"detail": "not known here"})).encode()
            self.send_response(200 if path in known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
