"""paho-mqtt 2.1.0: of two threads in wait_for_publish() one is never woken."""
# 3.12.1 paho-mqtt==2.1.0

import threading

from paho.mqtt.client import MQTTMessageInfo


def test():
    info = MQTTMessageInfo(1)
    waiters = [threading.Thread(target=info.wait_for_publish) for _ in range(2)]
    for waiter in waiters:
        waiter.start()
    info._set_as_published()
    for waiter in waiters:
        waiter.join()
