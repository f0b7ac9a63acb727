"""`python3 workers ...` in a clone is `geometra-backup ...`: the environment it needs is made on the way.

Only this file is imported by it, never the package: nothing is installed yet. And an older Python must be able to
read it, up to the line that says so.
"""

import os
import sys

if sys.version_info < (3, 11):
    sys.exit(
        "geometra-backup: needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (" + sys.executable + ")"
    )

bootstrap = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstrap.py")
# Isolated: Python put this folder first on the path, where celery.py would hide Celery itself.
os.execv(sys.executable, [sys.executable, "-I", bootstrap, "requirements.lock", "geometra-backup"] + sys.argv[1:])
