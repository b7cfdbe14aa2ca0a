"""What a node answers about jobs, as dataclasses; see :mod:`kontor.types` for units."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Dict, List, Optional

from .types import FINAL, Disclosure, Finding


@dataclass
class JobParty:
    """A party of a job. ``consent`` is none, waiting, initiator, standing, person or denied."""
    name: str = ""
    role: str = ""
    data: str = ""
    consent: str = ""
    rule: str = ""
    reason: str = ""
    by: str = ""
    at: Optional[datetime] = None


@dataclass
class JobError:
    """Why a job or step failed: the fields of :class:`kontor.Error`."""
    kind: str = ""
    exit_code: int = 0
    party: str = ""
    step: str = ""
    what: str = ""
    cure: str = ""


@dataclass
class JobStep:
    """A step and how far it is: ``done`` of ``total`` units, ``rate`` units a second.

    ``state`` is pending, running, done, reused or failed.
    """
    name: str = ""
    kind: str = ""
    needs: List[str] = field(default_factory=list)
    state: str = ""
    attempt: int = 0
    done: int = 0
    total: int = 0
    unit: str = ""
    rate: float = 0.0
    eta_seconds: float = 0.0
    seconds: float = 0.0
    rounds: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    artifact: str = ""
    model: bool = False
    error: Optional[JobError] = None
    started: Optional[datetime] = None
    finished: Optional[datetime] = None
    reused_of: str = ""
    last_error: str = ""


@dataclass
class JobInfo:
    """A job as the node sees it. ``spec``, ``discloses`` and ``columns`` are empty in lists.

    ``state`` is proposed, waiting, approved, running or retrying, at last done,
    failed, rejected or cancelled. ``metrics`` has figures by step and name.
    """
    id: str = ""
    name: str = ""
    state: str = ""
    role: str = ""
    initiator: str = ""
    by: str = ""
    purpose: str = ""
    note: str = ""
    priority: int = 0
    created: Optional[datetime] = None
    updated: Optional[datetime] = None
    started: Optional[datetime] = None
    finished: Optional[datetime] = None
    spec: str = ""
    spec_hash: str = ""
    run: str = ""
    parties: List[JobParty] = field(default_factory=list)
    steps: List[JobStep] = field(default_factory=list)
    discloses: List[Disclosure] = field(default_factory=list)
    columns: Dict[str, List[str]] = field(default_factory=dict)
    waiting_for: str = ""
    error: Optional[JobError] = None
    metrics: Dict[str, Dict[str, float]] = field(default_factory=dict)
    warnings: List[str] = field(default_factory=list)
    models: List[str] = field(default_factory=list)
    resumed: int = 0
    rerun_of: str = ""
    last_event: int = 0

    @property
    def final(self) -> bool:
        """Whether the job will not change any more."""
        return self.state in FINAL


@dataclass
class SpecCheck:
    """What can be said of a job file without asking the peers."""
    ok: bool = False
    findings: List[Finding] = field(default_factory=list)
    warnings: List[str] = field(default_factory=list)
    name: str = ""
    hash: str = ""
    parties: List[JobParty] = field(default_factory=list)
    steps: List[JobStep] = field(default_factory=list)
    discloses: List[Disclosure] = field(default_factory=list)


@dataclass
class LogLine:
    """One line of a job's log. ``level`` is debug, info, warn or error."""
    seq: int = 0
    time: Optional[datetime] = None
    level: str = ""
    step: str = ""
    party: str = ""
    session: str = ""
    text: str = ""


@dataclass
class FileInfo:
    """A file that a job left at this party. ``size`` is in bytes."""
    name: str = ""
    step: str = ""
    size: int = 0
    sha256: str = ""


@dataclass
class StateEvent:
    """A job came into a state, or a party's consent changed."""
    time: Optional[datetime] = None
    state: str = ""
    waiting_for: str = ""
    party: str = ""
    consent: str = ""
    error: Optional[JobError] = None


@dataclass
class Event:
    """One thing that happened to a job, numbered by ``seq`` from 1. Progress has the
    number of the event before it.

    ``type`` is state, step, progress, log or end, and says which of the typed
    members is there: ``state`` for state and end, ``step`` for step and progress,
    ``log`` for log. ``data`` is the JSON as it came.
    """
    seq: int = 0
    type: str = ""
    data: Any = None
    state: Optional[StateEvent] = None
    step: Optional[JobStep] = None
    log: Optional[LogLine] = None


@dataclass
class Jobs:
    """One page of jobs, newest first."""
    jobs: List[JobInfo] = field(default_factory=list)
    next: str = ""


@dataclass
class Log:
    """One page of a job's log."""
    lines: List[LogLine] = field(default_factory=list)
    next: int = 0


@dataclass
class Files:
    """Files of a job."""
    files: List[FileInfo] = field(default_factory=list)
