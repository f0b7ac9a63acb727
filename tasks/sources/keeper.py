"""`python keeper.py SIGNAL USER PROGRAM ARGUMENT...`: a server that ends with who started it.

It gets that signal when standard input ends, which happens also if the starting process is killed; and this program
ends when the server does. `USER` is empty, or who the server runs as.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import threading

_PATIENCE = 20.0


def main() -> None:
    number, user, *command = sys.argv[1:]
    # Its own group: not everybody's is called as they are.
    other = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, **other)  # type: ignore[call-overload]
    watch = threading.Thread(target=_end_with, args=(server,))
    watch.start()
    # Not by `sys.stdin`: a thread that still reads from it holds a lock that the end of Python waits for.
    while os.read(0, 1):
        pass
    server.send_signal(signal.Signals[number])
    watch.join(_PATIENCE)
    server.kill()


def _end_with(server: subprocess.Popen[bytes]) -> None:
    code = server.wait()
    os._exit(code if code >= 0 else 1)


if __name__ == "__main__":
    main()
