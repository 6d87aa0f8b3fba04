//! The codecs against fixed bytes, against generated values, and against rules broken one by one.

mod golden;
mod index_run;
mod refused;
mod round_trip;
mod samples;
