//! Sizes and character sets as table maps have them.

use super::*;

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
