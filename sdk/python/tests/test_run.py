from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
import unittest
from datetime import datetime, timedelta, timezone
from typing import Any, List
from unittest import mock

import kontor
from kontor import _decode, _events, _progress
from tests.base import Case, job_json
from tests.fake import Answer, event, ok, problem, stream

try:
    import pandas
except ImportError:
    pandas = None  # type: ignore[assignment]

EVENTS = "/v1/jobs/" + "a" * 64 + "/events"
JOB = "/v1/jobs/" + "a" * 64
RUNNING = event(1, "state", {"state": "running"})
STEP = event(2, "progress", {"name": "boost", "state": "running", "done": 12, "total": 50, "unit": "trees",
                             "rate": 1.6, "eta_seconds": 84})
END = event(3, "end", {"state": "done"})


class TestFollow(Case):
    def follow(self, *answers: Answer, **how: Any) -> List[int]:
        run = self.run_of()
        self.node.on("GET", EVENTS, *answers)
        return [e.seq for e in run.follow(**how)]

    def resumed(self) -> List[str]:
        return [r.headers["Last-Event-Id"] for r in self.node.requests if r.path == EVENTS]

    def test_to_the_end(self) -> None:
        run = self.run_of()
        self.node.on("GET", EVENTS, stream(RUNNING, STEP, event(3, "log", {"text": "x", "level": "info"}), event(4, "new", 1),
                                           event(5, "end", {"state": "done"})))
        got = list(run.follow())
        self.assertEqual([(e.seq, e.type) for e in got], [(1, "state"), (2, "progress"), (3, "log"), (4, "new"), (5, "end")])
        assert got[0].state and got[1].step and got[2].log and got[4].state
        self.assertEqual((got[0].state.state, got[1].step.rate, got[2].log.text, got[4].state.state), ("running", 1.6, "x", "done"))

    def test_a_broken_stream_goes_on_where_it_broke(self) -> None:
        got = self.follow(stream(RUNNING, STEP[:20]), Answer(cut=-1), problem(503, "local", "starting"), stream(RUNNING, STEP, END))
        self.assertEqual(got, [1, 2, 3])
        self.assertEqual(self.resumed(), ["0", "1", "1", "1"])
        self.assertEqual(len(self.pauses), 3)

    def test_a_stream_of_a_job_that_had_ended(self) -> None:
        run = self.run_of(state="done", last_event=3)
        self.node.on("GET", EVENTS, stream())
        self.assertEqual([e.seq for e in run.follow(after=3)], [])

    def test_what_is_no_lost_connection_is_raised(self) -> None:
        with self.assertRaises(kontor.NotFound):
            self.follow(problem(404, "usage", "no such job"))
        for bad in (b"id: x\n\n", b"data: {\n\n", b"data: " + b"1" * _events.MAX_EVENT + b"\n\n"):
            with self.assertRaises(kontor.Error) as caught:
                self.follow(stream(bad))
            self.assertEqual(caught.exception.kind, "protocol")

    def test_line_ends_and_fields(self) -> None:
        odd = b": c\r\nid: 1\r\nretry: 5\r\nevent:state\r\ndata: {\r\ndata: \"state\": \"running\"}\r\n\r\nid: 2\n\n" + END
        self.assertEqual(self.follow(stream(odd)), [1, 3])

    def test_progress_has_no_number_of_its_own(self) -> None:
        step = event(2, "step", {"name": "boost", "state": "running"})
        got = self.follow(stream(RUNNING, step, STEP, STEP), stream(step, STEP, END))
        self.assertEqual(got, [1, 2, 2, 2, 2, 3])

    def test_time_runs_out(self) -> None:
        gate = threading.Event()
        self.addCleanup(gate.set)
        run = self.run_of()
        self.node.on("GET", EVENTS, stream(RUNNING, gate=gate))
        got = []
        with self.assertRaisesRegex(TimeoutError, "goes on"):
            for e in run.follow(timeout=0.3):
                got.append(e.seq)
        self.assertEqual(got, [1])

    def test_wait(self) -> None:
        run = self.run_of()
        self.node.on("GET", JOB, ok(job_json("done")))
        self.node.on("GET", EVENTS, stream(RUNNING, STEP, END))
        out = io.StringIO()
        self.assertIs(run.wait(show=True, out=out), run)
        self.assertEqual(out.getvalue(), "credit  running\ncredit  done\n")
        asked = len(self.node.requests)
        self.assertEqual(run.wait(show=True, out=out).state, "done")
        self.assertEqual(len(self.node.requests), asked)

    def test_wait_raises_what_the_job_failed_of(self) -> None:
        fault = {"kind": "peer", "exit_code": 5, "party": "telecom", "step": "align", "what": "it went away", "cure": "ask"}
        run = self.run_of(state="failed", error=fault)
        with self.assertRaises(kontor.JobFailed) as caught:
            run.wait()
        e = caught.exception
        self.assertEqual((e.kind, e.exit_code, e.party, e.state), ("peer", 5, "telecom", "failed"))
        self.assertEqual(str(e), "party telecom, step align: it went away; ask")
        run.wait(check=False)
        run = self.run_of(state="rejected", parties=[{"name": "insurer", "consent": "denied", "reason": "not now"}])
        with self.assertRaisesRegex(kontor.JobFailed, "party insurer: .*not now"):
            run.wait()
        with self.assertRaises(kontor.JobFailed) as caught:
            self.run_of(state="cancelled").wait()
        self.assertEqual(caught.exception.exit_code, 130)


