"""Records in, features out: layout, missing values, remarks, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.data.records import Records
from anomaly.data.schema import Column, Cycle, Kind, Role, Schema
from anomaly.preprocessing.encodings import BooleanEncoding
from anomaly.preprocessing.fit import PreprocessingWarning, fit_preprocessor
from anomaly.preprocessing.preprocessor import (
    NumericInputs,
    NumericTarget,
    PreprocessingConfig,
    Preprocessor,
    WarningCode,
)
from tests.contracts.parts import Array

SCHEMA = Schema(
    (
        Column("site", Kind.CATEGORICAL),
        Column("open", Kind.BOOLEAN),
        Column("flow", Kind.NUMERIC),
        Column("taken", Kind.DATETIME, cycles=(Cycle.HOUR_OF_DAY,)),
        Column("load", Kind.NUMERIC, Role.CONTEXT),
        Column("still", Kind.NUMERIC),
        Column("serial", Kind.CATEGORICAL, Role.ID),
    )
)
NOTHING = {
    "site": None,
    "open": np.nan,
    "flow": np.nan,
    "taken": np.datetime64("NaT"),
    "load": np.nan,
    "still": np.nan,
}


def table(n: int = 40, seed: int = 0) -> Records:
    rng = np.random.default_rng(seed)
    return Records(
        {
            "site": np.array([*rng.choice(["a", "b"], n), None], dtype=object)[:-1],
            "open": rng.integers(0, 2, n).astype(np.float64),
            "flow": rng.normal(10.0, 2.0, n),
            "taken": np.datetime64("2024-01-01", "us") + rng.integers(0, 86_400, n) * 1_000_000,
            "load": rng.normal(size=n),
            "still": np.full(n, 7.0),
        },
        n,
    )


def changed(records: Records, row: int, **values: object) -> Records:
    columns = {name: values_.copy() for name, values_ in records.columns.items()}
    for name, value in values.items():
        columns[name][row] = value
    return Records(columns, len(records))


def fitted(records: Records, config: PreprocessingConfig | None = None) -> Preprocessor:
    with pytest.warns(PreprocessingWarning, match="'still'"):
        return fit_preprocessor(SCHEMA, records, config)


RECORDS = table()


class TestFeatures:
    def test_targets_are_numbers_phases_booleans_and_codes(self) -> None:
        preprocessor = fitted(RECORDS)
        features = preprocessor.transform(RECORDS)
        assert preprocessor.features.target_columns == ("flow", "taken", "taken", "open", "site")
        flow, opened, site = (RECORDS.columns[name] for name in ("flow", "open", "site"))
        expected = (flow - flow.mean()) / flow.std()
        np.testing.assert_allclose(features.targets[:, 0], expected)
        np.testing.assert_allclose((features.targets[:, 1:3] ** 2).sum(1), 1.0)
        assert features.targets[:, 3].tolist() == opened.tolist()
        assert features.targets[:, 4].tolist() == [float(name == "b") for name in site]
        assert features.observed.all()
        assert features.inputs.dtype == features.context.dtype == np.float32
        assert features.targets.dtype == np.float64

    def test_a_category_is_one_hot_with_a_place_for_the_unknown(self) -> None:
        preprocessor = fitted(RECORDS)
        records = changed(changed(changed(RECORDS, 0, site="new"), 1, site="a"), 2, site="b")
        features = preprocessor.transform(records)
        assert features.inputs[:3, -3:].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
        assert features.targets[0, -1] == 2

    def test_a_missing_value_is_zeros_and_its_mask(self) -> None:
        holes = changed(RECORDS, 0, **NOTHING)
        preprocessor = fitted(holes)
        features = preprocessor.transform(holes)
        assert not features.observed[0].any()
        assert not features.targets[0].any()
        assert not features.inputs[0].any()
        assert not features.context[0].any()
        # Each feature column shows its mask, which is 1 everywhere else.
        masks = (features.inputs[1:] == 1).all(axis=0).sum()
        assert masks == 4
        assert features.observed[1:].all()

    def test_a_value_missing_only_at_scoring_time_is_zeros_without_a_mask(self) -> None:
        preprocessor = fitted(RECORDS)
        features = preprocessor.transform(changed(RECORDS, 3, flow=np.nan))
        assert not features.observed[3, 0]
        assert features.inputs[3, :2].tolist() == [0.0, 0.0]
        assert features.inputs.shape == preprocessor.transform(RECORDS).inputs.shape

    @pytest.mark.parametrize("inputs", list(NumericInputs))
    def test_every_input_knows_its_target(self, inputs: NumericInputs) -> None:
        """Changing one column changes exactly the inputs that the target owns."""
        preprocessor = fitted(
            changed(RECORDS, 0, flow=np.nan), PreprocessingConfig(numeric_inputs=inputs)
        )
        owner, is_number = preprocessor.features.input_targets
        before = preprocessor.transform(RECORDS)
        assert len(owner) == len(is_number) == before.inputs.shape[1]
        columns = preprocessor.features.target_columns
        for name in ("flow", "taken", "open", "site"):
            after = preprocessor.transform(changed(RECORDS, 5, **{name: NOTHING[name]}))
            moved = np.flatnonzero(after.inputs[5] != before.inputs[5])
            owned = [i for i, target in enumerate(owner) if columns[target] == name]
            assert set(moved) <= set(owned)
            assert len(moved) >= 1
            kinds = {bool(is_number[i]) for i in moved}
            assert (True in kinds) == (name in ("flow", "taken"))

    def test_inputs_and_target_follow_the_configuration(self) -> None:
        numbers = fitted(RECORDS).features.numbers
        values = RECORDS.columns["flow"][:, None]
        z, ranks = numbers.standardised(values)[:, 0], numbers.ranked(values)[:, 0]
        expected = {
            NumericInputs.STANDARDISED: [z],
            NumericInputs.RANK_NORMAL: [ranks],
            NumericInputs.BOTH: [z, ranks],
        }
        for inputs, columns in expected.items():
            found = fitted(RECORDS, PreprocessingConfig(numeric_inputs=inputs)).transform(RECORDS)
            np.testing.assert_allclose(found.inputs[:, : len(columns)].T, columns, rtol=1e-6)
        for target, column in (
            (NumericTarget.STANDARDISED, z),
            (NumericTarget.RANK_NORMAL, ranks),
        ):
            config = PreprocessingConfig(numeric_target=target)
            found = fitted(RECORDS, config).transform(RECORDS)
            np.testing.assert_allclose(found.targets[:, 0], column)

    def test_context_is_told_and_never_a_target(self) -> None:
        preprocessor = fitted(RECORDS)
        features = preprocessor.transform(RECORDS)
        elsewhere = preprocessor.transform(changed(RECORDS, 0, load=99.0))
        assert features.context.shape == (40, 2)
        assert elsewhere.context[0].tolist() != features.context[0].tolist()
        assert elsewhere.targets.tolist() == features.targets.tolist()
        assert elsewhere.inputs.tolist() == features.inputs.tolist()

    def test_a_row_does_not_see_its_neighbours(self) -> None:
        preprocessor = fitted(RECORDS)
        together = preprocessor.transform(RECORDS)
        for row in range(3):
            alone = preprocessor.transform(RECORDS.take(slice(row, row + 1)))
            assert alone.inputs.tolist() == [together.inputs[row].tolist()]
            assert alone.targets.tolist() == [together.targets[row].tolist()]

    def test_no_rows_give_no_features(self) -> None:
        preprocessor = fitted(RECORDS)
        empty = preprocessor.transform(RECORDS.take(slice(0, 0)))
        assert empty.inputs.shape == (0, preprocessor.transform(RECORDS).inputs.shape[1])
        assert len(empty) == 0

    def test_counts_describe_the_targets(self) -> None:
        counts = fitted(RECORDS).features.counts
        assert (counts.gaussian, counts.bernoulli, counts.classes) == (3, 1, (3,))


class TestRemarks:
    @pytest.mark.parametrize(
        ("column", "value", "code"),
        [
            ("site", "new", WarningCode.UNSEEN_CATEGORY),
            ("flow", 1e9, WarningCode.OUT_OF_RANGE),
            ("load", -1e9, WarningCode.OUT_OF_RANGE),
            ("still", 8.0, WarningCode.CHANGED_CONSTANT),
            ("flow", np.nan, WarningCode.MISSING_VALUE),
            ("site", None, WarningCode.MISSING_VALUE),
            ("taken", np.datetime64("NaT"), WarningCode.MISSING_VALUE),
            ("open", np.nan, WarningCode.MISSING_VALUE),
            ("load", np.nan, WarningCode.MISSING_VALUE),
            ("still", np.nan, WarningCode.MISSING_VALUE),
        ],
    )
    def test_what_is_remarkable_is_named_with_its_rows(
        self, column: str, value: object, code: WarningCode
    ) -> None:
        records = changed(changed(RECORDS, 4, **{column: value}), 9, **{column: value})
        (warning,) = fitted(RECORDS).warnings(records)
        assert (warning.code, warning.column, warning.rows.tolist()) == (code, column, [4, 9])

    def test_ordinary_rows_are_not_remarked_on(self) -> None:
        assert fitted(RECORDS).warnings(RECORDS) == ()


class TestTheWayBack:
    @pytest.mark.parametrize("target", list(NumericTarget))
    def test_restoring_inverts_the_transform(self, target: NumericTarget) -> None:
        preprocessor = fitted(RECORDS, PreprocessingConfig(numeric_target=target))
        far = changed(changed(RECORDS, 0, flow=100.0), 1, flow=-50.0)
        t = preprocessor.transform(far).targets
        site = np.eye(3)[t[:, 4].astype(int)]
        restored = preprocessor.restore(t[:, :3], t[:, 3:4], [site])
        assert list(restored) == ["flow", "open", "site"]
        np.testing.assert_allclose(restored["flow"], far.columns["flow"].astype(float))
        assert restored["open"].tolist() == far.columns["open"].tolist()
        assert restored["site"].tolist() == far.columns["site"].tolist()

    def test_the_unknown_category_is_never_what_was_expected(self) -> None:
        preprocessor = fitted(RECORDS)
        restored = preprocessor.restore(
            np.zeros((1, 3)), np.zeros((1, 1)), [np.array([[0.1, 0.2, 0.7]])]
        )
        assert restored["site"].tolist() == ["b"]

    @pytest.mark.parametrize("target", list(NumericTarget))
    @pytest.mark.parametrize("size", [1e-310, 1.0, 1e308])
    def test_restored_numbers_are_finite_for_every_size_of_number(
        self, target: NumericTarget, size: float
    ) -> None:
        schema = Schema((Column("x", Kind.NUMERIC),))
        values: Array = np.random.default_rng(0).uniform(-1, 1, 50) * size
        config = PreprocessingConfig(numeric_target=target)
        preprocessor = fit_preprocessor(schema, Records({"x": values}, 50), config)
        means = np.array([[-1e5], [-1.0], [0.0], [1.0], [1e5]])
        restored = preprocessor.restore(means, np.zeros((5, 0)), [])["x"]
        assert np.isfinite(restored.astype(float)).all()
        assert (np.diff(restored.astype(float)) >= 0).all()


def test_a_boolean_is_shown_as_plus_or_minus_one() -> None:
    schema = Schema((Column("on", Kind.BOOLEAN),))
    records = Records({"on": np.array([0.0, 1.0])}, 2)
    preprocessor = fit_preprocessor(schema, records)
    assert preprocessor.features.encodings == (BooleanEncoding("on"),)
    assert preprocessor.transform(records).inputs.tolist() == [[-1.0], [1.0]]
