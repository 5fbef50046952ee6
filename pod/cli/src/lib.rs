//! rrun: run single pods from a Pod YAML, with no cluster.
