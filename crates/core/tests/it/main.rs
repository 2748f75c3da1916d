//! Integration tests of the core: the vectors of `spec/vectors`, published vectors of the primitives, properties.

mod evidence;
mod identity;
mod primitives;
mod properties;
mod statements;
mod vectors;
