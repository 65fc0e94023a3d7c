"""sentry-sdk 2.75.0: of the first logs of two threads one is lost."""

import threading

import sentry_sdk.logger
import sentry_sdk.transport

HELD = [("one", "_batcher.py", "self._flusher = threading.Thread", 0.5)]


class Kept(sentry_sdk.transport.Transport):
    logs = 0

    def capture_envelope(self, envelope):
        self.logs += sum(len(item.payload.json["items"]) for item in envelope.items)


def test():
    kept = Kept()
    sentry_sdk.init("http://key@localhost/1", enable_logs=True, transport=kept, release="1", default_integrations=False)
    threads = [threading.Thread(target=sentry_sdk.logger.info, args=(name,), name=name) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sentry_sdk.get_client().close()
    assert kept.logs == 2
