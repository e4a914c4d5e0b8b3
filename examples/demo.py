"""The main job on real data, every part of it real: `make demo` runs this.

From a CSV of benign tumours to malignant ones flagged over HTTP. Ends with exit code 0 only if
every step did what it says.
"""

from __future__ import annotations

import csv
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import breast_cancer

FOLDER = Path("demo")
NAME = "breast-cancer"
CHAMPION = f"models:/{NAME}@champion"
ALPHA = 0.05
START_SECONDS = 60


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
    port, metrics_port = free_port(), free_port()
    service = subprocess.Popen(
        [
            *(sys.executable, "-m", "anomaly", "serve", CHAMPION),
            *("--port", str(port), "--metrics-port", str(metrics_port)),
        ]
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz", service)
        features = [name for name in rows[0] if name != "sample"]
        body = {
            "columns": ["sample", *features],
            "rows": [[row["sample"], *(float(row[name]) for name in features)] for row in rows],
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/score?explain=true",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        answer = json.loads(get(request))
        metrics = get(f"http://127.0.0.1:{metrics_port}/metrics").decode()
    finally:
        service.send_signal(signal.SIGTERM)
        code = service.wait(timeout=30)
    check(code == 0, "the service stopped cleanly")
    return answer, metrics


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


def anomaly_json(*arguments: object) -> dict[str, Any]:
    """Run the command line; progress goes to the terminal, the JSON result is returned."""
    command = [sys.executable, "-m", "anomaly", *map(str, arguments)]
    say("$ anomaly " + " ".join(command[3:]))
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"the command failed with exit code {done.returncode}: {done.stdout}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def wait_until_ready(url: str, service: subprocess.Popen[bytes]) -> None:
    """Poll until the service answers, or say why it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if service.poll() is not None:
            sys.exit(f"the service ended with exit code {service.returncode}")
        try:
            get(url)
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"the service did not answer at {url} within {START_SECONDS} s")


def get(request: str | urllib.request.Request) -> bytes:
    """The body of the answer."""
    with urllib.request.urlopen(request, timeout=30) as response:
        body: bytes = response.read()
        return body


def metric(text: str, name: str) -> float:
    """The sum over the samples of a metric."""
    lines = [line for line in text.splitlines() if line.startswith(name + "{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def check(holds: bool, what: str) -> None:
    """Say what holds, or stop."""
    if not holds:
        sys.exit(f"FAILED: {what}")
    say(f"ok: {what}")


def title(text: str) -> None:
    """A step."""
    say(f"\n== {text}")


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
