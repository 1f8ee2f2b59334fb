//! JSON documents at their bounds and at random.

use rand::Rng;
use rand::rngs::StdRng;

use super::text::hex;

/// A document as a literal.
pub(super) fn quoted_json(text: &str) -> String {
    ["CONVERT(x'", &hex(text.as_bytes()), "' USING utf8mb4)"].concat()
}

pub(super) fn json_bounds() -> Vec<String> {
    let documents = [
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        r#"{"b": 1, "a": 2, "aa": 3, "": null}"#,
        "[0, -1, 32767, -32768, 32768, 65535, 65536, -2147483648, 2147483647, 4294967295]",
        "[4294967296, -9223372036854775808, 9223372036854775807, 18446744073709551615]",
        "[0.0, -0.0, 1.0, 1e15, 1e16, 123456789012345680000, 1e-5, 1.5e-14, 1.5e-15, 1.5e-16]",
        "[1.7976931348623157e308, 5e-324, 0.1, 1e20, 1e21, 1e22, 123456789.125, 1e100]",
        r#"["a,b", "quo\"te", "back\\slash", "/", "\b\f\n\r\t\u0001\u001f\u007f", "\u00e9\u4fa1"]"#,
        r#"{"nested": {"deep": [[[{"x": [1, [2, [3]]]}]]]}}"#,
    ];
    let mut bounds: Vec<String> = documents.map(quoted_json).to_vec();
    // Containers over 64 KiB, keys that are long, types of MySQL's own.
    let large: Vec<String> = (0..9_000).map(|n| format!("{n}, \"t{n}\"")).collect();
    bounds.push(quoted_json(&format!("[{}]", large.join(", "))));
    let members: Vec<String> = (0..5_000).map(|n| format!("\"key{n}\": {n}.5")).collect();
    bounds.push(quoted_json(&format!("{{{}}}", members.join(", "))));
    bounds.push(quoted_json(&format!(
        "[\"{}\", \"{}\"]",
        "x".repeat(200),
        "y".repeat(20_000)
    )));
    bounds
}

/// Values in JSON that only expressions can make.
pub(super) const JSON_EXPRESSIONS: &[&str] = &[
    "JSON_ARRAY(CAST('12.340' AS DECIMAL(10,3)), CAST(-0.5 AS DECIMAL(65,30)))",
    "JSON_ARRAY(DATE '2016-03-04', DATE '0000-00-00')",
    "JSON_ARRAY(TIME '-838:59:59', TIME '00:00:00.000001', TIME '12:34:56.7')",
    "JSON_OBJECT('at', TIMESTAMP '2016-03-04 05:06:07.000008', 'b', x'00FF', 'c', b'101')",
    "JSON_ARRAY(CAST(REPEAT('a', 200) AS BINARY), ST_GeomFromText('POINT(1 2)'))",
    "JSON_ARRAY(CAST(1 AS DOUBLE), CAST(1.5e300 AS DOUBLE), CAST(0.1 AS FLOAT), CAST(2016 AS YEAR))",
    "JSON_SET('{\"a\": [1, 2, 3]}', '$.a[1]', JSON_OBJECT('b', TRUE))",
];

pub(super) fn random_json(depth: usize, rng: &mut StdRng) -> String {
    let most = if depth < 4 { 8 } else { 6 };
    match rng.random_range(0..most) {
        0 => "null".to_owned(),
        1 => rng.random_bool(0.5).to_string(),
        2 => (rng.random::<i64>() >> rng.random_range(0..64)).to_string(),
        3 => rng.random::<u64>().to_string(),
        4 => loop {
            let value = f64::from_bits(rng.random());
            if value.is_finite() {
                return format!("{value:e}");
            }
        },
        5 => random_string(rng),
        6 => {
            let members: Vec<_> = (0..rng.random_range(0..5))
                .map(|_| random_json(depth + 1, rng))
                .collect();
            format!("[{}]", members.join(","))
        }
        _ => {
            let member = |rng: &mut StdRng| {
                format!("{}: {}", random_string(rng), random_json(depth + 1, rng))
            };
            let members: Vec<_> = (0..rng.random_range(0..5)).map(|_| member(rng)).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

fn random_string(rng: &mut StdRng) -> String {
    let characters: String = (0..rng.random_range(0..12))
        .map(|_| {
            if rng.random_bool(0.8) {
                char::from(rng.random_range(0..128))
            } else {
                rng.random()
            }
        })
        .collect();
    serde_json::Value::String(characters).to_string()
}
