"""`rat-fsm demo`: a real server, real clients over real sockets, recorded and replayed."""
