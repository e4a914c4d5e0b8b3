"""Whether a request may pass: one table says which role each path asks for."""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock
from time import monotonic

from anomaly.errors import AnomalyError
from service.access.keys import Key, KeyFile, Role

FOR_EVERYONE = frozenset(
    {"/livez", "/readyz", "/health", "/ping", "/v2/health/live", "/v2/health/ready"}
)
"""Probes; they say nothing but yes or no, of each model by its name if asked."""

MODELS = "/v1/models/"
"""Below the path of a model, what does not score changes what is served."""

SCHEME = "bearer "

BURST_SECONDS = 10.0
"""A key that was quiet may send so many seconds' worth at once."""


class Unauthorised(AnomalyError):
    """There is no key, or it is none of this service's, or its time is over: which, is not said."""

    code = "unauthorised"


class Forbidden(AnomalyError):
    """The key is for something else."""

    code = "forbidden"


class TooManyRequests(AnomalyError):
    """The key has used up its share.

    Attributes:
        retry_seconds: When the next request may pass.
    """

    code = "too_many_requests"

    def __init__(self, message: str, retry_seconds: int) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


def role_for(path: str, scoring: Collection[str]) -> Role | None:
    """The role that a path asks for; None lets everyone pass. What is not listed, even what does
    not exist, asks for `read`.

    Args:
        scoring: The paths that score.
    """
    if path in FOR_EVERYONE:
        return None
    if path in scoring:
        return Role.SCORE
    is_below = path.startswith(MODELS) and "/" in path[len(MODELS) :]
    return Role.ADMIN if is_below else Role.READ


class Gate:
    """Lets requests pass that carry a key for what they ask."""

    def __init__(self, keys: KeyFile) -> None:
        self._keys = keys
        self._buckets: dict[str, _Bucket] = {}
        self._lock = Lock()

    def check(self, path: str, authorization: str, scoring: Collection[str]) -> None:
        """Let a request for that path pass; `scoring`: see `role_for`.

        Raises:
            Unauthorised, Forbidden, TooManyRequests: see `admit`.
        """
        self.admit(role_for(path, scoring), authorization)

    def admit(self, needed: Role | None, authorization: str) -> None:
        """Let a request pass that asks for a role; None lets everyone pass.

        Args:
            authorization: The header, as sent.

        Raises:
            Unauthorised, Forbidden, TooManyRequests: it may not.
        """
        if needed is None:
            return
        scheme, token = authorization[: len(SCHEME)], authorization[len(SCHEME) :].strip()
        key = self._keys.find(token if scheme.lower() == SCHEME else "")
        if key is None:
            raise Unauthorised(
                "this needs a key. Send it as the header `Authorization: Bearer ak_...`; `anomaly "
                "keys create` makes one."
            )
        if key.role not in (needed, Role.ADMIN):
            raise Forbidden(f"the key is for the role `{key.role}`, and this needs `{needed}`.")
        if needed is Role.SCORE and key.per_minute is not None:
            self._take(key, key.per_minute)

    def _take(self, key: Key, per_minute: int) -> None:
        with self._lock:
            bucket = self._buckets.setdefault(key.id, _Bucket())
            wait = bucket.take(per_minute / 60, monotonic())
        if wait:
            raise TooManyRequests(
                f"this key may send {per_minute} score requests a minute. Send more rows in each, "
                "or ask for a larger share.",
                max(1, round(wait + 0.5)),
            )


class _Bucket:
    """Requests that a key has saved up; full at first."""

    def __init__(self) -> None:
        self._saved: float | None = None
        self._since = 0.0

    def take(self, rate: float, now: float) -> float:
        """Spend one request; returns 0, or how many seconds until there is one."""
        most = max(1.0, rate * BURST_SECONDS)
        saved = most if self._saved is None else self._saved + rate * (now - self._since)
        self._saved, self._since = min(saved, most), now
        if self._saved < 1:
            return (1 - self._saved) / rate
        self._saved -= 1
        return 0.0
