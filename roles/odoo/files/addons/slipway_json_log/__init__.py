"""Server-wide module: one JSON object per log record instead of Odoo's text lines."""

import datetime
import json
import logging
import os
import threading


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        moment = datetime.datetime.fromtimestamp(record.created, tz=datetime.timezone.utc)
        thread = threading.current_thread()
        entry = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "pid": os.getpid(),
            "database": getattr(record, "dbname", None) or getattr(thread, "dbname", None),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def post_load() -> None:
    """Replace the formatters that Odoo gave its handlers."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setFormatter(JsonFormatter())
