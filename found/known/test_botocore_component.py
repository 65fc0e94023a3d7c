"""botocore 1.20.0: two threads that ask for a component that is made when it is first asked for: KeyError."""
# 3.11.7 botocore==1.20.0 jmespath<1 python-dateutil urllib3<1.27 six

import threading

from botocore.session import ComponentLocator


def test():
    locator = ComponentLocator()
    locator.lazy_register_component("endpoint_resolver", object)
    errors = []

    def get():
        try:
            locator.get_component("endpoint_resolver")
        except KeyError as error:
            errors.append(error)

    threads = [threading.Thread(target=get) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
