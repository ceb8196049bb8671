"""Adapters for servers and libraries; each imports what it adapts only when it is used."""
