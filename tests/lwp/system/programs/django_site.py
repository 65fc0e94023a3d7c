"""Django in a file: sync and async views, whose thread-locals and context must be their own request's."""

import asyncio
import contextvars
import sys
import threading

import django
from asgiref.local import Local
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    DEBUG=False,
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[],
    MIDDLEWARE=[],
    LOGGING_CONFIG=None,
)

across = Local()  # follows a request over threads and tasks
in_thread = threading.local()
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


def remember(name: str) -> None:
    across.name = name
    in_thread.name = name
    variable.set(name)


def recall() -> str:
    return f"{across.name} {variable.get()}"


def plain(request: HttpRequest, name: str) -> HttpResponse:
    """A sync view that goes to an event loop, whose changes it finds when it is back."""
    remember("nobody")

    async def inside() -> str:
        await asyncio.sleep(0)
        remember(name)
        return await sync_to_async(recall)()

    there = async_to_sync(inside)()
    in_thread.name = name
    return HttpResponse(f"{there} {recall()} {in_thread.name}")


async def asynchronous(request: HttpRequest, name: str) -> HttpResponse:
    """An async view that sets its Local in a thread and reads it in the loop."""
    await sync_to_async(remember)(name)
    await asyncio.sleep(0)
    return HttpResponse(f"{recall()} {await sync_to_async(recall)()} {name}")


urlpatterns = [path("sync/<name>", plain), path("async/<name>", asynchronous)]
django.setup()
application = ASGIHandler()  # type: ignore[no-untyped-call]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    sys.modules["django_site"] = sys.modules["__main__"]
    execute_from_command_line(sys.argv)
