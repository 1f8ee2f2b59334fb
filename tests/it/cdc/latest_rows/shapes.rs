//! Tables with keys of each kind, and what is done to them at random.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::Row;
use testkit::servers::Kind;

/// How many keys rows have, so that they are used again and again.
const KEYS: u32 = 9;

/// The columns that each table has beside its key's, and their defaults.
pub(super) const DEFAULTS: [(&str, Option<&str>); 3] =
    [("v", Some("dflt")), ("b", None), ("n", Some("7"))];

/// A kind of key. `#` is the number of a row's key.
struct Shape {
    /// Its columns.
    columns: &'static str,
    /// The key, and what else stands behind columns.
    key: &'static str,
    /// What stands behind the closing parenthesis.
    options: &'static str,
    /// The columns that are before the others in the table's rows.
    names: &'static [&'static str],
    /// Those that identify a row; none if no two rows can be told apart by them.
    key_names: &'static [&'static str],
    /// What a row of this key is given; one of several where they are the same key.
    set: &'static [(&'static str, &'static [&'static str])],
    /// What one UPDATE does to the keys of many rows.
    shifts: &'static [&'static str],
    is_of_mysql: bool,
    is_of_mariadb: bool,
}

const ANY: Shape = Shape {
    columns: "k int NOT NULL",
    key: "PRIMARY KEY (k)",
    options: "",
    names: &["k"],
    key_names: &["k"],
    set: &[("k", &["#"])],
    shifts: &[
        "k = k + 1 ORDER BY k DESC",
        "k = k - 1 ORDER BY k",
        "k = -k",
    ],
    is_of_mysql: true,
    is_of_mariadb: true,
};

const TEXT_SHIFTS: &[&str] = &[
    "k = CONCAT(k, 'x')",
    "k = UPPER(k)",
    "k = LOWER(k)",
    "k = LEFT(k, 10)",
    "k = CONCAT('k', 9 - SUBSTR(k, 2, 1), SUBSTR(k, 3)) ORDER BY k",
];

/// The beginning of ten characters identifies a row.
const BEGINNINGS: &[&str] = &[
    "'k#-prefix0 and more'",
    "'K#-prefix0'",
    "'k#-prefix0 or so'",
];

