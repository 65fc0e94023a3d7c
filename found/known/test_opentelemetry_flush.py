"""opentelemetry-sdk 1.12: force_flush() beside shutdown() waits for its whole timeout, and says that it failed."""
# 3.12.1 opentelemetry-sdk==1.12 opentelemetry-api==1.12 opentelemetry-semantic-conventions==0.33b0 setuptools<80

import threading

from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


def test():
    processor = BatchSpanProcessor(InMemorySpanExporter())
    flushed = []
    flusher = threading.Thread(target=lambda: flushed.append(processor.force_flush()))
    flusher.start()
    processor.shutdown()
    flusher.join()
    assert flushed == [True]
