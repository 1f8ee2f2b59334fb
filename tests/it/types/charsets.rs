//! Every code of every character set that is no Unicode, as each server converts it.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use super::oracle::Session;
use super::text::hex;
use super::{lines, server};
use testkit::servers::{Kind, Server};

/// A row for each of these sequences of bytes, in a column of each character set; those that a set
/// does not allow become what the server makes of them.
fn compare_all(
    server: &Server,
    session: &mut Session,
    table: &str,
    charsets: &[String],
    codes: &[Vec<u8>],
) -> Result<()> {
    const ROWS_A_STATEMENT: usize = 10_000;
    let columns: Vec<String> = charsets
        .iter()
        .map(|charset| format!("{charset} varchar(8) character set {charset}"))
        .collect();
    session.run(&format!(
        "CREATE TABLE shop.{table} (id int, {})",
        columns.join(", ")
    ))?;
    session.run(&format!(
        "CREATE TABLE shop.{table}Codes (id int, code varbinary(4))"
    ))?;
    for (chunk, codes) in codes.chunks(ROWS_A_STATEMENT).enumerate() {
        let mut statement = format!("INSERT INTO shop.{table}Codes VALUES ");
        for (index, code) in codes.iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            let id = chunk * ROWS_A_STATEMENT + index;
            // Writing to a string cannot fail.
            let _ = write!(statement, "{separator}({id},x'{}')", hex(code));
        }
        session.run(&statement)?;
    }
    session.run(&format!(
        "INSERT INTO shop.{table} SELECT id{} FROM shop.{table}Codes",
        ", code".repeat(charsets.len())
    ))?;
    let lines = lines(server, &format!("name = \"shop.{table}\""))?;
    let row_count = session.compare("shop", table, None, lines.as_bytes())?;
    ensure!(row_count == codes.len());
    Ok(())
}

fn every_code(kind: Kind) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    let mut named = |most: &str| -> Result<Vec<String>> {
        let rows = session.rows(&format!(
            "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS WHERE MAXLEN {most} \
             AND CHARACTER_SET_NAME NOT IN ('binary', 'ucs2') AND CHARACTER_SET_NAME NOT LIKE 'utf%'"
        ))?;
        Ok(rows.into_iter().map(mysql_async::from_row).collect())
    };
    let (single, multi) = (named("= 1")?, named("> 1")?);
    ensure!(single.len() > 20 && multi.len() > 7, "{single:?} {multi:?}");
    let bytes: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    compare_all(&server, &mut session, "Bytes", &single, &bytes)?;
    let mut codes = bytes;
    codes.extend((0..=u16::MAX).map(|code| code.to_be_bytes().to_vec()));
    for second in 0xa1..=0xfe {
        codes.extend((0xa1..=0xfe).map(|third| vec![0x8f, second, third]));
    }
    compare_all(&server, &mut session, "Codes", &multi, &codes)
}

#[test]
fn every_code_of_mysqls_character_sets() -> Result<()> {
    every_code(Kind::Mysql)
}

#[test]
fn every_code_of_mariadbs_character_sets() -> Result<()> {
    every_code(Kind::Mariadb)
}

#[test]
fn every_code_of_mariadb_11s_character_sets() -> Result<()> {
    every_code(Kind::Mariadb11)
}

/// Rows of all the codes that begin with the same two bytes.
#[test]
fn every_code_of_gb18030_with_four_bytes() -> Result<()> {
    let server = server(Kind::Mysql)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    session.run("CREATE TABLE shop.Four (id int, t text character set gb18030)")?;
    for first in 0x81..=0xfe_u8 {
        let mut rows = Vec::new();
        for second in b'0'..=b'9' {
            let mut text = String::new();
            for third in 0x81..=0xfe {
                for fourth in b'0'..=b'9' {
                    text.push_str(&hex(&[first, second, third, fourth]));
                }
            }
            let id = u16::from_be_bytes([first, second]);
            rows.push(format!("({id}, _gb18030 x'{text}')"));
        }
        session.run(&format!("INSERT INTO shop.Four VALUES {}", rows.join(",")))?;
    }
    let lines = lines(&server, "name = \"shop.Four\"")?;
    let row_count = session.compare("shop", "Four", None, lines.as_bytes())?;
    ensure!(row_count == 1_260);
    Ok(())
}
