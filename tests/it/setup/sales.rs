//! The Sales table of the scenes.

/// Creates `shop.Sales`.
pub(crate) const SALES: &str = include_str!("../../../sql/sales.sql");

/// The blog's eight columns, without InvoiceID.
pub(crate) fn sales_table() -> &'static str {
    "name = \"shop.Sales\"\ncolumns = [\"ItemID\", \"Category\", \"Price\", \"Quantity\", \
     \"OrderDate\", \"DestinationState\", \"ShippingType\", \"Referral\"]"
}
