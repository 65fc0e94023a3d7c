"""zipfile of 3.12.1: two members that are read and sought in two threads get each other's data (gh-127847)."""
# 3.12.1

import io
import threading
import zipfile

CONTENT = {"a": bytes(range(100)) * 100, "b": bytes(range(100, 200)) * 100}


def test():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)
    wrong = []
    with zipfile.ZipFile(data) as archive:

        def read(name):
            with archive.open(name) as member:
                member.read(10)
                member.seek(5000)
                if member.read(10) != CONTENT[name][5000:5010]:
                    wrong.append(name)

        threads = [threading.Thread(target=read, args=(name,)) for name in CONTENT]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
