//! Binlogs of servers from before MySQL 5.6: without checksums, without GTID events, with the first version of
//! row events.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hydrant::binlog::{EventHeader, EventType, FILE_MAGIC};

use crate::setup::replay::{replay, replayed};
use testkit::servers::Server;

/// The file as MySQL 5.5 would have written it, made from one of today's server without checksums and GTIDs.
fn as_mysql_5_5(bytes: &[u8]) -> Result<Vec<u8>> {
    const EVENT_TYPES_OF_5_5: usize = 27;
    /// Binlog version, server version, time and the length of a header.
    const BEFORE_TYPES: usize = 2 + 50 + 4 + 1;
    /// Table id, flags, and the length of extra data, which counts itself.
    const BEFORE_EXTRA_DATA: usize = 6 + 2;
    let mut old = FILE_MAGIC.to_vec();
    let mut rest = &bytes[FILE_MAGIC.len()..];
    while !rest.is_empty() {
        let mut header = EventHeader::parse(rest)?;
        let (event, others) = rest.split_at(header.event_size as usize);
        rest = others;
        let mut body = event[EventHeader::LEN..].to_vec();
        match EventType::from_code(header.type_code) {
            EventType::AnonymousGtid | EventType::PreviousGtids => continue,
            EventType::FormatDescription => {
                body.truncate(BEFORE_TYPES + EVENT_TYPES_OF_5_5);
                let version = &mut body[2..52];
                version.fill(0);
                version[..10].copy_from_slice(b"5.5.62-log");
            }
            EventType::WriteRows => {
                header.type_code = EventType::WriteRowsV1.code();
                let extra = &body[BEFORE_EXTRA_DATA..];
                let len = u16::from_le_bytes([extra[0], extra[1]]);
                body.drain(BEFORE_EXTRA_DATA..BEFORE_EXTRA_DATA + usize::from(len));
            }
            _ => {}
        }
        header.event_size = u32::try_from(EventHeader::LEN + body.len())?;
        header.log_pos = u32::try_from(old.len())? + header.event_size;
        old.extend_from_slice(&header.to_bytes());
        old.extend_from_slice(&body);
    }
    Ok(old)
}

#[test]
fn a_binlog_from_before_checksums_is_read() -> Result<()> {
    let server = Server::mysql(&[
        "--binlog-checksum=NONE",
        "--gtid-mode=OFF",
        "--enforce-gtid-consistency=OFF",
        // The names travel with the rows here; a server of then had none, and its table is asked for.
        "--binlog-row-metadata=FULL",
    ])?;
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.T (a INT PRIMARY KEY, b VARCHAR(20), c BIGINT UNSIGNED); \
         INSERT INTO shop.T VALUES (1, 'one', 18446744073709551615), (2, NULL, 0); \
         INSERT INTO shop.T VALUES (3, 'drei, größer', 7); FLUSH BINARY LOGS",
    )?;
    let bytes = std::fs::read(server.binlog_dir().join("binlog.000001"))?;
    let old = as_mysql_5_5(&bytes)?;
    ensure!(memchr_of(&old, b"5.5.62-log"), "no version");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mysql-bin.000001");
    std::fs::write(&path, &old)?;
    let rows = |path: &Path| replayed(&[path.to_owned()], &["--table", "shop.T", "--out", "-"]);
    let expected = "1,one,18446744073709551615\n2,,0\n3,\"drei, größer\",7\n";
    assert_eq!(rows(&path)?, expected);

    // Damage is still seen by its place, and an event that is cut off.
    let cut = &old[..old.len() - 5];
    std::fs::write(&path, cut)?;
    let output = replay(&[path], &["--table", "shop.T", "--out", "-"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(65), "{log}");
    let line = log.lines().last().context("nothing was said")?;
    ensure!(line.contains("remedy"), "{log}");
    Ok(())
}

fn memchr_of(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
