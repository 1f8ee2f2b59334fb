//! Text at its bounds and at random, in each character set, as literals.

use rand::Rng;
use rand::rngs::StdRng;

use super::columns::{NASTY, TWO_BYTES, pick};

/// Two upper-case digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = Vec::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 0xf)]);
    }
    // Digits are UTF-8.
    String::from_utf8(text).unwrap_or_default()
}

/// A string literal from bytes in a character set.
pub(super) fn literal(charset: &str, bytes: &[u8]) -> String {
    ["_", charset, " x'", &hex(bytes), "'"].concat()
}

pub(super) fn text_bounds(charset: &str, chars: usize) -> Vec<String> {
    let mut values: Vec<Vec<u8>> = NASTY.iter().map(|text| text.as_bytes().to_vec()).collect();
    values.push(vec![b'x'; chars]);
    let from = |text: &str| text.as_bytes().to_vec();
    match charset {
        "utf8mb4" => {
            values.extend(
                [
                    "Grüße",
                    "価格",
                    "🚒",
                    "👩‍🚒 a,b",
                    "\u{feff}BOM",
                    "\u{10ffff}",
                    "e\u{301}",
                ]
                .map(from),
            );
            values.push("🚒".repeat(chars).into_bytes());
        }
        "utf8mb3" => {
            values.extend(["Grüße", "価格", "\u{feff}BOM", "\u{ffff}"].map(from));
            values.push("格".repeat(chars).into_bytes());
        }
        "latin1" => {
            let all: Vec<u8> = (0..=255).collect();
            values.extend(all.iter().map(|byte| vec![*byte]));
            // Without what needs quotes, and with it.
            let plain = all
                .iter()
                .copied()
                .filter(|byte| !b",\"\n\r".contains(byte));
            values.push(plain.take(chars).collect());
            values.push(all.iter().rev().copied().take(chars).collect());
            values.push(vec![0xff; chars]);
        }
        _ => values.push((0..128).take(chars).collect()),
    }
    values.retain(|bytes| character_count(charset, bytes) <= chars);
    values.iter().map(|bytes| literal(charset, bytes)).collect()
}

fn character_count(charset: &str, bytes: &[u8]) -> usize {
    match charset {
        "latin1" | "ascii" => bytes.len(),
        _ => String::from_utf8_lossy(bytes).chars().count(),
    }
}

pub(super) fn random_text(charset: &str, chars: usize, rng: &mut StdRng) -> String {
    let len = rng.random_range(0..=chars.min(40));
    let mut bytes = Vec::new();
    let mut left = len;
    while left > 0 {
        left -= match rng.random_range(0..10) {
            0 => {
                // All of it is ASCII.
                let nasty = pick(NASTY, rng).as_bytes();
                let nasty = &nasty[..nasty.len().min(left)];
                bytes.extend_from_slice(nasty);
                nasty.len()
            }
            1..=7 => {
                bytes.push(rng.random_range(b' '..=b'~'));
                1
            }
            _ => {
                push_random(charset, &mut bytes, rng);
                1
            }
        };
    }
    literal(charset, &bytes)
}

fn push_random(charset: &str, bytes: &mut Vec<u8>, rng: &mut StdRng) {
    let character = match charset {
        "latin1" => return bytes.push(rng.random()),
        // Some of its second bytes are backslashes.
        "sjis" | "cp932" => {
            let two = [rng.random_range(0x88..=0x97), rng.random_range(0x40..=0x7e)];
            return bytes.extend_from_slice(&two);
        }
        two if TWO_BYTES.contains(&two) => {
            let two = [rng.random_range(0xb0..=0xc6), rng.random_range(0xa1..=0xfe)];
            return bytes.extend_from_slice(&two);
        }
        "ascii" => return bytes.push(rng.random_range(0..128)),
        "utf8mb3" => rng.random_range('\u{80}'..='\u{ffff}'),
        _ => rng.random_range('\u{80}'..=char::MAX),
    };
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}
