"""Answers as pandas frames. pandas is imported when the first frame is made, so that
everything else works without it."""

from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING, Any, Iterable, Mapping

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "valid", "test")


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as e:
        raise ImportError("pandas is not installed, and frames need it: pip install pandas") from e
    return pandas


def frame(rows: Iterable[Any]) -> "pd.DataFrame":
    """A list of answers, such as ``client.jobs()`` or ``dataset.columns``, as a frame:
    one row each, one column a member."""
    flat = [getattr(r, "info", r) for r in rows]  # a run is shown as what is known of it
    out: "pd.DataFrame" = _pandas().DataFrame([{f.name: getattr(r, f.name) for f in dataclasses.fields(r)} for r in flat])
    return out


def scores(content: bytes) -> "pd.DataFrame":
    """A file of scores. Columns: ``id`` (text, as in the source), ``score`` (probability of
    1), and after an evaluation ``part`` (train, valid or test) and ``label`` (0 or 1). One
    row for each joint row."""
    out: "pd.DataFrame" = _pandas().read_csv(io.BytesIO(content), dtype={"id": str, "part": str}, keep_default_na=False)
    return out


def metrics(by_part: Mapping[str, Mapping[str, float]]) -> "pd.DataFrame":
    """Figures by part of the split, one row a part, one column a figure."""
    pandas = _pandas()
    parts = sorted(by_part, key=lambda p: (PARTS.index(p) if p in PARTS else len(PARTS), p))
    out: "pd.DataFrame" = pandas.DataFrame([dict(by_part[p]) for p in parts], index=pandas.Index(parts, name="part"))
    return out.astype({c: "int64" for c in ("rows", "positives") if c in out and out[c].notna().all()})
