"""Runs a PostgreSQL server for whoever started this script, and deletes it afterwards.

Prints the server's URL when it answers, and stops when its standard input closes: however the starter ends, nothing of
the server stays behind.
"""

import sys

from tests.support.postgres import local_postgres

if __name__ == "__main__":
    with local_postgres() as server:
        print(server.url, flush=True)
        sys.stdin.read()
