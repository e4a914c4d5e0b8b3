"""The schema of a training run: given, or inferred and said aloud."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from anomaly.data.infer import infer_schema, with_roles
from anomaly.data.options import ReadOptions
from anomaly.data.readers import read_sample
from anomaly.data.schema import Cycle, Role, Schema
from anomaly.errors import ConfigInvalid


def training_schema(
    data: Path,
    schema: Path | None,
    options: ReadOptions,
    *,
    say: Callable[[str], None],
    ids: Sequence[str] = (),
    time: str | None = None,
    group: str | None = None,
    label: str | None = None,
    context: Sequence[str] = (),
    drop: Sequence[str] = (),
    cycles: Sequence[str] = (),
) -> Schema:
    """The schema of the file, or inferred from the data, with the given roles on top.

    Args:
        schema: A YAML file, or None to infer; each proposal is then told to `say`.
        group: The column that tells which object a row measures: not a feature, unless the
            schema file says so.
        cycles: Such as `when=hour_of_day,day_of_week`.

    Raises:
        ConfigInvalid: the schema file does not hold together, or no cycle has that name.
        SchemaMismatch: a column that is named does not exist.
    """
    parts = dict(map(parse_cycles, cycles))
    if schema is not None:
        found = read_schema(schema)
    else:
        found, proposals = infer_schema(read_sample(data, options))
        decided = {*ids, *context, *drop, *parts, time, group, label}
        for proposal in proposals:
            if proposal.column not in decided:
                say(f"column {proposal.column!r}: {proposal.message}")
        if group is not None and found.column(group).role is Role.FEATURE:
            ids = [*ids, group]
    return with_roles(
        found, ids=ids, time=time, label=label, context=context, drop=drop, cycles=parts
    )


def read_schema(path: Path) -> Schema:
    """The schema in a YAML file.

    Raises:
        ConfigInvalid: it does not hold together; names the file.
    """
    try:
        return Schema.from_yaml(path.read_text(encoding="utf-8"))
    except (ConfigInvalid, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path}: {error}") from error


def parse_cycles(text: str) -> tuple[str, tuple[Cycle, ...]]:
    """`when=hour_of_day,day_of_week` as a column and its cyclic parts.

    Raises:
        ConfigInvalid: not of that form, or no cycle has that name.
    """
    column, _, names = text.partition("=")
    try:
        return column, tuple(Cycle(name) for name in names.split(","))
    except ValueError as error:
        raise ConfigInvalid(
            f"--cycles takes COLUMN=PART,PART with parts of {', '.join(Cycle)}, got {text!r}."
        ) from error
