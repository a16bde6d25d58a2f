//! Ways of sending that only comparisons use: one producer for several workers, and the binding's own producer and
//! flush.
//!
//! They stand here and not in the crate that compares: they need the inside of [`Producer`](crate::Producer) or the
//! binding, which only this crate may name. No job uses them.

mod shared;
mod stock;

pub use shared::{SharedProducer, SlotSink};
pub use stock::StockFlush;
