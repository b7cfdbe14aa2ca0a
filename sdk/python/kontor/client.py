"""The client of one node's HTTP API; docs/api.md says which role may do what."""

from __future__ import annotations

import os
from typing import Any, Iterator, List, Optional, Union

from . import _home
from ._decode import decode
from ._http import LONG, TIMEOUT, Connection, path
from .admin import Audit, Data, Models, Tokens
from .errors import Error
from .job import Job
from .jobtypes import JobInfo, Jobs, SpecCheck
from .run import Run
from .types import (Component, Components, Diagnosis, Invitation, Node, Peer, PeerData, Peers, Policy, PublishedData,
                    Readiness, TextCheck)


class Client:
    """Talks to one node.

    url      address of its API, such as http://127.0.0.1:7701; beyond this machine https
    token    a token, or "@FILE" with one
    home     folder of a node on this machine: address and token are taken from it
    ca       file (PEM) with the certificate that the node's is signed by, or the node's own,
             if the system does not trust it; default $KONTOR_CA
    timeout  seconds without a byte after which a request is given up

    What is not given comes from $KONTOR_API and $KONTOR_TOKEN, else $KONTOR_HOME, else the
    folder kontor-home here. Making a client asks nothing of the node yet.

    ``data``, ``models``, ``audit`` and ``tokens`` have the calls on these. A request that
    changes something is repeated after a lost connection under one idempotency key, so
    that it is carried out once.
    """

    def __init__(self, url: Optional[str] = None, token: Optional[str] = None, home: Optional[_home.PathLike] = None,
                 *, ca: Optional[_home.PathLike] = None, timeout: float = TIMEOUT) -> None:
        base, secret = _home.locate(url, token, home)
        trusted = os.fspath(ca) if ca is not None else os.environ.get("KONTOR_CA") or None
        self._conn = Connection(base, secret, trusted, timeout)
        self.url = self._conn.base
        self.data = Data(self._conn)
        self.models = Models(self._conn)
        self.audit = Audit(self._conn)
        self.tokens = Tokens(self._conn)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    # The node

    def node(self) -> Node:
        """What the node is, and whose the token is."""
        return self._conn.get(Node, "/v1/node")

    def ready(self) -> Readiness:
        """Whether the node can take work, and why not."""
        return decode(Readiness, self._conn.json("GET", "/readyz", allow=(503,)))

    def doctor(self) -> Diagnosis:
        """Has the node look at disk, clock, ports, certificates and each peer."""
        return decode(Diagnosis, self._conn.json("GET", "/v1/doctor", timeout=LONG))

    def components(self) -> List[Component]:
        """The kinds of steps: parameters, inputs, what they disclose."""
        return self._conn.get(Components, "/v1/components").components

    def policy(self) -> Policy:
        """The policy file, and whether it is in force."""
        return self._conn.get(Policy, "/v1/policy")

    def check_policy(self, text: str) -> TextCheck:
        """Checks the text of a policy."""
        return decode(TextCheck, self._conn.json("POST", "/v1/policy/check", {"text": text}, safe=True))

    # Peers

    def peers(self) -> List[Peer]:
        """Institutions that the node trusts."""
        return self._conn.get(Peers, "/v1/peers").peers

    def peer_data(self, peer: str) -> List[PublishedData]:
        """What a peer published to this node about its datasets."""
        return self._conn.get(PeerData, path("/v1/peers/{}/data", peer)).datasets

    def invite(self, address: Optional[str] = None) -> Invitation:
        """An invitation to hand to a peer. ``address``: where the peer reaches this node, HOST:PORT."""
        body = {} if address is None else {"address": address}
        return decode(Invitation, self._conn.json("POST", "/v1/peers/invite", body))

    def accept(self, invitation: str, fingerprint: str, address: Optional[str] = None) -> Peer:
        """Trusts the institution that an invitation names. ``fingerprint``: as compared by
        phone, words or hexadecimal."""
        body = {"invitation": invitation, "fingerprint": fingerprint}
        if address is not None:
            body["address"] = address
        return self._conn.act(Peer, "POST", "/v1/peers", body)

    def remove_peer(self, peer: str) -> None:
        """No longer trusts a peer."""
        self._conn.remove(path("/v1/peers/{}", peer))

    # Jobs

    def check(self, job: Union[Job, str]) -> SpecCheck:
        """Checks a job, or the text of a job file, without submitting it."""
        return decode(SpecCheck, self._conn.json("POST", "/v1/jobs/check", {"spec": _spec(job)}, safe=True))

    def submit(self, job: Union[Job, str], note: str = "", *, reuse: bool = True,
               idempotency_key: Optional[str] = None) -> Run:
        """Signs a job and proposes it to its parties; this node must be its guest.

        job              a Job, or the text of a job file, which is signed byte for byte
        note             for the people who are asked to approve
        reuse            take results of unchanged steps from earlier jobs
        idempotency_key  the same key with the same job makes one job, however often it is
                         submitted; by default a new one
        """
        body: "dict[str, Any]" = {"spec": _spec(job), "reuse": reuse}
        if note:
            body["note"] = note
        return Run(self._conn, self._conn.act(JobInfo, "POST", "/v1/jobs", body, key=idempotency_key))

    def job(self, id: str) -> Run:
        """A job by its identifier or a unique prefix of it."""
        return Run(self._conn, self._conn.get(JobInfo, path("/v1/jobs/{}", id)))

    def jobs(self, state: Optional[str] = None, role: Optional[str] = None, limit: Optional[int] = 50) -> List[Run]:
        """Jobs, newest first.

        state  one state, or active (not ended) or attention (somebody here has to decide)
        role   guest or host: the role of this node
        limit  how many at most, None for all
        """
        runs: List[Run] = []
        for run in self._each_job(state, role):
            if limit is not None and len(runs) >= limit:
                break
            runs.append(run)
        return runs

    def _each_job(self, state: Optional[str], role: Optional[str]) -> Iterator[Run]:
        before: Optional[str] = None
        while True:
            page = self._conn.get(Jobs, "/v1/jobs", state=state, role=role, before=before, limit=100)
            for info in page.jobs:
                yield Run(self._conn, info)
            if not page.next or page.next == before:
                return
            before = page.next


def _spec(job: Union[Job, str]) -> str:
    if isinstance(job, Job):
        return job.to_yaml()
    if isinstance(job, str):
        return job
    raise Error("usage", f"{type(job).__name__} is no job", "give a kontor.Job or the text of a job file")
