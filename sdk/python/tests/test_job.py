from __future__ import annotations

import unittest

import kontor
from kontor import _yaml

WHOLE = """\
job: credit
purpose: credit-risk
priority: 7
limits:
  cores: 2
  memory: "2GiB"
parties:
  bank:
    role: guest
    data: customers
    id: customer_id
    label: default
    positive: "yes"
  telecom:
    role: host
    data: subscribers
    id: msisdn
    features: [age, "a b", "no", "1x", "x: y", "#h"]
    missing: [-999, "n/a"]
    types: {"a b": float}
steps:
  - align: {min_rows: 100}
  - split: {test: 0.3, valid: 0.1}
  - boost: {as: narrow, depth: 2}
  - boost: {trees: 50, learning_rate: 1e-05}
  - evaluate: {model: narrow}
  - evaluate: {as: evaluate-2, model: boost}
  - predict: {model: "0123", rows: align}
  - ping:
"""


class TestJob(unittest.TestCase):
    def test_the_whole_of_it(self) -> None:
        job = kontor.Job("credit", "credit-risk", 7, cores=2, memory="2GiB")
        job.guest("bank", data="customers", id="customer_id", label="default", positive="yes").host(
            "telecom", data="subscribers", id="msisdn", features=("age", "a b", "no", "1x", "x: y", "#h"),
            missing=[-999, "n/a"], types={"a b": "float"})
        rows = job.align(min_rows=100)
        job.split(test=0.3, valid=0.1)
        narrow = job.boost("narrow", depth=2)
        wide = job.boost(trees=50, learning_rate=1e-5)
        job.evaluate(model=narrow)
        second = job.evaluate(model=wide)
        job.step("predict", model="0123", rows=rows)
        job.ping()
        self.assertEqual(str(job), WHOLE)
        self.assertEqual((second.name, second.kind), ("evaluate-2", "evaluate"))

    def test_mistakes_are_found_at_once(self) -> None:
        job = kontor.Job("a").guest("bank")
        other = kontor.Job("b").boost()
        job.boost("wide")
        for wrong in (lambda: job.host("bank"), lambda: job.align("wide"), lambda: job.evaluate(model=other)):
            with self.assertRaises(ValueError):
                wrong()
        with self.assertRaises(TypeError):
            job.host("telecom", features="age")
        with self.assertRaises(TypeError):
            job.step("boost", trees=object())
            job.to_yaml()

    def test_scalars(self) -> None:
        for value, text in (
                (None, ""), (True, "true"), (3, "3"), (50.0, "50"), (0.25, "0.25"), (-1e-9, "-1e-09"), ("a.b-c_d", "a.b-c_d"),
                ("", '""'), ("1", '"1"'), ("-a", '"-a"'), ("Null", '"Null"'), ("a: b", '"a: b"'), ("é", '"é"'),
                ("a\nb\t", '"a\\nb\\t"'), ("\x7f\x85\u2028\ufeff", '"\\u007f\\u0085\\u2028\\ufeff"'), ("a\n", '"a\\n"'),
                ("😀", '"😀"')):
            self.assertEqual(_yaml.scalar(value), text)
        for bad in (float("nan"), float("inf")):
            with self.assertRaises(ValueError):
                _yaml.scalar(bad)

    def test_numbers_of_other_libraries(self) -> None:
        class Number:
            def item(self) -> int:
                return 7
        self.assertEqual(_yaml.scalar(Number()), "7")


if __name__ == "__main__":
    unittest.main()
