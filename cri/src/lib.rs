//! CRI handlers, the streaming server and the rrund daemon.
