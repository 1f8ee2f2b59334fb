-- The blog's date_dimension with the 366 days of 2016. MySQL 8 and DuckDB both take this text.
--
-- Redshift wants, after d_datekey's type, "sortkey", and after the last parenthesis of the table
-- "diststyle all", so that each node has all of these rows beside its part of the sales.

DROP TABLE IF EXISTS date_dimension;

CREATE TABLE date_dimension (
    d_datekey integer NOT NULL PRIMARY KEY,
    d_dayofmonth integer NOT NULL,
    d_monthnum integer NOT NULL,
    d_dayofweek varchar(10) NOT NULL,
    d_prettydate date NOT NULL,
    d_quarter integer NOT NULL,
    d_half integer NOT NULL,
    d_year integer NOT NULL,
    d_season varchar(10) NOT NULL,
    d_fiscalyear integer NOT NULL
);

-- Seasons are the northern half's, by whole months; the fiscal year is the calendar's.
INSERT INTO date_dimension
WITH RECURSIVE days (d) AS (
    SELECT CAST('2016-01-01' AS date)
    UNION ALL
    SELECT CAST(d + INTERVAL 1 DAY AS date) FROM days WHERE d < CAST('2016-12-31' AS date)
)
SELECT
    EXTRACT(YEAR FROM d) * 10000 + EXTRACT(MONTH FROM d) * 100 + EXTRACT(DAY FROM d),
    EXTRACT(DAY FROM d),
    EXTRACT(MONTH FROM d),
    DAYNAME(d),
    d,
    EXTRACT(QUARTER FROM d),
    CASE WHEN EXTRACT(MONTH FROM d) <= 6 THEN 1 ELSE 2 END,
    EXTRACT(YEAR FROM d),
    CASE
        WHEN EXTRACT(MONTH FROM d) IN (3, 4, 5) THEN 'Spring'
        WHEN EXTRACT(MONTH FROM d) IN (6, 7, 8) THEN 'Summer'
        WHEN EXTRACT(MONTH FROM d) IN (9, 10, 11) THEN 'Fall'
        ELSE 'Winter'
    END,
    EXTRACT(YEAR FROM d)
FROM days;
