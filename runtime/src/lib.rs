//! The OCI runtime: specification to plan, plan to processes, and the rrun-oci command.
