//! Types of the HTTP API.
