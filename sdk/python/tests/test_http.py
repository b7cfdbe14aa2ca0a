from __future__ import annotations

import os
import pickle
import socket
import tempfile
import unittest
from unittest import mock

import kontor
from kontor import _http
from tests.base import Case, job_json
from tests.fake import TOKEN, Answer, ok, problem

JOB = "job: a\n"


class TestRequests(Case):
    def test_the_token_and_what_is_answered(self) -> None:
        self.node.on("GET", "/v1/node", ok({"name": "bank", "you": {"role": "admin"}, "unheard-of": 1}))
        n = self.client.node()
        self.assertEqual((n.name, n.you.role, n.started), ("bank", "admin", None))
        self.assertEqual(self.node.requests[0].headers["Authorization"], "Bearer " + TOKEN)

    def test_a_submission_is_repeated_under_one_key(self) -> None:
        self.node.on("POST", "/v1/jobs", Answer(cut=-1), Answer(502, b"<html>", "text/html"),
                     Answer(201, b'{"id": "1', cut=3), ok(job_json("proposed"), 201))
        run = self.client.submit(JOB, note="why")
        self.assertEqual(run.info.state, "proposed")
        self.assertEqual(len(self.node.requests), 4)
        self.assertEqual(len({r.headers["Idempotency-Key"] for r in self.node.requests}), 1)
        self.assertEqual(self.node.requests[3].json(), {"spec": JOB, "reuse": True, "note": "why"})
        self.assertEqual(self.pauses, list(_http.PAUSES[:3]))

    def test_each_submission_has_a_key_of_its_own(self) -> None:
        self.node.on("POST", "/v1/jobs", ok(job_json(), 201))
        self.client.submit(JOB)
        self.client.submit(JOB)
        self.client.submit(JOB, idempotency_key="mine")
        keys = [r.headers["Idempotency-Key"] for r in self.node.requests]
        self.assertEqual(len(set(keys)), 3)
        self.assertEqual(keys[2], "mine")

    def test_what_has_no_key_is_not_repeated(self) -> None:
        self.node.on("POST", "/v1/tokens", Answer(cut=-1))
        with self.assertRaises(kontor.Unreachable):
            self.client.tokens.create("ann", "scientist")
        self.assertEqual(len(self.node.requests), 1)
        self.assertNotIn("Idempotency-Key", self.node.requests[0].headers)

    def test_repeating_ends(self) -> None:
        self.node.on("GET", "/v1/node", Answer(cut=-1))
        with self.assertRaises(kontor.Unreachable) as caught:
            self.client.node()
        self.assertEqual(len(self.node.requests), 1 + len(_http.PAUSES))
        self.assertEqual((caught.exception.kind, caught.exception.exit_code), ("local", 10))

    def test_what_the_node_refused_is_not_repeated(self) -> None:
        self.node.on("GET", "/v1/data/x", problem(503, "local", "the disk is full", cure="make room"))
        with self.assertRaises(kontor.Error) as caught:
            self.client.data.describe("x")
        self.assertEqual(len(self.node.requests), 1)
        self.assertEqual(str(caught.exception), "the disk is full; make room")

    def test_a_problem_becomes_an_error(self) -> None:
        self.node.on("POST", "/v1/jobs", problem(
            422, "spec", "the job is not valid", exit_code=3, party="bank", step="boost", cure="correct it",
            errors=[{"message": "trees is 0", "location": "body.spec"}, {"message": "no", "line": 7}]))
        with self.assertRaises(kontor.Error) as caught:
            self.client.submit(JOB)
        e = caught.exception
        self.assertEqual((e.kind, e.exit_code, e.party, e.step, e.cure, e.status), ("spec", 3, "bank", "boost", "correct it", 422))
        self.assertEqual(str(e), "party bank, step boost: the job is not valid, body.spec: trees is 0, line 7: no; correct it")
        copy = pickle.loads(pickle.dumps(e))
        self.assertEqual((copy.kind, str(copy)), ("spec", str(e)))

    def test_statuses_have_classes(self) -> None:
        for status, cls in ((401, kontor.Denied), (403, kontor.Denied), (404, kontor.NotFound), (409, kontor.Conflict)):
            self.node.on("GET", "/v1/node", problem(status, "trust", "no"))
            with self.assertRaises(cls):
                self.client.node()

    def test_something_else_at_the_address(self) -> None:
        self.node.on("GET", "/v1/node", Answer(404, b"<html>", "text/html"))
        with self.assertRaisesRegex(kontor.Error, "no node of ours"):
            self.client.node()
        self.node.on("GET", "/v1/node", Answer(200, b"<html>", "text/html"))
        with self.assertRaises(kontor.Error) as caught:
            self.client.node()
        self.assertEqual(caught.exception.kind, "version")
        self.node.on("GET", "/v1/node", ok({"name": ["a"]}))
        with self.assertRaises(kontor.Error) as caught:
            self.client.node()
        self.assertEqual(caught.exception.kind, "version")

    def test_no_redirect_is_followed(self) -> None:
        self.node.on("GET", "/v1/node", Answer(302, headers={"Location": self.node.url + "/elsewhere"}))
        with self.assertRaisesRegex(kontor.Error, "302"):
            self.client.node()
        self.assertEqual([r.path for r in self.node.requests], ["/v1/node"])

    def test_names_are_escaped_whole(self) -> None:
        self.node.on("GET", "/v1/models/..%2Fa%20b%3Fc", ok({"id": "1"}))
        self.assertEqual(self.client.models.get("../a b?c").id, "1")

    def test_readiness_is_no_error(self) -> None:
        self.node.on("GET", "/readyz", Answer(503, b'{"ready": false, "reasons": ["disk"]}'))
        self.assertEqual(self.client.ready().reasons, ["disk"])
        self.assertEqual(len(self.node.requests), 1)

    def test_pages_of_jobs(self) -> None:
        def page(r: object) -> Answer:
            first = "before" not in str(r)
            return ok({"jobs": [job_json(), job_json()] if first else [job_json()], **({"next": "b"} if first else {})})
        self.node.on("GET", "/v1/jobs", page)
        self.assertEqual(len(self.client.jobs(limit=None)), 3)
        self.assertEqual(len(self.client.jobs(limit=2)), 2)
        self.assertIn("state=attention", (self.client.jobs(state="attention"), self.node.requests[-1].path)[1])


