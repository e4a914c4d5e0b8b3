"""W3C Trace Context: which trace of the caller's a request belongs to."""

from __future__ import annotations

import re

_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


def traceparent_of(header: bytes | None) -> str | None:
    """The header as version 00 writes it; None if it is not valid, as the standard asks.

    A later version may say more at its end, and is read as far as it is known
    (W3C Trace Context, level 1, section 3.2).
    """
    found = _TRACEPARENT.fullmatch(header) if header else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == b"00" and more is not None:
        return None
    return b"-".join((b"00", trace_id, parent_id, flags)).decode("ascii")
