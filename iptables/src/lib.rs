//! The redirect.
