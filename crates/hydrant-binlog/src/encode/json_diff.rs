//! JSON documents that an update tells by what it has changed of them (PARTIAL_UPDATE_ROWS).
//!
//! What lives here: the changes, and how they make the new document of the old one. What does not:
//! the documents' own format, which [`super::json`] reads and writes.
//!
//! Source: MySQL `sql-common/json_diff.cc`; paths are written as `sql-common/json_path.cc` does.

use super::invalid_text::InvalidText;
use super::json::{self, Bounds, Container};
use super::problem::CellProblem;

/// Legs of a path are no more than levels of a document.
const MOST_LEGS: usize = 100;

/// A document of which only what changes is taken apart.
enum Node<'a> {
    Stored { kind: u8, value: &'a [u8] },
    Object(Vec<(Vec<u8>, Node<'a>)>),
    Array(Vec<Node<'a>>),
}

/// One step into a document.
enum Leg {
    Member(Vec<u8>),
    /// From the front, or from the back: 0 is then the last one.
    Cell {
        index: usize,
        from_back: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change<'a> {
    Replace(&'a [u8]),
    Insert(&'a [u8]),
    Remove,
}

/// Appends the text of the document that `changes` make of `document`.
pub(super) fn write_changed_json(
    document: &[u8],
    changes: &[u8],
    invalid: InvalidText,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    let bounds = Bounds::of(document.len() + changes.len(), invalid, out);
    let mut root = Node::stored(document)?;
    let mut changes = changes;
    while let Some((operation, rest)) = changes.split_first() {
        changes = rest;
        let legs = legs(sized(&mut changes)?)?;
        let change = match operation {
            0 => Change::Replace(sized(&mut changes)?),
            1 => Change::Insert(sized(&mut changes)?),
            2 => Change::Remove,
            _ => return Err(CellProblem::Json),
        };
        // The whole document is never changed by a part.
        let (last, inner) = legs.split_last().ok_or(CellProblem::Json)?;
        let mut node = &mut root;
        for leg in inner {
            node = node.child(leg)?;
        }
        node.apply(last, change)?;
    }
    root.write(bounds, out)
}

/// Bytes after their length, as the client/server protocol encodes it.
fn sized<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], CellProblem> {
    let (first, rest) = from.split_first().ok_or(CellProblem::Json)?;
    let width = match first {
        0..=250 => 0,
        252 => 2,
        253 => 3,
        254 => 8,
        251 | 255 => return Err(CellProblem::Json),
    };
    let (encoded, rest) = rest.split_at_checked(width).ok_or(CellProblem::Json)?;
    let len = encoded
        .iter()
        .rev()
        .fold(0, |len, byte| len << 8 | u64::from(*byte));
    let len = if width == 0 { u64::from(*first) } else { len };
    let len = usize::try_from(len).map_err(|_| CellProblem::Json)?;
    let (value, rest) = rest.split_at_checked(len).ok_or(CellProblem::Json)?;
    *from = rest;
    Ok(value)
}

/// Reads a path such as `$.name."odd name"[3][last-1]`.
fn legs(path: &[u8]) -> Result<Vec<Leg>, CellProblem> {
    let path = std::str::from_utf8(path).map_err(|_| CellProblem::Json)?;
    let mut rest = path.strip_prefix('$').ok_or(CellProblem::Json)?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        if legs.len() == MOST_LEGS {
            return Err(CellProblem::Json);
        }
        let (leg, len) = if let Some(cell) = rest.strip_prefix('[') {
            let (cell, _) = cell.split_once(']').ok_or(CellProblem::Json)?;
            (cell_leg(cell)?, cell.len() + 2)
        } else {
            let member = rest.strip_prefix('.').ok_or(CellProblem::Json)?;
            let len = if member.starts_with('"') {
                quoted_len(member)?
            } else {
                member.find(['.', '[']).unwrap_or(member.len())
            };
            let name = &member[..len];
            let name = if name.starts_with('"') {
                serde_json::from_str(name).map_err(|_| CellProblem::Json)?
            } else {
                name.to_owned()
            };
            (Leg::Member(name.into_bytes()), len + 1)
        };
        legs.push(leg);
        rest = &rest[len..];
    }
    Ok(legs)
}

fn cell_leg(cell: &str) -> Result<Leg, CellProblem> {
    let cell = cell.trim();
    let (from_back, number) = match cell.strip_prefix("last") {
        Some("") => (true, "0"),
        Some(rest) => {
            let number = rest.trim_start().strip_prefix('-');
            (true, number.ok_or(CellProblem::Json)?.trim_start())
        }
        None => (false, cell),
    };
    let index = number.parse().map_err(|_| CellProblem::Json)?;
    Ok(Leg::Cell { index, from_back })
}

/// How far a quoted string reaches that starts the text.
fn quoted_len(text: &str) -> Result<usize, CellProblem> {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !is_escaped => return Ok(index + 1),
            b'\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    Err(CellProblem::Json)
}

impl<'a> Node<'a> {
    fn stored(document: &'a [u8]) -> Result<Self, CellProblem> {
        let (kind, value) = document.split_first().ok_or(CellProblem::Json)?;
        let kind = *kind;
        Ok(Self::Stored { kind, value })
    }

    /// Takes a stored container apart, one level deep.
    fn open(&mut self) -> Result<(), CellProblem> {
        let Self::Stored { kind, value } = *self else {
            return Ok(());
        };
        let container = Container::of(kind, value)?.ok_or(CellProblem::Json)?;
        let child = |index| -> Result<Self, CellProblem> {
            let (kind, value) = container.value(index)?;
            Ok(Self::Stored { kind, value })
        };
        let indexes = 0..container.count;
        *self = if container.is_object {
            let member = |index| Ok((container.key(index)?.to_vec(), child(index)?));
            Self::Object(indexes.map(member).collect::<Result<_, CellProblem>>()?)
        } else {
            Self::Array(indexes.map(child).collect::<Result<_, _>>()?)
        };
        Ok(())
    }

    /// Where a leg leads: the place in this container, and whether something is there.
    fn place(&mut self, leg: &Leg) -> Result<(usize, bool), CellProblem> {
        self.open()?;
        match (self, leg) {
            // Members stand in the order of their names' lengths, then of their bytes.
            (Self::Object(members), Leg::Member(name)) => {
                let order = |(key, _): &(Vec<u8>, Node<'_>)| {
                    key.len().cmp(&name.len()).then_with(|| key.cmp(name))
                };
                Ok(match members.binary_search_by(order) {
                    Ok(at) => (at, true),
                    Err(at) => (at, false),
                })
            }
            (Self::Array(cells), Leg::Cell { index, from_back }) => {
                let count = cells.len();
                // What lies outside is put at the end that it is nearest to (`Json_array_index`).
                let at = if *from_back {
                    count.saturating_sub(*index).saturating_sub(1)
                } else {
                    (*index).min(count)
                };
                Ok((at, *index < count))
            }
            _ => Err(CellProblem::Json),
        }
    }

    fn child(&mut self, leg: &Leg) -> Result<&mut Self, CellProblem> {
        let (at, is_there) = self.place(leg)?;
        if !is_there {
            return Err(CellProblem::Json);
        }
        let child = match self {
            Self::Object(members) => members.get_mut(at).map(|(_, child)| child),
            Self::Array(cells) => cells.get_mut(at),
            Self::Stored { .. } => None,
        };
        child.ok_or(CellProblem::Json)
    }

    /// Changes what the leg leads to, as the server does.
    fn apply(&mut self, leg: &Leg, change: Change<'a>) -> Result<(), CellProblem> {
        let (at, is_there) = self.place(leg)?;
        let inserts = matches!(change, Change::Insert(_));
        match (self, leg, change) {
            (Self::Object(_), _, Change::Insert(_)) if is_there => Err(CellProblem::Json),
            (_, _, Change::Replace(_) | Change::Remove) if !is_there => Err(CellProblem::Json),
            (Self::Object(members), Leg::Member(name), Change::Insert(value)) => {
                members.insert(at, (name.clone(), Self::stored(value)?));
                Ok(())
            }
            (Self::Object(members), _, Change::Replace(value)) => {
                members[at].1 = Self::stored(value)?;
                Ok(())
            }
            (Self::Object(members), _, Change::Remove) => {
                members.remove(at);
                Ok(())
            }
            (Self::Array(cells), _, Change::Insert(value) | Change::Replace(value)) => {
                let node = Self::stored(value)?;
                if inserts {
                    cells.insert(at, node);
                } else {
                    cells[at] = node;
                }
                Ok(())
            }
            (Self::Array(cells), _, Change::Remove) => {
                cells.remove(at);
                Ok(())
            }
            _ => Err(CellProblem::Json),
        }
    }

    fn write(&self, bounds: Bounds, out: &mut Vec<u8>) -> Result<(), CellProblem> {
        let separator = |index| if index > 0 { &b", "[..] } else { b"" };
        match self {
            Self::Stored { kind, value } => json::write_value(*kind, value, bounds, out)?,
            Self::Object(members) => {
                let within = bounds.within()?;
                out.push(b'{');
                for (index, (key, child)) in members.iter().enumerate() {
                    out.extend_from_slice(separator(index));
                    json::write_string(key, bounds, out)?;
                    out.extend_from_slice(b": ");
                    child.write(within, out)?;
                }
                out.push(b'}');
            }
            Self::Array(cells) => {
                let within = bounds.within()?;
                out.push(b'[');
                for (index, child) in cells.iter().enumerate() {
                    out.extend_from_slice(separator(index));
                    child.write(within, out)?;
                }
                out.push(b']');
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::write_json;
    use super::*;

    /// {"a": [1, "x"]}
    const DOCUMENT: [u8; 27] = [
        0x00, 0x01, 0x00, 0x1a, 0x00, 0x0b, 0x00, 0x01, 0x00, 0x02, 0x0c, 0x00, b'a', 0x02, 0x00,
        0x0e, 0x00, 0x05, 0x01, 0x00, 0x0c, 0x0a, 0x00, 0x01, b'x', 0x00, 0x00,
    ];

    fn change(operation: u8, path: &str, value: Option<&[u8]>) -> Vec<u8> {
        let mut change = vec![operation, u8::try_from(path.len()).unwrap()];
        change.extend_from_slice(path.as_bytes());
        if let Some(value) = value {
            change.push(u8::try_from(value.len()).unwrap());
            change.extend_from_slice(value);
        }
        change
    }

    fn changed(changes: &[Vec<u8>]) -> Result<String, CellProblem> {
        let mut out = Vec::new();
        write_changed_json(&DOCUMENT, &changes.concat(), InvalidText::Stop, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    const TRUE: &[u8] = &[0x04, 1];
    const SEVEN: &[u8] = &[0x05, 7, 0];

    #[test]
    fn changes_make_the_new_document() {
        for (changes, text) in [
            (vec![], r#"{"a": [1, "x"]}"#),
            (vec![change(0, "$.a[1]", Some(SEVEN))], r#"{"a": [1, 7]}"#),
            (
                vec![change(0, "$.a[last]", Some(SEVEN))],
                r#"{"a": [1, 7]}"#,
            ),
            (
                vec![change(1, "$.a[0]", Some(TRUE))],
                r#"{"a": [true, 1, "x"]}"#,
            ),
            (
                vec![change(1, "$.a[9]", Some(TRUE))],
                r#"{"a": [1, "x", true]}"#,
            ),
            (
                vec![change(1, "$.a[last-2]", Some(TRUE))],
                r#"{"a": [true, 1, "x"]}"#,
            ),
            (vec![change(2, "$.a[last-1]", None)], r#"{"a": ["x"]}"#),
            (vec![change(2, "$.a", None)], "{}"),
            // Shorter names come first, then smaller ones.
            (
                vec![
                    change(1, r#"$."a \"b\"""#, Some(TRUE)),
                    change(1, "$.B", Some(SEVEN)),
                    change(0, r#"$."a \"b\"""#, Some(&DOCUMENT)),
                    change(2, r#"$."a \"b\"".a[0]"#, None),
                ],
                r#"{"B": 7, "a": [1, "x"], "a \"b\"": {"a": ["x"]}}"#,
            ),
        ] {
            assert_eq!(changed(&changes).as_deref(), Ok(text));
        }
    }

    #[test]
    fn changes_that_do_not_fit_the_document_are_refused() {
        for change in [
            change(0, "$", Some(TRUE)),
            change(0, "$.b", Some(TRUE)),
            change(0, "$.a[2]", Some(TRUE)),
            change(0, "$.a.b", Some(TRUE)),
            change(0, "$.a[0][0]", Some(TRUE)),
            change(1, "$.a", Some(TRUE)),
            change(2, "$.a[2]", None),
            change(2, "$.a[last-2]", None),
            change(3, "$.a", None),
            change(0, "$.a", Some(&[])),
            change(2, "a", None),
            change(2, "$.\"a", None),
            change(2, "$[", None),
        ] {
            assert!(
                changed(std::slice::from_ref(&change)).is_err(),
                "{change:?}"
            );
        }
    }

    #[test]
    fn changes_cut_anywhere_are_an_error() {
        let whole = [
            change(0, "$.a[1]", Some(SEVEN)),
            change(1, "$.b", Some(TRUE)),
        ];
        let first = whole[0].len();
        let whole = whole.concat();
        for len in 1..whole.len() {
            let result =
                write_changed_json(&DOCUMENT, &whole[..len], InvalidText::Stop, &mut Vec::new());
            assert!(result.is_err() || len == first, "{len}");
        }
    }

    proptest! {
        /// Neither panics nor grows beyond what the bytes can say.
        #[test]
        fn any_bytes_give_text_or_an_error(
            document in prop::collection::vec(any::<u8>(), 0..60),
            changes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut out = Vec::new();
            if write_changed_json(&document, &changes, InvalidText::Replace, &mut out).is_ok() {
                prop_assert!(std::str::from_utf8(&out).is_ok());
            }
        }

        #[test]
        fn no_change_is_the_document(document in prop::collection::vec(any::<u8>(), 1..200)) {
            let (mut whole, mut unchanged) = (Vec::new(), Vec::new());
            let result = write_json(&document, InvalidText::Stop, &mut whole);
            prop_assert_eq!(write_changed_json(&document, &[], InvalidText::Stop, &mut unchanged), result);
            prop_assert_eq!(whole, unchanged);
        }
    }
}
