//! The pool through its public interface: on a real disk and in simulation, with an oracle that holds what was
//! acknowledged.

mod bed;
mod crash;
mod damage;
mod real;
mod streams;
