"""Tasks over folders, for a worker with threads: four must run at once, for each waits for the other three."""

import os
import threading
from pathlib import Path

from celery import Celery

folder = Path(os.environ["CELERY_FOLDER"])
for name in ("queue", "done", "control", "results"):
    (folder / name).mkdir(exist_ok=True)

app = Celery("celery_tasks", broker="filesystem://", backend=f"file://{folder / 'results'}")
app.conf.broker_transport_options = {
    "data_folder_in": folder / "queue",
    "data_folder_out": folder / "queue",
    "processed_folder": folder / "done",
    "control_folder": folder / "control",
}
app.conf.worker_prefetch_multiplier = 1
together = threading.Barrier(4)


@app.task
def square(number: int) -> int:
    together.wait(60)
    return number * number


@app.task
def fail() -> None:
    raise ValueError("as it should")
