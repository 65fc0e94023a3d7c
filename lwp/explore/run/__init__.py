"""One run: what it is to do, the program under control, where its threads may be switched."""
