//! Messages between the daemon and a pod's shim, their encoding, and the client.
