"""A session with the Jupyter kernel whose connection file is named: cells with threads, then the kernel's end."""

import queue
import sys
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

PATIENCE = 90  # seconds
CELLS = (
    """
import threading
def work(number):
    print("thread", number)
threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
    thread.join()
done = threading.Event()
threading.Timer(0.01, done.set).start()
done.wait(30)
""",
    "print(done.is_set())",
)


def execute(client: Any, code: str) -> str:
    """What the cell printed, once the kernel is idle again."""
    asked, printed = client.execute(code), ""
    while True:
        try:
            message = client.get_iopub_msg(timeout=PATIENCE)
        except queue.Empty:
            raise SystemExit(f"no answer; so far: {printed}") from None
        if message["parent_header"].get("msg_id") != asked:
            continue
        if message["msg_type"] == "stream":
            printed += message["content"]["text"]
        if message["msg_type"] == "error":
            raise SystemExit("\n".join(message["content"]["traceback"]))
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return printed


client = BlockingKernelClient(connection_file=sys.argv[1])
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=PATIENCE)
for cell in CELLS:
    print(execute(client, cell), end="")
client.shutdown()
client.stop_channels()
