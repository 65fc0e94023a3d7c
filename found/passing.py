"""What threads share in packages that are in wide use. Nothing was found here: found/README.md has the runs."""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def together(*calls: Callable[[], object]) -> None:
    """Each call in a thread of its own; what one of them raises is raised here."""
    errors = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


# ---- caches ----------------------------------------------------------------------------------------------------------


def test_boltons_lru():
    from boltons.cacheutils import LRU

    cache = LRU(2)

    def use(key):
        cache[key] = key
        cache.get(key)
        cache.pop(key, None)

    together(lambda: use(1), lambda: use(2), lambda: use(3))
    assert not cache


def test_boltons_once():
    from boltons.funcutils import once

    calls = []
    call = once(lambda: calls.append(1))
    together(call, call)
    assert len(calls) == 1


def test_cachelib():
    from cachelib import SimpleCache

    cache = SimpleCache(threshold=2)
    cache.set("n", 0)
    together(lambda: cache.inc("n"), lambda: cache.inc("n"), lambda: cache.add("x", 1))
    assert cache.get("n") == 2


def test_cacheout():
    from cacheout import LRUCache

    cache = LRUCache(maxsize=2)
    square = cache.memoize()(lambda number: number * number)
    together(lambda: square(2), lambda: square(2), lambda: cache.set_many({"a": 1, "b": 2}))
    assert cache.size() <= 2


def test_cachetools():
    from cachetools.func import lru_cache

    calls = []
    square = lru_cache(2)(lambda number: calls.append(number) or number * number)
    together(*[lambda: square(2)] * 3)
    assert calls == [2]


def test_dnspython():
    import dns.resolver

    class Answer:
        expiration = 1e12

    cache = dns.resolver.LRUCache(2)

    def use(key):
        cache.put(key, Answer)
        cache.get(key)
        cache.flush(key)

    together(lambda: use(1), lambda: use(2), lambda: use(3))
    assert not cache.data


def test_expiringdict():
    from expiringdict import ExpiringDict

    cache = ExpiringDict(max_len=2, max_age_seconds=100)

    def use(key):
        cache[key] = key
        cache.get(key)
        cache.items()

    together(lambda: use("a"), lambda: use("b"), lambda: use("c"))
    assert len(cache) == 2


def test_jinja2():
    from jinja2.utils import LRUCache

    cache = LRUCache(2)

    def use(key):
        cache[key] = key
        cache.get(key)
        cache.setdefault(key, 1)

    together(lambda: use(1), lambda: use(2), lambda: use(3))
    assert len(cache) == 2


def test_requests_cache():
    import requests_cache

    responses = requests_cache.CachedSession(backend="memory").cache.responses
    together(lambda: responses.update(a=1), lambda: responses.update(b=2))
    assert len(responses) == 2


def test_toolz():
    import toolz

    square = toolz.memoize(lambda number: number * number)
    together(*[lambda: square(2)] * 3)
    assert square(2) == 4


def test_urllib3():
    from urllib3._collections import RecentlyUsedContainer

    gone = []
    pools = RecentlyUsedContainer(2, gone.append)

    def use(key):
        pools[key] = key
        pools.get(key)

    together(lambda: use(1), lambda: use(2), lambda: use(3))
    assert len(pools) == 2
    assert len(gone) == 1


# ---- pools, connections, stores --------------------------------------------------------------------------------------


def test_botocore():
    from datetime import UTC, datetime, timedelta

    from botocore.credentials import RefreshableCredentials

    calls, now = [], datetime.now(UTC)

    def fetch():
        calls.append(1)
        time = (now + timedelta(days=9)).isoformat()
        return {"access_key": "a", "secret_key": "b", "token": "c", "expiry_time": time}

    shared = RefreshableCredentials("x", "y", "z", now - timedelta(days=9), fetch, "test")
    together(*[lambda: shared.get_frozen_credentials()] * 2)
    assert len(calls) == 1


def test_dask():
    from dask.threaded import get

    graph = {"a": 1, "b": (lambda x: x + 1, "a"), "c": (lambda x: x * 2, "a")}
    with ThreadPoolExecutor(2) as pool:
        assert get(graph, ["b", "c"], pool=pool) == (2, 2)


def test_distributed():
    from distributed.threadpoolexecutor import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        assert [future.result() for future in [pool.submit(pow, 2, n) for n in range(3)]] == [1, 2, 4]


def test_execnet():
    from execnet.gateway_base import ThreadExecModel, WorkerPool

    pool = WorkerPool(ThreadExecModel())
    replies = [pool.spawn(pow, 2, n) for n in range(2)]
    assert [reply.get() for reply in replies] == [1, 2]
    assert pool.waitall()


def test_httpx():
    import httpx

    with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))) as client:
        together(*[lambda: client.get("http://x.example/")] * 2)


def test_kombu():
    from kombu import Connection

    used = []
    with Connection("memory://") as connection:
        pool = connection.Pool(2)

        def use():
            with pool.acquire(block=True) as one:
                used.append(one)

        together(use, use, use)
    assert len(used) == 3


