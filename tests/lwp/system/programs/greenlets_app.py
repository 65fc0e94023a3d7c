"""A page that is made by two threads."""

import queue
import threading


def app(environ, start_response):
    made = queue.Queue()
    begun = threading.Condition()

    def make():
        with begun:
            begun.notify()
        made.put(f"from a thread: {type(threading.Lock()).__module__.partition('.')[0]}".encode())

    with begun:
        threading.Thread(target=make).start()
        begun.wait(20)
    body = made.get(timeout=20)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