const SHAPES: &[Shape] = &[
    ANY,
    Shape {
        columns: "k int NOT NULL, g bigint unsigned NOT NULL",
        key: "PRIMARY KEY (g, k)",
        names: &["k", "g"],
        key_names: &["g", "k"],
        set: &[("k", &["# % 3"]), ("g", &["# DIV 3"])],
        shifts: &["g = g + 1 ORDER BY g DESC, k", "k = -k", "g = k, k = g"],
        ..ANY
    },
    Shape {
        columns: "k varchar(60) NOT NULL",
        key: "PRIMARY KEY (k(10))",
        set: &[("k", BEGINNINGS)],
        shifts: TEXT_SHIFTS,
        ..ANY
    },
    Shape {
        columns: "k text NOT NULL",
        key: "PRIMARY KEY (k(10))",
        set: &[("k", BEGINNINGS)],
        shifts: TEXT_SHIFTS,
        ..ANY
    },
    Shape {
        columns: "k varchar(60) COLLATE utf8mb4_general_ci",
        key: "PRIMARY KEY (k)",
        set: &[("k", &["'k#'", "'K#'", "'k# '"])],
        shifts: &[
            "k = UPPER(k)",
            "k = LOWER(k)",
            "k = CONCAT(k, 'x')",
            "k = LEFT(k, 3)",
        ],
        ..ANY
    },
    Shape {
        key: "UNIQUE (k)",
        ..ANY
    },
    Shape {
        columns: "w int, k int NOT NULL, z int",
        key: "UNIQUE (w), KEY (z), UNIQUE (k), UNIQUE (z, k)",
        names: &["w", "k", "z"],
        shifts: &["k = k + 1, w = k ORDER BY k DESC", "w = -k", "k = -k"],
        ..ANY
    },
    Shape {
        columns: "k varchar(20) NOT NULL, g int NOT NULL",
        key: "UNIQUE (g, k)",
        names: &["k", "g"],
        key_names: &["g", "k"],
        set: &[("k", &["'k#'", "'K#'"]), ("g", &["# DIV 3"])],
        shifts: &["g = g + 1 ORDER BY g DESC, k", "k = UPPER(k)"],
        ..ANY
    },
    Shape {
        key: "PRIMARY KEY (k)",
        options: "PARTITION BY HASH (k) PARTITIONS 3",
        ..ANY
    },
    Shape {
        columns: "d decimal(20,2) NOT NULL, k datetime(3) NOT NULL, e enum('x','y','z') NOT NULL",
        key: "PRIMARY KEY (k, d, e)",
        names: &["d", "k", "e"],
        key_names: &["k", "d", "e"],
        set: &[
            ("d", &["# / 4"]),
            ("k", &["'2020-01-01 00:00:00.125' + INTERVAL # DAY"]),
            ("e", &["# % 3 + 1"]),
        ],
        shifts: &[
            "k = k + INTERVAL 1 DAY ORDER BY k DESC",
            "e = 4 - e",
            "d = -d",
        ],
        ..ANY
    },
    // The key that MySQL makes itself.
    Shape {
        columns: "w int",
        key: "KEY (w)",
        names: &["my_row_id", "w"],
        key_names: &["my_row_id"],
        set: &[("my_row_id", &["#"])],
        shifts: &["my_row_id = my_row_id + 1 ORDER BY my_row_id DESC", "w = n"],
        is_of_mariadb: false,
        ..ANY
    },
    // A key that follows from another column.
    Shape {
        columns: "a int, k int AS (a * 2) STORED NOT NULL",
        key: "PRIMARY KEY (k)",
        names: &["a", "k"],
        set: &[("a", &["#"])],
        shifts: &["a = a + 1 ORDER BY a DESC", "a = -a"],
        is_of_mariadb: false,
        ..ANY
    },
    Shape {
        columns: "a int NOT NULL, k int AS (a * 2) STORED",
        key: "PRIMARY KEY (a), UNIQUE (k)",
        names: &["a", "k"],
        key_names: &["a"],
        set: &[("a", &["#"])],
        shifts: &["a = a + 1 ORDER BY a DESC", "a = -a"],
        // MariaDB 11 leaves such columns out of its images.
        is_of_mariadb: false,
        ..ANY
    },
    Shape {
        options: "WITH SYSTEM VERSIONING",
        is_of_mysql: false,
        ..ANY
    },
    Shape {
        columns: "k varchar(60) NOT NULL",
        key: "UNIQUE (k)",
        options: "WITH SYSTEM VERSIONING",
        set: &[("k", &["'k#'", "'K#'"])],
        shifts: &["k = UPPER(k)", "k = CONCAT(k, 'x')"],
        is_of_mysql: false,
        ..ANY
    },
    // No key, as the server sees it.
    Shape {
        columns: "k int",
        key: "KEY (k)",
        key_names: &[],
        shifts: &["k = k + 1", "k = -k", "k = 1"],
        ..ANY
    },
    Shape {
        columns: "k int",
        key: "UNIQUE (k)",
        key_names: &[],
        shifts: &["k = k + 1 ORDER BY k DESC", "k = NULL WHERE k > 3"],
        ..ANY
    },
    // Another unique key of a column that the server makes itself.
    Shape {
        columns: "t text, u text NOT NULL, k int NOT NULL",
        key: "UNIQUE (t), UNIQUE (u, k), UNIQUE (k)",
        names: &["t", "u", "k"],
        set: &[("k", &["#"]), ("u", &["'u'"])],
        shifts: &["k = k + 1, t = k ORDER BY k DESC", "t = k"],
        is_of_mysql: false,
        ..ANY
    },
];

/// A table, and how its lines are written.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) dialect: &'static str,
    pub(super) has_before_image: bool,
    /// Whether REPLACE names each column: of those that it does not, MariaDB's smaller images do not tell that they
    /// have their defaults.
    replaces_whole: bool,
    shape: &'static Shape,
}

impl Table {
    /// One of each kind of key that the server has, again and again.
    pub(super) fn new(kind: Kind, image: &str, name: String, index: usize) -> Self {
        let is_there = |shape: &&Shape| match kind {
            Kind::Mysql => shape.is_of_mysql,
            Kind::Mariadb | Kind::Mariadb11 => shape.is_of_mariadb,
        };
        let shapes: Vec<&Shape> = SHAPES.iter().filter(is_there).collect();
        let shape = shapes[index % shapes.len()];
        Self {
            name,
            dialect: if index.is_multiple_of(2) {
                "csv"
            } else {
                "jsonl"
            },
            has_before_image: index.is_multiple_of(3) || shape.key_names.is_empty(),
            replaces_whole: kind != Kind::Mysql && image != "FULL",
            shape,
        }
    }

    pub(super) fn create(&self) -> String {
        let Shape {
            columns,
            key,
            options,
            ..
        } = self.shape;
        let create = format!(
            "CREATE TABLE {} ({columns}, v varchar(20) DEFAULT 'dflt', b text, n int NOT NULL DEFAULT 7, {key}) \
             {options};\n",
            self.name
        );
        if self.shape.key_names == ["my_row_id"] {
            let variable = "sql_generate_invisible_primary_key";
            return format!("SET {variable} = ON;\n{create}SET {variable} = OFF;\n");
        }
        create
    }

