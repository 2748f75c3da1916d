//! What a device keeps: its floor and the set it trusts (spec/proof.md).
