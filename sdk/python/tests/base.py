"""What the tests share."""

from __future__ import annotations

import os
import unittest
from typing import Any, Dict, List
from unittest import mock

import kontor
from tests.fake import TOKEN, FakeNode


def job_json(state: str = "running", **more: Any) -> Dict[str, Any]:
    """A job as a node sends it."""
    return {"id": "a" * 64, "name": "credit", "state": state, "role": "guest", "initiator": "bank", "priority": 5,
            "created": "2026-01-02T03:04:05.123456789Z", "updated": "2026-01-02T03:04:05Z", "spec_hash": "ff",
            "parties": [], "steps": [], **more}


class Case(unittest.TestCase):
    """A fake node and a client of it whose pauses take no time."""

    def setUp(self) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("KONTOR_")}
        patch = mock.patch.dict(os.environ, clean, clear=True)
        patch.start()
        self.addCleanup(patch.stop)
        self.node = FakeNode()
        self.node.__enter__()
        self.addCleanup(self.node.__exit__, None, None, None)
        self.client = kontor.Client(self.node.url, TOKEN, timeout=10)
        self.pauses: List[float] = []
        self.client._conn.sleep = self.pauses.append

    def run_of(self, **more: Any) -> kontor.Run:
        """A run that the fake node has."""
        info = job_json(**more)
        self.node.on("GET", "/v1/jobs/" + info["id"], _ok(info))
        return self.client.job(info["id"])


def _ok(value: Any) -> Any:
    from tests.fake import ok
    return ok(value)
