//! PURE. The names of folders that readers of Hive partitions take for columns.

/// Those of an object's day and hour, if they are not configured.
pub(crate) const PARTITIONS: [&str; 2] = ["dt", "hr"];

/// That of a version of lines.
pub(crate) const VERSION_PARTITION: &str = "v";
