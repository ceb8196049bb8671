"""The Merkle tree of RFC 9162, against its definition and against vectors that others publish."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.audit.merkle import (
    EMPTY,
    Tree,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    roots_of,
    verify_consistency,
    verify_inclusion,
)
from rat_fsm.errors import InvalidArgument, Unproven

if TYPE_CHECKING:
    from collections.abc import Sequence

# The leaves and roots with which the implementations of Certificate Transparency are tested.
LEAVES: Final = [
    bytes.fromhex(data)
    for data in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS: Final = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES: Final = [leaf_hash(data) for data in LEAVES]
A: Final = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
B: Final = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
C: Final = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
D: Final = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
sizes: Final = st.integers(1, 70)


def sha(*parts: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(b"".join(parts)).digest()


def mth(data: Sequence[bytes]) -> bytes:
    """The Merkle Tree Hash as section 2.1.1 defines it, word for word."""
    if not data:
        return sha()
    if len(data) == 1:
        return sha(b"\0", data[0])
    k = max(2**i for i in range(len(data).bit_length()) if 2**i < len(data))
    return sha(b"\1", mth(data[:k]), mth(data[k:]))


def path(m: int, data: Sequence[bytes]) -> list[bytes]:
    """PATH of section 2.1.3.1, word for word."""
    if len(data) == 1:
        return []
    k = max(2**i for i in range(len(data).bit_length()) if 2**i < len(data))
    if m < k:
        return [*path(m, data[:k]), mth(data[k:])]
    return [*path(m - k, data[k:]), mth(data[:k])]


def subproof(m: int, data: Sequence[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.4.1, word for word."""
    if m == len(data):
        return [] if whole else [mth(data)]
    k = max(2**i for i in range(len(data).bit_length()) if 2**i < len(data))
    if m <= k:
        return [*subproof(m, data[:k], whole=whole), mth(data[k:])]
    return [*subproof(m - k, data[k:], whole=False), mth(data[:k])]


def data_of(size: int) -> list[bytes]:
    """So many leaves, all different."""
    return [f"leaf {number}".encode() for number in range(size)]


def hashes_of(size: int) -> list[bytes]:
    """Their hashes."""
    return [leaf_hash(data) for data in data_of(size)]


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaves, by the tree that grows."""
    tree = Tree()
    tree.extend(hashes)
    return tree.root()


@pytest.mark.parametrize("size", range(9))
def test_the_roots_of_certificate_transparency(size: int) -> None:
    """A tree of each size has the root that everybody's has."""
    assert root_of(HASHES[:size]).hex() == ROOTS[size]


def test_the_proofs_of_certificate_transparency() -> None:
    """The proofs that others publish hold, and are those that we make."""
    proof = [bytes.fromhex(node) for node in (A, B, ROOTS[4])]
    verify_inclusion(HASHES[5], 5, 8, proof, bytes.fromhex(ROOTS[8]))
    assert roots_of(inclusion_ranges(5, 8), [HASHES]) == proof
    proof = [bytes.fromhex(node) for node in (C, B, ROOTS[4])]
    verify_consistency(6, 8, bytes.fromhex(ROOTS[6]), bytes.fromhex(ROOTS[8]), proof)
    assert roots_of(consistency_ranges(6, 8), [HASHES]) == proof
    proof = [bytes.fromhex(node) for node in (D, A)]
    verify_consistency(2, 5, bytes.fromhex(ROOTS[2]), bytes.fromhex(ROOTS[5]), proof)
    assert roots_of(consistency_ranges(2, 5), [HASHES]) == proof


@given(sizes, st.lists(st.integers(0, 70)))
def test_a_tree_grows_to_the_root_of_its_definition(size: int, cuts: list[int]) -> None:
    """However its leaves come, its root is the Merkle Tree Hash over them."""
    hashes, tree, begin = hashes_of(size), Tree(), 0
    for end in [*sorted(cuts), size]:
        tree.extend(hashes[begin:end])
        begin = max(begin, end)
        assert tree.root() == mth(data_of(size)[: tree.size])
    assert (tree.size, EMPTY) == (size, mth([]))


@given(sizes, st.data(), st.integers(1, 9))
def test_inclusion_proofs_are_those_of_the_definition(
    size: int, data: st.DataObject, batch: int
) -> None:
    """Made in one pass, in batches, they are PATH; they hold for their leaf and for no other."""
    index = data.draw(st.integers(0, size - 1))
    hashes = hashes_of(size)
    batches = [hashes[begin : begin + batch] for begin in range(0, size, batch)]
    proof = roots_of(inclusion_ranges(index, size), batches)
    assert proof == path(index, data_of(size))
    root = mth(data_of(size))
    verify_inclusion(hashes[index], index, size, proof, root)
    for other in range(size):
        if other != index:
            with pytest.raises(Unproven):
                verify_inclusion(hashes[index], other, size, proof, root)
            with pytest.raises(Unproven):
                verify_inclusion(hashes[other], index, size, proof, root)


