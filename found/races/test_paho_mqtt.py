"""paho-mqtt 2.2.0: loop_stop() raises AttributeError if the network thread ends at that moment."""

from paho.mqtt.client import CallbackAPIVersion, Client

HELD = [("MainThread", "paho/mqtt/client.py", "self._thread.join()", 2.5)]


def test():
    client = Client(CallbackAPIVersion.VERSION2)
    client.loop_start()
    client.disconnect()
    client.loop_stop()
