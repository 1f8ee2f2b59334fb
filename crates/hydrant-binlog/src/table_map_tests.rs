//! Sizes and character sets as table maps have them.

use super::*;

#[test]
fn decimals_have_the_documented_sizes() {
    for (precision, scale, len) in [(10, 2, 5), (65, 30, 30), (1, 0, 1), (9, 0, 4), (30, 30, 14)] {
        assert_eq!(
            decimal_len(precision, scale),
            Some(len),
            "({precision},{scale})"
        );
    }
    assert_eq!(decimal_len(2, 3), None);
}

#[test]
fn collations_name_their_charset() {
    for (id, charset) in [
        (255, Charset::Utf8),
        (45, Charset::Utf8),
        (33, Charset::Utf8),
        (11, Charset::Other("ascii".into())),
        (2304, Charset::Utf8),
        (8, Charset::Latin1),
        (576, Charset::Utf8),
        (1070, Charset::Utf8),
        (1032, Charset::Latin1),
        (1052, Charset::Other("gbk".into())),
        (63, Charset::Binary),
        (28, Charset::Other("gbk".into())),
        (9999, Charset::Other("collation 9999".into())),
    ] {
        assert_eq!(Charset::from_collation(id), charset, "{id}");
    }
}
