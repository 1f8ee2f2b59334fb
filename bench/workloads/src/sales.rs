//! Workload A: made-up sales in the table of `sql/sales.sql`.

use std::io::Write;

use anyhow::Result;
use hydrant_binlog::encode::ChosenColumn;

use crate::capture::{SplitMix, TRANSACTION_ROWS, binlog, insert_with};
use testkit::servers::Server;

/// Creates `shop.Sales`.
pub const SALES: &str = include_str!("../../../sql/sales.sql");

/// The binlog of workload A: `row_count` sales in transactions of 1,000 rows, the same in every capture.
///
/// # Errors
/// When no server can be had, or it does not take the rows.
pub fn workload_a(row_count: u64) -> Result<Vec<u8>> {
    let name = format!("workload-a-{row_count}");
    binlog(&name, |server| {
        server.sql(SALES)?;
        insert(server, row_count, TRANSACTION_ROWS)
    })
}

/// The blog's columns of a sale.
#[must_use]
pub fn sales_columns() -> Vec<ChosenColumn> {
    let columns = [
        ("ItemID", None),
        ("Category", None),
        ("Price", Some(2)),
        ("Quantity", None),
        ("OrderDate", None),
        ("DestinationState", None),
        ("ShippingType", None),
        ("Referral", None),
    ];
    let chosen = |(name, scale): (&str, _)| ChosenColumn {
        name: name.to_owned(),
        scale,
        ..ChosenColumn::default()
    };
    columns.map(chosen).into()
}

/// Inserts made-up sales, always the same ones, into the table of `sql/sales.sql`: one client, one connection,
/// one statement of so many rows for each transaction.
///
/// # Errors
/// When no server can be had, or it does not take the rows.
pub fn insert(server: &Server, row_count: u64, transaction_rows: u64) -> Result<()> {
    insert_with(server, row_count, transaction_rows, write_insert)
}

/// Statements of so many made-up sales each, for a writer to send over and over.
///
/// # Errors
/// When no server can be had, or it does not take the rows.
pub fn statements(count: u64, rows: u64) -> Result<Vec<String>> {
    let mut random = SplitMix::new();
    let statement = |_| {
        let mut sql = Vec::new();
        write_insert(&mut sql, rows, &mut random)?;
        Ok(String::from_utf8(sql)?)
    };
    (0..count).map(statement).collect()
}

fn write_insert(sql: &mut impl Write, rows: u64, random: &mut SplitMix) -> Result<()> {
    sql.write_all(
        b"INSERT INTO shop.Sales (ItemID, Category, Price, Quantity, OrderDate, DestinationState, \
          ShippingType, Referral) VALUES ",
    )?;
    for row in 0..rows {
        if row > 0 {
            sql.write_all(b",")?;
        }
        write_sale(sql, random)?;
    }
    Ok(())
}

const STATES: [&str; 50] = [
    "AL", "AK", "AZ", "AR", "CA", "CO", "CT", "DE", "FL", "GA", "HI", "ID", "IL", "IN", "IA", "KS",
    "KY", "LA", "ME", "MD", "MA", "MI", "MN", "MS", "MO", "MT", "NE", "NV", "NH", "NJ", "NM", "NY",
    "NC", "ND", "OH", "OK", "OR", "PA", "RI", "SC", "SD", "TN", "TX", "UT", "VT", "VA", "WA", "WV",
    "WI", "WY",
];

/// The blog's values, with cents in the price.
fn write_sale(sql: &mut impl Write, random: &mut SplitMix) -> Result<()> {
    const CATEGORIES: [&str; 4] = ["Garden", "Kitchen", "Office", "Household"];
    const SHIPPING: [&str; 3] = ["Free", "3-Day", "2-Day"];
    const REFERRALS: [&str; 4] = ["Other", "Friend/Colleague", "Repeat Customer", "Online Ad"];
    write!(
        sql,
        "({},'{}',{}.{:02},{},'2016-01-01' + INTERVAL {} DAY,'{}','{}','{}')",
        1 + random.below(100),
        random.of(&CATEGORIES),
        1 + random.below(99),
        random.below(100),
        1 + random.below(4),
        random.below(366),
        random.of(&STATES),
        random.of(&SHIPPING),
        random.of(&REFERRALS),
    )?;
    Ok(())
}
