"""HTTP to one node: tokens, certificates, retries, problems. Nothing but the standard library.

A request is repeated after a lost connection only if that is safe: one that reads, or
one that carries an Idempotency-Key, which the node carries out once.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import ssl
import time
import urllib.error
import urllib.request
import uuid
from typing import IO, Any, Callable, Container, Dict, List, Mapping, Optional, Type, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit

from ._decode import decode
from .errors import Denied, Error, Unreachable, from_problem

T = TypeVar("T")

#: Seconds without a byte after which an ordinary request is given up.
TIMEOUT = 60.0
#: The same for requests during which the node reads data or asks peers.
LONG = 3600.0
MAX_ANSWER = 64 << 20
MAX_PROBLEM = 1 << 20
PAUSES = (0.2, 0.5, 1.0, 2.0)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A node never redirects, and a token must not follow one."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def path(template: str, *names: str) -> str:
    """``template`` with each {} replaced by a name, escaped whole."""
    return template.format(*(quote(n, safe="") for n in names))


def new_key() -> str:
    """A key under which a request is carried out once."""
    return "py-" + uuid.uuid4().hex


def loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Connection:
    """The way to a node's API. Not meant to be used by itself: see :class:`kontor.Client`."""

    def __init__(self, base: str, token: str, ca: Optional[str] = None, timeout: float = TIMEOUT,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        self.base = _check_base(base, bool(token))
        self.timeout = timeout
        self.sleep = sleep
        self._token = token
        handlers: List[urllib.request.BaseHandler] = [_NoRedirect()]
        if self.base.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=_tls(ca)))
        if loopback(urlsplit(self.base).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def __repr__(self) -> str:
        return f"Connection({self.base!r})"

    def open(self, method: str, target: str, body: Any = None, *, query: Optional[Mapping[str, Any]] = None,
             headers: Optional[Mapping[str, str]] = None, timeout: Optional[float] = None,
             allow: Container[int] = ()) -> http.client.HTTPResponse:
        """The answer of one request that succeeded, or has a status that is allowed; the
        caller closes it."""
        url = self.base + target
        asked = {k: v for k, v in (query or {}).items() if v is not None}
        if asked:
            url += "?" + urlencode(asked)
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        req = urllib.request.Request(url, data=data, method=method, headers=dict(headers or {}))
        if data is not None:
            req.add_header("Content-Type", "application/json")
        if self._token:
            req.add_unredirected_header("Authorization", "Bearer " + self._token)
        try:
            answer: http.client.HTTPResponse = self._opener.open(req, timeout=timeout or self.timeout)
            return answer
        except urllib.error.HTTPError as e:
            if e.code in allow:
                return cast(http.client.HTTPResponse, e)
            with e:
                raise _problem(e) from None
        except (OSError, http.client.HTTPException) as e:
            raise self.unreachable(e) from None

    def content(self, method: str, target: str, body: Any = None, *, key: Optional[str] = None,
              query: Optional[Mapping[str, Any]] = None, timeout: Optional[float] = None, safe: bool = False,
              allow: Container[int] = ()) -> bytes:
        """The whole answer. ``safe``: the request may be repeated though it is no GET."""
        headers: Dict[str, str] = {"Idempotency-Key": key} if key else {}
        repeat = list(PAUSES) if method == "GET" or key or safe else []
        while True:
            try:
                with self.open(method, target, body, query=query, headers=headers, timeout=timeout,
                               allow=allow) as res:
                    return self._whole(res)
            except Unreachable:
                if not repeat:
                    raise
            self.sleep(repeat.pop(0))

    def _whole(self, res: http.client.HTTPResponse) -> bytes:
        try:
            b = res.read(MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as e:
            raise self.unreachable(e) from None
        if len(b) > MAX_ANSWER:
            raise Error("protocol", "the node's answer is too large", "ask for less at once")
        said = res.headers.get("Content-Length")
        if said is not None and said.isdigit() and len(b) != int(said):
            raise self.unreachable(EOFError("the answer was cut off"))
        return b

    def json(self, method: str, target: str, body: Any = None, **how: Any) -> Any:
        """The answer's JSON."""
        b = self.content(method, target, body, **how)
        try:
            return json.loads(b)
        except ValueError:
            raise Error("version", "the node's answer is no JSON",
                        "check the address of the API and proxies in between") from None

    def get(self, cls: Type[T], target: str, **query: Any) -> T:
        """GET, decoded."""
        return decode(cls, self.json("GET", target, query=query))

    def act(self, cls: Type[T], method: str, target: str, body: Any = None, *, key: Optional[str] = None,
            timeout: Optional[float] = None) -> T:
        """A request that changes something, under a key so that it can be repeated."""
        return decode(cls, self.json(method, target, body, key=key or new_key(), timeout=timeout))

    def remove(self, target: str) -> None:
        """DELETE, with an answer that has no body."""
        self.content("DELETE", target, key=new_key())

    def save(self, target: str, out: IO[bytes], query: Optional[Mapping[str, Any]] = None) -> int:
        """Streams an answer to a file, from the start, and returns how many bytes it has."""
        repeat = list(PAUSES)
        while True:
            out.seek(0)
            out.truncate()
            try:
                with self.open("GET", target, query=query, timeout=LONG) as res:
                    return self._copy(res, out)
            except Unreachable:
                if not repeat:
                    raise
            self.sleep(repeat.pop(0))

    def _copy(self, res: http.client.HTTPResponse, out: IO[bytes]) -> int:
        n = 0
        while True:
            try:
                b = res.read(1 << 18)
            except (OSError, http.client.HTTPException) as e:
                raise self.unreachable(e) from None
            if not b:
                break
            out.write(b)
            n += len(b)
        said = res.headers.get("Content-Length")
        if said is not None and said.isdigit() and n != int(said):
            raise self.unreachable(EOFError("the answer was cut off"))
        return n

    def unreachable(self, cause: BaseException) -> Error:
        """The error for a connection that did not come about or broke."""
        if isinstance(cause, urllib.error.URLError) and isinstance(cause.reason, BaseException):
            cause = cause.reason
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Denied("trust", f"the certificate of {self.base} is not trusted: {cause.verify_message}",
                          "name the file with the certificate that it is signed by: Client(ca=...) or $KONTOR_CA")
        text = str(cause) or type(cause).__name__
        return Unreachable("local", f"the node's API at {self.base} cannot be reached: {text}",
                           "start the node with kontor up, or name its address with $KONTOR_API")


def _tls(ca: Optional[str]) -> ssl.SSLContext:
    try:
        ctx = ssl.create_default_context(cafile=ca)
    except OSError as e:
        raise Error("usage", f"the certificates in {ca} cannot be read: {e}", "name a file in PEM form") from None
    ctx.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca:  # the node's own certificate will do, without the one that signed it
        ctx.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0x80000)
    return ctx


def _check_base(base: str, secret: bool) -> str:
    if "://" not in base:
        base = "http://" + base
    try:
        u = urlsplit(base)
        host, _ = u.hostname, u.port
    except ValueError:
        u, host = urlsplit("//"), None
    if not host or u.scheme not in ("http", "https") or u.username or u.query or u.fragment:
        raise Error("usage", "the address of the API is not of the form https://HOST:PORT",
                    "give one such as http://127.0.0.1:7701")
    if secret and u.scheme == "http" and not loopback(host):
        raise Error("trust", f"the token would be sent in clear to {host}", "use an address that begins with https://")
    return base.rstrip("/")


def _problem(e: urllib.error.HTTPError) -> Error:
    """The error in an answer, from a node or from a proxy before it."""
    media = e.headers.get_content_type() if e.headers else ""
    try:
        body = json.loads(e.read(MAX_PROBLEM)) if media == "application/problem+json" else None
    except (ValueError, OSError, http.client.HTTPException):
        body = None
    if isinstance(body, dict) and body.get("kind"):
        return from_problem(body, e.code)
    what = f"something at this address answered {e.code} that is no node of ours"
    cure = "check the address of the API and proxies in between"
    if e.code in (502, 503, 504):
        return Unreachable("local", what, cure, status=e.code)
    kind = "trust" if e.code in (401, 403) else "usage" if 300 <= e.code < 500 else "internal"
    return Error(kind, what, cure, status=e.code)
