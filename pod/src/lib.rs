//! What a Pod means: the kubelet's half of a node, over the CRI trait and the Node trait.
