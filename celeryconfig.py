"""Celery's own settings, nothing else: what survives kills of workers and of the broker. A name imported here becomes a
setting, so each is imported with an underscore. What each line is for was found by killing things; see the tests.
"""

from __future__ import annotations

import os as _os
from datetime import timedelta as _timedelta

from kombu import Exchange as _Exchange
from kombu import Queue as _Queue

from tasks.broker import SILENCE as _SILENCE
from tasks.broker import broker_url as _broker_url
from tasks.installation import current as _current
from workers import pools as _pools
from workers import schedule as _schedule
from workers import signing as _signing

_settings = _current().settings

broker_url = _broker_url(_settings)
result_backend = broker_url
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# A broker that answers and refuses for a while (its disk or memory is full, or a replica took over) is waited for too.
broker_channel_error_retry = True

# A message comes again this long after its worker was lost with all its processes, and at most 10 s more.
_visibility = float(_os.environ.get("GEOMETRA_BACKUP_VISIBILITY_SECONDS", "40"))
broker_transport_options = {
    "visibility_timeout": _visibility,
    "unacked_restore_interval": min(10.0, _visibility / 4),
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 10,  # a worker killed while it restores others' messages holds this lock
    "socket_timeout": _SILENCE,
    "socket_connect_timeout": 5,
    "health_check_interval": max(1, int(_SILENCE / 2)),
}

task_serializer = result_serializer = event_serializer = "json"
accept_content = result_accept_content = ["json"]
if _signing.set_up(_settings):
    # Answers and events stay plain: nobody acts on them.
    task_serializer = "auth"
    accept_content = ["auth"]

# Without task_retry_on_worker_lost: tasks/step.py counts the workers that a step has lost, over hosts and restarts.
task_acks_late = True
task_reject_on_worker_lost = True
worker_deduplicate_successful_tasks = True
worker_prefetch_multiplier = 1
worker_cancel_long_running_tasks_on_connection_loss = False
worker_soft_shutdown_timeout = 20.0
worker_enable_soft_shutdown_on_idle = False
worker_proc_alive_timeout = 30.0
worker_hijack_root_logger = False
worker_send_task_events = True

# A broker that restarts in the middle of a night costs a pause, not the report.
task_publish_retry_policy = {"max_retries": 20, "interval_start": 0, "interval_step": 0.5, "interval_max": 3.0}
result_backend_always_retry = True
result_backend_max_retries = 20
result_backend_max_sleep_between_retries_ms = 2000
redis_socket_timeout = _SILENCE
redis_socket_connect_timeout = 5.0
result_expires = 7 * 24 * 3600
result_extended = False

task_default_queue = "control"
task_create_missing_queues = True
task_queues = [_Queue(name, _Exchange(name), name) for name in _pools.queues(_settings.host)]
task_routes = (_pools.route,)

timezone = "UTC"
enable_utc = True
beat_schedule = _schedule.beat_schedule(_settings, every=_timedelta(seconds=_visibility / 2))
beat_scheduler = "workers.beat:OneBeat"
