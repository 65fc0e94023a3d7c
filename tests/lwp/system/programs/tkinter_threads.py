"""Threads that use widgets: Tcl hands their calls to the thread in mainloop(), and they wait for that in C."""

import threading
import tkinter
from concurrent.futures import ThreadPoolExecutor

root = tkinter.Tk()
label = tkinter.Label(root)
pinged: list[bool] = []
done: list[int] = []
main = threading.get_ident()


def work(n: int) -> int:
    for i in range(20):
        label.config(text=str(i))
        assert str(label.cget("text")).isdigit()
        root.event_generate("<<Ping>>")
        sum(range(10_000))
    return n


def run() -> None:
    with ThreadPoolExecutor(4) as threads:
        done.extend(threads.map(work, range(4)))
    root.after(0, root.quit)


root.bind("<<Ping>>", lambda _: pinged.append(threading.get_ident() == main))
root.update()  # the window exists: before, it gets no events
runner = threading.Thread(target=run)
root.after(0, runner.start)
root.mainloop()
runner.join()
print(done, pinged.count(True), len(pinged))
print(type(runner).start.__globals__["Thread"].__module__.split(".")[0])
