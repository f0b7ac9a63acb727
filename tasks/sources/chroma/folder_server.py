"""`python folder_server.py PROGRAM PATH PORT`: a Chroma server that ends with who started it.

It ends when standard input does, which happens also if the starting process is killed.
"""

from __future__ import annotations

import subprocess
import sys


def main() -> int:
    program, path, port = sys.argv[1:4]
    command = [program, "run", "--path", path, "--host", "127.0.0.1", "--port", port]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=null, stdout=null, stderr=null) as server:
        sys.stdin.buffer.read()
        server.terminate()
        try:
            return server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            return 1


if __name__ == "__main__":
    sys.exit(main())
