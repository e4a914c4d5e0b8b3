"""API keys: a file of their hashes. The secret itself is shown once, when the key is made.

A secret has 256 random bits, so one SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import logging
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from secrets import token_hex, token_urlsafe
from threading import Lock
from time import monotonic
from typing import Annotated

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from anomaly.data.schema import STRICT, first_reason
from anomaly.errors import CannotWrite, ConfigInvalid
from service.logs import LOGGER

log = logging.getLogger(LOGGER)

TOKEN = re.compile(r"ak_([0-9a-f]{12})_[\w-]{43}")

SECONDS_BETWEEN_LOOKS = 1.0
"""At the file: so long may a new or revoked key take to count."""


class Role(StrEnum):
    """What a key is for.

    Attributes:
        SCORE: Sending rows and images.
        READ: What the service says of itself: the model, the documentation.
        ADMIN: Everything, and which version is served.
    """

    SCORE = "score"
    READ = "read"
    ADMIN = "admin"


@checked(frozen=True, config=STRICT)
class Key:
    """One key.

    Attributes:
        id: The part of it that is no secret.
        secret: SHA-256 of the whole, hexadecimal.
        label: Whom it was made for.
        expires: With its time zone; None is never.
        per_minute: Score requests; None is as many as there are.
    """

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    secret: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    role: Role
    label: str = ""
    expires: AwareDatetime | None = None
    per_minute: Annotated[int, Field(ge=1)] | None = None

    @property
    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


_FILE = TypeAdapter(tuple[Key, ...])


@dataclass(frozen=True)
class _Seen:
    """What was in the file, and which file it was."""

    stamp: tuple[int, int, int]
    keys: dict[str, Key]


class KeyFile:
    """The keys of a service. The file may be changed while it runs.

    Raises:
        ConfigInvalid: the file cannot be read, is no file of keys, or others may write to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._trouble = ""
        try:
            self._seen = self._read()
        except OSError as error:
            raise _unreadable(path, error) from error
        self._looked = monotonic()

    def find(self, token: str) -> Key | None:
        """The key that this is, if it is one and its time is not over."""
        self._look()
        parts = TOKEN.fullmatch(token)
        key = self._seen.keys.get(parts[1]) if parts else None
        # Unknown or not, as much is computed.
        is_it = hmac.compare_digest(hashed(token), key.secret if key else "0" * 64)
        return key if key is not None and is_it and not key.is_expired else None

    def _look(self) -> None:
        if monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        with self._lock:
            self._looked = monotonic()
            try:
                if _stamp(self._path) != self._seen.stamp:
                    self._seen = self._read()
                self._trouble = ""
            except (ConfigInvalid, OSError) as error:
                # A file that is being changed by hand must not lock everyone out; what it said
                # before holds until it can be read again. That must not go unnoticed.
                if str(error) != self._trouble:
                    log.error("the keys are those of before: %s", error)
                self._trouble = str(error)

    def _read(self) -> _Seen:
        # The stamp first: if the file changes in between, the next look finds another one.
        stamp = _stamp(self._path)
        return _Seen(stamp, {key.id: key for key in read_keys(self._path)})


def hashed(token: str) -> str:
    """What is kept of a key."""
    return sha256(token.encode()).hexdigest()


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys in a file.

    Raises:
        ConfigInvalid: see `KeyFile`.
    """
    try:
        content, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise _unreadable(path, error) from error
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigInvalid(f"others may write to the file of keys {path}. `chmod 600 {path}`.")
    try:
        return _FILE.validate_json(content)
    except ValidationError as error:
        raise ConfigInvalid(f"{path} is no file of keys: {first_reason(error)}.") from error


@contextmanager
def changed_keys(path: Path) -> Iterator[list[Key]]:
    """The keys in a file, to be changed; written back at the end, with the same owner and mode, so
    that whoever could read them still can. One change at a time.

    Raises:
        ConfigInvalid: the file is no file of keys, or cannot be read.
        CannotWrite: the folder is missing or must not be written to.
    """
    place = path.resolve()
    try:
        folder = os.open(place.parent, os.O_RDONLY)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written ({error.strerror}).") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = list(read_keys(place)) if place.exists() else []
        yield keys
        write_keys(place, keys)
    finally:
        os.close(folder)


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Replace the file at once; a new one only its owner may read.

    Raises:
        CannotWrite: the folder is missing or must not be written to.
    """
    plain = _FILE.dump_python(tuple(keys), mode="json")
    name = None
    try:
        handle, name = tempfile.mkstemp(prefix=".keys-", dir=path.absolute().parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if path.exists():
                before = path.stat()
                os.fchmod(handle, stat.S_IMODE(before.st_mode))
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(handle, before.st_uid, before.st_gid)
            json.dump(plain, file, indent=1)
        Path(name).replace(path)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise CannotWrite(f"{path} cannot be written ({error.strerror}).") from error


def make_key(
    role: Role, label: str = "", days: float | None = None, per_minute: int | None = None
) -> tuple[Key, str]:
    """A new key, and its secret, which is kept nowhere."""
    name = token_hex(6)
    token = f"ak_{name}_{token_urlsafe(32)}"
    expires = None
    if days is not None:
        expires = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
    return Key(name, hashed(token), role, label, expires, per_minute), token


def _unreadable(path: Path, error: OSError) -> ConfigInvalid:
    return ConfigInvalid(
        f"the file of keys {path} cannot be read ({error.strerror}). `anomaly keys create --file "
        f"{path}` makes one."
    )


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino
