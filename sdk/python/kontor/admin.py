"""The parts of a client: catalogue, models, account and tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from . import types as answers
from ._decode import decode, stamp
from ._http import LONG, Connection, path
from .jobtypes import JobInfo
from .run import Run, save


class Data:
    """The catalogue of the node's datasets."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def ls(self) -> List[answers.Dataset]:
        """All datasets, without their columns."""
        return self._conn.get(answers.Datasets, "/v1/data").datasets

    def add(self, name: str, path: Optional[str] = None, *, dsn: Optional[str] = None, query: Optional[str] = None,
            kind: Optional[str] = None, id: Optional[str] = None, label: Optional[str] = None,
            missing: Optional[Sequence[str]] = None, types: Optional[Mapping[str, str]] = None,
            replace: bool = False) -> answers.Dataset:
        """Has the node read a source once and register it.

        path      file or folder on the node's machine, or
        dsn       address of a database with query; ${NAME} takes a value from the node's environment
        kind      csv, parquet, folder, postgres or mysql; by default inferred
        id        column that identifies rows across parties
        label     column that holds the label
        missing   texts that stand for no value
        types     types of columns where the inferred one is wrong
        replace   replace a dataset of the same name
        """
        options = _given(id=id, label=label, missing=None if missing is None else list(missing),
                         types=None if types is None else dict(types))
        body = _given(name=name, path=path, dsn=dsn, query=query, kind=kind, options=options or None,
                      replace=replace or None)
        return self._conn.act(answers.Dataset, "POST", "/v1/data", body, timeout=LONG)

    def describe(self, name: str) -> answers.Dataset:
        """A dataset with the profile of its columns."""
        return self._conn.get(answers.Dataset, path("/v1/data/{}", name))

    def rm(self, name: str) -> None:
        """Takes a dataset from the catalogue; the source stays as it is."""
        self._conn.remove(path("/v1/data/{}", name))

    def publish(self, name: str, peers: Sequence[str]) -> answers.Dataset:
        """Says which peers may see names, types and rounded sizes; none withdraws it."""
        if isinstance(peers, str):
            raise TypeError("peers must be a list, not one text")
        return self._conn.act(answers.Dataset, "PUT", path("/v1/data/{}/published", name), {"peers": list(peers)})


class Models:
    """The registry of models: this party's part of each. A model is named by its
    identifier, a unique prefix of it, or a tag."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def list(self) -> List[answers.Model]:
        """All models, newest first."""
        return self._conn.get(answers.Models, "/v1/models").models

    def get(self, model: str) -> answers.Model:
        """A model with its lineage."""
        return self._conn.get(answers.Model, path("/v1/models/{}", model))

    def tag(self, model: str, tag: str) -> answers.Model:
        """Gives a model a tag; a tag names one model, so another loses it."""
        return self._conn.act(answers.Model, "PUT", path("/v1/models/{}/tags/{}", model, tag))

    def untag(self, model: str, tag: str) -> answers.Model:
        """Takes a tag from a model."""
        return self._conn.act(answers.Model, "DELETE", path("/v1/models/{}/tags/{}", model, tag))

    def export(self, model: str, target: str) -> str:
        """Writes this party's part with its record as a zip file, and returns its path."""
        save(target, lambda f: self._conn.save(path("/v1/models/{}/export", model), f))
        return target

    def predict(self, model: str, data: Mapping[str, str], *, ids: Optional[Mapping[str, str]] = None,
                name: Optional[str] = None, purpose: Optional[str] = None, note: Optional[str] = None,
                priority: Optional[int] = None, idempotency_key: Optional[str] = None) -> Run:
        """Submits a job that scores rows with a model; all parties must allow it.

        data     dataset of each party, by its name in that party's catalogue
        ids      column that identifies rows at each party, where it is not that of the training
        purpose  by default that of the training job
        """
        body = _given(data=dict(data), ids=None if ids is None else dict(ids), name=name, purpose=purpose, note=note,
                      priority=priority)
        return Run(self._conn, self._conn.act(JobInfo, "POST", path("/v1/models/{}/predict", model), body,
                                              key=idempotency_key))


class Audit:
    """The node's account: a chain of entries that cannot be changed unseen."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def entries(self, after: int = 0) -> Iterator[answers.AuditEntry]:
        """Entries after a number, oldest first."""
        while True:
            page = self._conn.get(answers.AuditPage, "/v1/audit", after=after, limit=1000)
            yield from page.entries
            if not page.next or page.next <= after:
                return
            after = page.next

    def verify(self) -> answers.AuditReport:
        """Has the node check every hash and signature."""
        return decode(answers.AuditReport, self._conn.json("GET", "/v1/audit/verify", timeout=LONG))

    def export(self, target: str, first: Optional[int] = None, last: Optional[int] = None) -> str:
        """Writes the account as JSON lines, to be verified elsewhere, and returns the path.
        ``first`` and ``last`` are numbers of entries."""
        save(target, lambda f: self._conn.save("/v1/audit/export", f, {"from": first, "to": last}))
        return target


class Tokens:
    """Who may use the node's API."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def list(self) -> List[answers.Token]:
        """All tokens, without their secrets."""
        return self._conn.get(answers.Tokens, "/v1/tokens").tokens

    def create(self, name: str, role: str, expires: Optional[datetime] = None) -> answers.NewToken:
        """Makes a token; ``secret`` of the answer is shown this once. ``role`` is admin,
        scientist, approver or auditor. Not repeated after a lost connection: a token whose
        secret was lost stands in :meth:`list` and can be revoked."""
        body = _given(name=name, role=role, expires=None if expires is None else stamp(expires))
        return decode(answers.NewToken, self._conn.json("POST", "/v1/tokens", body))

    def revoke(self, id: str) -> None:
        """Makes a token invalid at once."""
        self._conn.remove(path("/v1/tokens/{}", id))


def _given(**members: Any) -> Dict[str, Any]:
    return {k: v for k, v in members.items() if v is not None}
