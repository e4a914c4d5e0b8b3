"""Keys: a file of hashes, which may change while the service runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from anomaly.errors import CannotWrite, ConfigInvalid
from service.access import keys
from service.access.keys import TOKEN, Key, KeyFile, Role, make_key, read_keys, write_keys
from tests.command import run_anomaly


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_found_by_its_secret_and_by_nothing_else(path: Path) -> None:
    (key, token), (other, _) = make_key(Role.SCORE, "line 4"), make_key(Role.ADMIN)
    write_keys(path, [key, other])
    file = KeyFile(path)

    assert file.find(token) == key
    for wrong in (
        "",
        token[:-1],
        token + "x",
        token[:-1] + ("a" if token[-1] != "a" else "b"),
        token.replace(key.id, other.id),
        token.replace(key.id, "0" * 12),
        key.secret,
        "ä" * 60,
    ):
        assert file.find(wrong) is None


def test_the_file_holds_no_secret_and_is_its_owners(path: Path) -> None:
    key, token = make_key(Role.READ)
    write_keys(path, [key])

    assert token.removeprefix(f"ak_{key.id}_") not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert read_keys(path) == (key,)


def test_secrets_are_long_and_never_the_same() -> None:
    tokens = {make_key(Role.SCORE)[1] for _ in range(200)}

    assert len(tokens) == 200
    assert all(TOKEN.fullmatch(token) for token in tokens)


def test_a_key_whose_time_is_over_is_none(path: Path) -> None:
    (young, first), (old, second) = make_key(Role.SCORE, days=1), make_key(Role.SCORE, days=0)
    write_keys(path, [young, old])
    file = KeyFile(path)

    assert file.find(first) == young
    assert file.find(second) is None


def test_new_and_revoked_keys_count_without_a_restart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "SECONDS_BETWEEN_LOOKS", 0.0)
    (one, first), (two, second) = make_key(Role.SCORE), make_key(Role.SCORE)
    write_keys(path, [one])
    file = KeyFile(path)
    assert file.find(second) is None

    write_keys(path, [two])

    assert file.find(second) == two
    assert file.find(first) is None


def test_whoever_could_read_the_file_still_can_when_it_was_changed(tmp_path: Path) -> None:
    """Or a service of another user would go on with the keys of before."""
    path = tmp_path / "keys.json"
    write_keys(path, [])
    path.chmod(0o640)
    (tmp_path / "link.json").symlink_to(path)

    run_anomaly(tmp_path, "keys", "create", "--file", "link.json")

    assert path.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link.json").is_symlink()
    assert len(read_keys(path)) == 1


def test_a_change_between_reading_and_remembering_is_seen_at_the_next_look(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "SECONDS_BETWEEN_LOOKS", 0.0)
    key, token = make_key(Role.SCORE)
    write_keys(path, [key])
    read = keys.read_keys

    def read_and_change(where: Path) -> tuple[Key, ...]:
        found = read(where)
        write_keys(where, [])
        return found

    monkeypatch.setattr(keys, "read_keys", read_and_change)
    file = KeyFile(path)
    monkeypatch.setattr(keys, "read_keys", read)

    assert file.find(token) is None


def test_a_file_that_is_spoiled_while_it_runs_locks_nobody_out(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys, "SECONDS_BETWEEN_LOOKS", 0.0)
    key, token = make_key(Role.SCORE)
    write_keys(path, [key])
    file = KeyFile(path)

    path.write_text("[")
    assert file.find(token) == key
    path.unlink()
    assert file.find(token) == key
    assert caplog.text.count("the keys are those of before") == 2, "and somebody is told"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[1]",
        '[{"id": "000000000000"}]',
        '[{"id": "000000000000", "secret": "x", "role": "score"}]',
        json.dumps([{"id": "0" * 12, "secret": "0" * 64, "role": "root"}]),
        json.dumps([{"id": "0" * 12, "secret": "0" * 64, "role": "score", "expires": "soon"}]),
        json.dumps([{"id": "0" * 12, "secret": "0" * 64, "role": "score", "more": 1}]),
    ],
)
def test_what_is_no_file_of_keys_is_refused(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(ConfigInvalid, match="no file of keys"):
        KeyFile(path)


def test_a_file_that_others_may_write_to_is_refused(path: Path) -> None:
    write_keys(path, [])
    path.chmod(0o666)

    with pytest.raises(ConfigInvalid, match="chmod 600"):
        KeyFile(path)


def test_a_missing_file_is_told_of_with_what_makes_one(path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="anomaly keys create"):
        KeyFile(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_told_of(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CannotWrite):
        write_keys(tmp_path / "keys.json", [])


def test_the_command_makes_lists_and_revokes(tmp_path: Path) -> None:
    made = run_anomaly(tmp_path, "keys", "create", "--role", "admin", "--label", "night shift")
    token = made.stdout.strip()
    listed = run_anomaly(tmp_path, "keys", "list").stdout
    name = token.split("_")[1]

    assert TOKEN.fullmatch(token)
    found = KeyFile(tmp_path / "keys.json").find(token)
    assert found is not None
    assert found.role is Role.ADMIN
    assert name in listed
    assert "night shift" in listed
    assert token not in listed + made.stderr

    assert run_anomaly(tmp_path, "keys", "revoke", name).returncode == 0
    assert run_anomaly(tmp_path, "keys", "list").stdout == ""
    assert run_anomaly(tmp_path, "keys", "revoke", name).returncode == 78
    assert run_anomaly(tmp_path, "keys", "create", "--role", "root").returncode == 78
