//! What was there before against what is there after.
