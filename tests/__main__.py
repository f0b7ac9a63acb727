"""`python3 tests ...` in a clone is `pytest ...` in its root: the environment it needs is made on the way.

Without arguments it is all of the tests, several at a time: many of them wait for what they have started.

An older Python must be able to read this, up to the line that says so.
"""

import os
import sys

if sys.version_info < (3, 11):
    sys.exit(
        "geometra-backup: needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (" + sys.executable + ")"
    )

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
bootstrap = os.path.join(root, "workers", "bootstrap.py")
os.chdir(root)
arguments = sys.argv[1:] or ["--numprocesses", str((os.cpu_count() or 1) + 2), "--dist", "worksteal"]
os.execv(sys.executable, [sys.executable, "-I", bootstrap, "requirements-test.lock", "pytest"] + arguments)
