"""prometheus_client 0.6.0: a histogram is collected with a sum that its count does not know of."""
# 3.12.1 prometheus_client==0.6.0

import threading

from prometheus_client import CollectorRegistry, Histogram


def test():
    registry = CollectorRegistry()
    histogram = Histogram("seconds", "Help", registry=registry)
    observer = threading.Thread(target=histogram.observe, args=(1,))
    observer.start()
    samples = {sample.name: sample.value for metric in registry.collect() for sample in metric.samples}
    observer.join()
    assert samples["seconds_sum"] == samples["seconds_count"]
