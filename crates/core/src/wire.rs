//! A cursor over fixed-layout bytes: the reader and writer of every binary format here.
