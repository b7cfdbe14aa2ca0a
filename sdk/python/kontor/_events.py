"""A job's events as the node streams them: server-sent events, taken up again where a
connection broke."""

from __future__ import annotations

import http.client
import json
import logging
import time
from typing import Any, BinaryIO, Iterator, List, Optional, Tuple, cast

from ._decode import decode
from ._http import Connection, path
from .errors import Error
from .jobtypes import Event, JobInfo, JobStep, LogLine, StateEvent

MAX_EVENT = 4 << 20
#: The node sends something at least every 15 seconds.
SILENCE = 50.0
FIRST_PAUSE, MOST_PAUSE = 0.2, 5.0

log = logging.getLogger("kontor")


def parse(stream: BinaryIO) -> Iterator[Optional[Tuple[int, str, Any]]]:
    """Yields (number, type, data) for each event of a stream, and None for each other
    line, so that the caller sees time pass. An event cut off by the end is dropped."""
    seq, kind, size = 0, "", 0
    data: List[str] = []
    while True:
        line = stream.readline(MAX_EVENT + 2)
        if not line.endswith(b"\n"):
            if len(line) > MAX_EVENT:
                raise _malformed("an event is too large")
            return
        size += len(line)
        if size > MAX_EVENT:
            raise _malformed("an event is too large")
        text = line.rstrip(b"\r\n").decode("utf-8", "replace")
        if text == "":
            if data:
                try:
                    yield seq, kind, json.loads("\n".join(data))
                except ValueError:
                    raise _malformed("its data is no JSON") from None
            seq, kind, data, size = 0, "", [], 0
            continue
        name, _, value = text.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "id":
            if not (value.isascii() and value.isdigit()):
                raise _malformed("its id is no number")
            seq = int(value)
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        yield None


def _malformed(why: str) -> Error:
    return Error("protocol", "the node's events cannot be read: " + why, "check proxies between here and the node")


def typed(seq: int, kind: str, data: Any) -> Event:
    """An event with the member that its type stands for. Types it does not know have none."""
    e = Event(seq=seq, type=kind, data=data)
    if kind in ("state", "end"):
        e.state = decode(StateEvent, data)
    elif kind in ("step", "progress"):
        e.step = decode(JobStep, data)
    elif kind == "log":
        e.log = decode(LogLine, data)
    return e


class Follower:
    """Follows one job. ``after`` is the number of the last event that was given out."""

    def __init__(self, conn: Connection, job: str, after: int = 0, timeout: Optional[float] = None) -> None:
        self.conn = conn
        self.job = job
        self.after = after
        self.deadline = None if timeout is None else time.monotonic() + timeout

    def events(self) -> Iterator[Event]:
        """Events until the job has ended. TimeoutError when the time is over; the job goes on."""
        pause = FIRST_PAUSE
        while True:
            seen = self.after
            try:
                for event in self._stream():
                    self.after = event.seq
                    yield event
                    if event.type == "end":
                        return
                if self._over():
                    return
                why = "the stream ended"
            except Error as e:
                if e.kind != "local":
                    raise
                why = e.what
            left = self._left()
            if self.after > seen:
                pause = FIRST_PAUSE
            log.info("job %s: %s; listening again from event %d", self.job, why, self.after)
            self.conn.sleep(min(pause, left))
            pause = min(2 * pause, MOST_PAUSE)

    def _stream(self) -> Iterator[Event]:
        """One connection's events: at its end, or when less time is left than it may be silent."""
        patience = min(SILENCE, max(self._left(), 0.05))
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.after)}
        try:
            with self.conn.open("GET", path("/v1/jobs/{}/events", self.job), headers=headers, timeout=patience) as res:
                for got in parse(cast(BinaryIO, res)):
                    if got is not None and (got[0] > self.after or got[0] == self.after and got[1] == "progress"):
                        yield typed(*got)
                    if patience > self._left() + 1:
                        return  # listen again, with a patience that fits
        except (OSError, http.client.HTTPException) as e:
            raise self.conn.unreachable(e) from None

    def _left(self) -> float:
        """Seconds until the deadline."""
        if self.deadline is None:
            return float("inf")
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"job {self.job} has not ended in time; it goes on")
        return left

    def _over(self) -> bool:
        """Whether a stream ended because there is nothing more to say."""
        info = self.conn.get(JobInfo, path("/v1/jobs/{}", self.job))
        return info.final and info.last_event <= self.after
