//! What is said of configurations that cannot be used: one line of the tables for each.

use super::explain::read;
use super::load::parse;

const SMALLEST: &str = r#"
source.url = "mysql://hydrant@127.0.0.1"
table = [{ name = "shop.Sales" }]
sink.stream = "AuroraChangesToS3"
"#;

/// Words of the program, not of its configuration.
const INTERNAL: &[&str] = &[
    "struct",
    "enum",
    "a sequence",
    "u32",
    "u64",
    "f64",
    "i64",
    "usize",
    "ByteSize",
    "unit variant",
    "Option",
    "serde",
    "figment",
    "table.0",
    "deserialize",
    "parsable",
];

/// Checks what is said of a configuration, and gives it.
fn check(text: &str, key: Option<&str>, said: &[&str]) -> String {
    let error = parse(text, "hydrant.toml").unwrap_err();
    let whole = format!("{error}; {}", error.remedy);
    assert_eq!(error.key.as_deref(), key, "{text}: {whole}");
    for part in said {
        assert!(whole.contains(part), "{part:?} is not in: {whole}");
    }
    for word in INTERNAL.iter().filter(|word| !said.contains(word)) {
        assert!(!whole.contains(word), "{word:?} is in: {whole}");
    }
    assert!(
        !whole.contains("hunter2") && !whole.contains('\n'),
        "{whole}"
    );
    assert!(!error.remedy.is_empty(), "{whole}");
    let text = text.strip_prefix(SMALLEST).unwrap_or(text).trim();
    format!("{text}\n  {error}\n  remedy: {}\n\n", error.remedy)
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn a_value_of_the_wrong_kind_is_told_in_the_words_of_toml() {
    let mut told = String::new();
    for (line, key, said) in [
        (
            "source.server_id = \"7\"",
            "source.server_id",
            &["a string", "without quotes"][..],
        ),
        (
            "source.server_id = -1",
            "source.server_id",
            &["out of range", "from 1"],
        ),
        (
            "source.server_id = 5000000000",
            "source.server_id",
            &["4294967295"],
        ),
        (
            "source.server_id = 7.5",
            "source.server_id",
            &["a number", "a whole number"],
        ),
        (
            "source.password = 5",
            "source.password",
            &["a number", "password = \"...\""],
        ),
        (
            "source.tls = true",
            "source.tls",
            &["a boolean", "\"off\", \"encrypt\", \"verify\""],
        ),
        (
            "source.tls = \"on\"",
            "source.tls",
            &["unknown value", "\"off\""],
        ),
        (
            "source.connect_timeout = 1",
            "source.connect_timeout",
            &["a number", "connect_timeout = \"1s\""],
        ),
        (
            "sink.flush_interval = 1",
            "sink.flush_interval",
            &["a number", "flush_interval = \"1s\""],
        ),
        (
            "sink.flush_interval = \"1\"",
            "sink.flush_interval",
            &["duration", "\"250ms\""],
        ),
        (
            "sink.patience = true",
            "sink.patience",
            &["a boolean", "\"1s\""],
        ),
        (
            "shutdown_grace = 25",
            "shutdown_grace",
            &["a number", "shutdown_grace = \"1s\""],
        ),
        (
            "sink.max_in_flight = \"lots\"",
            "sink.max_in_flight",
            &["max_in_flight = \"32 MiB\""],
        ),
        (
            "sink.object_size = \"lots\"",
            "sink.object_size",
            &["object_size = \"32 MiB\""],
        ),
        (
            "sink.max_in_flight = true",
            "sink.max_in_flight",
            &["max_in_flight = \"32 MiB\""],
        ),
        (
            "sink.bytes_per_second = -1",
            "sink.bytes_per_second",
            &["bytes_per_second = \"32 MiB\""],
        ),
        (
            "sink.bytes_per_second = \"hunter2\"",
            "sink.bytes_per_second",
            &["\"32 MiB\""],
        ),
        (
            "sink.type = 1",
            "sink.type",
            &["a number", "\"firehose\", \"dir\", \"s3\", \"stdout\""],
        ),
        (
            "sink.type = [\"dir\"]",
            "sink.type",
            &["\"firehose\", \"dir\", \"s3\", \"stdout\""],
        ),
        (
            "sink.paced = \"yes\"",
            "sink.paced",
            &["a string", "paced = true"],
        ),
        (
            "sink.quota_share = \"half\"",
            "sink.quota_share",
            &["a string", "without quotes"],
        ),
        (
            "sink.requests_per_second = \"9\"",
            "sink.requests_per_second",
            &["without quotes"],
        ),
        (
            "metrics.clusters = \"a\"",
            "metrics.clusters",
            &["a string", "write a list"],
        ),
        (
            "metrics.dimensions = [\"a\"]",
            "metrics.dimensions",
            &["a list", "names with values"],
        ),
        (
            "metrics.group = { clusters = [\"a\"] }",
            "metrics.group",
            &["[[metrics.group]]"],
        ),
        (
            "checkpoint = \"file:hunter2\"",
            "checkpoint",
            &["a string", "[checkpoint]"],
        ),
    ] {
        told += &check(&format!("{SMALLEST}{line}"), Some(key), said);
    }
    told += &check(
        "source = \"hunter2\"",
        Some("source"),
        &["a string", "[source]"],
    );
    for (table, key, said) in [
        (
            "table = [\"shop.Sales\"]",
            "table",
            &["a string", "[[table]]", "name = \"shop.Sales\""][..],
        ),
        (
            "table = \"shop.Sales\"",
            "table",
            &["a string", "[[table]]"],
        ),
        (
            "[table]\nname = \"shop.Sales\"",
            "table",
            &["a table", "[[table]]"],
        ),
        (
            "[table.shop]\nname = \"shop.Sales\"",
            "table",
            &["[[table]]"],
        ),
        (
            "[[table]]\nname = 1",
            "table.name",
            &["a number", "name = \"...\""],
        ),
        (
            "[[table]]\ncolumns = \"ItemID\"",
            "table.columns",
            &["a string", "a list"],
        ),
        ("[[table]]\ncolumns = [1]", "table.columns", &["a number"]),
        (
            "[[table]]\nevents = \"insert\"",
            "table.events",
            &["a string", "\"insert\", \"update\""],
        ),
        (
            "[[table]]\nevents = [\"inserts\"]",
            "table.events",
            &["did you mean \"insert\"?"],
        ),
        (
            "[[table]]\nevents = [1]",
            "table.events",
            &["a number", "\"insert\", \"update\""],
        ),
        (
            "[[table]]\nmetadata = \"position\"",
            "table.metadata",
            &["a string", "\"position\""],
        ),
        (
            "[[table]]\ndialect = 1",
            "table.dialect",
            &["a number", "\"csv\""],
        ),
        (
            "[[table]]\nbefore_image = \"yes\"",
            "table.before_image",
            &["before_image = true"],
        ),
        (
            "[[table]]\non_schema_change = true",
            "table.on_schema_change",
            &["\"stop\""],
        ),
    ] {
        told += &check(table, Some(key), said);
    }
    insta::assert_snapshot!("configuration-kinds", told);
}

#[test]
fn a_key_in_the_wrong_place_is_told_where_it_belongs() {
    let mut told = String::new();
    let sections = "[source]\nurl = \"mysql://hydrant@127.0.0.1\"\n";
    for (text, key, said) in [
        (
            format!("{sections}sink.stream = \"x\"\n"),
            "source.sink",
            &["[source]", "move `sink` above the first section"][..],
        ),
        (
            format!("{sections}[[table]]\nname = \"a.b\"\nsink.stream = \"x\"\n"),
            "table.sink",
            &["[[table]]", "move `sink`"],
        ),
        (
            format!("{sections}[sink]\nstream = \"x\"\nshutdown_grace = \"5s\"\n"),
            "sink.shutdown_grace",
            &["[sink]", "move `shutdown_grace`"],
        ),
        (
            format!("{sections}[[table]]\nname = \"a.b\"\n[table.sink]\nstream = \"x\"\n"),
            "table.sink",
            &["move `sink`"],
        ),
    ] {
        told += &check(&text, Some(key), said);
    }
    for text in [
        "sink.stream = \"x\"\n[sink]\npaced = false\n",
        "[sink]\npaced = false\n[sink]\nstream = \"x\"\n",
        "table = [{ name = \"a.b\" }]\n[[table]]\nname = \"a.c\"\n",
        "sink.stream = \"x\"\nsink.stream = \"y\"\n",
    ] {
        told += &check(text, None, &["duplicate key", "each section in one way"]);
    }
    insta::assert_snapshot!("configuration-places", told);
}

#[test]
fn a_file_that_is_no_text_is_told_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hydrant.toml");
    let utf16: Vec<u8> = SMALLEST.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, said, remedy) in [
        (&b"\x1f\x8b\x08\x00rest"[..], "compressed (gzip)", "unpack"),
        (b"\x28\xb5\x2f\xfdrest", "compressed (zstd)", "unpack"),
        (&[&[0xff, 0xfe], &utf16[..]].concat(), "UTF-16", "UTF-8"),
        (&utf16, "UTF-16", "UTF-8"),
        (
            b"source.url = \"x\"\n# gr\xfcn",
            "line 2: not in UTF-8",
            "UTF-8",
        ),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.to_string().contains("hydrant.toml"), "{error}");
        assert!(error.remedy.contains(remedy), "{error:?}");
    }
    let marked = format!("\u{feff}{SMALLEST}");
    std::fs::write(&path, &marked).unwrap();
    assert!(parse(&read(&path).unwrap(), "x").is_ok());
    assert!(read(folder.path()).unwrap_err().remedy.contains("--config"));
}
