//! lanectl.
