"""What a node answers, as dataclasses. Times have a zone; sizes are bytes; durations
are seconds. A member that the node left out has its default here: None, "", 0 or empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Dict, List, Optional

#: States in which a job does not change any more.
FINAL = ("done", "failed", "rejected", "cancelled")


@dataclass
class Identity:
    """Who holds a token. ``role`` is admin, scientist, approver or auditor."""
    id: str = ""
    name: str = ""
    role: str = ""


@dataclass
class Node:
    """What a node is and who is asking."""
    name: str = ""
    version: str = ""
    fingerprint: str = ""
    words: str = ""
    listen: str = ""
    api: str = ""
    certificate_expires: Optional[datetime] = None
    started: Optional[datetime] = None
    running: bool = False
    capabilities: List[str] = field(default_factory=list)
    home: str = ""
    you: Identity = field(default_factory=Identity)


@dataclass
class Readiness:
    """Whether a node can take work, and why not."""
    ready: bool = False
    reasons: List[str] = field(default_factory=list)


@dataclass
class Check:
    """One finding of the doctor."""
    name: str = ""
    ok: bool = False
    warning: bool = False
    what: str = ""
    cause: str = ""
    cure: str = ""
    detail: str = ""


@dataclass
class Diagnosis:
    """What the doctor found. ``ok``: no check failed; warnings do not count."""
    ok: bool = False
    checks: List[Check] = field(default_factory=list)


@dataclass
class Peer:
    """An institution that the node trusts. ``route`` is direct, reverse, relay or none."""
    name: str = ""
    address: str = ""
    fingerprint: str = ""
    words: str = ""
    added: Optional[datetime] = None
    route: str = ""
    seen: Optional[datetime] = None
    version: str = ""
    capabilities: List[str] = field(default_factory=list)
    certificate_expires: Optional[datetime] = None
    error: str = ""


@dataclass
class Invitation:
    """What a peer needs to trust this node. Compare ``words`` by phone."""
    invitation: str = ""
    name: str = ""
    address: str = ""
    fingerprint: str = ""
    words: str = ""


@dataclass
class Column:
    """Profile of a column: ``missing`` and ``distinct`` count rows and values."""
    name: str = ""
    type: str = ""
    missing: int = 0
    distinct: int = 0
    min: str = ""
    max: str = ""
    mean: Optional[float] = None


@dataclass
class DataOptions:
    """How a source is read."""
    id: str = ""
    label: str = ""
    missing: List[str] = field(default_factory=list)
    types: Dict[str, str] = field(default_factory=dict)


@dataclass
class Dataset:
    """An entry of the catalogue. ``columns`` is empty in lists."""
    name: str = ""
    kind: str = ""
    path: str = ""
    dsn: str = ""
    query: str = ""
    options: DataOptions = field(default_factory=DataOptions)
    added: Optional[datetime] = None
    rows: int = 0
    fingerprint: str = ""
    columns: List[Column] = field(default_factory=list)
    published: List[str] = field(default_factory=list)
    problem: str = ""


@dataclass
class PublishedColumn:
    """What a peer may know of a column. ``missing_rate`` is a share, 0 to 1."""
    name: str = ""
    type: str = ""
    missing_rate: float = 0.0


@dataclass
class PublishedData:
    """What a peer published of a dataset. ``rows`` is rounded."""
    name: str = ""
    rows: int = 0
    columns: List[PublishedColumn] = field(default_factory=list)


@dataclass
class Policy:
    """The policy file, and whether it is in force."""
    text: str = ""
    path: str = ""
    hash: str = ""
    loaded: Optional[datetime] = None
    error: str = ""


@dataclass
class Finding:
    """One error in a text. Lines and columns count from 1, 0 is unknown."""
    line: int = 0
    column: int = 0
    what: str = ""
    cure: str = ""


@dataclass
class TextCheck:
    """The answer to a policy check."""
    ok: bool = False
    findings: List[Finding] = field(default_factory=list)
    hash: str = ""


@dataclass
class Param:
    """A parameter of a component."""
    name: str = ""
    type: str = ""
    doc: str = ""
    default: Any = None
    min: Optional[float] = None
    max: Optional[float] = None
    values: List[str] = field(default_factory=list)


@dataclass
class Port:
    """An input of a component."""
    name: str = ""
    type: str = ""
    optional: bool = False


@dataclass
class Disclosure:
    """What a step lets a party learn. ``to`` is guest, host or all."""
    step: str = ""
    to: str = ""
    kind: str = ""
    min_rows: int = 0
    text: str = ""


@dataclass
class Component:
    """A kind of step."""
    kind: str = ""
    version: int = 0
    doc: str = ""
    params: List[Param] = field(default_factory=list)
    inputs: List[Port] = field(default_factory=list)
    output: str = ""
    local: bool = False
    no_data: bool = False
    discloses: List[Disclosure] = field(default_factory=list)


@dataclass
class Lineage:
    """Data of one party that a model was trained on."""
    party: str = ""
    name: str = ""
    fingerprint: str = ""


@dataclass
class Model:
    """This party's part of a model in the registry."""
    id: str = ""
    job: str = ""
    job_name: str = ""
    step: str = ""
    kind: str = ""
    party: str = ""
    role: str = ""
    created: Optional[datetime] = None
    parties: List[str] = field(default_factory=list)
    spec: str = ""
    software: str = ""
    data: List[Lineage] = field(default_factory=list)
    metrics: Any = None
    tags: List[str] = field(default_factory=list)
    files: List[str] = field(default_factory=list)
    sha256: str = ""


@dataclass
class Token:
    """A token without its secret. ``used`` is to the hour."""
    id: str = ""
    name: str = ""
    role: str = ""
    created: Optional[datetime] = None
    expires: Optional[datetime] = None
    used: Optional[datetime] = None


@dataclass
class NewToken:
    """A token just made: the only time that its secret is shown."""
    token: Token = field(default_factory=Token)
    secret: str = field(default="", repr=False)


@dataclass
class AuditEntry:
    """One entry of the node's account."""
    seq: int = 0
    time: Optional[datetime] = None
    actor: str = ""
    action: str = ""
    object: str = ""
    detail: Any = None
    hash: str = ""


@dataclass
class AuditProblem:
    """One place where the account does not hold together."""
    seq: int = 0
    what: str = ""


@dataclass
class AuditWitness:
    """A peer that signed the account up to ``seq``."""
    peer: str = ""
    seq: int = 0
    time: Optional[datetime] = None


@dataclass
class AuditReport:
    """The result of verifying the account."""
    ok: bool = False
    entries: int = 0
    head: str = ""
    problems: List[AuditProblem] = field(default_factory=list)
    witnesses: List[AuditWitness] = field(default_factory=list)


@dataclass
class Peers:
    """A list of peers."""
    peers: List[Peer] = field(default_factory=list)


@dataclass
class PeerData:
    """What one peer published to this node."""
    peer: str = ""
    datasets: List[PublishedData] = field(default_factory=list)


@dataclass
class Datasets:
    """A list of datasets."""
    datasets: List[Dataset] = field(default_factory=list)


@dataclass
class Components:
    """The kinds of steps."""
    components: List[Component] = field(default_factory=list)


@dataclass
class Models:
    """A list of models."""
    models: List[Model] = field(default_factory=list)


@dataclass
class Tokens:
    """A list of tokens."""
    tokens: List[Token] = field(default_factory=list)


@dataclass
class AuditPage:
    """A page of the account, oldest entry first."""
    entries: List[AuditEntry] = field(default_factory=list)
    next: int = 0
