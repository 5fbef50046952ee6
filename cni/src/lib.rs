//! Pod networks: CNI plugins and the built-in bridge.
