//! Rules of this repository, and what its documentation says.

mod dependencies;
mod docs;
mod fetching;
mod rooms;
