"""Evidence: signed checkpoints of a log, and proofs about it that need no trust in who keeps it."""

from __future__ import annotations

from rat_fsm.audit.checkpoints import Checkpoint, parse_checkpoint, read_checkpoint
from rat_fsm.audit.keys import PrivateKey, PublicKey, read_key, read_public_key, write_key
from rat_fsm.audit.notes import Note, parse_note, sign_note
from rat_fsm.audit.proofs import EventProof, check_extension, prove_event, prove_extension
from rat_fsm.audit.sealing import SealedEvents, seal_log, witnesses_of

__all__ = [
    "Checkpoint",
    "EventProof",
    "Note",
    "PrivateKey",
    "PublicKey",
    "SealedEvents",
    "check_extension",
    "parse_checkpoint",
    "parse_note",
    "prove_event",
    "prove_extension",
    "read_checkpoint",
    "read_key",
    "read_public_key",
    "seal_log",
    "sign_note",
    "witnesses_of",
    "write_key",
]
