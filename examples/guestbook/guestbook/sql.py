"""Ends each statement with the id of the request that it is for, so that the database's log names it."""

from django.db.backends.signals import connection_created

from .logs import current_request_id


def add_request_id(execute, sql, params, many, context):
    """Run a statement with a comment. The middleware takes no id that is more than letters, digits and `._-`."""
    request_id = current_request_id.get()
    if request_id and isinstance(sql, str):
        sql = f"{sql} /* request_id={request_id} */"
    return execute(sql, params, many, context)


def watch(connection, **kwargs) -> None:
    if add_request_id not in connection.execute_wrappers:
        connection.execute_wrappers.append(add_request_id)


def name_requests() -> None:
    """Watch every connection from now on. An AppConfig calls this when it is ready."""
    connection_created.connect(watch, dispatch_uid="guestbook.sql")
