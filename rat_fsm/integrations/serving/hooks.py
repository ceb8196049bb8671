"""How an adapter sees what a handler sends, where a server has no signal for that.

No class is changed: functions are put before the public methods of one object, which serves one
request only.
"""

from __future__ import annotations

from typing import Any


def hook(owner: object, **replaced: Any) -> None:
    """Puts functions before methods of an object; they call what they got hold of before."""
    for name, function in replaced.items():
        setattr(owner, name, function)
