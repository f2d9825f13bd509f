"""Logging as JSON: one object per line, for journald and whatever collects it from there."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

#: Id of the request that is being served, empty outside of one.
current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")


class RequestIdFilter(logging.Filter):
    """Give every record the id of the request that it was written for."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current_request_id.get()
        return True


class JsonFormatter(logging.Formatter):
    """Format a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", ""):
            line["request_id"] = request_id
        line |= self._about_request(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        # ASCII only: a path may hold bytes that are no valid text, and a log line must never fail to be written.
        return json.dumps(line, default=str)

    @staticmethod
    def _about_request(record: logging.LogRecord) -> dict[str, object]:
        """Return what the record knows of a request: our access records say it, Django attaches the request."""
        request = getattr(record, "request", None)
        known = {
            "method": getattr(record, "method", None) or getattr(request, "method", None),
            "path": getattr(record, "path", None) or getattr(request, "path", None),
            "status": getattr(record, "status", None) or getattr(record, "status_code", None),
            "duration_ms": getattr(record, "duration_ms", None),
        }
        return {key: value for key, value in known.items() if value is not None}
