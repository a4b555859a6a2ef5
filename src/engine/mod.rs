//! What brings an image back.
//!
//! [`criu`] restores it as a child of this process and [`supervise`] then stands between
//! that child and whoever waits for us. What the woken process is to do goes to it as
//! a [`request`], whichever way it was brought back.

pub mod criu;
pub mod request;
pub mod supervise;
