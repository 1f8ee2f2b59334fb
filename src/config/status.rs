//! The section `[status]`: where a command tells how it goes.
//!
//! What does not live here: whether the address can be had ([`crate::status`]).

use std::net::SocketAddr;

use super::ConfigError;
use super::raw::Raw;

const KEY: &str = "status.listen";

/// The address to listen on, if there is to be a status server.
pub(super) fn listen(raw: &Raw) -> Result<Option<SocketAddr>, ConfigError> {
    let Some(typed) = &raw.status.listen else {
        return Ok(None);
    };
    let address = typed.parse().map_err(|_| {
        let remedy = "write an address and a port, like 127.0.0.1:9187 or [::]:9187";
        ConfigError::at(KEY, "not an address with a port", remedy)
    })?;
    Ok(Some(address))
}

/// Refuses it for a command that has no status server, so that nobody waits for its numbers.
pub(super) fn refuse(raw: &Raw) -> Result<(), ConfigError> {
    if raw.status.listen.is_none() {
        return Ok(());
    }
    let what = "only hydrant metrics has a status server";
    let remedy = "leave it out here; keep it in the configuration of hydrant metrics";
    Err(ConfigError::at(KEY, what, remedy))
}

#[cfg(test)]
mod tests {
    use super::super::load::parse;

    #[test]
    fn the_agent_refuses_a_status_server_that_it_does_not_have() {
        let error = parse("status.listen = \"127.0.0.1:9187\"", "x").unwrap_err();
        assert_eq!(error.key.as_deref(), Some(super::KEY));
        assert!(error.remedy.contains("leave it out"));
    }
}
