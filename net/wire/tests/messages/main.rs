//! The messages against fixed bytes, against generated values, and against rules broken one by one.

mod golden;
mod refused;
mod round_trip;
mod samples;
