"""Writes the little YAML that a job needs. Every text that could be read as something
else is quoted as in JSON, which is YAML too."""

from __future__ import annotations

import json
import math
import re
from typing import Any, List, Mapping

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*\Z")
_WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "inf", "nan"}
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")


def scalar(value: Any) -> str:
    """One value: None, bool, number or text. Numbers of numpy are taken as numbers."""
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot stand in a job")
        return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} cannot stand in a job; give a number or a text")
    if _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda m: f"\\u{ord(m.group()):04x}", quoted)


def flow(value: Any) -> str:
    """A list or mapping on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(k)}: {flow(v)}".rstrip() for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(v) for v in value) + "]"
    return scalar(value)


def block(value: Mapping[str, Any], indent: str = "") -> List[str]:
    """Lines of a mapping: mappings in it as blocks, lists and what is beneath a party on one line."""
    lines: List[str] = []
    for key, v in value.items():
        head = indent + scalar(key) + ":"
        if isinstance(v, Mapping) and len(indent) < 4:
            lines += [head] + block(v, indent + "  ")
        else:
            lines.append((head + " " + flow(v)).rstrip())
    return lines
