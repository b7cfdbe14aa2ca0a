"""A server that answers like a node, or as badly as a test wants."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Tuple, Type

TOKEN = "kontor_abcdefghijkl_" + "x" * 52


@dataclass
class Request:
    """What arrived."""
    method: str
    path: str
    headers: Dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What goes back. ``cut``: the connection breaks after so many bytes of the body.
    ``gate``: the connection stays open after the body until this is set."""
    status: int = 200
    body: bytes = b""
    media: str = "application/json"
    headers: Dict[str, str] = field(default_factory=dict)
    cut: Optional[int] = None
    gate: Optional[threading.Event] = None
    sized: bool = True


Handler = Callable[[Request], Answer]


def ok(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def problem(status: int, kind: str, what: str, **more: Any) -> Answer:
    body = {"type": "about:blank", "status": status, "detail": what, "kind": kind, "exit_code": 4, "what": what, **more}
    return Answer(status, json.dumps(body).encode(), "application/problem+json")


def event(seq: int, kind: str, data: Any) -> bytes:
    return f"id: {seq}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def stream(*events: bytes, gate: Optional[threading.Event] = None) -> Answer:
    return Answer(body=b": alive\n\n" + b"".join(events), media="text/event-stream", sized=False, gate=gate)


class FakeNode:
    """Answers by (method, path without query); several answers for one are given in turn,
    the last again and again."""

    def __init__(self) -> None:
        self.requests: List[Request] = []
        self.routes: Dict[Tuple[str, str], List[Any]] = {}
        fake = self

        class Handle(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, {k.title(): v for k, v in self.headers.items()}, body)
                self.send(fake.answer(request))

            def send(self, a: Answer) -> None:
                self.close_connection = True
                if a.cut is not None and a.cut < 0:
                    return
                self.send_response(a.status)
                for k, v in a.headers.items():
                    self.send_header(k, v)
                if a.body or a.status != 204:
                    self.send_header("Content-Type", a.media)
                    if a.sized:
                        self.send_header("Content-Length", str(len(a.body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(a.body if a.cut is None else a.body[:a.cut])
                self.wfile.flush()
                if a.gate is not None:
                    a.gate.wait(30)

            do_GET = do_POST = do_PUT = do_DELETE = serve

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handle)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def answer(self, r: Request) -> Answer:
        self.requests.append(r)
        answers = self.routes.get((r.method, r.path.partition("?")[0]))
        if not answers:
            return problem(404, "usage", f"no {r.method} {r.path}")
        a = answers.pop(0) if len(answers) > 1 else answers[0]
        made: Answer = a(r) if callable(a) else a
        return made

    def on(self, method: str, path: str, *answers: Any) -> None:
        """Says how requests are answered: :class:`Answer`, or a function of the request."""
        self.routes[(method, path)] = list(answers)

    def __enter__(self) -> "FakeNode":
        self.thread.start()
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], e: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
