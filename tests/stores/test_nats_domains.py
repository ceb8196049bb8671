"""The JetStream store where servers of several JetStream domains hear each other's clients."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from rat_fsm.errors import StoreUnreadable
from rat_fsm.stores import open_store
from rat_fsm.stores.port import StoredFrame
from rat_fsm.testing.store_contract import make_frame
from tests.servers.fixtures import nats_binary
from tests.servers.harness import free_port
from tests.servers.nats import HOST, asked, running, told, wait_until
from tests.stores.opened_nats import opened

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_a_log_of_another_domain_is_not_mixed_with_it(tmp_path: Path) -> None:
    """It is reached by its domain; two logs of one name, which would store both, are refused."""
    port, binary = free_port(), nats_binary()
    for name in ("hub", "leaf"):
        (tmp_path / name).mkdir()
    listening = f'leafnodes {{ listen: "{HOST}:{port}" }}'
    joining = f'leafnodes {{ remotes: [{{ url: "nats-leaf://{HOST}:{port}" }}] }}'
    frame = make_frame()
    with contextlib.ExitStack() as stack:
        hub, leaf = (
            stack.enter_context(running(tmp_path / name, binary, name=name, domain=name, more=more))
            for name, more in (("hub", listening), ("leaf", joining))
        )
        wait_until(lambda: asked(hub, "/leafz")["leafnodes"] == 1, "leaf node")
        url = f"nats://{leaf.server}/events?max_bytes=1000000"
        with opened(f"{url}&domain=hub") as store:
            assert store.append(frame) == 1
        with opened(f"nats://{hub.server}/events", writable=False) as reader:
            assert list(reader.read()) == [StoredFrame(1, frame)]
        for _ in range(2):
            with pytest.raises(StoreUnreadable, match="another stream takes what is meant"):
                open_store(url, writable=True)
        with pytest.raises(StoreUnreadable, match="no log at"):
            open_store(url)
        others = {"name": "events", "subjects": ["rat_fsm.events.frames.*"]}
        told(leaf, "$JS.API.STREAM.CREATE.events", others)
        with pytest.raises(StoreUnreadable, match="another stream takes what is meant"):
            open_store(f"{url}&domain=hub", writable=True)
