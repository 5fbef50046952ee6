//! Private folders and namespaces in which a daemon and its pods run.