    /// All that its lines have, in this order.
    pub(super) fn columns(&self) -> Vec<&'static str> {
        let others = DEFAULTS.iter().map(|(name, _)| *name);
        self.shape.names.iter().copied().chain(others).collect()
    }

    pub(super) fn has_key(&self) -> bool {
        !self.shape.key_names.is_empty()
    }

    pub(super) fn key_of(&self, row: &Row) -> Row {
        let names = self.columns();
        let value = |key: &&str| {
            let index = names.iter().position(|name| name == key);
            index.and_then(|index| row[index].clone())
        };
        self.shape.key_names.iter().map(value).collect()
    }

    /// The columns of a key and what they are given.
    fn key(&self, number: u32, rng: &mut StdRng) -> Vec<String> {
        let set = self.shape.set.iter().map(|(column, forms)| {
            let form = forms.choose(rng).copied().unwrap_or("#");
            format!("{column} = {}", form.replace('#', &number.to_string()))
        });
        set.collect()
    }

    fn set(&self, number: u32, rng: &mut StdRng) -> String {
        self.key(number, rng).join(", ")
    }

    fn is(&self, number: u32, rng: &mut StdRng) -> String {
        let terms = self.key(number, rng).into_iter();
        let terms: Vec<String> = terms.map(|term| format!("({term})")).collect();
        terms.join(" AND ")
    }

    fn values(rng: &mut StdRng) -> String {
        let number = rng.random_range(0..1000);
        let values = [
            format!("v = 'v{number}'"),
            format!("b = 'b{number}'"),
            format!("n = {number}"),
            format!("v = NULL, b = '', n = {number}"),
            format!("b = NULL, v = 'v{number}'"),
        ];
        values.choose(rng).cloned().unwrap_or_default()
    }

    fn statement(&self, rng: &mut StdRng) -> String {
        let table = &self.name;
        let (one, other) = (rng.random_range(1..=KEYS), rng.random_range(1..=KEYS));
        let values = Self::values(rng);
        match rng.random_range(0..12) {
            0..3 => format!(
                "INSERT IGNORE INTO {table} SET {}, {values};\n",
                self.set(one, rng)
            ),
            3 => format!("INSERT IGNORE INTO {table} SET {};\n", self.set(one, rng)),
            4 => format!(
                "UPDATE IGNORE {table} SET {values} WHERE {};\n",
                self.is(one, rng)
            ),
            5 => format!("UPDATE {table} SET {values};\n"),
            6 => {
                let (set, is) = (self.set(other, rng), self.is(one, rng));
                format!("UPDATE IGNORE {table} SET {set}, {values} WHERE {is};\n")
            }
            7 => {
                let shift = self.shape.shifts.choose(rng).copied().unwrap_or_default();
                format!("UPDATE IGNORE {table} SET {shift};\n")
            }
            8 => format!("DELETE FROM {table} WHERE {};\n", self.is(one, rng)),
            9 => format!(
                "REPLACE INTO {table} SET {};\n",
                self.replaced(one, &values, rng)
            ),
            10 => format!(
                "INSERT INTO {table} SET {}, {values} ON DUPLICATE KEY UPDATE {values};\n",
                self.set(one, rng)
            ),
            _ => self.swap(one, other, rng),
        }
    }

    fn replaced(&self, number: u32, values: &str, rng: &mut StdRng) -> String {
        let key = self.set(number, rng);
        if !self.replaces_whole {
            return format!("{key}, {values}");
        }
        let set = self.shape.set;
        let others = self.shape.names.iter();
        let others = others.filter(|name| !set.iter().any(|(column, _)| column == *name));
        let others: Vec<String> = others.map(|name| format!("{name} = NULL, ")).collect();
        let others = others.concat();
        format!("{others}{key}, v = 'r{number}', b = NULL, n = {number}")
    }

    /// Two rows change their keys by way of one that no other row has.
    fn swap(&self, one: u32, other: u32, rng: &mut StdRng) -> String {
        let way = KEYS + 1;
        let steps = [(one, way), (other, one), (way, other)];
        let step = |(from, to)| {
            let (set, is) = (self.set(to, rng), self.is(from, rng));
            format!("UPDATE IGNORE {} SET {set} WHERE {is};\n", self.name)
        };
        steps.map(step).concat()
    }

    /// A statement, or a transaction of some.
    pub(super) fn step(&self, rng: &mut StdRng) -> String {
        let end = match rng.random_range(0..6) {
            0..3 => return self.statement(rng),
            3 => "ROLLBACK;\n",
            _ => "COMMIT;\n",
        };
        let count = rng.random_range(2..5);
        let statements: String = (0..count).map(|_| self.statement(rng)).collect();
        let savepoint = format!("SAVEPOINT s;\n{}ROLLBACK TO s;\n", self.statement(rng));
        let savepoint = if rng.random_bool(0.3) { &savepoint } else { "" };
        format!("BEGIN;\n{statements}{savepoint}{end}")
    }
}
