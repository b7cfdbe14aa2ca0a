"""A job that was submitted: follow it, decide on it, read what it left."""

from __future__ import annotations

import hashlib
import os
import tempfile
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, TextIO, Union

from . import frames
from ._events import Follower
from ._http import Connection, path
from ._progress import Line
from .errors import JobFailed, NotFound, Unreachable
from .job import Step
from .jobtypes import Event, FileInfo, Files, JobError, JobInfo, JobStep, Log, LogLine

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """A job at one node. ``info`` is what was last heard of it, :meth:`refresh` asks again."""

    def __init__(self, conn: Connection, info: JobInfo) -> None:
        self._conn = conn
        self.info = info

    @property
    def id(self) -> str:
        """Identifier of the job, the same at all parties."""
        return self.info.id

    @property
    def name(self) -> str:
        """The job's name."""
        return self.info.name

    @property
    def state(self) -> str:
        """Where the job stands now; asks the node unless the job has ended."""
        return self.info.state if self.info.final else self.refresh().state

    @property
    def steps(self) -> List[JobStep]:
        """The steps as last heard."""
        return self.info.steps

    def refresh(self) -> JobInfo:
        """Asks the node how the job is."""
        self.info = self._conn.get(JobInfo, self._path())
        return self.info

    def __repr__(self) -> str:
        waits = f", {self.info.waiting_for}" if self.info.waiting_for and not self.info.final else ""
        return f"<run {self.id[:12]} of {self.name}: {self.info.state}{waits}>"

    def _path(self, rest: str = "", *names: str) -> str:
        return path("/v1/jobs/{}" + rest, self.id, *names)

    # Following

    def follow(self, timeout: Optional[float] = None, after: int = 0, show: bool = False,
               out: Optional[TextIO] = None) -> Iterator[Event]:
        """Yields what happens, from the beginning, until the job has ended.

        timeout  seconds; TimeoutError then, and the job goes on
        after    number of an event: only later ones
        show     also write a line of progress to ``out`` (standard output)

        A lost connection, or a node that starts again, does not end it. Progress of the
        meantime is missing then; nothing else comes twice.
        """
        line = Line(self.name, out) if show else None
        try:
            for event in Follower(self._conn, self.id, after, timeout).events():
                if line:
                    line.show(event)
                yield event
        finally:
            if line:
                line.close()
        self.refresh()

    def wait(self, timeout: Optional[float] = None, show: Optional[bool] = None, check: bool = True,
             out: Optional[TextIO] = None) -> "Run":
        """Waits until the job has ended, and returns this run.

        timeout  seconds; TimeoutError then, and the job goes on
        show     write a line of progress; by default in a notebook and in a terminal
        check    raise JobFailed if it ended as failed, rejected or cancelled
        """
        if not self.info.final:
            line = Line(self.name, out)
            for _ in self.follow(timeout, 0, line.live if show is None else show, out):
                pass
        if check:
            self.check()
        return self

    def check(self) -> None:
        """Raises JobFailed if the job has failed, or was rejected or cancelled."""
        info = self.info
        if not info.final or info.state == "done":
            return
        e = info.error or _refusal(info)
        err = JobFailed(e.kind, e.what, e.cure, party=e.party, step=e.step, exit_code=e.exit_code)
        err.state = info.state
        raise err

    def log(self, after: int = 0) -> List[LogLine]:
        """The job's log, oldest line first; only lines after a number."""
        lines: List[LogLine] = []
        while True:
            page = self._conn.get(Log, self._path("/log"), after=after)
            lines += page.lines
            if not page.next or page.next <= after:
                return lines
            after = page.next

    # Deciding

    def approve(self, note: str = "", *, idempotency_key: Optional[str] = None) -> "Run":
        """Allows a job that waits for a person at this node. The other parties see the note."""
        return self._decide("/approve", {"note": note}, idempotency_key)

    def reject(self, reason: str = "", *, idempotency_key: Optional[str] = None) -> "Run":
        """Refuses a job that waits for a person at this node. The other parties see the reason."""
        return self._decide("/reject", {"reason": reason}, idempotency_key)

    def cancel(self, reason: str = "", *, idempotency_key: Optional[str] = None) -> "Run":
        """Stops the job at all parties."""
        return self._decide("/cancel", {"reason": reason}, idempotency_key)

    def _decide(self, what: str, body: Dict[str, str], key: Optional[str]) -> "Run":
        self.info = self._conn.act(JobInfo, "POST", self._path(what), body, key=key)
        return self

    def rerun(self, *, idempotency_key: Optional[str] = None) -> "Run":
        """Submits the same specification again, and returns the new run."""
        return Run(self._conn, self._conn.act(JobInfo, "POST", self._path("/rerun"), key=idempotency_key))

    # Results

    def metrics(self, step: Union[str, Step, None] = None) -> "pd.DataFrame":
        """Figures of an evaluation, by default the last: one row a part (train, valid,
        test), one column a figure, such as ``auc``, ``ks``, ``log_loss`` (nats a row), ``rows``.
        """
        wanted = step.name if isinstance(step, Step) else step
        by_step: Dict[str, Dict[str, Dict[str, float]]] = {}
        for key, figures in self._ended().metrics.items():
            name, _, part = key.rpartition(".")
            by_step.setdefault(name, {})[part] = figures
        names = [s.name for s in self.info.steps if s.name in by_step]
        if wanted is None and names:
            wanted = names[-1]
        if wanted is None or wanted not in by_step:
            raise self._lacks("metrics", wanted, names)
        return frames.metrics(by_step[wanted])

    def scores(self, step: Union[str, Step, None] = None) -> "pd.DataFrame":
        """Scores of an evaluate or predict step, by default the last: columns ``id`` (text)
        and ``score`` (0 to 1), after an evaluation also ``part`` and ``label``; one row for
        each joint row. The guest alone has them."""
        return self._scores(step, ("evaluate", "predict"))

    def predictions(self, step: Union[str, Step, None] = None) -> "pd.DataFrame":
        """Scores of a predict step, by default the last: columns ``id`` and ``score``. Where
        the job has no such step, the same as :meth:`scores`."""
        return self._scores(step, ("predict",) if any(s.kind == "predict" for s in self._ended().steps) else ("evaluate",))

    def _scores(self, step: Union[str, Step, None], kinds: "tuple[str, ...]") -> "pd.DataFrame":
        wanted = step.name if isinstance(step, Step) else step
        files = {f.name for f in self.files()}
        names = [s.name for s in self._ended().steps
                 if (s.name == wanted or wanted is None and s.kind in kinds) and s.name + "-scores.csv" in files]
        if not names:
            raise self._lacks("scores", wanted, [f[:-len("-scores.csv")] for f in sorted(files) if f.endswith("-scores.csv")])
        with tempfile.TemporaryFile() as f:
            self._conn.save(self._path("/files/{}", names[-1] + "-scores.csv"), f)
            f.seek(0)
            return frames.scores(f.read())

    def _ended(self) -> JobInfo:
        return self.info if self.info.final else self.refresh()

    def _lacks(self, what: str, step: Optional[str], having: List[str]) -> NotFound:
        of = f" of step {step}" if step else ""
        cure = "steps that have some: " + ", ".join(having) if having else \
            "wait until the job is done" if not self.info.final else "ask at the guest's node: the guest alone gets them"
        return NotFound("usage", f"job {self.name} has no {what}{of} here", cure)

    def result(self) -> Dict[str, Any]:
        """What the job gave this party, as docs/formats/result.md has it."""
        return self._document("/result")

    def manifest(self) -> Dict[str, Any]:
        """The privacy manifest with all parties' signatures: what each party learned.

        Signatures are over the bytes of the member ``manifest`` as the node sends them:
        to check them, take :meth:`manifest_bytes`.
        """
        return self._document("/manifest")

    def manifest_bytes(self) -> bytes:
        """The same, byte for byte."""
        return self._conn.content("GET", self._path("/manifest"))

    def _document(self, what: str) -> Dict[str, Any]:
        doc = self._conn.json("GET", self._path(what))
        return dict(doc)

    def files(self) -> List[FileInfo]:
        """Files that the job left at this party."""
        return self._conn.get(Files, self._path("/files")).files

    def download(self, name: str, path: Optional[str] = None) -> str:
        """Fetches a file of the job, and returns the path it was written to: ``path``, a
        file in it if it is a folder, or else one of the same name here. It is there whole
        or not at all."""
        info = next((f for f in self.files() if f.name == name), None)
        if info is None:
            raise NotFound("usage", f"job {self.name} has no file {name}", "see run.files()")
        target = os.fspath(path) if path is not None else os.curdir
        if os.path.isdir(target):
            target = os.path.join(target, os.path.basename(name))
        save(target, lambda f: self._fetch(info, f))
        return target

    def _fetch(self, info: FileInfo, f: Any) -> None:
        self._conn.save(self._path("/files/{}", info.name), f)
        if not info.sha256:
            return
        f.seek(0)
        h = hashlib.sha256()
        for block in iter(lambda: f.read(1 << 20), b""):
            h.update(block)
        if h.hexdigest() != info.sha256:
            raise Unreachable("local", f"what arrived as {info.name} is not what its hash says", "fetch it again")


def save(target: str, fill: Callable[[Any], Any]) -> None:
    """Writes a file through a temporary one beside it, readable by its owner alone."""
    folder = os.path.dirname(os.path.abspath(target))
    fd, part = tempfile.mkstemp(prefix="." + os.path.basename(target) + "-", dir=folder)
    try:
        with os.fdopen(fd, "w+b") as f:
            fill(f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, target)
    except BaseException:
        os.unlink(part)
        raise


def _refusal(info: JobInfo) -> JobError:
    """Why a job ended that has no error: a party denied it, or somebody stopped it."""
    if info.state == "cancelled":
        return JobError("cancelled", 130, what=f"job {info.name} was cancelled")
    denied = next((p for p in info.parties if p.consent == "denied"), None)
    if denied is None:
        return JobError("consent" if info.state == "rejected" else "internal", 9 if info.state == "rejected" else 1,
                        what=f"job {info.name} has {info.state}")
    why = ", ".join(t for t in (denied.reason, denied.rule) if t)
    return JobError("consent", 9, party=denied.name, what=f"it refused job {info.name}" + (f": {why}" if why else ""),
                    cure="ask that party, or change the job")
