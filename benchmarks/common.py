"""What the benchmarks share: which machine this is, and what a list of timings comes to."""

from __future__ import annotations

import os
import platform
import statistics
import sysconfig


def spread(values: list[float]) -> tuple[float, float, float]:
    """10th percentile, median, 90th percentile."""
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return tenths[0], statistics.median(values), tenths[-1]


def machine() -> dict[str, str]:
    processor = platform.machine()
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return {
        "python": f"{platform.python_version()}, {platform.python_compiler()}, {'with' if optimized else 'no'} PGO",
        "processor": f"{processor}, {len(os.sched_getaffinity(0))} cores",
        "system": f"Linux {platform.release()}, {' '.join(platform.libc_ver())}",
        "load": f"{os.getloadavg()[0]:.2f} when it began",
    }
