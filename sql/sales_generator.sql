-- insert_sales(row_count, most_rows): inserts so many made-up sales in small transactions of 1 to
-- most_rows rows. Several sessions may call it at once.
--
-- The values are those of the blog, but every date exists (its own generator makes 30 February),
-- prices have cents, and about one text in twelve is of the kind that breaks careless CSV.
--
-- The procedure is a single statement, without DELIMITER lines. Send the file as it is over any
-- connection; the mysql client must be told not to cut it at each semicolon:
--   mysql --delimiter='$$' --default-character-set=utf8mb4 shop < sql/sales_generator.sql

CREATE PROCEDURE shop.insert_sales(IN row_count INT UNSIGNED, IN most_rows INT UNSIGNED)
MODIFIES SQL DATA
BEGIN
    DECLARE rows_left INT UNSIGNED DEFAULT row_count;
    DECLARE transaction_rows INT UNSIGNED;

    WHILE rows_left > 0 DO
        SET transaction_rows = LEAST(rows_left, 1 + FLOOR(RAND() * most_rows));
        SET rows_left = rows_left - transaction_rows;
        START TRANSACTION;
        WHILE transaction_rows > 0 DO
            SET transaction_rows = transaction_rows - 1;
            INSERT INTO Sales (ItemID, Category, Price, Quantity, OrderDate, DestinationState,
                               ShippingType, Referral)
            VALUES (
                1 + FLOOR(RAND() * 100),
                IF(RAND() * 12 < 1,
                   ELT(1 + FLOOR(RAND() * 7), 'Garden, Patio & Pool', 'Kitchen 12" Pans',
                       'Office\nSupplies', 'Küche, Bad & "Büro"', 'Household 🏡', '', NULL),
                   ELT(1 + FLOOR(RAND() * 4), 'Garden', 'Kitchen', 'Office', 'Household')),
                ROUND(1 + RAND() * 99, 2),
                1 + FLOOR(RAND() * 4),
                TIMESTAMP('2016-01-01') + INTERVAL FLOOR(RAND() * 366) DAY,
                SUBSTRING('ALAKAZARCACOCTDEFLGAHIIDILINIAKSKYLAMEMDMAMIMNMSMOMTNENVNHNJNMNYNCNDOHOKORPARISCSDTNTXUTVTVAWAWVWIWY',
                          1 + 2 * FLOOR(RAND() * 50), 2),
                ELT(1 + FLOOR(RAND() * 3), 'Free', '3-Day', '2-Day'),
                IF(RAND() * 12 < 1,
                   ELT(1 + FLOOR(RAND() * 6), 'Friend, "a very good one"', 'Online Ad\r\n(banner)',
                       'C:\\ads\\spring', '\\N', '', NULL),
                   ELT(1 + FLOOR(RAND() * 4), 'Other', 'Friend/Colleague', 'Repeat Customer',
                       'Online Ad'))
            );
        END WHILE;
        COMMIT;
    END WHILE;
END
