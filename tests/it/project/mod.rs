//! Rules of this repository, and what its documentation says.

mod circles;
mod dependencies;
mod docs;
mod fetching;
mod rooms;
