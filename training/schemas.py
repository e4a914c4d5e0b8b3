"""The schema of a training run: given, or inferred and said aloud."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from anomaly.data.infer import infer_schema, with_roles
from anomaly.data.options import ReadOptions
from anomaly.data.readers import read_sample
from anomaly.data.schema import Role, Schema


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
) -> Schema:
    """The schema of the file, or inferred from the data, with the given roles on top.

    Args:
        schema: A YAML file, or None to infer; each proposal is then told to `say`.
        group: The column that tells which object a row measures: not a feature, unless the
            schema file says so.

    Raises:
        ConfigInvalid: the schema file does not hold together.
        SchemaMismatch: a column that is named does not exist.
    """
    if schema is not None:
        found = Schema.from_yaml(schema.read_text(encoding="utf-8"))
    else:
        found, proposals = infer_schema(read_sample(data, options))
        decided = {*ids, *context, *drop, time, group, label}
        for proposal in proposals:
            if proposal.column not in decided:
                say(f"column {proposal.column!r}: {proposal.message}")
        if group is not None and found.column(group).role is Role.FEATURE:
            ids = [*ids, group]
    return with_roles(found, ids=ids, time=time, label=label, context=context, drop=drop)
