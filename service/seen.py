"""What is remembered of rows until they are counted, and what is seen of some of them then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Bool, Int64
from anomaly.baseline import Parts
from anomaly.data.records import Records
from anomaly.detector import Detector
from anomaly.preprocessing.preprocessor import ColumnWarning, WarningCode
from anomaly.reference import Watched
from anomaly.scores import ScoreTerms


@dataclass(frozen=True)
class TableRows:
    """N rows of a table, with the terms of their scores.

    Attributes:
        texts: Characters in categories that the model does not know: anything may be sent there.
    """

    records: Records
    terms: ScoreTerms
    texts: int = 0

    @staticmethod
    def of(records: Records, terms: ScoreTerms, warnings: Sequence[ColumnWarning]) -> TableRows:
        """Rows with what was remarkable about them."""
        unknown = (
            records.columns[warning.column][warning.rows]
            for warning in warnings
            if warning.code is WarningCode.UNSEEN_CATEGORY
        )
        return TableRows(records, terms, sum(len(text) for some in unknown for text in some))

    @property
    def nbytes(self) -> int:
        """The memory that they take, roughly."""
        return self.records.nbytes + self.terms.nbytes + self.texts

    def take(self, rows: Int64) -> TableRows:
        """The given rows, in the given order."""
        return TableRows(self.records.take(rows), self.terms.take(rows))

    @staticmethod
    def together(parts: Sequence[TableRows]) -> TableRows:
        """All rows of all parts, which one detector has scored."""
        return TableRows(
            Records.concatenate(part.records for part in parts),
            ScoreTerms.together([part.terms for part in parts]),
        )


@dataclass(frozen=True)
class Seen:
    """What N rows look like, beyond their scores.

    Attributes:
        large: (N, C) see `Baseline.large`; no columns where nothing is explained.
        ranks: See `Baseline.ranks`.
    """

    watched: Watched
    large: Bool
    ranks: Parts | None = None

    @staticmethod
    def of_table(detector: Detector, rows: TableRows) -> Seen:
        """Rows that the detector has scored."""
        return Seen(
            detector.watched(rows.records),
            detector.large_errors(rows.terms),
            detector.part_ranks(rows.terms),
        )

    @staticmethod
    def of(watched: Watched) -> Seen:
        """Rows that are not explained by columns, such as images."""
        return Seen(watched, np.zeros((len(watched), 0), dtype=bool))
