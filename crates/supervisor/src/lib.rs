//! The control plane.
pub mod machine;
pub mod random;
pub mod rates;
