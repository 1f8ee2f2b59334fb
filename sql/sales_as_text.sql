-- One text for each sale, made of all eight followed columns, to compare them row by row. MySQL 8
-- and DuckDB both take this statement.
SELECT CONCAT_WS('|', ItemID, COALESCE(Category, '(null)'), CAST(Price AS decimal(10,2)), Quantity,
                 CAST(OrderDate AS date), DestinationState, ShippingType,
                 COALESCE(Referral, '(null)')) AS sale
FROM Sales;
