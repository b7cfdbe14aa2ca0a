"""Runs the Python of the documents: the first block of each from end to end, the others
as far as being valid."""

from __future__ import annotations

import io
import os
import re
import unittest
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

from kontor import client
from tests.base import Case, job_json
from tests.fake import TOKEN, event, ok, stream

try:
    import pandas
except ImportError:
    pandas = None  # type: ignore[assignment]

HERE = Path(__file__).resolve().parent
DOCS = [p for p in (HERE.parent / "README.md", HERE.parents[2] / "docs" / "python.md") if p.exists()]


class TestDocuments(Case):
    @unittest.skipIf(pandas is None, "pandas is not installed")
    def test_python_of_the_documents(self) -> None:
        self.node.on("POST", "/v1/jobs", ok(job_json("proposed"), 201))
        job = "/v1/jobs/" + "a" * 64
        self.node.on("GET", job + "/events", stream(event(1, "end", {"state": "done"})))
        steps = [{"name": "evaluate", "kind": "evaluate"}]
        self.node.on("GET", job, ok(job_json("done", steps=steps, metrics={"evaluate.test": {"auc": 0.75, "ks": 0.5}})))
        for doc in DOCS:
            blocks = re.findall(r"```python\n(.*?)```", doc.read_text(encoding="utf-8"), re.S)
            self.assertTrue(blocks, doc)
            for block in blocks[1:]:
                compile(block, str(doc), "exec")
            out = io.StringIO()
            with mock.patch.dict(os.environ, {"KONTOR_API": self.node.url, "KONTOR_TOKEN": TOKEN}), redirect_stdout(out):
                exec(compile(blocks[0], str(doc), "exec"), {})
            self.assertRegex(out.getvalue(), r"test +0\.75 +0\.5")
            spec = next(r for r in self.node.requests if r.method == "POST").json()["spec"]
            self.assertIn("  - boost: {trees: 50}\n", spec)

    def test_calls_that_the_guide_names(self) -> None:
        text = next((p for p in DOCS if p.name == "python.md"), None)
        if text is None:
            self.skipTest("the guide is not here")
        guide, c = text.read_text(encoding="utf-8"), client.Client("http://127.0.0.1:1", TOKEN)
        for row in re.findall(r"^\| (`client\..*?) \|", guide, re.M):
            owner: object = c
            for call in re.findall(r"`([a-z_.]+)\(", row):
                names = call.split(".")
                if names[0] == "client":
                    owner = getattr(c, names[1]) if len(names) == 3 else c
                self.assertTrue(callable(getattr(owner, names[-1], None)), call)


if __name__ == "__main__":
    unittest.main()
