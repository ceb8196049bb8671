"""Responses that any ASGI server can send and that know which connection they are."""

from rat_fsm.streaming.http_response import HttpResponse
from rat_fsm.streaming.ledger import ConnectionBook, Ending
from rat_fsm.streaming.sse import SSEResponse, create_sse_response

__all__ = ["ConnectionBook", "Ending", "HttpResponse", "SSEResponse", "create_sse_response"]
