"""Drive a Kontor node from Python: build, submit and follow federated jobs, read their
results as pandas frames.

    client = kontor.Client()                      # $KONTOR_API and $KONTOR_TOKEN
    job = kontor.Job("credit", purpose="credit-risk")
    job.guest("bank", data="customers", id="customer_id", label="default")
    job.host("telecom", data="subscribers", id="msisdn")
    job.align()
    job.split(test=0.3)
    job.boost(trees=50)
    job.evaluate()
    run = client.submit(job, note="for the new scorecard").wait()
    run.metrics().loc["test", "auc"]

The node does the work; this package speaks to it over HTTP, with the standard library.
"""

from .client import Client
from .errors import Conflict, Denied, Error, JobFailed, NotFound, Unreachable
from .frames import frame
from .job import Job, Step
from .jobtypes import Event, FileInfo, JobInfo
from .run import Run

__version__ = "0.1.0"

__all__ = [
    "Client", "Conflict", "Denied", "Error", "Event", "FileInfo", "Job", "JobFailed", "JobInfo", "NotFound", "Run",
    "Step", "Unreachable", "frame",
]
