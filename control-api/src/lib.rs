//! The control plane and lanectl.