def test_locket():
    import locket

    inside = []

    def enter():
        with locket.lock_file(f"{folder}/lock"):
            inside.append(1)
            assert len(inside) == 1
            inside.pop()

    with tempfile.TemporaryDirectory() as folder:
        together(enter, enter)


def test_partd():
    from partd import Buffer, Dict

    store = Buffer(Dict(), Dict(), available_memory=2)
    together(lambda: store.append({"a": b"xy"}), lambda: store.append({"a": b"zz", "b": b"1"}))
    assert len(store.get("a")) == 4


def test_peewee():
    from playhouse.pool import PooledSqliteDatabase

    def use():
        with database.connection_context():
            database.execute_sql("select 1").fetchall()

    with tempfile.TemporaryDirectory() as folder:
        database = PooledSqliteDatabase(f"{folder}/d", max_connections=2, check_same_thread=False)
        together(use, use)
        database.close_all()


def test_psycopg_pool():
    from psycopg_pool.sched import Scheduler

    scheduler, called = Scheduler(), []
    together(lambda: scheduler.enter(0, lambda: called.append(1)), lambda: scheduler.enter(0, None), scheduler.run)
    assert len(called) <= 1


def test_pymemcache():
    from pymemcache.pool import ObjectPool

    class Thing:
        pass

    pool, used = ObjectPool(Thing, max_size=2), []

    def use():
        with pool.get_and_release() as thing:
            assert thing not in used
            used.append(thing)
            used.remove(thing)

    together(use, use)
    assert not pool.used


def test_pymongo():
    from pymongo.read_preferences import MovingAverage

    average = MovingAverage()
    together(lambda: average.add_sample(1), lambda: average.add_sample(2))
    assert average.get() is not None


def test_requests():
    from requests.cookies import RequestsCookieJar

    jar = RequestsCookieJar()
    together(lambda: jar.set("a", "1"), lambda: jar.set("b", "2"), jar.get_dict)
    assert len(jar) == 2


def test_sqlitedict():
    from sqlitedict import SqliteDict

    with tempfile.TemporaryDirectory() as folder, SqliteDict(f"{folder}/d") as store:
        together(lambda: store.update(a=1), lambda: store.update(b=2))
        assert len(store) == 2


# ---- signals, logs, plug-ins -----------------------------------------------------------------------------------------


def test_blinker():
    import blinker

    signal, got = blinker.Signal(), []
    signal.connect(got.append, weak=False)

    def other(sender):
        pass

    together(lambda: signal.send(1), lambda: signal.connect(other), lambda: signal.disconnect(other))
    assert got == [1]


def test_django():
    from django.dispatch import Signal

    signal, got = Signal(), []

    def receive(number, **_):
        got.append(number)

    def other(**_):
        pass

    signal.connect(receive)
    together(lambda: signal.send(None, number=1), lambda: signal.connect(other), lambda: signal.disconnect(other))
    assert got == [1]


def test_injector():
    import injector

    made = []

    @injector.singleton
    class Service:
        def __init__(self):
            made.append(self)

    box = injector.Injector()
    together(*[lambda: box.get(Service)] * 2)
    assert len(made) == 1


def test_loguru():
    from loguru import logger

    lines = []
    number = logger.add(lines.append)
    together(lambda: logger.info("hello"), lambda: logger.remove(logger.add(print)))
    logger.remove(number)
    assert len(lines) == 1


def test_pluggy():
    import pluggy

    spec, implementation = pluggy.HookspecMarker("m"), pluggy.HookimplMarker("m")

    class Specified:
        @spec
        def ask(self): ...

    class Plugin:
        @implementation
        def ask(self):
            return 1

    manager, answers = pluggy.PluginManager("m"), []
    manager.add_hookspecs(Specified)
    manager.register(Plugin())
    together(lambda: manager.register(Plugin()), lambda: answers.append(manager.hook.ask()))
    assert set(answers[0]) == {1}


def test_pydispatcher():
    from pydispatch import dispatcher

    got = []

    def hear(number):
        got.append(number)

    dispatcher.connect(hear, "news")
    together(lambda: dispatcher.send("news", number=1), lambda: dispatcher.send("news", number=2))
    dispatcher.disconnect(hear, "news")
    assert sorted(got) == [1, 2]


def test_pypubsub():
    from pubsub.core import Publisher

    publisher, got = Publisher(), []

    def hear(number):
        got.append(number)

    publisher.subscribe(hear, "news")
    together(*[lambda n=n: publisher.sendMessage("news", number=n) for n in (1, 2)])
    assert sorted(got) == [1, 2]


def test_reactivex():
    from reactivex.subject import Subject

    subject, got = Subject(), []
    subject.subscribe(got.append)
    together(lambda: subject.on_next(1), lambda: subject.on_next(2), lambda: subject.subscribe(print).dispose())
    assert sorted(got) == [1, 2]


