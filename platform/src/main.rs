//! scratch
mod clock;
mod home;
mod names;
mod store;
fn main() {}
