//! The path from a row to the state root: the engine's operation proof, checked without std or alloc (spec/proof.md).
