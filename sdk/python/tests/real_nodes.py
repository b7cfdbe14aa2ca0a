"""Drives three real nodes through the package, as a data scientist and two approvers
would, and prints one line of JSON. A program that started the nodes calls it.

KONTOR_BANK_API, KONTOR_BANK_TOKEN       the guest's node; the same for TELECOM, whose
                                         policy asks a person, and INSURER, whose policy
                                         allows by a standing rule
KONTOR_SDK_JOB                           JSON: {"purpose": "…", "parties": {"bank": {"data":
    "…", "id": "…", "label": "…"}, "telecom": {"data": "…", "id": "…"}, "insurer": {…}},
    "align": {…}, "split": {…}, "boost": {…}, "min_auc": 0.6}; parties take the arguments
    of Job.guest and Job.host, steps those of the methods of their names

Exit code 77 means that it was skipped, for what stands in the line.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import time
import uuid
from typing import Any, Dict, List

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

try:
    import pandas
except ImportError:
    print("skip: pandas is not installed")
    sys.exit(77)

import kontor
from kontor import jobtypes, types

PATIENCE = 300.0
OTHER_NAMES = {"Job": "JobInfo"}


def client(party: str) -> kontor.Client:
    """A client of a party's node, from the environment."""
    return kontor.Client(os.environ[f"KONTOR_{party.upper()}_API"], os.environ[f"KONTOR_{party.upper()}_TOKEN"])


def expect(holds: bool, *what: Any) -> None:
    """Ends with what is wrong."""
    if not holds:
        raise SystemExit("real_nodes: " + " ".join(str(w) for w in what))


def compare_contract(bank: kontor.Client) -> int:
    """Holds the dataclasses to the contract that the node serves: every member is known,
    under its name. Returns how many were compared."""
    schemas = bank._conn.json("GET", "/openapi.json")["components"]["schemas"]
    compared = 0
    for module in (types, jobtypes):
        for name, cls in vars(module).items():
            if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__):
                continue
            schema = schemas.get({v: k for k, v in OTHER_NAMES.items()}.get(name, name))
            if schema is None:
                expect(name in ("Event", "StateEvent"), "the contract has no", name)
                continue
            fields = {f.name for f in dataclasses.fields(cls)}
            members = {m for m in schema["properties"] if m != "$schema"}
            expect(fields == members, name, "differs from the contract:", sorted(fields ^ members))
            compared += 1
    expect(compared > 30, "only", compared, "types were compared")
    return compared


