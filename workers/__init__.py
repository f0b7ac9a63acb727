"""Who does the work, when, and how a person starts it. `celery -A workers` finds the app in `workers/celery.py`."""
