"""The main job on pictures, every part of it real: `make demo-images` runs this.

From a folder of one handwritten digit to other digits flagged over HTTP, with heatmaps. Ends with
exit code 0 only if every step did what it says.
"""

from __future__ import annotations

import base64
import json
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import digits
from story import anomaly_json, check, get, metric, rows_of, say, served, title

FOLDER = Path("demo-images")
NAME = "digits"
CHAMPION = f"models:/{NAME}@champion"
ALPHA = 0.05


def main() -> None:
    """Run the story."""
    started = time.monotonic()
    title(f"1. Data: handwritten digits as PNG files; {digits.NORMAL} is normal")
    digits.write(FOLDER)
    say(f"{FOLDER}/training: only {digits.NORMAL}; {FOLDER}/new: every digit")

    title(f"2. Train on the folder, calibrate at alpha = {ALPHA}, register in MLflow")
    trained = anomaly_json("train", FOLDER / "training", "--name", NAME, "--alpha", ALPHA)
    champion = " and made it the champion" if trained["champion"] else ""
    say(f"registered {NAME} version {trained['version']}{champion}")

    title("3. Score the other folder with the champion, draw heatmaps of what is flagged")
    scored, heatmaps = FOLDER / "scored.csv", FOLDER / "heatmaps"
    report = anomaly_json(
        *("score", FOLDER / "new", "--model", CHAMPION),
        *("--output", scored, "--heatmaps", heatmaps),
    )
    say(f"{report['flagged']} of {report['images']} images flagged: {scored}")

    title(f"4. Serve {CHAMPION} and score the same files over HTTP")
    batch = rows_of(scored)
    answer, metrics = over_http([FOLDER / "new" / row["image"] for row in batch])
    check(
        answer["scores"] == [float(row["score"]) for row in batch],
        "HTTP and folder scores are equal to the last bit",
    )
    counted = metric(metrics, "anomaly_rows_scored_total")
    check(counted == len(batch), f"/metrics counted {counted:.0f} images")
    heat = base64.b64decode(answer["explanations"][0]["heatmap"])
    check(heat.startswith(b"\x89PNG"), "every image came back with a heatmap")

    title("5. Look into the latent space")
    latent = anomaly_json(
        *("latent", FOLDER / "new", "--model", CHAMPION, "--output", FOLDER / "latent")
    )
    say(f"{len(latent['figures'])} figures: {FOLDER}/latent")

    title("Result")
    show(trained, batch)
    say(f"\nAll of it took {time.monotonic() - started:.0f} s. Where to look next:")
    say(f"  {scored}, {heatmaps}/: verdicts, and where each flagged image is odd")
    say(f"  {FOLDER}/latent/: reconstructions, samples, interpolations")
    say(f"  {sys.prefix}/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db: run and model")
    say("  README.md: the same with a folder of your own")


def over_http(files: list[Path]) -> tuple[dict[str, Any], str]:
    """Start the service, send all files in one form, read its metrics, stop it."""
    boundary = uuid.uuid4().hex
    parts = [
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; '
            f'filename="{file.name}"\r\nContent-Type: image/png\r\n\r\n'
        ).encode()
        + file.read_bytes()
        + b"\r\n"
        for file in files
    ]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    with served(CHAMPION) as (address, metrics_address):
        request = urllib.request.Request(
            f"{address}/v1/score?explain=true",
            body,
            {"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        answer = json.loads(get(request))
        return answer, get(metrics_address).decode()


def show(trained: dict[str, Any], batch: list[dict[str, str]]) -> None:
    """The short table."""
    flagged = {row["image"]: row["is_anomaly"] == "true" for row in batch}
    own = [name for name in flagged if name.startswith(f"{digits.NORMAL}-")]
    others = [name for name in flagged if name not in own]
    lines = {
        "false-alarm rate asked": f"{trained['alpha']:.3f}",
        "false-alarm rate measured": f"{trained['metrics']['test/false_alarm_rate']:.3f} "
        f"({trained['metrics']['test/normal_rows']:.0f} test images)",
        "other digits flagged": f"{sum(flagged[name] for name in others)} of {len(others)}",
        f"new images of {digits.NORMAL} flagged": f"{sum(flagged[name] for name in own)} of "
        f"{len(own)}",
    }
    for name, value in lines.items():
        say(f"  {name:28}{value}")


if __name__ == "__main__":
    main()
