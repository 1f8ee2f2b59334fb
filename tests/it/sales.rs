//! The Sales table of the scenes, and a configuration that follows it.

use testkit::servers::Server;

/// Creates `shop.Sales`.
pub(crate) const SALES: &str = include_str!("../../sql/sales.sql");

/// The blog's eight columns, without InvoiceID.
pub(crate) fn sales_table() -> &'static str {
    "name = \"shop.Sales\"\ncolumns = [\"ItemID\", \"Category\", \"Price\", \"Quantity\", \
     \"OrderDate\", \"DestinationState\", \"ShippingType\", \"Referral\"]"
}

/// A configuration that starts with the oldest event; `table` and `sink` are TOML.
pub(crate) fn config(server: &Server, table: &str, sink: &str) -> String {
    let url = server.url();
    format!("[source]\nurl = \"{url}\"\nstart = \"earliest\"\n[[table]]\n{table}\n[sink]\n{sink}\n")
}
