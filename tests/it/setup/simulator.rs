//! The simulator, as most tests want it.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use hydrant::sim::{Options, QuotaPreset};

/// On a free port, without quotas. Objects of a stream are in the folder of its name below `folder`.
pub(crate) fn options(folder: &Path, streams: &[&str]) -> Result<Options> {
    let stream = |name: &&str| {
        let stream = format!("{name}={name}/").parse();
        stream.map_err(anyhow::Error::msg)
    };
    Ok(Options {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data: folder.to_owned(),
        quota: QuotaPreset::Off,
        streams: streams.iter().map(stream).collect::<Result<_>>()?,
        ..Options::default()
    })
}
