"""What a process tells about itself: logs, metrics, traces.

owns     the set-up of loguru, the way of log records to the logging service, the metrics, trace ids
never    lets a record reach a sink before it is redacted; never blocks or fails the code that logs
called   by mesh.process and gateway once at start; `from loguru import logger` everywhere
"""

from mesh.telemetry.logs import configure

__all__ = ["configure"]
