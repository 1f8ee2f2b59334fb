//! Rules of this repository, and what stands in its README.

mod dependencies;
mod fetching;
mod readme;
mod rooms;
