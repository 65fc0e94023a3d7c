"""opentelemetry-sdk 1.12: a span that ends beside shutdown() is taken into the queue, and never exported."""
# 3.12.1 opentelemetry-sdk==1.12 opentelemetry-api==1.12 opentelemetry-semantic-conventions==0.33b0 setuptools<80

import threading

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


def test():
    processor = BatchSpanProcessor(InMemorySpanExporter())
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    span = provider.get_tracer("test").start_span("work")
    worker = threading.Thread(target=span.end)
    worker.start()
    processor.shutdown()
    worker.join()
    assert not processor.queue, "accepted, and never exported"
