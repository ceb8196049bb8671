"""Draws a lifecycle, its traffic or its coverage: Mermaid, DOT, and an SVG of our own.

``python -m rat_fsm.diagrams [FOLDER] [--check]`` writes those of CONNECTION and NODE.
"""

from rat_fsm.diagrams.notations import dot, mermaid
from rat_fsm.diagrams.svg import svg

__all__ = ["dot", "mermaid", "svg"]
