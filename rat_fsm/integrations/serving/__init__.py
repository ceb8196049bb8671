"""What the adapters for servers share: connections, admission, drains, signals."""
