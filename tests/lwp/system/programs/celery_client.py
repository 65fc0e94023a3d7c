"""Asks a worker for tasks of celery_tasks."""

from celery_tasks import fail, square

results = [square.delay(number) for number in range(24)]
print(sum(result.get(timeout=90) for result in results))
try:
    fail.delay().get(timeout=90)
except ValueError as error:
    print(error)
