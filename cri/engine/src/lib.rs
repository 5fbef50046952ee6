//! The pod and container model behind the CRI surface.
