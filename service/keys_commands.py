"""`anomaly keys`: who may use the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make, list and revoke the keys of a service.", no_args_is_help=True)

FILE = Annotated[Path, typer.Option("--file", help="Of keys; it holds no secrets, only hashes.")]
DEFAULT_FILE = Path("keys.json")


@app.command()
def create(
    role: Annotated[str, typer.Option(help="score, read or admin.")] = "score",
    label: Annotated[str, typer.Option(help="Whom it is for.")] = "",
    days: Annotated[
        float | None, typer.Option(help="Until it expires [never].", min=0, max=36_500)
    ] = None,
    per_minute: Annotated[
        int | None, typer.Option(help="Score requests that it may send [any number].", min=1)
    ] = None,
    file: FILE = DEFAULT_FILE,
) -> None:
    """Make a key and print it: this once, for only its hash is kept."""
    from anomaly.errors import ConfigInvalid
    from service.access.keys import Role, changed_keys, make_key

    if role not in tuple(Role):
        raise ConfigInvalid(f"there is no role {role!r}. There are: {', '.join(Role)}.")
    key, token = make_key(Role(role), label, days, per_minute)
    with changed_keys(file) as keys:
        keys.append(key)
    typer.echo(token)
    typer.echo(f"{key.id}: role {role}, kept as a hash in {file}", err=True)


@app.command("list")
def list_keys(file: FILE = DEFAULT_FILE) -> None:
    """List the keys, without their secrets."""
    from service.access.keys import read_keys

    for key in read_keys(file):
        end = "for ever" if key.expires is None else f"until {key.expires:%Y-%m-%d %H:%M %Z}"
        until = "expired" if key.is_expired else end
        share = f", {key.per_minute} a minute" if key.per_minute else ""
        typer.echo(f"{key.id}  {key.role:5}  {until}{share}  {key.label}".rstrip())


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, as `list` shows it.")],
    file: FILE = DEFAULT_FILE,
) -> None:
    """Take a key out of the file; a running service knows within a second."""
    from anomaly.errors import ConfigInvalid
    from service.access.keys import changed_keys

    with changed_keys(file) as keys:
        found = [of for of in keys if of.id == key]
        if not found:
            raise ConfigInvalid(
                f"there is no key {key!r} in {file}. `anomaly keys list` shows them."
            )
        keys.remove(found[0])
    typer.echo(f"{key} is revoked")
