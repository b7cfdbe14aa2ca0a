"""One line that says how far a job is, written over and over: in a terminal, and in the
output of a notebook's cell. Elsewhere, such as in a log file, one line a change."""

from __future__ import annotations

import sys
from typing import Optional, TextIO

from .jobtypes import Event, JobStep

WIDTH = 100


def notebook() -> bool:
    """Whether this is a notebook's kernel."""
    shell = sys.modules.get("IPython")
    get = getattr(shell, "get_ipython", None)
    return get is not None and type(get()).__name__ == "ZMQInteractiveShell"


def clean(text: str) -> str:
    """Text from elsewhere, without what would steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def duration(seconds: float) -> str:
    """Such as 2m05s."""
    s = int(round(seconds))
    if s < 60:
        return f"{s}s"
    return f"{s // 60}m{s % 60:02d}s" if s < 3600 else f"{s // 3600}h{s % 3600 // 60:02d}m"


def step_text(s: JobStep) -> str:
    """How far a step is: boost: 12 of 50 trees, 1.6/s, 24s left."""
    if s.state == "running" and (s.done or s.total):
        text = f"{s.name}: {s.done:,}" + (f" of {s.total:,}" if s.total else "") + (f" {s.unit}" if s.unit else "")
        if s.rate:
            text += f", {s.rate:,.3g}/s"
        return text + (f", {duration(s.eta_seconds)} left" if s.eta_seconds else "")
    text = f"{s.name}: {s.state}"
    if s.seconds and s.state == "done":
        text += f" in {duration(s.seconds)}"
    return text + (f", {s.error.what}" if s.error else "")


class Line:
    """Shows events. ``live``: one line is overwritten by what comes next."""

    def __init__(self, name: str, out: Optional[TextIO] = None, live: Optional[bool] = None) -> None:
        self.name = name
        self.out = out or sys.stdout
        self.live = (notebook() or self.out.isatty()) if live is None else live
        self._length = 0
        self._last = ""

    def show(self, event: Event) -> None:
        """Says what happened, if it is worth a line."""
        if event.type == "progress" and event.step:
            if self.live:
                self._write(step_text(event.step), keep=False)
        elif event.type == "step" and event.step:
            self._write(step_text(event.step), keep=event.step.state not in ("running", "pending"))
        elif event.state:
            text = event.state.state + (f": {event.state.waiting_for}" if event.state.waiting_for else "")
            if event.state.party:
                text = f"{event.state.party}: {event.state.consent}"
            if event.state.error:
                text += f": {event.state.error.what}"
            self._write(text, keep=True)
        elif event.log and event.log.level in ("warn", "error"):
            self._write(f"{event.log.level}: {event.log.text}", keep=True)

    def _write(self, text: str, keep: bool) -> None:
        line = clean(f"{self.name}  {text}")
        if not self.live:
            if line != self._last:
                print(line, file=self.out, flush=True)
            self._last = line
            return
        if not keep and len(line) > WIDTH:
            line = line[: WIDTH - 1] + "…"
        pad = " " * max(0, self._length - len(line))
        self.out.write("\r" + line + pad + ("\n" if keep else ""))
        self.out.flush()
        self._length = 0 if keep else len(line)

    def close(self) -> None:
        """Leaves the line."""
        if self._length:
            self.out.write("\n")
            self.out.flush()
            self._length = 0
