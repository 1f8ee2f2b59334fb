//! The shapes of a table's lines: which columns, written as what, and in which order they came.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::config::SchemaChange;

/// The columns of a line: each one's name, and what it is written as.
pub(crate) type Shape = Vec<(String, String)>;

/// The shapes of each table, `schema.table`, as the checkpoint holds them.
pub(crate) type KnownShapes = BTreeMap<String, Vec<Shape>>;

/// The shapes that one table's lines have had, the oldest first.
#[derive(Debug)]
pub(super) struct Shapes {
    policy: SchemaChange,
    known: Vec<Shape>,
    current: usize,
}

impl Shapes {
    /// With those that are known from runs before.
    pub(super) fn new(policy: SchemaChange, known: Vec<Shape>) -> Self {
        Self {
            policy,
            known,
            current: 0,
        }
    }

    /// All of them.
    pub(super) fn known(&self) -> &[Shape] {
        &self.known
    }

    /// The number of the shape at hand, from 1 on. The same shape always has the same number, so
    /// that rows which are read once more after a crash get the version that they had.
    pub(super) fn version(&self) -> usize {
        self.current + 1
    }

    /// Whether this is the shape at hand.
    pub(super) fn is_current(&self, shape: &Shape) -> bool {
        self.known.get(self.current) == Some(shape)
    }

    /// Takes the shape of the lines that follow. An error tells what has changed.
    pub(super) fn take(&mut self, shape: Shape) -> Result<(), String> {
        if let Some(current) = self.known.iter().position(|known| *known == shape) {
            self.current = current;
            return Ok(());
        }
        match (self.policy, self.known.last()) {
            (SchemaChange::Stop, Some(known)) if names(known).eq(names(&shape)) => {
                Err(changes(known, &shape))
            }
            // Other columns were chosen, and nobody minds the lines of before.
            (SchemaChange::Stop, _) => {
                self.known = vec![shape];
                self.current = 0;
                Ok(())
            }
            (SchemaChange::Version, _) => {
                self.current = self.known.len();
                self.known.push(shape);
                Ok(())
            }
        }
    }
}

fn names(shape: &Shape) -> impl Iterator<Item = &str> {
    shape.iter().map(|(name, _)| name.as_str())
}

fn changes(old: &Shape, new: &Shape) -> String {
    let mut changes = String::new();
    for ((name, old), (_, new)) in old.iter().zip(new).filter(|(old, new)| old != new) {
        let separator = if changes.is_empty() { "" } else { ", " };
        let _ = write!(changes, "{separator}{name} was {old} and is {new}");
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(columns: &[(&str, &str)]) -> Shape {
        let owned = |(name, kind): &(&str, &str)| ((*name).to_owned(), (*kind).to_owned());
        columns.iter().map(owned).collect()
    }

    #[test]
    fn a_shape_keeps_its_number() {
        let mut shapes = Shapes::new(SchemaChange::Version, Vec::new());
        let a = || shape(&[("id", "INT")]);
        let b = || shape(&[("id", "BIGINT")]);
        let c = || shape(&[("id", "BIGINT"), ("note", "TEXT")]);
        let mut numbers = Vec::new();
        for shape in [a(), a(), b(), c(), b(), a()] {
            shapes.take(shape).unwrap();
            numbers.push(shapes.version());
        }
        assert_eq!(numbers, [1, 1, 2, 3, 2, 1]);
        // Another run goes on with what is known.
        let mut shapes = Shapes::new(SchemaChange::Version, shapes.known().to_vec());
        shapes.take(c()).unwrap();
        assert_eq!(shapes.version(), 3);
    }

    #[test]
    fn a_change_of_type_stops_but_other_columns_are_a_choice() {
        let known = vec![shape(&[("id", "INT"), ("n", "INT")])];
        let mut shapes = Shapes::new(SchemaChange::Stop, known);
        let error = shapes.take(shape(&[("id", "INT"), ("n", "TEXT")]));
        assert_eq!(error, Err("n was INT and is TEXT".to_owned()));
        assert!(shapes.take(shape(&[("n", "TEXT")])).is_ok());
        assert_eq!(shapes.version(), 1);
        assert!(shapes.take(shape(&[("n", "INT")])).is_err());
    }
}
