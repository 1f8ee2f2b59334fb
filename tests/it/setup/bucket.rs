//! A bucket of an emulator that others made, and a loader that takes its objects away.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Deref;

use anyhow::{Context as _, Result};
use testkit::emulator::Make;
pub(crate) use workloads::bucket::BUCKET;

/// A bucket in an emulator of its own.
pub(crate) struct Bucket(workloads::bucket::Bucket);

impl Deref for Bucket {
    type Target = workloads::bucket::Bucket;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// An object as a reader finds it.
pub(crate) struct Object {
    pub(crate) gzip: Vec<u8>,
    pub(crate) text: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Bucket {
    pub(crate) fn start() -> Result<Self> {
        workloads::bucket::Bucket::start().map(Self)
    }

    /// In moto's server.
    pub(crate) fn start_in_moto() -> Result<Self> {
        workloads::bucket::Bucket::start_in(Make::Moto).map(Self)
    }

    /// A `[sink]` that writes there; `lines` are more of its keys.
    pub(crate) fn sink(&self, lines: &str) -> String {
        self.0.sink("raw", lines)
    }

    /// The keys of all objects, in their order.
    pub(crate) fn keys(&self) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let list = self.client.list_objects_v2().bucket(BUCKET);
            let page = self
                .runtime
                .block_on(list.set_start_after(after.take()).send())?;
            keys.extend(page.contents().iter().filter_map(|it| it.key.clone()));
            if page.is_truncated() != Some(true) {
                return Ok(keys);
            }
            after = keys.last().cloned();
        }
    }

    pub(crate) fn object(&self, key: &str) -> Result<Object> {
        let (metadata, gzip) = self.get(key)?;
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(gzip.as_slice())
            .read_to_string(&mut text)
            .with_context(|| key.to_owned())?;
        Ok(Object {
            gzip,
            text,
            metadata,
        })
    }

    /// The metadata of an object, and its bytes as they are stored.
    pub(crate) fn get(&self, key: &str) -> Result<(BTreeMap<String, String>, Vec<u8>)> {
        self.runtime.block_on(async {
            let object = self.client.get_object().bucket(BUCKET).key(key);
            let object = object.send().await?;
            let metadata = object.metadata.unwrap_or_default().into_iter().collect();
            let bytes = object.body.collect().await?;
            Ok((metadata, bytes.to_vec()))
        })
    }

    pub(crate) fn delete(&self, key: &str) -> Result<()> {
        let delete = self.client.delete_object().bucket(BUCKET).key(key);
        self.runtime.block_on(delete.send())?;
        Ok(())
    }

    /// Does what a loader does: reads all objects that there are, and removes them. Gives their lines.
    pub(crate) fn load(&self) -> Result<String> {
        let mut lines = String::new();
        for key in self.keys()? {
            lines.push_str(&self.object(&key)?.text);
            self.delete(&key)?;
        }
        Ok(lines)
    }
}
