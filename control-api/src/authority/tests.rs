//! Against a real API server: who makes the Secret, and what is published where.

mod kubernetes;
