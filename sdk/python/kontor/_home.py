"""Finds the node that a client talks to: by address, or by the folder of a node on this
machine, as the command line does."""

from __future__ import annotations

import ipaddress
import os
from typing import Optional, Tuple, Union
from urllib.parse import urlsplit, urlunsplit

from .errors import Error

HOME = "kontor-home"
PathLike = Union[str, "os.PathLike[str]"]


def locate(url: Optional[str], token: Optional[str], home: Optional[PathLike]) -> Tuple[str, str]:
    """Address and token: what is given, else the environment, else ./kontor-home."""
    env = os.environ
    if not url and home is None:
        url = env.get("KONTOR_API") or None
    if home is None and not url:
        home = env.get("KONTOR_HOME") or (HOME if os.path.isdir(HOME) else None)
        if home is None:
            raise Error("usage", "no node is named", "give Client(url=..., token=...), Client(home=...), or set "
                        "$KONTOR_API and $KONTOR_TOKEN")
    if token is None and (home is None or not os.path.exists(_in(home, "admin.token"))):
        token = env.get("KONTOR_TOKEN")
    elif token is None and home is not None:
        token = "@" + _in(home, "admin.token")
    if token and token.startswith("@"):
        token = _read(token[1:], "the token cannot be read", "give a token, or run as the user who owns the node's folder")
    if not token:
        raise Error("usage", "no token is given", "give Client(token=...) or set $KONTOR_TOKEN; an administrator of "
                    "the node makes one with kontor token create")
    if not url:
        assert home is not None
        url = _reachable(_read(_in(home, "api.addr"), f"the node of {os.fspath(home)} does not run",
                               f"start it with kontor up --home {os.fspath(home)}"))
    return url, token.strip()


def _in(home: PathLike, name: str) -> str:
    return os.path.join(os.fspath(home), name)


def _read(path: str, what: str, cure: str) -> str:
    try:
        with open(path, encoding="utf-8") as f:
            return f.read(4096).strip()
    except (OSError, UnicodeDecodeError) as e:
        raise Error("local", f"{what}: {e}", cure) from None


def _reachable(url: str) -> str:
    """An address on all interfaces is reached on this machine's own."""
    if "://" not in url:
        url = "http://" + url
    u = urlsplit(url)
    try:
        if u.hostname and ipaddress.ip_address(u.hostname).is_unspecified:
            return urlunsplit(u._replace(netloc=f"127.0.0.1:{u.port}" if u.port else "127.0.0.1"))
    except ValueError:
        pass
    return url