def test_structlog():
    import structlog

    out = io.StringIO()
    logger = structlog.PrintLogger(out)
    together(lambda: logger.info("a"), lambda: logger.info("b"))
    assert sorted(out.getvalue().split()) == ["a", "b"]


def test_traitlets():
    import traitlets

    class Box(traitlets.HasTraits):
        number = traitlets.Int()

    box, seen = Box(), []
    box.observe(lambda change: seen.append(change["new"]), "number")
    together(lambda: setattr(box, "number", 1), lambda: box.observe(lambda change: None, "number"))
    assert seen == [1]


# ---- limits, breakers, retries, locks, bars --------------------------------------------------------------------------


def test_circuitbreaker():
    from circuitbreaker import CircuitBreaker, CircuitBreakerError

    breaker = CircuitBreaker(failure_threshold=2, expected_exception=ValueError)

    def attempt():
        with contextlib.suppress(ValueError, CircuitBreakerError):
            breaker.call(int, "x")

    together(attempt, attempt)
    assert breaker.opened


def test_coverage():
    from coverage.sqldata import CoverageData

    data = CoverageData(no_disk=True)
    together(lambda: data.add_lines({"a": [1]}), lambda: data.add_lines({"b": [2]}))
    assert data.measured_files() == {"a", "b"}


def test_flask():
    import flask

    app, got = flask.Flask("x"), []
    app.route("/")(lambda: flask.request.args["n"])
    together(*[lambda n=n: got.append(app.test_client().get(f"/?n={n}").text) for n in (1, 2)])
    assert sorted(got) == ["1", "2"]


def test_google_api_core():
    from datetime import timedelta

    from google.api_core.bidi import _Throttle

    throttle = _Throttle(2, timedelta(seconds=1))

    def enter():
        with throttle:
            pass

    together(enter, enter, enter)


def test_google_cloud_pubsub():
    from google.cloud.pubsub_v1.publisher.flow_controller import FlowController
    from google.cloud.pubsub_v1.types import LimitExceededBehavior, PublishFlowControl, PubsubMessage

    flow = FlowController(PublishFlowControl(1, 100, LimitExceededBehavior.BLOCK))

    def send():
        message = PubsubMessage(data=b"x")
        flow.add(message)
        flow.release(message)

    together(send, send, send)
    assert flow._message_count == 0


def test_oslo_concurrency():
    from oslo_concurrency import lockutils

    inside = []

    def enter():
        with lockutils.lock("fair", fair=True):
            inside.append(1)
            assert len(inside) == 1
            inside.pop()

    together(enter, enter)


def test_progressbar2():
    import progressbar

    bars = progressbar.MultiBar(fd=io.StringIO())
    together(lambda: bars["a"].start(), lambda: bars["b"].start())
    assert len(bars) == 2


def test_pybreaker():
    import pybreaker

    breaker, calls = pybreaker.CircuitBreaker(fail_max=2), []

    def fail():
        calls.append(1)
        raise ValueError

    def attempt():
        with contextlib.suppress(ValueError, pybreaker.CircuitBreakerError):
            breaker.call(fail)

    together(*[attempt] * 3)
    assert len(calls) == 2


def test_ratelimit():
    from ratelimit import RateLimitException, limits

    called = []
    call = limits(calls=1, period=100)(lambda: called.append(1))

    def attempt():
        with contextlib.suppress(RateLimitException):
            call()

    together(*[attempt] * 3)
    assert len(called) == 1


def test_rich():
    from rich.progress import Console, Progress

    progress = Progress(console=Console(file=io.StringIO()), auto_refresh=False)
    task = progress.add_task("x", total=2)
    together(*[lambda: progress.advance(task)] * 2)
    assert progress.finished


def test_s3transfer():
    from s3transfer.bandwidth import LeakyBucket, RequestExceededException, RequestToken

    bucket = LeakyBucket(10)

    def take():
        token = RequestToken()
        while True:
            with contextlib.suppress(RequestExceededException):
                return bucket.consume(5, token)

    together(take, take, take)


def test_stamina():
    import stamina

    tries = [[], []]

    @stamina.retry(on=ValueError, attempts=2, wait_initial=0, wait_jitter=0)
    def call(mine):
        mine.append(1)
        if len(mine) == 1:
            raise ValueError

    together(lambda: call(tries[0]), lambda: call(tries[1]))
    assert tries == [[1, 1], [1, 1]]


def test_statsd():
    from statsd import StatsClient

    client, sent = StatsClient(), []
    client._send = sent.append
    call = client.timer("call")(lambda: None)
    together(call, call)
    client.close()
    assert len(sent) == 2


def test_werkzeug():
    from werkzeug.routing import Map, Rule

    adapter, got = Map([Rule("/", endpoint="a"), Rule("/b", endpoint="b")]).bind("x"), []
    together(lambda: got.append(adapter.match("/")[0]), lambda: got.append(adapter.match("/b")[0]))
    assert sorted(got) == ["a", "b"]