class TestProgress(unittest.TestCase):
    def show(self, live: bool) -> str:
        out = io.StringIO()
        line = _progress.Line("credit", out, live)
        boost = {"name": "boost", "state": "running", "done": 12, "total": 50, "unit": "trees", "rate": 1.6, "eta_seconds": 84}
        line.show(_events.typed(1, "progress", boost))
        line.show(_events.typed(2, "step", {"name": "boost", "state": "done", "seconds": 3700}))
        line.show(_events.typed(3, "state", {"state": "waiting", "waiting_for": "a person\x1b[2J at telecom"}))
        line.show(_events.typed(4, "state", {"state": "waiting", "party": "telecom", "consent": "person"}))
        line.show(_events.typed(4, "step", {"name": "align", "state": "running"}))
        line.show(_events.typed(5, "step", {"name": "align", "state": "running"}))
        line.show(_events.typed(5, "log", {"level": "info", "text": "nothing"}))
        line.show(_events.typed(6, "progress", boost))
        line.close()
        return out.getvalue()

    def test_live(self) -> None:
        running = "\rcredit  boost: 12 of 50 trees, 1.6/s, 1m24s left"
        self.assertEqual(self.show(True), running + "\rcredit  boost: done in 1h01m                    \n" +
                         "\rcredit  waiting: a person [2J at telecom\n\rcredit  telecom: person\n" +
                         "\rcredit  align: running" * 2 + running + "\n")

    def test_in_a_file(self) -> None:
        self.assertEqual(self.show(False), "credit  boost: done in 1h01m\ncredit  waiting: a person [2J at telecom\n"
                                           "credit  telecom: person\ncredit  align: running\n")