def attention(node: kontor.Client, run: kontor.Run) -> kontor.Run:
    """The job, once it waits for a person at a node."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for waiting in node.jobs(state="attention"):
            if waiting.id == run.id:
                return waiting
        expect(not run.refresh().final, "the job ended before it was approved:", run.info.state, run.info.error)
        time.sleep(0.1)
    raise SystemExit(f"real_nodes: the job never waited for a person: {run!r}")


def build(spec: Dict[str, Any]) -> kontor.Job:
    """The job that KONTOR_SDK_JOB describes."""
    job = kontor.Job("sdk", purpose=spec.get("purpose"), priority=7)
    parties = spec["parties"]
    job.guest("bank", **parties["bank"])
    job.host("telecom", **parties["telecom"])
    job.host("insurer", **parties["insurer"])
    rows = job.align(**spec.get("align", {}))
    job.split(rows=rows, **spec.get("split", {}))
    model = job.boost("risk", **spec.get("boost", {}))
    job.evaluate(model=model)
    return job


def train(bank: kontor.Client, telecom: kontor.Client, spec: Dict[str, Any]) -> kontor.Run:
    """Submits the job, has a person at telecom approve it, and follows it to its end."""
    job = build(spec)
    check = bank.check(job)
    expect(check.ok, "the job is not valid:", check.findings)
    broken = bank.check(job.to_yaml().replace("boost", "boots"))
    expect(not broken.ok and broken.findings[0].line > 0, "a wrong job is not found out:", broken)
    key = uuid.uuid4().hex
    run = bank.submit(job, note="from the SDK", idempotency_key=key)
    expect(bank.submit(job, note="from the SDK", idempotency_key=key).id == run.id, "one key made two jobs")
    waiting = attention(telecom, run)
    expect(waiting.refresh().note == "from the SDK", "the approver does not see the note")
    waiting.approve("looks right")
    seen: List[str] = []
    numbers: List[int] = []
    for event in run.follow(timeout=PATIENCE, show=True, out=sys.stderr):
        if event.type != "progress":
            numbers.append(event.seq)
        seen.append(event.type)
    expect(run.wait(show=False).state == "done", "the job is", run.info.state)
    expect(numbers == sorted(set(numbers)), "events come twice or out of order:", numbers)
    expect(seen[-1] == "end" and "step" in seen, "events are", seen)
    consent = {p.name: p.consent for p in run.info.parties}
    expect(consent["telecom"] == "person" and consent["insurer"] == "standing", "consent is", consent)
    return run


def results(bank: kontor.Client, others: List[kontor.Client], run: kontor.Run, min_auc: float) -> "pandas.DataFrame":
    """Looks at all that the job left, and returns the scores."""
    metrics = run.metrics()
    expect({"train", "test"} <= set(metrics.index), "metrics are of", list(metrics.index))
    expect(float(metrics["auc"]["test"]) >= min_auc, "the AUC on test is", metrics["auc"]["test"])
    scores = run.scores()
    expect(list(scores.columns) == ["id", "part", "label", "score"], "scores have", list(scores.columns))
    expect(len(scores) == int(metrics["rows"].sum()), len(scores), "scores for", metrics["rows"].sum(), "rows")
    expect(bool(scores["score"].between(0, 1).all()), "scores are no probabilities")
    expect(run.result()["job"] == "sdk", "the result is of another job")
    manifest = run.manifest_bytes()
    for other in others:
        end = other.job(run.id).wait(timeout=PATIENCE, show=False)  # a host hears of the end a moment later
        theirs = json.loads(end.manifest_bytes())["manifest"]
        expect(theirs == json.loads(manifest)["manifest"], "manifests differ")
    expect(len(run.log()) > 0, "there is no log")
    try:
        others[0].job(run.id).scores()
        expect(False, "a host has scores")
    except kontor.NotFound:
        pass
    with tempfile.TemporaryDirectory() as folder:
        name = next(f.name for f in run.files() if f.name.endswith("scores.csv"))
        path = run.download(name, folder)
        expect(len(pandas.read_csv(path)) == len(scores), "the file that was fetched is another")
        account = others[0].audit.export(os.path.join(folder, "account.jsonl"))
        expect(os.path.getsize(account) > 0, "the account is empty")
    for node in [bank, *others]:
        report = node.audit.verify()
        expect(report.ok and report.entries > 0, "the account does not hold:", report.problems)
    return scores


def predict(bank: kontor.Client, telecom: kontor.Client, run: kontor.Run, spec: Dict[str, Any]) -> "pandas.DataFrame":
    """Scores the same data once more with the registered model."""
    model = bank.models.tag(run.info.models[0], "sdk-best")
    expect(bank.models.get("sdk-best").id == model.id, "the tag names another model")
    data = {name: party["data"] for name, party in spec["parties"].items()}
    again = bank.models.predict(model.id, data, note="scores from the SDK")
    attention(telecom, again).approve()
    again.wait(timeout=PATIENCE)
    return again.predictions()


def main() -> None:
    spec = json.loads(os.environ["KONTOR_SDK_JOB"])
    bank, telecom, insurer = client("bank"), client("telecom"), client("insurer")
    compared = compare_contract(bank)
    expect(bank.node().name == "bank" and bank.node().running, "bank is", bank.node())
    expect({p.name for p in bank.peers()} >= {"telecom", "insurer"}, "bank's peers are", bank.peers())
    expect(bool(bank.data.describe(spec["parties"]["bank"]["data"]).columns), "the dataset has no columns")
    run = train(bank, telecom, spec)
    scores = results(bank, [telecom, insurer], run, spec.get("min_auc", 0.6))
    predicted = predict(bank, telecom, run, spec)
    both = scores.merge(predicted, on="id", suffixes=("", "_again"))
    expect(len(both) == len(scores) == len(predicted), "predictions are for other rows")
    expect(bool(((both["score"] - both["score_again"]).abs() < 1e-6).all()), "predictions differ from the scores")
    print(json.dumps({"ok": True, "job": run.id, "types": compared, "rows": len(scores), "predictions": len(predicted),
                      "auc": float(run.metrics()["auc"]["test"])}))


if __name__ == "__main__":
    main()
