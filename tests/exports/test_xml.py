"""Any text goes through XML and comes back."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from hypothesis import example, given
from hypothesis import strategies as st

from rat_fsm.exports.xml import plain_text, xml_name, xml_text
from rat_fsm.runtime.escaping import is_hostile

PIECES = st.sampled_from(["_x", "_x0041_", "_x005F_", "_", "\0", "\ufffe", "😀", "\r\n", "<", "é"])
TEXTS = st.text() | st.lists(PIECES | st.text(max_size=2)).map("".join)


@given(TEXTS)
@example("_x0041_x0041_")
@example("\ud800")
def test_text_comes_back(text: str) -> None:
    """Whatever it is, an XML parser and one more step give it back; no character is hostile."""
    escaped = xml_text(text)
    assert not any(map(is_hostile, escaped))
    parsed = ET.fromstring(f'<a b="{escaped}"/>').attrib["b"]  # noqa: S314 - our own
    assert plain_text(parsed) == text


@given(TEXTS)
@example("😀")
def test_names_come_back(text: str) -> None:
    """What may stand in no name is escaped, and had back; it needs no more escapes in XML."""
    name = xml_name(text)
    assert re.fullmatch(r"[\w.\-]*", name, re.ASCII)
    assert plain_text(name) == text


def test_ordinary_text_stays() -> None:
    """Text that XML can hold is not changed beyond its own escapes."""
    assert xml_text("a_b C:\\x é") == "a_b C:\\x é"
    assert xml_text('<"&">') == "&lt;&quot;&amp;&quot;&gt;"
    assert xml_text("a\0b_x0000_") == "a_x0000_b_x005F_x0000_"
    assert xml_text("\x9b\u202e") == "&#x9b;&#x202e;"
    assert xml_name("bytes_sent") == "bytes_sent"
    assert xml_name("a b:c") == "a_x0020_b_x003A_c"
