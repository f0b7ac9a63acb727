"""Flower's own settings, read by `celery -A workers flower` unless `--conf` names others; options on its command line
come first. A name here that is no option of Flower's is ignored."""

from __future__ import annotations

import os as _os

from prometheus_client import REGISTRY as _REGISTRY

from tasks.installation import current as _current
from tasks.secret import Secret as _Secret
from workers import outdated as _outdated
from workers.celery import app as _app
from workers.metrics import Gathered as _Gathered

if "GEOMETRA_BACKUP_FLOWER_LOGIN" in _os.environ:
    # `file:PATH` or `env:NAME` of `user:password`: on a command line everybody on the host could read it.
    basic_auth = [_Secret.at(_os.environ["GEOMETRA_BACKUP_FLOWER_LOGIN"]).read()]

# What a step works on and how far it is, rather than ids.
tasks_columns = "name,kwargs,state,result,started,runtime,worker"

_app.conf.get("broker_url")  # Celery's own settings come first, as in every other process
_outdated.note(f"flower@{_current().settings.host}")
_gathered = _Gathered(_current())
_gathered.start()
_REGISTRY.register(_gathered)
