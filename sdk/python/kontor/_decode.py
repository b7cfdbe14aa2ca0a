"""JSON of the node's answers into the dataclasses of :mod:`kontor.types`."""

from __future__ import annotations

import dataclasses
import re
import typing
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Dict, Type, TypeVar, Union

from .errors import Error

T = TypeVar("T")

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$")


def time(text: str) -> datetime:
    """An RFC 3339 time, to the microsecond."""
    m = _TIME.match(text)
    if not m:
        raise ValueError(f"{text!r} is no time")
    when = datetime.fromisoformat(m.group(1) + ("+00:00" if m.group(3) == "Z" else m.group(3)))
    return when + timedelta(microseconds=int((m.group(2) or "0").ljust(6, "0")[:6]))


def stamp(when: datetime) -> str:
    """A time as the node takes it. One without a zone is taken as local time."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@lru_cache(maxsize=None)
def _hints(cls: Any) -> Dict[str, Any]:
    return typing.get_type_hints(cls)


def decode(cls: Type[T], value: Any) -> T:
    """``value`` as a ``cls``. Members it does not know are passed over and those that
    are missing keep their defaults, so that a newer or older node can be read."""
    try:
        return typing.cast(T, _convert(cls, value))
    except (TypeError, ValueError) as e:
        raise Error("version", f"the node's answer cannot be read as {getattr(cls, '__name__', cls)}: {e}",
                    "use an SDK of the node's version") from None


def _convert(hint: Any, value: Any) -> Any:
    if hint is Any:
        return value
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Union:  # Optional[X]
        return None if value is None else _convert(args[0], value)
    if origin is list:
        return [_convert(args[0], v) for v in _of(list, value or [])]
    if origin is dict:
        return {k: _convert(args[1], v) for k, v in _of(dict, value or {}).items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        members, hints = _of(dict, value), _hints(hint)
        return hint(**{f.name: _convert(hints[f.name], members[f.name])
                       for f in dataclasses.fields(hint) if f.name in members})
    if hint is datetime:
        return time(_of(str, value))
    if hint is float:
        return float(_of((int, float), value))
    return _of(hint, value)


def _of(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool) and kind is not bool:
        raise TypeError(f"{value!r} is not of the type that was expected"[:200])
    return value
