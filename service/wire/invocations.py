"""Requests and answers of the scoring protocol of `mlflow models serve`.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally: rows as `dataframe_split`,
`dataframe_records`, `instances` or `inputs`, with `params` beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import asdict

from anomaly.data.schema import Schema
from anomaly.detector import Verdicts
from anomaly.explain import Attributions
from service.settings import Limits
from service.wire.refusals import InvalidRequest
from service.wire.request import (
    Complaints,
    Mode,
    ScoreRequest,
    check_count,
    check_names,
    from_columns,
    from_records,
    from_rows,
)
from service.wire.text import decode

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class Invocation(ScoreRequest, frozen=True):
    """What was asked.

    Attributes:
        explain_top_k: Of each row so many columns are named as reasons; 0 for none.
    """

    explain_top_k: int


class Prediction(msgspec.Struct, omit_defaults=True):
    """What the model says of one row.

    Attributes:
        top_features: The columns with the largest share of the score, largest first.
    """

    score: float
    p_value: float
    is_anomaly: bool
    top_features: str | None = None


class Predictions(msgspec.Struct):
    """What the model says of the rows, in their order."""

    predictions: list[Prediction]


def read_invocation(body: bytes, schema: Schema, limits: Limits) -> Invocation:
    """Read the JSON of a request; columns that the schema does not know are passed over.

    Raises:
        NotJSON: the body is not JSON.
        TooLarge: more rows or columns than the limits allow.
        InvalidRequest: no such request, or a row is faulty.
    """
    plain = decode(body)
    if not isinstance(plain, dict) or len(forms := [key for key in FORMS if key in plain]) != 1:
        raise _invalid(f"the body must be a JSON object with one of the keys {', '.join(FORMS)}")
    if plain.keys() - {*forms, "params"}:
        raise _invalid(f"beside `{forms[0]}` there may be `params`, and nothing else")
    alpha, top_k = _params(plain.get("params"))
    complaints = Complaints()
    sound, columns, n_rows = _columns(plain[forms[0]], forms[0], schema, limits, complaints)
    needed = {column.name: columns[column.name] for column in schema.required}
    request = from_columns(needed, sound, n_rows, schema, limits, alpha, Mode.STRICT, complaints)
    return Invocation(**asdict(request), explain_top_k=top_k)


def predictions(verdicts: Verdicts, reasons: Attributions | None, top_k: int) -> Predictions:
    """The answer.

    Args:
        reasons: Of every row; None if none are wanted.
    """
    told: list[str | None] = [None] * len(verdicts)
    if reasons is not None:
        told = [
            ", ".join(reason.column for reason in reasons.top(row, top_k))
            for row in range(len(verdicts))
        ]
    columns = (verdicts.scores, verdicts.p_values, verdicts.is_anomaly)
    rows = zip(*(values.tolist() for values in columns), told, strict=True)
    return Predictions([Prediction(*row) for row in rows])


def _columns(
    sent: Any, form: str, schema: Schema, limits: Limits, complaints: Complaints
) -> tuple[Sequence[int], Mapping[str, Sequence[Any]], int]:
    """Where the rows of the right shape stand, their values by column, and how many were sent."""
    match form, sent:
        case "dataframe_split", {"columns": list(names), "data": list(rows), **rest} if (
            rest.keys() <= {"index"}
        ):
            check_count(len(rows), limits)
            sound, columns = from_rows(names, rows, schema, limits, complaints, others=True)
            return sound, columns, len(rows)
        case "dataframe_records" | "instances" | "inputs", list(rows):
            check_count(len(rows), limits)
            sound, columns = from_records(rows, schema, complaints, others=True)
            return sound, columns, len(rows)
        case "inputs", dict(by_name):
            return _by_column(by_name, schema, limits)
    raise _invalid(
        f"`{form}` is not as it must be. Send dataframe_split as an object of `columns` and "
        "`data`, the others as a list of objects, or inputs as an object of lists"
    )


def _by_column(
    by_name: dict[str, Any], schema: Schema, limits: Limits
) -> tuple[Sequence[int], Mapping[str, Sequence[Any]], int]:
    check_names(list(by_name), schema, limits, others=True)
    columns = {
        name: values if isinstance(values, list) else [values] for name, values in by_name.items()
    }
    lengths = set(map(len, columns.values()))
    if len(lengths) != 1:
        raise _invalid("the lists of `inputs` must be as long as each other")
    (n_rows,) = lengths
    check_count(n_rows, limits)
    return range(n_rows), columns, n_rows


def _params(params: Any) -> tuple[float | None, int]:
    """The alpha, None for the model's own, and how many reasons are wanted."""
    if params is None:
        return None, 0
    if not isinstance(params, dict) or params.keys() - {"alpha", "explain_top_k"}:
        raise _invalid("`params` takes `alpha` and `explain_top_k`")
    alpha, top_k = params.get("alpha", 0.0), params.get("explain_top_k", 0)
    if type(alpha) not in (int, float) or not 0 <= alpha < 1:
        raise _invalid("the param `alpha` must be a number between 0 and 1; 0 is the model's own")
    if type(top_k) is not int or top_k < 0:
        raise _invalid("the param `explain_top_k` must be a number of columns")
    return float(alpha) or None, top_k


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(f"{message}.", code="body_invalid")