@given(sizes, st.data())
def test_consistency_proofs_are_those_of_the_definition(new: int, data: st.DataObject) -> None:
    """They are PROOF, hold for both trees, and for no tree that differs anywhere."""
    old = data.draw(st.integers(1, new))
    hashes = hashes_of(new)
    proof = roots_of(consistency_ranges(old, new), [hashes])
    assert proof == subproof(old, data_of(new), whole=True)
    old_root, new_root = mth(data_of(old)), mth(data_of(new))
    verify_consistency(old, new, old_root, new_root, proof)
    index = data.draw(st.integers(0, old - 1))
    changed = [*hashes[:index], bytes(32), *hashes[index + 1 :]]
    with pytest.raises(Unproven):
        verify_consistency(old, new, root_of(changed[:old]), new_root, proof)
    with pytest.raises(Unproven):
        verify_consistency(old, new, old_root, root_of(changed), proof)


@given(sizes, st.data())
def test_a_changed_proof_does_not_hold(size: int, data: st.DataObject) -> None:
    """A hash more, less, changed or in another place: each makes a proof worthless."""
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    hashes, root = hashes_of(size), mth(data_of(size))
    inclusion = roots_of(inclusion_ranges(index, size), [hashes])
    consistency = roots_of(consistency_ranges(old, size), [hashes])
    for changed in _changes(inclusion, data):
        with pytest.raises(Unproven):
            verify_inclusion(hashes[index], index, size, changed, root)
    for changed in _changes(consistency, data):
        with pytest.raises(Unproven):
            verify_consistency(old, size, mth(data_of(old)), root, changed)


def _changes(proof: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    place = data.draw(st.integers(0, len(proof)))
    longer = [*proof[:place], bytes(32), *proof[place:]]
    if not proof:
        return [longer]
    place = data.draw(st.integers(0, len(proof) - 1))
    shorter = [*proof[:place], *proof[place + 1 :]]
    changed = [*proof[:place], bytes(32), *proof[place + 1 :]]
    return [longer, shorter, changed, *([proof[::-1]] if proof != proof[::-1] else [])]


def test_there_is_nothing_to_prove_about_an_empty_tree() -> None:
    """Every tree extends it, by an empty proof and from the root of no leaves."""
    root = bytes.fromhex(ROOTS[3])
    assert consistency_ranges(0, 3) == []
    verify_consistency(0, 3, EMPTY, root, [])
    verify_consistency(3, 3, root, root, [])
    for old_root, proof in ((root, []), (EMPTY, [root])):
        with pytest.raises(Unproven):
            verify_consistency(0, 3, old_root, root, proof)
    with pytest.raises(Unproven):
        verify_consistency(3, 3, root, EMPTY, [])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (10**30, 3)])
def test_what_is_not_there_is_not_proven(index: int, size: int) -> None:
    """A leaf beyond the tree is refused on both sides."""
    with pytest.raises(InvalidArgument):
        inclusion_ranges(index, size)
    with pytest.raises(Unproven):
        verify_inclusion(HASHES[0], index, size, [], HASHES[0])


@pytest.mark.parametrize(("old", "new"), [(4, 3), (-1, 3)])
def test_a_tree_does_not_extend_a_larger_one(old: int, new: int) -> None:
    """Sizes that contradict each other are refused on both sides."""
    with pytest.raises(InvalidArgument):
        consistency_ranges(old, new)
    with pytest.raises(Unproven):
        verify_consistency(old, new, EMPTY, EMPTY, [])


def test_leaves_that_end_too_early_prove_nothing() -> None:
    """A proof about more leaves than there are cannot be made."""
    assert roots_of([(0, 2)], [HASHES[:1], HASHES[1:]]) == [bytes.fromhex(ROOTS[2])]
    with pytest.raises(Unproven, match="a tree of 9 leaves was asked for, and there are 8"):
        roots_of([(0, 9)], [HASHES])
    assert roots_of([], []) == []


def test_a_proof_for_another_size_does_not_hold() -> None:
    """One that ends below the top of the tree is refused, though it leads to both roots."""
    with pytest.raises(Unproven, match="is empty"):
        verify_consistency(3, 5, EMPTY, EMPTY, [])
    roots = [bytes.fromhex(root) for root in ROOTS]
    proof = roots_of(consistency_ranges(1, 2), [HASHES])
    verify_consistency(1, 2, roots[1], roots[2], proof)
    with pytest.raises(Unproven, match="does not lead to both roots"):
        verify_consistency(1, 3, roots[1], roots[2], proof)


def test_a_leaf_is_never_a_node() -> None:
    """The prefixes keep what is hashed as a leaf from being taken for an inner node."""
    assert leaf_hash(HASHES[0] + HASHES[1]) != node_hash(HASHES[0], HASHES[1])