class TestAddresses(unittest.TestCase):
    def test_the_token_is_never_sent_in_clear(self) -> None:
        for url in ("http://node.bank.example:7701", "node.bank.example", "http://10.0.0.1", "http://localhost.example"):
            with self.assertRaises(kontor.Error) as caught:
                kontor.Client(url, TOKEN)
            self.assertEqual(caught.exception.kind, "trust")
        for url in ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://node.bank.example"):
            kontor.Client(url, TOKEN)

    def test_what_is_no_address(self) -> None:
        for url in ("ftp://a", "http://", "http://u:p@127.0.0.1", "http://127.0.0.1:99999", "http://127.0.0.1/?a=b"):
            with self.assertRaises(kontor.Error) as caught:
                kontor.Client(url, TOKEN)
            self.assertEqual(caught.exception.kind, "usage")

    def test_nothing_shows_the_token(self) -> None:
        c = kontor.Client("http://127.0.0.1:1", TOKEN)
        self.assertNotIn(TOKEN, repr(c) + repr(c._conn))

    def test_nobody_answers(self) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            c = kontor.Client(f"http://127.0.0.1:{s.getsockname()[1]}", TOKEN)
            c._conn.sleep = lambda _: None
            with self.assertRaisesRegex(kontor.Unreachable, "kontor up"):
                c.node()

    def test_a_home(self) -> None:
        with tempfile.TemporaryDirectory() as home, mock.patch.dict(os.environ, {"KONTOR_TOKEN": "other"}):
            for name, text in (("api.addr", "http://0.0.0.0:7701\n"), ("admin.token", TOKEN + "\n")):
                with open(os.path.join(home, name), "w") as f:
                    f.write(text)
            c = kontor.Client(home=home)
            self.assertEqual((c.url, c._conn._token), ("http://127.0.0.1:7701", TOKEN))
            with mock.patch.dict(os.environ, {"KONTOR_HOME": home}):
                self.assertEqual(kontor.Client().url, c.url)
                with mock.patch.dict(os.environ, {"KONTOR_API": "http://127.0.0.1:1"}):
                    d = kontor.Client()
                    self.assertEqual((d.url, d._conn._token), ("http://127.0.0.1:1", "other"))
            self.assertEqual(kontor.Client("http://127.0.0.1:2", "@" + os.path.join(home, "admin.token"))._conn._token, TOKEN)
            os.unlink(os.path.join(home, "api.addr"))
            with self.assertRaisesRegex(kontor.Error, "kontor up"):
                kontor.Client(home=home)

    def test_nothing_is_given(self) -> None:
        none = {k: v for k, v in os.environ.items() if not k.startswith("KONTOR_")}
        with tempfile.TemporaryDirectory() as d, mock.patch.dict(os.environ, none, clear=True):
            here = os.getcwd()
            os.chdir(d)
            try:
                with self.assertRaisesRegex(kontor.Error, "KONTOR_API"):
                    kontor.Client()
                with self.assertRaisesRegex(kontor.Error, "no token"):
                    kontor.Client("http://127.0.0.1:1")
            finally:
                os.chdir(here)


if __name__ == "__main__":
    unittest.main()
