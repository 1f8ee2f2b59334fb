-- The shop whose sales are followed: the table of "Capturing Data Changes in Amazon Aurora Using
-- AWS Lambda" (AWS blog, 2017), in utf8mb4. MySQL 8.0 and later warn that DOUBLE(10,2) is old; it
-- is kept because tables like this one are what there is to follow.

CREATE DATABASE IF NOT EXISTS shop DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE shop.Sales (
    InvoiceID int NOT NULL AUTO_INCREMENT,
    ItemID int NOT NULL,
    Category varchar(255),
    Price double(10,2),
    Quantity int NOT NULL,
    OrderDate timestamp,
    DestinationState varchar(2),
    ShippingType varchar(255),
    Referral varchar(255),
    PRIMARY KEY (InvoiceID)
) DEFAULT CHARACTER SET utf8mb4 COMMENT 'made by hydrant''s sql/sales.sql';
