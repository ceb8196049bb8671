# ruff: noqa: INP001 - scripts of this repository, no package
"""What the generated tables of the README say, where the code itself does not say it.

`readme.py` fails where one of these names a thing that the code does not have, or leaves one out.
"""

from __future__ import annotations

from typing import Final

STATISTICS: Final = {
    "active_connections": "connections open now",
    "total_connections": "connections ever registered",
    "continued_connections": "those of them that a writer began again after it lost its slot",
    "max_connections": "the limit",
    "peak_connections": "the most that were open at once",
    "closed_connections": "connections that have ended",
    "refused_connections": "clients turned away",
    "refused_by_cause": "the same by cause, such as max_connections, duplicate or draining",
    "total_bytes_sent": "bytes recorded, of ended connections too",
    "total_messages_sent": "messages recorded, of ended connections too",
    "total_errors": "errors recorded",
    "total_retries": "retries scheduled",
    "total_retries_refused": "retries that the policy refused",
    "total_recoveries": "retrying connections that worked again",
    "connections_with_errors": "open connections that had an error",
    "stalled_connections": "open connections whose client takes nothing",
    "average_response_time": "mean seconds from registered to activated, 0.0 before the first",
    "state_distribution": "open connections by state",
    "closed_by_reason": "ended connections by reason, the rest beyond 64 reasons under other",
    "callback_failures": "disconnect callbacks that raised",
    "illegal_events": "events in the log that the table has no way for; their state was kept",
    "unknown_events": "events in the log that this version cannot read; they were kept",
}

EXTRAS: Final = {
    "cli": "the command line",
    "server": "what the demo and the example servers run on",
    "aiohttp": "the adapter for aiohttp",
    "websockets": "the adapter for websockets",
    "testing": "the testing kit: what draws with Hypothesis, and the pytest plugin",
    "bench": "the libraries that the benchmarks compare with",
    "nats": "logs in NATS JetStream",
    "postgres": "logs in PostgreSQL",
    "audit": "sealed checkpoints: Ed25519 signatures",
    "export": "Parquet and Arrow",
    "diagrams": "drawings by Graphviz, where its program `dot` is installed; ours need nothing",
    "all": "cli, server and testing",
    "servers": "servers and frameworks that the adapters are tested on",
    "mining": "the tests with DuckDB, pandas and pm4py, which read what is exported",
    "browser": "the tests with a browser, where Chromium and its driver are installed",
    "dev": "everything to work on rat_fsm itself",
}

# (name in the guide, ours, what to know); ours must exist, except where it is in parentheses.
GUIDE: Final = (
    (
        "`PyRatEngine`",
        "(any ASGI server)",
        "a response is its own ASGI application; Starlette returns it as it is",
    ),
    ("`ConnectionManager(max_connections, cleanup_interval)`", "ConnectionManager", ""),
    (
        "`.register_connection(id, addr, ref, metadata)`",
        "ConnectionManager.register_connection",
        "False at the limit, for an open id, and while draining",
    ),
    ("`.unregister_connection(id)`", "ConnectionManager.unregister_connection", ""),
    (
        "`.record_activity(id, bytes, messages)`",
        "ConnectionManager.record_activity",
        "deltas; a response bound to the connection records its own",
    ),
    (
        "`.record_error(id, error)`",
        "ConnectionManager.record_error",
        "an exception or a string",
    ),
    ("`.is_connection_alive(id)`", "ConnectionManager.is_connection_alive", ""),
    (
        "`.get_connection_info(id)`",
        "ConnectionManager.get_connection_info",
        "a frozen copy, None once closed",
    ),
    ("`.connections`", "ConnectionManager.connections", "read-only, open ones"),
    ("`.connection_refs`", "(the same)", "a dict that subclasses may fill before `super()`"),
    ("`.get_stats()`", "ConnectionManager.get_stats", "see Statistics"),
    ("`.shutdown()`", "ConnectionManager.shutdown", "closes the log only if it is its own"),
    (
        "`ErrorRecovery(max_retries, base_delay, max_delay)`",
        "ErrorRecovery",
        "`log=manager.log` makes its decisions events",
    ),
    ("`.should_retry(id, error)`", "ErrorRecovery.should_retry", "records the decision"),
    ("`.get_retry_delay(id)`", "ErrorRecovery.get_retry_delay", "seconds, as recorded"),
    ("`.reset_retry_count(id)`", "ErrorRecovery.reset_retry_count", ""),
    ("`StreamMonitor(manager, check_interval)`", "StreamMonitor", "one thread for all streams"),
    (
        "`.start_monitoring(id, ref, on_disconnect)`",
        "StreamMonitor.start_monitoring",
        "the callback runs exactly once, however the connection ends",
    ),
    ("`.stop_monitoring(id)`", "StreamMonitor.stop_monitoring", "drops the callback, too"),
    ("`GracefulShutdown(manager, monitor, timeout)`", "GracefulShutdown", ""),
    (
        "`.initiate_shutdown()`",
        "GracefulShutdown.initiate_shutdown",
        "answers with a report; `await drain()` in a coroutine",
    ),
    ("`ConnectionInfo`", "ConnectionInfo", "frozen; times are aware UTC"),
    ("`ConnectionState`", "ConnectionState", "`info.state.value` is its name"),
    ("`register_streaming_connection(…)`", "register_streaming_connection", ""),
    ("`unregister_streaming_connection(id)`", "unregister_streaming_connection", ""),
    ("`get_streaming_stats()`", "get_streaming_stats", ""),
    ("`shutdown_streaming_system()`", "shutdown_streaming_system", "the next use starts afresh"),
    ("`get_default_connection_manager()`", "get_default_connection_manager", "a log in memory"),
    ("`get_default_stream_monitor()`", "get_default_stream_monitor", ""),
    ("`record_activity(…)`", "record_activity", "of the default manager"),
    ("`record_error(…)`", "record_error", "likewise"),
    ("`should_retry(…)`", "should_retry", "likewise"),
    ("`get_all_connections()`", "get_all_connections", "likewise"),
    ("`generate_connection_id()`", "generate_connection_id", "128 random bits"),
    ("`classify_error(error)`", "classify_error", "the guide's patterns come last"),
    ("the guide's own `StreamingMonitor.check_health()`", "HealthMonitor.check_health", ""),
    ("`rat_engine.streaming.create_sse_response()`", "streaming.create_sse_response", ""),
    (
        "`sse_response.send_event(event, data)`",
        "streaming.SSEResponse.send_event",
        "from any thread; `data` is text: `json.dumps` it",
    ),
    ("`HttpResponse()`, `.set_status()`, `.set_body()`", "streaming.HttpResponse", ""),
    ("`rat_engine/error_handling.py`", "error_handling", "the same names"),
)
