"""The main job on real data, every part of it real: `make demo` runs this.

From a CSV of benign tumours to malignant ones flagged over HTTP. Ends with exit code 0 only if
every step did what it says.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import breast_cancer
from story import anomaly_json, check, get, metric, rows_of, say, served, title

FOLDER = Path("demo")
NAME = "breast-cancer"
CHAMPION = f"models:/{NAME}@champion"
ALPHA = 0.05


def main() -> None:
    """Run the story."""
    started = time.monotonic()
    title("1. Data: the breast-cancer table of scikit-learn as CSV; benign is normal")
    breast_cancer.write(FOLDER)
    say(f"{FOLDER}/training.csv, {FOLDER}/new.csv (no diagnosis in it)")

    title(f"2. Train on benign rows, calibrate at alpha = {ALPHA}, register in MLflow")
    trained = anomaly_json(
        *("train", FOLDER / "training.csv", "--name", NAME, "--alpha", ALPHA),
        *("--label-column", "diagnosis", "--normal-label", "benign"),
    )
    champion = " and made it the champion" if trained["champion"] else ""
    say(f"registered {NAME} version {trained['version']}{champion}")

    title("3. Score a CSV with the champion")
    scored = FOLDER / "scored.csv"
    report = anomaly_json(
        "score", FOLDER / "new.csv", "--model", CHAMPION, "--output", scored, "--keep-input"
    )
    say(f"{report['flagged']} of {report['rows']} rows flagged: {scored}")

    title(f"4. Serve {CHAMPION} and score the same rows over HTTP")
    answer, metrics = over_http(rows_of(FOLDER / "new.csv"))
    batch = rows_of(scored)
    check(
        answer["scores"] == [float(row["score"]) for row in batch],
        "HTTP and CSV scores are equal to the last bit",
    )
    counted = metric(metrics, "anomaly_rows_scored_total")
    check(counted == len(batch), f"/metrics counted {counted:.0f} rows")

    title("Result")
    show(trained, report, answer, batch)
    say(f"\nAll of it took {time.monotonic() - started:.0f} s. Where to look next:")
    say(f"  {scored}: every row with score, p-value, verdict and reasons")
    say(f"  {sys.prefix}/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db: run and model")
    say("  make serve: the service again, with its documentation at http://127.0.0.1:8080/docs")
    say("  README.md: the same with a CSV of your own")


def over_http(rows: list[dict[str, str]]) -> tuple[dict[str, Any], str]:
    """Start the service, score the rows, read its metrics, stop it."""
    features = [name for name in rows[0] if name != "sample"]
    body = {
        "columns": ["sample", *features],
        "rows": [[row["sample"], *(float(row[name]) for name in features)] for row in rows],
    }
    with served(CHAMPION) as (address, metrics_address):
        request = urllib.request.Request(
            f"{address}/v1/score?explain=true",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        answer = json.loads(get(request))
        return answer, get(metrics_address).decode()


def show(
    trained: dict[str, Any],
    report: dict[str, Any],
    answer: dict[str, Any],
    batch: list[dict[str, str]],
) -> None:
    """The short table, and three flagged rows with their reasons."""
    metrics = trained["metrics"]
    truth = {row["sample"]: row["diagnosis"] for row in rows_of(FOLDER / "new_truth.csv")}
    flagged = [row for row in batch if row["is_anomaly"] == "true"]
    right = sum(truth[row["sample"]] == "malignant" for row in flagged)
    malignant = sum(diagnosis == "malignant" for diagnosis in truth.values())
    lines = {
        "AUROC (test rows)": f"{metrics['test/auroc']:.3f}",
        "average precision": f"{metrics['test/average_precision']:.3f}",
        "false-alarm rate asked": f"{trained['alpha']:.3f}",
        "false-alarm rate measured": f"{metrics['test/false_alarm_rate']:.3f} "
        f"({metrics['test/normal_rows']:.0f} benign test rows)",
        "rows flagged in new.csv": f"{report['flagged']} of {report['rows']}: {right} of "
        f"{malignant} malignant, {len(flagged) - right} benign",
    }
    for name, value in lines.items():
        say(f"  {name:28}{value}")
    say("\n  three flagged rows:")
    order = sorted(range(len(batch)), key=lambda i: -answer["scores"][i])
    for i in order[:3]:
        say(
            f"  {batch[i]['sample']} ({truth[batch[i]['sample']]}), p = {answer['p_values'][i]:.3f}"
        )
        for reason in answer["contributions"][i][:3]:
            say(
                f"      {reason['column']}: {reason['observed']:.4g}, expected "
                f"{reason['expected']:.4g} ({reason['share']:.0%} of the excess)"
            )


if __name__ == "__main__":
    main()
