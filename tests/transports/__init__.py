"""Stream transports over TCP and Unix sockets."""
