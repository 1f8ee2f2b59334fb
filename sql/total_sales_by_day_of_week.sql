-- Total sales by day of week. MySQL 8 and DuckDB both take this text; DECIMAL, so that no cent is
-- lost. The week starts on Monday, as 4 January 2016 did.
SELECT d_dayofweek, SUM(Quantity * CAST(Price AS decimal(10,2))) AS total_sales
FROM Sales JOIN date_dimension ON CAST(OrderDate AS date) = d_prettydate
GROUP BY d_dayofweek
ORDER BY MIN(CASE WHEN d_datekey BETWEEN 20160104 AND 20160110 THEN d_datekey END);
