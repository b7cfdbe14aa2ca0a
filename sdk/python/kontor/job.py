"""Builds the specification of a job; docs/jobs.md is the reference of what it may hold."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from . import _yaml as yaml

Number = Union[int, float]


class Step:
    """A step of a job. Pass it to a later step to say where that takes its input from:
    ``job.evaluate(model=wide)``."""

    def __init__(self, job: "Job", kind: str, name: str, settings: Dict[str, Any]) -> None:
        self.job = job
        self.kind = kind
        self.name = name
        self.settings = settings

    def __repr__(self) -> str:
        return f"<step {self.name} of job {self.job.name}>"


class Job:
    """A job in the making.

    name      1 to 32 of a-z, 0-9 and -
    purpose   what the result is for, such as credit-risk; policies decide by it
    priority  0 to 9, larger goes first where jobs wait (default 5)
    cores     how many cores it may use at each party
    memory    how much memory, in bytes or as "2GiB"
    disk      how much disk, in bytes or as "500MB"

    Nothing is checked against a list of steps here: the node does that, with the line
    of what :meth:`to_yaml` returns. ``client.check(job)`` asks it without submitting.
    """

    def __init__(self, name: str, purpose: Optional[str] = None, priority: Optional[int] = None, *,
                 cores: Optional[int] = None, memory: Union[int, str, None] = None,
                 disk: Union[int, str, None] = None) -> None:
        self.name = name
        self.purpose = purpose
        self.priority = priority
        self.limits = _given(cores=cores, memory=memory, disk=disk)
        self.parties: Dict[str, Dict[str, Any]] = {}
        self.steps: List[Step] = []

    def guest(self, name: str, data: Optional[str] = None, id: Optional[str] = None, label: Optional[str] = None,
              positive: Any = None, features: Optional[Sequence[str]] = None, ignore: Optional[Sequence[str]] = None,
              missing: Optional[Sequence[Any]] = None, types: Optional[Mapping[str, str]] = None) -> "Job":
        """The party that has the label and asks for the job. ``data`` is a name in its
        catalogue, ``positive`` the label's value that counts as 1. Returns the job."""
        return self._party(name, "guest", _given(
            data=data, id=id, label=label, positive=positive, features=features, ignore=ignore,
            missing=missing, types=types))

    def host(self, name: str, data: Optional[str] = None, id: Optional[str] = None,
             features: Optional[Sequence[str]] = None, ignore: Optional[Sequence[str]] = None,
             missing: Optional[Sequence[Any]] = None, types: Optional[Mapping[str, str]] = None) -> "Job":
        """A party that has features. Returns the job."""
        return self._party(name, "host", _given(
            data=data, id=id, features=features, ignore=ignore, missing=missing, types=types))

    def _party(self, name: str, role: str, settings: Dict[str, Any]) -> "Job":
        if name in self.parties:
            raise ValueError(f"the job has the party {name} already")
        for key in ("features", "ignore", "missing"):
            if isinstance(settings.get(key), str):
                raise TypeError(f"{key} of {name} must be a list, not one text")
            if key in settings:
                settings[key] = list(settings[key])
        self.parties[name] = {"role": role, **settings}
        return self

    def step(self, kind: str, name: Optional[str] = None, **settings: Any) -> Step:
        """Adds a step of any kind and returns it. Settings are its parameters (numbers or
        texts) and inputs (steps of this job made before); None leaves one out. Without a
        name it is called as its kind, the second as kind-2."""
        names = {s.name for s in self.steps}
        if name is None:
            name, n = kind, 1
            while name in names:
                n += 1
                name = f"{kind}-{n}"
        elif name in names:
            raise ValueError(f"the job has a step {name} already")
        for key, value in settings.items():
            if isinstance(value, Step) and value.job is not self:
                raise ValueError(f"{key} of step {name} is a step of another job")
        added = Step(self, kind, name, _given(**settings))
        self.steps.append(added)
        return added

    def align(self, name: Optional[str] = None, *, min_rows: Optional[int] = None, **more: Any) -> Step:
        """Finds the rows that all parties have. Fewer than ``min_rows`` end the job."""
        return self.step("align", name, min_rows=min_rows, **more)

    def split(self, name: Optional[str] = None, *, test: Optional[Number] = None, valid: Optional[Number] = None,
              seed: Optional[int] = None, rows: Optional[Step] = None, **more: Any) -> Step:
        """Divides joint rows. ``test`` and ``valid`` are shares from 0 to 0.9."""
        return self.step("split", name, test=test, valid=valid, seed=seed, rows=rows, **more)

    def boost(self, name: Optional[str] = None, *, trees: Optional[int] = None, depth: Optional[int] = None,
              learning_rate: Optional[Number] = None, early_stopping: Optional[int] = None,
              rows: Optional[Step] = None, parts: Optional[Step] = None, **more: Any) -> Step:
        """Trains gradient boosted trees for a binary label over the columns of all parties."""
        return self.step("boost", name, trees=trees, depth=depth, learning_rate=learning_rate,
                         early_stopping=early_stopping, rows=rows, parts=parts, **more)

    def evaluate(self, name: Optional[str] = None, *, model: Optional[Step] = None, rows: Optional[Step] = None,
                 parts: Optional[Step] = None, threshold: Optional[Number] = None, **more: Any) -> Step:
        """Scores joint rows with a model and measures it on each part of the split."""
        return self.step("evaluate", name, model=model, rows=rows, parts=parts, threshold=threshold, **more)

    def predict(self, name: Optional[str] = None, *, model: Union[Step, str, None] = None,
                rows: Optional[Step] = None, **more: Any) -> Step:
        """Scores joint rows with a model: a step, or the id or tag of one that all parties keep."""
        return self.step("predict", name, model=model, rows=rows, **more)

    def ping(self, name: Optional[str] = None) -> Step:
        """Has every party exchange one small message with the guest; reads no data."""
        return self.step("ping", name)

    def to_yaml(self) -> str:
        """The job file, as it is submitted and signed."""
        top = _given(job=self.name, purpose=self.purpose, priority=self.priority, limits=self.limits or None,
                     parties=self.parties or None)
        lines = yaml.block(top)
        if self.steps:
            lines.append("steps:")
        for s in self.steps:
            settings = {k: v.name if isinstance(v, Step) else v for k, v in s.settings.items()}
            if s.name != s.kind:
                settings = {"as": s.name, **settings}
            lines.append(f"  - {yaml.scalar(s.kind)}:" + (" " + yaml.flow(settings) if settings else ""))
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.to_yaml()

    def __repr__(self) -> str:
        return f"<job {self.name}: {len(self.parties)} parties, {len(self.steps)} steps>"


def _given(**settings: Any) -> Dict[str, Any]:
    return {k: v for k, v in settings.items() if v is not None}
