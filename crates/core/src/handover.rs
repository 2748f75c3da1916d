//! Handovers and recoveries: how trust moves to the next validator set (spec/proof.md).
