"""elastic-transport 9.4.2: the choice of a node raises RuntimeError while another thread marks one as dead."""

import threading

from elastic_transport import NodeConfig, Transport

HELD = [("asks", "_node_pool.py", "if node_config not in self._removed_nodes", 0.5)]


def test():
    pool = Transport([NodeConfig("http", f"{name}.example", 80) for name in "abc"]).node_pool
    node = pool.get()
    thread = threading.Thread(target=pool.get, name="asks")
    thread.start()
    pool.mark_dead(node)
    thread.join()
