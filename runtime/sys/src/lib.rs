//! System calls, file descriptors, mounts and in-root path lookup: the one crate with unsafe code.
