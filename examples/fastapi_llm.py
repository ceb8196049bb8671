"""Streams answers from a model that fails: retried until the first token has left, then no more.

    python examples/fastapi_llm.py --port 8000      # or: uvicorn examples.fastapi_llm:app
    curl -N localhost:8000/answers -H 'x-api-key: mine' --json '{"text": "one two three"}'
    curl -N localhost:8000/answers -H 'x-api-key: mine' --json '{"text": "one two CRASH"}'
    rat-fsm log answers.db

Needs pip install 'rat-fsm[cli,server]' fastapi.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
from typing import TYPE_CHECKING, Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from rat_fsm import ConnectionManager, ErrorRecovery, EventLog
from rat_fsm.integrations.asgi import Connection, StreamingMiddleware, current_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

log = EventLog.open("sqlite:answers.db")
manager = ConnectionManager(max_connections=200, log=log)
recovery = ErrorRecovery(base_delay=0.1, jitter="full", resumable=False, log=log)


@contextlib.asynccontextmanager
async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
    yield  # when this goes on, the drain is over
    manager.shutdown()
    log.close()
    print(json.dumps(manager.get_stats()), flush=True)


api = FastAPI(lifespan=lifespan)


class Question(BaseModel):
    """What a client posts."""

    text: str


async def upstream(question: Question, attempt: int) -> AsyncIterator[str]:
    """Stands for a model: busy at first, and lost at the word CRASH."""
    if attempt == 0:
        raise ConnectionRefusedError("the model is busy")
    for word in question.text.split():
        if word == "CRASH":
            raise ConnectionResetError("the model is gone")
        yield word
        await asyncio.sleep(0.1)


async def tokens(question: Question, connection: Connection) -> AsyncIterator[str]:
    for attempt in itertools.count():
        try:
            async for token in upstream(question, attempt):
                yield f"event: token\ndata: {json.dumps(token)}\n\n"
        except ConnectionError as error:
            connection.record_error(error)
            if recovery.should_retry(connection.id, error):
                await asyncio.sleep(recovery.get_retry_delay(connection.id))
                continue
            yield f"event: error\ndata: {json.dumps(str(error))}\n\n"
            connection.end("upstream_failed")  # not before the client was told
        return


@api.post("/answers")
async def answer(
    question: Question, connection: Annotated[Connection, Depends(current_connection)]
) -> StreamingResponse:
    return StreamingResponse(tokens(question, connection), media_type="text/event-stream")


@api.get("/ready")
async def ready(response: Response) -> dict[str, Any]:
    """For the load balancer: 503 from the first moment of a drain."""
    response.status_code = 200 if app.ready else 503
    return {"phase": app.status()["phase"]}


def client_of(scope: MutableMapping[str, Any]) -> str:
    """Whose limit counts; a key is kept nowhere, and those without one share a limit."""
    key = dict(scope["headers"]).get(b"x-api-key", b"")
    return hashlib.sha256(key).hexdigest()


app = StreamingMiddleware(
    api,
    manager,
    streams=lambda scope: "llm" if scope["path"] == "/answers" else False,
    max_per_client=2,
    client_key=client_of,
    on_drain={"/answers": "finish"},  # an answer ends by itself, within drain_timeout
    drain_timeout=20.0,
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    uvicorn.run(app, port=parser.parse_args().port, timeout_graceful_shutdown=5)