class TestResults(Case):
    def test_deciding(self) -> None:
        run = self.run_of(state="waiting")
        for verb, body, call in (("approve", {"note": "fine"}, run.approve), ("reject", {"reason": "no"}, run.reject),
                                 ("cancel", {"reason": "stop"}, run.cancel)):
            self.node.on("POST", f"{JOB}/{verb}", Answer(cut=-1), ok(job_json("approved")))
            self.assertEqual(call(*body.values()).info.state, "approved")
            self.assertEqual(self.node.requests[-1].json(), body)
            self.assertEqual(self.node.requests[-1].headers["Idempotency-Key"], self.node.requests[-2].headers["Idempotency-Key"])

    def test_state_asks_until_the_end(self) -> None:
        run = self.run_of()
        self.node.on("GET", JOB, ok(job_json("running")), ok(job_json("done")))
        self.assertEqual([run.state, run.state, run.state], ["running", "done", "done"])
        self.assertEqual(len(self.node.requests), 3)

    def test_the_log_has_pages(self) -> None:
        run = self.run_of()
        self.node.on("GET", JOB + "/log", ok({"lines": [{"seq": 1, "text": "a"}], "next": 1}), ok({"lines": [{"seq": 2, "text": "b"}]}))
        self.assertEqual([line.text for line in run.log()], ["a", "b"])
        self.assertIn("after=1", self.node.requests[-1].path)

    def test_download(self) -> None:
        run = self.run_of(state="done")
        content = os.urandom(1 << 19)
        info = {"name": "a/b.csv", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self.node.on("GET", JOB + "/files", ok({"files": [info]}))
        octets = "application/octet-stream"
        self.node.on("GET", JOB + "/files/a%2Fb.csv", Answer(body=content, media=octets, cut=1000), Answer(body=content, media=octets))
        with tempfile.TemporaryDirectory() as d:
            target = run.download("a/b.csv", d)
            self.assertEqual(target, os.path.join(d, "b.csv"))
            with open(target, "rb") as f:
                self.assertEqual(f.read(), content)
            self.assertEqual(os.stat(target).st_mode & 0o077, 0)
            wrong = content[:-1] + bytes([content[-1] ^ 1])
            for bad in (Answer(body=wrong, media=octets), Answer(body=content, media=octets, cut=1000)):
                self.node.on("GET", JOB + "/files/a%2Fb.csv", bad)
                with self.assertRaises(kontor.Unreachable):
                    run.download("a/b.csv", target)
            with open(target, "rb") as f:
                self.assertEqual(f.read(), content)
            self.assertEqual(os.listdir(d), ["b.csv"])
            with self.assertRaises(kontor.NotFound):
                run.download("c", d)

    def test_times(self) -> None:
        when = datetime(2026, 1, 2, 3, 4, 5, 123456, timezone.utc)
        self.assertEqual(self.run_of().info.created, when)
        self.assertEqual(_decode.time("2026-01-02T04:04:05.123456+01:00"), when)
        east = when.astimezone(timezone(timedelta(hours=8)))
        self.assertEqual(_decode.stamp(east), "2026-01-02T03:04:05.123456Z")

    def test_without_pandas(self) -> None:
        run = self.run_of(state="done", steps=[{"name": "evaluate", "kind": "evaluate"}], metrics={"evaluate.test": {"auc": 0.7}})
        with mock.patch.dict("sys.modules", {"pandas": None}), self.assertRaisesRegex(ImportError, "pip install pandas"):
            run.metrics()

    @unittest.skipIf(pandas is None, "pandas is not installed")
    def test_frames(self) -> None:
        steps = [{"name": n, "kind": k} for n, k in (("narrow", "evaluate"), ("wide", "evaluate"), ("new", "predict"))]
        figures = {"wide.test": {"auc": 0.8, "rows": 30}, "wide.train": {"auc": 0.9, "rows": 70}, "narrow.test": {"auc": 0.6, "rows": 30}}
        run = self.run_of(state="done", steps=steps, metrics=figures)
        m = run.metrics()
        self.assertEqual((list(m.index), m.loc["test", "auc"], str(m["rows"].dtype)), (["train", "test"], 0.8, "int64"))
        self.assertEqual(run.metrics("narrow").loc["test", "auc"], 0.6)
        with self.assertRaisesRegex(kontor.NotFound, "narrow, wide"):
            run.metrics("new")
        self.node.on("GET", JOB + "/files", ok({"files": [{"name": n} for n in ("new-scores.csv", "wide-scores.csv")]}))
        self.node.on("GET", JOB + "/files/wide-scores.csv", Answer(body=b"id,part,label,score\n007,test,1,0.25\nNA,train,0,1\n"))
        self.node.on("GET", JOB + "/files/new-scores.csv", Answer(body=b"id,score\n1e3,0.5\n"))
        s = run.scores("wide")
        self.assertEqual((list(s["id"]), list(s["label"]), list(s["score"])), (["007", "NA"], [1, 0], [0.25, 1.0]))
        self.assertEqual(list(run.predictions()["id"]), ["1e3"])
        with self.assertRaises(kontor.NotFound):
            run.scores("narrow")
        self.assertEqual(list(kontor.frame([run])["name"]), ["credit"])


class TestParts(Case):
    def test_data(self) -> None:
        self.node.on("POST", "/v1/data", ok({"name": "customers", "columns": [{"name": "age", "type": "int", "mean": 4}]}, 201))
        d = self.client.data.add("customers", "/a.csv", id="cid", missing=["-999"], types={"age": "int"})
        self.assertEqual(self.node.requests[-1].json(), {"name": "customers", "path": "/a.csv", "options": {
            "id": "cid", "missing": ["-999"], "types": {"age": "int"}}})
        self.assertEqual(d.columns[0].mean, 4.0)
        self.node.on("PUT", "/v1/data/customers/published", ok({"name": "customers", "published": ["bank"]}))
        self.assertEqual(self.client.data.publish("customers", ["bank"]).published, ["bank"])
        with self.assertRaises(TypeError):
            self.client.data.publish("customers", "bank")
        self.node.on("DELETE", "/v1/data/customers", Answer(cut=-1), Answer(204))
        self.client.data.rm("customers")
        self.assertEqual(len({r.headers["Idempotency-Key"] for r in self.node.requests[-2:]}), 1)

    def test_models(self) -> None:
        self.node.on("POST", "/v1/models/best/predict", ok(job_json("proposed"), 201))
        run = self.client.models.predict("best", {"bank": "new"}, ids={"bank": "cid"}, note="n", priority=0)
        self.assertEqual(run.info.state, "proposed")
        self.assertEqual(self.node.requests[-1].json(), {"data": {"bank": "new"}, "ids": {"bank": "cid"}, "note": "n", "priority": 0})
        self.node.on("PUT", "/v1/models/abc/tags/best", ok({"id": "abc", "tags": ["best"]}))
        self.assertEqual(self.client.models.tag("abc", "best").tags, ["best"])

    def test_account_and_tokens(self) -> None:
        self.node.on("GET", "/v1/audit", ok({"entries": [{"seq": 1}], "next": 1}), ok({"entries": [{"seq": 2, "detail": {"a": 1}}]}))
        self.assertEqual([e.seq for e in self.client.audit.entries()], [1, 2])
        self.node.on("GET", "/v1/audit/verify", ok({"ok": False, "problems": [{"seq": 4, "what": "altered"}]}))
        self.assertEqual(self.client.audit.verify().problems[0].seq, 4)
        self.node.on("GET", "/v1/audit/export", Answer(body=b"{}\n", media="application/x-ndjson", sized=False))
        with tempfile.TemporaryDirectory() as d:
            with open(self.client.audit.export(os.path.join(d, "a.jsonl"), 1, 9)) as f:
                self.assertEqual(f.read(), "{}\n")
        self.assertIn("from=1&to=9", self.node.requests[-1].path)
        self.node.on("POST", "/v1/tokens", ok({"token": {"id": "t"}, "secret": "s3cret"}, 201))
        new = self.client.tokens.create("ann", "scientist", datetime(2030, 1, 31, tzinfo=timezone.utc))
        self.assertEqual(new.secret, "s3cret")
        self.assertNotIn("s3cret", repr(new))
        self.assertEqual(self.node.requests[-1].json()["expires"], "2030-01-31T00:00:00.000000Z")


if __name__ == "__main__":
    unittest.main()
