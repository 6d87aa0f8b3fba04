//! Sessions: TLS, credit, connections.
