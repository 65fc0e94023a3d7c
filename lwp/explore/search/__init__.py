"""Which schedules are tried, and how a find is made small."""
