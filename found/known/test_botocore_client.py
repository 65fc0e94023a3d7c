"""botocore 1.20.0: two create_client() of one session: KeyError (endpoint_resolver)."""
# 3.11.7 botocore==1.20.0 jmespath<1 python-dateutil urllib3<1.27 six

import threading

import botocore.session


def test():
    session = botocore.session.Session()
    errors = []

    def create():
        try:
            session.create_client("sts", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        except KeyError as error:
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
