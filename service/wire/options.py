"""How a body is to be scored, where the query says it and not the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.wire.refusals import InvalidRequest
from service.wire.request import Mode

TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Options:
    """How rows or images are to be scored.

    Attributes:
        explain: Whether it is wanted why, too.
        alpha: Another false-alarm rate for this request.
    """

    explain: bool = False
    alpha: float | None = None
    mode: Mode = Mode.STRICT


def read_options(query: Sequence[tuple[str, str]]) -> Options:
    """The options that a query names; one that is absent has its default.

    Raises:
        InvalidRequest: another name, one given twice, or a value that it cannot have.
    """
    given = dict(query)
    if len(given) < len(query) or given.keys() - {"explain", "alpha", "mode"}:
        raise _query("takes `explain`, `alpha` and `mode`, each once at most")
    if given.get("explain", "false") not in TRUTH:
        raise _query("takes `explain` as true or false")
    if given.get("mode", Mode.STRICT) not in tuple(Mode):
        raise _query("takes `mode` as strict or partial")
    return Options(
        TRUTH[given.get("explain", "false")],
        _alpha(given["alpha"]) if "alpha" in given else None,
        Mode(given.get("mode", Mode.STRICT)),
    )


def _alpha(text: str) -> float:
    try:
        alpha = float(text)
    except ValueError:
        alpha = 0.0
    if not 0 < alpha < 1:
        raise _query("takes `alpha` as a number between 0 and 1")
    return alpha


def _query(message: str) -> InvalidRequest:
    return InvalidRequest(f"the query {message}.", code="query_invalid")
