//! The CRI v1 contract: generated types, the CRI trait and its gRPC client.
