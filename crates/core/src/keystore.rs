//! Private operations behind one small synchronous trait (spec/identity.md).
