"""apscheduler 3.9.1: the scheduler's thread dies of JobLookupError if shutdown() comes while a job is due."""
# 3.12.1 apscheduler==3.9.1 pytz tzlocal six setuptools<80

from apscheduler.schedulers.background import BackgroundScheduler
from pytz import utc


def test():
    scheduler = BackgroundScheduler(timezone=utc)
    scheduler.start()
    scheduler.add_job(print, args=("ran",))
    scheduler.shutdown()
