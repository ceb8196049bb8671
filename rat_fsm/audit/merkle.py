"""The Merkle tree of RFC 9162, section 2.1, with SHA-256: roots and proofs, made in one pass.

The root of a log of any length needs one hash a level of the tree in memory, and so does a proof:
its hashes are roots of ranges of leaves, all of which are computed while the leaves go by.
A range is a pair of leaf indexes, the second exclusive.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import InvalidArgument, Unproven

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Range = tuple[int, int]

EMPTY: Final = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: its data behind a byte 0x00 (section 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: those of its children behind a byte 0x01 (section 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that grows at its end and remembers the roots of its full subtrees only.

    Attributes:
        size: how many leaves it has.
    """

    def __init__(self) -> None:
        self.size = 0
        self._full: list[bytes] = []  # the largest first, as the ones of `size` in binary

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Takes the hashes of the next leaves."""
        sha256, full, size = hashlib.sha256, self._full, self.size
        for leaf in leaves:
            node, rest = leaf, size
            while rest & 1:  # node_hash, without a call for each of millions of nodes
                node = sha256(b"\x01" + full.pop() + node).digest()
                rest >>= 1
            full.append(node)
            size += 1
        self.size = size

    def root(self) -> bytes:
        """The root of what it has taken (section 2.1.1)."""
        if not self._full:
            return EMPTY
        *others, node = self._full
        for left in reversed(others):
            node = node_hash(left, node)
        return node


def roots_of(ranges: Sequence[Range], batches: Iterable[Sequence[bytes]]) -> list[bytes]:
    """The roots over ranges of leaves, the hashes of which come in batches from the first on.

    Raises:
        Unproven: the leaves end before a range does.
    """
    trees = [Tree() for _ in ranges]
    last, begin = max((end for _, end in ranges), default=0), 0
    for batch in batches:
        for (first, end), tree in zip(ranges, trees, strict=True):
            tree.extend(batch[max(0, first - begin) : max(0, end - begin)])
        begin += len(batch)
        if begin >= last:
            return [tree.root() for tree in trees]
    if begin < last:
        raise Unproven(f"a tree of {last} leaves was asked for, and there are {begin}")
    return [tree.root() for tree in trees]


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The ranges whose roots prove that a tree of a size has a leaf (section 2.1.3.1).

    Raises:
        InvalidArgument: it has no such leaf.
    """
    if not 0 <= index < size:
        raise InvalidArgument(f"there is no leaf {index} in a tree of {size}")
    begin, end, path = 0, size, []
    while end - begin > 1:
        middle = _middle(begin, end)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((begin, middle))
            begin = middle
    return path[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The ranges whose roots prove that a tree extends an older one (section 2.1.4.1).

    There are none where the older tree is empty or as large: then there is nothing to prove, or
    the roots are the same.

    Raises:
        InvalidArgument: the older tree is the larger one.
    """
    if not 0 <= old <= new:
        raise InvalidArgument(f"a tree of {new} leaves extends none of {old}")
    if old in {0, new}:
        return []
    begin, end, path = 0, new, []
    while end != old:
        middle = _middle(begin, end)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((begin, middle))
            begin = middle
    if begin:  # else it is the older tree itself, whose root the verifier has
        path.append((begin, end))
    return path[::-1]


def _middle(begin: int, end: int) -> int:
    """Where a range is split: its left part is the largest power of two below its length."""
    return begin + (1 << (end - begin - 1).bit_length() - 1)


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Checks a proof that the tree with a root has a leaf (section 2.1.3.2).

    Args:
        leaf: the hash of the leaf.
        index: which leaf it is said to be.
        size: how many leaves the tree has.
        path: the hashes of the proof.
        root: the root of the tree.

    Raises:
        Unproven: the proof does not hold.
    """
    node, last, hashed = index, size - 1, leaf
    if not 0 <= index < size:
        raise Unproven(f"there is no leaf {index} in a tree of {size}")
    for sibling in path:
        if last == 0:
            raise Unproven("the inclusion proof is too long")
        if node & 1 or node == last:
            hashed = node_hash(sibling, hashed)
            node, last = _up_from_the_right(node, last)
        else:
            hashed = node_hash(hashed, sibling)
        node, last = node >> 1, last >> 1
    if last or hashed != root:
        raise Unproven("the inclusion proof does not lead to the root")


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Checks a proof that a tree extends an older one (section 2.1.4.2).

    Raises:
        Unproven: the proof does not hold.
    """
    if not 0 <= old <= new:
        raise Unproven(f"a tree of {new} leaves extends none of {old}")
    if old in {0, new}:
        if path or old_root != (new_root if old else EMPTY):
            raise Unproven("the roots are not those of the same tree")
        return
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not path:
        raise Unproven("the consistency proof is empty")
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise Unproven("the consistency proof is too long")
        if node & 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            node, last = _up_from_the_right(node, last)
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    if last or (first, second) != (old_root, new_root):
        raise Unproven("the consistency proof does not lead to both roots")


def _up_from_the_right(node: int, last: int) -> tuple[int, int]:
    """Goes up while a node at the right edge has no sibling, as step 4.b.ii has it."""
    while node and not node & 1:
        node, last = node >> 1, last >> 1
    return node, last
