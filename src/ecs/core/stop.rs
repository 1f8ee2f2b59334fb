//! PURE. How far the end of a run has come.
//!
//! What does not live here: what is still done until then ([`super::super`]).

/// How far the end of a run has come. It only goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Nothing has asked for it.
    #[default]
    Running,
    /// The time that was asked for is over; waiting datums are published.
    TimeIsOver,
    /// A signal has asked for it; waiting datums are published.
    Signalled,
    /// Another signal has, so that nothing is waited for.
    AtOnce,
}

impl Stop {
    /// A signal asks for a stop.
    pub fn signal(&mut self) {
        *self = match self {
            Self::Running | Self::TimeIsOver => Self::Signalled,
            Self::Signalled | Self::AtOnce => Self::AtOnce,
        };
    }

    /// The time that was asked for is over.
    pub fn end(&mut self) {
        *self = (*self).max(Self::TimeIsOver);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_signal_ends_what_the_first_allows() {
        let mut stop = Stop::default();
        stop.end();
        assert_eq!(stop, Stop::TimeIsOver);
        stop.signal();
        assert_eq!(stop, Stop::Signalled);
        stop.end();
        assert_eq!(stop, Stop::Signalled);
        stop.signal();
        stop.signal();
        assert_eq!(stop, Stop::AtOnce);
    }
}
