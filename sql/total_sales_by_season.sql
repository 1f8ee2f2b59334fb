-- Total sales by season. MySQL 8 and DuckDB both take this text; DECIMAL, so that no cent is lost.
SELECT d_season, SUM(Quantity * CAST(Price AS decimal(10,2))) AS total_sales
FROM Sales JOIN date_dimension ON CAST(OrderDate AS date) = d_prettydate
GROUP BY d_season
ORDER BY MIN(d_monthnum);
