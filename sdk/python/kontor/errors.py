"""The one error that the package raises for what a node, or the way to it, says."""

from __future__ import annotations

from typing import Any, Mapping, Optional

#: Exit codes of the command line by kind of fault, as in docs/errors.md.
EXIT_CODES = {
    "internal": 1, "usage": 2, "spec": 3, "data": 4, "peer": 5, "trust": 6,
    "version": 7, "protocol": 8, "consent": 9, "local": 10, "cancelled": 130,
}


class Error(Exception):
    """A fault: what went wrong, at which party, in which step, and what to do.

    kind       word that a program should look at: see EXIT_CODES
    exit_code  what the command line would have ended with
    party      the party at fault or concerned, "" where there is none
    step       the step of the job, "" where there is none
    what       what went wrong
    cure       what to do next
    status     HTTP status of the answer, 0 where there was none
    """

    def __init__(self, kind: str, what: str, cure: str = "", *, party: str = "", step: str = "",
                 exit_code: Optional[int] = None, status: int = 0) -> None:
        self.kind = kind
        self.what = what
        self.cure = cure
        self.party = party
        self.step = step
        self.exit_code = EXIT_CODES.get(kind, 1) if exit_code is None else exit_code
        self.status = status
        super().__init__(str(self))

    def __str__(self) -> str:
        where = ", ".join(
            word + " " + value for word, value in (("party", self.party), ("step", self.step)) if value)
        text = (where + ": " if where else "") + self.what + ("; " + self.cure if self.cure else "")
        return " ".join(text.split())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kind={self.kind!r}, {str(self)!r})"

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.__dict__)


class NotFound(Error):
    """Nothing of that name: status 404."""


class Denied(Error):
    """No valid token, or one of a role that may not: status 401, 403 or 429."""


class Conflict(Error):
    """Not in this state, such as cancelling a job that has ended: status 409."""


class Unreachable(Error):
    """The node did not answer: nothing, or nothing whole, came back from its address."""


class JobFailed(Error):
    """A job did not end well. ``state`` is failed, rejected or cancelled."""

    state: str = "failed"


def _rebuild(cls: "type[Error]", fields: Mapping[str, Any]) -> Error:
    err = cls.__new__(cls)
    err.__dict__.update(fields)
    Exception.__init__(err, Error.__str__(err))
    return err


def from_problem(problem: Mapping[str, Any], status: int) -> Error:
    """The error that an application/problem+json body stands for."""
    def text(key: str) -> str:
        value = problem.get(key, "")
        return value if isinstance(value, str) else ""

    what = text("what") or text("detail") or f"the node answered {status}"
    details = problem.get("errors")
    for d in details if isinstance(details, list) else []:
        if isinstance(d, dict) and d.get("message"):
            place = d.get("location") or (f"line {d['line']}" if d.get("line") else "")
            what += f", {place}: {d['message']}" if place else f", {d['message']}"
    code = problem.get("exit_code")
    cls = {401: Denied, 403: Denied, 429: Denied, 404: NotFound, 409: Conflict}.get(status, Error)
    return cls(text("kind"), what, text("cure"), party=text("party"), step=text("step"),
               exit_code=code if isinstance(code, int) else None, status=status)
