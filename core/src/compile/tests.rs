//! What is compiled.
