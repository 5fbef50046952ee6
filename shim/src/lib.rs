//! The supervisor of one pod: parent of its processes, keeper of its stdio, namespaces and exit codes.
